/* attach_test.c: what becomes of binary data in the JSON of a submission: handlers/host/attach.c, attach_value.c, and the
 * checks of their sizes and media types in a plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "handlers/host/fault.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"

/* ---- a type with three of them ----------------------------------------------------------------------------------- */

static const char *const pictures[] = {"image/", "application/pdf", NULL};
static const struct param_spec pair_params[] = {
    {"first", PARAM_BYTES, PARAM_REQUIRED, .min = "2", .max = "5", .choices = pictures},
    {"more", PARAM_BYTES},
    {"second", PARAM_BYTES, PARAM_REQUIRED},
    {"n", PARAM_INTEGER},
    {0},
};
static struct attachment seen[3];
static bool has[3];

static int pair_plan(struct call *c, const struct params *p) {
    static const char *const names[] = {"first", "second", "more"};
    for (int i = 0; i < 3; i++)
        has[i] = param_attachment(p, names[i], &seen[i]);
    return plan_chunk(c, "", 0, 1);
}

static int pair_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    return part_write(c, "", 0);
}

static int pair_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)parts, (void)count;
    json_bool(c, true);
    return 0;
}

static const struct handler pair = {.abi = HANDLER_ABI,
                                    .name = "pair",
                                    .summary = "Takes binary data",
                                    .params = pair_params,
                                    .plan = pair_plan,
                                    .run = pair_run,
                                    .merge = pair_merge};

static int set_up(void **state) {
    struct buf error = {0};
    (void)state;
    host_init(true);
    return host_add(&(struct host_type){.handler = &pair, .source = "test"}, &error);
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static struct submission taken;

static void take(const char *json, uint32_t parts) {
    struct fault fault = {{0}};
    if (submission_parse(json, strlen(json), 64, parts, &taken, &fault) != 0)
        fail_msg("%s: %s", json, fault.json.data);
}

static void drop(void) {
    submission_deinit(&taken);
}

/* The JSON text that is stored. */
static void assert_lowered(const char *json, uint32_t parts, const char *expected) {
    take(json, parts);
    buf_putc(&taken.text, '\0');
    assert_string_equal(taken.text.data, expected);
    drop();
}

/* It is refused with that many errors, the first of which is at the pointer. */
static void assert_refused(const char *json, uint32_t parts, size_t errors, const char *pointer) {
    struct submission s;
    struct fault fault = {{0}};
    if (submission_parse(json, strlen(json), 64, parts, &s, &fault) != -1)
        fail_msg("%s is taken", json);
    json_t *root = json_loadb(fault.json.data, fault.json.size, 0, NULL), *list = json_object_get(root, "errors");
    assert_string_equal(json_string_value(json_object_get(root, "code")), "invalid_params");
    assert_int_equal(json_array_size(list), errors);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "pointer")), pointer);
    json_decref(root);
    fault_deinit(&fault);
    submission_deinit(&s);
}

/* A submission whose one attachment is this text in base64. Its bytes stay in taken.extras[0]. */
static void take_base64(const char *text) {
    char json[256];
    snprintf(json, sizeof json, "{\"type\":\"bytes\",\"params\":{\"data\":\"%s\"}}", text);
    take(json, 0);
    assert_int_equal(taken.extra_count, 1);
    assert_int_equal(taken.extras[0].kind, HOST_EXTRA_BYTES);
    assert_string_equal(taken.extras[0].where, "/params/data");
}

static void assert_decoded(const char *text, const char *expected) {
    take_base64(text);
    assert_int_equal(taken.extras[0].fd, -1);
    assert_int_equal(taken.extras[0].size, strlen(expected));
    assert_int_equal(taken.extras[0].bytes.size, strlen(expected));
    if (*expected != '\0')
        assert_memory_equal(taken.extras[0].bytes.data, expected, strlen(expected));
    drop();
}

/* ---- base64 ------------------------------------------------------------------------------------------------------ */

