/* history.c: see history.h, and jobs.h. Front end. While the job lives its parts stay in its chunks. When it ends the
 * history takes them over, if somebody is still reading. */
#include "server/jobs/history.h"

#include <stdlib.h>

#include "base/array.h"

struct history_entry {
    uint64_t event; /* the number of its first event */
    uint32_t chunk;
};

struct history {
    int refs;
    struct job *job; /* NULL when it has ended */
    struct history_entry *entries;
    size_t count, room;
    uint64_t events;     /* the highest number given */
    uint64_t bytes;      /* of the parts of all entries */
    struct slice *parts; /* by entry, once the job has ended: what somebody can still read; else NULL */
    bool broken;         /* memory ran out: entries are missing */
};

static struct history *history_of(struct job *job) {
    if (job->history != NULL)
        return job->history;
    struct history *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->refs = 1;
    h->job = job;
    h->events = HISTORY_FIRST - 1;
    job->history = h;
    return h;
}

struct history *history_open(struct job *job) {
    struct history *h = history_of(job);
    if (h == NULL)
        return NULL;
    h->broken = h->broken || h->count != job->record->chunks_done;
    h->refs++;
    return h;
}

void history_close(struct history *h) {
    if (h == NULL || --h->refs > 0)
        return;
    for (size_t i = 0; h->parts != NULL && i < h->count; i++)
        slice_deinit(&h->parts[i]);
    free(h->parts);
    free(h->entries);
    free(h);
}

uint32_t history_count(const struct history *h) {
    return (uint32_t)h->count;
}

uint64_t history_event(const struct history *h, uint32_t entry) {
    return h->entries[entry].event;
}

uint64_t history_last_event(const struct history *h) {
    return h->events;
}

uint64_t history_bytes(const struct history *h) {
    return h->bytes;
}

bool history_is_broken(const struct history *h) {
    return h->broken;
}

struct slice history_part(const struct history *h, uint32_t entry) {
    if (h->job != NULL)
        return h->job->chunks[h->entries[entry].chunk].part;
    static const struct slice none;
    return h->parts == NULL ? none : h->parts[entry];
}

void history_drop_part(struct history *h, uint32_t entry) {
    if (h->parts != NULL && h->refs == 1)
        slice_deinit(&h->parts[entry]);
}

void history_chunk(struct job *job, uint32_t chunk, uint64_t items) {
    struct history *h = history_of(job);
    if (h == NULL)
        return; /* history_open will notice that an entry is missing */
    if (GROW_ARRAY(&h->entries, h->count, &h->room) != 0) {
        h->broken = true;
        return;
    }
    h->entries[h->count++] = (struct history_entry){h->events + 1, chunk};
    h->events += items + 1;
    h->bytes += job->chunks[chunk].part.size;
}

void history_end(struct job *job) {
    struct history *h = job->history;
    if (h == NULL)
        return;
    bool wanted = h->refs > 1 && h->count > 0 && job->record->map;
    h->parts = wanted ? calloc(h->count, sizeof *h->parts) : NULL;
    h->broken = h->broken || (wanted && h->parts == NULL);
    for (size_t i = 0; h->parts != NULL && i < h->count; i++) {
        struct slice *part = &job->chunks[h->entries[i].chunk].part;
        h->parts[i] = *part;
        *part = (struct slice){0};
    }
    h->job = NULL;
    job->history = NULL;
    history_close(h);
}
