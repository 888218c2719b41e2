/* slot.h: a worker slot: the struct that stays while processes come and go in it. Shared by the files of pool/ that
 * make up the front end's side; outside, struct worker is opaque. Front end; the event loop's thread.
 *
 * The process of a slot, enum worker_state, moved by slot_move:
 *
 *     EMPTY ◄──► STARTING ──► READY ──► RETIRING ──┐     EMPTY → STARTING    the zygote was asked for a process
 *       ▲            │          │          │       │     STARTING → EMPTY    fork failed, or the zygote is lost
 *       │            ▼          ▼          ▼       │     STARTING → READY    it said READY
 *       └───────── DYING ◄──────┴──────────┴───────┘     READY → RETIRING    gets no new tasks; WIRE_EXIT when idle
 *                                                        any → DYING         EOF, SIGKILL, zygote lost
 *                                                        DYING → EMPTY       it is reaped
 *
 * Who owns the slot, enum ownership, moved by slot_set_owner:
 *
 *     UNOWNED ──► ISOLATED ──► UNOWNED                   UNOWNED → ISOLATED   the process is unused and suits the owner
 *        │            ▲                                  UNOWNED → REPLACING  it does not, and was asked to leave
 *        └──► REPLACING ──► UNOWNED                      REPLACING → ISOLATED it is reaped: the next one will suit
 *                                                        any → UNOWNED        the owner released it, or it died
 *
 * How one process gives way to the next, enum handover, moved by slot_hand_over. Without it a slot that is empty for a
 * moment would look as if its worker had crashed:
 *
 *     NONE ──► LEAVING ──► SUCCEEDING ──► NONE           NONE, SUCCEEDING → LEAVING  the process was asked to leave
 *                │                                       LEAVING → SUCCEEDING        it left as asked
 *                └──► NONE                               LEAVING → NONE              it died in another way
 *                                                        SUCCEEDING → NONE           the next is ready, failed or died
 */
#ifndef OFFLOAD_SLOT_H
#define OFFLOAD_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/loop.h"
#include "pool/pool_types.h"
#include "pool/scoreboard.h"
#include "pool/stderr_tail.h"
#include "pool/wire.h"
#include "pool/zygote_link.h"

#define NO_TYPE       UINT32_MAX        /* in worker.type */
#define SLOT_RETRY_NS (200 * NS_PER_MS) /* what the zygote could not be asked for is asked for again after that */

enum worker_state { WORKER_EMPTY, WORKER_STARTING, WORKER_READY, WORKER_RETIRING, WORKER_DYING, WORKER_STATES };
enum ownership { UNOWNED, ISOLATED, REPLACING, OWNERSHIPS };
enum handover { HANDOVER_NONE, HANDOVER_LEAVING, HANDOVER_SUCCEEDING, HANDOVERS };

/* A task that was sent and not answered. */
struct in_flight {
    uint64_t ticket;
    void *task;              /* NULL: a ping, or its owner has forgotten it */
    bool is_long;            /* counted in worker.long_tasks */
    enum stop_reason reason; /* STOP_NONE, or it was asked to stop */
};

struct worker {
    struct slots *slots;
    unsigned slot;
    enum lane lane;
    struct scoreboard_slot *board;

    /* The process. Set when it is asked for or adopted; the pid is 0 if there is none. */
    enum worker_state state;
    pid_t pid;
    struct zygote_link *link;   /* to the zygote that was asked for it; NULL: none, or that zygote is lost */
    pid_t zygote_pid;           /* of the zygote that forked it; stays when that one is lost */
    int64_t asked_ns, ready_ns; /* monotonic: when it was asked for, and when it was ready; 0: not yet */
    int64_t started_ns, started_wall_ms;
    uint64_t answered; /* tasks that this process answered */
    uint32_t type;     /* of the last task sent; NO_TYPE: none */
    enum handover handover;
    enum stop_reason killed; /* why we sent SIGKILL; STOP_NONE: we did not */

    /* Who owns it. */
    enum ownership ownership;
    void *owner; /* NULL: unowned */
    /* START_FORKED, or the handler that the process loads by itself. While it is REPLACING, of the next process. */
    uint32_t start_type;

    /* Its socket. */
    struct watch watch; /* fd -1: closed */
    bool wants_write;   /* the socket is watched for room */
    struct wire_writer writer;
    bool is_unflushed; /* in slots->unflushed, by next_unflushed */
    struct worker *next_unflushed, *prev_unflushed;
    struct wire_writer *backlog;        /* datagrams that the socket did not take, oldest first */
    size_t backlog_count, backlog_room; /* room: see base/array.h */

