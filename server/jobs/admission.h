/* admission.h: whether a job can still start within its queue_timeout_ms. A job that cannot is refused as soon as it is
 * planned, instead of being kept until its time is up. Front end.
 *
 * Only what was measured counts. The handlers say what their chunks cost; here it is seen by how much they are wrong, for
 * each type, and the lowest of the last factors is taken. So what is computed is a time before which the job does not
 * start, and a job that could start in time is not refused. A type counts for nothing before a few of its chunks have
 * run, and nothing is refused while a worker is idle. */
#ifndef OFFLOAD_JOBS_ADMISSION_H
#define OFFLOAD_JOBS_ADMISSION_H

#include "server/jobs/job.h"

/* The chunk has run for that long. */
void admission_note(struct job *job, uint32_t chunk, uint64_t run_ns);
/* How long the chunk will run at least, ns; 0: not known. */
int64_t admission_known_ns(const struct job *job, uint32_t chunk);

/* The job waits for a worker of the main lane, with a chunk that takes at least known_ns; and it waits no more. */
void admission_add(struct job *job, int64_t known_ns);
void admission_remove(struct job *job); /* no effect if it does not wait */

/* How long after its queue_timeout_ms the job would start at the earliest, ns; 0: perhaps in time. For a job that
 * is planned, waits for a main worker, and is not in the scheduler yet. */
int64_t admission_late_ns(const struct job *job);

#endif
