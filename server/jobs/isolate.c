/* isolate.c: see isolate.h. Front end. */
#include "server/jobs/isolate.h"

#include "server/jobs/queue.h"
#include "server/jobs/send.h"

#define TURN_STARTS 4 /* a turn lasts this many times as long as the start of the worker */

static bool is_idle(const struct jobs *js, const struct worker *w) {
    return worker_lane(w) == LANE_MAIN && worker_in_flight(w) == 0 && send_is_possible(js, w);
}

/* ---- isolating --------------------------------------------------------------------------------------------------- */

/* An idle worker that can begin at once; else the one offered, which will be replaced. */
static struct worker *best_worker(struct jobs *js, struct worker *offered, uint32_t start_type) {
    if (worker_is_unused(offered) && worker_start_type(offered) == start_type)
        return offered;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        if (worker_owner(w) == NULL && is_idle(js, w) && worker_is_unused(w) && worker_start_type(w) == start_type)
            return w;
    }
    return offered;
}

bool isolate_serve(struct jobs *js, struct worker *w, struct job *job) {
    uint32_t start_type = job_start_type(job);
    struct worker *best = best_worker(js, w, start_type);
    job->isolated_workers++;
    if (pool_isolate_worker(best, job, start_type))
        return send_task(job, best, true);
    job_enqueue(job);
    return true;
}

/* ---- working and releasing --------------------------------------------------------------------------------------- */

/* Whether the worker, which is between two tasks of its job, has to leave the job for another one. */
static bool must_yield(const struct jobs *js, const struct worker *w, const struct job *job, int64_t now_ns) {
    int urgency, own = (int)job->record->options.priority;
    const struct sched_entry *other = queue_peek_main(js, now_ns, &urgency);
    if (other == NULL || other == &job->sched || worker_is_unused(w))
        return false;
    bool turn_is_over = now_ns - worker_ready_ns(w) >= TURN_STARTS * worker_start_took_ns(w);
    if (urgency > own || (urgency == own && !turn_is_over))
        return false;
    size_t waiting = js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] - job->sched.queued;
    size_t spare = 0; /* main workers that are unowned and idle; some are only starting */
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        const struct worker *any = pool_worker(js->pool, i);
        spare += worker_lane(any) == LANE_MAIN && worker_owner(any) == NULL && worker_in_flight(any) == 0;
    }
    return waiting > spare;
}

void isolate_send_tasks(struct jobs *js, int64_t now_ns) {
    for (size_t i = 0; pool_owned(js->pool) > 0 && i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        struct job *job = worker_owner(w);
        if (job == NULL || !is_idle(js, w))
            continue;
        if (job_not_runnable(job) == RUNNABLE && !must_yield(js, w, job, now_ns)) {
            if (!send_task(job, w, true))
                return;
            continue;
        }
        job->isolated_workers--;
        pool_release_worker(w);
        if (!job->sched.queued)
            job_enqueue(job);
    }
}
