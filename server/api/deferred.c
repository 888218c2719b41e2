/* pending.c: see pending.h. Front end. */
#include "server/api/deferred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/api/ndjson.h"
#include "server/model/render.h"

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void set_preference_applied(struct http_request *r, const struct deferred_request *p, bool accepted) {
    char value[96] = "";
    size_t n = 0;
    if (p->prefer.respond_async)
        n += (size_t)snprintf(value + n, sizeof value - n, "respond-async");
    if (p->prefer.has_wait)
        n += (size_t)snprintf(value + n, sizeof value - n, "%swait=%lld", n > 0 ? ", " : "", (long long)p->granted_s);
    if (accepted && p->prefer.minimal && !p->prefer.representation)
        n += (size_t)snprintf(value + n, sizeof value - n, "%sreturn=minimal", n > 0 ? ", " : "");
    if (n > 0)
        http_set_header(r, "Preference-Applied", value);
}

static void set_replayed(struct http_request *r, const struct deferred_request *p) {
    if (p != NULL && p->replayed)
        http_set_header(r, "Idempotency-Replayed", "true");
}

static void set_server_timing(struct http_request *r, const struct record *record) {
    char value[RENDER_TIMING_SIZE];
    render_server_timing(value, record);
    http_set_header(r, "Server-Timing", value);
}

static void answer_job(struct http_request *r, unsigned status, const struct record *record, const struct job *job) {
    struct buf body = {0};
    buf_reserve(&body, 700);
    render_job(&body, record, job, true);
    set_server_timing(r, record);
    http_answer(r, status, JSON_TYPE, &body);
}

/* The problem that a failed or cancelled job ended with. */
static void answer_job_problem(struct http_request *r, const struct record *record) {
    struct buf body = {0};
    const struct problem *p = problem_get(record->problem);
    buf_append(&body, record->error.data, record->error.size);
    if (p->status == 503)
        http_set_header(r, "Retry-After", "1");
    set_server_timing(r, record);
    http_answer(r, p->status, "application/problem+json", &body);
}

/* When it is worth asking again: when the job may be done. */
static int64_t retry_after_s(const struct record *record, const struct job *job) {
    int64_t ms = 0;
    if (job != NULL)
        ms = job_estimated_work_ms(job);
    if (job != NULL && record->status == JOB_QUEUED)
        ms += job_estimated_start_ms(job) - clock_wall_ms();
    return ms <= 1000 ? 1 : ms > 3600000 ? 3600 : (ms + 999) / 1000;
}

void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                     const struct deferred_request *p) {
    char id[ID_TEXT_SIZE];
    const struct job *job = jobs_find(s->jobs, &record->id);
    id_format(&record->id, id);
    http_set_header_f(r, "Location", "/v1/jobs/%s", id);
    http_set_header_f(r, "Retry-After", "%lld", (long long)retry_after_s(record, job));
    set_replayed(r, p);
    if (p != NULL)
        set_preference_applied(r, p, true);
    if (p != NULL && p->prefer.minimal && !p->prefer.representation) {
        set_server_timing(r, record);
        http_answer_static(r, 202, NULL, "", 0);
    } else {
        answer_job(r, 202, record, job);
    }
}

void answer_not_found(struct http_request *r, enum store_result result) {
    if (result == STORE_GONE) {
        http_answer_problem(r, PROBLEM_GONE, NULL, NULL);
    } else if (result == STORE_UNAVAILABLE) {
        http_set_header(r, "Retry-After", "1");
        http_answer_problem(r, PROBLEM_STORE_UNAVAILABLE, NULL, NULL);
    } else {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "no such job, or it is no longer remembered", NULL);
    }
}

void answer_overloaded(struct server *s, struct http_request *r, enum problem_code code) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)jobs_retry_after_s(s->jobs));
    http_answer_problem(r, code, NULL, NULL);
}

static void answer_cached(struct http_request *r, const struct record *record, const struct job *job) {
    char tag[48];
    render_etag(tag, sizeof tag, record, job);
    http_set_header(r, "ETag", tag);
    const char *known = http_header(r, "If-None-Match");
    /* Weak comparison, RFC 9110 section 13.1.2; a list is searched for our tag. */
    if (known != NULL && (strcmp(known, "*") == 0 || strstr(known, tag + 2) != NULL)) {
        http_answer_static(r, 304, NULL, "", 0);
        return;
    }
    answer_job(r, 200, record, job);
}

static void answer_submitted(struct deferred_request *p, struct record *record) {
    set_preference_applied(p->request, p, false);
    set_replayed(p->request, p);
    if (p->stream && record->map && ndjson_from_record(p->server, p->request, record))
        return;
    if (record->status == JOB_SUCCEEDED)
        answer_job(p->request, 200, record, NULL);
    else
        answer_job_problem(p->request, record);
}

