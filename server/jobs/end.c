/* jobs_end.c: how a job ends: stopped or finished, recorded, told, remembered, and dropped in the end. Front end. finish is the
 * one place where a job leaves the live table.
 *
 * The end of a durable job is told when it is recorded, so that nobody sees an end that a crash could take back:
 *
 *     live ──finish──► ending (the store writes; who asks for the job is answered by the store, after that write)
 *       │                 └──► told, freed
 *       └──(not durable)──► remembered, told, freed
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/private.h"
#include "server/webhooks/webhooks.h"

#define CLOCK_STEP_MS 1000 /* the wall clock was stepped if it and the monotonic one differ by more */
#define GC_LEAST_NS   (50 * NS_PER_MS)

/* ---- keeping ended jobs ---------------------------------------------------------------------------------------- */

static void schedule_gc(struct jobs *js, int64_t due_ms) {
    int64_t in_ms = due_ms - clock_wall_ms();
    if (due_ms == 0)
        return;
    int64_t due_ns = clock_monotonic_ns() + (in_ms < 0 ? 0 : job_limit_ns(in_ms));
    if (js->gc_timer.slot == 0 || due_ns < js->gc_timer.due_ns)
        loop_set_timer(js->loop, &js->gc_timer, due_ns);
}

/* What is kept for an hour is kept for an hour, also when somebody sets the clock meanwhile. */
void jobs_check_clock(struct jobs *js) {
    int64_t offset_ms = clock_wall_ms() - clock_monotonic_ns() / NS_PER_MS;
    int64_t by_ms = offset_ms - js->wall_offset_ms;
    if (by_ms < CLOCK_STEP_MS && by_ms > -CLOCK_STEP_MS)
        return;
    js->wall_offset_ms = offset_ms;
    LOG(LOG_WARN, "clock_stepped", LOG_INT("by_ms", by_ms));
    js->store->ops->adjust_clock(js->store, by_ms);
    js->remembered->ops->adjust_clock(js->remembered, by_ms);
}

void jobs_start_gc(struct jobs *js) {
    jobs_check_clock(js);
    int64_t now_ms = clock_wall_ms();
    schedule_gc(js, js->store->ops->gc(js->store, now_ms));
    schedule_gc(js, js->remembered->ops->gc(js->remembered, now_ms));
    /* A store may guess too early: do not ask again and again. */
    if (js->gc_timer.slot != 0 && js->gc_timer.due_ns < clock_monotonic_ns() + GC_LEAST_NS)
        loop_set_timer(js->loop, &js->gc_timer, clock_monotonic_ns() + GC_LEAST_NS);
}

void jobs_on_gc_timer(struct timer *t) {
    jobs_start_gc(container_of(t, struct jobs, gc_timer));
}

static void on_remembered(void *arg, enum store_result result) {
    (void)arg, (void)result; /* if memory ran out it is not remembered */
}

