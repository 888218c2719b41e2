/* expiry.c: see expiry.h. Front end. */
#include "server/jobs/expiry.h"

#include "base/clock.h"
#include "base/container.h"

#define CLOCK_STEP_MS 1000             /* if the two clocks drift apart by more, somebody has set the wall clock */
#define LEAST_NS      (50 * NS_PER_MS) /* between two runs */

void expiry_schedule(struct jobs *js, int64_t due_ms) {
    int64_t in_ms = due_ms - clock_wall_ms();
    if (due_ms == 0)
        return;
    int64_t due_ns = clock_monotonic_ns() + (in_ms < 0 ? 0 : job_limit_ns(in_ms));
    if (!js->expiry_timer.is_set || due_ns < js->expiry_timer.due_ns)
        loop_set_timer(js->loop, &js->expiry_timer, due_ns);
}

void expiry_check_clock(struct jobs *js) {
    int64_t offset_ms = clock_wall_ms() - clock_monotonic_ns() / NS_PER_MS;
    int64_t by_ms = offset_ms - js->wall_offset_ms;
    if (by_ms < CLOCK_STEP_MS && by_ms > -CLOCK_STEP_MS)
        return;
    js->wall_offset_ms = offset_ms;
    LOG(LOG_WARN, "clock_stepped", LOG_INT("by_ms", by_ms));
    js->store->ops->adjust_clock(js->store, by_ms);
    js->remembered->ops->adjust_clock(js->remembered, by_ms);
}

static void on_timer(struct timer *t);

void expiry_start(struct jobs *js) {
    js->expiry_timer.fire = on_timer;
    expiry_check_clock(js);
    int64_t now_ms = clock_wall_ms();
    expiry_schedule(js, js->store->ops->gc(js->store, now_ms));
    expiry_schedule(js, js->remembered->ops->gc(js->remembered, now_ms));
    /* A store can name a time that is too early: do not ask it again and again. */
    if (js->expiry_timer.is_set && js->expiry_timer.due_ns < clock_monotonic_ns() + LEAST_NS)
        loop_set_timer(js->loop, &js->expiry_timer, clock_monotonic_ns() + LEAST_NS);
}

static void on_timer(struct timer *t) {
    expiry_start(container_of(t, struct jobs, expiry_timer));
}

void expiry_stop(struct jobs *js) {
    loop_clear_timer(js->loop, &js->expiry_timer);
}
