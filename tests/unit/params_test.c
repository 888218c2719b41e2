/* params_test.c: parameters, from a JSON object to packed bytes to what a handler reads: handlers/host/params.c,
 * params_view.c and number.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/jsontext.h"
#include "handlers/host/numbers.h"
#include "tests/unit/toy_types.h"

static const struct place at_params = {.name = "params"};

/* Packs an object for "shape". True if nothing is wrong. */
static bool pack(const char *json, struct buf *packed, struct fault *fault) {
    struct faults faults = {.code = "invalid_params"};
    const char *end = json + strlen(json);
    struct json_span object = {scan_space(json, end), end};
    assert_int_equal(jsontext_check(json, strlen(json), 64, fault), 0);
    object.end = scan_whole_value(object.at, end);
    params_pack(&toy_tables()[TOY_SHAPE], &object, &at_params, packed, &faults);
    return faults_finish(&faults, fault) == 0;
}

struct call_params {
    struct buf packed;
    struct params params;
};

static const struct params *read_params(struct call_params *c, const char *json) {
    struct fault fault = {0};
    memset(c, 0, sizeof *c);
    if (!pack(json, &c->packed, &fault))
        print_error("%s\n", fault.json.data);
    assert_int_equal(fault.json.size, 0);
    assert_int_equal(params_view(&toy_tables()[TOY_SHAPE], c->packed.data, c->packed.size, &c->params, &fault), 0);
    return &c->params;
}

static void assert_errors(const char *json, const char *expected) {
    struct buf packed = {0};
    struct fault fault = {0};
    assert_false(pack(json, &packed, &fault));
    const char *errors = strstr(fault.json.data, "\"errors\":");
    assert_non_null(errors);
    assert_string_equal(errors + strlen("\"errors\":"), expected);
    fault_deinit(&fault);
    buf_deinit(&packed);
}

static void assert_start(const char *written, const char *digits) {
    char json[128];
    struct call_params c;
    snprintf(json, sizeof json, "{\"start\":%s,\"stop\":0}", written);
    assert_string_equal(param_digits(read_params(&c, json), "start"), digits);
    buf_deinit(&c.packed);
}

static void assert_start_rejected(const char *written, const char *detail) {
    char json[128], errors[256];
    snprintf(json, sizeof json, "{\"start\":%s,\"stop\":0}", written);
    snprintf(errors, sizeof errors, "[{\"pointer\":\"/params/start\",\"detail\":\"%s\"}]}", detail);
    assert_errors(json, errors);
}

static void integers_are_the_same_however_they_are_written(void **state) {
    (void)state;
    assert_start("12", "12");
    assert_start("\"12\"", "12");
    assert_start("12.0", "12");
    assert_start("1.2e1", "12");
    assert_start("120e-1", "12");
    assert_start("0.0000000000000000012e19", "12");
    assert_start("\"0012\"", "12");
    assert_start("-12.000000000000000000000", "-12");
}

static void zero_has_one_form(void **state) {
    (void)state;
    assert_start("0", "0");
    assert_start("-0", "0");
    assert_start("-0.0", "0");
    assert_start("\"-0\"", "0");
    assert_start("0e99999999999999999999", "0");
    assert_start("\"000\"", "0");
}

static void integers_beyond_a_double_are_exact(void **state) {
    (void)state;
    assert_start("9007199254740993", "9007199254740993");
    assert_start("9007199254740993.0", "9007199254740993");
    assert_start("18446744073709551615", "18446744073709551615");
    assert_start("-170141183460469231731687303715884105729", "-170141183460469231731687303715884105729");
    assert_start("123456789012345678900000000000e-10", "12345678901234567890");
}

static void fractions_are_no_integers(void **state) {
    (void)state;
    const char *detail = "must be an integer, without a fraction";
    assert_start_rejected("0.1", detail);
    assert_start_rejected("1.00000000000000000001", detail);
    assert_start_rejected("0.99999999999999999999", detail);
    assert_start_rejected("1e-400", detail);
    assert_start_rejected("9007199254740993.5", detail);
    assert_start_rejected("123456e-5", detail);
}

