/* events.h: GET /v1/jobs/{id}/events. Front end. */
#ifndef OFFLOAD_API_EVENTS_H
#define OFFLOAD_API_EVENTS_H

#include "server/api/server.h"

route_handler api_events;
void api_events_done(struct server *s, struct http_request *r); /* frees its state */

#endif
