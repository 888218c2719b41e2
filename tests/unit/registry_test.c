/* registry_test.c: the job types that the service really has: handlers/host/registry.c and the tables of the
 * handlers. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/registry.h"
#include "tests/unit/job.h"

static void test_types_are_offered_only_when_asked_for(void **state) {
    (void)state;
    host_init(false);
    assert_int_equal(host_count(), 8);
    assert_int_equal(host_find("echo"), -1);
    host_init(true);
    assert_int_equal(host_count(), 17);
    assert_true(host_find("echo") >= 0);
}

static void types_keep_their_numbers_with_and_without_test_types(void **state) {
    (void)state;
    static const char *const names[] = {"primes", "sum", "embeddings", "image", "array"};
    for (int i = 0; i < 5; i++) {
        host_init(false);
        assert_int_equal(host_find(names[i]), i);
        host_init(true);
        assert_int_equal(host_find(names[i]), i);
        assert_string_equal(host_handler((size_t)i)->name, names[i]);
    }
}

static void a_hidden_type_has_a_number_and_is_not_found(void **state) {
    (void)state;
    struct submission s;
    struct fault fault = {{0}};
    const char *body = "{\"type\":\"body-inflate\",\"params\":{}}";
    host_init(false);
    int number = host_known("body-inflate");
    assert_true(number >= 0 && host_is_hidden((size_t)number));
    assert_false(host_is_hidden((size_t)host_known("primes")));
    assert_int_equal(host_find("body-inflate"), -1);
    assert_int_equal(submission_parse(body, strlen(body), 64, 0, &s, &fault), -1);
    assert_non_null(strstr(fault.json.data, "unknown_type"));
    submission_deinit(&s);
    fault_deinit(&fault);
    assert_int_equal(submission_of_hidden("primes", "{\"nth\":1}", &s), -1);
    submission_deinit(&s);
    assert_int_equal(submission_of_hidden("body-inflate", "{\"coding\":\"gzip\"}", &s), -1);
    submission_deinit(&s);
    const char *good = "{\"data\":{\"part\":0},\"coding\":\"gzip\",\"limit\":1,\"ratio\":1}";
    assert_int_equal(submission_of_hidden("body-inflate", good, &s), 0);
    assert_int_equal(s.type, number);
    submission_deinit(&s);
}

static void no_other_type_gets_the_name_of_a_hidden_one(void **state) {
    (void)state;
    host_init(false);
    struct handler same = *host_handler((size_t)host_known("primes"));
    struct buf error = {0};
    same.name = "body-inflate";
    assert_int_equal(host_add(&(struct host_type){.handler = &same, .source = "plugin:x"}, &error), -1);
    assert_non_null(strstr(error.data, "builtin has a job type"));
    buf_deinit(&error);
}

static void unknown_types_are_not_found(void **state) {
    (void)state;
    host_init(true);
    assert_int_equal(host_find("prime"), -1);
    assert_int_equal(host_find(""), -1);
    assert_null(host_handler(host_count()));
}

/* Sends the fallback as a client would. A fallback must be a value that a client can send. */
static void assert_accepted(const struct params_table *table, unsigned row) {
    const struct param_spec *spec = &table->handler->params[row];
    struct buf json = {0};
    struct fault fault = {0};
    struct submission s;
    buf_printf(&json, "{\"type\":\"%s\",\"params\":{\"%s\":%s}}", table->handler->name, spec->name, spec->fallback);
    int rc = submission_parse(json.data, json.size, 64, 0, &s, &fault); /* other parameters can be missing */
    assert_int_equal(rc, fault.json.size > 0 ? -1 : 0);
    buf_clear(&json);
    buf_printf(&json, "\"/params/%s", spec->name);
    if (fault.json.size > 0 && strstr(fault.json.data, json.data) != NULL)
        fail_msg("%s: %s", table->handler->name, fault.json.data);
    submission_deinit(&s);
    fault_deinit(&fault);
    buf_deinit(&json);
}

static void every_fallback_fits_its_own_parameter(void **state) {
    (void)state;
    host_init(true);
    for (size_t type = 0; type < host_count(); type++) {
        const struct params_table *table = registry_table(type);
        for (unsigned row = 0; row < table->rows; row++)
            if (table->handler->params[row].fallback != NULL)
                assert_accepted(table, row);
    }
}

static void every_type_is_described_in_json(void **state) {
    (void)state;
    host_init(true);
    for (size_t type = 0; type < host_count(); type++) {
        struct buf out = {0};
        host_describe(type, &out);
        json_t *root = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(root);
        assert_string_equal(json_string_value(json_object_get(root, "name")), host_handler(type)->name);
        json_decref(root);
        buf_deinit(&out);
    }
}

static void assert_echo(const char *params, const char *expected) {
    char *json = job_run("echo", params, 0);
    assert_string_equal(json, expected);
    free(json);
}

static void echo_returns_what_it_was_given(void **state) {
    (void)state;
    assert_echo("{\"value\": [1, 0.1, \"h\\u00e9\\u0000\", null, {\"a\": true}]}",
                "{\"value\":[1,0.1,\"h\xC3\xA9\\u0000\",null,{\"a\":true}]}");
    assert_echo("{\"value\":null}", "{\"value\":null}");
    assert_echo("{\"value\":\"\"}", "{\"value\":\"\"}");
}

static void echo_needs_a_value(void **state) {
    (void)state;
    assert_echo("{}", "{\"code\":\"invalid_params\",\"detail\":\"/params: value is required\",\"errors\":[{"
                      "\"pointer\":\"/params\",\"detail\":\"value is required\"}]}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_are_offered_only_when_asked_for),
        cmocka_unit_test(types_keep_their_numbers_with_and_without_test_types),
        cmocka_unit_test(a_hidden_type_has_a_number_and_is_not_found),
        cmocka_unit_test(no_other_type_gets_the_name_of_a_hidden_one),
        cmocka_unit_test(unknown_types_are_not_found),
        cmocka_unit_test(every_fallback_fits_its_own_parameter),
        cmocka_unit_test(every_type_is_described_in_json),
        cmocka_unit_test(echo_returns_what_it_was_given),
        cmocka_unit_test(echo_needs_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
