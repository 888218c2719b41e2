/* replies.c: what the reply of a worker, or its death, means for the job of a task: the events of the pool. Front end.
 *
 *     PLANNED ──► the job has chunks to send        PARSED ──► it is planned, elsewhere
 *     DONE ──► a part, or the result                FAILED ──► the job fails
 *     lost, and the worker had begun it ──► sent again after a backoff; or the job fails, because of max_attempts
 *     lost, and the worker had not begun it ──► sent again at once
 *     there is no memory for a reply ──► the task is sent again, because the reply is gone
 *     held back by another task ──► sent again at once
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/jobs/admission.h"
#include "server/jobs/attached.h"
#include "server/jobs/backoff.h"
#include "server/jobs/end.h"
#include "server/jobs/history.h"
#include "server/jobs/lost.h"
#include "server/jobs/output.h"
#include "server/jobs/plan.h"
#include "server/jobs/poison.h"
#include "server/jobs/queue.h"
#include "server/jobs/recover.h"
#include "server/jobs/regroup.h"
#include "server/jobs/send.h"

#define LONGEST_NS (1000 * (uint64_t)NS_PER_S) /* that a short job can be expected to take */

/* ---- parts and results ------------------------------------------------------------------------------------------- */

/* A time that a worker says, in ns. It is at most WIRE_MAX_TIME_NS, whatever the worker says, and so is a sum. */
static void add_time(int64_t *sum, uint64_t ns) {
    uint64_t most = (uint64_t)(WIRE_MAX_TIME_NS - *sum);
    *sum += (int64_t)(ns < most ? ns : most);
}

static void add_times(struct job *job, enum task_kind kind, const struct wire_times *t) {
    struct record *r = job->record;
    if (kind == TASK_PLAN) {
        int64_t *lately = &job->js->type_cost_ns[metrics_row(r->type)];
        int64_t took_ns = (int64_t)(t->cpu_ns < LONGEST_NS ? t->cpu_ns : LONGEST_NS);
        *lately += (took_ns - *lately) / 8 + 1;
    }
    add_time(&r->plan_ns, t->plan_ns);
    add_time(&r->merge_ns, t->merge_ns);
    int64_t before_ns = r->cpu_ns;
    add_time(&r->cpu_ns, t->cpu_ns);
    job_charge(job, r->cpu_ns - before_ns);
}

static void on_part(struct job *job, uint32_t chunk, struct slice part, uint64_t items) {
    struct record *r = job->record;
    struct chunk *c = &job->chunks[chunk];
    c->part = part;
    c->done = true;
    r->chunks_done++;
    job->js->metrics->chunks[metrics_row(r->type)]++;
    if (r->durable && !attached_has_made(job) && !job->plan_is_stale)
        job->js->store->ops->complete(job->js->store, &r->id, chunk, c->lost, &part);
    history_chunk(job, chunk, items);
    job_touch(job);
    if (r->chunks_done == r->chunks_total) {
        job_enter_phase(job, PHASE_MERGE);
        job_enqueue(job);
    } else if (regroup_if_due(job) && job->sched.queued) {
        job_enqueue(job); /* its next chunk costs something else now */
    }
    recover_park_waiting(job); /* can free it */
}

/* The result of the job: of a merge, of its only chunk, or of a short job that was done in one go. */
static void on_result(struct job *job, enum task_kind kind, struct slice result, struct record_binary *binary,
                      int64_t sent_ns) {
    struct record *r = job->record;
    if (kind == TASK_PLAN) {
        r->chunks_total = 1;
        job_started(job, sent_ns);
        job->end_is_known = true;
        job_tell_planned(job);
    }
    if (job_is_stopping(job)) {
        slice_deinit(&result);
        binary_free(binary);
        job_end_if_stopped(job);
        return;
    }
    r->binary = binary;
    if (kind != TASK_MERGE) {
        job->js->metrics->chunks[metrics_row(r->type)]++;
        r->chunks_done = r->chunks_total;
    }
    if (kind == TASK_RUN && job->watchers > 0)
        history_chunk(job, 0, 0);
    job_succeed(job, result);
}

