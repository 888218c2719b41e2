/* submit.h: POST /v1/jobs. Its request is a deferred one (deferred.h). Front end. */
#ifndef OFFLOAD_API_SUBMIT_H
#define OFFLOAD_API_SUBMIT_H

#include "server/api/server.h"

route_handler api_submit;
/* From http_events.begin: says how its body is to be taken, or rejects it. */
void api_submit_begin(struct server *s, struct http_request *r);

#endif
