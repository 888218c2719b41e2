/* life.c: see life.h. Front end. */
#include "pool/life.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "pool/isolation.h"
#include "pool/receiving.h"
#include "pool/sending.h"
#include "pool/stopping.h"
#include "pool/tasks.h"

#define QUICK_DEATH_NS   NS_PER_S /* a process that lived no longer than this and got no task died at once */
#define FREE_RESPAWNS    2        /* after this many such deaths in a row the next process waits */
#define FIRST_BACKOFF_NS (20 * NS_PER_MS)
#define MAX_BACKOFF_NS   (2 * NS_PER_S)
#define LOAD_LIMIT_NS    (60 * NS_PER_S) /* for a process that loads a handler by itself */

/* ---- begin ------------------------------------------------------------------------------------------------------- */

void life_begin(struct worker *w) {
    struct slots *s = w->slots;
    if (w->state != WORKER_EMPTY || s->ending || s->current == NULL || !zygote_link_is_loaded(s->current))
        return;
    scoreboard_clear(w->board);
    unsigned nice = w->lane == LANE_MAIN ? s->config.worker_nice : 0;
    if (zygote_link_spawn(s->current, w->slot, nice, w->start_type) != 0) {
        /* The zygote is dying, and the next one will be asked for all slots; or memory ran out. */
        loop_set_timer(s->loop, &w->spawn_timer, clock_monotonic_ns() + SLOT_RETRY_NS);
        return;
    }
    slot_move(w, WORKER_STARTING);
    w->link = s->current;
    w->pid = 0;
    w->asked_ns = clock_monotonic_ns();
    w->ready_ns = 0;
    if (w->start_type != START_FORKED)
        loop_set_timer(s->loop, &w->spawn_timer, w->asked_ns + LOAD_LIMIT_NS);
}

static void on_spawn_timer(struct timer *t) {
    struct worker *w = container_of(t, struct worker, spawn_timer);
    if (w->state == WORKER_STARTING && w->start_type != START_FORKED && w->pid > 0)
        slot_kill(w, STOP_TIMEOUT); /* its handler takes too long to load */
    else if (w->state == WORKER_DYING)
        slot_kill(w, STOP_NONE); /* the zygote could not be told */
    else
        life_begin(w);
}

void life_init(struct worker *w) {
    w->watch.fd = -1;
    w->type = NO_TYPE;
    w->start_type = START_FORKED;
    w->spawn_timer.fire = on_spawn_timer;
    stopping_init(w);
    stderr_tail_init(&w->stderr_tail, w->slots->loop, w->slot);
}

void life_adopt(struct worker *w, pid_t pid, int socket, int stderr_fd) {
    w->pid = pid;
    w->zygote_pid = zygote_link_pid(w->link);
    w->started_wall_ms = clock_wall_ms();
    w->started_ns = clock_monotonic_ns();
    w->answered = w->next_ticket = w->long_tasks = w->stopped_tasks = 0;
    w->head = w->count = 0;
    w->front_seen = 0;
    w->is_slow = false;
    w->type = NO_TYPE;
    w->killed = STOP_NONE;
    if (socket < 0) {
        LOG(LOG_ERROR, "worker_unreachable", LOG_INT("worker", w->slot), LOG_INT("pid", pid));
        slot_kill(w, STOP_NONE);
        return;
    }
    bool ok = sending_open(w) == 0;
    ok = receiving_open(w, socket) == 0 && ok;
    ok = stderr_tail_open(&w->stderr_tail, stderr_fd, pid) == 0 && ok;
    if (!ok)
        slot_kill(w, STOP_MEMORY);
    else
        isolation_process_adopted(w);
}

void life_not_begun(struct worker *w, int error) {
    LOG(LOG_ERROR, "worker_fork_failed", LOG_INT("worker", w->slot), LOG_STR("error", strerror(error)));
    slot_move(w, WORKER_EMPTY);
    w->link = NULL;
    slot_hand_over(w, HANDOVER_NONE);
    loop_set_timer(w->slots->loop, &w->spawn_timer, clock_monotonic_ns() + SLOT_RETRY_NS);
}

