/* directory.h: the data directory. Front end, at the start; the store thread does not touch it. */
#ifndef OFFLOAD_STORE_DIRECTORY_H
#define OFFLOAD_STORE_DIRECTORY_H

#include "base/attributes.h"
#include "base/buf.h"

/* Makes the directory (mode 0700) with its parents, and locks it. Returns the descriptor that holds the lock; closing
 * it releases the lock. -1 with one line in `error`. */
MUST_CHECK int directory_lock(const char *path, struct buf *error);

/* Renames the database and its payloads to names that end in .corrupt-<time>, and logs where they are. `why`: for the
 * log. 0, or -1 if something could not be renamed. */
MUST_CHECK int directory_set_aside(const char *path, const char *why);

#endif
