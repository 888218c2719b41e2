/* problem_test.c: problem documents (RFC 9457), and the faults that workers write. See server/model/problem.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "server/model/problem.h"

static json_t *written(enum problem_code code, const char *detail, const char *members, const char *instance) {
    struct buf b = {0};
    problem_write(&b, code, detail, members, instance);
    json_t *o = json_loadb(b.data, b.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    buf_deinit(&b);
    assert_non_null(o);
    return o;
}

static const char *text_of(json_t *o, const char *name) {
    return json_string_value(json_object_get(o, name));
}

static void every_problem_is_complete_and_found_by_its_code(void **state) {
    (void)state;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        const struct problem *p = problem_get((enum problem_code)i);
        assert_non_null(p->code);
        assert_in_range(p->status, 400, 599);
        assert_true(strlen(p->title) > 0 && strlen(p->help) > 0);
        assert_int_equal(problem_find(p->code, strlen(p->code)), i);
        json_t *o = written((enum problem_code)i, NULL, NULL, NULL);
        assert_int_equal(json_object_size(o), 5);
        assert_int_equal(json_integer_value(json_object_get(o, "status")), p->status);
        assert_string_equal(text_of(o, "code"), p->code);
        assert_string_equal(text_of(o, "detail"), p->help);
        assert_memory_equal(text_of(o, "type"), "/problems/", 10);
        assert_string_equal(text_of(o, "type") + 10, p->code);
        json_decref(o);
    }
    assert_int_equal(problem_find("no_such_code", 12), PROBLEM_COUNT);
    assert_int_equal(problem_find("gon", 3), PROBLEM_COUNT);
    assert_int_equal(problem_find("", 0), PROBLEM_COUNT);
}

static void details_members_and_instance_are_added(void **state) {
    (void)state;
    json_t *o = written(PROBLEM_GONE, "a \"quote\"\n", "\"limit\":5,\"x\":[]", "/v1/jobs");
    assert_string_equal(text_of(o, "detail"), "a \"quote\"\n");
    assert_string_equal(text_of(o, "instance"), "/v1/jobs");
    assert_int_equal(json_integer_value(json_object_get(o, "limit")), 5);
    json_decref(o);
}

static void the_instance_is_a_uri_reference(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"/v1/jobs/a b", "/v1/jobs/a%20b"},
        {"/-._~!$&'()*+,;=:@/Zz09", "/-._~!$&'()*+,;=:@/Zz09"}, /* never more than needed */
        {"/100%", "/100%25"},
        {"/a?b#c[d]", "/a%3Fb%23c%5Bd%5D"},
        {"/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"},
        {"/\xc3\xa4\xff\x01\x7f", "/%C3%A4%FF%01%7F"},
        {"//host/x", "/%2Fhost/x"}, /* else it names a host */
        {"*", "*"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *o = written(PROBLEM_GONE, NULL, NULL, rows[i][0]);
        assert_string_equal(text_of(o, "instance"), rows[i][1]);
        json_decref(o);
    }
}

static void a_fault_is_made_anew_from_what_is_known(void **state) {
    (void)state;
    static const char json[] = "{\"code\":\"invalid_params\",\"detail\":\"no\",\"status\":200,\"evil\":1,\"line\":3,"
                               "\"errors\":[{\"pointer\":\"/a\",\"detail\":\"b\\u0000c\",\"evil\":2}]}";
    struct problem_fault f;
    assert_int_equal(problem_read_fault(json, sizeof json - 1, &f), 0);
    assert_int_equal(f.code, PROBLEM_INVALID_PARAMS);
    assert_string_equal(f.detail, "no");
    assert_string_equal(f.members, "\"errors\":[{\"pointer\":\"/a\",\"detail\":\"b\\u0000c\"}],\"line\":3");
    json_t *o = written(f.code, f.detail, f.members, NULL);
    json_decref(o);
    problem_fault_deinit(&f);
}

static void assert_no_fault(const char *json, size_t size) {
    struct problem_fault f;
    assert_int_equal(problem_read_fault(json, size, &f), -1);
    problem_fault_deinit(&f);
}

static void what_is_no_fault_is_rejected(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "7",
                                      "\"x\"",
                                      "{}",
                                      "{\"code\":\"gone\"}",
                                      "{\"detail\":\"x\"}",
                                      "{\"code\":1,\"detail\":\"x\"}",
                                      "{\"code\":\"gone\",\"detail\":1}",
                                      "{\"code\":\"nothing\",\"detail\":\"x\"}",
                                      "{\"code\":\"gone\",\"detail\":\"x\",\"errors\":{}}",
                                      "{\"code\":\"gone\",\"detail\":\"x\",\"errors\":[1]}",
                                      "{\"code\":\"gone\",\"detail\":\"x\",\"errors\":[{}]}",
                                      "{\"code\":\"gone\",\"detail\":\"\xFF\"}",
                                      "{\"code\":\"gone\",\"detail\":\"x\",\"errors\":[{\"pointer\":\"/a\"}]}",
                                      "{\"code\":\"gone\",\"detail\":\"x\"} {}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_no_fault(bad[i], strlen(bad[i]));
}

