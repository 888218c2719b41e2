/* limits.c: see limits.h. Front end. */
#include "server/jobs/limits.h"

#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/jobs/delayed.h"
#include "server/jobs/end.h"
#include "server/jobs/queue.h"

#define EXCUSE_NS (50 * NS_PER_MS)

/* No worker is at a task of the job. The pool will give the tasks back soon. */
static bool is_held_back(struct job *job) {
    const struct task *t;
    bool all = job->tasks != NULL;
    DL_FOREACH(job->tasks, t) {
        all = all && pool_task_is_held_back(t->worker, t->ticket);
    }
    return all;
}

void limits_on_timer(struct timer *t) {
    struct job *job = container_of(t, struct job, timer);
    if (job->run_started_ns != 0 && is_held_back(job) && job_excuse(job)) {
        loop_set_timer(job->js->loop, t, clock_monotonic_ns() + EXCUSE_NS);
    } else if (job->run_started_ns != 0) {
        job_stop(job, STOP_TIMEOUT, JOB_FAILED, PROBLEM_JOB_TIMEOUT, NULL, NULL);
    } else if (job->delayed) {
        job->delayed = false;
        delayed_remove(job); /* from now on it counts towards the queue, even if that is full */
        job_arm_timer(job);
        job_enqueue(job);
    } else {
        job_stop(job, STOP_CANCEL, JOB_FAILED, PROBLEM_QUEUE_TIMEOUT, NULL, NULL);
    }
}
