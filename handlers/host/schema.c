/* schema.c: describes a job type to clients: its parameter table becomes a JSON Schema 2020-12. If the type has several
 * forms, there is one object schema for each of them, below anyOf.
 *
 * It runs in the front end. */
#include "handlers/host/registry.h"

#include <stdlib.h>

#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"

#define MAX_BOUND (1ull << 52) /* bytes; a JSON number keeps their base64 exactly */

static void put_string(struct buf *to, const char *text) {
    buf_json_string(to, text, strlen(text));
}

/* Writes a bound, such as "minimum". One that no JSON number keeps exactly becomes the last one that is kept. */
static void put_bound(struct buf *to, const char *name, const char *bound, const char *least, const char *most) {
    if (bound == NULL)
        bound = strcmp(name, "minimum") == 0 ? least : most;
    if (number_compare(bound, strlen(bound), least, strlen(least)) < 0)
        bound = least;
    if (number_compare(bound, strlen(bound), most, strlen(most)) > 0)
        bound = most;
    buf_printf(to, ",\"%s\":%s", name, bound);
}

static void put_integer(struct buf *to, const char *min, const char *max) {
    buf_puts(to, "\"anyOf\":[{\"type\":\"integer\"");
    put_bound(to, "minimum", min, "-9007199254740991", "9007199254740991");
    put_bound(to, "maximum", max, "-9007199254740991", "9007199254740991");
    bool negative = min == NULL || *min == '-';
    buf_printf(to, "},{\"type\":\"string\",\"pattern\":\"^%s[0-9]+$\"}]", negative ? "-?" : "");
}

static void put_choices(struct buf *to, const char *const *choices) {
    buf_puts(to, "\"enum\":[");
    for (size_t i = 0; choices[i] != NULL; i++) {
        if (i > 0)
            buf_putc(to, ',');
        put_string(to, choices[i]);
    }
    buf_putc(to, ']');
}

static void put_numbers(struct buf *to, bool reals) {
    buf_puts(to, "\"type\":\"array\",\"items\":{");
    if (reals)
        buf_puts(to, "\"anyOf\":[{\"type\":\"number\"},{\"type\":\"string\",\"pattern\":\"^-?[0-9]+$\"}]");
    else
        put_integer(to, NULL, NULL);
    buf_putc(to, '}');
}

static void put_kinds(struct buf *to, unsigned flags) {
    static const struct {
        unsigned flag;
        const char *name;
    } kinds[] = {{PARAM_NUMBER, "number"}, {PARAM_STRING, "string"}, {PARAM_BOOL, "boolean"},
                 {PARAM_ARRAY, "array"},   {PARAM_OBJECT, "object"}, {PARAM_NULL, "null"}};
    const char *before = "\"type\":[";
    if ((flags & PARAM_KINDS) == 0) {
        buf_puts(to, "\"title\":\"any JSON value\"");
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((flags & kinds[i].flag) == 0)
            continue;
        buf_printf(to, "%s\"%s\"", before, kinds[i].name);
        before = ",";
    }
    buf_putc(to, ']');
}

/* Bounds of the size in bytes, as those of the base64 text, whose padding can be left out. */
static void put_text_bounds(struct buf *to, const char *min, const char *max) {
    unsigned long long least = min == NULL ? 0 : strtoull(min, NULL, 10),
                       most = max == NULL ? 0 : strtoull(max, NULL, 10);
    if (min != NULL && least <= MAX_BOUND)
        buf_printf(to, ",\"minLength\":%llu", least / 3 * 4 + (least % 3 == 0 ? 0 : least % 3 + 1));
    if (max != NULL && most <= MAX_BOUND)
        buf_printf(to, ",\"maxLength\":%llu", (most + 2) / 3 * 4);
}

/* media_type: as in param_spec.choices; NULL: any. */
static void put_base64(struct buf *to, const struct param_spec *spec, const char *media_type) {
    buf_puts(to, "{\"type\":\"string\",\"contentEncoding\":\"base64\"");
    if (media_type != NULL) {
        size_t size = strlen(media_type);
        buf_printf(to, ",\"contentMediaType\":\"%s%s\"", media_type,
                   size > 0 && media_type[size - 1] == '/' ? "*" : "");
    }
    put_text_bounds(to, spec->min, spec->max);
    buf_puts(to, "},");
}

