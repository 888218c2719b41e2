/* query.c: looks jobs up wherever they are: live, remembered, or in the store; and what is counted of them. Front
 * end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "server/jobs/delayed.h"
#include "server/jobs/job.h"

struct job *jobs_find(struct jobs *js, const struct id *id, const char *viewer) {
    struct job *job;
    HASH_FIND(hh, js->live, id, sizeof *id, job);
    return job != NULL && tenant_sees(viewer, job->record->tenant) ? job : NULL;
}

/* What the remembered jobs have answered. */
struct lookup {
    enum store_result result;
    struct record *record;
};

static void on_remembered(void *arg, enum store_result result, struct record *record) {
    struct lookup *l = arg;
    l->result = result;
    l->record = record;
}

void jobs_get(struct jobs *js, const struct id *id, const char *viewer, store_found *found, void *arg) {
    struct job *job = jobs_find(js, id, viewer);
    struct lookup l = {STORE_NOT_FOUND, NULL};
    if (job != NULL) {
        found(arg, STORE_OK, job->record);
        return;
    }
    js->remembered->ops->get(js->remembered, id, viewer, on_remembered, &l); /* in memory: answers at once */
    if (l.result != STORE_NOT_FOUND)
        found(arg, l.result, l.record);
    else
        js->store->ops->get(js->store, id, viewer, found, arg);
}

static void on_forgotten(void *arg, enum store_result result) {
    *(enum store_result *)arg = result;
}

void jobs_forget(struct jobs *js, const struct id *id, const char *viewer, store_done *done, void *arg) {
    enum store_result result = STORE_NOT_FOUND;
    js->remembered->ops->forget(js->remembered, id, viewer, on_forgotten, &result);
    if (result != STORE_NOT_FOUND)
        done(arg, result);
    else
        js->store->ops->forget(js->store, id, viewer, done, arg);
}

/* ---- list: live, remembered and stored, merged -------------------------------------------------------------------
 *
 * Each of the three has its newest matches up to the limit. So the work depends on the limit alone. */

struct listing {
    struct record **records; /* references, newest first in the end */
    size_t count, room;
    bool failed;
    unsigned limit;
    store_found *found;
    void *arg;
};

static void collect(void *arg, struct record *r) {
    struct listing *l = arg;
    if (GROW_ARRAY(&l->records, l->count, &l->room) != 0) {
        l->failed = true;
        return;
    }
    l->records[l->count++] = record_ref(r);
}

static void on_listed(void *arg, enum store_result result, struct record *record) {
    struct listing *l = arg;
    if (result != STORE_OK)
        l->failed = true;
    else if (record != NULL)
        collect(l, record);
}

static int newest_first(const void *a, const void *b) {
    const struct record *const *x = a, *const *y = b;
    return memcmp(&(*y)->id, &(*x)->id, sizeof(*x)->id);
}

static void report(struct listing *l) {
    unsigned listed = 0;
    if (l->count > 0) /* qsort(3) wants an array */
        qsort(l->records, l->count, sizeof *l->records, newest_first);
    for (size_t i = 0; i < l->count; i++) {
        /* A job that was live at first can have ended since, and come from the store, too. */
        bool twice = i > 0 && memcmp(&l->records[i]->id, &l->records[i - 1]->id, sizeof(struct id)) == 0;
        if (!twice && listed < l->limit && !l->failed) {
            l->found(l->arg, STORE_OK, l->records[i]);
            listed++;
        }
    }
    l->found(l->arg, l->failed ? STORE_UNAVAILABLE : STORE_OK, NULL);
    for (size_t i = 0; i < l->count; i++)
        record_unref(l->records[i]);
    free(l->records);
    free(l);
}

static void on_stored(void *arg, enum store_result result, struct record *record) {
    on_listed(arg, result, record);
    if (record == NULL)
        report(arg);
}

void jobs_list(struct jobs *js, const struct record_filter *f, store_found *found, void *arg) {
    struct listing *l = calloc(1, sizeof *l);
    if (l == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL);
        return;
    }
    *l = (struct listing){.limit = f->limit, .found = found, .arg = arg};
    record_index_read(&js->index, f, collect, l);
    js->remembered->ops->list(js->remembered, f, on_listed, l);
    js->store->ops->list(js->store, f, on_stored, l);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

int64_t jobs_oldest_wait_ms(const struct jobs *js) {
    int64_t oldest = 0;
    for (int class = 0; class < SCHED_CLASSES; class ++) {
        int64_t since_ns = sched_oldest_ns(&js->scheduler, (enum sched_class) class);
        oldest = oldest == 0 || (since_ns != 0 && since_ns < oldest) ? since_ns : oldest;
    }
    return oldest == 0 ? 0 : (clock_monotonic_ns() - oldest) / NS_PER_MS;
}

