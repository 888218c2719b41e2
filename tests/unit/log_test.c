/* log_test.c: log lines and their times, base/log.c and base/clock.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
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
        cmocka_unit_test(times_are_rfc_3339_in_utc_with_milliseconds),
        cmocka_unit_test(times_follow_each_other_in_the_text_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
