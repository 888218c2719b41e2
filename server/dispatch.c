/* dispatch.c: between the jobs and the workers: which worker gets what, and what a reply or a death means for the job.
 * Front end.
 *
 * A worker of the main lane does long pieces one at a time, and nothing else meanwhile. Short pieces (plans, merges,
 * chunks estimated below --express-cost) go to the express lane, and to main workers while no long piece waits, several
 * in flight and several in a datagram. A main worker that comes back from a long piece takes the next long piece, but
 * every other time a batch of short ones if these have had to wait: then the express lane cannot keep up.
 *
 * A job that has processes of its own (dispatch_fresh.c) waits in a third class and takes its turn among the long pieces.
 *
 * Waking a process costs as much as a short job. So short pieces are packed onto one worker until it has PACK_NS of them,
 * by what jobs of their type have taken lately, before the next worker is woken.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/item_text.h"
#include "server/jobs_private.h"

#define LARGE_BODY (256 * 1024)          /* parsing more JSON than this is a long piece */
#define SHORT_DEPTH 48                   /* short pieces in flight per worker */
#define SHORT_BATCH WIRE_MAX_FRAMES      /* that a main worker takes between two long pieces */
#define SHORT_BACKLOG_NS (2 * NS_PER_MS) /* short work waiting longer: the express lane cannot keep up */
#define PACK_NS (150 * INT64_C(1000))    /* short work that one worker gets before a second is woken for more */
#define MAX_COST_NS (1000000 * (uint64_t)NS_PER_S) /* of one chunk: so that sums stay far from overflow */
#define MAX_DELAY_MS (INT64_C(365) * 24 * 3600 * 1000)
#define UNKNOWN_COST_NS (50 * INT64_C(1000))
#define EARLY_BATCH 6                    /* short pieces that are worth waking a worker for before the turn is over */
#define MAX_STDERR_SHOWN 1024

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
    if (t->is_long && t->worker->long_work > 0)
        t->worker->long_work--;
    if (t->worker != NULL)
        js->load_ns[t->worker->slot] -= t->cost_ns;
    if (js->feeding != NULL && t->worker != NULL && js->feeding[t->worker->slot] == t)
        js->feeding[t->worker->slot] = NULL;
    t->next = js->free_tasks;
    js->free_tasks = t;
}

