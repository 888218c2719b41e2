/* output_test.c: what handlers write, handlers/host/output.c and number.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/call.h"

/* A merge under way, without a handler. */
struct merge {
    struct buf json;
    struct fault fault;
    struct call call;
};

static struct call *begin(struct merge *m) {
    static const struct handler handler = {.name = "test"};
    memset(m, 0, sizeof *m);
    m->call = (struct call){.stage = CALL_STAGE_MERGE,
                            .handler = &handler,
                            .fault = &m->fault,
                            .out = &m->json,
                            .json_states = {JSON_DOCUMENT_START}};
    return &m->call;
}

static void end(struct merge *m) {
    fault_deinit(&m->fault);
    buf_deinit(&m->json);
}

static void assert_json(struct merge *m, const char *expected) {
    output_finish(&m->call);
    assert_false(m->call.failed);
    assert_string_equal(m->json.data, expected);
    end(m);
}

static void assert_malformed(struct merge *m) {
    output_finish(&m->call);
    assert_true(m->call.failed);
    assert_string_equal(m->fault.json.data,
                        "{\"code\":\"handler_failed\",\"detail\":\"handler wrote malformed JSON\"}");
    end(m);
}

static void assert_double(double value, const char *expected) {
    struct merge m;
    json_double(begin(&m), value);
    assert_json(&m, expected);
}

static void assert_float(float value, const char *expected) {
    struct merge m;
    json_float(begin(&m), value);
    assert_json(&m, expected);
}

static void commas_and_colons_are_put_where_they_belong(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_object(c);
    json_name(c, "a\"b");
    json_begin_array(c);
    json_u64(c, 1);
    json_bool(c, true);
    json_begin_object(c);
    json_end_object(c);
    json_begin_array(c);
    json_end_array(c);
    json_end_array(c);
    json_name(c, "t");
    json_text(c, "x\0\n", 3);
    json_name(c, "v");
    json_verbatim(c, "[null]", 6);
    json_end_object(c);
    assert_json(&m, "{\"a\\\"b\":[1,true,{},[]],\"t\":\"x\\u0000\\n\",\"v\":[null]}");
}

static void verbatim_json_loses_the_space_around_it(void **state) {
    (void)state;
    struct merge m;
    json_verbatim(begin(&m), "\n\t\r [ 1 ] \n", 11);
    assert_json(&m, "[ 1 ]");
    json_verbatim(begin(&m), " ", 1);
    assert_malformed(&m);
}

static void text_that_is_not_utf8_is_repaired(void **state) {
    (void)state;
    struct merge m;
    json_text(begin(&m), "a\xFF", 2);
    assert_json(&m, "\"a\xEF\xBF\xBD\"");
}

static void integers_beyond_2_to_the_53_are_strings(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_array(c);
    json_u64(c, 9007199254740991);
    json_u64(c, 9007199254740992);
    json_u64(c, UINT64_MAX);
    json_i64(c, -9007199254740991);
    json_i64(c, -9007199254740992);
    json_i64(c, INT64_MIN);
    json_digits(c, "-12");
    json_end_array(c);
    assert_json(&m, "[9007199254740991,\"9007199254740992\",\"18446744073709551615\",-9007199254740991,"
                    "\"-9007199254740992\",\"-9223372036854775808\",\"-12\"]");
}

static void an_array_of_u64_is_all_numbers_or_all_strings(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_array(c);
    json_u64_array(c, (const uint64_t[]){1, 9007199254740991}, 2);
    json_u64_array(c, (const uint64_t[]){1, 9007199254740992}, 2);
    json_u64_array(c, NULL, 0);
    json_end_array(c);
    assert_json(&m, "[[1,9007199254740991],[\"1\",\"9007199254740992\"],[]]");
}

static void doubles_are_shortest_and_show_that_they_are_reals(void **state) {
    (void)state;
    assert_double(3, "3.0");
    assert_double(-0.0, "-0.0");
    assert_double(0.1, "0.1");
    assert_double(0.1 + 0.2, "0.30000000000000004");
    assert_double(1e21, "1e+21");
    assert_double(123456789012345680.0, "1.2345678901234568e+17");
    assert_double(INFINITY, "\"Infinity\"");
    assert_double(-INFINITY, "\"-Infinity\"");
}

static void floats_are_shortest_and_show_that_they_are_reals(void **state) {
    (void)state;
    assert_float(0, "0.0");
    assert_float(-0.0f, "-0.0");
    assert_float(1, "1.0");
    assert_float(-0.5f, "-0.5");
    assert_float(0.1f, "0.1");
    assert_float(1.0f / 3, "0.33333334");
    assert_float(0.052f, "0.052");
    assert_float(100000, "100000.0");
    assert_float(999999.94f, "999999.94");
    assert_float(1e6f, "1e+06");
    assert_float(1e-5f, "0.00001");
    assert_float(0.0001f, "0.0001");
    assert_float(3.4028235e38f, "3.4028235e+38");
    assert_float(1.17549435e-38f, "1.1754944e-38");
    assert_float(INFINITY, "\"Infinity\"");
}

