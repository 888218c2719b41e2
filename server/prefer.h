/* prefer.h: what a client asks for in Prefer (RFC 7240), Priority (RFC 9218) and traceparent (W3C Trace Context). */
#ifndef OFFLOAD_PREFER_H
#define OFFLOAD_PREFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prefer {
    bool respond_async;
    bool has_wait;
    int64_t wait_s;         /* with has_wait */
    bool minimal, representation;
};

/* Adds one line of the header to *p. Unknown preferences, and malformed ones, are ignored; of repeated ones the first
 * counts (RFC 7240 section 2). */
void prefer_parse(struct prefer *p, const char *line);

/* The urgency 0..7 of a Priority header, or -1 if it has none that is valid (RFC 9218 section 4). */
int priority_parse(const char *value);

/* True for "00-<32 hex>-<16 hex>-<2 hex>" with neither id all zero, lower-case. */
bool traceparent_is_valid(const char *value);

#endif
