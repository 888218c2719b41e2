/* prefer.h: what a client asks for in Prefer (RFC 7240), Accept (RFC 9110) and Priority (RFC 9218). Front end; pure computing. */
#ifndef OFFLOAD_API_PREFER_H
#define OFFLOAD_API_PREFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/host/host.h"

struct prefer {
    bool respond_async;
    bool has_wait;
    int64_t wait_s; /* if has_wait; at most 10^9, which stands for all greater numbers */
    bool minimal, representation;
};

/* Adds one line of the header to *p. Unknown and malformed preferences are ignored. If one is repeated, the first
 * counts (RFC 7240, section 2). */
void prefer_parse(struct prefer *p, const char *line);

/* Which of two media types a client prefers, by all lines of its Accept (RFC 9110, section 12.5.1). The second is the
 * default, so a wildcard counts for the second only: the client has to name the first one to get it. */
struct accept {
    const char *first, *second;
    bool by_type;          /* "image/" and a star names "image/png" as the first, too */
    int first_q, second_q; /* their weights in thousandths; -1: not named */
    int first_rank,
        second_rank; /* how exactly it was named: 0 not at all, 1 by all types, 2 by its type, 3 by its name */
};
struct accept accept_of(const char *first, const char *second);
void accept_parse(struct accept *a, const char *line); /* adds one line */
bool accept_prefers_first(const struct accept *a);

/* The media ranges of all lines of an Accept. Those that are malformed, too long or too many are left out. */
#define ACCEPT_MAX_RANGES 32
struct accept_ranges {
    struct host_range list[ACCEPT_MAX_RANGES];
    size_t count;
    bool names_other; /* one of them names something else than JSON or all types */
};
void accept_ranges_parse(struct accept_ranges *a, const char *line); /* adds one line */

/* The urgency 0..7 of a Priority header, or -1 if it has none that is valid (RFC 9218, section 4). */
int priority_parse(const char *value);

#endif
