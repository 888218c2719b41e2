/* tokenizer_test.c: BERT's tokenizer, handlers/embed/tokenizer.c, against what Hugging Face's `tokenizers` made of the
 * same texts (tokenizer_reference.py), and against files that are damaged or ask for what is not served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <utf8proc.h>

#include "handlers/embed/tokenizer.h"
#include "handlers/embed/tokenizer_text.h"

#define VECTORS      "tests/unit/tokenizer/"
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* As in tokenizer_reference.py. */
enum { VARIANTS = 5, BLOCK = 4096 };
static const struct variant {
    const char *json, *config;
    struct tokenizer_rules rules;
} variants[VARIANTS] = {
    {"\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true",
     "{\"do_lower_case\": true, \"tokenizer_class\": \"BertTokenizer\", \"cls_token\": \"[CLS]\", \"never_split\": "
     "null}",
     {true, true, true, true}},
    {"\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":false",
     "{\"do_lower_case\": false, \"unk_token\": {\"content\": \"[UNK]\"}, \"strip_accents\": null}",
     {true, true, false, false}},
    {"\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":false,\"lowercase\":true",
     "{\"strip_accents\": false, \"added_tokens_decoder\": {\"0\": {\"content\": \"[PAD]\"}}}",
     {true, true, false, true}},
    {"\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":true,\"lowercase\":false",
     "{\"do_lower_case\": false, \"strip_accents\": true, \"additional_special_tokens\": []}",
     {true, true, true, false}},
    {"\"clean_text\":false,\"handle_chinese_chars\":false,\"strip_accents\":null,\"lowercase\":true",
     NULL,
     {false, false, true, true}},
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static char folder[64];
static const char *const names[] = {"tokenizer.json", "vocab.txt", "tokenizer_config.json"};

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/offload-tokenizer-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static const char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        remove(path_of(names[i]));
    return rmdir(folder);
}

