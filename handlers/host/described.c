/* described.c: the types that are not built in, as JSON that a zygote sends and the front end takes. The front end runs
 * no code of others: it gets from a description all that it does with a type (checks, schemas, options, names).
 *
 *     [{"number": 10, "name": "thumb", "summary": "...", "flags": 0, "source": "plugin:./thumb.so", "schema": {...},
 *       "marks": "split", "files": ["..."], "timeout_ms": 0, "max_attempts": 0, "forms": ["..."],
 *       "params": [{"name": "n", "kind": 0, "flags": 1, "forms": 0, "min": "0", "max": "9", "fallback": "1",
 *                   "choices": ["..."], "help": "..."}]}]
 *
 * Members whose value is NULL are left out. The schema is the text as it was, in a string.
 *
 * It is written in the zygote and read in the front end, where all of it is hostile. */
#include <stdlib.h>

#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"

#define MAX_DEPTH 8
#define MAX_TEXT  (1u << 20) /* bytes of a schema; all other texts are shorter than MAX_LINE */
#define MAX_LINE  (16u << 10)
#define MAX_LIST  1024 /* choices of an enum, files of a type */

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *name, const char *text) {
    if (text == NULL)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json_string(out, text, strlen(text));
}

static void put_list(struct buf *out, const char *name, const char *const *list) {
    if (list == NULL)
        return;
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; list[i] != NULL; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_json_string(out, list[i], strlen(list[i]));
    }
    buf_putc(out, ']');
}

static void put_param(struct buf *out, const struct param_spec *p) {
    buf_printf(out, "{\"kind\":%u,\"flags\":%u,\"forms\":%u", (unsigned)p->kind, p->flags, p->forms);
    put_text(out, "name", p->name);
    put_text(out, "min", p->min);
    put_text(out, "max", p->max);
    put_text(out, "fallback", p->fallback);
    put_text(out, "help", p->help);
    put_list(out, "choices", p->kind == PARAM_ENUM || p->kind == PARAM_BYTES ? p->choices : NULL);
    buf_putc(out, '}');
}

static void put_type(struct buf *out, size_t number) {
    const struct host_type *t = host_type(number);
    const struct params_table *table = registry_table(number);
    buf_printf(out, "{\"number\":%zu,\"flags\":%u,\"timeout_ms\":%lld,\"max_attempts\":%u", number, t->handler->flags,
               (long long)t->timeout_ms, t->max_attempts);
    put_text(out, "name", t->handler->name);
    put_text(out, "summary", t->handler->summary);
    put_text(out, "source", t->source);
    put_text(out, "schema", t->schema);
    put_text(out, "marks", t->marks);
    put_list(out, "files", t->files);
    put_list(out, "forms", t->handler->forms);
    put_list(out, "results", t->handler->results);
    put_text(out, "result_param", t->handler->result_param);
    buf_puts(out, ",\"params\":[");
    for (unsigned row = 0; row < table->rows; row++) {
        if (row > 0)
            buf_putc(out, ',');
        put_param(out, &t->handler->params[row]);
    }
    buf_puts(out, "]}");
}

void host_describe_added(struct buf *out) {
    const char *before = "[";
    for (size_t i = 0; i < host_count(); i++) {
        if (host_type(i) == NULL || registry_is_builtin(i))
            continue;
        buf_puts(out, before);
        put_type(out, i);
        before = ",";
    }
    buf_puts(out, *before == '[' ? "[]" : "]");
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A type that is read. `bad` is set when something is not as put_type writes it. */
struct reader {
    struct registered *to;
    bool bad;
};

/* A text without NULs of at most `most` bytes; NULL if there is none. */
static const char *read_text(struct reader *r, const json_t *value, size_t most) {
    if (value == NULL)
        return NULL;
    size_t size = json_string_length(value);
    if (!jsontext_is_text(value) || size > most || strlen(json_string_value(value)) != size) {
        r->bad = true;
        return NULL;
    }
    return arena_text(&r->to->memory, json_string_value(value), size);
}

static const char *read_line(struct reader *r, const json_t *object, const char *name) {
    return read_text(r, json_object_get(object, name), MAX_LINE);
}

static const char *const *read_list(struct reader *r, const json_t *object, const char *name) {
    const json_t *list = json_object_get(object, name);
    if (list == NULL)
        return NULL;
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > MAX_LIST) {
        r->bad = true;
        return NULL;
    }
    const char **texts = arena_take(&r->to->memory, (count + 1) * sizeof *texts);
    for (size_t i = 0; texts != NULL && i < count; i++) {
        texts[i] = read_text(r, json_array_get(list, i), MAX_LINE);
        r->bad |= texts[i] == NULL;
    }
    return texts;
}

static int64_t read_number(struct reader *r, const json_t *object, const char *name, int64_t most) {
    const json_t *value = json_object_get(object, name);
    int64_t number = json_integer_value(value);
    if (json_is_integer(value) && number >= 0 && number <= most)
        return number;
    r->bad = true;
    return 0;
}

