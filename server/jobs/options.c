/* options.c: see options.h. Front end. */
#include "server/jobs/options.h"

#include "base/clock.h"

_Static_assert(SCHEDULER_LEVELS == OPTIONS_MAX_PRIORITY + 1, "each priority has a level");

bool options_apply(struct job *job, const struct submission_options *asked, int64_t default_priority) {
    const struct jobs_config *c = &job->js->config;
    struct record *r = job->record;
    struct submission_options *o = &r->options;
    if (!options_copy(o, asked))
        return false;
    if (o->priority == OPTION_UNSET)
        o->priority = default_priority >= 0 ? default_priority : DEFAULT_PRIORITY;
    if (o->timeout_ms == OPTION_UNSET)
        o->timeout_ms = c->job_timeout_ns / NS_PER_MS;
    if (o->ttl_ms == OPTION_UNSET)
        o->ttl_ms = c->result_ttl_ms;
    if (o->delay_ms > 0) {
        r->not_before_ms = r->created_ms + o->delay_ms;
        job->due_ns = job->accepted_ns + job_limit_ns(o->delay_ms);
        job->delayed = job->due_ns > clock_monotonic_ns();
    }
    return true;
}

bool options_apply_parsed(struct job *job, const struct submission_options *o) {
    const struct jobs_webhooks *w = &job->js->webhooks;
    int64_t before = job->record->options.priority;
    if (job->record->options_known)
        return true;
    struct buf wrong = {0};
    if (o->webhook != NULL && w->check != NULL && w->check(w->arg, o->webhook, &wrong) != 0)
        job->bad_webhook = buf_steal(&wrong, &(size_t){0});
    buf_deinit(&wrong);
    job_count_status(job, JOB_QUEUED, -1);
    job->record->options_known = options_apply(job, o, before);
    job_count_status(job, JOB_QUEUED, 1);
    return job->record->options_known;
}
