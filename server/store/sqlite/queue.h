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

/* From good to worse. The diagram is in queue.c. */
enum queue_state { QUEUE_WORKING, QUEUE_IN_TROUBLE, QUEUE_BROKEN, QUEUE_STATES };

/* Embedded by its owner, who zeroes it. `complete` functions get from it to the owner with container_of. */
struct queue {
    struct loop *loop;
    struct sql *sql;               /* the store thread's, while that runs and is not suspended */
    const struct operation *probe; /* the operation of OP_PROBE */

    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows, down to `stopping`; held for a few instructions only */
    pthread_cond_t wake;
    struct op *todo, **todo_end;
    struct op *done, **done_end;
    bool suspended;
    bool stopping;

    /* The event loop's own. */
    struct watch returned; /* eventfd: the thread has returned a batch */
    struct timer wake_timer, probe_timer;
    int64_t probe_delay_ns; /* the last one of this trouble; 0: none yet */
    struct op *pending;     /* ops that could not be written, and must last */
    struct tree ends;       /* those of them that end or forget a job, by its id; of a job only what is true now */
    enum queue_state state;
    const char *trouble; /* why the store does not work; a constant. NULL: it works */
};

/* Starts the thread. Borrows `loop`, `sql` and `probe` until queue_stop. 0, or -1 with errno. */
MUST_CHECK int queue_start(struct queue *q, struct loop *loop, struct sql *sql, const struct operation *probe);

/* Takes the op. In the end it calls the `complete` of the op's operation, before it returns or later, and frees the op.
 * While the store does not work, an op that writes is not tried. If it must last, it becomes pending, and its caller
 * hears STORE_UNAVAILABLE at once; otherwise it ends with STORE_UNAVAILABLE. */
void queue_post(struct queue *q, struct op *op);

/* The pending op that ends or forgets that job (OP_FINISH, OP_FORGET; if there are both, the latter); NULL if there is
 * none. Borrowed until the caller returns to the event loop. */
const struct op *queue_find_pending(const struct queue *q, const struct id *job);
/* The same of the next job, with a lower id than `before`. */
const struct op *queue_next_pending(const struct queue *q, const struct id *before);

/* The `complete` of OP_PROBE. */
void queue_complete_probe(struct queue *q, struct op *probe);

/* While the thread is suspended it begins no batch, so the caller can use the database. No op may be posted, or on its
 * way, during that time. */
void queue_suspend(struct queue *q, bool suspended);

/* Carries out all that was posted, calls the callbacks, and ends the thread. Tries pending ops once more, and drops
 * those that still cannot be written (it logs how many). */
void queue_stop(struct queue *q);

#endif
