/* job_log.h: the chunks of a job that are finished, in the order in which they were. All streams about a job are made from
 * this and its record while they are read; nothing is rendered in advance. Shared by counted reference: a reader may be
 * behind when the job has ended. Front end.
 *
 * What a stream of events tells has numbers, the same for every reader:
 *
 *     1 queued   2 running   3.. for each finished chunk: its items, if it is a map job, then the progress
 */
#ifndef OFFLOAD_JOB_LOG_H
#define OFFLOAD_JOB_LOG_H

#include <stdint.h>

#include "pool/blob.h"

struct job;

enum { JOB_LOG_QUEUED = 1, JOB_LOG_RUNNING, JOB_LOG_FIRST };

struct job_log_entry {
    uint64_t event; /* the number of its first */
    uint32_t chunk;
};

struct job_log {
    int refs;
    struct job *job; /* NULL when it has ended */
    struct job_log_entry *entries;
    uint32_t count, room;
    uint64_t events;     /* the highest number given */
    uint64_t bytes;      /* of the parts of all entries */
    struct slice *parts; /* by entry: what is left to read of a job that has ended; NULL while it lives */
    bool broken;         /* memory ran out: entries are missing */
};

/* ---- for readers ---- */

/* The job's log: a reference. NULL if memory ran out. */
struct job_log *job_log_open(struct job *job);
void job_log_close(struct job_log *log); /* NULL is allowed */
/* The part that a chunk gave, borrowed; empty if it is not kept. */
struct slice job_log_part(const struct job_log *log, uint32_t entry);
/* The reader is done with it. If it is the last one the memory is freed, once the job has ended. */
void job_log_drop_part(struct job_log *log, uint32_t entry);

/* ---- for jobs.c and replies.c ---- */

void job_log_chunk(struct job *job, uint32_t chunk, uint64_t items);
void job_log_end(struct job *job); /* the job is about to be freed, its chunks are not yet */

#endif
