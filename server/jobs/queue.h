/* queue.h: which jobs have something that can be sent to a worker, and their turns in the scheduler. A job stands there once,
 * whatever number of tasks it has. Front end.
 *
 * What a job has to send depends on its phase: its plan, its next chunk, or its merge. Why it has nothing, if so, is one of
 * enum not_runnable. */
#ifndef OFFLOAD_JOBS_QUEUE_H
#define OFFLOAD_JOBS_QUEUE_H

#include "server/jobs/job.h"

enum not_runnable {
    RUNNABLE,
    NOT_RUNNABLE_ENDED,       /* it is stopping, or has ended */
    NOT_RUNNABLE_PARKED,      /* a drain leaves it to the next process */
    NOT_RUNNABLE_DELAYED,     /* its time has not come; its plan may be made all the same */
    NOT_RUNNABLE_THROTTLED,   /* a reader of its items is too far behind */
    NOT_RUNNABLE_BACKING_OFF, /* all that is left to send was lost, and waits before it is tried again */
    NOT_RUNNABLE_SENT         /* all that can be sent is at workers */
};
enum not_runnable job_not_runnable(const struct job *job);

/* Tasks that could be sent to as many workers now; 0 if the job is not runnable. */
uint32_t job_count_tasks(const struct job *job);
/* What its next task is estimated to take, ns: a chunk as its handler estimated it, anything else as those of its type took
 * lately. */
int64_t job_next_cost_ns(const struct job *job);
/* The next task of a job that is runnable, for that worker: it is to be sent, or lost. NULL: memory ran out. */
struct task *job_take_task(struct job *job, struct worker *w);

/* (Back) into the scheduler, if it has a task to send that no isolated worker of its own will take. */
void job_enqueue(struct job *job);
void job_dequeue(struct job *job); /* no effect if it is not in there */

/* How the isolated workers of the job are to be started: START_FORKED, or the type that they load by themselves. */
uint32_t job_start_type(const struct job *job);
/* The jobs whose turn it is in the main lane, long or isolated, as sched_peek. */
struct sched_entry *queue_peek_main(const struct jobs *js, int64_t now_ns, int *urgency);
struct job *queue_job(struct sched_entry *e);

#endif
