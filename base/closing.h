/* closing.h: closes large files in a thread of its own. Whoever closes the last descriptor of a memfd frees its pages,
 * which takes some 0.2 ms for each MiB: the event loop would stand still for that long. The front end starts the
 * thread; in other processes, which have none, a file is closed at once. */
#ifndef OFFLOAD_CLOSING_H
#define OFFLOAD_CLOSING_H

#include <stddef.h>

#include "base/attributes.h"

#define CLOSING_FROM (64 * 1024)                 /* bytes: a smaller file is closed at once */
#define CLOSING_MOST ((size_t)256 * 1024 * 1024) /* once so many bytes wait, a file is closed at once */

/* The main thread calls both, once each. 0, or -1 with errno. */
MUST_CHECK int closing_start(void);
void closing_stop(void); /* waits until all are closed; later ones are closed at once */

/* Closes the descriptor of a file of that size, soon. It can be in use as a number until then. Main thread. */
void closing_close(int fd, size_t size);

#endif
