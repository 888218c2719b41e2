/* jsontext_test.c: strict JSON without a lost digit, handlers/host/jsontext.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/jsontext.h"

static json_t *parse(const char *text) {
    struct fault fault = {0};
    json_t *value = jsontext_parse(text, strlen(text), 64, &fault);
    if (fault.json.size > 0)
        print_error("%s\n", fault.json.data);
    assert_non_null(value);
    return value;
}

/* Parses a text and writes it again. */
static void assert_rewritten(const char *text, const char *expected) {
    struct buf out = {0};
    struct faults faults = {.code = "invalid_params"};
    json_t *value = parse(text);
    jsontext_write(&out, value, NULL, &faults);
    assert_int_equal(faults.count, 0);
    assert_string_equal(out.data, expected);
    buf_deinit(&out);
    json_decref(value);
}

static void assert_unwritable(const char *text, const char *pointer) {
    struct buf out = {0};
    struct faults faults = {.code = "invalid_params"};
    struct fault fault = {0};
    char expected[64];
    json_t *value = parse(text);
    jsontext_write(&out, value, NULL, &faults);
    assert_int_equal(faults_finish(&faults, &fault), -1);
    snprintf(expected, sizeof expected, "\"errors\":[{\"pointer\":\"%s\"", pointer);
    assert_non_null(strstr(fault.json.data, expected));
    fault_deinit(&fault);
    buf_deinit(&out);
    json_decref(value);
}

static void assert_rejected_bytes(const char *text, size_t size, const char *code, size_t line, size_t column,
                                  size_t position) {
    struct fault fault = {0};
    assert_null(jsontext_parse(text, size, 64, &fault));
    json_t *root = json_loads(fault.json.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "code")), code);
    assert_true(json_string_length(json_object_get(root, "detail")) > 0);
    assert_int_equal(json_integer_value(json_object_get(root, "line")), line);
    assert_int_equal(json_integer_value(json_object_get(root, "column")), column);
    assert_int_equal(json_integer_value(json_object_get(root, "position")), position);
    json_decref(root);
    fault_deinit(&fault);
}

static void assert_rejected(const char *text, const char *code, size_t line, size_t column, size_t position) {
    assert_rejected_bytes(text, strlen(text), code, line, column, position);
}

static void assert_kept_as_written(const char *number) {
    const char *text;
    size_t size;
    json_t *value = parse(number);
    assert_true(jsontext_number(value, &text, &size));
    assert_int_equal(size, strlen(number));
    assert_memory_equal(text, number, size);
    json_decref(value);
}

static void assert_plain(const char *number) {
    const char *text;
    size_t size;
    json_t *value = parse(number);
    assert_true(json_is_number(value));
    assert_false(jsontext_number(value, &text, &size));
    json_decref(value);
}

static void values_survive_the_round_trip(void **state) {
    (void)state;
    assert_rewritten(" { \"a\" : [ 1 , -2 , true , false , null , \"x\\\"\\n\" , {} , [] ] } ",
                     "{\"a\":[1,-2,true,false,null,\"x\\\"\\n\",{},[]]}");
}

static void reals_are_written_as_short_as_they_read_back(void **state) {
    (void)state;
    assert_rewritten("[0.1,1e3,3.0,-0.0,1.5e-7,0.30000000000000004,1e300,5e-324]",
                     "[0.1,1000.0,3.0,-0.0,1.5e-07,0.30000000000000004,1e+300,5e-324]");
}

static void members_keep_their_order(void **state) {
    (void)state;
    assert_rewritten("{\"z\":1,\"a\":2,\"m\":3}", "{\"z\":1,\"a\":2,\"m\":3}");
}

static void u0000_is_a_character_like_others(void **state) {
    (void)state;
    assert_rewritten("[\"a\\u0000b\"]", "[\"a\\u0000b\"]");
}

static void integers_of_64_bits_are_exact(void **state) {
    (void)state;
    assert_rewritten("[9007199254740993,9223372036854775807,-9223372036854775808]",
                     "[9007199254740993,9223372036854775807,-9223372036854775808]");
}

