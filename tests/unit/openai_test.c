/* openai_test.c: POST /v1/embeddings below HTTP: bodies that are the params of a hidden type, with token ids
 * (handlers/host/submission.c, raw.c, params.c), its result (handlers/embeddings_openai.c), and OpenAI's errors
 * (server/api/openai_error.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/params.h"
#include "handlers/host/registry.h"
#include "server/api/openai_error.h"
#include "tests/unit/job.h"

static uint32_t openai_type(void) {
    job_init();
    return (uint32_t)host_known("openai-embeddings");
}

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

static void parse(const char *body, struct submission *s, struct params *p) {
    struct fault fault = {0};
    if (submission_parse_params(openai_type(), body, strlen(body), 64, s, &fault) != 0)
        fail_msg("%s: %s", body, fault.json.data);
    assert_int_equal(s->type, openai_type());
    assert_false(s->map);
    assert_int_equal(params_view(registry_table(s->type), s->params.data, s->params.size, p, &fault), 0);
}

/* What is wrong with the body, by both ways. The caller frees it. */
static char *fault_of(const char *body) {
    struct submission s;
    struct host_parsed parsed;
    struct fault fault = {0}, raw = {0};
    struct bytes bytes = {body, strlen(body)};
    assert_int_equal(submission_parse_params(openai_type(), body, strlen(body), 64, &s, &fault), -1);
    assert_int_equal(host_parse_raw_params(openai_type(), bytes, 64, NULL, &parsed, &raw), -1);
    assert_int_equal(fault.json.size, raw.json.size);
    assert_memory_equal(fault.json.data, raw.json.data, raw.json.size);
    submission_deinit(&s);
    host_parsed_deinit(&parsed);
    fault_deinit(&raw);
    return buf_steal(&fault.json, NULL);
}

static void assert_fault(const char *body, const char *expected) {
    char *fault = fault_of(body);
    if (strstr(fault, expected) == NULL)
        fail_msg("%s: %s has no %s", body, fault, expected);
    free(fault);
}

static void a_body_is_the_params_and_pointers_start_at_it(void **state) {
    (void)state;
    struct submission s;
    struct params p;
    size_t size;
    parse(" {\"model\":\"m\",\"input\":[\"a\",\"b\\n\"]} ", &s, &p);
    assert_string_equal(param_text(&p, "model", &size), "m");
    assert_int_equal(param_texts(&p, "input"), 2);
    assert_false(param_is_tokens(&p, "input"));
    assert_string_equal(param_text_at(&p, "input", 1, &size), "b\n");
    submission_deinit(&s);
    assert_fault("{\"model\":5,\"input\":\"a\"}", "{\"pointer\":\"/model\",");
    assert_fault("{\"model\":\"m\",\"input\":[\"a\",5]}", "{\"pointer\":\"/input/1\",");
    assert_fault("{\"model\":\"m\",\"input\":\"a\",\"type\":1}", "{\"pointer\":\"/type\",");
    assert_fault("{\"input\":\"a\"}", "{\"pointer\":\"\",\"detail\":\"model is required\"");
    assert_fault("[{}]", "the body must be an object");
    assert_fault("null", "the body must be an object");
    assert_fault("{\"model\":", "\"invalid_json\"");
    assert_fault("", "\"invalid_json\"");
    assert_fault(" ", "\"invalid_json\"");
    assert_fault("{\"model\":\"m\",\"model\":\"m\"}", "\"duplicate_key\"");
}

static void a_raw_body_becomes_the_same_params(void **state) {
    (void)state;
    const char *body = "{\"model\":\"m\",\"input\":[[1,2],[3]]}";
    struct submission s, read;
    struct params p;
    struct host_parsed parsed;
    struct fault fault = {0};
    parse(body, &s, &p);
    struct bytes bytes = {body, strlen(body)};
    assert_int_equal(host_parse_raw_params(openai_type(), bytes, 64, NULL, &parsed, &fault), 0);
    assert_int_equal(parsed.type, openai_type());
    assert_int_equal(parsed.params.size, s.params.size);
    assert_memory_equal(parsed.params.data, s.params.data, s.params.size);
    struct bytes found = {parsed.submission.data, parsed.submission.size};
    assert_true(host_read_submission(found, &read, NULL));
    assert_int_equal(read.type, openai_type());
    submission_deinit(&read);
    submission_deinit(&s);
    host_parsed_deinit(&parsed);
}

