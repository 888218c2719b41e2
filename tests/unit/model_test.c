/* model_test.c: folders of models: a small one of each kind, and what is refused of those that are not whole, lie, or are
 * of a kind that the encoder cannot compute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned allocations_left = -1u; /* that succeed */

static bool is_out_of_memory(void) {
    return allocations_left == 0 || (allocations_left--, false);
}

static void *malloc_or_fail(size_t size) {
    return is_out_of_memory() ? NULL : malloc(size);
}

static void *calloc_or_fail(size_t count, size_t size) {
    return is_out_of_memory() ? NULL : calloc(count, size);
}

static char *strdup_or_fail(const char *text) {
    return is_out_of_memory() ? NULL : strdup(text);
}

static void *mmap_or_fail(void *at, size_t size, int rights, int flags, int fd, off_t offset) {
    return is_out_of_memory() ? MAP_FAILED : mmap(at, size, rights, flags, fd, offset);
}

#define malloc malloc_or_fail
#define calloc calloc_or_fail
#undef strdup
#define strdup strdup_or_fail
#define mmap   mmap_or_fail
#include "handlers/embed/model.c" /* their allocations can be made to fail */
#include "handlers/embed/settings.c"
#include "handlers/embed/weights.c"
#undef malloc
#undef calloc
#undef strdup
#undef mmap

enum { HIDDEN = 16, HEADS = 4, INTERMEDIATE = 24, VOCABULARY = 40, POSITIONS = 12 };

static char root[64], folder[80]; /* a new one for each test; `folder` is in it, and called "tiny" */

/* ---- the files of a folder --------------------------------------------------------------------------------------- */

static void write_bytes(const char *file, const void *bytes, size_t size) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void write_text(const char *file, const char *text) {
    write_bytes(file, text, strlen(text));
}

static void remove_file(const char *file) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_int_equal(unlink(path), 0);
}

static void make_subfolder(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static const struct {
    const char *file, *text;
} texts[] = {
    {"config.json",
     "{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":16,\"intermediate_size\":24,"
     "\"layer_norm_eps\":1e-12,\"max_position_embeddings\":12,\"num_attention_heads\":4,\"num_hidden_layers\":2,"
     "\"position_embedding_type\":\"absolute\",\"type_vocab_size\":2,\"vocab_size\":40,\"is_decoder\":false}"},
    {"modules.json", "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
                     "{\"idx\":1,\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"},"
                     "{\"idx\":2,\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}]"},
    {"1_Pooling/config.json", "{\"word_embedding_dimension\":16,\"pooling_mode_cls_token\":false,"
                              "\"pooling_mode_mean_tokens\":true,\"pooling_mode_max_tokens\":false}"},
    {"sentence_bert_config.json", "{\"max_seq_length\":8,\"do_lower_case\":false}"},
    {"tokenizer_config.json", "{\"do_lower_case\":true,\"model_max_length\":1000000000000000019884624838656}"},
    {"config_sentence_transformers.json", "{\"__version__\":{\"sentence_transformers\":\"2.0.0\"},"
                                          "\"prompts\":{\"query\":\"a \"},\"default_prompt_name\":null}"},
    {"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\n##a\n##b\nabba\n"},
};

static const char *text_of(const char *file) {
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].file, file) == 0)
            return texts[i].text;
    fail_msg("no text: %s", file);
    return NULL;
}

/* Writes a text with one part of it replaced. */
static void write_changed(const char *file, const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    char changed[4096];
    if (at == NULL)
        fail_msg("%s has no %s", file, from);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_text(file, changed);
}

/* ---- the tensors ------------------------------------------------------------------------------------------------- */

/* How a test wants model.safetensors; zeros make the usual one. */
struct form {
    const char *prefix, *dtype; /* NULL: "", "F32" */
    unsigned shift;             /* bytes before the numbers, so that they are not aligned */
    const char *left_out;       /* a tensor that is not there, */
    const char *poisoned;       /* one whose last number is not finite, */
    const char *transposed;     /* and one whose shape is turned around */
};

struct file {
    char header[20000];
    size_t header_size;
    unsigned char data[200000];
    size_t size;
    unsigned tensors;
};

/* The numbers of a tensor: a few bits each, so that all dtypes have them exactly. */
static float number_of(unsigned tensor, unsigned i) {
    return (float)((int)((tensor * 31 + i * 7) % 97) - 48) / 64;
}

static void put_number(struct file *f, const char *dtype, float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    if (strcmp(dtype, "F16") == 0 && bits << 1 != 0) /* the exponent is small enough to be a normal one there */
        bits = (bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 127 + 15) << 10 | (bits >> 13 & 0x3ff);
    else if (strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0)
        bits >>= 16;
    for (unsigned i = 0; i < (strcmp(dtype, "F32") == 0 ? 4 : 2); i++)
        f->data[f->size++] = (unsigned char)(bits >> 8 * i);
}

