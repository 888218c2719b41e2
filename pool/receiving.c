/* receiving.c: see receiving.h. Front end. All bytes of a worker are hostile: it can run code that we do not trust. */
#include "pool/receiving.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "handlers/host/host.h"
#include "pool/retiring.h"
#include "pool/sending.h"
#include "pool/stopping.h"

#define MAX_DATAGRAMS 64 /* in one go, so that one worker cannot keep the event loop busy */

/* The first frame of a process. False if it makes no sense. */
static bool handle_ready(struct worker *w, const struct wire_header *h) {
    if (w->state == WORKER_DYING && h->ticket == 0)
        return true; /* it was killed while it started */
    if (w->state != WORKER_STARTING || h->ticket != 0)
        return false;
    slot_move(w, WORKER_READY);
    slot_hand_over(w, HANDOVER_NONE);
    w->ready_ns = clock_monotonic_ns();
    loop_clear_timer(w->slots->loop, &w->spawn_timer); /* the limit for loading a handler */
    LOG(LOG_DEBUG, "worker_ready", LOG_INT("worker", w->slot), LOG_INT("pid", w->pid));
    if (w->link != w->slots->current)
        retiring_begin(w); /* a reload came while it started */
    return true;
}

/* Text for the log of a job: of any task that is not answered, because those in front of it can be done and not be
 * replied to. */
static bool handle_log(struct worker *w, const struct wire_frame *f) {
    const struct pool_events *e = &w->slots->events;
    const struct wire_header *h = &f->header;
    uint64_t first = w->count == 0 ? 0 : slot_task(w, 0)->ticket;
    if (w->count == 0 || h->ticket < first || h->ticket - first >= w->count || h->flags != 0 || h->length == 0 ||
        h->length > WIRE_MAX_LOG)
        return false;
    void *task = slot_task(w, (unsigned)(h->ticket - first))->task;
    if (task != NULL)
        e->log(e->arg, w, task, (const char *)f->inlined, h->length);
    return true;
}

/* Fills in *d and the last words, which have room for HANDLER_MAX_LAST_WORDS + 1 bytes. False if they make no sense. */
static bool read_loss(const struct wire_frame *f, struct death *d, char *words) {
    struct wire_loss loss;
    if (f->header.flags != 0 || f->header.length < sizeof loss ||
        f->header.length - sizeof loss > HANDLER_MAX_LAST_WORDS)
        return false;
    memcpy(&loss, f->inlined, sizeof loss);
    size_t size = f->header.length - sizeof loss;
    for (size_t i = 0; i < size; i++) /* a NUL would hide what follows */
        words[i] = f->inlined[sizeof loss + i] == '\0' ? ' ' : (char)f->inlined[sizeof loss + i];
    words[size] = '\0';
    *d = (struct death){.cause = host_cause_name(loss.cause),
                        .signal = loss.signal,
                        .exit_code = loss.exit_code,
                        .max_rss_bytes = loss.max_rss_bytes,
                        .cpu_ms = loss.cpu_ms,
                        .stderr_tail = words,
                        .steps = loss.steps,
                        .worker_lives = true};
    return d->cause != NULL && loss.reserved == 0 && loss.exit_code >= -1 && loss.exit_code <= 255 &&
           loss.signal >= 0 && loss.signal < _NSIG;
}

/* A process of its program has died, and no task is lost. */
static bool handle_died(struct worker *w, const struct wire_frame *f) {
    const struct pool_events *e = &w->slots->events;
    char words[HANDLER_MAX_LAST_WORDS + 1];
    struct death d;
    uint64_t first = w->count == 0 ? 0 : slot_task(w, 0)->ticket;
    if (w->count == 0 || f->header.ticket < first || f->header.ticket - first >= w->count || !read_loss(f, &d, words))
        return false;
    e->process_died(e->arg, w, &d);
    return true;
}

/* The attempt is lost, and the worker goes on. */
static bool handle_lost(struct worker *w, void *task, const struct wire_frame *f) {
    const struct pool_events *e = &w->slots->events;
    char words[HANDLER_MAX_LAST_WORDS + 1];
    struct death d;
    if (!read_loss(f, &d, words))
        return false;
    slot_pop_task(w);
    w->answered++;
    if (task != NULL)
        e->lost(e->arg, w, task, true, &d);
    return true;
}

/* What a plan has made comes before the reply to it. */
static bool handle_made(struct worker *w, const struct wire_frame *f, const struct slice *bulk) {
    const struct pool_events *e = &w->slots->events;
    const bool is_bulk = bulk->blob != NULL, own = (f->header.flags & WIRE_OWN) != 0;
    if (w->count == 0 || slot_task(w, 0)->ticket != f->header.ticket || is_bulk != own ||
        (is_bulk && f->header.length != 0))
        return false;
    void *task = slot_task(w, 0)->task;
    if (task == NULL)
        return true;
    struct slice bytes = is_bulk ? slice_ref(bulk) : slice_copy(f->inlined, f->header.length);
    bool good = bytes.blob != NULL && e->made(e->arg, w, task, &bytes);
    slice_deinit(&bytes);
    return good;
}

