/* api.h: the HTTP interface: which function answers what, and all that is needed to answer it. The interface of this room.
 * Front end. */
#ifndef OFFLOAD_API_H
#define OFFLOAD_API_H

#include "server/api/server.h"

/* What http is to call. */
struct http_events routes_events(struct server *s);
int routes_init(struct server *s); /* 0, or -1: out of memory */
void routes_free(struct server *s);

#endif