    /* The tasks in flight, in order: ring[head .. head+count). */
    uint64_t next_ticket;
    struct in_flight ring[WIRE_MAX_IN_FLIGHT];
    unsigned head, count;
    uint64_t long_tasks;
    unsigned stopped_tasks;  /* how many of them were asked to stop */
    uint64_t front_seen;     /* held_back.c: the ticket of slot_front_task when it looked the last time */
    bool is_slow;            /* held_back.c: it is at one short task for long, and gets no more of them */
    struct timer stop_timer; /* stopping.c: the task that it works on was asked to stop */
    int64_t stop_asked_ns;

    /* life.c: the next process after a delay; the limit for loading a handler; or SIGKILL again */
    struct timer spawn_timer;
    unsigned quick_deaths; /* in a row */
    struct stderr_tail stderr_tail;
};

/* All slots of a pool, and what they share. The pool owns it and all it points to. */
struct slots {
    struct loop *loop;
    struct pool_config config;
    struct pool_events events;
    struct worker *at;
    size_t count;
    size_t owned;                 /* how many are not UNOWNED */
    struct worker *unflushed;     /* those that have been sent something since the last pool_flush_all; see utlist.h */
    unsigned char *buffer;        /* WIRE_MAX_DATAGRAM bytes for receiving: one datagram is handled at a time */
    struct zygote_link *current;  /* the zygote that forks, once it has loaded; NULL: there is none */
    struct timer memory_timer;    /* memory_limit.c */
    struct timer held_back_timer; /* held_back.c */
    bool ending;                  /* nothing is started any more */
};

/* The movers. A move that is not in the diagrams is a bug (state_illegal_move). To stay in a state is no move. */
void slot_move(struct worker *w, enum worker_state to);
void slot_set_owner(struct worker *w, enum ownership to, void *owner); /* owner: NULL for UNOWNED */
void slot_hand_over(struct worker *w, enum handover to);

/* Makes the zygote send a signal to the process. No effect without a process or when its zygote is lost. False: memory
 * ran out, or the zygote is dying. */
bool slot_signal(struct worker *w, int signal);
/* Sends SIGKILL, and again a little later if that was not possible; the slot is DYING. The report on the death gives the reason of the first call that had one: STOP_NONE
 * is none. */
void slot_kill(struct worker *w, enum stop_reason reason);

/* ---- the tasks in flight (inline, because each task passes here several times) ----------------------------------- */

/* The i-th oldest, 0 .. count - 1. */
static inline struct in_flight *slot_task(struct worker *w, unsigned i) {
    return &w->ring[(w->head + i) % WIRE_MAX_IN_FLIGHT];
}

/* By the scoreboard, the last ticket whose work is done; its reply can still be in the worker. 0: none, or nonsense. */
static inline uint64_t slot_passed(const struct worker *w) {
    uint64_t passed = atomic_load(&w->board->passed);
    return passed <= w->next_ticket ? passed : 0;
}

/* The oldest whose work is not done, which the process works on. If all are done, the oldest: its reply is due. NULL: it
 * is idle. */
static inline struct in_flight *slot_front_task(struct worker *w) {
    if (w->count == 0)
        return NULL;
    uint64_t passed = slot_passed(w), first = slot_task(w, 0)->ticket;
    uint64_t done = passed < first ? 0 : passed - first + 1; /* the tickets in flight follow each other */
    return slot_task(w, done < w->count ? (unsigned)done : 0);
}

/* Adds a task with a new ticket. Only if count < WIRE_MAX_IN_FLIGHT. */
static inline struct in_flight *slot_push_task(struct worker *w, void *task, bool is_long) {
    struct in_flight *f = slot_task(w, w->count++);
    *f = (struct in_flight){.ticket = ++w->next_ticket, .task = task, .is_long = is_long};
    w->long_tasks += is_long;
    return f;
}

/* The task is asked to stop, for the first reason that is given. */
static inline void slot_stop_task(struct worker *w, struct in_flight *f, enum stop_reason reason) {
    if (f->reason != STOP_NONE)
        return;
    f->reason = reason;
    w->stopped_tasks++;
}

/* Drops the oldest. Only if there is one. */
static inline void slot_pop_task(struct worker *w) {
    w->long_tasks -= slot_task(w, 0)->is_long;
    w->stopped_tasks -= slot_task(w, 0)->reason != STOP_NONE;
    w->head = (w->head + 1) % WIRE_MAX_IN_FLIGHT;
    w->count--;
    w->is_slow = false;
}

#endif
