/* tokenizer_json.c: reads a tokenizer.json. It runs in the zygote, at the start; the file is as hostile as a download.
 *
 * What changes ids and is not done here is refused, and so is a file in which Hugging Face's reader misses something. */
#include "handlers/embed/tokenizer_json.h"

#include <string.h>

#include <jansson.h>

#define UNSERVED "which is not served"

/* "": it has none. */
static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type == NULL ? "" : type;
}

static int read_flag(struct contents *c, const json_t *object, const char *name, bool *value) {
    const json_t *flag = json_object_get(object, name);
    if (!json_is_boolean(flag))
        return contents_refuse(c, "has no %s that is true or false", name);
    *value = json_is_true(flag);
    return 0;
}

static int read_normalizer(struct contents *c, const json_t *root) {
    const json_t *n = json_object_get(root, "normalizer"), *strip = json_object_get(n, "strip_accents");
    struct tokenizer_rules *rules = &c->rules;
    if (strcmp(type_of(n), "BertNormalizer") != 0)
        return contents_refuse(c, "has the normalizer '%s', " UNSERVED "; BertNormalizer is", type_of(n));
    if (read_flag(c, n, "clean_text", &rules->clean_text) != 0 ||
        read_flag(c, n, "handle_chinese_chars", &rules->handle_chinese_chars) != 0 ||
        read_flag(c, n, "lowercase", &rules->lowercase) != 0)
        return -1;
    rules->strip_accents = rules->lowercase;
    return strip == NULL || json_is_null(strip) ? 0 : read_flag(c, n, "strip_accents", &rules->strip_accents);
}

/* ---- vocabulary -------------------------------------------------------------------------------------------------- */

/* As many ids as tokens, all different and below that number: so none is missing. */
static int read_vocabulary(struct contents *c, json_t *vocabulary, size_t added) {
    const char *token;
    json_t *value;
    size_t count = json_object_size(vocabulary);
    if (!json_is_object(vocabulary) || count == 0)
        return contents_refuse(c, "has a model without a vocab, an object that gives tokens their ids");
    if (contents_reserve(c, count + added, added) != 0)
        return -1;
    json_object_foreach(vocabulary, token, value) {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || (size_t)id >= count)
            return contents_refuse(c,
                                   "has the token '%.40s' with an id that is not an integer from 0 to %zu, "
                                   "the number of tokens less one",
                                   token, count - 1);
        if (c->tokens[id].bytes != NULL)
            return contents_refuse(c, "has the id %lld twice: '%.40s' and '%.40s'", (long long)id, c->tokens[id].bytes,
                                   token);
        c->tokens[id] = (struct tokenizer_token){.bytes = token, .size = (uint32_t)strlen(token)};
    }
    c->count = c->pieces = (uint32_t)count;
    return 0;
}

static int read_model(struct contents *c, const json_t *model, size_t added) {
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    if (strcmp(type_of(model), "WordPiece") != 0)
        return contents_refuse(c, "has the model type '%s', " UNSERVED "; WordPiece is", type_of(model));
    c->prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    if (c->prefix == NULL)
        return contents_refuse(c, "has a model without a continuing_subword_prefix");
    c->prefix_size = (uint32_t)strlen(c->prefix);
    json_int_t characters = json_integer_value(most);
    if (!json_is_integer(most) || characters < 1 || characters > TOKENIZER_MAX_CHARACTERS)
        return contents_refuse(c, "has a max_input_chars_per_word that is not an integer from 1 to %d",
                               TOKENIZER_MAX_CHARACTERS);
    c->max_characters = (uint32_t)characters;
    if (read_vocabulary(c, json_object_get(model, "vocab"), added) != 0)
        return -1;
    if (unknown == NULL || !contents_find(c, unknown, strlen(unknown), &c->unknown))
        return contents_refuse(c, "has no unk_token that is in its vocab");
    return 0;
}

/* ---- added tokens ------------------------------------------------------------------------------------------------ */

/* The white space that lstrip and rstrip take away from around a token makes no word anyway. A token that is not in the
 * vocabulary has the next id behind it, whatever the file says; so that must be what it says. */
static int read_added_token(struct contents *c, const json_t *added, const json_t *vocabulary) {
    const char *content = json_string_value(json_object_get(added, "content"));
    const json_t *id = json_object_get(added, "id"), *known;
    if (content == NULL || !json_is_integer(id))
        return contents_refuse(c, "has an added token without a content or an id");
    if (!json_is_false(json_object_get(added, "normalized")) || !json_is_false(json_object_get(added, "single_word")))
        return contents_refuse(c, "has the added token '%.40s' with normalized or single_word, " UNSERVED, content);
    known = json_object_get(vocabulary, content);
    json_int_t right = known != NULL ? json_integer_value(known) : (json_int_t)c->count;
    if (json_integer_value(id) != right)
        return contents_refuse(c, "has the added token '%.40s' with the id %lld, and it would get %lld", content,
                               (long long)json_integer_value(id), (long long)right);
    if (right >= CONTENTS_MAX_IDS)
        return contents_refuse(c, "has more than %d tokens", CONTENTS_MAX_IDS);
    if (known == NULL)
        c->tokens[c->count++] = (struct tokenizer_token){.bytes = content, .size = (uint32_t)strlen(content)};
    contents_add(c, (uint32_t)right);
    return 0;
}

