/* poison.c: see poison.h. Front end. */
#include "server/jobs/poison.h"

#include <stdlib.h>

uint32_t job_count_poison(const struct job *job, uint32_t chunk) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < job->poison_count; i++)
        count += job->poison[i].chunk == chunk;
    return count;
}

uint64_t job_allowed_losses(const struct job *job, uint32_t chunk) {
    return (uint64_t)job->record->options.max_attempts * (1 + job_count_poison(job, chunk));
}

static bool is_known(const struct job *job, const struct poison_item *item) {
    for (uint32_t i = 0; i < job->poison_count; i++)
        if (job->poison[i].chunk == item->chunk && job->poison[i].place == item->place)
            return true;
    return false;
}

/* As workers and the store have it. */
static uint32_t packed(const struct poison_item *item) {
    return item->place | (item->by_memory ? HOST_POISON_MEMORY : 0);
}

static bool add(struct job *job, uint32_t chunk, uint64_t place, bool by_memory) {
    struct poison_item item = {chunk, (uint32_t)place, by_memory};
    /* A known poison item is not run, so something else has killed the worker. */
    if (place >= job->record->items || is_known(job, &item) || job_count_poison(job, chunk) == HOST_MAX_POISON)
        return false;
    struct poison_item *more = realloc(job->poison, (job->poison_count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    job->poison = more;
    job->poison[job->poison_count++] = item;
    return true;
}

bool job_add_poison(struct job *job, const struct task *t, uint64_t steps, bool by_memory) {
    if (!job->record->map || t->kind != TASK_RUN)
        return false;
    return add(job, t->chunk, steps / HOST_ITEM_STEPS, by_memory);
}

bool job_restore_poison(struct job *job, uint32_t chunk, uint32_t place) {
    return job->record->map && add(job, chunk, place & ~HOST_POISON_MEMORY, (place & HOST_POISON_MEMORY) != 0);
}

uint32_t job_poison_places(const struct job *job, uint32_t chunk, uint32_t places[HOST_MAX_POISON]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < job->poison_count && count < HOST_MAX_POISON; i++)
        if (job->poison[i].chunk == chunk)
            places[count++] = packed(&job->poison[i]);
    return count;
}

void job_put_poison(const struct job *job, uint32_t chunk, struct buf *out) {
    static const char zeros[8];
    uint32_t front[2] = {job_count_poison(job, chunk) * (uint32_t)sizeof(uint32_t), 0};
    buf_append(out, front, sizeof front);
    for (uint32_t i = 0; i < job->poison_count; i++) {
        if (job->poison[i].chunk == chunk) {
            uint32_t place = packed(&job->poison[i]);
            buf_append(out, &place, sizeof place);
        }
    }
    buf_append(out, zeros, WIRE_PAD(front[0]) - front[0]);
}
