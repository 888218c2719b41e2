/* directory.h: the data directory. Front end, when the store is opened or recovered. */
#ifndef OFFLOAD_STORE_DIRECTORY_H
#define OFFLOAD_STORE_DIRECTORY_H

#include "base/attributes.h"
#include "base/buf.h"

/* Makes the directory (mode 0700) with its parents, and locks it. Returns the descriptor that holds the lock; closing
 * it releases the lock. -1 with one line in `error`. */
MUST_CHECK int directory_lock(const char *path, struct buf *error);

/* Whether directory_lock could make the directory or use it, as far as that can be seen without changing anything: a
 * lock that another process holds is not found. 0, or -1 with one line in `error`. */
MUST_CHECK int directory_check(const char *path, struct buf *error);

/* Renames the database and the directory of its payloads: the new names contain ".corrupt-" and a time. Logs the new
 * name of the database, and `why`. 0, or -1 if something could not be renamed. */
MUST_CHECK int directory_set_aside(const char *path, const char *why);

#endif
