/* deferred.c: see deferred.h. Front end.
 *
 *     IDLE ──► CLAIMING ──(its own)──► IDLE ──► WAITING ──┬──(ended)──────────────────► IDLE: answered
 *      │           └──(another's)──► IDLE                 ├──(a map, streamed)────────► STREAMING
 *      │                                                  ├──(a 202 is due, or expired)──► IDLE ──► STORING
 *      │                                                  └──(to be deleted)──► IDLE ──► FORGETTING
 *      ├──► UNDECIDED ──(its own)──► WAITING
 *      │       ├──(another's)──► IDLE
 *      │       └──(expired)──► EXPIRED ──(its own)──► WAITING, at once STORING
 *      │                          └──(another's)──► IDLE
 *      │       └──(the client leaves, from EXPIRED, too)──► LEFT ──(its own)──► GONE, and the job is stored
 *      │                                                     └──(another's, or the job has ended)──► GONE
 *      └──► ASKING ──► IDLE: answered            STORING ──► IDLE: answered
 *
 *     any ──► GONE [the client has left, or has its answer]; freed when the store has answered all that it was asked
 *
 * If the client hangs up while it waits, its job is cancelled, unless others can get the job by its id or its key. The
 * key of a large body is claimed when its job is planned: until then the request goes on without its client (LEFT). */
#include "server/api/deferred.h"
#include "server/api/guard.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/spare.h"
#include "base/state.h"
#include "server/api/guard.h"
#include "server/api/ndjson.h"

/* ---- states ------------------------------------------------------------------------------------------------------ */

/* Whether it is one of the waiting clients that --max-sync limits. */
static bool is_counted(const struct deferred_request *d) {
    bool waits = d->state == DEFERRED_WAITING || d->state == DEFERRED_UNDECIDED || d->state == DEFERRED_EXPIRED ||
                 d->state == DEFERRED_STREAMING;
    return waits && (d->reply_kind == REPLY_RESULT || d->reply_kind == REPLY_BARE || d->reply_kind == REPLY_POLL);
}

static void move_to(struct deferred_request *d, enum deferred_state to) {
    static const struct state_row states[DEFERRED_STATES] = {
        [DEFERRED_IDLE] = {"idle", TO(DEFERRED_CLAIMING) | TO(DEFERRED_WAITING) | TO(DEFERRED_UNDECIDED) |
                                       TO(DEFERRED_STORING) | TO(DEFERRED_ASKING) | TO(DEFERRED_FORGETTING) |
                                       TO(DEFERRED_GONE)},
        [DEFERRED_CLAIMING] = {"claiming", TO(DEFERRED_IDLE) | TO(DEFERRED_GONE)},
        [DEFERRED_WAITING] = {"waiting", TO(DEFERRED_IDLE) | TO(DEFERRED_STREAMING) | TO(DEFERRED_GONE)},
        [DEFERRED_UNDECIDED] = {"undecided", TO(DEFERRED_IDLE) | TO(DEFERRED_WAITING) | TO(DEFERRED_EXPIRED) |
                                                 TO(DEFERRED_LEFT) | TO(DEFERRED_GONE)},
        [DEFERRED_EXPIRED] = {"expired",
                              TO(DEFERRED_IDLE) | TO(DEFERRED_WAITING) | TO(DEFERRED_LEFT) | TO(DEFERRED_GONE)},
        [DEFERRED_LEFT] = {"left", TO(DEFERRED_GONE)},
        [DEFERRED_STORING] = {"storing", TO(DEFERRED_IDLE) | TO(DEFERRED_GONE)},
        [DEFERRED_ASKING] = {"asking", TO(DEFERRED_IDLE) | TO(DEFERRED_GONE)},
        [DEFERRED_FORGETTING] = {"forgetting", TO(DEFERRED_IDLE) | TO(DEFERRED_GONE)},
        [DEFERRED_STREAMING] = {"streaming", TO(DEFERRED_GONE)},
        [DEFERRED_GONE] = {"gone", TO(DEFERRED_GONE)},
    };
    state_check_move("deferred request", states, d->state, to);
    d->server->waiting -= is_counted(d);
    d->state = to;
    d->server->waiting += is_counted(d);
}