static bool is(const char *wanted, const char *name) {
    return wanted != NULL && strcmp(wanted, name) == 0;
}

static void put(struct file *f, const struct form *form, const char *name, unsigned rows, unsigned columns) {
    const char *dtype = form->dtype == NULL ? "F32" : form->dtype;
    unsigned tensor = f->tensors++, count = rows * (columns == 0 ? 1 : columns);
    char shape[40];
    size_t begin = f->size;
    if (is(form->left_out, name))
        return;
    for (unsigned i = 0; i < count; i++)
        put_number(f, dtype, number_of(tensor, i));
    if (is(form->poisoned, name))
        memcpy(f->data + f->size - 2, "\x80\x7f", 2);
    if (columns == 0)
        snprintf(shape, sizeof shape, is(form->transposed, name) ? "1,%u" : "%u", rows);
    else if (is(form->transposed, name))
        snprintf(shape, sizeof shape, "%u,%u", columns, rows);
    else
        snprintf(shape, sizeof shape, "%u,%u", rows, columns);
    f->header_size += (size_t)snprintf(f->header + f->header_size, sizeof f->header - f->header_size,
                                       ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                       form->prefix == NULL ? "" : form->prefix, name, dtype, shape, begin, f->size);
}

/* Names and shapes, in the order of struct model; the numbers of the i-th are number_of(i, ...). */
static void put_all(struct file *f, const struct form *form) {
    static const struct {
        const char *name;
        unsigned rows, columns;
    } parts[] = {
        {"attention.self.query", HIDDEN, HIDDEN},  {"attention.self.key", HIDDEN, HIDDEN},
        {"attention.self.value", HIDDEN, HIDDEN},  {"attention.output.dense", HIDDEN, HIDDEN},
        {"attention.output.LayerNorm", HIDDEN, 0}, {"intermediate.dense", INTERMEDIATE, HIDDEN},
        {"output.dense", HIDDEN, INTERMEDIATE},    {"output.LayerNorm", HIDDEN, 0},
    };
    put(f, form, "embeddings.word_embeddings.weight", VOCABULARY, HIDDEN);
    put(f, form, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN);
    put(f, form, "embeddings.token_type_embeddings.weight", 2, HIDDEN);
    put(f, form, "embeddings.LayerNorm.weight", HIDDEN, 0);
    put(f, form, "embeddings.LayerNorm.bias", HIDDEN, 0);
    for (unsigned layer = 0; layer < 2; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            char name[80];
            snprintf(name, sizeof name, "encoder.layer.%u.%s.weight", layer, parts[i].name);
            put(f, form, name, parts[i].rows, parts[i].columns);
            snprintf(name, sizeof name, "encoder.layer.%u.%s.bias", layer, parts[i].name);
            put(f, form, name, parts[i].rows, 0);
        }
    }
}

