/* submission_test.c: good and bad bodies of POST /v1/jobs: handlers/host/submission.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/submission_plain.h"
#include "tests/unit/toy_types.h"

static char *rejection(const char *json) {
    struct submission s;
    struct fault fault = {0};
    assert_int_equal(submission_parse(json, strlen(json), 64, 0, &s, &fault), -1);
    submission_deinit(&s);
    return buf_steal(&fault.json, NULL);
}

static void assert_rejected(const char *json, const char *expected) {
    char *fault = rejection(json);
    assert_string_equal(fault, expected);
    free(fault);
}

/* Asserts that the body is rejected with one error at the pointer, whatever its text. */
static void assert_rejected_at(const char *json, const char *code, const char *pointer) {
    char *fault = rejection(json);
    json_error_t error;
    json_t *root = json_loads(fault, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    json_t *errors = json_object_get(root, "errors");
    assert_string_equal(json_string_value(json_object_get(root, "code")), code);
    assert_true(json_string_length(json_object_get(root, "detail")) > 0);
    assert_int_equal(json_array_size(errors), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(errors, 0), "pointer")), pointer);
    json_decref(root);
    free(fault);
}

static struct submission_options options_of(const char *options) {
    char body[256];
    struct submission s;
    struct fault fault = {0};
    int n = snprintf(body, sizeof body, "{\"type\":\"plain\",\"options\":%s}", options);
    assert_int_equal(submission_parse(body, (size_t)n, 64, 0, &s, &fault), 0);
    submission_deinit(&s);
    return s.options;
}

static void assert_option_rejected(const char *name, const char *value) {
    char body[256], pointer[64];
    snprintf(body, sizeof body, "{\"type\":\"plain\",\"options\":{\"%s\":%s}}", name, value);
    snprintf(pointer, sizeof pointer, "/options/%s", name);
    assert_rejected_at(body, "invalid_params", pointer);
}

static void a_type_alone_is_a_job_with_default_options(void **state) {
    (void)state;
    struct submission s;
    struct fault fault = {0};
    assert_int_equal(submission_parse("{\"type\":\"plain\"}", 16, 64, 0, &s, &fault), 0);
    assert_int_equal(s.type, TOY_PLAIN);
    assert_int_equal(s.options.priority, -1);
    assert_int_equal(s.options.timeout_ms, -1);
    assert_int_equal(s.options.queue_timeout_ms, 0);
    assert_int_equal(s.options.max_attempts, 3);
    assert_int_equal(s.options.ttl_ms, -1);
    assert_int_equal(s.options.chunks, 0);
    assert_int_equal(s.options.delay_ms, 0);
    assert_false(s.options.isolated);
    assert_null(s.options.webhook);
    submission_deinit(&s);
}

/* Packed options, params and the rest of a body. A fault is not compared, because it can quote the text. */
static void read_all(const char *body, unsigned max_depth, struct buf *all) {
    struct submission s;
    struct fault fault = {0};
    int rc = submission_parse(body, strlen(body), max_depth, 0, &s, &fault);
    buf_printf(all, "%d %u %d %u ", rc, s.type, s.map, s.items);
    if (rc == 0)
        options_pack(&s.options, all);
    buf_append(all, s.params.data, rc == 0 ? s.params.size : 0);
    submission_deinit(&s);
    fault_deinit(&fault);
}

/* quick: it takes the quick way. The same body with "type" written otherwise takes the general way. */
static void assert_read_alike(const char *body, unsigned max_depth, bool quick) {
    struct submission s = {0};
    struct buf one = {0}, other = {0}, general = {0};
    const char *type = strstr(body, "\"type\"");
    assert_int_equal(submission_parse_plain(body, strlen(body), max_depth, &s), quick);
    submission_deinit(&s);
    read_all(body, max_depth, &one);
    if (type != NULL) {
        buf_printf(&other, "%.*s\"\\u0074ype\"%s", (int)(type - body), body, type + 6);
        assert_false(submission_parse_plain(other.data, other.size, max_depth, &s));
        submission_deinit(&s);
        read_all(other.data, max_depth, &general);
        assert_int_equal(one.size, general.size);
        assert_memory_equal(one.data, general.data, one.size);
    }
    buf_deinit(&one);
    buf_deinit(&other);
    buf_deinit(&general);
}

