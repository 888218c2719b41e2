/* receive.h: receives heads and bodies, within their limits, and keeps a body while it comes. For this room only. Event
 * loop's thread. */
#ifndef OFFLOAD_HTTP_RECEIVE_H
#define OFFLOAD_HTTP_RECEIVE_H

#include "server/http/request.h"

/* The head has come. Rejects a request that is too large. */
void http_receive_head(struct http_request *r);
/* http_events.begin has said how the body is taken. Rejects the request if there is no memory for it. */
void http_receive_begun(struct http_request *r);
/* True if the body of a rejected request will not be read. The caller answers at once, and that closes the
 * connection. */
bool http_receive_no_more(struct http_request *r);
/* Bytes of the body have come. Keeps them, or throws them away if the request was rejected before. False: the caller
 * must close the connection, because the request was rejected and answered, or its body is too long to be thrown
 * away. */
bool http_receive_body(struct http_request *r, const char *bytes, size_t size);
/* The whole body has come. Rejects the request if memory runs out. */
void http_receive_end(struct http_request *r);

#endif
