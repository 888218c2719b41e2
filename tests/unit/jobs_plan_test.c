/* jobs_plan_test.c: workers that lie: plans, parsed submissions and answers that make no sense are rejected, and the
 * job stays as it was. See server/jobs/plan.c and replies.c. */
#include "tests/unit/jobs_world.h"

static const struct wire_plan two_chunks = {.type = TOY_PLAIN, .chunks = 2, .common_size = 6};
static const struct wire_plan one_chunk = {.type = TOY_PLAIN, .chunks = 1};
static const struct wire_plan no_chunks = {.type = TOY_PLAIN};

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* An answer that is rejected leaves the job as it was: the worker is killed, and the task is done elsewhere. */
static void assert_goes_on(struct client *c, struct fake_sent *s) {
    die(s, true, "protocol");
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 1, SHORT_NS);
    dispatch();
    reply_done(find_sent(WIRE_RUN, 0), "1");
    assert_ended(c, JOB_SUCCEEDED);
    leave(c);
}

static void assert_plan_rejected(const struct buf *plan) {
    struct client c;
    submit(&c, true);
    dispatch();
    struct fake_sent *s = LAST;
    assert_false(say(s, WIRE_PLANNED, plan));
    assert_null(c.job->chunks);
    assert_null(c.job->common);
    assert_goes_on(&c, s);
}

static void assert_head_rejected(struct wire_plan head) {
    struct buf plan = {0};
    uint32_t claimed = head.chunks;
    head.chunks = claimed > 8 ? 8 : claimed;
    write_plan(&plan, head, LONG_NS, NULL);
    memcpy(plan.data + offsetof(struct wire_plan, chunks), &claimed, sizeof claimed);
    assert_plan_rejected(&plan);
    buf_deinit(&plan);
}

static void plans_that_make_no_sense_are_rejected(void **state) {
    (void)state;
    static const struct wire_plan heads[] = {
        {.type = TOY_PLAIN, .chunks = 0, .common_size = 6},
        {.type = TOY_PLAIN, .chunks = HANDLER_MAX_CHUNKS + 1, .common_size = 6},
        {.type = TOY_PLAIN, .chunks = UINT32_MAX, .common_size = 6},
        {.type = TOY_PLAIN, .chunks = 1000, .common_size = 6}, /* the table is not there */
        {.type = TOY_SHAPE, .chunks = 2, .common_size = 6},
        {.type = TOY_TYPES, .chunks = 2, .common_size = 6},
        {.type = TOY_PLAIN, .chunks = 2, .common_size = HANDLER_MAX_COMMON + 1},
        {.type = TOY_PLAIN, .chunks = 2, .common_size = HANDLER_MAX_COMMON}, /* it is not there */
        {.type = TOY_PLAIN, .chunks = 2, .common_size = UINT32_MAX},
        {.type = TOY_PLAIN, .chunks = 2, .common_size = 6, .submission_size = 8}, /* the front end parsed it */
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        assert_head_rejected(heads[i]);
}

static void plans_that_are_cut_short_are_rejected(void **state) {
    (void)state;
    struct buf plan = {0};
    write_plan(&plan, two_chunks, LONG_NS, NULL);
    size_t front = sizeof two_chunks + 2 * sizeof(struct wire_chunk) + 8;
    for (size_t size = 0; size < front; size += size < 16 ? 1 : 7) {
        struct buf cut = {0};
        buf_append(&cut, plan.data, size);
        assert_plan_rejected(&cut);
        buf_deinit(&cut);
    }
    buf_deinit(&plan);
}

static void chunks_outside_the_plan_are_rejected(void **state) {
    (void)state;
    static const struct wire_chunk rows[] = {{0, 0, 17},
                                             {0, 16, 1},
                                             {0, 24, 0},
                                             {0, 4, 4},
                                             {0, UINT64_MAX, 8},
                                             {0, 8, UINT64_MAX},
                                             {0, 8, 9},
                                             {0, (uint64_t)1 << 63, (uint64_t)1 << 63},
                                             {0, UINT64_MAX - 7, 8}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf plan = {0};
        write_plan(&plan, two_chunks, LONG_NS, NULL);
        memcpy(plan.data + sizeof two_chunks + sizeof rows[0], &rows[i], sizeof rows[0]);
        assert_plan_rejected(&plan);
        buf_deinit(&plan);
    }
}

static void absurd_costs_do_no_harm(void **state) {
    (void)state;
    struct client c[3];
    for (int i = 0; i < 3; i++) {
        submit(&c[i], true);
        dispatch();
        reply_plan(find_sent(WIRE_PLAN, 0), HANDLER_MAX_CHUNKS, UINT64_MAX);
        assert_true(job_estimated_work_ms(c[i].job) > 0);
    }
    assert_true(job_look(c[2].job).estimated_start_ms > clock_wall_ms());
    dispatch();
    for (int i = 0; i < 3; i++)
        job_cancel(c[i].job);
    while (find_sent(WIRE_RUN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_RUN, 0));
    for (int i = 0; i < 3; i++) {
        assert_ended(&c[i], JOB_CANCELLED);
        leave(&c[i]);
    }
}

/* ---- answers of another kind ------------------------------------------------------------------------------------- */

static void answers_that_do_not_fit_the_question_are_rejected(void **state) {
    (void)state;
    static const uint8_t kinds[] = {WIRE_CANCELLED, WIRE_FAILED, WIRE_DONE, WIRE_PONG, WIRE_READY, WIRE_RUN, 0, 255};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct client c;
        submit(&c, true);
        dispatch();
        struct fake_sent *s = LAST;
        assert_false(say_text(s, kinds[i], ""));
        assert_goes_on(&c, s);
    }
}