static void a_plain_body_is_read_in_one_pass_to_the_same_result(void **state) {
    (void)state;
    static const struct {
        const char *body;
        bool quick;
    } rows[] = {
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20}}", true},
        {" {\n\"type\" : \"shape\" , \"params\" : { \"stop\" : 20 , \"start\" : -1 } }\t\r\n ", true},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":2,\"op\":\"list\",\"exact\":false,\"name\":\"x\"}}",
         true},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":2,\"any\":null}}", true},
        {"{\"type\":\"plain\",\"params\":{}}", true},
        {"{\"params\":{\"start\":1,\"stop\":20},\"type\":\"shape\"}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20},\"options\":{}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20},\"type\":\"shape\"}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20},}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20}}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":20}} x", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"start\":1,\"stop\":20}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1,\"stop\":-20}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":01,\"stop\":20}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1.0,\"stop\":2e1}}", false},
        {"{\"type\":\"shape\",\"params\":{\"numbers\":[1,2]}}", false},
        {"{\"type\":\"shape\",\"params\":{\"start\":1}}", false},
        {"{\"type\":\"shape\",\"params\":[]}", false},
        {"{\"type\":\"other\",\"params\":{}}", false},
        {"{\"type\":5,\"params\":{}}", false},
        {"{\"type\":\"shape\"}", false},
        {"{\"type\":", false},
        {"{\"type", false},
        {"{", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_read_alike(rows[i].body, 64, rows[i].quick);
    assert_read_alike(rows[0].body, 2, true);
    assert_read_alike(rows[0].body, 1, false);
}

static void every_option_is_read(void **state) {
    (void)state;
    struct submission_options o =
        options_of("{\"priority\":7,\"timeout_ms\":9007199254740991,\"queue_timeout_ms\":5,"
                   "\"max_attempts\":100,\"ttl_s\":31536000,\"chunks\":4096,\"delay_ms\":31536000000,"
                   "\"isolation\":\"fresh\"}");
    assert_int_equal(o.priority, 7);
    assert_int_equal(o.timeout_ms, 9007199254740991);
    assert_int_equal(o.queue_timeout_ms, 5);
    assert_int_equal(o.max_attempts, 100);
    assert_int_equal(o.ttl_ms, 31536000000);
    assert_int_equal(o.chunks, 4096);
    assert_int_equal(o.delay_ms, 31536000000);
    assert_true(o.isolated);
}

static void isolation_is_one_of_two_words(void **state) {
    (void)state;
    assert_false(options_of("{\"isolation\":\"pool\"}").isolated);
    assert_true(options_of("{\"isolation\":\"fresh\"}").isolated);
    assert_option_rejected("isolation", "\"Fresh\"");
    assert_option_rejected("isolation", "\"\"");
    assert_option_rejected("isolation", "true");
    assert_option_rejected("isolation", "12345678901234567890");
    assert_option_rejected("isolation", "\"fresh\\u0000\"");
}

static void assert_webhook_of(size_t size, bool taken) {
    struct buf body = {0};
    struct submission s;
    struct fault fault = {0};
    buf_puts(&body, "{\"type\":\"plain\",\"options\":{\"webhook\":\"");
    for (size_t i = 0; i < size; i++)
        buf_putc(&body, 'w');
    buf_puts(&body, "\"}}");
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), taken ? 0 : -1);
    if (taken)
        assert_int_equal(strlen(s.options.webhook), size);
    else
        assert_non_null(strstr(fault.json.data, "/options/webhook"));
    submission_deinit(&s);
    fault_deinit(&fault);
    buf_deinit(&body);
}

static void a_webhook_is_a_string_of_bounded_size(void **state) {
    (void)state;
    assert_webhook_of(0, false);
    assert_webhook_of(1, true);
    assert_webhook_of(2048, true);
    assert_webhook_of(2049, false);
    assert_option_rejected("webhook", "null");
    assert_option_rejected("webhook", "12345678901234567890");
    assert_option_rejected("webhook", "[\"https://example.org\"]");
    assert_option_rejected("webhook", "\"https://example.org/\\u0000\"");
}

static void params_and_items_exclude_each_other(void **state) {
    (void)state;
    assert_rejected_at("{\"type\":\"plain\",\"params\":{},\"items\":[]}", "invalid_params", "/items");
    assert_rejected_at("{\"type\":\"plain\",\"items\":{}}", "invalid_params", "/items");
}

