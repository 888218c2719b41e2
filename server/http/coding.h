/* coding.h: which content coding a client wants an answer in. For this room only. Pure computing. */
#ifndef OFFLOAD_HTTP_CODING_H
#define OFFLOAD_HTTP_CODING_H

#include "server/http/http.h"

/* What a client says of codings in Accept-Encoding (RFC 9110, section 12.5.3): weights in thousandths; -1: it does not
 * name the coding. */
struct http_coding_wish {
    int gzip, zstd, identity, any; /* any: "*" */
};
#define HTTP_CODING_NO_WISH ((struct http_coding_wish){-1, -1, -1, -1})

void http_coding_read(struct http_coding_wish *w, const char *line); /* adds one line of the header */
/* The one of gzip and zstd that has the greater weight, and not less than identity; zstd if both have the same. "*" stands
 * for gzip, which every client knows. */
enum http_coding http_coding_choose(const struct http_coding_wish *w);

#endif
