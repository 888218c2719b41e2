/* submission.c: the body of POST /v1/jobs -> struct submission (host.h). All faults are collected before the
 * answer, so that a client can mend them in one go.
 *
 * Runs in the front end for small bodies, tens of thousands of times a second, and in workers for large ones. */
#include <stdlib.h>

#include "handlers/host/items.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/registry.h"

struct option {
    const char *name, *min, *max;
};

enum option_name {
    OPTION_PRIORITY,
    OPTION_TIMEOUT_MS,
    OPTION_QUEUE_TIMEOUT_MS,
    OPTION_MAX_ATTEMPTS,
    OPTION_TTL_S,
    OPTION_CHUNKS,
    OPTION_DELAY_MS,
    OPTIONS
};

static const struct option option_table[OPTIONS] = {
    [OPTION_PRIORITY] = {"priority", "0", "7"},
    [OPTION_TIMEOUT_MS] = {"timeout_ms", "1", "9007199254740991"},
    [OPTION_QUEUE_TIMEOUT_MS] = {"queue_timeout_ms", "0", "9007199254740991"},
    [OPTION_MAX_ATTEMPTS] = {"max_attempts", "1", "100"},
    [OPTION_TTL_S] = {"ttl_s", "0", "31536000"},
    [OPTION_CHUNKS] = {"chunks", "0", "4096"},
    [OPTION_DELAY_MS] = {"delay_ms", "0", "31536000000"}, /* 365 days */
};

static void set_option(struct submission_options *o, enum option_name name, int64_t value) {
    switch (name) {
    case OPTION_PRIORITY: o->priority = (int)value; break;
    case OPTION_TIMEOUT_MS: o->timeout_ms = value; break;
    case OPTION_QUEUE_TIMEOUT_MS: o->queue_timeout_ms = value; break;
    case OPTION_MAX_ATTEMPTS: o->max_attempts = value; break;
    case OPTION_TTL_S: o->ttl_s = value; break;
    case OPTION_CHUNKS: o->chunks = value; break;
    case OPTION_DELAY_MS: o->delay_ms = value; break;
    case OPTIONS: break;
    }
}

static void parse_isolation(const json_t *value, const struct place *at, struct submission_options *o,
                            struct faults *faults) {
    const char *text = jsontext_is_text(value) ? json_string_value(value) : "";
    o->fresh = strcmp(text, "fresh") == 0;
    if ((!o->fresh && strcmp(text, "pool") != 0) || strlen(text) != json_string_length(value))
        faults_add(faults, at, "must be \"pool\" or \"fresh\"");
}

static void parse_webhook(const json_t *value, const struct place *at, struct submission_options *o,
                          struct faults *faults) {
    size_t size = json_string_length(value);
    if (!jsontext_is_text(value)) {
        faults_add(faults, at, "must be a string, not %s", jsontext_kind(value));
    } else if (size == 0 || size > HOST_MAX_WEBHOOK) {
        faults_add(faults, at, "must be a URL of 1 to %d bytes", HOST_MAX_WEBHOOK);
    } else if (strlen(json_string_value(value)) != size) {
        faults_add(faults, at, "must not contain U+0000");
    } else {
        o->webhook = strdup(json_string_value(value));
        if (o->webhook == NULL)
            faults_add(faults, at, "there is no memory for it");
    }
}

static void parse_option(const char *name, const json_t *value, const struct place *at, struct submission_options *o,
                         struct faults *faults) {
    struct integer integer;
    int64_t number = 0;
    size_t i = 0;
    while (i < OPTIONS && strcmp(option_table[i].name, name) != 0)
        i++;
    if (strcmp(name, "isolation") == 0)
        parse_isolation(value, at, o, faults);
    else if (strcmp(name, "webhook") == 0)
        parse_webhook(value, at, o, faults);
    else if (i == OPTIONS)
        faults_add(faults, at,
                   "\"%.60s\" is not an option; there are priority, timeout_ms, queue_timeout_ms, max_attempts, ttl_s, "
                   "chunks, delay_ms, isolation and webhook",
                   name);
    else if (params_read_integer(value, option_table[i].min, option_table[i].max, at, &integer, faults) &&
             number_to_i64(integer.digits, integer.size, &number))
        set_option(o, (enum option_name)i, number);
}

static void parse_options(json_t *options, struct submission_options *o, struct faults *faults) {
    const struct place root = {.name = "options"};
    struct place at = {.up = &root};
    json_t *value;
    *o = (struct submission_options){.priority = -1, .timeout_ms = -1, .max_attempts = 3, .ttl_s = -1};
    if (options != NULL && !json_is_object(options)) {
        faults_add(faults, &root, "must be an object, not %s", jsontext_kind(options));
        return;
    }
    json_object_foreach(options, at.name, value) {
        parse_option(at.name, value, &at, o, faults);
        if (faults_full(faults))
            return;
    }
}

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

/* The text of a list that is not in the tree. */
struct divided {
    struct items_span list;
    unsigned max_depth; /* of an item */
};

/* The one call, or the many. */
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
    parse_options(m.options, &s->options, faults);
}

/* The quick way for a map: a tree of all but its items. False, with *s empty, if anything is wrong: then the whole text
 * is read, which finds out what. */
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
    free(s->options.webhook);
    s->options.webhook = NULL;
}