bool task_is_feeding(const struct task *t) {
    return t->job->js->feeding[t->worker->slot] == t;
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

uint32_t job_count_units(const struct job *job) {
    uint32_t chunk;
    if (job->delayed && job->phase != PHASE_PLAN) /* to be checked is not to be started */
        return 0;
    switch (job->phase) {
    case PHASE_PLAN: return !job_is_pausing(job) && !is_active(job, TASK_PLAN);
    case PHASE_CHUNKS:
        if (job->throttles > 0)
            return 0;
        return next_chunk(job, &chunk) ? job->again_count + job->record->chunks_total - job->next_chunk : 0;
    case PHASE_MERGE: return !job_is_pausing(job) && !is_active(job, TASK_MERGE);
    case PHASE_DONE: return 0;
    }
    return 0;
}

static bool has_long_unit(const struct job *job) {
    if (job->phase == PHASE_PLAN)
        return job->input_is_json && job->input.size > LARGE_BODY;
    return job->phase == PHASE_CHUNKS && job_next_cost_ns(job) >= job->js->config.express_cost_ns;
}

bool job_has_unit(const struct job *job, enum sched_class *class) {
    uint32_t units = job_count_units(job);
    if (units > 0 && job_is_fresh(job)) {
        *class = SCHED_FRESH;
        return units > job_free_workers(job);
    }
    *class = units > 0 && has_long_unit(job) ? SCHED_LONG : SCHED_SHORT;
    return units > 0;
}

int64_t job_next_cost_ns(const struct job *job) {
    uint32_t chunk;
    if (job->phase != PHASE_CHUNKS || !next_chunk(job, &chunk))
        return 0;
    return (int64_t)job->chunks[chunk].plan.cost_ns;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

/* Of every piece of work of this job. */
static uint16_t wire_flags(const struct job *job) {
    return job->record->map ? WIRE_ITEMS : 0;
}

static void send_plan(struct job *job, struct task *t, struct worker *w) {
    struct wire_header h = {.kind = WIRE_PLAN, .flags = wire_flags(job), .count = job->record->wanted_chunks};
    bool bulk = job->input.blob->fd >= 0;
    if (job->input_is_json) {
        h.flags = WIRE_JSON | (job->request_hash != NULL ? WIRE_HASH : 0);
        h.count = job->js->config.max_json_depth;
    } else {
        h.type = job->record->type;
    }
    /* A worker died at this job before: learn its chunks first, so that the attempts are counted per chunk. */
    if (!job->asynchronous && job->plan_lost == 0 && !job->input_is_json && !job->delayed) {
        h.flags |= WIRE_GO;
        h.budget_ns = (uint64_t)job->js->config.express_cost_ns;
    }
    const unsigned char *bytes = bulk ? NULL : slice_map(&job->input);
    t->ticket = pool_send_work(w, &h, bytes, bulk ? 0 : job->input.size, NULL, 0, bulk ? &job->input : NULL, t);
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
static bool merges_at_once(const struct job *job) {
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
    struct wire_header h = {.kind = WIRE_RUN, .type = job->record->type, .attempt = c->lost,
                            .flags = wire_flags(job)};
    if (merges_at_once(job))
        h.flags |= WIRE_GO;
    struct slice bytes = slice_part(&job->chunk_bytes, (size_t)c->plan.offset, (size_t)c->plan.size);
    bool bulk = bytes.blob->fd >= 0;
    t->ticket = pool_send_work(w, &h, job->common, job->common_size, bulk ? NULL : slice_map(&bytes),
                               bulk ? 0 : bytes.size, bulk ? &bytes : NULL, t);
    slice_deinit(&bytes);
    begin_run(job, t);
}

/* Sends parts while the socket takes them; true when all are sent. */
static bool feed_merge(struct job *job, struct task *t) {
    const struct record *r = job->record;
    while (job->merge_fed < r->chunks_total && worker_can_send(t->worker))
        pool_send_part(t->worker, t->ticket, &job->chunks[job->merge_fed++].part);
    bool all = job->merge_fed == r->chunks_total;
    job->js->feeding[t->worker->slot] = all ? NULL : t;
    return all;
}

static void send_merge(struct job *job, struct task *t, struct worker *w) {
    struct wire_header h = {.kind = WIRE_MERGE, .flags = wire_flags(job), .type = job->record->type,
                            .count = job->record->chunks_total};
    t->ticket = pool_send_work(w, &h, job->common, job->common_size, NULL, 0, NULL, t);
    begin_run(job, t);
    job->merge_fed = 0;
    feed_merge(job, t);
}

/* What a short piece will take: a chunk was estimated by its handler, the rest as those of its type took lately. */
static int64_t short_cost_ns(const struct job *job) {
    const struct jobs *js = job->js;
    if (job->phase == PHASE_CHUNKS)
        return job_next_cost_ns(job);
    int64_t lately = job->record->type < METRICS_TYPES ? js->type_cost_ns[job->record->type] : 0;
    return lately > 0 ? lately : UNKNOWN_COST_NS;
}

/* A task for the job's next unit. NULL: memory ran out. */
static struct task *take_unit(struct job *job, struct worker *w) {
    static const enum task_kind kinds[] = {[PHASE_PLAN] = TASK_PLAN, [PHASE_CHUNKS] = TASK_RUN, [PHASE_MERGE] = TASK_MERGE};
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
bool dispatch_send_unit(struct job *job, struct worker *w, bool is_long) {
    int64_t cost_ns = is_long ? job_next_cost_ns(job) : short_cost_ns(job);
    struct task *t = take_unit(job, w);
    if (t == NULL)
        return false;
    t->is_long = is_long;
    t->cost_ns = is_long ? 0 : cost_ns;
    job->js->load_ns[w->slot] += t->cost_ns;
    if (is_long) {
        w->long_work++;
        job->js->long_due_ns[w->slot] = t->sent_ns + cost_ns;
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
    return (struct job *)((char *)e - offsetof(struct job, sched));
}

bool dispatch_can_send(const struct jobs *js, const struct worker *w) {
    return worker_takes_work(w) && worker_can_send(w) && js->feeding[w->slot] == NULL && w->long_work == 0;
}

static bool is_free(const struct jobs *js, const struct worker *w) {
    return w->dedicated == NULL && dispatch_can_send(js, w);
}

static bool send_short_batch(struct jobs *js, struct worker *w, int64_t now_ns) {
    int urgency;
    for (int i = 0; i < SHORT_BATCH && is_free(js, w); i++) {
        struct sched_entry *e = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &urgency);
        if (e == NULL)
            return i > 0;
        if (!dispatch_send_unit(job_of(e), w, false))
            return false;
    }
    return true;
}

struct sched_entry *dispatch_peek_main(const struct jobs *js, int64_t now_ns, int *urgency) {
    int fresh_urgency = 0;
    struct sched_entry *e = sched_peek(&js->scheduler, SCHED_LONG, now_ns, urgency);
    struct sched_entry *fresh = sched_peek(&js->scheduler, SCHED_FRESH, now_ns, &fresh_urgency);
    if (fresh == NULL)
        return e;
    if (e != NULL && (*urgency < fresh_urgency || (*urgency == fresh_urgency && e->since_ns <= fresh->since_ns)))
        return e;
    *urgency = fresh_urgency;
    return fresh;
}

/* An idle main worker and a piece for the main lane that waits. False: nothing could be sent. */
static bool serve_main_worker(struct jobs *js, struct worker *w, struct sched_entry *e, int long_urgency,
                              int64_t now_ns) {
    int short_urgency;
    struct sched_entry *other = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &short_urgency);
    bool backlog = other != NULL && now_ns - other->since_ns > SHORT_BACKLOG_NS;
    bool short_first = backlog && (short_urgency < long_urgency || (short_urgency == long_urgency && js->short_turn[w->slot]));
    js->short_turn[w->slot] = !short_first;
    if (short_first)
        return send_short_batch(js, w, now_ns);
    if (e->class == SCHED_FRESH)
        return fresh_serve(js, w, job_of(e));
    return dispatch_send_unit(job_of(e), w, true);
}

static void send_long_pieces(struct jobs *js, int64_t now_ns) {
    int urgency;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        while (w->lane == LANE_MAIN && w->count == 0 && is_free(js, w)) { /* still, if a fresh job took another one */
            struct sched_entry *e = dispatch_peek_main(js, now_ns, &urgency);
            if (e == NULL || !serve_main_worker(js, w, e, urgency, now_ns))
                return;
        }
    }
}

/* The worker for a short piece: the first that has less than PACK_NS to do, the main lane before the express one; else
 * the least loaded; NULL if none may take it. */
static struct worker *short_worker(struct jobs *js) {
    struct worker *best = NULL;
    bool long_waits = js->scheduler.count[SCHED_LONG] + js->scheduler.count[SCHED_FRESH] > 0;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        struct worker *w = pool_worker(js->pool, i);
        if (!is_free(js, w) || w->count >= SHORT_DEPTH || (w->lane == LANE_MAIN && long_waits))
            continue;
        if (js->load_ns[w->slot] < PACK_NS)
            return w;
        if (best == NULL || js->load_ns[w->slot] < js->load_ns[best->slot])
            best = w;
    }
    return best;
}

static void send_short_pieces(struct jobs *js, int64_t now_ns) {
    int urgency;
    for (;;) {
        struct sched_entry *e = sched_peek(&js->scheduler, SCHED_SHORT, now_ns, &urgency);
        struct worker *w = e == NULL ? NULL : short_worker(js);
        if (w == NULL || !dispatch_send_unit(job_of(e), w, false))
            return;
    }
}

void jobs_dispatch(struct jobs *js) {
    if (!js->dirty)
        return;
    js->dirty = false;
    int64_t now_ns = loop_now_ns(js->loop);
    fresh_send_pieces(js, now_ns);
    send_long_pieces(js, now_ns);
    send_short_pieces(js, now_ns);
    for (size_t i = 0; i < pool_size(js->pool); i++)
        pool_flush(pool_worker(js->pool, i));
}

void jobs_dispatch_early(struct jobs *js) {
    if (js->scheduler.count[SCHED_SHORT] >= EARLY_BATCH && js->scheduler.count[SCHED_SHORT] < 2 * EARLY_BATCH)
        jobs_dispatch(js);
}

/* ---- plans that came back ------------------------------------------------------------------------------------------ */

/* Where the webhook starts, and where the chunks' bytes do. */
static size_t plan_webhook(const struct wire_plan *head) {
    return sizeof *head + head->chunks * sizeof(struct wire_chunk) + WIRE_PAD(head->common_size);
}

static size_t plan_front(const struct wire_plan *head) {
    return plan_webhook(head) + WIRE_PAD(head->webhook_size);
}

/* Checks a plan's front and its chunk table against its size; a worker is not believed. */
static bool read_plan_head(struct job *job, const struct slice *plan, struct wire_plan *head) {
    if (plan->size < sizeof *head || slice_read(plan, 0, head, sizeof *head) != 0)
        return false;
    if (head->chunks == 0 || head->chunks > HANDLER_MAX_CHUNKS || head->common_size > HANDLER_MAX_COMMON)
        return false;
    bool parsed_here = !job->input_is_json && job->input.blob != NULL; /* else by a worker, maybe of an earlier run */
    if (head->webhook_size > (parsed_here ? 0 : HOST_MAX_WEBHOOK))
        return false;
    if (head->type >= host_count() || (!job->input_is_json && head->type != job->record->type))
        return false;
    return plan->size >= plan_front(head);
}

/* Of a small plan with one chunk only that chunk is kept: what waits in a long queue is mostly such. */
static bool keep_bytes(struct job *job, const struct slice *plan, const struct wire_plan *head) {
    size_t front = plan_front(head);
    struct wire_chunk *only = &job->chunks[0].plan;
    if (head->chunks > 1 || plan->blob->fd >= 0) {
        job->plan = slice_ref(plan);
        job->chunk_bytes = slice_part(plan, front, plan->size - front);
        return true;
    }
    struct blob *b = blob_copy(slice_map(plan) + front + only->offset, (size_t)only->size);
    if (b == NULL)
        return false;
    job->chunk_bytes = slice_all(b);
    only->offset = 0;
    return true;
}

static bool read_chunks(struct job *job, const struct slice *plan, const struct wire_plan *head) {
    size_t table = head->chunks * sizeof(struct wire_chunk), room = plan->size - plan_front(head);
    struct wire_chunk *rows = malloc(table);
    job->chunks = calloc(head->chunks, sizeof *job->chunks + sizeof *job->again);
    bool ok = rows != NULL && job->chunks != NULL && slice_read(plan, sizeof *head, rows, table) == 0;
    for (uint32_t i = 0; ok && i < head->chunks; i++) {
        ok = rows[i].offset <= room && rows[i].size <= room - rows[i].offset && rows[i].offset % 8 == 0;
        rows[i].cost_ns = rows[i].cost_ns > MAX_COST_NS ? MAX_COST_NS : rows[i].cost_ns;
        job->chunks[i].plan = rows[i];
        job->chunks[i].lost = job->plan_lost;
    }
    free(rows);
    if (job->chunks != NULL)
        job->again = (uint32_t *)(void *)(job->chunks + head->chunks);
    return ok && keep_bytes(job, plan, head);
}

static bool read_common(struct job *job, const struct slice *plan, const struct wire_plan *head) {
    uint32_t front[2] = {head->common_size, 0};
    size_t padded = WIRE_PAD(head->common_size);
    job->common = malloc(sizeof front + padded);
    if (job->common == NULL)
        return false;
    memcpy(job->common, front, sizeof front);
    job->common_size = (uint32_t)(sizeof front + padded);
    return slice_read(plan, sizeof *head + head->chunks * sizeof(struct wire_chunk), job->common + sizeof front, padded) == 0;
}

static bool options_in_range(const struct wire_plan *h) {
    return h->priority >= -1 && h->priority < SCHEDULER_LEVELS && h->timeout_ms >= -1 && h->queue_timeout_ms >= 0 &&
           h->max_attempts >= 1 && h->max_attempts <= INT32_MAX && h->ttl_s >= -1 &&
           h->ttl_s <= INT64_MAX / NS_PER_S / 2 && h->wanted_chunks >= 0 && h->wanted_chunks <= HANDLER_MAX_CHUNKS &&
           h->delay_ms >= 0 && h->delay_ms <= MAX_DELAY_MS && h->fresh >= 0 && h->fresh <= 1 && h->map <= 1 &&
           h->items <= (h->map ? HOST_MAX_ITEMS : 0);
}

static bool take_parsed(struct job *job, const struct slice *plan, const struct wire_plan *h) {
    char webhook[HOST_MAX_WEBHOOK + 1] = "";
    if (!options_in_range(h) || slice_read(plan, plan_webhook(h), webhook, h->webhook_size) != 0 ||
        strlen(webhook) != h->webhook_size)
        return false;
    struct submission_options o = {.priority = (int)h->priority,
                                   .timeout_ms = h->timeout_ms,
                                   .queue_timeout_ms = h->queue_timeout_ms,
                                   .max_attempts = h->max_attempts,
                                   .ttl_s = h->ttl_s,
                                   .chunks = h->wanted_chunks,
                                   .delay_ms = h->delay_ms,
                                   .fresh = h->fresh != 0,
                                   .webhook = h->webhook_size > 0 ? webhook : NULL};
    if (job->request_hash != NULL)
        memcpy(job->request_hash, h->hash, sizeof h->hash);
    job->record->type = h->type;
    job->record->map = h->map != 0;
    job->record->items = h->items;
    job_apply_parsed_options(job, &o);
    return true;
}

static void drop_plan(struct job *job) {
    free(job->chunks);
    free(job->common);
    job->chunks = NULL;
    job->again = NULL;
    job->common = NULL;
    slice_deinit(&job->plan);
    slice_deinit(&job->chunk_bytes);
}

bool job_take_plan(struct job *job, const struct slice *plan) {
    struct wire_plan head;
    bool ok = read_plan_head(job, plan, &head) && read_common(job, plan, &head) && read_chunks(job, plan, &head) &&
              (!job->input_is_json || take_parsed(job, plan, &head));
    if (!ok) {
        drop_plan(job);
        return false;
    }
    job->record->chunks_total = head.chunks;
    job->record->plan_ns = (int64_t)head.plan_ns;
    job->record->cpu_ns += (int64_t)head.cpu_ns;
    job->phase = PHASE_CHUNKS;
    return true;
}

static bool on_planned(struct job *job, const struct wire_frame *f, const struct slice *bulk) {
    struct slice plan = slice_ref(bulk);
    if (plan.blob == NULL) {
        struct blob *b = blob_copy(f->inlined, f->header.length);
        if (b == NULL)
            return false;
        plan = slice_all(b);
    }
    bool ok = job_take_plan(job, &plan);
    slice_deinit(&plan);
    struct record *r = job->record;
    if (ok && r->durable)
        job->js->store->ops->plan(job->js->store, r, &job->plan);
    return ok;
}

/* A large body that must not be planned where it was parsed: from here on as if the front end had parsed it. */
static bool on_parsed(struct job *job, const struct wire_frame *f, const struct slice *bulk) {
    struct wire_plan head;
    struct slice reply = slice_ref(bulk);
    if (reply.blob == NULL) {
        struct blob *b = blob_copy(f->inlined, f->header.length);
        if (b == NULL)
            return false;
        reply = slice_all(b);
    }
    bool ok = job->input_is_json && slice_read(&reply, 0, &head, sizeof head) == 0 && head.chunks == 0 &&
              head.common_size == 0 && head.webhook_size <= HOST_MAX_WEBHOOK && reply.size >= plan_front(&head) &&
              head.type < host_count() && take_parsed(job, &reply, &head);
    if (ok) {
        slice_deinit(&job->input);
        job->input = slice_part(&reply, plan_front(&head), reply.size - plan_front(&head));
        job->input_is_json = false;
        job->record->cpu_ns += (int64_t)head.cpu_ns;
    }
    slice_deinit(&reply);
    return ok;
}

/* ---- parts and results ----------------------------------------------------------------------------------------------- */

/* The body of a WIRE_DONE behind its times. */
static bool take_body(const struct wire_frame *f, const struct slice *bulk, struct wire_times *times, struct slice *body) {
    if (f->header.length < sizeof *times)
        return false;
    memcpy(times, f->inlined, sizeof *times);
    if (bulk->blob != NULL) {
        *body = slice_ref(bulk);
        return true;
    }
    struct blob *b = blob_copy(f->inlined + sizeof *times, f->header.length - sizeof *times);
    if (b == NULL)
        return false;
    *body = slice_all(b);
    return true;
}

static void add_times(struct job *job, enum task_kind kind, const struct wire_times *t) {
    struct record *r = job->record;
    if (kind == TASK_PLAN && r->type < METRICS_TYPES) {
        int64_t *lately = &job->js->type_cost_ns[r->type];
        *lately += ((int64_t)t->cpu_ns - *lately) / 8 + 1;
    }
    r->plan_ns += (int64_t)t->plan_ns;
    r->merge_ns += (int64_t)t->merge_ns;
    r->cpu_ns += (int64_t)t->cpu_ns;
}

static void on_part(struct job *job, uint32_t chunk, struct slice part, uint64_t items) {
    struct record *r = job->record;
    struct chunk *c = &job->chunks[chunk];
    c->part = part;
    c->done = true;
    r->chunks_done++;
    job->js->metrics->chunks[r->type]++;
    if (r->durable)
        job->js->store->ops->complete(job->js->store, &r->id, chunk, c->lost, &part);
    job_log_chunk(job, chunk, items);
    job_touch(job);
    if (r->chunks_done == r->chunks_total) {
        job->phase = PHASE_MERGE;
        job_enqueue(job);
    }
}

/* A whole result: of a merge, of a job of one chunk, or of a short job done in one go. */
static void on_result(struct job *job, enum task_kind kind, struct slice result, int64_t sent_ns) {
    struct record *r = job->record;
    if (kind == TASK_PLAN) {
        r->chunks_total = 1;
        job_started(job, sent_ns);
        job_planned(job);
    }
    if (job->stopping) {
        slice_deinit(&result);
        job_end_if_stopped(job);
        return;
    }
    if (kind != TASK_MERGE) {
        job->js->metrics->chunks[r->type]++;
        r->chunks_done = r->chunks_total;
    }
    if (kind == TASK_RUN && job->watchers > 0)
        job_log_chunk(job, 0, 0);
    job_succeed(job, result);
}

static bool on_done(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    struct wire_times times;
    struct slice body;
    if (t->kind == TASK_PLAN && job->input_is_json)
        return false; /* a type we do not know yet cannot have been run */
    if (!take_body(f, bulk, &times, &body))
        return false;
    bool whole = t->kind != TASK_RUN || merges_at_once(job);
    int64_t items = whole || !job->record->map ? 0 : items_count(&body, job->record->items);
    if (items < 0) {
        slice_deinit(&body);
        return false;
    }
    uint32_t chunk = t->chunk;
    enum task_kind kind = t->kind;
    int64_t sent_ns = t->sent_ns;
    add_times(job, t->kind, &times);
    task_free(t);
    if (whole)
        on_result(job, kind, body, sent_ns);
    else
        on_part(job, chunk, body, (uint64_t)items);
    return true;
}

/* ---- failures ------------------------------------------------------------------------------------------------------------ */

static bool is_submission_fault(enum problem_code code) {
    return code == PROBLEM_INVALID_PARAMS || code == PROBLEM_UNKNOWN_TYPE || code == PROBLEM_INVALID_JSON ||
           code == PROBLEM_DUPLICATE_KEY || code == PROBLEM_TOO_DEEP || code == PROBLEM_NOT_UTF8;
}

static bool on_failed(struct job *job, struct task *t, const struct wire_frame *f) {
    struct problem_fault fault;
    if (problem_read_fault(f->inlined, f->header.length, &fault) != 0) {
        problem_fault_deinit(&fault);
        return false;
    }
    job->rejected = t->kind == TASK_PLAN && is_submission_fault(fault.code) && !job->record->durable;
    task_free(t);
    job_stop(job, STOP_CANCEL, JOB_FAILED, fault.code, fault.detail, fault.members);
    return true;
}

void job_add_lost(struct job *job, const struct task *t, const char *cause, const struct death *d) {
    struct record *r = job->record;
    if (r->lost_count == RECORD_MAX_LOST)
        return;
    buf_puts(&r->lost, r->lost_count++ == 0 ? "{" : ",{");
    if (t != NULL && t->kind == TASK_RUN)
        buf_printf(&r->lost, "\"chunk\":%u,", t->chunk);
    buf_printf(&r->lost, "\"cause\":\"%s\"", cause);
    if (d != NULL && signal_name(d->signal) != NULL)
        buf_printf(&r->lost, ",\"signal\":\"%s\"", signal_name(d->signal));
    if (d != NULL && d->exit_code >= 0)
        buf_printf(&r->lost, ",\"exit_code\":%d", d->exit_code);
    if (d != NULL)
        buf_printf(&r->lost, ",\"max_rss_bytes\":%llu,\"cpu_ms\":%llu", (unsigned long long)d->max_rss_bytes,
                   (unsigned long long)d->cpu_ms);
    if (d != NULL && d->stderr_tail[0] != '\0') {
        size_t n = strlen(d->stderr_tail), skip = n > MAX_STDERR_SHOWN ? n - MAX_STDERR_SHOWN : 0;
        buf_puts(&r->lost, ",\"stderr_tail\":");
        buf_json_string(&r->lost, d->stderr_tail + skip, n - skip);
    }
    buf_putc(&r->lost, '}');
}

/* It stopped because we asked it to. */
static bool on_cancelled(struct job *job, struct task *t) {
    if (!job->stopping)
        return false;
    if (job->stop_reason == STOP_TIMEOUT)
        job_add_lost(job, t, "timeout", NULL);
    task_free(t);
    job_end_if_stopped(job);
    return true;
}

/* ---- callbacks of the pool --------------------------------------------------------------------------------------------------- */

/* A job that is stopping takes no results any more: it only waits for its tasks to be gone. */
static bool absorb(struct job *job, struct task *t) {
    task_free(t);
    job_end_if_stopped(job);
    return true;
}

/* The plan's run time is over; what comes next waits again. */
static void queue_again(struct job *job, struct task *t) {
    task_free(t);
    job->run_started_ns = 0;
    job_arm_timer(job);
    job_enqueue(job);
}

/* The worker that parsed the body does not know where webhooks may go. */
static bool refuse_webhook(struct job *job, struct task *t) {
    struct buf members = {0};
    size_t size;
    if (job->bad_webhook == NULL)
        return false;
    problem_put_error(&members, "/options/webhook", job->bad_webhook);
    job->rejected = !job->record->durable;
    task_free(t);
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_INVALID_PARAMS, strdup("/options/webhook cannot be used"),
             buf_steal(&members, &size));
    return true;
}

