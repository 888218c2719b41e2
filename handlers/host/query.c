/* query.c: submissions that are not written as JSON: the query of a request whose body is the data, and the choice of a
 * result by the header Accept (host.h). Both make JSON, so that all that follows is the same for every request.
 *
 * It runs in the front end. */
#include <stdlib.h>

#include "handlers/host/fault.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"
#include "handlers/host/scan.h"

#define MAX_DEPTH  64   /* of a value in a query */
#define BODY_DEPTH 2048 /* beyond all that --max-json-depth allows */
#define OPTION     "options."

/* ---- a query ----------------------------------------------------------------------------------------------------- */

static bool is_json(const char *text) {
    struct fault ignored = {{0}};
    bool good = text[0] != '\0' && jsontext_check(text, strlen(text), MAX_DEPTH, &ignored) == 0;
    fault_deinit(&ignored);
    return good;
}

static bool is_number(const char *text) {
    const char *at = scan_space(text, text + strlen(text));
    return at == text && (*at == '-' || (*at >= '0' && *at <= '9')) && is_json(text);
}

static void put_text(struct buf *to, const char *text) {
    buf_json_string(to, text, strlen(text));
}

/* Writes a value as its kind wants it. What is of another kind becomes text, and is reported as such. */
static void put_value(struct buf *to, const struct param_spec *spec, const char *text) {
    bool raw = false;
    switch (spec->kind) {
    case PARAM_INTEGER: raw = is_number(text); break;
    case PARAM_BOOLEAN: raw = strcmp(text, "true") == 0 || strcmp(text, "false") == 0; break;
    case PARAM_ENUM:
    case PARAM_TEXT: break;
    case PARAM_TEXTS: raw = text[0] == '[' && is_json(text); break;
    case PARAM_NUMBERS:
    case PARAM_JSON: raw = is_json(text); break;
    case PARAM_BYTES: raw = text[0] == '{' && is_json(text); break;
    }
    if (raw)
        buf_puts(to, text);
    else
        put_text(to, text);
}

static const struct param_spec *find_spec(const struct handler *h, const char *name) {
    for (const struct param_spec *p = h == NULL ? NULL : h->params; p != NULL && p->name != NULL; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

/* Writes the pairs whose names begin with the prefix, or, with NULL, all others but the type. */
static void put_pairs(struct buf *to, const struct handler *h, const struct host_pair *pairs, size_t count,
                      const char *prefix) {
    static const struct param_spec any = {.kind = PARAM_JSON}, text = {.kind = PARAM_TEXT};
    const size_t size = sizeof OPTION - 1;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        bool is_option = strncmp(pairs[i].name, OPTION, size) == 0;
        const char *name = pairs[i].name + (is_option ? size : 0);
        if (is_option != (prefix != NULL) || (!is_option && strcmp(name, "type") == 0))
            continue;
        const struct param_spec *spec = find_spec(h, name);
        if (is_option)
            spec = is_number(pairs[i].value) ? &any : &text;
        else if (spec == NULL)
            spec = &any;
        buf_puts(to, first ? "" : ",");
        put_text(to, name);
        buf_putc(to, ':');
        put_value(to, spec, pairs[i].value);
        first = false;
    }
}

int host_query_to_json(const struct host_pair *pairs, size_t count, struct buf *json, struct fault *fault) {
    const char *type = NULL;
    bool options = false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i].name, "type") == 0)
            type = pairs[i].value;
        options |= strncmp(pairs[i].name, OPTION, sizeof OPTION - 1) == 0;
    }
    if (type == NULL)
        return fault_set(fault, "invalid_params", "the query has no type, which says what is to be done with the body");
    int number = host_find(type);
    const struct handler *h = number < 0 ? NULL : host_handler((size_t)number);
    buf_puts(json, "{\"type\":");
    put_text(json, type);
    buf_puts(json, ",\"params\":{");
    put_pairs(json, h, pairs, count, NULL);
    buf_putc(json, '}');
    if (options) {
        buf_puts(json, ",\"options\":{");
        put_pairs(json, h, pairs, count, OPTION);
        buf_putc(json, '}');
    }
    buf_putc(json, '}');
    return json->failed ? fault_set(fault, "memory_limit", "there is no memory for the parameters") : 0;
}

