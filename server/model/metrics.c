/* metrics.c: see metrics.h. Front end. Counting is only an addition; the text is made when somebody asks for it. */
#include "server/model/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "handlers/host/host.h"

static const double bounds_s[METRICS_BUCKETS] = {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05,
                                                 0.1,    0.5,    1,     5,     30,   120,   600};

void metrics_observe(struct histogram *h, int64_t ns) {
    double s = (double)(ns < 0 ? 0 : ns) / 1e9;
    size_t i = 0;
    while (i < METRICS_BUCKETS && s > bounds_s[i])
        i++;
    h->buckets[i]++;
    h->count++;
    h->sum_s += s;
}

void metrics_count(struct label_count list[METRICS_LABELS], const char *label) {
    for (size_t i = 0; i < METRICS_LABELS; i++) {
        if (list[i].label == NULL)
            list[i].label = label;
        if (strcmp(list[i].label, label) == 0) {
            list[i].count++;
            return;
        }
    }
}

void metrics_count_request(struct route_metrics *r, unsigned code, int64_t ns) {
    size_t i = 0;
    while (i < METRICS_CODES - 1 && r->codes[i].count != 0 && r->codes[i].code != code)
        i++;
    r->codes[i].code = code;
    r->codes[i].count++;
    metrics_observe(&r->seconds, ns);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct metric_out {
    struct buf *text;
    const struct metric *row;
};

/* Writes `name SUFFIX {first="...",second="...",le="..."} `, without the labels that are NULL. */
static void begin_sample(struct metric_out *to, const char *suffix, const char *label, const char *second_label,
                         const char *le) {
    const char *const names[] = {to->row->label, to->row->second_label, "le"};
    const char *const values[] = {label, second_label, le};
    char before = '{';
    buf_puts(to->text, to->row->name);
    buf_puts(to->text, suffix);
    for (size_t i = 0; i < 3; i++) {
        if (values[i] == NULL)
            continue;
        buf_printf(to->text, "%c%s=\"%s\"", before, names[i], values[i]);
        before = ',';
    }
    buf_puts(to->text, before == ',' ? "} " : " ");
}

static void put_count(struct metric_out *to, uint64_t value) {
    buf_u64(to->text, value);
    buf_putc(to->text, '\n');
}

void metric_add(struct metric_out *to, uint64_t value, const char *label, const char *second_label) {
    begin_sample(to, "", label, second_label, NULL);
    put_count(to, value);
}

void metric_add_real(struct metric_out *to, double value, const char *label, const char *second_label) {
    begin_sample(to, "", label, second_label, NULL);
    buf_printf(to->text, "%.6f\n", value);
}

void metric_add_histogram(struct metric_out *to, const struct histogram *h, const char *label) {
    uint64_t total = 0;
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        char bound[32];
        snprintf(bound, sizeof bound, "%g", bounds_s[i]);
        total += h->buckets[i];
        begin_sample(to, "_bucket", label, NULL, bound);
        put_count(to, total);
    }
    begin_sample(to, "_bucket", label, NULL, "+Inf");
    put_count(to, h->count);
    begin_sample(to, "_sum", label, NULL, NULL);
    buf_printf(to->text, "%.9g\n", h->sum_s);
    begin_sample(to, "_count", label, NULL, NULL);
    put_count(to, h->count);
}

void metric_read_size(struct metric_out *to, const void *field) {
    metric_add(to, *(const size_t *)field, NULL, NULL);
}

void metric_read_histogram(struct metric_out *to, const void *field) {
    metric_add_histogram(to, field, NULL);
}

void metric_read_label_counts(struct metric_out *to, const void *field) {
    const struct label_count *list = field;
    for (size_t i = 0; i < METRICS_LABELS && list[i].label != NULL; i++)
        metric_add(to, list[i].count, list[i].label, NULL);
}

void metrics_write_table(struct buf *out, const struct metric *rows, size_t count, const void *owner) {
    static const char *const types[] = {"counter", "gauge", "histogram"}; /* enum metric_type */
    for (size_t i = 0; i < count; i++) {
        struct metric_out to = {out, &rows[i]};
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name, types[rows[i].type]);
        rows[i].read(&to, (const char *)owner + rows[i].offset);
    }
}

/* ---- what is counted here ---------------------------------------------------------------------------------------- */

