/* store.h: where jobs are that must outlive what is going on: submitted by a 202, or ended. One interface for every
 * store; callers do not see which it is. store_memory.c keeps all in this process.
 *
 * Every operation reports through a callback, on the event loop's thread, either before it returns or later; so a
 * store may wait for a disk while the loop goes on. Each is safe to repeat. A job that ended is final: whatever
 * comes for it later changes nothing.
 */
#ifndef OFFLOAD_STORE_H
#define OFFLOAD_STORE_H

#include <stdint.h>

#include "server/record.h"

enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,   /* never heard of, or forgotten long ago */
    STORE_GONE,        /* deleted or expired, less than one TTL ago */
    STORE_FINAL,       /* ended: cannot be changed */
    STORE_UNAVAILABLE  /* cannot be recorded now */
};

struct store;

typedef void store_done(void *arg, enum store_result result);
typedef void store_found(void *arg, enum store_result result, struct record *record); /* borrowed for the call */

struct store_filter {
    int status;          /* enum job_status, or -1: any */
    int64_t type;        /* or -1: any */
    struct id before;    /* only ids below this one; all ones: from the newest */
    unsigned limit;
};

struct store_ops {
    /* A job was accepted. When `done` says STORE_OK it will not be lost. The store takes a reference. `input` is what
     * it takes to run the job again. */
    void (*submit)(struct store *s, struct record *r, const struct slice *input, store_done *done, void *arg);
    /* A chunk's part is there: it need not be run again. attempt: the fence; a late holder's part is refused. */
    void (*complete)(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt, const struct slice *part);
    /* The job ended, as the record says; it is kept until record->expires_ms. Also for a job that was never submitted
     * (answered inline). The store takes a reference. */
    void (*finish)(struct store *s, struct record *r, store_done *done, void *arg);
    /* Deleted by its owner: gone for one more TTL, then unknown. */
    void (*forget)(struct store *s, const struct id *id, store_done *done, void *arg);
    void (*get)(struct store *s, const struct id *id, store_found *found, void *arg);
    /* Newest first; called once for each match, then once with record NULL. */
    void (*list)(struct store *s, const struct store_filter *f, store_found *found, void *arg);
    /* Drops what has expired by now_ms. Returns when to call again (wall-clock ms), 0: nothing to wait for. */
    int64_t (*gc)(struct store *s, int64_t now_ms);
    /* Gives up the oldest ended jobs until `bytes` are free; returns how many bytes that freed. */
    uint64_t (*evict)(struct store *s, uint64_t bytes);
    void (*close)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};

/* In memory. max_ended: ended jobs kept at most (0: no limit); the oldest go first. NULL if memory ran out. */
struct store *store_memory_open(uint64_t max_ended);

#endif
