/* recover.c: how jobs go from one process to the next. At its start a process queues what an earlier one left in the
 * store. At its end it leaves there what still runs. Front end.
 *
 *     stored as            comes back as
 *     queued               queued, in the order of the ids
 *     running              queued, with one attempt more, and a `lost` whose cause is "restart"
 *       with its plan      the chunks that were done are not run again
 *       without its plan   planned again, from the request
 *
 * What was lost with workers stays lost: a chunk that has no attempts left fails its job at once.
 */
#include "server/jobs/recover.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/jobs/attached.h"
#include "server/jobs/backoff.h"
#include "server/jobs/delayed.h"
#include "server/jobs/end.h"
#include "server/jobs/expiry.h"
#include "server/jobs/history.h"
#include "server/jobs/lost.h"
#include "server/jobs/plan.h"
#include "server/jobs/poison.h"
#include "server/jobs/queue.h"

/* It was running, and will be started anew by the next process. */
static void queue_anew(struct job *job) {
    job->record->started_ms = 0;
    job->record->queued_ns = 0;
    job->run_started_ns = 0;
    job_set_status(job, JOB_QUEUED);
}

/* What ran for it was lost with a daemon. */
static void lose_to_restart(struct job *job) {
    job->record->attempts++;
    lost_add(job, NULL, "restart", NULL);
    queue_anew(job);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

/* The clocks are read once. Were they read for each job, the thread could have to wait between the two readings, and
 * the times of that job would be off against those of the others. */
struct recovery {
    struct jobs *js;
    int64_t now_ns, now_ms;
};

/* A time of the wall clock as one of the monotonic clock: below 0 if the machine was started later. */
static int64_t monotonic_ns(const struct recovery *to, int64_t wall_ms) {
    int64_t ago_ms = to->now_ms - wall_ms;
    return ago_ms >= 0 ? to->now_ns - job_limit_ns(ago_ms) : to->now_ns + job_limit_ns(-ago_ms);
}

static void set_clocks(const struct recovery *to, struct job *job) {
    const struct record *r = job->record;
    int64_t created_ns = monotonic_ns(to, r->created_ms);
    job->accepted_ns = created_ns < to->now_ns ? created_ns : to->now_ns;
    job->due_ns = r->not_before_ms != 0 ? monotonic_ns(to, r->not_before_ms) : job->accepted_ns;
    job->delayed = job->due_ns > to->now_ns;
    if (job->delayed && !delayed_add(job))
        job_log_event(LOG_ERROR, "delayed_job_counts_as_queued", job); /* no memory */
}

static void on_job(void *arg, struct record *r, const struct store_input *in) {
    const struct recovery *to = arg;
    struct jobs *js = to->js;
    bool was_running = r->status == JOB_RUNNING;
    struct job *job = job_new(js, record_ref(r));
    if (job == NULL) {
        record_unref(r);
        return; /* memory ran out: the job stays in the store for the next process */
    }
    id_follow(&r->id);
    r->version = (uint64_t)clock_wall_ms(); /* above all of the earlier process, so no ETag is used twice */
    r->chunks_done = 0;
    job->asynchronous = job->planned_told = true;
    job_set_durability(job, DURABILITY_STORED);
    if (!attached_take(job, in->attachments)) {
        job_abandon(job);
        return;
    }
    attached_freeze(job);
    set_clocks(to, job);
    if (in->plan.size == 0 || !plan_take(job, &in->plan)) {
        r->chunks_total = 0;
        job->input_is_raw = true;
        job->input = slice_ref(&in->request);
    }
    job_index(job);
    js->recovered_count++;
    if (!was_running)
        return;
    lose_to_restart(job);
    js->store->ops->update(js->store, r);
    job_log_event(LOG_INFO, "job_recovered", job);
}

static void raise_to(unsigned *lost, uint32_t attempt) {
    *lost = attempt > *lost ? attempt : *lost;
}

/* How often it was lost. If the job has to be planned again, its new chunks have the losses of the old ones, as they
 * have those of the plan. */
static void restore_losses(struct job *job, const struct store_chunk *stored) {
    if (stored->chunk == STORE_MERGE)
        raise_to(&job->merge_lost, stored->attempt);
    else if (stored->chunk == STORE_PLAN || job->phase == PHASE_PLAN)
        raise_to(&job->plan_lost, stored->attempt);
    for (uint32_t i = 0; stored->chunk == STORE_PLAN && job->chunks != NULL && i < job->record->chunks_total; i++)
        raise_to(&job->chunks[i].lost, stored->attempt);
}

static void on_chunk(void *arg, const struct id *id, const struct store_chunk *stored) {
    const struct recovery *to = arg;
    struct job *job = jobs_find(to->js, id, NULL);
    if (job == NULL)
        return;
    restore_losses(job, stored);
    if (job->phase != PHASE_CHUNKS || stored->chunk >= job->record->chunks_total)
        return;
    struct chunk *c = &job->chunks[stored->chunk];
    int64_t items = job_count_items(job, &stored->part);
    c->lost = stored->attempt;
    for (uint32_t i = 0; i < stored->poison_count; i++)
        if (!job_restore_poison(job, stored->chunk, stored->poison[i]))
            job_log_event(LOG_ERROR, "poison_item_lost", job);
    if (!stored->done || c->done || items < 0)
        return;
    c->part = slice_ref(&stored->part);
    c->done = true;
    job->record->chunks_done++;
    history_chunk(job, stored->chunk, (uint64_t)items);
}

/* Whether what comes next has been lost as often as it can be. The job was about to fail when its process ended. */
static bool has_no_attempts_left(const struct job *job) {
    uint64_t allowed = (uint64_t)job->record->options.max_attempts;
    if (job->phase == PHASE_PLAN)
        return job->plan_lost >= allowed;
    if (job->phase == PHASE_MERGE)
        return job->merge_lost >= allowed;
    for (uint32_t i = 0; i < job->record->chunks_total; i++)
        if (!job->chunks[i].done && job->chunks[i].lost >= job_allowed_losses(job, i))
            return true;
    return false;
}

/* All that the store has of the job was read: finds out what is left to send. */
static void resume(struct job *job) {
    struct record *r = job->record;
    if (job->input_is_raw && job->input.size == 0) { /* its file is gone */
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_INTERNAL_ERROR, strdup("the request could not be read back"),
                 NULL);
        return;
    }
    if (job->phase == PHASE_CHUNKS && r->chunks_done > 0) {
        job->next_chunk = r->chunks_total;
        for (uint32_t i = r->chunks_total; i-- > 0;)
            if (!job->chunks[i].done)
                job->again[job->again_count++] = i; /* queue.c takes them from its end */
        if (r->chunks_done == r->chunks_total)
            job_enter_phase(job, PHASE_MERGE);
    }
    if (has_no_attempts_left(job)) {
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_WORKER_CRASHED,
                 strdup("the worker died in each attempt, the last time before the service was restarted"), NULL);
        return;
    }
    job_arm_timer(job);
    job_enqueue(job);
}

