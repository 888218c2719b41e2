/* durable.c: how a job gets into the store: job_make_durable of jobs.h. The states of its durability are drawn in
 * job.h. Front end.
 *
 * Several requests can want the same job to be durable. The first hands it to the store; all get the store's answer. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "server/jobs/attached.h"
#include "server/jobs/end.h"
#include "server/jobs/lost.h"
#include "server/jobs/plan.h"
#include "server/jobs/queue.h"
#include "server/jobs/regroup.h"

/* The store has answered. If the job has ended meanwhile, those who wait hear of both when the end is on disk, too. */
static void on_submitted(void *arg, enum store_result result) {
    struct job *job = arg;
    enum durability from = job->durability;
    job_set_durability(job, result == STORE_OK ? DURABILITY_STORED : DURABILITY_STORE_FAILED);
    if (result != STORE_OK) {
        metrics_count(job->js->metrics->rejected, problem_get(PROBLEM_STORE_UNAVAILABLE)->code);
        if (from == DURABILITY_POSTING) { /* the store has nothing of the job, so it does not hear of its end */
            job->record->durable = false;
            job->js->transient_count++;
        }
    }
    if (from == DURABILITY_POSTING)
        return; /* into post(), which still uses the job, and tells those who wait */
    if (from == DURABILITY_END_RECORDED) {
        job_tell_end(job);
        return;
    }
    if (result == STORE_OK && job_is_ending(job))
        return; /* until job_tell_end */
    job_tell_submitted(job);
    if (job->durability == DURABILITY_STORE_FAILED)
        job_cancel(job); /* can free it */
    else if (job_is_parked(job) && !job_is_stopping(job))
        job_tell_parked(job); /* the drain began before the store had it */
}

/* The job can have run for a while before somebody wants it to be durable. */
static void post_progress(struct job *job) {
    const struct record *r = job->record;
    struct store *s = job->js->store;
    for (uint32_t i = 0; r->chunks_done > 0 && !attached_has_made(job) && !job->plan_is_stale && job->chunks != NULL &&
                         i < r->chunks_total;
         i++)
        if (job->chunks[i].done)
            s->ops->complete(s, &r->id, i, job->chunks[i].lost, &job->chunks[i].part);
    if (r->attempts > 1)
        lost_record_all(job);
}

static void post(struct job *job, const struct slice *body) {
    struct jobs *js = job->js;
    struct record *r = job->record;
    struct job_attachments given = job->attachments;
    given.count = job->attachments_given;
    struct store_input in = {.request = *body, .attachments = given.count == 0 ? NULL : &given, .key = job->key};
    attached_freeze(job);
    r->durable = true;
    js->transient_count--;
    if (job->end_is_known) {
        job_set_durability(job, DURABILITY_ENDING);
        return; /* end.c submits it */
    }
    if (job->key != NULL && job->request_hash != NULL)
        memcpy(job->key->hash, job->request_hash, sizeof job->key->hash);
    bool fresh = regroup_write_plan(job);
    if (plan_is_stored(job) && fresh)
        in.plan = job->plan;
    if (job_is_parked(job)) { /* a drain has begun: it is not sent any more */
        job_dequeue(job);
        job_arm_timer(job);
    }
    job_set_durability(job, DURABILITY_POSTING);
    js->store->ops->submit(js->store, r, &in, on_submitted, job);
    if (job->durability != DURABILITY_STORE_FAILED)
        post_progress(job);
    if (job->durability == DURABILITY_POSTING) {
        job_set_durability(job, DURABILITY_SUBMITTING);
        return;
    }
    job_tell_submitted(job);
    if (job->durability == DURABILITY_STORE_FAILED)
        job_cancel(job); /* can free it */
}

void job_make_durable(struct job *job, const struct slice *body, store_done *done, void *arg) {
    bool answered = job->durability == DURABILITY_STORED || job->durability == DURABILITY_STORE_FAILED;
    struct submitting *s = answered ? NULL : malloc(sizeof *s);
    if (s == NULL) {
        done(arg, job->durability == DURABILITY_STORED ? STORE_OK : STORE_UNAVAILABLE);
        if (job->durability == DURABILITY_NONE) /* no memory: "nothing was accepted" has to be true */
            job_undo_submission(job);
        return;
    }
    *s = (struct submitting){.done = done, .arg = arg};
    LL_APPEND(job->submitting, s);
    if (job->durability == DURABILITY_NONE)
        post(job, body);
}
