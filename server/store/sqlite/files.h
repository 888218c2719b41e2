/* files.h: payloads. A small one is a value in its row; a large one is a file beside the database, and the row holds the
 * file's number. Store thread, and the front end while it opens or recovers the store; stored_slice is the event loop's.
 */
#ifndef OFFLOAD_STORE_FILES_H
#define OFFLOAD_STORE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/id.h"
#include "pool/blob.h"

#define FILES_INLINE_BYTES (32 * 1024) /* a larger payload is a file */

/* What a payload is to its job. The numbers are in databases. */
enum file_role { FILE_REQUEST, FILE_PLAN, FILE_PART, FILE_RESULT, FILE_WEBHOOK, FILE_ROLES };

/* A payload that an operation writes. */
struct payload {
    enum file_role role;
    uint32_t chunk; /* FILE_PART: of which chunk; else 0 */
    struct slice slice;
    int64_t number; /* of its file, written and synced; 0: it has none */
    bool used;      /* a row names the file */
};

/* A payload as it was read back, in memory that no other thread counts references of. */
struct stored {
    char *bytes; /* heap; NULL: it is in fd */
    int fd;      /* or -1 */
    size_t size; /* 0: there is nothing */
};

struct files {
    int directory;                /* -1: not open */
    int64_t last_number;          /* every file has a number of its own, which is never used again */
    bool unsynced;                /* a file was renamed since the directory was synced */
    struct dropped_file *dropped; /* to be removed after the commit */
    size_t dropped_count, dropped_room;
};

/* ---- the directory of files -------------------------------------------------------------------------------------- */

MUST_CHECK int files_open(struct files *f, const char *path); /* <path>/files. 0, or -1 with errno */
void files_close(struct files *f);

/* Removes every file whose number is not among `numbers` (ascending), and sets there[i] for each that is found. 0, or
 * -1 with errno. */
MUST_CHECK int files_sweep(struct files *f, const int64_t *numbers, bool *there, size_t count);

/* ---- in a transaction -------------------------------------------------------------------------------------------- */

/* Writes and syncs the payload's file, and sets its number. 0, or -1 with errno. */
MUST_CHECK int files_write(struct files *f, const struct id *job, struct payload *p);
/* Syncs the directory, so that rows may name the files. To be called before the commit. 0, or -1 with errno. */
MUST_CHECK int files_sync(struct files *f);
/* Removes the file at once. */
void files_remove(struct files *f, const struct id *job, enum file_role role, int64_t number);
/* Removes the file after the commit: files_committed does it, and files_rolled_back forgets it. */
void files_drop(struct files *f, const struct id *job, enum file_role role, int64_t number);
void files_committed(struct files *f);
void files_rolled_back(struct files *f);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Opens a file. 0, or -1 with errno; ENOENT: it is missing or cut off. stored_deinit `out`. */
MUST_CHECK int files_read(const struct files *f, const struct id *job, enum file_role role, int64_t number,
                          struct stored *out);

void stored_deinit(struct stored *s);
/* A slice on the heap, or on the file itself. Takes what `s` has; `s` is empty afterwards. The slice is empty, too, if
 * memory ran out. Event loop. */
struct slice stored_slice(struct stored *s);
/* A copy in memory that can be passed to a worker: on the heap, or in a sealed memfd. The first front_size bytes are
 * taken from `front` instead; there must be as many. 0, or -1 with errno. */
MUST_CHECK int stored_copy(const struct stored *s, const void *front, size_t front_size, struct slice *out);

#endif
