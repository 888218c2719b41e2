/* end.c: see end.h. Front end. */
#include "server/jobs/end.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "server/jobs/backoff.h"
#include "server/jobs/expiry.h"
#include "server/jobs/history.h"
#include "server/jobs/queue.h"

/* ---- remembering ------------------------------------------------------------------------------------------------- */

static void on_remembered(void *arg, enum store_result result) {
    (void)arg, (void)result; /* if memory ran out it is not remembered */
}

static void remember(struct job *job) {
    struct jobs *js = job->js;
    if (js->config.keep_sync == 0)
        return;
    js->remembered->ops->finish(js->remembered, job->record, NULL, on_remembered, NULL);
    expiry_schedule(js, job->record->expires_ms);
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

static void job_free(struct job *job) {
    history_end(job); /* may want the parts */
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

/* It takes no turn, no worker and no room in the queue any more. */
static void leave(struct job *job) {
    job_dequeue(job);
    job_clear_backoffs(job);
    job_leave_live(job);
}

void job_abandon(struct job *job) {
    while (job->tasks != NULL)
        task_free(job->tasks);
    leave(job);
    job_free(job);
}

static void stamp_end(struct job *job) {
    struct record *r = job->record;
    int64_t now_ns = clock_monotonic_ns();
    expiry_check_clock(job->js);
    r->finished_ms = clock_wall_ms();
    r->expires_ms = r->finished_ms + r->options.ttl_ms;
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
                             .url = r->options.webhook,
                             .trace = r->trace,
                             .body = {job->webhook, 0, job->webhook == NULL ? 0 : job->webhook->size}};
}

/* False: there is nobody to tell. */
static bool prepare_webhook(struct job *job) {
    struct buf body = {0};
    if (job->record->options.webhook == NULL || job->js->webhooks.send == NULL || job_is_store_failed(job))
        return false;
    job->js->webhooks.write_body(&body, job->record);
    job->webhook = body.failed ? NULL : blob_copy(body.data, body.size);
    buf_deinit(&body);
    if (job->webhook == NULL)
        job_log_event(LOG_ERROR, "webhook_lost", job); /* no memory */
    return job->webhook != NULL;
}

static void send_webhook(struct job *job) {
    const struct jobs_webhooks *w = &job->js->webhooks;
    struct delivery d = delivery_of(job);
    if (job->webhook != NULL && w->send != NULL)
        w->send(w->arg, &d);
}

/* Its submission failed, or was undone, when it may have been on its way to the disk. */
static void undo_submission(struct job *job) {
    struct store *s = job->js->store;
    s->ops->forget(s, &job->record->id, on_remembered, NULL);
    if (job->webhook != NULL)
        s->ops->delivered(s, &job->record->id);
}

void job_tell_end(struct job *job) {
    struct jobs *js = job->js;
    if (job_is_store_failed(job)) {
        undo_submission(job);
    } else {
        log_end(job);
        send_webhook(job);
    }
    DL_DELETE2(js->ending, job, ending_prev, ending_next);
    js->ending_count--;
    job_tell_ended(job);
    job_free(job);
}

static void on_end_recorded(void *arg, enum store_result result) {
    struct job *job = arg;
    if (result != STORE_OK && result != STORE_GONE)
        job_log_event(LOG_ERROR, "end_not_recorded", job); /* the store tries again; meanwhile it answers from memory */
    if (job->durability == DURABILITY_SUBMITTING)
        job_set_durability(job, DURABILITY_END_RECORDED); /* told when the submission is answered */
    else
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
    leave(job);
    DL_APPEND2(js->ending, job, ending_prev, ending_next);
    js->ending_count++;
    expiry_schedule(js, job->record->expires_ms);
    bool told = prepare_webhook(job);
    struct delivery d = delivery_of(job);
    js->store->ops->finish(js->store, job->record, told ? &d : NULL, on_end_recorded, job);
}

/* The status is final; no task is left. */
static void finish(struct job *job) {
    bool real = !job->rejected && !job_is_store_failed(job);
    if (real)
        count_end(job);
    job_enter_phase(job, PHASE_DONE);
    if (job->record->durable) {
        record_end(job);
        return;
    }
    if (real) {
        log_end(job);
        remember(job);
        tell_webhook(job);
    }
    job_tell_ended(job);
    leave(job);
    job_free(job);
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
    if (!job_is_stopping(job) || job->tasks != NULL || job->telling)
        return;
    stamp_end(job);
    write_error(job);
    job_set_status(job, job->stop_status);
    finish(job);
}

void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem, char *detail,
              char *members) {
    struct task *t, *next;
    if (job_is_stopping(job) || job->phase == PHASE_DONE) {
        free(detail);
        free(members);
        return;
    }
    job_enter_phase(job, PHASE_STOPPING);
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

void job_undo_submission(struct job *job) {
    if (job->durability == DURABILITY_NONE)
        job_set_durability(job, DURABILITY_STORE_FAILED);
    job_cancel(job);
}