/* A piece of what the front end has already. Empty: there is no such piece. */
static struct slice piece_of(const struct slice *all, const struct wire_binary *b) {
    struct slice none = {NULL, 0, 0};
    if (all->blob == NULL || b->offset > all->size || b->size > all->size - b->offset)
        return none;
    return slice_part(all, (size_t)b->offset, (size_t)b->size);
}

/* Nothing but what a header field can have. */
static bool is_media_type(const char *text, size_t size) {
    bool slash = false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
        slash |= text[i] == '/';
    }
    return slash;
}

/* A result that is not JSON, as wire.h describes it. Empty: it makes no sense, or (errno is ENOMEM) memory ran out. */
static struct slice take_binary(const struct job *job, enum task_kind kind, const struct wire_frame *f,
                                const struct slice *bulk, struct record_binary **binary) {
    const struct slice none = {NULL, 0, 0};
    struct wire_binary b;
    size_t at = sizeof(struct wire_times), left = f->header.length - at;
    struct slice result = none;
    errno = 0;
    if (left < sizeof b)
        return none;
    memcpy(&b, f->inlined + at, sizeof b);
    at += sizeof b;
    left -= sizeof b;
    const char *media_type = (const char *)f->inlined + at, *summary = media_type + WIRE_PAD(b.media_size);
    if (b.media_size > HANDLER_MAX_MEDIA_TYPE || b.summary_size > WIRE_MAX_SUMMARY ||
        WIRE_PAD(b.media_size) + WIRE_PAD(b.summary_size) > left || !is_media_type(media_type, b.media_size))
        return none;
    at += WIRE_PAD(b.media_size) + WIRE_PAD(b.summary_size);
    if (b.source == WIRE_FROM_BODY)
        result = wire_payload(f, bulk, at);
    else if (b.source == WIRE_FROM_PART && kind == TASK_MERGE && b.index < job->record->chunks_total)
        result = piece_of(&job->chunks[b.index].part, &b);
    else if (b.source == WIRE_FROM_ATTACHMENT && b.index < job->attachments.count)
        result = piece_of(&job->attachments.list[b.index].bytes, &b);
    struct record_binary *made = result.blob == NULL ? NULL : calloc(1, sizeof *made);
    if (made != NULL) {
        memcpy(made->media_type, media_type, b.media_size);
        buf_append(&made->summary, summary, b.summary_size);
    }
    if (made == NULL || made->summary.failed || (b.source == WIRE_FROM_BODY && b.size != result.size)) {
        binary_free(made);
        slice_deinit(&result);
        return none;
    }
    *binary = made;
    return result;
}