/* Returns its size. At most `most` bytes of it are written. */
static size_t write_tensors(const struct form *form, size_t most) {
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->header_size = (size_t)sprintf(f->header, "{\"__metadata__\":{\"format\":\"pt\"}");
    put_all(f, form);
    f->header[f->header_size++] = '}';
    while (f->header_size % 8 != form->shift)
        f->header[f->header_size++] = ' ';
    size_t size = 8 + f->header_size + f->size;
    unsigned char *bytes = calloc(1, size);
    assert_non_null(bytes);
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(f->header_size >> 8 * i);
    memcpy(bytes + 8, f->header, f->header_size);
    memcpy(bytes + 8 + f->header_size, f->data, f->size);
    write_bytes("model.safetensors", bytes, size < most ? size : most);
    free(bytes);
    free(f);
    return size;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int make_folder(void **state) {
    (void)state;
    strcpy(root, "/tmp/offload-model-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(folder, sizeof folder, "%s/tiny", root);
    if (mkdir(folder, 0700) != 0)
        return -1;
    make_subfolder("1_Pooling");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        write_text(texts[i].file, texts[i].text);
    write_tensors(&(struct form){0}, SIZE_MAX);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- what must hold ---------------------------------------------------------------------------------------------- */

static struct model *open_model(void) {
    char why[MODEL_WHY] = "";
    struct model *m = model_open(folder, why);
    if (m == NULL)
        fail_msg("%s", why);
    return m;
}

static void assert_refused(const char *reason) {
    char why[MODEL_WHY] = "";
    struct model *m = model_open(folder, why);
    if (m != NULL)
        fail_msg("not refused: %s", reason);
    if (strcmp(why, reason) != 0)
        fail_msg("\"%s\" is not \"%s\"", why, reason);
}

static void assert_numbers(const float *numbers, unsigned tensor, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (numbers[i] != number_of(tensor, i))
            fail_msg("number %u of tensor %u: %g", i, tensor, (double)numbers[i]);
}

static void assert_linear(const struct linear *l, unsigned tensor, unsigned outputs, unsigned inputs) {
    assert_int_equal(l->outputs, outputs);
    assert_int_equal(l->inputs, inputs);
    assert_numbers(l->weight, tensor, outputs * inputs);
    assert_numbers(l->bias, tensor + 1, outputs);
}

static void assert_norm(const struct layer_norm *n, unsigned tensor) {
    assert_numbers(n->gain, tensor, HIDDEN);
    assert_numbers(n->shift, tensor + 1, HIDDEN);
}

static void assert_embeddings(const struct model *m) {
    assert_numbers(m->words, 0, VOCABULARY * HIDDEN);
    assert_numbers(m->places, 1, POSITIONS * HIDDEN);
    assert_numbers(m->kind, 2, HIDDEN);
    assert_norm(&m->norm, 3);
}

static void assert_layers(const struct model *m) {
    for (unsigned i = 0; i < 2; i++) {
        const struct model_layer *layer = &m->layer[i];
        unsigned first = 5 + 16 * i;
        assert_linear(&layer->query, first, HIDDEN, HIDDEN);
        assert_linear(&layer->key, first + 2, HIDDEN, HIDDEN);
        assert_linear(&layer->value, first + 4, HIDDEN, HIDDEN);
        assert_linear(&layer->attended, first + 6, HIDDEN, HIDDEN);
        assert_norm(&layer->attended_norm, first + 8);
        assert_linear(&layer->up, first + 10, INTERMEDIATE, HIDDEN);
        assert_linear(&layer->down, first + 12, HIDDEN, INTERMEDIATE);
        assert_norm(&layer->norm, first + 14);
    }
}

/* ---- folders that are served ------------------------------------------------------------------------------------- */

static void a_folder_says_what_the_model_is(void **state) {
    (void)state;
    struct model *m = open_model();
    assert_string_equal(m->name, "tiny");
    assert_int_equal(m->hidden, HIDDEN);
    assert_int_equal(m->layers, 2);
    assert_int_equal(m->heads, HEADS);
    assert_int_equal(m->intermediate, INTERMEDIATE);
    assert_int_equal(m->vocabulary, VOCABULARY);
    assert_int_equal(m->positions, POSITIONS);
    assert_int_equal(m->max_tokens, 8);
    assert_true(m->epsilon == 1e-12f);
    assert_int_equal(m->pooling, MODEL_MEAN);
    assert_true(m->normalize);
    assert_string_equal(m->prompt, "");
    assert_int_equal(tokenizer_vocabulary(m->tokenizer), 13);
    assert_embeddings(m);
    assert_layers(m);
    model_free(m);
    model_free(NULL);
}

static void all_forms_of_tensors_have_the_same_numbers(void **state) {
    (void)state;
    static const struct form forms[] = {
        {.prefix = "bert."},
        {.dtype = "F16"},
        {.dtype = "BF16"},
        {.shift = 1},
        {.shift = 4},
        {.dtype = "F16", .shift = 3},
        {.dtype = "BF16", .shift = 5, .prefix = "bert."},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        write_tensors(&forms[i], SIZE_MAX);
        struct model *m = open_model();
        assert_embeddings(m);
        assert_layers(m);
        model_free(m);
    }
}

static bool is_mapped(const void *at) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    return msync((void *)((uintptr_t)at / page * page), 1, MS_ASYNC) == 0;
}

static void the_layers_can_be_dropped(void **state) {
    (void)state;
    static const char *const dtypes[] = {"F32", "F16"};
    for (size_t i = 0; i < 2; i++) {
        write_tensors(&(struct form){.dtype = dtypes[i]}, SIZE_MAX);
        struct model *m = open_model();
        const float *weight = m->layer[1].down.weight, *words = m->words;
        assert_true(is_mapped(weight));
        model_drop_layers(m);
        assert_null(m->layer[1].down.weight);
        assert_null(m->layer[1].norm.shift);
        assert_false(is_mapped(weight));
        assert_ptr_equal(m->words, words);
        assert_embeddings(m);
        assert_true(tokenizer_vocabulary(m->tokenizer) > 0);
        model_drop_layers(m);
        model_free(m);
        assert_false(is_mapped(words) && is_mapped(weight));
    }
}

/* It is neither read nor mapped: a shorter file would be SIGBUS. */
static void the_file_can_change_once_the_layers_are_dropped(void **state) {
    (void)state;
    char path[100];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    for (int shorter = 0; shorter < 2; shorter++) {
        size_t size = write_tensors(&(struct form){0}, SIZE_MAX);
        struct model *m = open_model();
        model_drop_layers(m);
        assert_int_equal(truncate(path, 0), 0);
        if (!shorter) /* as long as before, and all zeros */
            assert_int_equal(truncate(path, (off_t)size), 0);
        assert_embeddings(m);
        model_free(m);
    }
}

/* A model is what sentence-transformers makes of its settings: the change, and what is then expected. */
static const struct served {
    const char *file, *from, *to;
    uint32_t max_tokens;
    enum model_pooling pooling;
    bool normalize;
    const char *prompt;
} served[] = {
    {"modules.json", "models.Transformer", "base.modules.transformer.Transformer", 8, MODEL_MEAN, true, ""},
    {"1_Pooling/config.json", "cls_token\":false,\"pooling_mode_mean_tokens\":true",
     "cls_token\":true,\"pooling_mode_mean_tokens\":false", 8, MODEL_CLS, true, ""},
    {"1_Pooling/config.json", "\"pooling_mode_mean_tokens\":true,", "", 8, MODEL_MEAN, true, ""},
    {"1_Pooling/config.json", "{\"word_embedding_dimension\"", "{\"pooling_mode\":\"cls\",\"embedding_dimension\"", 8,
     MODEL_CLS, true, ""},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":[\"cls\"],", 8, MODEL_CLS, true, ""},
    {"1_Pooling/config.json", "{", "{\"include_prompt\":false,", 8, MODEL_MEAN, true, ""},
    {"sentence_bert_config.json", "8", "100", POSITIONS, MODEL_MEAN, true, ""},
    {"sentence_bert_config.json", "8", "null", POSITIONS, MODEL_MEAN, true, ""},
    {"sentence_bert_config.json", "false", "true", 8, MODEL_MEAN, true, ""},
    {"tokenizer_config.json", "1000000000000000019884624838656", "5", 8, MODEL_MEAN, true, ""},
    {"config.json", "\"hidden_act\":\"gelu\",", "", 8, MODEL_MEAN, true, ""},
    {"config.json", "\"position_embedding_type\":\"absolute\",", "", 8, MODEL_MEAN, true, ""},
    {"config.json", "\"type_vocab_size\":2,", "", 8, MODEL_MEAN, true, ""},
    {"config_sentence_transformers.json", "null", "\"query\"", 8, MODEL_MEAN, true, "a "},
    {"config_sentence_transformers.json", "null", "\"document\"", 8, MODEL_MEAN, true, ""},
    {"config_sentence_transformers.json", "{", "{\"model_type\":\"SentenceTransformer\",", 8, MODEL_MEAN, true, ""},
    {"config_sentence_transformers.json", "\"prompts\":{\"query\":\"a \"},\"default_prompt_name\":null",
     "\"prompts\":{\"x\":\"\\u00e9\\\"\"},\"default_prompt_name\":\"x\"", 8, MODEL_MEAN, true, "\xc3\xa9\""},
};

static void assert_served(const struct served *expected) {
    struct model *m = open_model();
    if (m->max_tokens != expected->max_tokens || m->pooling != expected->pooling ||
        m->normalize != expected->normalize || strcmp(m->prompt, expected->prompt) != 0)
        fail_msg("%s, %s: %u tokens, pooling %d, normalize %d, prompt \"%s\"", expected->file, expected->to,
                 m->max_tokens, m->pooling, m->normalize, m->prompt);
    model_free(m);
}

static void settings_mean_what_sentence_transformers_makes_of_them(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++) {
        write_changed(served[i].file, text_of(served[i].file), served[i].from, served[i].to);
        assert_served(&served[i]);
        write_text(served[i].file, text_of(served[i].file));
    }
}

