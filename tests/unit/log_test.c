/* log_test.c: log lines, the thread that writes them, and their times: base/log.c, base/log_queue.c, base/clock.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static char line[4096];
static int reader, kept_stderr;

/* stderr is a pipe while the lines are written. */
static void capture(void) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    kept_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    reader = fds[0];
}

static void read_captured(void) {
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    ssize_t n = read(reader, line, sizeof line - 1);
    line[n < 0 ? 0 : n] = '\0';
    close(reader);
}

static void write_line(enum log_format format) {
    const char *absent = NULL;
    log_style = format;
    capture();
    LOG(LOG_WARN, "event_name", LOG_INT("count", -5), LOG_REAL("ms", 1.5), LOG_STR("text", "a \"b\"\n\xFF"),
        LOG_STR("absent", absent), LOG_RAW("list", "[1,2]"));
    read_captured();
}

static void a_json_line_is_one_object(void **state) {
    (void)state;
    write_line(LOG_JSON);
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(o, "event")), "event_name");
    assert_int_equal(json_integer_value(json_object_get(o, "count")), -5);
    assert_true(json_real_value(json_object_get(o, "ms")) > 1.4);
    assert_string_equal(json_string_value(json_object_get(o, "text")), "a \"b\"\n\xEF\xBF\xBD");
    assert_null(json_object_get(o, "absent"));
    assert_int_equal(json_array_size(json_object_get(o, "list")), 2);
    assert_int_equal(strlen(json_string_value(json_object_get(o, "time"))), CLOCK_TEXT_SIZE - 1);
    json_decref(o);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void a_text_line_is_one_line_whatever_its_fields_hold(void **state) {
    (void)state;
    write_line(LOG_TEXT);
    assert_string_equal(line + CLOCK_TEXT_SIZE - 1,
                        " warn  event_name count=-5 ms=1.500 text=\"a \\\"b\\\"\\n\xEF\xBF\xBD\" list=[1,2]\n");
}

static void lines_below_the_threshold_are_not_written(void **state) {
    (void)state;
    log_threshold = LOG_WARN;
    capture();
    LOG(LOG_INFO, "quiet");
    LOG(LOG_ERROR, "loud");
    read_captured();
    log_threshold = LOG_INFO;
    assert_null(strstr(line, "quiet"));
    assert_non_null(strstr(line, "loud"));
}

/* ---- the thread that writes -------------------------------------------------------------------------------------- */

#define BUFFER  (64 * 1024)
#define THREADS 4
#define LINES   500 /* of each thread */

static char all[512 * 1024]; /* what was read from the pipe */

static uint64_t dropped(void) {
    return log_dropped(LOG_DEBUG) + log_dropped(LOG_INFO) + log_dropped(LOG_WARN) + log_dropped(LOG_ERROR);
}

/* Reads until the other end is closed. */
static void read_to_end(void) {
    size_t size = 0;
    for (ssize_t n; (n = read(reader, all + size, sizeof all - 1 - size)) > 0;)
        size += (size_t)n;
    all[size] = '\0';
    close(reader);
}

static void release_stderr(void) {
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
}

/* Reads in a thread, because the lines are more than a pipe holds. */
static void *read_all(void *arg) {
    (void)arg;
    read_to_end();
    return NULL;
}

static void stop_and_read(void) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all, NULL), 0);
    log_stop();
    release_stderr();
    pthread_join(thread, NULL);
}

/* Each line is JSON, and the numbers of one thread rise. Returns how many lines there are. */
static size_t check_lines(void) {
    long long last[THREADS] = {0};
    size_t lines = 0;
    char *rest = all;
    for (char *one = strsep(&rest, "\n"); rest != NULL; one = strsep(&rest, "\n"), lines++) {
        json_t *o = json_loads(one, 0, NULL);
        if (o == NULL)
            fail_msg("torn: %s", one);
        const json_t *number = json_object_get(o, "number");
        long long thread = json_integer_value(json_object_get(o, "thread"));
        if (number != NULL) {
            assert_true(json_integer_value(number) > last[thread]);
            last[thread] = json_integer_value(number);
        }
        json_decref(o);
    }
    return lines;
}

