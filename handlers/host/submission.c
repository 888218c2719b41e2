/* submission.c: makes the body of POST /v1/jobs into a struct submission (host.h). It collects all faults, so that a
 * client can correct them at once.
 *
 * It runs in the front end for small bodies, tens of thousands of times a second, and in workers for large ones. */
#include "handlers/host/items_format.h"
#include "handlers/host/items_pack.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"

static void report_unknown_type(const char *name, const struct place *at, struct faults *faults) {
    struct buf known = {0};
    for (size_t i = 0; i < host_count(); i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", host_handler(i)->name);
    faults->code = "unknown_type";
    faults_add(faults, at, "there is no job type \"%.60s\"; there are %s", name, known.size > 0 ? known.data : "none");
    buf_deinit(&known);
}

/* The table of the type, or NULL after a fault. */
static const struct params_table *parse_type(const json_t *value, struct submission *s, struct faults *faults) {
    const struct place at = {.name = "type"};
    if (value == NULL) {
        faults_add(faults, NULL, "type is required");
        return NULL;
    }
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

struct members {
    json_t *type, *params, *items, *options;
};

static void find_members(json_t *body, struct members *m, struct faults *faults) {
    struct place at = {0};
    json_t *value;
    json_object_foreach(body, at.name, value) {
        if (strcmp(at.name, "type") == 0)
            m->type = value;
        else if (strcmp(at.name, "params") == 0)
            m->params = value;
        else if (strcmp(at.name, "items") == 0)
            m->items = value;
        else if (strcmp(at.name, "options") == 0)
            m->options = value;
        else
            faults_add(faults, &at, "\"%.60s\" is not a member of a job; there are type, params, items and options",
                       at.name);
        if (faults_full(faults))
            return;
    }
}

/* The text of the items, which are not in the tree. */
struct divided {
    struct items_span list;
    unsigned max_depth; /* of an item */
};

/* Packs the params of the one call, or the items of a map. */
static void parse_calls(const struct members *m, const struct params_table *table, const struct divided *divided,
                        struct submission *s, struct faults *faults) {
    static const struct place params = {.name = "params"};
    s->map = m->items != NULL;
    if (divided != NULL && table != NULL &&
        !items_pack_text(table, &divided->list, divided->max_depth, &s->params, &s->items))
        faults_add(faults, &items_place, "must be read as a whole");
    if (s->map && m->params != NULL)
        faults_add(faults, &items_place, "cannot be combined with params: a job has one or the other");
    else if (s->map && table != NULL && divided == NULL)
        s->items = items_pack(table, m->items, &s->params, faults);
    else if (!s->map && table != NULL)
        params_pack(table, m->params, &params, &s->params, faults);
}

static void parse_body(json_t *body, const struct divided *divided, struct submission *s, struct faults *faults) {
    struct members m = {0};
    if (!json_is_object(body)) {
        faults_add(faults, NULL, "a job must be an object, not %s", jsontext_kind(body));
        return;
    }
    find_members(body, &m, faults);
    const struct params_table *table = parse_type(m.type, s, faults);
    parse_calls(&m, table, divided, s, faults);
    options_parse(m.options, &s->options, faults);
}

/* The quick way for a map: the tree has all but the items. False, with *s empty, if anything is wrong. Then the whole
 * text is read, to find out what that is. */
static bool parse_divided(const char *json, size_t size, unsigned max_depth, struct submission *s) {
    struct faults faults = {.code = "invalid_params"};
    struct fault fault = {{0}};
    struct divided divided = {.max_depth = max_depth - 2};
    struct buf rest = {0};
    if (max_depth < 3 || !items_find(json, size, &divided.list))
        return false;
    const char *behind = divided.list.text + divided.list.size;
    buf_append(&rest, json, (size_t)(divided.list.text - json));
    buf_puts(&rest, "[]");
    buf_append(&rest, behind, (size_t)(json + size - behind));
    json_t *body = rest.failed ? NULL : jsontext_parse(rest.data, rest.size, max_depth, &fault);
    if (body != NULL)
        parse_body(body, &divided, s, &faults);
    bool good = faults_finish(&faults, &fault) == 0 && body != NULL && !s->params.failed;
    json_decref(body);
    buf_deinit(&rest);
    fault_deinit(&fault);
    if (!good) {
        submission_deinit(s);
        memset(s, 0, sizeof *s);
    }
    return good;
}

int submission_parse(const void *json, size_t size, unsigned max_depth, struct submission *s, struct fault *fault) {
    struct faults faults = {.code = "invalid_params"};
    memset(s, 0, sizeof *s);
    if (parse_divided(size > 0 ? json : "", size, max_depth, s))
        return 0;
    json_t *body = jsontext_parse(json, size, max_depth, fault);
    if (body == NULL)
        return -1;
    parse_body(body, NULL, s, &faults);
    json_decref(body);
    int rc = faults_finish(&faults, fault);
    if (rc == 0 && s->params.failed)
        rc = fault_set(fault, "memory_limit", "there is no memory for the parameters");
    return rc;
}

void submission_deinit(struct submission *s) {
    buf_deinit(&s->params);
    options_deinit(&s->options);
}