static bool on_plan(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    if (!on_planned(job, f, bulk))
        return false;
    if (refuse_webhook(job, t))
        return true;
    slice_deinit(&job->input);
    queue_again(job, t);
    job_planned(job);
    job_end_if_stopped(job);
    return true;
}

static bool on_submission(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    if (f->header.kind != WIRE_PARSED || !on_parsed(job, f, bulk))
        return false;
    if (refuse_webhook(job, t))
        return true;
    queue_again(job, t);
    return true;
}

static bool on_reply(void *arg, struct worker *w, void *work, const struct wire_frame *f, const struct slice *bulk) {
    struct task *t = work;
    struct job *job = t->job;
    (void)arg, (void)w;
    job->js->dirty = true;
    if (f->header.kind == WIRE_CANCELLED)
        return on_cancelled(job, t);
    if (job->stopping)
        return absorb(job, t);
    if (f->header.kind == WIRE_FAILED)
        return on_failed(job, t, f);
    if (f->header.kind == WIRE_DONE)
        return on_done(job, t, f, bulk);
    if (t->kind != TASK_PLAN)
        return false;
    return f->header.kind == WIRE_PLANNED ? on_plan(job, t, f, bulk) : on_submission(job, t, f, bulk);
}

static void fail_crashed(struct job *job, const struct death *d, unsigned lost) {
    char how[64], detail[160];
    const char *name = signal_name(d->signal);
    if (name != NULL)
        snprintf(how, sizeof how, "was killed by %s", name);
    else
        snprintf(how, sizeof how, "exited with status %d", d->exit_code);
    snprintf(detail, sizeof detail, "the worker %s (cause: %s), attempt %u of %lld", how, d->cause, lost,
             (long long)job->record->max_attempts);
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_WORKER_CRASHED, strdup(detail), NULL);
}

