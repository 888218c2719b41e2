/* scheduler_test.c: whose turn it is. See server/jobs/scheduler.c. Time is what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/jobs/scheduler.h"

enum { MANY = 100 };

static struct scheduler s;
static struct sched_entry e[MANY];

static int empty(void **state) {
    (void)state;
    memset(&s, 0, sizeof s);
    memset(e, 0, sizeof e);
    return 0;
}

/* The entry whose turn it is; it is served, and comes back to the tail. -1: none. */
static int serve(enum sched_class class, int64_t now_ns) {
    int urgency;
    struct sched_entry *next = sched_peek(&s, class, now_ns, &urgency);
    if (next == NULL)
        return -1;
    unsigned level = next->urgency;
    sched_remove(&s, next);
    sched_put(&s, next, class, level, now_ns);
    return (int)(next - e);
}

/* The same, but it does not come back. */
static int finish(enum sched_class class, int64_t now_ns) {
    int urgency;
    struct sched_entry *next = sched_peek(&s, class, now_ns, &urgency);
    if (next != NULL)
        sched_remove(&s, next);
    return next == NULL ? -1 : (int)(next - e);
}

static void nothing_waits_at_first(void **state) {
    (void)state;
    assert_int_equal(finish(SCHED_SHORT, 0), -1);
    assert_int_equal(finish(SCHED_LONG, 0), -1);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 0);
}

static void the_most_urgent_always_goes_first(void **state) {
    (void)state;
    for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
        sched_put(&s, &e[i], SCHED_LONG, (i * 5 + 3) % SCHEDULER_LEVELS, 1000 + i);
    for (int round = 0; round < 20; round++)
        assert_int_equal(e[serve(SCHED_LONG, 2000 + round)].urgency, 0);
    for (int level = 0; level < SCHEDULER_LEVELS; level++)
        assert_int_equal((finish(SCHED_LONG, 3000) * 5 + 3) % SCHEDULER_LEVELS, level);
}

static void equals_go_in_the_order_they_came(void **state) {
    (void)state;
    for (int i = 0; i < MANY; i++)
        sched_put(&s, &e[i], SCHED_SHORT, 3, 1000);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(finish(SCHED_SHORT, 1000), i);
}

static void equals_take_turns(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000);
    for (int turn = 0; turn < 30; turn++)
        assert_int_equal(serve(SCHED_LONG, 2000 + turn), turn % 3);
}

static void a_new_one_waits_for_one_round_at_most(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000);
    serve(SCHED_LONG, 2000);
    sched_put(&s, &e[3], SCHED_LONG, 3, 2001);
    int turns = 1;
    while (serve(SCHED_LONG, 3000 + turns) != 3)
        turns++;
    assert_true(turns <= 4);
}

static void classes_do_not_mix(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 0, 1);
    sched_put(&s, &e[1], SCHED_SHORT, 7, 1);
    assert_int_equal(s.count[SCHED_LONG], 1);
    assert_int_equal(s.count[SCHED_SHORT], 1);
    assert_int_equal(finish(SCHED_SHORT, 2), 1);
    assert_int_equal(finish(SCHED_SHORT, 2), -1);
    assert_int_equal(finish(SCHED_LONG, 2), 0);
}

static void waiting_raises_by_one_level_at_a_time(void **state) {
    (void)state;
    int urgency;
    sched_put(&s, &e[0], SCHED_LONG, 5, 1000);
    for (int level = 5; level > -4; level--) {
        int64_t now_ns = 1000 + (5 - level) * SCHEDULER_AGE_NS;
        sched_peek(&s, SCHED_LONG, now_ns, &urgency);
        assert_int_equal(urgency, level);
        sched_peek(&s, SCHED_LONG, now_ns + SCHEDULER_AGE_NS - 1, &urgency);
        assert_int_equal(urgency, level);
    }
}

static void a_very_long_wait_overflows_nothing(void **state) {
    (void)state;
    int urgency;
    sched_put(&s, &e[0], SCHED_LONG, 7, 0);
    assert_ptr_equal(sched_peek(&s, SCHED_LONG, INT64_MAX, &urgency), &e[0]);
    assert_true(urgency < 0);
}

/* The most urgent job has endless work, and is served every millisecond. */
static void nothing_starves(void **state) {
    (void)state;
    int64_t now_ns = 0;
    sched_put(&s, &e[0], SCHED_LONG, 0, 0);
    for (int i = 1; i <= 7; i++)
        sched_put(&s, &e[i], SCHED_LONG, (unsigned)i, 0);
    unsigned served[8] = {0};
    for (; now_ns < 100 * SCHEDULER_AGE_NS; now_ns += 1000000)
        served[serve(SCHED_LONG, now_ns)]++;
    for (int i = 1; i <= 7; i++)
        assert_in_range(served[i], 100 / (i + 1), 100 / i + 1); /* once in `i` ages, and a turn or two for the ties */
}

static void after_its_turn_an_aged_one_is_as_urgent_as_it_was(void **state) {
    (void)state;
    int64_t now_ns = 10 * SCHEDULER_AGE_NS;
    sched_put(&s, &e[7], SCHED_LONG, 7, 0);
    sched_put(&s, &e[0], SCHED_LONG, 0, now_ns);
    assert_int_equal(serve(SCHED_LONG, now_ns), 7);
    for (int i = 0; i < 10; i++)
        assert_int_equal(serve(SCHED_LONG, now_ns + i), 0);
}

static void any_entry_can_be_taken_out(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000 + i);
    sched_remove(&s, &e[2]);
    sched_remove(&s, &e[2]);
    sched_remove(&s, &e[0]);
    sched_remove(&s, &e[4]);
    assert_int_equal(s.count[SCHED_LONG], 2);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 1001);
    assert_int_equal(finish(SCHED_LONG, 2000), 1);
    assert_int_equal(finish(SCHED_LONG, 2000), 3);
    assert_int_equal(finish(SCHED_LONG, 2000), -1);
    sched_put(&s, &e[2], SCHED_SHORT, 1, 3000);
    assert_int_equal(finish(SCHED_SHORT, 3000), 2);
}

static void an_entry_is_in_one_queue_only(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 3, 1000);
    sched_put(&s, &e[0], SCHED_SHORT, 0, 2000);
    assert_int_equal(s.count[SCHED_SHORT], 0);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 1000);
    assert_int_equal(finish(SCHED_LONG, 3000), 0);
    assert_int_equal(finish(SCHED_LONG, 3000), -1);
}

static void an_urgency_out_of_range_is_the_least(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 200, 1000);
    sched_put(&s, &e[1], SCHED_LONG, 7, 1001);
    assert_int_equal(finish(SCHED_LONG, 2000), 0);
    assert_int_equal(finish(SCHED_LONG, 2000), 1);
}

#define TEST(name) cmocka_unit_test_setup(name, empty)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_waits_at_first),
        TEST(the_most_urgent_always_goes_first),
        TEST(equals_go_in_the_order_they_came),
        TEST(equals_take_turns),
        TEST(a_new_one_waits_for_one_round_at_most),
        TEST(classes_do_not_mix),
        TEST(waiting_raises_by_one_level_at_a_time),
        TEST(a_very_long_wait_overflows_nothing),
        TEST(nothing_starves),
        TEST(after_its_turn_an_aged_one_is_as_urgent_as_it_was),
        TEST(any_entry_can_be_taken_out),
        TEST(an_entry_is_in_one_queue_only),
        TEST(an_urgency_out_of_range_is_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
