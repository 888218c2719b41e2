/* backoff.c: see backoff.h. Front end. A job has few backoffs, no more than it has workers at a time. So they are a
 * plain list, with one timer for the first that is due. */
#include "server/jobs/backoff.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/id.h"
#include "server/jobs/queue.h"

static int64_t delay_ns(const struct jobs_config *c, unsigned lost) {
    int64_t longest = c->retry_delay_ns;
    uint32_t random;
    for (unsigned k = 1; k < lost && longest < c->max_retry_delay_ns; k++)
        longest *= 2;
    if (longest > c->max_retry_delay_ns)
        longest = c->max_retry_delay_ns;
    id_random(&random, sizeof random);
    return longest / 2 + (int64_t)((double)(longest - longest / 2) * random / UINT32_MAX);
}

int64_t job_backoff_until_ns(const struct job *job) {
    const struct backoffs *b = job->backoffs;
    int64_t first = b == NULL || b->count == 0 ? 0 : b->list[0].due_ns;
    for (uint32_t i = 1; first != 0 && i < b->count; i++)
        first = b->list[i].due_ns < first ? b->list[i].due_ns : first;
    return first;
}

static void on_backoff_timer(struct timer *t) {
    struct backoffs *b = container_of(t, struct backoffs, timer);
    struct job *job = b->job;
    int64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = b->count; i-- > 0;) {
        struct backoff over = b->list[i];
        if (over.due_ns > now_ns)
            continue;
        b->list[i] = b->list[--b->count];
        if (over.chunk != NO_CHUNK)
            job->again[job->again_count++] = over.chunk;
    }
    if (b->count > 0)
        loop_set_timer(job->js->loop, t, job_backoff_until_ns(job));
    job->js->dirty = true;
    job_enqueue(job);
}

/* Makes room for one more, which can move the backoffs: so the timer is cleared. False: memory ran out. */
static bool grow(struct job *job) {
    uint32_t count = job->backoffs == NULL ? 0 : job->backoffs->count;
    if (job->backoffs != NULL)
        loop_clear_timer(job->js->loop, &job->backoffs->timer);
    struct backoffs *more = realloc(job->backoffs, sizeof *more + (count + 1) * sizeof more->list[0]);
    if (more == NULL)
        return false;
    *more = (struct backoffs){.job = job, .timer = {.fire = on_backoff_timer}, .count = count};
    job->backoffs = more;
    return true;
}

bool job_back_off(struct job *job, uint32_t chunk, unsigned lost) {
    struct jobs *js = job->js;
    if (js->config.retry_delay_ns == 0)
        return false;
    bool grown = grow(job);
    struct backoffs *b = job->backoffs;
    if (grown)
        b->list[b->count++] = (struct backoff){clock_monotonic_ns() + delay_ns(&js->config, lost), chunk};
    if (b != NULL && b->count > 0 && loop_set_timer(js->loop, &b->timer, job_backoff_until_ns(job)) == 0)
        return grown;
    if (grown)
        b->count--;
    return false;
}

void job_clear_backoffs(struct job *job) {
    if (job->backoffs != NULL)
        loop_clear_timer(job->js->loop, &job->backoffs->timer);
    free(job->backoffs);
    job->backoffs = NULL;
}
