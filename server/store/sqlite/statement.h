/* statement.h: the connection to SQLite and its prepared statements. Store thread; the front end while it opens or
 * recovers the store, or when that thread has ended.
 *
 * The first error stays in `code`, and statements do nothing from then on. The function that ends the transaction looks
 * at `code` once, so the functions in between need not test each statement.
 */
#ifndef OFFLOAD_STORE_STATEMENT_H
#define OFFLOAD_STORE_STATEMENT_H

#include <sqlite3.h>

#include "base/attributes.h"
#include "server/store/sqlite/files.h"
#include "server/store/sqlite/presence.h"
#include "server/store/store.h"

enum statement {
    SQL_BEGIN,
    SQL_BEGIN_WRITING,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PROBE,
    SQL_JOB_STATE,
    SQL_TOMBSTONE,
    SQL_IS_OF_TENANT,
    SQL_PUT_JOB,
    SQL_GET_JOB,
    SQL_DELETE_JOB,
    SQL_PUT_LOG,
    SQL_GET_LOG,
    SQL_DELETE_LOG,
    SQL_PUT_SUMMARY,
    SQL_GET_SUMMARY,
    SQL_DELETE_SUMMARY,
    SQL_COUNT_CHUNK,
    SQL_LIST,
    SQL_LIST_TENANT,
    SQL_LIST_TYPE,
    SQL_PUT_INPUT,
    SQL_PUT_PLAN,
    SQL_DELETE_INPUT,
    SQL_PUT_ATTACHMENT,
    SQL_GET_ATTACHMENTS,
    SQL_DELETE_ATTACHMENTS,
    SQL_GET_CHUNK,
    SQL_PUT_CHUNK,
    SQL_LOSE_CHUNK,
    SQL_UNDO_CHUNK,
    SQL_DELETE_PARTS,
    SQL_DROP_POISON,
    SQL_DELETE_CHUNKS,
    SQL_BURY,
    SQL_FIND_KEY,
    SQL_PUT_KEY,
    SQL_PUT_DELIVERY,
    SQL_DELETE_DELIVERY,
    SQL_PUT_FILE,
    SQL_DELETE_FILES,
    SQL_FILES,
    SQL_OLDEST_ENDED,
    SQL_TOTALS,
    SQL_EXPIRED_JOBS,
    SQL_DELETE_TOMBSTONES,
    SQL_DELETE_KEYS,
    SQL_NEXT_DUE,
    SQL_ADJUST_JOBS,
    SQL_ADJUST_TOMBSTONES,
    SQL_ADJUST_KEYS,
    SQL_RECOVER_JOBS,
    SQL_RECOVER_CHUNKS,
    SQL_RECOVER_DELIVERIES,
    SQL_COUNT
};

/* How many ended jobs there are, and what they count against max_ended_bytes. Rolled back with the transaction. */
struct totals {
    uint64_t ended, bytes;
};

struct sql {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    char *path; /* of the directory */
    struct store_limits limits;
    struct files files;
    struct presence presence;
    struct totals totals;
    int code;         /* the first error since it was last set to SQLITE_OK */
    int system_errno; /* the errno of that error; 0: unknown */
};

/* The statement, with nothing bound. */
sqlite3_stmt *sql_use(struct sql *s, enum statement n);
void sql_bind_id(sqlite3_stmt *q, int at, const struct id *id);

/* True: there is a row. False: there is none, or s->code says what went wrong; the statement was reset. A caller that
 * stops before that calls sqlite3_reset. */
MUST_CHECK bool sql_step(struct sql *s, sqlite3_stmt *q);
/* Runs the statement to its end, and ignores its rows. */
void sql_run(struct sql *s, sqlite3_stmt *q);
/* Runs a statement that needs no parameter but ?1, the job. */
void sql_run_for_job(struct sql *s, enum statement n, const struct id *job);

/* False: the column has no id. */
MUST_CHECK bool sql_read_id(sqlite3_stmt *q, int column, struct id *id);

/* Sets s->code and s->system_errno, unless there was an error before. */
void sql_fail(struct sql *s, int code, int system_errno);
bool sql_is_corrupt(int code);

#endif