static void base64_is_decoded_with_padding_or_without(void **state) {
    (void)state;
    assert_decoded("", ""); /* RFC 4648, section 10 */
    assert_decoded("Zg==", "f");
    assert_decoded("Zm8=", "fo");
    assert_decoded("Zm9v", "foo");
    assert_decoded("Zm9vYg==", "foob");
    assert_decoded("Zm9vYmE=", "fooba");
    assert_decoded("Zm9vYmFy", "foobar");
    assert_decoded("Zg", "f");
    assert_decoded("Zm8", "fo");
    assert_decoded("Zm9vYg", "foob");
    assert_decoded("\\u005am\\u0039v\\/\\/\\/\\/", "foo\xff\xff\xff"); /* JSON can write the characters so */
}

static void what_is_no_base64_is_refused_where_it_stands(void **state) {
    (void)state;
    static const char *const bad[] = {"Z",          "Zg=",         "Zg===", "=",           "====",    "Zm9v=", "Zm9vY",
                                      "Zg==Zg==",   "Zm=v",        " Zm9v", "Zm9v ",       "Zm\\n9v", "Zm9-",  "Zm9_",
                                      "Zm9\\u0000", "Zm9\xc3\xa9", "data:", "Zg=\\u003d=", "Zg==\\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char json[256];
        snprintf(json, sizeof json, "{\"type\":\"bytes\",\"params\":{\"data\":\"%s\"}}", bad[i]);
        assert_refused(json, 0, 1, "/params/data");
    }
}

/* Sizes around a piece that is decoded in one go, and around what stays in memory. */
static void long_base64_becomes_a_memfd(void **state) {
    (void)state;
    static const size_t sizes[] = {32768, 32769, 36863, 36864, 36865, 36866, 200000};
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        unsigned char *bytes = malloc(size + 3), *back = malloc(size);
        struct buf json = {0};
        for (size_t k = 0; k < size + 3; k++)
            bytes[k] = k < size ? (unsigned char)(k * 37 + k / 251) : 0;
        buf_puts(&json, "{\"type\":\"bytes\",\"params\":{\"data\":\"");
        for (size_t k = 0; k < size; k += 3) {
            unsigned long v = (unsigned long)bytes[k] << 16 | (unsigned long)bytes[k + 1] << 8 | bytes[k + 2];
            for (int j = 0; j < 4; j++)
                buf_putc(&json, k + (size_t)j <= size ? alphabet[v >> (18 - 6 * j) & 63] : '=');
        }
        buf_puts(&json, "\"}}");
        buf_putc(&json, '\0');
        take(json.data, 0);
        const struct host_extra *e = &taken.extras[0];
        assert_int_equal(e->size, size);
        assert_int_equal(e->fd >= 0, size > 32768);
        if (e->fd >= 0)
            assert_int_equal(pread(e->fd, back, size, 0), (ssize_t)size);
        else
            memcpy(back, e->bytes.data, size);
        assert_memory_equal(back, bytes, size);
        drop();
        buf_deinit(&json);
        free(bytes);
        free(back);
    }
}

/* ---- which data part is whose ------------------------------------------------------------------------------------- */

static void data_parts_are_given_to_the_required_parameters_first(void **state) {
    (void)state;
    assert_lowered("{\"type\":\"pair\"}", 2,
                   "{\"type\":\"pair\",\"params\":{\"first\":{\"part\":0},\"second\":{\"part\":1}}}");
    assert_lowered("{ \"params\" : { \"n\" : 1 } , \"type\" : \"pair\" }", 3,
                   "{\"params\":{\"n\":1,\"first\":{\"part\":0},\"second\":{\"part\":1},\"more\":{\"part\":2}},"
                   "\"type\":\"pair\"}");
    assert_lowered("{\"type\":\"pair\",\"params\":{\"first\":\"Zm9v\"}}", 1,
                   "{\"type\":\"pair\",\"params\":{\"first\":{\"part\":1},\"second\":{\"part\":0}}}");
    assert_lowered("{\"type\":\"pair\",\"params\":{\"first\":{\"part\":1}}}", 2,
                   "{\"type\":\"pair\",\"params\":{\"first\":{\"part\":1},\"second\":{\"part\":0}}}");
    assert_lowered("{\"type\":\"pair\",\"params\":{\"second\":{\"part\":0},\"first\":{\"part\":0}}}", 1,
                   "{\"type\":\"pair\",\"params\":{\"second\":{\"part\":0},\"first\":{\"part\":0}}}");
}

