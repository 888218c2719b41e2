/* store_sql.h: shared by the files that speak SQL only: store_schema.c, store_rows.c, store_apply.c, store_sql.c,
 * store_recover.c. */
#ifndef OFFLOAD_STORE_SQL_H
#define OFFLOAD_STORE_SQL_H

#include <sqlite3.h>

#include "server/store/sqlite/private.h"

enum statement {
    SQL_BEGIN,
    SQL_BEGIN_WRITING,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PROBE,
    SQL_JOB_STATE,
    SQL_TOMBSTONE,
    SQL_PUT_JOB,
    SQL_GET_JOB,
    SQL_DELETE_JOB,
    SQL_COUNT_CHUNK,
    SQL_LIST,
    SQL_LIST_OPEN,
    SQL_LIST_ENDED,
    SQL_PUT_INPUT,
    SQL_PUT_PLAN,
    SQL_DELETE_INPUT,
    SQL_GET_CHUNK,
    SQL_PUT_CHUNK,
    SQL_LOSE_CHUNK,
    SQL_UNDO_CHUNK,
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

/* What is kept of ended jobs; rolled back with the transaction. */
struct totals {
    uint64_t ended, bytes;
};

struct sql {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    char *path; /* of the directory */
    struct store_limits limits;
    struct files files;
    struct totals totals;
    int code; /* the first thing that went wrong since it was last SQLITE_OK: all after it is void */
    int system_errno;
};

/* ---- store_schema.c: also sql_open and sql_close */
bool sql_is_corrupt(int code);
int sql_reopen(struct sql *s); /* sets a corrupt database aside, and begins with a new one. 0, or -1 */

/* ---- store_sql.c */
/* The statement, ready to be bound. */
sqlite3_stmt *sql_use(struct sql *s, enum statement n);
/* True: there is a row. False: there is none, or it went wrong (s->code); then the statement has been reset. */
bool sql_step(struct sql *s, sqlite3_stmt *q);
void sql_run_statement(struct sql *s, sqlite3_stmt *q); /* to its end */
void sql_fail(struct sql *s, int code, int system_errno);
void sql_bind_id(sqlite3_stmt *q, int at, const struct id *id);
bool sql_read_id(sqlite3_stmt *q, int column, struct id *id);
/* In a word or two, as a constant. NULL: it is no fault of the disk's, but of the op's. */
const char *sql_trouble(int code, int system_errno);

/* ---- store_rows.c: a record as the columns of `jobs` */
void row_write_columns(struct buf *out); /* their names, with commas: all but id, the result last */
void row_write_values(struct buf *out);  /* ?2, ?3 ... */
uint64_t row_bytes(const struct record *r, size_t result_size);
/* Binds ?1 and the rest; the result apart, at this place: */
void row_bind(sqlite3_stmt *q, const struct record *r, size_t result_size);
int row_result_parameter(void);
/* id, then the columns, from column 0 on. A new record without its result, or NULL if memory ran out. Store thread. */
struct record *row_read(sqlite3_stmt *q);
int row_columns(void); /* with the id: the column of the result is the last of them */

/* A payload as the value of a column: NULL when empty, its bytes when small, the number of its file when large. */
void payload_bind(struct sql *s, sqlite3_stmt *q, int at, const struct id *job, struct payload *p);
/* 0; -1: it cannot be read (errno; ENOENT: its file is not there). stored_deinit. */
int payload_read(struct sql *s, sqlite3_stmt *q, int column, const struct id *job, enum file_role role,
                 struct stored *out);

/* ---- store_overtaken.c */
/* Sets op->superseded. After the payloads of ends were written, before those of other ops. */
void mark_superseded(struct op *batch);

/* ---- store_apply.c */
void apply(struct sql *s, struct op *op);
void apply_drop_files(struct sql *s, const struct id *job, enum file_role from, enum file_role to);
void apply_bury(struct sql *s, const struct id *id, int64_t now_ms, struct op *op);
void apply_drop_plan(struct sql *s, const struct id *id); /* the plan and the chunks made by it */

#endif
