/* jsoncheck.h: is a text JSON (RFC 8259), as jansson reads it with JSON_REJECT_DUPLICATES, JSON_DECODE_ANY and
 * JSON_ALLOW_NUL? It needs no tree, and little memory: at most some 9 bytes for each member of an object. Private to
 * handlers/host: jsontext.c has the messages. Only one thread of a process may call it. */
#ifndef OFFLOAD_HOST_JSONCHECK_H
#define OFFLOAD_HOST_JSONCHECK_H

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/host/scan.h"

enum jsoncheck { JSONCHECK_GOOD, JSONCHECK_BAD, JSONCHECK_NO_MEMORY };

/* A short text in which jansson finds the same mistake as in the whole one. It is some brackets and placeholders, and
 * then the token with the mistake. */
struct excerpt {
    struct buf text; /* the caller frees it */
    size_t front;    /* bytes before that token: here... */
    size_t from;     /* ...and in the whole text */
};

/* If the text is JSON: *depth is how deep arrays and objects are nested; and if it is an object, *longest is the longest
 * array among the values of its members. If it is not JSON, *excerpt shows the first mistake.
 * A text with more than 4 GiB needs too much memory. */
MUST_CHECK enum jsoncheck jsoncheck(const char *text, size_t size, unsigned *depth, struct json_list *longest,
                                    struct excerpt *excerpt);

#endif
