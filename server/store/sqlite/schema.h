/* schema.h: opens and closes the database. Front end, while the store thread is suspended or not running. */
#ifndef OFFLOAD_STORE_SCHEMA_H
#define OFFLOAD_STORE_SCHEMA_H

#include "server/store/sqlite/statement.h"

/* Opens or makes the database in the locked directory, and brings it to the present schema. A corrupt database is set
 * aside, and an empty one takes its place. Copies `path` and `limits`. The caller calls sql_close. NULL with one line
 * in `error`, or with an empty `error` if memory ran out. */
MUST_CHECK struct sql *sql_open(const char *path, const struct store_limits *limits, struct buf *error);
/* Sets a corrupt database aside, and continues with an empty one. 0, or -1 (it logs why). */
MUST_CHECK int sql_reopen(struct sql *s);
/* Writes the log of SQLite back into the database, closes it, and frees `s`. */
void sql_close(struct sql *s);

#endif
