/* query_test.c: submissions of queries, and the choice of a result by Accept: handlers/host/query.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/fault.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"

/* ---- a type with every kind of parameter -------------------------------------------------------------------------- */

static const char *const formats[] = {"png", "webp", "pdf", NULL};
static const char *const results[] = {"image/png", "image/webp", "application/pdf", NULL};
static const struct param_spec every_params[] = {
    {"integer", PARAM_INTEGER},
    {"boolean", PARAM_BOOLEAN},
    {"format", PARAM_ENUM, .choices = formats},
    {"text", PARAM_TEXT},
    {"texts", PARAM_TEXTS},
    {"numbers", PARAM_NUMBERS, PARAM_REALS},
    {"json", PARAM_JSON},
    {"data", PARAM_BYTES},
    {"type", PARAM_TEXT},
    {0},
};

static int every_plan(struct call *c, const struct params *p) {
    (void)p;
    return plan_chunk(c, "", 0, 1);
}

static int every_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    return part_write(c, "", 0);
}

static int every_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)parts, (void)count;
    json_bool(c, true);
    return 0;
}

static const struct handler every = {.abi = HANDLER_ABI,
                                     .name = "every",
                                     .summary = "Has every kind",
                                     .params = every_params,
                                     .results = results,
                                     .result_param = "format",
                                     .plan = every_plan,
                                     .run = every_run,
                                     .merge = every_merge};

static int set_up(void **state) {
    struct buf error = {0};
    (void)state;
    host_init(true);
    return host_add(&(struct host_type){.handler = &every, .source = "test"}, &error);
}

/* ---- queries ------------------------------------------------------------------------------------------------------ */

/* The text of a query of pairs NAME, VALUE, ..., NULL. */
static struct buf text_of(const char *const *texts) {
    struct host_pair pairs[16];
    struct buf json = {0};
    struct fault fault = {{0}};
    size_t count = 0;
    for (; texts[2 * count] != NULL; count++)
        pairs[count] = (struct host_pair){texts[2 * count], texts[2 * count + 1]};
    assert_int_equal(host_query_to_json(pairs, count, &json, &fault), 0);
    buf_putc(&json, '\0');
    return json;
}

#define ASSERT_JSON(expected, ...)                                                                                     \
    do {                                                                                                               \
        struct buf json_ = text_of((const char *const[]){__VA_ARGS__, NULL});                                          \
        assert_string_equal(json_.data, expected);                                                                     \
        buf_deinit(&json_);                                                                                            \
    } while (0)

/* {"type":"every","params":{NAME:EXPECTED}} for that parameter. */
static void assert_value(const char *name, const char *value, const char *expected) {
    char all[512];
    snprintf(all, sizeof all, "{\"type\":\"every\",\"params\":{\"%s\":%s}}", name, expected);
    ASSERT_JSON(all, "type", "every", name, value);
}

static void a_value_is_read_as_the_table_says(void **state) {
    (void)state;
    assert_value("integer", "10", "10");
    assert_value("integer", "-123456789012345678901234567890", "-123456789012345678901234567890");
    assert_value("integer", "1e3", "1e3");
    assert_value("integer", "ten", "\"ten\""); /* which the check then names */
    assert_value("integer", "007", "\"007\"");
    assert_value("integer", "", "\"\"");
    assert_value("boolean", "true", "true");
    assert_value("boolean", "false", "false");
    assert_value("boolean", "1", "\"1\"");
    assert_value("format", "webp", "\"webp\"");
    assert_value("text", "10", "\"10\"");
    assert_value("text", "true", "\"true\"");
    assert_value("text", "a \"b\"\n\\", "\"a \\\"b\\\"\\n\\\\\"");
    assert_value("texts", "[\"a\",\"b\"]", "[\"a\",\"b\"]");
    assert_value("texts", "[a", "\"[a\"");
    assert_value("texts", "10", "\"10\"");
    assert_value("numbers", "[1,0.5]", "[1,0.5]");
    assert_value("json", "{\"a\":null}", "{\"a\":null}");
    assert_value("json", "null", "null");
    assert_value("json", "word", "\"word\"");
    assert_value("data", "{\"part\":0}", "{\"part\":0}");
    assert_value("data", "Zm9v", "\"Zm9v\"");
    assert_value("unknown", "10", "10");
    assert_value("unknown", "x", "\"x\"");
}