static void a_data_part_that_nothing_uses_is_refused(void **state) {
    (void)state;
    assert_refused("{\"type\":\"pair\"}", 4, 1, "/data/3");
    assert_refused(
        "{\"type\":\"pair\",\"params\":{\"first\":{\"part\":2},\"second\":{\"part\":2},\"more\":{\"part\":2}}}", 3, 2,
        "/data/0");
    assert_refused("{\"type\":\"primes\",\"params\":{\"nth\":3}}", 1, 1, "/data/0");
    assert_refused("{\"type\":\"pair\"}", 1, 1, "/params"); /* second is missing */
}

static void other_forms_are_refused_where_they_stand(void **state) {
    (void)state;
    static const char *const bad[] = {"1",
                                      "true",
                                      "null",
                                      "[]",
                                      "{}",
                                      "{\"part\":-1}",
                                      "{\"part\":0.5}",
                                      "{\"part\":4294967295}",
                                      "{\"part\":\"0\"}",
                                      "{\"part\":0,\"job\":\"x\"}",
                                      "{\"job\":7}",
                                      "{\"job\":\"x\\u0000\"}",
                                      "{\"shm\":\"/x\"}",
                                      "{\"shm\":{}}",
                                      "{\"shm\":{\"name\":\"/x\",\"offset\":-1}}",
                                      "{\"shm\":{\"name\":\"/x\",\"length\":1.5}}",
                                      "{\"shm\":{\"name\":\"/x\\u0000\"}}",
                                      "{\"shm\":{\"name\":\"/x\",\"size\":1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char json[256];
        snprintf(json, sizeof json, "{\"type\":\"bytes\",\"params\":{\"data\":%s}}", bad[i]);
        assert_refused(json, 0, 1, "/params/data");
    }
}

static void jobs_and_shared_memory_are_extras_in_order(void **state) {
    (void)state;
    take("{\"type\":\"pair\",\"params\":{\"second\":{\"shm\":{\"name\":\"/x\",\"offset\":8,\"length\":16}},"
         "\"more\":{\"shm\":{\"name\":\"/y\"}},\"first\":{\"job\":\"abc\"}}}",
         0);
    const struct host_extra *e = taken.extras;
    assert_int_equal(taken.extra_count, 3);
    assert_int_equal(e[0].kind, HOST_EXTRA_SHM);
    assert_string_equal(e[0].name, "/x");
    assert_string_equal(e[0].where, "/params/second");
    assert_int_equal(e[0].offset, 8);
    assert_int_equal(e[0].size, 16);
    assert_int_equal(e[1].offset, 0);
    assert_true(e[1].size == UINT64_MAX);
    assert_int_equal(e[2].kind, HOST_EXTRA_JOB);
    assert_string_equal(e[2].name, "abc");
    assert_string_equal(e[2].where, "/params/first");
    buf_putc(&taken.text, '\0');
    assert_string_equal(taken.text.data, "{\"type\":\"pair\",\"params\":{\"second\":{\"part\":0},\"more\":{\"part\":1},"
                                         "\"first\":{\"part\":2}}}");
    drop();
}

/* The text that is stored is read again after a restart, when all attachments are data parts. */
static void what_is_stored_can_be_read_again(void **state) {
    (void)state;
    take("{\"type\":\"pair\",\"params\":{\"first\":\"Zm9v\"}}", 2);
    struct buf text = taken.text;
    taken.text = (struct buf){0};
    drop();
    buf_putc(&text, '\0');
    assert_lowered(text.data, 3, text.data);
    buf_deinit(&text);
}