static bool on_done(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    struct wire_times times; /* then the part or result */
    if (t->kind == TASK_PLAN && job->input_is_raw)
        return false; /* a type that we do not know yet cannot have been run */
    if (f->header.length < sizeof times)
        return false;
    memcpy(&times, f->inlined, sizeof times);
    bool whole = t->kind != TASK_RUN || job_merges_at_once(job), is_binary = (f->header.flags & WIRE_BINARY) != 0;
    struct record_binary *binary = NULL;
    if (is_binary && !whole)
        return false;
    struct slice body = is_binary ? take_binary(job, t->kind, f, bulk, &binary) : wire_payload(f, bulk, sizeof times);
    if (body.blob == NULL)
        return false;
    int64_t items = whole ? 0 : job_count_items(job, &body);
    if (items < 0) {
        slice_deinit(&body);
        return false;
    }
    uint32_t chunk = t->chunk;
    if (t->kind == TASK_RUN)
        admission_note(job, chunk, times.run_ns);
    if (!whole)
        regroup_note(job, chunk, times.run_ns);
    enum task_kind kind = t->kind;
    int64_t sent_ns = t->sent_ns;
    add_times(job, t->kind, &times);
    task_free(t);
    if (whole)
        on_result(job, kind, body, binary, sent_ns);
    else
        on_part(job, chunk, body, (uint64_t)items);
    return true;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static bool is_submission_fault(enum problem_code code) {
    return code == PROBLEM_INVALID_PARAMS || code == PROBLEM_UNKNOWN_TYPE || code == PROBLEM_INVALID_JSON ||
           code == PROBLEM_DUPLICATE_KEY || code == PROBLEM_TOO_DEEP || code == PROBLEM_NOT_UTF8 ||
           code == PROBLEM_NOT_FOUND;
}

/* The handler, or the check of a raw body, reports a fault. */
static bool on_failed(struct job *job, struct task *t, const struct wire_frame *f) {
    struct problem_fault fault;
    if (problem_read_fault(f->inlined, f->header.length, &fault) != 0) {
        problem_fault_deinit(&fault);
        return false;
    }
    job->rejected = t->kind == TASK_PLAN && is_submission_fault(fault.code) && !job->record->durable;
    task_free(t);
    job_stop(job, STOP_CANCEL, JOB_FAILED, fault.code, fault.detail, fault.members);
    return true;
}

/* The worker has stopped the task because we asked it to. */
static bool on_cancelled(struct job *job, struct task *t) {
    if (!job_is_stopping(job))
        return false;
    if (job->stop_reason == STOP_TIMEOUT)
        lost_add(job, t, "timeout", NULL);
    task_free(t);
    job_end_if_stopped(job);
    return true;
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* The job pays for a task that was lost, also if its record does not count it. Of a process is known what it has spent
 * in its whole life: that can be more than this task, which has not lasted longer than since it was sent. */
static void charge_lost(struct job *job, const struct task *t, const struct death *d) {
    int64_t longest_ns = clock_monotonic_ns() - t->sent_ns;
    bool longer = d->cpu_ms > (uint64_t)(INT64_MAX / NS_PER_MS) || (int64_t)d->cpu_ms * NS_PER_MS > longest_ns;
    job_charge(job, longer ? longest_ns : (int64_t)d->cpu_ms * NS_PER_MS);
}

/* A job that is stopping takes no results; it only waits until its tasks are gone. */
static bool absorb(struct job *job, struct task *t) {
    task_free(t);
    job_end_if_stopped(job);
    return true;
}

/* A task that was cancelled, or has failed, does not say what it has spent: as much as was estimated, or for a long one
 * the time since it was sent. Else a client could let its jobs work for nothing, and cancel them before their end. */
static void charge_untold(struct job *job, const struct task *t) {
    int64_t longest_ns = clock_monotonic_ns() - t->sent_ns;
    job_charge(job, t->cost_ns > 0 && t->cost_ns < longest_ns ? t->cost_ns : longest_ns);
}

/* What it has taken no result of was done all the same. */
static void charge_late(struct job *job, const struct task *t, const struct wire_frame *f) {
    struct wire_times times;
    int64_t spent_ns = 0;
    if (f->header.kind != WIRE_DONE || f->header.length < sizeof times) {
        charge_untold(job, t);
        return;
    }
    memcpy(&times, f->inlined, sizeof times);
    add_time(&spent_ns, times.cpu_ns);
    job_charge(job, spent_ns);
}

/* The plan is made, and its run time is over; what comes next waits for a worker again. */
static void queue_again(struct job *job, struct task *t) {
    task_free(t);
    job->planned_apart = true;
    job->run_started_ns = 0;
    job_arm_timer(job);
    job_enqueue(job);
}

/* What a worker that parses a body cannot know, this does: whether the URL of its webhook is good, and whether there is
 * room for one more delayed job. True: it was rejected, and the job is stopped. */
static bool reject_parsed(struct job *job, struct task *t) {
    struct buf members = {0};
    bool too_many = job->is_too_many && !job->record->durable; /* a job that was answered 202 is not lost */
    if (job->bad_webhook == NULL && !too_many)
        return false;
    job->rejected = !job->record->durable;
    task_free(t);
    if (job->bad_webhook == NULL) {
        metrics_count(job->js->metrics->rejected, problem_get(PROBLEM_QUEUE_FULL)->code);
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_QUEUE_FULL, NULL, NULL);
        return true;
    }
    problem_put_error(&members, "/options/webhook", job->bad_webhook);
    if (members.failed)
        buf_deinit(&members); /* the detail says it, too */
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_INVALID_PARAMS, strdup("/options/webhook cannot be used"),
             buf_steal(&members, NULL));
    return true;
}

