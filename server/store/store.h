/* store.h: where jobs are kept that must outlive the moment: jobs that were acknowledged by a 202, and jobs that ended.
 * One interface for every store; callers do not see which one it is. memory.c keeps jobs in this process, sqlite/ keeps
 * them in a directory.
 *
 * All functions are called on the event loop's thread, and none waits for a disk. An operation with a callback reports
 * through it, on the event loop's thread, before it returns or later. One without a callback reports nothing, and is
 * carried out in its turn. Operations take effect in the order of the calls, reads and writes alike: a read sees what
 * the calls before it did. What a callback says is on disk, if the store has a disk. Each operation may be repeated.
 *
 *     submit ──► (plan) ──► update, lost, complete ... ──► finish ──► gc, evict or forget ──► gone ──► unknown
 *                                                            │            [for one more TTL]
 *                                                            └─ a job that ended is final: whatever comes for it later
 *                                                               changes nothing
 */
#ifndef OFFLOAD_STORE_H
#define OFFLOAD_STORE_H

#include <stdint.h>

#include "base/attributes.h"
#include "server/model/model.h"

enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,  /* the job was never there, or it went longer than one TTL ago */
    STORE_GONE,       /* the job was deleted or expired, less than one TTL ago */
    STORE_FINAL,      /* the job ended, and cannot be changed */
    STORE_EXISTS,     /* submit: another job has that Idempotency-Key */
    STORE_UNAVAILABLE /* it cannot be recorded, or read, now */
};

struct store;

typedef void store_done(void *arg, enum store_result result);
typedef void store_found(void *arg, enum store_result result, struct record *record); /* borrowed for the call */

#define STORE_HASH_SIZE 32

/* An Idempotency-Key and the request that it stands for. It is kept for ttl_ms, also when its job has gone. */
struct store_key {
    const char *tenant; /* whose key it is: "" while there are no API keys */
    const char *key;
    uint8_t hash[STORE_HASH_SIZE]; /* of the request in canonical form */
    int64_t ttl_ms;
};
/* STORE_OK: `job` was submitted with that key and that hash. STORE_NOT_FOUND: no job has the key; `job` and `hash` mean
 * nothing then. */
typedef void store_key_found(void *arg, enum store_result result, const struct id *job,
                             const uint8_t hash[STORE_HASH_SIZE]);

/* What is needed to run a job again, beside its record. Borrowed for the call; the store takes references. */
struct store_input {
    struct slice request;        /* the JSON body */
    struct slice plan;           /* the worker's plan as it came over the wire; empty: there is none */
    const struct store_key *key; /* NULL: none */
};

/* A webhook that is to be sent. A job has one at most: another one replaces it. It may outlive its job. */
struct delivery {
    struct id job;
    const char *url;
    struct slice body;
    unsigned attempt;  /* how often it was tried */
    int64_t due_ms;    /* wall clock */
    const char *trace; /* traceparent to send along; NULL or "": none */
};

struct store_filter {
    int status;       /* enum job_status, or -1: any */
    int64_t type;     /* or -1: any */
    struct id before; /* only ids below this one; all ones: from the newest */
    unsigned limit;
};

/* A chunk that was finished or lost, of a job that has not ended. */
struct store_chunk {
    uint32_t chunk, attempt; /* attempt: how often it was lost */
    bool done;
    struct slice part; /* when done */
};

/* What recover calls. All that is passed is borrowed for the call. */
struct store_recovery {
    void *arg;
    /* A job that has not ended; jobs come in the order of their ids. Its chunks follow, in the order of their index;
     * chunks_done is how many of them are done.
     *   - A job that was running when its process ended comes as JOB_RUNNING.
     *   - A plan that this build cannot use is left out, with its chunks: chunks_total is 0 then.
     *   - A type that this build does not have is UINT32_MAX.
     *   - An empty request was lost (it is logged). Without a plan, the job cannot be run any more. */
    void (*job)(void *arg, struct record *r, const struct store_input *in);
    void (*chunk)(void *arg, const struct id *job, const struct store_chunk *c);
    void (*delivery)(void *arg, const struct delivery *d);
};

