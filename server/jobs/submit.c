/* jobs_submit.c: how a job comes to be: within the bounds or refused, its options, and its way into the store. Front
 * end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "server/jobs/private.h"
#include "server/webhooks/webhooks.h"

#define DEFAULT_ATTEMPTS 3
#define DEFAULT_PRIORITY 3 /* RFC 9218 section 4.1 */

/* ---- acceptance ------------------------------------------------------------------------------------------------ */

static bool too_much_memory(struct jobs *js, size_t more) {
    uint64_t held = blob_held_bytes + more;
    if (held <= js->config.max_memory)
        return false;
    /* Results nobody may ever fetch give way to work that is wanted now; the oldest first. */
    uint64_t excess = held - js->config.max_memory;
    js->remembered->ops->evict(js->remembered, excess);
    held = blob_held_bytes + more;
    if (held > js->config.max_memory)
        js->store->ops->evict(js->store, held - js->config.max_memory);
    return blob_held_bytes + more > js->config.max_memory;
}

static int check_bounds(struct jobs *js, size_t more, enum problem_code *why) {
    *why = PROBLEM_QUEUE_FULL;
    if (js->live_count >= js->config.max_queue)
        return -1;
    if (js->config.max_queue_age_ns > 0 && jobs_oldest_wait_ms(js) * NS_PER_MS > js->config.max_queue_age_ns)
        return -1;
    *why = PROBLEM_OVER_MEMORY;
    return too_much_memory(js, more) ? -1 : 0;
}

static int copy_params(const struct buf *params, struct slice *s) {
    struct blob *b = params->size > WIRE_MAX_INLINE ? blob_copy_sealed("offload-params", params->data, params->size)
                                                    : blob_copy(params->data, params->size);
    if (b != NULL)
        *s = slice_all(b);
    return b == NULL ? -1 : 0;
}

/* Half of what fits, so that it can be added to a clock. */
int64_t job_limit_ns(int64_t ms) {
    return ms < INT64_MAX / NS_PER_MS / 2 ? ms * NS_PER_MS : INT64_MAX / 2;
}

