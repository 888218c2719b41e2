/* execute.c: calls plan, run and merge of a handler (host.h, execute.h). The functions that a handler calls are in
 * call.c, params_view.c and output.c.
 *
 * It runs in workers. */
#include "handlers/host/execute.h"

#include <stdio.h>
#include <stdlib.h>

#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"

/* ---- aligned bytes ----------------------------------------------------------------------------------------------- */

bool execute_align(struct bytes *b, void **copy) {
    static const uint64_t nothing;
    if (b->size == 0)
        b->data = &nothing;
    if ((uintptr_t)b->data % 8 == 0)
        return true;
    *copy = malloc(b->size);
    if (*copy == NULL)
        return false;
    memcpy(*copy, b->data, b->size);
    b->data = *copy;
    return true;
}

static bool align_all(struct bytes *list, size_t count, void **copies) {
    for (size_t i = 0; i < count; i++)
        if (!execute_align(&list[i], &copies[i]))
            return false;
    return true;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

int execute_conclude(struct call *c, int returned) {
    if (c->mapping_count > 0)
        call_unmap(c);
    if (c->failed)
        return c->fault->loss.cause != HOST_NOT_LOST ? HOST_LOST : -1;
    if (returned == 0)
        return 0;
    if (call_cancelled(c))
        return HOST_CANCELLED;
    return call_fail(c, CALL_FAILED, NULL, "the %s handler gave no reason for its failure", c->handler->name);
}

bool execute_is_cancelled(const struct host_hooks *hooks) {
    return hooks != NULL && hooks->cancelled != NULL && hooks->cancelled(hooks->arg);
}

int execute_no_memory(struct fault *fault) {
    return fault_set(fault, "memory_limit", "there is no memory for the work");
}

int execute_no_type(size_t type, struct fault *fault) {
    const char *name = host_name(type);
    if (name != NULL) /* it was there when the job was submitted */
        return fault_set(fault, "unknown_type", "the job type \"%s\" is gone: nothing that is loaded has it", name);
    return fault_set(fault, "handler_failed", "there is no job type number %zu", type);
}

/* Is the media type one of those? An entry that ends with "/" stands for all that begin with it. What is not known can
 * be anything. */
static bool is_taken(const char *const *types, const char *media_type) {
    if (types == NULL || media_type[0] == '\0' || strcmp(media_type, "application/octet-stream") == 0)
        return true;
    for (; *types != NULL; types++) {
        size_t size = strlen(*types);
        bool prefix = size > 0 && (*types)[size - 1] == '/';
        if (prefix ? strncmp(*types, media_type, size) == 0 : strcmp(*types, media_type) == 0)
            return true;
    }
    return false;
}

/* Fails the call if the attachment cannot be the value of that parameter. */
static int check_attachment(struct call *c, const struct param_spec *spec, uint32_t number) {
    const struct host_attachment *a = host_attachment(c->hooks == NULL ? NULL : c->hooks->attachments, number);
    char pointer[JSONTEXT_NAME_ROOM + 1];
    snprintf(pointer, sizeof pointer, "/%s", spec->name);
    if (a == NULL)
        return call_fail(c, CALL_INVALID, pointer, "there is no data part %u", number);
    if (!is_taken(spec->choices, a->media_type))
        return call_fail(c, CALL_INVALID, pointer, "%s is not taken here", a->media_type);
    if (spec->min != NULL && a->size < strtoull(spec->min, NULL, 10))
        return call_fail(c, CALL_INVALID, pointer, "must have at least %s bytes, and has %llu", spec->min,
                         (unsigned long long)a->size);
    if (spec->max != NULL && a->size > strtoull(spec->max, NULL, 10))
        return call_fail(c, CALL_INVALID, pointer, "must have at most %s bytes, and has %llu", spec->max,
                         (unsigned long long)a->size);
    return 0;
}

static int check_attachments(struct call *c, const struct params *params) {
    const struct params_table *t = params->table;
    uint32_t number;
    for (unsigned row = 0; row < t->rows; row++)
        if (params_attachment(params, row, &number) && check_attachment(c, &t->handler->params[row], number) != 0)
            return -1;
    return 0;
}

static int plan_viewed(struct call *c, struct params *params) {
    params->attachments = c->hooks == NULL ? NULL : c->hooks->attachments;
    if (params->table->takes_bytes && check_attachments(c, params) != 0)
        return -1;
    int rc = execute_conclude(c, params->table->handler->plan(c, params));
    if (rc == 0 && c->plan->count == 0)
        rc = call_fail(c, CALL_FAILED, NULL, "the %s handler planned nothing", c->handler->name);
    return rc;
}

int execute_plan(struct call *c, const struct params_table *table, struct bytes packed) {
    struct params params;
    return params_view(table, packed.data, packed.size, &params, c->fault) == 0 ? plan_viewed(c, &params) : -1;
}

int execute_plan_own(struct call *c, const struct params_table *table, const void *packed) {
    struct params params;
    params_view_own(table, packed, &params);
    return plan_viewed(c, &params);
}

int execute_run(struct call *c, const struct handler *handler, struct bytes common, struct bytes chunk) {
    return execute_conclude(c, handler->run(c, common, chunk));
}

int execute_merge(struct call *c, const struct handler *handler, struct bytes common, const struct bytes *parts,
                  size_t count) {
    c->parts = parts;
    c->part_count = count;
    int returned = handler->merge(c, common, parts, count);
    if (returned == 0)
        output_finish(c);
    return execute_conclude(c, returned);
}

/* ---- host.h ------------------------------------------------------------------------------------------------------ */

void host_plan_deinit(struct host_plan *p) {
    free(p->chunks);
    buf_deinit(&p->common);
    buf_deinit(&p->bytes);
    memset(p, 0, sizeof *p);
}

int host_plan(size_t type, const void *params, size_t size, unsigned wanted_chunks, const struct host_hooks *hooks,
              struct host_plan *plan, struct fault *fault) {
    const struct params_table *table = registry_table(type);
    memset(plan, 0, sizeof *plan);
    if (table == NULL)
        return execute_no_type(type, fault);
    struct call c = {.stage = CALL_STAGE_PLAN,
                     .handler = table->handler,
                     .hooks = hooks,
                     .fault = fault,
                     .traceback_left = TRACEBACK_MAX,
                     .wanted_chunks = wanted_chunks < HANDLER_MAX_CHUNKS ? wanted_chunks : HANDLER_MAX_CHUNKS,
                     .plan = plan};
    struct bytes packed = {params, size};
    void *copy = NULL;
    int rc = execute_align(&packed, &copy) ? execute_plan(&c, table, packed) : execute_no_memory(fault);
    free(copy);
    return rc;
}

int host_run(size_t type, unsigned attempt, struct bytes common, struct bytes chunk, const struct host_hooks *hooks,
             struct buf *part, struct fault *fault) {
    const struct handler *handler = host_handler(type);
    if (handler == NULL)
        return execute_no_type(type, fault);
    struct call c = {.stage = CALL_STAGE_RUN,
                     .handler = handler,
                     .hooks = hooks,
                     .fault = fault,
                     .traceback_left = TRACEBACK_MAX,
                     .attempt = attempt,
                     .out = part,
                     .out_start = part->size};
    struct bytes inputs[2] = {common, chunk};
    void *copies[2] = {0};
    bool aligned = align_all(inputs, 2, copies);
    int rc = aligned ? execute_run(&c, handler, inputs[0], inputs[1]) : execute_no_memory(fault);
    free(copies[0]);
    free(copies[1]);
    return rc;
}

int host_merge(size_t type, struct bytes common, const struct bytes *parts, size_t count,
               const struct host_hooks *hooks, struct buf *json, struct fault *fault) {
    const struct handler *handler = host_handler(type);
    if (handler == NULL)
        return execute_no_type(type, fault);
    struct call c = {.stage = CALL_STAGE_MERGE,
                     .handler = handler,
                     .hooks = hooks,
                     .fault = fault,
                     .traceback_left = TRACEBACK_MAX,
                     .out = json,
                     .json_states = {JSON_DOCUMENT_START}};
    struct bytes *inputs = calloc(count + 1, sizeof *inputs); /* the common bytes, then the parts */
    void **copies = calloc(count + 1, sizeof *copies);
    int rc = -1;
    if (count == 0) { /* every plan has a chunk */
        call_fail(&c, CALL_FAILED, NULL, "there are no parts to merge");
        goto out;
    }
    if (inputs == NULL || copies == NULL)
        goto out;
    inputs[0] = common;
    if (count > 0)
        memcpy(inputs + 1, parts, count * sizeof *parts);
    if (align_all(inputs, count + 1, copies))
        rc = execute_merge(&c, handler, inputs[0], inputs + 1, count);
    for (size_t i = 0; i <= count; i++)
        free(copies[i]);
out:
    if (rc == -1 && !c.failed)
        execute_no_memory(fault);
    free(copies);
    free(inputs);
    return rc;
}