static void numbers_that_would_be_rounded_are_kept_as_written(void **state) {
    (void)state;
    assert_kept_as_written("18446744073709551615");
    assert_kept_as_written("-9223372036854775809");
    assert_kept_as_written("1e400");
    assert_kept_as_written("1E-400");
    assert_kept_as_written("1.00000000000000000001");
    assert_kept_as_written("123456789012345678.5");
    assert_kept_as_written("0.99999999999999999999");
    assert_kept_as_written("9007199254740993.0");
}

static void numbers_that_are_exact_or_surely_fractions_stay_numbers(void **state) {
    (void)state;
    assert_plain("0");
    assert_plain("-1");
    assert_plain("999999999999999999");
    assert_plain("1.5");
    assert_plain("12e3");
    assert_plain("0.12345678901234567");
    assert_plain("123.45678901234567890");
}

static void echoing_a_number_that_does_not_fit_is_rejected_by_its_pointer(void **state) {
    (void)state;
    assert_unwritable("18446744073709551615", "");
    assert_unwritable("{\"a\":[0,1e400]}", "/a/1");
    assert_unwritable("{\"a/b\":1e-400}", "/a~1b");
}

static void a_zero_with_an_exponent_is_no_underflow(void **state) {
    (void)state;
    assert_rewritten("[0e-400,0.000e999]", "[0.0,0.0]");
}

static void the_mark_of_a_kept_number_cannot_be_written_by_a_client(void **state) {
    (void)state;
    const char *text;
    size_t size;
    json_t *value = parse("[\"12345678901234567890123456789012345\",12345678901234567890]");
    assert_true(jsontext_is_text(json_array_get(value, 0)));
    assert_false(jsontext_is_text(json_array_get(value, 1)));
    assert_false(jsontext_number(json_array_get(value, 0), &text, &size));
    json_decref(value);
}

static void digits_within_strings_are_text(void **state) {
    (void)state;
    assert_rewritten("[\"\\\"12345678901234567890123\",\"\\\\\",\"[[1e400\"]",
                     "[\"\\\"12345678901234567890123\",\"\\\\\",\"[[1e400\"]");
}

static void depth_is_limited(void **state) {
    (void)state;
    struct fault fault = {0};
    json_t *value = jsontext_parse("[[{\"a\":1}]]", 11, 3, &fault);
    assert_non_null(value);
    json_decref(value);
    assert_null(jsontext_parse("[[\n{\"a\":[]}]]", 13, 3, &fault));
    assert_string_equal(fault.json.data, "{\"code\":\"too_deep\",\"detail\":\"arrays and objects are nested more than "
                                         "3 deep\",\"line\":2,\"column\":6,\"position\":9}");
    fault_deinit(&fault);
}

static void brackets_within_strings_are_not_depth(void **state) {
    (void)state;
    struct fault fault = {0};
    json_t *value = jsontext_parse("[\"[[[[\\\"[[\"]", 12, 1, &fault);
    assert_non_null(value);
    json_decref(value);
}

static void a_million_brackets_are_too_deep(void **state) {
    (void)state;
    struct fault fault = {0};
    char *text = malloc(1000000);
    assert_non_null(text);
    memset(text, '[', 1000000);
    assert_null(jsontext_parse(text, 1000000, 64, &fault));
    assert_non_null(strstr(fault.json.data, "too_deep"));
    fault_deinit(&fault);
    assert_null(jsontext_parse(text, 1000000, 5000, &fault));
    assert_non_null(strstr(fault.json.data, "too_deep"));
    fault_deinit(&fault);
    free(text);
}

static void duplicate_names_are_rejected(void **state) {
    (void)state;
    assert_rejected("{\"a\":1,\"a\":2}", "duplicate_key", 1, 10, 10);
    assert_rejected("{\"a\":1,\"\\u0061\":2}", "duplicate_key", 1, 15, 15);
}

