/* job.c: see job.h. Front end. */
#include "server/jobs/job.h"

#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/spare.h"
#include "base/state.h"

#define MAX_EXCUSES 8

/* ---- the live table ---------------------------------------------------------------------------------------------- */

static struct spare spare;

/* False: memory ran out. */
static bool join_tenant(struct job *job) {
    job->tenant = tenants_join(&job->js->tenants, job->record->tenant, job->accepted_ns);
    job->sched.tenant = job->tenant == NULL ? NULL : &job->tenant->turns;
    return job->tenant != NULL;
}

void job_count(struct job *job) {
    if (job->tenant != NULL)
        job->tenant->uncounted -= job->uncounted;
    job->uncounted = false;
}

static void leave_tenant(struct job *job) {
    if (job->tenant == NULL)
        return;
    job_count(job);
    tenants_leave(&job->js->tenants, job->tenant);
    job->tenant = NULL;
    job->sched.tenant = NULL;
}

struct job *job_new(struct jobs *js, struct record *r) {
    struct job *job = spare_take(&spare, sizeof *job);
    if (job == NULL)
        return NULL;
    job->js = js;
    job->record = r;
    job->timer.fire = js->on_job_timer;
    job->accepted_ns = job->due_ns = clock_monotonic_ns();
    if (r->tenant != NULL && !join_tenant(job)) {
        job_release(job);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, js->live, &r->id, sizeof r->id, job);
    if (!HASH_HOLDS(job)) {
        leave_tenant(job);
        job_release(job);
        return NULL;
    }
    job_hold(job, JOB_BYTES);
    js->live_count++;
    js->transient_count += !r->durable;
    job_count_status(job, r->status, 1);
    return job;
}

void job_release(struct job *job) {
    spare_give(&spare, job);
}

void job_hold(struct job *job, size_t bytes) {
    held_add(HELD_JOBS, bytes);
    job->held += bytes;
}

void job_index(struct job *job) {
    if (host_is_hidden(job->record->type))
        return;
    record_index_put(&job->js->index, &job->indexed, job->record);
}

