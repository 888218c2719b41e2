/* submit.h: POST /v1/jobs. Its request is a deferred one (deferred.h). Front end. */
#ifndef OFFLOAD_API_SUBMIT_H
#define OFFLOAD_API_SUBMIT_H

#include "server/api/server.h"

route_handler api_submit;
/* From http_events.begin: says how its body is to be taken, or rejects it. */
void api_submit_begin(struct server *s, struct http_request *r);

/* For other routes that make jobs. */
/* Whether jobs are taken now. False: they are not, and the request is answered. */
MUST_CHECK bool submit_is_welcome(struct server *s, struct http_request *r);
/* For job_request.trace: of traceparent and tracestate. The caller calls trace_deinit. */
const char *submit_read_trace(struct http_request *r, struct trace_reader *t);

#endif
