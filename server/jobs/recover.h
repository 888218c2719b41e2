/* recover.h: from one process to the next; see jobs_recover and jobs_drain in jobs.h. Front end. */
#ifndef OFFLOAD_JOBS_RECOVER_H
#define OFFLOAD_JOBS_RECOVER_H

#include "server/jobs/job.h"

/* At the end of the process: what still runs is queued in the store again. */
void recover_park_all(struct jobs *js);

#endif
