/* store.h: keeps jobs that were acknowledged by a 202, and jobs that ended. There is one interface for every store, and
 * callers do not see which store it is. memory.c keeps jobs in this process; sqlite/ keeps them in a directory.
 *
 * All functions are called on the event loop's thread, and only `recover` and `close` wait for a disk. An operation
 * with a callback calls it once, on the event loop's thread, before the operation returns or later. An operation
 * without a callback reports nothing; it is carried out in its turn. Operations take effect in the order of the calls,
 * reads and writes alike: a read sees what earlier calls did. If the store has a disk, a callback that says STORE_OK
 * says that the change is on disk. Every operation can be repeated.
 *
 *     submit ──► (plan) ──► update, lost, complete ... ──► finish ──► gc, evict or forget ──► gone ──► unknown
 *        └── [a job that has ended already] ─────────────────► │            [for one more TTL]
 *                                                            └─ a job that ended is final: nothing but gc, evict
 *                                                               and forget changes it
 */
#ifndef OFFLOAD_STORE_H
#define OFFLOAD_STORE_H

#include <stdint.h>

#include "base/attributes.h"
#include "server/model/model.h"

enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,   /* the job never existed, is another tenant's, or has been gone for longer than one TTL */
    STORE_GONE,        /* the job was deleted, evicted or expired less than one TTL ago */
    STORE_FINAL,       /* the job ended, and cannot be changed */
    STORE_EXISTS,      /* submit: another job has that Idempotency-Key */
    STORE_UNAVAILABLE, /* it cannot be recorded, or read, now */
    STORE_NO_MEMORY    /* finish: there was no memory to take it over; call again later */
};

struct store;

typedef void store_done(void *arg, enum store_result result);
/* The record is borrowed for the call. It is NULL unless the result is STORE_OK. */
typedef void store_found(void *arg, enum store_result result, struct record *record);

#define STORE_HASH_SIZE 32

/* An Idempotency-Key and the request that it stands for. The store keeps it for ttl_ms, even after its job is gone. */
struct store_key {
    const char *tenant; /* who the key belongs to: "" while there are no API keys */
    const char *key;
    uint8_t hash[STORE_HASH_SIZE]; /* of the request in canonical form */
    int64_t ttl_ms;
};
/* STORE_OK: `job` was submitted with that key and that hash. STORE_NOT_FOUND: no job has the key. `job` and `hash` are
 * borrowed for the call, and mean something only with STORE_OK. */
typedef void store_key_found(void *arg, enum store_result result, const struct id *job,
                             const uint8_t hash[STORE_HASH_SIZE]);

/* A webhook that has to be sent. A job has at most one: a second one replaces the first. It can outlive its job. */
struct delivery {
    struct id job;
    const char *url;
    struct slice body;
    unsigned attempt;  /* how often it was tried */
    int64_t due_ms;    /* when it is tried next; wall clock */
    const char *trace; /* to send with it: the text of trace.h; NULL or "": none */
};

/* What a submission has beside its record: what is needed to run the job again, or its webhook if it has ended. Borrowed
 * for the call; the store takes references. */
struct store_input {
    struct slice request; /* the JSON of the submission */
    /* NULL: none. The store keeps them until the job has ended. One that is a file without a name in the directory of
     * `spool`, and a blob_file, is not copied: the file gets a name. So nobody may write to it any more. */
    const struct job_attachments *attachments;
    struct slice plan;              /* the worker's plan as it came over the wire; empty: the job has none yet */
    const struct store_key *key;    /* NULL: none */
    const struct delivery *webhook; /* of a job that has ended; NULL: none */
};

/* A chunk that was finished or lost. Its job has not ended. */
struct store_chunk {
    uint32_t chunk;    /* its index; or STORE_PLAN, STORE_MERGE, which are never done */
    uint32_t attempt;  /* how often it was lost */
    bool done;         /* it was finished */
    struct slice part; /* what it made; empty unless it is done */
    uint32_t *poison;  /* the places of its items that are given up: poison_count, at most HOST_MAX_POISON. Borrowed */
    uint32_t poison_count;
};
#define STORE_PLAN  (UINT32_MAX - 1) /* the plan of the job, as something that was lost */
#define STORE_MERGE UINT32_MAX       /* its merge, likewise */

/* The functions that `recover` calls. All that is passed is borrowed for the call. */
struct store_recovery {
    void *arg;
    /* A job that has not ended. Jobs come in the order of their ids. The chunks of a job follow it, in the order of
     * their index; chunks_done says how many of them are done.
     *   - A job that was running when its process ended comes as JOB_RUNNING.
     *   - A plan that this build cannot use is left out, and so are its parts and poison items; chunks_total is 0 then.
     *     Chunks that were lost and not done still come, with how often that was.
     *   - A type that this build does not have comes as UINT32_MAX.
     *   - A request that was lost comes as an empty one, and is logged. Without a plan such a job cannot run again.
     *   - If an attachment was lost, the request and the plan count as lost, too, and there are no attachments.
     *   - An attachment that is a file comes as a blob_file. */
    void (*job)(void *arg, struct record *r, const struct store_input *in);
    void (*chunk)(void *arg, const struct id *job, const struct store_chunk *c);
    void (*delivery)(void *arg, const struct delivery *d);
};

