/* regroup.c: see regroup.h. Front end.
 *
 * The groups that follow each other in the plan lie behind each other in memory, so a cut needs no copy: only the table
 * of the chunks changes, from next_chunk on. What was sent keeps its number. */
#include "server/jobs/regroup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MOST_BYTES   (4 * 1024 * 1024) /* that are looked at in one go, so that the event loop is not held up */
#define LONG_ENOUGH  (20 * NS_PER_MS)  /* a group that takes from here ... */
#define SHORT_ENOUGH (50 * NS_PER_MS)  /* ... to here is good */

void regroup_note(struct job *job, uint32_t chunk, uint64_t run_ns) {
    bool was_cut = job->cut_rate > 0 && chunk >= job->cut_from;
    job->estimated_ns += (double)job->chunks[chunk].plan.cost_ns / (was_cut ? job->cut_rate : 1);
    job->measured_ns += (double)run_ns;
}

/* How many groups, from next_chunk on, lie behind each other within MOST_BYTES. */
static uint32_t count_tail(const struct job *job, size_t *size) {
    uint32_t i = job->next_chunk, total = job->record->chunks_total;
    *size = 0;
    while (i < total) {
        const struct wire_chunk *c = &job->chunks[i].plan;
        if (c->offset != job->chunks[job->next_chunk].plan.offset + *size || c->size > MOST_BYTES - *size)
            break;
        *size += (size_t)c->size;
        i++;
    }
    return i - job->next_chunk;
}

static bool is_due(const struct job *job) {
    const struct record *r = job->record;
    if (!r->map || r->options.chunks > 0 || job->again_count > 0 || job->estimated_ns <= 0 || job->measured_ns <= 0 ||
        job->next_chunk < job->regrouped || job->next_chunk >= r->chunks_total)
        return false;
    /* The plan of a stored job is written again with each cut. */
    return !r->durable || job->plan.blob == NULL || job->plan.size <= MOST_BYTES;
}

/* Puts that many groups in the place of the tail. False: memory ran out. */
static bool resize(struct job *job, uint32_t tail, uint32_t groups) {
    struct record *r = job->record;
    uint32_t total = r->chunks_total - tail + groups, behind = job->next_chunk + tail;
    struct chunk *chunks = calloc(total, sizeof *chunks + sizeof *job->again);
    if (chunks == NULL)
        return false;
    memcpy(chunks, job->chunks, job->next_chunk * sizeof *chunks);
    memcpy(chunks + job->next_chunk + groups, job->chunks + behind, (r->chunks_total - behind) * sizeof *chunks);
    free(job->chunks);
    job->chunks = chunks;
    job->again = (uint32_t *)(void *)(chunks + total);
    r->chunks_total = total;
    return true;
}

bool regroup_write_plan(struct job *job) {
    const struct record *r = job->record;
    struct wire_plan head;
    struct buf front = {0};
    if (!job->plan_is_stale)
        return true;
    if (slice_read(&job->plan, 0, &head, sizeof head) != 0)
        return false;
    head.chunks = r->chunks_total;
    head.submission_size = 0; /* what it says is in the record by now */
    buf_append(&front, &head, sizeof head);
    for (uint32_t i = 0; i < r->chunks_total; i++)
        buf_append(&front, &job->chunks[i].plan, sizeof job->chunks[i].plan);
    buf_append(&front, job->common + 2 * sizeof(uint32_t), job->common_size - 2 * sizeof(uint32_t));
    const unsigned char *bytes = slice_map(&job->chunk_bytes);
    int fd = bytes == NULL || front.failed ? -1 : memfd_new("offload-plan");
    struct blob *b = NULL;
    if (fd >= 0 && memfd_write(fd, front.data, front.size) == 0 && memfd_write(fd, bytes, job->chunk_bytes.size) == 0)
        b = blob_seal(fd, front.size + job->chunk_bytes.size);
    else if (fd >= 0)
        close(fd);
    if (bytes != NULL)
        slice_unmap(&job->chunk_bytes, bytes);
    if (b != NULL) {
        slice_deinit(&job->plan);
        slice_deinit(&job->chunk_bytes);
        job->plan = slice_all(b);
        job->chunk_bytes = slice_part(&job->plan, front.size, b->size - front.size);
        job->plan_is_stale = false;
    }
    buf_deinit(&front);
    return b != NULL;
}

static void cut(struct job *job, uint32_t tail, size_t size, double rate) {
    size_t room = HANDLER_MAX_CHUNKS - (job->record->chunks_total - tail), count = 0;
    struct host_plan_chunk *groups = room < 2 ? NULL : calloc(room, sizeof *groups);
    uint64_t start = job->chunks[job->next_chunk].plan.offset;
    struct slice bytes = slice_part(&job->chunk_bytes, (size_t)start, size);
    const unsigned char *mapped = slice_map(&bytes);
    if (groups != NULL && mapped != NULL)
        count = host_regroup((struct bytes){mapped, size}, rate, groups, room);
    if (mapped != NULL)
        slice_unmap(&bytes, mapped);
    slice_deinit(&bytes);
    if (count > 0 && resize(job, tail, (uint32_t)count)) {
        for (size_t i = 0; i < count; i++) {
            struct chunk *c = &job->chunks[job->next_chunk + i];
            *c = (struct chunk){.lost = job->plan_lost};
            c->plan.offset = start + groups[i].offset;
            c->plan.size = groups[i].size;
            c->plan.cost_ns = groups[i].cost_ns;
            c->plan.attachment_first = groups[i].attachment_first;
            c->plan.attachment_count = groups[i].attachment_count;
        }
        job->regrouped = job->next_chunk + (uint32_t)count;
        job->plan_is_stale = true;
        job->estimated_ns = job->measured_ns = 0;
        job->cut_rate = rate;
        job->cut_from = job->next_chunk;
    }
    free(groups);
}

bool regroup_if_due(struct job *job) {
    size_t size;
    if (!is_due(job))
        return false;
    uint32_t tail = count_tail(job, &size);
    double rate = job->measured_ns / job->estimated_ns;
    double first_ns = (double)job->chunks[job->next_chunk].plan.cost_ns * rate; /* it was not cut yet */
    job->regrouped = job->next_chunk + (tail > 0 ? tail : 1);
    if (tail == 0 || (first_ns >= (double)LONG_ENOUGH && first_ns <= (double)SHORT_ENOUGH))
        return false;
    cut(job, tail, size, rate);
    if (!job->plan_is_stale)
        return false;
    if (job->record->durable && regroup_write_plan(job))
        job->js->store->ops->plan(job->js->store, job->record, &job->plan);
    return true;
}
