/* attached.h: the attachments of a job: whether workers can write to them, and what its plan adds to them. Front end.
 *
 * A job can have an attachment changed in place if nobody else has it, or if it is memory that the client shares and may
 * write to; and if its type has a parameter for that (PARAM_IN_PLACE). A map cannot: its calls can share one. Once a worker
 * may have written to one, the job cannot begin anew in another process, so it is not stored; and what a plan has made is
 * not stored, so a stored job that has some is planned anew. */
#ifndef OFFLOAD_JOBS_ATTACHED_H
#define OFFLOAD_JOBS_ATTACHED_H

#include "server/jobs/job.h"

/* Takes references to those of a submission; NULL: there are none. False: memory ran out. */
MUST_CHECK bool attached_take(struct job *job, const struct job_attachments *from);
/* Its type is known: those that it cannot write to are sealed. */
void attached_settle(struct job *job);
/* A worker can write to one of those that it was submitted with. */
bool attached_has_own(const struct job *job);
/* Nobody can write to them from now on: the job is to be stored. */
void attached_freeze(struct job *job);
/* A plan has made one. False: memory ran out. */
MUST_CHECK bool attached_add_made(struct job *job, const struct slice *bytes);
/* The plan that has made some is lost, or will be made again. */
void attached_drop_made(struct job *job);
/* The plan of the job has made some. */
static inline bool attached_has_made(const struct job *job) {
    return job->attachments.count > job->attachments_given;
}

#endif
