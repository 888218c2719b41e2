/* end.c: see end.h. Front end. */
#include "server/jobs/end.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/backoff.h"
#include "server/jobs/delayed.h"
#include "server/jobs/expiry.h"
#include "server/jobs/history.h"
#include "server/jobs/output.h"
#include "server/jobs/queue.h"

#define TRY_AGAIN_NS (100 * NS_PER_MS) /* until the store is offered an end again for which there was no memory */

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

static void job_free(struct job *job) {
    history_end(job); /* it may take over the parts */
    for (uint32_t i = 0; job->chunks != NULL && i < job->record->chunks_total; i++)
        slice_deinit(&job->chunks[i].part);
    free(job->chunks); /* and `again` */
    free(job->poison);
    slice_deinit(&job->chunk_bytes);
    slice_deinit(&job->plan);
    slice_deinit(&job->input);
    attachments_deinit(&job->attachments);
    free(job->common);
    free(job->stop_detail);
    free(job->stop_members);
    free(job->bad_webhook);
    free(job->request_hash);
    free(job->accepted);
    free(job->key);
    blob_unref(job->webhook);
    record_unref(job->record);
    held_sub(HELD_JOBS, job->held);
    job_release(job);
}

/* After this the job has no turn, no worker and no room in the queue. */
static void leave(struct job *job) {
    job_dequeue(job);
    job_clear_backoffs(job);
    delayed_remove(job);
    job_leave_live(job);
}

void job_abandon(struct job *job) {
    job_tell_last(job, JOB_ABANDONED);
    while (job->tasks != NULL)
        task_free(job->tasks);
    leave(job);
    job_free(job);
}

/* ---- the webhook: recorded together with the end, sent when that is done ----------------------------------------- */

static struct delivery delivery_of(const struct job *job) {
    const struct record *r = job->record;
    return (struct delivery){.job = r->id,
                             .url = r->options.webhook,
                             .trace = r->trace,
                             .body = {job->webhook, 0, job->webhook == NULL ? 0 : job->webhook->size}};
}

static bool has_webhook(const struct job *job) {
    return job->record->options.webhook != NULL && job->js->webhooks.send != NULL && !job_is_store_failed(job);
}

/* Writes the body. False: memory ran out. */
static bool write_webhook(struct job *job) {
    struct buf body = {0};
    if (job->webhook != NULL)
        return true; /* in an earlier try */
    job->js->webhooks.write_body(&body, job->record);
    job->webhook = body.failed ? NULL : blob_copy(body.data, body.size);
    buf_deinit(&body);
    return job->webhook != NULL;
}

