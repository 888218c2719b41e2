/* plan.h: the plan of a job, as a worker made it in this run or an earlier one: read without believing it, see struct
 * wire_plan. Front end. */
#ifndef OFFLOAD_JOBS_PLAN_H
#define OFFLOAD_JOBS_PLAN_H

#include "server/jobs/job.h"

/* Takes over a worker's plan, or one of an earlier run. False: it makes no sense. */
bool plan_take(struct job *job, const struct slice *plan);
/* The same, from a WIRE_PLANNED; the store is told. */
bool plan_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);
/* From a WIRE_PARSED: a raw body that must not be planned where it was parsed is planned as if the front end had parsed
 * it. */
bool plan_submission_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);

/* How many items a part of the job's map has; -1 if a worker made it up. */
MUST_CHECK int64_t job_count_items(const struct job *job, const struct slice *part);

#endif
