/* job.h: the requests about one job, and what its JSON says. Those that return an int return what service_call returns:
 * 0 and *a, or an exit code, after a line on stderr. */
#ifndef OFFLOAD_CLI_JOB_H
#define OFFLOAD_CLI_JOB_H

#include <stdbool.h>
#include <stdio.h>

#include "base/attributes.h"
#include "cli/options.h"
#include "cli/service.h"

/* *key: the value of --key, or NULL. EXIT_USAGE, after a line on stderr, if it is no Idempotency-Key. */
MUST_CHECK int job_read_key(const struct options *options, const char **key);
/* POST /v1/jobs with the words TYPE KEY=VALUE… and these options. prefer: the Prefer field. wait_s: how long that lets
 * the service wait. The answer is a Job. */
MUST_CHECK int job_submit(struct service *s, char **words, size_t count, const struct options *options,
                          const char *prefer, int wait_s, struct answer *a);
/* GET /v1/jobs/{id}. wait_s: how long the service can wait for the end of the job before it answers; 0: not at all.
 * patient: see service_call. */
MUST_CHECK int job_get(struct service *s, const char *id, int wait_s, bool patient, struct answer *a);
/* POST /v1/jobs/{id}/cancel. An interrupt does not end it, because `run` calls it after an interrupt. */
MUST_CHECK int job_cancel(struct service *s, const char *id, struct answer *a);
/* GET /v1/jobs/{id}/result. Writes the result to the file of --output, or to stdout, as it arrives. EXIT_NOT_ENDED if
 * there is none yet: then *a is the Job. */
MUST_CHECK int job_print_result(struct service *s, const char *id, const struct options *options, struct answer *a);
/* The file of --output, or stdout. NULL, after a line on stderr, if it cannot be written. The second function closes it, and
 * returns an exit code; EXIT_TROUBLE, after a line on stderr: not all could be written. */
MUST_CHECK FILE *job_open_output(const struct options *options);
MUST_CHECK int job_close_output(const struct options *options, FILE *to);

/* GET /v1/jobs/{id}/log, to `to`. */
MUST_CHECK int job_write_log(struct service *s, const char *id, FILE *to);

bool job_has_ended(const struct answer *a);
/* Writes the bytes of the answer to stdout, and a newline if they do not end with one. */
void job_print(const struct answer *a);

#endif
