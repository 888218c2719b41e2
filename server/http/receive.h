/* receive.h: what a client may send: the limits of heads and bodies, and where a body is kept while it comes. */
#ifndef OFFLOAD_HTTP_RECEIVE_H
#define OFFLOAD_HTTP_RECEIVE_H

#include "server/http/request.h"

/* Looks at the head: rejects a request that is too large, or whose connection is above the limit. */
void http_receive_head(struct http_request *r);
/* True if the rest of a rejected request is not worth reading: it is answered now, and its connection closed. */
bool http_receive_no_more(struct http_request *r);
/* Keeps bytes of the body, or throws them away if the request is rejected, now or before. False: the client has sent so
 * much more than it may that its connection is to be closed. */
bool http_receive_body(struct http_request *r, const char *bytes, size_t size);
/* All of it has come. It may be rejected now, for want of memory. */
void http_receive_end(struct http_request *r);

#endif
