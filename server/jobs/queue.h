/* queue.h: whether a job has a task that can be sent to a worker, and its turns in the scheduler. A job is in the
 * scheduler at most once, however many tasks it has. Front end.
 *
 * What a job has to send depends on its phase: its plan, its next chunk, or its merge. If it has nothing, enum
 * not_runnable says why. */
#ifndef OFFLOAD_JOBS_QUEUE_H
#define OFFLOAD_JOBS_QUEUE_H

#include "server/jobs/job.h"

enum not_runnable {
    RUNNABLE,
    NOT_RUNNABLE_ENDED,       /* it is stopping, or has ended */
    NOT_RUNNABLE_PARKED,      /* a drain leaves it to the next process */
    NOT_RUNNABLE_DELAYED,     /* its delay is not over; only its plan can be made */
    NOT_RUNNABLE_THROTTLED,   /* a reader of its items is too far behind */
    NOT_RUNNABLE_BACKING_OFF, /* all that is left to send was lost, and backs off */
    NOT_RUNNABLE_SENT         /* all that can be sent is at workers */
};
enum not_runnable job_not_runnable(const struct job *job);

/* How many tasks could be sent now, to as many workers; 0 if the job is not runnable. */
uint32_t job_count_tasks(const struct job *job);
/* How long its next task will take, ns: for a chunk what its handler estimated, for a plan or a merge what jobs of its
 * type took lately. */
int64_t job_next_cost_ns(const struct job *job);
/* How long its next chunk will take at least, ns (admission.h); 0: not known. */
int64_t job_next_known_ns(const struct job *job);
/* What a task may cost that the express lane takes: --express-cost; less for a type whose chunks are joined. */
int64_t queue_short_ns(const struct job *job);

/* Its chunks are run together with those of other jobs of the type, and of types that go with it (HANDLER_JOINS). Those
 * of a map are joined in their groups alone. */
bool queue_joins(const struct job *job);

/* It waits, or would wait, for a main worker. */
bool queue_is_long(const struct job *job);
/* Takes the next task of a runnable job for that worker. The caller has to send it, or to treat it as lost. NULL:
 * memory ran out. */
struct task *job_take_task(struct job *job, struct worker *w);

/* Puts the job into the scheduler, behind the others of its tenant and urgency, or takes it out if it needs no turn. It
 * needs one if it has a task to send that none of its isolated workers will take. */
void job_enqueue(struct job *job);
void job_dequeue(struct job *job); /* no effect if it is not in the scheduler */

/* How isolated workers of the job start: START_FORKED, or the type that they load themselves (HANDLER_SPAWN). */
uint32_t job_start_type(const struct job *job);
/* The job whose turn it is in the main lane, long or isolated; as sched_peek. */
struct sched_entry *queue_peek_main(const struct jobs *js, int64_t now_ns, int *urgency);
struct job *queue_job(struct sched_entry *e); /* the job of an entry */
/* The same, to be sent a task because the turn is its own: this counts as one task of its tenant's turn. What it is sent
 * without having the turn (more small chunks at once, tasks for its isolated workers) does not count. */
struct job *queue_serve(struct jobs *js, struct sched_entry *e);

#endif