static void a_model_need_not_be_normalized(void **state) {
    (void)state;
    write_changed("modules.json", text_of("modules.json"),
                  ",{\"idx\":2,\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}", "");
    assert_served(&(struct served){"modules.json", "", "", 8, MODEL_MEAN, false, ""});
}

static void without_a_length_it_is_the_tokenizers(void **state) {
    (void)state;
    remove_file("sentence_bert_config.json");
    assert_served(&(struct served){"", "", "", POSITIONS, MODEL_MEAN, true, ""});
    write_text("tokenizer_config.json", "{\"model_max_length\":5}");
    assert_served(&(struct served){"", "", "", 5, MODEL_MEAN, true, ""});
    remove_file("tokenizer_config.json");
    remove_file("config_sentence_transformers.json");
    assert_served(&(struct served){"", "", "", POSITIONS, MODEL_MEAN, true, ""});
}

/* sentence-transformers then looks at no other settings of its own. */
static void a_folder_without_modules_has_the_mean_alone(void **state) {
    (void)state;
    remove_file("modules.json");
    write_text("1_Pooling/config.json", "{\"pooling_mode\":\"max\"}");
    write_text("config_sentence_transformers.json", "{\"prompts\":{\"x\":\"y\"},\"default_prompt_name\":\"x\"}");
    assert_served(&(struct served){"", "", "", POSITIONS, MODEL_MEAN, false, ""});
}

