/* lost.h: what the Job document says of lost attempts (`lost`). They were lost with a worker, or with a daemon. Front
 * end. */
#ifndef OFFLOAD_JOBS_LOST_H
#define OFFLOAD_JOBS_LOST_H

#include "server/jobs/job.h"

/* Adds one to the record's `lost`; no effect if it has RECORD_MAX_LOST already. cause: as in struct death, or
 * "restart". t, d: the task, and how its worker died; NULL: not known. */
void lost_add(struct job *job, const struct task *t, const char *cause, const struct death *d);

#endif
