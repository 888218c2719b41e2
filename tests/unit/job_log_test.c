/* job_log_test.c: what is kept of the output of a job: server/model/job_log.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/model/job_log.h"

static struct job_log *job_log;

static int open_log(void **state) {
    (void)state;
    job_log = job_log_new();
    return job_log == NULL ? -1 : 0;
}

static int close_log(void **state) {
    (void)state;
    job_log_free(job_log);
    return 0;
}

static void add(const char *text) {
    assert_true(job_log_add(job_log, text, strlen(text)));
}

static const char *kept(void) {
    return job_log->text.data + job_log_start(job_log);
}

static void a_short_log_is_kept_whole(void **state) {
    (void)state;
    add("one\n");
    add("two\n");
    assert_string_equal(kept(), "one\ntwo\n");
    job_log_end(job_log);
    assert_string_equal(kept(), "one\ntwo\n");
    assert_int_equal(job_log->dropped, 0);
    assert_int_equal(job_log->text.capacity, 9);
}

static void an_empty_log_can_end(void **state) {
    (void)state;
    assert_int_equal(job_log_start(job_log), 0);
    job_log_end(job_log);
    assert_int_equal(job_log->text.size, 0);
}

/* After each line: the kept part is the last whole lines, as many as there is room for. */
static void the_last_whole_lines_are_kept(void **state) {
    (void)state;
    struct buf all = {0};
    for (int i = 0; i < 40000; i++) {
        size_t before = all.size;
        buf_printf(&all, "line %d\n", i);
        assert_true(job_log_add(job_log, all.data + before, all.size - before));
        size_t start = job_log_start(job_log), size = job_log->text.size - start;
        assert_true(size <= JOB_LOG_MAX && job_log->text.capacity <= 2 * JOB_LOG_MAX);
        assert_int_equal(job_log->dropped + job_log->text.size, all.size);
        assert_memory_equal(kept(), all.data + all.size - size, size);
        if (size == all.size)
            continue;
        assert_int_equal(all.data[all.size - size - 1], '\n');
        assert_true(size + strlen("line 39999\n") > JOB_LOG_MAX);
    }
    job_log_end(job_log);
    assert_int_equal(job_log_start(job_log), 0);
    assert_memory_equal(job_log->text.data, all.data + all.size - job_log->text.size, job_log->text.size);
    assert_int_equal(job_log->text.capacity, job_log->text.size + 1);
    buf_deinit(&all);
}

/* The line fills the log exactly, or is longer by one byte. */
static void a_line_of_the_whole_size_is_kept_alone(void **state) {
    (void)state;
    static char line[JOB_LOG_MAX + 2];
    for (size_t size = JOB_LOG_MAX; size <= JOB_LOG_MAX + 1; size++) {
        memset(line, 'x', size);
        line[size - 1] = '\n';
        line[size] = '\0';
        add("before\n");
        add(line);
        assert_int_equal(strlen(kept()), JOB_LOG_MAX);
        assert_string_equal(kept(), line + size - JOB_LOG_MAX);
        job_log_free(job_log);
        job_log = job_log_new();
    }
}

static void a_line_that_is_too_long_is_cut_at_a_character(void **state) {
    (void)state;
    struct buf line = {0};
    for (int i = 0; i < 100000; i++)
        buf_puts(&line, "\xE2\x82\xAC"); /* three bytes */
    assert_true(job_log_add(job_log, line.data, line.size));
    job_log_end(job_log);
    assert_int_equal(job_log->text.size, JOB_LOG_MAX / 3 * 3);
    for (size_t i = 0; i < job_log->text.size; i += 3)
        assert_memory_equal(job_log->text.data + i, "\xE2\x82\xAC", 3);
    assert_int_equal(job_log->dropped + job_log->text.size, line.size);
    buf_deinit(&line);
}

static void what_is_not_utf8_is_replaced(void **state) {
    (void)state;
    static const char text[] = "a\xFF"
                               "b\xC3\xA9\xC3\n\0\xED\xA0\x80\n";
    assert_true(job_log_add(job_log, text, sizeof text - 1));
    static const char expected[] = "a\xEF\xBF\xBD"
                                   "b\xC3\xA9\xEF\xBF\xBD\n\0\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\n";
    assert_int_equal(job_log->text.size, sizeof expected - 1);
    assert_memory_equal(job_log->text.data, expected, sizeof expected - 1);
}

/* Each byte becomes three. */
static void nothing_but_bad_bytes_stays_within_bounds(void **state) {
    (void)state;
    static char bad[16 * 1024];
    memset(bad, 0xFF, sizeof bad);
    for (int i = 0; i < 50; i++) {
        assert_true(job_log_add(job_log, bad, sizeof bad));
        assert_true(job_log->text.capacity <= 2 * JOB_LOG_MAX);
    }
    job_log_end(job_log);
    assert_true(job_log->text.size > JOB_LOG_MAX - 3 && job_log->text.size % 3 == 0);
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, open_log, close_log)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_short_log_is_kept_whole),
        LOG_TEST(an_empty_log_can_end),
        LOG_TEST(the_last_whole_lines_are_kept),
        LOG_TEST(a_line_of_the_whole_size_is_kept_alone),
        LOG_TEST(a_line_that_is_too_long_is_cut_at_a_character),
        LOG_TEST(what_is_not_utf8_is_replaced),
        LOG_TEST(nothing_but_bad_bytes_stays_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
