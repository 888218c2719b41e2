/* send.c: see send.h. Front end. */
#include "server/jobs/send.h"

#include <stdlib.h>
#include <string.h>

#include "server/jobs/poison.h"

#define UNKNOWN_COST_NS (50 * INT64_C(1000)) /* of a short task of a type that was not run yet */

/* Of every task of this job. */
static uint16_t wire_flags(const struct job *job) {
    return job->record->map ? WIRE_ITEMS : 0;
}

static void send_plan(struct job *job, struct task *t, struct worker *w) {
    struct wire_header h = {
        .kind = WIRE_PLAN, .flags = wire_flags(job), .count = (uint32_t)job->record->options.chunks};
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

bool send_merge_parts(struct job *job, struct task *t) {
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
    send_merge_parts(job, t);
}

/* What a short task will take: a chunk was estimated by its handler, the rest as those of its type took lately. */
static int64_t short_cost_ns(const struct job *job) {
    const struct jobs *js = job->js;
    if (job->phase == PHASE_CHUNKS)
        return job_next_cost_ns(job);
    int64_t lately = job->record->type < METRICS_TYPES ? js->type_cost_ns[job->record->type] : 0;
    return lately > 0 ? lately : UNKNOWN_COST_NS;
}

struct task *send_take_task(struct job *job, struct worker *w) {
    static const enum task_kind kinds[] = {
        [PHASE_PLAN] = TASK_PLAN, [PHASE_CHUNKS] = TASK_RUN, [PHASE_MERGE] = TASK_MERGE};
    struct task *t = task_new(job, kinds[job->phase]);
    if (t == NULL)
        return NULL;
    t->worker = w;
    t->sent_ns = loop_now_ns(job->js->loop);
    if (t->kind == TASK_RUN && job_next_chunk(job, &t->chunk))
        take_chunk(job, t->chunk);
    return t;
}

bool send_task(struct job *job, struct worker *w, bool is_long) {
    int64_t cost_ns = is_long ? job_next_cost_ns(job) : short_cost_ns(job);
    struct task *t = send_take_task(job, w);
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

bool send_is_possible(const struct jobs *js, const struct worker *w) {
    return worker_takes_tasks(w) && worker_can_send(w) && js->feeding[worker_slot(w)] == NULL &&
           !worker_has_long_task(w);
}