/* ---- Accept ------------------------------------------------------------------------------------------------------ */

/* How much the client wants that media type, which it must name: what it wants of "image/" as a whole says nothing about
 * one of them, and is left to the handler. */
static unsigned quality_of(const char *media_type, const struct host_range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(ranges[i].name, media_type) == 0)
            return ranges[i].quality;
    return 0;
}

/* The result that the client wants most; the first of those that it wants equally. -1: it wants none, or rather JSON,
 * which the result can be, too. */
static int choose(const struct handler *h, const struct host_range *ranges, size_t count) {
    int best = -1, i;
    unsigned quality = 0;
    for (i = 0; h->results[i] != NULL; i++) {
        unsigned q = quality_of(h->results[i], ranges, count);
        if (q > quality) {
            quality = q;
            best = i;
        }
    }
    bool can_be_json = find_spec(h, h->result_param)->choices[i] != NULL;
    return can_be_json && quality_of("application/json", ranges, count) >= quality ? -1 : best;
}

/* What is known of the body. */
struct outline {
    const struct handler *handler;
    struct json_span params;
    bool has_calls; /* items or columns: each of them says what it wants by itself */
};

static void read_outline(const char *json, size_t size, struct outline *o) {
    char text[JSONTEXT_NAME_ROOM];
    struct json_span name, value;
    const char *end = json + size, *at = scan_space(json, end);
    if (at == end || *at != '{')
        return;
    for (at++; scan_next_member(&at, end, &name, &value);) {
        scan_string(&name, text, sizeof text);
        if (strcmp(text, "params") == 0)
            o->params = value;
        else if (strcmp(text, "items") == 0 || strcmp(text, "columns") == 0)
            o->has_calls = true;
        else if (strcmp(text, "type") == 0 && *value.at == '"') {
            scan_string(&value, text, sizeof text);
            int number = host_find(text);
            o->handler = number < 0 ? NULL : host_handler((size_t)number);
        }
    }
}

/* Is the parameter given? */
static bool has_param(const struct json_span *params, const char *wanted) {
    char text[JSONTEXT_NAME_ROOM];
    struct json_span name, value;
    for (const char *at = params->at + 1; scan_next_member(&at, params->end, &name, &value);) {
        scan_string(&name, text, sizeof text);
        if (strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

static void put_choice(struct buf *to, const struct handler *h, int choice) {
    put_text(to, h->result_param);
    buf_putc(to, ':');
    put_text(to, find_spec(h, h->result_param)->choices[choice]);
}

void host_choose_result(const char *json, size_t size, const struct host_range *ranges, size_t count, struct buf *out) {
    struct outline o = {0};
    struct fault ignored = {{0}};
    bool good = jsontext_check(json, size, BODY_DEPTH, &ignored) == 0;
    fault_deinit(&ignored);
    if (!good)
        return;
    read_outline(json, size, &o);
    if (o.handler == NULL || o.handler->results == NULL || o.handler->result_param == NULL || o.has_calls ||
        (o.params.at != NULL && (*o.params.at != '{' || has_param(&o.params, o.handler->result_param))))
        return;
    int choice = choose(o.handler, ranges, count);
    if (choice < 0)
        return;
    const char *end = json + size;
    if (o.params.at != NULL) { /* behind its brace */
        const char *next = scan_space(o.params.at + 1, end);
        buf_append(out, json, (size_t)(o.params.at + 1 - json));
        put_choice(out, o.handler, choice);
        buf_puts(out, *next == '}' ? "" : ",");
        buf_append(out, next, (size_t)(end - next));
        return;
    }
    const char *start = scan_space(json, end) + 1; /* behind the brace of all: it has a type */
    buf_puts(out, "{\"params\":{");
    put_choice(out, o.handler, choice);
    buf_puts(out, "},");
    buf_append(out, start, (size_t)(end - start));
}
