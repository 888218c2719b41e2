/* tokenizer_lines.c: reads a vocab.txt and its tokenizer_config.json, as Hugging Face's BertTokenizer does. It runs in
 * the zygote, at the start; the files are as hostile as a download. */
#include "handlers/embed/tokenizer_lines.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <utf8proc.h>

/* BertTokenizer finds them in the text as it came. */
static const struct {
    const char *setting, *token;
} specials[] = {
    {"unk_token", "[UNK]"}, {"cls_token", "[CLS]"},   {"sep_token", "[SEP]"},
    {"pad_token", "[PAD]"}, {"mask_token", "[MASK]"},
};

enum { SPECIALS = sizeof specials / sizeof *specials };

/* ---- vocab.txt --------------------------------------------------------------------------------------------------- */

static size_t count_lines(const char *bytes, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += bytes[i] == '\n' || i + 1 == size;
    return count;
}

/* One reader of vocab.txt keeps white space at the end of a token, and another one drops it. */
static int check_line(struct contents *c, const struct tokenizer_token *t) {
    int32_t last = 'x';
    utf8proc_ssize_t n;
    for (size_t at = 0; at < t->size; at += (size_t)n) {
        n = utf8proc_iterate((const uint8_t *)t->bytes + at, (utf8proc_ssize_t)(t->size - at), &last);
        if (n <= 0)
            return contents_refuse(c, "line %u is not UTF-8", c->count + 1);
    }
    utf8proc_category_t category = utf8proc_category(last);
    if (category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP ||
        category == UTF8PROC_CATEGORY_CC)
        return contents_refuse(c, "line %u ends with white space or a control character", c->count + 1);
    return 0;
}

static int read_lines(struct contents *c, const char *bytes, size_t size) {
    for (const char *at = bytes, *end = bytes + size; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop == NULL ? end : stop + 1;
        if (stop == NULL)
            stop = end;
        if (stop > at && stop[-1] == '\r')
            stop--;
        c->tokens[c->count] = (struct tokenizer_token){.bytes = at, .size = (uint32_t)(stop - at)};
        if (check_line(c, &c->tokens[c->count]) != 0)
            return -1;
        c->count++;
        at = next;
    }
    return 0;
}

