/* jobs_recover_test.c: how jobs go from one process to the next: the first ends, or is killed, and the next one
 * recovers what the store has. See server/jobs/recover.c. */
#include "tests/unit/jobs_world.h"
#include "tests/unit/store_kept.h"

/* ---- the world --------------------------------------------------------------------------------------------------- */

static struct store *kept;

static int open_kept(void **state) {
    (void)state;
    kept = kept_open();
    open_jobs(kept, true);
    return 0;
}

static int close_kept(void **state) {
    (void)state;
    close_jobs();
    kept_close(kept);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* The process ends, and the next one recovers its jobs. The client waits for its job there. killed: the process had no
 * time to record anything, so the store has the record as it was. */
static void restart_process(struct client *c, bool killed) {
    struct record *r = c->record, before = *r;
    job_unwait(&c->waiter);
    close_jobs();
    if (killed) {
        r->status = before.status;
        r->attempts = before.attempts;
        r->lost_count = before.lost_count;
        r->lost.size = before.lost.size;
    }
    open_jobs(kept, true);
    assert_int_equal(jobs_recover(jobs), 0);
    c->job = jobs_find(jobs, &r->id, NULL);
    if (c->job != NULL)
        job_wait(c->job, &c->waiter);
}

/* Submits a durable job of that many long chunks, which are sent. */
static void start_durable(struct client *c, uint32_t chunks) {
    submit(c, true);
    make_durable(c);
    dispatch();
    reply_plan(LAST, chunks, LONG_NS);
    dispatch();
}

static void assert_succeeds(struct client *c, unsigned attempts) {
    run_to_end();
    assert_int_equal(c->ended, 1);
    assert_int_equal(c->record->status, JOB_SUCCEEDED);
    assert_int_equal(c->record->attempts, attempts);
    leave(c);
}

/* ---- from one process to the next -------------------------------------------------------------------------------- */

static void a_job_that_was_not_planned_is_planned_again(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    restart_process(&c, true);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_true(LAST->header.flags & WIRE_RAW);
    reply_plan(LAST, 2, LONG_NS);
    assert_succeeds(&c, 1);
}

static void chunks_that_were_done_are_not_run_again(void **state) {
    (void)state;
    for (uint32_t n = 0; n <= 3; n++) {
        struct client c;
        start_durable(&c, 3);
        for (uint32_t i = 0; i < n; i++) {
            reply_done(find_sent(WIRE_RUN, 0), "1");
            dispatch();
        }
        restart_process(&c, n % 2 == 0);
        assert_int_equal(c.record->status, JOB_QUEUED);
        assert_int_equal(c.record->chunks_done, n);
        run_to_end();
        unsigned runs = 0, parts = 0;
        for (size_t i = 0; i < fake.count; i++) {
            runs += fake.sent[i].header.kind == WIRE_RUN;
            parts += fake.sent[i].header.kind == WIRE_PART;
        }
        assert_int_equal(runs, 3 - n);
        assert_int_equal(parts, 3);
        assert_int_equal(c.record->status, JOB_SUCCEEDED);
        assert_int_equal(c.record->attempts, 2);
        assert_int_equal(c.record->lost_count, 1);
        leave(&c);
    }
}

static void what_a_drain_left_queued_has_lost_nothing(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    jobs_drain(jobs);
    restart_process(&c, false);
    assert_succeeds(&c, 1);
}

static void a_job_whose_request_is_gone_fails(void **state) {
    (void)state;
    for (int running = 0; running < 2; running++) {
        struct client c;
        submit(&c, true);
        job_make_durable(c.job, &(struct slice){NULL, 0, 0}, on_durable, &c);
        assert_int_equal(c.result, STORE_OK);
        if (running) {
            dispatch();
            reply_plan(LAST, 1, LONG_NS);
            dispatch();
            assert_int_equal(c.record->status, JOB_RUNNING);
            kept->ops->plan(kept, c.record, &(struct slice){NULL, 0, 0});
        }
        restart_process(&c, true);
        assert_int_equal(jobs_live(jobs), 0);
        assert_int_equal(c.record->status, JOB_FAILED);
        assert_int_equal(c.record->run_ns, 0);
        assert_int_equal(c.record->started_ms, 0);
        record_unref(c.record);
    }
}

static void a_part_is_counted_once_though_its_worker_dies_right_after(void **state) {
    (void)state;
    struct client c;
    start_durable(&c, 3);
    struct fake_sent *first = find_sent(WIRE_RUN, 0);
    struct worker *w = first->worker;
    reply_done(first, "1");
    assert_int_equal(c.record->chunks_done, 1);
    dispatch();
    struct fake_sent *next = LAST;
    assert_ptr_equal(next->worker, w);
    die(next, true, "signal");
    assert_int_equal(c.record->chunks_done, 1);
    assert_succeeds(&c, 2);
}

static void a_recovered_job_is_safe_already(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    make_durable(&c);
    restart_process(&c, true);
    assert_int_equal(c.job->durability, DURABILITY_STORED);
    make_durable(&c);
    assert_int_equal(c.result, STORE_OK);
    assert_int_equal(c.answers, 2);
    assert_succeeds(&c, 1);
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

static void die_and_restart(struct client *c, uint8_t kind) {
    die(find_sent(kind, 0), true, "signal");
    while (c->job != NULL && job_is_stopping(c->job))
        reply_cancelled(find_sent(WIRE_RUN, 0));
    if (c->job == NULL)
        return;
    restart_process(c, true);
    dispatch();
}

/* Whatever kills its worker is tried max_attempts times, over all processes. */
static void losses_count_over_restarts(void **state) {
    (void)state;
    static const struct {
        uint8_t kind;
        uint32_t chunks; /* 1: the store has no plan, and the job is planned again */
    } cases[] = {{WIRE_PLAN, 0}, {WIRE_RUN, 1}, {WIRE_RUN, 3}, {WIRE_MERGE, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client c;
        unsigned deaths = 0;
        submit(&c, true);
        make_durable(&c);
        dispatch();
        while (c.job != NULL) {
            struct fake_sent *s = find_sent(cases[i].kind, 0);
            if (s != NULL) {
                assert_true(++deaths <= 3);
                die_and_restart(&c, cases[i].kind);
            } else if ((s = find_sent(WIRE_PLAN, 0)) != NULL) {
                reply_plan(s, cases[i].chunks, LONG_NS);
            } else {
                s = find_sent(WIRE_RUN, 0);
                assert_non_null(s);
                reply_done(s, "1");
            }
            if (c.job != NULL)
                dispatch();
        }
        assert_int_equal(deaths, 3);
        assert_failed(&c, "worker_crashed");
        leave(&c);
    }
}

static void restarts_do_not_count(void **state) {
    (void)state;
    struct client c;
    start_durable(&c, 2);
    for (int i = 0; i < 10; i++) {
        restart_process(&c, true);
        dispatch();
    }
    assert_succeeds(&c, 11);
}

static void poison_items_are_not_tried_by_the_next_process(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.map = true;
    s.items = 3;
    s.options.max_attempts = 2;
    submit_as(&c, &s, true);
    make_durable(&c);
    dispatch();
    reply_plan(LAST, 1, LONG_NS);
    dispatch();
    fake.steps = HOST_ITEM_STEPS + 7; /* in the second item */
    die_and_restart(&c, WIRE_RUN);
    assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, 1); /* the store has the plan */
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 0);
    fake.steps = HOST_ITEM_STEPS + 7;
    die_and_restart(&c, WIRE_RUN);
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1);
    restart_process(&c, true);
    dispatch();
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1);
    reply_item(find_sent(WIRE_RUN, 0), 0);
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_int_equal(c.record->status, JOB_SUCCEEDED);
    leave(&c);
}

