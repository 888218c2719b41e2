/* gzip.h: answers that are compressed (RFC 1952) while they are sent. For this room only. Event loop's thread. */
#ifndef OFFLOAD_HTTP_GZIP_H
#define OFFLOAD_HTTP_GZIP_H

#include <microhttpd.h>
#include <stdbool.h>

#include "pool/blob.h"

/* True if the value of an Accept-Encoding header has gzip (or *) and does not exclude it with q=0 (RFC 9110, section
 * 12.5.3). The value can be NULL. */
bool http_gzip_is_accepted(const char *accept_encoding);
/* How many bytes such a response holds besides its body. */
extern const size_t http_gzip_bytes;
/* A response with these bytes. It takes a reference to them. NULL if memory ran out. */
struct MHD_Response *http_gzip_response(const struct slice *body);

#endif
