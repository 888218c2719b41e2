/* end.h: how a job ends. `finish` in end.c is the one place where a job leaves the live table.
 *
 * The end of a durable job is told when it is recorded, so that nobody sees an end that a crash could take back:
 *
 *     live ──finish──► ending (the store writes; the store answers whoever asks for the job, after that write)
 *       │                 └──► told, freed
 *       └──(not durable)──► remembered, told, freed
 *
 * Front end. */
#ifndef OFFLOAD_JOBS_END_H
#define OFFLOAD_JOBS_END_H

#include "server/jobs/job.h"

/* Asks the job's tasks to stop, and ends it when they are gone: with that status and that problem. detail, members: heap,
 * taken, may be NULL. May free the job. No effect on one that is stopping or has ended. */
void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem, char *detail,
              char *members);
void job_end_if_stopped(struct job *job); /* to be called when a task is gone; may free the job */
/* It was merged. Takes the slice; frees the job. */
void job_succeed(struct job *job, struct slice result);
/* The end of a durable job is recorded, and it is known whether the store has the job: tells it, and frees the job. */
void job_tell_end(struct job *job);
/* Frees it and its tasks without a word: the process ends. */
void job_abandon(struct job *job);

#endif