static void the_text_has_the_order_of_the_query(void **state) {
    (void)state;
    ASSERT_JSON("{\"type\":\"every\",\"params\":{}}", "type", "every");
    ASSERT_JSON(
        "{\"type\":\"every\",\"params\":{\"text\":\"x\",\"integer\":1},\"options\":{\"priority\":3,\"chunks\":2}}",
        "options.priority", "3", "text", "x", "type", "every", "options.chunks", "2", "integer", "1");
    ASSERT_JSON("{\"type\":\"nothing\",\"params\":{\"a\":1}}", "a", "1", "type", "nothing");
    ASSERT_JSON("{\"type\":\"a\\\"b\",\"params\":{}}", "type", "a\"b");
}

static void a_query_without_a_type_is_refused(void **state) {
    (void)state;
    struct host_pair pairs[] = {{"integer", "1"}, {"options.type", "every"}};
    struct buf json = {0};
    struct fault fault = {{0}};
    assert_int_equal(host_query_to_json(pairs, 2, &json, &fault), -1);
    assert_non_null(strstr(fault.json.data, "invalid_params"));
    buf_deinit(&json);
    fault_deinit(&fault);
}

/* No value can end its string, or begin another member. */
static void a_hostile_value_stays_one_value(void **state) {
    (void)state;
    static const char *const values[] = {"1,\"text\":2",
                                         "1}",
                                         "[1],[2]",
                                         "{\"part\":0},\"text\":1",
                                         "{\"part\":0}}",
                                         "\"",
                                         "\\",
                                         "true,",
                                         "null null",
                                         "{\"a\":1,\"a\":2}",
                                         "[1]]",
                                         "1 ",
                                         " 1",
                                         "\t1",
                                         "-",
                                         "+1",
                                         "0x1",
                                         "1.",
                                         "\x01",
                                         "\"a\"\"b\"",
                                         "NaN",
                                         "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["};
    for (const struct param_spec *p = every_params; p->name != NULL; p++) {
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            if (strcmp(p->name, "type") == 0)
                continue;
            struct buf json = text_of((const char *const[]){"type", "every", p->name, values[i], NULL});
            json_t *root = json_loads(json.data, JSON_REJECT_DUPLICATES, NULL);
            if (root == NULL)
                fail_msg("%s", json.data);
            const json_t *params = json_object_get(root, "params");
            assert_int_equal(json_object_size(root), 2);
            assert_int_equal(json_object_size(params), 1);
            assert_non_null(json_object_get(params, p->name));
            json_decref(root);
            buf_deinit(&json);
        }
    }
}

static void a_name_that_comes_twice_is_refused_by_the_check(void **state) {
    (void)state;
    struct buf json = text_of((const char *const[]){"type", "every", "text", "a", "text", "b", NULL});
    struct submission s;
    struct fault fault = {{0}};
    assert_int_equal(submission_parse(json.data, json.size - 1, 64, 0, &s, &fault), -1);
    submission_deinit(&s);
    fault_deinit(&fault);
    buf_deinit(&json);
}

/* ---- Accept ------------------------------------------------------------------------------------------------------ */

static const struct host_range webp[] = {{"image/webp", 1000}};

