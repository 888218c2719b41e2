/* jobs_isolate_test.c: jobs that do all their work on isolated workers. See server/jobs/isolate.c. */
#include "tests/unit/jobs_world.h"

/* ---- which workers ----------------------------------------------------------------------------------------------- */

static unsigned count_state(enum fake_state state) {
    unsigned n = 0;
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        n += fake.workers[i].state == state;
    return n;
}

/* Every worker has done something. */
static void use_workers(void) {
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        fake.workers[i].type = TOY_SHAPE;
}

static void an_isolated_job_does_all_its_work_on_isolated_workers(void **state) {
    (void)state;
    struct client c;
    submit_isolated(&c);
    dispatch();
    struct worker *w = LAST->worker;
    assert_ptr_equal(w->owner, c.job);
    assert_int_equal(w->lane, LANE_MAIN);
    reply_plan(LAST, 2, SHORT_NS);
    dispatch();
    assert_ptr_equal(find_sent(WIRE_RUN, 0)->worker, w);
    assert_ptr_equal(find_sent(WIRE_RUN, 1)->worker->owner, c.job);
    reply_done(find_sent(WIRE_RUN, 1), "b");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* nothing to do until the merge */
    reply_done(find_sent(WIRE_RUN, 0), "a");
    dispatch();
    assert_ptr_equal(find_sent(WIRE_MERGE, 0)->worker, w);
    reply_done(find_sent(WIRE_MERGE, 0), "ab");
    assert_ended(&c, JOB_SUCCEEDED);
    assert_int_equal(count_state(FAKE_RETIRING), 2);
    assert_int_equal(fake_restart(&events), 2);
    leave(&c);
}

static void a_used_worker_is_replaced_before_an_isolated_job_gets_it(void **state) {
    (void)state;
    struct client c;
    use_workers();
    submit_isolated(&c);
    dispatch();
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* one task, one worker */
    restart_workers();
    assert_int_equal(fake.count, 1);
    assert_ptr_equal(LAST->worker->owner, c.job);
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void an_unused_worker_is_taken_rather_than_another_replaced(void **state) {
    (void)state;
    struct client c;
    fake.workers[0].type = TOY_SHAPE;
    submit_isolated(&c);
    dispatch();
    assert_ptr_equal(LAST->worker, &fake.workers[1]);
    assert_int_equal(count_state(FAKE_RETIRING), 0);
    reply_done(LAST, "1");
    leave(&c);
}

static void nobody_else_gets_an_isolated_worker(void **state) {
    (void)state;
    struct client isolated[FAKE_MAIN], other;
    use_workers();
    for (int i = 0; i < FAKE_MAIN; i++)
        submit_isolated(&isolated[i]);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), FAKE_MAIN);
    fake_restart(&events);
    submit(&other, true);
    dispatch();
    for (size_t i = 0; i < fake.count; i++)
        assert_true((fake.sent[i].worker->owner != NULL) == (fake.sent[i].task != LAST->task));
    assert_int_equal(LAST->worker->lane, LANE_EXPRESS);
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0)); /* all main workers are isolated */
    for (int i = 0; i < FAKE_MAIN; i++) {
        reply_done(find_sent(WIRE_PLAN, 0), "1");
        leave(&isolated[i]);
    }
    restart_workers();
    reply_done(find_sent(WIRE_RUN, 0), "1");
    leave(&other);
}

static void a_cancelled_isolated_job_leaves_no_worker_isolated(void **state) {
    (void)state;
    struct client starting, running;
    submit_isolated(&running);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
    use_workers();
    submit_isolated(&starting);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    job_cancel(starting.job);
    assert_ended(&starting, JOB_CANCELLED);
    job_cancel(running.job);
    assert_int_equal(running.ended, 0);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_ended(&running, JOB_CANCELLED);
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_null(fake.workers[i].owner);
    leave(&starting);
    leave(&running);
}

static void each_attempt_of_an_isolated_job_has_a_new_process(void **state) {
    (void)state;
    struct client c;
    submit_isolated(&c);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    for (int attempt = 0; attempt < 3; attempt++) {
        restart_workers();
        assert_int_equal(LAST->header.attempt, attempt);
        unsigned before = fake.exits;
        die(LAST, true, "signal");
        assert_int_equal(fake.exits, before + 1);
    }
    assert_failed(&c, "worker_crashed");
    leave(&c);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static void an_isolated_job_waits_its_turn_and_no_longer(void **state) {
    (void)state;
    struct client ordinary, isolated;
    start_chunks(&ordinary, 100);
    submit_isolated(&isolated);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0); /* no worker is idle */
    ordinary.job->sched.since_ns = isolated.job->sched.since_ns - 1;
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0); /* the other has waited longer */
    ordinary.job->sched.since_ns = isolated.job->sched.since_ns + 1;
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* and the other one goes on */
    restart_workers();
    reply_done(find_sent(WIRE_PLAN, 0), "1");
    assert_ended(&isolated, JOB_SUCCEEDED);
    leave(&isolated);
    restart_workers();
    assert_non_null(find_sent(WIRE_RUN, 1));
    cancel_all(&ordinary);
}

/* All main workers are busy with an isolated job of many chunks, and another job waits. */
static void start_isolated_and_other(struct client *isolated, struct client *other, int priority) {
    struct submission s = plain();
    submit_isolated(isolated);
    dispatch();
    reply_plan(LAST, 100, LONG_NS);
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, FAKE_MAIN - 1));
    s.options.priority = priority;
    submit_as(other, &s, true);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
}

