/* regroup.h: the groups of a map that were not sent yet are cut anew, once it is known how long its items take. Front end.
 *
 *     planned    | group 0 | group 1 | group 2 |         ...          by a guess of what an item costs
 *     sent, done   0.5 s     0.5 s
 *     cut anew                       | 2 | 3 | 4 | 5 | 6 | ...        so that each takes about HANDLER_CHUNK_NS
 *
 * A type that was never run is planned with a guess, and items differ from map to map. Groups that are too long keep the
 * workers from other jobs; groups that are too short are mostly messages. Other jobs have chunks that only their handler
 * understands, so these stay as they are. */
#ifndef OFFLOAD_JOBS_REGROUP_H
#define OFFLOAD_JOBS_REGROUP_H

#include "server/jobs/job.h"

/* A chunk of the job is done, and its run took that long. */
void regroup_note(struct job *job, uint32_t chunk, uint64_t run_ns);
/* Cuts the next groups if that is due, and there is something to gain. A stored job has its new plan stored. True: there
 * are other groups now. */
bool regroup_if_due(struct job *job);
/* Brings the plan up to date, for the store. False: memory ran out; then neither the plan nor a part can be stored. */
bool regroup_write_plan(struct job *job);

#endif
