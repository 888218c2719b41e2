/* estimate.c: how far a job is, when it will start, and how long it will take, by what the handlers estimated for the
 * tasks that wait and run: job_look and job_estimated_work_ms of jobs.h. Front end. */
#include <utlist.h>

#include "base/clock.h"
#include "server/jobs/backoff.h"
#include "server/jobs/queue.h"

static double count_fraction(const struct job *job) {
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

/* What a lost task had done is undone, and a handler can report less than before. But what was shown is not taken back:
 * all who look get the same reading, and it never falls. */
static double shown_fraction(const struct job *job) {
    double now = count_fraction(job);
    struct record *r = job->record;
    r->shown_fraction = now > r->shown_fraction ? now : r->shown_fraction;
    return r->shown_fraction;
}

/* How long the tasks will take that are served before the next one of this job, which waits: one of each job. Tenants
 * take turns, so while those of this tenant are served, those of the other ones that wait take as long each. */
static int64_t backlog_before_ns(const struct job *job) {
    const struct jobs *js = job->js;
    int64_t all_ns = js->long_backlog_ns, own_ns = job->tenant == NULL ? all_ns : job->tenant->long_backlog_ns;
    int64_t tenants = js->scheduler.tenants > 1 ? (int64_t)js->scheduler.tenants : 1;
    int64_t fair_ns = own_ns > all_ns / tenants ? all_ns : own_ns * tenants;
    return fair_ns - job->queued_cost_ns;
}

/* The workers finish their tasks, then each job that waits sends one chunk before this one does. */
static int64_t estimate_start_ms(const struct job *job, int64_t waits_until_ns) {
    const struct jobs *js = job->js;
    int64_t now_ns = clock_monotonic_ns(), work_ns = backlog_before_ns(job);
    unsigned workers = js->main_workers, idle = 0;
    for (size_t i = 0; i < pool_size(js->pool); i++) { /* no worker is looked at: a page of jobs asks for each job */
        idle += js->long_due_ns[i] == 0;
        if (js->long_due_ns[i] > now_ns)
            work_ns += js->long_due_ns[i] - now_ns;
    }
    idle -= (unsigned)pool_size(js->pool) - workers; /* express workers have no long tasks */
    if (js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] <= idle)
        work_ns = 0;
    int64_t held_ns = waits_until_ns > now_ns ? waits_until_ns - now_ns : 0;
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

struct job_view job_look(const struct job *job) {
    struct job_view v = {.live = job != NULL};
    if (job == NULL)
        return v;
    if (job->record->status == JOB_RUNNING)
        v.fraction = shown_fraction(job);
    if (job->record->status != JOB_QUEUED)
        return v;
    bool backing_off = job_not_runnable(job) == NOT_RUNNABLE_BACKING_OFF;
    v.delayed = job->delayed || backing_off;
    v.estimated_start_ms = estimate_start_ms(job, backing_off ? job_backoff_until_ns(job) : 0);
    return v;
}