static void write_file(const char *name, const char *bytes, size_t size) {
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

/* The text with the first `from` replaced; the caller frees it. */
static char *replaced(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    char *result;
    assert_non_null(at);
    assert_true(asprintf(&result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) >= 0);
    return result;
}

static struct tokenizer *open_folder(void) {
    char why[TOKENIZER_WHY];
    struct tokenizer *t = tokenizer_open(folder, why);
    if (t == NULL)
        fail_msg("%s", why);
    return t;
}

/* The reason names the file, and is a line of printable ASCII with these words. */
static void assert_refused(const char *name, const char *words) {
    char why[TOKENIZER_WHY];
    memset(why, 'x', sizeof why);
    struct tokenizer *t = tokenizer_open(folder, why);
    assert_null(t);
    assert_non_null(memchr(why, '\0', sizeof why));
    for (const char *c = why; *c != '\0'; c++)
        assert_true(*c >= ' ' && *c <= '~');
    if (strncmp(why, path_of(name), strlen(path_of(name))) != 0 || strstr(why, words) == NULL)
        fail_msg("refused because of '%s', not of '%s'", why, words);
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

static uint32_t fnv(uint32_t h, const void *bytes, size_t size) {
    for (const unsigned char *b = bytes; size > 0; b++, size--)
        h = (h ^ *b) * 0x01000193u;
    return h;
}

static uint32_t number_at(const char *bytes, size_t size) {
    uint32_t n = 0;
    for (size_t i = 0; i < size; i++)
        n |= (uint32_t)(unsigned char)bytes[i] << 8 * i;
    return n;
}

static void compare_text(struct tokenizer *t, size_t number, unsigned variant, const char *text, size_t size,
                         const char *expected) {
    static uint32_t ids[4096];
    char *copy = malloc(size + 1); /* exactly as large, so that the sanitizer sees a read beyond its end */
    assert_non_null(copy);
    memcpy(copy, text, size);
    copy = realloc(copy, size + (size == 0));
    ptrdiff_t count = tokenizer_encode(t, copy, size, ids, COUNT(ids));
    free(copy);
    assert_true(count >= 2 && (size_t)count <= COUNT(ids));
    for (ptrdiff_t i = 0; i < count; i++)
        assert_true(ids[i] < tokenizer_vocabulary(t));
    if ((uint32_t)count != number_at(expected, 2) ||
        fnv(0x811c9dc5, ids, 4 * (size_t)count) != number_at(expected + 2, 4))
        fail_msg("text %zu of variant %u differs: python3 tests/unit/tokenizer_reference.py ids %zu %u", number,
                 variant, number, variant);
}

/* All texts of the file with one variant. */
static void compare_texts(struct tokenizer *t, unsigned variant) {
    size_t size, number = 0;
    char *texts = read_file(VECTORS "texts", &size);
    for (size_t at = 0; at < size; number++) {
        size_t length = number_at(texts + at, 2);
        at += 2;
        compare_text(t, number, variant, texts + at, length, texts + at + length + 6 * variant);
        at += length + 6 * VARIANTS;
    }
    assert_int_equal(number, 5000);
    free(texts);
}

static void ids_are_those_of_hugging_face(void **state) {
    (void)state;
    size_t size;
    char *json = read_file(VECTORS "tokenizer.json", &size);
    for (unsigned i = 0; i < VARIANTS; i++) {
        char *variant = replaced(json, variants[0].json, variants[i].json);
        write_text("tokenizer.json", variant);
        struct tokenizer *t = open_folder();
        compare_texts(t, i);
        tokenizer_free(t);
        free(variant);
    }
    free(json);
}

/* The tokens of tokenizer.json as lines. */
static void write_vocabulary(const char *end_of_line) {
    json_t *root = json_load_file(VECTORS "tokenizer.json", 0, NULL), *id;
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab");
    size_t count = json_object_size(vocabulary);
    const char *token, **tokens = calloc(count, sizeof *tokens);
    assert_non_null(tokens);
    json_object_foreach(vocabulary, token, id) tokens[json_integer_value(id)] = token;
    FILE *file = fopen(path_of("vocab.txt"), "wb");
    assert_non_null(file);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s%s", tokens[i], i + 1 < count ? end_of_line : "");
    fclose(file);
    free(tokens);
    json_decref(root);
}

static void a_vocabulary_of_lines_gives_the_same_ids(void **state) {
    (void)state;
    for (unsigned i = 0; i < VARIANTS; i++) {
        if (variants[i].config == NULL)
            continue;
        write_vocabulary(i == 1 ? "\r\n" : "\n");
        write_text("tokenizer_config.json", variants[i].config);
        struct tokenizer *t = open_folder();
        compare_texts(t, i);
        tokenizer_free(t);
    }
    remove(path_of("tokenizer_config.json"));
    struct tokenizer *t = open_folder();
    compare_texts(t, 0);
    tokenizer_free(t);
}

/* ---- words of all code points ------------------------------------------------------------------------------------ */

static void add_word(void *arg, const uint8_t *bytes, size_t size) {
    uint32_t *h = arg;
    assert_non_null(bytes);
    *h = fnv(fnv(*h, bytes, size), "\n", 1);
}

static void no_token(void *arg, uint32_t id) {
    (void)arg;
    (void)id;
    fail();
}

/* As block_text of tokenizer_reference.py. Returns its bytes. */
static size_t write_block(char *to, uint32_t start) {
    char *at = to, c[5];
    for (uint32_t i = start; i < start + BLOCK; i++) {
        if (i >= 0xd800 && i < 0xe000)
            continue;
        size_t n = (size_t)utf8proc_encode_char((int32_t)i, (uint8_t *)c);
        const char *const parts[] = {"a",
                                     c,
                                     "b ",
                                     c,
                                     " e",
                                     c,
                                     "\xcc\x81\xe1\xad\x84",
                                     c,
                                     " \xe1\xad\x84",
                                     c,
                                     "\xf0\x9d\x85\xa5",
                                     c,
                                     "\xe1\xad\x84",
                                     c,
                                     ".\n"};
        for (size_t p = 0; p < COUNT(parts); p++) {
            size_t length = parts[p] == c ? n : strlen(parts[p]);
            memcpy(at, parts[p], length);
            at += length;
        }
    }
    return (size_t)(at - to);
}

static uint32_t hash_of_words(const struct tokenizer_text *t, const char *text, size_t size) {
    uint32_t h = 0x811c9dc5;
    struct tokenizer_sink sink = {.word = add_word, .added = no_token, .arg = &h};
    assert_int_equal(tokenizer_text_split(t, text, size, &sink), 0);
    return h;
}

static void words_of_every_code_point_are_those_of_hugging_face(void **state) {
    (void)state;
    size_t size, blocks = TOKENIZER_CODE_POINTS / BLOCK;
    char *expected = read_file(VECTORS "words", &size), *text = malloc(64 * BLOCK);
    struct tokenizer_text *t = calloc(VARIANTS, sizeof *t);
    assert_true(text != NULL && t != NULL);
    assert_int_equal(size, 4 * VARIANTS * blocks);
    for (unsigned i = 0; i < VARIANTS; i++)
        tokenizer_text_init(&t[i], &variants[i].rules, TOKENIZER_MAX_CHARACTERS, NULL, 0);
    for (uint32_t block = 0; block < blocks; block++) {
        size = write_block(text, block * BLOCK);
        for (unsigned i = 0; i < VARIANTS; i++)
            if (hash_of_words(&t[i], text, size) != number_at(expected + 4 * (i * blocks + block), 4))
                fail_msg("the words from U+%04X on differ in variant %u", block * BLOCK, i);
    }
    free(t);
    free(expected);
    free(text);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* A small one: the files that are refused are this one with a change. */
static const char small[] =
    "{\"version\":\"1.0\",\"truncation\":{\"max_length\":4},\"padding\":{\"strategy\":{\"Fixed\":9}},\"added_tokens\":["
    "{\"id\":0,\"content\":\"[UNK]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false},"
    "{\"id\":3,\"content\":\"[M]\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,\"normalized\":false}],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":"
    "null,"
    "\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}"
    "},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[1],\"tokens\":[\"[CLS]\"]},\"[SEP]\":{\"id\":\"[SEP]\","
    "\"ids\":[2],\"tokens\":[\"[SEP]\"]}}},\"decoder\":null,\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
    "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":10,\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,"
    "\"[SEP]\":2,\"[M]\":3,\"a\":4,\"##a\":5,\"##b\":6,\"ab\":7,\"##\xc3\xa9\":8,\"##\":9}}}";

static void assert_ids(struct tokenizer *t, const char *text, size_t count, const uint32_t *expected) {
    uint32_t ids[64];
    memset(ids, 0xff, sizeof ids);
    assert_int_equal(tokenizer_encode(t, text, strlen(text), ids, 64), count);
    for (size_t i = 0; i < count; i++)
        if (ids[i] != expected[i])
            fail_msg("id %zu of '%s' is %u, not %u", i, text, ids[i], expected[i]);
}

#define ASSERT_IDS(t, text, ...)                                                                                       \
    assert_ids(t, text, COUNT(((const uint32_t[]){__VA_ARGS__})), (const uint32_t[]){__VA_ARGS__})

static struct tokenizer *open_small(const char *from, const char *to) {
    char *json = replaced(small, from, to);
    write_text("tokenizer.json", json);
    free(json);
    return open_folder();
}

static void the_longest_piece_comes_first(void **state) {
    (void)state;
    struct tokenizer *t = open_small("\"1.0\"", "\"1.0\"");
    assert_int_equal(tokenizer_vocabulary(t), 10);
    ASSERT_IDS(t, "", 1, 2);
    ASSERT_IDS(t, "ab", 1, 7, 2);
    ASSERT_IDS(t, "AABba", 1, 4, 5, 6, 6, 5, 2);
    ASSERT_IDS(t, "b a", 1, 0, 4, 2);
    ASSERT_IDS(t, "aac", 1, 0, 2);       /* a rest that is unknown makes all of it so */
    ASSERT_IDS(t, "##a", 1, 0, 0, 4, 2); /* '#' is a word of its own */
    ASSERT_IDS(t, "aaaaaaaaaa", 1, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 2);
    ASSERT_IDS(t, "aaaaaaaaaaa", 1, 0, 2); /* eleven characters */
    ASSERT_IDS(t, "aaaaaaaaaa\xcc\x81", 1, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 2);
    tokenizer_free(t);
}

static void inner_pieces_begin_with_what_the_file_says(void **state) {
    (void)state;
    struct tokenizer *t = open_small("prefix\":\"##\"", "prefix\":\"\"");
    ASSERT_IDS(t, "abaa", 1, 7, 4, 4, 2);
    tokenizer_free(t);
    t = open_small("prefix\":\"##\"", "prefix\":\"a\""); /* so "ab" is a "b" within a word */
    ASSERT_IDS(t, "aba", 1, 0, 2);
    ASSERT_IDS(t, "abb", 1, 7, 7, 2);
    tokenizer_free(t);
}

static void added_tokens_stand_anywhere_in_the_text(void **state) {
    (void)state;
    struct tokenizer *t = open_small("\"1.0\"", "\"1.0\"");
    ASSERT_IDS(t, "[M]", 1, 3, 2);
    ASSERT_IDS(t, "a[M]b a  [M]  a", 1, 4, 3, 0, 4, 3, 4, 2);
    ASSERT_IDS(t, "[[M]]", 1, 0, 3, 0, 2);
    ASSERT_IDS(t, "[m]", 1, 0, 0, 0, 2);
    ASSERT_IDS(t, "[CLS]", 1, 0, 0, 0, 2); /* it is not among the added tokens of this file */
    ASSERT_IDS(t, "[M", 1, 0, 0, 2);
    tokenizer_free(t);
    /* Of two that begin alike the longer one counts; one that is not in the vocabulary gets the next id. */
    t = open_small("[{\"id\":0,",
                   "[{\"id\":10,\"content\":\"[M]\xc3\xa9!\",\"normalized\":false,\"single_word\":false},{"
                   "\"id\":11,\"content\":\"[\",\"normalized\":false,\"single_word\":false},{\"id\":0,");
    assert_int_equal(tokenizer_vocabulary(t), 12);
    ASSERT_IDS(t, "[M]\xc3\xa9!", 1, 10, 2);
    ASSERT_IDS(t, "[M]\xc3\xa9", 1, 3, 0, 2);
    ASSERT_IDS(t, "[[M]a", 1, 11, 3, 4, 2);
    tokenizer_free(t);
}

static void bert_processing_says_which_tokens_stand_around(void **state) {
    (void)state;
    char *json = replaced(small, "{\"type\":\"TemplateProcessing\"",
                          "{\"type\":\"BertProcessing\",\"sep\":[\"[M]\",3],\"cls\":[\"ab\",7]");
    write_text("tokenizer.json", json);
    free(json);
    struct tokenizer *t = open_folder();
    ASSERT_IDS(t, "a", 7, 4, 3);
    tokenizer_free(t);
}

static void ids_without_room_are_counted(void **state) {
    (void)state;
    struct tokenizer *t = open_small("\"1.0\"", "\"1.0\"");
    static const uint32_t whole[] = {1, 4, 0, 7, 6, 3, 2};
    for (size_t room = 2; room < 9; room++) {
        uint32_t ids[9];
        memset(ids, 0xff, sizeof ids);
        assert_int_equal(tokenizer_encode(t, "a aac abb [M]", 13, ids, room), 7);
        size_t kept = room < 7 ? room : 7;
        for (size_t i = 0; i + 1 < kept; i++)
            assert_int_equal(ids[i], whole[i]);
        assert_int_equal(ids[kept - 1], 2);
        assert_int_equal(ids[room], UINT32_MAX);
    }
    tokenizer_free(t);
}

static void text_that_is_not_utf8_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe4\xb8",
        "\xe4\xb8 ",
        "\xff",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf0\x9f\x98",
        "\xf8\x88\x80\x80\x80",
    };
    struct tokenizer *t = open_small("\"1.0\"", "\"1.0\"");
    char text[64];
    uint32_t ids[2];
    for (size_t i = 0; i < COUNT(bad); i++) {
        int n = snprintf(text, sizeof text, "aaaaaaaaaaaa a %s", bad[i]);
        assert_int_equal(tokenizer_encode(t, bad[i], strlen(bad[i]), ids, 2), -1);
        assert_int_equal(tokenizer_encode(t, text, (size_t)n, ids, 2), -1);
    }
    tokenizer_free(t);
}

static void long_texts_take_time_that_grows_with_them(void **state) {
    (void)state;
    /* One word; a word of characters that change places; words of one character; the beginnings of added tokens. */
    static const char *const pieces[] = {"a", "\xf0\x9d\x85\xad\xe1\xad\x84", "!", "[M"};
    static const size_t counts[] = {3, 3, 4194306, 8388610 - 4194304};
    struct tokenizer *t = open_small("input_chars_per_word\":10", "input_chars_per_word\":1000");
    size_t size = 4 << 20;
    char *text = malloc(size + 16);
    assert_non_null(text);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        size_t n = strlen(pieces[i]), whole = size / n * n;
        uint32_t ids[8];
        for (size_t at = 0; at < whole; at += n)
            memcpy(text + at, pieces[i], n);
        assert_int_equal(tokenizer_encode(t, text, whole, ids, 8), counts[i]);
    }
    free(text);
    tokenizer_free(t);
}

