/* held.h: one account of the memory that requests make the process hold, by what it is held for, and the limit on all
 * of it (--max-memory). Whoever holds something adds its bytes and subtracts the same number later; nothing is
 * allocated here. Front end: the event loop's thread alone. Other processes can count too (blobs do), but have no
 * limit.
 *
 * What does not fit is decided in one place, held_make_room: it asks the reclaimers in the order of their enum. If
 * that frees too little, the caller rejects the one request that wanted more. */
#ifndef OFFLOAD_HELD_H
#define OFFLOAD_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

enum held {
    HELD_BODIES,      /* bodies of requests while they come, on the heap or in memfds */
    HELD_PAYLOADS,    /* blobs: whole bodies, parameters, plans, parts, results, bodies of webhooks */
    HELD_JOBS,        /* live jobs without their payloads */
    HELD_ENDED,       /* ended jobs that are remembered in memory, without their results; keys and tombstones */
    HELD_ANSWERS,     /* answers from when they are made until they are sent, and what compresses them */
    HELD_STORE,       /* operations that the store's thread has, and what it reads for them */
    HELD_WEBHOOKS,    /* webhooks that wait, without their bodies */
    HELD_CONNECTIONS, /* what each connection needs, and a request on it */
    HELD_KINDS
};

/* What memory is wanted for. It decides how much of the limit there is for it, and who is asked to free some. */
enum held_use {
    HELD_FOR_NEW,    /* bodies, submissions: three quarters; all are asked */
    HELD_FOR_WORK,   /* replies of workers: all of it; all are asked */
    HELD_FOR_ANSWER, /* three quarters; only unread answers are dropped for it, so that nobody can drive out results by
                        asking for much and not reading it. Within HELD_ANSWERS_SHARE it is as HELD_FOR_NEW */
};

/* Who can free memory, in the order in which they are asked. */
enum held_reclaimer {
    HELD_FROM_UNREAD,     /* answers that their clients have not taken for a while: the connections are closed */
    HELD_FROM_REMEMBERED, /* results of jobs that were answered at once: the oldest are forgotten */
    HELD_FROM_STORED,     /* the same of jobs that the store has in memory */
    HELD_RECLAIMERS
};

/* For reading. Use the functions to change them. */
extern size_t held_bytes[HELD_KINDS];
extern size_t held_total; /* the sum */

const char *held_name(enum held what); /* for a metric */

void held_set_limit(uint64_t bytes); /* without this there is none */
uint64_t held_limit(void);
/* Frees about that many bytes, or what there is; can be less than that. `reclaim` NULL: none any more. Borrows `arg`
 * until then. */
void held_set_reclaimer(enum held_reclaimer which, void (*reclaim)(void *arg, size_t bytes), void *arg);
/* Whether so many bytes more fit, perhaps after the reclaimers were asked. It does not add them. */
MUST_CHECK bool held_make_room(enum held_use use, size_t more);
/* For a new descriptor with data of jobs. If it is a reserved one (base/descriptors.h), as many results in memory are
 * forgotten as there are reserved ones in use. False: it is, and there were none. */
bool held_make_room_for_descriptor(int fd);

void held_underflow(enum held what, size_t bytes); /* the slow part of held_sub: reports a bug */

/* So many bytes of answers can drive out results that are remembered. */
#define HELD_ANSWERS_SHARE(limit) ((limit) / 4 > 512 * 1024 ? (limit) / 4 : 512 * 1024)

static inline void held_add(enum held what, size_t bytes) {
    held_bytes[what] += bytes;
    held_total += bytes;
}

static inline void held_sub(enum held what, size_t bytes) {
    if (bytes > held_bytes[what]) {
        held_underflow(what, bytes);
        bytes = held_bytes[what];
    }
    held_bytes[what] -= bytes;
    held_total -= bytes;
}

/* Replaces an amount that was added before, *held, with another one. */
static inline void held_replace(enum held what, size_t *held, size_t bytes) {
    held_sub(what, *held);
    held_add(what, bytes);
    *held = bytes;
}

/* At the end of the process: reports whatever is still counted, which is a bug. A debug build aborts then. */
void held_check_empty(void);

#endif
