/* lost.h: attempts that were lost, with a worker or with a daemon: what the Job says of them. Front end. */
#ifndef OFFLOAD_JOBS_LOST_H
#define OFFLOAD_JOBS_LOST_H

#include "server/jobs/job.h"

/* Adds one to the record's `lost`, unless that has RECORD_MAX_LOST of them. cause: as in struct death, or "restart". t, d:
 * the task and how its worker died; NULL if that is not known. */
void lost_add(struct job *job, const struct task *t, const char *cause, const struct death *d);

#endif
