/* jobs_run_test.c: the ways of a job that goes well, and of one whose handler fails: when each task is sent, and what
 * its answer does to the job. See server/jobs/dispatch.c, send.c and replies.c. */
#include "tests/unit/jobs_world.h"

/* ---- the ways through -------------------------------------------------------------------------------------------- */

static void a_short_job_is_planned_run_and_merged_in_one_go(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    assert_int_equal(fake.count, 1);
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags, WIRE_GO);
    assert_int_equal(LAST->header.budget_ns, config.express_cost_ns);
    assert_string_equal(LAST->bytes.data, "params");
    assert_int_equal(c.record->status, JOB_QUEUED);
    reply_done(LAST, "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "{}");
    assert_int_equal(c.planned, 1);
    assert_int_equal(c.record->chunks_done, 1);
    assert_int_equal(c.record->chunks_total, 1);
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED], 1);
    assert_int_equal(metrics.chunks[TOY_PLAIN], 1);
    leave(&c);
}

static void an_asynchronous_job_is_planned_before_it_runs_unless_it_takes_no_time(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_GO);
    assert_true(LAST->header.budget_ns > 0 && LAST->header.budget_ns < SHORT_NS);
    reply_plan(LAST, 1, SHORT_NS);
    assert_int_equal(c.planned, 1);
    assert_int_equal(c.record->status, JOB_QUEUED);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_RUN);
    assert_int_equal(LAST->header.flags, WIRE_GO);
    assert_int_equal(c.record->status, JOB_RUNNING);
    reply_done(LAST, "[1]");
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "[1]");
    leave(&c);
}

static void chunks_are_merged_in_order_once_all_parts_are_there(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 3);
    reply_done(find_sent(WIRE_RUN, 1), "part 1");
    dispatch();
    reply_done(find_sent(WIRE_RUN, 1), "part 2");
    dispatch();
    assert_null(find_sent(WIRE_MERGE, 0));
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 0);
    reply_done(find_sent(WIRE_RUN, 0), "part 0");
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        const struct fake_sent *part = &fake.sent[fake.count - 3 + i];
        assert_int_equal(part->header.kind, WIRE_PART);
        assert_int_equal(part->bytes.data[5], '0' + (int)i);
    }
    reply_done(find_sent(WIRE_MERGE, 0), "merged");
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "merged");
    leave(&c);
}

static void a_long_chunk_never_goes_to_the_express_lane_nor_behind_another(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 5);
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, 1));
    assert_null(find_sent(WIRE_RUN, 2));
    assert_int_equal(fake.workers[FAKE_MAIN].count, 0);
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    reply_cancelled(find_sent(WIRE_RUN, 0));
    leave(&c);
}

/* How many runs are at a worker and not answered. */
static unsigned runs_at(unsigned slot) {
    unsigned n = 0;
    for (unsigned i = 0; find_sent(WIRE_RUN, i) != NULL; i++)
        n += find_sent(WIRE_RUN, i)->worker == &fake.workers[slot];
    return n;
}

static void many_short_chunks_of_one_job_leave_the_express_lane_to_others(void **state) {
    (void)state;
    struct client giant, other;
    submit(&giant, true);
    dispatch();
    reply_plan(LAST, 100, SHORT_NS);
    dispatch();
    for (unsigned i = 0; i < FAKE_MAIN; i++)
        assert_int_equal(runs_at(i), 2); /* together some 2 ms */
    assert_int_equal(runs_at(FAKE_MAIN), 0);
    assert_true(find_sent(WIRE_RUN, 0)->is_long);
    submit(&other, false);
    dispatch();
    assert_int_equal(worker_lane(find_sent(WIRE_PLAN, 0)->worker), LANE_EXPRESS);
    reply_done(find_sent(WIRE_PLAN, 0), "{}");
    assert_ended(&other, JOB_SUCCEEDED);
    leave(&other);
    /* A worker gets the next ones when it has done all that it has. */
    reply_done(find_sent(WIRE_RUN, 0), "0");
    dispatch();
    assert_int_equal(runs_at(0), 1);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(runs_at(0), 2);
    cancel_all(&giant);
}

