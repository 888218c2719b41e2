/* job_log.c: see job_log.h. Front end. While the job lives its parts stay with its chunks; when it ends the log takes
 * them over if anybody is still reading. */
#include "server/jobs/log.h"

#include <stdlib.h>

#include "server/jobs/private.h"

#define FIRST_ROOM 16

static struct job_log *log_of(struct job *job) {
    if (job->log != NULL)
        return job->log;
    struct job_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->refs = 1;
    log->job = job;
    log->events = JOB_LOG_FIRST - 1;
    job->log = log;
    return log;
}

struct job_log *job_log_open(struct job *job) {
    struct job_log *log = log_of(job);
    if (log == NULL)
        return NULL;
    log->broken = log->broken || log->count != job->record->chunks_done;
    log->refs++;
    return log;
}

void job_log_close(struct job_log *log) {
    if (log == NULL || --log->refs > 0)
        return;
    for (uint32_t i = 0; log->parts != NULL && i < log->count; i++)
        slice_deinit(&log->parts[i]);
    free(log->parts);
    free(log->entries);
    free(log);
}

struct slice job_log_part(const struct job_log *log, uint32_t entry) {
    if (log->job != NULL)
        return log->job->chunks[log->entries[entry].chunk].part;
    static const struct slice none;
    return log->parts == NULL ? none : log->parts[entry];
}

void job_log_drop_part(struct job_log *log, uint32_t entry) {
    if (log->parts != NULL && log->refs == 1)
        slice_deinit(&log->parts[entry]);
}

static bool make_room(struct job_log *log) {
    if (log->count < log->room)
        return true;
    uint32_t room = log->room == 0 ? FIRST_ROOM : 2 * log->room;
    struct job_log_entry *more = realloc(log->entries, room * sizeof *more);
    if (more == NULL)
        return false;
    log->entries = more;
    log->room = room;
    return true;
}

void job_log_chunk(struct job *job, uint32_t chunk, uint64_t items) {
    struct job_log *log = log_of(job);
    if (log == NULL)
        return; /* a later reader finds that it is not there */
    if (!make_room(log)) {
        log->broken = true;
        return;
    }
    log->entries[log->count++] = (struct job_log_entry){log->events + 1, chunk};
    log->events += items + 1;
    log->bytes += job->chunks[chunk].part.size;
}

static void take_parts(struct job_log *log, struct job *job) {
    log->parts = calloc(log->count, sizeof *log->parts);
    if (log->parts == NULL) {
        log->broken = true;
        return;
    }
    for (uint32_t i = 0; i < log->count; i++) {
        struct slice *part = &job->chunks[log->entries[i].chunk].part;
        log->parts[i] = *part;
        *part = (struct slice){0};
    }
}

void job_log_end(struct job *job) {
    struct job_log *log = job->log;
    if (log == NULL)
        return;
    if (log->refs > 1 && log->count > 0 && job->record->map)
        take_parts(log, job);
    log->job = NULL;
    job->log = NULL;
    job_log_close(log);
}
