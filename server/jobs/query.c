/* query.c: looking jobs up, wherever they are: live, remembered (answered inline), or in the store. Front end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/jobs/job.h"

struct job *jobs_find(struct jobs *js, const struct id *id) {
    struct job *job;
    HASH_FIND(hh, js->live, id, sizeof *id, job);
    return job;
}

/* Asks the remembered ones first, then the store. */
struct lookup {
    enum store_result result;
    struct record *record;
};

static void on_remembered(void *arg, enum store_result result, struct record *record) {
    struct lookup *l = arg;
    l->result = result;
    l->record = record;
}

void jobs_get(struct jobs *js, const struct id *id, store_found *found, void *arg) {
    struct job *job = jobs_find(js, id);
    struct lookup l = {STORE_NOT_FOUND, NULL};
    if (job != NULL) {
        found(arg, STORE_OK, job->record);
        return;
    }
    js->remembered->ops->get(js->remembered, id, on_remembered, &l); /* in memory: answers at once */
    if (l.result != STORE_NOT_FOUND)
        found(arg, l.result, l.record);
    else
        js->store->ops->get(js->store, id, found, arg);
}

static void on_forgotten(void *arg, enum store_result result) {
    *(enum store_result *)arg = result;
}

void jobs_forget(struct jobs *js, const struct id *id, store_done *done, void *arg) {
    enum store_result result = STORE_NOT_FOUND;
    js->remembered->ops->forget(js->remembered, id, on_forgotten, &result);
    if (result != STORE_NOT_FOUND)
        done(arg, result);
    else
        js->store->ops->forget(js->store, id, done, arg);
}

/* ---- list: live, remembered and stored, merged -------------------------------------------------------------- */

struct listing {
    struct jobs *js;
    struct record **records; /* references, newest first in the end */
    size_t count, room;
    bool failed;
    unsigned limit;
    store_found *found;
    void *arg;
};

static void collect(struct listing *l, struct record *r) {
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
    unsigned told = 0;
    if (l->count > 0) /* qsort(3) wants an array */
        qsort(l->records, l->count, sizeof *l->records, newest_first);
    for (size_t i = 0; i < l->count; i++) {
        /* A job that was live at first may have ended and come from the store, too. */
        bool twice = i > 0 && memcmp(&l->records[i]->id, &l->records[i - 1]->id, sizeof(struct id)) == 0;
        if (!twice && told < l->limit && !l->failed) {
            l->found(l->arg, STORE_OK, l->records[i]);
            told++;
        }
    }
    l->found(l->arg, l->failed ? STORE_UNAVAILABLE : STORE_OK, NULL);
    for (size_t i = 0; i < l->count; i++)
        record_unref(l->records[i]);
    free(l->records);
    free(l);
}

/* Of a live job we know more than the store. */
static void on_stored(void *arg, enum store_result result, struct record *record) {
    struct listing *l = arg;
    if (record == NULL || jobs_find(l->js, &record->id) == NULL)
        on_listed(l, result, record);
    if (record == NULL)
        report(l);
}

static bool live_matches(const struct record *r, const struct store_filter *f) {
    return (f->status < 0 || (int)r->status == f->status) && (f->type < 0 || r->type == f->type) &&
           memcmp(&r->id, &f->before, sizeof r->id) < 0;
}

/* The live table is in the order of the ids: so the newest are at its end, and no more of them are looked at than
 * it takes. */
static struct job *newest_before(struct jobs *js, const struct id *before) {
    struct job *job = jobs_find(js, before); /* a cursor is the id of a job in the page before */
    if (job != NULL)
        return job->hh.prev;
    return js->live == NULL ? NULL : ELMT_FROM_HH(js->live->hh.tbl, js->live->hh.tbl->tail);
}

static size_t most_live(const struct jobs *js, const struct store_filter *f) {
    size_t there = f->status < 0 || f->status == JOB_QUEUED ? js->live_count
                   : f->status == JOB_RUNNING               ? js->running_count
                                                            : 0;
    return there < f->limit ? there : f->limit;
}

