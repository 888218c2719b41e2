/* queue.c: the queue between the event loop and the store thread, and what happens while nothing can be written. Front
 * end, both threads; each section says which thread it belongs to.
 *
 * The store thread takes all ops that have been posted, carries them out as one batch, and returns the batch. So more
 * ops share one sync when more of them come. The lock guards the two lists, and is never held during I/O.
 *
 *     queue_post ──► todo ──► [store thread: batch_run] ──► done ──eventfd──► complete: callbacks, on the event loop
 *          │                                                                   │
 *          │ not working                                                       │ could not be written
 *          ├─ must last ────────────────────► pending ◄── must last ───────────┤
 *          └─ else: ends, unavailable            │                             └─ else: ends, unavailable
 *                                                └──► todo again, in the end about every second, with a probe
 *
 * The end of a job, its deletion, webhooks, and adjustments of the clock must last. How far an open job has come can be
 * lost: after a restart its chunks run again. The state of the queue:
 *
 *     WORKING ──[a batch cannot be written]────────────► IN_TROUBLE ──[the database is corrupt]──► BROKEN
 *        ▲ │                                               │                                         ▲
 *        │ └──[the database is corrupt]────────────────────│─────────────────────────────────────────┘
 *        └────[the probe and all pending ops were written]─┘
 *
 *     WORKING      all ops are tried
 *     IN_TROUBLE   only reads are tried; soon, and then about every second, also the pending ops and a probe
 *     BROKEN       only reads are tried, until a restart sets the database aside
 */
#include "server/store/sqlite/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "base/thread.h"
#include "server/store/sqlite/batch.h"

#define FIRST_PROBE_NS (50 * NS_PER_MS) /* after the trouble began; each further one takes twice as long, up to */
#define PROBE_NS       NS_PER_S

/* ---- store thread ------------------------------------------------------------------------------------------------ */

/* The caller holds the lock, or the thread has ended. */
static struct op *take_todo(struct queue *q) {
    struct op *batch = q->todo;
    q->todo = NULL;
    q->todo_end = &q->todo;
    return batch;
}

/* Waits for ops. NULL: the queue is stopping, and all ops are done. */
static struct op *take_batch(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    while (q->suspended || (q->todo == NULL && !q->stopping))
        pthread_cond_wait(&q->wake, &q->lock);
    struct op *batch = take_todo(q);
    pthread_mutex_unlock(&q->lock);
    return batch;
}

static void return_batch(struct queue *q, struct op *batch) {
    struct op **end = &batch->next;
    const uint64_t one = 1;
    while (*end != NULL)
        end = &(*end)->next;
    pthread_mutex_lock(&q->lock);
    *q->done_end = batch;
    q->done_end = end;
    pthread_mutex_unlock(&q->lock);
    ssize_t n = write(q->returned.fd, &one, sizeof one);
    (void)n; /* it fails only if the counter is full, and a full counter is readable */
}

static void *run_thread(void *arg) {
    struct queue *q = arg;
    for (struct op *batch = take_batch(q); batch != NULL; batch = take_batch(q)) {
        batch_run(q->sql, batch);
        return_batch(q, batch);
    }
    return NULL;
}

/* ---- event loop: posting ----------------------------------------------------------------------------------------- */

static void wake_thread(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
}

static void on_wake_timer(struct timer *t) {
    wake_thread(container_of(t, struct queue, wake_timer));
}

/* A thread that sleeps is woken only after the event loop has handled its present events: otherwise it would commit the
 * first of many ops without the others. */
static void enqueue(struct queue *q, struct op *op) {
    op->next = NULL;
    pthread_mutex_lock(&q->lock);
    bool first = q->todo == NULL;
    *q->todo_end = op;
    q->todo_end = &op->next;
    pthread_mutex_unlock(&q->lock);
    if (first)
        loop_set_timer(q->loop, &q->wake_timer, loop_now_ns(q->loop));
}

static void end_op(struct queue *q, struct op *op) {
    op->operation->complete(q, op);
    op_free(op);
}

/* ---- event loop: pending ops ------------------------------------------------------------------------------------- */

static int by_id(const struct tree_node *a, const struct tree_node *b) {
    const struct op *x = container_of_const(a, struct op, end), *y = container_of_const(b, struct op, end);
    return memcmp(&x->id, &y->id, sizeof x->id);
}

