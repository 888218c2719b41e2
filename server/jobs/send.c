/* send.c: see send.h. Front end. */
#include "server/jobs/send.h"

#include <stdlib.h>

#include "base/clock.h"
#include "server/jobs/attached.h"
#include "server/jobs/end.h"
#include "server/jobs/poison.h"
#include "server/jobs/queue.h"

/* A 202 does not wait for work: only for as much of it as costs no more than to send a task once more. Otherwise jobs
 * would be accepted only as fast as they are run. */
#define ASYNC_BUDGET_NS (100 * INT64_C(1000))

/* What a job may cost that is run in the same go as it is planned. */
static int64_t budget_ns(const struct job *job) {
    int64_t express_ns = queue_short_ns(job);
    return job->asynchronous && express_ns > ASYNC_BUDGET_NS ? ASYNC_BUDGET_NS : express_ns;
}

/* The params, or the raw body, which the worker parses first. */
static struct pool_task plan_task(const struct job *job) {
    struct pool_task p = {.header = {.kind = WIRE_PLAN}, .payload = job->input};
    if (job->input_is_raw) {
        p.header.flags = WIRE_RAW | (job->request_hash != NULL ? WIRE_HASH : 0);
        p.header.count = job->js->config.max_json_depth;
        p.front = job->accepted;
        p.front_size = job->accepted_size;
        p.header.flags |= job->accepted != NULL ? WIRE_ACCEPTS : 0;
        if (job->input_is_params) {
            p.header.flags |= WIRE_PARAMS;
            p.header.type = job->record->type;
        }
        return p;
    }
    p.header.type = job->record->type;
    p.header.count = (uint32_t)job->record->options.chunks;
    p.header.flags = job->record->map ? WIRE_ITEMS : 0;
    /* It is run in the same go, unless its chunks are wanted one by one: for a map, or because a worker has died at this
     * job, and attempts are counted for each chunk; or because it works in place, with notes that must outlive it. */
    if (!attached_has_own(job) && !job->delayed && !job->record->map && job->plan_lost == 0 &&
        job->request_hash == NULL) {
        p.header.flags |= WIRE_GO;
        p.header.budget_ns = (uint64_t)budget_ns(job);
    }
    return p;
}

/* One chunk. For a map its poison items are written to `poison`, which has to stay until the task is sent. */
static struct pool_task chunk_task(const struct job *job, uint32_t chunk, struct buf *poison) {
    const struct chunk *c = &job->chunks[chunk];
    struct pool_task p = {
        .header = {.kind = WIRE_RUN, .type = job->record->type, .attempt = c->lost, .budget_ns = c->plan.cost_ns},
        .front = job->common,
        .front_size = job->common_size,
        .payload = {job->chunk_bytes.blob, job->chunk_bytes.offset + (size_t)c->plan.offset, (size_t)c->plan.size}};
    if (job_merges_at_once(job))
        p.header.flags |= WIRE_GO;
    if (!job->record->map)
        return p;
    p.header.flags |= WIRE_ITEMS;
    job_put_poison(job, chunk, poison);
    p.front = poison->data;
    p.front_size = poison->size;
    return p;
}

/* The head of a merge; its parts follow. */
static struct pool_task merge_task(const struct job *job) {
    return (struct pool_task){.header = {.kind = WIRE_MERGE,
                                         .type = job->record->type,
                                         .flags = job->record->map ? WIRE_ITEMS : 0,
                                         .count = job->record->chunks_total},
                              .front = job->common,
                              .front_size = job->common_size};
}

bool send_merge_parts(struct job *job, struct task *t) {
    const struct record *r = job->record;
    while (job->merge_fed < r->chunks_total && worker_can_send(t->worker))
        pool_send_part(t->worker, t->ticket, &job->chunks[job->merge_fed++].part);
    bool all = job->merge_fed == r->chunks_total;
    job->js->feeding[worker_slot(t->worker)] = all ? NULL : t;
    return all;
}

/* Which of the job's attachments go with the task. */
static void choose_attachments(const struct job *job, const struct task *t, uint32_t *first, uint32_t *count) {
    uint32_t all = job->attachments.count;
    *first = 0;
    *count = t->kind == TASK_MERGE && job->record->map ? 0 : all;
    if (t->kind != TASK_RUN)
        return;
    const struct wire_chunk *c = &job->chunks[t->chunk].plan;
    *first = c->attachment_first < all ? c->attachment_first : all;
    *count = c->attachment_count < all - *first ? c->attachment_count : all - *first;
}

/* Adds them to the task. False: memory ran out. */
static bool put_attachments(struct job *job, const struct task *t, struct pool_task *p) {
    struct jobs *js = job->js;
    uint32_t first, count;
    choose_attachments(job, t, &first, &count);
    if (count > js->sent_room) {
        struct pool_attachment *sent = reallocarray(js->sent, count, sizeof *sent);
        if (sent == NULL)
            return false;
        js->sent = sent;
        js->sent_room = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct job_attachment *a = &job->attachments.list[first + i];
        js->sent[i] = (struct pool_attachment){first + i, a->bytes, a->media_type, a->own};
        job->writes_in_place |= a->own && t->kind == TASK_RUN && first + i < job->attachments_given;
    }
    p->attachments = js->sent;
    p->attachment_count = count;
    return true;
}

/* When the run timeout of the job will be over, if its clock is running or starts with this task. */
static int64_t deadline_ms(const struct job *job) {
    int64_t now_ns = loop_now_ns(job->js->loop), began_ns = job->run_started_ns != 0 ? job->run_started_ns : now_ns;
    return clock_wall_ms() + (began_ns + job_limit_ns(job->record->options.timeout_ms) - now_ns) / NS_PER_MS;
}

bool send_task(struct job *job, struct worker *w, bool is_long) {
    struct jobs *js = job->js;
    struct buf *poison = &js->poison_bytes;
    int64_t cost_ns = job_next_cost_ns(job), known_ns = job_next_known_ns(job);
    struct task *t = job_take_task(job, w);
    if (t == NULL)
        return false;
    struct pool_task p = t->kind == TASK_PLAN  ? plan_task(job)
                         : t->kind == TASK_RUN ? chunk_task(job, t->chunk, poison)
                                               : merge_task(job);
    if (poison->failed || (job->attachments.count > 0 && !put_attachments(job, t, &p))) {
        buf_clear(poison);
        task_free(t);
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return false;
    }
    p.owner = t;
    p.is_long = is_long;
    p.header.deadline_ms = deadline_ms(job);
    bool follows = worker_has_long_task(w);
    t->ticket = pool_send_task(w, &p);
    buf_clear(poison);
    if (is_long) {
        int64_t *due_ns = &js->long_due_ns[worker_slot(w)];
        int64_t *known_due_ns = &js->known_due_ns[worker_slot(w)];
        *due_ns = (follows ? *due_ns : t->sent_ns) + cost_ns;
        *known_due_ns = (follows ? *known_due_ns : t->sent_ns) + known_ns;
    } else {
        t->cost_ns = cost_ns;
        js->load_ns[worker_slot(w)] += cost_ns;
    }
    job->merge_fed = 0;
    if (t->kind == TASK_MERGE)
        send_merge_parts(job, t);
    job_task_sent(job, t);
    job_enqueue(job);
    return true;
}

bool send_is_possible(const struct jobs *js, const struct worker *w) {
    return worker_takes_tasks(w) && worker_can_send(w) && js->feeding[worker_slot(w)] == NULL &&
           !worker_has_long_task(w);
}
