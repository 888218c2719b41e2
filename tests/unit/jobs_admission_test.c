/* jobs_admission_test.c: jobs that cannot start within their queue_timeout_ms are refused when they are planned, and no
 * others. See server/jobs/admission.c. The two main workers are busy for minutes, so no test waits for a time. */
#include "tests/unit/jobs_world.h"

#define CHUNK_S 60

/* WIRE_DONE of a chunk that ran for that long. */
static void reply_took(struct fake_sent *s, uint64_t run_ns) {
    struct wire_times times = {.run_ns = run_ns};
    struct buf body = {0};
    buf_append(&body, &times, sizeof times);
    buf_puts(&body, "1");
    assert_true(say(s, WIRE_DONE, &body));
    buf_deinit(&body);
}

static void submit_timed_of(const char *tenant, struct client *c, int64_t queue_timeout_s, int64_t priority) {
    struct submission s = plain();
    s.options.queue_timeout_ms = queue_timeout_s * 1000;
    s.options.priority = priority;
    submit_for(c, tenant, &s, true);
    dispatch();
}

static void submit_timed(struct client *c, int64_t queue_timeout_s, int64_t priority) {
    submit_timed_of(NULL, c, queue_timeout_s, priority);
}

/* Plans what was submitted last: one chunk that is estimated at so many seconds. */
static void plan_s(unsigned s) {
    reply_plan(find_sent(WIRE_PLAN, 0), 1, s * (uint64_t)NS_PER_S);
    dispatch();
}

/* Runs three jobs whose chunks take as long as they are estimated, times `factor`. */
static void measure(double factor) {
    for (int i = 0; i < 3; i++) {
        struct client c;
        submit(&c, true);
        dispatch();
        plan_s(1);
        reply_took(find_sent(WIRE_RUN, 0), (uint64_t)(factor * NS_PER_S));
        assert_ended(&c, JOB_SUCCEEDED);
        leave(&c);
    }
}

/* Both workers get a chunk of CHUNK_S each, and `waiting` more wait. */
#define MOST_BUSY 16
static struct client busy[MOST_BUSY];
static unsigned busy_count;

static void add_busy(const char *tenant, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        assert_in_range(busy_count, 0, MOST_BUSY - 1);
        submit_of(tenant, &busy[busy_count++]);
        dispatch();
        plan_s(CHUNK_S);
    }
}

static void make_busy(unsigned waiting) {
    busy_count = 0;
    add_busy(NULL, FAKE_MAIN + waiting);
}

static void end_all(void) {
    for (unsigned i = 0; i < busy_count; i++) {
        struct fake_sent *s;
        if (busy[i].job != NULL)
            job_cancel(busy[i].job);
        while ((s = find_sent(WIRE_RUN, 0)) != NULL && s->stopped != STOP_NONE)
            reply_cancelled(s);
        leave(&busy[i]);
    }
}

/* It is as if it had never been submitted. */
static void assert_refused(struct client *c, uint64_t at_least_s, uint64_t at_most_s) {
    assert_int_equal(c->ended, 1);
    assert_true(c->rejected);
    assert_int_equal(c->record->status, JOB_FAILED);
    assert_int_equal(c->record->problem, PROBLEM_QUEUE_TIMEOUT);
    assert_in_range(c->retry_after_s, at_least_s, at_most_s);
    leave(c);
}

static void assert_accepted(struct client *c) {
    assert_int_equal(c->ended, 0);
    assert_int_equal(c->planned, 1);
    job_cancel(c->job);
    leave(c);
}