/* True: it cannot start within its queue_timeout_ms, so it was refused, and the job is stopped. */
static bool refuse_late(struct job *job, struct task *t) {
    if (job->record->durable || job->planned_told || !queue_is_long(job))
        return false; /* a job that was answered 202 is not lost */
    job->late_ns = admission_late_ns(job);
    if (job->late_ns == 0)
        return false;
    job->rejected = true;
    task_free(t);
    metrics_count(job->js->metrics->rejected, problem_get(PROBLEM_QUEUE_TIMEOUT)->code);
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_QUEUE_TIMEOUT, NULL, NULL);
    return true;
}

static bool on_plan(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    if (!plan_arrived(job, f, bulk))
        return false;
    if (reject_parsed(job, t) || refuse_late(job, t))
        return true;
    slice_deinit(&job->input);
    queue_again(job, t);
    job_tell_planned(job);
    if (job_is_stopping(job))
        job_end_if_stopped(job);
    else
        recover_park_waiting(job);
    return true;
}

static bool on_submission(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    if (f->header.kind != WIRE_PARSED || !plan_submission_arrived(job, f, bulk))
        return false;
    if (reject_parsed(job, t))
        return true;
    queue_again(job, t);
    return true;
}

/* It does not fit within --max-memory: this job pays, and not the service. */
static bool fail_for_memory(struct job *job, struct task *t) {
    task_free(t);
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_MEMORY_LIMIT,
             strdup("what a worker made of it does not fit within --max-memory"), NULL);
    return true;
}

/* False: the reply breaks the protocol, or memory ran out (errno is ENOMEM then) before the task was changed. */
static bool take_reply(struct job *job, struct task *t, const struct wire_frame *f, const struct slice *bulk) {
    if (f->header.kind == WIRE_CANCELLED) {
        charge_untold(job, t);
        return on_cancelled(job, t);
    }
    if (job_is_stopping(job)) {
        charge_late(job, t, f);
        return absorb(job, t);
    }
    if (f->header.kind == WIRE_FAILED) {
        charge_untold(job, t);
        return on_failed(job, t, f);
    }
    if (slice_is_bulk(bulk))
        held_make_room_for_descriptor(bulk->blob->fd);
    if (bulk->size > 0 && !held_make_room(HELD_FOR_WORK, 0)) /* it is counted already */
        return fail_for_memory(job, t);
    if (f->header.kind == WIRE_DONE)
        return on_done(job, t, f, bulk);
    if (t->kind != TASK_PLAN)
        return false;
    return f->header.kind == WIRE_PLANNED ? on_plan(job, t, f, bulk) : on_submission(job, t, f, bulk);
}

static void fail_crashed(struct job *job, const struct death *d, unsigned lost) {
    char how[64], detail[160];
    const char *name = signal_name(d->signal);
    if (name != NULL)
        snprintf(how, sizeof how, "was killed by %s", name);
    else if (d->exit_code >= 0)
        snprintf(how, sizeof how, "exited with status %d", d->exit_code);
    else
        snprintf(how, sizeof how, "was lost");
    snprintf(detail, sizeof detail, "the %s %s (cause: %s), attempt %u of %lld",
             d->worker_lives ? "process that ran it" : "worker", how, d->cause, lost,
             (long long)job->record->options.max_attempts);
    job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_WORKER_CRASHED, strdup(detail), NULL);
}