/* False: memory ran out. */
static bool send_webhook(struct job *job) {
    const struct jobs_webhooks *w = &job->js->webhooks;
    struct delivery d = delivery_of(job);
    return job->webhook == NULL || w->send == NULL || w->send(w->arg, &d);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* A line for each job that ends well would cost as much as to parse and to check its request. */
static void log_end(const struct job *job) {
    job_log_event(job->record->status == JOB_FAILED ? LOG_WARN : LOG_DEBUG, "job_ended", job);
}

/* Into the metrics, and into the rate at which jobs end. */
static void count_end(struct job *job) {
    const struct record *r = job->record;
    struct jobs *js = job->js;
    size_t row = metrics_row(r->type);
    js->metrics->jobs[row][r->status]++;
    if (r->started_ms != 0)
        metrics_observe(&js->metrics->job_run[row], r->run_ns);
    int64_t now_ns = loop_now_ns(js->loop);
    double elapsed_s = (double)(now_ns - js->rate_ns) / 1e9;
    if (elapsed_s > 0)
        js->rate *= exp(-elapsed_s / JOBS_RATE_WINDOW_S);
    js->rate += 1 / JOBS_RATE_WINDOW_S;
    js->rate_ns = now_ns;
    if (job->tenant != NULL && !job->uncounted)
        tenant_count_end(job->tenant, now_ns);
}

/* Nothing depends on whether a job was remembered or forgotten. */
static void on_ignored(void *arg, enum store_result result) {
    (void)arg, (void)result;
}

static void on_tell_again(struct timer *t) {
    job_tell_end(container_of(t, struct job, timer));
}

/* Memory ran out on the way of an end. Nobody has heard of it yet, so it is not too late. */
static void put_off(struct job *job, void (*again)(struct timer *t)) {
    job_log_event(LOG_ERROR, "end_put_off", job);
    job->timer.fire = again;
    loop_set_timer(job->js->loop, &job->timer, clock_monotonic_ns() + TRY_AGAIN_NS);
}

void job_tell_end(struct job *job) {
    struct jobs *js = job->js;
    struct store *s = js->store;
    job_tell_submitted(job);
    if (!job_is_store_failed(job) && !send_webhook(job)) {
        put_off(job, on_tell_again);
        return;
    }
    if (job_is_store_failed(job) && job->record->durable) { /* it can have reached the disk all the same */
        s->ops->forget(s, &job->record->id, NULL, on_ignored, NULL);
        if (job->webhook != NULL)
            s->ops->delivered(s, &job->record->id);
    } else if (!job_is_store_failed(job)) {
        log_end(job);
    }
    DL_DELETE2(js->ending, job, ending_prev, ending_next);
    js->ending_count--;
    job_tell_last(job, JOB_ENDED);
    job_free(job);
}

static void try_to_record(struct job *job);

static void on_try_again(struct timer *t) {
    try_to_record(container_of(t, struct job, timer));
}

static void on_end_recorded(void *arg, enum store_result result) {
    struct job *job = arg;
    if (result == STORE_NO_MEMORY) {
        put_off(job, on_try_again);
        return;
    }
    if (result != STORE_OK && result != STORE_GONE)
        job_log_event(LOG_ERROR, "end_not_recorded", job); /* the store tries again; meanwhile it answers from memory */
    if (job->durability == DURABILITY_SUBMITTING)
        job_set_durability(job, DURABILITY_END_RECORDED); /* on_submitted goes on */
    else
        job_tell_end(job);
}

/* The store has answered to submit_ended. */
static void on_submitted_ended(void *arg, enum store_result result) {
    struct job *job = arg;
    enum durability from = job->durability;
    job_set_durability(job, result == STORE_OK ? DURABILITY_STORED : DURABILITY_STORE_FAILED);
    if (result == STORE_OK)
        count_end(job);
    else
        metrics_count(job->js->metrics->rejected, problem_get(PROBLEM_STORE_UNAVAILABLE)->code);
    if (result != STORE_OK && from == DURABILITY_POSTING)
        job->record->durable = false; /* the store has nothing of the job, so it does not hear of it again */
    if (from == DURABILITY_END_RECORDED)
        job_tell_end(job);
}

/* One operation for the whole life of the job: its submission and its end. */
static void submit_ended(struct job *job, const struct delivery *webhook) {
    struct store *s = job->js->store;
    struct store_input in = {.key = job->key, .webhook = webhook};
    job_set_durability(job, DURABILITY_POSTING);
    s->ops->submit(s, job->record, &in, on_submitted_ended, job);
    if (job->durability == DURABILITY_POSTING)
        job_set_durability(job, DURABILITY_END_RECORDED); /* as soon as it is submitted */
    else
        job_tell_end(job);
}

static void try_to_record(struct job *job) {
    struct store *s = job->js->store;
    bool wants_webhook = has_webhook(job);
    if (wants_webhook && !write_webhook(job)) {
        put_off(job, on_try_again);
        return;
    }
    struct delivery d = delivery_of(job);
    if (job->durability == DURABILITY_ENDING)
        submit_ended(job, wants_webhook ? &d : NULL);
    else
        s->ops->finish(s, job->record, wants_webhook ? &d : NULL, on_end_recorded, job);
}

void end_abandon_all(struct jobs *js) {
    struct job *job, *next;
    DL_FOREACH_SAFE2(js->ending, job, next, ending_next) {
        job_tell_submitted(job);
        loop_clear_timer(js->loop, &job->timer);
        DL_DELETE2(js->ending, job, ending_prev, ending_next);
        js->ending_count--;
        job_free(job);
    }
}

/* The end of a durable job: on_end_recorded goes on. */
static void record_end(struct job *job) {
    struct jobs *js = job->js;
    leave(job);
    DL_APPEND2(js->ending, job, ending_prev, ending_next);
    js->ending_count++;
    expiry_schedule(js, job->record->expires_ms);
    try_to_record(job);
}

/* The end of a job that is not the store's. Its webhook is, if it has one. */
static void remember_end(struct job *job) {
    struct jobs *js = job->js;
    log_end(job);
    if (js->config.keep_sync > 0 && !host_is_hidden(job->record->type)) {
        js->remembered->ops->finish(js->remembered, job->record, NULL, on_ignored, NULL);
        expiry_schedule(js, job->record->expires_ms);
    }
    if (has_webhook(job) && !write_webhook(job)) {
        job_log_event(LOG_ERROR, "webhook_lost", job);
    } else if (has_webhook(job)) {
        struct delivery d = delivery_of(job);
        js->store->ops->deliver(js->store, &d);
        if (!send_webhook(job))
            job_log_event(LOG_ERROR, "webhook_lost", job);
    }
}

/* Into the record: when the job ends, and how. */
static void stamp_end(struct job *job, enum job_status status) {
    struct record *r = job->record;
    int64_t now_ns = clock_monotonic_ns();
    expiry_check_clock(job->js);
    r->finished_ms = clock_wall_ms();
    r->expires_ms = r->finished_ms + r->options.ttl_ms;
    output_end(job);
    if (r->started_ms != 0)
        r->run_ns = now_ns - job->run_started_ns + (job->planned_apart ? r->plan_ns : 0);
    else
        r->queued_ns = now_ns - job->accepted_ns;
    job_set_status(job, status);
}

/* A job that is to be answered 202 and ends before it was planned is on disk before that answer, too. A raw body whose
 * key is not decided yet is left out: it has no key to be stored with. */
static void tell_those_who_accept(struct job *job) {
    if (!job->asynchronous || job->rejected || job_is_store_failed(job) || job->request_hash != NULL)
        return;
    job->end_is_known = !job->planned_told;
    job_tell_planned(job); /* no effect if it was planned */
}

/* The job has no task any more, and ends with that status. */
static void finish(struct job *job, enum job_status status) {
    stamp_end(job, status);
    tell_those_who_accept(job);
    bool existed = !job->rejected && !job_is_store_failed(job);
    if (existed && job->durability != DURABILITY_ENDING)
        count_end(job);
    job_enter_phase(job, PHASE_DONE);
    if (job->record->durable) {
        record_end(job);
        return;
    }
    if (existed)
        remember_end(job);
    job_tell_last(job, JOB_ENDED);
    leave(job);
    job_free(job);
}

void job_succeed(struct job *job, struct slice result) {
    job->record->result = result;
    finish(job, JOB_SUCCEEDED);
}

/* The job's `error`: a whole problem document that names the job. False: memory ran out. */
static bool write_error(struct job *job) {
    struct record *r = job->record;
    char id[ID_TEXT_SIZE], path[64];
    struct buf members = {0};
    id_format(&r->id, id);
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    if (!job->rejected)
        buf_printf(&members, "\"job\":\"%s\"", id);
    if (job->stop_members != NULL) {
        buf_puts(&members, job->rejected ? "" : ",");
        buf_puts(&members, job->stop_members);
    }
    r->problem = job->stop_problem;
    problem_write(&r->error, job->stop_problem, job->stop_detail, members.size > 0 ? members.data : NULL,
                  job->rejected ? "/v1/jobs" : path);
    bool ok = !members.failed && !r->error.failed;
    buf_deinit(&members);
    if (!ok)
        buf_deinit(&r->error);
    return ok;
}

static void on_end_again(struct timer *t) {
    job_end_if_stopped(container_of(t, struct job, timer));
}

void job_end_if_stopped(struct job *job) {
    if (!job_is_stopping(job) || job->tasks != NULL || job->telling)
        return;
    if (write_error(job))
        finish(job, job->stop_status);
    else
        put_off(job, on_end_again);
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
        /* A worker that is still fed parts of a merge must get them all before it reads another message. */
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