/* An object with only that member. */
static void put_single(struct buf *to, const char *name, const char *schema) {
    buf_printf(to,
               "{\"type\":\"object\",\"properties\":{\"%s\":{%s}},\"required\":[\"%s\"],"
               "\"additionalProperties\":false}",
               name, schema, name);
}

/* The ways to give binary data in JSON, see docs/binary.md. The text in base64 stands there once for each media type. */
static void put_bytes(struct buf *to, const struct param_spec *spec) {
    static const char natural[] = "\"type\":\"integer\",\"minimum\":0";
    static const char shm[] = "\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"
                              "\"offset\":{\"type\":\"integer\",\"minimum\":0},"
                              "\"length\":{\"type\":\"integer\",\"minimum\":0}},"
                              "\"required\":[\"name\"],\"additionalProperties\":false";
    buf_puts(to, "\"anyOf\":[");
    for (size_t i = 0; i == 0 || (spec->choices != NULL && spec->choices[i] != NULL); i++)
        put_base64(to, spec, spec->choices == NULL ? NULL : spec->choices[i]);
    put_single(to, "part", natural);
    buf_putc(to, ',');
    put_single(to, "job", "\"type\":\"string\"");
    buf_putc(to, ',');
    put_single(to, "shm", shm);
    buf_putc(to, ']');
}

