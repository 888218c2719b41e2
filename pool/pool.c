/* pool.c: see pool.h. Front end. Slots, their sockets, and the life and death of their workers; the link to the
 * zygote is in zygote_link.c, what can be seen of a worker from outside in worker_view.c. */
#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "pool/pool_private.h"
#include "pool/zygote.h"

#define QUICK_DEATH_NS   NS_PER_S /* a worker that lived no longer, and got no work, died at once */
#define FREE_RESPAWNS    2        /* so many deaths at once in a row are replaced without delay */
#define FIRST_BACKOFF_NS (20 * NS_PER_MS)
#define MAX_BACKOFF_NS   (2 * NS_PER_S)
#define LOAD_LIMIT_NS    (60 * NS_PER_S)  /* for a worker that loads a handler by itself */
#define MEMORY_LOOK_NS   (20 * NS_PER_MS) /* how often --max-job-memory is checked while work runs */

/* ---- the ring of work in flight ------------------------------------------------------------------------ */

static struct in_flight *ring_at(struct worker *w, unsigned i) {
    return &w->ring[(w->head + i) % WIRE_MAX_IN_FLIGHT];
}

static struct in_flight *ring_push(struct worker *w, void *task) {
    struct in_flight *f = ring_at(w, w->count++);
    *f = (struct in_flight){.ticket = ++w->next_ticket, .task = task};
    return f;
}

static void ring_pop(struct worker *w) {
    w->long_tasks -= ring_at(w, 0)->is_long;
    w->head = (w->head + 1) % WIRE_MAX_IN_FLIGHT;
    w->count--;
}

/* ---- spawning ---------------------------------------------------------------------------------------------- */

void pool_spawn_worker(struct worker *w) {
    struct pool *p = w->pool;
    if (w->state != WORKER_EMPTY || p->current == NULL || !p->current->loaded || p->stopping)
        return;
    struct zygote_request q = {
        .kind = ZYGOTE_SPAWN, .slot = w->slot, .express = w->lane == LANE_EXPRESS, .start_type = w->start_type};
    scoreboard_clear(w->board);
    w->zygote = p->current;
    w->state = WORKER_STARTING;
    w->pid = 0;
    w->asked_ns = clock_monotonic_ns();
    w->ready_ns = 0;
    if (zygote_link_request(p->current, &q) != 0)
        w->state = WORKER_EMPTY; /* the zygote is going; its successor spawns all slots */
    else if (w->start_type != START_FORKED)
        loop_set_timer(p->loop, &w->spawn_timer, w->asked_ns + LOAD_LIMIT_NS);
}

/* Delay before the next worker of this slot: none, unless they die at once every time. */
static int64_t backoff_ns(const struct worker *w) {
    if (w->quick_deaths <= FREE_RESPAWNS)
        return 0;
    unsigned doublings = w->quick_deaths - FREE_RESPAWNS - 1;
    int64_t delay = doublings > 10 ? MAX_BACKOFF_NS : FIRST_BACKOFF_NS << doublings;
    return delay > MAX_BACKOFF_NS ? MAX_BACKOFF_NS : delay;
}

static void respawn(struct worker *w) {
    int64_t delay = backoff_ns(w);
    if (delay == 0) {
        pool_spawn_worker(w);
        return;
    }
    LOG(LOG_WARN, "worker_backoff", LOG_INT("worker", w->slot), LOG_INT("deaths", w->quick_deaths),
        LOG_INT("delay_ms", delay / NS_PER_MS));
    loop_set_timer(w->pool->loop, &w->spawn_timer, clock_monotonic_ns() + delay);
}

/* ---- death ---------------------------------------------------------------------------------------------------- */

static void close_socket(struct worker *w) {
    if (w->watch.fd < 0)
        return;
    loop_unwatch(w->pool->loop, &w->watch);
    close(w->watch.fd);
    w->watch.fd = -1;
    for (size_t i = 0; i < w->backlog_count; i++)
        wire_close_writer(&w->backlog[i]);
    free(w->backlog);
    w->backlog = NULL;
    w->backlog_count = 0;
    wire_close_writer(&w->writer);
}

static void signal_worker(struct worker *w, int signal) {
    struct zygote_request q = {.kind = ZYGOTE_SIGNAL, .pid = w->pid, .signal = signal};
    if (w->pid > 0 && w->zygote != NULL)
        zygote_link_request(w->zygote, &q);
}

