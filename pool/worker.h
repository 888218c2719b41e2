/* worker.h: a worker process: it receives tasks, has the handlers do them, and replies. In the zygote's children
 * only. */
#ifndef OFFLOAD_WORKER_H
#define OFFLOAD_WORKER_H

#include <stdint.h>

#define WORKER_ROLE          "worker" /* argv[1] of an offloadd that is to load one handler and be a worker */
#define WORKER_SOCKET_FD     3        /* its end of its socket */
#define WORKER_SCOREBOARD_FD 4

/* First message on that socket, from the zygote. */
struct worker_start {
    uint32_t version; /* WIRE_VERSION */
    int32_t parent;   /* the zygote's pid */
    uint32_t slot, type, test_types, log_level, log_format;
};

/* main() of that role: loads the handler, then works. Returns the exit status if it could not start; else it does not
 * return. */
int worker_spawned_main(void);

/* The worker of this slot, in a process that is just forked. Takes both descriptors: the worker's end of its socket,
 * and the scoreboard. Exits with 0 on WIRE_EXIT or when the front end has closed the socket, and with 70 when the front
 * end broke the protocol or when memory or a descriptor could not be had. */
_Noreturn void worker_main(unsigned slot, int socket, int scoreboard_fd);

#endif
