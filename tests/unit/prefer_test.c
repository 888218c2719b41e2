/* prefer_test.c: the headers Prefer (RFC 7240), Accept (RFC 9110) and Priority (RFC 9218),
 * server/api/prefer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/api/prefer.h"

static struct prefer parse(const char *line) {
    struct prefer p = {0};
    prefer_parse(&p, line);
    return p;
}

static void assert_wait(const char *line, int64_t expected) {
    struct prefer p = parse(line);
    assert_int_equal(p.has_wait ? p.wait_s : -1, expected);
}

static void preferences_are_found_in_any_company(void **state) {
    (void)state;
    struct prefer p = parse("handling=lenient, RESPOND-ASYNC ,\twait=10 , return = minimal; foo=\"bar\"");
    assert_true(p.respond_async && p.has_wait && p.minimal);
    assert_int_equal(p.wait_s, 10);
    assert_true(parse("return=\"representation\"").representation);
    p = parse("");
    assert_false(p.respond_async || p.has_wait || p.minimal || p.representation);
    p = parse(",, ,;,=,");
    assert_false(p.respond_async || p.has_wait || p.minimal || p.representation);
}

static void what_only_looks_like_a_preference_is_ignored(void **state) {
    (void)state;
    assert_false(parse("respond-asynchronously").respond_async);
    assert_false(parse("respond").respond_async);
    assert_false(parse("foo; respond-async").respond_async);
    assert_false(parse("return=minimalist").minimal);
    assert_false(parse("return=").minimal);
}

static void a_wait_is_a_whole_number_of_seconds(void **state) {
    (void)state;
    assert_wait("wait=0", 0);
    assert_wait("wait=\"7\"", 7);
    assert_wait("Wait=007", 7);
    assert_wait("wait=5;x=1", 5);
    assert_wait("wait", -1);
    assert_wait("wait=", -1);
    assert_wait("wait=-1", -1);
    assert_wait("wait=1.5", -1);
    assert_wait("wait=5s", -1);
    assert_wait("wait=\"5", -1);
    assert_wait("wait=999999999999999999", 1000000000);
    assert_wait("wait=99999999999999999999999", 1000000000); /* the most, not nothing */
    assert_wait("foo=\"a, wait=5, b\"", -1);
    assert_wait("foo=\"a\\\", wait=5, b\", wait=6", 6);
}

static void the_first_wait_counts_over_all_lines(void **state) {
    (void)state;
    assert_wait("wait=5, wait=9", 5);
    struct prefer p = parse("wait=5");
    prefer_parse(&p, "wait=9, respond-async");
    assert_int_equal(p.wait_s, 5);
    assert_true(p.respond_async);
}