static void free_request(struct deferred_request *d) {
    buf_deinit(&d->kept);
    slice_deinit(&d->body);
    upload_free(d->upload);
    d->release(d);
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

void deferred_enter_store(struct deferred_request *d) {
    d->at_store++;
}

bool deferred_leave_store(struct deferred_request *d) {
    d->at_store--;
    if (d->state != DEFERRED_GONE)
        return true;
    if (d->at_store == 0)
        free_request(d);
    return false;
}

void deferred_begin_claim(struct deferred_request *d) {
    move_to(d, DEFERRED_CLAIMING);
}

void deferred_end_claim(struct deferred_request *d) {
    move_to(d, DEFERRED_IDLE);
}

/* The condition of a request that has cancelled the job was looked at before that. */
static void answer_cancelled(struct deferred_request *d, const struct record *record, const struct job *job) {
    if (d->cancelled || !answer_precondition_failed(d->request, record, job))
        answer_job(d->request, 200, record, job);
}

/* The job has ended, and the request has a condition. */
static void forget_found(struct deferred_request *d, const struct record *record, const struct job *job) {
    const struct id id = record->id; /* the record can go with it */
    if (!answer_precondition_failed(d->request, record, job))
        deferred_forget(d, &id);
}

/* job: the live one that the record is of, or NULL. */
static void answer_by_kind(struct deferred_request *d, struct record *record, const struct job *job) {
    struct http_request *r = d->request;
    switch (d->reply_kind) {
    case REPLY_RESULT:
        if (!d->streamed || !record->map || !ndjson_from_record(d->server, r, record, &d->terms))
            answer_submitted(r, record, &d->terms);
        break;
    case REPLY_BARE: answer_bare(r, record); break;
    case REPLY_ACCEPTED: answer_accepted(d->server, r, record, &d->terms); break;
    case REPLY_POLL: answer_polled(r, record, job); break;
    case REPLY_FETCH: answer_result(d->server, r, record); break;
    case REPLY_LOG: answer_log(r, record); break;
    case REPLY_CANCEL: answer_cancelled(d, record, job); break;
    case REPLY_DELETE: forget_found(d, record, job); break;
    case REPLY_LIST: answer_job(r, 200, record, job); break;
    }
}

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct deferred_request *d = arg;
    if (d->state == DEFERRED_GONE)
        idempotency_withdraw(&d->claim);
    if (!deferred_leave_store(d))
        return;
    move_to(d, DEFERRED_IDLE);
    if (d->found != NULL)
        d->found(d, result, record);
    else if (result == STORE_OK)
        answer_by_kind(d, record, jobs_find(d->server->jobs, &record->id, NULL));
    else
        answer_not_found(d->request, result);
}

void deferred_look_up(struct deferred_request *d, const struct id *id,
                      void (*found)(struct deferred_request *d, enum store_result result, struct record *record)) {
    d->found = found;
    move_to(d, DEFERRED_ASKING);
    deferred_enter_store(d);
    jobs_get(d->server->jobs, id, d->view, on_found, d);
}

void deferred_ask(struct deferred_request *d, const struct id *id) {
    d->found = NULL;
    move_to(d, DEFERRED_ASKING);
    deferred_enter_store(d);
    jobs_get(d->server->jobs, id, d->view, on_found, d);
}

/* A job that was live until now may not have been remembered: then it is gone all the same. */
static void on_forgotten(void *arg, enum store_result result) {
    struct deferred_request *d = arg;
    if (!deferred_leave_store(d))
        return;
    bool was_live = d->state == DEFERRED_FORGETTING;
    move_to(d, DEFERRED_IDLE);
    if (result == STORE_OK || (result == STORE_NOT_FOUND && was_live))
        http_answer_static(d->request, 204, NULL, "", 0);
    else
        answer_not_found(d->request, result);
}

static void forget(struct deferred_request *d, const struct id *id, enum deferred_state state) {
    move_to(d, state);
    deferred_enter_store(d);
    jobs_forget(d->server->jobs, id, d->view, on_forgotten, d);
}

void deferred_forget(struct deferred_request *d, const struct id *id) {
    forget(d, id, DEFERRED_ASKING);
}

static void make_durable(struct deferred_request *d, struct job *job, store_done *done) {
    struct slice body = d->request == NULL ? slice_ref(&d->body) : upload_text(d->request, d->upload);
    deferred_enter_store(d);
    if (body.blob == NULL) { /* no memory: "nothing was accepted" has to be true */
        done(d, STORE_UNAVAILABLE);
        if (!job_record(job)->durable)
            job_undo_submission(job);
    } else
        job_make_durable(job, &body, done, d);
    slice_deinit(&body);
}

/* The job is stored, or could not be. */
static void on_stored(void *arg, enum store_result result) {
    struct deferred_request *d = arg;
    struct record *record = d->accepted;
    d->accepted = NULL;
    idempotency_settle(&d->claim);
    if (!deferred_leave_store(d)) {
        record_unref(record);
        return;
    }
    move_to(d, DEFERRED_IDLE);
    if (result != STORE_OK)
        answer_not_found(d->request, STORE_UNAVAILABLE);
    else if (job_status_is_final(record->status))
        answer_by_kind(d, record, NULL);
    else
        answer_accepted(d->server, d->request, record, &d->terms);
    record_unref(record);
}

