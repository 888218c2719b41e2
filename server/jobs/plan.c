/* plan.c: see plan.h. Front end. */
#include "server/jobs/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/jobs/attached.h"
#include "server/jobs/options.h"

/* What a chunk needs without its payloads: its entry here, in `again`, and in the history. */
#define CHUNK_BYTES (sizeof(struct chunk) + sizeof(uint32_t) + 2 * sizeof(uint64_t))
#define MAX_COST_NS (1000000 * (uint64_t)NS_PER_S) /* of one chunk; so sums stay far from overflow */

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Where in a plan the submission starts. */
static size_t plan_submission(const struct wire_plan *head) {
    return sizeof *head + head->chunks * sizeof(struct wire_chunk) + WIRE_PAD(head->common_size);
}

/* Where the bytes of the chunks start. */
static size_t plan_front(const struct wire_plan *head) {
    return plan_submission(head) + WIRE_PAD(head->submission_size);
}

/* Checks that the head makes sense, and that the plan is large enough for what it announces. */
static bool read_plan_head(struct job *job, const struct slice *plan, struct wire_plan *head) {
    if (plan->size < sizeof *head || slice_read(plan, 0, head, sizeof *head) != 0)
        return false;
    if (head->chunks == 0 || head->chunks > HANDLER_MAX_CHUNKS || head->common_size > HANDLER_MAX_COMMON)
        return false;
    /* If it was not parsed here a worker has parsed it, maybe for an earlier process. */
    bool parsed_here = !job->input_is_raw && job->input.blob != NULL;
    if (head->submission_size > (parsed_here ? 0 : HOST_MAX_SUBMISSION))
        return false;
    if (head->type >= host_count() || ((!job->input_is_raw || job->input_is_params) && head->type != job->record->type))
        return false;
    return plan->size >= plan_front(head);
}

/* The plan of a single chunk is not worth it, but for a map: its poison items are places in this plan. One that has made
 * attachments is of no use without them, and these are not stored. */
bool plan_is_stored(const struct job *job) {
    return (job->record->chunks_total > 1 || job->record->map) && !attached_has_made(job);
}

/* Keeps the plan. Of a small plan with one chunk it keeps only that chunk, because most jobs in a long queue have such
 * a plan. Whether a raw body has a map is not known yet. */
static bool keep_bytes(struct job *job, const struct slice *plan, const struct wire_plan *head) {
    size_t front = plan_front(head);
    struct wire_chunk *only = &job->chunks[0].plan;
    if (head->chunks > 1 || plan->blob->fd >= 0 || job->record->map || job->input_is_raw) {
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
    return slice_read(plan, sizeof *head + head->chunks * sizeof(struct wire_chunk), job->common + sizeof front,
                      padded) == 0;
}

/* What a worker found in a raw body; it has at most HOST_MAX_SUBMISSION bytes. */
static bool take_parsed(struct job *job, const struct slice *plan, const struct wire_plan *h) {
    _Alignas(8) unsigned char bytes[HOST_MAX_SUBMISSION];
    struct submission s;
    if (slice_read(plan, plan_submission(h), bytes, h->submission_size) != 0 ||
        !host_read_submission((struct bytes){bytes, h->submission_size}, &s, job->request_hash))
        return false;
    bool ok = s.type == h->type && options_apply_parsed(job, &s.options);
    if (ok) {
        job->record->type = s.type;
        job->record->map = s.map;
        job->record->items = s.items;
        attached_settle(job);
        job_index(job);
        job_hold(job, options_text_size(&job->record->options));
    }
    submission_deinit(&s);
    return ok;
}

/* What the worker says that it has spent. */
static void add_cpu(struct job *job, const struct wire_plan *head) {
    uint64_t most = (uint64_t)(WIRE_MAX_TIME_NS - job->record->cpu_ns);
    job->record->cpu_ns += (int64_t)(head->cpu_ns < most ? head->cpu_ns : most);
}

bool plan_take(struct job *job, const struct slice *plan) {
    struct wire_plan head;
    bool ok = read_plan_head(job, plan, &head) && read_common(job, plan, &head) && read_chunks(job, plan, &head) &&
              (!job->input_is_raw || take_parsed(job, plan, &head));
    if (!ok) {
        free(job->chunks);
        free(job->common);
        job->chunks = NULL;
        job->again = NULL;
        job->common = NULL;
        slice_deinit(&job->plan);
        slice_deinit(&job->chunk_bytes);
        return false;
    }
    job_hold(job, head.chunks * CHUNK_BYTES + job->common_size);
    job->record->chunks_total = head.chunks;
    job->record->plan_ns = (int64_t)(head.plan_ns < WIRE_MAX_TIME_NS ? head.plan_ns : WIRE_MAX_TIME_NS);
    add_cpu(job, &head);
    job_enter_phase(job, PHASE_CHUNKS);
    return true;
}

bool plan_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk) {
    const struct slice none = {NULL, 0, 0};
    struct slice plan = wire_payload(f, bulk, 0);
    int64_t before_ns = job->record->cpu_ns;
    bool ok = plan.blob != NULL && f->header.attachments == job->attachments.count - job->attachments_known &&
              plan_take(job, &plan);
    slice_deinit(&plan);
    struct record *r = job->record;
    job_charge(job, r->cpu_ns - before_ns); /* a plan from the store was charged by the process before */
    if (ok && r->durable)
        job->js->store->ops->plan(job->js->store, r, plan_is_stored(job) ? &job->plan : &none);
    return ok;
}

bool plan_submission_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk) {
    struct wire_plan head;
    struct slice reply = wire_payload(f, bulk, 0);
    bool ok = reply.blob != NULL && job->input_is_raw &&
              f->header.attachments == job->attachments.count - job->attachments_known &&
              slice_read(&reply, 0, &head, sizeof head) == 0 && head.chunks == 0 && head.common_size == 0 &&
              head.submission_size <= HOST_MAX_SUBMISSION && reply.size >= plan_front(&head) &&
              head.type < host_count() && !host_is_hidden(head.type) && take_parsed(job, &reply, &head);
    if (ok) {
        slice_deinit(&job->input);
        job->input = slice_part(&reply, plan_front(&head), reply.size - plan_front(&head));
        job->input_is_raw = false;
        job->attachments_known = job->attachments.count;
        int64_t before_ns = job->record->cpu_ns;
        add_cpu(job, &head);
        job_charge(job, job->record->cpu_ns - before_ns);
    }
    slice_deinit(&reply);
    return ok;
}

int64_t job_count_items(const struct job *job, const struct slice *part) {
    if (!job->record->map || part->size == 0)
        return 0;
    const unsigned char *bytes = slice_map(part);
    if (bytes == NULL)
        return -1;
    int64_t count = host_count_items((struct bytes){bytes, part->size}, job->record->items);
    slice_unmap(part, bytes);
    return count;
}
