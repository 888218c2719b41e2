/* store_queue.c: the queue between the event loop and the store thread, and what happens when the disk does not work.
 *
 * The store thread takes all that has been posted, carries it out as one batch, and hands it back; so the rate grows
 * with the load. The lock guards the two lists, and is never held during I/O.
 *
 *     queue_post ──► todo ──► [store thread: sql_run] ──► done ──eventfd──► complete: callbacks, on the event loop
 *          │                                                                   │
 *          │ in trouble                                                        │ could not be written
 *          ├─ must not be lost ─────────────► pending ◄── must not be lost ────┤
 *          └─ else: refused                      │                             └─ else: refused
 *                                                └──► todo again, about every second, with a probe
 *
 * What must not be lost: that a job ended or was forgotten, webhooks, steps of the clock. What may: how far an open job
 * has come; it is then done again after a restart. Trouble begins with the first batch that cannot be written, and ends
 * with a probe that can, when nothing is pending. It does not end if the database is corrupt.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/store/sqlite/private.h"

#define PROBE_NS NS_PER_S

/* What there is for each kind of op. */
static const struct {
    bool must_last; /* is tried until it is written */
    bool reads;
} kinds[OP_KINDS] = {
    [OP_FINISH] = {.must_last = true},    [OP_FORGET] = {.must_last = true},       [OP_DELIVER] = {.must_last = true},
    [OP_DELIVERED] = {.must_last = true}, [OP_ADJUST_CLOCK] = {.must_last = true}, [OP_GET] = {.reads = true},
    [OP_LIST] = {.reads = true},          [OP_FIND_KEY] = {.reads = true},
};

bool op_reads(enum op_kind kind) {
    return kinds[kind].reads;
}

/* ---- store thread ------------------------------------------------------------------------------------------------ */

/* All there is, or as much as one transaction may have. The lock is held. */
static struct op *cut_batch(struct sqlite_store *s) {
    struct op *batch = s->todo, *last = batch;
    for (unsigned n = 1; s->max_batch > 0 && n < s->max_batch && last->next != NULL; n++)
        last = last->next;
    if (s->max_batch == 0 || last == NULL || last->next == NULL) {
        s->todo = NULL;
        s->todo_end = &s->todo;
    } else {
        s->todo = last->next;
        last->next = NULL;
    }
    return batch;
}

/* NULL: there is nothing more to do, ever. */
static struct op *take_batch(struct sqlite_store *s) {
    pthread_mutex_lock(&s->lock);
    while (s->paused || (s->todo == NULL && !s->stopping))
        pthread_cond_wait(&s->wake, &s->lock);
    struct op *batch = cut_batch(s);
    pthread_mutex_unlock(&s->lock);
    return batch;
}

static void return_batch(struct sqlite_store *s, struct op *batch) {
    struct op **end = &batch->next;
    const uint64_t one = 1;
    while (*end != NULL)
        end = &(*end)->next;
    pthread_mutex_lock(&s->lock);
    *s->done_end = batch;
    s->done_end = end;
    pthread_mutex_unlock(&s->lock);
    ssize_t n = write(s->returned.fd, &one, sizeof one);
    (void)n; /* fails only when the counter is full: then it is readable all the same */
}

static void *run_thread(void *arg) {
    struct sqlite_store *s = arg;
    for (struct op *batch = take_batch(s); batch != NULL; batch = take_batch(s)) {
        sql_run(s->sql, batch);
        return_batch(s, batch);
    }
    return NULL;
}

/* ---- event loop: posting ----------------------------------------------------------------------------------------- */

