/* jobs_durable_test.c: what the jobs and their store say to each other, if the store answers late or cannot write; and
 * what a drain leaves in the store. See server/jobs/durable.c, end.c and recover.c, and the diagram of a job's
 * durability in job.h. A test here takes each of its arrows, except NONE → STORED, which jobs_recover_test.c takes. */
#include "server/jobs/end.h"
#include "tests/unit/jobs_world.h"
#include "tests/unit/store_late.h"

/* ---- into the store ---------------------------------------------------------------------------------------------- */

static void a_submission_is_posted_and_then_on_its_way_until_the_store_answers(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    assert_int_equal(c.job->durability, DURABILITY_NONE);
    make_durable(&c);
    assert_int_equal(late.durability, DURABILITY_POSTING);
    assert_int_equal(c.job->durability, DURABILITY_SUBMITTING);
    assert_int_equal(c.answers, 0);
    answer_store(STORE_OK);
    assert_int_equal(c.job->durability, DURABILITY_STORED);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_OK);
    job_cancel(c.job);
    assert_int_equal(c.job->durability, DURABILITY_STORED);
    answer_store(STORE_OK);
    assert_ended(&c, JOB_CANCELLED);
    assert_false(c.store_failed);
    assert_string_equal(late.calls, "SF");
    leave(&c);
}

static void an_end_that_the_store_has_no_memory_for_is_told_when_it_is_recorded(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    answer_store(STORE_OK);
    struct job *job = c.job;
    job_cancel(job);
    answer_store(STORE_NO_MEMORY);
    assert_int_equal(c.ended, 0);
    assert_false(jobs_are_drained(jobs));
    fire(&job->timer);
    assert_int_equal(c.ended, 0);
    answer_store(STORE_OK);
    assert_ended(&c, JOB_CANCELLED);
    assert_string_equal(late.calls, "SFF");
    leave(&c);
}

/* Whoever waits for the 202 of a job that has ended meanwhile hears of it in the end. */
static void who_waits_for_an_end_that_was_not_recorded_is_answered_when_the_process_ends(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    job_cancel(c.job);
    answer_store_call('F', STORE_NO_MEMORY);
    answer_store_call('S', STORE_OK);
    assert_int_equal(c.answers, 0);
    job_unwait(&c.waiter);
    end_abandon_all(jobs); /* as jobs_free does */
    assert_int_equal(c.answers, 1);
    leave(&c);
}

static void an_end_that_was_not_recorded_is_forgotten_when_the_process_ends(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    answer_store(STORE_OK);
    job_cancel(c.job);
    answer_store(STORE_NO_MEMORY);
    leave(&c); /* jobs_free frees the job: a sanitizer looks */
}

/* The store in memory does. */
static void a_store_that_answers_at_once_has_the_job_at_once(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    assert_int_equal(c.job->durability, DURABILITY_STORED);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_OK);
    job_cancel(c.job);
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void a_job_that_is_store_failed_at_once_leaves_nothing_in_the_store(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    late.trouble = true;
    make_durable(&c);
    assert_int_equal(late.durability, DURABILITY_POSTING);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(c.ended, 1);
    assert_true(c.store_failed);
    assert_string_equal(late.calls,
                        "S"); /* else a store in trouble would collect the ends of jobs that never existed */
    assert_true(jobs_are_drained(jobs));
    leave(&c);
}

static void a_job_that_is_store_failed_later_is_forgotten_in_case_it_was_written(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    answer_store(STORE_UNAVAILABLE);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(c.job->durability, DURABILITY_STORE_FAILED);
    assert_int_equal(c.ended, 0);
    answer_store(STORE_OK);
    assert_int_equal(c.ended, 1);
    assert_true(c.store_failed);
    assert_string_equal(late.calls, "SFX");
    leave(&c);
}

static void a_repeat_waits_for_the_first_and_shares_its_fate(void **state) {
    (void)state;
    for (int good = 0; good < 2; good++) {
        struct client c;
        submit(&c, true);
        make_durable(&c);
        late.trouble = true;
        make_durable(&c);
        assert_int_equal(c.answers, 0);
        assert_int_equal(c.ended, 0);
        late.trouble = false;
        answer_store(good ? STORE_OK : STORE_UNAVAILABLE);
        assert_int_equal(c.answers, 2);
        assert_int_equal(c.result, good ? STORE_OK : STORE_UNAVAILABLE);
        if (good)
            job_cancel(c.job);
        answer_store(STORE_OK); /* its end */
        assert_int_equal(c.ended, 1);
        assert_int_equal(c.store_failed, !good);
        if (!good)
            answer_store(STORE_OK); /* forgotten */
        leave(&c);
    }
}