void life_lose_zygote(struct worker *w) {
    w->link = NULL;
    if (w->pid > 0)
        slot_move(w, WORKER_DYING);
    else
        slot_move(w, WORKER_EMPTY); /* the process was asked for, and not forked yet */
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

/* The ticket that the worker was at when it died: the scoreboard's current one, if that is in flight and not done; else
 * the oldest that is not done. 0: all were done, and it died before the replies left. That does not happen by itself:
 * unless somebody has killed it, the last one is to blame. */
static uint64_t guilty_ticket(struct worker *w, const struct death *d) {
    uint64_t current = atomic_load(&w->board->current), passed = slot_passed(w);
    const struct in_flight *front = slot_front_task(w);
    for (unsigned i = 0; i < w->count; i++)
        if (slot_task(w, i)->ticket == current && current > passed)
            return current;
    if (front == NULL || front->ticket > passed)
        return front == NULL ? 0 : front->ticket;
    return d->signal == SIGKILL ? 0 : slot_task(w, w->count - 1)->ticket;
}

/* Reports the tasks as lost that the worker had not answered. */
static void report_lost_tasks(struct worker *w, const struct death *d) {
    const struct pool_events *e = &w->slots->events;
    uint64_t guilty_one = guilty_ticket(w, d);
    while (w->count > 0) {
        struct in_flight f = *slot_task(w, 0);
        struct death of_task = *d;
        slot_pop_task(w);
        bool guilty = f.ticket == guilty_one;
        of_task.steps = guilty ? pool_steps(w, f.ticket) : 0;
        if (f.task != NULL)
            e->lost(e->arg, w, f.task, guilty, &of_task);
    }
}

/* Starts the next process of the slot: at once, or after a delay if several in a row died as soon as they had
 * started. */
static void begin_next(struct worker *w) {
    if (w->quick_deaths <= FREE_RESPAWNS) {
        life_begin(w);
        return;
    }
    unsigned doublings = w->quick_deaths - FREE_RESPAWNS - 1;
    int64_t delay_ns = doublings > 10 ? MAX_BACKOFF_NS : FIRST_BACKOFF_NS << doublings;
    delay_ns = delay_ns > MAX_BACKOFF_NS ? MAX_BACKOFF_NS : delay_ns;
    LOG(LOG_WARN, "worker_backoff", LOG_INT("worker", w->slot), LOG_INT("deaths", w->quick_deaths),
        LOG_INT("delay_ms", delay_ns / NS_PER_MS));
    loop_set_timer(w->slots->loop, &w->spawn_timer, clock_monotonic_ns() + delay_ns);
}

/* Logs the death, and notes how the process ended, for the next one. True if it left as it should. */
static bool note_death(struct worker *w, const struct death *d) {
    bool was_asked = w->handover == HANDOVER_LEAVING;
    bool expected = (d->signal == 0 && d->exit_code == 0) || (was_asked && w->count == 0);
    bool at_once = w->type == NO_TYPE && !was_asked && w->killed == STOP_NONE &&
                   clock_monotonic_ns() - w->started_ns < QUICK_DEATH_NS;
    w->quick_deaths = at_once ? w->quick_deaths + 1 : 0;
    slot_hand_over(w, was_asked && expected ? HANDOVER_SUCCEEDING : HANDOVER_NONE);
    LOG(expected ? LOG_INFO : LOG_WARN, expected ? "worker_exited" : "worker_lost", LOG_INT("worker", w->slot),
        LOG_INT("pid", w->pid), LOG_STR("cause", d->cause), LOG_STR("signal", signal_name(d->signal)),
        LOG_INT("exit_code", d->exit_code), LOG_INT("tasks_lost", w->count), LOG_INT("max_rss_bytes", d->max_rss_bytes),
        LOG_INT("cpu_ms", d->cpu_ms), LOG_STR("stderr_tail", d->stderr_tail[0] ? d->stderr_tail : NULL));
    return expected;
}

/* Frees what belongs to the process. */
static void clear(struct worker *w) {
    stopping_end(w);
    loop_clear_timer(w->slots->loop, &w->spawn_timer);
    receiving_close(w);
    sending_close(w);
    stderr_tail_close(&w->stderr_tail);
}

void life_end(struct worker *w, int status, bool oom, uint64_t max_rss_bytes, uint64_t cpu_ms) {
    const struct slots *s = w->slots;
    struct death d = {.max_rss_bytes = max_rss_bytes, .cpu_ms = cpu_ms, .stderr_tail = w->stderr_tail.text};
    receiving_take_last_replies(w); /* the replies that it sent before it died count */
    stderr_tail_read(&w->stderr_tail);
    slot_move(w, WORKER_DYING);
    death_set_cause(&d, status, oom, w->killed);
    bool expected = note_death(w, &d);
    clear(w);
    report_lost_tasks(w, &d);
    isolation_process_ended(w, &d);
    slot_move(w, WORKER_EMPTY);
    w->pid = 0;
    w->link = NULL;
    if (!s->ending)
        s->events.restarted(s->events.arg, expected ? "recycled" : d.cause);
    begin_next(w);
    s->events.changed(s->events.arg);
}

void life_deinit(struct worker *w) {
    clear(w);
}
