/* jobs_limits_test.c: jobs that are stopped: their time is up, or somebody cancels them. See server/jobs/limits.c and
 * job_stop in end.c. */
#include "tests/unit/jobs_world.h"

/* ---- time limits ------------------------------------------------------------------------------------------------- */

static void a_job_not_started_in_time_fails(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.queue_timeout_ms = 250;
    submit_as(&c, &s, true);
    assert_int_equal(c.job->timer.due_ns, c.job->accepted_ns + 250 * NS_PER_MS);
    fire(&c.job->timer);
    assert_failed(&c, "queue_timeout");
    dispatch();
    assert_int_equal(fake.count, 0);
    leave(&c);
}

static void a_timeout_of_centuries_is_kept_and_not_taken_for_none(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.timeout_ms = INT64_C(9007199254740991);
    s.options.queue_timeout_ms = INT64_C(9007199254740991);
    submit_as(&c, &s, true);
    assert_true(job_limit_ns(c.record->options.timeout_ms) > INT64_C(100) * 365 * 86400 * NS_PER_S);
    assert_int_equal(c.record->options.queue_timeout_ms, INT64_C(9007199254740991));
    assert_true(c.job->timer.due_ns > c.job->accepted_ns);
    job_cancel(c.job);
    leave(&c);
}

static void planning_does_not_use_up_the_queue_timeout(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.queue_timeout_ms = 250;
    submit_as(&c, &s, true);
    dispatch();
    assert_int_equal(c.job->timer.due_ns, c.job->run_started_ns + config.job_timeout_ns);
    reply_plan(LAST, 1, LONG_NS);
    assert_int_equal(c.job->timer.due_ns, c.job->accepted_ns + 250 * NS_PER_MS);
    dispatch();
    assert_int_equal(c.job->timer.due_ns, c.job->run_started_ns + config.job_timeout_ns);
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_that_runs_too_long_fails_once_all_its_workers_have_stopped(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    fire(&c.job->timer);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_TIMEOUT);
    assert_int_equal(find_sent(WIRE_RUN, 1)->stopped, STOP_TIMEOUT);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_int_equal(c.ended, 0);
    die(find_sent(WIRE_RUN, 0), true, "timeout");
    assert_failed(&c, "job_timeout");
    assert_int_equal(c.record->lost_count, 2);
    assert_non_null(strstr(c.record->lost.data, "\"cause\":\"timeout\""));
    leave(&c);
}

static void a_job_whose_tasks_are_held_back_is_not_timed_out(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    fake.held_back = true;
    fire(&c.job->timer);
    assert_int_equal(c.ended, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_NONE);
    assert_true(c.job->timer.is_set); /* it is looked at again */
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_is_not_held_back_for_ever(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    fake.held_back = true;
    for (int i = 0; i < 100 && find_sent(WIRE_RUN, 0)->stopped == STOP_NONE; i++)
        fire(&c.job->timer);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_TIMEOUT);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_failed(&c, "job_timeout");
    leave(&c);
}

static void a_plan_that_runs_too_long_fails_the_job(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    fire(&c.job->timer);
    die(LAST, true, "timeout");
    assert_failed(&c, "job_timeout");
    leave(&c);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void cancelling_a_job_that_waits_ends_it_at_once(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    job_cancel(c.job);
    assert_ended(&c, JOB_CANCELLED);
    assert_problem(&c, "cancelled");
    dispatch();
    assert_int_equal(fake.count, 0);
    leave(&c);
}

static void cancelling_waits_for_the_worker(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    job_cancel(c.job);
    job_cancel(c.job);
    assert_int_equal(c.ended, 0);
    assert_int_equal(LAST->stopped, STOP_CANCEL);
    reply_cancelled(LAST);
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->lost_count, 0);
    leave(&c);
}

static void a_job_cancelled_before_it_ran_shows_how_long_it_was_queued(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    dispatch();
    job_cancel(c.job);
    reply_cancelled(LAST);
    assert_int_equal(c.record->started_ms, 0);
    assert_true(c.record->queued_ns > 0);
    assert_int_equal(c.record->run_ns, 0);
    leave(&c);
}

static void cancelling_what_no_worker_has_begun_ends_it_at_once(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    fake.not_begun = true;
    job_cancel(c.job);
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void cancelling_a_running_job_waits_for_all_its_workers(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    job_cancel(c.job);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_int_equal(c.ended, 0);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->attempts, 1);
    leave(&c);
}

static void a_result_that_comes_after_cancelling_changes_nothing(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    job_cancel(c.job);
    reply_done(find_sent(WIRE_MERGE, 0), "merged");
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->result.size, 0);
    leave(&c);
}

/* The worker waits for all parts of its merge, so it must get them before it reads that it has to stop. */
static void a_merge_cancelled_while_it_is_fed_is_stopped_when_it_has_all_parts(void **state) {
    (void)state;
    struct client c;
    fake.parts_taken = 1;
    start_merge(&c);
    struct fake_sent *merge = find_sent(WIRE_MERGE, 0);
    assert_int_equal(LAST->header.kind, WIRE_PART);
    job_cancel(c.job);
    assert_int_equal(merge->stopped, STOP_NONE);
    socket_has_room(merge->worker);
    assert_int_equal(LAST->bytes.data[0], 'b');
    assert_int_equal(merge->stopped, STOP_CANCEL);
    assert_int_equal(c.ended, 0);
    reply_cancelled(merge);
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_job_not_started_in_time_fails),
        JOBS_TEST(a_timeout_of_centuries_is_kept_and_not_taken_for_none),
        JOBS_TEST(planning_does_not_use_up_the_queue_timeout),
        JOBS_TEST(a_job_that_runs_too_long_fails_once_all_its_workers_have_stopped),
        JOBS_TEST(a_job_whose_tasks_are_held_back_is_not_timed_out),
        JOBS_TEST(a_job_is_not_held_back_for_ever),
        JOBS_TEST(a_plan_that_runs_too_long_fails_the_job),
        JOBS_TEST(cancelling_a_job_that_waits_ends_it_at_once),
        JOBS_TEST(cancelling_waits_for_the_worker),
        JOBS_TEST(a_job_cancelled_before_it_ran_shows_how_long_it_was_queued),
        JOBS_TEST(cancelling_what_no_worker_has_begun_ends_it_at_once),
        JOBS_TEST(cancelling_a_running_job_waits_for_all_its_workers),
        JOBS_TEST(a_result_that_comes_after_cancelling_changes_nothing),
        JOBS_TEST(a_merge_cancelled_while_it_is_fed_is_stopped_when_it_has_all_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
