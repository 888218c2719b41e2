/* jobs_backoff_test.c: a task that was lost with its worker backs off before it is tried again. See
 * server/jobs/backoff.c. */
#include "tests/unit/jobs_world.h"

#include "server/jobs/queue.h"
#include "tests/unit/store_late.h"

/* ---- how long ---------------------------------------------------------------------------------------------------- */

static void the_backoff_doubles_with_each_loss_up_to_a_limit(void **state) {
    (void)state;
    static const int64_t longest_ms[] = {100, 200, 400, 500, 500};
    struct client c;
    struct submission s = plain();
    s.options.max_attempts = 100;
    set_retry_delay(100 * NS_PER_MS, 500 * NS_PER_MS);
    submit_as(&c, &s, true);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    for (int i = 0; i < 5; i++) {
        dispatch();
        int64_t before_ns = clock_monotonic_ns();
        die(find_sent(WIRE_RUN, 0), true, "signal");
        int64_t after_ns = clock_monotonic_ns(), longest_ns = longest_ms[i] * NS_PER_MS;
        dispatch();
        assert_null(find_sent(WIRE_RUN, 0));
        assert_int_equal(c.job->backoffs->timer.due_ns, c.job->backoffs->list[0].due_ns);
        assert_true(c.job->backoffs->list[0].due_ns >= before_ns + longest_ns / 2);
        assert_true(c.job->backoffs->list[0].due_ns <= after_ns + longest_ns);
        end_backoffs(c.job);
    }
    job_cancel(c.job);
    leave(&c);
}

/* ---- what goes on meanwhile -------------------------------------------------------------------------------------- */

static void other_chunks_go_on_while_one_backs_off(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&c, 3);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 1);
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 1)), 2);
    assert_int_not_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    die(find_sent(WIRE_RUN, 1), true, "signal");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
    assert_int_equal(c.job->backoffs->count, 2);
    assert_int_equal(job_backoff_until_ns(c.job), c.job->backoffs->timer.due_ns);
    c.job->backoffs->list[1].due_ns = 1;
    fire(&c.job->backoffs->timer);
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 2);
    assert_null(find_sent(WIRE_RUN, 1));
    end_backoffs(c.job);
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 1)), 0);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_lost_plan_and_a_lost_merge_back_off_too(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit(&c, true);
    dispatch();
    die(LAST, true, "signal");
    dispatch();
    assert_null(find_sent(WIRE_PLAN, 0));
    assert_int_equal(c.record->status, JOB_QUEUED);
    assert_int_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    end_backoffs(c.job);
    assert_int_not_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    dispatch();
    reply_done(find_sent(WIRE_RUN, 0), "0");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    dispatch();
    assert_null(find_sent(WIRE_MERGE, 0));
    end_backoffs(c.job);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void what_had_not_begun_does_not_back_off(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&c, 2);
    die(find_sent(WIRE_RUN, 0), false, "signal");
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, 1));
    assert_false(job_is_backing_off(c.job));
    cancel_all(&c);
}

static void a_job_that_backs_off_can_be_cancelled_and_runs_out_of_time(void **state) {
    (void)state;
    struct client by_client, by_time;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&by_client, 1);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    job_cancel(by_client.job);
    assert_ended(&by_client, JOB_CANCELLED);
    start_chunks(&by_time, 1);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    fire(&by_time.job->timer);
    assert_failed(&by_time, "job_timeout");
    leave(&by_client);
    leave(&by_time);
}

static void an_isolated_job_has_no_worker_while_it_backs_off(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit_isolated(&c);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    dispatch();
    die(find_sent(WIRE_RUN, 1), true, "signal");
    reply_done(find_sent(WIRE_RUN, 0), "0");
    restart_workers();
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_null(fake.workers[i].owner);
    assert_int_equal(c.job->isolated_workers, 0);
    end_backoffs(c.job);
    restart_workers();
    assert_ptr_equal(find_sent(WIRE_RUN, 0)->worker->owner, c.job);
    cancel_all(&c);
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

/* Without a delay, too; and if the store cannot record it, the job does not wait for ever. */
static void a_lost_task_of_a_durable_job_waits_until_the_loss_is_recorded(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct client c;
        set_retry_delay(i % 2 == 0 ? 0 : NS_PER_S, NS_PER_S);
        submit_stored(&c);
        dispatch();
        for (int k = 0; k < 2; k++) { /* the plan, then the chunk */
            uint8_t kind = k == 0 ? WIRE_PLAN : WIRE_RUN;
            die(find_sent(kind, 0), true, "signal");
            dispatch();
            assert_null(find_sent(kind, 0));
            assert_true(job_is_backing_off(c.job));
            assert_false(c.job->backoffs->timer.is_set);
            c.job->backoffs->list[0].due_ns = 1;
            dispatch();
            assert_null(find_sent(kind, 0));
            answer_store_call('l', i < 2 ? STORE_OK : STORE_UNAVAILABLE);
            dispatch();
            assert_non_null(find_sent(kind, 0));
            if (k == 0)
                reply_plan(find_sent(WIRE_PLAN, 0), 1, LONG_NS);
            dispatch();
        }
        cancel_all(&c);
        answer_store_call('F', STORE_OK);
    }
}

static void a_loss_that_is_recorded_early_backs_off_as_long_as_others(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit_stored(&c);
    dispatch();
    die(find_sent(WIRE_PLAN, 0), true, "signal");
    answer_store_call('l', STORE_OK);
    dispatch();
    assert_null(find_sent(WIRE_PLAN, 0));
    end_backoffs(c.job);
    dispatch();
    assert_non_null(find_sent(WIRE_PLAN, 0));
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_PLAN, 0));
    answer_store_call('F', STORE_OK);
    leave(&c);
}

static void a_job_can_end_before_its_loss_is_recorded(void **state) {
    (void)state;
    struct client c;
    submit_stored(&c);
    dispatch();
    die(find_sent(WIRE_PLAN, 0), true, "signal");
    job_cancel(c.job);
    answer_store_call('F', STORE_OK);
    assert_ended(&c, JOB_CANCELLED);
    answer_store_call('l', STORE_OK);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(the_backoff_doubles_with_each_loss_up_to_a_limit),
        JOBS_TEST(other_chunks_go_on_while_one_backs_off),
        JOBS_TEST(a_lost_plan_and_a_lost_merge_back_off_too),
        JOBS_TEST(what_had_not_begun_does_not_back_off),
        JOBS_TEST(a_job_that_backs_off_can_be_cancelled_and_runs_out_of_time),
        JOBS_TEST(an_isolated_job_has_no_worker_while_it_backs_off),
        JOBS_TEST_LATE(a_lost_task_of_a_durable_job_waits_until_the_loss_is_recorded),
        JOBS_TEST_LATE(a_loss_that_is_recorded_early_backs_off_as_long_as_others),
        JOBS_TEST_LATE(a_job_can_end_before_its_loss_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
