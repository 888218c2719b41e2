/* limits.h: what happens when a job's time is up. When that is, job_arm_timer says in job.h. Front end. */
#ifndef OFFLOAD_JOBS_LIMITS_H
#define OFFLOAD_JOBS_LIMITS_H

#include "server/jobs/job.h"

/* A job's timer has fired: it ran too long, its delay is over, or it waited too long. */
void limits_on_timer(struct timer *t);

#endif