/* The process ended after the last loss was recorded and before the end of the job was. */
static void a_job_without_attempts_left_fails_at_the_start(void **state) {
    (void)state;
    static const uint32_t lost[] = {0, 1, STORE_PLAN};
    for (size_t i = 0; i < 3; i++) {
        struct client c;
        start_durable(&c, i == 0 ? 1 : 2);
        kept->ops->lost(kept, c.record, &(struct store_chunk){.chunk = lost[i], .attempt = 3}, NULL, NULL);
        restart_process(&c, true);
        assert_null(c.job);
        assert_int_equal(c.record->status, JOB_FAILED);
        assert_problem(&c, "worker_crashed");
        record_unref(c.record);
    }
}

/* A synchronous job becomes a 202 when its client's wait is over. */
static void what_was_done_and_lost_before_a_job_became_durable_is_stored_too(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 3);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    dispatch();
    die(find_sent(WIRE_RUN, 0), true, "signal");
    make_durable(&c);
    restart_process(&c, true);
    assert_int_equal(c.record->chunks_done, 1);
    dispatch();
    unsigned lost = 0;
    for (unsigned i = 0; find_sent(WIRE_RUN, i) != NULL; i++)
        lost += find_sent(WIRE_RUN, i)->header.attempt;
    assert_int_equal(lost, 1);
    assert_succeeds(&c, 3);
}

/* ---- a drain ----------------------------------------------------------------------------------------------------- */

static void assert_parked(const struct client *c, unsigned attempts) {
    assert_true(jobs_are_drained(jobs));
    assert_int_equal(c->record->status, JOB_QUEUED);
    assert_int_equal(c->record->attempts, attempts);
    assert_int_equal(c->record->lost_count, attempts - 1);
    assert_int_equal(c->parked, 1);
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
}

