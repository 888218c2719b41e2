/* pool_private.h: shared by pool.c (slots), worker_view.c (stderr, /proc) and zygote_link.c (the connection to the
 * zygote) only. */
#ifndef OFFLOAD_POOL_PRIVATE_H
#define OFFLOAD_POOL_PRIVATE_H

#include "pool/pool.h"

struct zygote_link;

struct in_flight {
    uint64_t ticket;
    void *task;              /* NULL: a ping, or forgotten by its owner */
    bool is_long;            /* counted in worker->long_tasks */
    enum stop_reason reason; /* asked to stop */
};

struct worker {
    struct pool *pool;
    unsigned slot;
    enum lane lane;
    enum worker_state state;
    pid_t pid;
    struct zygote_link *zygote;
    pid_t zygote_pid; /* who forked it: stays when that is dead */
    int64_t started_wall_ms, started_ns;
    uint64_t tasks;      /* answered by this process */
    uint32_t type;       /* of the last piece sent; UINT32_MAX: none */
    uint32_t start_type; /* START_FORKED, or the handler that it loads by itself; of the next process if `replacing` */
    void *isolated_for;  /* the owner for whom it is kept; NULL: anybody's */
    bool replacing;      /* this process leaves so that the next one can be kept for `isolated_for` */
    bool exit_requested; /* asked to leave */
    bool replaced;       /* the one before left because it was asked to, and this one is not ready yet */
    int64_t asked_ns, ready_ns; /* when the zygote was asked for this process, and when it was ready; 0: not yet */
    uint64_t long_tasks;        /* pieces in flight that were sent as long ones */
    int64_t answered_ns;        /* last sign of life on the wire */
    struct scoreboard_slot *board;

    struct watch watch, stderr_watch;
    bool wants_write;
    struct wire_writer writer;
    struct wire_writer *backlog; /* datagrams that did not go out yet, oldest first */
    size_t backlog_count;

    uint64_t next_ticket;
    struct in_flight ring[WIRE_MAX_IN_FLIGHT];
    unsigned head, count; /* ring[head .. head+count), in order */

    enum stop_reason killed; /* why we sent SIGKILL */
    struct timer stop_timer, spawn_timer;
    int64_t stop_asked_ns;
    unsigned quick_deaths; /* in a row, for the backoff */
    char stderr_tail[STDERR_TAIL];
    size_t stderr_size, stderr_line;
};

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
