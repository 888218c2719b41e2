/* expiry.h: ended jobs are dropped from both stores when they expire. Expiries are times of the wall clock, so this
 * also watches whether somebody sets it. Front end. */
#ifndef OFFLOAD_JOBS_EXPIRY_H
#define OFFLOAD_JOBS_EXPIRY_H

#include "server/jobs/job.h"

/* Drops what has expired, now and each time that something expires. */
void expiry_start(struct jobs *js);
void expiry_stop(struct jobs *js);
/* Something expires at that time of the wall clock, ms; 0: nothing does. */
void expiry_schedule(struct jobs *js, int64_t due_ms);
/* Adjusts all expiries if the wall clock was set, so that an hour stays an hour. Call it before you compute or compare
 * an expiry. */
void expiry_check_clock(struct jobs *js);

#endif
