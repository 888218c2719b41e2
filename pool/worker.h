/* worker.h: a worker process: it receives tasks, calls the handlers for them, and replies. It runs only in children of
 * the zygote. */
#ifndef OFFLOAD_WORKER_H
#define OFFLOAD_WORKER_H

#include <stdint.h>

#define WORKER_ROLE          "worker" /* argv[1] of an offloadd that is to load one handler and be a worker */
#define WORKER_SOCKET_FD     3        /* its end of its socket */
#define WORKER_SCOREBOARD_FD 4

/* First message on that socket, from the zygote. With sources, it comes with twice the descriptor of their memfd
 * (sources.h). */
struct worker_start {
    uint32_t version; /* WIRE_VERSION */
    int32_t parent;   /* the zygote's pid */
    uint32_t slot, type, test_types, log_level, log_format;
    uint32_t plugin; /* which of the sources' plugins has the type; beyond them: it is built in */
};

/* main() of that role: loads the handler, then calls worker_main. Returns an exit status only if it could not start. */
int worker_spawned_main(void);

/* The worker of this slot, in a process that is just forked. Takes the descriptors: the worker's end of its socket,
 * the scoreboard, and its end of the supply socket (supply.h), or -1. Exits with 0 on WIRE_EXIT or when the front end has closed the socket, and with 70 (EX_SOFTWARE
 * of sysexits.h) when the front end broke the protocol, or when there was no memory or no descriptor. */
_Noreturn void worker_main(unsigned slot, int socket, int scoreboard_fd, int supply);

#endif
