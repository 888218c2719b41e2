/* held_test.c: the account of what requests make the process hold, and who is asked for memory when it is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/held.h"

/* A reclaimer that has that much to give. */
struct giver {
    const char *name;
    enum held what;
    size_t has;
};

static struct buf asked; /* "name bytes; " for each call */

static void give(void *arg, size_t bytes) {
    struct giver *g = arg;
    size_t n = bytes < g->has ? bytes : g->has;
    buf_printf(&asked, "%s %zu; ", g->name, bytes);
    held_sub(g->what, n);
    g->has -= n;
}

static int close_account(void **state) {
    (void)state;
    for (int i = 0; i < HELD_RECLAIMERS; i++)
        held_set_reclaimer((enum held_reclaimer)i, NULL, NULL);
    for (int i = 0; i < HELD_KINDS; i++)
        held_sub((enum held)i, held_bytes[i]);
    held_set_limit(UINT64_MAX);
    buf_deinit(&asked);
    held_check_empty();
    return 0;
}

static void the_total_is_the_sum_of_the_parts(void **state) {
    (void)state;
    size_t mine = 0;
    held_add(HELD_BODIES, 3);
    held_add(HELD_ANSWERS, 4);
    held_replace(HELD_ANSWERS, &mine, 10);
    held_replace(HELD_ANSWERS, &mine, 7);
    assert_int_equal(mine, 7);
    assert_int_equal(held_bytes[HELD_BODIES], 3);
    assert_int_equal(held_bytes[HELD_ANSWERS], 11);
    assert_int_equal(held_total, 14);
    held_sub(HELD_ANSWERS, 11);
    assert_int_equal(held_total, 3);
}

static void without_a_limit_all_fits(void **state) {
    (void)state;
    assert_true(held_make_room(HELD_FOR_NEW, SIZE_MAX / 2));
    held_add(HELD_BODIES, SIZE_MAX / 2);
    assert_true(held_make_room(HELD_FOR_WORK, SIZE_MAX / 4));
}

static void what_is_new_leaves_a_quarter_for_what_was_begun(void **state) {
    (void)state;
    held_set_limit(1000);
    held_add(HELD_PAYLOADS, 700);
    assert_true(held_make_room(HELD_FOR_NEW, 50));
    assert_false(held_make_room(HELD_FOR_NEW, 51));
    assert_true(held_make_room(HELD_FOR_WORK, 300));
    assert_false(held_make_room(HELD_FOR_WORK, 301));
    held_add(HELD_PAYLOADS, 301); /* it was not asked for before, and does not fit */
    assert_false(held_make_room(HELD_FOR_WORK, 0));
}

static void each_is_asked_for_what_the_ones_before_could_not_give(void **state) {
    (void)state;
    struct giver unread = {"unread", HELD_ANSWERS, 100}, remembered = {"remembered", HELD_PAYLOADS, 200},
                 stored = {"stored", HELD_PAYLOADS, 1000};
    held_set_limit(4000);
    held_add(HELD_ANSWERS, 1500);
    held_add(HELD_PAYLOADS, 1500);
    held_set_reclaimer(HELD_FROM_STORED, give, &stored);
    held_set_reclaimer(HELD_FROM_REMEMBERED, give, &remembered);
    held_set_reclaimer(HELD_FROM_UNREAD, give, &unread);
    assert_true(held_make_room(HELD_FOR_NEW, 50));
    assert_true(held_make_room(HELD_FOR_NEW, 400));
    assert_string_equal(asked.data, "unread 50; unread 350; remembered 300; stored 100; ");
    assert_true(held_total + 400 <= 3000);
}

/* Else a client could drive out all results by asking for much and not reading it. */
static void answers_drive_out_results_only_within_their_share(void **state) {
    (void)state;
    struct giver unread = {"unread", HELD_ANSWERS, 0}, remembered = {"remembered", HELD_PAYLOADS, 1 << 20};
    held_set_limit(4 << 20);
    held_add(HELD_PAYLOADS, 3 << 20);
    held_set_reclaimer(HELD_FROM_UNREAD, give, &unread);
    held_set_reclaimer(HELD_FROM_REMEMBERED, give, &remembered);
    assert_true(held_make_room(HELD_FOR_ANSWER, 1000000));
    assert_string_equal(asked.data, "unread 1000000; remembered 1000000; ");
    held_add(HELD_ANSWERS, 1000000);
    buf_clear(&asked);
    assert_false(held_make_room(HELD_FOR_ANSWER, 100000));
    assert_string_equal(asked.data, "unread 100000; ");
}

static void nobody_is_asked_for_what_can_never_fit(void **state) {
    (void)state;
    struct giver remembered = {"remembered", HELD_PAYLOADS, 200};
    held_set_limit(1000);
    held_add(HELD_PAYLOADS, 500);
    held_set_reclaimer(HELD_FROM_REMEMBERED, give, &remembered);
    assert_false(held_make_room(HELD_FOR_NEW, 751));
    assert_null(asked.data);
    assert_int_equal(held_total, 500);
}

static void every_part_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int i = 0; i < HELD_KINDS; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(held_name((enum held)i), held_name((enum held)k));
}

#define TEST(name) cmocka_unit_test_teardown(name, close_account)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_total_is_the_sum_of_the_parts),
        TEST(without_a_limit_all_fits),
        TEST(what_is_new_leaves_a_quarter_for_what_was_begun),
        TEST(each_is_asked_for_what_the_ones_before_could_not_give),
        TEST(answers_drive_out_results_only_within_their_share),
        TEST(nobody_is_asked_for_what_can_never_fit),
        TEST(every_part_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