/* The task can be sent again. A plan or a merge needs no more for that than to be gone. */
static void requeue(struct job *job, const struct task *t) {
    if (t->kind == TASK_RUN)
        job->again[job->again_count++] = t->chunk;
    else if (t->kind == TASK_PLAN)
        attached_drop_made(job);
}

/* Counts one more attempt. Returns how often this task was lost, this time included. */
static unsigned count_loss(struct job *job, const struct task *t, const struct death *d) {
    struct record *r = job->record;
    unsigned lost = t->kind == TASK_PLAN    ? ++job->plan_lost
                    : t->kind == TASK_MERGE ? ++job->merge_lost
                                            : ++job->chunks[t->chunk].lost;
    r->attempts++;
    lost_add(job, t, d->cause, d);
    job_touch(job);
    char id[ID_TEXT_SIZE], parent[TRACE_PARENT_SIZE];
    id_format(&r->id, id);
    LOG(LOG_WARN, "task_lost", LOG_STR("job", id), LOG_INT("chunk", t->kind == TASK_RUN ? (int64_t)t->chunk : -1),
        LOG_INT("worker", worker_slot(t->worker)), LOG_STR("cause", d->cause), LOG_INT("attempts", r->attempts),
        LOG_STR("trace", trace_parent(r->trace, parent)), LOG_STR("tracestate", trace_state(r->trace)));
    return lost;
}

/* In the store. */
static void record_loss(struct job *job, const struct task *t, bool backs_off) {
    if (job->record->durable)
        lost_record(job, t->kind == TASK_RUN ? t->chunk : t->kind == TASK_PLAN ? STORE_PLAN : STORE_MERGE, backs_off);
}

/* The worker has died at this task. The loss is recorded before the task is sent again, and before the job fails. */
static void on_guilty(struct job *job, struct task *t, const struct death *d) {
    unsigned lost = count_loss(job, t, d);
    if (t->kind == TASK_PLAN)
        attached_drop_made(job);
    bool by_memory = strcmp(d->cause, "memory") == 0;
    if (by_memory && !job_add_poison(job, t, d->steps, true)) {
        record_loss(job, t, false);
        task_free(t);
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_MEMORY_LIMIT, NULL, NULL);
        return;
    }
    uint64_t allowed = (uint64_t)job->record->options.max_attempts;
    if (t->kind == TASK_RUN) /* each poison item gives the others as many attempts again */
        allowed = job_allowed_losses(job, t->chunk);
    bool fails = !by_memory && lost >= allowed && !job_add_poison(job, t, d->steps, false);
    bool backs_off = !fails && job_back_off(job, t->kind == TASK_RUN ? t->chunk : NO_CHUNK, lost);
    record_loss(job, t, backs_off);
    if (!fails) {
        if (!backs_off)
            requeue(job, t);
        metrics_count(job->js->metrics->chunk_retries, d->cause);
    }
    task_free(t);
    if (fails) {
        fail_crashed(job, d, lost);
        return;
    }
    job_enqueue(job);
    recover_park_waiting(job);
}

static void stop_clock_of_plan(struct job *job, const struct task *t) {
    if (t->kind != TASK_PLAN)
        return;
    job->run_started_ns = 0; /* the job is still queued */
    job_arm_timer(job);
}

/* Sends a task again that was lost or held back, but not by its fault: no attempt is counted. */
static void send_again(struct job *job, struct task *t) {
    stop_clock_of_plan(job, t);
    requeue(job, t);
    task_free(t);
    job_enqueue(job);
}

static bool on_made(void *arg, struct worker *w, void *task, const struct slice *bulk) {
    struct task *t = task;
    (void)arg, (void)w;
    if (t->kind != TASK_PLAN || t->job->attachments.count - t->job->attachments_given >= HOST_MAX_MADE)
        return false;
    return job_is_stopping(t->job) || attached_add_made(t->job, bulk);
}

