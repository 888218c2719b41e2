/* op.h: an operation of the store, between the call that posts it and the callback that reports its result.
 *
 * An op belongs to the event loop until it is queued, then to the store thread until its batch is returned, and then to
 * the event loop again. Only the event loop takes and drops references to records and slices. The store thread reads
 * the bytes of slices, which do not change, and the op's own copy of the record.
 */
#ifndef OFFLOAD_STORE_OP_H
#define OFFLOAD_STORE_OP_H

#include "base/attributes.h"
#include "base/table.h"
#include "base/tree.h"
#include "server/store/sqlite/files.h"
#include "server/store/store.h"

#define OP_FEW_PAYLOADS 2 /* nearly every op has at most so many */

struct sql;
struct queue;
struct op;

enum op_kind {
    OP_SUBMIT,
    OP_PLAN,
    OP_UPDATE,
    OP_LOST,
    OP_COMPLETE,
    OP_FINISH,
    OP_FORGET,
    OP_GET,
    OP_LIST,
    OP_FIND_KEY,
    OP_DELIVER,
    OP_DELIVERED,
    OP_GC,
    OP_ADJUST_CLOCK,
    OP_LOOK,  /* looks whether the files of the store are in their place */
    OP_PROBE, /* writes something, to see whether that is possible */
    OP_KINDS
};

/* One kind of operation. The table of them is in sqlite.c. */
struct operation {
    /* Store thread: carries out the op, within a transaction. Sets op->result, and op->outcome if that is not OP_DONE.
     * Errors of SQLite stay in `s`. Can be called again after the transaction was rolled back. */
    void (*apply)(struct sql *s, struct op *op);
    /* Event loop: calls the caller's callback. Called once for each op, in the end, with any outcome; then the op is
     * freed. */
    void (*complete)(struct queue *q, struct op *op);
    bool must_last; /* it is tried until it is written. Any other op can be lost: a restart works without it */
    bool reads;     /* it writes nothing */
    bool is_step;   /* it says how far an open job has come. The end of the job supersedes it */
};

/* The outcome of an op. With OP_IN_TROUBLE and OP_BROKEN the store does not work, and op->trouble says why. */
enum op_outcome {
    OP_WAITING,    /* it was not tried yet */
    OP_DONE,       /* op->result is the answer */
    OP_MORE,       /* a part of it was done: it has to be posted once more */
    OP_SUPERSEDED, /* it was not carried out, because its job ends in the same batch */
    OP_FAILED,     /* this op alone cannot be carried out; op->code says why */
    OP_IN_TROUBLE, /* the disk does not work; op->code says why */
    OP_BROKEN      /* the database is corrupt; op->code says how */
};

struct op {
    struct op *next; /* in the queue or a batch */
    enum op_kind kind;
    const struct operation *operation;

    /* What has to be done. The strings are in `text`. */
    struct id id;
    struct record row;           /* a copy; its result is in payloads[0] */
    struct record_binary binary; /* row.binary, if it is not NULL */
    struct payload *payloads;    /* `few`, or heap */
    unsigned payload_count;
    struct payload few[OP_FEW_PAYLOADS];
    uint32_t chunk, attempt;
    const char *poison; /* poison_bytes: the places of poison items, u32 each */
    size_t poison_bytes;
    const char *log;          /* row.log_size bytes: of a job that has ended; row.log is NULL */
    const char *tenant, *key; /* key NULL: none. Of OP_GET, OP_FORGET and OP_LIST: who asks; NULL sees all jobs */
    uint8_t hash[STORE_HASH_SIZE];
    int64_t key_expires_ms;
    const char *url; /* of a webhook, whose body is the last payload; NULL: none */
    unsigned tries;  /* how often the webhook was tried */
    int64_t webhook_due_ms;
    struct record_filter filter;
    int64_t time_ms; /* of the call, wall clock; OP_ADJUST_CLOCK: by how much the clock was set */

    /* What it has led to. */
    enum op_outcome outcome;
    enum store_result result;
    const char *trouble;   /* a constant; see enum op_outcome */
    int code;              /* SQLite's, or errno */
    int64_t due_ms;        /* something expires then (wall clock); 0: nothing does */
    struct record **found; /* heap, found_count of them */
    size_t found_count;
    struct stored stored; /* OP_GET: the job's result */
    struct id key_job;    /* the job that has the key */

    UT_hash_handle hh; /* the store thread's: the ends of a batch, by id */

    /* The event loop's own. */
    union {
        store_done *done; /* NULL: the caller has none, or it was called already */
        store_found *found;
        store_key_found *key_found;
    } callback;
    void *arg;
    struct record *record;                  /* OP_FINISH: answers `get` while the end cannot be written */
    struct op *pending_prev, *pending_next; /* in the queue's list of ops that must still be written */
    struct tree_node end;                   /* in the queue's tree of those that end or forget a job */
    bool is_end;                            /* it is in that tree */
    size_t held;                            /* bytes counted for it in HELD_STORE */
    bool in_flight;                         /* it is in that list, and the store thread is trying it again */

    char *text_end; /* where the next string goes */
    char text[];
};

/* ---- making one. Event loop -------------------------------------------------------------------------------------- */

/* A new op with room for text_bytes of strings. `id` can be NULL. The caller calls op_free, or gives the op to
 * queue_post. NULL if memory ran out. */
MUST_CHECK struct op *op_new(enum op_kind kind, const struct operation *operation, const struct id *id,
                             size_t text_bytes);
void op_free(struct op *op);
/* Counts more bytes in HELD_STORE, until op_free: for what the op will read. */
void op_hold(struct op *op, size_t bytes);

/* How many bytes the strings need, with their NULs. A string that is NULL needs none. */
size_t op_text_bytes(const char *text);
size_t op_row_bytes(const struct record *r);

/* Each of these copies what it is given. op_new must have been asked for enough room. */
void op_set_row(struct op *op, const struct record *r); /* as the record is now: the live one goes on changing */
void op_set_key(struct op *op, const char *tenant, const char *key);
/* Who asks, also in op->filter; NULL: who sees all jobs. */
void op_set_viewer(struct op *op, const char *tenant);
void op_set_webhook(struct op *op, const struct delivery *d);
/* Also which chunk it is, and how often it was lost. Needs c->poison_count * sizeof(uint32_t) bytes of text. */
void op_set_loss(struct op *op, const struct store_chunk *c);
/* Makes room for so many payloads. Without a call there is room for OP_FEW_PAYLOADS. False: memory ran out. */
MUST_CHECK bool op_reserve_payloads(struct op *op, size_t count);
/* Takes a reference to the slice. */
void op_add_payload(struct op *op, enum file_role role, uint32_t chunk, const struct slice *slice);
/* Takes a reference to the attachment with that number. */
void op_add_attachment(struct op *op, uint32_t number, const struct job_attachment *a);

/* ---- results ----------------------------------------------------------------------------------------------------- */

static inline bool op_in_trouble(const struct op *op) {
    return op->outcome >= OP_IN_TROUBLE;
}

/* Calls callback.done, unless the caller has none or it was called before. Event loop. */
void op_call_done(struct op *op, enum store_result result);

#endif