static void on_delivery(void *arg, const struct delivery *d) {
    struct jobs *js = ((const struct recovery *)arg)->js;
    if (js->webhooks.send != NULL && !js->webhooks.send(js->webhooks.arg, d))
        LOG(LOG_ERROR, "webhook_put_off", LOG_STR("error", "out of memory: until the next start"));
}

int jobs_recover(struct jobs *js) {
    struct recovery recovery = {js, clock_monotonic_ns(), clock_wall_ms()};
    struct store_recovery to = {.arg = &recovery, .job = on_job, .chunk = on_chunk, .delivery = on_delivery};
    struct job *job, *next;
    if (js->store->ops->recover(js->store, &to) != 0)
        return -1;
    HASH_ITER(hh, js->live, job, next) { /* in the order of the ids */
        resume(job);
    }
    expiry_start(js);
    if (js->recovered_count > 0)
        LOG(LOG_INFO, "recovered", LOG_INT("jobs", js->recovered_count));
    return 0;
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

/* Nothing of it is at a worker, and what comes next has to wait for a time; or for a reader, if the store has the job.
 * Otherwise the job is the reader's alone: it ends when that has read it, or has left. */
static bool only_waits(const struct job *job) {
    enum not_runnable why = job_not_runnable(job);
    bool waits = why == NOT_RUNNABLE_DELAYED || why == NOT_RUNNABLE_BACKING_OFF ||
                 (why == NOT_RUNNABLE_THROTTLED && job->record->durable);
    return waits && job->tasks == NULL;
}

/* Into the store, as queued. Nothing was lost, so this is no new attempt. */
static void park_running(struct job *job) {
    struct jobs *js = job->js;
    queue_anew(job);
    js->store->ops->update(js->store, job->record);
    job_clear_backoffs(job);
}

static void leave_to_next_process(struct job *job) {
    if (job->record->status == JOB_RUNNING)
        park_running(job);
    job_dequeue(job);
    loop_clear_timer(job->js->loop, &job->timer);
    job_tell_parked(job);
}

void recover_park_waiting(struct job *job) {
    struct jobs *js = job->js;
    if (!js->draining || !js->config.persistent || job_is_stopping(job) || !only_waits(job))
        return;
    if (!job->record->durable) { /* its waiters can make it durable; then they are answered 202 */
        job->telling = true;
        job_tell_parked(job);
        job->telling = false;
    }
    if (job_is_stopping(job)) /* the store cannot take it */
        job_end_if_stopped(job);
    else if (job->record->durable)
        leave_to_next_process(job);
}

void jobs_drain(struct jobs *js) {
    struct job *job, *next;
    js->draining = true;
    HASH_ITER(hh, js->live, job, next) {
        if (job_is_stopping(job))
            continue;
        if (job_is_parked(job))
            leave_to_next_process(job);
        else
            recover_park_waiting(job);
    }
}

bool jobs_are_drained(const struct jobs *js) {
    if (!js->config.persistent)
        return js->live_count == 0;
    return js->running_count == 0 && js->transient_count == 0 && js->ending_count == 0;
}

void recover_park_all(struct jobs *js) {
    struct job *job, *next;
    HASH_ITER(hh, js->live, job, next) {
        struct record *r = job->record;
        if (!r->durable || r->status != JOB_RUNNING)
            continue;
        if (job->tasks != NULL)
            lose_to_restart(job);
        else
            queue_anew(job); /* no worker has anything of it */
        js->store->ops->update(js->store, r);
    }
}
