/* schema_test.c: the descriptions of job types, handlers/host/schema.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/toy_types.h"

static json_t *describe(size_t type) {
    struct buf out = {0};
    host_describe(type, &out);
    assert_false(out.failed);
    json_t *root = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    buf_deinit(&out);
    return root;
}

/* A copy of the schema of one property, as text. Form 0 is "range", form 1 is "list". */
static void assert_property(size_t form, const char *name, const char *expected) {
    json_t *root = describe(TOY_SHAPE);
    json_t *forms = json_object_get(json_object_get(root, "params"), "anyOf");
    json_t *property = json_object_get(json_object_get(json_array_get(forms, form), "properties"), name);
    assert_non_null(property);
    char *text = json_dumps(property, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(root);
}

static void a_type_is_described_by_name_summary_params_and_flags(void **state) {
    (void)state;
    struct buf out = {0};
    host_describe(TOY_PLAIN, &out);
    assert_string_equal(
        out.data,
        "{\"name\":\"plain\",\"summary\":\"Has no parameters\",\"source\":\"builtin\",\"params\":{\"$schema\":"
        "\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\","
        "\"properties\":{},\"required\":[],\"additionalProperties\":false},"
        "\"flags\":[\"test\"]}");
    buf_deinit(&out);
}

static void every_form_is_a_closed_object_of_its_own(void **state) {
    (void)state;
    json_t *root = describe(TOY_SHAPE);
    json_t *forms = json_object_get(json_object_get(root, "params"), "anyOf");
    assert_int_equal(json_array_size(forms), 2);
    json_t *range = json_array_get(forms, 0), *list = json_array_get(forms, 1);
    assert_string_equal(json_string_value(json_object_get(range, "title")), "range");
    assert_true(json_is_false(json_object_get(range, "additionalProperties")));
    assert_true(json_is_false(json_object_get(list, "additionalProperties")));
    assert_null(json_object_get(json_object_get(range, "properties"), "numbers"));
    assert_null(json_object_get(json_object_get(list, "properties"), "start"));
    assert_non_null(json_object_get(json_object_get(range, "properties"), "op"));
    assert_non_null(json_object_get(json_object_get(list, "properties"), "op"));
    char *required = json_dumps(json_object_get(range, "required"), JSON_COMPACT);
    assert_string_equal(required, "[\"start\",\"stop\"]");
    free(required);
    assert_int_equal(json_array_size(json_object_get(root, "flags")), 0);
    json_decref(root);
}

static void integers_are_numbers_within_a_double_or_strings(void **state) {
    (void)state;
    assert_property(0, "start",
                    "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":-9007199254740991,\"maximum\":9007199254740991},"
                    "{\"type\":\"string\",\"pattern\":\"^-?[0-9]+$\"}],\"description\":\"the first one\"}");
    assert_property(0, "stop",
                    "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740991},"
                    "{\"type\":\"string\",\"pattern\":\"^[0-9]+$\"}],\"description\":\"the one after the last\"}");
    assert_property(0, "step",
                    "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":-1000,\"maximum\":1000},"
                    "{\"type\":\"string\",\"pattern\":\"^-?[0-9]+$\"}],\"default\":1}");
}

static void the_other_kinds_have_their_own_schemas(void **state) {
    (void)state;
    assert_property(0, "op", "{\"enum\":[\"count\",\"list\"],\"default\":\"count\"}");
    assert_property(0, "exact", "{\"type\":\"boolean\",\"default\":true}");
    assert_property(0, "name", "{\"type\":\"string\"}");
    assert_property(0, "lines",
                    "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":"
                    "\"string\"}}]}");
    assert_property(0, "any", "{\"title\":\"any JSON value\"}");
    assert_property(1, "reals",
                    "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"string\","
                    "\"pattern\":\"^-?[0-9]+$\"}]}}");
}

static void a_type_beyond_the_registry_has_no_description(void **state) {
    (void)state;
    struct buf out = {0};
    host_describe(TOY_TYPES, &out);
    assert_int_equal(out.size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_type_is_described_by_name_summary_params_and_flags),
        cmocka_unit_test(every_form_is_a_closed_object_of_its_own),
        cmocka_unit_test(integers_are_numbers_within_a_double_or_strings),
        cmocka_unit_test(the_other_kinds_have_their_own_schemas),
        cmocka_unit_test(a_type_beyond_the_registry_has_no_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