static void a_job_that_the_store_has_is_not_store_failed_by_its_trouble(void **state) {
    (void)state;
    struct client c;
    submit_stored(&c);
    late.trouble = true;
    make_durable(&c);
    assert_int_equal(c.answers, 2);
    assert_int_equal(c.result, STORE_OK);
    run_to_end();
    assert_int_equal(c.ended, 1);
    assert_false(c.store_failed);
    assert_int_equal(c.record->status, JOB_SUCCEEDED);
    leave(&c);
}

/* The submission is still on its way to the disk when the store, in trouble, says at once that it cannot record the
 * end. */
static void an_end_that_is_recorded_before_the_submission_waits_for_it(void **state) {
    (void)state;
    for (int good = 0; good < 2; good++) {
        struct client c;
        submit(&c, true);
        make_durable(&c);
        late.trouble = true;
        job_cancel(c.job);
        assert_int_equal(c.job->durability, DURABILITY_END_RECORDED);
        assert_int_equal(c.ended, 0);
        assert_false(jobs_are_drained(jobs));
        late.trouble = false;
        answer_store(good ? STORE_OK : STORE_UNAVAILABLE);
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.ended, 1);
        assert_int_equal(c.store_failed, !good);
        assert_true(jobs_are_drained(jobs));
        if (!good)
            answer_store(STORE_OK); /* forgotten */
        leave(&c);
    }
    assert_string_equal(late.calls, "SFXSF");
}

/* The same, but the store can record the end, and answers the later call first. If it then does not have the job, the
 * end is undone. */
static void a_store_can_answer_the_end_before_the_submission(void **state) {
    (void)state;
    static const enum store_result results[] = {STORE_OK, STORE_UNAVAILABLE};
    for (int i = 0; i < 4; i++) {
        enum store_result of_end = results[i / 2], of_submission = results[i % 2];
        bool good = of_submission == STORE_OK;
        struct client c;
        submit(&c, true);
        dispatch();
        make_durable(&c);
        reply_done(LAST, "{}");
        assert_int_equal(c.job->durability, DURABILITY_SUBMITTING);
        answer_store_call('F', of_end);
        assert_int_equal(c.job->durability, DURABILITY_END_RECORDED);
        assert_int_equal(c.answers + c.ended, 0);
        job_cancel(c.job); /* no effect any more */
        answer_store_call('S', of_submission);
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.result, of_submission);
        assert_ended(&c, JOB_SUCCEEDED);
        assert_int_equal(c.store_failed, !good);
        if (!good)
            answer_store_call('X', STORE_OK);
        assert_true(jobs_are_drained(jobs));
        leave(&c);
    }
    assert_string_equal(late.calls, "SuFSuFXSuFSuFX");
}

static void a_job_that_is_store_failed_while_it_runs_waits_for_its_worker(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 1);
    make_durable(&c);
    answer_store(STORE_UNAVAILABLE);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_CANCEL);
    assert_int_equal(c.job->durability, DURABILITY_STORE_FAILED);
    make_durable(&c); /* another one who asks is answered at once */
    assert_int_equal(c.answers, 2);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_string_equal(late.calls, "S");
    reply_cancelled(find_sent(WIRE_RUN, 0));
    answer_store(STORE_OK); /* its end */
    assert_int_equal(c.ended, 1);
    assert_true(c.store_failed);
    answer_store(STORE_OK); /* forgotten */
    assert_string_equal(late.calls, "SFX");
    leave(&c);
}

static void an_undone_submission_never_existed(void **state) {
    (void)state;
    struct client waiting, sent;
    submit(&sent, true);
    dispatch();
    submit(&waiting, true);
    job_undo_submission(waiting.job);
    assert_int_equal(waiting.ended, 1);
    assert_true(waiting.store_failed);
    job_undo_submission(sent.job);
    assert_int_equal(sent.ended, 0);
    assert_int_equal(sent.job->durability, DURABILITY_STORE_FAILED);
    job_undo_submission(sent.job);
    reply_cancelled(LAST);
    assert_int_equal(sent.ended, 1);
    assert_true(sent.store_failed);
    assert_string_equal(late.calls, ""); /* and they are not counted */
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_CANCELLED], 0);
    assert_true(jobs_are_drained(jobs));
    leave(&waiting);
    leave(&sent);
}