static void kill_worker(struct worker *w, enum stop_reason reason) {
    if (w->killed == STOP_NONE)
        w->killed = reason;
    w->state = WORKER_DYING;
    signal_worker(w, SIGKILL);
}

const char *signal_name(int signal) {
    static char name[16];
    const char *brief = signal == 0 ? NULL : sigabbrev_np(signal);
    if (brief == NULL)
        return NULL;
    snprintf(name, sizeof name, "SIG%s", brief);
    return name;
}

static void on_spawn_timer(struct timer *t) {
    struct worker *w = container_of(t, struct worker, spawn_timer);
    if (w->state == WORKER_STARTING && w->start_type != START_FORKED && w->pid > 0)
        kill_worker(w, STOP_TIMEOUT); /* its load takes too long */
    else
        pool_spawn_worker(w);
}

static const char *death_cause(const struct worker *w, int status, bool oom) {
    static const char *const by_reason[] = {NULL, NULL, "timeout", "memory", "protocol"};
    if (by_reason[w->killed] != NULL)
        return by_reason[w->killed];
    if (!WIFSIGNALED(status))
        return "exit";
    return oom && WTERMSIG(status) == SIGKILL && w->killed == STOP_NONE ? "oom" : "signal";
}

static void log_death(const struct worker *w, const struct death *d, unsigned lost, bool expected) {
    LOG(expected ? LOG_INFO : LOG_WARN, expected ? "worker_exited" : "worker_lost", LOG_INT("worker", w->slot),
        LOG_INT("pid", w->pid), LOG_STR("cause", d->cause), LOG_STR("signal", signal_name(d->signal)),
        LOG_INT("exit_code", d->exit_code), LOG_INT("tasks_lost", lost), LOG_INT("max_rss_bytes", d->max_rss_bytes),
        LOG_INT("cpu_ms", d->cpu_ms), LOG_STR("stderr_tail", d->stderr_tail[0] ? d->stderr_tail : NULL));
}

/* Hands back what the worker had not answered. The one it was at is the scoreboard's current ticket, if that is one
 * of its own; else the oldest. */
static void give_up_tasks(struct worker *w, const struct death *d) {
    const struct pool_events *e = &w->pool->events;
    uint64_t current = atomic_load(&w->board->current);
    bool known = false;
    for (unsigned i = 0; i < w->count; i++)
        known = known || ring_at(w, i)->ticket == current;
    bool first = true;
    while (w->count > 0) {
        struct in_flight f = *ring_at(w, 0);
        ring_pop(w);
        bool guilty = known ? f.ticket == current : first;
        first = false;
        if (f.task != NULL)
            e->lost(e->arg, w, f.task, guilty, d);
    }
}

/* What becomes of the slot: the next process is kept for the owner who asked for it, or is anybody's. */
static void vacate(struct worker *w, const struct death *d) {
    const struct pool_events *e = &w->pool->events;
    void *owner = w->isolated_for;
    bool failed_start = w->start_type != START_FORKED && w->ready_ns == 0;
    if (w->replacing) {
        w->replacing = false;
        return;
    }
    w->isolated_for = NULL;
    w->start_type = START_FORKED;
    if (owner != NULL)
        e->vacated(e->arg, w, owner, failed_start ? d : NULL);
}

/* The process is reaped: nothing of it is left, its slot is free. */
void pool_worker_exited(struct worker *w, int status, bool oom, uint64_t max_rss_bytes, uint64_t cpu_ms) {
    struct pool *p = w->pool;
    pool_receive_replies(w); /* what it said before it died still counts */
    pool_read_stderr(w);
    struct death d = {.cause = death_cause(w, status, oom),
                      .exit_code = -1,
                      .max_rss_bytes = max_rss_bytes,
                      .cpu_ms = cpu_ms,
                      .stderr_tail = w->stderr_tail};
    if (WIFSIGNALED(status))
        d.signal = WTERMSIG(status);
    else
        d.exit_code = WEXITSTATUS(status);
    bool at_once = w->type == UINT32_MAX && !w->exit_requested && w->killed == STOP_NONE &&
                   clock_monotonic_ns() - w->started_ns < QUICK_DEATH_NS;
    bool expected = (d.signal == 0 && d.exit_code == 0) || (w->exit_requested && w->count == 0);
    w->quick_deaths = at_once ? w->quick_deaths + 1 : 0;
    w->replaced = w->exit_requested && expected;
    w->exit_requested = false;
    log_death(w, &d, w->count, expected);
    loop_clear_timer(p->loop, &w->stop_timer);
    loop_clear_timer(p->loop, &w->spawn_timer);
    close_socket(w);
    pool_close_stderr(w);
    give_up_tasks(w, &d);
    vacate(w, &d);
    w->state = WORKER_EMPTY;
    w->pid = 0;
    if (!p->stopping)
        p->events.restarted(p->events.arg, expected ? "recycled" : d.cause);
    zygote_link_release(w);
    respawn(w);
    p->events.changed(p->events.arg);
}

