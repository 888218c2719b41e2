/* limits.c: see limits.h. Front end. */
#include "server/jobs/limits.h"

#include "base/container.h"
#include "server/jobs/delayed.h"
#include "server/jobs/end.h"
#include "server/jobs/queue.h"

void limits_on_timer(struct timer *t) {
    struct job *job = container_of(t, struct job, timer);
    if (job->run_started_ns != 0) {
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