/* ---- files that are refused -------------------------------------------------------------------------------------- */

static void a_tokenizer_json_that_is_not_served_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"{\"version\"", "[{\"version\"", "line 1"},
        {"\"version\"", "\n\n\x01", "line 3"},
        {"\"1.0\"", "\"2.0\"", "version"},
        {"\"1.0\"", "\"1.0\",\"version\":\"1.0\"", "duplicate"},
        {"\"model\":{", "\"nothing\":{", "has no model"},
        {"\"WordPiece\"", "\"BPE\"", "model type 'BPE'"},
        {"\"WordPiece\"", "\"Unigram\"", "model type 'Unigram'"},
        {"\"WordPiece\"", "17", "model type ''"},
        {"\"WordPiece\"", "\"\\u0007\\n\xc3\xa9\"",
         "model type '?"
         "?"
         "?"
         "?'"},
        {"\"BertNormalizer\"", "\"NFC\"", "normalizer 'NFC'"},
        {"\"normalizer\":{", "\"normalizer\":null,\"n\":{", "normalizer ''"},
        {"\"clean_text\":true,", "", "clean_text"},
        {"\"lowercase\":true", "\"lowercase\":1", "lowercase"},
        {"\"handle_chinese_chars\":true", "\"handle_chinese_chars\":null", "handle_chinese_chars"},
        {"\"strip_accents\":null", "\"strip_accents\":0", "strip_accents"},
        {"\"BertPreTokenizer\"", "\"Whitespace\"", "pre_tokenizer 'Whitespace'"},
        {"\"TemplateProcessing\"", "\"RobertaProcessing\"", "post_processor 'RobertaProcessing'"},
        {"\"post_processor\":{", "\"post_processor\":null,\"p\":{", "post_processor ''"},
        {"\"TemplateProcessing\"", "\"BertProcessing\"", "cls and a sep"},
        {"\"TemplateProcessing\"", "\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",\"1\"]", "another id"},
        {"\"type_id\":0", "\"type_id\":1", "all of type 0"},
        {"{\"id\":\"A\",\"type_id\":0}", "{\"id\":\"A\",\"type_id\":1}", "all of type 0"},
        {"\"id\":\"A\"", "\"id\":\"B\"", "all of type 0"},
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},", "", "all of type 0"},
        {"\"ids\":[1]", "\"ids\":[1,1]", "one id"},
        {"\"ids\":[1]", "\"ids\":[2]", "another id"},
        {"\"ids\":[2]", "\"ids\":[-1]", "another id"},
        {"\"[CLS]\":1", "\"[CLX]\":1", "'[CLS]', which is not among its tokens"},
        {"\"[SEP]\":2", "\"[SEX]\":2", "'[SEP]', which is not among its tokens"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[UNX]\"", "unk_token"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":null", "unk_token"},
        {"\"continuing_subword_prefix\":\"##\",", "", "continuing_subword_prefix"},
        {"word\":10", "word\":0", "max_input_chars_per_word"},
        {"word\":10", "word\":1001", "max_input_chars_per_word"},
        {"word\":10", "word\":1e1", "max_input_chars_per_word"},
        {"\"vocab\":{", "\"vocab\":[],\"v\":{", "without a vocab"},
        {"\"vocab\":{", "\"vocab\":{},\"v\":{", "without a vocab"},
        {"\"a\":4", "\"a\":3", "id 3 twice"},
        {"\"a\":4", "\"a\":10", "from 0 to 9"}, /* 4 is missing then */
        {"\"a\":4", "\"a\":-1", "from 0 to 9"},
        {"\"a\":4", "\"a\":4294967300", "from 0 to 9"},
        {"\"a\":4", "\"a\":18446744073709551620", "line 1"},
        {"\"a\":4", "\"a\":4.0", "from 0 to 9"},
        {"\"a\":4", "\"a\":\"4\"", "from 0 to 9"},
        {"\"a\":4", "\"a\":4,\"a\":4", "duplicate"},
        {"\"a\":4", "\"\\u0000\":4", "line 1"},
        {"\"a\":4", "\"\xff\":4", "line 1"},
        {"\"added_tokens\":[", "\"added_tokens\":{},\"t\":[", "not an array"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":4,\"content\":\"[M]\"", "with the id 4, and it would get 3"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":3,\"content\":\"[N]\"", "with the id 3, and it would get 10"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":0,\"content\":\"[UNK]\"", "added token 0 twice"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":10,\"content\":\"\"", "empty"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":10,\"content\":\" x\"", "white space"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":10,\"content\":\"x\\u2003\"", "white space"},
        {"{\"id\":3,\"content\":\"[M]\"", "{\"id\":3,\"content\":7", "without a content"},
        {"\"normalized\":false", "\"normalized\":true", "'[UNK]' with normalized"},
        {"\"single_word\":false", "\"single_word\":true", "'[UNK]' with normalized or single_word"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *json = replaced(small, cases[i].from, cases[i].to);
        write_text("tokenizer.json", json);
        assert_refused("tokenizer.json", cases[i].words);
        free(json);
    }
    for (size_t size = 0; size < strlen(small); size += 7) {
        write_file("tokenizer.json", small, size);
        assert_refused("tokenizer.json", "line ");
    }
}