static void other_kinds_are_no_integers(void **state) {
    (void)state;
    const char *digits_only = "must be an integer: as a string, decimal digits only";
    assert_start_rejected("true", "must be an integer, not a boolean");
    assert_start_rejected("null", "must be an integer, not null");
    assert_start_rejected("[1]", "must be an integer, not an array");
    assert_start_rejected("\"\"", digits_only);
    assert_start_rejected("\"-\"", digits_only);
    assert_start_rejected("\"+1\"", digits_only);
    assert_start_rejected("\"1e3\"", digits_only);
    assert_start_rejected("\" 1\"", digits_only);
    assert_start_rejected("\"1\\u0000\"", digits_only);
    assert_start_rejected("\"0x10\"", digits_only);
}

static void an_exponent_is_expanded_up_to_4096_digits(void **state) {
    (void)state;
    struct call_params c;
    const char *digits = param_digits(read_params(&c, "{\"start\":-1e4095,\"stop\":0}"), "start");
    assert_int_equal(strlen(digits), 1 + 4096);
    assert_memory_equal(digits, "-1000", 5);
    assert_int_equal(strspn(digits + 2, "0"), 4095);
    buf_deinit(&c.packed);
    assert_start_rejected("1e4096", "has more than 4096 digits");
    assert_start_rejected("1e99999999999999999999", "has more than 4096 digits");
}

static void integers_of_up_to_4096_digits_are_read(void **state) {
    (void)state;
    struct buf json = {0}, packed = {0};
    struct fault fault = {0};
    struct call_params c;
    buf_puts(&json, "{\"stop\":0,\"start\":");
    for (int i = 0; i < HANDLER_MAX_DIGITS; i++)
        buf_putc(&json, '7');
    size_t digits_end = json.size;
    buf_putc(&json, '}');
    assert_int_equal(strlen(param_digits(read_params(&c, json.data), "start")), HANDLER_MAX_DIGITS);
    buf_deinit(&c.packed);
    json.size = digits_end;
    buf_puts(&json, "7}");
    assert_false(pack(json.data, &packed, &fault));
    fault_deinit(&fault);
    buf_deinit(&packed);
    buf_deinit(&json);
}

static void integers_fit_the_c_type_or_are_not_given(void **state) {
    (void)state;
    struct call_params c;
    int64_t i = 0;
    uint64_t u = 0;
    const struct params *p = read_params(&c, "{\"start\":-9223372036854775808,\"stop\":18446744073709551615}");
    assert_true(param_i64(p, "start", &i));
    assert_true(i == INT64_MIN);
    assert_false(param_u64(p, "start", &u));
    assert_true(param_u64(p, "stop", &u));
    assert_true(u == UINT64_MAX);
    assert_false(param_i64(p, "stop", &i));
    buf_deinit(&c.packed);
}

static void integers_just_beyond_the_c_types_do_not_fit(void **state) {
    (void)state;
    struct call_params c;
    int64_t i;
    uint64_t u;
    const struct params *p = read_params(&c, "{\"start\":-9223372036854775809,\"stop\":9223372036854775808}");
    assert_false(param_i64(p, "start", &i));
    assert_false(param_i64(p, "stop", &i));
    buf_deinit(&c.packed);
    p = read_params(&c, "{\"start\":18446744073709551616,\"stop\":0}");
    assert_false(param_u64(p, "start", &u));
    buf_deinit(&c.packed);
}

static void bounds_are_inclusive_and_named(void **state) {
    (void)state;
    struct call_params c;
    read_params(&c, "{\"start\":0,\"stop\":18446744073709551615,\"step\":-1000}");
    buf_deinit(&c.packed);
    assert_errors("{\"start\":0,\"stop\":18446744073709551616}",
                  "[{\"pointer\":\"/params/stop\",\"detail\":\"must be from 0 to 18446744073709551615\"}]}");
    assert_errors("{\"start\":0,\"stop\":-1}",
                  "[{\"pointer\":\"/params/stop\",\"detail\":\"must be from 0 to 18446744073709551615\"}]}");
    assert_errors("{\"start\":0,\"stop\":0,\"step\":-1001}",
                  "[{\"pointer\":\"/params/step\",\"detail\":\"must be from -1000 to 1000\"}]}");
    assert_errors("{\"start\":0,\"stop\":1e5000}",
                  "[{\"pointer\":\"/params/stop\",\"detail\":\"must be from 0 to 18446744073709551615\"}]}");
}

