/* metrics_test.c: counters, histograms, and their Prometheus text. See server/model/metrics.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "server/model/metrics.h"
#include "tests/unit/toy_types.h"

static void a_duration_is_counted_in_the_bucket_that_it_fits(void **state) {
    (void)state;
    struct histogram h = {.count = 0};
    metrics_observe(&h, 100000); /* 0.1 ms: on the bound */
    metrics_observe(&h, 100001); /* just above it */
    metrics_observe(&h, -5);     /* a clock that went back */
    metrics_observe(&h, INT64_MAX);
    assert_int_equal(h.buckets[0], 2);
    assert_int_equal(h.buckets[1], 1);
    assert_int_equal(h.buckets[METRICS_BUCKETS], 1);
    assert_int_equal(h.count, 4);
}

static void buckets_are_cumulative_in_the_text(void **state) {
    (void)state;
    static const struct metric row[] = {
        {"x_seconds", METRIC_HISTOGRAM, metric_read_histogram, .help = "How long x took."}};
    struct histogram h = {.count = 0};
    struct buf b = {0};
    for (int i = 0; i < 10; i++)
        metrics_observe(&h, NS_PER_MS << i);
    METRICS_WRITE_TABLE(&b, row, &h);
    assert_non_null(strstr(b.data, "# HELP x_seconds How long x took.\n# TYPE x_seconds histogram\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{le=\"0.0005\"} 0\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{le=\"0.001\"} 1\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{le=\"0.1\"} 7\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{le=\"600\"} 10\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{le=\"+Inf\"} 10\n"));
    assert_non_null(strstr(b.data, "x_seconds_sum 1.023\n"));
    assert_non_null(strstr(b.data, "x_seconds_count 10\n"));
    buf_deinit(&b);
}

struct owner {
    char other;
    size_t total;
    struct histogram seconds;
};

static void read_both_labels(struct metric_out *to, const void *field) {
    const struct owner *o = field;
    metric_add(to, o->total, "a", "b");
    metric_add_real(to, 0.25, "c", "d");
}

static void read_labelled_histogram(struct metric_out *to, const void *field) {
    metric_add_histogram(to, field, "t");
}

static void a_row_is_all_that_a_metric_needs(void **state) {
    (void)state;
    static const struct metric rows[] = {
        {"y_total", METRIC_COUNTER, metric_read_size, offsetof(struct owner, total), .help = "How many y."},
        {"y_now", METRIC_GAUGE, read_both_labels, .label = "first", .second_label = "second", .help = "How many now."},
        {"y_seconds", METRIC_HISTOGRAM, read_labelled_histogram, offsetof(struct owner, seconds), .label = "type",
         .help = "How long."},
    };
    struct owner o = {.total = 3};
    struct buf b = {0};
    metrics_observe(&o.seconds, NS_PER_MS);
    METRICS_WRITE_TABLE(&b, rows, &o);
    assert_non_null(strstr(b.data, "# HELP y_total How many y.\n# TYPE y_total counter\ny_total 3\n"));
    assert_non_null(strstr(b.data, "# TYPE y_now gauge\ny_now{first=\"a\",second=\"b\"} 3\n"));
    assert_non_null(strstr(b.data, "\ny_now{first=\"c\",second=\"d\"} 0.250000\n"));
    assert_non_null(strstr(b.data, "\ny_seconds_bucket{type=\"t\",le=\"0.001\"} 1\n"));
    assert_non_null(strstr(b.data, "\ny_seconds_sum{type=\"t\"} 0.001\n"));
    assert_non_null(strstr(b.data, "\ny_seconds_count{type=\"t\"} 1\n"));
    buf_deinit(&b);
}

