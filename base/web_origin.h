/* web_origin.h: where a web page comes from, as a browser says it in the field Origin: scheme://host[:port] (RFC 6454). Any
 * process; pure computing. */
#ifndef OFFLOAD_WEB_ORIGIN_H
#define OFFLOAD_WEB_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

struct web_origin { /* parts of the text that was read, which stays its owner's */
    const char *scheme, *host;
    size_t scheme_size, host_size;
    unsigned port; /* that of the scheme, if none is named; 0: the scheme has none that is known */
};

/* False: it is no such text; "null", the origin of what has none, is not either. */
MUST_CHECK bool web_origin_read(struct web_origin *o, const char *text);
/* True if both are the same: case does not matter, nor whether a scheme's own port is named. */
bool web_origin_is(const struct web_origin *a, const struct web_origin *b);
/* True if that is where a request with this Host (host[:port], RFC 9110 section 7.2) was sent, if it was by the scheme of
 * the origin. */
bool web_origin_is_host(const struct web_origin *o, const char *host);

#endif
