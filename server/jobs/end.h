/* end.h: how a job ends. `finish` in end.c is the only place where a job that has ended leaves the live table.
 *
 * The waiters of a durable job are notified when its end is recorded, so that nobody sees an end that a crash could
 * undo:
 *
 *     live ──finish──► ending ──the store has recorded it──► webhook sent, waiters notified, freed
 *       │                (if a client asks for the job now, the store answers, behind its write)
 *       └──not durable──► remembered, webhook sent, waiters notified, freed
 *
 * Front end. */
#ifndef OFFLOAD_JOBS_END_H
#define OFFLOAD_JOBS_END_H

#include "server/jobs/job.h"

/* Asks the job's tasks to stop, and ends the job with that status and problem when they are gone. detail, members: heap
 * or NULL; both are taken. Can free the job. No effect if it is stopping or has ended. */
void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem, char *detail,
              char *members);
/* Call it when a task of the job is gone: ends it if it is stopping and that was the last. Can free the job. */
void job_end_if_stopped(struct job *job);
/* The job has its result. Takes the slice. Ends the job, which can free it. */
void job_succeed(struct job *job, struct slice result);
/* The end of a durable job is recorded, and it is known whether the store has the job: sends its webhook,
 * notifies its waiters, and frees it. If there is no memory for the webhook, it does so later. */
void job_tell_end(struct job *job);
/* Frees the jobs whose end nobody knows yet, because there was no memory to record it. Call it when the store is closed:
 * they run again after the next start. */
void end_abandon_all(struct jobs *js);
/* Frees the job and its tasks: the process ends. Nothing is recorded, and waiters get JOB_ABANDONED. */
void job_abandon(struct job *job);

#endif
