/* options.h: the options of a job: what its client asked for, or the default. Front end. */
#ifndef OFFLOAD_JOBS_OPTIONS_H
#define OFFLOAD_JOBS_OPTIONS_H

#include "base/attributes.h"
#include "server/jobs/job.h"

#define DEFAULT_PRIORITY 3 /* RFC 9218 section 4.1 */

/* Copies what was asked for into the record, with defaults for the rest, and begins the delay. default_priority: of the
 * Priority header, or -1. False: memory ran out. */
MUST_CHECK bool options_apply(struct job *job, const struct submission_options *asked, int64_t default_priority);
/* The same for a raw body, once a worker has parsed it. Also checks the URL of the webhook and --max-delayed: see job->bad_webhook and is_too_many. No
 * effect if the options are known already, because an earlier process recorded them. */
MUST_CHECK bool options_apply_parsed(struct job *job, const struct submission_options *o);

#endif
