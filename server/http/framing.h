/* framing.h: follows the bytes that a client sends, and knows where each request begins and ends (RFC 9112 sections 6
 * and 7). It checks heads by head.h, and the framing of chunked bodies itself. Hostile bytes; one struct for each
 * connection; event loop's thread. */
#ifndef OFFLOAD_HTTP_FRAMING_H
#define OFFLOAD_HTTP_FRAMING_H

#include "base/buf.h"
#include "server/http/head.h"

/* The diagram is in framing.c. */
enum framing_state {
    FRAMING_IDLE,       /* between two requests, or before the first */
    FRAMING_HEAD,       /* some of a head has come */
    FRAMING_BODY,       /* `left` bytes of a body are to come */
    FRAMING_CHUNK_SIZE, /* in the line with the size of a chunk */
    FRAMING_CHUNK,      /* `left` bytes of a chunk are to come */
    FRAMING_CHUNK_END,  /* in the CR LF behind a chunk */
    FRAMING_TRAILER,    /* in the lines behind the last chunk */
    FRAMING_BROKEN,     /* there was a fault, and what follows has no meaning */
    FRAMING_STATES
};

/* Zeroed by its owner before its first use. */
struct framing {
    enum framing_state state;
    uint64_t left;    /* see the states */
    uint64_t heads;   /* how many heads have come whole, without that of a request that has a fault */
    uint64_t whole;   /* how many requests have come whole */
    size_t under_way; /* bytes of the request that is under way, without those that were taken out */
    struct buf part;  /* FRAMING_HEAD: what has come of the head */
    uint64_t lines;   /* bytes of the trailer, or of the line of a chunk; FRAMING_HEAD: items, see head_check_part */
    uint64_t excess;  /* bytes of the body's lines with sizes, beyond what a line needs */
    char last;        /* the byte before, within the lines of a chunked body */
    bool digits;      /* the size of the chunk has begun */
    bool extension;   /* the size of the chunk is over, and its extension has begun */
    bool line_begins; /* FRAMING_TRAILER: nothing of this line has come */
    unsigned blanks;  /* bytes of empty lines before the head */
};

void framing_deinit(struct framing *f);

/* Follows `size` bytes, and changes them: empty lines before a head (RFC 9112 section 2.2) and the extensions of chunks
 * are taken out, and *size is reduced. 0; or -1 with *fault: then *size is how many bytes belong to the good requests
 * before the fault, and *head points to what there is of the bad head, of *head_size bytes (0: the fault is in a body);
 * it is valid until the next call. After a fault, and if memory runs out (a fault with PROBLEM_OVER_MEMORY), the
 * connection must be closed. */
int framing_follow(struct framing *f, const struct head_rules *rules, char *bytes, size_t *size,
                   struct head_fault *fault, const char **head, size_t *head_size);

#endif