static bool on_reply(void *arg, struct worker *w, void *task, const struct wire_frame *f, const struct slice *bulk) {
    struct task *t = task;
    struct job *job = t->job;
    (void)arg;
    job->js->dirty = true;
    errno = 0;
    if (take_reply(job, t, f, bulk))
        return true;
    if (errno != ENOMEM)
        return false;
    LOG(LOG_ERROR, "reply_lost", LOG_INT("worker", worker_slot(w)), LOG_STR("error", strerror(ENOMEM)));
    send_again(job, t);
    return true;
}

static void on_lost(void *arg, struct worker *w, void *task, bool guilty, const struct death *d) {
    struct task *t = task;
    struct job *job = t->job;
    (void)arg, (void)w;
    job->js->dirty = true;
    if (guilty)
        charge_lost(job, t, d);
    if (job_is_stopping(job)) {
        if (job->stop_reason == STOP_TIMEOUT)
            lost_add(job, t, "timeout", d);
        absorb(job, t);
        return;
    }
    if (guilty) {
        if (d->worker_lives)
            metrics_count(job->js->metrics->process_deaths, d->cause);
        stop_clock_of_plan(job, t);
        on_guilty(job, t, d);
        return;
    }
    send_again(job, t);
}

static void on_log(void *arg, struct worker *w, void *task, const char *text, size_t size) {
    const struct task *t = task;
    (void)arg;
    output_add(t->job, w, text, size);
}

static void on_process_died(void *arg, struct worker *w, const struct death *d) {
    metrics_count(((struct jobs *)arg)->metrics->process_deaths, d->cause);
    LOG(LOG_WARN, "process_died", LOG_INT("worker", worker_slot(w)), LOG_STR("cause", d->cause),
        LOG_INT("signal", d->signal), LOG_INT("exit_code", d->exit_code), LOG_STR("stderr_tail", d->stderr_tail));
}

/* The worker is not at this task, so the job does not pay for what the worker does. */
static bool on_held_back(void *arg, struct worker *w, void *task) {
    struct task *t = task;
    struct job *job = t->job;
    (void)arg, (void)w;
    if (!job_is_stopping(job) && (task_is_feeding(t) || !job_excuse(job)))
        return false;
    job->js->dirty = true;
    if (job_is_stopping(job)) {
        absorb(job, t);
        return true;
    }
    send_again(job, t);
    return true;
}

/* A worker that was isolated for the job is gone. start: it died before it had loaded the job's type, which counts as a
 * loss of the job's next task. */
static void on_isolation_ended(void *arg, struct worker *w, void *owner, const struct death *start) {
    struct job *job = owner;
    struct task *t = NULL;
    job->isolated_workers--;
    ((struct jobs *)arg)->dirty = true;
    if (job_is_stopping(job))
        return;
    if (start != NULL && job_count_tasks(job) > 0)
        t = job_take_task(job, w);
    if (t != NULL)
        on_guilty(job, t, start);
    else if (!job->sched.queued)
        job_enqueue(job);
}

static void on_can_send(void *arg, struct worker *w) {
    struct jobs *js = arg;
    struct task *t = js->feeding[worker_slot(w)];
    if (t != NULL && send_merge_parts(t->job, t)) {
        js->dirty = true;
        if (job_is_stopping(t->job) && !pool_stop_task(w, t->ticket, t->job->stop_reason))
            absorb(t->job, t);
    }
    pool_flush(w);
}

static void on_changed(void *arg) {
    ((struct jobs *)arg)->dirty = true;
}

static void on_restarted(void *arg, const char *cause) {
    metrics_count(((struct jobs *)arg)->metrics->worker_restarts, cause);
}

struct pool_events jobs_pool_events(struct jobs *js) {
    return (struct pool_events){.arg = js,
                                .reply = on_reply,
                                .made = on_made,
                                .lost = on_lost,
                                .log = on_log,
                                .process_died = on_process_died,
                                .held_back = on_held_back,
                                .restarted = on_restarted,
                                .isolation_ended = on_isolation_ended,
                                .can_send = on_can_send,
                                .changed = on_changed};
}
