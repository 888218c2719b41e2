/* tenants.h: the tenants that have live jobs: whose turn it is depends on them, and how much room they take. Front end.
 *
 * A tenant is the name of an API key (record->tenant). It is known here as long as a job of it is in the live table; a few
 * are kept a while longer, because a client that waits for each of its jobs has none in between. A job without a tenant has
 * none here. */
#ifndef OFFLOAD_JOBS_TENANTS_H
#define OFFLOAD_JOBS_TENANTS_H

#include "base/attributes.h"
#include "base/table.h"
#include "server/jobs/jobs.h"
#include "server/jobs/scheduler.h"

/* See admission.h. */
struct known_work {
    int64_t ns, largest_ns; /* how long they take at least, all of them and one of them */
};

struct tenant {
    struct sched_tenant turns;                      /* its entries in the scheduler, and its weight */
    struct known_work known_work[SCHEDULER_LEVELS]; /* of its long tasks that wait, by urgency */
    int64_t long_backlog_ns;                        /* how long all of these will take */
    size_t live, delayed;                           /* jobs; those that are delayed are live, too */
    size_t uncounted;                               /* live ones that no quota counts */
    int64_t
        interval_ns;  /* mean time from one end of its counted jobs to the next, weighted exponentially; 0: unknown */
    int64_t ended_ns; /* monotonic: when one ended last, or since when it has had jobs */
    UT_hash_handle hh;
    char name[];
};

struct tenants {
    struct tenant *by_name; /* hash table */
    size_t idle;            /* how many of them have no live job */
    struct jobs_tenants hooks;
};

/* What a new tenant needs, without its name. */
#define TENANT_BYTES (sizeof(struct tenant))

/* One more live job of that tenant, since now_ns (monotonic, as below). NULL: memory ran out. */
MUST_CHECK struct tenant *tenants_join(struct tenants *ts, const char *name, int64_t now_ns);
/* One of its jobs has ended. */
void tenant_count_end(struct tenant *t, int64_t now_ns);
/* In how long the next of its jobs ends, by those that have ended; 0: none has. */
int64_t tenant_next_end_ns(const struct tenant *t, int64_t now_ns);
/* One less. After the last one it can be freed: it must have no entries in the scheduler then. */
void tenants_leave(struct tenants *ts, struct tenant *t);
/* NULL: it has no live jobs. One that has none can be found, too. */
struct tenant *tenants_find(const struct tenants *ts, const char *name);
/* Frees those that have no live job, which must be all. */
void tenants_deinit(struct tenants *ts);
/* Asks for all weights again. */
void tenants_weigh(struct tenants *ts);

/* How much of a bound one tenant can use up: a tenth, and at least one, is left to the others. */
uint64_t tenants_share(uint64_t most);

#endif
