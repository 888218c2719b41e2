/* submission.c: makes the body of POST /v1/jobs into a struct submission (host.h). It collects all faults, so that a
 * client can correct them at once. First the whole text is checked; then its values are read where they stand. So it
 * needs little more memory than the packed parameters. Most bodies take the quick way (submission_plain.h) instead.
 *
 * It runs in the front end for small bodies, tens of thousands of times a second, and in workers for large ones. */
#include <stdlib.h>
#include <unistd.h>

#include "handlers/host/attach.h"
#include "handlers/host/columns.h"
#include "handlers/host/items_format.h"
#include "handlers/host/items_pack.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"
#include "handlers/host/submission_plain.h"

static void report_unknown_type(const char *name, const struct place *at, struct faults *faults) {
    struct buf known = {0};
    for (size_t i = 0; i < host_count(); i++)
        if (host_handler(i) != NULL && !host_is_hidden(i))
            buf_printf(&known, "%s%s", known.size > 0 ? ", " : "", host_name(i));
    faults->code = "unknown_type";
    faults_add(faults, at, "there is no job type \"%.60s\"; there are %s", name, known.size > 0 ? known.data : "none");
    buf_deinit(&known);
}

/* The table of the type, or NULL after a fault. */
static const struct params_table *find_type(const json_t *value, struct submission *s, struct faults *faults) {
    const struct place at = {.name = "type"};
    if (!jsontext_is_text(value)) {
        faults_add(faults, &at, "must be a string, not %s", jsontext_kind(value));
        return NULL;
    }
    const char *name = json_string_value(value);
    int type = strlen(name) == json_string_length(value) ? host_find(name) : -1;
    if (type < 0) {
        report_unknown_type(name, &at, faults);
        return NULL;
    }
    s->type = (uint32_t)type;
    return registry_table((size_t)type);
}

static const struct params_table *parse_type(const struct json_span *text, struct submission *s,
                                             struct faults *faults) {
    if (text->at == NULL) {
        faults_add(faults, NULL, "type is required");
        return NULL;
    }
    json_t *value = jsontext_shallow(text);
    const struct params_table *table = value == NULL ? NULL : find_type(value, s, faults);
    s->params.failed |= value == NULL;
    json_decref(value);
    return table;
}

/* The values of the members; of those that are missing `at` is NULL. */
struct members {
    struct json_span type, params, items, options;
    struct columns columns;
    size_t item_count;        /* of an array */
    struct json_list longest; /* the longest array of all, which was found before */
};

/* Finds the end of the items, and counts them if they are an array. They are most often the longest one. */
static const char *find_items(const char *at, const char *end, struct members *m) {
    struct json_span item;
    m->items.at = at;
    if (at == m->longest.span.at) {
        m->item_count = m->longest.count;
        return m->longest.span.end;
    }
    if (*at != '[')
        return scan_whole_value(at, end);
    for (at++; scan_next_element(&at, end, &item);)
        m->item_count++;
    return at;
}

static void find_members(const struct json_span *body, struct members *m, struct faults *faults) {
    char text[JSONTEXT_NAME_ROOM];
    const struct place at = {.name = text};
    struct json_span name;
    for (const char *next = body->at + 1; next != NULL && scan_next_name(&next, body->end, &name);) {
        struct json_span *value = NULL;
        scan_string(&name, text, sizeof text);
        if (strcmp(text, "items") == 0) {
            m->items.end = next = find_items(next, body->end, m);
            continue;
        }
        if (strcmp(text, "columns") == 0) {
            next = columns_read(&m->columns, next, body->end);
            continue;
        }
        if (strcmp(text, "type") == 0)
            value = &m->type;
        else if (strcmp(text, "params") == 0)
            value = &m->params;
        else if (strcmp(text, "options") == 0)
            value = &m->options;
        else
            faults_add(faults, &at,
                       "\"%.60s\" is not a member of a job; there are type, params, items, columns and options", text);
        const char *start = next;
        next = scan_whole_value(start, body->end);
        if (value != NULL)
            *value = (struct json_span){start, next};
        if (faults_full(faults))
            return;
    }
}

/* Packs the params of the one call, or the items or columns of a map. */
static void parse_calls(const struct members *m, const struct params_table *table, struct submission *s,
                        struct faults *faults) {
    static const struct place params = {.name = "params"};
    const bool items = m->items.at != NULL, columns = m->columns.span.at != NULL;
    s->map = items || columns;
    if (s->map && m->params.at != NULL)
        faults_add(faults, items ? &items_place : &columns_place,
                   "cannot be combined with params: a job has one or the other");
    else if (items && columns)
        faults_add(faults, &columns_place, "cannot be combined with items: a job has one or the other");
    else if (items && table != NULL)
        s->items = items_pack(&m->items, m->item_count, &s->params, faults);
    else if (columns && table != NULL)
        s->items = columns_pack(&m->columns, table, &s->params, faults);
    else if (!s->map && table != NULL)
        params_pack(table, m->params.at == NULL ? NULL : &m->params, &params, &s->params, faults);
}

