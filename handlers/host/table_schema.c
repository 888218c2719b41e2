/* table_schema.c: makes a parameter table of a JSON Schema, as a program sends it (host.h, docs/programs.md). The table
 * never refuses what the schema accepts, but for integers, which follow the rule of handler.h, and binary data of another
 * media type than "contentMediaType". It can accept more: the program checks the rest.
 *
 * It runs in the zygote. */
#include <string.h>

#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/params.h"

#define MAX_DEPTH 64

struct reading {
    struct host_table *to;
    const json_t *schema;
    size_t count;
    bool binary; /* of the program */
    struct buf *error;
};

static int reject(struct reading *r, const char *where, const char *why) {
    buf_printf(r->error, "the schema of the parameters: %.160s%s%s", where, *where == '\0' ? "" : ": ", why);
    return -1;
}

static const char *keep(struct reading *r, const char *text) {
    return arena_text(&r->to->memory, text, strlen(text));
}

/* The flags of the type with this name; 0: it has none. An integer beyond 2^53-1 comes as a string. */
static unsigned kind_of_type(const json_t *type) {
    static const struct {
        const char *name;
        unsigned flags;
    } types[] = {{"null", PARAM_NULL},     {"boolean", PARAM_BOOL},  {"integer", PARAM_NUMBER | PARAM_STRING},
                 {"number", PARAM_NUMBER}, {"string", PARAM_STRING}, {"array", PARAM_ARRAY},
                 {"object", PARAM_OBJECT}};
    const char *name = json_string_value(type);
    for (size_t i = 0; name != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].flags;
    return 0;
}

/* A bound as decimal digits; NULL if it is no integer: then the program checks it. */
static const char *read_bound(struct reading *r, const json_t *value) {
    struct integer integer;
    const char *text;
    size_t size;
    bool good = false;
    if (jsontext_number(value, &text, &size)) {
        good = number_to_integer(text, size, &integer) == NUMBER_OK;
    } else if (json_is_integer(value)) {
        number_from_i64(json_integer_value(value), &integer);
        good = true;
    }
    return good ? arena_text(&r->to->memory, integer.digits, integer.size) : NULL;
}

/* The choices of an enum whose members are all strings; NULL if they are not. */
static const char *const *read_choices(struct reading *r, const json_t *list) {
    size_t count = json_array_size(list), i;
    const json_t *value;
    const char **choices = NULL;
    json_array_foreach(list, i, value) {
        if (!jsontext_is_text(value) || strlen(json_string_value(value)) != json_string_length(value))
            return NULL;
    }
    choices = count == 0 ? NULL : arena_take(&r->to->memory, (count + 1) * sizeof *choices);
    for (i = 0; choices != NULL && i < count; i++)
        choices[i] = keep(r, json_string_value(json_array_get(list, i)));
    return choices;
}

/* A string in base64 which the program takes as binary data; or that and null. */
static bool is_bytes(const struct reading *r, const json_t *property, unsigned *flags) {
    const json_t *any = json_object_get(property, "anyOf");
    const char *encoding = json_string_value(json_object_get(property, "contentEncoding"));
    const char *type = json_string_value(json_object_get(property, "type"));
    if (!r->binary)
        return false;
    if (json_array_size(any) == 2) {
        const json_t *first = json_array_get(any, 0), *second = json_array_get(any, 1);
        const char *other = json_string_value(json_object_get(second, "type"));
        *flags |= PARAM_NULL;
        return other != NULL && strcmp(other, "null") == 0 && json_object_get(first, "anyOf") == NULL &&
               is_bytes(r, first, flags);
    }
    return any == NULL && encoding != NULL && strcmp(encoding, "base64") == 0 && type != NULL &&
           strcmp(type, "string") == 0;
}

/* The media type of that string, as choices have it: "image/" for a range of all images. NULL: all are taken. */
static const char *const *read_media_type(struct reading *r, const json_t *property) {
    const json_t *first = json_array_get(json_object_get(property, "anyOf"), 0);
    const json_t *value = json_object_get(first != NULL ? first : property, "contentMediaType");
    const char *text = json_string_value(value), *slash = text == NULL ? NULL : strchr(text, '/');
    size_t size = text == NULL ? 0 : strcspn(text, "; ");
    if (slash == NULL || slash == text || size != json_string_length(value) || size > HANDLER_MAX_MEDIA_TYPE)
        return NULL;
    if (strcmp(slash, "/*") == 0)
        size--;
    const char **choices = arena_take(&r->to->memory, 2 * sizeof *choices);
    char *media_type = choices == NULL ? NULL : arena_text(&r->to->memory, text, size);
    for (char *at = media_type; at != NULL && *at != '\0'; at++)
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 'a' - 'A' : *at);
    if (choices != NULL)
        choices[0] = media_type;
    return choices;
}