static void read_param(struct reader *r, const json_t *from, struct param_spec *p) {
    p->name = read_line(r, from, "name");
    p->kind = (enum param_kind)read_number(r, from, "kind", PARAM_BYTES);
    p->flags = (unsigned)read_number(r, from, "flags", UINT16_MAX);
    p->forms = (unsigned)read_number(r, from, "forms", INT32_MAX);
    p->min = read_line(r, from, "min");
    p->max = read_line(r, from, "max");
    p->fallback = read_line(r, from, "fallback");
    p->help = read_line(r, from, "help");
    p->choices = read_list(r, from, "choices");
    r->bad |= p->name == NULL;
}

static const struct param_spec *read_params(struct reader *r, const json_t *list) {
    size_t count = json_array_size(list);
    r->bad |= !json_is_array(list) || count > PARAMS_MAX;
    struct param_spec *specs = r->bad ? NULL : arena_take(&r->to->memory, (count + 1) * sizeof *specs);
    for (size_t i = 0; specs != NULL && i < count; i++)
        read_param(r, json_array_get(list, i), &specs[i]);
    return specs;
}

static bool is_json_object(const char *text) {
    struct fault fault = {0};
    bool good = *text == '{' && jsontext_check(text, strlen(text), 64, &fault) == 0;
    fault_deinit(&fault);
    return good;
}

/* Fills r->to. */
static int read_type(struct reader *r, const json_t *from, struct buf *error) {
    struct handler *h = &r->to->handler;
    struct host_type t = {.handler = h};
    h->abi = HANDLER_ABI;
    h->name = read_line(r, from, "name");
    h->summary = read_line(r, from, "summary");
    h->flags = (unsigned)read_number(r, from, "flags", UINT16_MAX);
    h->forms = read_list(r, from, "forms");
    h->results = read_list(r, from, "results");
    h->result_param = read_line(r, from, "result_param");
    h->params = read_params(r, json_object_get(from, "params"));
    t.source = read_line(r, from, "source");
    t.schema = read_text(r, json_object_get(from, "schema"), MAX_TEXT);
    t.marks = read_line(r, from, "marks");
    t.files = read_list(r, from, "files");
    t.timeout_ms = read_number(r, from, "timeout_ms", INT64_MAX);
    t.max_attempts = (unsigned)read_number(r, from, "max_attempts", INT32_MAX);
    if (r->bad || r->to->memory.failed || t.source == NULL || (t.schema != NULL && !is_json_object(t.schema))) {
        buf_puts(error, r->to->memory.failed ? "out of memory" : "a description is damaged");
        return -1;
    }
    r->to->described = true;
    return registered_fill(r->to, &t, error);
}

/* ---- taking ------------------------------------------------------------------------------------------------------ */

/* The types of one description, by number. */
struct described {
    struct registered *types[HOST_MAX_TYPES];
};

/* Reads a type and finds its place. What other names have got meanwhile is not known to the zygote. */
static int take_type(struct described *d, const json_t *from, struct buf *error) {
    struct registered *r = calloc(1, sizeof *r);
    struct reader reader = {.to = r};
    if (r == NULL) {
        buf_puts(error, "out of memory");
        return -1;
    }
    size_t number = (size_t)read_number(&reader, from, "number", HOST_MAX_TYPES - 1);
    int rc = read_type(&reader, from, error);
    if (rc == 0 && (d->types[number] != NULL || registry_is_builtin(number))) {
        buf_puts(error, "a description has a number that is taken");
        rc = -1;
    }
    for (size_t i = 0; rc == 0 && i < HOST_MAX_TYPES; i++) {
        bool same_name = (d->types[i] != NULL && strcmp(d->types[i]->handler.name, r->handler.name) == 0) ||
                         (registry_is_builtin(i) && strcmp(host_name(i), r->handler.name) == 0);
        if (same_name) {
            buf_printf(error, "there are two job types \"%s\"", r->handler.name);
            rc = -1;
        }
    }
    if (rc != 0)
        registered_free(r);
    else
        d->types[number] = r;
    return rc;
}

/* Gives each name its number, as the zygote has done it. */
static int number_types(struct described *d) {
    for (size_t i = 0; i < HOST_MAX_TYPES; i++)
        if (d->types[i] != NULL && host_number(d->types[i]->handler.name) != (int)i)
            return HOST_RENUMBERED;
    return 0;
}

static void put_types(struct described *d) {
    for (size_t i = 0; i < host_count(); i++) {
        if (d->types[i] == NULL && !registry_is_described(i))
            continue;
        registry_put(i, d->types[i]);
        d->types[i] = NULL;
    }
}

int host_take_described(const char *json, size_t size, struct buf *error) {
    struct described d = {{0}};
    struct fault fault = {0};
    json_t *list = jsontext_parse(json, size, MAX_DEPTH, &fault), *each;
    size_t i;
    int rc = json_is_array(list) ? 0 : -1;
    if (rc != 0)
        buf_puts(error, "the descriptions are damaged");
    json_array_foreach(list, i, each) {
        rc = rc == 0 ? take_type(&d, each, error) : rc;
    }
    if (rc == 0)
        rc = number_types(&d);
    if (rc == 0)
        put_types(&d);
    for (i = 0; i < HOST_MAX_TYPES; i++)
        registered_free(d.types[i]);
    json_decref(list);
    fault_deinit(&fault);
    return rc;
}