static void an_isolated_worker_yields_to_a_more_urgent_job(void **state) {
    (void)state;
    struct client isolated, other;
    start_isolated_and_other(&isolated, &other, 2);
    fake.workers[0].ready_ns = fake.workers[0].asked_ns = INT64_MAX / 4; /* its turn has just begun */
    fake.workers[1].ready_ns = fake.workers[1].asked_ns = INT64_MAX / 4;
    reply_done(find_sent(WIRE_RUN, 0), "1");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* one is enough */
    restart_workers();
    assert_true(find_sent(WIRE_RUN, 0)->worker->owner == NULL || find_sent(WIRE_RUN, 1)->worker->owner == NULL);
    cancel_all(&isolated);
    while (other.job != NULL) {
        restart_workers();
        reply_done(find_sent(WIRE_RUN, 0), "1");
    }
    leave(&other);
}

static void an_isolated_worker_yields_to_an_equal_when_its_turn_is_over(void **state) {
    (void)state;
    struct client isolated, other;
    start_isolated_and_other(&isolated, &other, 3);
    int64_t now_ns = clock_monotonic_ns();
    for (int i = 0; i < FAKE_MAIN; i++) {
        fake.workers[i].asked_ns = now_ns;
        fake.workers[i].ready_ns = now_ns + NS_PER_S;
    }
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0);
    fake.workers[0].ready_ns = fake.workers[0].asked_ns = now_ns - NS_PER_S;
    fake.workers[1].ready_ns = fake.workers[1].asked_ns = now_ns - NS_PER_S;
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    job_cancel(other.job);
    leave(&other);
    cancel_all(&isolated);
    fake_restart(&events);
}

/* ---- types that must not be forked ------------------------------------------------------------------------------- */

static void a_type_that_must_not_be_forked_gets_processes_that_load_it(void **state) {
    (void)state;
    struct client c;
    toy_plain.flags |= HANDLER_SPAWN;
    submit(&c, true);
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* the unused ones are forked */
    restart_workers();
    assert_int_equal(LAST->worker->start_type, TOY_PLAIN);
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    fake_restart(&events);
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_int_equal(fake.workers[i].start_type, START_FORKED);
    toy_plain.flags &= ~(unsigned)HANDLER_SPAWN;
    leave(&c);
}

static void a_load_that_fails_is_a_lost_attempt(void **state) {
    (void)state;
    struct client c;
    const struct death d = {.cause = "exit", .exit_code = 1, .stderr_tail = "no such file\n"};
    toy_plain.flags |= HANDLER_SPAWN;
    submit(&c, true);
    for (int attempt = 1; attempt <= 3; attempt++) {
        dispatch();
        assert_ptr_equal(fake.workers[0].owner, c.job);
        fake.workers[0].replacing = false; /* the next process was started, and died */
        fake_exit(&fake.workers[0], &events, &d);
        assert_int_equal(c.record->attempts, attempt + 1);
    }
    assert_failed(&c, "worker_crashed");
    assert_non_null(strstr(c.record->lost.data, "no such file"));
    assert_int_equal(fake.count, 0);
    toy_plain.flags &= ~(unsigned)HANDLER_SPAWN;
    leave(&c);
}

/* ---- raw bodies -------------------------------------------------------------------------------------------------- */

static void a_large_body_of_an_isolated_job_is_parsed_here_and_planned_there(void **state) {
    (void)state;
    struct client c;
    struct submission found = plain();
    found.options.isolated = 1;
    found.options.priority = 1;
    submit_raw(&c, 5);
    dispatch();
    struct worker *parser = LAST->worker;
    assert_null(parser->owner);
    assert_true(say_parsed(LAST, (struct wire_plan){.type = TOY_PLAIN}, &found, "packed"));
    assert_int_equal(c.planned, 0);
    assert_int_equal(c.record->options.priority, 1);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags & WIRE_RAW, 0);
    assert_int_equal(LAST->header.type, TOY_PLAIN);
    assert_string_equal(LAST->bytes.data, "packed");
    assert_ptr_not_equal(LAST->worker, parser);
    assert_ptr_equal(LAST->worker->owner, c.job);
    assert_false(
        say_parsed(LAST, (struct wire_plan){.type = TOY_PLAIN}, &found, "packed")); /* a body can be parsed only once */
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(an_isolated_job_does_all_its_work_on_isolated_workers),
        JOBS_TEST(a_used_worker_is_replaced_before_an_isolated_job_gets_it),
        JOBS_TEST(an_unused_worker_is_taken_rather_than_another_replaced),
        JOBS_TEST(nobody_else_gets_an_isolated_worker),
        JOBS_TEST(a_cancelled_isolated_job_leaves_no_worker_isolated),
        JOBS_TEST(each_attempt_of_an_isolated_job_has_a_new_process),
        JOBS_TEST(an_isolated_job_waits_its_turn_and_no_longer),
        JOBS_TEST(an_isolated_worker_yields_to_a_more_urgent_job),
        JOBS_TEST(an_isolated_worker_yields_to_an_equal_when_its_turn_is_over),
        JOBS_TEST(a_type_that_must_not_be_forked_gets_processes_that_load_it),
        JOBS_TEST(a_load_that_fails_is_a_lost_attempt),
        JOBS_TEST(a_large_body_of_an_isolated_job_is_parsed_here_and_planned_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