struct store_ops {
    /* Records a job that was accepted. Once `done` says STORE_OK, the job will not be lost. STORE_EXISTS: nothing was
     * recorded, because the key belongs to another job (find_key says which). A job that the store already has is
     * STORE_OK, too. A job that has ended already, as its record says, is recorded with its end, as `finish` does it;
     * but if that cannot be written now, nothing is recorded. */
    void (*submit)(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg);
    /* The job was planned after it was submitted. Takes over the record's type, options and number of chunks. */
    void (*plan)(struct store *s, struct record *r, const struct slice *plan);
    /* The job runs now, or a drain has queued it again. Takes over the record's status, times, attempts and `lost`. */
    void (*update)(struct store *s, struct record *r);
    /* A chunk, the plan or the merge was lost with its worker for the c->attempt-th time. Copies c, whose part is not
     * looked at, and takes over the record's attempts and `lost`. done: NULL if nobody waits for it. A store that
     * cannot write now says STORE_UNAVAILABLE, and writes when it can. */
    void (*lost)(struct store *s, struct record *r, const struct store_chunk *c, store_done *done, void *arg);
    /* A chunk is finished, and need not run again. The store keeps its first part and ignores later ones. It also
     * ignores a part of an attempt before the last one it knows of. It takes a reference to the part. */
    void (*complete)(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt, const struct slice *part);
    /* The job ended, as the record says, which has its log. The store keeps both until record->expires_ms, and drops the
     * chunks. Before its end the log of a job is not stored: with the process it is gone. `webhook`
     * (or NULL) is recorded together with the end. The job need not have been submitted: a job that is answered inline
     * never is. A store that cannot write now says STORE_UNAVAILABLE, answers `get` from memory, and writes when it
     * can. STORE_NO_MEMORY: it has not even that; the caller tries again. */
    void (*finish)(struct store *s, struct record *r, const struct delivery *webhook, store_done *done, void *arg);
    /* The owner of the job has deleted it. The job is gone for one more TTL, and then unknown. `tenant` (NULL: anybody's)
     * is borrowed for the call: a job of another one is STORE_NOT_FOUND, even if it is gone; likewise in `get`. */
    void (*forget)(struct store *s, const struct id *id, const char *tenant, store_done *done, void *arg);
    void (*get)(struct store *s, const struct id *id, const char *tenant, store_found *found, void *arg);
    /* Lists jobs that have ended, the newest first: the caller knows those that have not. Calls `found` once for each
     * match, and then once with record NULL. Records come without results, summaries and logs. The filter and its
     * tenant are borrowed for the call. */
    void (*list)(struct store *s, const struct record_filter *f, store_found *found, void *arg);
    void (*find_key)(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg);
    /* Records a webhook by itself, or the time of its next attempt. `delivered` forgets it. */
    void (*deliver)(struct store *s, const struct delivery *d);
    void (*delivered)(struct store *s, const struct id *job);
    /* Drops the jobs, tombstones and keys that have expired by now_ms. Returns when to call again (wall clock; that can
     * be earlier than needed); 0: nothing will expire. */
    int64_t (*gc)(struct store *s, int64_t now_ms);
    /* Somebody has set the wall clock forward by by_ms (back, if that is negative). Moves all times of expiry by as
     * much. */
    void (*adjust_clock)(struct store *s, int64_t by_ms);
    /* Evicts the oldest ended jobs until `bytes` of memory are free, and returns how many bytes became free. A store
     * that keeps no results in memory returns 0. */
    uint64_t (*evict)(struct store *s, uint64_t bytes);
    /* Says in a few words why the store cannot record anything now, as far as it knows. A constant; NULL: it can. A store
     * on disk looks after its files when it is asked: what it finds is said the next time. */
    const char *(*trouble)(struct store *s);
    /* The directory in which the caller can make files without a name (O_TMPFILE in open(2)) for the attachments of jobs
     * that will be submitted: then the store need not copy them. Lasts as long as the store. NULL: it has none. */
    const char *(*spool)(struct store *s);
    /* Reports all jobs that have not ended, and all webhooks that have not been sent. Call it once, before any other
     * operation. Unlike those, it reads the disk before it returns. 0, or -1 if the disk could not be read (it logs
     * why). */
    int (*recover)(struct store *s, const struct store_recovery *to);
    /* Writes what has not been written yet, calls the callbacks of all operations, and frees the store. */
    void (*close)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};

/* How much of ended jobs a store keeps before their TTL is over. Beyond these bounds it evicts the jobs that ended
 * first. 0: no limit. */
struct store_limits {
    uint64_t max_ended;       /* jobs */
    uint64_t max_ended_bytes; /* of records, results and errors. The job that ended last stays, even if it is larger */
};

/* Opens a store in memory. `limits` is copied. `tombstones`: a job that is evicted because of the limits is gone for
 * one more TTL; otherwise it is unknown at once. NULL if memory ran out. */
MUST_CHECK struct store *store_memory_open(const struct store_limits *limits, bool tombstones);

struct loop;

/* Whether store_sqlite_open could use or make that directory, as far as that can be seen without changing anything. 0,
 * or -1 with one line in `error`. */
MUST_CHECK int store_sqlite_check(const char *directory, struct buf *error);

/* Opens a store in a directory, which it makes (mode 0700) if it is missing, and locks. `limits` is copied; `loop` must
 * outlive the store. NULL with one line in `error`. */
MUST_CHECK struct store *store_sqlite_open(struct loop *loop, const char *directory, const struct store_limits *limits,
                                           struct buf *error);

#endif
