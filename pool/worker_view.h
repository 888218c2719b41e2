/* worker_view.h: questions about a worker, which the front end answers without asking it. No function changes anything.
 * Front end; the event loop's thread. */
#ifndef OFFLOAD_WORKER_VIEW_H
#define OFFLOAD_WORKER_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pool/pool_types.h"

enum worker_activity { WORKER_IS_STARTING, WORKER_IS_IDLE, WORKER_IS_BUSY, WORKER_ACTIVITIES };

struct worker_view {
    pid_t pid; /* 0: there is no process */
    enum lane lane;
    enum worker_activity activity;
    uint32_t type;           /* of the last task sent; UINT32_MAX: none */
    uint64_t tasks;          /* answered by this process */
    int64_t started_wall_ms; /* milliseconds since the epoch */
};

const char *worker_activity_name(enum worker_activity a); /* "starting", "idle", "busy" */
const char *lane_name(enum lane lane);                    /* "main", "express" */
struct worker_view worker_look(const struct worker *w);

unsigned worker_slot(const struct worker *w); /* 0 .. pool_size - 1 */
enum lane worker_lane(const struct worker *w);

/* Its tasks, and whether it takes more. */
unsigned worker_in_flight(const struct worker *w);    /* tasks and pings that were sent and not answered */
bool worker_has_long_task(const struct worker *w);    /* one of them was sent as a long one */
bool worker_takes_tasks(const struct worker *w);      /* pool_send_task can be called */
bool worker_can_send(const struct worker *w);         /* no datagram waits for room in the socket */
bool worker_is_up(const struct worker *w);            /* it is ready, or retiring */
bool worker_is_unused(const struct worker *w);        /* it is ready, and has never got a task */
int64_t worker_ready_ns(const struct worker *w);      /* monotonic: since when it is ready; 0: not yet */
int64_t worker_start_took_ns(const struct worker *w); /* from asking the zygote for it until it was ready */
/* True while a process that was asked to leave is replaced: the slot will be ready again soon. */
bool worker_is_changing(const struct worker *w);

/* Who owns it; see isolation.h. */
void *worker_owner(const struct worker *w);         /* as passed to pool_isolate_worker; NULL: unowned */
uint32_t worker_start_type(const struct worker *w); /* likewise; START_FORKED: unowned, too */

/* From /proc, see proc(5). */
uint64_t worker_rss(const struct worker *w);    /* resident memory in bytes; 0 if it cannot be read */
bool worker_is_stopped(const struct worker *w); /* by SIGSTOP or a debugger */

#endif
