/* options.c: see options.h. Front end. */
#include "server/jobs/options.h"

#include <errno.h>

#include "base/clock.h"
#include "server/jobs/delayed.h"

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
    return !job->delayed || delayed_add(job);
}

/* What is wrong with the webhook's URL, if anything is. False: memory ran out. */
static bool check_webhook(struct job *job, const char *url) {
    const struct jobs_webhooks *w = &job->js->webhooks;
    struct buf wrong = {0};
    bool bad = url != NULL && w->check != NULL && w->check(w->arg, url, &wrong) != 0;
    bool ok = !bad || (wrong.size > 0 && !wrong.failed);
    if (!ok)
        errno = ENOMEM; /* the reply that named it is taken again, see replies.c */
    if (bad && ok)
        job->bad_webhook = buf_steal(&wrong, NULL);
    buf_deinit(&wrong);
    return ok;
}

bool options_apply_parsed(struct job *job, const struct submission_options *o) {
    const struct jobs *js = job->js;
    int64_t before = job->record->options.priority;
    if (job->record->options_known)
        return true;
    if (!check_webhook(job, o->webhook))
        return false;
    job_count_status(job, JOB_QUEUED, -1);
    job->record->options_known = options_apply(job, o, before);
    job_count_status(job, JOB_QUEUED, 1);
    job->is_too_many =
        job->delayed && (js->delayed_count > js->config.max_delayed ||
                         (job->tenant != NULL && job->tenant->delayed > tenants_share(js->config.max_delayed)));
    return job->record->options_known;
}