/* ---- recycling --------------------------------------------------------------------------------------------------- */

static void send_exit(struct worker *w) {
    struct wire_header h = {.kind = WIRE_EXIT};
    if (!wire_fits(&w->writer, 0, false))
        pool_flush(w);
    wire_put(&w->writer, &h, NULL, 0, NULL, 0, NULL);
    pool_flush(w);
}

/* No more work for this process; it leaves when it has answered what it has. */
void pool_retire_worker(struct worker *w) {
    if (w->state != WORKER_READY)
        return;
    w->state = WORKER_RETIRING;
    w->exit_requested = true;
    if (w->count == 0)
        send_exit(w);
}

static void recycle_if_due(struct worker *w) {
    const struct pool_config *c = &w->pool->config;
    if (w->state == WORKER_RETIRING) {
        if (w->count == 0)
            send_exit(w);
        return;
    }
    bool many = c->max_jobs_per_worker > 0 && w->tasks >= c->max_jobs_per_worker;
    /* Not before it did any work, or a limit that is too low would replace it for ever. */
    bool large = c->max_worker_rss > 0 && w->tasks > 0 && worker_rss(w) > c->max_worker_rss;
    if (many || large)
        pool_retire_worker(w);
}

/* ---- workers kept for one owner ---------------------------------------------------------------------------------- */

bool worker_is_unused(const struct worker *w) {
    return w->state == WORKER_READY && w->type == UINT32_MAX;
}

bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type) {
    w->isolated_for = owner;
    if (worker_is_unused(w) && w->start_type == start_type)
        return true;
    w->start_type = start_type;
    w->replacing = true;
    pool_retire_worker(w);
    return false;
}

/* It loads a handler that nobody waits for any more. */
static void abandon_start(struct worker *w) {
    w->exit_requested = true;
    kill_worker(w, STOP_CANCEL);
}

void pool_release_worker(struct worker *w) {
    bool is_pooled = w->start_type == START_FORKED;
    w->isolated_for = NULL;
    w->replacing = false;
    if (w->state == WORKER_READY && !(is_pooled && worker_is_unused(w)))
        pool_retire_worker(w);
    else if (w->state == WORKER_STARTING && !is_pooled && w->pid > 0) /* else pool_adopt_worker sees to it */
        abandon_start(w);
    else if (w->state == WORKER_EMPTY)
        w->start_type = START_FORKED;
}

/* ---- stopping work: ask, insist, kill --------------------------------------------------------------------------- */

static void on_stop_timer(struct timer *t) {
    struct worker *w = container_of(t, struct worker, stop_timer);
    struct in_flight *f = w->count > 0 ? ring_at(w, 0) : NULL;
    if (f == NULL || f->reason == STOP_NONE || w->state == WORKER_DYING)
        return;
    int64_t grace = w->pool->config.cancel_grace_ns;
    if (clock_monotonic_ns() < w->stop_asked_ns + grace) {
        signal_worker(w, SIGTERM);
        loop_set_timer(w->pool->loop, t, w->stop_asked_ns + grace);
        return;
    }
    kill_worker(w, f->reason);
}

/* The oldest piece in flight is the one being worked on: press on if it was asked to stop. */
static void press_stop(struct worker *w) {
    struct in_flight *f = w->count > 0 ? ring_at(w, 0) : NULL;
    if (f == NULL || f->reason == STOP_NONE) {
        loop_clear_timer(w->pool->loop, &w->stop_timer);
        return;
    }
    w->stop_asked_ns = clock_monotonic_ns();
    loop_set_timer(w->pool->loop, &w->stop_timer, w->stop_asked_ns + w->pool->config.cancel_grace_ns / 2);
}

bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason) {
    for (unsigned i = 0; i < w->count; i++) {
        struct in_flight *f = ring_at(w, i);
        if (f->ticket != ticket)
            continue;
        atomic_store(&w->board->cancelled[ticket % WIRE_MAX_IN_FLIGHT], ticket);
        if (f->reason == STOP_NONE)
            f->reason = reason;
        if (i == 0) {
            press_stop(w);
            return true;
        }
        f->task = NULL;
        return false;
    }
    return false;
}

/* ---- memory limit --------------------------------------------------------------------------------------------------- */

static void on_memory_timer(struct timer *t) {
    struct pool *p = container_of(t, struct pool, memory_timer);
    bool busy = false;
    for (size_t i = 0; i < p->size; i++) {
        struct worker *w = &p->workers[i];
        if (w->count == 0 || (w->state != WORKER_READY && w->state != WORKER_RETIRING))
            continue;
        busy = true;
        if (worker_rss(w) > p->config.max_job_memory)
            kill_worker(w, STOP_MEMORY);
    }
    if (busy)
        loop_set_timer(p->loop, t, clock_monotonic_ns() + MEMORY_LOOK_NS);
}

/* ---- receiving --------------------------------------------------------------------------------------------------------- */

static bool handle_reply(struct worker *w, const struct wire_frame *f, const struct slice *bulk) {
    const struct pool_events *e = &w->pool->events;
    if (f->header.kind == WIRE_READY) {
        if (w->state == WORKER_DYING && f->header.ticket == 0)
            return true; /* given up, with its zygote, while it started */
        if (w->state != WORKER_STARTING || f->header.ticket != 0)
            return false;
        w->state = WORKER_READY;
        w->ready_ns = clock_monotonic_ns();
        w->replaced = false;
        loop_clear_timer(w->pool->loop, &w->spawn_timer);
        LOG(LOG_DEBUG, "worker_ready", LOG_INT("worker", w->slot), LOG_INT("pid", w->pid));
        if (w->zygote != w->pool->current)
            pool_retire_worker(w); /* a reload came while it started */
        return true;
    }
    /* Replies come in the order of the requests: anything else is made up. */
    struct in_flight answered = w->count > 0 ? *ring_at(w, 0) : (struct in_flight){0};
    if (w->count == 0 || answered.ticket != f->header.ticket || !wire_is_reply(f->header.kind))
        return false;
    if (f->header.kind == WIRE_PONG) {
        ring_pop(w);
        e->pong(e->owner, w);
    } else if (answered.task != NULL) {
        if (!e->reply(e->arg, w, answered.task, f, bulk))
            return false;
        ring_pop(w);
        w->tasks++;
    } else {
        ring_pop(w);
    }
    if (answered.reason != STOP_NONE || w->stop_timer.slot != 0 || (w->count > 0 && ring_at(w, 0)->reason != STOP_NONE))
        press_stop(w);
    return true;
}

static bool handle_replies(struct worker *w, struct wire_reader *r) {
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

void pool_receive_replies(struct worker *w) {
    struct pool *p = w->pool;
    bool any = false;
    for (int turn = 0; turn < 64 && w->watch.fd >= 0; turn++) {
        struct wire_reader r;
        int got = wire_receive(w->watch.fd, p->buffer, &r);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got == 0) { /* EOF: it is dying, or has closed its socket and must die */
            loop_unwatch(p->loop, &w->watch);
            if (w->state != WORKER_DYING && w->state != WORKER_RETIRING)
                LOG(LOG_DEBUG, "worker_eof", LOG_INT("worker", w->slot));
            w->state = WORKER_DYING;
            signal_worker(w, SIGKILL);
            break;
        }
        if (got < 0 || !handle_replies(w, &r)) {
            LOG(LOG_ERROR, "worker_protocol_error", LOG_INT("worker", w->slot), LOG_INT("pid", w->pid));
            loop_unwatch(p->loop, &w->watch);
            kill_worker(w, STOP_PROTOCOL);
            break;
        }
        any = true;
    }
    if (!any)
        return;
    w->answered_ns = loop_now_ns(p->loop);
    if (w->state == WORKER_READY || w->state == WORKER_RETIRING)
        recycle_if_due(w);
    p->events.changed(p->events.arg);
}

/* ---- sending ---------------------------------------------------------------------------------------------------------------- */

