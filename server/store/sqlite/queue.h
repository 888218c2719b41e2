/* queue.h: the queue between the event loop and the store thread. All functions are called on the event loop's thread.
 *
 *     event loop's thread                                         store thread
 *     sqlite.c  a call becomes an op, and is posted               batch.c  ops in one transaction
 *     queue.c   ──── todo ────► takes all there is ─────────────► apply.c  what each op does to the tables
 *          ▲                                                      rows.c   records as rows
 *          └────── done ◄──eventfd── returns the batch ◄───────── files.c  large payloads
 *
 *     schema.c, recover.c: open and recover the database, in the caller's time, before the thread has anything to do
 */
#ifndef OFFLOAD_STORE_QUEUE_H
#define OFFLOAD_STORE_QUEUE_H

#include <pthread.h>

#include "base/attributes.h"
#include "base/loop.h"
#include "server/store/sqlite/op.h"

/* From good to worse; see queue.c. */
enum queue_state { QUEUE_WORKING, QUEUE_IN_TROUBLE, QUEUE_BROKEN, QUEUE_STATES };

/* Zeroed, and embedded by its owner: `complete` functions get to it with container_of. */
struct queue {
    struct loop *loop;
    struct sql *sql;               /* the store thread's, while that runs and is not suspended */
    const struct operation *probe; /* OP_PROBE's */

    pthread_t thread;
    pthread_mutex_t lock; /* held for a few instructions; of what follows, up to `stopping` */
    pthread_cond_t wake;
    struct op *todo, **todo_end;
    struct op *done, **done_end;
    bool suspended;
    bool stopping;

    /* The event loop's own. */
    struct watch returned; /* eventfd */
    struct timer wake_timer, probe_timer;
    struct op *pending; /* ops that could not be written and must be */
    enum queue_state state;
    const char *trouble; /* why it does not work; a constant. NULL: it works */
};

/* Starts the thread. 0, or -1 with errno. */
MUST_CHECK int queue_start(struct queue *q, struct loop *loop, struct sql *sql, const struct operation *probe);

/* Takes the op, and calls its operation's `complete` in the end: later, or before this returns. In times of trouble an
 * op that writes is not tried: it is kept if it must last, and otherwise ends with STORE_UNAVAILABLE. An op that is
 * kept tells STORE_UNAVAILABLE, too. */
void queue_post(struct queue *q, struct op *op);

/* The last op that is kept for that job and ends or forgets it (OP_FINISH, OP_FORGET); NULL if there is none. */
const struct op *queue_find_pending(const struct queue *q, const struct id *job);

/* OP_PROBE's `complete`. */
void queue_complete_probe(struct queue *q, struct op *probe);

/* The thread begins no batch while it is suspended: the caller may use the database. Not while ops are posted. */
void queue_suspend(struct queue *q, bool suspended);

/* Does all that was posted, calls the callbacks, and ends the thread. What is kept is tried once more. */
void queue_stop(struct queue *q);

#endif
