/* openai.c: see openai.h. Front end.
 *
 *     body ──► (inflated) ──► checked ──► queued ──► waits for the end ──► its result, or OpenAI's error
 *
 * A worker checks a large body. */
#include "server/api/openai.h"

#include <string.h>

#include "handlers/host/host.h"
#include "server/api/coding.h"
#include "server/api/deferred.h"
#include "server/api/guard.h"
#include "server/api/submit.h"

/* ---- POST /v1/embeddings ----------------------------------------------------------------------------------------- */

static void submit_job(struct deferred_request *d, struct job_request *q) {
    struct server *s = d->server;
    struct trace_reader trace = {0};
    struct job *job;
    enum problem_code why;
    if (!guard_admits_job(s, d->caller, d->request))
        return;
    q->tenant = d->tenant;
    q->default_priority = priority_parse(http_header(d->request, "Priority"));
    q->trace = submit_read_trace(d->request, &trace);
    int rc = jobs_submit(s->jobs, q, &job, &why);
    trace_deinit(&trace);
    if (rc != 0) {
        answer_overloaded(s, d->request, why);
        return;
    }
    deferred_wait(d, job, -1);
    jobs_dispatch_early(s->jobs);
}

static void submit_large(struct deferred_request *d, uint32_t type) {
    struct slice body = upload_text(d->request, d->upload);
    if (body.blob != NULL)
        submit_job(d, &(struct job_request){.body = body, .body_is_params = true, .type = type});
    else
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    slice_deinit(&body);
}

static void submit_small(struct deferred_request *d, uint32_t type, const char *text, size_t size) {
    struct submission submission = {0};
    struct fault fault = {{0}};
    unsigned max_depth = (unsigned)d->server->config.max_json_depth;
    if (submission_parse_params(type, text, size, max_depth, &submission, &fault) == 0)
        submit_job(d, &(struct job_request){.submission = &submission});
    else
        answer_fault(d->request, &fault);
    submission_deinit(&submission);
    fault_deinit(&fault);
}

static void submit(struct deferred_request *d) {
    int type = host_known("openai-embeddings");
    size_t size;
    if (!upload_read_text(d->request, &d->upload))
        return;
    const char *text = upload_small_text(d->request, d->upload, &size);
    if (upload_text_is_large(d->request, d->upload))
        submit_large(d, (uint32_t)type);
    else
        submit_small(d, (uint32_t)type, text, size);
}

static void submit_inflated(struct deferred_request *d) {
    if (submit_is_welcome(d->server, d->request))
        submit(d);
}

void api_embeddings_begin(struct server *s, struct http_request *r) {
    (void)s;
    upload_begin_json(r);
}

/* There is no 202 for it, so a client that would have to wait beyond --max-sync is sent away. */
static bool can_wait(struct server *s, struct http_request *r) {
    if (s->waiting < s->config.max_sync)
        return true;
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)jobs_retry_after_s(s->jobs));
    http_answer_problem(r, PROBLEM_QUEUE_FULL, "as many clients wait for their jobs as --max-sync allows", NULL);
    return false;
}

void api_embeddings(struct server *s, struct http_request *r, struct route_match m) {
    enum coding coding = upload_coding(r);
    (void)m;
    if (!submit_is_welcome(s, r) || !can_wait(s, r))
        return;
    struct deferred_request *d = deferred_new(s, r, REPLY_BARE);
    if (d == NULL)
        return;
    if (coding != CODING_NONE)
        coding_inflate(d, coding, submit_inflated);
    else
        submit(d);
    deferred_suspend(d);
}

/* ---- GET /v1/models ---------------------------------------------------------------------------------------------- */

static void put_model(struct buf *out, const struct host_model *model) {
    buf_puts(out, "{\"id\":");
    buf_json_string(out, model->name, strlen(model->name));
    buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":", (long long)model->created_s);
    buf_json_string(out, model->owner, strlen(model->owner));
    buf_putc(out, '}');
}

void api_models(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    struct host_model model;
    (void)s, (void)m;
    buf_puts(&body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; host_model(i, &model); i++) {
        buf_puts(&body, i > 0 ? "," : "");
        put_model(&body, &model);
    }
    buf_puts(&body, "]}");
    http_answer(r, 200, JSON_TYPE, &body);
}

void api_model(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    struct host_model model;
    (void)s;
    for (size_t i = 0; host_model(i, &model); i++) {
        if (strlen(model.name) != m.size || memcmp(model.name, m.text, m.size) != 0)
            continue;
        put_model(&body, &model);
        http_answer(r, 200, JSON_TYPE, &body);
        return;
    }
    problem_put_error(&body, "/model", "there is no such model; GET /v1/models lists those that there are");
    http_answer_problem(r, PROBLEM_NOT_FOUND, NULL, body.data);
    buf_deinit(&body);
}
