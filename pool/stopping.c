/* stopping.c: see stopping.h. Front end. */
#include "pool/stopping.h"

#include <signal.h>

#include "base/clock.h"
#include "base/container.h"

static void on_stop_timer(struct timer *t) {
    struct worker *w = container_of(t, struct worker, stop_timer);
    const struct in_flight *f = slot_front_task(w);
    if (f == NULL || f->reason == STOP_NONE || w->state == WORKER_DYING)
        return;
    int64_t end_ns = w->stop_asked_ns + w->slots->config.cancel_grace_ns;
    if (clock_monotonic_ns() < end_ns) {
        slot_signal(w, SIGTERM);
        loop_set_timer(w->slots->loop, t, end_ns);
        return;
    }
    slot_kill(w, f->reason);
}

void stopping_init(struct worker *w) {
    w->stop_timer.fire = on_stop_timer;
}

void stopping_press(struct worker *w) {
    const struct in_flight *f = slot_front_task(w);
    if (f == NULL || f->reason == STOP_NONE) {
        loop_clear_timer(w->slots->loop, &w->stop_timer);
        return;
    }
    w->stop_asked_ns = clock_monotonic_ns();
    loop_set_timer(w->slots->loop, &w->stop_timer, w->stop_asked_ns + w->slots->config.cancel_grace_ns / 2);
}

void stopping_end(struct worker *w) {
    loop_clear_timer(w->slots->loop, &w->stop_timer);
}