void jobs_list(struct jobs *js, const struct store_filter *f, store_found *found, void *arg) {
    struct listing *l = calloc(1, sizeof *l);
    if (l == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL);
        return;
    }
    *l = (struct listing){.js = js, .limit = f->limit, .found = found, .arg = arg};
    size_t most = most_live(js, f);
    struct job *job = most == 0 ? NULL : newest_before(js, &f->before);
    for (; job != NULL && l->count < most && !l->failed; job = job->hh.prev) {
        if (live_matches(job->record, f))
            collect(l, job->record);
    }
    js->remembered->ops->list(js->remembered, f, on_listed, l);
    js->store->ops->list(js->store, f, on_stored, l);
}

/* ---- metrics ------------------------------------------------------------------------------------------------- */

int64_t jobs_oldest_wait_ms(const struct jobs *js) {
    int64_t oldest = 0;
    for (int class = 0; class < SCHED_CLASSES; class ++) {
        int64_t since_ns = sched_oldest_ns(&js->scheduler, (enum sched_class) class);
        oldest = oldest == 0 || (since_ns != 0 && since_ns < oldest) ? since_ns : oldest;
    }
    return oldest == 0 ? 0 : (clock_monotonic_ns() - oldest) / NS_PER_MS;
}

static void write_workers(const struct jobs *js, struct buf *out) {
    unsigned count[2][WORKER_ACTIVITIES] = {{0}};
    for (size_t i = 0; js->pool != NULL && i < pool_size(js->pool); i++) {
        struct worker_view v = worker_look(pool_worker(js->pool, i));
        count[v.lane][v.activity]++;
    }
    metrics_write_head(out, "offload_workers", "gauge", "Worker processes.");
    for (int lane = 0; lane < 2; lane++)
        for (int state = 0; state < WORKER_ACTIVITIES; state++)
            buf_printf(out, "offload_workers{lane=\"%s\",state=\"%s\"} %u\n", lane_name((enum lane)lane),
                       worker_activity_name((enum worker_activity)state), count[lane][state]);
}

void jobs_write_metrics(const struct jobs *js, struct buf *out) {
    metrics_write_head(out, "offload_jobs_queued", "gauge", "Jobs accepted and not started, by urgency.");
    for (unsigned level = 0; level < SCHEDULER_LEVELS; level++)
        buf_printf(out, "offload_jobs_queued{priority=\"%u\"} %zu\n", level, js->queued[level]);
    metrics_write_head(out, "offload_jobs_running", "gauge", "Jobs started and not ended.");
    buf_printf(out, "offload_jobs_running %zu\n", js->running_count);
    metrics_write_head(out, "offload_jobs_recovered_total", "counter", "Jobs that an earlier process left unfinished.");
    buf_printf(out, "offload_jobs_recovered_total %zu\n", js->recovered_count);
    metrics_write_head(out, "offload_queue_oldest_seconds", "gauge", "How long the oldest task has waited.");
    buf_printf(out, "offload_queue_oldest_seconds %.3f\n", (double)jobs_oldest_wait_ms(js) / 1000);
    metrics_write_head(out, "offload_held_bytes", "gauge", "Bytes held for jobs, bounded by --max-memory.");
    buf_printf(out, "offload_held_bytes{what=\"payloads\"} %zu\n", blob_held_bytes);
    write_workers(js, out);
}

size_t jobs_live(const struct jobs *js) {
    return js->live_count;
}

size_t jobs_running(const struct jobs *js) {
    return js->running_count;
}

uint64_t jobs_retry_after_s(const struct jobs *js) {
    double idle_s = (double)(clock_monotonic_ns() - js->rate_ns) / 1e9;
    double rate = js->rate * exp(-idle_s / JOBS_RATE_WINDOW_S);
    if (rate <= 1.0 / 3600)
        return js->rate > 0 ? 3600 : 5; /* nothing has ended lately; nothing has ended ever */
    double s = ceil(1 / rate);
    return s < 1 ? 1 : s > 3600 ? 3600 : (uint64_t)s;
}
