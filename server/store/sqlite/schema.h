/* schema.h: opens and closes the database. Front end, while the store thread does not use it. */
#ifndef OFFLOAD_STORE_SCHEMA_H
#define OFFLOAD_STORE_SCHEMA_H

#include "server/store/sqlite/statement.h"

/* Opens or makes the database in the locked directory, and brings it to the present schema. One that is corrupt is set
 * aside, and an empty one takes its place. sql_close it. NULL with one line in `error`. */
MUST_CHECK struct sql *sql_open(const char *path, const struct store_limits *limits, struct buf *error);
/* Sets a corrupt database aside, and goes on with an empty one. 0, or -1 (it logged why). */
MUST_CHECK int sql_reopen(struct sql *s);
void sql_close(struct sql *s);

#endif