static void a_worker_gets_no_more_short_chunks_than_its_share(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    dispatch();
    reply_plan(LAST, 400, SHORT_NS / 40); /* 10 ms in all; a batch could have 80 */
    dispatch();
    assert_int_equal(runs_at(0), 48);
    assert_int_equal(runs_at(1), 48);
    assert_int_equal(runs_at(2), 0);
    cancel_all(&c);
    submit(&c, true);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 8, SHORT_NS - 1);
    dispatch(); /* the share is 8 / 3 + 1; what is left then is too little to be long */
    assert_true(find_sent(WIRE_RUN, 0)->is_long);
    assert_false(find_sent(WIRE_RUN, 3)->is_long);
    assert_int_equal(runs_at(0), 3);
    assert_int_equal(runs_at(1) + runs_at(2), 5);
    cancel_all(&c);
}

static void short_jobs_that_take_long_together_wait_where_they_can_be_overtaken(void **state) {
    enum { JOBS = 20 };
    (void)state;
    struct client c[JOBS], urgent;
    struct submission s = plain();
    for (int i = 0; i < METRICS_TYPES + 1; i++)
        jobs->type_cost_ns[i] = 3 * SHORT_NS;
    for (int i = 0; i < JOBS; i++)
        submit(&c[i], false);
    dispatch();
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        assert_int_equal(worker_in_flight(&fake.workers[i]), 2);
    s.options.priority = 0;
    submit_as(&urgent, &s, false);
    reply_done(find_sent(WIRE_PLAN, 0), "{}");
    dispatch();
    assert_ptr_equal(((struct task *)LAST->task)->job, urgent.job);
    while (find_sent(WIRE_PLAN, 0) != NULL) {
        reply_done(find_sent(WIRE_PLAN, 0), "{}");
        dispatch();
    }
    for (int i = 0; i < JOBS; i++) {
        assert_ended(&c[i], JOB_SUCCEEDED);
        leave(&c[i]);
    }
    leave(&urgent);
}

static void the_more_urgent_job_is_sent_first(void **state) {
    (void)state;
    struct client calm, urgent;
    struct submission s = plain();
    submit(&calm, false);
    s.options.priority = 0;
    submit_as(&urgent, &s, false);
    dispatch();
    assert_ptr_equal(((struct task *)fake.sent[0].task)->job, urgent.job);
    reply_done(&fake.sent[0], "1");
    reply_done(&fake.sent[1], "2");
    leave(&calm);
    leave(&urgent);
}

static void a_merge_that_is_being_fed_gets_nothing_between_its_parts(void **state) {
    (void)state;
    struct client c, other;
    start_chunks(&c, 3);
    for (int i = 0; i < 3; i++) {
        reply_done(find_sent(WIRE_RUN, 0), "x");
        dispatch();
        fake.parts_taken = i == 1 ? 1 : fake.parts_taken;
    }
    struct worker *w = find_sent(WIRE_MERGE, 0)->worker;
    submit(&other, false);
    fake.parts_taken = UINT32_MAX;
    dispatch();
    assert_ptr_not_equal(find_sent(WIRE_PLAN, 0)->worker, w);
    socket_has_room(w);
    reply_done(find_sent(WIRE_MERGE, 0), "1");
    reply_done(find_sent(WIRE_PLAN, 0), "2");
    leave(&c);
    leave(&other);
}

static void a_large_body_is_parsed_by_a_worker_and_its_options_obeyed(void **state) {
    (void)state;
    struct client c;
    submit_raw(&c, 5);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_RAW);
    assert_int_equal(LAST->header.count, config.max_json_depth);
    assert_int_equal(c.record->type, UINT32_MAX);
    struct submission s = plain();
    s.options.priority = 1;
    s.options.timeout_ms = 7000;
    s.options.max_attempts = 1;
    s.options.ttl_ms = 60000;
    reply_plan_of(LAST, 1, LONG_NS, &s);
    assert_int_equal(c.record->type, TOY_PLAIN);
    assert_int_equal(c.record->options.priority, 1);
    assert_int_equal(c.record->options.ttl_ms, 60000);
    assert_int_equal(c.record->options.timeout_ms, 7000);
    assert_int_equal(jobs->queued[1], 1);
    dispatch();
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

/* ---- maps -------------------------------------------------------------------------------------------------------- */