static void an_urgency_is_one_digit(void **state) {
    (void)state;
    for (int u = 0; u <= 7; u++)
        assert_int_equal(priority_parse((char[]){'u', '=', (char)('0' + u), '\0'}), u);
    assert_int_equal(priority_parse("i, u=5"), 5);
    assert_int_equal(priority_parse("u=2, i"), 2);
    assert_int_equal(priority_parse("u=1;x=2 ,i"), 1);
    static const char *const bad[] = {"",      "u",       "u=",   "u=8", "u=-1", "u=12",
                                      "u=1.0", "u=\"1\"", "u =1", "U=1", "i",    "v=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(priority_parse(bad[i]), -1);
    assert_int_equal(priority_parse(NULL), -1);
}

static void the_last_urgency_counts(void **state) {
    (void)state;
    assert_int_equal(priority_parse("u=1, u=6"), 6);
    assert_int_equal(priority_parse("u=1, u=9"), -1);
}

static void members_of_other_names_leave_the_urgency_alone(void **state) {
    (void)state;
    assert_int_equal(priority_parse("u=1, ux=5"), 1);
    assert_int_equal(priority_parse("u=1, urgent"), 1);
    assert_int_equal(priority_parse("urgent, u=1"), 1);
}

static bool prefers_lines(const char *first, const char *second) {
    struct accept a = accept_of("application/x-ndjson", "application/json");
    accept_parse(&a, first);
    accept_parse(&a, second);
    return accept_prefers_first(&a);
}

static void a_type_is_preferred_by_its_name_and_quality(void **state) {
    (void)state;
    static const char *const yes[] = {"application/x-ndjson",
                                      "APPLICATION/X-NDJSON;q=0.1",
                                      "application/x-ndjson, */*",
                                      "*/*;q=0.2,application/x-ndjson;q=0.3",
                                      "application/x-ndjson ; v=\"1\" ; q=1, text/html",
                                      "application/json;q=0.9, application/x-ndjson",
                                      "application/json;q=0, application/x-ndjson",
                                      "application/*;q=0.5, */*;q=0.9, application/x-ndjson;q=0.6"};
    static const char *const no[] = {"",
                                     "*/*",
                                     "application/*",
                                     "application/json",
                                     "application/json, application/x-ndjson",
                                     "application/x-ndjson;q=0",
                                     "application/x-ndjson;q=0.000",
                                     "application/x-ndjsonx",
                                     "application/x-ndjson;q=0.5, */*",
                                     "application/*, application/x-ndjson;q=0.9",
                                     "text/html;x=application/x-ndjson",
                                     "text/html;x=\", application/x-ndjson, \"",
                                     "application/x-ndjson;q=2",
                                     "application/x-ndjson;q=0x1",
                                     ",,;,=",
                                     "application/x-ndjson;q=0.5;q=0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(prefers_lines(yes[i], ""));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(prefers_lines(no[i], ""));
    assert_true(prefers_lines("application/json;q=0.5", "application/x-ndjson"));
    assert_false(prefers_lines("application/x-ndjson", "application/json"));
}

static bool prefers_by_type(const char *line) {
    struct accept a = accept_of("image/png; x=1", "application/json");
    a.by_type = true;
    accept_parse(&a, line);
    return accept_prefers_first(&a);
}

static void a_range_of_its_type_names_the_first_only_if_that_is_wanted(void **state) {
    (void)state;
    static const char *const yes[] = {"image/png",
                                      "image/*",
                                      "IMAGE/*;q=0.1",
                                      "image/*, */*",
                                      "image/*;q=0, image/png",
                                      "image/avif,image/webp,image/*;q=0.9,*/*;q=0.8"};
    static const char *const no[] = {"*/*",
                                     "image/",
                                     "image/*;q=0",
                                     "image/png;q=0, image/*",
                                     "image/*x",
                                     "text/*",
                                     "image/*, application/json",
                                     "image/*;q=0.5, */*"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(prefers_by_type(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(prefers_by_type(no[i]));
    assert_false(prefers_lines("application/*", ""));
}

static void ranges_are_read_in_their_order(void **state) {
    (void)state;
    struct accept_ranges a = {0};
    accept_ranges_parse(&a, "Image/WebP;q=0.5, image/*, bad, x/y;q=7, */*;q=0");
    accept_ranges_parse(&a, "application/json");
    static const char *const names[] = {"image/webp", "image/", "", "application/json"};
    static const unsigned weights[] = {500, 1000, 0, 1000};
    assert_int_equal(a.count, 4);
    for (size_t i = 0; i < a.count; i++) {
        assert_string_equal(a.list[i].name, names[i]);
        assert_int_equal(a.list[i].quality, weights[i]);
    }
    assert_true(a.names_other);
    struct accept_ranges plain = {0};
    accept_ranges_parse(&plain, "application/json, */*");
    assert_int_equal(plain.count, 2);
    assert_false(plain.names_other);
}

static void too_many_and_too_long_ranges_are_left_out(void **state) {
    (void)state;
    struct accept_ranges a = {0};
    char line[HANDLER_MAX_MEDIA_TYPE + 20] = "image/";
    memset(line + 6, 'x', HANDLER_MAX_MEDIA_TYPE - 6);
    accept_ranges_parse(&a, line);
    assert_int_equal(a.count, 1);
    assert_string_equal(a.list[0].name, line);
    line[HANDLER_MAX_MEDIA_TYPE] = 'x';
    accept_ranges_parse(&a, line);
    assert_int_equal(a.count, 1);
    for (int i = 0; i < 2 * ACCEPT_MAX_RANGES; i++)
        accept_ranges_parse(&a, "a/b");
    assert_int_equal(a.count, ACCEPT_MAX_RANGES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preferences_are_found_in_any_company),
        cmocka_unit_test(what_only_looks_like_a_preference_is_ignored),
        cmocka_unit_test(a_wait_is_a_whole_number_of_seconds),
        cmocka_unit_test(a_type_is_preferred_by_its_name_and_quality),
        cmocka_unit_test(a_range_of_its_type_names_the_first_only_if_that_is_wanted),
        cmocka_unit_test(ranges_are_read_in_their_order),
        cmocka_unit_test(too_many_and_too_long_ranges_are_left_out),
        cmocka_unit_test(the_first_wait_counts_over_all_lines),
        cmocka_unit_test(an_urgency_is_one_digit),
        cmocka_unit_test(the_last_urgency_counts),
        cmocka_unit_test(members_of_other_names_leave_the_urgency_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
