/* health.h: readiness: a canary through every worker, sent when somebody asks and remembered for a second. */
#ifndef OFFLOAD_HEALTH_H
#define OFFLOAD_HEALTH_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/loop.h"
#include "pool/pool.h"

struct health;

/* Someone who waits for a verdict; embedded. */
struct health_waiter {
    void (*notify)(struct health_waiter *w);
    struct health_waiter *prev, *next;
    bool waiting;
};

struct health *health_new(struct loop *loop, struct pool *pool); /* NULL if memory ran out */
void health_free(struct health *h);
void health_pong(struct health *h, struct worker *w); /* the pool's event */

/* True if there is a verdict younger than a second; else a round of canaries is under way, and the waiter is notified
 * when it is over, within a second. */
bool health_check(struct health *h, struct health_waiter *w);
void health_forget(struct health *h, struct health_waiter *w); /* no effect if it does not wait */

/* The verdict: true if every worker lane can take work. `lines` gets "[+]name ok" and "[-]name failed: why". */
bool health_verdict(const struct health *h, struct buf *lines);

#endif
