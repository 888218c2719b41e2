/* config_options_test.c: the table of offloadd's options: its rows are good, and this is what the manual says of them.
 * See server/config_options.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/config_options.h"

static void the_rows_are_sorted_and_say_all_that_the_manual_needs(void **state) {
    (void)state;
    size_t count;
    const struct config_option *rows = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct config_option *r = &rows[i];
        if (i > 0)
            assert_true(strcmp(rows[i - 1].name, r->name) < 0);
        assert_ptr_equal(config_find_option(r->name), r);
        assert_non_null(r->help);
        assert_true(r->fallback == NULL || r->decided == NULL);
        assert_true(r->kind > CONFIG_TIME || r->min < r->max);
        assert_true((r->kind == CONFIG_WORD) == (r->words != NULL));
        assert_true((r->kind == CONFIG_TEXT || r->kind == CONFIG_LIST) == (r->value != NULL));
        assert_true(strlen(r->name) + sizeof "OFFLOAD_" <= CONFIG_VARIABLE_SIZE);
    }
    assert_null(config_find_option("max-bodies"));
}

static void no_two_rows_share_a_field(void **state) {
    (void)state;
    size_t count;
    const struct config_option *rows = config_options(&count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(rows[i].offset, rows[k].offset);
}

static void the_variable_has_the_name_of_the_option(void **state) {
    (void)state;
    char name[CONFIG_VARIABLE_SIZE];
    config_variable_of(config_find_option("max-body"), name);
    assert_string_equal(name, "OFFLOAD_MAX_BODY");
}

static void assert_words(const char *option, const char *value, const char *range) {
    struct buf b = {0};
    config_write_value(&b, config_find_option(option));
    assert_string_equal(b.data, value);
    buf_deinit(&b);
    config_write_range(&b, config_find_option(option));
    assert_string_equal(b.data == NULL ? "" : b.data, range);
    buf_deinit(&b);
}

static void values_and_ranges_are_written_in_the_largest_unit(void **state) {
    (void)state;
    assert_words("cancel-grace", "TIME", "10ms to 1m");
    assert_words("max-body", "SIZE", "1KiB to 1024GiB");
    assert_words("max-jobs-per-worker", "N", "0 and more");
    assert_words("job-timeout", "TIME", "1ms to 720h");
    assert_words("log-format", "text|json", "");
    assert_words("help", "true|false", "");
    assert_words("listen", "ADDRESS", "");
}

static void a_list_begins_anew_with_each_source(void **state) {
    (void)state;
    struct config c = {.check_config = false};
    struct buf error = {0};
    const struct config_option *listen = config_find_option("listen");
    assert_int_equal(config_set_option(&c, listen, "a:1", 1, &error), 0);
    assert_int_equal(config_set_option(&c, listen, "a:2", 1, &error), 0);
    assert_int_equal(c.listen.count, 2);
    assert_int_equal(config_set_option(&c, listen, "b:1", 2, &error), 0);
    assert_int_equal(c.listen.count, 1);
    assert_string_equal(c.listen.at[0], "b:1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rows_are_sorted_and_say_all_that_the_manual_needs),
        cmocka_unit_test(no_two_rows_share_a_field),
        cmocka_unit_test(the_variable_has_the_name_of_the_option),
        cmocka_unit_test(values_and_ranges_are_written_in_the_largest_unit),
        cmocka_unit_test(a_list_begins_anew_with_each_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
