/* admission.c: see admission.h. Front end.
 *
 * The jobs take turns, so before this job starts a chunk of each job that waits has started that is as urgent or more
 * (ageing only adds to these). When it starts, one worker is free, and the others have not done yet what is left of one
 * chunk each. So the workers have done
 *
 *     all that was known to be ahead, minus (workers - 1) times the largest of these chunks
 *
 * by then; and what is not known only makes it later.
 *
 * Of other tenants nothing is ahead for certain, because the tenants take turns. While more than one has jobs that wait,
 * of its own tenant's only those of its own level are: a level that has waited long enough goes before a more urgent one
 * that was just served. */
#include "server/jobs/admission.h"

#include "base/clock.h"

#define TRUSTED    3                 /* chunks of a type that must have run */
#define LONGEST_NS (1000 * NS_PER_S) /* that a chunk counts, so that sums have no overflow */
#define RISE       (1.0 / 16)        /* the lowest factor follows those above it so slowly */

static bool was_cut(const struct job *job, uint32_t chunk) {
    return job->cut_rate > 0 && chunk >= job->cut_from;
}

void admission_note(struct job *job, uint32_t chunk, uint64_t run_ns) {
    struct measured_type *m = &job->js->measured[metrics_row(job->record->type)];
    uint64_t cost_ns = job->chunks[chunk].plan.cost_ns;
    if (cost_ns == 0 || was_cut(job, chunk))
        return;
    double factor = (double)run_ns / (double)cost_ns;
    m->lowest = m->count == 0 || factor < m->lowest ? factor : m->lowest + (factor - m->lowest) * RISE;
    m->count += m->count < TRUSTED;
}

/* What was cut anew by the rate of its own job has been measured already. */
int64_t admission_known_ns(const struct job *job, uint32_t chunk) {
    const struct measured_type *m = &job->js->measured[metrics_row(job->record->type)];
    double factor = was_cut(job, chunk) ? 1 : m->count < TRUSTED ? 0 : m->lowest;
    double ns = (double)job->chunks[chunk].plan.cost_ns * factor;
    return ns < (double)LONGEST_NS ? (int64_t)ns : LONGEST_NS;
}

/* What is known to wait of the job's tenant, by level. */
static struct known_work *known_work_of(const struct job *job) {
    return job->tenant == NULL ? job->js->known_work : job->tenant->known_work;
}

void admission_add(struct job *job, int64_t known_ns) {
    struct known_work *k = &known_work_of(job)[job->sched.urgency];
    job->queued_known_ns = known_ns;
    k->ns += known_ns;
    k->largest_ns = known_ns > k->largest_ns ? known_ns : k->largest_ns;
}

void admission_remove(struct job *job) {
    struct known_work *k = &known_work_of(job)[job->sched.urgency];
    k->ns -= job->queued_known_ns;
    job->queued_known_ns = 0;
    if (k->ns == 0)
        k->largest_ns = 0; /* before, it can be that of a job which waits no more: the job looks earlier then */
}

/* 0: a worker is idle. */
static int64_t earliest_wait_ns(const struct job *job, int64_t now_ns) {
    const struct jobs *js = job->js;
    const struct known_work *ahead = known_work_of(job);
    unsigned level = (unsigned)job->record->options.priority;
    int64_t total_ns = 0, largest_ns = 0, first_ns = INT64_MAX;
    for (size_t i = 0; i < pool_size(js->pool); i++) {
        if (worker_lane(pool_worker(js->pool, i)) != LANE_MAIN)
            continue;
        if (js->long_due_ns[i] == 0)
            return 0;
        int64_t left_ns = js->known_due_ns[i] > now_ns ? js->known_due_ns[i] - now_ns : 0;
        total_ns += left_ns;
        largest_ns = left_ns > largest_ns ? left_ns : largest_ns;
        first_ns = left_ns < first_ns ? left_ns : first_ns;
    }
    for (unsigned l = js->scheduler.tenants > 1 ? level : 0; l <= level; l++) {
        total_ns += ahead[l].ns;
        largest_ns = ahead[l].largest_ns > largest_ns ? ahead[l].largest_ns : largest_ns;
    }
    int64_t wait_ns = (total_ns - (int64_t)(js->main_workers - 1) * largest_ns) / js->main_workers;
    return wait_ns > first_ns ? wait_ns : first_ns;
}

int64_t admission_late_ns(const struct job *job) {
    const struct submission_options *o = &job->record->options;
    if (o->queue_timeout_ms <= 0 || job->delayed)
        return 0;
    int64_t now_ns = clock_monotonic_ns(), wait_ns = earliest_wait_ns(job, now_ns);
    int64_t most_ns = job->due_ns + job_limit_ns(o->queue_timeout_ms) - now_ns;
    return wait_ns > 0 && wait_ns > most_ns ? wait_ns - most_ns : 0;
}
