/* dispatch.c: from the jobs to the workers: which worker gets what. What comes back is for replies.c. Front end.
 *
 * A worker of the main lane does long tasks one at a time, and nothing else meanwhile. Short tasks (plans, merges,
 * chunks estimated below --express-cost) go to the express lane, and to main workers while no long task waits, several
 * in flight and several in a datagram. A main worker that comes back from a long task takes the next long task, but
 * every other time a batch of short ones if these have had to wait: then the express lane cannot keep up.
 *
 * A job that has processes of its own (dispatch_fresh.c) waits in a third class and takes its turn among the long tasks.
 *
 * Waking a process costs as much as a short job. So short tasks are packed onto one worker until it has PACK_NS of them,
 * by what jobs of their type have taken lately, before the next worker is woken.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/private.h"

#define LARGE_BODY       (256 * 1024)          /* parsing more JSON than this is a long task */
#define SHORT_DEPTH      48                    /* short tasks in flight per worker */
#define SHORT_BATCH      WIRE_MAX_FRAMES       /* that a main worker takes between two long tasks */
#define SHORT_BACKLOG_NS (2 * NS_PER_MS)       /* short work waiting longer: the express lane cannot keep up */
#define PACK_NS          (150 * INT64_C(1000)) /* short work that one worker gets before a second is woken for more */
#define UNKNOWN_COST_NS  (50 * INT64_C(1000))
#define EARLY_BATCH      6 /* short tasks that are worth waking a worker for before the turn is over */

/* ---- tasks ------------------------------------------------------------------------------------------------ */

