/* array_test.c: growing arrays, base/array.c: the memory is the test's, so that it can run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned allocations;
static bool out_of_memory;

static void *reallocarray_or_fail(void *array, size_t count, size_t size) {
    allocations++;
    return out_of_memory ? NULL : reallocarray(array, count, size);
}

#define reallocarray reallocarray_or_fail
#include "base/array.c" /* its allocations can be made to fail */
#undef reallocarray

struct pair {
    int number, twice;
};

static int reset(void **state) {
    (void)state;
    allocations = 0;
    out_of_memory = false;
    return 0;
}

static void the_elements_stay_when_an_array_grows(void **state) {
    (void)state;
    struct pair *pairs = NULL;
    size_t count = 0, room = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(GROW_ARRAY(&pairs, count, &room), 0);
        assert_true(room > count);
        pairs[count++] = (struct pair){i, 2 * i};
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pairs[i].number, i);
        assert_int_equal(pairs[i].twice, 2 * i);
    }
    free(pairs);
}

static void room_is_doubled_when_it_is_used_up(void **state) {
    (void)state;
    static const size_t rooms[] = {16, 32, 64, 128};
    int *numbers = NULL;
    size_t count = 0, room = 0;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(GROW_ARRAY(&numbers, count, &room), 0);
        assert_int_equal(room, rooms[i]);
        count = room;
    }
    assert_int_equal(allocations, 4);
    free(numbers);
}

static void an_array_with_room_is_left_alone(void **state) {
    (void)state;
    int *numbers = NULL;
    size_t room = 0;
    assert_int_equal(GROW_ARRAY(&numbers, 0, &room), 0);
    int *before = numbers;
    for (size_t count = 0; count < room; count++)
        assert_int_equal(GROW_ARRAY(&numbers, count, &room), 0);
    assert_ptr_equal(numbers, before);
    assert_int_equal(allocations, 1);
    free(numbers);
}

static void an_array_stays_as_it_was_when_memory_runs_out(void **state) {
    (void)state;
    int *numbers = NULL;
    size_t count = 0, room = 0;
    out_of_memory = true;
    assert_int_equal(GROW_ARRAY(&numbers, count, &room), -1);
    assert_null(numbers);
    assert_int_equal(room, 0);
    out_of_memory = false;
    while (count < 16) {
        assert_int_equal(GROW_ARRAY(&numbers, count, &room), 0);
        numbers[count] = (int)count;
        count++;
    }
    int *before = numbers;
    out_of_memory = true;
    assert_int_equal(GROW_ARRAY(&numbers, count, &room), -1);
    assert_ptr_equal(numbers, before);
    assert_int_equal(room, 16);
    assert_int_equal(numbers[15], 15);
    free(numbers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_elements_stay_when_an_array_grows, reset),
        cmocka_unit_test_setup(room_is_doubled_when_it_is_used_up, reset),
        cmocka_unit_test_setup(an_array_with_room_is_left_alone, reset),
        cmocka_unit_test_setup(an_array_stays_as_it_was_when_memory_runs_out, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