/* How often this piece of work was lost, this time included. */
static unsigned count_loss(struct job *job, const struct task *t) {
    if (t->kind == TASK_PLAN)
        return ++job->plan_lost;
    if (t->kind == TASK_MERGE)
        return ++job->merge_lost;
    return ++job->chunks[t->chunk].lost;
}

/* Makes the piece sendable again. */
static void requeue(struct job *job, const struct task *t) {
    if (t->kind == TASK_RUN)
        job->again[job->again_count++] = t->chunk;
}

/* The store counts as we do. */
static void record_loss(struct job *job, const struct task *t, unsigned lost) {
    struct store *s = job->js->store;
    if (!job->record->durable)
        return;
    if (t->kind == TASK_RUN)
        s->ops->lost(s, job->record, t->chunk, lost);
    else
        s->ops->update(s, job->record);
}

static void log_retry(const struct job *job, const struct task *t, const struct death *d) {
    char id[ID_TEXT_SIZE];
    id_format(&job->record->id, id);
    LOG(LOG_WARN, "work_lost", LOG_STR("job", id), LOG_INT("chunk", t->kind == TASK_RUN ? (int64_t)t->chunk : -1),
        LOG_INT("worker", t->worker->slot), LOG_STR("cause", d->cause), LOG_INT("attempts", job->record->attempts),
        LOG_STR("trace", job->record->trace));
}

