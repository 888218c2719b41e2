/* submission_plain.h: the quick way into a submission, for bodies that are as plain as those of most short jobs.
 * Private to handlers/host. */
#ifndef OFFLOAD_HOST_SUBMISSION_PLAIN_H
#define OFFLOAD_HOST_SUBMISSION_PLAIN_H

#include "handlers/host/host.h"

/* Reads {"type":T,"params":{...}} from its text, if the params are plain (params_flat.h) and nothing else is in the
 * body. It makes what submission_parse makes of the same text the general way. s: all zeros. False: it cannot tell, and
 * what it has written to s->params is of no use. */
MUST_CHECK bool submission_parse_plain(const char *json, size_t size, unsigned max_depth, struct submission *s);

#endif
