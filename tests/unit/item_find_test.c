/* item_find_test.c: one item of a map's merged result: server/api/item_find.c. The text is read in steps of every size,
 * and is damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/api/item_find.h"

static const char items[] = "{\"items\":[{\"status\":\"succeeded\",\"result\":{\"a\":[1,\"],}\"]}},"
                            "{\"status\":\"failed\",\"error\":{\"code\":\"x\"}},"
                            "{\"status\":\"succeeded\",\"result\":7}]}";
static const char columns[] = "{\"results\":[{\"a\":1},null, null,\"],\\\"\",12],"
                              "\"errors\":[{\"index\":1,\"error\":{\"code\":\"y\"}}]}";

/* Looks for it in steps of so many bytes. The text is a copy on the heap, so that a sanitizer sees what is read beyond. */
static enum item_found find(const char *text, size_t size, uint32_t index, size_t step, char value[64]) {
    char *copy = malloc(size + 1);
    struct item_search s = {.index = index};
    enum item_found found = ITEM_UNDECIDED;
    assert_non_null(copy);
    memcpy(copy, text, size);
    for (size_t turns = 0; found == ITEM_UNDECIDED; turns++) {
        assert_true(turns <= 3 * size + 3);
        found = item_search_step(&s, copy, size, step);
    }
    if (found != ITEM_BAD) {
        assert_true(s.at <= size && s.size <= size - s.at && s.size < 64);
        memcpy(value, copy + s.at, s.size);
        value[s.size] = '\0';
    }
    free(copy);
    return found;
}

static void assert_item(const char *text, uint32_t index, enum item_found what, const char *expected) {
    char value[64];
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        assert_int_equal(find(text, strlen(text), index, step, value), what);
        if (what != ITEM_BAD)
            assert_string_equal(value, expected);
    }
}

static void an_item_is_its_result_or_its_problem(void **state) {
    (void)state;
    assert_item(items, 0, ITEM_RESULT, "{\"a\":[1,\"],}\"]}");
    assert_item(items, 1, ITEM_ERROR, "{\"code\":\"x\"}");
    assert_item(items, 2, ITEM_RESULT, "7");
    assert_item(items, 3, ITEM_BAD, "");
}

static void a_call_by_columns_is_its_result_or_its_problem(void **state) {
    (void)state;
    assert_item(columns, 0, ITEM_RESULT, "{\"a\":1}");
    assert_item(columns, 1, ITEM_ERROR, "{\"code\":\"y\"}");
    assert_item(columns, 2, ITEM_RESULT, "null");
    assert_item(columns, 3, ITEM_RESULT, "\"],\\\"\"");
    assert_item(columns, 4, ITEM_RESULT, "12");
    assert_item(columns, 5, ITEM_BAD, "");
}

static void a_text_that_is_cut_anywhere_gives_nothing_wrong(void **state) {
    (void)state;
    char value[64], whole[64];
    for (size_t size = 0; size < sizeof items - 1; size++)
        for (uint32_t index = 0; index < 3; index++)
            if (find(items, size, index, 5, value) != ITEM_BAD) {
                assert_int_not_equal(find(items, sizeof items - 1, index, 1000, whole), ITEM_BAD);
                assert_string_equal(value, whole);
            }
    for (size_t size = 0; size < sizeof columns - 1; size++)
        assert_int_equal(find(columns, size, 5, 3, value), ITEM_BAD);
}

static void a_text_that_is_no_list_of_items_is_bad(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "{}",
                                        "{\"items\":",
                                        "{\"items\":[]}",
                                        "{\"items\":[ {}]}",
                                        "{\"items\":[  ",
                                        "{\"items\":[,,",
                                        "{\"items\":[]]",
                                        "{\"items\":[{}]}",
                                        "{\"items\":[{\"status\":\"succeeded\",\"result\":}]}",
                                        "{\"items\":[{\"status\":\"succeeded\",\"result\":",
                                        "{\"items\":[\"",
                                        "{\"results\":[],\"errors\":[]}",
                                        "{\"results\":[null],\"errors\":[]}",
                                        "{\"results\":[  null],\"errors\":[]}",
                                        "{\"results\":[null],\"errors\":[{\"index\":99999999999,\"error\":1}]}",
                                        "{\"results\":[null],\"errors\":[{\"index\":0,\"error\":}]}",
                                        "{\"results\":[null],\"errors\":[0"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_item(wrong[i], 0, ITEM_BAD, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_its_result_or_its_problem),
        cmocka_unit_test(a_call_by_columns_is_its_result_or_its_problem),
        cmocka_unit_test(a_text_that_is_cut_anywhere_gives_nothing_wrong),
        cmocka_unit_test(a_text_that_is_no_list_of_items_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