static void fallbacks_are_filled_in_but_not_given(void **state) {
    (void)state;
    struct call_params c;
    int64_t step = 0;
    const struct params *p = read_params(&c, "{\"start\":0,\"stop\":1}");
    assert_true(param_i64(p, "step", &step));
    assert_int_equal(step, 1);
    assert_false(param_given(p, "step"));
    assert_true(param_given(p, "stop"));
    assert_int_equal(param_choice(p, "op"), 0);
    assert_true(param_bool(p, "exact"));
    assert_false(param_given(p, "exact"));
    buf_deinit(&c.packed);
}

static void fallbacks_of_other_forms_stay_out(void **state) {
    (void)state;
    struct call_params c;
    int64_t step;
    assert_false(param_i64(read_params(&c, "{\"numbers\":[]}"), "step", &step));
    buf_deinit(&c.packed);
}

static void absent_parameters_and_wrong_kinds_read_as_absent(void **state) {
    (void)state;
    struct call_params c;
    struct numbers n;
    size_t size = 7;
    const struct params *p = read_params(&c, "{\"start\":0,\"stop\":1}");
    assert_null(param_text(p, "name", &size));
    assert_int_equal(size, 0);
    assert_null(param_json(p, "any", &size));
    assert_int_equal(param_texts(p, "lines"), 0);
    assert_null(param_text_at(p, "lines", 0, &size));
    assert_false(param_numbers(p, "numbers", &n));
    assert_null(param_digits(p, "op"));
    assert_int_equal(param_choice(p, "start"), -1);
    assert_false(param_given(p, "nobody"));
    assert_false(param_bool(p, "nobody"));
    buf_deinit(&c.packed);
}

static void booleans_are_true_and_false_only(void **state) {
    (void)state;
    struct call_params c;
    assert_false(param_bool(read_params(&c, "{\"numbers\":[],\"exact\":false}"), "exact"));
    buf_deinit(&c.packed);
    assert_errors("{\"numbers\":[],\"exact\":1}",
                  "[{\"pointer\":\"/params/exact\",\"detail\":\"must be true or false, not an integer\"}]}");
    assert_errors("{\"numbers\":[],\"exact\":\"true\"}",
                  "[{\"pointer\":\"/params/exact\",\"detail\":\"must be true or false, not a string\"}]}");
}

static void choices_are_listed_when_missed(void **state) {
    (void)state;
    struct call_params c;
    assert_int_equal(param_choice(read_params(&c, "{\"numbers\":[],\"op\":\"list\"}"), "op"), 1);
    buf_deinit(&c.packed);
    assert_errors("{\"numbers\":[],\"op\":\"List\"}", "[{\"pointer\":\"/params/op\",\"detail\":\"must be one of "
                                                      "\\\"count\\\", \\\"list\\\"\"}]}");
    assert_errors("{\"numbers\":[],\"op\":\"list\\u0000\"}", "[{\"pointer\":\"/params/op\",\"detail\":\"must be one of "
                                                             "\\\"count\\\", \\\"list\\\"\"}]}");
}

static void text_may_hold_nul_and_is_terminated(void **state) {
    (void)state;
    struct call_params c;
    size_t size;
    const char *text = param_text(read_params(&c, "{\"numbers\":[],\"name\":\"a\\u0000b\"}"), "name", &size);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 4);
    buf_deinit(&c.packed);
}

static void texts_are_one_or_many(void **state) {
    (void)state;
    struct call_params c;
    size_t size;
    const struct params *p = read_params(&c, "{\"numbers\":[],\"lines\":[\"one\",\"\",\"t\\u0000o\"]}");
    assert_int_equal(param_texts(p, "lines"), 3);
    assert_string_equal(param_text_at(p, "lines", 0, &size), "one");
    assert_string_equal(param_text_at(p, "lines", 1, &size), "");
    assert_int_equal(size, 0);
    assert_memory_equal(param_text_at(p, "lines", 2, &size), "t\0o", 4);
    assert_int_equal(size, 3);
    assert_null(param_text_at(p, "lines", 3, &size));
    buf_deinit(&c.packed);
    p = read_params(&c, "{\"numbers\":[],\"lines\":\"one\"}");
    assert_int_equal(param_texts(p, "lines"), 1);
    assert_string_equal(param_text_at(p, "lines", 0, &size), "one");
    buf_deinit(&c.packed);
    p = read_params(&c, "{\"numbers\":[],\"lines\":[]}");
    assert_int_equal(param_texts(p, "lines"), 0);
    assert_true(param_given(p, "lines"));
    buf_deinit(&c.packed);
}

