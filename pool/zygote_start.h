/* zygote_start.h: starts a zygote, the process that forks the workers. Front end; the event loop's thread. */
#ifndef OFFLOAD_ZYGOTE_START_H
#define OFFLOAD_ZYGOTE_START_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attributes.h"

struct pool_config;

enum zygote_birth {
    ZYGOTE_FORKED,  /* while the front end has no thread but the caller's: saves the time to link the program anew */
    ZYGOTE_EXECUTED /* offloadd, executed anew: at any time */
};

/* Makes a zygote, and sends it its configuration: whether it has the test types, where the other
 * types come from, and the level and format of the log.
 * ZYGOTE_FORKED does not return in the zygote. Returns the control socket (SOCK_SEQPACKET, CLOEXEC), which the caller closes; the
 * zygote ends when it is closed. -1 with errno. *pid: the zygote, which the caller reaps. Borrows scoreboard_fd for the
 * call. */
MUST_CHECK int zygote_start(enum zygote_birth birth, int scoreboard_fd, const struct pool_config *config, pid_t *pid);

#endif
