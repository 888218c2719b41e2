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

/* Sets the timer for the first backoff that can end; none if all wait for the store. */
static void arm(struct backoffs *b) {
    int64_t first_ns = 0;
    loop_clear_timer(b->job->js->loop, &b->timer);
    for (uint32_t i = 0; i < b->count; i++)
        if (!b->list[i].unrecorded && (first_ns == 0 || b->list[i].due_ns < first_ns))
            first_ns = b->list[i].due_ns;
    if (first_ns != 0)
        loop_set_timer(b->job->js->loop, &b->timer, first_ns);
}

/* Ends the backoffs that are due by then, and makes their tasks runnable. */
static void end_until(struct backoffs *b, int64_t until_ns) {
    struct job *job = b->job;
    for (uint32_t i = b->count; i-- > 0;) {
        struct backoff over = b->list[i];
        if (over.unrecorded || over.due_ns > until_ns)
            continue;
        b->list[i] = b->list[--b->count];
        if (over.chunk != NO_CHUNK)
            job->again[job->again_count++] = over.chunk;
    }
    arm(b);
    job->js->dirty = true;
    job_enqueue(job);
}

static void on_backoff_timer(struct timer *t) {
    end_until(container_of(t, struct backoffs, timer), clock_monotonic_ns());
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
    const struct jobs_config *c = &job->js->config;
    bool unrecorded = job->record->durable;
    if (c->retry_delay_ns == 0 && !unrecorded)
        return false;
    bool grown = grow(job);
    struct backoffs *b = job->backoffs;
    int64_t due_ns = clock_monotonic_ns() + (c->retry_delay_ns == 0 ? 0 : delay_ns(c, lost));
    if (grown)
        b->list[b->count++] = (struct backoff){due_ns, chunk, unrecorded};
    if (b != NULL)
        arm(b);
    return grown;
}

void job_backoff_recorded(struct job *job, uint32_t chunk) {
    struct backoffs *b = job->backoffs;
    for (uint32_t i = 0; b != NULL && i < b->count; i++) {
        if (b->list[i].chunk != chunk || !b->list[i].unrecorded)
            continue;
        b->list[i].unrecorded = false;
        end_until(b, clock_monotonic_ns());
        return;
    }
}

void job_clear_backoffs(struct job *job) {
    if (job->backoffs != NULL)
        loop_clear_timer(job->js->loop, &job->backoffs->timer);
    free(job->backoffs);
    job->backoffs = NULL;
}
