/* metrics.c: see metrics.h. Front end. */
#include "server/model/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
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

void metrics_count(struct label_count *list, size_t room, const char *label) {
    for (size_t i = 0; i < room; i++) {
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

void metrics_write_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_write_histogram(struct buf *out, const char *name, const char *label, const char *value,
                             const struct histogram *h) {
    char labels[128] = "";
    uint64_t total = 0;
    if (label != NULL)
        snprintf(labels, sizeof labels, "%s=\"%s\",", label, value);
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        total += h->buckets[i];
        buf_printf(out, "%s_bucket{%sle=\"%g\"} %llu\n", name, labels, bounds_s[i], (unsigned long long)total);
    }
    buf_printf(out, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)h->count);
    labels[label == NULL ? 0 : strlen(labels) - 1] = '\0';
    const char *open = label == NULL ? "" : "{", *close = label == NULL ? "" : "}";
    buf_printf(out, "%s_sum%s%s%s %.9g\n", name, open, labels, close, h->sum_s);
    buf_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)h->count);
}

static const char *type_name(size_t type) {
    const struct handler *h = host_handler(type);
    return h == NULL ? "unknown" : h->name;
}

static size_t type_at(size_t i) { /* the known types, then the row for unknown ones */
    return i < host_count() ? i : METRICS_TYPES;
}

static void write_jobs(const struct metrics *m, struct buf *out) {
    metrics_write_head(out, "offload_jobs_total", "counter", "Jobs that ended, by type and how.");
    for (size_t i = 0; i <= host_count(); i++)
        for (int s = JOB_SUCCEEDED; s < JOB_STATUSES; s++)
            buf_printf(out, "offload_jobs_total{type=\"%s\",status=\"%s\"} %llu\n", type_name(type_at(i)),
                       job_status_name((enum job_status)s), (unsigned long long)m->jobs[type_at(i)][s]);
    metrics_write_head(out, "offload_job_wait_seconds", "histogram", "From acceptance to the start of the run.");
    metrics_write_histogram(out, "offload_job_wait_seconds", NULL, NULL, &m->job_wait);
    metrics_write_head(out, "offload_job_run_seconds", "histogram", "From the start of the run to the end of the job.");
    for (size_t i = 0; i < host_count(); i++)
        metrics_write_histogram(out, "offload_job_run_seconds", "type", type_name(i), &m->job_run[i]);
    metrics_write_head(out, "offload_chunks_total", "counter", "Chunks finished, by type.");
    for (size_t i = 0; i < host_count(); i++)
        buf_printf(out, "offload_chunks_total{type=\"%s\"} %llu\n", type_name(i), (unsigned long long)m->chunks[i]);
}

static void write_labels(struct buf *out, const char *name, const char *label, const char *help,
                         const struct label_count *list, size_t room) {
    metrics_write_head(out, name, "counter", help);
    for (size_t i = 0; i < room && list[i].label != NULL; i++)
        buf_printf(out, "%s{%s=\"%s\"} %llu\n", name, label, list[i].label, (unsigned long long)list[i].count);
}

static void write_routes(const struct metrics *m, struct buf *out) {
    metrics_write_head(out, "offload_http_requests_total", "counter", "HTTP requests answered.");
    for (size_t i = 0; i < m->route_count; i++)
        for (size_t k = 0; k < METRICS_CODES && m->routes[i].codes[k].count != 0; k++)
            buf_printf(out, "offload_http_requests_total{route=\"%s\",code=\"%u\"} %llu\n", m->routes[i].route,
                       m->routes[i].codes[k].code, (unsigned long long)m->routes[i].codes[k].count);
    metrics_write_head(out, "offload_http_request_seconds", "histogram",
                       "From the end of the request to the queueing of its answer.");
    for (size_t i = 0; i < m->route_count; i++)
        if (m->routes[i].seconds.count > 0)
            metrics_write_histogram(out, "offload_http_request_seconds", "route", m->routes[i].route,
                                    &m->routes[i].seconds);
}

void metrics_write(const struct metrics *m, struct buf *out) {
    write_jobs(m, out);
    write_labels(out, "offload_chunk_retries_total", "cause", "Tasks run again after a worker was lost.",
                 m->chunk_retries, 16);
    write_labels(out, "offload_worker_restarts_total", "cause", "Workers replaced.", m->worker_restarts, 16);
    write_labels(out, "offload_rejected_total", "reason", "Jobs not accepted.", m->rejected, 16);
    write_routes(m, out);
}

static unsigned count_descriptors(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n < 3 ? 0 : n - 3; /* ".", ".." and the directory itself */
}

/* Field 22 of /proc/self/stat: the start in clock ticks since boot. */
static double start_time_s(void) {
    unsigned long long ticks = 0;
    struct timespec up;
    FILE *f = fopen("/proc/self/stat", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*d (%*[^)]) %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &ticks) != 1)
        ticks = 0;
    fclose(f);
    clock_gettime(CLOCK_BOOTTIME, &up);
    double age = (double)up.tv_sec + (double)up.tv_nsec / 1e9 - (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return (double)clock_wall_ms() / 1000 - age;
}

static void read_statm(unsigned long long *size, unsigned long long *resident) {
    FILE *f = fopen("/proc/self/statm", "re");
    *size = *resident = 0;
    if (f == NULL)
        return;
    if (fscanf(f, "%llu %llu", size, resident) != 2)
        *size = *resident = 0;
    fclose(f);
}

static void write_gauge(struct buf *out, const char *name, const char *help, double value) {
    metrics_write_head(out, name, "gauge", help);
    buf_printf(out, "%s %.17g\n", name, value);
}

void metrics_write_process(struct buf *out) {
    struct rusage u;
    struct rlimit files;
    unsigned long long size, resident;
    double page = (double)sysconf(_SC_PAGESIZE);
    getrusage(RUSAGE_SELF, &u);
    getrlimit(RLIMIT_NOFILE, &files);
    read_statm(&size, &resident);
    metrics_write_head(out, "process_cpu_seconds_total", "counter", "CPU time of the front end.");
    buf_printf(out, "process_cpu_seconds_total %.6f\n",
               (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
    write_gauge(out, "process_resident_memory_bytes", "Resident memory of the front end.", (double)resident * page);
    write_gauge(out, "process_virtual_memory_bytes", "Virtual memory of the front end.", (double)size * page);
    write_gauge(out, "process_open_fds", "Open descriptors of the front end.", count_descriptors());
    write_gauge(out, "process_max_fds", "Descriptors it may open.", (double)files.rlim_cur);
    write_gauge(out, "process_start_time_seconds", "Start of the process, Unix time.", start_time_s());
    metrics_write_head(out, "offload_build_info", "gauge", "Always 1; the version is a label.");
    buf_puts(out, "offload_build_info{version=\"" OFFLOAD_VERSION "\"} 1\n");
}
