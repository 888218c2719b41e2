/* backoff.c: the pause before a task that was lost with its worker is tried again, so that what kills its workers
 * every time does not keep the pool busy with replacing them. Front end.
 *
 * After the k-th loss of a chunk (or of the plan, or the merge) it is --retry-delay * 2^(k-1), at most
 * --max-retry-delay, times a random factor of 1/2 to 1, so that pieces that were lost together do not come back
 * together. The job's other chunks go on. A job's pauses are few (no more than it has workers at a time), so they are a
 * plain list with one timer for the first that is due. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/private.h"

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

static int64_t first_due_ns(const struct job *job) {
    const struct backoffs *p = job->backoffs;
    int64_t first = p == NULL || p->count == 0 ? 0 : p->list[0].due_ns;
    for (uint32_t i = 1; first != 0 && i < p->count; i++)
        first = p->list[i].due_ns < first ? p->list[i].due_ns : first;
    return first;
}

static void on_backoff_timer(struct timer *t) {
    struct backoffs *p = container_of(t, struct backoffs, timer);
    struct job *job = p->job;
    int64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = p->count; i-- > 0;) {
        struct backoff over = p->list[i];
        if (over.due_ns > now_ns)
            continue;
        p->list[i] = p->list[--p->count];
        if (over.chunk != NO_CHUNK)
            job->again[job->again_count++] = over.chunk;
    }
    if (p->count > 0)
        loop_set_timer(job->js->loop, t, first_due_ns(job));
    job->js->dirty = true;
    job_enqueue(job);
}

/* Room for one more; the timer is not set afterwards. */
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
    struct backoffs *p = job->backoffs;
    if (grown)
        p->list[p->count++] = (struct backoff){clock_monotonic_ns() + delay_ns(&js->config, lost), chunk};
    if (p != NULL && p->count > 0 && loop_set_timer(js->loop, &p->timer, first_due_ns(job)) == 0)
        return grown;
    if (grown)
        p->count--;
    return false;
}

void job_clear_backoffs(struct job *job) {
    if (job->backoffs != NULL)
        loop_clear_timer(job->js->loop, &job->backoffs->timer);
    free(job->backoffs);
    job->backoffs = NULL;
}

bool job_is_backing_off(const struct job *job) {
    return job->backoffs != NULL && job->backoffs->count > 0;
}

int64_t job_held_until_ns(const struct job *job) {
    return job->tasks == NULL && job_count_tasks(job) == 0 ? first_due_ns(job) : 0;
}
