/* store_private.h: shared by the files of the store on disk only. Nothing here knows of SQLite; store_sql.h does.
 *
 *     event loop's thread                                           the store thread
 *     store_sqlite.c  calls become struct op                        store_sql.c     a batch, a transaction
 *     store_queue.c   ──── queue ────► takes all there is ────────► store_apply.c   what each op does
 *          ▲                                                        store_rows.c    records as rows
 *          └───────── eventfd ◄── hands the batch back ◄─────────── store_files.c   large payloads
 *
 *     store_schema.c, store_recover.c: opening and recovery, in the caller's time, before the thread has anything to do
 *
 * An op belongs to the event loop until it is queued, to the store thread until it is handed back, and to the event
 * loop again. Counted references (records, slices) are taken and dropped by the event loop alone. The store thread
 * reads the bytes of slices, which do not change, and the op's own copy of the record.
 */
#ifndef OFFLOAD_STORE_PRIVATE_H
#define OFFLOAD_STORE_PRIVATE_H

#include <pthread.h>

#include "base/loop.h"
#include "server/store/store.h"

#define STORE_INLINE_BYTES (32 * 1024) /* a larger payload is a file */

/* ---- store_directory.c ------------------------------------------------------------------------------------------- */

/* Makes the directory (mode 0700) with its parents, and locks it. Returns the descriptor that holds the lock, or -1
 * with one line in `error`. */
int store_directory_lock(const char *path, struct buf *error);
/* Renames the database and its payloads to names that end in .corrupt-<time>, and logs where they are. 0, or -1. */
int store_directory_set_aside(const char *path, const char *why);

/* ---- store_files.c ----------------------------------------------------------------------------------------------- */

enum file_role { FILE_REQUEST, FILE_PLAN, FILE_PART, FILE_RESULT, FILE_WEBHOOK, FILE_ROLES };

/* A file is written once, under a number that is never used again, and removed when no row names it. */
struct files {
    int directory;
    int64_t last_number;
    bool unsynced; /* a file was renamed since the directory was synced */
    struct dropped_file *dropped;
    size_t dropped_count, dropped_room;
};

struct payload {
    enum file_role role;
    uint32_t chunk;
    struct slice slice;
    int64_t number; /* of its file, written and synced; 0: none */
    bool used;      /* a row names the file */
};

/* What was read back, on plain memory: the event loop makes a slice of it. */
struct stored {
    char *bytes; /* heap; NULL: fd */
    int fd;      /* or -1 */
    size_t size; /* 0: nothing */
};

int files_open(struct files *f, const char *path); /* 0, or -1 with errno */
void files_close(struct files *f);
/* Writes and syncs the payload's file. 0, or -1 with errno. */
int files_write(struct files *f, const struct id *job, struct payload *p);
int files_sync(struct files *f); /* the directory: before the commit. 0, or -1 with errno */
int files_read(const struct files *f, const struct id *job, enum file_role role, int64_t number, struct stored *out);
void files_remove(struct files *f, const struct id *job, enum file_role role, int64_t number); /* now */
void files_drop(struct files *f, const struct id *job, enum file_role role, int64_t number);   /* after the commit */
void files_committed(struct files *f);
void files_rolled_back(struct files *f);
/* Removes every file whose number is not among those, in ascending order; marks those that are there. 0, or -1. */
int files_sweep(struct files *f, const int64_t *numbers, bool *there, size_t count);

void stored_deinit(struct stored *s);
/* On the heap, or on the file itself. Takes over what `s` has; empty, too, if memory ran out. Event loop. */
struct slice stored_slice(struct stored *s);
/* In memory that a worker takes: on the heap, or a sealed memfd; with `front` in place of its first bytes. 0, or -1. */
int stored_copy(const struct stored *s, const void *front, size_t front_size, struct slice *out);

/* ---- an operation ------------------------------------------------------------------------------------------------ */

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

struct op {
    struct op *next; /* in the queue or a batch */
    enum op_kind kind;

    /* What is to be done. The strings lie in `text`. */
    struct id id;
    struct record row; /* a copy; its result is in payloads[0] */
    struct payload payloads[2];
    unsigned payload_count;
    uint32_t chunk, attempt;
    const char *tenant, *key; /* key NULL: none */
    uint8_t hash[STORE_HASH_SIZE];
    int64_t key_expires_ms;
    const char *url; /* of a webhook; NULL: none. Its body is the last payload */
    unsigned tries;
    int64_t webhook_due_ms;
    struct store_filter filter;
    int64_t time_ms; /* the time of the call; OP_ADJUST_CLOCK: by how much */

    /* What came of it. */
    enum store_result result;
    const char *trouble;   /* the store cannot work: why, a constant; NULL: it did */
    int code;              /* SQLite's, or errno */
    bool superseded;       /* its job ends in the same batch: it was not carried out */
    bool refused;          /* this op alone cannot be carried out */
    bool more;             /* OP_GC: there is more to do */
    int64_t due_ms;        /* something expires then; 0: nothing */
    struct record **found; /* heap, count of them */
    size_t found_count;
    struct stored stored; /* OP_GET: the result */
    struct id key_job;

    /* The event loop's own. */
    union {
        store_done *done;
        store_found *found;
        store_key_found *key_found;
    } tell;
    void *arg;
    struct record *record; /* OP_FINISH: answers `get` while it cannot be written */
    bool in_flight;        /* among the pending: it is being tried again */
    struct op *pending_prev, *pending_next;
    char text[];
};

/* ---- store_sql.c and its helpers --------------------------------------------------------------------------------- */

struct sql;

/* Opens or makes the database in the locked directory; one that is corrupt is set aside. NULL with a line in
 * `error`. */
struct sql *sql_open(const char *path, const struct store_limits *limits, struct buf *error);
void sql_close(struct sql *s);
/* Carries out a list of ops in one transaction, and fills in what came of each. */
void sql_run(struct sql *s, struct op *batch);
int64_t sql_next_due_ms(struct sql *s); /* when the first thing expires; 0: nothing does */
int sql_recover(struct sql *s, const struct store_recovery *to);

/* ---- store_queue.c ----------------------------------------------------------------------------------------------- */

struct sqlite_store {
    struct store base;
    struct loop *loop;
    struct sql *sql;
    char *path;
    int lock_fd;

    pthread_t thread;
    pthread_mutex_t lock; /* held for a few instructions: of what follows up to `stopping` */
    pthread_cond_t wake;
    struct op *todo, **todo_end;
    struct op *done, **done_end;
    bool paused; /* recovery uses the database */
    bool stopping;
    unsigned max_batch; /* ops in one transaction; 0: all there are */

    struct watch returned; /* eventfd */
    struct timer wake_timer, probe_timer;
    struct op *pending; /* ops that cannot be written now and must be */
    const char *trouble;
    bool broken; /* until the restart */
    int64_t next_due_ms;
    bool gc_posted;
};

bool op_reads(enum op_kind kind);        /* it only reads. Any thread */
int queue_start(struct sqlite_store *s); /* 0, or -1 */
void queue_stop(struct sqlite_store *s); /* all that was posted is done, and its callbacks were called */
/* Takes the op. In times of trouble it may be refused at once, or kept till they are over. */
void queue_post(struct sqlite_store *s, struct op *op);
void queue_suspend(struct sqlite_store *s, bool paused);
/* The bench's: at most that many ops in one transaction. */
void store_sqlite_set_max_batch(struct store *s, unsigned ops);

#endif