static void remove_end(struct queue *q, struct op *op) {
    if (op->is_end)
        tree_remove(&q->ends, &op->end);
    op->is_end = false;
}

static void add_pending(struct queue *q, struct op *op) {
    DL_APPEND2(q->pending, op, pending_prev, pending_next);
    if (op->kind != OP_FINISH && op->kind != OP_FORGET)
        return;
    struct tree_node *n = tree_find(&q->ends, &op->end, by_id);
    struct op *other = n == NULL ? NULL : container_of(n, struct op, end);
    if (other != NULL && other->kind == OP_FORGET)
        return; /* a job that was forgotten does not come back */
    if (other != NULL)
        remove_end(q, other);
    tree_add(&q->ends, &op->end, by_id);
    op->is_end = true;
}

static void remove_pending(struct queue *q, struct op *op) {
    DL_DELETE2(q->pending, op, pending_prev, pending_next);
    remove_end(q, op);
}

const struct op *queue_find_pending(const struct queue *q, const struct id *job) {
    if (q->ends.root == NULL) /* nearly always */
        return NULL;
    const struct op probe = {.id = *job};
    const struct tree_node *n = tree_find(&q->ends, &probe.end, by_id);
    return n == NULL ? NULL : container_of_const(n, struct op, end);
}

const struct op *queue_next_pending(const struct queue *q, const struct id *before) {
    if (q->ends.root == NULL)
        return NULL;
    const struct op probe = {.id = *before};
    const struct tree_node *n = tree_last_before(&q->ends, &probe.end, by_id);
    return n == NULL ? NULL : container_of_const(n, struct op, end);
}

/* The op cannot be written now: it becomes pending, or ends. */
static void keep_or_end(struct queue *q, struct op *op) {
    op->result = STORE_UNAVAILABLE;
    if (op->operation->must_last) {
        add_pending(q, op);
        op_call_done(op, op->result);
    } else {
        end_op(q, op);
    }
}

void queue_post(struct queue *q, struct op *op) {
    if (q->state == QUEUE_WORKING || op->operation->reads)
        enqueue(q, op);
    else
        keep_or_end(q, op);
}

/* ---- event loop: trouble ----------------------------------------------------------------------------------------- */

static void set_state(struct queue *q, enum queue_state to) {
    static const struct state_row states[QUEUE_STATES] = {
        [QUEUE_WORKING] = {"working", TO(QUEUE_IN_TROUBLE) | TO(QUEUE_BROKEN)},
        [QUEUE_IN_TROUBLE] = {"in trouble", TO(QUEUE_WORKING) | TO(QUEUE_BROKEN)},
        [QUEUE_BROKEN] = {"broken", 0},
    };
    state_check_move("store queue", states, q->state, to);
    q->state = to;
}

static void set_probe(struct queue *q) {
    if (q->state != QUEUE_IN_TROUBLE || q->probe_timer.is_set)
        return;
    int64_t delay_ns = q->probe_delay_ns == 0 ? FIRST_PROBE_NS : 2 * q->probe_delay_ns;
    q->probe_delay_ns = delay_ns < PROBE_NS ? delay_ns : PROBE_NS;
    loop_set_timer(q->loop, &q->probe_timer, clock_monotonic_ns() + q->probe_delay_ns);
}

static void enter_trouble(struct queue *q, const struct op *op) {
    enum queue_state to = op->outcome == OP_BROKEN ? QUEUE_BROKEN : QUEUE_IN_TROUBLE;
    if (q->state == QUEUE_WORKING)
        LOG(LOG_ERROR, "store_unavailable", LOG_STR("reason", op->trouble), LOG_INT("code", op->code));
    q->trouble = op->trouble;
    if (to > q->state)
        set_state(q, to);
    set_probe(q);
}

static void enqueue_pending(struct queue *q) {
    struct op *op;
    DL_FOREACH2(q->pending, op, pending_next) {
        if (!op->in_flight)
            enqueue(q, op);
        op->in_flight = true;
    }
}

/* Enqueues all pending ops in their order, and then a probe. When the probe returns, they have been tried. */
static void retry(struct queue *q) {
    struct op *probe = op_new(OP_PROBE, q->probe, NULL, 0);
    if (probe == NULL) {
        set_probe(q);
        return;
    }
    enqueue_pending(q);
    enqueue(q, probe);
}