static void a_number_is_no_text_even_a_long_one(void **state) {
    (void)state;
    assert_errors("{\"numbers\":[],\"name\":123456789012345678901234567890}",
                  "[{\"pointer\":\"/params/name\",\"detail\":\"must be a string, not a number\"}]}");
    assert_errors("{\"numbers\":[],\"lines\":[\"a\",1e999]}",
                  "[{\"pointer\":\"/params/lines/1\",\"detail\":\"must be a string, not a number\"}]}");
}

static void any_json_is_handed_on_compact(void **state) {
    (void)state;
    struct call_params c;
    size_t size;
    const struct params *p = read_params(&c, "{\"numbers\":[],\"any\": {\"a\" : [1, 0.1, \"\\u0000\"]} }");
    assert_string_equal(param_json(p, "any", &size), "{\"a\":[1,0.1,\"\\u0000\"]}");
    assert_int_equal(size, strlen("{\"a\":[1,0.1,\"\\u0000\"]}"));
    buf_deinit(&c.packed);
    assert_errors("{\"numbers\":[],\"any\":[18446744073709551615]}",
                  "[{\"pointer\":\"/params/any/0\",\"detail\":\"is beyond the range of a 64-bit integer; send it as a "
                  "string\"}]}");
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* Reads the next number of a list and writes it: an integer as it is, with "L" before it if it is large; a real as
 * %a. "" at the end. */
static const char *next_number(struct number_reader *r, char room[HANDLER_MAX_DIGITS + 3]) {
    struct number n;
    int rc = numbers_next(r, &n);
    assert_in_range(rc, 0, 1);
    room[0] = '\0';
    if (rc == 1 && n.kind == NUMBER_REAL)
        sprintf(room, "%a", n.real);
    else if (rc == 1 && n.kind == NUMBER_INTEGER)
        sprintf(room, "%lld", (long long)n.integer);
    else if (rc == 1)
        sprintf(room, "L%s", n.digits);
    assert_true(rc == 0 || n.kind != NUMBER_LARGE || strlen(n.digits) == n.size);
    return room;
}

/* Is the list of the member read as these numbers? The list is a JSON array; `expected` ends with NULL. */
static struct numbers assert_numbers(const char *member, const char *list, const char *const *expected) {
    char json[1024], room[HANDLER_MAX_DIGITS + 3];
    struct call_params c;
    struct numbers n;
    struct number_reader all, skipping;
    size_t count = 0;
    snprintf(json, sizeof json, "{\"numbers\":[],\"%s\":%s}", member, list);
    if (strcmp(member, "numbers") == 0)
        snprintf(json, sizeof json, "{\"numbers\":%s}", list);
    assert_true(param_numbers(read_params(&c, json), member, &n));
    numbers_begin(&all, &n);
    for (; expected[count] != NULL; count++) {
        assert_string_equal(next_number(&all, room), expected[count]);
        numbers_begin(&skipping, &n);
        assert_int_equal(numbers_skip(&skipping, count), 0);
        assert_string_equal(next_number(&skipping, room), expected[count]);
    }
    assert_string_equal(next_number(&all, room), "");
    assert_int_equal(n.count, count);
    numbers_begin(&skipping, &n);
    assert_int_equal(numbers_skip(&skipping, count), 0);
    assert_int_equal(numbers_skip(&skipping, 1), -1);
    buf_deinit(&c.packed);
    return n;
}

static void integers_are_read_as_they_are(void **state) {
    (void)state;
    static const char list[] = "[1,\"-5\",2.0,9223372036854775807,-9223372036854775808,9e18,-9e18,1e15,0,\"-0\","
                               "-64,-65,127,128,-128,-129,32767,32768,-32769,8388607,8388608,2147483648,"
                               "140737488355327,140737488355328,36028797018963968]";
    static const char *const expected[] = {"1",
                                           "-5",
                                           "2",
                                           "9223372036854775807",
                                           "-9223372036854775808",
                                           "9000000000000000000",
                                           "-9000000000000000000",
                                           "1000000000000000",
                                           "0",
                                           "0",
                                           "-64",
                                           "-65",
                                           "127",
                                           "128",
                                           "-128",
                                           "-129",
                                           "32767",
                                           "32768",
                                           "-32769",
                                           "8388607",
                                           "8388608",
                                           "2147483648",
                                           "140737488355327",
                                           "140737488355328",
                                           "36028797018963968",
                                           NULL};
    struct numbers n = assert_numbers("numbers", list, expected);
    assert_true(n.any_real);
    assert_false(n.any_large);
}

static void integers_beyond_64_bits_are_read_as_digits(void **state) {
    (void)state;
    static const char *const expected[] = {"1",
                                           "0",
                                           "L100000000000000000000",
                                           "L-12345678901234567890000",
                                           "L9223372036854775808",
                                           "L-9223372036854775809",
                                           NULL};
    struct numbers n = assert_numbers(
        "numbers", "[1,\"-0\",1e20,\"-12345678901234567890000\",9223372036854775808,-9223372036854775809]", expected);
    assert_true(n.any_large);
}

static void zeros_of_an_exponent_are_not_packed(void **state) {
    (void)state;
    char expected[2 + HANDLER_MAX_DIGITS + 1];
    memset(expected, '0', sizeof expected);
    memcpy(expected, "L1", 2);
    expected[sizeof expected - 2] = '\0';
    const char *const list[] = {expected, NULL};
    struct numbers n = assert_numbers("numbers", "[1e4095]", list);
    assert_in_range(n.packed.size, 1, sizeof "1e4095");
}

/* strtod rounds correctly, so each real must be what it makes of the same text. */
static void reals_are_read_as_strtod_reads_them(void **state) {
    (void)state;
    static const char *const texts[] = {"0.1",    "0.5",
                                        "-0.5",   "1e300",
                                        "-1e300", "0.12345678901234567",
                                        "0.0",    "-0.0",
                                        "0e5",    "1e22",
                                        "1e23",   "-1e-22",
                                        "1E-23",  "3e+7",
                                        "7e22",   "123456789012345.0",
                                        "1e99",   "9e-99",
                                        "5e-324", "1.5e308",
                                        "1e0",    "123456789012345e22",
                                        "1.10",   "1234567890123456.5",
                                        "4.35e5", "2.5e-20",
                                        "0.3",    "1e-5",
                                        "2e0",    "999999999999999e-22",
                                        "1e-22",  "0.000000000000001"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char list[64], expected[64];
        snprintf(list, sizeof list, "[%s]", texts[i]);
        snprintf(expected, sizeof expected, "%a", strtod(texts[i], NULL));
        const char *const numbers[] = {expected, NULL};
        struct numbers n = assert_numbers("reals", list, numbers);
        assert_true(n.any_real);
    }
}

static void integers_stay_integers_beside_reals(void **state) {
    (void)state;
    static const char *const two[] = {"1", "2", NULL};
    assert_false(assert_numbers("reals", "[1,2]", two).any_real);
    static const char *const real[] = {"1", "0x1p+1", "9007199254740993", "L100000000000000000000", NULL};
    struct numbers n = assert_numbers("reals", "[1,2e0,9007199254740993,\"100000000000000000000\"]", real);
    assert_true(n.any_real && n.any_large);
}

/* A list takes little more than its text, whatever is in it, and the most common lists take less. */
static void packed_numbers_are_about_as_short_as_their_text(void **state) {
    (void)state;
    static const char *const pieces[] = {"1",     "\"9\"",  "0.5",  "0.1",   "12345", "1,0.5",      "1e99",
                                         "1e-99", "9e18",   "1e23", "1e308", "-0.0",  "123.456789", "-2147483649",
                                         "1e0",   "-128.5", "255",  "65535", "1.1e1", "0.3,7,1e5"};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct call_params c;
        struct numbers n;
        struct buf json = {0};
        buf_puts(&json, "{\"numbers\":[],\"reals\":[");
        for (int k = 0; k < 100; k++)
            buf_printf(&json, "%s%s", k > 0 ? "," : "", pieces[i]);
        buf_puts(&json, "]}");
        assert_true(param_numbers(read_params(&c, json.data), "reals", &n));
        assert_in_range(n.packed.size, 1, 100 * (strlen(pieces[i]) + 1) * 5 / 4);
        buf_deinit(&json);
        buf_deinit(&c.packed);
    }
}

