/* isolate.h: jobs that do all their work on workers of which each works for one job alone: isolation "fresh", and types
 * that must not be forked after they are loaded (HANDLER_SPAWN). Front end.
 *
 *     waits in SCHED_ISOLATED ──► its turn: an idle main worker is isolated for it ──┬──► unused: gets a task at once
 *            ▲                                                                       └──► replaced: gets it when ready
 *            │                                                                                       │
 *            └── more to send ◄── the worker is released ◄── others have waited for their turn ◄─────┤
 *                                        ▲                                                           │
 *                                        └────── it has nothing to send just now, or it has ended ◄──┘
 *
 * A job waits in the scheduler only for tasks that its isolated workers will not take, so no more workers are replaced
 * than there are tasks. An isolated worker does one task of its job after the other, plan and merge among them. Between
 * two of them it yields to a job that is more urgent, and to one that is as urgent if its own turn is over. A turn
 * lasts some times as long as the worker took to start. So a job with many chunks holds nobody up, and starting workers
 * takes a small share of the time. */
#ifndef OFFLOAD_JOBS_ISOLATE_H
#define OFFLOAD_JOBS_ISOLATE_H

#include "server/jobs/job.h"

/* It is the job's turn, and `w` is an idle main worker. Isolates `w` for the job, or an idle one that can begin sooner.
 * False: memory ran out. */
bool isolate_serve(struct jobs *js, struct worker *w, struct job *job);
/* Sends tasks to idle isolated workers, and releases those that get none or must yield. */
void isolate_send_tasks(struct jobs *js, int64_t now_ns);

#endif
