/* pool_types.h: what the pool and its owner agree on: the configuration and the events. See pool.h. */
#ifndef OFFLOAD_POOL_TYPES_H
#define OFFLOAD_POOL_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/death.h"
#include "pool/sources.h"
#include "pool/wire.h"

struct worker; /* a slot and the process in it, if there is one */

enum lane { LANE_MAIN, LANE_EXPRESS };

struct pool_config {
    unsigned workers, express_workers;
    unsigned worker_nice;    /* of the main lane: added to the nice value of the service, see nice(2); at most 19 */
    int64_t cancel_grace_ns; /* from the moment a task is asked to stop until SIGKILL; SIGTERM after half of it */
    uint64_t max_job_memory; /* bytes of a worker while it works; 0: no limit */
    uint64_t max_jobs_per_worker; /* 0: never recycled */
    uint64_t max_worker_rss;      /* bytes; 0: no limit; checked between tasks */
    bool test_types;
    const struct pool_sources *sources; /* borrowed as long as the pool lives; NULL: all types are built in */
};

/* What the pool reports. The first three callbacks are about zygotes and pings and get `owner`, the others get
 * `arg`. */
struct pool_events {
    void *owner;
    void (*loaded)(void *owner);                       /* a zygote has loaded the types: workers are forked now */
    void (*load_failed)(void *owner, const char *why); /* a zygote could not load them, and forks no workers */
    void (*pong)(void *owner, struct worker *w);       /* the worker has answered a pool_ping */

    void *arg;
    /* A reply to `task`. `bulk` is empty unless the frame has one; take a reference to keep it. Return false if the
     * reply makes no sense: then the worker is killed, and its tasks are reported lost with the cause "protocol". */
    bool (*reply)(void *arg, struct worker *w, void *task, const struct wire_frame *f, const struct slice *bulk);
    /* The plan of this task has made one more attachment: its reply follows. Return false as above. */
    bool (*made)(void *arg, struct worker *w, void *task, const struct slice *bulk);
    /* The worker died before it answered this task. guilty: it worked on this task when it died. It had not begun the
     * others that are lost with it. If d->worker_lives, only this task is lost: its handler has called call_lost. */
    void (*lost)(void *arg, struct worker *w, void *task, bool guilty, const struct death *d);
    /* The handler of this task has added text to the log of the job: at most WIRE_MAX_LOG bytes of anything. */
    void (*log)(void *arg, struct worker *w, void *task, const char *text, size_t size);
    /* A process has died that worked for several tasks of the worker. None of them is lost. */
    void (*process_died)(void *arg, struct worker *w, const struct death *d);
    /* The worker has been at another task for long, and has not begun this one, or has done it and not replied. True:
     * the pool forgets the task, and the owner sends it again, to whatever worker. False: the owner goes on waiting, and
     * is asked again. */
    bool (*held_back)(void *arg, struct worker *w, void *task);
    /* A worker died and is replaced. cause: "recycled" if it left as it should, else how it died. */
    void (*restarted)(void *arg, const char *cause);
    /* The worker that was isolated for `owner` is dead, and the slot is unowned. start: how it died, if it loaded a
     * handler by itself and was not ready yet; else NULL. */
    void (*isolation_ended)(void *arg, struct worker *w, void *owner, const struct death *start);
    void (*can_send)(void *arg, struct worker *w); /* worker_can_send is true again */
    void (*changed)(void *arg);                    /* a worker became ready, became idle, or died */
};

#endif
