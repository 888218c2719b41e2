/* job.h: runs whole jobs inside a test, without processes: submission, plan, every chunk, merge.
 *
 *     char *json = job_run("primes", "{\"start\":0,\"stop\":100}", 4);
 *     assert_string_equal(json, "{\"count\":25}");
 *     free(json);
 */
#ifndef OFFLOAD_TESTS_JOB_H
#define OFFLOAD_TESTS_JOB_H

#include <stdio.h>
#include <stdlib.h>

#include "handlers/host/host.h"

/* Once per test program: all types, the test types too, are known and loaded. */
static inline void job_init(void) {
    static bool done;
    if (done)
        return;
    struct buf error = {0};
    host_init(true);
    if (host_load(NULL, &error) != 0) {
        fprintf(stderr, "job.h: %s\n", error.data);
        abort();
    }
    done = true;
}

/* The parts of all chunks, in order. 0, or what host_run answered. */
static inline int job_run_chunks(size_t type, const struct host_plan *plan, struct buf *parts, struct fault *fault) {
    struct bytes common = {plan->common.data, plan->common.size};
    for (size_t i = 0; i < plan->count; i++) {
        struct bytes chunk = {plan->bytes.data + plan->chunks[i].offset, plan->chunks[i].size};
        int rc = host_run(type, 0, common, chunk, NULL, &parts[i], fault);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static inline int job_merge(size_t type, const struct host_plan *plan, const struct buf *parts, struct buf *json,
                            struct fault *fault) {
    struct bytes common = {plan->common.data, plan->common.size};
    struct bytes *views = calloc(plan->count, sizeof *views);
    if (views == NULL)
        abort();
    for (size_t i = 0; i < plan->count; i++)
        views[i] = (struct bytes){parts[i].data, parts[i].size};
    int rc = host_merge(type, common, views, plan->count, NULL, json, fault);
    free(views);
    return rc;
}

static inline int job_run_plan(const struct submission *s, struct buf *json, struct fault *fault) {
    struct host_plan plan = {0};
    unsigned wanted = (unsigned)s->options.chunks;
    int rc = host_plan(s->type, s->params.data, s->params.size, wanted, NULL, &plan, fault);
    if (rc == 0) {
        struct buf *parts = calloc(plan.count, sizeof *parts);
        if (parts == NULL)
            abort();
        rc = job_run_chunks(s->type, &plan, parts, fault);
        if (rc == 0)
            rc = job_merge(s->type, &plan, parts, json, fault);
        for (size_t i = 0; i < plan.count; i++)
            buf_deinit(&parts[i]);
        free(parts);
    }
    host_plan_deinit(&plan);
    return rc;
}

/* The result of a job as JSON text, or its fault as JSON text; the caller frees. chunks: options.chunks,
 * 0 lets the handler decide. */
static inline char *job_run(const char *type, const char *params_json, unsigned chunks) {
    job_init();
    struct buf body = {0}, json = {0};
    struct fault fault = {0};
    struct submission s = {0};
    buf_puts(&body, "{\"type\":");
    buf_json_string(&body, type, strlen(type));
    buf_printf(&body, ",\"options\":{\"chunks\":%u},\"params\":", chunks);
    buf_puts(&body, params_json);
    buf_putc(&body, '}');
    if (submission_parse(body.data, body.size, 64, 0, &s, &fault) == 0)
        job_run_plan(&s, &json, &fault);
    submission_deinit(&s);
    buf_deinit(&body);
    if (fault.json.size != 0) {
        buf_deinit(&json);
        return buf_steal(&fault.json, NULL);
    }
    fault_deinit(&fault);
    return buf_steal(&json, NULL);
}

#endif