static void only_types_without_binary_data_take_a_body(void **state) {
    (void)state;
    struct submission s;
    struct host_parsed parsed;
    struct fault fault = {0};
    openai_type();
    const uint32_t types[] = {(uint32_t)host_known("image"), (uint32_t)host_count(), UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(submission_parse_params(types[i], "{}", 2, 64, &s, &fault), -1);
        assert_non_null(strstr(fault.json.data, "handler_failed"));
        submission_deinit(&s);
        struct bytes body = {"{}", 2};
        assert_int_equal(host_parse_raw_params(types[i], body, 64, NULL, &parsed, &fault), -1);
        host_parsed_deinit(&parsed);
        fault_deinit(&fault);
    }
}

/* ---- token ids --------------------------------------------------------------------------------------------------- */

static void assert_tokens(const char *input, bool list, size_t count, const int32_t *ids, const size_t *sizes) {
    char body[256];
    struct submission s;
    struct params p;
    snprintf(body, sizeof body, "{\"model\":\"m\",\"input\":%s}", input);
    parse(body, &s, &p);
    assert_true(param_is_tokens(&p, "input"));
    assert_int_equal(param_is_list(&p, "input"), list);
    assert_int_equal(param_texts(&p, "input"), count);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *bytes = param_text_at(&p, "input", i, &size);
        assert_int_equal(size, sizes[i] * sizeof *ids);
        assert_memory_equal(bytes, ids, size);
        ids += sizes[i];
    }
    submission_deinit(&s);
}

static void token_ids_are_packed_as_integers(void **state) {
    (void)state;
    assert_tokens("[1,2,3]", false, 1, (int32_t[]){1, 2, 3}, (size_t[]){3});
    assert_tokens("[[1,2],[3]]", true, 2, (int32_t[]){1, 2, 3}, (size_t[]){2, 1});
    assert_tokens(" [ 0 , 2147483647 ] ", false, 1, (int32_t[]){0, INT32_MAX}, (size_t[]){2});
    assert_tokens("[1e2,7.0,-0]", false, 1, (int32_t[]){100, 7, 0}, (size_t[]){3});
    assert_tokens("[[],[5],[]]", true, 3, (int32_t[]){5}, (size_t[]){0, 1, 0});
}

