/* health.c: see health.h. Front end. A worker at a long task cannot answer; it counts as good, unless its process is
 * stopped (SIGSTOP). A worker that is starting does no harm if its lane has another one, or if it replaces one that
 * was asked to leave. */
#include "server/api/health.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"

#define VERDICT_NS  NS_PER_S          /* how long a good verdict counts */
#define PATIENCE_NS NS_PER_S          /* how long a worker has to answer */
#define START_NS    (500 * NS_PER_MS) /* how long we wait for workers that are starting */
#define LOOK_NS     (2 * NS_PER_MS)   /* how often we look meanwhile whether one is ready */

/* What a worker's ping came to. NONE: the worker is starting. BUSY: it cannot answer, for a good reason. */
enum canary { CANARY_NONE, CANARY_SENT, CANARY_ANSWERED, CANARY_BUSY, CANARY_LOST };

struct health {
    struct loop *loop;
    struct pool *pool;
    enum canary *canaries; /* by worker slot */
    bool probing;
    int64_t probe_ns;   /* monotonic: when the probe began */
    int64_t verdict_ns; /* monotonic: of the last good verdict; 0: the last one was bad, or there is none */
    struct timer timer;
    struct health_waiter *waiters;
};

/* ---- verdict ----------------------------------------------------------------------------------------------------- */

static unsigned count_well(const struct health *h, enum lane lane) {
    unsigned well = 0;
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (worker_lane(pool_worker(h->pool, i)) == lane)
            well += h->canaries[i] == CANARY_ANSWERED || h->canaries[i] == CANARY_BUSY;
    return well;
}

static bool a_lane_has_none(const struct health *h) {
    return count_well(h, LANE_MAIN) == 0 || count_well(h, LANE_EXPRESS) == 0;
}

static bool has_canary(const struct health *h, enum canary canary) {
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (h->canaries[i] == canary)
            return true;
    return false;
}

/* ---- probe ------------------------------------------------------------------------------------------------------- */

/* A worker that is at a slow task cannot answer, but it does not hang. */
static enum canary judge_silent(struct worker *w) {
    return worker_takes_tasks(w) || worker_is_stopped(w) ? CANARY_LOST : CANARY_BUSY;
}

static void conclude(struct health *h) {
    h->probing = false;
    loop_clear_timer(h->loop, &h->timer);
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (h->canaries[i] == CANARY_SENT)
            h->canaries[i] = judge_silent(pool_worker(h->pool, i));
    bool good = !a_lane_has_none(h) && !has_canary(h, CANARY_LOST);
    h->verdict_ns = good ? clock_monotonic_ns() : 0;
    while (h->waiters != NULL) {
        struct health_waiter *w = h->waiters;
        health_forget(h, w);
        w->notify(w);
    }
}

static enum canary probe_worker(struct worker *w) {
    if (!worker_is_up(w))
        return worker_is_changing(w) ? CANARY_BUSY : CANARY_NONE;
    if (worker_has_long_task(w) || !worker_takes_tasks(w) || !worker_can_send(w))
        return worker_is_stopped(w) ? CANARY_LOST : CANARY_BUSY;
    pool_ping(w);
    return CANARY_SENT;
}

/* Sends pings to the workers that have none yet, because they were starting. */
static void send_pings(struct health *h) {
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (h->canaries[i] == CANARY_NONE)
            h->canaries[i] = probe_worker(pool_worker(h->pool, i));
}

/* Concludes if all that can be known is known, else sets the timer for the next look. */
static void go_on(struct health *h) {
    int64_t now_ns = clock_monotonic_ns();
    bool silent = has_canary(h, CANARY_SENT);
    bool starting = a_lane_has_none(h) && has_canary(h, CANARY_NONE) && now_ns - h->probe_ns < START_NS;
    if ((!silent && !starting) || now_ns - h->probe_ns >= PATIENCE_NS)
        conclude(h);
    else
        loop_set_timer(h->loop, &h->timer, starting ? now_ns + LOOK_NS : h->probe_ns + PATIENCE_NS);
}

static void on_timer(struct timer *t) {
    struct health *h = container_of(t, struct health, timer);
    send_pings(h);
    go_on(h);
}

void health_pong(struct health *h, struct worker *w) {
    if (!h->probing)
        return;
    h->canaries[worker_slot(w)] = CANARY_ANSWERED;
    go_on(h);
}

bool health_check(struct health *h, struct health_waiter *w) {
    if (!h->probing && h->verdict_ns != 0 && clock_monotonic_ns() - h->verdict_ns < VERDICT_NS)
        return true;
    if (!h->probing) {
        h->probing = true;
        h->probe_ns = clock_monotonic_ns();
        memset(h->canaries, 0, pool_size(h->pool) * sizeof *h->canaries); /* CANARY_NONE */
        send_pings(h);
        go_on(h);
        if (!h->probing)
            return true;
    }
    w->waiting = true;
    DL_APPEND(h->waiters, w);
    return false;
}

void health_forget(struct health *h, struct health_waiter *w) {
    if (!w->waiting)
        return;
    DL_DELETE(h->waiters, w);
    w->waiting = false;
}

bool health_verdict(const struct health *h, struct buf *lines) {
    for (size_t i = 0; i < pool_size(h->pool); i++) {
        struct worker *w = pool_worker(h->pool, i);
        if (h->canaries[i] == CANARY_LOST)
            buf_printf(lines, "[-]worker %zu failed: pid %d %s\n", i, (int)worker_look(w).pid,
                       worker_is_stopped(w) ? "is stopped" : "does not answer");
    }
    for (int lane = 0; lane < 2; lane++) {
        unsigned well = count_well(h, (enum lane)lane);
        if (well > 0)
            buf_printf(lines, "[+]%s workers ok: %u\n", lane_name((enum lane)lane), well);
        else
            buf_printf(lines, "[-]%s workers failed: none is ready\n", lane_name((enum lane)lane));
    }
    return !a_lane_has_none(h) && !has_canary(h, CANARY_LOST);
}

struct health *health_new(struct loop *loop, struct pool *pool) {
    struct health *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->loop = loop;
    h->pool = pool;
    h->timer.fire = on_timer;
    h->canaries = calloc(pool_size(pool), sizeof *h->canaries);
    if (h->canaries != NULL)
        return h;
    free(h);
    return NULL;
}

void health_free(struct health *h) {
    loop_clear_timer(h->loop, &h->timer);
    free(h->canaries);
    free(h);
}
