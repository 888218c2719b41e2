/* gzip.h: answers that are compressed (RFC 1952) while they are sent. For this room only. Event loop's thread. */
#ifndef OFFLOAD_HTTP_GZIP_H
#define OFFLOAD_HTTP_GZIP_H

#include <microhttpd.h>
#include <stdbool.h>

#include "pool/blob.h"

/* What a client says of codings in Accept-Encoding (RFC 9110, section 12.5.3): weights in thousandths; -1: it does not
 * name the coding. */
struct http_gzip_wish {
    int gzip, identity, any; /* any: "*" */
};
#define HTTP_GZIP_NO_WISH ((struct http_gzip_wish){-1, -1, -1})

void http_gzip_read(struct http_gzip_wish *w, const char *line); /* adds one line of the header */
/* True if gzip is named, by itself or by "*", is not excluded, and identity is not preferred. */
bool http_gzip_is_accepted(const struct http_gzip_wish *w);
/* How many bytes such a response holds besides its body. */
extern const size_t http_gzip_bytes;
/* A response with these bytes. It takes a reference to them. NULL if memory ran out. */
struct MHD_Response *http_gzip_response(const struct slice *body);

#endif