static void a_job_that_cannot_start_in_time_is_refused_when_it_is_planned(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(10); /* (12 - 1) * 60 s, for two workers */
    size_t live = jobs_live(jobs);
    submit_timed(&c, 200, 3);
    assert_int_equal(c.ended, 0);
    plan_s(10);
    assert_refused(&c, 125, 130);
    assert_int_equal(jobs_live(jobs), live);
    submit_timed(&c, 340, 3);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

static void what_chunks_have_taken_counts_and_not_what_was_estimated(void **state) {
    (void)state;
    struct client c;
    measure(0.1);
    make_busy(10); /* 33 s */
    submit_timed(&c, 40, 3);
    plan_s(10);
    assert_accepted(&c);
    submit_timed(&c, 20, 3);
    plan_s(10);
    assert_refused(&c, 8, 13);
    end_all();
}

static void a_type_whose_chunks_differ_counts_by_the_shortest_of_the_last(void **state) {
    (void)state;
    struct client c;
    measure(1);
    measure(0.01);
    measure(1);
    make_busy(10);
    submit_timed(&c, 150, 3);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

static void nothing_is_refused_before_anything_was_measured(void **state) {
    (void)state;
    struct client c;
    make_busy(10);
    submit_timed(&c, 1, 3);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

static void nothing_is_refused_while_a_worker_is_idle(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(0);
    reply_took(find_sent(WIRE_RUN, 0), NS_PER_S);
    submit_timed(&c, 1, 3);
    plan_s(10);
    assert_int_equal(c.ended, 0);
    assert_int_equal(c.record->status, JOB_RUNNING);
    reply_took(find_sent(WIRE_RUN, 1), NS_PER_S);
    leave(&c);
    end_all();
}

/* What is less urgent waits behind it. The chunks that run are in its way all the same. */
static void a_job_waits_for_what_is_as_urgent_and_no_more(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(10);
    submit_timed(&c, 70, 0);
    plan_s(10);
    assert_accepted(&c);
    submit_timed(&c, 40, 0);
    plan_s(10);
    assert_refused(&c, 15, 20);
    submit_timed(&c, 200, 7);
    plan_s(10);
    assert_refused(&c, 125, 130);
    end_all();
}

/* One of those ahead can be so long that the other worker does all the rest meanwhile. */
static void one_long_chunk_ahead_does_not_make_a_job_late(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(1);
    busy_count++;
    submit(&busy[busy_count - 1], true);
    dispatch();
    plan_s(900);
    submit_timed(&c, 130, 3);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

static void jobs_that_wait_no_more_are_not_in_the_way(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(10);
    for (unsigned i = FAKE_MAIN; i < busy_count; i++)
        job_cancel(busy[i].job);
    submit_timed(&c, 70, 3);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

/* Express workers run it. */
static void a_short_job_is_not_refused(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(10);
    submit_timed(&c, 1, 3);
    reply_plan(find_sent(WIRE_PLAN, 0), 1, SHORT_NS);
    assert_int_equal(c.ended, 0);
    job_cancel(c.job);
    leave(&c);
    end_all();
}

static void a_job_that_is_stored_is_not_refused(void **state) {
    (void)state;
    struct client c;
    measure(1);
    make_busy(10);
    submit_timed(&c, 1, 3);
    make_durable(&c);
    assert_int_equal(c.result, STORE_OK);
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

static void a_raw_body_is_refused_when_it_was_parsed(void **state) {
    (void)state;
    struct client c;
    struct submission found = plain();
    measure(1);
    make_busy(10);
    found.options.queue_timeout_ms = 100000;
    submit_raw(&c, -1);
    dispatch();
    reply_plan_of(find_sent(WIRE_PLAN, 0), 1, 10 * (uint64_t)NS_PER_S, &found);
    assert_refused(&c, 225, 230);
    end_all();
}

static void a_job_that_waits_for_its_time_is_not_refused(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    measure(1);
    make_busy(10);
    s.options.queue_timeout_ms = 1000;
    s.options.delay_ms = 3600000;
    submit_as(&c, &s, true);
    dispatch();
    plan_s(10);
    assert_accepted(&c);
    end_all();
}

/* The tenants take turns, so it could start as soon as a worker is idle. */
static void the_backlog_of_another_tenant_does_not_make_a_job_late(void **state) {
    (void)state;
    struct client c;
    measure(1);
    busy_count = 0;
    add_busy("ann", FAKE_MAIN + 10);
    submit_timed_of("bob", &c, 70, 3);
    plan_s(10);
    assert_accepted(&c);
    submit_timed_of("bob", &c, 40, 3);
    plan_s(10);
    assert_refused(&c, 15, 20);
    submit_timed_of("ann", &c, 200, 3);
    plan_s(10);
    assert_refused(&c, 125, 130);
    end_all();
}

/* Bob's own chunks are ahead; of his more urgent ones it is not certain while ann takes turns, too. */
static void of_its_own_tenant_what_is_as_urgent_makes_a_job_late(void **state) {
    (void)state;
    struct client c;
    measure(1);
    busy_count = 0;
    add_busy("ann", FAKE_MAIN + 1);
    add_busy("bob", 8); /* (2 + 8 - 1) * 60 s, for two workers */
    submit_timed_of("bob", &c, 200, 3);
    plan_s(10);
    assert_refused(&c, 65, 70);
    submit_timed_of("bob", &c, 70, 7);
    plan_s(10);
    assert_accepted(&c);
    job_cancel(busy[FAKE_MAIN].job); /* now bob alone waits */
    submit_timed_of("bob", &c, 150, 7);
    plan_s(10);
    assert_refused(&c, 115, 120);
    end_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_job_that_cannot_start_in_time_is_refused_when_it_is_planned),
        JOBS_TEST(what_chunks_have_taken_counts_and_not_what_was_estimated),
        JOBS_TEST(a_type_whose_chunks_differ_counts_by_the_shortest_of_the_last),
        JOBS_TEST(nothing_is_refused_before_anything_was_measured),
        JOBS_TEST(nothing_is_refused_while_a_worker_is_idle),
        JOBS_TEST(a_job_waits_for_what_is_as_urgent_and_no_more),
        JOBS_TEST(one_long_chunk_ahead_does_not_make_a_job_late),
        JOBS_TEST(jobs_that_wait_no_more_are_not_in_the_way),
        JOBS_TEST(a_short_job_is_not_refused),
        JOBS_TEST(a_job_that_is_stored_is_not_refused),
        JOBS_TEST(a_raw_body_is_refused_when_it_was_parsed),
        JOBS_TEST(a_job_that_waits_for_its_time_is_not_refused),
        JOBS_TEST(the_backlog_of_another_tenant_does_not_make_a_job_late),
        JOBS_TEST(of_its_own_tenant_what_is_as_urgent_makes_a_job_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
