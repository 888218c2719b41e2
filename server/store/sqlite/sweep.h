/* sweep.h: makes the files of payloads and the rows that name them agree. Front end, when the database is opened. */
#ifndef OFFLOAD_STORE_SWEEP_H
#define OFFLOAD_STORE_SWEEP_H

#include "server/store/sqlite/statement.h"

/* Removes the files that no row names. Makes tombstones of ended jobs whose result is missing, and logs them. Returns
 * SQLITE_OK, or the code of what went wrong. */
MUST_CHECK int sweep_files(struct sql *s);

#endif
