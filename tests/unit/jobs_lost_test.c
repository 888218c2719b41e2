/* jobs_lost_test.c: a task that is lost with its worker is tried again, as often as max_attempts allows, and an item of
 * a map that kills its workers is poison. See server/jobs/replies.c, lost.c and poison.c. */
#include "tests/unit/jobs_world.h"

#include "server/jobs/poison.h"

/* ---- lost workers ------------------------------------------------------------------------------------------------ */

static void a_lost_chunk_runs_again_and_its_death_is_kept(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    die(find_sent(WIRE_RUN, 1), true, "oom");
    dispatch();
    struct fake_sent *again = find_sent(WIRE_RUN, 1);
    assert_int_equal(chunk_of(again), 1);
    assert_int_equal(again->header.attempt, 1);
    assert_int_equal(c.record->attempts, 2);
    assert_string_equal(c.record->lost.data,
                        "{\"chunk\":1,\"cause\":\"oom\",\"signal\":\"SIGKILL\",\"max_rss_bytes\":1048576,\"cpu_ms\":12,"
                        "\"stderr_tail\":\"last \\\"words\\\"\\n\"}");
    assert_string_equal(metrics.chunk_retries[0].label, "oom");
    reply_done(find_sent(WIRE_RUN, 0), "0");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.count, 2);
    reply_done(find_sent(WIRE_MERGE, 0), "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_chunk_that_had_not_begun_when_its_worker_died_is_no_attempt(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    for (int i = 0; i < 10; i++) {
        die(find_sent(WIRE_RUN, 0), false, "signal");
        dispatch();
    }
    assert_int_equal(c.record->attempts, 1);
    assert_int_equal(c.record->lost_count, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, 0);
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    reply_cancelled(find_sent(WIRE_RUN, 0));
    leave(&c);
}

static void an_attempt_can_be_lost_though_its_worker_lives(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    reply_done(find_sent(WIRE_RUN, 1), "1");
    for (int attempt = 0; attempt < 3; attempt++) {
        struct fake_sent *s = find_sent(WIRE_RUN, 0);
        assert_int_equal(s->header.attempt, attempt);
        lose(s, (struct death){.cause = "exit", .exit_code = 3, .stderr_tail = "bye\n"});
        dispatch();
    }
    assert_failed(&c, "worker_crashed");
    assert_non_null(
        strstr(c.record->error.data, "the process that ran it exited with status 3 (cause: exit), attempt 3 of 3"));
    assert_non_null(strstr(c.record->lost.data, "\"cause\":\"exit\",\"exit_code\":3,"));
    assert_int_equal(metrics.chunk_retries[0].count, 2);
    assert_int_equal(fake.exits, 0);
    leave(&c);
}

static void a_loss_of_neither_signal_nor_exit_code_has_a_detail(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    reply_done(find_sent(WIRE_RUN, 1), "1");
    for (int attempt = 0; attempt < 3; attempt++) {
        lose(find_sent(WIRE_RUN, 0), (struct death){.cause = "protocol", .exit_code = -1, .stderr_tail = ""});
        dispatch();
    }
    assert_non_null(strstr(c.record->error.data, "the process that ran it was lost (cause: protocol), attempt 3 of 3"));
    leave(&c);
}

static bool hold_back(struct fake_sent *s) {
    bool given_back = events.held_back(events.arg, s->worker, s->task);
    if (given_back) {
        s->answered = true;
        fake_answered(s);
    }
    return given_back;
}