static void a_fault_that_is_too_large_is_rejected(void **state) {
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "{\"code\":\"gone\",\"detail\":\"x\",\"errors\":[{\"pointer\":\"\",\"detail\":\"\"}");
    for (int i = 0; i < 20; i++)
        buf_puts(&b, ",{\"pointer\":\"\",\"detail\":\"\"}");
    buf_puts(&b, "]}");
    assert_no_fault(b.data, b.size);
    buf_clear(&b);
    buf_puts(&b, "{\"code\":\"gone\",\"detail\":\"x\"}");
    while (b.size <= 64 * 1024)
        buf_putc(&b, ' ');
    assert_no_fault(b.data, b.size);
    buf_deinit(&b);
}

static void the_members_of_an_exception_are_found_in_its_document(void **state) {
    (void)state;
    static const char json[] =
        "{\"traceback\":\"at ,\\\"traceback\\\":\\\"x\\\"\\n\",\"code\":\"handler_failed\",\"detail\":"
        "\"no ,\\\"traceback\\\":\\\"\",\"exception\":\"E\"}";
    struct problem_fault f;
    struct buf document = {0}, text = {0};
    assert_int_equal(problem_read_fault(json, sizeof json - 1, &f), 0);
    assert_string_equal(f.members, "\"exception\":\"E\",\"traceback\":\"at ,\\\"traceback\\\":\\\"x\\\"\\n\"");
    problem_write(&document, f.code, f.detail, f.members, "/v1/jobs/1");
    problem_copy_member(&document, "exception", &text);
    assert_string_equal(text.data, "\"E\"");
    buf_clear(&text);
    problem_copy_member(&document, "detail", &text);
    assert_string_equal(text.data, "\"no ,\\\"traceback\\\":\\\"\"");
    buf_clear(&text);
    problem_copy_member(&document, "nothing", &text);
    assert_int_equal(text.size, 0);
    size_t size = problem_without_traceback(&document);
    assert_memory_equal(document.data + size - 16, ",\"exception\":\"E\"", 16);
    problem_fault_deinit(&f);
    buf_clear(&document);
    problem_write(&document, PROBLEM_GONE, NULL, NULL, NULL);
    assert_int_equal(problem_without_traceback(&document), document.size);
    buf_deinit(&document);
    buf_deinit(&text);
}

static void assert_first_error(const char *members, const char *pointer, const char *detail) {
    struct buf document = {0}, p = {0}, d = {0};
    problem_write(&document, PROBLEM_INVALID_PARAMS, "not this: ,\"errors\":[{\"pointer\":\"/x\"", members, "/v1/jobs");
    problem_first_error(&document, &p, &d);
    buf_putc(&p, '\0');
    buf_putc(&d, '\0');
    assert_string_equal(p.data, pointer);
    assert_string_equal(d.data, detail);
    buf_deinit(&document);
    buf_deinit(&p);
    buf_deinit(&d);
}

static void the_first_error_and_the_place_are_found_in_a_document(void **state) {
    (void)state;
    struct buf document = {0}, one = {0};
    uint64_t line, column;
    problem_put_error(&one, "/a\"b\\", "is \"bad\"");
    assert_first_error(one.data, "\"/a\\\"b\\\\\"", "\"is \\\"bad\\\"\"");
    assert_first_error("\"errors\":[{\"pointer\":\"/a\",\"detail\":\"b\"},{\"pointer\":\"/c\",\"detail\":\"d\"}]",
                       "\"/a\"", "\"b\"");
    assert_first_error(NULL, "", "");
    assert_first_error("\"errors\":[]", "", "");
    problem_write(&document, PROBLEM_INVALID_JSON, "\"line\":7", "\"line\":12,\"column\":3,\"position\":99", NULL);
    assert_true(problem_place(&document, &line, &column));
    assert_int_equal(line, 12);
    assert_int_equal(column, 3);
    buf_clear(&document);
    problem_write(&document, PROBLEM_GONE, NULL, NULL, NULL);
    assert_false(problem_place(&document, &line, &column));
    buf_clear(&document);
    assert_false(problem_place(&document, &line, &column));
    problem_first_error(&document, &one, &one);
    buf_deinit(&document);
    buf_deinit(&one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_problem_is_complete_and_found_by_its_code),
        cmocka_unit_test(details_members_and_instance_are_added),
        cmocka_unit_test(the_instance_is_a_uri_reference),
        cmocka_unit_test(a_fault_is_made_anew_from_what_is_known),
        cmocka_unit_test(the_members_of_an_exception_are_found_in_its_document),
        cmocka_unit_test(the_first_error_and_the_place_are_found_in_a_document),
        cmocka_unit_test(what_is_no_fault_is_rejected),
        cmocka_unit_test(a_fault_that_is_too_large_is_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