void job_leave_live(struct job *job) {
    struct jobs *js = job->js;
    for (size_t i = 0; job->isolated_workers > 0 && i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        if (worker_owner(w) != job)
            continue;
        job->isolated_workers--;
        pool_release_worker(w);
    }
    loop_clear_timer(js->loop, &job->timer);
    HASH_DEL(js->live, job);
    leave_tenant(job);
    record_index_remove(&js->index, &job->indexed);
    js->live_count--;
    js->transient_count -= !job->record->durable;
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

void job_count_status(struct job *job, enum job_status status, int by) {
    struct jobs *js = job->js;
    if (status == JOB_QUEUED)
        js->queued[job->record->options.priority] += (size_t)by;
    else if (status == JOB_RUNNING)
        js->running_count += (size_t)by;
}

void job_set_status(struct job *job, enum job_status to) {
    static const struct state_row states[JOB_STATUSES] = {
        [JOB_QUEUED] = {"queued", TO(JOB_RUNNING) | TO(JOB_FAILED) | TO(JOB_CANCELLED)},
        [JOB_RUNNING] = {"running", TO(JOB_QUEUED) | TO(JOB_SUCCEEDED) | TO(JOB_FAILED) | TO(JOB_CANCELLED)},
        [JOB_SUCCEEDED] = {"succeeded", 0},
        [JOB_FAILED] = {"failed", 0},
        [JOB_CANCELLED] = {"cancelled", 0},
    };
    struct record *r = job->record;
    state_check_move("job status", states, r->status, to);
    job_count_status(job, r->status, -1);
    r->status = to;
    job_count_status(job, to, 1);
    if (job_status_is_final(to)) /* it leaves the live table at once */
        record_index_remove(&job->js->index, &job->indexed);
    else
        job_index(job);
    job_touch(job);
}

void job_enter_phase(struct job *job, enum job_phase to) {
    static const struct state_row states[PHASES] = {
        [PHASE_PLAN] = {"plan", TO(PHASE_CHUNKS) | TO(PHASE_STOPPING) | TO(PHASE_DONE)},
        [PHASE_CHUNKS] = {"chunks", TO(PHASE_MERGE) | TO(PHASE_STOPPING) | TO(PHASE_DONE)},
        [PHASE_MERGE] = {"merge", TO(PHASE_STOPPING) | TO(PHASE_DONE)},
        [PHASE_STOPPING] = {"stopping", TO(PHASE_DONE)},
        [PHASE_DONE] = {"done", 0},
    };
    state_check_move("job phase", states, job->phase, to);
    job->phase = to;
}

void job_set_durability(struct job *job, enum durability to) {
    static const struct state_row states[DURABILITIES] = {
        [DURABILITY_NONE] = {"none", TO(DURABILITY_ENDING) | TO(DURABILITY_POSTING) | TO(DURABILITY_STORED) |
                                         TO(DURABILITY_STORE_FAILED)},
        [DURABILITY_ENDING] = {"ending", TO(DURABILITY_POSTING)},
        [DURABILITY_POSTING] = {"posting", TO(DURABILITY_SUBMITTING) | TO(DURABILITY_END_RECORDED) |
                                               TO(DURABILITY_STORED) | TO(DURABILITY_STORE_FAILED)},
        [DURABILITY_SUBMITTING] = {"submitting",
                                   TO(DURABILITY_END_RECORDED) | TO(DURABILITY_STORED) | TO(DURABILITY_STORE_FAILED)},
        [DURABILITY_END_RECORDED] = {"end_recorded", TO(DURABILITY_STORED) | TO(DURABILITY_STORE_FAILED)},
        [DURABILITY_STORED] = {"stored", 0},
        [DURABILITY_STORE_FAILED] = {"store_failed", 0},
    };
    state_check_move("job durability", states, job->durability, to);
    job->durability = to;
}

bool job_is_parked(const struct job *job) {
    const struct jobs *js = job->js;
    return js->draining && js->config.persistent && job->record->durable && job->record->status == JOB_QUEUED;
}

void job_started(struct job *job, int64_t now_ns) {
    struct record *r = job->record;
    if (r->status != JOB_QUEUED)
        return;
    /* The loop's time can be that of a batch in which the job was made only later. */
    r->queued_ns = now_ns > job->accepted_ns ? now_ns - job->accepted_ns : 0;
    r->started_ms = r->created_ms + r->queued_ns / NS_PER_MS;
    metrics_observe(&job->js->metrics->job_wait, r->queued_ns);
    const struct handler *h = host_handler(r->type);
    if (h != NULL && (h->flags & HANDLER_JOINS) != 0)
        metrics_observe(&job->js->metrics->joined_wait[metrics_row(r->type)], r->queued_ns);
    job_set_status(job, JOB_RUNNING);
    if (r->durable)
        job->js->store->ops->update(job->js->store, r);
    job_log_event(LOG_DEBUG, "job_started", job);
}

/* ---- who waits --------------------------------------------------------------------------------------------------- */

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

static void tell(struct job *job, enum job_event event) {
    struct job_waiter *w, *next;
    DL_FOREACH_SAFE(job->waiters, w, next) {
        if (event != JOB_CHANGED || w->wants_changes)
            w->notify(w, job, event);
    }
}

void job_tell_changed(struct job *job) {
    if (job->watchers > 0)
        tell(job, JOB_CHANGED);
}

void job_touch(struct job *job) {
    job->record->version++;
    job_tell_changed(job);
}

void job_tell_planned(struct job *job) {
    if (job->planned_told)
        return;
    job->planned_told = true;
    job->telling = true;
    tell(job, JOB_PLANNED);
    job->telling = false;
}

void job_tell_parked(struct job *job) {
    tell(job, JOB_PARKED);
}

void job_tell_submitted(struct job *job) {
    enum store_result result = job->durability == DURABILITY_STORED ? STORE_OK : STORE_UNAVAILABLE;
    while (job->submitting != NULL) {
        struct submitting *s = job->submitting;
        LL_DELETE(job->submitting, s);
        s->done(s->arg, result);
        free(s);
    }
}

void job_tell_last(struct job *job, enum job_event event) {
    while (job->waiters != NULL) {
        struct job_waiter *w = job->waiters;
        job_unwait(w);
        w->notify(w, job, event);
    }
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

struct task *task_new(struct job *job, enum task_kind kind) {
    struct jobs *js = job->js;
    struct task *t = js->free_tasks;
    if (t != NULL)
        js->free_tasks = t->next;
    else
        t = malloc(sizeof *t);
    if (t == NULL)
        return NULL;
    *t = (struct task){.job = job, .kind = kind};
    DL_APPEND(job->tasks, t);
    return t;
}

void task_free(struct task *t) {
    struct jobs *js = t->job->js;
    DL_DELETE(t->job->tasks, t);
    if (t->worker != NULL) {
        unsigned slot = worker_slot(t->worker);
        js->load_ns[slot] -= t->cost_ns;
        js->known_due_ns[slot] = 0;
        js->long_due_ns[slot] = 0; /* of a batch of small long tasks (dispatch.c) what is left takes no time */
        if (js->feeding[slot] == t)
            js->feeding[slot] = NULL;
    }
    t->next = js->free_tasks;
    js->free_tasks = t;
}

bool task_is_feeding(const struct task *t) {
    return t->job->js->feeding[worker_slot(t->worker)] == t;
}

void job_charge(struct job *job, int64_t cpu_ns) {
    const struct jobs_tenants *hooks = &job->js->tenants.hooks;
    if (job->record->tenant != NULL && cpu_ns > 0 && hooks->charge != NULL)
        hooks->charge(hooks->arg, job->record->tenant, cpu_ns);
}

/* A map never does: the parts of its items are wanted, too. */
bool job_merges_at_once(const struct job *job) {
    return job->record->chunks_total == 1 && !job->record->map;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

int64_t job_limit_ns(int64_t ms) {
    return ms < INT64_MAX / NS_PER_MS / 2 ? ms * NS_PER_MS : INT64_MAX / 2;
}

bool job_excuse(struct job *job) {
    if (job->excuses == MAX_EXCUSES)
        return false;
    job->excuses++;
    return true;
}

void job_arm_timer(struct job *job) {
    struct loop *l = job->js->loop;
    const struct record *r = job->record;
    if (job_is_stopping(job))
        return;
    if (job->run_started_ns != 0)
        loop_set_timer(l, &job->timer, job->run_started_ns + job_limit_ns(r->options.timeout_ms));
    else if (job_is_parked(job))
        loop_clear_timer(l, &job->timer);
    else if (job->delayed)
        loop_set_timer(l, &job->timer, job->due_ns);
    else if (r->options.queue_timeout_ms > 0)
        loop_set_timer(l, &job->timer, job->due_ns + job_limit_ns(r->options.queue_timeout_ms));
    else
        loop_clear_timer(l, &job->timer);
}

/* A plan can be run in the same go, so the run's clock limits the plan, too. If only the plan was made, replies.c
 * resets the clock. The run begins with the first chunk; after a restart that interrupted a merge it begins with the
 * merge. */
void job_task_sent(struct job *job, const struct task *t) {
    if (job->run_started_ns != 0 && t->kind != TASK_PLAN)
        return;
    job->run_started_ns = t->sent_ns;
    job_arm_timer(job);
    if (t->kind != TASK_PLAN)
        job_started(job, t->sent_ns);
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

void job_log_event(enum log_level level, const char *event, const struct job *job) {
    const struct record *r = job->record;
    char id[ID_TEXT_SIZE], parent[TRACE_PARENT_SIZE];
    struct buf exception = {0}, detail = {0};
    if (level < log_threshold)
        return;
    id_format(&r->id, id);
    problem_copy_member(&r->error, "exception", &exception);
    problem_copy_member(&r->error, "detail", &detail);
    LOG(level, event, LOG_STR("job", id), LOG_STR("type", host_name(r->type)), LOG_STR("key", r->tenant),
        LOG_STR("status", job_status_name(r->status)),
        LOG_STR("code", r->error.size > 0 ? problem_get(r->problem)->code : NULL),
        LOG_RAW("exception", exception.failed ? NULL : exception.data),
        LOG_RAW("detail", detail.failed ? NULL : detail.data), LOG_INT("chunks", r->chunks_total),
        LOG_INT("attempts", r->attempts), LOG_REAL("queued_ms", (double)r->queued_ns / 1e6),
        LOG_REAL("run_ms", (double)r->run_ns / 1e6), LOG_STR("trace", trace_parent(r->trace, parent)),
        LOG_STR("tracestate", trace_state(r->trace)));
    buf_deinit(&exception);
    buf_deinit(&detail);
}

/* ---- what other rooms ask about it ------------------------------------------------------------------------------- */

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
    return job->durability == DURABILITY_STORE_FAILED;
}

bool job_is_ending(const struct job *job) {
    return job->phase == PHASE_DONE;
}

bool job_is_planned(const struct job *job) {
    return job->planned_told;
}
