/* file_watch.h: tells when one of some files changes (inotify(7)), for --reload. Front end; the event loop's thread. */
#ifndef OFFLOAD_FILE_WATCH_H
#define OFFLOAD_FILE_WATCH_H

#include <stddef.h>

#include "base/attributes.h"
#include "base/loop.h"

struct file_watch;

/* changed: called some 200 ms after the last change of a series, as an editor or a compiler makes it. NULL with errno. */
MUST_CHECK struct file_watch *file_watch_new(struct loop *loop, void (*changed)(void *arg), void *arg);
/* Watches this file, too, wherever it is and whether it is there now or not: a new file of its name is a change. 0, or
 * -1 with errno: its directory cannot be watched. */
MUST_CHECK int file_watch_add(struct file_watch *f, const char *path);
void file_watch_free(struct file_watch *f); /* NULL is allowed */

#endif
