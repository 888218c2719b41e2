/* pool_private.h: shared by pool.c (slots), worker_view.c (stderr, /proc) and zygote_link.c (the connection to the
 * zygote) only. */
#ifndef OFFLOAD_POOL_PRIVATE_H
#define OFFLOAD_POOL_PRIVATE_H

#include "pool/pool.h"

/* One zygote process and the control socket to it. A reload starts a second one; the first lives until its last
 * worker has left. */
struct zygote_link {
    struct pool *pool;
    pid_t pid;
    struct watch watch; /* the control socket */
    bool reaped;        /* dead, though its socket has not told yet */
    bool loaded;
    unsigned workers; /* that it has forked and not yet reaped */
    struct zygote_link *next;
};

struct pool {
    struct loop *loop;
    struct pool_config config;
    struct pool_events events;
    struct worker *workers;
    size_t size;
    unsigned char *buffer; /* for receiving: one datagram is handled at a time */
    int scoreboard_fd;
    struct zygote_link *links, *current; /* all; the one that spawns */
    struct timer memory_timer, zygote_timer;
    unsigned zygote_deaths;
    bool stopping;
};

void pool_spawn_worker(struct worker *w);
void pool_adopt_worker(struct worker *w, pid_t pid, int socket, int stderr_fd);
void pool_worker_exited(struct worker *w, int status, bool oom, uint64_t max_rss_bytes, uint64_t cpu_ms);
void pool_retire_worker(struct worker *w);
void pool_receive_replies(struct worker *w);

/* worker_view.c */
int pool_watch_stderr(struct worker *w, int fd); /* takes the descriptor; 0, or -1 with errno */
void pool_read_stderr(struct worker *w);
void pool_close_stderr(struct worker *w); /* no effect if it is closed */

int zygote_link_start(struct pool *p); /* a new one becomes p->current; 0, or -1 with errno */
int zygote_link_request(struct zygote_link *z, struct zygote_request *q); /* 0, or -1 with errno */
void zygote_link_release(struct worker *w); /* the worker left its zygote: an old one without workers is let go */
void zygote_link_stop_all(struct pool *p);  /* ends zygotes and their workers, and waits for them */

#endif