/* What the client asked for, or the default; also called when a worker has parsed a large body. */
static void apply_options(struct job *job, const struct submission_options *o, int default_priority) {
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

static void fill_record(struct record *r, const struct job_request *q) {
    r->created_ms = clock_wall_ms();
    r->id = id_new(r->created_ms);
    r->version = 1;
    if (q->trace != NULL)
        r->trace = strdup(q->trace);
}

static int fill_input(struct job *job, const struct job_request *q) {
    static const struct submission_options unknown = {
        .priority = -1, .timeout_ms = -1, .max_attempts = DEFAULT_ATTEMPTS, .ttl_s = -1};
    struct record *r = job->record;
    job->asynchronous = q->asynchronous;
    job->key = q->key == NULL ? NULL : copy_key(q->key);
    if (q->key != NULL && job->key == NULL)
        return -1;
    if (q->submission == NULL) {
        job->input_is_raw = true;
        job->input = slice_ref(&q->body);
        apply_options(job, &unknown, q->default_priority);
        if (q->wants_hash)
            job->request_hash = calloc(1, STORE_HASH_SIZE);
        return q->wants_hash && job->request_hash == NULL ? -1 : 0;
    }
    r->type = q->submission->type;
    r->options_known = true;
    r->map = q->submission->map;
    r->items = q->submission->items;
    apply_options(job, &q->submission->options, q->default_priority);
    return copy_params(&q->submission->params, &job->input);
}

struct job *job_new(struct jobs *js, struct record *r) {
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->js = js;
    job->record = r;
    job->timer.fire = job_on_timer;
    job->accepted_ns = job->due_ns = clock_monotonic_ns();
    HASH_ADD_KEYPTR(hh, js->live, &r->id, sizeof r->id, job);
    js->live_count++;
    js->transient_count += !r->durable;
    job_count_status(job, r->status, 1);
    return job;
}

int jobs_submit(struct jobs *js, const struct job_request *q, struct job **out, enum problem_code *why) {
    size_t more = q->submission == NULL ? 0 : q->submission->params.size;
    if (check_bounds(js, more, why) != 0) {
        metrics_count(js->metrics->rejected, 16, problem_get(*why)->code);
        return -1;
    }
    *why = PROBLEM_INTERNAL_ERROR;
    struct record *r = record_new();
    if (r == NULL)
        return -1;
    fill_record(r, q);
    r->priority = DEFAULT_PRIORITY;
    struct job *job = job_new(js, r);
    if (job == NULL) {
        record_unref(r);
        return -1;
    }
    job_count_status(job, JOB_QUEUED, -1); /* its priority may change */
    int rc = fill_input(job, q);
    job_count_status(job, JOB_QUEUED, 1);
    if (rc != 0) {
        job_drop(job);
        return -1;
    }
    job_arm_timer(job);
    job_enqueue(job);
    job_log_event(LOG_DEBUG, "job_accepted", job);
    *out = job;
    return 0;
}

void job_apply_parsed_options(struct job *job, const struct submission_options *o) {
    int before = job->record->priority;
    if (job->record->options_known) /* as the store has them */
        return;
    job->record->options_known = true;
    struct buf wrong = {0};
    if (o->webhook != NULL && job->js->webhooks != NULL && webhooks_check(job->js->webhooks, o->webhook, &wrong) != 0)
        job->bad_webhook = buf_steal(&wrong, &(size_t){0});
    buf_deinit(&wrong);
    job_count_status(job, JOB_QUEUED, -1);
    apply_options(job, o, before);
    job_count_status(job, JOB_QUEUED, 1);
}

/* ---- into the store ------------------------------------------------------------------------------------------- */

struct submitting {
    struct submitting *next;
    store_done *done;
    void *arg;
};

/* It never existed. If the store said so at once it has nothing of it, and need not hear of its end. */
static void refuse(struct job *job, bool at_once) {
    job->refused = true;
    metrics_count(job->js->metrics->rejected, 16, problem_get(PROBLEM_STORE_UNAVAILABLE)->code);
    if (!at_once)
        return;
    job->record->durable = false;
    job->js->transient_count++;
}

/* The store has it, or has refused it. The job is still there: its end is told after this. */
static void settle(struct job *job, bool at_once) {
    if (!job->safe && !job->refused)
        refuse(job, at_once);
    while (job->submitting != NULL) {
        struct submitting *s = job->submitting;
        LL_DELETE(job->submitting, s);
        s->done(s->arg, job->safe ? STORE_OK : STORE_UNAVAILABLE);
        free(s);
    }
    if (job->end_recorded)
        job_tell_end(job);
    else if (!job->safe)
        job_cancel(job); /* may free it */
}

static void on_submitted(void *arg, enum store_result result) {
    struct job *job = arg;
    job->at_store = false;
    job->safe = result == STORE_OK;
    if (!job->posting)
        settle(job, false);
}

static void submit_to_store(struct job *job, const struct slice *body) {
    struct jobs *js = job->js;
    struct record *r = job->record;
    struct store_input in = {.request = *body, .key = job->key};
    if (job->key != NULL && job->request_hash != NULL)
        memcpy(job->key->hash, job->request_hash, sizeof job->key->hash);
    if (r->chunks_total > 1)
        in.plan = job->plan;
    r->durable = true;
    js->transient_count--;
    job->at_store = job->posting = true;
    js->store->ops->submit(js->store, r, &in, on_submitted, job);
    job->posting = false;
    if (!job->at_store)
        settle(job, true);
}

void job_make_durable(struct job *job, const struct slice *body, store_done *done, void *arg) {
    struct submitting *s = job->refused || job->safe ? NULL : malloc(sizeof *s);
    if (s == NULL) {
        done(arg, job->safe && !job->refused ? STORE_OK : STORE_UNAVAILABLE);
        return;
    }
    *s = (struct submitting){.done = done, .arg = arg};
    LL_APPEND(job->submitting, s);
    if (!job->at_store)
        submit_to_store(job, body);
}