static void submit_keyed(struct client *c, const char *key) {
    struct submission s = plain();
    struct store_key k = {.tenant = "", .key = key, .ttl_ms = 1000};
    struct job_request q = {.submission = &s, .default_priority = -1, .asynchronous = true, .key = &k};
    submit_request(c, &q);
}

static void the_key_of_a_job_goes_to_the_store_with_it(void **state) {
    (void)state;
    struct client c;
    char key[] = "a key";
    submit_keyed(&c, key);
    memset(key, 'x', sizeof key - 1); /* the caller need not keep it */
    make_durable(&c);
    assert_string_equal(late.key, "a key");
    answer_store(STORE_OK);
    job_cancel(c.job);
    answer_store(STORE_OK);
    leave(&c);
}

static void a_job_that_is_cancelled_while_its_end_is_recorded_has_ended_before(void **state) {
    (void)state;
    struct client c;
    submit_stored(&c);
    struct id id = c.record->id;
    run_to_end();
    assert_null(jobs_find(jobs, &id, NULL)); /* clients ask the store, which answers behind the end */
    assert_int_equal(c.ended, 0);
    assert_false(jobs_are_drained(jobs));
    job_cancel(c.job);
    assert_int_equal(c.record->status, JOB_SUCCEEDED);
    answer_store(STORE_OK);
    assert_int_equal(c.ended, 1);
    leave(&c);
}

/* ---- a job that was run at once: submitted together with its end ----------------------------------------------------- */

static void make_durable_when_planned(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = container_of(w, struct client, waiter);
    if (event == JOB_PLANNED) {
        size_t calls = strlen(late.calls);
        make_durable(c);
        assert_int_equal(job->durability, DURABILITY_ENDING);
        assert_int_equal(strlen(late.calls), calls);
    }
    on_event(w, job, event);
}

/* Submits a job that will be made durable, and has it sent. */
static void send_at_once(struct client *c) {
    submit(c, true);
    c->waiter.notify = make_durable_when_planned;
    dispatch();
}

static void a_job_that_was_run_at_once_is_submitted_together_with_its_end(void **state) {
    (void)state;
    struct client c;
    send_at_once(&c);
    struct job *job = c.job;
    struct id id = c.record->id;
    reply_done(LAST, "{}");
    assert_int_equal(late.status, JOB_SUCCEEDED);
    assert_int_equal(late.durability, DURABILITY_POSTING);
    assert_int_equal(job->durability, DURABILITY_END_RECORDED);
    assert_null(jobs_find(jobs, &id, NULL));
    assert_false(jobs_are_drained(jobs));
    assert_int_equal(c.answers + c.ended, 0);
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED], 0);
    job_cancel(job); /* no effect any more */
    answer_store(STORE_OK);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_OK);
    assert_ended(&c, JOB_SUCCEEDED);
    assert_false(c.store_failed);
    assert_true(c.record->durable);
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED], 1);
    assert_string_equal(late.calls, "S");
    leave(&c);
}

static void a_job_that_was_run_at_once_and_cannot_be_stored_never_existed(void **state) {
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        struct client c;
        send_at_once(&c);
        late.trouble = at_once;
        reply_done(LAST, "{}");
        late.trouble = false;
        if (!at_once)
            answer_store(STORE_UNAVAILABLE);
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.result, STORE_UNAVAILABLE);
        assert_int_equal(c.ended, 1);
        assert_true(c.store_failed);
        assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED], 0);
        if (!at_once)
            answer_store(STORE_OK); /* forgotten, because it can have been written */
        assert_true(jobs_are_drained(jobs));
        leave(&c);
    }
    assert_string_equal(late.calls, "SXS");
}

static void cancel_when_planned(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = container_of(w, struct client, waiter);
    if (event == JOB_PLANNED) {
        make_durable(c);
        job_cancel(job);
        assert_int_equal(c->ended, 0);
    }
    on_event(w, job, event);
}

