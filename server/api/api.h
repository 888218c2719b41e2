/* api.h: the HTTP interface: which function answers which request, and all that it needs for that. The interface of
 * this room: other rooms include nothing else of it. Front end; all from the event loop. */
#ifndef OFFLOAD_API_H
#define OFFLOAD_API_H

#include "base/attributes.h"
#include "server/api/server.h"

/* What the http room calls. The server outlives it. */
struct http_events routes_events(struct server *s);
/* The metrics of the routes. 0, or -1: out of memory. */
MUST_CHECK int routes_init(struct server *s);
void routes_free(struct server *s);

#endif
