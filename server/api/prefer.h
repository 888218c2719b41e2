/* prefer.h: what a client asks for in Prefer (RFC 7240), Accept (RFC 9110) and Priority (RFC 9218). Front end; pure computing. */
#ifndef OFFLOAD_API_PREFER_H
#define OFFLOAD_API_PREFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    int first_q, second_q; /* their weights in thousandths; -1: not named */
    int second_rank;       /* how exactly it was named: 0 not at all, 1 by a wildcard, 2 by a range, 3 by its name */
};
struct accept accept_of(const char *first, const char *second);
void accept_parse(struct accept *a, const char *line); /* adds one line */
bool accept_prefers_first(const struct accept *a);

/* The urgency 0..7 of a Priority header, or -1 if it has none that is valid (RFC 9218, section 4). */
int priority_parse(const char *value);

#endif
