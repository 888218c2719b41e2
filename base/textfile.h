/* textfile.h: reads a small file that somebody wrote for a program, as a whole. Any process. */
#ifndef OFFLOAD_TEXTFILE_H
#define OFFLOAD_TEXTFILE_H

#include "base/attributes.h"
#include "base/buf.h"

#define TEXTFILE_MAX (1u << 20) /* bytes */

/* Fills *text, which must be empty. Takes regular files only, because a pipe or a device can have no end, or nothing to
 * read yet, and the one who waits for it here could be the event loop. Memory that had a part of the text is not freed
 * meanwhile, so textfile_wipe leaves nothing behind. 0, or -1 with a reason of one line in `why`, without the path:
 * "Is a directory"; then *text is wiped. */
MUST_CHECK int textfile_read(struct buf *text, const char *path, struct buf *why);
/* Overwrites the text, and frees it. */
void textfile_wipe(struct buf *text);

#endif
