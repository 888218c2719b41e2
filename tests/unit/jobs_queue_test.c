/* jobs_queue_test.c: whether a job has a task to send, and if not, why: each value of enum not_runnable. See
 * server/jobs/queue.c. */
#include "tests/unit/jobs_world.h"

#include "server/jobs/queue.h"
#include "tests/unit/store_late.h"

/* That many tasks can be sent, and the job waits for its turn. */
static void assert_runnable(const struct client *c, uint32_t tasks) {
    assert_int_equal(job_not_runnable(c->job), RUNNABLE);
    assert_int_equal(job_count_tasks(c->job), tasks);
    assert_true(c->job->sched.queued);
}

static void assert_not_runnable(const struct client *c, enum not_runnable why) {
    assert_int_equal(job_not_runnable(c->job), why);
    assert_int_equal(job_count_tasks(c->job), 0);
    assert_false(c->job->sched.queued);
}

static void a_job_is_runnable_until_all_that_its_phase_has_is_at_workers(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    assert_runnable(&c, 1); /* its plan */
    dispatch();
    assert_not_runnable(&c, NOT_RUNNABLE_SENT);
    reply_plan(LAST, 3, LONG_NS);
    assert_runnable(&c, 3);
    dispatch();
    assert_runnable(&c, 1); /* there are two main workers */
    reply_done(find_sent(WIRE_RUN, 0), "0");
    dispatch();
    assert_not_runnable(&c, NOT_RUNNABLE_SENT);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    assert_not_runnable(&c, NOT_RUNNABLE_SENT);
    reply_done(find_sent(WIRE_RUN, 0), "2");
    assert_runnable(&c, 1); /* its merge */
    dispatch();
    assert_not_runnable(&c, NOT_RUNNABLE_SENT);
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_that_is_stopping_or_has_ended_is_not_runnable(void **state) {
    (void)state;
    struct client c;
    submit_stored(&c);
    dispatch();
    reply_plan(LAST, 3, LONG_NS);
    dispatch();
    assert_runnable(&c, 1);
    job_cancel(c.job);
    assert_not_runnable(&c, NOT_RUNNABLE_ENDED); /* it is stopping */
    reply_cancelled(find_sent(WIRE_RUN, 0));
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_int_equal(c.ended, 0);
    assert_not_runnable(&c, NOT_RUNNABLE_ENDED); /* its end is being recorded */
    answer_store(STORE_OK);
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void a_parked_job_is_not_runnable_whatever_else_holds_it_up(void **state) {
    (void)state;
    struct client ready, delayed;
    struct submission s = plain();
    s.options.delay_ms = 60000;
    submit(&ready, true);
    submit_as(&delayed, &s, true);
    make_durable(&ready);
    make_durable(&delayed);
    answer_store(STORE_OK);
    answer_store(STORE_OK);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    assert_runnable(&ready, 2);
    assert_not_runnable(&delayed, NOT_RUNNABLE_DELAYED);
    jobs_drain(jobs);
    assert_not_runnable(&ready, NOT_RUNNABLE_PARKED);
    assert_not_runnable(&delayed, NOT_RUNNABLE_PARKED);
    assert_false(delayed.job->timer.is_set);
    job_enqueue(ready.job); /* it gets no turn */
    assert_not_runnable(&ready, NOT_RUNNABLE_PARKED);
    leave(&ready);
    leave(&delayed);
}

static void a_delayed_job_is_planned_at_once_and_runs_when_its_time_has_come(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.delay_ms = 60000;
    submit_as(&c, &s, true);
    assert_runnable(&c, 1);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    assert_not_runnable(&c, NOT_RUNNABLE_DELAYED);
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
    assert_int_equal(c.job->timer.due_ns, c.job->due_ns);
    fire(&c.job->timer);
    assert_runnable(&c, 2);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_throttled_job_sends_no_further_chunk_and_is_merged_all_the_same(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 3);
    job_throttle(c.job);
    assert_not_runnable(&c, NOT_RUNNABLE_THROTTLED);
    job_throttle(c.job);
    job_unthrottle(c.job);
    assert_not_runnable(&c, NOT_RUNNABLE_THROTTLED); /* somebody else still does */
    reply_done(find_sent(WIRE_RUN, 0), "0");
    dispatch();
    assert_null(find_sent(WIRE_RUN, 1)); /* what was sent goes on */
    job_unthrottle(c.job);
    assert_runnable(&c, 1);
    dispatch();
    job_throttle(c.job);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    reply_done(find_sent(WIRE_RUN, 0), "2");
    assert_runnable(&c, 1);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_backs_off_if_all_that_is_left_to_send_was_lost(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit(&c, true);
    dispatch();
    die(find_sent(WIRE_PLAN, 0), true, "signal");
    assert_not_runnable(&c, NOT_RUNNABLE_BACKING_OFF);
    end_backoffs(c.job);
    assert_runnable(&c, 1);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    dispatch();
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_not_runnable(&c, NOT_RUNNABLE_SENT); /* the other chunk is at a worker */
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_not_runnable(&c, NOT_RUNNABLE_BACKING_OFF);
    end_backoffs(c.job);
    assert_runnable(&c, 2);
    dispatch();
    reply_done(find_sent(WIRE_RUN, 0), "0");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    assert_not_runnable(&c, NOT_RUNNABLE_BACKING_OFF);
    end_backoffs(c.job);
    assert_runnable(&c, 1);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_job_is_runnable_until_all_that_its_phase_has_is_at_workers),
        JOBS_TEST_LATE(a_job_that_is_stopping_or_has_ended_is_not_runnable),
        JOBS_TEST_LATE(a_parked_job_is_not_runnable_whatever_else_holds_it_up),
        JOBS_TEST(a_delayed_job_is_planned_at_once_and_runs_when_its_time_has_come),
        JOBS_TEST(a_throttled_job_sends_no_further_chunk_and_is_merged_all_the_same),
        JOBS_TEST(a_job_backs_off_if_all_that_is_left_to_send_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