static void assert_choice_of(const char *json, const struct host_range *ranges, size_t count, const char *expected) {
    struct buf out = {0};
    host_choose_result(json, strlen(json), ranges, count, &out);
    if (expected == NULL) {
        assert_int_equal(out.size, 0);
        return;
    }
    buf_putc(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_deinit(&out);
}

/* The choice of {"type":"every"}; NULL: there is none. */
static void assert_choice(const struct host_range *ranges, size_t count, const char *format) {
    char expected[128];
    snprintf(expected, sizeof expected, "{\"params\":{\"format\":\"%s\"},\"type\":\"every\"}",
             format == NULL ? "" : format);
    assert_choice_of("{\"type\":\"every\"}", ranges, count, format == NULL ? NULL : expected);
}

#define ASSERT_CHOICE(format, ...)                                                                                     \
    do {                                                                                                               \
        static const struct host_range ranges_[] = {__VA_ARGS__};                                                      \
        assert_choice(ranges_, sizeof ranges_ / sizeof ranges_[0], format);                                            \
    } while (0)

static void the_media_type_with_the_highest_quality_is_chosen(void **state) {
    (void)state;
    assert_choice(NULL, 0, NULL);
    ASSERT_CHOICE("webp", {"image/webp", 1000});
    ASSERT_CHOICE("webp", {"image/png", 500}, {"image/webp", 900});
    ASSERT_CHOICE("png", {"image/webp", 1000}, {"image/png", 1000}); /* equally: the first of the type's */
    ASSERT_CHOICE("pdf", {"image/", 0}, {"application/pdf", 1});
    ASSERT_CHOICE("webp", {"", 1000}, {"image/webp", 100}, {"image/", 1000});
    ASSERT_CHOICE(NULL, {"text/html", 1000});
    ASSERT_CHOICE(NULL, {"image/png", 0});
    ASSERT_CHOICE(NULL, {"image/p", 1000});
    ASSERT_CHOICE(NULL, {"image/", 1000}); /* it names none of them: the handler chooses */
    ASSERT_CHOICE(NULL, {"", 100}, {"image/png", 0});
}

static void the_parameter_is_added_behind_its_brace(void **state) {
    (void)state;
    assert_choice_of("{\"type\":\"every\",\"params\":{\"integer\":1}}", webp, 1,
                     "{\"type\":\"every\",\"params\":{\"format\":\"webp\",\"integer\":1}}");
    assert_choice_of(" {\"params\" : { } , \"type\":\"every\"} ", webp, 1,
                     " {\"params\" : {\"format\":\"webp\"} , \"type\":\"every\"} ");
    assert_choice_of("{\"type\":\"every\",\"options\":{\"chunks\":1}}", webp, 1,
                     "{\"params\":{\"format\":\"webp\"},\"type\":\"every\",\"options\":{\"chunks\":1}}");
}

static void what_the_client_has_said_stays(void **state) {
    (void)state;
    static const char *const same[] = {"{\"type\":\"every\",\"params\":{\"format\":\"png\"}}",
                                       "{\"type\":\"every\",\"params\":{\"f\\u006frmat\":\"png\"}}",
                                       "{\"type\":\"every\",\"params\":[]}",
                                       "{\"type\":\"every\",\"items\":[{}]}",
                                       "{\"type\":\"every\",\"columns\":{}}",
                                       "{\"type\":\"primes\",\"params\":{}}",
                                       "{\"type\":\"bytes\",\"params\":{\"format\":\"text\"}}",
                                       "{\"type\":\"none\"}",
                                       "{\"type\":7}",
                                       "{}",
                                       "[]",
                                       "[{\"type\":\"every\"}]",
                                       "7",
                                       "",
                                       "{",
                                       "{\"type\":\"every\"",
                                       "{\"type\":\"every\"}}",
                                       "{\"type\":\"every\",\"type\":\"every\"}",
                                       "{\"type\":\"every\",\"params\":{\"a\":1,\"a\":2}}"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_choice_of(same[i], webp, 1, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_read_as_the_table_says),
        cmocka_unit_test(the_text_has_the_order_of_the_query),
        cmocka_unit_test(a_query_without_a_type_is_refused),
        cmocka_unit_test(a_hostile_value_stays_one_value),
        cmocka_unit_test(a_name_that_comes_twice_is_refused_by_the_check),
        cmocka_unit_test(the_media_type_with_the_highest_quality_is_chosen),
        cmocka_unit_test(the_parameter_is_added_behind_its_brace),
        cmocka_unit_test(what_the_client_has_said_stays),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