/* The piece that the worker died at. */
static void on_guilty(struct job *job, struct task *t, const struct death *d) {
    unsigned lost = count_loss(job, t);
    job->record->attempts++;
    job_add_lost(job, t, d->cause, d);
    job_touch(job);
    record_loss(job, t, lost);
    log_retry(job, t, d);
    if (strcmp(d->cause, "memory") == 0) {
        task_free(t);
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_MEMORY_LIMIT, NULL, NULL);
        return;
    }
    bool give_up = lost >= job->record->max_attempts;
    if (!give_up) {
        if (!job_pause(job, t->kind == TASK_RUN ? t->chunk : NO_CHUNK, lost))
            requeue(job, t);
        metrics_count(job->js->metrics->chunk_retries, 16, d->cause);
    }
    task_free(t);
    if (give_up)
        fail_crashed(job, d, lost);
    else
        job_enqueue(job);
}

static void on_lost(void *arg, struct worker *w, void *work, bool guilty, const struct death *d) {
    struct task *t = work;
    struct job *job = t->job;
    (void)arg, (void)w;
    job->js->dirty = true;
    if (job->stopping) {
        if (job->stop_reason == STOP_TIMEOUT)
            job_add_lost(job, t, "timeout", d);
        absorb(job, t);
        return;
    }
    if (t->kind == TASK_PLAN) { /* it is queued still */
        job->run_started_ns = 0;
        job_arm_timer(job);
    }
    if (guilty) {
        on_guilty(job, t, d);
        return;
    }
    requeue(job, t);
    task_free(t);
    job_enqueue(job);
}

