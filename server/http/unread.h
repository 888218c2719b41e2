/* unread.h: answers that wait for their clients to take them, and which of these connections are closed: when memory is
 * short, and for --min-rate. For this room only. Event loop's thread. */
#ifndef OFFLOAD_HTTP_UNREAD_H
#define OFFLOAD_HTTP_UNREAD_H

#include "server/http/request.h"

/* From here to http_unread_deinit it is asked for memory (HELD_FROM_UNREAD in base/held.h). */
void http_unread_init(struct http *h);
void http_unread_deinit(struct http *h);

/* The request has its answer, which is to be sent now. No effect if it was dropped. */
void http_unread_add(struct http_request *r);
/* The request is done. No effect if it was never answered. */
void http_unread_remove(struct http_request *r);
/* Some client can take more of its answer now. It looks at a bounded number of them, the latest ones. */
bool http_unread_is_writable(const struct http *h);

#endif
