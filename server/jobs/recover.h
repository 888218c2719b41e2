/* recover.h: how jobs go from one process to the next; see also jobs_recover and jobs_drain in jobs.h. Front end. */
#ifndef OFFLOAD_JOBS_RECOVER_H
#define OFFLOAD_JOBS_RECOVER_H

#include "server/jobs/job.h"

/* During a drain: a job that only waits (for its delay, its backoff or a slow reader) is left to the next process at
 * once, if the store has it, or one of its waiters now has it stored. Call it when a task of the job is gone. Can free
 * the job. */
void recover_park_waiting(struct job *job);
/* The process ends: durable jobs that still run are queued in the store again. */
void recover_park_all(struct jobs *js);

#endif
