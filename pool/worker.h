/* worker.h: the life of a worker process: receives pieces of work, has the handler host do them, replies. */
#ifndef OFFLOAD_WORKER_H
#define OFFLOAD_WORKER_H

/* Runs in a process just forked by the zygote, and never returns. Takes both descriptors: the worker's end of
 * its socket, and the scoreboard. Ends with exit status 0 on WIRE_EXIT or when the front end closed the
 * socket, 70 when the front end broke the protocol or a system call failed for good. */
_Noreturn void worker_main(unsigned slot, int socket, int scoreboard_fd);

#endif
