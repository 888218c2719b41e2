/* rows.h: records and payloads as columns of the tables. Store thread; the front end while it opens or recovers the
 * store, or when that thread has ended. */
#ifndef OFFLOAD_STORE_ROWS_H
#define OFFLOAD_STORE_ROWS_H

#include "server/model/model.h"
#include "server/store/sqlite/statement.h"

/* ---- the text of statements -------------------------------------------------------------------------------------- */

void row_write_columns(struct buf *out); /* appends the names of all columns except the id, with commas */
void row_write_values(struct buf *out);  /* appends the parameters of the same columns: ?2, ?3 ... */
/* How many there are, with the id. The result is the last one: it is column row_columns() - 1 of a row that was read,
 * and parameter row_columns() of a row that is written. */
int row_columns(void);

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* How many bytes the record counts against max_ended_bytes. */
uint64_t row_bytes(const struct record *r, size_t result_size);
/* Binds ?1 (the id) and all other columns except the result. The statement borrows the texts of `r` until it has
 * run. */
void row_bind(sqlite3_stmt *q, const struct record *r, size_t result_size);
/* Reads a row that has the id in column 0, and the other columns behind it. Returns a new record without its result,
 * with one reference. NULL if memory ran out, or the row has no id. */
MUST_CHECK struct record *row_read(sqlite3_stmt *q);

/* ---- payloads ---------------------------------------------------------------------------------------------------- */

/* Binds a payload: NULL if it is empty, its bytes if it is small, the number of its file if it is large. Then it also
 * writes the row that names the file. The statement borrows the bytes until it has run. */
void payload_bind(struct sql *s, sqlite3_stmt *q, int at, const struct id *job, struct payload *p);
/* Reads a payload. 0, or -1 with errno; ENOENT: its file is missing. The caller calls stored_deinit on `out`. */
MUST_CHECK int payload_read(struct sql *s, sqlite3_stmt *q, int column, const struct id *job, enum file_role role,
                            struct stored *out);

#endif
