/* metrics.h: counters and histograms of the service, and their Prometheus text (exposition format 0.0.4). Front end.
 *
 * A metric is a row of a table: its name, its type, its labels, how it is read, and its help. The room that counts has
 * the table, and metrics_write_table makes HELP, TYPE and the samples of it. To add a metric, add a field, the line
 * that counts, and the row. */
#ifndef OFFLOAD_METRICS_H
#define OFFLOAD_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "handlers/host/host.h"
#include "server/model/record.h"

#define METRICS_TYPES   HOST_MAX_TYPES /* one more row is for "unknown" */
#define METRICS_CODES   24 /* different HTTP status codes for each route; the last row takes all further ones */
#define METRICS_LABELS  16 /* different values of an open label */
#define METRICS_BUCKETS 14

/* ---- what is counted --------------------------------------------------------------------------------------------- */

struct histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last one is +Inf */
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

/* All zero at first. */
struct metrics {
    uint64_t jobs[METRICS_TYPES + 1][JOB_STATUSES];
    uint64_t chunks[METRICS_TYPES + 1];
    struct histogram job_wait, job_run[METRICS_TYPES + 1];
    struct histogram joined_wait[METRICS_TYPES + 1]; /* only of types whose chunks are joined */
    struct label_count chunk_retries[METRICS_LABELS], worker_restarts[METRICS_LABELS], process_deaths[METRICS_LABELS],
        rejected[METRICS_LABELS];
    struct route_metrics *routes;
    size_t route_count;
};

/* The row of a job type in the arrays of METRICS_TYPES + 1 rows: the last one if it has none of its own. All use this to
 * index them. */
static inline size_t metrics_row(size_t type) {
    return type < METRICS_TYPES ? type : METRICS_TYPES;
}

void metrics_observe(struct histogram *h, int64_t ns); /* below 0 counts as 0 */
/* Adds one to the count of a label, which is static text. If all METRICS_LABELS places are taken, a new label is not
 * counted. */
void metrics_count(struct label_count list[METRICS_LABELS], const char *label);
void metrics_count_request(struct route_metrics *r, unsigned code, int64_t ns);

/* ---- how it is written ------------------------------------------------------------------------------------------- */

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_out; /* takes the samples of one row */

struct metric {
    const char *name;
    enum metric_type type;
    /* Adds the samples, with the functions below. `field` is at `offset` in the owner of the table. */
    void (*read)(struct metric_out *to, const void *field);
    size_t offset;
    const char *label, *second_label; /* their names; NULL: there is none */
    const char *help;
};

/* Appends HELP, TYPE and the samples of each row. */
void metrics_write_table(struct buf *out, const struct metric *rows, size_t count, const void *owner);
#define METRICS_WRITE_TABLE(out, rows, owner) metrics_write_table((out), (rows), sizeof(rows) / sizeof *(rows), (owner))

/* One sample; the values of the labels are those of the row, in its order. NULL: the row has no such label. */
void metric_add(struct metric_out *to, uint64_t value, const char *label, const char *second_label);
/* The same, with digits behind the point. */
void metric_add_real(struct metric_out *to, double value, const char *label, const char *second_label);
void metric_add_histogram(struct metric_out *to, const struct histogram *h, const char *label);

/* For `read`, by the type of the field. The row of label counts has one label, the other rows have none. */
void metric_read_size(struct metric_out *to, const void *field);         /* size_t */
void metric_read_histogram(struct metric_out *to, const void *field);    /* struct histogram */
void metric_read_label_counts(struct metric_out *to, const void *field); /* struct label_count[METRICS_LABELS] */

/* Appends what is counted in struct metrics: jobs, chunks, restarts, HTTP. */
void metrics_write(const struct metrics *m, struct buf *out);
/* Appends what is known of this process: CPU, memory, descriptors, start time, version. */
void metrics_write_process(struct buf *out);

#endif