static void items_make_a_map_of_so_many_calls(void **state) {
    (void)state;
    struct submission s;
    struct fault fault = {0};
    const char *body = "{\"items\":[{},{\"x\":1},7],\"type\":\"plain\"}";
    assert_int_equal(submission_parse(body, strlen(body), 64, 0, &s, &fault), 0);
    assert_true(s.map);
    assert_int_equal(s.items, 3);
    submission_deinit(&s);
    assert_int_equal(submission_parse("{\"type\":\"plain\"}", 16, 64, 0, &s, &fault), 0);
    assert_false(s.map);
    submission_deinit(&s);
}

static void the_least_value_of_every_option_is_read(void **state) {
    (void)state;
    struct submission_options o = options_of(
        "{\"priority\":0,\"timeout_ms\":1,\"queue_timeout_ms\":0,\"max_attempts\":1,\"ttl_s\":0,\"chunks\":0}");
    assert_int_equal(o.priority, 0);
    assert_int_equal(o.timeout_ms, 1);
    assert_int_equal(o.max_attempts, 1);
    assert_int_equal(o.ttl_ms, 0);
}

static void options_beyond_their_bounds_are_rejected(void **state) {
    (void)state;
    assert_option_rejected("priority", "8");
    assert_option_rejected("priority", "-1");
    assert_option_rejected("timeout_ms", "0");
    assert_option_rejected("timeout_ms", "9007199254740992");
    assert_option_rejected("queue_timeout_ms", "-1");
    assert_option_rejected("max_attempts", "0");
    assert_option_rejected("max_attempts", "101");
    assert_option_rejected("ttl_s", "31536001");
    assert_option_rejected("ttl_s", "-1");
    assert_option_rejected("chunks", "4097");
    assert_option_rejected("chunks", "1e400");
    assert_option_rejected("delay_ms", "-1");
    assert_option_rejected("delay_ms", "31536000001");
}

static void options_take_integers_however_they_are_written(void **state) {
    (void)state;
    assert_int_equal(options_of("{\"priority\":3.0}").priority, 3);
    assert_int_equal(options_of("{\"priority\":\"3\"}").priority, 3);
    assert_int_equal(options_of("{\"ttl_s\":1e3}").ttl_ms, 1000000);
    assert_int_equal(options_of("{\"ttl_s\":0.00001e8}").ttl_ms, 1000000);
    assert_option_rejected("priority", "3.5");
    assert_option_rejected("priority", "true");
    assert_option_rejected("priority", "null");
    assert_option_rejected("priority", "\"3.0\"");
}

static void unknown_members_are_named_by_their_pointer(void **state) {
    (void)state;
    assert_rejected(
        "{\"type\":\"plain\",\"options\":{\"timeout\":1}}",
        "{\"code\":\"invalid_params\",\"detail\":\"/options/timeout: \\\"timeout\\\" is not an option; there "
        "are priority, timeout_ms, queue_timeout_ms, max_attempts, ttl_s, chunks, delay_ms, isolation and "
        "webhook\",\"errors\":[{"
        "\"pointer\":\"/options/timeout\",\"detail\":\"\\\"timeout\\\" is not an option; there are "
        "priority, timeout_ms, queue_timeout_ms, max_attempts, ttl_s, chunks, delay_ms, isolation and webhook\"}]}");
    assert_rejected_at("{\"type\":\"plain\",\"item\":[]}", "invalid_params", "/item");
    assert_rejected_at("{\"type\":\"plain\",\"params\":{\"x\":1}}", "invalid_params", "/params/x");
    assert_option_rejected("Delay_ms", "0");
    assert_option_rejected("isolation", "\"new\"");
}

static void pointers_escape_tildes_and_slashes(void **state) {
    (void)state;
    assert_rejected_at("{\"type\":\"plain\",\"params\":{\"a~b/c\":1}}", "invalid_params", "/params/a~0b~1c");
}

static void an_unknown_type_is_answered_with_the_known_ones(void **state) {
    (void)state;
    assert_rejected(
        "{\"type\":\"prime\"}",
        "{\"code\":\"unknown_type\",\"detail\":\"/type: there is no job type \\\"prime\\\"; there are shape, "
        "plain\",\"errors\":[{\"pointer\":\"/type\",\"detail\":\"there is no job type \\\"prime\\\"; there "
        "are shape, plain\"}]}");
    assert_rejected_at("{\"type\":\"plain\\u0000\"}", "unknown_type", "/type");
}

