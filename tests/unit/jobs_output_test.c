/* jobs_output_test.c: what the programs of a job print, in its record and in the account of memory: server/jobs/output.c. */
#include "tests/unit/jobs_world.h"

/* The worker that has this task sends text. */
static void print(const struct fake_sent *s, const char *text, size_t size) {
    events.log(events.arg, s->worker, s->task, text, size);
}

static void print_text(const struct fake_sent *s, const char *text) {
    print(s, text, strlen(text));
}

static unsigned changes;

static void on_change(struct job_waiter *w, struct job *job, enum job_event event) {
    (void)w, (void)job;
    changes += event == JOB_CHANGED;
}

static void what_is_printed_is_in_the_record_and_stays_there(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_null(c.record->log);
    assert_int_equal(c.record->log_size, 0);
    print_text(find_sent(WIRE_RUN, 1), "one\n");
    print_text(find_sent(WIRE_RUN, 0), "two\xFF\n");
    assert_string_equal(c.record->log->text.data, "one\ntwo\xEF\xBF\xBD\n");
    assert_int_equal(c.record->log_size, 11);
    job_cancel(c.job);
    print_text(find_sent(WIRE_RUN, 0), "stopping\n"); /* it is still at work */
    reply_cancelled(find_sent(WIRE_RUN, 0));
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_ended(&c, JOB_CANCELLED);
    assert_string_equal(c.record->log->text.data, "one\ntwo\xEF\xBF\xBD\nstopping\n");
    assert_int_equal(c.record->log_size, c.record->log->text.size);
    leave(&c);
}

/* The first line changes the Job, which gets a link; further ones do not. Who follows the job is told of each. */
static void the_job_changes_with_its_first_line_only(void **state) {
    (void)state;
    struct client c;
    struct job_waiter follower = {.notify = on_change, .wants_changes = true};
    start_chunks(&c, 2);
    job_wait(c.job, &follower);
    changes = 0;
    uint64_t version = c.record->version;
    print_text(find_sent(WIRE_RUN, 0), "one\n");
    assert_int_equal(c.record->version, version + 1);
    print_text(find_sent(WIRE_RUN, 0), "two\n");
    assert_int_equal(c.record->version, version + 1);
    assert_int_equal(changes, 2);
    job_unwait(&follower);
    run_to_end();
    leave(&c);
}

static void a_log_of_any_size_is_bounded_and_counted(void **state) {
    (void)state;
    static char lines[WIRE_MAX_LOG];
    struct client c;
    memset(lines, 'x', sizeof lines);
    for (size_t i = 99; i < sizeof lines; i += 100)
        lines[i] = '\n';
    lines[sizeof lines - 1] = '\n';
    start_chunks(&c, 2);
    size_t before = held_bytes[HELD_JOBS];
    for (int i = 0; i < 1000; i++)
        print(find_sent(WIRE_RUN, 0), lines, sizeof lines);
    size_t held = held_bytes[HELD_JOBS] - before;
    assert_in_range(held, JOB_LOG_MAX, 2 * JOB_LOG_MAX + sizeof(struct job_log));
    assert_int_equal(held, c.record->log->text.capacity + sizeof(struct job_log));
    assert_in_range(c.record->log_size, JOB_LOG_MAX - 100, JOB_LOG_MAX);
    run_to_end();
    assert_int_equal(c.record->log->text.size, c.record->log_size);
    assert_int_equal(c.record->log->text.capacity, c.record->log_size + 1);
    leave(&c);
}

static void without_memory_the_job_goes_on_without_a_log(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    held_set_limit(1);
    print_text(find_sent(WIRE_RUN, 0), "one\n");
    held_set_limit(UINT64_MAX);
    assert_int_equal(c.record->log_size, 0);
    print_text(find_sent(WIRE_RUN, 0), "two\n");
    assert_string_equal(c.record->log->text.data, "two\n");
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(what_is_printed_is_in_the_record_and_stays_there),
        JOBS_TEST(the_job_changes_with_its_first_line_only),
        JOBS_TEST(a_log_of_any_size_is_bounded_and_counted),
        JOBS_TEST(without_memory_the_job_goes_on_without_a_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