static void a_map_is_planned_run_and_merged_as_one(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.map = true;
    s.items = 2;
    submit_as(&c, &s, true);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_ITEMS);
    reply_plan(LAST, 2, LONG_NS);
    dispatch();
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(find_sent(WIRE_RUN, 0)->header.flags, WIRE_ITEMS);
        reply_item(find_sent(WIRE_RUN, 0), i);
    }
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.flags, WIRE_ITEMS);
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_true(c.record->map);
    assert_int_equal(c.record->items, 2);
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_large_body_can_be_a_map(void **state) {
    (void)state;
    struct client c;
    submit_raw(&c, -1);
    dispatch();
    char webhook[] = "https://";
    struct submission s = plain();
    s.map = true;
    s.items = 70;
    s.options.webhook = webhook;
    reply_plan_of(LAST, 1, LONG_NS, &s);
    assert_true(c.record->map);
    assert_int_equal(c.record->items, 70);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_ITEMS); /* not in one go, because the items are wanted one by one */
    reply_item(LAST, 69);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

/* ---- failures of the handler ------------------------------------------------------------------------------------- */

static void wrong_params_reject_the_submission_and_leave_no_job(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    reply_failed(LAST, "{\"code\":\"invalid_params\",\"detail\":\"no\",\"errors\":[{\"pointer\":\"/params/x\","
                       "\"detail\":\"no\"}]}");
    assert_ended(&c, JOB_FAILED);
    assert_true(c.rejected);
    assert_problem(&c, "invalid_params");
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_FAILED], 0);
    leave(&c);
}

static void a_job_that_was_answered_202_fails_and_is_not_rejected(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    dispatch();
    reply_failed(LAST, "{\"code\":\"invalid_params\",\"detail\":\"no\"}");
    assert_ended(&c, JOB_FAILED);
    assert_false(c.rejected);
    leave(&c);
}

static void a_failed_chunk_stops_the_others_and_then_fails_the_job(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    reply_failed(find_sent(WIRE_RUN, 0), "{\"code\":\"handler_failed\",\"detail\":\"bad luck\"}");
    assert_int_equal(c.ended, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_CANCEL);
    reply_done(find_sent(WIRE_RUN, 0), "too late");
    assert_failed(&c, "handler_failed");
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
    leave(&c);
}

static void a_failed_merge_fails_the_job(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    reply_failed(find_sent(WIRE_MERGE, 0), "{\"code\":\"memory_limit\",\"detail\":\"\"}");
    assert_failed(&c, "memory_limit");
    leave(&c);
}

/* Sums of what a worker says, however large, stay within an int64_t. Run it with SANITIZE=undefined. */
static void times_that_a_worker_invents_do_not_overflow(void **state) {
    (void)state;
    struct client c;
    struct wire_times times = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    start_chunks(&c, 2);
    for (int i = 0; i < 2; i++) {
        struct buf b = {0};
        buf_append(&b, &times, sizeof times);
        buf_append(&b, "1", 1);
        assert_true(say(find_sent(WIRE_RUN, 0), WIRE_DONE, &b));
        buf_deinit(&b);
        times = (struct wire_times){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    }
    assert_in_range(c.record->cpu_ns, 1, WIRE_MAX_TIME_NS);
    assert_in_range(c.record->plan_ns, 1, WIRE_MAX_TIME_NS);
    assert_in_range(c.record->merge_ns, 1, WIRE_MAX_TIME_NS);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_short_job_is_planned_run_and_merged_in_one_go),
        JOBS_TEST(an_asynchronous_job_is_planned_before_it_runs_unless_it_takes_no_time),
        JOBS_TEST(chunks_are_merged_in_order_once_all_parts_are_there),
        JOBS_TEST(a_long_chunk_never_goes_to_the_express_lane_nor_behind_another),
        JOBS_TEST(many_short_chunks_of_one_job_leave_the_express_lane_to_others),
        JOBS_TEST(a_worker_gets_no_more_short_chunks_than_its_share),
        JOBS_TEST(short_jobs_that_take_long_together_wait_where_they_can_be_overtaken),
        JOBS_TEST(the_more_urgent_job_is_sent_first),
        JOBS_TEST(a_merge_that_is_being_fed_gets_nothing_between_its_parts),
        JOBS_TEST(a_large_body_is_parsed_by_a_worker_and_its_options_obeyed),
        JOBS_TEST(a_map_is_planned_run_and_merged_as_one),
        JOBS_TEST(a_large_body_can_be_a_map),
        JOBS_TEST(wrong_params_reject_the_submission_and_leave_no_job),
        JOBS_TEST(a_job_that_was_answered_202_fails_and_is_not_rejected),
        JOBS_TEST(a_failed_chunk_stops_the_others_and_then_fails_the_job),
        JOBS_TEST(a_failed_merge_fails_the_job),
        JOBS_TEST(times_that_a_worker_invents_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
