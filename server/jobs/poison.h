/* poison.h: items of a map that kill the worker that runs them. When a group of items was lost as often as max_attempts
 * allows, the item at which its worker died, by the scoreboard, fails, and the others of the group are tried again
 * without it: one poison item fails alone. Front end. They are not kept over a restart, which tries them anew. */
#ifndef OFFLOAD_JOBS_POISON_H
#define OFFLOAD_JOBS_POISON_H

#include "server/jobs/job.h"

/* The attempts of the task's chunk are used up. True: it was a map's, and the item at which the worker died is poison. */
bool job_gives_up_item(struct job *job, const struct task *t);
uint32_t job_count_poison(const struct job *job, uint32_t chunk); /* items of that chunk */
/* Writes those of a chunk as WIRE_RUN wants them in place of common: u32 size, zeros, the places (u32 each), padding. */
void job_put_poison(const struct job *job, uint32_t chunk, struct buf *out);

#endif
