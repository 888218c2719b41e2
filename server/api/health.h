/* health.h: readiness. A ping is sent through every worker when somebody asks. A good outcome counts for a second; a bad
 * one is not kept. If a lane has no worker yet, those that are starting have a moment. Front end; all from the event
 * loop. */
#ifndef OFFLOAD_API_HEALTH_H
#define OFFLOAD_API_HEALTH_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/loop.h"
#include "pool/pool.h"

struct health;

/* Somebody who waits for a verdict. The owner embeds it, and keeps it in place until it is notified or forgotten. */
struct health_waiter {
    void (*notify)(struct health_waiter *w);
    struct health_waiter *prev, *next;
    bool waiting;
};

struct health *health_new(struct loop *loop, struct pool *pool); /* borrows both. NULL if memory ran out */
void health_free(struct health *h);
void health_pong(struct health *h, struct worker *w); /* for the pool: the worker has answered */

/* True if there is a verdict: a good one that is younger than a second, or one that was just made. Else the pings are
 * under way, and the waiter is notified when there is one, within a second. */
bool health_check(struct health *h, struct health_waiter *w);
void health_forget(struct health *h, struct health_waiter *w); /* no effect if it does not wait */

/* The verdict: true if every lane can take tasks, and no worker hangs. Appends lines "[+]name ok" and "[-]name failed:
 * why". */
bool health_verdict(const struct health *h, struct buf *lines);

#endif