static void the_transformer_can_be_in_a_folder_of_its_own(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "sentence_bert_config.json", "tokenizer_config.json",
                                        "vocab.txt", "model.safetensors"};
    make_subfolder("0_Transformer");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char from[200], to[200];
        snprintf(from, sizeof from, "%s/%s", folder, files[i]);
        snprintf(to, sizeof to, "%s/0_Transformer/%s", folder, files[i]);
        assert_int_equal(rename(from, to), 0);
    }
    assert_refused("tiny/config.json: is missing");
    write_changed("modules.json", text_of("modules.json"), "\"path\":\"\"", "\"path\":\"0_Transformer\"");
    struct model *m = open_model();
    assert_string_equal(m->name, "tiny");
    assert_int_equal(m->max_tokens, 8);
    assert_layers(m);
    model_free(m);
}

static void slashes_behind_the_folder_are_not_of_its_name(void **state) {
    (void)state;
    char why[MODEL_WHY] = "", path[100];
    snprintf(path, sizeof path, "%s//", folder);
    struct model *m = model_open(path, why);
    assert_non_null(m);
    assert_string_equal(m->name, "tiny");
    model_free(m);
}

/* ---- folders that are refused ------------------------------------------------------------------------------------ */

static const struct {
    const char *file, *from, *to, *reason; /* the reason without "tiny/FILE: " */
} refused[] = {
    {"config.json", "\"bert\"", "\"roberta\"",
     "model_type is \"roberta\", and only \"bert\" is served: it counts positions from 2"},
    {"config.json", "\"bert\"", "\"xlm-roberta\"",
     "model_type is \"xlm-roberta\", and only \"bert\" is served: it counts positions from 2"},
    {"config.json", "\"bert\"", "\"distilbert\"",
     "model_type is \"distilbert\", and only \"bert\" is served: its layers are of another form"},
    {"config.json", "\"bert\"", "\"mpnet\"",
     "model_type is \"mpnet\", and only \"bert\" is served: its positions are relative"},
    {"config.json", "\"bert\"", "\"\\u00e9\\nx\"", "model_type is \"???x\", and only \"bert\" is served"},
    {"config.json", "\"model_type\":\"bert\",", "", "has no model_type"},
    {"config.json", "\"bert\"", "1", "model_type is not a text"},
    {"config.json", "\"gelu\"", "\"gelu_new\"",
     "hidden_act is \"gelu_new\", and only \"gelu\", the exact one, is served"},
    {"config.json", "\"gelu\"", "\"relu\"", "hidden_act is \"relu\", and only \"gelu\", the exact one, is served"},
    {"config.json", "\"gelu\"", "[]", "hidden_act is not a text"},
    {"config.json", "\"absolute\"", "\"relative_key\"",
     "position_embedding_type is \"relative_key\", and only \"absolute\" is served"},
    {"config.json", "\"is_decoder\":false", "\"is_decoder\":true", "is_decoder is true, and only encoders are served"},
    {"config.json", "\"is_decoder\":false", "\"is_decoder\":0", "is_decoder is neither true nor false"},
    {"config.json", "\"hidden_size\":16,", "", "has no hidden_size"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":\"16\"", "hidden_size is not a number"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":16.5", "hidden_size is not an integer"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":0", "hidden_size is 0; 8 to 4096 can be served"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":-16", "hidden_size is -16; 8 to 4096 can be served"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":1e300", "hidden_size is 1e+300; 8 to 4096 can be served"},
    {"config.json", "\"hidden_size\":16", "\"hidden_size\":20",
     "hidden_size is 20 and intermediate_size 24; only multiples of 8 are served"},
    {"config.json", "\"intermediate_size\":24", "\"intermediate_size\":28",
     "hidden_size is 16 and intermediate_size 28; only multiples of 8 are served"},
    {"config.json", "\"intermediate_size\":24", "\"intermediate_size\":32769",
     "intermediate_size is 32769; 8 to 32768 can be served"},
    {"config.json", "\"num_attention_heads\":4", "\"num_attention_heads\":3",
     "hidden_size is 16, which 3 heads cannot share in multiples of 4"},
    {"config.json", "\"num_attention_heads\":4", "\"num_attention_heads\":8",
     "hidden_size is 16, which 8 heads cannot share in multiples of 4"},
    {"config.json", "\"num_attention_heads\":4", "\"num_attention_heads\":0",
     "num_attention_heads is 0; 1 to 1024 can be served"},
    {"config.json", "\"num_hidden_layers\":2", "\"num_hidden_layers\":65",
     "num_hidden_layers is 65; 1 to 64 can be served"},
    {"config.json", "\"vocab_size\":40", "\"vocab_size\":1048577", "vocab_size is 1048577; 1 to 1048576 can be served"},
    {"config.json", "\"max_position_embeddings\":12", "\"max_position_embeddings\":8193",
     "max_position_embeddings is 8193; 3 to 8192 can be served"},
    {"config.json", "\"type_vocab_size\":2", "\"type_vocab_size\":0", "type_vocab_size is 0; 1 to 65536 can be served"},
    {"config.json", "1e-12", "0", "layer_norm_eps is 0; 1e-20 to 0.1 can be served"},
    {"config.json", "1e-12", "1e999", "is not JSON: line 1"},
    {"config.json", "1e-12", "NaN", "is not JSON: line 1"},
    {"config.json", "{\"model_type\":\"bert\",", "[{", "is not JSON: line 1"},
    {"modules.json", "models.Normalize", "models.Dense",
     "has the module \"sentence_transformers.models.Dense\"; served are Transformer, Pooling and perhaps Normalize"},
    {"modules.json", "models.Transformer", "models.CLIPModel",
     "has the module \"sentence_transformers.models.CLIPModel\"; served are Transformer, Pooling and perhaps "
     "Normalize"},
    {"modules.json", "sentence_transformers.models.Pooling", "own.Pooling",
     "has the module \"own.Pooling\"; served are Transformer, Pooling and perhaps Normalize"},
    {"modules.json", "sentence_transformers.models.Pooling", "sentence_transformers_own",
     "has the module \"sentence_transformers_own\"; served are Transformer, Pooling and perhaps Normalize"},
    {"modules.json", "\"sentence_transformers.models.Pooling\"", "1", "type is not a text"},
    {"modules.json", "]", ",{\"path\":\"3\",\"type\":\"sentence_transformers.models.Normalize\"}]",
     "has the module \"sentence_transformers.models.Normalize\"; served are Transformer, Pooling and perhaps "
     "Normalize"},
    {"modules.json", "1_Pooling", "../tiny", "has the path \"../tiny\", which is not the name of a folder in it"},
    {"modules.json", "1_Pooling", "1/2", "has the path \"1/2\", which is not the name of a folder in it"},
    {"modules.json", "1_Pooling", "/etc", "has the path \"/etc\", which is not the name of a folder in it"},
    {"modules.json", "1_Pooling", "", "has no path for its Pooling"},
    {"1_Pooling/config.json", "mean_tokens\":true,\"pooling_mode_max_tokens\":false",
     "mean_tokens\":false,\"pooling_mode_max_tokens\":true", "pools by \"max\"; only mean and cls are served"},
    {"1_Pooling/config.json", "max_tokens\":false", "max_tokens\":true", "joins several poolings; one is served"},
    {"1_Pooling/config.json", "cls_token\":false", "cls_token\":true", "joins several poolings; one is served"},
    {"1_Pooling/config.json", "cls_token\":false", "cls_token\":1", "pooling_mode_cls_token is neither true nor false"},
    {"1_Pooling/config.json", "mean_tokens\":true", "mean_sqrt_len_tokens\":true",
     "pools by \"mean_sqrt_len_tokens\"; only mean and cls are served"},
    {"1_Pooling/config.json", "mean_tokens\":true", "weightedmean_tokens\":true",
     "pools by \"weightedmean\"; only mean and cls are served"},
    {"1_Pooling/config.json", "mean_tokens\":true", "lasttoken\":true",
     "pools by \"lasttoken\"; only mean and cls are served"},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":\"max\",", "pools by \"max\"; only mean and cls are served"},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":[\"cls\",\"mean\"],", "joins several poolings; one is served"},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":[],", "pooling_mode is not a text"},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":{\"a\":\"cls\"},", "pooling_mode is not a text"},
    {"1_Pooling/config.json", "dimension\":16", "dimension\":17",
     "word_embedding_dimension is 17; 16 to 16 can be served"},
    {"sentence_bert_config.json", "8", "2", "max_seq_length is 2; 3 to inf can be served"},
    {"sentence_bert_config.json", "8", "\"8\"", "max_seq_length is not a number"},
    {"sentence_bert_config.json", "{", "{\"transformer_task\":\"fill-mask\",",
     "transformer_task is \"fill-mask\", and only \"feature-extraction\" is served"},
    {"tokenizer_config.json", "1000000000000000019884624838656", "1", "model_max_length is 1; 3 to inf can be served"},
    {"config_sentence_transformers.json", "{", "{\"model_type\":\"SparseEncoder\",",
     "model_type is \"SparseEncoder\", and only \"SentenceTransformer\" is served"},
    {"config_sentence_transformers.json", "null", "\"q\"",
     "default_prompt_name is \"q\", and prompts has none of that name"},
    {"config_sentence_transformers.json", "null", "7", "default_prompt_name is not a text"},
    {"config_sentence_transformers.json", "\"a \"},\"default_prompt_name\":null",
     "7},\"default_prompt_name\":\"query\"", "query is not a text"},
    {"config_sentence_transformers.json", "\"a \"},\"default_prompt_name\":null",
     "\"a a a a a a\"},\"default_prompt_name\":\"query\"", "has a default prompt that leaves no room for a text"},
};