static void put_texts(struct buf *to, bool tokens) {
    static const char ids[] =
        "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2147483647}}";
    buf_puts(to, "\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
    if (tokens)
        buf_printf(to, ",%s,{\"type\":\"array\",\"items\":%s}", ids, ids);
    buf_putc(to, ']');
}

static void put_kind(struct buf *to, const struct param_spec *spec) {
    switch (spec->kind) {
    case PARAM_INTEGER: put_integer(to, spec->min, spec->max); break;
    case PARAM_BOOLEAN: buf_puts(to, "\"type\":\"boolean\""); break;
    case PARAM_ENUM: put_choices(to, spec->choices); break;
    case PARAM_TEXT: buf_puts(to, "\"type\":\"string\""); break;
    case PARAM_TEXTS: put_texts(to, (spec->flags & PARAM_TOKENS) != 0); break;
    case PARAM_NUMBERS: put_numbers(to, (spec->flags & PARAM_REALS) != 0); break;
    case PARAM_JSON: put_kinds(to, spec->flags); break;
    case PARAM_BYTES: put_bytes(to, spec); break;
    }
}

static void put_property(struct buf *to, const struct param_spec *spec) {
    put_string(to, spec->name);
    buf_puts(to, ":{");
    put_kind(to, spec);
    if (spec->help != NULL) {
        buf_puts(to, ",\"description\":");
        put_string(to, spec->help);
    }
    if (spec->fallback != NULL)
        buf_printf(to, ",\"default\":%s", spec->fallback);
    buf_putc(to, '}');
}

static bool in_form(const struct params_table *t, unsigned row, unsigned form) {
    return (params_row_forms(t, row) >> form & 1) != 0;
}

/* Writes the members of the object schema of one form, without its braces. */
static void put_form(struct buf *to, const struct params_table *t, unsigned form) {
    const struct param_spec *specs = t->handler->params;
    bool first = true;
    buf_puts(to, "\"type\":\"object\",\"properties\":{");
    for (unsigned row = 0; row < t->rows; row++) {
        if (!in_form(t, row, form))
            continue;
        if (!first)
            buf_putc(to, ',');
        first = false;
        put_property(to, &specs[row]);
    }
    buf_puts(to, "},\"required\":[");
    first = true;
    for (unsigned row = 0; row < t->rows; row++) {
        if ((specs[row].flags & PARAM_REQUIRED) == 0 || !in_form(t, row, form))
            continue;
        if (!first)
            buf_putc(to, ',');
        first = false;
        put_string(to, specs[row].name);
    }
    buf_puts(to, "],\"additionalProperties\":false");
}

static void put_forms(struct buf *to, const struct params_table *t) {
    buf_puts(to, "\"anyOf\":[");
    for (unsigned form = 0; form < t->form_count; form++) {
        buf_puts(to, form > 0 ? ",{\"title\":" : "{\"title\":");
        put_string(to, t->handler->forms[form]);
        buf_putc(to, ',');
        put_form(to, t, form);
        buf_putc(to, '}');
    }
    buf_putc(to, ']');
}

static void put_params(struct buf *to, const struct params_table *t, const struct host_type *type) {
    if (type->schema != NULL) {
        buf_puts(to, type->schema);
        return;
    }
    buf_puts(to, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",");
    if (t->handler->forms == NULL)
        put_form(to, t, 0);
    else
        put_forms(to, t);
    buf_putc(to, '}');
}

static void put_flag(struct buf *to, const char *flag, size_t size) {
    if (to->data != NULL && to->data[to->size - 1] != '[')
        buf_putc(to, ',');
    buf_json_string(to, flag, size);
}

static void put_flags(struct buf *to, unsigned flags, const char *marks) {
    buf_puts(to, ",\"flags\":[");
    if ((flags & HANDLER_TEST) != 0)
        put_flag(to, "test", 4);
    if ((flags & HANDLER_SPAWN) != 0)
        put_flag(to, "spawn", 5);
    for (size_t size; marks != NULL && *marks != '\0'; marks += size + (marks[size] == ' ')) {
        size = strcspn(marks, " ");
        if (size > 0)
            put_flag(to, marks, size);
    }
    buf_putc(to, ']');
}

/* The media types of its results, if they can be something else than JSON, and the parameter that chooses one of them. */
static void put_results(struct buf *to, const struct handler *h) {
    if (h->results == NULL)
        return;
    buf_puts(to, ",\"results\":[");
    for (size_t i = 0; h->results[i] != NULL; i++) {
        if (i > 0)
            buf_putc(to, ',');
        put_string(to, h->results[i]);
    }
    buf_putc(to, ']');
    if (h->result_param == NULL)
        return;
    buf_puts(to, ",\"result_param\":");
    put_string(to, h->result_param);
}

void host_describe(size_t number, struct buf *out) {
    const struct params_table *t = registry_table(number);
    const struct host_type *type = host_type(number);
    if (t == NULL)
        return;
    buf_puts(out, "{\"name\":");
    put_string(out, t->handler->name);
    buf_puts(out, ",\"summary\":");
    put_string(out, t->handler->summary);
    buf_puts(out, ",\"source\":");
    put_string(out, type->source);
    buf_puts(out, ",\"params\":");
    put_params(out, t, type);
    put_flags(out, t->handler->flags, type->marks);
    put_results(out, t->handler);
    if (type->timeout_ms > 0)
        buf_printf(out, ",\"timeout\":%.10g", (double)type->timeout_ms / 1000);
    if (type->max_attempts > 0)
        buf_printf(out, ",\"max_attempts\":%u", type->max_attempts);
    buf_putc(out, '}');
}

/* A schema within another document has an $id, so that its references ("#/$defs/x") are still its own. */
void host_describe_submission(size_t number, struct buf *out) {
    const struct params_table *t = registry_table(number);
    const struct host_type *type = host_type(number);
    struct buf schema = {0};
    if (t == NULL || registry_is_builtin(number))
        return;
    put_params(&schema, t, type);
    out->failed |= schema.failed;
    if (!schema.failed) {
        size_t first = 1 + strspn(schema.data + 1, " \t\r\n"); /* behind the bracket */
        bool has_id = strstr(schema.data, "\"$id\"") != NULL, empty = schema.data[first] == '}';
        buf_printf(out, ",{\"properties\":{\"type\":{\"const\":\"%s\"},\"params\":{", t->handler->name);
        if (!has_id)
            buf_printf(out, "\"$id\":\"/v1/types/%s/params\"%s", t->handler->name, empty ? "" : ",");
        buf_append(out, schema.data + 1, schema.size - 1);
        buf_puts(out, "}}");
    }
    buf_deinit(&schema);
}
