/* limits.h: what happens when a job's time is up. job_arm_timer (job.h) says when that is. Front end. */
#ifndef OFFLOAD_JOBS_LIMITS_H
#define OFFLOAD_JOBS_LIMITS_H

#include "server/jobs/job.h"

/* The timer of a job has fired: it ran too long, its delay is over, or it waited too long. Can free the job. */
void limits_on_timer(struct timer *t);

#endif
