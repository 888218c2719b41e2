/* send.h: makes the next task of a job and sends it to the worker that was chosen for it. Front end.
 *
 *     PLAN    the params, or the raw body           → WIRE_PLAN, with WIRE_GO if it may be run in the same go
 *     CHUNKS  one chunk                             → WIRE_RUN
 *     MERGE   the parts, as fast as the worker's socket takes them → WIRE_MERGE, WIRE_PART ...
 */
#ifndef OFFLOAD_JOBS_SEND_H
#define OFFLOAD_JOBS_SEND_H

#include "base/attributes.h"
#include "server/jobs/job.h"

/* True if the worker takes a task now. This does not look at whether it is isolated. */
bool send_is_possible(const struct jobs *js, const struct worker *w);

/* Sends the job's next task, and puts the job behind the others of its urgency. The job has to be runnable, and sending
 * to the worker possible. The bytes leave with pool_flush. False: memory ran out, and nothing was sent. */
MUST_CHECK bool send_task(struct job *job, struct worker *w, bool is_long);
/* Sends parts of a merge as long as the socket takes them. True: all are sent. */
bool send_merge_parts(struct job *job, struct task *t);

#endif