/* Replies come in the order of the requests: one that answers another task than the oldest breaks the protocol. */
static bool handle_reply(struct worker *w, const struct wire_frame *f, const struct slice *bulk) {
    const struct pool_events *e = &w->slots->events;
    if (f->header.kind == WIRE_READY)
        return handle_ready(w, &f->header);
    if (f->header.kind == WIRE_LOG)
        return handle_log(w, f);
    if (f->header.kind == WIRE_DIED)
        return handle_died(w, f);
    if (f->header.kind == WIRE_MADE)
        return handle_made(w, f, bulk);
    if (w->count == 0 || slot_task(w, 0)->ticket != f->header.ticket || !wire_is_reply(f->header.kind))
        return false;
    struct in_flight answered = *slot_task(w, 0);
    if (f->header.kind == WIRE_PONG) {
        slot_pop_task(w);
        e->pong(e->owner, w);
    } else if (f->header.kind == WIRE_LOST) {
        if (!handle_lost(w, answered.task, f))
            return false;
    } else if (answered.task != NULL) {
        if (!e->reply(e->arg, w, answered.task, f, bulk))
            return false;
        slot_pop_task(w);
        w->answered++;
    } else {
        slot_pop_task(w);
    }
    /* Most often nothing was asked to stop. Then the scoreboard, which the worker writes all the time, is not read. */
    const struct in_flight *next = w->stopped_tasks == 0 ? NULL : slot_front_task(w);
    if (answered.reason != STOP_NONE || w->stop_timer.is_set || (next != NULL && next->reason != STOP_NONE))
        stopping_press(w);
    return true;
}

/* False if a frame of the datagram breaks the protocol. */
static bool handle_datagram(struct worker *w, struct wire_reader *r) {
    struct wire_frame f;
    int got = wire_next(r, &f);
    bool good = true;
    for (; good && got == 1; got = good ? wire_next(r, &f) : -1) {
        struct slice bulk = {NULL, 0, 0};
        good = (f.header.flags & WIRE_BULK) == 0 || wire_take_bulk(r, &f, &bulk) == 0;
        good = good && handle_reply(w, &f, &bulk);
        slice_deinit(&bulk);
    }
    wire_close_reader(r);
    return good && got == 0;
}

static void take_replies(struct worker *w, int datagrams) {
    struct slots *s = w->slots;
    bool any = false;
    for (int turn = 0; turn < datagrams && w->watch.fd >= 0; turn++) {
        struct wire_reader r;
        int got = wire_receive(w->watch.fd, s->buffer, &r);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got > 0 && handle_datagram(w, &r)) {
            any = true;
            if (w->count == 0)
                break; /* it has nothing to say; its end would be reported again */
            continue;
        }
        if (got != 0)
            LOG(LOG_ERROR, "worker_protocol_error", LOG_INT("worker", w->slot), LOG_INT("pid", w->pid));
        else if (w->state != WORKER_DYING && w->state != WORKER_RETIRING)
            LOG(LOG_DEBUG, "worker_eof", LOG_INT("worker", w->slot));
        loop_unwatch(s->loop, &w->watch);
        slot_kill(w, got != 0 ? STOP_PROTOCOL : STOP_NONE); /* EOF: it is dying, or closed its socket and must die */
        break;
    }
    if (!any)
        return;
    if (w->state == WORKER_READY || w->state == WORKER_RETIRING)
        retiring_continue(w);
    s->events.changed(s->events.arg);
}

void receiving_take_replies(struct worker *w) {
    take_replies(w, MAX_DATAGRAMS);
}

/* The socket's buffer bounds them. */
void receiving_take_last_replies(struct worker *w) {
    take_replies(w, INT_MAX);
}

static void on_socket(struct watch *watch, uint32_t events) {
    struct worker *w = container_of(watch, struct worker, watch);
    if ((events & EPOLLOUT) != 0)
        sending_resume(w);
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        receiving_take_replies(w);
}

int receiving_open(struct worker *w, int socket) {
    fcntl(socket, F_SETFL, O_NONBLOCK);
    w->watch = (struct watch){socket, on_socket};
    return loop_watch(w->slots->loop, &w->watch, EPOLLIN);
}

void receiving_close(struct worker *w) {
    if (w->watch.fd < 0)
        return;
    loop_unwatch(w->slots->loop, &w->watch);
    close(w->watch.fd);
    w->watch.fd = -1;
}