static void read_queued(struct metric_out *to, const void *field) {
    const size_t *queued = field;
    for (unsigned level = 0; level < SCHEDULER_LEVELS; level++) {
        char priority[16];
        snprintf(priority, sizeof priority, "%u", level);
        metric_add(to, queued[level], priority, NULL);
    }
}

static void read_oldest_seconds(struct metric_out *to, const void *field) {
    metric_add_real(to, (double)jobs_oldest_wait_ms(field) / 1000, NULL, NULL);
}

static void read_held_bytes(struct metric_out *to, const void *field) {
    const struct jobs *js = field;
    uint64_t workers = 0;
    for (size_t i = 0; js->pool != NULL && i < pool_size(js->pool); i++)
        workers += worker_rss(pool_worker(js->pool, i));
    for (int what = 0; what < HELD_KINDS; what++)
        metric_add(to, held_bytes[what], held_name((enum held)what), NULL);
    metric_add(to, log_held_bytes(), "log", NULL);
    metric_add(to, workers, "workers", NULL);
}

static void read_workers(struct metric_out *to, const void *field) {
    const struct jobs *js = field;
    unsigned count[2][WORKER_ACTIVITIES] = {{0}};
    for (size_t i = 0; js->pool != NULL && i < pool_size(js->pool); i++) {
        struct worker_view v = worker_look(pool_worker(js->pool, i));
        count[v.lane][v.activity]++;
    }
    for (int lane = 0; lane < 2; lane++)
        for (int state = 0; state < WORKER_ACTIVITIES; state++)
            metric_add(to, count[lane][state], lane_name((enum lane)lane),
                       worker_activity_name((enum worker_activity)state));
}

#define AT(member) offsetof(struct jobs, member)

static const struct metric job_metrics[] = {
    {"offload_jobs_queued", METRIC_GAUGE, read_queued, AT(queued), .label = "priority",
     .help = "Jobs accepted and not started, by urgency."},
    {"offload_jobs_delayed", METRIC_GAUGE, metric_read_size, AT(delayed_count),
     .help = "Jobs whose delay is not over. They are among those queued."},
    {"offload_jobs_running", METRIC_GAUGE, metric_read_size, AT(running_count), .help = "Jobs started and not ended."},
    {"offload_jobs_recovered_total", METRIC_COUNTER, metric_read_size, AT(recovered_count),
     .help = "Jobs that an earlier process left unfinished."},
    {"offload_queue_oldest_seconds", METRIC_GAUGE, read_oldest_seconds, .help = "How long the oldest task has waited."},
    {"offload_held_bytes", METRIC_GAUGE, read_held_bytes, .label = "what",
     .help = "Bytes held for requests and jobs, bounded by --max-memory; log: lines that wait, bounded by "
             "--log-buffer; workers: their resident memory, bounded by --max-job-memory."},
    {"offload_workers", METRIC_GAUGE, read_workers, .label = "lane", .second_label = "state",
     .help = "Worker processes."},
};

void jobs_write_metrics(const struct jobs *js, struct buf *out) {
    METRICS_WRITE_TABLE(out, job_metrics, js);
}

size_t jobs_live(const struct jobs *js) {
    return js->live_count;
}

uint64_t jobs_of_tenant(const struct jobs *js, const char *name) {
    const struct tenant *t = tenants_find(&js->tenants, name);
    return t == NULL ? 0 : t->live - t->uncounted;
}

size_t jobs_running(const struct jobs *js) {
    return js->running_count;
}

uint64_t jobs_retry_after_s(const struct jobs *js) {
    double idle_s = (double)(clock_monotonic_ns() - js->rate_ns) / 1e9;
    double rate = js->rate * exp(-idle_s / JOBS_RATE_WINDOW_S);
    if (rate <= 1.0 / 3600)
        return js->rate > 0 ? 3600 : 5; /* no job has ended lately, or none at all */
    double s = ceil(1 / rate);
    return s < 1 ? 1 : s > 3600 ? 3600 : (uint64_t)s;
}

static uint64_t whole_seconds(int64_t ns) {
    int64_t s = ns <= 0 ? 1 : (ns + NS_PER_S - 1) / NS_PER_S;
    return s > 3600 ? 3600 : (uint64_t)s;
}

uint64_t jobs_tenant_retry_after_s(const struct jobs *js, const char *name) {
    int64_t now_ns = clock_monotonic_ns();
    const struct tenant *t = tenants_find(&js->tenants, name);
    int64_t ns = t == NULL ? 0 : tenant_next_end_ns(t, now_ns);
    return ns == 0 ? jobs_retry_after_s(js) : whole_seconds(ns);
}

uint64_t jobs_delayed_retry_after_s(const struct jobs *js) {
    return whole_seconds(delayed_first_due_ns(js) - clock_monotonic_ns());
}

uint64_t job_retry_after_s(const struct job *job) {
    return whole_seconds(job->late_ns);
}