static void what_rfc_8259_does_not_know_is_rejected(void **state) {
    (void)state;
    assert_rejected("NaN", "invalid_json", 1, 3, 3);
    assert_rejected("[Infinity]", "invalid_json", 1, 9, 9);
    assert_rejected("[-Infinity]", "invalid_json", 1, 2, 2);
    assert_rejected("\xEF\xBB\xBF{}", "invalid_json", 1, 1, 3);
    assert_rejected("{}{}", "invalid_json", 1, 3, 3);
    assert_rejected("[1,]", "invalid_json", 1, 4, 4);
    assert_rejected("[01]", "invalid_json", 1, 2, 2);
    assert_rejected("['a']", "invalid_json", 1, 2, 2);
    assert_rejected("[1]//", "invalid_json", 1, 4, 4);
    assert_rejected("[1.]", "invalid_json", 1, 3, 3);
    assert_rejected("[.5]", "invalid_json", 1, 2, 2);
    assert_rejected("[+1]", "invalid_json", 1, 2, 2);
    assert_rejected("[\"\t\"]", "invalid_json", 1, 2, 2);
    assert_rejected("\"\\ud800\"", "invalid_json", 1, 8, 8);
    assert_rejected("\"\\udc00\\ud800\"", "invalid_json", 1, 14, 14);
    assert_rejected("[1", "invalid_json", 1, 2, 2);
    assert_rejected("\"a", "invalid_json", 1, 2, 2);
}

static void a_raw_nul_is_rejected(void **state) {
    (void)state;
    assert_rejected_bytes("{}\0", 3, "invalid_json", 1, 3, 3);
    assert_rejected_bytes("[1\0]", 4, "invalid_json", 1, 3, 3);
    assert_rejected_bytes("\"\0\"", 3, "invalid_json", 1, 2, 2);
}

static void bytes_that_are_not_utf8_have_their_own_code(void **state) {
    (void)state;
    assert_rejected("[\"\xFF\"]", "not_utf8", 1, 2, 2);
    assert_rejected("[\"\xC0\x80\"]", "not_utf8", 1, 2, 2);
    assert_rejected("[\"\xED\xA0\x80\"]", "not_utf8", 1, 2, 2);
    assert_rejected("\"\xF0\x9F\x98", "not_utf8", 1, 1, 1);
}

static void columns_are_counted_in_characters(void **state) {
    (void)state;
    assert_rejected("[\"h\xC3\xA9\xE2\x82\xAC\", x]", "invalid_json", 1, 9, 12);
}

static void places_behind_a_kept_number_are_those_of_the_original_text(void **state) {
    (void)state;
    assert_rejected("[12345678901234567890, x]", "invalid_json", 1, 24, 24);
    assert_rejected("[1e400,\n1e500, 1, x]", "invalid_json", 2, 11, 19);
    assert_rejected("[12345678901234567890 1]", "invalid_json", 1, 23, 23);
    assert_rejected("[12345678901234567890", "invalid_json", 1, 21, 21);
    assert_rejected("[1 12345678901234567890]", "invalid_json", 1, 23, 23);
}

static void a_long_number_is_not_a_name(void **state) {
    (void)state;
    assert_rejected("{12345678901234567890:1}", "invalid_json", 1, 21, 21);
    assert_rejected("{12345678901234567890 \n:1}", "invalid_json", 1, 21, 21);
}

static void a_nul_in_a_name_is_json_but_no_parameter(void **state) {
    (void)state;
    struct fault fault = {0};
    assert_null(jsontext_parse("{\"a\\u0000\":1}", 13, 64, &fault));
    assert_non_null(strstr(fault.json.data, "\"code\":\"invalid_params\""));
    fault_deinit(&fault);
}

/* Each byte of each text is changed in turn. The text is read or rejected, and the sanitizers find nothing. */
static void damaged_texts_are_survived(void **state) {
    (void)state;
    const char whole[] = "{\"a\\u00e9\":[1,-2.5e3,12345678901234567890,1e400],\"b\":\"\xC3\xA9\\n\",\"c\":null}";
    for (size_t at = 0; at < sizeof whole - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            struct fault fault = {0};
            char *text = malloc(sizeof whole - 1);
            assert_non_null(text);
            memcpy(text, whole, sizeof whole - 1);
            text[at] = (char)byte;
            json_t *value = jsontext_parse(text, sizeof whole - 1, 64, &fault);
            assert_true((value == NULL) == (fault.json.size > 0));
            json_decref(value);
            fault_deinit(&fault);
            free(text);
        }
    }
}