static void what_cannot_be_served_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char reason[MODEL_WHY];
        write_changed(refused[i].file, text_of(refused[i].file), refused[i].from, refused[i].to);
        snprintf(reason, sizeof reason, "tiny/%s: %s", refused[i].file, refused[i].reason);
        assert_refused(reason);
        write_text(refused[i].file, text_of(refused[i].file));
    }
    model_free(open_model());
}

static void settings_must_be_objects(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "1_Pooling/config.json", "sentence_bert_config.json",
                                        "tokenizer_config.json", "config_sentence_transformers.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char reason[MODEL_WHY];
        write_text(files[i], "[]");
        snprintf(reason, sizeof reason, "tiny/%s: is not a JSON object", files[i]);
        assert_refused(reason);
        write_text(files[i], "");
        snprintf(reason, sizeof reason, "tiny/%s: is not JSON: line 1", files[i]);
        assert_refused(reason);
        write_text(files[i], text_of(files[i]));
    }
    write_text("modules.json", "{}");
    assert_refused("tiny/modules.json: has no list of at least a Transformer and a Pooling");
}

static void a_prompt_that_pooling_leaves_out_is_refused(void **state) {
    (void)state;
    const char *file = "config_sentence_transformers.json";
    write_changed(file, text_of(file), "null", "\"query\"");
    write_changed("1_Pooling/config.json", text_of("1_Pooling/config.json"), "{", "{\"include_prompt\":false,");
    assert_refused("tiny/config_sentence_transformers.json: has a default prompt that pooling leaves out "
                   "(include_prompt), which is not served");
}

