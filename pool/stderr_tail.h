/* stderr_tail.h: the stderr of a worker, or of the zygote. It is a pipe that the event loop empties, whatever becomes of
 * the log: so these processes never wait for whoever reads the log. Each line is logged, and the last bytes are kept for the report on the
 * worker's death. Front end; the event loop's thread. */
#ifndef OFFLOAD_STDERR_TAIL_H
#define OFFLOAD_STDERR_TAIL_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/loop.h"

#define STDERR_TAIL 2048 /* bytes, with the NUL at the end */

/* Embedded by its owner, who reads `text` only. */
struct stderr_tail {
    char text[STDERR_TAIL]; /* ends with a NUL; has no other */
    size_t size, logged;    /* bytes of text, and how many of them are lines that were logged */
    struct loop *loop;
    struct watch watch; /* the reading end of the pipe; fd -1: closed */
    unsigned slot;      /* of the worker; for the log, as is the pid */
    pid_t pid;
};

#define STDERR_TAIL_OF_ZYGOTE UINT_MAX /* in place of a slot */
void stderr_tail_init(struct stderr_tail *t, struct loop *loop, unsigned slot);
/* Forgets the text of the process before, and watches the pipe of a new one. Takes the descriptor. 0, or -1 with errno:
 * the pipe is not watched, but stderr_tail_read works. */
MUST_CHECK int stderr_tail_open(struct stderr_tail *t, int fd, pid_t pid);
/* Reads and logs what the process has written, at most 16 KiB. */
void stderr_tail_read(struct stderr_tail *t);
void stderr_tail_close(struct stderr_tail *t); /* keeps the text; no effect if it is closed */

#endif