/* ---- maps -------------------------------------------------------------------------------------------------------- */

static void each_item_takes_the_next_data_parts(void **state) {
    (void)state;
    assert_lowered("{\"type\":\"pair\",\"items\":[{},{\"n\":1}]}", 4,
                   "{\"type\":\"pair\",\"items\":[{\"first\":{\"part\":0},\"second\":{\"part\":1}},"
                   "{\"n\":1,\"first\":{\"part\":2},\"second\":{\"part\":3}}]}");
    assert_lowered("{\"type\":\"pair\",\"items\":[{},{}]}", 2, /* as many as one needs: all share them */
                   "{\"type\":\"pair\",\"items\":[{\"first\":{\"part\":0},\"second\":{\"part\":1}},"
                   "{\"first\":{\"part\":0},\"second\":{\"part\":1}}]}");
    assert_refused("{\"type\":\"pair\",\"items\":[{}]}", 3, 1, "/data/2");
}

static void each_call_by_columns_takes_the_next_data_parts(void **state) {
    (void)state;
    assert_lowered("{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"echo\"]}}", 2,
                   "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"echo\"],\"data\":[{\"part\":0},{\"part\":1}]}}");
    assert_lowered("{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"echo\"]}}", 1,
                   "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"echo\"],\"data\":{\"part\":0}}}");
    assert_lowered("{\"type\":\"bytes\",\"columns\":{\"data\":[\"Zg==\",{\"part\":0}]}}", 1,
                   "{\"type\":\"bytes\",\"columns\":{\"data\":[{\"part\":1},{\"part\":0}]}}");
    assert_refused("{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"echo\"]}}", 3, 4, "/data/0");
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* Plans {"type":"pair"} with `count` attachments. Returns the pointer of the fault, or "" if there is none. */
static const char *plan_pair(const struct host_attachment *list, uint32_t count) {
    static char pointer[64];
    struct host_attachments all = {list, 0, count};
    struct host_hooks hooks = {.attachments = &all};
    struct host_plan plan = {0};
    struct fault fault = {{0}};
    pointer[0] = '\0';
    take("{\"type\":\"pair\"}", count);
    int rc = host_plan(taken.type, taken.params.data, taken.params.size, 0, &hooks, &plan, &fault);
    if (rc != 0) {
        json_t *root = json_loadb(fault.json.data, fault.json.size, 0, NULL);
        const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
        assert_string_equal(json_string_value(json_object_get(root, "code")), "invalid_params");
        snprintf(pointer, sizeof pointer, "%s", json_string_value(json_object_get(first, "pointer")));
        json_decref(root);
    }
    host_plan_deinit(&plan);
    fault_deinit(&fault);
    drop();
    return pointer;
}

static struct host_attachment bytes_of(size_t size, const char *media_type) {
    return (struct host_attachment){.fd = -1, .bytes = "0123456789", .size = size, .media_type = media_type};
}

static void a_plan_sees_size_and_media_type(void **state) {
    (void)state;
    struct host_attachment list[] = {bytes_of(5, "image/png"), bytes_of(0, "text/plain"), bytes_of(9, "")};
    assert_string_equal(plan_pair(list, 2), "");
    assert_true(has[0] && has[1] && !has[2]);
    assert_int_equal(seen[0].index, 0);
    assert_int_equal(seen[0].size, 5);
    assert_string_equal(seen[0].media_type, "image/png");
    assert_int_equal(seen[1].index, 1);
    assert_int_equal(seen[1].size, 0);
    assert_string_equal(plan_pair(list, 3), "");
    assert_true(has[2]);
    assert_int_equal(seen[2].index, 2);
}

static void a_plan_refuses_other_sizes_and_media_types(void **state) {
    (void)state;
    static const struct {
        size_t size;
        const char *media_type, *pointer;
    } rows[] = {{2, "application/pdf", ""},          {5, "", ""},
                {3, "application/octet-stream", ""}, {3, "application/pdfx", "/params/first"},
                {3, "image", "/params/first"},       {3, "text/plain", "/params/first"},
                {1, "image/png", "/params/first"},   {6, "image/png", "/params/first"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct host_attachment list[] = {bytes_of(rows[i].size, rows[i].media_type), bytes_of(1, "")};
        assert_string_equal(plan_pair(list, 2), rows[i].pointer);
    }
}

/* The packed parameters have only a number, which a worker cannot trust. */
static void an_attachment_that_is_not_there_fails_the_plan(void **state) {
    (void)state;
    struct host_attachment list[] = {bytes_of(3, ""), bytes_of(3, "")};
    struct host_attachments all = {list, 0, 1};
    struct host_hooks hooks = {.attachments = &all};
    struct host_plan plan = {0};
    struct fault fault = {{0}};
    take("{\"type\":\"pair\"}", 2);
    assert_int_equal(host_plan(taken.type, taken.params.data, taken.params.size, 0, &hooks, &plan, &fault), -1);
    assert_non_null(strstr(fault.json.data, "\"/params/second\""));
    host_plan_deinit(&plan);
    fault_deinit(&fault);
    fault = (struct fault){{0}};
    assert_int_equal(host_plan(taken.type, taken.params.data, taken.params.size, 0, NULL, &plan, &fault), -1);
    host_plan_deinit(&plan);
    fault_deinit(&fault);
    drop();
}

/* ---- bodies that a worker parses ---------------------------------------------------------------------------------- */

static int parse_raw(const char *json, uint32_t parts, struct host_output *made, struct fault *fault) {
    struct host_attachment list[] = {bytes_of(3, ""), bytes_of(4, "")};
    struct host_attachments all = {list, 0, parts};
    struct host_hooks hooks = {.attachments = &all, .output = made};
    struct host_parsed p;
    made->made_first = parts;
    int rc = host_parse_raw((struct bytes){json, strlen(json)}, 64, true, &hooks, &p, fault);
    host_parsed_deinit(&p);
    return rc;
}

static void base64_in_a_raw_body_becomes_attachments(void **state) {
    (void)state;
    struct host_output made = {0};
    struct fault fault = {{0}};
    assert_int_equal(parse_raw("{\"type\":\"pair\",\"params\":{\"more\":\"Zm9v\"}}", 2, &made, &fault), 0);
    assert_int_equal(made.made_count, 1);
    assert_int_equal(made.made[0].fd, -1);
    assert_int_equal(made.made[0].size, 3);
    assert_memory_equal(made.made[0].bytes.data, "foo", 3);
    host_output_deinit(&made);
}

/* Many short texts need no descriptors. */
static void long_base64_in_a_raw_body_becomes_a_memfd(void **state) {
    (void)state;
    struct host_output made = {0};
    struct fault fault = {{0}};
    struct buf json = {0};
    char back[3];
    buf_puts(&json, "{\"type\":\"pair\",\"params\":{\"first\":\"Zm9v\",\"more\":\"\",\"second\":\"");
    for (int i = 0; i < 20000; i++)
        buf_puts(&json, "Zm9v");
    buf_puts(&json, "\"}}");
    buf_putc(&json, '\0');
    assert_int_equal(parse_raw(json.data, 0, &made, &fault), 0);
    assert_int_equal(made.made_count, 3);
    assert_int_equal(made.made[0].fd, -1);
    assert_int_equal(made.made[1].fd, -1);
    assert_int_equal(made.made[1].size, 0);
    assert_true(made.made[2].fd >= 0);
    assert_int_equal(made.made[2].size, 60000);
    assert_int_equal(pread(made.made[2].fd, back, 3, 59997), 3);
    assert_memory_equal(back, "foo", 3);
    host_output_deinit(&made);
    buf_deinit(&json);
}

static void a_raw_body_names_no_job_and_no_memory(void **state) {
    (void)state;
    static const char *const named[] = {"{\"job\":\"x\"}", "{\"shm\":{\"name\":\"/x\"}}"};
    for (size_t i = 0; i < 2; i++) {
        struct host_output made = {0};
        struct fault fault = {{0}};
        char json[256];
        snprintf(json, sizeof json, "{\"type\":\"pair\",\"params\":{\"first\":\"Zm9v\",\"second\":%s}}", named[i]);
        assert_int_equal(parse_raw(json, 0, &made, &fault), -1);
        assert_non_null(strstr(fault.json.data, "\"/params/second\""));
        assert_non_null(strstr(fault.json.data, "32 KiB"));
        host_output_deinit(&made);
        fault_deinit(&fault);
    }
}

/* ---- descriptions ------------------------------------------------------------------------------------------------ */

static void the_schema_says_how_data_are_given(void **state) {
    (void)state;
    struct buf out = {0};
    host_describe((size_t)host_find("pair"), &out);
    buf_putc(&out, '\0');
    static const char objects[] =
        "{\"type\":\"object\",\"properties\":{\"part\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"part\"],"
        "\"additionalProperties\":false},"
        "{\"type\":\"object\",\"properties\":{\"job\":{\"type\":\"string\"}},\"required\":[\"job\"],"
        "\"additionalProperties\":false},"
        "{\"type\":\"object\",\"properties\":{\"shm\":{";
    static const char first[] =
        "\"first\":{\"anyOf\":[{\"type\":\"string\",\"contentEncoding\":\"base64\",\"contentMediaType\":\"image/*\","
        "\"minLength\":3,\"maxLength\":8},{\"type\":\"string\",\"contentEncoding\":\"base64\","
        "\"contentMediaType\":\"application/pdf\",\"minLength\":3,\"maxLength\":8},";
    static const char second[] = "\"second\":{\"anyOf\":[{\"type\":\"string\",\"contentEncoding\":\"base64\"},";
    const char *at = strstr(out.data, first);
    assert_non_null(at);
    assert_memory_equal(at + strlen(first), objects, strlen(objects));
    assert_non_null(strstr(out.data, second));
    assert_null(strstr(out.data, "\"results\""));
    buf_deinit(&out);
}

static void the_description_has_the_media_types_of_results(void **state) {
    (void)state;
    struct buf out = {0};
    host_describe((size_t)host_find("bytes"), &out);
    buf_putc(&out, '\0');
    assert_non_null(
        strstr(out.data, "],\"results\":[\"application/octet-stream\",\"text/plain\"],\"result_param\":\"format\""));
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_decoded_with_padding_or_without),
        cmocka_unit_test(what_is_no_base64_is_refused_where_it_stands),
        cmocka_unit_test(long_base64_becomes_a_memfd),
        cmocka_unit_test(data_parts_are_given_to_the_required_parameters_first),
        cmocka_unit_test(a_data_part_that_nothing_uses_is_refused),
        cmocka_unit_test(other_forms_are_refused_where_they_stand),
        cmocka_unit_test(jobs_and_shared_memory_are_extras_in_order),
        cmocka_unit_test(what_is_stored_can_be_read_again),
        cmocka_unit_test(each_item_takes_the_next_data_parts),
        cmocka_unit_test(each_call_by_columns_takes_the_next_data_parts),
        cmocka_unit_test(a_plan_sees_size_and_media_type),
        cmocka_unit_test(a_plan_refuses_other_sizes_and_media_types),
        cmocka_unit_test(an_attachment_that_is_not_there_fails_the_plan),
        cmocka_unit_test(base64_in_a_raw_body_becomes_attachments),
        cmocka_unit_test(long_base64_in_a_raw_body_becomes_a_memfd),
        cmocka_unit_test(a_raw_body_names_no_job_and_no_memory),
        cmocka_unit_test(the_schema_says_how_data_are_given),
        cmocka_unit_test(the_description_has_the_media_types_of_results),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
