/* recover.h: how jobs go from one process to the next; see also jobs_recover and jobs_drain in jobs.h. Front end. */
#ifndef OFFLOAD_JOBS_RECOVER_H
#define OFFLOAD_JOBS_RECOVER_H

#include "server/jobs/job.h"

/* The process ends: durable jobs that still run are queued in the store again. */
void recover_park_all(struct jobs *js);

#endif