/* The types that are there, and of those that are gone the ones that were counted. */
static bool is_shown(size_t type, uint64_t counted) {
    return host_type(type) != NULL || counted > 0;
}

static void read_jobs(struct metric_out *to, const void *field) {
    const uint64_t(*jobs)[JOB_STATUSES] = field;
    for (size_t i = 0; i <= host_count(); i++) {
        size_t type = i < host_count() ? i : METRICS_TYPES; /* the known types, then the row of unknown ones */
        const char *name = type < METRICS_TYPES ? host_name(type) : "unknown";
        uint64_t counted = jobs[type][JOB_SUCCEEDED] + jobs[type][JOB_FAILED] + jobs[type][JOB_CANCELLED];
        for (int s = JOB_SUCCEEDED; s < JOB_STATUSES && (type == METRICS_TYPES || is_shown(type, counted)); s++)
            metric_add(to, jobs[type][s], name, job_status_name((enum job_status)s));
    }
}

static void read_job_run(struct metric_out *to, const void *field) {
    const struct histogram *of_types = field;
    for (size_t i = 0; i < host_count(); i++)
        if (is_shown(i, of_types[i].count))
            metric_add_histogram(to, &of_types[i], host_name(i));
}

static void read_joined_wait(struct metric_out *to, const void *field) {
    const struct histogram *of_types = field;
    for (size_t i = 0; i < host_count(); i++)
        if (of_types[i].count > 0)
            metric_add_histogram(to, &of_types[i], host_name(i));
}

static void read_chunks(struct metric_out *to, const void *field) {
    const uint64_t *of_types = field;
    for (size_t i = 0; i < host_count(); i++)
        if (is_shown(i, of_types[i]))
            metric_add(to, of_types[i], host_name(i), NULL);
}

static void read_requests(struct metric_out *to, const void *field) {
    const struct metrics *m = field;
    for (size_t i = 0; i < m->route_count; i++) {
        for (size_t k = 0; k < METRICS_CODES && m->routes[i].codes[k].count != 0; k++) {
            char code[16];
            snprintf(code, sizeof code, "%u", m->routes[i].codes[k].code);
            metric_add(to, m->routes[i].codes[k].count, m->routes[i].route, code);
        }
    }
}

static void read_request_seconds(struct metric_out *to, const void *field) {
    const struct metrics *m = field;
    for (size_t i = 0; i < m->route_count; i++)
        if (m->routes[i].seconds.count > 0)
            metric_add_histogram(to, &m->routes[i].seconds, m->routes[i].route);
}

#define AT(member) offsetof(struct metrics, member)

static const struct metric service_metrics[] = {
    {"offload_jobs_total", METRIC_COUNTER, read_jobs, AT(jobs), .label = "type", .second_label = "status",
     .help = "Jobs that ended, by type and how."},
    {"offload_job_wait_seconds", METRIC_HISTOGRAM, metric_read_histogram, AT(job_wait),
     .help = "From acceptance to the start of the run."},
    {"offload_joined_job_wait_seconds", METRIC_HISTOGRAM, read_joined_wait, AT(joined_wait), .label = "type",
     .help = "From acceptance to the start of the run, of types whose jobs are worked on together (embeddings)."},
    {"offload_job_run_seconds", METRIC_HISTOGRAM, read_job_run, AT(job_run), .label = "type",
     .help = "From the start of the run to the end of the job."},
    {"offload_chunks_total", METRIC_COUNTER, read_chunks, AT(chunks), .label = "type",
     .help = "Chunks finished, by type."},
    {"offload_chunk_retries_total", METRIC_COUNTER, metric_read_label_counts, AT(chunk_retries), .label = "cause",
     .help = "Tasks run again after a worker was lost."},
    {"offload_worker_restarts_total", METRIC_COUNTER, metric_read_label_counts, AT(worker_restarts), .label = "cause",
     .help = "Workers replaced."},
    {"offload_process_deaths_total", METRIC_COUNTER, metric_read_label_counts, AT(process_deaths), .label = "cause",
     .help = "Processes of programs that died at work; their workers live."},
    {"offload_rejected_total", METRIC_COUNTER, metric_read_label_counts, AT(rejected), .label = "reason",
     .help = "Jobs not accepted."},
    {"offload_http_requests_total", METRIC_COUNTER, read_requests, .label = "route", .second_label = "code",
     .help = "HTTP requests answered."},
    {"offload_http_request_seconds", METRIC_HISTOGRAM, read_request_seconds, .label = "route",
     .help = "From the end of the request to the queueing of its answer."},
};

