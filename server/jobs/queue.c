/* queue.c: see queue.h. Front end. */
#include "server/jobs/queue.h"

#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/admission.h"

#define LARGE_BODY      (256 * 1024)         /* bytes of a raw body; to parse more is a long task */
#define JOINED_SHORT_NS (1 * NS_PER_MS)      /* a chunk of a type that is joined is long from here on */
#define UNKNOWN_COST_NS (50 * INT64_C(1000)) /* of a task whose type was not run yet */

/* ---- what there is to send --------------------------------------------------------------------------------------- */

/* The chunk that comes next; lost ones come first. False: all were sent. */
static bool next_chunk(const struct job *job, uint32_t *chunk) {
    if (job->again_count > 0)
        *chunk = job->again[job->again_count - 1];
    else if (job->next_chunk < job->record->chunks_total)
        *chunk = job->next_chunk;
    else
        return false;
    return true;
}

/* The same for a plan or a merge: a job has only one. */
static enum not_runnable single_not_runnable(const struct job *job, enum task_kind kind) {
    const struct task *t;
    if (job_is_backing_off(job))
        return NOT_RUNNABLE_BACKING_OFF;
    DL_FOREACH(job->tasks, t) {
        if (t->kind == kind)
            return NOT_RUNNABLE_SENT;
    }
    return RUNNABLE;
}

enum not_runnable job_not_runnable(const struct job *job) {
    uint32_t chunk;
    if (job->phase == PHASE_STOPPING || job->phase == PHASE_DONE)
        return NOT_RUNNABLE_ENDED;
    if (job_is_parked(job))
        return NOT_RUNNABLE_PARKED;
    if (job->phase == PHASE_PLAN)
        return single_not_runnable(job, TASK_PLAN);
    if (job->delayed)
        return NOT_RUNNABLE_DELAYED;
    if (job->phase == PHASE_MERGE)
        return single_not_runnable(job, TASK_MERGE);
    if (job->throttles > 0)
        return NOT_RUNNABLE_THROTTLED;
    if (next_chunk(job, &chunk))
        return RUNNABLE;
    return job_is_backing_off(job) && job->tasks == NULL ? NOT_RUNNABLE_BACKING_OFF : NOT_RUNNABLE_SENT;
}

uint32_t job_count_tasks(const struct job *job) {
    if (job_not_runnable(job) != RUNNABLE)
        return 0;
    return job->phase == PHASE_CHUNKS ? job->again_count + job->record->chunks_total - job->next_chunk : 1;
}

/* The estimate for its next chunk; 0 if it has no chunk to send. */
static int64_t chunk_cost_ns(const struct job *job) {
    uint32_t chunk;
    if (job->phase != PHASE_CHUNKS || !next_chunk(job, &chunk))
        return 0;
    return (int64_t)job->chunks[chunk].plan.cost_ns;
}

int64_t job_next_known_ns(const struct job *job) {
    uint32_t chunk;
    return job->phase == PHASE_CHUNKS && next_chunk(job, &chunk) ? admission_known_ns(job, chunk) : 0;
}

int64_t job_next_cost_ns(const struct job *job) {
    const struct jobs *js = job->js;
    if (job->phase == PHASE_CHUNKS)
        return chunk_cost_ns(job);
    int64_t lately = js->type_cost_ns[metrics_row(job->record->type)];
    return lately > 0 ? lately : UNKNOWN_COST_NS;
}

struct task *job_take_task(struct job *job, struct worker *w) {
    static const enum task_kind kinds[] = {
        [PHASE_PLAN] = TASK_PLAN, [PHASE_CHUNKS] = TASK_RUN, [PHASE_MERGE] = TASK_MERGE};
    struct task *t = task_new(job, kinds[job->phase]);
    if (t == NULL)
        return NULL;
    t->worker = w;
    t->sent_ns = loop_now_ns(job->js->loop);
    if (t->kind != TASK_RUN || !next_chunk(job, &t->chunk))
        return t;
    if (job->again_count > 0)
        job->again_count--;
    else
        job->next_chunk = t->chunk + 1;
    return t;
}

/* ---- isolated jobs ----------------------------------------------------------------------------------------------- */

uint32_t job_start_type(const struct job *job) {
    const struct handler *h = host_handler(job->record->type);
    return h != NULL && (h->flags & HANDLER_SPAWN) != 0 ? job->record->type : START_FORKED;
}