static void truncated_texts_are_rejected(void **state) {
    (void)state;
    const char whole[] = "{\"a\":[1,12345678901234567890,1e400,\"\xC3\xA9\\n\"]}";
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        struct fault fault = {0};
        char *text = malloc(size + 1);
        assert_non_null(text);
        memcpy(text, whole, size);
        assert_null(jsontext_parse(text, size, 64, &fault));
        assert_true(fault.json.size > 0);
        fault_deinit(&fault);
        free(text);
    }
}

/* ---- checked without a tree -------------------------------------------------------------------------------------- */

/* Is what jsontext_check says of the text what jsontext_parse says? */
static void assert_checked_as_parsed(const char *text, size_t size) {
    struct fault checked = {0}, parsed = {0};
    int rc = jsontext_check(text, size, 64, &checked);
    json_t *value = jsontext_parse(text, size, 64, &parsed);
    if ((rc == 0) != (value != NULL))
        print_error("%.*s\n", (int)size, text);
    assert_int_equal(rc == 0, value != NULL);
    if (rc != 0)
        assert_string_equal(checked.json.data, parsed.json.data);
    json_decref(value);
    fault_deinit(&checked);
    fault_deinit(&parsed);
}

static void a_check_reports_what_jansson_reports(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"a\":[1,2,{\"b\":\"\\u0041\\ud83d\\ude00\"}],\"c\":{\"d\":null,\"e\":-1.5e3}}",
        "[ 1e400 , 123456789012345678901 , true , \"\xC3\xA9\" , {\"\":{}} ]",
        "{\"k\":[[],{}],\"\\u006b\":2}",
        "[1\xff]",
        "[true\xff]",
        "\"\\u0000\"",
        "{\"x\\u0000\":1}",
        "[{\"e\":1,\"f\": -1.5e3 ,\t\"n\" : \"x\"} , {\"u\":null,\"t\":true,\"\":false},{ }]",
        "{\"u\":{\"0\":0,\"1\":0,\"9\":0,\"e\":0,\"f\":0,\"n\":0,\"t\":\"\"}}",
        "{1234567890123456789012 \"a long string behind it\" : 2}"};
    static const char changes[] = "\"\\,:{}[] \n\x01\x7f-+.019eEtfnu\xc3\xff";
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[128];
        size_t size = strlen(texts[i]);
        for (size_t cut = 0; cut <= size; cut++)
            assert_checked_as_parsed(texts[i], cut);
        for (size_t at = 0; at < size; at++)
            for (size_t k = 0; k < sizeof changes; k++) {
                memcpy(text, texts[i], size);
                text[at] = changes[k];
                assert_checked_as_parsed(text, size);
            }
    }
}

static void a_name_among_many_is_found_again(void **state) {
    (void)state;
    for (unsigned twice = 0; twice < 400; twice += 7) {
        struct buf text = {0};
        buf_putc(&text, '{');
        for (unsigned i = 0; i < 400; i++)
            buf_printf(&text, "\"%u\":{\"a\":0},", i);
        size_t size = text.size;
        text.data[size - 1] = '}';
        assert_checked_as_parsed(text.data, size);
        text.data[size - 1] = ',';
        char digits[8];
        snprintf(digits, sizeof digits, "%u", twice);
        buf_printf(&text, "\"\\u00%02x%s\":0}", (unsigned)digits[0], digits + 1); /* the name is written otherwise */
        assert_checked_as_parsed(text.data, text.size);
        buf_deinit(&text);
    }
}

/* From 60 to 68 deep; 64 is allowed. */
static void an_object_counts_in_the_depth_however_plain_it_is(void **state) {
    (void)state;
    static const char *const innermost[] = {"{}", "{\"a\":1}", "{\"a\":[1]}", "{\"a\":{}}"};
    for (int brackets = 60; brackets < 67; brackets++) {
        for (int i = 0; i < 4; i++) {
            char text[160];
            memset(text, '[', (size_t)brackets);
            int size = sprintf(text + brackets, "%s", innermost[i]);
            memset(text + brackets + size, ']', (size_t)brackets);
            assert_checked_as_parsed(text, (size_t)(2 * brackets + size));
        }
    }
}

