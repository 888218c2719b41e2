/* worker.h: the life of a worker process: receives tasks, has the handler host do them, replies. */
#ifndef OFFLOAD_WORKER_H
#define OFFLOAD_WORKER_H

#include <stdint.h>

#define WORKER_ROLE          "worker" /* argv[1] of an offloadd that is to be a worker which loads its handler by itself */
#define WORKER_SOCKET_FD     3        /* its end of its socket */
#define WORKER_SCOREBOARD_FD 4

/* First message on that socket, from the zygote. */
struct worker_start {
    uint32_t version; /* WIRE_VERSION */
    int32_t parent;   /* the zygote's pid */
    uint32_t slot, type, test_types, log_level, log_format;
};

/* main() of that role: loads the handler, then is a worker. Returns, with the exit status, only if it could not become one. */
int worker_spawned_main(void);

/* Runs in a process just forked by the zygote, and never returns. Takes both descriptors: the worker's end of
 * its socket, and the scoreboard. Ends with exit status 0 on WIRE_EXIT or when the front end closed the
 * socket, 70 when the front end broke the protocol or a system call failed for good. */
_Noreturn void worker_main(unsigned slot, int socket, int scoreboard_fd);

#endif
