/* memory_limit.c: see memory_limit.h. Front end. */
#include "pool/memory_limit.h"

#include "base/clock.h"
#include "base/container.h"
#include "pool/worker_view.h"

#define LOOK_NS (20 * NS_PER_MS)

static void on_memory_timer(struct timer *t) {
    struct slots *s = container_of(t, struct slots, memory_timer);
    bool busy = false;
    if (s->config.max_job_memory == 0) /* a reload took the limit away */
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = &s->at[i];
        if (w->count == 0 || !worker_is_up(w))
            continue;
        busy = true;
        if (worker_rss(w) > s->config.max_job_memory)
            slot_kill(w, STOP_MEMORY);
    }
    if (busy)
        loop_set_timer(s->loop, t, clock_monotonic_ns() + LOOK_NS);
}

void memory_limit_init(struct slots *s) {
    s->memory_timer.fire = on_memory_timer;
}

void memory_limit_watch(struct slots *s) {
    if (s->config.max_job_memory > 0 && !s->memory_timer.is_set)
        loop_set_timer(s->loop, &s->memory_timer, clock_monotonic_ns() + LOOK_NS);
}