static void a_missing_type_is_reported_at_the_job(void **state) {
    (void)state;
    assert_rejected_at("{}", "invalid_params", "");
    assert_rejected_at("{\"type\":7}", "invalid_params", "/type");
    assert_rejected_at("{\"type\":12345678901234567890}", "invalid_params", "/type");
}

static void json_of_another_shape_is_invalid_and_not_malformed(void **state) {
    (void)state;
    assert_rejected_at("5", "invalid_params", "");
    assert_rejected_at("123456789012345678901234567890", "invalid_params", "");
    assert_rejected_at("[]", "invalid_params", "");
    assert_rejected_at("\"x\"", "invalid_params", "");
    assert_rejected_at("{\"type\":\"plain\",\"params\":null}", "invalid_params", "/params");
    assert_rejected_at("{\"type\":\"plain\",\"options\":[]}", "invalid_params", "/options");
}

static void all_faults_are_reported_at_once(void **state) {
    (void)state;
    char *fault = rejection("{\"type\":\"shape\",\"params\":{\"start\":\"x\",\"stop\":-1,\"nope\":1},"
                            "\"options\":{\"priority\":9},\"more\":1}");
    json_t *root = json_loads(fault, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(root, "errors")), 5);
    assert_non_null(strstr(fault, "(and 4 more)"));
    json_decref(root);
    free(fault);
}

static void a_flood_of_faults_is_cut(void **state) {
    (void)state;
    struct buf body = {0};
    buf_puts(&body, "{\"type\":\"plain\",\"params\":{");
    for (int i = 0; i < 1000; i++)
        buf_printf(&body, "%s\"%0900d\":1", i > 0 ? "," : "", i);
    buf_puts(&body, "}}");
    char *fault = rejection(body.data);
    json_t *root = json_loads(fault, 0, NULL);
    assert_non_null(root);
    assert_in_range(json_array_size(json_object_get(root, "errors")), 1, 20);
    assert_true(strlen(fault) < 20 * 1024);
    json_decref(root);
    free(fault);
    buf_deinit(&body);
}

static void broken_json_keeps_its_own_codes(void **state) {
    (void)state;
    assert_rejected("{\"type\":\"plain\",}",
                    "{\"code\":\"invalid_json\",\"detail\":\"this is not JSON: string or '}' expected near "
                    "'}'\",\"line\":1,\"column\":17,\"position\":17}");
    assert_rejected("{\"type\":\"plain\",\n \"type\":\"plain\"}",
                    "{\"code\":\"duplicate_key\",\"detail\":\"a name occurs twice in one object: duplicate object key "
                    "near '\\\"type\\\"'\",\"line\":2,\"column\":7,\"position\":24}");
}

static void the_empty_body_is_not_json(void **state) {
    (void)state;
    char *fault = rejection("");
    assert_non_null(strstr(fault, "\"code\":\"invalid_json\""));
    assert_non_null(strstr(fault, "\"line\":1,\"column\":1,\"position\":0"));
    free(fault);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_type_alone_is_a_job_with_default_options),
        cmocka_unit_test(a_plain_body_is_read_in_one_pass_to_the_same_result),
        cmocka_unit_test(every_option_is_read),
        cmocka_unit_test(isolation_is_one_of_two_words),
        cmocka_unit_test(a_webhook_is_a_string_of_bounded_size),
        cmocka_unit_test(params_and_items_exclude_each_other),
        cmocka_unit_test(items_make_a_map_of_so_many_calls),
        cmocka_unit_test(the_least_value_of_every_option_is_read),
        cmocka_unit_test(options_beyond_their_bounds_are_rejected),
        cmocka_unit_test(options_take_integers_however_they_are_written),
        cmocka_unit_test(unknown_members_are_named_by_their_pointer),
        cmocka_unit_test(pointers_escape_tildes_and_slashes),
        cmocka_unit_test(an_unknown_type_is_answered_with_the_known_ones),
        cmocka_unit_test(a_missing_type_is_reported_at_the_job),
        cmocka_unit_test(json_of_another_shape_is_invalid_and_not_malformed),
        cmocka_unit_test(all_faults_are_reported_at_once),
        cmocka_unit_test(a_flood_of_faults_is_cut),
        cmocka_unit_test(broken_json_keeps_its_own_codes),
        cmocka_unit_test(the_empty_body_is_not_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
