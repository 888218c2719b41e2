/* output.h: what the programs of a job print. Front end. */
#ifndef OFFLOAD_JOBS_OUTPUT_H
#define OFFLOAD_JOBS_OUTPUT_H

#include "server/jobs/job.h"

/* A worker has sent text that its task has printed: lines, but it is not trusted, and can be anything. Adds it to the log
 * of the job. Each line is an event in the log of offloadd, too. */
void output_add(struct job *job, const struct worker *w, const char *text, size_t size);
/* The job ends: its log gives back what it does not need. */
void output_end(struct job *job);

#endif
