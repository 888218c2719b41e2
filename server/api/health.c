/* health.c: see health.h. Front end. A worker at a long task cannot answer; it counts as good, unless its process is
 * stopped (SIGSTOP). A worker that is starting does no harm if its lane has another one, or if it replaces one that
 * was asked to leave. */
#include "server/api/health.h"

#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"

#define VERDICT_NS  NS_PER_S /* how long a verdict counts */
#define PATIENCE_NS NS_PER_S /* how long a worker has to answer */

/* What a worker's ping came to. NONE: the worker is starting. BUSY: it cannot answer, for a good reason. */
enum canary { CANARY_NONE, CANARY_SENT, CANARY_ANSWERED, CANARY_BUSY, CANARY_LOST };

struct health {
    struct loop *loop;
    struct pool *pool;
    enum canary *canaries; /* by worker slot */
    bool probing;
    int64_t verdict_ns; /* monotonic; 0: there is none yet */
    struct timer timer;
    struct health_waiter *waiters;
};

static void conclude(struct health *h) {
    h->probing = false;
    h->verdict_ns = clock_monotonic_ns();
    loop_clear_timer(h->loop, &h->timer);
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (h->canaries[i] == CANARY_SENT)
            h->canaries[i] = CANARY_LOST;
    while (h->waiters != NULL) {
        struct health_waiter *w = h->waiters;
        health_forget(h, w);
        w->notify(w);
    }
}

static void on_patience(struct timer *t) {
    conclude(container_of(t, struct health, timer));
}

static void conclude_if_complete(struct health *h) {
    for (size_t i = 0; i < pool_size(h->pool); i++)
        if (h->canaries[i] == CANARY_SENT)
            return;
    conclude(h);
}

static enum canary probe_worker(struct worker *w) {
    if (!worker_is_up(w))
        return worker_is_changing(w) ? CANARY_BUSY : CANARY_NONE;
    if (worker_has_long_task(w) || !worker_takes_tasks(w) || !worker_can_send(w))
        return worker_is_stopped(w) ? CANARY_LOST : CANARY_BUSY;
    pool_ping(w);
    return CANARY_SENT;
}

void health_pong(struct health *h, struct worker *w) {
    if (!h->probing)
        return;
    h->canaries[worker_slot(w)] = CANARY_ANSWERED;
    conclude_if_complete(h);
}

bool health_check(struct health *h, struct health_waiter *w) {
    if (!h->probing && h->verdict_ns != 0 && clock_monotonic_ns() - h->verdict_ns < VERDICT_NS)
        return true;
    if (!h->probing) {
        h->probing = true;
        for (size_t i = 0; i < pool_size(h->pool); i++)
            h->canaries[i] = probe_worker(pool_worker(h->pool, i));
        loop_set_timer(h->loop, &h->timer, clock_monotonic_ns() + PATIENCE_NS);
        conclude_if_complete(h);
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
    unsigned well[2] = {0, 0};
    bool good = true;
    for (size_t i = 0; i < pool_size(h->pool); i++) {
        struct worker *w = pool_worker(h->pool, i);
        well[worker_lane(w)] += h->canaries[i] == CANARY_ANSWERED || h->canaries[i] == CANARY_BUSY;
        if (h->canaries[i] != CANARY_LOST)
            continue;
        good = false;
        buf_printf(lines, "[-]worker %zu failed: pid %d %s\n", i, (int)worker_look(w).pid,
                   worker_is_stopped(w) ? "is stopped" : "does not answer");
    }
    for (int lane = 0; lane < 2; lane++) {
        good = good && well[lane] > 0;
        if (well[lane] > 0)
            buf_printf(lines, "[+]%s workers ok: %u\n", lane_name((enum lane)lane), well[lane]);
        else
            buf_printf(lines, "[-]%s workers failed: none is ready\n", lane_name((enum lane)lane));
    }
    return good;
}

struct health *health_new(struct loop *loop, struct pool *pool) {
    struct health *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->loop = loop;
    h->pool = pool;
    h->timer.fire = on_patience;
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
