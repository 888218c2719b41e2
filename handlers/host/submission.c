/* submission.c: the body of POST /v1/jobs -> struct submission (host.h). All faults are collected before the
 * answer, so that a client can mend them in one go.
 *
 * Runs in the front end for small bodies, tens of thousands of times a second, and in workers for large ones. */
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
    OPTIONS
};

static const struct option option_table[OPTIONS] = {
    [OPTION_PRIORITY] = {"priority", "0", "7"},
    [OPTION_TIMEOUT_MS] = {"timeout_ms", "1", "9007199254740991"},
    [OPTION_QUEUE_TIMEOUT_MS] = {"queue_timeout_ms", "0", "9007199254740991"},
    [OPTION_MAX_ATTEMPTS] = {"max_attempts", "1", "100"},
    [OPTION_TTL_S] = {"ttl_s", "0", "31536000"},
    [OPTION_CHUNKS] = {"chunks", "0", "4096"},
};

static void set_option(struct submission_options *o, enum option_name name, int64_t value) {
    switch (name) {
    case OPTION_PRIORITY: o->priority = (int)value; break;
    case OPTION_TIMEOUT_MS: o->timeout_ms = value; break;
    case OPTION_QUEUE_TIMEOUT_MS: o->queue_timeout_ms = value; break;
    case OPTION_MAX_ATTEMPTS: o->max_attempts = value; break;
    case OPTION_TTL_S: o->ttl_s = value; break;
    case OPTION_CHUNKS: o->chunks = value; break;
    case OPTIONS: break;
    }
}

static void parse_isolation(const json_t *value, const struct place *at, struct submission_options *o,
                            struct faults *faults) {
    const char *word = jsontext_is_text(value) ? json_string_value(value) : "";
    o->fresh = strcmp(word, "fresh") == 0;
    if (!o->fresh && strcmp(word, "pool") != 0)
        faults_add(faults, at, "must be \"pool\" or \"fresh\"");
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
    else if (i == OPTIONS)
        faults_add(faults, at,
                   "\"%.60s\" is not an option; there are priority, timeout_ms, queue_timeout_ms, max_attempts, ttl_s "
                   "and chunks",
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
    json_t *type, *params, *options;
};

static void find_members(json_t *body, struct members *m, struct faults *faults) {
    struct place at = {0};
    json_t *value;
    json_object_foreach(body, at.name, value) {
        if (strcmp(at.name, "type") == 0)
            m->type = value;
        else if (strcmp(at.name, "params") == 0)
            m->params = value;
        else if (strcmp(at.name, "options") == 0)
            m->options = value;
        else
            faults_add(faults, &at, "\"%.60s\" is not a member of a job; there are type, params and options", at.name);
        if (faults_full(faults))
            return;
    }
}

static void parse_body(json_t *body, struct submission *s, struct faults *faults) {
    static const struct place params = {.name = "params"};
    struct members m = {0};
    if (!json_is_object(body)) {
        faults_add(faults, NULL, "a job must be an object, not %s", jsontext_kind(body));
        return;
    }
    find_members(body, &m, faults);
    const struct params_table *table = parse_type(m.type, s, faults);
    if (table != NULL)
        params_pack(table, m.params, &params, &s->params, faults);
    parse_options(m.options, &s->options, faults);
}

int submission_parse(const void *json, size_t size, unsigned max_depth, struct submission *s, struct fault *fault) {
    struct faults faults = {.code = "invalid_params"};
    memset(s, 0, sizeof *s);
    json_t *body = jsontext_parse(json, size, max_depth, fault);
    if (body == NULL)
        return -1;
    parse_body(body, s, &faults);
    json_decref(body);
    int rc = faults_finish(&faults, fault);
    if (rc == 0 && s->params.failed)
        rc = fault_set(fault, "memory_limit", "there is no memory for the parameters");
    return rc;
}

void submission_deinit(struct submission *s) {
    buf_deinit(&s->params);
}