static void remember(struct job *job) {
    struct jobs *js = job->js;
    if (js->config.keep_sync == 0)
        return;
    js->remembered->ops->finish(js->remembered, job->record, NULL, on_remembered, NULL);
    schedule_gc(js, job->record->expires_ms);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void update_rate(struct jobs *js) {
    int64_t now_ns = loop_now_ns(js->loop);
    double elapsed_s = (double)(now_ns - js->rate_ns) / 1e9;
    if (elapsed_s > 0)
        js->rate *= exp(-elapsed_s / JOBS_RATE_WINDOW_S);
    js->rate += 1 / JOBS_RATE_WINDOW_S;
    js->rate_ns = now_ns;
}

static void free_plan(struct job *job) {
    for (uint32_t i = 0; job->chunks != NULL && i < job->record->chunks_total; i++)
        slice_deinit(&job->chunks[i].part);
    free(job->chunks);
    free(job->poison);
    job->poison = NULL;
    job->poison_count = 0;
    job->chunks = NULL;
    job->again = NULL;
    slice_deinit(&job->chunk_bytes);
    slice_deinit(&job->plan);
    slice_deinit(&job->input);
    free(job->common);
    job->common = NULL;
}

void job_dequeue(struct job *job) {
    sched_remove(&job->js->scheduler, &job->sched);
    job->js->long_backlog_ns -= job->queued_cost_ns;
    job->queued_cost_ns = 0;
}

/* Nobody finds it by its id any more, and it takes no room in the queue. */
void job_leave_live(struct job *job) {
    struct jobs *js = job->js;
    job_dequeue(job);
    job_release_workers(job);
    job_clear_backoffs(job);
    loop_clear_timer(js->loop, &job->timer);
    HASH_DEL(js->live, job);
    js->live_count--;
    if (!job->record->durable)
        js->transient_count--;
}

void job_release(struct job *job) {
    job_log_end(job); /* may want the parts */
    free_plan(job);
    free(job->stop_detail);
    free(job->stop_members);
    free(job->bad_webhook);
    free(job->request_hash);
    free(job->key);
    blob_unref(job->webhook);
    record_unref(job->record);
    free(job);
}

static void stamp_end(struct job *job) {
    struct record *r = job->record;
    int64_t now_ns = clock_monotonic_ns();
    jobs_check_clock(job->js);
    r->finished_ms = clock_wall_ms();
    r->expires_ms = r->finished_ms + r->ttl_ms;
    if (r->started_ms != 0)
        r->run_ns = now_ns - job->run_started_ns;
    else
        r->queued_ns = now_ns - job->accepted_ns;
}

static void count_end(struct job *job) {
    struct record *r = job->record;
    struct metrics *m = job->js->metrics;
    size_t row = r->type < METRICS_TYPES ? r->type : METRICS_TYPES;
    m->jobs[row][r->status]++;
    if (r->started_ms != 0)
        metrics_observe(&m->job_run[row], r->run_ns);
    update_rate(job->js);
}

static void log_end(const struct job *job) {
    const struct record *r = job->record;
    job_log_event(r->status == JOB_FAILED ? LOG_WARN : r->durable ? LOG_INFO : LOG_DEBUG, "job_ended", job);
}

/* ---- telling the webhook: recorded together with the end, sent when that is done -------------------------------- */

static struct delivery delivery_of(const struct job *job) {
    const struct record *r = job->record;
    return (struct delivery){.job = r->id,
                             .url = r->webhook,
                             .trace = r->trace,
                             .body = {job->webhook, 0, job->webhook == NULL ? 0 : job->webhook->size}};
}

/* False: there is nobody to tell. */
static bool prepare_webhook(struct job *job) {
    struct buf body = {0};
    if (job->record->webhook == NULL || job->js->webhooks == NULL || job->refused)
        return false;
    webhook_body(&body, job->record);
    job->webhook = body.failed ? NULL : blob_copy(body.data, body.size);
    buf_deinit(&body);
    if (job->webhook == NULL)
        job_log_event(LOG_ERROR, "webhook_lost", job); /* no memory */
    return job->webhook != NULL;
}

static void send_webhook(struct job *job) {
    struct delivery d = delivery_of(job);
    if (job->webhook != NULL && job->js->webhooks != NULL)
        webhooks_send(job->js->webhooks, &d);
}

/* It was refused when it may have been on its way to the disk, or had ended. */
static void unmake(struct job *job) {
    struct store *s = job->js->store;
    s->ops->forget(s, &job->record->id, on_remembered, NULL);
    if (job->webhook != NULL)
        s->ops->delivered(s, &job->record->id);
}

void job_tell_end(struct job *job) {
    struct jobs *js = job->js;
    if (job->refused) {
        unmake(job);
    } else {
        log_end(job);
        send_webhook(job);
    }
    DL_DELETE2(js->ending, job, ending_prev, ending_next);
    js->ending_count--;
    job_tell_waiters(job);
    job_release(job);
}

static void on_end_recorded(void *arg, enum store_result result) {
    struct job *job = arg;
    if (result != STORE_OK && result != STORE_GONE)
        job_log_event(LOG_ERROR, "end_not_recorded", job); /* the store tries again; meanwhile it answers from memory */
    job->end_recorded = true;
    if (!job->at_store) /* a store in trouble may answer this before the submission */
        job_tell_end(job);
}

/* Of a job that is not stored itself. */
static void tell_webhook(struct job *job) {
    struct store *s = job->js->store;
    if (!prepare_webhook(job))
        return;
    struct delivery d = delivery_of(job);
    s->ops->deliver(s, &d);
    send_webhook(job);
}

static void record_end(struct job *job) {
    struct jobs *js = job->js;
    job_leave_live(job);
    DL_APPEND2(js->ending, job, ending_prev, ending_next);
    js->ending_count++;
    schedule_gc(js, job->record->expires_ms);
    bool told = prepare_webhook(job);
    struct delivery d = delivery_of(job);
    js->store->ops->finish(js->store, job->record, told ? &d : NULL, on_end_recorded, job);
}

/* The status is final; no task is left. */
static void finish(struct job *job) {
    bool real = !job->rejected && !job->refused;
    if (real)
        count_end(job);
    job->phase = PHASE_DONE;
    if (job->record->durable) {
        record_end(job);
        return;
    }
    if (real) {
        log_end(job);
        remember(job);
        tell_webhook(job);
    }
    job_tell_waiters(job);
    job_leave_live(job);
    job_release(job);
}

void job_succeed(struct job *job, struct slice result) {
    job->record->result = result;
    stamp_end(job);
    job_set_status(job, JOB_SUCCEEDED);
    finish(job);
}

/* The job's `error`: a whole problem document that names the job. */
static void write_error(struct job *job) {
    struct record *r = job->record;
    char id[ID_TEXT_SIZE], path[64];
    struct buf members = {0};
    id_format(&r->id, id);
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    if (job->stop_members != NULL)
        buf_printf(&members, "%s%s", job->stop_members, job->rejected ? "" : ",");
    if (!job->rejected)
        buf_printf(&members, "\"job\":\"%s\"", id);
    r->problem = job->stop_problem;
    problem_write(&r->error, job->stop_problem, job->stop_detail, members.size > 0 ? members.data : NULL,
                  job->rejected ? "/v1/jobs" : path);
    buf_deinit(&members);
}

void job_end_if_stopped(struct job *job) {
    if (!job->stopping || job->tasks != NULL || job->telling)
        return;
    stamp_end(job);
    write_error(job);
    job_set_status(job, job->stop_status);
    finish(job);
}

void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem, char *detail,
              char *members) {
    struct task *t, *next;
    if (job->stopping || job->phase == PHASE_DONE) {
        free(detail);
        free(members);
        return;
    }
    job->stopping = true;
    job->stop_reason = reason;
    job->stop_status = status;
    job->stop_problem = problem;
    job->stop_detail = detail;
    job->stop_members = members;
    job_dequeue(job);
    job_clear_backoffs(job);
    loop_clear_timer(job->js->loop, &job->timer);
    DL_FOREACH_SAFE(job->tasks, t, next) {
        /* A worker that is still being fed parts must get them all before it can hear of anything else. */
        if (!task_is_feeding(t) && !pool_stop_task(t->worker, t->ticket, reason))
            task_free(t);
    }
    job_end_if_stopped(job);
}

void job_cancel(struct job *job) {
    job_stop(job, STOP_CANCEL, JOB_CANCELLED, PROBLEM_CANCELLED, NULL, NULL);
}

void job_drop(struct job *job) {
    job->refused = true;
    job_cancel(job);
}