void deferred_accept(struct deferred_request *d, struct job *job) {
    deferred_stop_waiting(d);
    move_to(d, DEFERRED_STORING);
    d->accepted = record_ref(job_record(job));
    make_durable(d, job, on_stored);
}

/* Of a synchronous request with a key. It is answered when the job ends, which is recorded after this. A job that could
 * not be stored ends now, and that answers it. */
static void on_key_stored(void *arg, enum store_result result) {
    struct deferred_request *d = arg;
    idempotency_settle(&d->claim);
    if (deferred_leave_store(d) && d->state == DEFERRED_WAITING && result == STORE_OK)
        deferred_begin_stream(d, d->waiter.job);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

void deferred_wait(struct deferred_request *d, struct job *job, int64_t wait_ns) {
    move_to(d, d->decide != NULL ? DEFERRED_UNDECIDED : DEFERRED_WAITING);
    job_wait(job, &d->waiter);
    if (wait_ns >= 0)
        loop_set_timer(d->server->loop, &d->timer, clock_monotonic_ns() + wait_ns);
}

static void leave_job(struct deferred_request *d) {
    job_unwait(&d->waiter);
    loop_clear_timer(d->server->loop, &d->timer);
}

void deferred_stop_waiting(struct deferred_request *d) {
    leave_job(d);
    if (d->state == DEFERRED_WAITING || d->state == DEFERRED_UNDECIDED || d->state == DEFERRED_EXPIRED)
        move_to(d, DEFERRED_IDLE);
}

void deferred_begin_stream(struct deferred_request *d, struct job *job) {
    bool keep = d->terms.prefer.respond_async || d->keyed;
    d->streamed = d->streamed && job_record(job)->map;
    if (!d->streamed || !ndjson_from_job(d->server, d->request, job, &d->terms, keep))
        return;
    leave_job(d);
    move_to(d, DEFERRED_STREAMING);
}

/* The wait is over before the job: it has expired, or a drain has parked the job. */
static void stop_early(struct deferred_request *d, struct job *job) {
    if (job_works_in_place(job) || d->reply_kind == REPLY_BARE)
        return; /* it is not stored, so this request is all that its client has of it */
    if (d->reply_kind != REPLY_POLL) {
        deferred_accept(d, job);
        return;
    }
    deferred_stop_waiting(d);
    answer_polled(d->request, job_record(job), job);
}

/* The job is planned, or ends before that: it is accepted, made durable, or streamed, as the request wants. May free the
 * job. */
static void go_on(struct deferred_request *d, struct job *job) {
    if (d->reply_kind == REPLY_ACCEPTED)
        deferred_accept(d, job);
    else if (idempotency_owns(&d->claim))
        make_durable(d, job, on_key_stored);
    else if (!job_status_is_final(job_record(job)->status))
        deferred_begin_stream(d, job);
}

/* There is nobody to answer; the job goes on for whoever comes with its key. Can free the job, and `d`. */
static void store_left(struct deferred_request *d, struct job *job) {
    leave_job(d);
    move_to(d, DEFERRED_GONE);
    make_durable(d, job, on_key_stored);
}

void deferred_end_left(struct deferred_request *d) {
    leave_job(d);
    if (idempotency_owns(&d->claim))
        idempotency_settle(&d->claim);
    else
        idempotency_withdraw(&d->claim);
    move_to(d, DEFERRED_GONE);
    free_request(d);
}

void deferred_decided(struct deferred_request *d, struct job *job) {
    bool wait_expired = d->state == DEFERRED_EXPIRED;
    d->decide = NULL;
    if (d->state == DEFERRED_LEFT) {
        store_left(d, job);
        return;
    }
    move_to(d, DEFERRED_WAITING);
    if (wait_expired)
        stop_early(d, job);
    else
        go_on(d, job);
}

static void on_ended(struct deferred_request *d, struct job *job) {
    struct record *record = job_record(job);
    deferred_stop_waiting(d);
    idempotency_settle(&d->claim);
    if (job_is_store_failed(job))
        answer_not_found(d->request, STORE_UNAVAILABLE);
    else if (d->reply_kind == REPLY_DELETE)
        forget(d, &record->id, DEFERRED_FORGETTING);
    else if (job_is_rejected(job) && record->problem == PROBLEM_QUEUE_FULL)
        answer_too_many_delayed(d->server, d->request);
    else if (job_is_rejected(job) && record->problem == PROBLEM_QUEUE_TIMEOUT)
        answer_too_late(d->request, job);
    else if (d->reply_kind == REPLY_ACCEPTED && job_is_rejected(job))
        answer_job_problem(d->request, record);
    else
        answer_by_kind(d, record, NULL);
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct deferred_request *d = container_of(w, struct deferred_request, waiter);
    if (event == JOB_ABANDONED || (event == JOB_ENDED && d->state == DEFERRED_LEFT)) {
        if (d->state == DEFERRED_LEFT)
            deferred_end_left(d);
    } else if (event == JOB_ENDED)
        on_ended(d, job);
    else if (event == JOB_PARKED && d->decide == NULL)
        stop_early(d, job);
    else if (event == JOB_PARKED)
        return; /* it cannot be stored before its key is decided */
    else if (d->decide != NULL)
        d->decide(d, job);
    else
        go_on(d, job);
}

static void on_wait_expired(struct timer *t) {
    struct deferred_request *d = container_of(t, struct deferred_request, timer);
    struct job *job = d->waiter.job;
    if (job_is_ending(job))
        return;
    if (d->state == DEFERRED_UNDECIDED)
        move_to(d, DEFERRED_EXPIRED); /* what comes next depends on the key */
    else
        stop_early(d, job);
}

/* ---- a deferred request's own life ------------------------------------------------------------------------------- */

void deferred_init(struct deferred_request *d, struct server *s, struct http_request *r, enum reply_kind kind,
                   void (*release)(struct deferred_request *d)) {
    d->server = s;
    d->request = r;
    d->reply_kind = kind;
    d->terms.granted_s = -1;
    d->caller = http_caller(r);
    d->tenant = guard_tenant(r);
    d->view = guard_view(r);
    d->waiter.notify = on_job_event;
    d->timer.fire = on_wait_expired;
    d->release = release;
    http_set_state(r, d);
}

static struct spare spare;

static void release_plain(struct deferred_request *d) {
    spare_give(&spare, d);
}

struct deferred_request *deferred_new(struct server *s, struct http_request *r, enum reply_kind kind) {
    struct deferred_request *d = spare_take(&spare, sizeof *d);
    if (d == NULL)
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    else
        deferred_init(d, s, r, kind, release_plain);
    return d;
}

void deferred_suspend(struct deferred_request *d) {
    if (!http_is_answered(d->request))
        http_suspend(d->request);
}

/* Nobody else can get the job, by its id or its key. */
static bool ends_with_client(const struct deferred_request *d) {
    return d->reply_kind == REPLY_BARE ||
           (d->reply_kind == REPLY_RESULT && !d->terms.prefer.respond_async && !d->keyed);
}

bool deferred_ends_with_fin(const struct http_request *r) {
    const struct deferred_request *d = http_state(r);
    return d != NULL && ends_with_client(d);
}

/* The client has left before the key of its job is decided. False: memory ran out. */
static bool go_on_without_client(struct deferred_request *d) {
    d->keep(d);
    d->body = upload_text(d->request, d->upload);
    if (d->kept.failed || d->body.blob == NULL)
        return false;
    loop_clear_timer(d->server->loop, &d->timer);
    move_to(d, DEFERRED_LEFT);
    http_set_state(d->request, NULL);
    d->request = NULL;
    return true;
}

void deferred_on_hangup(struct server *s, struct http_request *r) {
    struct deferred_request *d = http_state(r);
    (void)s;
    bool undecided = d != NULL && d->waiter.job != NULL && d->decide != NULL;
    if (d != NULL && !(undecided && go_on_without_client(d))) {
        struct job *job = d->waiter.job;
        deferred_stop_waiting(d);
        /* The job would burn CPU for nothing, unless others can get it by its id or its key. */
        if (job != NULL && ends_with_client(d))
            job_cancel(job);
        else if (job != NULL && d->decide != NULL)
            job_undo_submission(job);
        else if (job != NULL && idempotency_owns(&d->claim))
            make_durable(d, job, on_key_stored);
        if (!idempotency_owns(&d->claim))
            idempotency_withdraw(&d->claim); /* it must not be asked to make a job now */
    }
    http_abandon(r);
}

void deferred_on_done(struct server *s, struct http_request *r) {
    struct deferred_request *d = http_state(r);
    (void)s;
    if (d == NULL)
        return;
    http_set_state(r, NULL);
    leave_job(d);
    if (d->compression != NULL)
        d->end_compression(d->compression);
    move_to(d, DEFERRED_GONE);
    d->request = NULL;
    if (d->at_store > 0)
        return; /* freed when the store has answered */
    idempotency_withdraw(&d->claim);
    free_request(d);
}

/* ---- what was asked for ------------------------------------------------------------------------------------------ */

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
