/* etag.h: entity tags (RFC 9110, section 8.8.3), as If-Match, If-None-Match and If-Range have them. For this room only;
 * handlers call what http.h has. Pure computing. */
#ifndef OFFLOAD_HTTP_ETAG_H
#define OFFLOAD_HTTP_ETAG_H

#include <stdbool.h>
#include <stddef.h>

/* A search for one entity tag in a header that can have several lines. */
struct etag_search {
    const char *etag;   /* "\"x\"" or "W/\"x\"" */
    size_t significant; /* so many bytes of `etag` must be the same, and no more; 0: the whole tag */
    bool weakly;        /* weak comparison: W/ makes no difference. False: strong, a weak tag matches nothing */
    bool present;       /* the request has such a header */
    bool found;         /* it names the tag, or is "*" */
};

/* Looks at one line: "*", or a list of tags. What comes behind the first malformed tag is ignored. */
void etag_search_line(struct etag_search *s, const char *line);
/* The same for If-Range, which has one tag and no "*". A date matches nothing, because we send none. */
void etag_search_single(struct etag_search *s, const char *line);

#endif
