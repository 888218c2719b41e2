/* options.c: see options.h. Front end. */
#include "server/jobs/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void options_apply(struct job *job, const struct submission_options *o, int default_priority) {
    const struct jobs_config *c = &job->js->config;
    struct record *r = job->record;
    int priority = o->priority >= 0 ? o->priority : default_priority >= 0 ? default_priority : DEFAULT_PRIORITY;
    r->priority = (uint8_t)priority;
    r->timeout_ms = o->timeout_ms >= 0 ? o->timeout_ms : c->job_timeout_ns / NS_PER_MS;
    r->queue_timeout_ms = o->queue_timeout_ms;
    r->max_attempts = (uint32_t)o->max_attempts;
    r->wanted_chunks = (uint32_t)o->chunks;
    r->ttl_ms = o->ttl_s >= 0 ? o->ttl_s * 1000 : c->result_ttl_ms;
    r->fresh = o->fresh;
    if (o->webhook != NULL)
        r->webhook = strdup(o->webhook);
    if (o->delay_ms == 0)
        return;
    r->not_before_ms = r->created_ms + o->delay_ms;
    job->due_ns = job->accepted_ns + job_limit_ns(o->delay_ms);
    job->delayed = job->due_ns > clock_monotonic_ns();
}

void options_apply_parsed(struct job *job, const struct submission_options *o) {
    int before = job->record->priority;
    if (job->record->options_known) /* as the store has them */
        return;
    job->record->options_known = true;
    struct buf wrong = {0};
    if (o->webhook != NULL && job->js->webhooks.check != NULL &&
        job->js->webhooks.check(job->js->webhooks.arg, o->webhook, &wrong) != 0)
        job->bad_webhook = buf_steal(&wrong, &(size_t){0});
    buf_deinit(&wrong);
    job_count_status(job, JOB_QUEUED, -1);
    options_apply(job, o, before);
    job_count_status(job, JOB_QUEUED, 1);
}
