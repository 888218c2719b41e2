/* isolate.h: jobs that do all their work in processes of their own: isolation "fresh", and types that must not be forked
 * after load (HANDLER_SPAWN). Front end.
 *
 *     waits in SCHED_ISOLATED ──► its turn: an idle main worker becomes its own ──┬──► unused: takes the task at once
 *            ▲                                                                    └──► replaced: takes it when ready
 *            │                                                                                      │
 *            └── more to send ◄── the worker is released ◄── others have waited for their turn ◄────┤
 *                                        ▲                                                           │
 *                                        └─────── nothing to send just now, or the job ended ◄──────┘
 *
 * A job waits in the scheduler only for tasks that none of its isolated workers is going to take, so no more workers are
 * replaced than there are tasks. An isolated worker goes from task to task of its job, plan and merge among them. Between
 * two of them it yields to a job that is more urgent, or as urgent if its own turn is over: when it has worked for some
 * times as long as it took to start. So a job with many chunks holds nobody up, and the starts take a small share of
 * the time. */
#ifndef OFFLOAD_JOBS_ISOLATE_H
#define OFFLOAD_JOBS_ISOLATE_H

#include "server/jobs/job.h"

/* It is the job's turn, and `w` is an idle main worker: that one, or a better one, is isolated for the job. False:
 * memory ran out. */
bool isolate_serve(struct jobs *js, struct worker *w, struct job *job);
/* Sends tasks to the idle workers that are isolated, and releases those whose job has none for them. */
void isolate_send_tasks(struct jobs *js, int64_t now_ns);

#endif
