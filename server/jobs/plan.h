/* plan.h: reads the plan of a job (struct wire_plan), which a worker made for this process or an earlier one. Plans are
 * not trusted: all of a plan is checked. Front end. */
#ifndef OFFLOAD_JOBS_PLAN_H
#define OFFLOAD_JOBS_PLAN_H

#include "base/attributes.h"
#include "server/jobs/job.h"

/* Fills in the job's chunks from a plan, and enters PHASE_CHUNKS. False: the plan makes no sense, or memory ran out;
 * then the job is as it was. */
bool plan_take(struct job *job, const struct slice *plan);
/* The same from a WIRE_PLANNED; the plan of a durable job is recorded. */
bool plan_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);
/* From a WIRE_PARSED: a worker has parsed a raw body that must be planned elsewhere. From now on the job is as if the
 * front end had parsed it. False as above. */
bool plan_submission_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);

/* Whether the store has the plan. Otherwise the job is planned again after a restart. Only when it is planned. */
bool plan_is_stored(const struct job *job);

/* How many items a part has; 0 if the job is no map; -1: the part makes no sense. */
MUST_CHECK int64_t job_count_items(const struct job *job, const struct slice *part);

#endif
