/* trace_test.c: traceparent and tracestate (W3C Trace Context), server/model/trace.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/model/trace.h"

#define IDS  "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
#define GOOD "00-" IDS "-01"

/* Up to two lines of each header. */
static void check(const char *parent, const char *second, const char *state1, const char *state2,
                  const char *expected) {
    struct trace_reader t = {0};
    if (parent != NULL)
        trace_add_parent(&t, parent);
    if (second != NULL)
        trace_add_parent(&t, second);
    if (state1 != NULL)
        trace_add_state(&t, state1);
    if (state2 != NULL)
        trace_add_state(&t, state2);
    const char *text = trace_text(&t);
    if (expected == NULL && text != NULL)
        fail_msg("%s is not invalid", parent);
    if (expected != NULL && text == NULL)
        fail_msg("%s is not valid", parent);
    if (expected != NULL)
        assert_string_equal(text, expected);
    trace_deinit(&t);
}

static void check_parent(const char *parent, const char *expected) {
    check(parent, NULL, NULL, NULL, expected);
}

static void a_traceparent_has_its_exact_form(void **state) {
    (void)state;
    check_parent(GOOD, GOOD);
    check(NULL, NULL, "a=1", NULL, NULL);
    for (size_t i = 0; i < sizeof GOOD - 1; i++) {
        char text[sizeof GOOD] = GOOD;
        text[i] = 'G';
        check_parent(text, NULL);
        text[i] = '\0';
        check_parent(text, NULL);
    }
    check_parent("", NULL);
    check_parent("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", NULL);
    check_parent("00-00000000000000000000000000000000-00f067aa0ba902b7-01", NULL);
    check_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", NULL);
    check_parent(GOOD "1", NULL);
    check_parent(GOOD "-", NULL);
    check_parent(GOOD "-extra", NULL);
}

static void white_space_around_it_does_not_count(void **state) {
    (void)state;
    check_parent(" " GOOD, GOOD);
    check_parent(GOOD "\t", GOOD);
    check_parent("\t " GOOD " \t", GOOD);
    check_parent("00 -" IDS "-01", NULL);
}

static void a_later_version_is_read_as_version_00(void **state) {
    (void)state;
    check_parent("cc-" IDS "-01", GOOD);
    check_parent("01-" IDS "-01", GOOD);
    check_parent("cc-" IDS "-01-", GOOD);
    check_parent("cc-" IDS "-01-what-the-future-will-be-like", GOOD);
    check_parent("cc-" IDS "-01.what", NULL);
    check_parent("cc-" IDS "-011", NULL);
    check_parent("ff-" IDS "-01", NULL);
    check_parent("CC-" IDS "-01", NULL);
}

static void unknown_flags_are_not_passed_on(void **state) {
    (void)state;
    check_parent("00-" IDS "-00", "00-" IDS "-00");
    check_parent("00-" IDS "-03", "00-" IDS "-03");
    check_parent("00-" IDS "-fd", GOOD);
}

static void two_lines_start_a_new_trace(void **state) {
    (void)state;
    check(GOOD, GOOD, NULL, NULL, NULL);
    check("hello", GOOD, NULL, NULL, NULL);
    check(GOOD, "hello", NULL, NULL, NULL);
}

static void a_tracestate_goes_along(void **state) {
    (void)state;
    check(GOOD, NULL, "a=1", NULL, GOOD " a=1");
    check(GOOD, NULL, " rojo=00f067aa0ba902b7 ,\tcongo=t61 rcWkgMzE ,", NULL,
          GOOD " rojo=00f067aa0ba902b7,congo=t61 rcWkgMzE");
    check(GOOD, NULL, "a=1", "b=2", GOOD " a=1,b=2");
    check(GOOD, NULL, "t@v-_*/9=x", NULL, GOOD " t@v-_*/9=x");
    check(GOOD, NULL, "", ",,", GOOD);
    check("hello", NULL, "a=1", NULL, NULL);
}

static void an_invalid_tracestate_is_left_out(void **state) {
    (void)state;
    static const char *const bad[] = {"a",     "=1",    "a=",          "A=1",  "a=1=2",
                                      "a=1,b", "a b=1", "a=\"x\x80\"", "-a=1", "a=1;b"};
    for (size_t i = 0; i + 1 < sizeof bad / sizeof bad[0]; i++)
        check(GOOD, NULL, bad[i], NULL, GOOD);
    check(GOOD, NULL, "a=1;b", NULL, GOOD " a=1;b");
}

static void append_members(char *to, unsigned count) {
    size_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += (size_t)sprintf(to + n, "%sm%u=1", i > 0 ? "," : "", i);
}

static void a_tracestate_has_32_members_at_most(void **state) {
    (void)state;
    char text[1024], expected[sizeof text + sizeof GOOD + 1];
    append_members(text, 32);
    snprintf(expected, sizeof expected, "%s %s", GOOD, text);
    check(GOOD, NULL, text, NULL, expected);
    append_members(text, 33);
    check(GOOD, NULL, text, NULL, GOOD);
}

/* Long members go first, then those at the end; what is left is whole. */
static void a_long_tracestate_is_cut_between_members(void **state) {
    (void)state;
    char text[2000], expected[1000];
    char x[101];
    memset(x, 'x', 100);
    x[100] = '\0';
    snprintf(text, sizeof text, "a=%s,long=%s%s,b=%s,c=%s,d=%s,e=%s,f=%s", x, x, x, x, x, x, x, x);
    snprintf(expected, sizeof expected, "%s a=%s,b=%s,c=%s,d=%s", GOOD, x, x, x, x);
    check(GOOD, NULL, text, NULL, expected);
}

static void a_text_has_both(void **state) {
    (void)state;
    char parent[TRACE_PARENT_SIZE];
    assert_string_equal(trace_parent(GOOD, parent), GOOD);
    assert_null(trace_state(GOOD));
    assert_string_equal(trace_parent(GOOD " a=b c", parent), GOOD);
    assert_string_equal(trace_state(GOOD " a=b c"), "a=b c");
    assert_null(trace_parent(NULL, parent));
    assert_null(trace_parent("", parent));
    assert_null(trace_state(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_has_its_exact_form),
        cmocka_unit_test(white_space_around_it_does_not_count),
        cmocka_unit_test(a_later_version_is_read_as_version_00),
        cmocka_unit_test(unknown_flags_are_not_passed_on),
        cmocka_unit_test(two_lines_start_a_new_trace),
        cmocka_unit_test(a_tracestate_goes_along),
        cmocka_unit_test(an_invalid_tracestate_is_left_out),
        cmocka_unit_test(a_tracestate_has_32_members_at_most),
        cmocka_unit_test(a_long_tracestate_is_cut_between_members),
        cmocka_unit_test(a_text_has_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