/* Of a job that has failed the end is certain. */
static void a_job_that_is_cancelled_when_it_was_run_is_submitted_as_cancelled(void **state) {
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        enum job_status expected = fails ? JOB_FAILED : JOB_CANCELLED;
        struct client c;
        submit(&c, true);
        c.waiter.notify = cancel_when_planned;
        dispatch();
        if (fails)
            reply_failed(LAST, "{\"code\":\"handler_failed\",\"detail\":\"x\"}");
        else
            reply_done(LAST, "{}");
        assert_int_equal(late.status, expected);
        answer_store(STORE_OK);
        assert_ended(&c, expected);
        leave(&c);
    }
    assert_string_equal(late.calls, "SS");
}

static void a_job_that_fails_when_it_is_run_at_once_is_submitted_as_failed(void **state) {
    (void)state;
    struct client c;
    send_at_once(&c);
    reply_failed(LAST, "{\"code\":\"handler_failed\",\"detail\":\"x\"}");
    assert_int_equal(late.status, JOB_FAILED);
    answer_store(STORE_OK);
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_OK);
    assert_string_equal(late.calls, "S");
    leave(&c);
}

static void a_submission_that_is_wrong_is_not_submitted(void **state) {
    (void)state;
    struct client c;
    send_at_once(&c);
    reply_failed(LAST, "{\"code\":\"invalid_params\",\"detail\":\"x\"}");
    assert_int_equal(c.ended, 1);
    assert_true(c.rejected);
    assert_int_equal(c.answers, 0);
    assert_string_equal(late.calls, "");
    leave(&c);
}

static void a_job_that_was_run_at_once_takes_its_key_along(void **state) {
    (void)state;
    struct client c;
    submit_keyed(&c, "a key");
    c.waiter.notify = make_durable_when_planned;
    dispatch();
    reply_done(LAST, "{}");
    assert_string_equal(late.key, "a key");
    answer_store(STORE_EXISTS);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_true(c.store_failed);
    answer_store(STORE_NOT_FOUND); /* forgotten */
    assert_string_equal(late.calls, "SX");
    leave(&c);
}

/* A key that is only looked up when its job is planned cannot be too late. */
static void a_job_whose_key_is_not_decided_is_not_run_at_once(void **state) {
    (void)state;
    struct client c;
    struct store_key k = {.tenant = "", .key = "k", .ttl_ms = 1000};
    struct job_request q = {
        .body = slice_all(blob_copy("{...}", 5)), .default_priority = -1, .key = &k, .wants_hash = true};
    submit_request(&c, &q);
    slice_deinit(&q.body);
    dispatch();
    struct submission s = plain();
    assert_true(say_parsed(LAST, (struct wire_plan){.type = TOY_PLAIN}, &s, "params"));
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags, 0);
    job_cancel(c.job);
    reply_cancelled(LAST);
    leave(&c);
}

/* So the 202 of a job that ends while it waits for a worker is true. */
static void a_job_that_ends_before_it_is_planned_is_submitted_as_ended(void **state) {
    (void)state;
    struct client c;
    send_at_once(&c);
    die(LAST, true, "signal");
    for (int i = 1; i < 3; i++) {
        dispatch();
        die(LAST, true, "signal");
    }
    assert_int_equal(late.status, JOB_FAILED);
    answer_store(STORE_OK);
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.answers, 1);
    assert_string_equal(late.calls, "S");
    leave(&c);
}

/* ---- a drain ----------------------------------------------------------------------------------------------------- */

static void a_drain_leaves_queued_jobs_that_are_safe_and_waits_for_all_others(void **state) {
    (void)state;
    struct client parked, running, transient;
    submit_stored(&running);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
    assert_int_equal(running.record->status, JOB_RUNNING);
    submit_stored(&parked);
    submit(&transient, true);
    jobs_drain(jobs);
    assert_false(jobs_are_drained(jobs));
    assert_int_equal(parked.parked, 1);
    assert_int_equal(running.parked + transient.parked, 0);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    answer_store(STORE_OK);
    assert_int_equal(running.ended, 1);
    assert_false(jobs_are_drained(jobs));
    dispatch();
    assert_ptr_equal(LAST->task, transient.job->tasks);
    job_cancel(transient.job);
    reply_cancelled(LAST);
    assert_int_equal(transient.ended, 1);
    assert_true(jobs_are_drained(jobs));
    assert_int_equal(parked.record->status, JOB_QUEUED);
    leave(&parked);
    leave(&running);
    leave(&transient);
}