static int read_added_tokens(struct contents *c, const json_t *added, const json_t *vocabulary) {
    size_t i;
    json_t *token;
    json_array_foreach(added, i, token) {
        if (read_added_token(c, token, vocabulary) != 0)
            return -1;
    }
    return 0;
}

/* ---- [CLS] and [SEP] --------------------------------------------------------------------------------------------- */

static int read_special(struct contents *c, const char *name, const json_t *said, uint32_t *id) {
    if (name == NULL || !contents_find(c, name, strlen(name), id))
        return contents_refuse(c, "has a post_processor with the token '%.40s', which is not among its tokens",
                               name == NULL ? "" : name);
    if (!json_is_integer(said) || json_integer_value(said) != (json_int_t)*id)
        return contents_refuse(c, "has a post_processor that gives '%.40s' another id than the vocab", name);
    return 0;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, and in special_tokens {"[CLS]": {"ids": [101]}}. */
static int read_template_special(struct contents *c, const json_t *item, const json_t *tokens, uint32_t *id) {
    const json_t *special = json_object_get(item, "SpecialToken"), *kind = json_object_get(special, "type_id");
    const char *name = json_string_value(json_object_get(special, "id"));
    if (name == NULL || !json_is_integer(kind) || json_integer_value(kind) != 0)
        return contents_refuse(c, "has a post_processor whose single is not [CLS] A [SEP], all of type 0");
    const json_t *ids = json_object_get(json_object_get(tokens, name), "ids");
    if (json_array_size(ids) != 1)
        return contents_refuse(c, "has a post_processor that does not give '%.40s' one id", name);
    return read_special(c, name, json_array_get(ids, 0), id);
}

static int read_template(struct contents *c, const json_t *p) {
    const json_t *single = json_object_get(p, "single"), *tokens = json_object_get(p, "special_tokens");
    const json_t *text = json_object_get(json_array_get(single, 1), "Sequence"),
                 *kind = json_object_get(text, "type_id");
    const char *name = json_string_value(json_object_get(text, "id"));
    if (json_array_size(single) != 3 || name == NULL || strcmp(name, "A") != 0 || !json_is_integer(kind) ||
        json_integer_value(kind) != 0)
        return contents_refuse(c, "has a post_processor whose single is not [CLS] A [SEP], all of type 0");
    if (read_template_special(c, json_array_get(single, 0), tokens, &c->begin) != 0)
        return -1;
    return read_template_special(c, json_array_get(single, 2), tokens, &c->end);
}

static int read_post_processor(struct contents *c, const json_t *root) {
    const json_t *p = json_object_get(root, "post_processor");
    if (strcmp(type_of(p), "TemplateProcessing") == 0)
        return read_template(c, p);
    if (strcmp(type_of(p), "BertProcessing") != 0)
        return contents_refuse(
            c, "has the post_processor '%s', " UNSERVED "; TemplateProcessing and BertProcessing are", type_of(p));
    const json_t *begin = json_object_get(p, "cls"), *end = json_object_get(p, "sep");
    if (json_array_size(begin) != 2 || json_array_size(end) != 2)
        return contents_refuse(c, "has a post_processor without a cls and a sep");
    if (read_special(c, json_string_value(json_array_get(begin, 0)), json_array_get(begin, 1), &c->begin) != 0)
        return -1;
    return read_special(c, json_string_value(json_array_get(end, 0)), json_array_get(end, 1), &c->end);
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

int tokenizer_json_read(struct contents *c, const char *bytes, size_t size) {
    json_error_t error;
    json_t *root = c->json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return contents_refuse(c, "line %d: %s", error.line, error.text);
    const json_t *version = json_object_get(root, "version"), *added = json_object_get(root, "added_tokens");
    const json_t *model = json_object_get(root, "model"), *splitter = json_object_get(root, "pre_tokenizer");
    if (!json_is_object(root) || model == NULL)
        return contents_refuse(c, "has no model");
    if (version != NULL && (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
        return contents_refuse(c, "has another version than 1.0");
    if (strcmp(type_of(splitter), "BertPreTokenizer") != 0)
        return contents_refuse(c, "has the pre_tokenizer '%s', " UNSERVED "; BertPreTokenizer is", type_of(splitter));
    if (added != NULL && !json_is_array(added))
        return contents_refuse(c, "has added_tokens that are not an array");
    if (read_normalizer(c, root) != 0 || read_model(c, model, json_array_size(added)) != 0 ||
        read_added_tokens(c, added, json_object_get(model, "vocab")) != 0 || read_post_processor(c, root) != 0)
        return -1;
    return contents_finish(c);
}
