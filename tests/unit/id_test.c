/* id_test.c: job ids, base/id.c: UUIDs of version 7 that sort in the order in which they were made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

/* One process, one sequence: times of later tests lie after those of earlier ones. */
#define TIME_1 INT64_C(1700000000000)
#define TIME_2 INT64_C(1800000000000)
#define TIME_3 INT64_C(1900000000000)

static int compare(const struct id *a, const struct id *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static void an_id_is_a_uuid_of_version_7_with_its_time_in_front(void **state) {
    (void)state;
    struct id id = id_new(TIME_1);
    char text[ID_TEXT_SIZE];
    id_format(&id, text);
    assert_int_equal(strlen(text), ID_TEXT_SIZE - 1);
    assert_memory_equal(text, "018bcfe5-6800-7", 15);
    assert_non_null(strchr("89ab", text[19]));
    assert_int_equal(strspn(text, "0123456789abcdef-"), ID_TEXT_SIZE - 1);
}

static void ids_of_one_millisecond_sort_in_their_order(void **state) {
    (void)state;
    struct id before = id_new(TIME_2);
    for (int i = 0; i < 20000; i++) { /* more than the counter holds */
        struct id next = id_new(TIME_2);
        assert_true(compare(&before, &next) < 0);
        assert_int_equal(next.bytes[6] >> 4, 7);
        before = next;
    }
}

static void ids_sort_in_their_order_even_when_the_clock_goes_back(void **state) {
    (void)state;
    struct id before = id_new(TIME_3);
    for (int i = 0; i < 1000; i++) {
        struct id next = id_new(TIME_3 - i * 1000);
        assert_true(compare(&before, &next) < 0);
        before = next;
    }
    struct id later = id_new(TIME_3 + 1000);
    assert_true(compare(&before, &later) < 0);
}

static void ids_follow_those_of_an_earlier_process(void **state) {
    (void)state;
    struct id earlier, now = id_new(TIME_3 + 5000);
    assert_true(id_parse("7fa27f0e-abcd-7fff-bfff-ffffffffffff", &earlier));
    assert_true(compare(&now, &earlier) < 0);
    id_follow(&earlier);
    struct id next = id_new(TIME_3 + 5000);
    assert_true(compare(&earlier, &next) < 0);
    id_follow(&earlier); /* has no effect then */
    struct id last = id_new(TIME_3 + 5000);
    assert_true(compare(&next, &last) < 0);
}

static void text_and_id_are_the_same_thing(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct id id, back;
        char text[ID_TEXT_SIZE];
        id_random(id.bytes, sizeof id.bytes);
        id_format(&id, text);
        assert_true(id_parse(text, &back));
        assert_int_equal(compare(&id, &back), 0);
    }
}

static void upper_case_is_read_too(void **state) {
    (void)state;
    struct id a, b;
    assert_true(id_parse("01927f0e-abcd-7abc-8def-0123456789ab", &a));
    assert_true(id_parse("01927F0E-ABCD-7ABC-8DEF-0123456789AB", &b));
    assert_int_equal(compare(&a, &b), 0);
}

static void what_is_no_id_is_not_read(void **state) {
    (void)state;
    static const char good[] = "01927f0e-abcd-7abc-8def-0123456789ab";
    struct id id;
    for (size_t n = 0; n < sizeof good - 1; n++) {
        char text[sizeof good + 1];
        memcpy(text, good, sizeof good);
        text[n] = '\0'; /* cut */
        assert_false(id_parse(text, &id));
        text[n] = 'g'; /* neither hex nor a dash */
        assert_false(id_parse(text, &id));
        text[n] = good[n] == '-' ? '0' : '-';
        assert_false(id_parse(text, &id));
    }
    assert_false(id_parse("01927f0e-abcd-7abc-8def-0123456789ab0", &id));
    assert_false(id_parse("01927f0e-abcd-7abc-8def-0123456789ab/", &id));
    assert_false(id_parse("01927f0eabcd7abc8def0123456789ab", &id));
}

static void random_bytes_differ(void **state) {
    (void)state;
    uint8_t seen[2048][8];
    for (int i = 0; i < 2048; i++) {
        id_random(seen[i], sizeof seen[i]);
        for (int k = 0; k < i && i < 300; k++)
            assert_memory_not_equal(seen[i], seen[k], sizeof seen[i]);
    }
    uint8_t large[1024] = {0}, zeros[1024] = {0};
    id_random(large, sizeof large);
    assert_memory_not_equal(large, zeros, sizeof large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_a_uuid_of_version_7_with_its_time_in_front),
        cmocka_unit_test(ids_of_one_millisecond_sort_in_their_order),
        cmocka_unit_test(ids_sort_in_their_order_even_when_the_clock_goes_back),
        cmocka_unit_test(ids_follow_those_of_an_earlier_process),
        cmocka_unit_test(text_and_id_are_the_same_thing),
        cmocka_unit_test(upper_case_is_read_too),
        cmocka_unit_test(what_is_no_id_is_not_read),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