/* What a property accepts. A schema that is none (true) accepts all. */
static int read_kind(struct reading *r, const char *name, const json_t *property, struct param_spec *spec) {
    const json_t *type = json_object_get(property, "type"), *list = json_object_get(property, "enum"), *each;
    const char *single = json_string_value(type);
    size_t i;
    unsigned flags = 0;
    spec->kind = PARAM_JSON;
    if (is_bytes(r, property, &flags)) {
        spec->kind = PARAM_BYTES;
        spec->flags |= flags;
        spec->choices = read_media_type(r, property);
        return 0;
    }
    if (list != NULL) {
        const char *const *choices = read_choices(r, list);
        spec->choices = choices;
        spec->kind = choices != NULL ? PARAM_ENUM : PARAM_JSON;
        return 0;
    }
    if (single != NULL && strcmp(single, "integer") == 0) {
        spec->kind = PARAM_INTEGER;
        spec->min = read_bound(r, json_object_get(property, "minimum"));
        spec->max = read_bound(r, json_object_get(property, "maximum"));
    } else if (single != NULL && strcmp(single, "boolean") == 0) {
        spec->kind = PARAM_BOOLEAN;
    } else if (single != NULL && strcmp(single, "string") == 0) {
        spec->kind = PARAM_TEXT;
    } else if (single != NULL) {
        spec->flags |= kind_of_type(type);
        return kind_of_type(type) == 0 ? reject(r, name, "\"type\" names no type of JSON Schema") : 0;
    }
    json_array_foreach(type, i, each) {
        if (kind_of_type(each) == 0)
            return reject(r, name, "\"type\" names no type of JSON Schema");
        spec->flags |= kind_of_type(each);
    }
    return 0;
}

static struct param_spec *find(struct reading *r, const char *name) {
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->to->specs[i].name, name) == 0)
            return &r->to->specs[i];
    return NULL;
}

static struct param_spec *add(struct reading *r, const char *name) {
    if (r->count == PARAMS_MAX) {
        buf_printf(r->error, "the schema of the parameters has more than %d properties", PARAMS_MAX);
        return NULL;
    }
    struct param_spec *spec = &r->to->specs[r->count];
    spec->name = keep(r, name);
    spec->kind = PARAM_JSON;
    r->count += spec->name != NULL;
    return spec->name != NULL ? spec : NULL;
}

/* The help of the client is one line. */
static const char *read_help(struct reading *r, const json_t *text) {
    const char *line = jsontext_is_text(text) ? json_string_value(text) : NULL;
    size_t size = line == NULL ? 0 : strcspn(line, "\n");
    return size == 0 ? NULL : arena_text(&r->to->memory, line, size);
}

static int read_properties(struct reading *r) {
    json_t *properties = json_object_get(r->schema, "properties"), *property;
    const char *name;
    if (properties != NULL && !json_is_object(properties))
        return reject(r, "", "\"properties\" is no object");
    json_object_foreach(properties, name, property) {
        if (!json_is_object(property) && !json_is_true(property))
            return reject(r, name, "its schema is neither an object nor true");
        struct param_spec *spec = add(r, name);
        if (spec == NULL || read_kind(r, name, property, spec) != 0)
            return -1;
        spec->help = read_help(r, json_object_get(property, "description"));
    }
    return 0;
}

static int read_required(struct reading *r) {
    const json_t *required = json_object_get(r->schema, "required"), *name;
    size_t i;
    if (required != NULL && !json_is_array(required))
        return reject(r, "", "\"required\" is no array");
    json_array_foreach(required, i, name) {
        if (!jsontext_is_text(name))
            return reject(r, "", "\"required\" has a member that is no string");
        struct param_spec *spec = find(r, json_string_value(name));
        if (spec == NULL)
            spec = add(r, json_string_value(name));
        if (spec == NULL)
            return -1;
        spec->flags |= PARAM_REQUIRED;
    }
    return 0;
}

static int read_schema(struct reading *r) {
    const json_t *type = json_object_get(r->schema, "type"), *more = json_object_get(r->schema, "additionalProperties");
    const char *name = json_string_value(type);
    if (!json_is_object(r->schema))
        return reject(r, "", "it is no object");
    if (type != NULL && (name == NULL || strcmp(name, "object") != 0))
        return reject(r, "", "its \"type\" is not \"object\"");
    r->to->specs = arena_take(&r->to->memory, (PARAMS_MAX + 1) * sizeof *r->to->specs);
    r->to->flags = HANDLER_WHOLE_PARAMS;
    if (more != NULL && !json_is_false(more))
        r->to->flags |= HANDLER_OPEN_PARAMS;
    if (r->to->specs == NULL)
        return -1;
    return read_properties(r) != 0 ? -1 : read_required(r);
}

int host_table_from_schema(const char *json, size_t size, bool binary, struct host_table *out, struct buf *error) {
    struct fault fault = {0};
    memset(out, 0, sizeof *out);
    json_t *schema = jsontext_parse(json, size, MAX_DEPTH, &fault);
    struct reading r = {.to = out, .schema = schema, .binary = binary, .error = error};
    int rc = schema == NULL ? reject(&r, "", "it is not JSON, or too deep") : read_schema(&r);
    if (out->memory.failed && error->size == 0)
        buf_puts(error, "out of memory");
    json_decref(schema);
    fault_deinit(&fault);
    return out->memory.failed ? -1 : rc;
}

void host_table_deinit(struct host_table *t) {
    arena_deinit(&t->memory);
    memset(t, 0, sizeof *t);
}
