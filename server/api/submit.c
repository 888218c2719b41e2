/* submit.c: see submit.h. Front end.
 *
 *     body ──► (if it has a key: claimed, see idempotency.h) ──► checked, queued ──► waits as Prefer says ──► answer
 *                     └─► another request has made the job: waits for that one
 *
 * A worker parses a large body. It also finds the hash of the request, so its key is claimed only when the job is
 * planned. If the key is another request's, or the quotas allow no further job, the submission is undone.
 */
#include "server/api/submit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "handlers/host/host.h"
#include "server/api/ndjson.h"
#include "server/api/deferred.h"
#include "server/api/extras.h"
#include "server/api/guard.h"
#include "server/api/coding.h"

#define ACCEPT_WAIT_NS NS_PER_S /* how long a 202 waits for a worker to plan its job, which checks it */
#define SMALL_MAP      2048     /* bytes; a body with items or columns that is longer is parsed by a worker */
#define MAX_COMMAS     2048     /* in a longer one that is parsed here all the same: its items take milliseconds */

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

const char *submit_read_trace(struct http_request *r, struct trace_reader *t) {
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
    if (d->decide == NULL && !guard_admits_job(s, d->caller, r)) {
        idempotency_withdraw(&d->claim);
        return;
    }
    int64_t wait_ns = choose_reply_kind(d);
    q->tenant = d->tenant;
    struct trace_reader trace = {0};
    /* Neither a 202 nor a stream is to wait for the job. */
    q->asynchronous = d->reply_kind == REPLY_ACCEPTED || d->streamed;
    q->default_priority = priority_parse(http_header(r, "Priority"));
    q->trace = submit_read_trace(r, &trace);
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

bool submit_is_welcome(struct server *s, struct http_request *r) {
    if (s->draining)
        answer_overloaded(s, r, PROBLEM_DRAINING);
    else if (!s->handlers_loaded)
        answer_overloaded(s, r, PROBLEM_STARTING);
    else
        return true;
    return false;
}

/* It names data that only the front end can get, and has few values. */
static bool has_references(const char *text, size_t size) {
    size_t commas = 0;
    if (memmem(text, size, "\"job\"", 5) == NULL && memmem(text, size, "\"shm\"", 5) == NULL)
        return false;
    for (size_t i = 0; i < size; i++)
        commas += text[i] == ',';
    return commas <= MAX_COMMAS;
}

/* Whether a worker is to parse the body: if it is large, or may have many items. Bad items take a microsecond or more
 * each, even if they are two bytes long. */
static bool is_raw(const struct deferred_request *d) {
    size_t size;
    const char *body = upload_small_text(d->request, d->upload, &size);
    if (size <= SMALL_MAP)
        return size == 0 && upload_text_is_large(d->request, d->upload);
    bool map = memmem(body, size, "\"items\"", 7) != NULL || memmem(body, size, "\"columns\"", 9) != NULL;
    return map && !has_references(body, size);
}

/* A body that a worker parses. */
static void submit_raw(struct deferred_request *d, const struct store_key *key) {
    struct slice text = upload_text(d->request, d->upload);
    if (text.blob == NULL) {
        idempotency_withdraw(&d->claim);
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    struct accept_ranges accepted;
    upload_read_accept(d->request, &accepted);
    submit_job(d, &(struct job_request){.body = text,
                                        .accepted = accepted.list,
                                        .accepted_count = accepted.count,
                                        .attachments = upload_data(d->upload),
                                        .key = key,
                                        .uncounted = d->decide != NULL,
                                        .wants_hash = d->decide != NULL});
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

static void submit_parsed(struct deferred_request *d, const struct submission *submission) {
    struct job_request q = {.submission = submission,
                            .attachments = upload_data(d->upload),
                            .key = d->claim.entry == NULL ? NULL : &d->claim.key};
    if (submission->options.webhook == NULL || webhook_is_allowed(d, submission->options.webhook))
        submit_job(d, &q);
}

static void submit_with_extras(struct deferred_request *d) {
    submit_parsed(d, &d->upload->submission);
}

static void submit_body(struct deferred_request *d) {
    struct server *s = d->server;
    struct submission submission = {0};
    struct fault fault = {{0}};
    size_t size;
    const char *text = upload_small_text(d->request, d->upload, &size);
    if (is_raw(d)) {
        submit_raw(d, d->claim.entry == NULL ? NULL : &d->claim.key);
        return;
    }
    const struct job_attachments *data = upload_data(d->upload);
    uint32_t parts = data == NULL ? 0 : data->count;
    if (submission_parse(text, size, (unsigned)s->config.max_json_depth, parts, &submission, &fault) != 0) {
        idempotency_withdraw(&d->claim);
        answer_fault(d->request, &fault);
    } else if (submission.text.size > 0) {
        extras_take(d, &submission, submit_with_extras);
    } else {
        submit_parsed(d, &submission);
    }
    submission_deinit(&submission);
    fault_deinit(&fault);
}

/* ---- a job that another request made ----------------------------------------------------------------------------- */

static void join(struct deferred_request *d, const struct id *id) {
    struct job *job = jobs_find(d->server->jobs, id, d->view);
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
    else if (submit_is_welcome(d->server, d->request))
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

/* There is no memory to claim the key: the request is answered, and its job, if it has one, never was. */
static void fail_claim(struct deferred_request *d) {
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

/* Whose Idempotency-Keys those of the request are. */
static const char *key_tenant(const struct deferred_request *d) {
    return d->tenant == NULL ? "" : d->tenant;
}

static void claim_key(struct deferred_request *d, const char *key, uint8_t hash[STORE_HASH_SIZE]) {
    struct server *s = d->server;
    if (idempotency_claim(s->idempotency, &d->claim, key_tenant(d), key, s->config.key_ttl_ns / NS_PER_MS, hash) != 0)
        fail_claim(d);
}

static void submit_with_key(struct deferred_request *d, const char *key) {
    struct http_request *r = d->request;
    uint8_t hash[STORE_HASH_SIZE];
    struct fault fault = {{0}};
    size_t size;
    const char *text = upload_small_text(r, d->upload, &size);
    d->claim.decided = on_decided;
    if (host_request_hash(text, size, (unsigned)d->server->config.max_json_depth, hash, &fault) != 0) {
        answer_fault(r, &fault);
    } else if (!upload_mix_hash(d->upload, hash)) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
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
    job_count(job);
    job_unthrottle(job);
    idempotency_own(&d->claim, &id);
    if (jobs_find(jobs, &id, NULL) == job)
        deferred_decided(d, job);
}

static void on_raw_decided(struct key_claim *c, enum key_verdict verdict, const struct id *id) {
    struct deferred_request *d = container_of(c, struct deferred_request, claim);
    struct job *job = d->waiter.job;
    bool is_bad = job_is_rejected(job); /* which its request is to hear */
    if (verdict == KEY_YOURS && (is_bad || guard_admits_job(d->server, d->caller, d->request))) {
        own_raw(d, job);
        return;
    }
    d->decide = NULL;
    deferred_stop_waiting(d);
    job_undo_submission(job);
    if (d->request == NULL)
        deferred_end_left(d);
    else if (verdict == KEY_YOURS)
        idempotency_withdraw(c);
    else
        follow_verdict(d, verdict, id);
}

static void on_raw_planned(struct deferred_request *d, struct job *job) {
    char key[IDEMPOTENCY_MAX_KEY + 1];
    uint8_t *hash = job_request_hash(job);
    job_throttle(job);
    d->claim.decided = on_raw_decided;
    if (!upload_mix_hash(d->upload, hash))
        fail_claim(d);
    else if (d->request == NULL)
        claim_key(d, d->kept.data, hash);
    else if (idempotency_parse(http_header(d->request, "Idempotency-Key"), key))
        claim_key(d, key, hash);
}

static void submit_raw_with_key(struct deferred_request *d, const char *key) {
    struct server *s = d->server;
    if (!submit_is_welcome(s, d->request))
        return;
    d->decide = on_raw_planned;
    d->keep = keep_key;
    submit_raw(d, &(struct store_key){.tenant = key_tenant(d), .key = key, .ttl_ms = s->config.key_ttl_ns / NS_PER_MS});
}

/* A job that is answered 202, or that has a key, is stored: so its data are files from the start. */
void api_submit_begin(struct server *s, struct http_request *r) {
    int64_t granted_s = -1;
    if (!upload_begin(r))
        return;
    struct prefer prefer = deferred_read_prefer(r);
    bool keyed = http_header(r, "Idempotency-Key") != NULL;
    if ((keyed || deferred_wait_time(s, &prefer, &granted_s) == 0) && upload_coding(r) == CODING_NONE)
        http_spool_to_files(r);
    if (keyed)
        http_hash_data(r);
}

/* The key is good, if there is one. */
static void submit(struct deferred_request *d, const char *key) {
    if (!upload_read(d->request, &d->upload))
        return;
    if (key == NULL)
        submit_body(d);
    else if (is_raw(d))
        submit_raw_with_key(d, key);
    else
        submit_with_key(d, key);
}

static void submit_inflated(struct deferred_request *d) {
    char key[IDEMPOTENCY_MAX_KEY + 1];
    if (submit_is_welcome(d->server, d->request))
        submit(d, d->keyed && idempotency_parse(http_header(d->request, "Idempotency-Key"), key) ? key : NULL);
}

void api_submit(struct server *s, struct http_request *r, struct route_match m) {
    const char *key = http_header(r, "Idempotency-Key");
    char parsed[IDEMPOTENCY_MAX_KEY + 1];
    enum coding coding = upload_coding(r);
    (void)m;
    if ((key == NULL || coding != CODING_NONE) && !submit_is_welcome(s, r))
        return;
    struct deferred_request *d = deferred_new(s, r, REPLY_RESULT);
    if (d == NULL)
        return;
    d->keyed = key != NULL;
    if (key != NULL && !idempotency_parse(key, parsed))
        http_answer_problem(r, PROBLEM_INVALID_IDEMPOTENCY_KEY, NULL, NULL);
    else if (coding != CODING_NONE)
        coding_inflate(d, coding, submit_inflated);
    else
        submit(d, key == NULL ? NULL : parsed);
    deferred_suspend(d);
}
