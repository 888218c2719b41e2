/* service.h: the routes about the service itself. Front end. */
#ifndef OFFLOAD_API_SERVICE_H
#define OFFLOAD_API_SERVICE_H

#include "server/api/server.h"

route_handler api_types, api_type, api_workers, api_livez, api_readyz, api_metrics, api_openapi_yaml, api_openapi_json,
    api_problem;
/* Of /readyz, for the table of routes: what http_events says. */
void api_ready_hangup(struct server *s, struct http_request *r);
void api_ready_done(struct server *s, struct http_request *r); /* frees its state */

#endif