static void start_stalled(void) {
    log_style = LOG_JSON;
    capture();
    assert_true(fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096) > 0);
    assert_int_equal(log_start(BUFFER), 0);
}

static void nobody_waits_for_a_reader_that_stalls_and_what_is_dropped_is_counted(void **state) {
    (void)state;
    uint64_t before = log_dropped(LOG_INFO), warnings = log_dropped(LOG_WARN) + log_dropped(LOG_ERROR);
    start_stalled();
    for (int i = 1; i <= 4000; i++)
        LOG(LOG_INFO, "many", LOG_INT("number", i));
    assert_true(log_dropped(LOG_INFO) > before);
    assert_in_range(log_held_bytes(), BUFFER / 2, BUFFER);
    for (int i = 0; i < 50; i++) /* there is room that lines of less weight cannot have */
        LOG(i % 2 ? LOG_WARN : LOG_ERROR, "important");
    assert_int_equal(log_dropped(LOG_WARN) + log_dropped(LOG_ERROR), warnings);
    uint64_t lost = log_dropped(LOG_INFO) - before;
    stop_and_read();
    char report[120];
    snprintf(report, sizeof report, "\"event\":\"log_dropped\",\"debug\":0,\"info\":%llu,\"warn\":0,\"error\":0}",
             (unsigned long long)lost);
    const char *at = strstr(all, "\"event\":\"log_dropped\"");
    assert_non_null(at);
    assert_null(strstr(at + 20, "log_dropped"));
    assert_int_equal(strncmp(at, report, strlen(report)), 0);
    assert_int_equal(strncmp(at - strlen("\"level\":\"warn\","), "\"level\":\"warn\",", strlen("\"level\":\"warn\",")),
                     0);
    assert_int_equal(check_lines(), 4000 - lost + 50 + 1);
    assert_int_equal(log_held_bytes(), 0);
}

static void *write_many(void *arg) {
    static const char filler[300] = "";
    int thread = (int)(intptr_t)arg;
    for (int i = 1; i <= LINES; i++)
        LOG(LOG_INFO, "many", LOG_INT("thread", thread), LOG_INT("number", i),
            LOG_STR("filler", i % 3 == 0 ? "some more text, so that the lines have different lengths" : filler));
    return NULL;
}