static void what_is_no_token_id_is_named(void **state) {
    (void)state;
    static const struct {
        const char *input, *pointer, *detail;
    } cases[] = {
        {"[1,-1]", "/input/1", "must be from 0 to 2147483647"},
        {"[2147483648]", "/input/0", "must be from 0 to 2147483647"},
        {"[1,99999999999999999999]", "/input/1", "must be from 0 to 2147483647"},
        {"[1,1e30]", "/input/1", "must be from 0 to 2147483647"},
        {"[1,0.5]", "/input/1", "must be an integer, without a fraction"},
        {"[1,\"2\"]", "/input/1", "must be a token id, not a string"},
        {"[1,null]", "/input/1", "must be a token id, not null"},
        {"[1,[2]]", "/input/1", "must be a token id, not an array"},
        {"[[1],2]", "/input/1", "must be an array of token ids, as the first one is, not an integer"},
        {"[[1],[2,[3]]]", "/input/1/1", "must be a token id, not an array"},
        {"[\"a\",1]", "/input/1", "must be a string, not an integer"},
        {"[true]", "/input/0", "must be a string, not a boolean"},
        {"7", "/input",
         "must be a string, an array of strings, or an array of token ids or of such arrays, not an "
         "integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char body[128], expected[256];
        snprintf(body, sizeof body, "{\"model\":\"m\",\"input\":%s}", cases[i].input);
        snprintf(expected, sizeof expected, "{\"pointer\":\"%s\",\"detail\":\"%s\"}", cases[i].pointer,
                 cases[i].detail);
        assert_fault(body, expected);
    }
}

static void many_wrong_token_ids_are_not_all_named(void **state) {
    (void)state;
    struct buf body = {0};
    buf_puts(&body, "{\"model\":\"m\",\"input\":[0");
    for (int i = 0; i < 10000; i++)
        buf_puts(&body, ",-1");
    buf_puts(&body, "]}");
    buf_putc(&body, '\0');
    char *fault = fault_of(body.data);
    assert_true(strlen(fault) < 4096);
    free(fault);
    buf_deinit(&body);
}

/* A worker does not trust what it gets. */
static void damaged_token_ids_are_not_read(void **state) {
    (void)state;
    struct submission s;
    struct params p;
    struct fault fault = {0};
    parse("{\"model\":\"m\",\"input\":[[1,2],[3]]}", &s, &p);
    const struct params_table *table = registry_table(s.type);
    size_t ends = (size_t)p.rows[0].offset; /* of the first list: 2 ids and a NUL */
    for (unsigned end = 0; end <= 16; end++) {
        s.params.data[ends] = (char)end;
        int rc = params_view(table, s.params.data, s.params.size, &p, &fault);
        assert_int_equal(rc, end == 9 || end == 13 ? 0 : -1); /* 13: it is whole ids, too */
        fault_deinit(&fault);
    }
    submission_deinit(&s);
    parse("{\"model\":\"abc\",\"input\":\"abcd\"}", &s, &p);
    ((struct packed_param *)(void *)(s.params.data + 16))[1].flags |= PACKED_TOKENS; /* not of such a kind: no effect */
    assert_int_equal(params_view(table, s.params.data, s.params.size, &p, &fault), 0);
    assert_false(param_is_tokens(&p, "model"));
    submission_deinit(&s);
}

/* ---- whole jobs -------------------------------------------------------------------------------------------------- */

static void assert_answer(const char *body, const char *expected) {
    struct submission s;
    struct params p;
    struct buf json = {0};
    struct fault fault = {0};
    parse(body, &s, &p);
    (void)job_run_plan(&s, &json, &fault);
    buf_putc(&json, '\0');
    buf_putc(&fault.json, '\0');
    const char *answer = fault.json.size > 1 ? fault.json.data : json.data;
    if (strstr(answer, expected) == NULL)
        fail_msg("%s: %s has no %s", body, answer, expected);
    submission_deinit(&s);
    buf_deinit(&json);
    fault_deinit(&fault);
}

static void the_result_is_openais(void **state) {
    (void)state;
    assert_answer(
        "{\"model\":\"hash-384\",\"input\":\"hi there\",\"dimensions\":3}",
        "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.4472136,0.8944272,"
        "0.0]}],\"model\":\"hash-384\",\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2}}");
    assert_answer("{\"model\":\"hash-384\",\"input\":[\"a\"],\"dimensions\":2,\"encoding_format\":\"base64\"}",
                  "\"embedding\":\"AACAPwAAAAA=\"");
}

static void what_the_model_cannot_take_is_named(void **state) {
    (void)state;
    assert_answer("{\"model\":\"nope\",\"input\":\"a\"}", "{\"code\":\"not_found\"");
    assert_answer("{\"model\":\"\",\"input\":\"a\"}", "{\"code\":\"not_found\"");
    assert_answer("{\"model\":\"hash-384\\u0000\",\"input\":\"a\"}", "{\"code\":\"not_found\"");
    assert_answer("{\"model\":\"hash-384\",\"input\":[1]}", "has no token ids");
    assert_answer("{\"model\":\"hash-384\",\"input\":[]}", "/input: is an empty list");
    assert_answer("{\"model\":\"hash-384\",\"input\":[\"a\",\"\"]}", "/input/1: is empty");
    assert_answer("{\"model\":\"hash-384\",\"input\":\"a\",\"dimensions\":385}", "/dimensions: must be from 1 to 384");
    assert_answer("{\"model\":\"hash-384\",\"input\":\"a\",\"dimensions\":99999999999999999999}",
                  "/dimensions: must be from 1 to 384");
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void assert_error(enum problem_code code, const char *detail, const char *members, unsigned status,
                         const char *expected) {
    struct buf document = {0}, out = {0};
    problem_write(&document, code, detail, members, "/v1/embeddings");
    assert_int_equal(openai_write_error(code, &document, &out), status);
    buf_putc(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_deinit(&document);
    buf_deinit(&out);
}

#define ERROR_AT(pointer, detail) "\"errors\":[{\"pointer\":\"" pointer "\",\"detail\":\"" detail "\"}]"
#define OPENAI_ERROR(message, type, param, code)                                                                       \
    "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"param\":" param ",\"code\":\"" code "\"}}"

static void problems_become_openais_errors(void **state) {
    (void)state;
    assert_error(
        PROBLEM_INVALID_PARAMS, "/input/3: is empty (and 2 more)",
        "\"errors\":[{\"pointer\":\"/input/3\",\"detail\":\"is empty\"},{\"pointer\":\"/b\",\"detail\":\"c\"}]", 400,
        OPENAI_ERROR("input[3]: is empty", "invalid_request_error", "\"input[3]\"", "invalid_params"));
    assert_error(
        PROBLEM_INVALID_PARAMS, "x", ERROR_AT("/params/input/0/7", "is \\\"bad\\\""), 400,
        OPENAI_ERROR("input[0][7]: is \\\"bad\\\"", "invalid_request_error", "\"input[0][7]\"", "invalid_params"));
    assert_error(PROBLEM_INVALID_PARAMS, "x", ERROR_AT("/a~1b~0/c/\\\"", "no"), 400,
                 OPENAI_ERROR("a/b~.c.\\\": no", "invalid_request_error", "\"a/b~.c.\\\"\"", "invalid_params"));
    assert_error(PROBLEM_INVALID_PARAMS, "x", ERROR_AT("/params", "no"), 400,
                 OPENAI_ERROR("params: no", "invalid_request_error", "\"params\"", "invalid_params"));
    assert_error(PROBLEM_INVALID_PARAMS, "x", ERROR_AT("", "model is required"), 400,
                 OPENAI_ERROR("model is required", "invalid_request_error", "null", "invalid_params"));
    assert_error(PROBLEM_INVALID_PARAMS, "x", ERROR_AT("/7", "no"), 400,
                 OPENAI_ERROR("7: no", "invalid_request_error", "\"7\"", "invalid_params"));
    assert_error(PROBLEM_NOT_FOUND, "x", ERROR_AT("/params/model", "is not there"), 404,
                 OPENAI_ERROR("model: is not there", "invalid_request_error", "\"model\"", "model_not_found"));
    assert_error(PROBLEM_NOT_FOUND, "none", NULL, 404,
                 OPENAI_ERROR("none", "invalid_request_error", "null", "not_found"));
    assert_error(PROBLEM_INVALID_JSON, "bad", "\"line\":3,\"column\":14,\"position\":50", 400,
                 OPENAI_ERROR("bad (line 3, column 14)", "invalid_request_error", "null", "invalid_json"));
    assert_error(PROBLEM_QUEUE_FULL, "full", NULL, 429, OPENAI_ERROR("full", "rate_limit_error", "null", "queue_full"));
    assert_error(PROBLEM_MEMORY_LIMIT, "m", NULL, 500, OPENAI_ERROR("m", "server_error", "null", "memory_limit"));
    assert_error(PROBLEM_JOB_TIMEOUT, "t", NULL, 504, OPENAI_ERROR("t", "server_error", "null", "job_timeout"));
    assert_error(PROBLEM_DRAINING, "d", NULL, 503, OPENAI_ERROR("d", "server_error", "null", "draining"));
}

static void a_document_without_memory_makes_no_error(void **state) {
    (void)state;
    struct buf document = {.failed = true}, out = {0};
    assert_int_equal(openai_write_error(PROBLEM_GONE, &document, &out), 410);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_the_params_and_pointers_start_at_it),
        cmocka_unit_test(a_raw_body_becomes_the_same_params),
        cmocka_unit_test(only_types_without_binary_data_take_a_body),
        cmocka_unit_test(token_ids_are_packed_as_integers),
        cmocka_unit_test(what_is_no_token_id_is_named),
        cmocka_unit_test(many_wrong_token_ids_are_not_all_named),
        cmocka_unit_test(damaged_token_ids_are_not_read),
        cmocka_unit_test(the_result_is_openais),
        cmocka_unit_test(what_the_model_cannot_take_is_named),
        cmocka_unit_test(problems_become_openais_errors),
        cmocka_unit_test(a_document_without_memory_makes_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