static struct task *task_new(struct job *job, enum task_kind kind) {
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

/* The task is over, or will be ignored by its worker. */
void task_free(struct task *t) {
    struct jobs *js = t->job->js;
    DL_DELETE(t->job->tasks, t);
    if (t->worker != NULL)
        js->load_ns[worker_slot(t->worker)] -= t->cost_ns;
    if (js->feeding != NULL && t->worker != NULL && js->feeding[worker_slot(t->worker)] == t)
        js->feeding[worker_slot(t->worker)] = NULL;
    t->next = js->free_tasks;
    js->free_tasks = t;
}

bool task_is_feeding(const struct task *t) {
    return t->job->js->feeding[worker_slot(t->worker)] == t;
}

/* ---- what there is to send ---------------------------------------------------------------------------------- */

static bool next_chunk(const struct job *job, uint32_t *chunk) {
    if (job->again_count > 0)
        *chunk = job->again[job->again_count - 1];
    else if (job->next_chunk < job->record->chunks_total)
        *chunk = job->next_chunk;
    else
        return false;
    return true;
}

static bool is_active(const struct job *job, enum task_kind kind) {
    const struct task *t;
    DL_FOREACH(job->tasks, t) {
        if (t->kind == kind)
            return true;
    }
    return false;
}

uint32_t job_count_tasks(const struct job *job) {
    uint32_t chunk;
    if (job->delayed && job->phase != PHASE_PLAN) /* to be checked is not to be started */
        return 0;
    switch (job->phase) {
    case PHASE_PLAN: return !job_is_backing_off(job) && !is_active(job, TASK_PLAN);
    case PHASE_CHUNKS:
        if (job->throttles > 0)
            return 0;
        return next_chunk(job, &chunk) ? job->again_count + job->record->chunks_total - job->next_chunk : 0;
    case PHASE_MERGE: return !job_is_backing_off(job) && !is_active(job, TASK_MERGE);
    case PHASE_DONE: return 0;
    }
    return 0;
}

static bool has_long_task(const struct job *job) {
    if (job->phase == PHASE_PLAN)
        return job->input_is_raw && job->input.size > LARGE_BODY;
    return job->phase == PHASE_CHUNKS && job_next_cost_ns(job) >= job->js->config.express_cost_ns;
}

bool job_has_task(const struct job *job, enum sched_class *class) {
    uint32_t units = job_count_tasks(job);
    if (units > 0 && job_is_isolated(job)) {
        *class = SCHED_ISOLATED;
        return units > job_free_isolated_workers(job);
    }
    *class = units > 0 && has_long_task(job) ? SCHED_LONG : SCHED_SHORT;
    return units > 0;
}

int64_t job_next_cost_ns(const struct job *job) {
    uint32_t chunk;
    if (job->phase != PHASE_CHUNKS || !next_chunk(job, &chunk))
        return 0;
    return (int64_t)job->chunks[chunk].plan.cost_ns;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

/* Of every task of this job. */
static uint16_t wire_flags(const struct job *job) {
    return job->record->map ? WIRE_ITEMS : 0;
}

static void send_plan(struct job *job, struct task *t, struct worker *w) {
    struct wire_header h = {.kind = WIRE_PLAN, .flags = wire_flags(job), .count = job->record->wanted_chunks};
    bool bulk = job->input.blob->fd >= 0;
    if (job->input_is_raw) {
        h.flags = WIRE_RAW | (job->request_hash != NULL ? WIRE_HASH : 0);
        h.count = job->js->config.max_json_depth;
    } else {
        h.type = job->record->type;
    }
    /* A worker died at this job before: learn its chunks first, so that the attempts are counted per chunk. */
    bool in_one_go = !job->asynchronous && !job->delayed && !job->record->map; /* a map's items are told apart */
    if (in_one_go && job->plan_lost == 0 && !job->input_is_raw) {
        h.flags |= WIRE_GO;
        h.budget_ns = (uint64_t)job->js->config.express_cost_ns;
    }
    const unsigned char *bytes = bulk ? NULL : slice_map(&job->input);
    t->ticket =
        pool_send_task(w, &h, bytes, bulk ? 0 : job->input.size, NULL, 0, bulk ? &job->input : NULL, t, t->is_long);
    job->run_started_ns = t->sent_ns; /* until we know whether it ran, the run's clock guards the plan */
    job_arm_timer(job);
}

static void take_chunk(struct job *job, uint32_t chunk) {
    if (job->again_count > 0)
        job->again_count--;
    else
        job->next_chunk = chunk + 1;
}

/* The one chunk of a job is run and merged in one go; but of the items of a map job the parts are wanted, too. */
bool job_merges_at_once(const struct job *job) {
    return job->record->chunks_total == 1 && !job->record->map;
}

/* Its first chunk, or, of a job that a restart interrupted there, its merge. */
static void begin_run(struct job *job, const struct task *t) {
    if (job->run_started_ns != 0)
        return;
    job->run_started_ns = t->sent_ns;
    job_arm_timer(job);
    job_started(job, t->sent_ns);
}

static void send_chunk(struct job *job, struct task *t, struct worker *w) {
    const struct chunk *c = &job->chunks[t->chunk];
    struct wire_header h = {.kind = WIRE_RUN, .type = job->record->type, .attempt = c->lost, .flags = wire_flags(job)};
    if (job_merges_at_once(job))
        h.flags |= WIRE_GO;
    struct slice bytes = slice_part(&job->chunk_bytes, (size_t)c->plan.offset, (size_t)c->plan.size);
    bool bulk = bytes.blob->fd >= 0;
    struct buf poison = {0};
    const void *front = job->common;
    size_t front_size = job->common_size;
    if (job->record->map) {
        job_put_poison(job, t->chunk, &poison);
        front = poison.data;
        front_size = poison.size;
    }
    t->ticket = pool_send_task(w, &h, front, front_size, bulk ? NULL : slice_map(&bytes), bulk ? 0 : bytes.size,
                               bulk ? &bytes : NULL, t, t->is_long);
    buf_deinit(&poison);
    slice_deinit(&bytes);
    begin_run(job, t);
}

/* Sends parts while the socket takes them; true when all are sent. */
bool dispatch_feed_merge(struct job *job, struct task *t) {
    const struct record *r = job->record;
    while (job->merge_fed < r->chunks_total && worker_can_send(t->worker))
        pool_send_part(t->worker, t->ticket, &job->chunks[job->merge_fed++].part);
    bool all = job->merge_fed == r->chunks_total;
    job->js->feeding[worker_slot(t->worker)] = all ? NULL : t;
    return all;
}

static void send_merge(struct job *job, struct task *t, struct worker *w) {
    struct wire_header h = {
        .kind = WIRE_MERGE, .flags = wire_flags(job), .type = job->record->type, .count = job->record->chunks_total};
    t->ticket = pool_send_task(w, &h, job->common, job->common_size, NULL, 0, NULL, t, t->is_long);
    begin_run(job, t);
    job->merge_fed = 0;
    dispatch_feed_merge(job, t);
}

/* What a short task will take: a chunk was estimated by its handler, the rest as those of its type took lately. */
static int64_t short_cost_ns(const struct job *job) {
    const struct jobs *js = job->js;
    if (job->phase == PHASE_CHUNKS)
        return job_next_cost_ns(job);
    int64_t lately = job->record->type < METRICS_TYPES ? js->type_cost_ns[job->record->type] : 0;
    return lately > 0 ? lately : UNKNOWN_COST_NS;
}

/* A task for the job's next unit. NULL: memory ran out. */
struct task *dispatch_take_task(struct job *job, struct worker *w) {
    static const enum task_kind kinds[] = {
        [PHASE_PLAN] = TASK_PLAN, [PHASE_CHUNKS] = TASK_RUN, [PHASE_MERGE] = TASK_MERGE};
    struct task *t = task_new(job, kinds[job->phase]);
    if (t == NULL)
        return NULL;
    t->worker = w;
    t->sent_ns = loop_now_ns(job->js->loop);
    if (t->kind == TASK_RUN && next_chunk(job, &t->chunk))
        take_chunk(job, t->chunk);
    return t;
}

/* Sends the job's next unit to a worker, and puts the job behind the others of its urgency. */
bool dispatch_send_task(struct job *job, struct worker *w, bool is_long) {
    int64_t cost_ns = is_long ? job_next_cost_ns(job) : short_cost_ns(job);
    struct task *t = dispatch_take_task(job, w);
    if (t == NULL)
        return false;
    t->is_long = is_long;
    t->cost_ns = is_long ? 0 : cost_ns;
    job->js->load_ns[worker_slot(w)] += t->cost_ns;
    if (is_long) {
        job->js->long_due_ns[worker_slot(w)] = t->sent_ns + cost_ns;
    }
    if (t->kind == TASK_PLAN)
        send_plan(job, t, w);
    else if (t->kind == TASK_RUN)
        send_chunk(job, t, w);
    else
        send_merge(job, t, w);
    job_dequeue(job);
    job_enqueue(job);
    return true;
}

/* ---- who gets what ------------------------------------------------------------------------------------------------ */

static struct job *job_of(struct sched_entry *e) {
    return container_of(e, struct job, sched);
}

bool dispatch_can_send(const struct jobs *js, const struct worker *w) {
    return worker_takes_tasks(w) && worker_can_send(w) && js->feeding[worker_slot(w)] == NULL &&
           !worker_has_long_task(w);
}

static bool is_free(const struct jobs *js, const struct worker *w) {
    return worker_owner(w) == NULL && dispatch_can_send(js, w);
}

static bool send_short_batch(struct jobs *js, struct worker *w, int64_t now_ns) {
    int urgency;
    for (int i = 0; i < SHORT_BATCH && is_free(js, w); i++) {
        struct sched_entry *e = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &urgency);
        if (e == NULL)
            return i > 0;
        if (!dispatch_send_task(job_of(e), w, false))
            return false;
    }
    return true;
}

struct sched_entry *dispatch_peek_main(const struct jobs *js, int64_t now_ns, int *urgency) {
    int isolated_urgency = 0;
    struct sched_entry *e = sched_peek(&js->scheduler, SCHED_LONG, now_ns, urgency);
    struct sched_entry *fresh = sched_peek(&js->scheduler, SCHED_ISOLATED, now_ns, &isolated_urgency);
    if (fresh == NULL)
        return e;
    if (e != NULL && (*urgency < isolated_urgency || (*urgency == isolated_urgency && e->since_ns <= fresh->since_ns)))
        return e;
    *urgency = isolated_urgency;
    return fresh;
}

/* An idle main worker and a piece for the main lane that waits. False: nothing could be sent. */
static bool serve_main_worker(struct jobs *js, struct worker *w, struct sched_entry *e, int long_urgency,
                              int64_t now_ns) {
    int short_urgency;
    struct sched_entry *other = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &short_urgency);
    bool backlog = other != NULL && now_ns - other->since_ns > SHORT_BACKLOG_NS;
    bool short_first =
        backlog && (short_urgency < long_urgency || (short_urgency == long_urgency && js->short_turn[worker_slot(w)]));
    js->short_turn[worker_slot(w)] = !short_first;
    if (short_first)
        return send_short_batch(js, w, now_ns);
    if (e->class == SCHED_ISOLATED)
        return isolate_serve(js, w, job_of(e));
    return dispatch_send_task(job_of(e), w, true);
}