static void labels_are_counted_apart_and_the_list_has_an_end(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"};
    _Static_assert(sizeof names / sizeof names[0] == METRICS_LABELS - 2, "with the two below the list is full");
    struct {
        struct label_count list[METRICS_LABELS], behind;
    } m = {.behind = {NULL, 0}};
    char other[] = "exit"; /* the same text elsewhere */
    metrics_count(m.list, "signal");
    metrics_count(m.list, "exit");
    metrics_count(m.list, other);
    for (size_t i = 0; i < METRICS_LABELS - 2; i++)
        metrics_count(m.list, names[i]);
    metrics_count(m.list, "oom");
    assert_int_equal(m.list[0].count, 1);
    assert_int_equal(m.list[1].count, 2);
    assert_string_equal(m.list[METRICS_LABELS - 1].label, "n");
    assert_int_equal(m.list[METRICS_LABELS - 1].count, 1);
    assert_null(m.behind.label);
}

static void status_codes_beyond_the_table_share_its_last_row(void **state) {
    (void)state;
    struct route_metrics r = {.route = "/"};
    for (unsigned code = 200; code < 300; code++)
        metrics_count_request(&r, code, 0);
    metrics_count_request(&r, 200, 0);
    uint64_t sum = 0;
    for (int i = 0; i < METRICS_CODES; i++)
        sum += r.codes[i].count;
    assert_int_equal(sum, 101);
    assert_int_equal(r.codes[0].count, 2);
    assert_int_equal(r.seconds.count, 101);
}

/* Every line of the text format 0.0.4 is a comment or `name{labels} value`, and every name has one TYPE, before it. */
static void assert_exposition(char *text) {
    char *lines = text, seen[8192] = "";
    for (char *line = strsep(&lines, "\n"); line != NULL && *line != '\0'; line = strsep(&lines, "\n")) {
        char name[128], value[64], key[160];
        if (strncmp(line, "# HELP ", 7) == 0)
            continue;
        if (sscanf(line, "# TYPE %127s", name) == 1) {
            snprintf(key, sizeof key, "<%s>", name);
            assert_null(strstr(seen, key));
            strncat(seen, key, sizeof seen - strlen(seen) - 1);
            continue;
        }
        assert_int_equal(sscanf(line, "%127[a-z_]", name), 1);
        assert_int_equal(sscanf(strrchr(line, ' '), " %63[0-9.eE+-]", value), 1);
        char *suffix = strstr(name, "_bucket") ? strstr(name, "_bucket")
                       : strstr(name, "_sum")  ? strstr(name, "_sum")
                                               : strstr(name, "_count");
        snprintf(key, sizeof key, "<%.*s>", (int)(suffix == NULL ? strlen(name) : (size_t)(suffix - name)), name);
        if (strstr(seen, key) == NULL)
            fail_msg("no TYPE before: %s", line);
    }
}

static void all_of_the_text_follows_the_format(void **state) {
    (void)state;
    static struct metrics m;
    struct route_metrics route = {.route = "/v1/jobs"};
    struct buf b = {0};
    m.routes = &route;
    m.route_count = 1;
    m.jobs[TOY_PLAIN][JOB_FAILED] = 7;
    m.chunks[TOY_PLAIN] = 9;
    metrics_count(m.worker_restarts, "oom");
    metrics_count_request(&route, 202, NS_PER_MS);
    metrics_write(&m, &b);
    metrics_write_process(&b);
    assert_non_null(strstr(b.data, "\noffload_jobs_total{type=\"plain\",status=\"failed\"} 7\n"));
    assert_non_null(strstr(b.data, "\noffload_chunks_total{type=\"plain\"} 9\n"));
    assert_non_null(strstr(b.data, "\noffload_worker_restarts_total{cause=\"oom\"} 1\n"));
    assert_non_null(strstr(b.data, "\noffload_http_requests_total{route=\"/v1/jobs\",code=\"202\"} 1\n"));
    assert_exposition(b.data);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duration_is_counted_in_the_bucket_that_it_fits),
        cmocka_unit_test(buckets_are_cumulative_in_the_text),
        cmocka_unit_test(a_row_is_all_that_a_metric_needs),
        cmocka_unit_test(labels_are_counted_apart_and_the_list_has_an_end),
        cmocka_unit_test(status_codes_beyond_the_table_share_its_last_row),
        cmocka_unit_test(all_of_the_text_follows_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