/* The text that printf and strtof find, which is the reference for the fast way. */
static int digits_needed(float value) {
    char text[40];
    int digits = 1;
    for (; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return digits;
}

static int count_significant(const char *text) {
    int digits = 0, zeros = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text == '0')
            zeros += digits > 0; /* it only counts if another digit follows */
        else if (*text > '0' && *text <= '9') {
            digits += 1 + zeros;
            zeros = 0;
        }
    }
    return digits;
}

static void floats_all_over_the_range_read_back_and_are_not_longer_than_needed(void **state) {
    (void)state;
    uint32_t bits = 1;
    for (int i = 0; i < 200000; i++) {
        struct merge m;
        float value;
        bits = bits * 1664525u + 1013904223u;
        /* two of three are near 1, as embeddings are; the others are anywhere */
        uint32_t pattern = i % 3 == 0 ? bits : (bits & 0x83FFFFFF) + (0x38000000 + (uint32_t)(i % 5) * 0x2000000);
        memcpy(&value, &pattern, sizeof value);
        if (!isfinite(value))
            continue;
        json_float(begin(&m), value);
        assert_true(strtof(m.json.data, NULL) == value);
        assert_true(count_significant(m.json.data) <= digits_needed(value));
        end(&m);
    }
}

static void an_array_of_floats_is_written_as_single_floats_are(void **state) {
    (void)state;
    struct merge m;
    json_float_array(begin(&m), (const float[]){0.25f, -1, 1e-20f}, 3);
    assert_json(&m, "[0.25,-1.0,1e-20]");
}

static void what_is_not_a_number_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    json_double(begin(&m), NAN);
    assert_malformed(&m);
    json_float_array(begin(&m), (const float[]){1, NAN}, 2);
    assert_malformed(&m);
}

static void a_value_where_a_name_is_due_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_object(c);
    json_u64(c, 1);
    json_end_object(c);
    assert_malformed(&m);
}

static void a_name_outside_an_object_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_array(c);
    json_name(c, "a");
    json_end_array(c);
    assert_malformed(&m);
    json_name(begin(&m), "a");
    assert_malformed(&m);
}

static void a_name_without_a_value_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_object(c);
    json_name(c, "a");
    json_end_object(c);
    assert_malformed(&m);
    c = begin(&m);
    json_begin_object(c);
    json_name(c, "a");
    json_name(c, "b");
    assert_malformed(&m);
}

static void brackets_that_do_not_match_fail_the_call(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    json_begin_array(c);
    json_end_object(c);
    assert_malformed(&m);
    json_end_array(begin(&m));
    assert_malformed(&m);
    json_begin_array(begin(&m));
    assert_malformed(&m);
}

static void nothing_and_two_values_fail_the_call(void **state) {
    (void)state;
    struct merge m;
    begin(&m);
    assert_malformed(&m);
    struct call *c = begin(&m);
    json_u64(c, 1);
    json_u64(c, 2);
    assert_malformed(&m);
}

static void nesting_is_limited(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    for (int i = 0; i < JSON_MAX_NESTING; i++)
        json_begin_array(c);
    assert_false(c->failed);
    json_begin_array(c);
    assert_malformed(&m);
}

static void malformed_digits_fail_the_call(void **state) {
    (void)state;
    static const char *const bad[] = {"", "-", "-0", "007", "+1", "1.5", "1\"", "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct merge m;
        json_digits(begin(&m), bad[i]);
        assert_malformed(&m);
    }
}

static void json_outside_merge_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    struct call *c = begin(&m);
    c->stage = CALL_STAGE_RUN;
    json_u64(c, 1);
    assert_true(c->failed);
    assert_int_equal(m.json.size, 0);
    end(&m);
}

static void a_part_outside_run_fails_the_call(void **state) {
    (void)state;
    struct merge m;
    assert_int_equal(part_write(begin(&m), "x", 1), -1);
    assert_int_equal(m.json.size, 0);
    end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_and_colons_are_put_where_they_belong),
        cmocka_unit_test(verbatim_json_loses_the_space_around_it),
        cmocka_unit_test(text_that_is_not_utf8_is_repaired),
        cmocka_unit_test(integers_beyond_2_to_the_53_are_strings),
        cmocka_unit_test(an_array_of_u64_is_all_numbers_or_all_strings),
        cmocka_unit_test(doubles_are_shortest_and_show_that_they_are_reals),
        cmocka_unit_test(floats_are_shortest_and_show_that_they_are_reals),
        cmocka_unit_test(floats_all_over_the_range_read_back_and_are_not_longer_than_needed),
        cmocka_unit_test(an_array_of_floats_is_written_as_single_floats_are),
        cmocka_unit_test(what_is_not_a_number_fails_the_call),
        cmocka_unit_test(a_value_where_a_name_is_due_fails_the_call),
        cmocka_unit_test(a_name_outside_an_object_fails_the_call),
        cmocka_unit_test(a_name_without_a_value_fails_the_call),
        cmocka_unit_test(brackets_that_do_not_match_fail_the_call),
        cmocka_unit_test(nothing_and_two_values_fail_the_call),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(malformed_digits_fail_the_call),
        cmocka_unit_test(json_outside_merge_fails_the_call),
        cmocka_unit_test(a_part_outside_run_fails_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