static void a_worker_that_was_started_for_a_parked_job_gets_nothing_to_do(void **state) {
    (void)state;
    struct client c;
    submit_isolated(&c);
    make_durable(&c);
    answer_store(STORE_OK);
    for (unsigned i = 0; i < FAKE_MAIN; i++)
        fake.workers[i].type = TOY_PLAIN; /* used, so it has to be replaced first */
    dispatch();
    assert_int_equal(c.job->isolated_workers, 1);
    jobs_drain(jobs);
    assert_int_equal(fake_restart(&events), 1);
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(c.job->isolated_workers, 0);
    assert_true(jobs_are_drained(jobs));
    leave(&c);
}

/* ---- a drain, and a store that cannot take what waits ------------------------------------------------------------ */

static void store_if_parked(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = container_of(w, struct client, waiter);
    c->ended += event == JOB_ENDED;
    if (event == JOB_PARKED)
        make_durable(c);
    (void)job;
}

static void a_job_that_a_drain_cannot_store_ends(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.delay_ms = 3600000;
    submit_as(&c, &s, false);
    c.waiter.notify = store_if_parked;
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    late.trouble = true;
    jobs_drain(jobs);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(c.ended, 1);
    assert_true(jobs_are_drained(jobs));
    leave(&c);
}

static void a_job_that_is_stored_after_the_drain_began_is_parked(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    jobs_drain(jobs);
    make_durable(&c);
    assert_int_equal(c.parked, 0);
    answer_store(STORE_OK);
    assert_int_equal(c.parked, 1);
    dispatch();
    assert_null(find_sent(WIRE_PLAN, 0));
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST_LATE(a_submission_is_posted_and_then_on_its_way_until_the_store_answers),
        JOBS_TEST_LATE(an_end_that_the_store_has_no_memory_for_is_told_when_it_is_recorded),
        JOBS_TEST_LATE(who_waits_for_an_end_that_was_not_recorded_is_answered_when_the_process_ends),
        JOBS_TEST_LATE(an_end_that_was_not_recorded_is_forgotten_when_the_process_ends),
        JOBS_TEST(a_store_that_answers_at_once_has_the_job_at_once),
        JOBS_TEST_LATE(a_job_that_is_store_failed_at_once_leaves_nothing_in_the_store),
        JOBS_TEST_LATE(a_job_that_is_store_failed_later_is_forgotten_in_case_it_was_written),
        JOBS_TEST_LATE(a_repeat_waits_for_the_first_and_shares_its_fate),
        JOBS_TEST_LATE(a_job_that_the_store_has_is_not_store_failed_by_its_trouble),
        JOBS_TEST_LATE(an_end_that_is_recorded_before_the_submission_waits_for_it),
        JOBS_TEST_LATE(a_store_can_answer_the_end_before_the_submission),
        JOBS_TEST_LATE(a_job_that_is_store_failed_while_it_runs_waits_for_its_worker),
        JOBS_TEST_LATE(an_undone_submission_never_existed),
        JOBS_TEST_LATE(the_key_of_a_job_goes_to_the_store_with_it),
        JOBS_TEST_LATE(a_job_that_is_cancelled_while_its_end_is_recorded_has_ended_before),
        JOBS_TEST_LATE(a_job_that_was_run_at_once_is_submitted_together_with_its_end),
        JOBS_TEST_LATE(a_job_that_was_run_at_once_and_cannot_be_stored_never_existed),
        JOBS_TEST_LATE(a_job_that_is_cancelled_when_it_was_run_is_submitted_as_cancelled),
        JOBS_TEST_LATE(a_job_that_fails_when_it_is_run_at_once_is_submitted_as_failed),
        JOBS_TEST_LATE(a_submission_that_is_wrong_is_not_submitted),
        JOBS_TEST_LATE(a_job_that_ends_before_it_is_planned_is_submitted_as_ended),
        JOBS_TEST_LATE(a_job_that_was_run_at_once_takes_its_key_along),
        JOBS_TEST_LATE(a_job_whose_key_is_not_decided_is_not_run_at_once),
        JOBS_TEST_LATE(a_drain_leaves_queued_jobs_that_are_safe_and_waits_for_all_others),
        JOBS_TEST_LATE(a_worker_that_was_started_for_a_parked_job_gets_nothing_to_do),
        JOBS_TEST_LATE(a_job_that_a_drain_cannot_store_ends),
        JOBS_TEST_LATE(a_job_that_is_stored_after_the_drain_began_is_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