#define LINES "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static void a_vocabulary_of_lines_that_is_damaged_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *lines, *words;
    } cases[] = {
        {"", "has no line [UNK]"},
        {"[PAD]\n[UNK]\n[CLS]\n[MASK]\n", "has no line [SEP]"},
        {LINES "a\nb\na\n", "lines 6 and 8 are the same"},
        {LINES "\n\n", "lines 6 and 7 are the same"},
        {LINES "\xff\n", "line 6 is not UTF-8"},
        {LINES "a\xc3", "line 6 is not UTF-8"},
        {LINES "a \n", "line 6 ends with white space"},
        {LINES "a\xe3\x80\x80\n", "line 6 ends with white space"},
        {LINES "a\r\r\n", "line 6 ends with white space"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_text("vocab.txt", cases[i].lines);
        assert_refused("vocab.txt", cases[i].words);
    }
}

static void settings_that_are_not_served_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"", "line 1"},
        {"[]", "not an object"},
        {"{\"do_lower_case\": 1}", "do_lower_case"},
        {"{\"strip_accents\": \"no\"}", "strip_accents"},
        {"{\"tokenize_chinese_chars\": []}", "tokenize_chinese_chars"},
        {"{\"do_basic_tokenize\": false}", "do_basic_tokenize"},
        {"{\"clean_text\": false}", "clean_text"},
        {"{\"never_split\": [\"a\"]}", "never_split"},
        {"{\"additional_special_tokens\": [\"<x>\"]}", "additional_special_tokens"},
        {"{\"added_tokens_decoder\": {\"7\": {\"content\": \"<x>\"}}}", "added token 7"},
        {"{\"cls_token\": \"<s>\"}", "cls_token"},
        {"{\"sep_token\": {\"content\": \"</s>\"}}", "sep_token"},
        {"{\"mask_token\": 7}", "mask_token"},
        {"{\"tokenizer_class\": \"RobertaTokenizer\"}", "'RobertaTokenizer'"},
        {"{\"tokenizer_class\": 7}", "tokenizer_class"},
    };
    write_text("vocab.txt", LINES "a\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_text("tokenizer_config.json", cases[i].config);
        assert_refused("tokenizer_config.json", cases[i].words);
    }
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    assert_refused("vocab.txt", "there is neither this file nor a tokenizer.json");
    assert_int_equal(mkdir(path_of("tokenizer.json"), 0700), 0);
    assert_refused("tokenizer.json", "is not a file");
    assert_int_equal(rmdir(path_of("tokenizer.json")), 0);
    assert_int_equal(mkfifo(path_of("tokenizer.json"), 0600), 0); /* and nobody waits for a writer */
    assert_refused("tokenizer.json", "is not a file");
    assert_int_equal(remove(path_of("tokenizer.json")), 0);
    write_text("tokenizer.json", "{");
    assert_int_equal(truncate(path_of("tokenizer.json"), (64 << 20) + 1), 0);
    assert_refused("tokenizer.json", "has more than 67108864 bytes");
    char why[TOKENIZER_WHY], deep[2000];
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_null(tokenizer_open(deep, why));
    assert_non_null(strstr(why, "xxx/tokenizer.json: File name too long"));
    tokenizer_free(NULL);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(ids_are_those_of_hugging_face),
        IN_FOLDER(a_vocabulary_of_lines_gives_the_same_ids),
        cmocka_unit_test(words_of_every_code_point_are_those_of_hugging_face),
        IN_FOLDER(the_longest_piece_comes_first),
        IN_FOLDER(inner_pieces_begin_with_what_the_file_says),
        IN_FOLDER(added_tokens_stand_anywhere_in_the_text),
        IN_FOLDER(bert_processing_says_which_tokens_stand_around),
        IN_FOLDER(ids_without_room_are_counted),
        IN_FOLDER(text_that_is_not_utf8_is_refused),
        IN_FOLDER(long_texts_take_time_that_grows_with_them),
        IN_FOLDER(a_tokenizer_json_that_is_not_served_is_refused),
        IN_FOLDER(a_vocabulary_of_lines_that_is_damaged_is_refused),
        IN_FOLDER(settings_that_are_not_served_are_refused),
        IN_FOLDER(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
