/* jobs.c: the state of jobs: see jobs.h for the diagram. Front end. job_set_status is the one function that changes a
 * job's status. How a job begins is in jobs_submit.c, how it ends in jobs_end.c; dispatch.c and replies.c do the work between.
 */
#include "server/jobs/jobs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/jobs/private.h"

/* ---- status ---------------------------------------------------------------------------------------------- */

void job_count_status(struct job *job, enum job_status status, int by) {
    struct jobs *js = job->js;
    if (status == JOB_QUEUED)
        js->queued[job->record->priority] += (size_t)by;
    else if (status == JOB_RUNNING)
        js->running_count += (size_t)by;
}

/* The one function that changes a job's status; aborts on what the diagram in jobs.h does not have. */
void job_set_status(struct job *job, enum job_status to) {
    static const bool allowed[JOB_STATUSES][JOB_STATUSES] = {
        [JOB_QUEUED] = {[JOB_RUNNING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
        [JOB_RUNNING] = {[JOB_QUEUED] = true, [JOB_SUCCEEDED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
    };
    struct record *r = job->record;
    if (!allowed[r->status][to])
        abort();
    job_count_status(job, r->status, -1);
    r->status = to;
    job_count_status(job, to, 1);
    job_touch(job);
}

void job_touch(struct job *job) {
    struct job_waiter *w, *next;
    job->record->version++;
    if (job->watchers == 0)
        return;
    DL_FOREACH_SAFE(job->waiters, w, next) {
        if (w->wants_changes)
            w->notify(w, job, JOB_CHANGED);
    }
}

void job_log_event(enum log_level level, const char *event, const struct job *job) {
    const struct record *r = job->record;
    const struct handler *h = host_handler(r->type);
    char id[ID_TEXT_SIZE];
    if (level < log_threshold)
        return;
    id_format(&r->id, id);
    LOG(level, event, LOG_STR("job", id), LOG_STR("type", h == NULL ? NULL : h->name),
        LOG_STR("status", job_status_name(r->status)),
        LOG_STR("code", r->error.size > 0 ? problem_get(r->problem)->code : NULL), LOG_INT("chunks", r->chunks_total),
        LOG_INT("attempts", r->attempts), LOG_REAL("queued_ms", (double)r->queued_ns / 1e6),
        LOG_REAL("run_ms", (double)r->run_ns / 1e6), LOG_STR("trace", r->trace));
}

/* ---- waiters ------------------------------------------------------------------------------------------------ */

void job_wait(struct job *job, struct job_waiter *w) {
    w->job = job;
    job->watchers += w->wants_changes;
    DL_APPEND(job->waiters, w);
}

void job_unwait(struct job_waiter *w) {
    if (w->job == NULL)
        return;
    w->job->watchers -= w->wants_changes;
    DL_DELETE(w->job->waiters, w);
    w->job = NULL;
}

void job_planned(struct job *job) {
    struct job_waiter *w, *next;
    if (job->planned_told)
        return;
    job->planned_told = true;
    job->telling = true; /* who is told may cancel it, or its store may refuse it: it stays for our caller */
    DL_FOREACH_SAFE(job->waiters, w, next) {
        w->notify(w, job, JOB_PLANNED);
    }
    job->telling = false;
}

void job_tell_waiters(struct job *job) {
    while (job->waiters != NULL) {
        struct job_waiter *w = job->waiters;
        job_unwait(w);
        w->notify(w, job, JOB_ENDED);
    }
}

/* ---- time limits ---------------------------------------------------------------------------------------------------- */

void job_on_timer(struct timer *t) {
    struct job *job = container_of(t, struct job, timer);
    if (job->run_started_ns != 0) {
        job_stop(job, STOP_TIMEOUT, JOB_FAILED, PROBLEM_JOB_TIMEOUT, NULL, NULL);
    } else if (job->delayed) {
        job->delayed = false;
        job_arm_timer(job);
        job_enqueue(job);
    } else {
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_QUEUE_TIMEOUT, NULL, NULL);
    }
}

/* Three clocks: to the end of its delay, from there to the start, from the start to the end. */
void job_arm_timer(struct job *job) {
    struct loop *l = job->js->loop;
    const struct record *r = job->record;
    if (job->stopping)
        return;
    if (job->run_started_ns != 0)
        loop_set_timer(l, &job->timer, job->run_started_ns + job_limit_ns(r->timeout_ms));
    else if (job_is_parked(job))
        loop_clear_timer(l, &job->timer);
    else if (job->delayed)
        loop_set_timer(l, &job->timer, job->due_ns);
    else if (r->queue_timeout_ms > 0)
        loop_set_timer(l, &job->timer, job->due_ns + job_limit_ns(r->queue_timeout_ms));
    else
        loop_clear_timer(l, &job->timer);
}

void job_started(struct job *job, int64_t now_ns) {
    struct record *r = job->record;
    if (r->status != JOB_QUEUED)
        return;
    r->queued_ns = now_ns - job->accepted_ns;
    r->started_ms = r->created_ms + r->queued_ns / NS_PER_MS;
    metrics_observe(&job->js->metrics->job_wait, r->queued_ns);
    job_set_status(job, JOB_RUNNING);
    if (r->durable)
        job->js->store->ops->update(job->js->store, r);
    job_log_event(LOG_DEBUG, "job_started", job);
}

/* A drain leaves it to the next process. */
bool job_is_parked(const struct job *job) {
    const struct jobs *js = job->js;
    return js->draining && js->config.persistent && job->record->durable && job->record->status == JOB_QUEUED;
}

/* ---- turns ---------------------------------------------------------------------------------------------------------------- */

void job_enqueue(struct job *job) {
    enum sched_class class;
    job_dequeue(job);
    if (job->stopping || job_is_parked(job) || !job_has_task(job, &class))
        return;
    sched_put(&job->js->scheduler, &job->sched, class, job->record->priority, loop_now_ns(job->js->loop));
    job->queued_cost_ns = class == SCHED_SHORT ? 0 : job_next_cost_ns(job);
    job->js->long_backlog_ns += job->queued_cost_ns;
    job->js->dirty = true;
}

/* ---- throttling ---------------------------------------------------------------------------------------------------------------- */

void job_throttle(struct job *job) {
    enum sched_class class;
    job->throttles++;
    if (!job_has_task(job, &class))
        job_dequeue(job);
}

void job_unthrottle(struct job *job) {
    job->throttles--;
    job_enqueue(job);
}

/* ---- about one job ---------------------------------------------------------------------------------------------------------- */

struct record *job_record(struct job *job) {
    return job->record;
}

uint8_t *job_request_hash(struct job *job) {
    return job->request_hash;
}

bool job_is_rejected(const struct job *job) {
    return job->rejected;
}

bool job_is_store_failed(const struct job *job) {
    return job->refused;
}

bool job_is_ending(const struct job *job) {
    return job->phase == PHASE_DONE;
}

bool job_is_planned(const struct job *job) {
    return job->planned_told;
}

bool job_is_delayed(const struct job *job) {
    return job->delayed;
}

double job_fraction(const struct job *job) {
    const struct record *r = job->record;
    const struct task *t;
    double done = r->chunks_done;
    if (r->chunks_total == 0)
        return 0;
    DL_FOREACH(job->tasks, t) {
        if (t->kind == TASK_RUN)
            done += pool_progress(t->worker, t->ticket);
    }
    done /= r->chunks_total;
    return done > 1 ? 1 : done;
}

/* Under round robin, each job that waits sends one chunk before this one does; the workers first finish theirs. */
int64_t job_estimated_start_ms(const struct job *job) {
    const struct jobs *js = job->js;
    int64_t now_ns = clock_monotonic_ns(), work_ns = js->long_backlog_ns - job->queued_cost_ns;
    unsigned workers = 0, idle = 0;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        const struct worker *w = pool_worker(js->pool, i);
        if (worker_lane(w) != LANE_MAIN)
            continue;
        workers++;
        idle += !worker_has_long_task(w);
        if (worker_has_long_task(w) && js->long_due_ns[i] > now_ns)
            work_ns += js->long_due_ns[i] - now_ns;
    }
    if (js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] <= idle)
        work_ns = 0;
    int64_t held_until_ns = job_held_until_ns(job);
    int64_t held_ns = held_until_ns > now_ns ? held_until_ns - now_ns : 0;
    int64_t start_ms = clock_wall_ms() + (work_ns / workers + held_ns) / NS_PER_MS;
    return job->delayed && job->record->not_before_ms > start_ms ? job->record->not_before_ms : start_ms;
}

int64_t job_estimated_work_ms(const struct job *job) {
    int64_t work_ns = 0;
    for (uint32_t i = 0; job->chunks != NULL && i < job->record->chunks_total; i++)
        work_ns += job->chunks[i].done ? 0 : (int64_t)job->chunks[i].plan.cost_ns;
    uint32_t parts = job->record->chunks_total, workers = (uint32_t)pool_size(job->js->pool);
    return work_ns / NS_PER_MS / (parts == 0 ? 1 : parts < workers ? parts : workers);
}

/* ---- all jobs ------------------------------------------------------------------------------------------------------------------ */

struct jobs *jobs_new(struct loop *loop, const struct jobs_config *config, struct metrics *metrics, struct store *store,
                      struct store *remembered) {
    struct jobs *js = calloc(1, sizeof *js);
    if (js == NULL)
        return NULL;
    js->loop = loop;
    js->config = *config;
    js->metrics = metrics;
    js->store = store;
    js->remembered = remembered;
    js->gc_timer.fire = jobs_on_gc_timer;
    js->rate_ns = clock_monotonic_ns();
    js->wall_offset_ms = clock_wall_ms() - js->rate_ns / NS_PER_MS;
    return js;
}

void jobs_configure(struct jobs *js, const struct jobs_config *config) {
    js->config = *config;
}

void jobs_free(struct jobs *js) {
    struct job *job, *next;
    loop_clear_timer(js->loop, &js->gc_timer);
    jobs_park_all(js);
    js->store->ops->close(js->store); /* what ends by that is told and freed */
    js->remembered->ops->close(js->remembered);
    HASH_ITER(hh, js->live, job, next) {
        while (job->tasks != NULL)
            task_free(job->tasks);
        job_leave_live(job);
        job_release(job);
    }
    while (js->free_tasks != NULL) {
        struct task *t = js->free_tasks;
        js->free_tasks = t->next;
        free(t);
    }
    free(js->feeding);
    free(js->short_turn);
    free(js->load_ns);
    free(js->long_due_ns);
    free(js);
}

void jobs_set_webhooks(struct jobs *js, struct webhooks *webhooks) {
    js->webhooks = webhooks;
}

size_t jobs_live(const struct jobs *js) {
    return js->live_count;
}

size_t jobs_running(const struct jobs *js) {
    return js->running_count;
}

uint64_t jobs_retry_after_s(const struct jobs *js) {
    double idle_s = (double)(clock_monotonic_ns() - js->rate_ns) / 1e9;
    double rate = js->rate * exp(-idle_s / JOBS_RATE_WINDOW_S);
    if (rate <= 1.0 / 3600)
        return js->rate > 0 ? 3600 : 5; /* nothing has ended lately; nothing has ended ever */
    double s = ceil(1 / rate);
    return s < 1 ? 1 : s > 3600 ? 3600 : (uint64_t)s;
}
