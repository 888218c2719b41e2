/* jobs.c: the state of jobs: see jobs.h for the diagram. Front end. job_set_status is the one function that changes a
 * job's status; finish is the one place where a job leaves the live table. dispatch.c and replies.c do the work between.
 *
 * The end of a durable job is told when it is recorded, so that nobody sees an end that a crash could take back:
 *
 *     live ──finish──► ending (the store writes; who asks for the job is answered by the store, after that write)
 *       │                 └──► told, freed
 *       └──(not durable)──► remembered, told, freed
 */
#include "server/jobs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/jobs_private.h"
#include "server/webhooks.h"

#define RATE_WINDOW_S 10.0    /* time constant of the drain rate */
#define CLOCK_STEP_MS 1000    /* the wall clock was stepped if it and the monotonic one differ by more */
#define GC_LEAST_NS (50 * NS_PER_MS)

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

static void tell_ended(struct job *job) {
    while (job->waiters != NULL) {
        struct job_waiter *w = job->waiters;
        job_unwait(w);
        w->notify(w, job, JOB_ENDED);
    }
}

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
    js->store->ops->shift(js->store, by_ms);
    js->remembered->ops->shift(js->remembered, by_ms);
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

static void on_gc_timer(struct timer *t) {
    jobs_start_gc((struct jobs *)((char *)t - offsetof(struct jobs, gc_timer)));
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
        js->rate *= exp(-elapsed_s / RATE_WINDOW_S);
    js->rate += 1 / RATE_WINDOW_S;
    js->rate_ns = now_ns;
}

static void free_plan(struct job *job) {
    for (uint32_t i = 0; job->chunks != NULL && i < job->record->chunks_total; i++)
        slice_deinit(&job->chunks[i].part);
    free(job->chunks);
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
static void leave_live(struct job *job) {
    struct jobs *js = job->js;
    job_dequeue(job);
    job_release_workers(job);
    job_clear_pauses(job);
    loop_clear_timer(js->loop, &job->timer);
    HASH_DEL(js->live, job);
    js->live_count--;
    if (!job->record->durable)
        js->transient_count--;
}

static void job_release(struct job *job) {
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
    return (struct delivery){.job = r->id, .url = r->webhook, .trace = r->trace,
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
    tell_ended(job);
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
    leave_live(job);
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
    tell_ended(job);
    leave_live(job);
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

void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem,
              char *detail, char *members) {
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
    job_clear_pauses(job);
    loop_clear_timer(job->js->loop, &job->timer);
    DL_FOREACH_SAFE(job->tasks, t, next) {
        /* A worker that is still being fed parts must get them all before it can hear of anything else. */
        if (!task_is_feeding(t) && !pool_stop_work(t->worker, t->ticket, reason))
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

/* ---- time limits ---------------------------------------------------------------------------------------------------- */

void job_on_timer(struct timer *t) {
    struct job *job = (struct job *)((char *)t - offsetof(struct job, timer));
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
    if (job->stopping || job_is_parked(job) || !job_has_unit(job, &class))
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
    if (!job_has_unit(job, &class))
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

const uint8_t *job_request_hash(const struct job *job) {
    return job->request_hash;
}

bool job_is_rejected(const struct job *job) {
    return job->rejected;
}

bool job_is_refused(const struct job *job) {
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
        if (w->lane != LANE_MAIN)
            continue;
        workers++;
        idle += w->long_work == 0;
        if (w->long_work > 0 && js->long_due_ns[i] > now_ns)
            work_ns += js->long_due_ns[i] - now_ns;
    }
    if (js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_FRESH] <= idle)
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
    js->gc_timer.fire = on_gc_timer;
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
        leave_live(job);
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
    double rate = js->rate * exp(-idle_s / RATE_WINDOW_S);
    if (rate <= 1.0 / 3600)
        return js->rate > 0 ? 3600 : 5; /* nothing has ended lately; nothing has ended ever */
    double s = ceil(1 / rate);
    return s < 1 ? 1 : s > 3600 ? 3600 : (uint64_t)s;
}
