/* gzip.h: answers that are compressed while they are sent. */
#ifndef OFFLOAD_HTTP_GZIP_H
#define OFFLOAD_HTTP_GZIP_H

#include <microhttpd.h>
#include <stdbool.h>

#include "pool/blob.h"

/* True if the value of an Accept-Encoding has gzip (or *) and does not rule it out with q=0. RFC 9110 section 12.5.3.
 * NULL is allowed. */
bool http_gzip_is_accepted(const char *accept_encoding);
/* A response with these bytes, of which it holds a reference. NULL: no memory. */
struct MHD_Response *http_gzip_response(const struct slice *body);

#endif
