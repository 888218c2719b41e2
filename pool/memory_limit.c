/* memory_limit.c: see memory_limit.h. Front end. */
#include "pool/memory_limit.h"

#include "base/clock.h"
#include "base/container.h"
#include "pool/worker_view.h"

#define SOONEST_NS    (20 * NS_PER_MS)
#define LATEST_NS     (1 * NS_PER_S)
#define GROWTH_PER_NS 4 /* bytes; a process gets new pages at a few GiB a second at most */

/* When a worker that has so much room left must be looked at again. */
static int64_t next_look_ns(uint64_t room) {
    int64_t ns = (int64_t)(room / GROWTH_PER_NS < (uint64_t)LATEST_NS ? room / GROWTH_PER_NS : (uint64_t)LATEST_NS);
    return ns < SOONEST_NS ? SOONEST_NS : ns;
}

static void on_memory_timer(struct timer *t) {
    struct slots *s = container_of(t, struct slots, memory_timer);
    bool busy = false;
    uint64_t limit = s->config.max_job_memory, room = limit;
    if (s->config.max_job_memory == 0) /* a reload took the limit away */
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = &s->at[i];
        if (w->count == 0 || !worker_is_up(w))
            continue;
        busy = true;
        uint64_t rss = worker_rss(w), left = rss < limit ? limit - rss : 0;
        room = left < room ? left : room;
        if (rss > limit)
            slot_kill(w, STOP_MEMORY);
    }
    if (busy)
        loop_set_timer(s->loop, t, clock_monotonic_ns() + next_look_ns(room));
}

void memory_limit_init(struct slots *s) {
    s->memory_timer.fire = on_memory_timer;
}

void memory_limit_watch(struct slots *s) {
    if (s->config.max_job_memory > 0 && !s->memory_timer.is_set)
        loop_set_timer(s->loop, &s->memory_timer, clock_monotonic_ns() + SOONEST_NS);
}
