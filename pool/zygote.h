/* zygote.h: the process that forks the workers. It is forked by the front end before that has threads and data, or it
 * is offloadd, executed anew in this role (zygote_start.h). So it has one thread, and none of the front end's data. It
 * loads the handlers once, and then it only forks and reaps. */
#ifndef OFFLOAD_ZYGOTE_H
#define OFFLOAD_ZYGOTE_H

#include <stdbool.h>
#include <stdint.h>

#define ZYGOTE_ROLE          "zygote" /* argv[1] of an offloadd that is to be the zygote */
#define ZYGOTE_SOCKET_FD     3        /* its end of the control socket */
#define ZYGOTE_SCOREBOARD_FD 4

/* Room for process titles in the arguments: setproctitle(3) can only overwrite what execve(2) has put there. */
#define ZYGOTE_TITLE_ROOM "----------------------------------------------------------------"

/* First message on the control socket. With sources, it comes with twice the descriptor of their memfd (sources.h). */
struct zygote_config {
    uint32_t version; /* WIRE_VERSION */
    int32_t parent;   /* the front end's pid */
    uint32_t test_types, log_level, log_format;
};

/* Tells the front end what is loaded now. The time that --load-timeout allows begins anew. */
void zygote_tell_loading(const char *source);

/* main() of that role: ends when the front end has closed the control socket. Returns the exit status. */
int zygote_main(void);

#endif
