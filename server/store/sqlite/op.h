/* op.h: an operation of the store, between the call that posts it and the callback that tells what came of it.
 *
 * An op belongs to the event loop until it is queued, to the store thread until it is handed back, and to the event
 * loop again. The event loop alone takes and drops counted references (records, slices). The store thread reads the
 * bytes of slices, which do not change, and the op's own copy of the record.
 */
#ifndef OFFLOAD_STORE_OP_H
#define OFFLOAD_STORE_OP_H

#include <uthash.h>

#include "base/attributes.h"
#include "server/store/sqlite/files.h"
#include "server/store/store.h"

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
    OP_PROBE, /* writes something, to see whether that is possible */
    OP_KINDS
};

/* What there is to know about one kind of operation. The table of them is in sqlite.c. */
struct operation {
    /* Store thread: does it, within a transaction. Sets op->result, and op->outcome if that is not OP_DONE. Errors of
     * SQLite are kept in `s`. May be called again after the transaction was rolled back. */
    void (*apply)(struct sql *s, struct op *op);
    /* Event loop: tells the caller. Called once for each op, whatever came of it; the op is freed afterwards. */
    void (*complete)(struct queue *q, struct op *op);
    bool must_last; /* it is tried until it is written. Otherwise it may be lost, and a restart does without it */
    bool reads;     /* it writes nothing */
    bool is_step;   /* it says how far an open job has come: the end of the job makes it superfluous */
};

/* What became of an op. From OP_IN_TROUBLE on the store cannot work, and op->trouble says why. */
enum op_outcome {
    OP_WAITING,    /* it was not tried yet */
    OP_DONE,       /* op->result says what the answer is */
    OP_MORE,       /* a part was done: the same has to be posted again */
    OP_SUPERSEDED, /* it was left out, because its job ends in the same batch */
    OP_FAILED,     /* this op alone cannot be carried out; op->code */
    OP_IN_TROUBLE, /* the disk does not work; op->code */
    OP_BROKEN      /* the database is corrupt; op->code */
};

struct op {
    struct op *next; /* in the queue or a batch */
    enum op_kind kind;
    const struct operation *operation;

    /* What is to be done. The strings are in `text`. */
    struct id id;
    struct record row; /* a copy; its result is in payloads[0] */
    struct payload payloads[2];
    unsigned payload_count;
    uint32_t chunk, attempt;
    const char *tenant, *key; /* key NULL: none */
    uint8_t hash[STORE_HASH_SIZE];
    int64_t key_expires_ms;
    const char *url; /* of a webhook, whose body is the last payload; NULL: none */
    unsigned tries;
    int64_t webhook_due_ms;
    struct store_filter filter;
    int64_t time_ms; /* wall clock, of the call; OP_ADJUST_CLOCK: by how much */

    /* What came of it. */
    enum op_outcome outcome;
    enum store_result result;
    const char *trouble;   /* a constant; see enum op_outcome */
    int code;              /* SQLite's, or errno */
    int64_t due_ms;        /* something expires then; 0: nothing */
    struct record **found; /* heap, found_count of them */
    size_t found_count;
    struct stored stored; /* OP_GET: the result */
    struct id key_job;

    UT_hash_handle hh; /* the store thread's: the ends of a batch, by id */

    /* The event loop's own. */
    union {
        store_done *done; /* NULL: there is no callback, or it was called */
        store_found *found;
        store_key_found *key_found;
    } tell;
    void *arg;
    struct record *record;                  /* OP_FINISH: answers `get` while it cannot be written */
    struct op *pending_prev, *pending_next; /* in the queue's list of what must still be written */
    bool in_flight;                         /* it is in that list, and is being tried again */

    char *text_end; /* of what `text` holds */
    char text[];
};

/* ---- making one. Event loop -------------------------------------------------------------------------------------- */

/* With room for text_bytes of strings; `id` may be NULL. op_free it. NULL if memory ran out. */
MUST_CHECK struct op *op_new(enum op_kind kind, const struct operation *operation, const struct id *id,
                             size_t text_bytes);
void op_free(struct op *op);

/* What the strings take; NULL: nothing. */
size_t op_text_bytes(const char *text);
size_t op_row_bytes(const struct record *r);

/* Each copies what it is given; the room for the strings must have been asked for. */
void op_set_row(struct op *op, const struct record *r); /* as it is now: the live record goes on changing */
void op_set_key(struct op *op, const char *tenant, const char *key);
void op_set_webhook(struct op *op, const struct delivery *d);
/* Takes a reference to the slice. At most two for each op. */
void op_add_payload(struct op *op, enum file_role role, uint32_t chunk, const struct slice *slice);

/* ---- what came of it --------------------------------------------------------------------------------------------- */

static inline bool op_in_trouble(const struct op *op) {
    return op->outcome >= OP_IN_TROUBLE;
}

/* An op with a store_done: calls it, unless it was called before. Event loop. */
void op_tell_done(struct op *op, enum store_result result);

#endif
