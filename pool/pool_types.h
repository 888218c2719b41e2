/* pool_types.h: what the pool and its owner agree on: the configuration and the events. See pool.h. */
#ifndef OFFLOAD_POOL_TYPES_H
#define OFFLOAD_POOL_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/death.h"
#include "pool/wire.h"

struct worker; /* a slot and the process in it, if there is one */

enum lane { LANE_MAIN, LANE_EXPRESS };

struct pool_config {
    unsigned workers, express_workers;
    int64_t cancel_grace_ns;      /* from asking a task to stop until SIGKILL; SIGTERM after half of it */
    uint64_t max_job_memory;      /* bytes of a worker while it works; 0: no limit */
    uint64_t max_jobs_per_worker; /* 0: never recycled */
    uint64_t max_worker_rss;      /* bytes; 0: no limit; looked at between tasks */
    bool test_types;
};

/* What the pool tells its owner. All but the first three are about tasks, and get `arg`. */
struct pool_events {
    void *owner;
    void (*loaded)(void *owner);                        /* a zygote has loaded the handlers: workers are forked now */
    void (*load_failed)(void *owner, const char *type); /* a zygote could not load this handler, and forks no workers */
    void (*pong)(void *owner, struct worker *w);        /* answered a pool_ping */

    void *arg;
    /* A reply to `task`. `bulk` is empty unless the frame has one; take a reference to keep it. False if the reply
     * makes no sense: then the worker is killed, and its tasks are reported lost with the cause "protocol". */
    bool (*reply)(void *arg, struct worker *w, void *task, const struct wire_frame *f, const struct slice *bulk);
    /* The worker is dead, and had not answered this task. guilty: it worked on it when it died; it had not begun the
     * others. */
    void (*lost)(void *arg, struct worker *w, void *task, bool guilty, const struct death *d);
    /* A worker died and is replaced. cause: "recycled" if it left as it should, else how it died. */
    void (*restarted)(void *arg, const char *cause);
    /* The worker that was isolated for `owner` is dead, and the slot is unowned. start: how it died, if it was to load
     * a handler by itself and never was ready; else NULL. */
    void (*isolation_ended)(void *arg, struct worker *w, void *owner, const struct death *start);
    void (*can_send)(void *arg, struct worker *w); /* worker_can_send is true again */
    void (*changed)(void *arg);                    /* a worker became ready, became idle, or died */
};

#endif
