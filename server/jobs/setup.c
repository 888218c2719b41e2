/* setup.c: makes and frees struct jobs; see jobs.h. Front end. */
#include <stdlib.h>

#include "base/clock.h"
#include "server/jobs/end.h"
#include "server/jobs/expiry.h"
#include "server/jobs/limits.h"
#include "server/jobs/recover.h"

#define POISON_BYTES (16 + HOST_MAX_POISON * sizeof(uint32_t)) /* the most that job_put_poison writes */

/* Results that maybe nobody fetches are evicted for a request that wants memory now, the oldest first. */
static void evict(void *arg, size_t bytes) {
    struct store *s = arg;
    s->ops->evict(s, bytes);
}

struct jobs *jobs_new(struct loop *loop, const struct jobs_config *config, struct metrics *metrics, struct store *store,
                      struct store *remembered) {
    struct jobs *js = calloc(1, sizeof *js);
    if (js == NULL)
        return NULL;
    js->loop = loop;
    js->config = *config;
    js->metrics = metrics;
    js->store = store;
    js->remembered = remembered;
    held_set_reclaimer(HELD_FROM_REMEMBERED, evict, remembered);
    held_set_reclaimer(HELD_FROM_STORED, evict, store);
    js->on_job_timer = limits_on_timer;
    js->rate_ns = clock_monotonic_ns();
    js->wall_offset_ms = clock_wall_ms() - js->rate_ns / NS_PER_MS;
    return js;
}

int jobs_set_pool(struct jobs *js, struct pool *pool) {
    js->pool = pool;
    js->feeding = calloc(pool_size(pool), sizeof *js->feeding);
    js->short_turn = calloc(pool_size(pool), sizeof *js->short_turn);
    js->load_ns = calloc(pool_size(pool), sizeof *js->load_ns);
    js->long_due_ns = calloc(pool_size(pool), sizeof *js->long_due_ns);
    js->known_due_ns = calloc(pool_size(pool), sizeof *js->known_due_ns);
    if (js->known_due_ns == NULL || js->feeding == NULL || js->short_turn == NULL || js->load_ns == NULL ||
        js->long_due_ns == NULL || buf_reserve(&js->poison_bytes, POISON_BYTES) == NULL)
        return -1;
    for (size_t i = 0; i < pool_size(pool); i++)
        js->main_workers += worker_lane(pool_worker(pool, i)) == LANE_MAIN;
    /* So that no task lacks the memory to be sent. */
    for (size_t i = 0; i < pool_size(pool) * WIRE_MAX_IN_FLIGHT; i++) {
        struct task *t = malloc(sizeof *t);
        if (t == NULL)
            return -1;
        t->next = js->free_tasks;
        js->free_tasks = t;
    }
    return 0;
}

void jobs_set_webhooks(struct jobs *js, const struct jobs_webhooks *webhooks) {
    js->webhooks = *webhooks;
}

void jobs_set_tenants(struct jobs *js, const struct jobs_tenants *tenants) {
    js->tenants.hooks = *tenants;
    tenants_weigh(&js->tenants);
}

void jobs_configure(struct jobs *js, const struct jobs_config *config) {
    js->config = *config;
    tenants_weigh(&js->tenants);
}

void jobs_free(struct jobs *js) {
    struct job *job, *next;
    expiry_stop(js);
    recover_park_all(js);
    held_set_reclaimer(HELD_FROM_REMEMBERED, NULL, NULL);
    held_set_reclaimer(HELD_FROM_STORED, NULL, NULL);
    js->store->ops->close(js->store); /* answers what it still owes, which frees the jobs that were ending */
    js->remembered->ops->close(js->remembered);
    end_abandon_all(js);
    HASH_ITER(hh, js->live, job, next) {
        job_abandon(job);
    }
    while (js->free_tasks != NULL) {
        struct task *t = js->free_tasks;
        js->free_tasks = t->next;
        free(t);
    }
    tenants_deinit(&js->tenants);
    free(js->delayed);
    free(js->sent);
    buf_deinit(&js->poison_bytes);
    free(js->feeding);
    free(js->short_turn);
    free(js->load_ns);
    free(js->long_due_ns);
    free(js->known_due_ns);
    free(js);
}
