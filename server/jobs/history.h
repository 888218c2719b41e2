/* history.h: how the history of a job is written. jobs.h says what it is, and has the functions of its readers. Front
 * end. */
#ifndef OFFLOAD_JOBS_HISTORY_H
#define OFFLOAD_JOBS_HISTORY_H

#include "server/jobs/job.h"

/* A chunk is finished, and its part has that many items. If memory runs out, the history is broken. */
void history_chunk(struct job *job, uint32_t chunk, uint64_t items);
/* Call it just before the chunks of a job are freed: if somebody still reads a map, the history takes over the
 * parts. */
void history_end(struct job *job);

#endif