static void damaged_numbers_are_not_read(void **state) {
    (void)state;
    static const unsigned char nan[] = {201, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, no_kind[] = {204}, cut[] = {195, 1, 2, 3},
                               no_digits[] = {203, 0, 0, 0, 0}, letters[] = {203, 0, 0, 2, 0, '1', 'x'},
                               too_many[] = {203, 0xff, 0xff, 1, 0, '1'}, zeros[] = {203, 3, 0, 1, 0, '0'},
                               far[] = {202, 0xff, 0x7f, 65}, nested[] = {230, 200, 0, 0, 0, 0}, front[] = {203, 0};
    const struct bytes bad[] = {
        {nan, sizeof nan},         {no_kind, sizeof no_kind},   {cut, sizeof cut},     {no_digits, sizeof no_digits},
        {letters, sizeof letters}, {too_many, sizeof too_many}, {zeros, sizeof zeros}, {far, sizeof far},
        {nested, sizeof nested},   {front, sizeof front}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct number_reader r;
        struct number n;
        unsigned char *copy = malloc(bad[i].size); /* so that a read behind its end is found */
        assert_non_null(copy);
        memcpy(copy, bad[i].data, bad[i].size);
        const struct numbers list = {.count = 1, .packed = {copy, bad[i].size}};
        numbers_begin(&r, &list);
        assert_int_equal(numbers_next(&r, &n), -1);
        assert_false(numbers_check(&list, true));
        free(copy);
    }
}

static void an_empty_array_of_numbers_has_none(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    assert_numbers("numbers", "[]", none);
}

static void short_texts_are_packed_shortly(void **state) {
    (void)state;
    struct call_params c;
    struct buf json = {0};
    size_t size;
    buf_puts(&json, "{\"numbers\":[],\"lines\":[");
    for (int k = 0; k < 1000; k++)
        buf_puts(&json, k > 0 ? ",\"a\"" : "\"a\"");
    buf_puts(&json, "]}");
    const struct params *p = read_params(&c, json.data);
    assert_int_equal(param_texts(p, "lines"), 1000);
    assert_string_equal(param_text_at(p, "lines", 999, &size), "a");
    assert_in_range(c.packed.size, 1, json.size * 7 / 4);
    buf_deinit(&json);
    buf_deinit(&c.packed);
}

static void bad_elements_are_named_by_their_index(void **state) {
    (void)state;
    assert_errors("{\"numbers\":[1,0.5,2,\"x\"]}",
                  "[{\"pointer\":\"/params/numbers/1\",\"detail\":\"must be an integer, without a fraction\"},"
                  "{\"pointer\":\"/params/numbers/3\",\"detail\":\"must be an integer: as a string, decimal digits "
                  "only\"}]}");
    assert_errors("{\"numbers\":[],\"reals\":[1e400]}",
                  "[{\"pointer\":\"/params/reals/0\",\"detail\":\"is beyond the range of a 64-bit floating-point "
                  "number\"}]}");
    assert_errors("{\"numbers\":{}}",
                  "[{\"pointer\":\"/params/numbers\",\"detail\":\"must be an array of numbers, not an object\"}]}");
}

static void a_flood_of_bad_elements_is_cut(void **state) {
    (void)state;
    struct buf json = {0}, packed = {0};
    struct fault fault = {0};
    buf_puts(&json, "{\"numbers\":[null");
    for (int i = 0; i < 100000; i++)
        buf_puts(&json, ",null");
    buf_puts(&json, "]}");
    assert_false(pack(json.data, &packed, &fault));
    assert_non_null(strstr(fault.json.data, "/params/numbers/19\""));
    assert_null(strstr(fault.json.data, "/params/numbers/20\""));
    fault_deinit(&fault);
    buf_deinit(&packed);
    buf_deinit(&json);
}

static void unknown_parameters_are_named_with_the_known_ones(void **state) {
    (void)state;
    assert_errors("{\"start\":1,\"stop\":2,\"sotp\":3}",
                  "[{\"pointer\":\"/params/sotp\",\"detail\":\"\\\"sotp\\\" is not a parameter of shape; it has start, "
                  "stop, step, numbers, reals, op, exact, name, lines, any\"}]}");
}

static void a_missing_parameter_is_reported_at_its_parent(void **state) {
    (void)state;
    assert_errors("{\"stop\":2}", "[{\"pointer\":\"/params\",\"detail\":\"start is required\"}]}");
    assert_errors("{\"reals\":[1.5]}", "[{\"pointer\":\"/params\",\"detail\":\"numbers is required\"}]}");
}

static void without_parameters_the_fault_says_what_is_needed(void **state) {
    (void)state;
    const char *needs = "[{\"pointer\":\"/params\",\"detail\":\"needs start, stop; or numbers\"}]}";
    assert_errors("{}", needs);
    assert_errors("{\"op\":\"count\"}", needs);
}

static void parameters_of_different_forms_do_not_mix(void **state) {
    (void)state;
    assert_errors("{\"start\":1,\"op\":\"list\",\"numbers\":[]}",
                  "[{\"pointer\":\"/params/numbers\",\"detail\":\"cannot be combined with start\"}]}");
    assert_errors("{\"numbers\":[],\"start\":1,\"stop\":2}",
                  "[{\"pointer\":\"/params/start\",\"detail\":\"cannot be combined with numbers\"},"
                  "{\"pointer\":\"/params/stop\",\"detail\":\"cannot be combined with numbers\"}]}");
}

/* ---- hostile packed bytes ---------------------------------------------------------------------------------------- */

static const char rich[] = "{\"numbers\":[1,2,1e30,70000],\"reals\":[0.5,3,-7e8,1e99,0.12345678901234567,-0.0],\"op\":"
                           "\"list\",\"name\":\"abc\","
                           "\"lines\":[\"x\",\"\",\"yz\"],\"any\":{\"k\":[1]}}";

/* Reads all that a handler can ask for, so that the sanitizers see each byte that it could touch. */
static size_t read_all(const struct params *p) {
    size_t sum = 0, size;
    int64_t i;
    struct numbers n;
    sum += param_i64(p, "start", &i) + (size_t)param_choice(p, "op") + param_bool(p, "exact");
    const char *text = param_text(p, "name", &size);
    sum += text != NULL ? strlen(text) + (size_t)text[size] : 0;
    text = param_json(p, "any", &size);
    sum += text != NULL ? strlen(text) + (size_t)text[size] : 0;
    for (size_t k = 0; k < param_texts(p, "lines"); k++)
        sum += strlen(param_text_at(p, "lines", k, &size)) + (size_t)param_text_at(p, "lines", k, &size)[size];
    for (int which = 0; which < 2; which++) {
        if (!param_numbers(p, which == 0 ? "numbers" : "reals", &n))
            continue;
        struct number_reader reader;
        struct number number;
        int rc;
        numbers_begin(&reader, &n);
        while ((rc = numbers_next(&reader, &number)) > 0)
            sum += number.kind == NUMBER_LARGE ? strlen(number.digits) : 1;
        assert_int_equal(rc, 0);
    }
    return sum;
}

/* Makes a copy on the heap of exactly its size, so that a read behind its end is found. */
static void view_copy(const struct buf *packed, size_t size, size_t at, int mask, bool must_fail) {
    struct fault fault = {0};
    struct params p;
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, packed->data, size);
    if (at < size)
        copy[at] = (char)(copy[at] ^ mask);
    int rc = params_view(&toy_tables()[TOY_SHAPE], copy, size, &p, &fault);
    assert_true((rc == 0) == (fault.json.size == 0));
    if (must_fail)
        assert_int_equal(rc, -1);
    if (rc == 0)
        assert_in_range(read_all(&p), 0, SIZE_MAX / 2);
    fault_deinit(&fault);
    free(copy);
}

