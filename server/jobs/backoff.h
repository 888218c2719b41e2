/* backoff.h: the time before a task that was lost with its worker is tried again. Without it, a task that kills its
 * worker each time would keep the pool busy with replacing workers. Front end.
 *
 * After the k-th loss of a chunk, plan or merge the backoff is --retry-delay * 2^(k-1), at most --max-retry-delay,
 * times a random factor of 1/2 to 1. The factor is there so that tasks that were lost together do not come back
 * together. The other chunks of the job go on.
 *
 * A task of a durable job also backs off until the store has recorded the loss, or has said that it cannot. Otherwise
 * the daemon could die before that, and the next one would not know of the loss. */
#ifndef OFFLOAD_JOBS_BACKOFF_H
#define OFFLOAD_JOBS_BACKOFF_H

#include "server/jobs/job.h"

/* A task was lost for the lost-th time; chunk: NO_CHUNK for the plan or the merge. True: it backs off, and becomes
 * runnable by itself; if the job is durable, only after job_backoff_recorded. False: there is no backoff, or no memory for
 * it, so the caller makes the task runnable at once. */
bool job_back_off(struct job *job, uint32_t chunk, unsigned lost);
/* The loss of that task is recorded, or the store cannot record it. No effect if it does not back off. */
void job_backoff_recorded(struct job *job, uint32_t chunk);
void job_clear_backoffs(struct job *job); /* no effect if there are none */
/* When the first backoff is due, monotonic ns; 0: there is none. */
int64_t job_backoff_until_ns(const struct job *job);

#endif
