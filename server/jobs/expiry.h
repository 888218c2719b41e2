/* expiry.h: what is remembered of ended jobs is dropped when its time has come, in both stores; and the wall clock is
 * watched, by which that is measured. Front end. */
#ifndef OFFLOAD_JOBS_EXPIRY_H
#define OFFLOAD_JOBS_EXPIRY_H

#include "server/jobs/job.h"

/* Drops what has expired, now and whenever that is due. */
void expiry_start(struct jobs *js);
void expiry_stop(struct jobs *js);
/* Something expires at that time, wall clock ms; 0: nothing does. */
void expiry_schedule(struct jobs *js, int64_t due_ms);
/* What is kept for an hour is kept for an hour, even if somebody sets the clock meanwhile: a step of the wall clock moves all
 * expiries. To be called before an expiry is computed or compared. */
void expiry_check_clock(struct jobs *js);

#endif
