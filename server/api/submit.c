/* submit.c: see submit.h. Front end.
 *
 *     body ──► (if it has a key: claimed, see idempotency.h) ──► checked, queued ──► waits as Prefer says ──► answer
 *                     └─► another request has made the job: waits for that one
 *
 * A worker parses a large body. It also finds the hash of the request, so its key is claimed only when the job is
 * planned. If the key is another request's, the submission is undone.
 */
#include "server/api/submit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "handlers/host/host.h"
#include "server/api/ndjson.h"
#include "server/api/deferred.h"

#define ACCEPT_WAIT_NS NS_PER_S /* how long a 202 waits for a worker to plan its job, which checks it */
#define SMALL_MAP      2048     /* bytes; a body with items or columns that is longer is parsed by a worker */

static void answer_fault(struct http_request *r, const struct fault *fault) {
    struct problem_fault f;
    bool known = problem_read_fault(fault->json.data == NULL ? "" : fault->json.data, fault->json.size, &f) == 0;
    if (known && f.code != PROBLEM_MEMORY_LIMIT) /* there is no job yet that could have run out of memory */
        http_answer_problem(r, f.code, f.detail, f.members);
    else
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    problem_fault_deinit(&f);
}

/* Decides whether it waits for the end of the job, or for the 202. Returns for how long it waits, ns. */
static int64_t choose_reply_kind(struct deferred_request *d) {
    struct server *s = d->server;
    d->terms.prefer = deferred_read_prefer(d->request);
    int64_t wait_ns = deferred_wait_time(s, &d->terms.prefer, &d->terms.granted_s);
    if (wait_ns != 0 && s->waiting < s->config.max_sync) {
        d->streamed = ndjson_is_wanted(d->request);
        return wait_ns;
    }
    if (wait_ns != 0)
        d->terms.granted_s = -1; /* too many wait already */
    d->reply_kind = REPLY_ACCEPTED;
    return ACCEPT_WAIT_NS;
}

/* ---- a new job --------------------------------------------------------------------------------------------------- */

static void answer_refused(struct deferred_request *d, const struct job_request *q, enum problem_code why) {
    struct server *s = d->server;
    if (why != PROBLEM_QUEUE_FULL || q->submission == NULL || q->submission->options.delay_ms <= 0) {
        answer_overloaded(s, d->request, why);
        return;
    }
    answer_too_many_delayed(s, d->request);
}

static void add_parent(void *arg, const char *line) {
    trace_add_parent(arg, line);
}

static void add_state(void *arg, const char *line) {
    trace_add_state(arg, line);
}

static const char *read_trace(struct http_request *r, struct trace_reader *t) {
    http_each_header(r, "traceparent", add_parent, t);
    if (t->parents == 1)
        http_each_header(r, "tracestate", add_state, t);
    return trace_text(t);
}

static void submit_job(struct deferred_request *d, struct job_request *q) {
    struct server *s = d->server;
    struct http_request *r = d->request;
    struct job *job;
    enum problem_code why;
    int64_t wait_ns = choose_reply_kind(d);
    struct trace_reader trace = {0};
    /* Neither a 202 nor a stream is to wait for the job. */
    q->asynchronous = d->reply_kind == REPLY_ACCEPTED || d->streamed;
    q->default_priority = priority_parse(http_header(r, "Priority"));
    q->trace = read_trace(r, &trace);
    int rc = jobs_submit(s->jobs, q, &job, &why);
    trace_deinit(&trace);
    if (rc != 0) {
        idempotency_withdraw(&d->claim);
        answer_refused(d, q, why);
        return;
    }
    deferred_wait(d, job, wait_ns);
    if (d->claim.entry != NULL)
        idempotency_own(&d->claim, &job_record(job)->id);
    jobs_dispatch_early(s->jobs);
}

/* Whether jobs are taken now. False: they are not, and the request is answered. */
static bool is_welcome(struct server *s, struct http_request *r) {
    if (s->draining)
        answer_overloaded(s, r, PROBLEM_DRAINING);
    else if (!s->handlers_loaded)
        answer_overloaded(s, r, PROBLEM_STARTING);
    else
        return true;
    return false;
}

