/* metrics_test.c: counters, histograms and their Prometheus text, server/metrics.c. */
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
    struct histogram h = {.count = 0};
    struct buf b = {0};
    for (int i = 0; i < 10; i++)
        metrics_observe(&h, NS_PER_MS << i);
    metrics_write_histogram(&b, "x_seconds", "type", "t", &h);
    assert_non_null(strstr(b.data, "x_seconds_bucket{type=\"t\",le=\"0.0005\"} 0\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{type=\"t\",le=\"0.001\"} 1\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{type=\"t\",le=\"0.1\"} 7\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{type=\"t\",le=\"600\"} 10\n"));
    assert_non_null(strstr(b.data, "x_seconds_bucket{type=\"t\",le=\"+Inf\"} 10\n"));
    assert_non_null(strstr(b.data, "x_seconds_count{type=\"t\"} 10\n"));
    buf_deinit(&b);
}

static void labels_are_counted_apart_and_the_list_has_an_end(void **state) {
    (void)state;
    struct label_count list[2] = {{NULL, 0}};
    char other[] = "exit"; /* the same text elsewhere */
    metrics_count(list, 2, "signal");
    metrics_count(list, 2, "exit");
    metrics_count(list, 2, other);
    metrics_count(list, 2, "oom");
    assert_int_equal(list[0].count, 1);
    assert_int_equal(list[1].count, 2);
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
    metrics_count(m.worker_restarts, 16, "oom");
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
        cmocka_unit_test(labels_are_counted_apart_and_the_list_has_an_end),
        cmocka_unit_test(status_codes_beyond_the_table_share_its_last_row),
        cmocka_unit_test(all_of_the_text_follows_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
