/* zygote_start.h: starts a zygote, the process that forks the workers. Front end; the event loop's thread. */
#ifndef OFFLOAD_ZYGOTE_START_H
#define OFFLOAD_ZYGOTE_START_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attributes.h"

/* Executes offloadd anew in the zygote's role, and sends it its configuration: whether it has the test types, and the
 * level and format of the log. Returns the control socket (SOCK_SEQPACKET, CLOEXEC), which the caller closes; the
 * zygote ends when it is closed. -1 with errno. *pid: the zygote, which the caller reaps. Borrows scoreboard_fd for the
 * call. */
MUST_CHECK int zygote_start(int scoreboard_fd, bool test_types, pid_t *pid);

#endif
