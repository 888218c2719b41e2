/* zygote_start.h: starts the process that forks the workers. Front end; the event loop's thread. */
#ifndef OFFLOAD_ZYGOTE_START_H
#define OFFLOAD_ZYGOTE_START_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attributes.h"

/* Executes ourselves anew in the zygote's role, and sends it its configuration: the test types if wanted, and the log's
 * level and format as they are now. Returns the control socket (SOCK_SEQPACKET, CLOEXEC), which the caller closes; the
 * zygote ends when it is closed. -1 with errno. *pid: a child of ours, to be reaped. It uses a duplicate of
 * scoreboard_fd. */
MUST_CHECK int zygote_start(int scoreboard_fd, bool test_types, pid_t *pid);

#endif