/* A worker of its own is gone. If that could not even load its handler, the job's next piece is lost as if it had had it. */
static void on_vacated(void *arg, struct worker *w, void *owner, const struct death *start) {
    struct job *job = owner;
    struct task *t = NULL;
    job->kept_workers--;
    ((struct jobs *)arg)->dirty = true;
    if (job->stopping)
        return;
    if (start != NULL && job_count_units(job) > 0)
        t = take_unit(job, w);
    if (t != NULL)
        on_guilty(job, t, start);
    else if (!job->sched.queued)
        job_enqueue(job);
}

static void on_drained(void *arg, struct worker *w) {
    struct jobs *js = arg;
    struct task *t = js->feeding[w->slot];
    if (t != NULL && feed_merge(t->job, t)) {
        js->dirty = true;
        if (t->job->stopping && !pool_stop_work(w, t->ticket, t->job->stop_reason))
            absorb(t->job, t);
    }
    pool_flush(w);
}

static void on_changed(void *arg) {
    ((struct jobs *)arg)->dirty = true;
}

static void on_restarted(void *arg, const char *cause) {
    metrics_count(((struct jobs *)arg)->metrics->worker_restarts, 16, cause);
}

struct pool_events jobs_pool_events(struct jobs *js) {
    return (struct pool_events){.arg = js, .reply = on_reply, .lost = on_lost, .restarted = on_restarted,
                                .vacated = on_vacated, .drained = on_drained, .changed = on_changed};
}

void jobs_set_pool(struct jobs *js, struct pool *pool) {
    js->pool = pool;
    js->feeding = calloc(pool_size(pool), sizeof *js->feeding);
    js->short_turn = calloc(pool_size(pool), sizeof *js->short_turn);
    js->load_ns = calloc(pool_size(pool), sizeof *js->load_ns);
    js->long_due_ns = calloc(pool_size(pool), sizeof *js->long_due_ns);
    if (js->feeding == NULL || js->short_turn == NULL || js->load_ns == NULL || js->long_due_ns == NULL)
        abort(); /* at start-up, some bytes */
}
