/* dispatch.c: which worker gets which task. The answers come to replies.c. Front end.
 *
 * A worker of the main lane does one long task at a time, and nothing else meanwhile. Short tasks (plans, merges, and
 * the chunks of a job that will need less than --express-cost for all that are left) go to the express lane, and to main
 * workers while no long task waits. Several of them are in flight to a worker, and several are in a datagram. All other
 * chunks are long, however small they are, so that the express lane stays free for others; of small ones a main worker
 * gets several at a time, and of types with HANDLER_JOINS those of several jobs. A main worker that has done a long task
 * takes the next long task. But if short tasks have had to wait, the express lane cannot keep up: then every other turn is
 * a batch of them.
 *
 * An isolated job (isolate.h) waits in a third class, and takes its turn among the long tasks.
 *
 * Waking a process costs as much as a short job. So short tasks are packed onto one worker until it has PACK_NS of
 * them, by what jobs of their type took lately. Only then the next worker is woken.
 */

#include "base/clock.h"
#include "server/jobs/isolate.h"
#include "server/jobs/queue.h"
#include "server/jobs/send.h"

#define SHORT_DEPTH      48               /* short tasks in flight per worker */
#define SHORT_BATCH      WIRE_MAX_FRAMES  /* short tasks that a main worker takes between two long ones */
#define SHORT_BACKLOG_NS (2 * NS_PER_MS)  /* if short tasks wait longer, the express lane cannot keep up */
#define SHORT_LOAD_NS    (2 * NS_PER_MS)  /* a worker that has so much to do gets a second short task and no more */
#define LONG_BATCH_NS    (2 * NS_PER_MS)  /* of long tasks that are smaller, a worker gets several at a time */
#define JOIN_NS          (40 * NS_PER_MS) /* of long tasks of several jobs that a worker runs together */
#define PACK_NS          (150 * INT64_C(1000)) /* of short tasks that one worker gets before the next is woken */
#define EARLY_BATCH      12 /* short tasks that are worth waking a worker for before the turn is over */

/* ---- who gets what ----------------------------------------------------------------------------------------------- */

static bool is_free(const struct jobs *js, const struct worker *w) {
    return worker_owner(w) == NULL && send_is_possible(js, w);
}

/* False: nothing could be sent. */
static bool send_short_batch(struct jobs *js, struct worker *w, int64_t now_ns) {
    int urgency;
    for (int i = 0; i < SHORT_BATCH && is_free(js, w); i++) {
        struct sched_entry *e = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &urgency);
        if (e == NULL)
            return i > 0;
        if (!send_task(queue_serve(js, e), w, false))
            return false;
    }
    return true;
}

/* Sends a long task. If it is a small chunk, sends more of that job, but no more than the worker's share of what is left.
 * False: nothing could be sent. */
static bool send_long_batch(struct jobs *js, struct worker *w, struct job *job) {
    uint32_t share = job_count_tasks(job) / (uint32_t)pool_size(js->pool) + 1;
    int64_t cost_ns = 0;
    for (uint32_t sent = 0; sent < share && sent < SHORT_DEPTH && cost_ns < LONG_BATCH_NS; sent++) {
        bool possible = sent == 0 || (job->sched.queued && job->sched.class == SCHED_LONG && worker_takes_tasks(w) &&
                                      worker_can_send(w));
        cost_ns += job_next_cost_ns(job);
        if (!possible || !send_task(job, w, true))
            return sent > 0;
    }
    return true;
}

/* Has the worker run chunks of other jobs that go with those of a type together, as long as the turn is theirs, and up
 * to its share of what waits. */
static void send_joined(struct jobs *js, struct worker *w, uint32_t type, int64_t now_ns) {
    int urgency;
    int64_t share_ns = js->long_backlog_ns / js->main_workers, cost_ns = 0;
    for (unsigned sent = 1; sent < SHORT_DEPTH && worker_takes_tasks(w) && worker_can_send(w); sent++) {
        struct sched_entry *e = queue_peek_main(js, now_ns, &urgency);
        if (e == NULL || e->class != SCHED_LONG)
            return;
        struct job *job = queue_job(e);
        cost_ns += job_next_cost_ns(job);
        if (!host_joins_with(job->record->type, type) || !queue_joins(job) || cost_ns > JOIN_NS || cost_ns > share_ns ||
            !send_task(queue_serve(js, e), w, true))
            return;
    }
}

