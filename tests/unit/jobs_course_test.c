/* jobs_course_test.c: everything at once: there are hundreds of jobs, and workers, clients and timers do what the dice
 * say. Every job ends, and the books balance. The dice fall the same way each time. */
#include "tests/unit/jobs_world.h"

/* ---- dice -------------------------------------------------------------------------------------------------------- */

static unsigned long long random_state = 88172645463325252ull;

static unsigned dice(unsigned sides) {
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % sides;
}

static void answer_somehow(struct fake_sent *s) {
    bool was_stopped = s->stopped != STOP_NONE;
    switch (dice(8)) {
    case 0: die(s, dice(2) == 0, "signal"); break;
    case 1:
        if (!say_text(s, WIRE_FAILED, dice(2) == 0 ? "{\"code\":\"handler_failed\",\"detail\":\"\"}" : "?"))
            die(s, true, "protocol");
        break;
    case 2:
        if (!say_text(s, WIRE_CANCELLED, ""))
            die(s, !was_stopped, "protocol");
        break;
    default:
        if (s->header.kind != WIRE_PLAN || s->header.flags == WIRE_GO)
            reply_done(s, "1");
        else
            reply_plan(s, 1 + dice(6), dice(2) == 0 ? SHORT_NS : LONG_NS);
    }
}

/* ---- the test ---------------------------------------------------------------------------------------------------- */

static void any_course_of_events_ends_every_job_and_the_books_balance(void **state) {
    (void)state;
    enum { MANY = 300 };
    static const char *const tenants[] = {NULL, "ann", "bob", "carl"};
    static struct client clients[MANY];
    unsigned statuses[JOB_STATUSES] = {0};
    set_retry_delay(2, 2);
    for (int i = 0; i < MANY; i++) {
        struct submission s = plain();
        s.options.isolated = dice(4) == 0;
        submit_for(&clients[i], tenants[dice(4)], &s, dice(2) == 0);
    }
    while (jobs_live(jobs) > 0) {
        if (dice(3) == 0)
            fake_restart(&events);
        fake.not_begun = dice(4) == 0;
        dispatch();
        struct client *c = &clients[dice(MANY)];
        if (dice(40) == 0 && c->job != NULL)
            job_cancel(c->job);
        if (dice(40) == 0 && c->job != NULL && c->job->timer.is_set)
            fire(&c->job->timer);
        for (int i = 0; i < MANY; i++)
            if (clients[i].job != NULL && job_is_backing_off(clients[i].job))
                fire(&clients[i].job->backoffs->timer);
        struct fake_sent *s = NULL;
        for (uint8_t kind = WIRE_PLAN; kind <= WIRE_MERGE && (s == NULL || dice(3) == 0); kind++)
            s = find_sent(kind, dice(3)) != NULL ? find_sent(kind, 0) : s;
        s = s == NULL ? find_sent(WIRE_PLAN, 0) : s;
        s = s == NULL ? find_sent(WIRE_RUN, 0) : s;
        s = s == NULL ? find_sent(WIRE_MERGE, 0) : s;
        if (s != NULL)
            answer_somehow(s);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(clients[i].ended, 1);
        statuses[clients[i].record->status]++;
        leave(&clients[i]);
    }
    assert_true(statuses[JOB_SUCCEEDED] > 0 && statuses[JOB_FAILED] > 0 && statuses[JOB_CANCELLED] > 0);
    assert_int_equal(statuses[JOB_SUCCEEDED], metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(any_course_of_events_ends_every_job_and_the_books_balance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