static void send_long_tasks(struct jobs *js, int64_t now_ns) {
    int urgency;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        while (worker_lane(w) == LANE_MAIN && worker_in_flight(w) == 0 &&
               is_free(js, w)) { /* still, if a fresh job took another one */
            struct sched_entry *e = dispatch_peek_main(js, now_ns, &urgency);
            if (e == NULL || !serve_main_worker(js, w, e, urgency, now_ns))
                return;
        }
    }
}

/* The worker for a short task: the first that has less than PACK_NS to do, the main lane before the express one; else
 * the least loaded; NULL if none may take it. */
static struct worker *short_worker(struct jobs *js) {
    struct worker *best = NULL;
    bool long_waits = js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_ISOLATED] > 0;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        if (!is_free(js, w) || worker_in_flight(w) >= SHORT_DEPTH || (worker_lane(w) == LANE_MAIN && long_waits))
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
        if (w == NULL || !dispatch_send_task(job_of(e), w, false))
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
    for (size_t i = 0; i < pool_size(js->pool); i++)
        pool_flush(pool_worker(js->pool, i));
}

void jobs_dispatch_early(struct jobs *js) {
    if (js->scheduler.count[SCHED_SHORT] >= EARLY_BATCH && js->scheduler.count[SCHED_SHORT] < 2 * EARLY_BATCH)
        jobs_dispatch(js);
}

/* ---- the start -------------------------------------------------------------------------------------------------------- */

void jobs_set_pool(struct jobs *js, struct pool *pool) {
    js->pool = pool;
    js->feeding = calloc(pool_size(pool), sizeof *js->feeding);
    js->short_turn = calloc(pool_size(pool), sizeof *js->short_turn);
    js->load_ns = calloc(pool_size(pool), sizeof *js->load_ns);
    js->long_due_ns = calloc(pool_size(pool), sizeof *js->long_due_ns);
    if (js->feeding == NULL || js->short_turn == NULL || js->load_ns == NULL || js->long_due_ns == NULL)
        abort(); /* at start-up, some bytes */
}