static void a_job_that_backs_off_does_not_hold_a_drain(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct client c;
        set_retry_delay(NS_PER_S, NS_PER_S);
        start_durable(&c, 2);
        if (i == 0) { /* it backs off already */
            reply_done(find_sent(WIRE_RUN, 1), "1");
            die(find_sent(WIRE_RUN, 0), true, "signal");
            jobs_drain(jobs);
        } else if (i == 1) { /* its last worker dies during the drain */
            jobs_drain(jobs);
            reply_done(find_sent(WIRE_RUN, 1), "1");
            assert_false(jobs_are_drained(jobs));
            die(find_sent(WIRE_RUN, 0), true, "signal");
        } else { /* its last worker is done during the drain */
            die(find_sent(WIRE_RUN, 0), true, "signal");
            jobs_drain(jobs);
            assert_false(jobs_are_drained(jobs));
            reply_done(find_sent(WIRE_RUN, 0), "1");
        }
        assert_parked(&c, 2);
        restart_process(&c, false);
        assert_int_equal(c.record->attempts, 2);
        assert_int_equal(c.record->chunks_done, 1);
        dispatch();
        assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, 1);
        assert_null(find_sent(WIRE_RUN, 1));
        assert_succeeds(&c, 2);
    }
}

static void a_throttled_job_does_not_hold_a_drain(void **state) {
    (void)state;
    struct client c;
    start_durable(&c, 3);
    job_throttle(c.job);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    jobs_drain(jobs);
    assert_false(jobs_are_drained(jobs));
    reply_done(find_sent(WIRE_RUN, 0), "1");
    assert_parked(&c, 1);
    restart_process(&c, false);
    assert_succeeds(&c, 1);
}

/* A client who waits for a job, and has it stored when a drain begins, as a request does. */
struct patient {
    struct job_waiter waiter;
    unsigned parked, ended;
};

static void on_patient_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct patient *p = container_of(w, struct patient, waiter);
    struct client c = {.job = job};
    p->ended += event == JOB_ENDED;
    if (event == JOB_PARKED && p->parked++ == 0)
        make_durable(&c);
}

static void a_job_that_was_not_stored_and_waits_for_its_time_is_stored_by_a_drain(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct client c;
        struct patient p = {.waiter = {.notify = on_patient_event}};
        struct submission s = plain();
        s.options.delay_ms = i == 0 ? 3600000 : 0;
        set_retry_delay(NS_PER_S, NS_PER_S);
        submit_as(&c, &s, false);
        job_unwait(&c.waiter);
        job_wait(c.job, &p.waiter);
        dispatch();
        if (i == 0)
            reply_plan(LAST, 1, LONG_NS);
        else
            die(LAST, true, "signal");
        jobs_drain(jobs);
        assert_true(jobs_are_drained(jobs));
        assert_true(c.record->durable);
        assert_int_equal(c.record->status, JOB_QUEUED);
        job_unwait(&p.waiter);
        restart_process(&c, false);
        assert_non_null(c.job);
        assert_int_equal(c.record->attempts, 1 + (unsigned)i);
        job_cancel(c.job);
        leave(&c);
    }
}

/* The drain has taken too long, and the job is between two chunks: no work is lost. */
static void a_job_without_a_task_at_a_worker_is_queued_without_a_loss(void **state) {
    (void)state;
    struct client c;
    start_durable(&c, 3);
    reply_done(find_sent(WIRE_RUN, 0), "1");
    reply_done(find_sent(WIRE_RUN, 0), "1");
    restart_process(&c, false);
    assert_int_equal(c.record->lost_count, 0);
    assert_succeeds(&c, 1);
}

#define JOBS_TEST_KEPT(name) cmocka_unit_test_setup_teardown(name, open_kept, close_kept)

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST_KEPT(a_job_that_was_not_planned_is_planned_again),
        JOBS_TEST_KEPT(chunks_that_were_done_are_not_run_again),
        JOBS_TEST_KEPT(what_a_drain_left_queued_has_lost_nothing),
        JOBS_TEST_KEPT(a_job_whose_request_is_gone_fails),
        JOBS_TEST_KEPT(a_part_is_counted_once_though_its_worker_dies_right_after),
        JOBS_TEST_KEPT(a_recovered_job_is_safe_already),
        JOBS_TEST_KEPT(a_job_that_backs_off_does_not_hold_a_drain),
        JOBS_TEST_KEPT(a_throttled_job_does_not_hold_a_drain),
        JOBS_TEST_KEPT(a_job_that_was_not_stored_and_waits_for_its_time_is_stored_by_a_drain),
        JOBS_TEST_KEPT(a_job_without_a_task_at_a_worker_is_queued_without_a_loss),
        JOBS_TEST_KEPT(losses_count_over_restarts),
        JOBS_TEST_KEPT(restarts_do_not_count),
        JOBS_TEST_KEPT(poison_items_are_not_tried_by_the_next_process),
        JOBS_TEST_KEPT(a_job_without_attempts_left_fails_at_the_start),
        JOBS_TEST_KEPT(what_was_done_and_lost_before_a_job_became_durable_is_stored_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