/* Whether a worker is to parse the body: if it is large, or may have many items. Bad items take a microsecond or more
 * each, even if they are two bytes long. */
static bool is_raw(const struct http_request *r) {
    size_t size;
    const char *body = http_small_body(r, &size);
    return http_body_is_large(r) || (size > SMALL_MAP && (memmem(body, size, "\"items\"", 7) != NULL ||
                                                          memmem(body, size, "\"columns\"", 9) != NULL));
}

/* A body that a worker parses. */
static void submit_raw(struct deferred_request *d, const struct store_key *key) {
    struct slice text = http_body(d->request);
    if (text.blob == NULL) {
        idempotency_withdraw(&d->claim);
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    submit_job(d, &(struct job_request){.body = text, .key = key, .wants_hash = d->decide != NULL});
    slice_deinit(&text);
}

/* False: it is not, and the request is answered. */
static bool webhook_is_allowed(struct deferred_request *d, const char *url) {
    struct buf wrong = {0}, members = {0};
    int rc = webhooks_check(d->server->webhooks, url, &wrong);
    if (rc != 0 && !wrong.failed)
        problem_put_error(&members, "/options/webhook", wrong.data);
    if (wrong.failed || members.failed) {
        idempotency_withdraw(&d->claim);
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    } else if (rc != 0) {
        idempotency_withdraw(&d->claim);
        http_answer_problem(d->request, PROBLEM_INVALID_PARAMS, "/options/webhook cannot be used", members.data);
    }
    buf_deinit(&wrong);
    buf_deinit(&members);
    return rc == 0; /* a URL that is good needs no memory for `wrong` */
}

static void submit_body(struct deferred_request *d) {
    struct server *s = d->server;
    struct http_request *r = d->request;
    struct submission submission = {0};
    struct fault fault = {{0}};
    const struct store_key *key = d->claim.entry == NULL ? NULL : &d->claim.key;
    struct job_request q = {.submission = &submission, .key = key};
    size_t size;
    const char *body = http_small_body(r, &size);
    if (is_raw(r)) {
        submit_raw(d, key);
        return;
    }
    if (submission_parse(body, size, (unsigned)s->config.max_json_depth, 0, &submission, &fault) != 0) {
        idempotency_withdraw(&d->claim);
        answer_fault(r, &fault);
    } else if (submission.options.webhook == NULL || webhook_is_allowed(d, submission.options.webhook)) {
        submit_job(d, &q);
    }
    submission_deinit(&submission);
    fault_deinit(&fault);
}

/* ---- a job that another request made ----------------------------------------------------------------------------- */

static void join(struct deferred_request *d, const struct id *id) {
    struct job *job = jobs_find(d->server->jobs, id);
    d->reply_kind = REPLY_RESULT; /* a large body had it chosen before, for its own job */
    d->streamed = false;
    int64_t wait_ns = choose_reply_kind(d);
    d->terms.replayed = true;
    if (job == NULL)
        deferred_ask(d, id);
    else if (d->reply_kind == REPLY_ACCEPTED && job_is_planned(job))
        deferred_accept(d, job);
    else
        deferred_wait(d, job, wait_ns);
    if (d->streamed && job != NULL && job_is_planned(job))
        deferred_begin_stream(d, job);
}

/* Its key is not its own. */
static void follow_verdict(struct deferred_request *d, enum key_verdict verdict, const struct id *id) {
    if (verdict == KEY_SAME)
        join(d, id);
    else if (verdict == KEY_OTHER)
        http_answer_problem(d->request, PROBLEM_IDEMPOTENCY_MISMATCH, NULL, NULL);
    else
        answer_not_found(d->request, STORE_UNAVAILABLE);
}

static void on_decided(struct key_claim *c, enum key_verdict verdict, const struct id *id) {
    struct deferred_request *d = container_of(c, struct deferred_request, claim);
    deferred_end_claim(d);
    if (verdict != KEY_YOURS)
        follow_verdict(d, verdict, id);
    else if (is_welcome(d->server, d->request))
        submit_body(d);
    else
        idempotency_withdraw(c);
}

/* What is needed to claim the key when the client has left. */
static void keep_key(struct deferred_request *d) {
    char key[IDEMPOTENCY_MAX_KEY + 1];
    if (idempotency_parse(http_header(d->request, "Idempotency-Key"), key))
        buf_append(&d->kept, key, strlen(key) + 1);
}

/* If memory runs out the request is answered. */
static void claim_key(struct deferred_request *d, const char *key, uint8_t hash[STORE_HASH_SIZE]) {
    struct server *s = d->server;
    if (idempotency_claim(s->idempotency, &d->claim, "", key, s->config.key_ttl_ns / NS_PER_MS, hash) == 0)
        return;
    struct job *job = d->waiter.job;
    if (job == NULL)
        deferred_end_claim(d);
    deferred_stop_waiting(d);
    if (d->request != NULL)
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    else
        deferred_end_left(d);
    if (job != NULL)
        job_undo_submission(job);
}

static void submit_with_key(struct deferred_request *d, const char *key) {
    struct http_request *r = d->request;
    uint8_t hash[STORE_HASH_SIZE];
    struct fault fault = {{0}};
    size_t size;
    const char *body = http_small_body(r, &size);
    d->claim.decided = on_decided;
    if (host_request_hash(body, size, (unsigned)d->server->config.max_json_depth, hash, &fault) != 0) {
        answer_fault(r, &fault);
    } else {
        deferred_begin_claim(d);
        claim_key(d, key, hash);
    }
    fault_deinit(&fault);
}

/* ---- a large body with a key: parsed and planned first, claimed then --------------------------------------------- */

/* Others who want the job get it first. If one of them has it stored, and the store fails at once, the job has ended by
 * then, and this request is over: `d` may be freed. */
static void own_raw(struct deferred_request *d, struct job *job) {
    const struct id id = job_record(job)->id;
    struct jobs *jobs = d->server->jobs;
    job_unthrottle(job);
    idempotency_own(&d->claim, &id);
    if (jobs_find(jobs, &id) == job)
        deferred_decided(d, job);
}

static void on_raw_decided(struct key_claim *c, enum key_verdict verdict, const struct id *id) {
    struct deferred_request *d = container_of(c, struct deferred_request, claim);
    struct job *job = d->waiter.job;
    if (verdict == KEY_YOURS) {
        own_raw(d, job);
        return;
    }
    d->decide = NULL;
    deferred_stop_waiting(d);
    job_undo_submission(job);
    if (d->request != NULL)
        follow_verdict(d, verdict, id);
    else
        deferred_end_left(d);
}

static void on_raw_planned(struct deferred_request *d, struct job *job) {
    char key[IDEMPOTENCY_MAX_KEY + 1];
    job_throttle(job);
    d->claim.decided = on_raw_decided;
    if (d->request == NULL)
        claim_key(d, d->kept.data, job_request_hash(job));
    else if (idempotency_parse(http_header(d->request, "Idempotency-Key"), key))
        claim_key(d, key, job_request_hash(job));
}

static void submit_raw_with_key(struct deferred_request *d, const char *key) {
    struct server *s = d->server;
    if (!is_welcome(s, d->request))
        return;
    d->decide = on_raw_planned;
    d->keep = keep_key;
    submit_raw(d, &(struct store_key){.tenant = "", .key = key, .ttl_ms = s->config.key_ttl_ns / NS_PER_MS});
}

void api_submit(struct server *s, struct http_request *r, struct route_match m) {
    const char *key = http_header(r, "Idempotency-Key");
    (void)m;
    if (key == NULL && !is_welcome(s, r))
        return;
    char parsed[IDEMPOTENCY_MAX_KEY + 1];
    struct deferred_request *d = deferred_new(s, r, REPLY_RESULT);
    if (d == NULL)
        return;
    d->keyed = key != NULL;
    if (key == NULL)
        submit_body(d);
    else if (!idempotency_parse(key, parsed))
        http_answer_problem(r, PROBLEM_INVALID_IDEMPOTENCY_KEY, NULL, NULL);
    else if (is_raw(r))
        submit_raw_with_key(d, parsed);
    else
        submit_with_key(d, parsed);
    deferred_suspend(d);
}
