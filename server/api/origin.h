/* origin.h: requests that a browser sends for a web page. A page of another origin can send some requests without asking
 * anybody, so it could submit jobs in the name of who looks at it: these are refused here, for all routes. Pages of
 * origins that --cors-origin names may send all requests and read the answers (CORS, https://fetch.spec.whatwg.org).
 * Other clients send neither Origin nor Sec-Fetch-Site, and are not touched. Front end. */
#ifndef OFFLOAD_API_ORIGIN_H
#define OFFLOAD_API_ORIGIN_H

#include "base/attributes.h"
#include "server/api/server.h"

/* From http_events.begin: rejects the request if it can change something and comes from a page that may not, and sets the
 * headers of CORS. False: it is rejected. */
MUST_CHECK bool origin_begin(const struct server *s, struct http_request *r);
/* For OPTIONS: sets what a page of an origin that is named may send. allow: the methods. */
void origin_set_preflight(const struct server *s, struct http_request *r, const char *allow);

#endif
