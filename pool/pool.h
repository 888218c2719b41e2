/* pool.h: the worker processes, as the front end sees them. Knows nothing of jobs: it carries tasks (an
 * opaque pointer each) to workers and brings back a reply or the news that the worker is lost.
 *
 *     offloadd (front end)
 *       │ posix_spawn of itself, control socket ──► zygote ──fork──► worker slot 0 .. workers-1      main lane
 *       │                                              │        └──► worker .. + express_workers-1   express lane
 *       │                                              └──fork, exec of itself──► worker of one type, in a main slot
 *       └──────── one SOCK_SEQPACKET per worker, passed by SCM_RIGHTS ─────┘
 *
 *     who            inherits                              ends by
 *     front end      -                                     drain, or a second signal
 *     zygote         control socket, scoreboard, stderr    EOF on the control socket; PDEATHSIG of the front end
 *     worker         its socket, its scoreboard page,      WIRE_EXIT, EOF, PDEATHSIG of the zygote, SIGKILL
 *                    a pipe as stderr
 *
 * Most workers are pooled: forked after load, and anybody's. A worker of the main lane can be kept for one owner (a job):
 * a forked one that has done nothing yet, or one executed anew that loads a single handler by itself. It does that
 * owner's work only, and then leaves; its slot gets a pooled worker again.
 *
 * A worker slot:
 *
 *     EMPTY ──► STARTING ──► READY ──► RETIRING ──┐      EMPTY → STARTING    [spawn]     asked the zygote
 *       ▲          │           │          │       │      STARTING → READY    [on READY]
 *       │          ▼           ▼          ▼       │      READY → RETIRING    [retire]    no new work; WIRE_EXIT when idle
 *       └──────── DYING ◄──────┴──────────┴───────┘      any → DYING         [EOF, kill] until the zygote reaped it
 *                                                        DYING → EMPTY       [exited]    then respawned, with backoff
 *
 * All functions and callbacks: the event loop's thread.
 */
#ifndef OFFLOAD_POOL_H
#define OFFLOAD_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "pool/scoreboard.h"
#include "pool/wire.h"

struct pool;

enum lane { LANE_MAIN, LANE_EXPRESS };
enum worker_state { WORKER_EMPTY, WORKER_STARTING, WORKER_READY, WORKER_RETIRING, WORKER_DYING };

/* Why we end a worker or a task. */
enum stop_reason { STOP_NONE, STOP_CANCEL, STOP_TIMEOUT, STOP_MEMORY, STOP_PROTOCOL };

#define STDERR_TAIL 2048 /* bytes of a worker's last words that are kept */

/* How a worker died. */
struct death {
    const char *cause; /* signal | exit | oom | timeout | memory | protocol */
    int signal;        /* 0: none */
    int exit_code;     /* -1: none */
    uint64_t max_rss_bytes, cpu_ms;
    const char *stderr_tail; /* "" if it said nothing; valid during the callback */
};

/* "SIGKILL", in memory that the next call reuses; NULL for 0 and for numbers that are no signal. */
const char *signal_name(int signal);

struct in_flight {
    uint64_t ticket;
    void *work;              /* NULL: a ping, or forgotten by its owner */
    enum stop_reason reason; /* asked to stop */
};

struct zygote_link;

/* Read-only outside pool.c. */
struct worker {
    struct pool *pool;
    unsigned slot;
    enum lane lane;
    enum worker_state state;
    pid_t pid;
    struct zygote_link *zygote;
    pid_t zygote_pid; /* who forked it: stays when that is dead */
    int64_t started_wall_ms, started_ns;
    uint64_t jobs;       /* tasks answered by this process */
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

struct pool_config {
    unsigned workers, express_workers;
    int64_t cancel_grace_ns;
    uint64_t max_job_memory;      /* bytes; 0: no limit */
    uint64_t max_jobs_per_worker; /* 0: never recycled */
    uint64_t max_worker_rss;      /* bytes; 0: no limit; looked at between jobs */
    bool test_types;
};

/* What the pool tells its owner. */
struct pool_events {
    void *owner;
    void (*loaded)(void *owner);                    /* handlers are loaded */
    void (*refused)(void *owner, const char *type); /* a handler's load failed: the pool will not start */
    void (*pong)(void *owner, struct worker *w);    /* answered a pool_ping */