static void a_truncated_buffer_is_rejected_at_every_length(void **state) {
    (void)state;
    struct buf packed = {0};
    struct fault fault = {0};
    assert_true(pack(rich, &packed, &fault));
    for (size_t size = 0; size < packed.size; size++)
        view_copy(&packed, size, size, 0, true);
    buf_deinit(&packed);
}

static void a_buffer_with_any_byte_changed_does_no_harm(void **state) {
    (void)state;
    static const int masks[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF};
    struct buf packed = {0};
    struct fault fault = {0};
    assert_true(pack(rich, &packed, &fault));
    for (size_t at = 0; at < packed.size; at++)
        for (size_t m = 0; m < sizeof masks / sizeof masks[0]; m++)
            view_copy(&packed, packed.size, at, masks[m], false);
    buf_deinit(&packed);
}

static void offsets_and_counts_that_overflow_are_rejected(void **state) {
    (void)state;
    struct buf packed = {0};
    struct fault fault = {0};
    assert_true(pack(rich, &packed, &fault));
    static const uint64_t evil[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX / 8 + 1, UINT64_C(1) << 61, INT64_MAX};
    for (unsigned row = 3; row < 10; row++) {
        for (size_t field = 8; field < 32; field += 8) {
            for (size_t e = 0; e < sizeof evil / sizeof evil[0]; e++) {
                struct buf copy = {0};
                buf_append(&copy, packed.data, packed.size);
                memcpy(copy.data + 16 + row * sizeof(struct packed_param) + field, &evil[e], 8);
                view_copy(&copy, copy.size, copy.size, 0, false);
                buf_deinit(&copy);
            }
        }
    }
    buf_deinit(&packed);
}