/* True if only isolated workers work for the job: isolation "fresh", or a type with HANDLER_SPAWN. */
static bool job_is_isolated(const struct job *job) {
    if (job->phase == PHASE_PLAN && job->input_is_raw)
        return false; /* the body is not parsed yet, so this is not known */
    return job->record->options.isolated || job_start_type(job) != START_FORKED;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

int64_t queue_short_ns(const struct job *job) {
    int64_t express_ns = job->js->config.express_cost_ns;
    return queue_joins(job) && express_ns > JOINED_SHORT_NS ? JOINED_SHORT_NS : express_ns;
}

bool queue_joins(const struct job *job) {
    const struct handler *h = host_handler(job->record->type);
    return h != NULL && (h->flags & HANDLER_JOINS) != 0 && !job->record->map;
}

/* Small chunks are long, too, if all that are left are much: else those of one job would fill the express lane. */
static bool chunks_are_long(const struct job *job, uint32_t to_send) {
    int64_t limit_ns = queue_short_ns(job), cost_ns = chunk_cost_ns(job);
    return cost_ns >= limit_ns || (cost_ns > 0 && to_send >= (limit_ns + cost_ns - 1) / cost_ns);
}

/* Whether the job needs a turn, and in which class; *class is only set if it does. */
static bool needs_turn(const struct job *job, enum sched_class *class) {
    bool is_long = false;
    uint32_t to_send = job_count_tasks(job);
    if (to_send == 0)
        return false;
    if (job_is_isolated(job)) {
        const struct task *t;
        unsigned sent = 0;
        DL_COUNT(job->tasks, t, sent);
        *class = SCHED_ISOLATED;
        return sent + to_send > job->isolated_workers; /* else they take it all, as soon as they are started or idle */
    }
    if (job->phase == PHASE_PLAN)
        is_long = job->input_is_raw && job->input.size > LARGE_BODY;
    else if (job->phase == PHASE_CHUNKS)
        is_long = chunks_are_long(job, to_send);
    *class = is_long ? SCHED_LONG : SCHED_SHORT;
    return true;
}

bool queue_is_long(const struct job *job) {
    enum sched_class class;
    return needs_turn(job, &class) && class != SCHED_SHORT;
}

/* The long task for which it waits, in the books of the work that waits. */
static void book_cost(struct job *job, int64_t cost_ns) {
    int64_t more_ns = cost_ns - job->queued_cost_ns;
    job->queued_cost_ns = cost_ns;
    job->js->long_backlog_ns += more_ns;
    if (job->tenant != NULL)
        job->tenant->long_backlog_ns += more_ns;
}

void job_enqueue(struct job *job) {
    enum sched_class class;
    struct jobs *js = job->js;
    if (!needs_turn(job, &class)) {
        job_dequeue(job);
        return;
    }
    admission_remove(job);
    sched_put_again(&js->scheduler, &job->sched, class, (unsigned)job->record->options.priority, loop_now_ns(js->loop));
    book_cost(job, class == SCHED_SHORT ? 0 : chunk_cost_ns(job));
    admission_add(job, class == SCHED_SHORT ? 0 : job_next_known_ns(job));
    js->dirty = true;
}

void job_dequeue(struct job *job) {
    admission_remove(job);
    sched_remove(&job->js->scheduler, &job->sched);
    book_cost(job, 0);
}

void job_throttle(struct job *job) {
    enum sched_class class;
    job->throttles++;
    if (!needs_turn(job, &class))
        job_dequeue(job);
}

void job_unthrottle(struct job *job) {
    job->throttles--;
    job_enqueue(job);
}

struct job *queue_job(struct sched_entry *e) {
    return container_of(e, struct job, sched);
}

struct job *queue_serve(struct jobs *js, struct sched_entry *e) {
    sched_serve(&js->scheduler, e, loop_now_ns(js->loop));
    return queue_job(e);
}

/* The levels of the two classes are compared as those of one class are. */
struct sched_entry *queue_peek_main(const struct jobs *js, int64_t now_ns, int *urgency) {
    int isolated_urgency = 0;
    struct sched_entry *e = sched_peek(&js->scheduler, SCHED_LONG, now_ns, urgency);
    struct sched_entry *isolated = sched_peek(&js->scheduler, SCHED_ISOLATED, now_ns, &isolated_urgency);
    if (isolated == NULL)
        return e;
    if (e != NULL && (*urgency < isolated_urgency ||
                      (*urgency == isolated_urgency &&
                       sched_waits_since_ns(&js->scheduler, e) <= sched_waits_since_ns(&js->scheduler, isolated))))
        return e;
    *urgency = isolated_urgency;
    return isolated;
}