static void a_prompt_cannot_be_too_long(void **state) {
    (void)state;
    static char text[6000];
    int n = sprintf(text, "{\"default_prompt_name\":\"x\",\"prompts\":{\"x\":\"");
    memset(text + n, 'a', 4097);
    strcpy(text + n + 4097, "\"}}");
    write_text("config_sentence_transformers.json", text);
    assert_refused("tiny/config_sentence_transformers.json: has a default prompt of more than 4096 bytes");
}

static void the_tokenizer_must_lower_case_if_the_model_does(void **state) {
    (void)state;
    write_text("tokenizer_config.json", "{\"do_lower_case\":false}");
    model_free(open_model());
    write_text("sentence_bert_config.json", "{\"do_lower_case\":true}");
    assert_refused("tiny/sentence_bert_config.json: do_lower_case is true, but the tokenizer keeps upper case");
}

static void the_tokens_must_be_in_the_word_table(void **state) {
    (void)state;
    write_changed("config.json", text_of("config.json"), "\"vocab_size\":40", "\"vocab_size\":12");
    assert_refused("tiny: the tokenizer has 13 tokens, and vocab_size of config.json is 12");
}

static void a_folder_without_its_parts_is_refused(void **state) {
    (void)state;
    char why[MODEL_WHY] = "", path[100];
    remove_file("model.safetensors");
    assert_refused("tiny/model.safetensors: cannot be opened: No such file or directory");
    remove_file("1_Pooling/config.json");
    assert_refused("tiny/1_Pooling/config.json: is missing");
    remove_file("config.json");
    assert_refused("tiny/config.json: is missing");
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_refused("tiny/config.json: is a link to a file that is not there");
    remove_file("config.json");
    make_subfolder("config.json");
    assert_refused("tiny/config.json: is not a file");
    assert_null(model_open("/nowhere/at-all", why));
    assert_string_equal(why, "at-all/config.json: is missing");
}

static void a_folder_without_a_tokenizer_is_refused(void **state) {
    (void)state;
    char why[MODEL_WHY] = "";
    remove_file("vocab.txt");
    assert_null(model_open(folder, why));
    assert_memory_equal(why, "tiny: ", 6);
    assert_true(strlen(why) > 6);
}

static void a_name_is_shown_in_many_places_and_must_be_plain(void **state) {
    (void)state;
    static const char *const names[] = {"",
                                        "/",
                                        "//",
                                        ".",
                                        "..",
                                        "/tmp/.hidden",
                                        "a b",
                                        "a\nb",
                                        "a\"b",
                                        "\xc3\xa9",
                                        "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char why[MODEL_WHY] = "";
        assert_null(model_open(names[i], why));
        assert_non_null(strstr(why, ": the folder's name must have 1 to 63 letters, digits or ._-, and no . in front"));
        assert_null(strchr(why, '\n'));
    }
}

/* ---- tensors that are refused ------------------------------------------------------------------------------------ */