static void values_outside_the_table_are_rejected(void **state) {
    (void)state;
    struct buf packed = {0};
    struct fault fault = {0};
    assert_true(pack("{\"start\":0,\"stop\":7}", &packed, &fault));
    struct packed_param stop;
    memcpy(&stop, packed.data + 16 + sizeof stop, sizeof stop);
    view_copy(&packed, packed.size, stop.offset, '7' ^ '-', true);
    view_copy(&packed, packed.size, stop.offset, '7' ^ 'x', true);
    view_copy(&packed, packed.size, stop.offset, '7', true);
    view_copy(&packed, packed.size, stop.offset, '7' ^ '8', false);
    buf_deinit(&packed);
}

static void bytes_of_another_type_are_rejected(void **state) {
    (void)state;
    struct call_params c;
    struct params p;
    struct fault fault = {0};
    read_params(&c, rich);
    assert_int_equal(params_view(&toy_tables()[TOY_PLAIN], c.packed.data, c.packed.size, &p, &fault), -1);
    fault_deinit(&fault);
    buf_deinit(&c.packed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_the_same_however_they_are_written),
        cmocka_unit_test(zero_has_one_form),
        cmocka_unit_test(integers_beyond_a_double_are_exact),
        cmocka_unit_test(fractions_are_no_integers),
        cmocka_unit_test(other_kinds_are_no_integers),
        cmocka_unit_test(an_exponent_is_expanded_up_to_4096_digits),
        cmocka_unit_test(integers_of_up_to_4096_digits_are_read),
        cmocka_unit_test(integers_fit_the_c_type_or_are_not_given),
        cmocka_unit_test(integers_just_beyond_the_c_types_do_not_fit),
        cmocka_unit_test(bounds_are_inclusive_and_named),
        cmocka_unit_test(fallbacks_are_filled_in_but_not_given),
        cmocka_unit_test(fallbacks_of_other_forms_stay_out),
        cmocka_unit_test(absent_parameters_and_wrong_kinds_read_as_absent),
        cmocka_unit_test(booleans_are_true_and_false_only),
        cmocka_unit_test(choices_are_listed_when_missed),
        cmocka_unit_test(text_may_hold_nul_and_is_terminated),
        cmocka_unit_test(texts_are_one_or_many),
        cmocka_unit_test(a_number_is_no_text_even_a_long_one),
        cmocka_unit_test(any_json_is_handed_on_compact),
        cmocka_unit_test(integers_are_read_as_they_are),
        cmocka_unit_test(integers_beyond_64_bits_are_read_as_digits),
        cmocka_unit_test(zeros_of_an_exponent_are_not_packed),
        cmocka_unit_test(reals_are_read_as_strtod_reads_them),
        cmocka_unit_test(integers_stay_integers_beside_reals),
        cmocka_unit_test(packed_numbers_are_about_as_short_as_their_text),
        cmocka_unit_test(damaged_numbers_are_not_read),
        cmocka_unit_test(short_texts_are_packed_shortly),
        cmocka_unit_test(an_empty_array_of_numbers_has_none),
        cmocka_unit_test(bad_elements_are_named_by_their_index),
        cmocka_unit_test(a_flood_of_bad_elements_is_cut),
        cmocka_unit_test(unknown_parameters_are_named_with_the_known_ones),
        cmocka_unit_test(a_missing_parameter_is_reported_at_its_parent),
        cmocka_unit_test(without_parameters_the_fault_says_what_is_needed),
        cmocka_unit_test(parameters_of_different_forms_do_not_mix),
        cmocka_unit_test(a_truncated_buffer_is_rejected_at_every_length),
        cmocka_unit_test(a_buffer_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(offsets_and_counts_that_overflow_are_rejected),
        cmocka_unit_test(values_outside_the_table_are_rejected),
        cmocka_unit_test(bytes_of_another_type_are_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
