/* files.h: payloads. A small payload is a value in its row. A large one is a file beside the database, and the row has
 * the number of that file. Store thread; the front end while it opens or recovers the store, or when that thread has
 * ended. stored_slice is for the event loop's thread alone.
 */
#ifndef OFFLOAD_STORE_FILES_H
#define OFFLOAD_STORE_FILES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/id.h"
#include "pool/blob.h"

#define FILES_INLINE_BYTES (32 * 1024) /* a larger payload is a file */
#define FILES_CUT_OFF      ENODATA

/* What a payload is to its job. The numbers are in databases. */
enum file_role { FILE_REQUEST, FILE_PLAN, FILE_PART, FILE_RESULT, FILE_WEBHOOK, FILE_ATTACHMENT, FILE_ROLES };

/* A payload that an operation writes. */
struct payload {
    enum file_role role;
    uint32_t chunk; /* FILE_PART: the chunk that made the part; FILE_ATTACHMENT: its number; else 0 */
    struct slice slice;
    const char *media_type; /* FILE_ATTACHMENT: of its bytes; NULL: not known */
    int64_t number;         /* of its file, which is written and synced; 0: it has none */
    bool used;              /* a row names the file */
};

/* A payload that was read. It owns its memory or its descriptor: references are not counted, because the store thread
 * must not count them. */
struct stored {
    char *bytes; /* heap; NULL: it is in fd */
    int fd;      /* or -1 */
    size_t size; /* 0: the payload is empty */
};

/* The directory of files. */
struct files {
    int directory;                /* -1: not open */
    char *path;                   /* of the directory, as the kernel names it; heap */
    int64_t last_number;          /* the number of the newest file; no number is ever used twice */
    bool unsynced;                /* a file was renamed after the directory was synced */
    struct dropped_file *dropped; /* files that are removed after the commit; heap */
    size_t dropped_count, dropped_room;
};

/* ---- the directory of files -------------------------------------------------------------------------------------- */

/* Opens <path>/files, and makes it if it is missing. `path` is absolute, without symbolic links. 0, or -1 with errno; call files_close in both cases. */
MUST_CHECK int files_open(struct files *f, const char *path);
void files_close(struct files *f);

/* Removes each file whose number is not among `numbers` (ascending), and sets there[i] if the file numbers[i] exists.
 * 0, or -1 with errno. */
MUST_CHECK int files_sweep(struct files *f, const int64_t *numbers, bool *there, size_t count);

/* ---- in a transaction -------------------------------------------------------------------------------------------- */

/* Writes and syncs the payload's file, and sets its number. A payload that is a whole file of our directory already (http
 * has spooled it there, or it is a result that the store has read) is not written again: its file gets one more name.
 * 0, or -1 with errno; FILES_CUT_OFF: the payload has fewer bytes than it said, as memory of a client that was made
 * smaller. */
MUST_CHECK int files_write(struct files *f, const struct id *job, struct payload *p);
/* Syncs the directory, so that rows can name its new files. Call it before the commit. 0, or -1 with errno. */
MUST_CHECK int files_sync(struct files *f);
/* Removes the file at once. */
void files_remove(struct files *f, const struct id *job, enum file_role role, int64_t number);
/* Notes a file that is removed after the commit. If memory runs out, the file stays until the next start. */
void files_drop(struct files *f, const struct id *job, enum file_role role, int64_t number);
/* The transaction was committed: removes the files that were dropped in it. */
void files_committed(struct files *f);
/* The transaction was rolled back: the files that were dropped in it stay. */
void files_rolled_back(struct files *f);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Opens a file. 0, or -1 with errno; ENOENT: it is missing or cut off. The caller calls stored_deinit on `out`. */
MUST_CHECK int files_read(const struct files *f, const struct id *job, enum file_role role, int64_t number,
                          struct stored *out);

void stored_deinit(struct stored *s);
/* Makes a slice, on the heap or on the file itself. Takes what `s` has, and leaves `s` empty. If memory ran out, the
 * slice is empty as well. Event loop. */
struct slice stored_slice(struct stored *s);
/* Makes a copy that can be passed to a worker: on the heap, or in a sealed memfd. Its first front_size bytes come from
 * `front` instead; `s` must have at least as many bytes, or none. 0, or -1 with errno. */
MUST_CHECK int stored_copy(const struct stored *s, const void *front, size_t front_size, struct slice *out);

#endif