static void a_plan_in_answer_to_a_chunk_is_rejected(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 1);
    struct fake_sent *s = LAST;
    assert_false(say_plan(s, 1, LONG_NS, NULL));
    assert_false(say_text(s, WIRE_FAILED, "{\"code\":\"no_such_code\",\"detail\":\"\"}"));
    assert_false(say_text(s, WIRE_FAILED, "{\"code\":7,\"detail\":\"\"}"));
    assert_false(say_text(s, WIRE_FAILED, "[]"));
    reply_done(s, "1");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_worker_cannot_finish_a_job_whose_type_is_not_known(void **state) {
    (void)state;
    struct client c;
    submit_raw(&c, -1);
    dispatch();
    assert_false(say_done(LAST, "{}"));
    job_cancel(c.job);
    reply_cancelled(LAST);
    leave(&c);
}

/* ---- what a worker finds in a raw body --------------------------------------------------------------------------- */

static void assert_raw_plan_rejected(const struct buf *plan) {
    struct client c;
    submit_raw(&c, -1);
    dispatch();
    assert_false(say(LAST, WIRE_PLANNED, plan));
    assert_null(c.job->chunks);
    job_cancel(c.job);
    reply_cancelled(LAST);
    leave(&c);
}

static void assert_options_rejected(const struct submission *s) {
    struct buf plan = {0};
    write_plan(&plan, two_chunks, LONG_NS, s);
    assert_raw_plan_rejected(&plan);
    buf_deinit(&plan);
}

#define OPTION(name) offsetof(struct submission_options, name)

static void options_that_no_parser_would_accept_are_rejected(void **state) {
    (void)state;
    static const struct {
        size_t field;
        int64_t value;
    } rows[] = {
        {OPTION(priority), SCHEDULER_LEVELS},
        {OPTION(priority), -2},
        {OPTION(max_attempts), 0},
        {OPTION(max_attempts), INT64_C(1) << 32},
        {OPTION(ttl_ms), INT64_MAX},
        {OPTION(ttl_ms), INT64_MAX / 2000},
        {OPTION(timeout_ms), -2},
        {OPTION(queue_timeout_ms), -1},
        {OPTION(chunks), -1},
        {OPTION(isolated), 2},
        {OPTION(delay_ms), -1},
        {OPTION(delay_ms), INT64_C(366) * 24 * 3600 * 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct submission s = plain();
        memcpy((char *)&s.options + rows[i].field, &rows[i].value, sizeof rows[i].value);
        assert_options_rejected(&s);
    }
    struct submission s = plain();
    s.items = 1; /* though it is no map */
    assert_options_rejected(&s);
    s.map = true;
    s.items = HOST_MAX_ITEMS + 1;
    assert_options_rejected(&s);
    s = plain();
    char webhook[OPTIONS_MAX_WEBHOOK + 2];
    memset(webhook, 'w', sizeof webhook - 1);
    webhook[sizeof webhook - 1] = '\0';
    s.options.webhook = webhook;
    assert_options_rejected(&s);
}

static void submissions_of_another_size_are_rejected(void **state) {
    (void)state;
    static const uint32_t more[] = {(uint32_t)-8, 8, HOST_MAX_SUBMISSION + 1, UINT32_MAX / 2};
    const struct submission good = plain();
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        struct buf plan = {0};
        uint32_t size;
        write_plan(&plan, two_chunks, LONG_NS, &good);
        char *at = plan.data + offsetof(struct wire_plan, submission_size);
        memcpy(&size, at, sizeof size);
        size += more[i];
        memcpy(at, &size, sizeof size);
        assert_raw_plan_rejected(&plan);
        buf_deinit(&plan);
    }
}

static void a_parsed_submission_that_makes_no_sense_is_rejected(void **state) {
    (void)state;
    struct client c;
    struct buf cut = {0};
    submit_raw(&c, -1);
    dispatch();
    struct submission good = plain();
    good.options.isolated = 1;
    struct submission of_no_type = good, of_other_type = good, no_attempts = good;
    of_no_type.type = TOY_TYPES;
    of_other_type.type = TOY_SHAPE;
    no_attempts.options.max_attempts = 0;
    assert_false(say_parsed(LAST, one_chunk, &good, ""));
    assert_false(say_parsed(LAST, (struct wire_plan){.type = TOY_TYPES}, &of_no_type, ""));
    assert_false(say_parsed(LAST, no_chunks, &of_other_type, ""));
    assert_false(say_parsed(LAST, no_chunks, &no_attempts, ""));
    buf_append(&cut, &no_chunks, sizeof no_chunks - 1);
    assert_false(say(LAST, WIRE_PARSED, &cut));
    buf_append(&cut, &no_chunks, 1); /* without a submission */
    assert_false(say(LAST, WIRE_PARSED, &cut));
    buf_deinit(&cut);
    assert_true(say_parsed(LAST, no_chunks, &good, ""));
    job_cancel(c.job);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(plans_that_make_no_sense_are_rejected),
        JOBS_TEST(plans_that_are_cut_short_are_rejected),
        JOBS_TEST(chunks_outside_the_plan_are_rejected),
        JOBS_TEST(absurd_costs_do_no_harm),
        JOBS_TEST(answers_that_do_not_fit_the_question_are_rejected),
        JOBS_TEST(a_plan_in_answer_to_a_chunk_is_rejected),
        JOBS_TEST(a_worker_cannot_finish_a_job_whose_type_is_not_known),
        JOBS_TEST(options_that_no_parser_would_accept_are_rejected),
        JOBS_TEST(submissions_of_another_size_are_rejected),
        JOBS_TEST(a_parsed_submission_that_makes_no_sense_is_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
