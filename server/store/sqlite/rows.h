/* rows.h: records and payloads as columns of the tables. Store thread; front end in recovery. */
#ifndef OFFLOAD_STORE_ROWS_H
#define OFFLOAD_STORE_ROWS_H

#include "server/model/model.h"
#include "server/store/sqlite/statement.h"

/* ---- the text of statements -------------------------------------------------------------------------------------- */

void row_write_columns(struct buf *out); /* their names, with commas: all but id; the result is the last one */
void row_write_values(struct buf *out);  /* ?2, ?3 ... */
/* How many there are, with the id. The result is the last one: it is column row_columns() - 1 of a row that was read,
 * and parameter row_columns() of a row that is written. */
int row_columns(void);

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* What the record counts against max_ended_bytes. */
uint64_t row_bytes(const struct record *r, size_t result_size);
/* Binds ?1 (the id) and all other columns but the result. `r` must stay as it is until the statement was run. */
void row_bind(sqlite3_stmt *q, const struct record *r, size_t result_size);
/* Reads a row that has the id in column 0, and then the columns. Returns a new record without its result, with one
 * reference; NULL if memory ran out. */
MUST_CHECK struct record *row_read(sqlite3_stmt *q);

/* ---- payloads ---------------------------------------------------------------------------------------------------- */

/* Binds a payload: NULL when it is empty, its bytes when it is small, the number of its file when it is large. */
void payload_bind(struct sql *s, sqlite3_stmt *q, int at, const struct id *job, struct payload *p);
/* 0; -1: it cannot be read (errno; ENOENT: its file is not there). stored_deinit `out`. */
MUST_CHECK int payload_read(struct sql *s, sqlite3_stmt *q, int column, const struct id *job, enum file_role role,
                            struct stored *out);

#endif
