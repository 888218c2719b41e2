/* held_back.c: see held_back.h. Front end. */
#include "pool/held_back.h"

#include "base/clock.h"
#include "base/container.h"
#include "pool/receiving.h"

#define HELD_BACK_NS (20 * NS_PER_MS)

static uint64_t front_ticket(struct worker *w) {
    const struct in_flight *f = slot_front_task(w);
    return f == NULL ? 0 : f->ticket;
}

static void give_back(struct worker *w, struct in_flight *f, bool begun) {
    const struct pool_events *e = &w->slots->events;
    if (f->task == NULL || !e->held_back(e->arg, w, f->task))
        return;
    f->task = NULL;
    if (begun)
        return;
    slot_stop_task(w, f, STOP_CANCEL); /* the worker skips it, or has just begun it and must stop */
    atomic_store(&w->board->cancelled[f->ticket % WIRE_MAX_IN_FLIGHT], f->ticket);
}

static void look(struct worker *w) {
    uint64_t before = w->front_seen;
    w->front_seen = front_ticket(w);
    if (w->front_seen == 0 || w->front_seen != before)
        return;
    receiving_take_replies(w); /* they may be here, and we did not get round to them */
    if (front_ticket(w) != before || w->state == WORKER_DYING)
        return;
    w->is_slow = true;
    for (unsigned i = 0; i < w->count; i++)
        if (slot_task(w, i)->ticket != before)
            give_back(w, slot_task(w, i), slot_task(w, i)->ticket < before);
}

static void on_timer(struct timer *t) {
    struct slots *s = container_of(t, struct slots, held_back_timer);
    bool any = false;
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = &s->at[i];
        if (w->count == 0 || w->long_tasks > 0 || (w->state != WORKER_READY && w->state != WORKER_RETIRING))
            continue;
        look(w);
        any = true;
    }
    if (any)
        held_back_watch(s);
}

void held_back_init(struct slots *s) {
    s->held_back_timer.fire = on_timer;
}

void held_back_deinit(struct slots *s) {
    loop_clear_timer(s->loop, &s->held_back_timer);
}

void held_back_watch(struct slots *s) {
    if (!s->held_back_timer.is_set)
        loop_set_timer(s->loop, &s->held_back_timer, clock_monotonic_ns() + HELD_BACK_NS);
}
