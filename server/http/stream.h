/* stream.h: answers that come bit by bit. For this room only; handlers call what http.h has. Event loop's thread. */
#ifndef OFFLOAD_HTTP_STREAM_H
#define OFFLOAD_HTTP_STREAM_H

#include "server/http/request.h"

/* The request ends: calls http_stream.close. No effect if it has no stream. */
void http_close_stream(struct http_request *r);

#endif