/* Each PARAM_BYTES gets its one form. Then the members are where they are in that text, from *m on. */
static void lower(struct members *m, const struct json_span *body, const struct params_table *table, uint32_t parts,
                  struct submission *s, struct faults *faults) {
    const struct columns *c = &m->columns;
    struct attach_body from = {*body, m->params, m->items, c->span, m->item_count};
    for (size_t i = 0; i < c->count; i++)
        from.calls = c->all[i].is_list ? c->all[i].count : from.calls;
    if (!attach_lower(table, &from, parts, s, faults)) {
        s->params.failed = true;
        return;
    }
    columns_deinit(&m->columns);
    *m = (struct members){
        {NULL, NULL},     {NULL, NULL}, {NULL, NULL}, {NULL, NULL}, {{NULL, NULL}, NULL, 0, 0, false}, 0,
        {{NULL, NULL}, 0}};
    struct json_span text = {s->text.data, s->text.data + s->text.size};
    find_members(&text, m, faults);
}

static void parse_body(const struct json_span *body, const struct json_list *longest, uint32_t parts,
                       struct submission *s, struct faults *faults) {
    struct members m = {.longest = *longest};
    if (*body->at != '{') {
        json_t *value = jsontext_shallow(body);
        faults_add(faults, NULL, "a job must be an object, not %s", value == NULL ? "this" : jsontext_kind(value));
        json_decref(value);
        return;
    }
    find_members(body, &m, faults);
    const struct params_table *table = parse_type(&m.type, s, faults);
    if (table != NULL && faults->count == 0 && (table->takes_bytes || parts > 0))
        lower(&m, body, table, parts, s, faults);
    parse_calls(&m, table, s, faults);
    registry_init_options(table == NULL ? HOST_MAX_TYPES : s->type, &s->options);
    options_parse(m.options.at == NULL ? NULL : &m.options, &s->options, faults);
    columns_deinit(&m.columns);
}

/* The value in a text that was checked, without the space around it. */
static struct json_span value_of(const void *json, size_t size) {
    const char *end = (const char *)json + size;
    while (scan_space(end - 1, end) == end)
        end--;
    return (struct json_span){scan_space(json, end), end};
}

static int conclude(struct faults *faults, const struct submission *s, struct fault *fault) {
    int rc = faults_finish(faults, fault);
    if (rc == 0 && s->params.failed)
        rc = fault_set(fault, "memory_limit", "there is no memory for the parameters");
    return rc;
}

int submission_parse(const void *json, size_t size, unsigned max_depth, uint32_t parts, struct submission *s,
                     struct fault *fault) {
    struct faults faults = {.code = "invalid_params"};
    struct json_list longest;
    memset(s, 0, sizeof *s);
    if (parts == 0 && submission_parse_plain(json, size, max_depth, s))
        return 0;
    buf_clear(&s->params);
    if (jsontext_check_body(json, size, max_depth, &longest, fault) != 0)
        return -1;
    struct json_span body = value_of(json, size);
    parse_body(&body, &longest, parts, s, &faults);
    return conclude(&faults, s, fault);
}

int submission_parse_params(uint32_t type, const void *json, size_t size, unsigned max_depth, struct submission *s,
                            struct fault *fault) {
    const struct params_table *table = registry_table(type);
    struct faults faults = {.code = "invalid_params"};
    memset(s, 0, sizeof *s);
    if (table == NULL || table->takes_bytes)
        return fault_set(fault, "handler_failed", "there is no job type number %u that takes a body", (unsigned)type);
    if (jsontext_check(json, size, max_depth, fault) != 0)
        return -1;
    struct json_span body = value_of(json, size);
    s->type = type;
    registry_init_options(type, &s->options);
    if (*body.at == '{')
        params_pack(table, &body, NULL, &s->params, &faults);
    else
        faults_add(&faults, NULL, "the body must be an object");
    return conclude(&faults, s, fault);
}

int submission_of_hidden(const char *type, const char *params, struct submission *s) {
    static const struct place at = {.name = "params"};
    const struct json_span object = {params, params + strlen(params)};
    struct faults faults = {.code = "invalid_params"};
    struct fault fault = {{0}};
    int number = host_known(type);
    memset(s, 0, sizeof *s);
    if (number < 0 || !host_is_hidden((size_t)number))
        return -1;
    s->type = (uint32_t)number;
    params_pack(registry_table(s->type), &object, &at, &s->params, &faults);
    registry_init_options(s->type, &s->options);
    int rc = faults_finish(&faults, &fault);
    fault_deinit(&fault);
    return rc != 0 || s->params.failed ? -1 : 0;
}

void submission_deinit(struct submission *s) {
    buf_deinit(&s->params);
    buf_deinit(&s->text);
    for (uint32_t i = 0; i < s->extra_count; i++) {
        struct host_extra *e = &s->extras[i];
        if (e->fd >= 0)
            close(e->fd);
        buf_deinit(&e->bytes);
        free(e->name);
        free(e->where);
    }
    free(s->extras);
    options_deinit(&s->options);
}
