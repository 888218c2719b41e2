/* tenants.c: see tenants.h. Front end. */
#include "server/jobs/tenants.h"

#include <stdlib.h>
#include <string.h>

#include "base/held.h"

#define MOST_WEIGHT 100
#define INTERVALS   4 /* so many weigh the most in a mean */
#define MOST_IDLE                                                                                                      \
    64 /* tenants that are kept without a live job: a client that waits for its jobs has none in between */

static size_t bytes_of(const struct tenant *t) {
    return TENANT_BYTES + strlen(t->name) + 1;
}

static void weigh(const struct tenants *ts, struct tenant *t) {
    unsigned weight = ts->hooks.weight == NULL ? 1 : ts->hooks.weight(ts->hooks.arg, t->name);
    t->turns.weight = weight < 1 ? 1 : weight > MOST_WEIGHT ? MOST_WEIGHT : weight;
}

/* NULL: memory ran out. */
static struct tenant *add(struct tenants *ts, const char *name) {
    size_t size = strlen(name) + 1;
    struct tenant *t = calloc(1, TENANT_BYTES + size);
    if (t == NULL)
        return NULL;
    memcpy(t->name, name, size);
    HASH_ADD_STR(ts->by_name, name, t);
    if (!HASH_HOLDS(t)) {
        free(t);
        return NULL;
    }
    weigh(ts, t);
    return t;
}

struct tenant *tenants_find(const struct tenants *ts, const char *name) {
    struct tenant *t;
    HASH_FIND_STR(ts->by_name, name, t);
    return t;
}

struct tenant *tenants_join(struct tenants *ts, const char *name, int64_t now_ns) {
    struct tenant *t = tenants_find(ts, name);
    if (t == NULL)
        t = add(ts, name);
    else if (t->live == 0)
        ts->idle--;
    if (t != NULL && t->live++ == 0) {
        held_add(HELD_JOBS, bytes_of(t));
        t->ended_ns = now_ns;
    }
    return t;
}

void tenant_count_end(struct tenant *t, int64_t now_ns) {
    int64_t ns = now_ns > t->ended_ns ? now_ns - t->ended_ns : 1;
    t->interval_ns = t->interval_ns == 0 ? ns : t->interval_ns + (ns - t->interval_ns) / INTERVALS;
    t->ended_ns = now_ns;
}

/* One that is late will take as long again. */
int64_t tenant_next_end_ns(const struct tenant *t, int64_t now_ns) {
    int64_t left_ns = t->interval_ns - (now_ns - t->ended_ns);
    return t->interval_ns == 0 ? 0 : left_ns > 0 ? left_ns : left_ns < 0 ? -left_ns : 1;
}

static void forget(struct tenants *ts, struct tenant *t) {
    HASH_DEL(ts->by_name, t);
    free(t);
}

void tenants_leave(struct tenants *ts, struct tenant *t) {
    if (--t->live > 0)
        return;
    held_sub(HELD_JOBS, bytes_of(t));
    if (++ts->idle <= MOST_IDLE)
        return;
    ts->idle--;
    forget(ts, t);
}

void tenants_deinit(struct tenants *ts) {
    struct tenant *t, *next;
    HASH_ITER(hh, ts->by_name, t, next) {
        forget(ts, t);
    }
    ts->idle = 0;
}

void tenants_weigh(struct tenants *ts) {
    for (struct tenant *t = ts->by_name; t != NULL; t = t->hh.next)
        weigh(ts, t);
}

uint64_t tenants_share(uint64_t most) {
    return most < 2 ? most : most - 1 - (most - 1) / 10;
}
