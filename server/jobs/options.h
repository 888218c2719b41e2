/* options.h: what a client asked for with a job, or what holds if it did not ask. Front end. */
#ifndef OFFLOAD_JOBS_OPTIONS_H
#define OFFLOAD_JOBS_OPTIONS_H

#include "server/jobs/job.h"

#define DEFAULT_PRIORITY 3 /* RFC 9218 section 4.1 */

/* Resolves the options into the record. default_priority: of the Priority header, or -1. False if memory ran out. */
MUST_CHECK bool options_apply(struct job *job, const struct submission_options *asked, int64_t default_priority);
/* The same, of a raw body, when a worker has parsed it. No effect if they are known already, as the store has them. */
MUST_CHECK bool options_apply_parsed(struct job *job, const struct submission_options *o);

#endif