/* Gives an idle main worker either to `e`, which waits for one, or to short tasks. False: nothing could be sent. */
static bool serve_main_worker(struct jobs *js, struct worker *w, struct sched_entry *e, int long_urgency,
                              int64_t now_ns) {
    int short_urgency;
    struct sched_entry *other = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &short_urgency);
    bool backlog = other != NULL && now_ns - sched_level_oldest_ns(&js->scheduler, other) > SHORT_BACKLOG_NS;
    bool short_first =
        backlog && (short_urgency < long_urgency || (short_urgency == long_urgency && js->short_turn[worker_slot(w)]));
    js->short_turn[worker_slot(w)] = !short_first;
    if (short_first)
        return send_short_batch(js, w, now_ns);
    enum sched_class class = e->class;
    struct job *job = queue_serve(js, e);
    if (class == SCHED_ISOLATED)
        return isolate_serve(js, w, job);
    uint32_t type = job->record->type;
    bool joins = queue_joins(job);
    if (!send_long_batch(js, w, job))
        return false;
    if (joins)
        send_joined(js, w, type, now_ns);
    return true;
}

static bool long_ones_wait(const struct jobs *js) {
    return js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] > 0;
}

static void send_long_tasks(struct jobs *js, int64_t now_ns) {
    int urgency;
    for (size_t i = 0; long_ones_wait(js) && i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        while (worker_lane(w) == LANE_MAIN && worker_in_flight(w) == 0 &&
               is_free(js, w)) { /* again, because an isolated job can have taken another worker */
            struct sched_entry *e = queue_peek_main(js, now_ns, &urgency);
            if (e == NULL || !serve_main_worker(js, w, e, urgency, now_ns))
                return;
        }
    }
}

/* Whether the worker has as many short tasks as it should. What waits here instead can still be overtaken by what is
 * more urgent. */
static bool is_loaded(const struct jobs *js, const struct worker *w) {
    unsigned count = worker_in_flight(w);
    return count >= SHORT_DEPTH || (count >= 2 && js->load_ns[worker_slot(w)] >= SHORT_LOAD_NS);
}

/* The worker for a short task: the first that has less than PACK_NS to do, main workers before express workers; else
 * the least loaded one. NULL: none can take it. */
static struct worker *short_worker(struct jobs *js) {
    struct worker *best = NULL;
    bool long_waits = long_ones_wait(js);
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        if ((long_waits && worker_lane(w) == LANE_MAIN) || !is_free(js, w) || is_loaded(js, w))
            continue;
        if (js->load_ns[worker_slot(w)] < PACK_NS)
            return w;
        if (best == NULL || js->load_ns[worker_slot(w)] < js->load_ns[worker_slot(best)])
            best = w;
    }
    return best;
}

static void send_short_tasks(struct jobs *js, int64_t now_ns) {
    int urgency;
    for (;;) {
        struct sched_entry *e = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &urgency);
        struct worker *w = e == NULL ? NULL : short_worker(js);
        if (w == NULL || !send_task(queue_serve(js, e), w, false))
            return;
    }
}

void jobs_dispatch(struct jobs *js) {
    if (!js->dirty)
        return;
    js->dirty = false;
    int64_t now_ns = loop_now_ns(js->loop);
    isolate_send_tasks(js, now_ns);
    send_long_tasks(js, now_ns);
    send_short_tasks(js, now_ns);
    pool_flush_all(js->pool);
}

void jobs_dispatch_early(struct jobs *js) {
    if (js->scheduler.count[SCHED_SHORT] >= EARLY_BATCH && js->scheduler.count[SCHED_SHORT] < 2 * EARLY_BATCH)
        jobs_dispatch(js);
}