static void answer_result(struct server *s, struct http_request *r, const struct record *record) {
    if (!job_status_is_final(record->status)) {
        answer_accepted(s, r, record, NULL);
    } else if (record->status == JOB_SUCCEEDED) {
        set_server_timing(r, record);
        http_answer_slice(r, JSON_TYPE, &record->result);
    } else {
        answer_job_problem(r, record);
    }
}

/* The job is as the record says; `job`: the live one, or NULL. */
static void answer_by_kind(struct deferred_request *p, struct record *record, const struct job *job) {
    switch (p->reply_kind) {
    case REPLY_RESULT: answer_submitted(p, record); break;
    case REPLY_ACCEPTED: answer_accepted(p->server, p->request, record, p); break;
    case REPLY_POLL: answer_cached(p->request, record, job); break;
    case REPLY_FETCH: answer_result(p->server, p->request, record); break;
    case REPLY_CANCEL:
    case REPLY_DELETE:
    case REPLY_LIST: answer_job(p->request, 200, record, job); break;
    }
}

/* ---- the store ----------------------------------------------------------------------------------------------------- */

void deferred_enter_store(struct deferred_request *p) {
    p->at_store++;
}

static void deferred_free(struct deferred_request *p) {
    record_unref(p->accepted);
    list_request_free(p->list);
    free(p);
}

bool deferred_leave_store(struct deferred_request *p) {
    p->at_store--;
    if (p->request != NULL)
        return true;
    if (p->at_store == 0)
        deferred_free(p);
    return false;
}

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct deferred_request *p = arg;
    if (!deferred_leave_store(p))
        return;
    if (result == STORE_OK)
        answer_by_kind(p, record, jobs_find(p->server->jobs, &record->id));
    else
        answer_not_found(p->request, result);
}

void deferred_ask(struct deferred_request *p, const struct id *id) {
    deferred_enter_store(p);
    jobs_get(p->server->jobs, id, on_found, p);
}

static void on_forgotten(void *arg, enum store_result result) {
    struct deferred_request *p = arg;
    if (!deferred_leave_store(p))
        return;
    if (result == STORE_OK || (result == STORE_NOT_FOUND && p->ended))
        http_answer_static(p->request, 204, NULL, "", 0);
    else
        answer_not_found(p->request, result);
}