static void want_write(struct worker *w, bool want) {
    if (w->wants_write == want)
        return;
    w->wants_write = want;
    loop_rewatch(w->pool->loop, &w->watch, want ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Keeps a datagram that the socket did not take. */
static void set_aside(struct worker *w) {
    struct wire_writer fresh;
    struct wire_writer *more = realloc(w->backlog, (w->backlog_count + 1) * sizeof *more);
    if (more != NULL)
        w->backlog = more;
    if (more == NULL || wire_open_writer(&fresh) != 0) {
        kill_worker(w, STOP_MEMORY); /* its work is handed back */
        return;
    }
    w->backlog[w->backlog_count++] = w->writer;
    w->writer = fresh;
    want_write(w, true);
}

void pool_flush(struct worker *w) {
    if (w->writer.frames == 0 || w->watch.fd < 0)
        return;
    if (w->backlog_count == 0 && wire_flush(&w->writer, w->watch.fd) == 0)
        return;
    if (w->backlog_count > 0 || errno == EAGAIN) {
        set_aside(w);
        return;
    }
    /* Drop what it cannot get. EPIPE: it is gone, and the zygote will say so. Anything else (no memory, too many descriptors
     * in flight): it must go, so that its work is handed back rather than lost. */
    if (errno != EPIPE && errno != ECONNRESET) {
        LOG(LOG_ERROR, "send_failed", LOG_INT("worker", w->slot), LOG_STR("error", strerror(errno)));
        kill_worker(w, STOP_NONE);
    }
    slice_deinit(&w->writer.bulk);
    w->writer.size = 0;
    w->writer.frames = 0;
}

static void send_backlog(struct worker *w) {
    size_t sent = 0;
    while (sent < w->backlog_count && wire_flush(&w->backlog[sent], w->watch.fd) == 0)
        wire_close_writer(&w->backlog[sent++]);
    if (sent > 0)
        memmove(w->backlog, w->backlog + sent, (w->backlog_count - sent) * sizeof *w->backlog);
    w->backlog_count -= sent;
    if (w->backlog_count > 0)
        return;
    want_write(w, false);
    w->pool->events.drained(w->pool->events.arg, w);
}

static void on_socket(struct watch *watch, uint32_t events) {
    struct worker *w = container_of(watch, struct worker, watch);
    if ((events & EPOLLOUT) != 0)
        send_backlog(w);
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        pool_receive_replies(w);
}

/* The zygote forked a worker for this slot. */
void pool_adopt_worker(struct worker *w, pid_t pid, int socket, int stderr_fd) {
    struct pool *p = w->pool;
    fcntl(socket, F_SETFL, O_NONBLOCK);
    w->pid = pid;
    w->started_wall_ms = clock_wall_ms();
    w->started_ns = w->answered_ns = clock_monotonic_ns();
    w->tasks = w->next_ticket = 0;
    w->head = w->count = 0;
    w->long_tasks = 0;
    w->type = UINT32_MAX;
    w->killed = STOP_NONE;
    w->wants_write = false;
    w->watch = (struct watch){socket, on_socket};
    bool ok = wire_open_writer(&w->writer) == 0;
    ok = loop_watch(p->loop, &w->watch, EPOLLIN) == 0 && ok;
    ok = pool_watch_stderr(w, stderr_fd) == 0 && ok;
    if (!ok)
        kill_worker(w, STOP_MEMORY);
    else if (w->start_type != START_FORKED && w->isolated_for == NULL)
        abandon_start(w); /* released before it was there */
}

bool worker_takes_tasks(const struct worker *w) {
    uint64_t limit = w->pool->config.max_jobs_per_worker;
    return w->state == WORKER_READY && w->count < WIRE_MAX_IN_FLIGHT && (limit == 0 || w->tasks + w->count < limit);
}

bool worker_can_send(const struct worker *w) {
    return w->backlog_count == 0;
}

static void put_frame(struct worker *w, const struct wire_header *h, const void *first, size_t first_size,
                      const void *second, size_t second_size, const struct slice *bulk) {
    if (!wire_fits(&w->writer, first_size + second_size, bulk != NULL))
        pool_flush(w);
    wire_put(&w->writer, h, first, first_size, second, second_size, bulk);
}

uint64_t pool_send_task(struct worker *w, const struct wire_header *h, const void *first, size_t first_size,
                        const void *second, size_t second_size, const struct slice *bulk, void *task, bool is_long) {
    struct wire_header header = *h;
    struct pool *p = w->pool;
    struct in_flight *f = ring_push(w, task);
    header.ticket = f->ticket;
    f->is_long = is_long;
    w->long_tasks += is_long;
    w->type = h->type;
    put_frame(w, &header, first, first_size, second, second_size, bulk);
    if (p->config.max_job_memory > 0 && p->memory_timer.slot == 0)
        loop_set_timer(p->loop, &p->memory_timer, clock_monotonic_ns() + MEMORY_LOOK_NS);
    return header.ticket;
}

void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part) {
    struct wire_header h = {.kind = WIRE_PART, .ticket = ticket};
    bool bulk = part->blob != NULL && part->blob->fd >= 0;
    const unsigned char *bytes = bulk ? NULL : slice_map(part);
    put_frame(w, &h, bytes, bulk ? 0 : part->size, NULL, 0, bulk ? part : NULL);
}

void pool_ping(struct worker *w) {
    struct wire_header h = {.kind = WIRE_PING};
    if (!worker_takes_tasks(w) || !worker_can_send(w)) /* nothing may come between the parts of a merge */
        return;
    h.ticket = ring_push(w, NULL)->ticket;
    put_frame(w, &h, NULL, 0, NULL, 0, NULL);
    pool_flush(w);
}

uint64_t pool_steps(const struct worker *w, uint64_t ticket) {
    if (atomic_load_explicit(&w->board->current, memory_order_relaxed) != ticket)
        return 0;
    return atomic_load_explicit(&w->board->done, memory_order_relaxed);
}

double pool_progress(const struct worker *w, uint64_t ticket) {
    uint64_t total = atomic_load_explicit(&w->board->total, memory_order_relaxed);
    uint64_t done = atomic_load_explicit(&w->board->done, memory_order_relaxed);
    if (atomic_load_explicit(&w->board->current, memory_order_relaxed) != ticket || total == 0)
        return 0;
    return done >= total ? 1 : (double)done / (double)total;
}

/* ---- the pool ------------------------------------------------------------------------------------------------------------------ */

struct pool *pool_new(struct loop *loop, const struct pool_config *config, const struct pool_events *events) {
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->loop = loop;
    p->config = *config;
    p->events = *events;
    p->size = config->workers + config->express_workers;
    p->workers = calloc(p->size, sizeof *p->workers);
    p->buffer = aligned_alloc(64, WIRE_MAX_DATAGRAM);
    p->memory_timer.fire = on_memory_timer;
    p->scoreboard_fd = scoreboard_new((unsigned)p->size);
    bool ok = p->workers != NULL && p->buffer != NULL && p->scoreboard_fd >= 0;
    for (size_t i = 0; ok && i < p->size; i++) {
        struct worker *w = &p->workers[i];
        w->pool = p;
        w->slot = (unsigned)i;
        w->lane = i < config->workers ? LANE_MAIN : LANE_EXPRESS;
        w->watch.fd = w->stderr_watch.fd = -1;
        w->type = w->start_type = UINT32_MAX;
        w->stop_timer.fire = on_stop_timer;
        w->spawn_timer.fire = on_spawn_timer;
        w->board = scoreboard_map(p->scoreboard_fd, w->slot);
        ok = w->board != NULL;
    }
    if (ok)
        return p;
    pool_free(p);
    return NULL;
}

void pool_configure(struct pool *p, const struct pool_config *config) {
    unsigned workers = p->config.workers, express_workers = p->config.express_workers;
    p->config = *config;
    p->config.workers = workers;
    p->config.express_workers = express_workers;
}

int pool_start(struct pool *p) {
    return zygote_link_start(p);
}

int pool_reload(struct pool *p) {
    return zygote_link_start(p);
}

void pool_free(struct pool *p) {
    p->stopping = true;
    zygote_link_stop_all(p);
    for (size_t i = 0; p->workers != NULL && i < p->size; i++) {
        struct worker *w = &p->workers[i];
        loop_clear_timer(p->loop, &w->stop_timer);
        loop_clear_timer(p->loop, &w->spawn_timer);
        close_socket(w);
        pool_close_stderr(w);
        if (w->board != NULL)
            scoreboard_unmap(w->board);
    }
    loop_clear_timer(p->loop, &p->memory_timer);
    if (p->scoreboard_fd >= 0)
        close(p->scoreboard_fd);
    free(p->workers);
    free(p->buffer);
    free(p);
}

size_t pool_size(const struct pool *p) {
    return p->size;
}

struct worker *pool_worker(const struct pool *p, size_t i) {
    return &p->workers[i];
}