    void *arg; /* of those below, which are about work */
    /* A reply for `work`. `bulk` is empty unless the frame has one; take a reference to keep it. False if the
     * reply makes no sense: the worker is killed, and the work reported lost to `protocol`. */
    bool (*reply)(void *arg, struct worker *w, void *work, const struct wire_frame *f, const struct slice *bulk);
    /* The worker is gone. guilty: this piece was being worked on; the others had not begun. */
    void (*lost)(void *arg, struct worker *w, void *work, bool guilty, const struct death *d);
    void (*restarted)(void *arg, const char *cause); /* a worker died and is replaced */
    /* The process kept for `owner` is gone, and the slot is anybody's. start: how it died if it never was ready
     * although it was to load a handler by itself; else NULL. */
    void (*vacated)(void *arg, struct worker *w, void *owner, const struct death *start);
    void (*drained)(void *arg, struct worker *w); /* pool_can_send is true again */
    void (*changed)(void *arg);                   /* a worker became ready, idle, or is gone */
};

/* NULL with errno. Nothing runs before pool_start. */
struct pool *pool_new(struct loop *loop, const struct pool_config *config, const struct pool_events *events);
int pool_start(struct pool *p); /* 0, or -1 with errno */
/* Takes over changed limits; the numbers of workers stay. */
void pool_configure(struct pool *p, const struct pool_config *config);
/* A new zygote (and so new handlers); the old workers finish what they do. 0, or -1 with errno. */
int pool_reload(struct pool *p);
/* Reaps children of the front end: the zygote, and orphans when it runs as PID 1. Call on SIGCHLD. */
void pool_reap(struct pool *p);
/* Ends every process and waits for them, some milliseconds. Work in flight is forgotten without a word. */
void pool_free(struct pool *p);

/* The slots; pointers stay valid as long as the pool. */
size_t pool_size(const struct pool *p);
struct worker *pool_worker(const struct pool *p, size_t i);

/* True if the worker takes new work now. */
bool worker_takes_tasks(const struct worker *w);
bool worker_can_send(const struct worker *w); /* nothing waits for the socket */

/* Keeps an idle worker that is nobody's yet for one owner. True: its process is unused and was started as wanted, and
 * takes work now. False: it is being replaced by one that is; `changed` tells when that is ready. */
bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type);
/* The owner needs it no more: the process leaves when it has answered, unless it is as good as any pooled one. */
void pool_release_worker(struct worker *w);
bool worker_is_unused(const struct worker *w); /* ready, and never got any work */

/* Adds a task to the worker's next datagram (h->ticket is filled in) and returns its ticket. `bulk` may be
 * NULL. Goes out with pool_flush, or earlier when a datagram is full. Only if worker_takes_tasks. */
uint64_t pool_send_task(struct worker *w, const struct wire_header *h, const void *first, size_t first_size,
                        const void *second, size_t second_size, const struct slice *bulk, void *work);
/* More of the same task (WIRE_PART). Look at worker_can_send between parts. */
void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part);
void pool_flush(struct worker *w);
void pool_ping(struct worker *w);

/* Asks a task to stop: by the scoreboard; after half of cancel_grace SIGTERM, after all of it SIGKILL.
 * True: it may have begun, and a reply or `lost` will follow. False: it had not; the worker will skip it, nothing
 * more is heard of it, and the caller may forget it. */
bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason);
/* Progress of that ticket by the scoreboard, 0..1; 0 if it is not the current one. */
double pool_progress(const struct worker *w, uint64_t ticket);
/* `done` as its handler told it, also of a worker that has just died; 0 if it is not the current one. */
uint64_t pool_steps(const struct worker *w, uint64_t ticket);
/* Resident memory of a worker in bytes; 0 if it cannot be read. */
uint64_t worker_rss(const struct worker *w);
/* True if the process is stopped (SIGSTOP), by /proc. */
bool worker_is_stopped(const struct worker *w);

#endif