struct store_ops {
    /* A job was accepted. Once `done` says STORE_OK it will not be lost. STORE_EXISTS: nothing was recorded, because the
     * key belongs to another job (find_key says which). A job that is there already is STORE_OK, too. */
    void (*submit)(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg);
    /* The job was planned after it was submitted: takes over the record's type, options and number of chunks. */
    void (*plan)(struct store *s, struct record *r, const struct slice *plan);
    /* The job runs now, or is queued again after the drain: takes over status, times, attempts and `lost`. */
    void (*update)(struct store *s, struct record *r);
    /* A chunk's worker was lost for the attempt-th time; the record's attempts and `lost` have changed, too. */
    void (*lost)(struct store *s, struct record *r, uint32_t chunk, uint32_t attempt);
    /* A chunk's part is there: the chunk need not be run again. The first part is kept, and later ones are ignored; so is
     * a part of an earlier attempt than the last one known. The store takes a reference. */
    void (*complete)(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt, const struct slice *part);
    /* The job ended, as the record says. It is kept until record->expires_ms, and its chunks are dropped. `webhook` (or
     * NULL) is recorded with it, in one go. Also for a job that was never submitted (it was answered inline). A store
     * that cannot write now says STORE_UNAVAILABLE, answers `get` from memory, and writes when it can. */
    void (*finish)(struct store *s, struct record *r, const struct delivery *webhook, store_done *done, void *arg);
    /* The job was deleted by its owner: it is gone for one more TTL, and then unknown. */
    void (*forget)(struct store *s, const struct id *id, store_done *done, void *arg);
    void (*get)(struct store *s, const struct id *id, store_found *found, void *arg);
    /* Newest first. `found` is called once for each match, then once with record NULL. Records come without results. */
    void (*list)(struct store *s, const struct store_filter *f, store_found *found, void *arg);
    void (*find_key)(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg);
    /* Records a webhook by itself, or the time of its next attempt; `delivered` forgets it. */
    void (*deliver)(struct store *s, const struct delivery *d);
    void (*delivered)(struct store *s, const struct id *job);
    /* Drops what has expired by now_ms: jobs, tombstones, keys. Returns when to call again (wall clock; it may be too
     * early), 0: nothing is to expire. */
    int64_t (*gc)(struct store *s, int64_t now_ms);
    /* The wall clock was stepped by that much: what is to expire does so that much later. */
    void (*adjust_clock)(struct store *s, int64_t by_ms);
    /* Evicts the oldest ended jobs until `bytes` of memory are free; returns how many bytes that freed. A store that
     * keeps no results in memory returns 0. */
    uint64_t (*evict)(struct store *s, uint64_t bytes);
    /* Why it cannot record anything at present, in a few words; NULL: it can. */
    const char *(*trouble)(struct store *s);
    /* Reports all that has not ended. To be called once, before the first other operation. Unlike those, it reads in the
     * caller's time. 0, or -1 if it could not be read (it logged why). */
    int (*recover)(struct store *s, const struct store_recovery *to);
    /* Writes what is still to be written, calls the callbacks that are due, and frees everything. */
    void (*close)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};

/* Bounds of what is kept of ended jobs, beside their TTL. Beyond them the oldest ended are evicted. 0: no limit. */
struct store_limits {
    uint64_t max_ended;       /* jobs */
    uint64_t max_ended_bytes; /* of records, results and errors; the job that ended last is kept, however large it is */
};

/* In memory. `tombstones`: a job that the limits evict is gone for one more TTL, not unknown at once. NULL if memory ran
 * out. */
MUST_CHECK struct store *store_memory_open(const struct store_limits *limits, bool tombstones);

struct loop;

/* In a directory, which is made if it is not there, and locked. NULL with one line in `error`. */
MUST_CHECK struct store *store_sqlite_open(struct loop *loop, const char *directory, const struct store_limits *limits,
                                           struct buf *error);

#endif