static void each_tensor_is_needed_in_its_shape_and_finite(void **state) {
    (void)state;
    static const struct {
        const char *name, *shape;
    } tensors[] = {
        {"embeddings.word_embeddings.weight", "40, 16"},
        {"embeddings.position_embeddings.weight", "12, 16"},
        {"embeddings.token_type_embeddings.weight", "2, 16"},
        {"embeddings.LayerNorm.weight", "16"},
        {"embeddings.LayerNorm.bias", "16"},
        {"encoder.layer.0.attention.self.query.bias", "16"},
        {"encoder.layer.0.intermediate.dense.weight", "24, 16"},
        {"encoder.layer.1.output.dense.weight", "16, 24"},
        {"encoder.layer.1.attention.output.LayerNorm.bias", "16"},
        {"encoder.layer.1.output.LayerNorm.weight", "16"},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char reason[MODEL_WHY];
        const char *name = tensors[i].name;
        write_tensors(&(struct form){.left_out = name}, SIZE_MAX);
        snprintf(reason, sizeof reason, "tiny/model.safetensors: has no tensor \"%s\"", name);
        assert_refused(reason);
        write_tensors(&(struct form){.transposed = name}, SIZE_MAX);
        snprintf(reason, sizeof reason,
                 "tiny/model.safetensors: has the tensor \"%s\" in another shape than the [%s] of config.json", name,
                 tensors[i].shape);
        assert_refused(reason);
        write_tensors(&(struct form){.poisoned = name}, SIZE_MAX);
        snprintf(reason, sizeof reason, "tiny/model.safetensors: has numbers in \"%s\" that are not finite", name);
        assert_refused(reason);
    }
}

static void a_model_must_have_as_many_layers_as_it_says(void **state) {
    (void)state;
    write_changed("config.json", text_of("config.json"), "layers\":2", "layers\":3");
    assert_refused("tiny/model.safetensors: has no tensor \"encoder.layer.2.attention.self.query.weight\"");
    write_tensors(&(struct form){.prefix = "bert."}, SIZE_MAX);
    assert_refused("tiny/model.safetensors: has no tensor \"bert.encoder.layer.2.attention.self.query.weight\"");
    write_tensors(&(struct form){.prefix = "model."}, SIZE_MAX);
    assert_refused("tiny/model.safetensors: has no tensor \"embeddings.word_embeddings.weight\"");
}

static void tensors_of_other_dtypes_are_refused(void **state) {
    (void)state;
    write_tensors(&(struct form){.dtype = "I16"}, SIZE_MAX);
    assert_refused("tiny/model.safetensors: has the tensor \"embeddings.word_embeddings.weight\" in another dtype than "
                   "F32, F16 and BF16");
}

static void a_file_of_tensors_that_is_cut_off_is_refused(void **state) {
    (void)state;
    const size_t whole = write_tensors(&(struct form){0}, SIZE_MAX);
    const size_t sizes[] = {0, 1, 7, 8, 9, 100, 1000, whole / 2, whole - 4, whole - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char why[MODEL_WHY] = "";
        write_tensors(&(struct form){0}, sizes[i]);
        assert_null(model_open(folder, why));
        assert_non_null(strstr(why, "cut off"));
    }
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void memory_that_runs_out_is_a_reason(void **state) {
    (void)state;
    struct model *m = NULL;
    unsigned failures = 0;
    write_tensors(&(struct form){.dtype = "F16"}, SIZE_MAX);
    for (; m == NULL; failures++) {
        char why[MODEL_WHY] = "";
        allocations_left = failures;
        m = model_open(folder, why);
        allocations_left = -1u;
        if (m == NULL && strstr(why, "memory") == NULL)
            fail_msg("%s", why);
    }
    assert_int_equal(failures, 1 + 6 + 1 + 2 + 37 + 1); /* parts, settings, prompt, weights, tensors; and the success */
    assert_embeddings(m);
    assert_layers(m);
    model_free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_folder_says_what_the_model_is),
        TEST(all_forms_of_tensors_have_the_same_numbers),
        TEST(the_layers_can_be_dropped),
        TEST(the_file_can_change_once_the_layers_are_dropped),
        TEST(settings_mean_what_sentence_transformers_makes_of_them),
        TEST(a_model_need_not_be_normalized),
        TEST(without_a_length_it_is_the_tokenizers),
        TEST(a_folder_without_modules_has_the_mean_alone),
        TEST(the_transformer_can_be_in_a_folder_of_its_own),
        TEST(slashes_behind_the_folder_are_not_of_its_name),
        TEST(what_cannot_be_served_is_refused),
        TEST(settings_must_be_objects),
        TEST(a_prompt_that_pooling_leaves_out_is_refused),
        TEST(a_prompt_cannot_be_too_long),
        TEST(the_tokenizer_must_lower_case_if_the_model_does),
        TEST(the_tokens_must_be_in_the_word_table),
        TEST(a_folder_without_its_parts_is_refused),
        TEST(a_folder_without_a_tokenizer_is_refused),
        TEST(a_name_is_shown_in_many_places_and_must_be_plain),
        TEST(each_tensor_is_needed_in_its_shape_and_finite),
        TEST(a_model_must_have_as_many_layers_as_it_says),
        TEST(tensors_of_other_dtypes_are_refused),
        TEST(a_file_of_tensors_that_is_cut_off_is_refused),
        TEST(memory_that_runs_out_is_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
