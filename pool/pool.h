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

struct worker;

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
    /* A reply for `task`. `bulk` is empty unless the frame has one; take a reference to keep it. False if the
     * reply makes no sense: the worker is killed, and the work reported lost to `protocol`. */
    bool (*reply)(void *arg, struct worker *w, void *task, const struct wire_frame *f, const struct slice *bulk);
    /* The worker is gone. guilty: this piece was being worked on; the others had not begun. */
    void (*lost)(void *arg, struct worker *w, void *task, bool guilty, const struct death *d);
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

/* What can be seen of a worker. */
enum worker_activity { WORKER_IS_STARTING, WORKER_IS_IDLE, WORKER_IS_BUSY, WORKER_ACTIVITIES };
const char *worker_activity_name(enum worker_activity a); /* "starting", "idle", "busy" */
const char *lane_name(enum lane lane);                    /* "main", "express" */
struct worker_view {
    pid_t pid; /* 0: there is no process */
    enum lane lane;
    enum worker_activity activity;
    uint32_t type;           /* of the last task sent; UINT32_MAX: none */
    uint64_t tasks;          /* answered by this process */
    int64_t started_wall_ms; /* milliseconds since the epoch */
};
struct worker_view worker_look(const struct worker *w);
unsigned worker_slot(const struct worker *w); /* 0 .. pool_size - 1 */
enum lane worker_lane(const struct worker *w);
unsigned worker_in_flight(const struct worker *w); /* tasks and pings sent and not answered */
bool worker_has_long_task(const struct worker *w); /* one of them was sent as a long one */
/* True while a process that was asked to leave is being replaced: its slot will be ready again by itself. */
bool worker_is_changing(const struct worker *w);
bool worker_is_up(const struct worker *w); /* its process is ready, or leaves when it has answered */

/* True if the worker takes a new task now. */
bool worker_takes_tasks(const struct worker *w);
bool worker_can_send(const struct worker *w); /* nothing waits for the socket */

/* Keeps an idle worker that is nobody's yet for one owner. True: its process is unused and was started as wanted, and
 * takes work now. False: it is being replaced by one that is; `changed` tells when that is ready. */
bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type);
/* For whom it is isolated; NULL: unowned. */
void *worker_owner(const struct worker *w);
uint32_t worker_start_type(const struct worker *w);   /* as pool_isolate_worker was told; START_FORKED: unowned */
int64_t worker_ready_ns(const struct worker *w);      /* monotonic: since when the process is ready; 0: not yet */
int64_t worker_start_took_ns(const struct worker *w); /* from the request for the process until it was ready */
/* The owner needs it no more: the process leaves when it has answered, unless it is as good as any pooled one. */
void pool_release_worker(struct worker *w);
bool worker_is_unused(const struct worker *w); /* ready, and never got any work */

/* Adds a task to the worker's next datagram (h->ticket is filled in) and returns its ticket. `bulk` may be
 * NULL. is_long: it counts in worker_has_long_task. Goes out with pool_flush, or earlier when a datagram is full.
 * Only if worker_takes_tasks. */
uint64_t pool_send_task(struct worker *w, const struct wire_header *h, const void *first, size_t first_size,
                        const void *second, size_t second_size, const struct slice *bulk, void *task, bool is_long);
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