static void a_chunk_whose_reply_is_held_back_runs_again_and_is_no_attempt(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_true(hold_back(find_sent(WIRE_RUN, 0)));
    dispatch();
    assert_int_equal(c.record->attempts, 1);
    assert_int_equal(c.record->lost_count, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, 0);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_short_job_whose_reply_is_held_back_is_queued_again(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    assert_true(hold_back(LAST));
    assert_int_equal(c.record->status, JOB_QUEUED);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

/* A worker could say that for ever. */
static void replies_that_are_held_back_again_and_again_are_waited_for(void **state) {
    (void)state;
    struct client c;
    unsigned times = 0;
    submit(&c, false);
    dispatch();
    while (times < 1000 && hold_back(LAST)) {
        times++;
        dispatch();
    }
    assert_in_range(times, 1, 100);
    reply_done(LAST, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_that_is_stopped_does_not_wait_for_a_reply_that_is_held_back(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    job_cancel(c.job);
    assert_int_equal(c.ended, 0);
    assert_true(hold_back(LAST));
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void a_chunk_that_always_kills_its_worker_fails_the_job_after_max_attempts(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    reply_done(find_sent(WIRE_RUN, 1), "1");
    for (int attempt = 0; attempt < 3; attempt++) {
        assert_int_equal(c.ended, 0);
        assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, attempt);
        die(find_sent(WIRE_RUN, 0), true, "signal");
        dispatch();
    }
    assert_failed(&c, "worker_crashed");
    assert_non_null(strstr(c.record->error.data, "SIGKILL"));
    assert_int_equal(c.record->lost_count, 3);
    leave(&c);
}

static void attempts_are_counted_per_chunk(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    for (int i = 0; i < 2; i++) {
        die(find_sent(WIRE_RUN, 0), true, "signal");
        die(find_sent(WIRE_RUN, 0), true, "signal");
        dispatch();
    }
    assert_int_equal(c.ended, 0);
    assert_int_equal(c.record->attempts, 5);
    run_to_end();
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_short_job_whose_worker_died_is_planned_apart_the_next_time(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    die(LAST, true, "signal");
    assert_int_equal(c.record->status, JOB_QUEUED);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags, 0);
    reply_plan(LAST, 1, SHORT_NS);
    dispatch();
    assert_int_equal(LAST->header.attempt, 1);
    die(LAST, true, "signal");
    dispatch();
    die(LAST, true, "signal");
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.record->lost_count, 3);
    leave(&c);
}

static void a_lost_merge_begins_again_with_the_first_part(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    dispatch();
    assert_int_equal(fake.sent[fake.count - 3].header.kind, WIRE_MERGE);
    assert_int_equal(fake.sent[fake.count - 2].bytes.data[0], 'a');
    assert_int_equal(fake.sent[fake.count - 1].bytes.data[0], 'b');
    for (int i = 0; i < 2; i++) {
        die(find_sent(WIRE_MERGE, 0), true, "signal");
        dispatch();
    }
    assert_failed(&c, "worker_crashed");
    leave(&c);
}

static void the_death_of_a_worker_being_fed_does_not_stop_the_merge(void **state) {
    (void)state;
    struct client c;
    fake.parts_taken = 1;
    start_merge(&c);
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    fake.parts_taken = UINT32_MAX;
    dispatch();
    assert_int_equal(LAST->bytes.data[0], 'b');
    reply_done(find_sent(WIRE_MERGE, 0), "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void too_much_memory_fails_the_job_without_another_try(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 1);
    die(find_sent(WIRE_RUN, 0), true, "memory");
    assert_failed(&c, "memory_limit");
    assert_int_equal(c.record->lost_count, 1);
    leave(&c);
}

static void no_more_deaths_are_kept_than_there_is_room_for(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.max_attempts = 100;
    submit_as(&c, &s, true);
    for (int i = 0; i < 100; i++) {
        dispatch();
        die(find_sent(WIRE_PLAN, 0), true, "signal");
    }
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.record->lost_count, RECORD_MAX_LOST);
    assert_int_equal(c.record->attempts, 101);
    leave(&c);
}

/* ---- poison items ------------------------------------------------------------------------------------------------ */

/* Submits a map of one chunk, which is sent. */
static void start_map(struct client *c, unsigned items) {
    struct submission s = plain();
    s.map = true;
    s.items = items;
    s.options.max_attempts = 2;
    submit_as(c, &s, false);
    dispatch();
    assert_int_equal(LAST->header.flags,
                     WIRE_ITEMS); /* never in one go: it must be known which item kills the worker */
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
}

/* The worker dies at the item that has that place in the chunk's group. */
static void die_at(uint64_t place) {
    fake.steps = place * HOST_ITEM_STEPS + 7;
    die(find_sent(WIRE_RUN, 0), true, "signal");
    dispatch();
}

static void an_item_that_kills_its_worker_is_poison_and_the_others_run(void **state) {
    (void)state;
    struct client c;
    start_map(&c, 3);
    die_at(1);
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 0);
    die_at(1);
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1);
    die_at(2); /* the others have as many attempts again */
    assert_int_equal(job_count_poison(c.job, 0), 1);
    die_at(2);
    assert_int_equal(job_count_poison(c.job, 0), 2);
    reply_item(find_sent(WIRE_RUN, 0), 0);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_int_equal(c.record->attempts, 5);
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void an_item_whose_attempts_are_lost_is_poison(void **state) {
    (void)state;
    struct client c;
    start_map(&c, 3);
    fake.steps = 1 * HOST_ITEM_STEPS + 7;
    for (int attempt = 0; attempt < 2; attempt++) {
        lose(find_sent(WIRE_RUN, 0), (struct death){.cause = "exit", .exit_code = 3, .stderr_tail = ""});
        dispatch();
    }
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1);
    fake.steps = 0;
    lose(find_sent(WIRE_RUN, 0), (struct death){.cause = "memory", .exit_code = -1, .stderr_tail = ""});
    dispatch();
    assert_int_equal(job_count_poison(c.job, 0), 2);
    reply_item(find_sent(WIRE_RUN, 0), 0);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void an_item_that_takes_too_much_memory_is_poison_at_once(void **state) {
    (void)state;
    struct client c;
    start_map(&c, 3);
    fake.steps = 1 * HOST_ITEM_STEPS + 7;
    die(find_sent(WIRE_RUN, 0), true, "memory");
    dispatch();
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1 | HOST_POISON_MEMORY);
    fake.steps = 1 * HOST_ITEM_STEPS; /* it is not run, so it cannot be blamed again */
    die(find_sent(WIRE_RUN, 0), true, "memory");
    dispatch();
    assert_failed(&c, "memory_limit");
    leave(&c);
}

static void a_map_fails_if_no_item_can_be_blamed(void **state) {
    (void)state;
    /* The map does not have the first two, and the last one is poison already. */
    static const uint64_t places[] = {3, UINT64_C(1) << 40, 1};
    for (size_t i = 0; i < 3; i++) {
        struct client c;
        start_map(&c, 3);
        for (int k = 0; k < 2; k++)
            die_at(places[i]);
        for (int k = 0; k < 2 && i == 2; k++)
            die_at(places[i]);
        assert_failed(&c, "worker_crashed");
        leave(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_lost_chunk_runs_again_and_its_death_is_kept),
        JOBS_TEST(an_attempt_can_be_lost_though_its_worker_lives),
        JOBS_TEST(a_loss_of_neither_signal_nor_exit_code_has_a_detail),
        JOBS_TEST(an_item_whose_attempts_are_lost_is_poison),
        JOBS_TEST(a_chunk_that_had_not_begun_when_its_worker_died_is_no_attempt),
        JOBS_TEST(a_chunk_whose_reply_is_held_back_runs_again_and_is_no_attempt),
        JOBS_TEST(a_short_job_whose_reply_is_held_back_is_queued_again),
        JOBS_TEST(replies_that_are_held_back_again_and_again_are_waited_for),
        JOBS_TEST(a_job_that_is_stopped_does_not_wait_for_a_reply_that_is_held_back),
        JOBS_TEST(a_chunk_that_always_kills_its_worker_fails_the_job_after_max_attempts),
        JOBS_TEST(attempts_are_counted_per_chunk),
        JOBS_TEST(a_short_job_whose_worker_died_is_planned_apart_the_next_time),
        JOBS_TEST(a_lost_merge_begins_again_with_the_first_part),
        JOBS_TEST(the_death_of_a_worker_being_fed_does_not_stop_the_merge),
        JOBS_TEST(too_much_memory_fails_the_job_without_another_try),
        JOBS_TEST(no_more_deaths_are_kept_than_there_is_room_for),
        JOBS_TEST(an_item_that_kills_its_worker_is_poison_and_the_others_run),
        JOBS_TEST(an_item_that_takes_too_much_memory_is_poison_at_once),
        JOBS_TEST(a_map_fails_if_no_item_can_be_blamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