static void on_probe_timer(struct timer *t) {
    retry(container_of(t, struct queue, probe_timer));
}

/* Pending ops that were posted while the probe was on its way have not been tried. They are enqueued before all others
 * that will be posted now. */
void queue_complete_probe(struct queue *q, struct op *probe) {
    bool failed = probe->outcome != OP_DONE;
    const struct op *op;
    DL_FOREACH2(q->pending, op, pending_next) {
        /* An op in flight belongs to the store thread. If it fails, the queue will be in trouble again. */
        failed |= !op->in_flight && op_in_trouble(op);
    }
    if (failed) {
        set_probe(q);
    } else if (q->state == QUEUE_IN_TROUBLE) {
        LOG(LOG_WARN, "store_recovered", LOG_STR("reason", q->trouble));
        q->trouble = NULL;
        q->probe_delay_ns = 0;
        set_state(q, QUEUE_WORKING);
        enqueue_pending(q);
    }
}

/* ---- event loop: batches that were returned ---------------------------------------------------------------------- */

static void complete_op(struct queue *q, struct op *op) {
    if (op->in_flight)
        remove_pending(q, op);
    op->in_flight = false;
    if (op->outcome == OP_FAILED)
        LOG(LOG_ERROR, "store_operation_failed", LOG_INT("operation", op->kind), LOG_INT("code", op->code));
    if (!op_in_trouble(op)) {
        end_op(q, op);
        return;
    }
    enter_trouble(q, op);
    keep_or_end(q, op);
}

static void complete_batch(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    struct op *op = q->done;
    q->done = NULL;
    q->done_end = &q->done;
    pthread_mutex_unlock(&q->lock);
    while (op != NULL) {
        struct op *next = op->next;
        complete_op(q, op);
        op = next;
    }
}

static void on_returned(struct watch *w, uint32_t events) {
    struct queue *q = container_of(w, struct queue, returned);
    uint64_t count;
    (void)events;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n; /* if there is nothing to read, no batch was returned */
    complete_batch(q);
}

void queue_suspend(struct queue *q, bool suspended) {
    pthread_mutex_lock(&q->lock);
    q->suspended = suspended;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
}

/* ---- event loop: start and stop ---------------------------------------------------------------------------------- */

MUST_CHECK static int start_thread(struct queue *q) {
    int error = thread_start(&q->thread, run_thread, q);
    errno = error;
    return error == 0 ? 0 : -1;
}

int queue_start(struct queue *q, struct loop *loop, struct sql *sql, const struct operation *probe) {
    q->loop = loop;
    q->sql = sql;
    q->probe = probe;
    q->todo_end = &q->todo;
    q->done_end = &q->done;
    q->probe_timer.fire = on_probe_timer;
    q->wake_timer.fire = on_wake_timer;
    q->returned = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_returned};
    if (q->returned.fd < 0)
        return -1;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->wake, NULL);
    if (loop_watch(q->loop, &q->returned, EPOLLIN) == 0) {
        if (start_thread(q) == 0)
            return 0;
        loop_unwatch(q->loop, &q->returned);
    }
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->lock);
    close(q->returned.fd);
    return -1;
}

/* The thread has ended. Carries out in its place what callbacks have posted since. */
static void run_rest(struct queue *q) {
    complete_batch(q);
    while (q->todo != NULL) {
        struct op *batch = take_todo(q);
        batch_run(q->sql, batch);
        return_batch(q, batch);
        complete_batch(q);
    }
}

static void give_up_pending(struct queue *q) {
    struct op *op, *next;
    unsigned count = 0;
    DL_FOREACH_SAFE2(q->pending, op, next, pending_next) {
        remove_pending(q, op);
        op_free(op);
        count++;
    }
    if (count > 0)
        LOG(LOG_ERROR, "store_unwritten", LOG_INT("operations", count), LOG_STR("reason", q->trouble));
}

void queue_stop(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    q->stopping = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    run_rest(q);
    if (q->pending != NULL && q->state == QUEUE_IN_TROUBLE) {
        retry(q);
        run_rest(q);
    }
    give_up_pending(q);
    loop_clear_timer(q->loop, &q->probe_timer);
    loop_clear_timer(q->loop, &q->wake_timer);
    loop_unwatch(q->loop, &q->returned);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->lock);
    close(q->returned.fd);
}
