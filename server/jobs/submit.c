/* submit.c: makes a job from a submission, if the bounds allow it: jobs_submit of jobs.h. Front end. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/jobs/attached.h"
#include "server/jobs/options.h"
#include "server/jobs/queue.h"

/* ---- acceptance -------------------------------------------------------------------------------------------------- */

/* Whether there is room among those that wait for a worker, or for their time. A tenant is left none that others need;
 * t: NULL if it has no live job. */
static bool has_room(const struct jobs *js, const struct tenant *t, bool delayed) {
    uint64_t most = delayed ? js->config.max_delayed : js->config.max_queue;
    if (t != NULL && (delayed ? t->delayed : t->live - t->delayed) >= tenants_share(most))
        return false;
    return (delayed ? js->delayed_count : js->live_count - js->delayed_count) < most;
}

/* How long the oldest task has waited for a worker: of a tenant that of its own, for it does not wait for others'. */
static int64_t oldest_wait_ns(const struct jobs *js, const char *tenant, const struct tenant *t) {
    if (tenant == NULL)
        return jobs_oldest_wait_ms(js) * NS_PER_MS;
    int64_t since_ns = t == NULL ? 0 : sched_tenant_oldest_ns(&t->turns);
    return since_ns == 0 ? 0 : clock_monotonic_ns() - since_ns;
}

/* delayed: it is known to wait for its time; of a raw body that is known later (options_apply_parsed). more: what the job
 * will need besides a raw body, which is held already. 0, or -1 with *why. */
static int check_bounds(struct jobs *js, const char *tenant, bool delayed, size_t more, enum problem_code *why) {
    const struct tenant *t = tenant == NULL ? NULL : tenants_find(&js->tenants, tenant);
    *why = PROBLEM_QUEUE_FULL;
    if (!has_room(js, t, delayed))
        return -1;
    if (!delayed && js->config.max_queue_age_ns > 0 && oldest_wait_ns(js, tenant, t) > js->config.max_queue_age_ns)
        return -1;
    if (tenant != NULL && t == NULL)
        more += TENANT_BYTES;
    *why = PROBLEM_OVER_MEMORY;
    return held_make_room(HELD_FOR_NEW, more) ? 0 : -1;
}

static int copy_params(const struct buf *params, struct slice *s) {
    struct blob *b = params->size > WIRE_MAX_INLINE ? blob_copy_sealed("offload-params", params->data, params->size)
                                                    : blob_copy(params->data, params->size);
    if (b != NULL)
        *s = slice_all(b);
    return b == NULL ? -1 : 0;
}

static struct store_key *copy_key(const struct store_key *from) {
    size_t tenant_size = strlen(from->tenant) + 1, key_size = strlen(from->key) + 1;
    struct store_key *k = malloc(sizeof *k + tenant_size + key_size);
    if (k == NULL)
        return NULL;
    char *text = (char *)(k + 1);
    memcpy(text, from->tenant, tenant_size);
    memcpy(text + tenant_size, from->key, key_size);
    *k = *from;
    k->tenant = text;
    k->key = text + tenant_size;
    return k;
}

static struct record *new_record(const struct job_request *q) {
    struct record *r = record_new();
    if (r == NULL)
        return NULL;
    r->created_ms = clock_wall_ms();
    r->id = id_new(r->created_ms);
    r->version = 1;
    r->options.priority = DEFAULT_PRIORITY;
    r->trace = q->trace == NULL ? NULL : strdup(q->trace);
    r->tenant = q->tenant == NULL ? NULL : strdup(q->tenant);
    if ((q->trace != NULL && r->trace == NULL) || (q->tenant != NULL && r->tenant == NULL)) {
        record_unref(r);
        return NULL;
    }
    return r;
}

/* 0, or -1: memory ran out. */
static int copy_accepted(struct job *job, const struct job_request *q) {
    size_t most = HANDLER_MAX_COMMON / sizeof *q->accepted; /* more than any client names */
    uint32_t front[2] = {(uint32_t)((q->accepted_count < most ? q->accepted_count : most) * sizeof *q->accepted), 0};
    if (front[0] == 0)
        return 0;
    job->accepted = calloc(1, sizeof front + WIRE_PAD(front[0]));
    if (job->accepted == NULL)
        return -1;
    memcpy(job->accepted, front, sizeof front);
    memcpy(job->accepted + sizeof front, q->accepted, front[0]);
    job->accepted_size = (uint32_t)(sizeof front + WIRE_PAD(front[0]));
    return 0;
}

/* 0, or -1: memory ran out. */
static int fill_input(struct job *job, const struct job_request *q) {
    struct record *r = job->record;
    job->asynchronous = q->asynchronous;
    job->uncounted = q->uncounted;
    if (job->uncounted && job->tenant != NULL)
        job->tenant->uncounted++;
    if (!attached_take(job, q->attachments))
        return -1;
    job->key = q->key == NULL ? NULL : copy_key(q->key);
    if (job->key != NULL)
        job_hold(job, sizeof *job->key + strlen(q->key->tenant) + strlen(q->key->key) + 2);
    if (q->key != NULL && job->key == NULL)
        return -1;
    if (job->asynchronous || job->key != NULL)
        attached_freeze(job); /* it will be stored, also if its plan is made before */
    if (q->submission == NULL) {
        job->input_is_raw = true;
        job->input_is_params = q->body_is_params;
        r->type = q->body_is_params ? q->type : r->type;
        job->input = slice_ref(&q->body);
        if (copy_accepted(job, q) != 0)
            return -1;
        struct submission_options unknown;
        options_init(&unknown);
        if (q->wants_hash)
            job->request_hash = calloc(1, STORE_HASH_SIZE);
        if (q->wants_hash && job->request_hash == NULL)
            return -1;
        return options_apply(job, &unknown, q->default_priority) ? 0 : -1;
    }
    r->type = q->submission->type;
    r->options_known = true;
    r->map = q->submission->map;
    r->items = q->submission->items;
    attached_settle(job);
    if (!options_apply(job, &q->submission->options, q->default_priority))
        return -1;
    return copy_params(&q->submission->params, &job->input);
}

int jobs_submit(struct jobs *js, const struct job_request *q, struct job **out, enum problem_code *why) {
    size_t more = JOB_BYTES + (q->submission == NULL ? 0 : q->submission->params.size);
    bool delayed = q->submission != NULL && q->submission->options.delay_ms > 0;
    if (check_bounds(js, q->tenant, delayed, more, why) != 0) {
        metrics_count(js->metrics->rejected, problem_get(*why)->code);
        return -1;
    }
    *why = PROBLEM_INTERNAL_ERROR;
    struct record *r = new_record(q);
    struct job *job = r == NULL ? NULL : job_new(js, r);
    if (job == NULL) {
        record_unref(r);
        return -1;
    }
    job_count_status(job, JOB_QUEUED, -1); /* its priority can change */
    int rc = fill_input(job, q);
    job_count_status(job, JOB_QUEUED, 1);
    if (rc != 0) {
        job_undo_submission(job);
        return -1;
    }
    job_index(job);
    job_hold(job, options_text_size(&r->options));
    job_arm_timer(job);
    job_enqueue(job);
    job_log_event(LOG_DEBUG, "job_accepted", job);
    *out = job;
    return 0;
}
