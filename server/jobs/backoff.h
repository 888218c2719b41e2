/* backoff.h: the time before a task that was lost with its worker is tried again, so that what kills its workers every time
 * does not keep the pool busy with replacing them. Front end.
 *
 * After the k-th loss of a chunk (or of the plan, or the merge) it is --retry-delay * 2^(k-1), at most
 * --max-retry-delay, times a random factor of 1/2 to 1, so that tasks that were lost together do not come back
 * together. The job's other chunks go on. */
#ifndef OFFLOAD_JOBS_BACKOFF_H
#define OFFLOAD_JOBS_BACKOFF_H

#include "server/jobs/queue.h"

/* A task was lost for the lost-th time; chunk: NO_CHUNK for the plan or the merge. True if it has to wait: then it becomes
 * runnable by itself. False: it can be tried at once. */
bool job_back_off(struct job *job, uint32_t chunk, unsigned lost);
void job_clear_backoffs(struct job *job);
/* When the first of them is due, monotonic; 0: there is none. */
int64_t job_backoff_until_ns(const struct job *job);

#endif
