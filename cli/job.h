/* job.h: the requests about one job, and what its JSON says. All take their exit codes from service_call. */
#ifndef OFFLOAD_CLI_JOB_H
#define OFFLOAD_CLI_JOB_H

#include <stdbool.h>

#include "base/attributes.h"
#include "cli/options.h"
#include "cli/service.h"

/* The --key that was given, or NULL in *key; EXIT_USAGE if it is none. */
MUST_CHECK int job_read_key(const struct options *options, const char **key);
/* POST /v1/jobs with the words TYPE KEY=VALUE… The answer is a Job, or a problem that is reported. */
MUST_CHECK int job_submit(struct service *s, char **words, size_t count, const struct options *options,
                          const char *prefer, int wait_s, struct answer *a);
/* GET /v1/jobs/{id}; wait_s: the service may hold the answer back so long for the job to end; 0: not. */
MUST_CHECK int job_get(struct service *s, const char *id, int wait_s, bool patient, struct answer *a);
/* An interrupt does not end it: it is what the interrupted `run` calls. */
MUST_CHECK int job_cancel(struct service *s, const char *id, struct answer *a);
/* Writes the result to stdout as it arrives; EXIT_NOT_ENDED, with *a the Job, if there is none yet. */
MUST_CHECK int job_print_result(struct service *s, const char *id, struct answer *a);

bool job_has_ended(const struct answer *a);
/* The answer's own bytes to stdout, with a newline if they have none. */
void job_print(const struct answer *a);

#endif