void deferred_forget(struct deferred_request *p, const struct id *id) {
    deferred_enter_store(p);
    jobs_forget(p->server->jobs, id, on_forgotten, p);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

void deferred_stop_waiting(struct deferred_request *p) {
    job_unwait(&p->waiter);
    loop_clear_timer(p->server->loop, &p->timer);
    if (p->counted)
        p->server->waiting--;
    p->counted = false;
}

static void answer_ended(struct deferred_request *p, struct job *job) {
    struct record *record = job_record(job);
    if (job_is_store_failed(job)) {
        answer_not_found(p->request, STORE_UNAVAILABLE);
    } else if (p->reply_kind == REPLY_DELETE) {
        p->ended = true;
        deferred_forget(p, &record->id);
    } else if (p->reply_kind == REPLY_ACCEPTED && job_is_rejected(job)) {
        answer_job_problem(p->request, record);
    } else {
        answer_by_kind(p, record, NULL);
    }
}

/* The job is safe: its 202 may leave. */
static void on_stored(void *arg, enum store_result result) {
    struct deferred_request *p = arg;
    struct record *record = p->accepted;
    p->accepted = NULL;
    idempotency_settle(&p->claim);
    if (!deferred_leave_store(p)) {
        record_unref(record);
        return;
    }
    if (result != STORE_OK)
        answer_not_found(p->request, STORE_UNAVAILABLE);
    else if (job_status_is_final(record->status))
        deferred_ask(p, &record->id); /* its end may not be on disk yet: the store answers behind that */
    else
        answer_accepted(p->server, p->request, record, p);
    record_unref(record);
}

static void make_durable(struct deferred_request *p, struct job *job, store_done *done) {
    struct slice body = http_body(p->request);
    deferred_enter_store(p);
    if (body.blob == NULL)
        done(p, STORE_UNAVAILABLE);
    else
        job_make_durable(job, &body, done, p);
    slice_deinit(&body);
}

void deferred_accept(struct deferred_request *p, struct job *job) {
    deferred_stop_waiting(p);
    p->accepted = record_ref(job_record(job));
    make_durable(p, job, on_stored);
}

void deferred_begin_stream(struct deferred_request *p, struct job *job) {
    p->stream = p->stream && job_record(job)->map;
    if (!p->stream)
        return;
    set_preference_applied(p->request, p, false);
    set_replayed(p->request, p);
    if (!ndjson_from_job(p->server, p->request, job, p->prefer.respond_async || p->keyed))
        return;
    job_unwait(&p->waiter);
    loop_clear_timer(p->server->loop, &p->timer);
}

/* A synchronous request with a key: the answer comes with the job's end, which is recorded behind this. */
static void on_key_stored(void *arg, enum store_result result) {
    struct deferred_request *p = arg;
    idempotency_settle(&p->claim);
    if (!deferred_leave_store(p) || p->waiter.job == NULL)
        return;
    if (result == STORE_OK) /* else the job is refused, too, which tells */
        deferred_begin_stream(p, p->waiter.job);
}

/* The job is not over, and the wait is, or it would be in vain. */
static void stop_early(struct deferred_request *p, struct job *job) {
    if (p->reply_kind != REPLY_POLL) {
        deferred_accept(p, job);
        return;
    }
    deferred_stop_waiting(p);
    answer_cached(p->request, job_record(job), job);
}

void deferred_go_on(struct deferred_request *p, struct job *job) {
    if (p->late)
        stop_early(p, job);
    else if (p->reply_kind == REPLY_ACCEPTED)
        deferred_accept(p, job);
    else if (idempotency_owns(&p->claim))
        make_durable(p, job, on_key_stored);
    else
        deferred_begin_stream(p, job);
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct deferred_request *p = container_of(w, struct deferred_request, waiter);
    if (event == JOB_ENDED) {
        deferred_stop_waiting(p);
        idempotency_settle(&p->claim);
        answer_ended(p, job);
    } else if (event == JOB_PARKED) {
        stop_early(p, job);
    } else if (p->planned != NULL) {
        p->planned(p, job);
    } else {
        deferred_go_on(p, job);
    }
}

static void on_wait_over(struct timer *t) {
    struct deferred_request *p = container_of(t, struct deferred_request, timer);
    struct job *job = p->waiter.job;
    if (job_is_ending(job))
        return;
    p->late = p->planned != NULL; /* what follows waits for that */
    if (!p->late)
        stop_early(p, job);
}

struct deferred_request *deferred_new(struct server *s, struct http_request *r, enum reply_kind reply_kind) {
    struct deferred_request *p = calloc(1, sizeof *p);
    if (p == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return NULL;
    }
    p->server = s;
    p->request = r;
    p->reply_kind = reply_kind;
    p->granted_s = -1;
    p->waiter.notify = on_job_event;
    p->timer.fire = on_wait_over;
    http_set_state(r, p);
    return p;
}

void deferred_wait(struct deferred_request *p, struct job *job, int64_t wait_ns) {
    job_wait(job, &p->waiter);
    if (wait_ns >= 0)
        loop_set_timer(p->server->loop, &p->timer, clock_monotonic_ns() + wait_ns);
    if (p->reply_kind == REPLY_RESULT || p->reply_kind == REPLY_POLL) {
        p->counted = true;
        p->server->waiting++;
    }
}

void deferred_suspend(struct deferred_request *p) {
    if (!http_is_answered(p->request))
        http_suspend(p->request);
}

/* ---- the client leaves ------------------------------------------------------------------------------------------ */

void api_hangup(struct server *s, struct http_request *r) {
    struct deferred_request *p = http_state(r);
    (void)s;
    if (p != NULL) {
        struct job *job = p->waiter.job;
        deferred_stop_waiting(p);
        /* Nobody waits for the CPU that the job would burn, unless it is to be had by its id or its key. */
        if (job != NULL && p->reply_kind == REPLY_RESULT && !p->prefer.respond_async && !p->keyed)
            job_cancel(job);
        else if (job != NULL && p->planned != NULL)
            job_drop(job);
        else if (job != NULL && idempotency_owns(&p->claim))
            make_durable(p, job, on_key_stored);
        if (!idempotency_owns(&p->claim))
            idempotency_withdraw(&p->claim); /* it is not offered a job that nobody would own */
    }
    http_abandon(r);
}

void api_done(struct server *s, struct http_request *r) {
    struct deferred_request *p = http_state(r);
    (void)s;
    if (p == NULL)
        return;
    deferred_stop_waiting(p);
    http_set_state(r, NULL);
    if (p->at_store == 0)
        idempotency_withdraw(&p->claim);
    p->request = NULL;
    if (p->at_store == 0)
        deferred_free(p); /* else when the store has answered */
}

/* ---- what was asked for ---------------------------------------------------------------------------------------------- */

static void add_prefer(void *arg, const char *line) {
    prefer_parse(arg, line);
}

struct prefer deferred_read_prefer(struct http_request *r) {
    struct prefer p = {0};
    http_each_header(r, "Prefer", add_prefer, &p);
    return p;
}

int64_t deferred_wait_time(const struct server *s, const struct prefer *prefer, int64_t *granted_s) {
    if (!prefer->has_wait)
        return prefer->respond_async ? 0 : s->config.sync_wait_ns;
    int64_t max_s = s->config.max_wait_ns / NS_PER_S;
    *granted_s = prefer->wait_s < max_s ? prefer->wait_s : max_s;
    return *granted_s * NS_PER_S;
}