void metrics_write(const struct metrics *m, struct buf *out) {
    METRICS_WRITE_TABLE(out, service_metrics, m);
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

static void read_statm(unsigned long long *size, unsigned long long *resident) {
    FILE *f = fopen("/proc/self/statm", "re");
    *size = *resident = 0;
    if (f == NULL)
        return;
    if (fscanf(f, "%llu %llu", size, resident) != 2)
        *size = *resident = 0;
    fclose(f);
}

static void read_cpu_seconds(struct metric_out *to, const void *field) {
    struct rusage u;
    (void)field;
    getrusage(RUSAGE_SELF, &u);
    metric_add_real(
        to, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
        NULL, NULL);
}

static void read_resident(struct metric_out *to, const void *field) {
    unsigned long long size, resident;
    (void)field;
    read_statm(&size, &resident);
    metric_add(to, resident * (uint64_t)sysconf(_SC_PAGESIZE), NULL, NULL);
}

static void read_virtual(struct metric_out *to, const void *field) {
    unsigned long long size, resident;
    (void)field;
    read_statm(&size, &resident);
    metric_add(to, size * (uint64_t)sysconf(_SC_PAGESIZE), NULL, NULL);
}

static void read_open_descriptors(struct metric_out *to, const void *field) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    (void)field;
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    metric_add(to, n < 3 ? 0 : n - 3, NULL, NULL); /* without ".", ".." and the directory itself */
}

static void read_max_descriptors(struct metric_out *to, const void *field) {
    struct rlimit files;
    (void)field;
    getrlimit(RLIMIT_NOFILE, &files);
    metric_add(to, files.rlim_cur, NULL, NULL);
}

/* Field 22 of /proc/self/stat is the start, in clock ticks since boot (proc(5)). */
static void read_start_time(struct metric_out *to, const void *field) {
    static const char format[] =
        "%*d (%*[^)]) %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu";
    unsigned long long ticks;
    double start_s = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    (void)field;
    if (f != NULL && fscanf(f, format, &ticks) == 1) {
        struct timespec up;
        clock_gettime(CLOCK_BOOTTIME, &up);
        double age_s = (double)up.tv_sec + (double)up.tv_nsec / 1e9 - (double)ticks / (double)sysconf(_SC_CLK_TCK);
        start_s = (double)clock_wall_ms() / 1000 - age_s;
    }
    if (f != NULL)
        fclose(f);
    metric_add_real(to, start_s, NULL, NULL);
}

static void read_build(struct metric_out *to, const void *field) {
    (void)field;
    metric_add(to, 1, OFFLOAD_VERSION, NULL);
}

static void read_log_dropped(struct metric_out *to, const void *field) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    (void)field;
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++)
        metric_add(to, log_dropped((enum log_level)level), levels[level], NULL);
}

static const struct metric process_metrics[] = {
    {"process_cpu_seconds_total", METRIC_COUNTER, read_cpu_seconds, .help = "CPU time of the front end."},
    {"process_resident_memory_bytes", METRIC_GAUGE, read_resident, .help = "Resident memory of the front end."},
    {"process_virtual_memory_bytes", METRIC_GAUGE, read_virtual, .help = "Virtual memory of the front end."},
    {"process_open_fds", METRIC_GAUGE, read_open_descriptors, .help = "Open descriptors of the front end."},
    {"process_max_fds", METRIC_GAUGE, read_max_descriptors, .help = "Descriptors that the front end can open."},
    {"process_start_time_seconds", METRIC_GAUGE, read_start_time, .help = "Start of the process, Unix time."},
    {"offload_log_dropped_total", METRIC_COUNTER, read_log_dropped, .label = "level",
     .help = "Log lines dropped, because their reader was too slow or gone."},
    {"offload_build_info", METRIC_GAUGE, read_build, .label = "version", .help = "Always 1; the version is a label."},
};

void metrics_write_process(struct buf *out) {
    METRICS_WRITE_TABLE(out, process_metrics, "");
}
