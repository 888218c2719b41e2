/* lost.h: what the Job document says of lost attempts (`lost`), which were lost with a worker or with a daemon; and how
 * often each chunk, the plan and the merge were lost, in the store. Front end. */
#ifndef OFFLOAD_JOBS_LOST_H
#define OFFLOAD_JOBS_LOST_H

#include "server/jobs/job.h"

/* Adds one to the record's `lost`; no effect if it has RECORD_MAX_LOST already. cause: as in struct death, or
 * "restart". t, d: the task, and how its worker died; NULL: not known. */
void lost_add(struct job *job, const struct task *t, const char *cause, const struct death *d);

/* Has the store record how often that was lost, and which of its items are poison. chunk: its index, or STORE_PLAN, or
 * STORE_MERGE. backs_off: it backs off, and job_backoff_recorded is called when the store has answered. Only for a
 * durable job. */
void lost_record(struct job *job, uint32_t chunk, bool backs_off);
/* The job has become durable: the same for all that was lost before. */
void lost_record_all(struct job *job);

#endif