static void wake_thread(struct sqlite_store *s) {
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void on_wake_timer(struct timer *t) {
    wake_thread(container_of(t, struct sqlite_store, wake_timer));
}

/* A thread that sleeps is woken when the event loop is through with what it is at: the first op of many shall not be
 * committed without the others. */
static void enqueue(struct sqlite_store *s, struct op *op) {
    op->next = NULL;
    pthread_mutex_lock(&s->lock);
    bool first = s->todo == NULL;
    *s->todo_end = op;
    s->todo_end = &op->next;
    pthread_mutex_unlock(&s->lock);
    if (first && loop_set_timer(s->loop, &s->wake_timer, loop_now_ns(s->loop)) != 0)
        wake_thread(s);
}

static void op_free(struct op *op) {
    for (unsigned i = 0; i < op->payload_count; i++)
        slice_deinit(&op->payloads[i].slice);
    for (size_t i = 0; i < op->found_count; i++)
        record_unref(op->found[i]);
    free(op->found);
    stored_deinit(&op->stored);
    record_unref(op->record);
    free(op);
}

static void tell_done(struct op *op, enum store_result result) {
    bool has_done = op->kind == OP_SUBMIT || op->kind == OP_FINISH || op->kind == OP_FORGET;
    store_done *done = has_done ? op->tell.done : NULL;
    if (done == NULL)
        return;
    op->tell.done = NULL; /* told once, however often it is tried */
    done(op->arg, result);
}

/* It cannot be written now. */
static void keep_or_fail(struct sqlite_store *s, struct op *op) {
    if (kinds[op->kind].must_last) {
        op->in_flight = false;
        DL_APPEND2(s->pending, op, pending_prev, pending_next);
        tell_done(op, STORE_UNAVAILABLE);
    } else {
        tell_done(op, STORE_UNAVAILABLE);
        op_free(op);
    }
}

void queue_post(struct sqlite_store *s, struct op *op) {
    if (s->trouble == NULL || op_reads(op->kind))
        enqueue(s, op);
    else
        keep_or_fail(s, op);
}

/* ---- trouble ----------------------------------------------------------------------------------------------------- */

static void set_probe(struct sqlite_store *s) {
    if (!s->broken && s->probe_timer.slot == 0)
        loop_set_timer(s->loop, &s->probe_timer, clock_monotonic_ns() + PROBE_NS);
}

static void enter_trouble(struct sqlite_store *s, const struct op *op) {
    if (s->trouble == NULL)
        LOG(LOG_ERROR, "store_unavailable", LOG_STR("reason", op->trouble), LOG_INT("code", op->code));
    s->trouble = op->trouble;
    s->broken |= strcmp(op->trouble, "database is corrupt") == 0;
}

static void enqueue_pending(struct sqlite_store *s) {
    struct op *op;
    DL_FOREACH2(s->pending, op, pending_next) {
        if (!op->in_flight)
            enqueue(s, op);
        op->in_flight = true;
    }
}

/* All that is pending, in order, and then the probe: when that comes back, they have been tried. */
static void retry(struct sqlite_store *s) {
    struct op *probe = calloc(1, sizeof *probe);
    if (probe == NULL) {
        set_probe(s);
        return;
    }
    enqueue_pending(s);
    probe->kind = OP_PROBE;
    enqueue(s, probe);
}

static void on_probe_timer(struct timer *t) {
    retry(container_of(t, struct sqlite_store, probe_timer));
}

static bool any_failed(const struct sqlite_store *s) {
    const struct op *op;
    DL_FOREACH2(s->pending, op, pending_next) {
        if (op->trouble != NULL)
            return true;
    }
    return false;
}

/* What is pending though it was not tried came meanwhile: it is first in the queue now. */
static void on_probed(struct sqlite_store *s, const struct op *probe) {
    if (probe->trouble != NULL || probe->refused || any_failed(s)) {
        set_probe(s);
    } else if (s->trouble != NULL && !s->broken) {
        LOG(LOG_WARN, "store_recovered", LOG_STR("reason", s->trouble));
        s->trouble = NULL;
        enqueue_pending(s);
    }
}

/* The last thing that is pending about that job: it ended or was forgotten. */
static const struct op *find_pending(const struct sqlite_store *s, const struct id *id) {
    const struct op *op, *last = NULL;
    DL_FOREACH2(s->pending, op, pending_next) {
        bool ends = op->kind == OP_FINISH || op->kind == OP_FORGET;
        if (ends && memcmp(&op->id, id, sizeof *id) == 0)
            last = op;
    }
    return last;
}

/* ---- event loop: what was handed back ---------------------------------------------------------------------------- */

static void complete_get(struct sqlite_store *s, struct op *op) {
    const struct op *newer = find_pending(s, &op->id);
    struct record *r = op->found_count == 1 ? op->found[0] : NULL;
    bool has_result = op->stored.size > 0;
    if (newer != NULL) {
        op->result = newer->kind == OP_FINISH ? STORE_OK : STORE_GONE;
        r = newer->record;
    } else if (r != NULL) {
        r->result = stored_slice(&op->stored);
        if (has_result && r->result.blob == NULL)
            op->result = STORE_UNAVAILABLE;
    }
    op->tell.found(op->arg, op->result, op->result == STORE_OK ? r : NULL);
}

static void complete_list(struct sqlite_store *s, struct op *op) {
    for (size_t i = 0; op->result == STORE_OK && i < op->found_count; i++) {
        const struct op *newer = find_pending(s, &op->found[i]->id);
        struct record *r = newer == NULL ? op->found[i] : newer->record; /* NULL: forgotten */
        if (r != NULL && (op->filter.status < 0 || (int)r->status == op->filter.status))
            op->tell.found(op->arg, STORE_OK, r);
    }
    op->tell.found(op->arg, op->result, NULL);
}

static void note_due(struct sqlite_store *s, int64_t due_ms) {
    if (due_ms != 0 && (s->next_due_ms == 0 || due_ms < s->next_due_ms))
        s->next_due_ms = due_ms;
}

static void complete_gc(struct sqlite_store *s, struct op *op) {
    s->gc_posted = op->more;
    s->next_due_ms = op->due_ms;
    if (op->more) { /* in steps, with whatever else waits in between */
        struct op *again = calloc(1, sizeof *again);
        if (again == NULL) {
            s->gc_posted = false;
            return;
        }
        again->kind = OP_GC;
        again->time_ms = op->time_ms;
        queue_post(s, again);
        s->gc_posted = s->trouble == NULL;
    }
}

static void complete(struct sqlite_store *s, struct op *op) {
    switch (op->kind) {
    case OP_GET: complete_get(s, op); break;
    case OP_LIST: complete_list(s, op); break;
    case OP_FIND_KEY: op->tell.key_found(op->arg, op->result, &op->key_job, op->hash); break;
    case OP_GC: complete_gc(s, op); break;
    case OP_PROBE: on_probed(s, op); break;
    default: note_due(s, op->due_ms); tell_done(op, op->result);
    }
}

static void complete_failed(struct sqlite_store *s, struct op *op) {
    if (op->trouble != NULL)
        enter_trouble(s, op);
    else
        LOG(LOG_ERROR, "store_refused", LOG_INT("operation", op->kind), LOG_INT("code", op->code));
    if (op->kind == OP_GC)
        s->gc_posted = false;
    if (op_reads(op->kind) || op->kind == OP_PROBE) {
        complete(s, op);
        op_free(op);
    } else if (op->trouble != NULL) {
        keep_or_fail(s, op);
    } else {
        tell_done(op, op->result);
        op_free(op);
    }
    if (s->trouble != NULL)
        set_probe(s);
}

static void take_back(struct sqlite_store *s, struct op *op) {
    if (op->in_flight)
        DL_DELETE2(s->pending, op, pending_prev, pending_next);
    op->in_flight = false;
    if (op->trouble != NULL || op->refused) {
        complete_failed(s, op);
    } else {
        complete(s, op);
        op_free(op);
    }
}

static void complete_batch(struct sqlite_store *s) {
    pthread_mutex_lock(&s->lock);
    struct op *op = s->done;
    s->done = NULL;
    s->done_end = &s->done;
    pthread_mutex_unlock(&s->lock);
    while (op != NULL) {
        struct op *next = op->next;
        take_back(s, op);
        op = next;
    }
}

static void on_returned(struct watch *w, uint32_t events) {
    struct sqlite_store *s = container_of(w, struct sqlite_store, returned);
    uint64_t count;
    (void)events;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n; /* nothing to be read: nothing was handed back */
    complete_batch(s);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

void queue_suspend(struct sqlite_store *s, bool paused) {
    pthread_mutex_lock(&s->lock);
    s->paused = paused;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* Signals are the event loop's. */
static int start_thread(struct sqlite_store *s) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&s->thread, NULL, run_thread, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0 ? 0 : -1;
}

int queue_start(struct sqlite_store *s) {
    s->todo_end = &s->todo;
    s->done_end = &s->done;
    s->probe_timer.fire = on_probe_timer;
    s->wake_timer.fire = on_wake_timer;
    s->returned = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_returned};
    if (s->returned.fd < 0)
        return -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (loop_watch(s->loop, &s->returned, EPOLLIN) == 0) {
        if (start_thread(s) == 0)
            return 0;
        loop_unwatch(s->loop, &s->returned);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    close(s->returned.fd);
    return -1;
}

/* The thread has ended; callbacks may have posted more. */
static void run_rest(struct sqlite_store *s) {
    complete_batch(s);
    while (s->todo != NULL) {
        struct op *batch = cut_batch(s);
        sql_run(s->sql, batch);
        return_batch(s, batch);
        complete_batch(s);
    }
}

static void give_up_pending(struct sqlite_store *s) {
    struct op *op, *next;
    unsigned count = 0;
    DL_FOREACH_SAFE2(s->pending, op, next, pending_next) {
        DL_DELETE2(s->pending, op, pending_prev, pending_next);
        op_free(op);
        count++;
    }
    if (count > 0)
        LOG(LOG_ERROR, "store_unwritten", LOG_INT("operations", count), LOG_STR("reason", s->trouble));
}

void queue_stop(struct sqlite_store *s) {
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    run_rest(s);
    if (s->pending != NULL && !s->broken) {
        retry(s);
        run_rest(s);
    }
    give_up_pending(s);
    loop_clear_timer(s->loop, &s->probe_timer);
    loop_clear_timer(s->loop, &s->wake_timer);
    loop_unwatch(s->loop, &s->returned);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    close(s->returned.fd);
}
