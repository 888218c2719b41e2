/* metrics.h: counters and histograms of the service, in the front end alone, and their Prometheus text
 * (exposition format 0.0.4). */
#ifndef OFFLOAD_METRICS_H
#define OFFLOAD_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/model/record.h"

#define METRICS_TYPES   32 /* job types at most; one more row is for "unknown" */
#define METRICS_CODES   24 /* different HTTP status codes per route */
#define METRICS_BUCKETS 14

struct histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    uint64_t count;
    double sum_s;
};

struct label_count {
    const char *label; /* static text */
    uint64_t count;
};

struct route_metrics {
    const char *route;
    struct {
        unsigned code;
        uint64_t count;
    } codes[METRICS_CODES];
    struct histogram seconds;
};

struct metrics {
    uint64_t jobs[METRICS_TYPES + 1][JOB_STATUSES];
    uint64_t chunks[METRICS_TYPES + 1];
    struct histogram job_wait, job_run[METRICS_TYPES + 1];
    struct label_count chunk_retries[16], worker_restarts[16], rejected[16];
    struct route_metrics *routes;
    size_t route_count;
};

void metrics_observe(struct histogram *h, int64_t ns);
/* Adds one under a label (static text); a small open list. */
void metrics_count(struct label_count *list, size_t room, const char *label);
void metrics_count_request(struct route_metrics *r, unsigned code, int64_t ns);

/* The parts of the exposition that live here: jobs, chunks, restarts, HTTP. */
void metrics_write(const struct metrics *m, struct buf *out);
/* "# HELP name help\n# TYPE name type\n" */
void metrics_write_head(struct buf *out, const char *name, const char *type, const char *help);
void metrics_write_histogram(struct buf *out, const char *name, const char *label, const char *value,
                             const struct histogram *h);
/* process_*: CPU, memory, descriptors, start time. */
void metrics_write_process(struct buf *out);

#endif
