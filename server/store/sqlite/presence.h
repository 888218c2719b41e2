/* presence.h: whether the files of the store are still where they were opened. An administrator or another program can
 * remove, move or replace them while the service runs. The service would go on with files that have no name any more,
 * and what it writes there is lost at the next start. Store thread; the front end while it opens the store, or when
 * that thread has ended.
 *
 * A file is known by its device and its inode. The service has each of these files open, so no other file can get its
 * inode meanwhile. It does not see that somebody writes into one of them. */
#ifndef OFFLOAD_STORE_PRESENCE_H
#define OFFLOAD_STORE_PRESENCE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/attributes.h"

enum presence_file {
    PRESENCE_LOCK,
    PRESENCE_DATABASE,
    PRESENCE_LOG,    /* SQLite's write-ahead log */
    PRESENCE_SHARED, /* its index, which other programs share (a backup) */
    PRESENCE_FILES,  /* the directory of large payloads */
    PRESENCE_COUNT
};

struct presence {
    int files_fd;          /* of the directory of large payloads: borrowed */
    char *path;            /* of the data directory; heap */
    struct stat directory; /* the data directory, when all files were last seen in it */
    bool settled;          /* it had not changed for a while then */
    const char *missing;   /* what the last look has found */
    struct {
        char *path; /* heap */
        dev_t device;
        ino_t inode;
    } files[PRESENCE_COUNT];
};

/* Notes which files there are in the data directory. Call it when all are open. Borrows files_fd, the directory of large
 * payloads, until presence_deinit. 0, or -1 with errno; call presence_deinit in both cases. */
MUST_CHECK int presence_note(struct presence *p, const char *directory, int files_fd);
void presence_deinit(struct presence *p);

/* NULL: all files are there. Otherwise it says in a few words which one is not: a constant. It needs one stat(2), of the
 * data directory; only if that has changed it looks for each file. */
const char *presence_missing(struct presence *p);

#endif
