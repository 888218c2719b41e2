/* jobs.c: the state of jobs: see jobs.h for the diagram. Front end. set_status is the one function that changes a
 * job's status; finish is the one place where a job leaves the live table. dispatch.c does the work between. */
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

#define RATE_WINDOW_S 10.0   /* time constant of the drain rate */
#define DEFAULT_ATTEMPTS 3
#define DEFAULT_PRIORITY 3   /* RFC 9218 section 4.1 */

/* ---- status ---------------------------------------------------------------------------------------------- */

static void count_status(struct job *job, enum job_status status, int by) {
    struct jobs *js = job->js;
    if (status == JOB_QUEUED)
        js->queued[job->record->priority] += (size_t)by;
    else if (status == JOB_RUNNING)
        js->running_count += (size_t)by;
}

/* The one function that changes a job's status; aborts on what the diagram in jobs.h does not have. */
static void set_status(struct job *job, enum job_status to) {
    static const bool allowed[JOB_STATUSES][JOB_STATUSES] = {
        [JOB_QUEUED] = {[JOB_RUNNING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
        [JOB_RUNNING] = {[JOB_SUCCEEDED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
    };
    struct record *r = job->record;
    if (!allowed[r->status][to])
        abort();
    count_status(job, r->status, -1);
    r->status = to;
    count_status(job, to, 1);
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

static void log_job(enum log_level level, const char *event, const struct job *job) {
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
        LOG_REAL("run_ms", (double)r->run_ns / 1e6), LOG_STR("trace", r->trace[0] ? r->trace : NULL));
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
    DL_FOREACH_SAFE(job->waiters, w, next) {
        w->notify(w, job, JOB_PLANNED);
    }
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
    int64_t due_ns = clock_monotonic_ns() + (in_ms < 0 ? 0 : in_ms) * NS_PER_MS;
    if (js->gc_timer.slot == 0 || due_ns < js->gc_timer.due_ns)
        loop_set_timer(js->loop, &js->gc_timer, due_ns);
}

static void on_gc_timer(struct timer *t) {
    struct jobs *js = (struct jobs *)((char *)t - offsetof(struct jobs, gc_timer));
    int64_t now_ms = clock_wall_ms();
    schedule_gc(js, js->store->ops->gc(js->store, now_ms));
    schedule_gc(js, js->remembered->ops->gc(js->remembered, now_ms));
}

static void on_kept(void *arg, enum store_result result) {
    (void)arg;
    if (result != STORE_OK && result != STORE_GONE)
        LOG(LOG_ERROR, "job_not_recorded", LOG_INT("result", result));
}

static void keep_record(struct job *job) {
    struct jobs *js = job->js;
    struct record *r = job->record;
    if (!r->durable && js->config.keep_sync == 0)
        return;
    struct store *s = r->durable ? js->store : js->remembered;
    s->ops->finish(s, r, NULL, on_kept, NULL);
    schedule_gc(js, r->expires_ms);
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
    free(job->again);
    job->chunks = NULL;
    job->again = NULL;
    slice_deinit(&job->chunk_bytes);
    slice_deinit(&job->input);
    buf_deinit(&job->common);
}

void job_dequeue(struct job *job) {
    sched_remove(&job->js->scheduler, &job->sched);
    job->js->long_backlog_ns -= job->queued_cost_ns;
    job->queued_cost_ns = 0;
}

static void job_free(struct job *job) {
    struct jobs *js = job->js;
    job_dequeue(job);
    loop_clear_timer(js->loop, &job->timer);
    HASH_DEL(js->live, job);
    js->live_count--;
    job_log_end(job); /* may want the parts */
    free_plan(job);
    free(job->stop_detail);
    free(job->stop_members);
    record_unref(job->record);
    free(job);
}

static void stamp_end(struct job *job) {
    struct record *r = job->record;
    int64_t now_ns = clock_monotonic_ns();
    r->finished_ms = clock_wall_ms();
    r->expires_ms = r->finished_ms + r->ttl_ms;
    if (r->started_ms != 0)
        r->run_ns = now_ns - job->run_started_ns;
    else
        r->queued_ns = now_ns - job->accepted_ns;
}

/* Counts, remembers, tells, frees. The status is final; no task is left. */
static void finish(struct job *job) {
    struct record *r = job->record;
    struct metrics *m = job->js->metrics;
    size_t row = r->type < METRICS_TYPES ? r->type : METRICS_TYPES;
    if (!job->rejected) {
        m->jobs[row][r->status]++;
        if (r->started_ms != 0)
            metrics_observe(&m->job_run[row], r->run_ns);
        log_job(r->status == JOB_FAILED ? LOG_WARN : r->durable ? LOG_INFO : LOG_DEBUG, "job_ended", job);
        update_rate(job->js);
        keep_record(job);
    }
    job->phase = PHASE_DONE;
    tell_ended(job);
    job_free(job);
}

void job_succeed(struct job *job, struct slice result) {
    job->record->result = result;
    stamp_end(job);
    set_status(job, JOB_SUCCEEDED);
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
    if (!job->stopping || job->tasks != NULL)
        return;
    stamp_end(job);
    write_error(job);
    set_status(job, job->stop_status);
    finish(job);
}

void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem,
              char *detail, char *members) {
    struct task *t, *next;
    if (job->stopping) {
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

/* ---- time limits ---------------------------------------------------------------------------------------------------- */

static void on_job_timer(struct timer *t) {
    struct job *job = (struct job *)((char *)t - offsetof(struct job, timer));
    if (job->run_started_ns != 0)
        job_stop(job, STOP_TIMEOUT, JOB_FAILED, PROBLEM_JOB_TIMEOUT, NULL, NULL);
    else
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_QUEUE_TIMEOUT, NULL, NULL);
}

/* Two clocks: one from acceptance to the start, one from the start to the end. */
void job_arm_timer(struct job *job) {
    struct loop *l = job->js->loop;
    if (job->stopping)
        return;
    if (job->run_started_ns != 0)
        loop_set_timer(l, &job->timer, job->run_started_ns + job->timeout_ns);
    else if (job->queue_timeout_ns > 0)
        loop_set_timer(l, &job->timer, job->accepted_ns + job->queue_timeout_ns);
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
    set_status(job, JOB_RUNNING);
    log_job(LOG_DEBUG, "job_started", job);
}

/* ---- acceptance --------------------------------------------------------------------------------------------------------- */

void job_enqueue(struct job *job) {
    enum sched_class class;
    if (job->stopping || !job_has_unit(job, &class))
        return;
    job_dequeue(job);
    sched_put(&job->js->scheduler, &job->sched, class, job->record->priority, loop_now_ns(job->js->loop));
    job->queued_cost_ns = class == SCHED_LONG ? job_next_cost_ns(job) : 0;
    job->js->long_backlog_ns += job->queued_cost_ns;
    job->js->dirty = true;
}

static bool too_much_memory(struct jobs *js, size_t more) {
    uint64_t held = blob_held_bytes + more;
    if (held <= js->config.max_memory)
        return false;
    /* Results nobody may ever fetch give way to work that is wanted now; the oldest first. */
    uint64_t excess = held - js->config.max_memory;
    js->remembered->ops->evict(js->remembered, excess);
    held = blob_held_bytes + more;
    if (held > js->config.max_memory)
        js->store->ops->evict(js->store, held - js->config.max_memory);
    return blob_held_bytes + more > js->config.max_memory;
}

static int check_bounds(struct jobs *js, size_t more, enum problem_code *why) {
    *why = PROBLEM_QUEUE_FULL;
    if (js->live_count >= js->config.max_queue)
        return -1;
    if (js->config.max_queue_age_ns > 0 && jobs_oldest_wait_ms(js) * NS_PER_MS > js->config.max_queue_age_ns)
        return -1;
    *why = PROBLEM_OVER_MEMORY;
    return too_much_memory(js, more) ? -1 : 0;
}

static int make_memfd(const void *bytes, size_t size, struct slice *s) {
    int fd = memfd_new("offload-params");
    if (fd < 0)
        return -1;
    if (memfd_write(fd, bytes, size) != 0) {
        close(fd);
        return -1;
    }
    struct blob *b = blob_seal(fd, size);
    if (b != NULL)
        *s = slice_all(b);
    return b == NULL ? -1 : 0;
}

static int copy_params(const struct buf *params, struct slice *s) {
    if (params->size > WIRE_MAX_INLINE)
        return make_memfd(params->data, params->size, s);
    struct blob *b = blob_copy(params->data, params->size);
    if (b != NULL)
        *s = slice_all(b);
    return b == NULL ? -1 : 0;
}

/* Half of what fits, so that it can be added to a clock. */
static int64_t limit_ns(int64_t ms) {
    return ms < INT64_MAX / NS_PER_MS / 2 ? ms * NS_PER_MS : INT64_MAX / 2;
}

/* What the client asked for, or the default; also called when a worker has parsed a large body. */
static void apply_options(struct job *job, const struct submission_options *o, int default_priority) {
    const struct jobs_config *c = &job->js->config;
    struct record *r = job->record;
    int priority = o->priority >= 0 ? o->priority : default_priority >= 0 ? default_priority : DEFAULT_PRIORITY;
    r->priority = (uint8_t)priority;
    job->timeout_ns = o->timeout_ms >= 0 ? limit_ns(o->timeout_ms) : c->job_timeout_ns;
    job->queue_timeout_ns = limit_ns(o->queue_timeout_ms);
    job->max_attempts = o->max_attempts;
    job->wanted_chunks = (uint32_t)o->chunks;
    r->ttl_ms = o->ttl_s >= 0 ? o->ttl_s * 1000 : c->result_ttl_ms;
}

static int fill_job(struct job *job, const struct job_request *q) {
    static const struct submission_options unknown = {-1, -1, 0, DEFAULT_ATTEMPTS, -1, 0};
    struct record *r = job->record;
    job->timer.fire = on_job_timer;
    job->asynchronous = q->asynchronous;
    job->accepted_ns = clock_monotonic_ns();
    r->created_ms = clock_wall_ms();
    r->id = id_new(r->created_ms);
    r->version = 1;
    if (q->trace != NULL)
        snprintf(r->trace, sizeof r->trace, "%s", q->trace);
    if (q->submission == NULL) {
        job->input_is_json = true;
        job->input = slice_ref(&q->body);
        apply_options(job, &unknown, q->default_priority);
        return 0;
    }
    r->type = q->submission->type;
    apply_options(job, &q->submission->options, q->default_priority);
    return copy_params(&q->submission->params, &job->input);
}

int jobs_submit(struct jobs *js, const struct job_request *q, struct job **out, enum problem_code *why) {
    size_t more = q->submission == NULL ? 0 : q->submission->params.size;
    if (check_bounds(js, more, why) != 0) {
        metrics_count(js->metrics->rejected, 16, problem_get(*why)->code);
        return -1;
    }
    *why = PROBLEM_INTERNAL_ERROR;
    struct job *job = calloc(1, sizeof *job);
    struct record *r = job == NULL ? NULL : record_new();
    if (r == NULL) {
        free(job);
        return -1;
    }
    job->js = js;
    job->record = r;
    if (fill_job(job, q) != 0) {
        record_unref(r);
        free(job);
        return -1;
    }
    HASH_ADD_KEYPTR(hh, js->live, &r->id, sizeof r->id, job);
    js->live_count++;
    count_status(job, JOB_QUEUED, 1);
    job_arm_timer(job);
    job_enqueue(job);
    log_job(LOG_DEBUG, "job_accepted", job);
    *out = job;
    return 0;
}

void job_apply_parsed_options(struct job *job, const struct submission_options *o) {
    int before = job->record->priority;
    count_status(job, JOB_QUEUED, -1);
    apply_options(job, o, before);
    count_status(job, JOB_QUEUED, 1);
}

void job_make_durable(struct job *job, store_done *done, void *arg) {
    struct store *s = job->js->store;
    if (job->record->durable) {
        done(arg, STORE_OK);
        return;
    }
    job->record->durable = true;
    s->ops->submit(s, job->record, &(struct store_input){.request = job->input}, done, arg);
}

/* ---- pausing ------------------------------------------------------------------------------------------------------------------ */

void job_pause(struct job *job) {
    enum sched_class class;
    job->pauses++;
    if (!job_has_unit(job, &class))
        job_dequeue(job);
}

void job_resume(struct job *job) {
    job->pauses--;
    job_enqueue(job);
}

/* ---- about one job ---------------------------------------------------------------------------------------------------------- */

struct record *job_record(struct job *job) {
    return job->record;
}

bool job_is_rejected(const struct job *job) {
    return job->rejected;
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
    if (js->scheduler.count[SCHED_LONG] <= idle)
        work_ns = 0;
    return clock_wall_ms() + work_ns / workers / NS_PER_MS;
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
    return js;
}

void jobs_configure(struct jobs *js, const struct jobs_config *config) {
    js->config = *config;
}

void jobs_free(struct jobs *js) {
    struct job *job, *next;
    HASH_ITER(hh, js->live, job, next) {
        while (job->tasks != NULL)
            task_free(job->tasks);
        job_free(job);
    }
    loop_clear_timer(js->loop, &js->gc_timer);
    while (js->free_tasks != NULL) {
        struct task *t = js->free_tasks;
        js->free_tasks = t->next;
        free(t);
    }
    js->store->ops->close(js->store);
    js->remembered->ops->close(js->remembered);
    free(js->feeding);
    free(js->short_turn);
    free(js->load_ns);
    free(js->long_due_ns);
    free(js);
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