static int compare_tokens(const void *one, const void *other) {
    const struct tokenizer_token *a = *(const struct tokenizer_token *const *)one;
    const struct tokenizer_token *b = *(const struct tokenizer_token *const *)other;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* A token on two lines has one id, and the other id none. */
static int refuse_doubles(struct contents *c) {
    const struct tokenizer_token **sorted = calloc(c->count, sizeof *sorted);
    int result = 0;
    if (sorted == NULL)
        return contents_refuse(c, "there is no memory for it");
    for (uint32_t i = 0; i < c->count; i++)
        sorted[i] = &c->tokens[i];
    qsort(sorted, c->count, sizeof *sorted, compare_tokens);
    for (uint32_t i = 1; i < c->count && result == 0; i++)
        if (compare_tokens(&sorted[i - 1], &sorted[i]) == 0)
            result = contents_refuse(c, "lines %td and %td are the same", sorted[i - 1] - c->tokens + 1,
                                     sorted[i] - c->tokens + 1);
    free(sorted);
    return result;
}

static int find_specials(struct contents *c) {
    uint32_t ids[SPECIALS];
    for (int i = 0; i < SPECIALS; i++) {
        if (!contents_find(c, specials[i].token, strlen(specials[i].token), &ids[i]))
            return contents_refuse(c, "has no line %s", specials[i].token);
        contents_add(c, ids[i]);
    }
    c->unknown = ids[0];
    c->begin = ids[1];
    c->end = ids[2];
    return contents_finish(c);
}

int tokenizer_lines_read(struct contents *c, const char *bytes, size_t size) {
    c->rules = (struct tokenizer_rules){true, true, true, true};
    c->max_characters = 100;
    c->prefix = "##";
    c->prefix_size = 2;
    if (contents_reserve(c, count_lines(bytes, size), SPECIALS) != 0 || read_lines(c, bytes, size) != 0 ||
        refuse_doubles(c) != 0)
        return -1;
    c->pieces = c->count;
    return find_specials(c);
}

/* ---- tokenizer_config.json --------------------------------------------------------------------------------------- */

static bool is_absent(const json_t *value) {
    return value == NULL || json_is_null(value);
}

/* "[CLS]", or {"content": "[CLS]", ...}; NULL: neither. */
static const char *content_of(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static int read_flag(struct contents *c, const json_t *config, const char *name, bool *value) {
    const json_t *flag = json_object_get(config, name);
    if (is_absent(flag))
        return 0;
    if (!json_is_boolean(flag))
        return contents_refuse(c, "has a %s that is neither true nor false", name);
    *value = json_is_true(flag);
    return 0;
}

static int check_specials(struct contents *c, const json_t *config) {
    for (int i = 0; i < SPECIALS; i++) {
        const json_t *token = json_object_get(config, specials[i].setting);
        const char *content = content_of(token);
        if (!is_absent(token) && (content == NULL || strcmp(content, specials[i].token) != 0))
            return contents_refuse(c, "has another %s than %s, which is not served without a tokenizer.json",
                                   specials[i].setting, specials[i].token);
    }
    return 0;
}

static bool is_special(const char *content) {
    for (int i = 0; content != NULL && i < SPECIALS; i++)
        if (strcmp(content, specials[i].token) == 0)
            return true;
    return false;
}

static int check_more_tokens(struct contents *c, const json_t *config) {
    const json_t *decoder = json_object_get(config, "added_tokens_decoder");
    const char *id;
    json_t *token;
    json_object_foreach((json_t *)(uintptr_t)decoder, id, token) {
        if (!is_special(content_of(token)))
            return contents_refuse(c, "has the added token %.20s, which is not served without a tokenizer.json", id);
    }
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens", "never_split"};
    for (int i = 0; i < 3; i++) {
        const json_t *list = json_object_get(config, lists[i]);
        if (!is_absent(list) && (json_is_object(list) ? json_object_size(list) : json_array_size(list)) != 0)
            return contents_refuse(c, "has %s, which are not served without a tokenizer.json", lists[i]);
    }
    return 0;
}

static int check_class(struct contents *c, const json_t *config) {
    static const char *const classes[] = {"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer",
                                          "DistilBertTokenizerFast"};
    const json_t *class = json_object_get(config, "tokenizer_class");
    const char *name = json_string_value(class);
    for (int i = 0; name != NULL && i < 4; i++)
        if (strcmp(name, classes[i]) == 0)
            return 0;
    return is_absent(class)
               ? 0
               : contents_refuse(c, "has the tokenizer_class '%.40s', which is not served", name == NULL ? "" : name);
}

static int read_config(struct contents *c, const json_t *config) {
    bool basic = true, clean = true;
    if (!json_is_object(config))
        return contents_refuse(c, "is not an object");
    if (read_flag(c, config, "do_lower_case", &c->rules.lowercase) != 0 ||
        read_flag(c, config, "tokenize_chinese_chars", &c->rules.handle_chinese_chars) != 0 ||
        read_flag(c, config, "do_basic_tokenize", &basic) != 0 || read_flag(c, config, "clean_text", &clean) != 0)
        return -1;
    c->rules.strip_accents = c->rules.lowercase;
    if (read_flag(c, config, "strip_accents", &c->rules.strip_accents) != 0)
        return -1;
    if (!basic || !clean)
        return contents_refuse(c, "has do_basic_tokenize or clean_text false, which is not served");
    if (check_class(c, config) != 0 || check_specials(c, config) != 0)
        return -1;
    return check_more_tokens(c, config);
}

int tokenizer_lines_configure(struct contents *c, const char *bytes, size_t size) {
    json_error_t error;
    json_t *config = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (config == NULL)
        return contents_refuse(c, "line %d: %s", error.line, error.text);
    int result = read_config(c, config);
    json_decref(config);
    return result;
}
