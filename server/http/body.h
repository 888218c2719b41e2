/* body.h: keeps what comes of the text of a request, and counts what comes of all of it. For this room only. Event loop's
 * thread. */
#ifndef OFFLOAD_HTTP_BODY_H
#define OFFLOAD_HTTP_BODY_H

#include "server/http/request.h"

#define HTTP_SMALL_BODY     (32 * 1024) /* bytes; a text or a part with more of them is not on the heap */
#define HTTP_BODY_UNCOUNTED 1024        /* so much of a body is counted with its connection */

/* So many bytes more are held in memory. False: they do not fit within --max-memory. */
MUST_CHECK bool http_body_hold(struct http_request *r, size_t size);
/* So many of them are counted elsewhere from now on. */
void http_body_hand_over(struct http_request *r, size_t size);
/* Keeps bytes of the text. False: out of memory, or errno is EMFILE. */
MUST_CHECK bool http_body_keep(struct http_request *r, const char *bytes, size_t size);
/* What a new descriptor for the bytes of a body becomes (-1: it could not be opened): itself, or -1 with EMFILE, closed,
 * if those that are left are for connections. The oldest results in memory are forgotten for it. */
MUST_CHECK int http_body_descriptor(int fd);
/* Why there is no memory for bytes of a body, for the detail of the problem. NULL: nothing to add. */
const char *http_body_trouble(void);

#endif