static void lines_of_several_threads_are_whole_and_in_order(void **state) {
    (void)state;
    pthread_t threads[THREADS], empty;
    uint64_t before = dropped();
    log_style = LOG_JSON;
    capture();
    assert_int_equal(log_start(1 << 20), 0);
    assert_int_equal(pthread_create(&empty, NULL, read_all, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, (void *)(intptr_t)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_flush();
    assert_int_equal(log_held_bytes(), 0);
    log_stop();
    release_stderr();
    pthread_join(empty, NULL);
    assert_int_equal(dropped(), before);
    assert_int_equal(check_lines(), THREADS * LINES);
}

static void a_long_line_is_whole_and_one_that_can_never_fit_is_counted(void **state) {
    (void)state;
    static char text[BUFFER + 1];
    uint64_t before = log_dropped(LOG_ERROR);
    start_stalled();
    memset(text, 'x', sizeof text - 1);
    LOG(LOG_ERROR, "too_long", LOG_STR("text", text));
    assert_int_equal(log_dropped(LOG_ERROR), before + 1);
    text[PIPE_BUF * 3 + 100] = '\0';
    LOG(LOG_WARN, "before");
    LOG(LOG_WARN, "long", LOG_STR("text", text));
    LOG(LOG_WARN, "after");
    stop_and_read();
    assert_non_null(strstr(all, text));
    assert_true(strstr(all, "before") < strstr(all, "long") && strstr(all, "long") < strstr(all, "after"));
    assert_int_equal(check_lines(), 4);
}

static void lines_without_a_reader_are_counted_and_the_process_goes_on(void **state) {
    (void)state;
    uint64_t before = log_dropped(LOG_INFO);
    signal(SIGPIPE, SIG_DFL);
    start_stalled();
    close(reader);
    for (int i = 0; i < 10; i++)
        LOG(LOG_INFO, "unread");
    log_flush();
    assert_int_equal(log_dropped(LOG_INFO), before + 10);
    log_stop();
    release_stderr();
}

static void a_stderr_that_does_not_block_loses_nothing(void **state) {
    (void)state;
    uint64_t before = dropped();
    start_stalled();
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    for (int i = 1; i <= 300; i++)
        LOG(LOG_INFO, "many", LOG_INT("number", i));
    stop_and_read();
    assert_int_equal(dropped(), before);
    assert_int_equal(check_lines(), 300);
}

static void what_is_said_at_the_end_follows_the_log(void **state) {
    (void)state;
    start_stalled();
    LOG(LOG_INFO, "first");
    log_say("offloadd: the last word");
    stop_and_read();
    assert_non_null(strstr(all, "\"first\"}\noffloadd: the last word\n"));
}

/* It is the last test, because the thread stays in its write. */
static void the_end_does_not_wait_for_ever(void **state) {
    (void)state;
    start_stalled();
    for (int i = 1; i <= 1000; i++)
        LOG(LOG_INFO, "many", LOG_INT("number", i));
    log_stop();
    uint64_t before = log_dropped(LOG_ERROR);
    LOG(LOG_ERROR, "too late");
    assert_int_equal(log_dropped(LOG_ERROR), before + 1);
    log_flush();
    dup2(kept_stderr, STDERR_FILENO);
}

static void assert_time(int64_t wall_ms, const char *expected) {
    char text[CLOCK_TEXT_SIZE];
    clock_format(wall_ms, text);
    assert_string_equal(text, expected);
}

static void times_are_rfc_3339_in_utc_with_milliseconds(void **state) {
    (void)state;
    assert_time(0, "1970-01-01T00:00:00.000Z");
    assert_time(999, "1970-01-01T00:00:00.999Z");
    assert_time(1000, "1970-01-01T00:00:01.000Z");
    assert_time(INT64_C(951782399005), "2000-02-28T23:59:59.005Z");
    assert_time(INT64_C(951782400010), "2000-02-29T00:00:00.010Z");
    assert_time(999, "1970-01-01T00:00:00.999Z"); /* back again */
    assert_time(INT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
}

static void times_follow_each_other_in_the_text_too(void **state) {
    (void)state;
    char before[CLOCK_TEXT_SIZE] = "", text[CLOCK_TEXT_SIZE];
    for (int64_t ms = INT64_C(1709251190000); ms < INT64_C(1709251210000); ms += 7) { /* over the end of a month */
        clock_format(ms, text);
        assert_true(strcmp(before, text) < 0);
        memcpy(before, text, sizeof before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_json_line_is_one_object),
        cmocka_unit_test(a_text_line_is_one_line_whatever_its_fields_hold),
        cmocka_unit_test(lines_below_the_threshold_are_not_written),
        cmocka_unit_test(nobody_waits_for_a_reader_that_stalls_and_what_is_dropped_is_counted),
        cmocka_unit_test(lines_of_several_threads_are_whole_and_in_order),
        cmocka_unit_test(a_long_line_is_whole_and_one_that_can_never_fit_is_counted),
        cmocka_unit_test(lines_without_a_reader_are_counted_and_the_process_goes_on),
        cmocka_unit_test(a_stderr_that_does_not_block_loses_nothing),
        cmocka_unit_test(what_is_said_at_the_end_follows_the_log),
        cmocka_unit_test(times_are_rfc_3339_in_utc_with_milliseconds),
        cmocka_unit_test(times_follow_each_other_in_the_text_too),
        cmocka_unit_test(the_end_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
