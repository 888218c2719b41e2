/* history.h: what writes the history of a job; see jobs.h for the history and its readers. Front end. */
#ifndef OFFLOAD_JOBS_HISTORY_H
#define OFFLOAD_JOBS_HISTORY_H

#include "server/jobs/job.h"

/* A chunk is finished; items: how many its part has. If memory runs out, readers find the history broken. */
void history_chunk(struct job *job, uint32_t chunk, uint64_t items);
/* The job is about to be freed, and its chunks are still there: the history takes over those that somebody still reads. */
void history_end(struct job *job);

#endif
