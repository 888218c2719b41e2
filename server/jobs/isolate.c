/* dispatch_fresh.c: jobs that do all their work in processes of their own: isolation "fresh", and types that must not be
 * forked after load. Front end.
 *
 *     waits in SCHED_ISOLATED ──► its turn: an idle main worker is isolated_for to it ──┬──► unused: takes the piece at once
 *            ▲                                                                     └──► being replaced: takes it when ready
 *            │                                                                                        │
 *            └── more to send ◄── gives its worker back ◄── others have waited for their turn ◄───────┤
 *                                        ▲                                                             │
 *                                        └──────── nothing to send just now, or the job ended ◄───────┘
 *
 * A job waits in the scheduler only for pieces that no worker kept for it is going to take, so no more workers are
 * replaced than there are pieces. A kept worker goes from piece to piece of its job, plan and merge among them, and
 * gives way between two of them to who waits and is more urgent, or as urgent once it has worked for some times as long
 * as it took to start: so a job with many chunks holds nobody up, and the starts take a small share of the time.
 */
#include <utlist.h>

#include "base/clock.h"
#include "server/jobs/private.h"

#define TURN_STARTS 4 /* a kept worker's turn, in times its start took */

/* START_FORKED, or the type, if its processes load it by themselves. */
static uint32_t start_type_of(const struct job *job) {
    const struct handler *h = host_handler(job->record->type);
    return h != NULL && (h->flags & HANDLER_SPAWN) != 0 ? job->record->type : START_FORKED;
}

bool job_is_isolated(const struct job *job) {
    if (job->phase == PHASE_PLAN && job->input_is_raw)
        return false; /* the one who parses it will tell */
    return job->record->fresh || start_type_of(job) != START_FORKED;
}

unsigned job_free_isolated_workers(const struct job *job) {
    const struct task *t;
    unsigned tasks = 0;
    DL_COUNT(job->tasks, t, tasks);
    return job->isolated_workers > tasks ? job->isolated_workers - tasks : 0;
}

static bool is_idle(const struct jobs *js, const struct worker *w) {
    return worker_lane(w) == LANE_MAIN && worker_in_flight(w) == 0 && dispatch_can_send(js, w);
}

/* ---- taking ---------------------------------------------------------------------------------------------------- */

/* An idle worker that could do it at once, or the one offered. */
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
    uint32_t start_type = start_type_of(job);
    struct worker *best = best_worker(js, w, start_type);
    job->isolated_workers++;
    if (pool_isolate_worker(best, job, start_type))
        return dispatch_send_task(job, best, true);
    job_dequeue(job);
    job_enqueue(job);
    return true;
}

/* ---- giving back ------------------------------------------------------------------------------------------------- */

static void give_back(struct worker *w, struct job *job) {
    job->isolated_workers--;
    pool_release_worker(w);
    if (!job->sched.queued)
        job_enqueue(job);
}

void job_release_workers(struct job *job) {
    for (size_t i = 0; job->isolated_workers > 0 && i < pool_size(job->js->pool); i++) {
        struct worker *w = pool_worker(job->js->pool, i);
        if (worker_owner(w) != job)
            continue;
        job->isolated_workers--;
        pool_release_worker(w);
    }
}

/* Main workers that are idle, or will be in a moment, and nobody's. */
static size_t count_spare(const struct jobs *js) {
    size_t spare = 0;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        const struct worker *w = pool_worker(js->pool, i);
        spare += worker_lane(w) == LANE_MAIN && worker_owner(w) == NULL && worker_in_flight(w) == 0;
    }
    return spare;
}

static bool must_yield(const struct jobs *js, const struct worker *w, const struct job *job, int64_t now_ns) {
    int urgency, own = job->record->priority;
    const struct sched_entry *other = dispatch_peek_main(js, now_ns, &urgency);
    if (other == NULL || other == &job->sched || worker_is_unused(w))
        return false;
    bool turn_is_over = now_ns - worker_ready_ns(w) >= TURN_STARTS * worker_start_took_ns(w);
    if (urgency > own || (urgency == own && !turn_is_over))
        return false;
    size_t waiting = js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] - job->sched.queued;
    return waiting > count_spare(js);
}

void isolate_send_tasks(struct jobs *js, int64_t now_ns) {
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        struct job *job = worker_owner(w);
        if (job == NULL || !is_idle(js, w))
            continue;
        if (job->stopping || job_is_parked(job) || job_count_tasks(job) == 0 || must_yield(js, w, job, now_ns))
            give_back(w, job);
        else
            dispatch_send_task(job, w, true);
    }
}