static void assert_longest(const char *text, const char *longest, size_t count) {
    struct fault fault = {0};
    struct json_list list;
    assert_int_equal(jsontext_check_body(text, strlen(text), 64, &list, &fault), 0);
    assert_int_equal(list.span.at == NULL, longest == NULL);
    if (longest == NULL)
        return;
    assert_int_equal(list.span.end - list.span.at, strlen(longest));
    assert_memory_equal(list.span.at, longest, strlen(longest));
    assert_int_equal(list.count, count);
}

static void a_check_finds_the_longest_array_of_a_body(void **state) {
    (void)state;
    assert_longest("[1,2]", NULL, 0);
    assert_longest("{\"a\":1}", NULL, 0);
    assert_longest("{\"a\":{\"b\":[1]}}", NULL, 0);
    assert_longest("{\"a\":[]}", "[]", 0);
    assert_longest("{\"a\":[ ]}", "[ ]", 0);
    assert_longest("{\"a\":[1],\"b\":[1,[2,3]],\"c\":[4]}", "[1,[2,3]]", 2);
    assert_longest("{\"a\":[{\"x\":1,\"y\":[5]} , {\"x\":2},{\"x\":[6,7,8]}]}",
                   "[{\"x\":1,\"y\":[5]} , {\"x\":2},{\"x\":[6,7,8]}]", 3);
    assert_longest(" { \"a\" : [ {} , \",]\" , null ] } ", "[ {} , \",]\" , null ]", 3);
}

static void a_byte_order_mark_is_named(void **state) {
    (void)state;
    static const char *const texts[] = {"\xEF\xBB\xBF{}", "\xFF\xFE{", "\xFE\xFF{"};
    for (size_t i = 0; i < 3; i++) {
        struct fault fault = {0};
        assert_int_equal(jsontext_check(texts[i], strlen(texts[i]), 64, &fault), -1);
        assert_non_null(strstr(fault.json.data, "\"invalid_json\""));
        assert_non_null(strstr(fault.json.data, "byte order mark"));
        fault_deinit(&fault);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_survive_the_round_trip),
        cmocka_unit_test(reals_are_written_as_short_as_they_read_back),
        cmocka_unit_test(members_keep_their_order),
        cmocka_unit_test(u0000_is_a_character_like_others),
        cmocka_unit_test(integers_of_64_bits_are_exact),
        cmocka_unit_test(numbers_that_would_be_rounded_are_kept_as_written),
        cmocka_unit_test(numbers_that_are_exact_or_surely_fractions_stay_numbers),
        cmocka_unit_test(echoing_a_number_that_does_not_fit_is_rejected_by_its_pointer),
        cmocka_unit_test(a_zero_with_an_exponent_is_no_underflow),
        cmocka_unit_test(the_mark_of_a_kept_number_cannot_be_written_by_a_client),
        cmocka_unit_test(digits_within_strings_are_text),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(brackets_within_strings_are_not_depth),
        cmocka_unit_test(a_million_brackets_are_too_deep),
        cmocka_unit_test(duplicate_names_are_rejected),
        cmocka_unit_test(what_rfc_8259_does_not_know_is_rejected),
        cmocka_unit_test(a_raw_nul_is_rejected),
        cmocka_unit_test(bytes_that_are_not_utf8_have_their_own_code),
        cmocka_unit_test(columns_are_counted_in_characters),
        cmocka_unit_test(places_behind_a_kept_number_are_those_of_the_original_text),
        cmocka_unit_test(a_long_number_is_not_a_name),
        cmocka_unit_test(a_nul_in_a_name_is_json_but_no_parameter),
        cmocka_unit_test(damaged_texts_are_survived),
        cmocka_unit_test(truncated_texts_are_rejected),
        cmocka_unit_test(a_check_reports_what_jansson_reports),
        cmocka_unit_test(a_name_among_many_is_found_again),
        cmocka_unit_test(an_object_counts_in_the_depth_however_plain_it_is),
        cmocka_unit_test(a_check_finds_the_longest_array_of_a_body),
        cmocka_unit_test(a_byte_order_mark_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
