/* delayed.h: the jobs that wait for their time (`delay_ms`), and which of them is due first. They do not count towards
 * --max-queue until they are due, but have a bound of their own, --max-delayed. Front end. */
#ifndef OFFLOAD_JOBS_DELAYED_H
#define OFFLOAD_JOBS_DELAYED_H

#include "base/attributes.h"
#include "server/jobs/job.h"

/* The job is delayed until job->due_ns. False: memory ran out, and the job counts towards the queue. */
MUST_CHECK bool delayed_add(struct job *job);
/* It is delayed no longer, or leaves the live table. No effect if it is not among the delayed. */
void delayed_remove(struct job *job);
/* When the first of them is due, monotonic ns; 0: none is delayed. */
int64_t delayed_first_due_ns(const struct jobs *js);

#endif
