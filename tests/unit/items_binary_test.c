/* items_binary_test.c: maps whose items take binary data and give some: which attachments go with a group, the parts with
 * blobs, and the multipart/mixed result. See handlers/host/items_blobs.h and attach.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memfd.h"
#include "tests/unit/map.h"

enum { PARTS = 4 };
static const char *const data[PARTS] = {"abc", "defgh", "", "0123456789"};

static struct host_attachment list[PARTS + 2];
static struct host_attachments attachments = {list, 0, PARTS};
static struct host_output output;
static struct host_hooks hooks = {.attachments = &attachments, .output = &output};

static int set_up(void **state) {
    (void)state;
    job_init();
    for (unsigned i = 0; i < PARTS; i++) {
        int fd = memfd_copy("data", data[i], strlen(data[i]));
        list[i] = (struct host_attachment){.fd = fd, .size = strlen(data[i]), .media_type = ""};
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (unsigned i = 0; i < PARTS; i++)
        close(list[i].fd);
    return 0;
}

static void parse(struct map *m, const char *body, uint32_t parts) {
    memset(m, 0, sizeof *m);
    if (submission_parse(body, strlen(body), 64, parts, &m->submission, &m->fault) != 0)
        fail_msg("%s: %s", body, m->fault.json.data);
}

static void plan(struct map *m, unsigned chunks) {
    const struct submission *s = &m->submission;
    assert_int_equal(host_plan_items(s->type, s->params.data, s->params.size, chunks, &hooks, &m->plan, &m->fault), 0);
    m->parts = calloc(m->plan.count, sizeof *m->parts);
}

/* The parts of all groups, and where those are that lie in memfds. */
struct parts {
    struct bytes views[PARTS];
    struct host_output outputs[PARTS];
};

static void run(struct map *m, struct parts *p) {
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < m->plan.count; i++) {
        hooks.output = &p->outputs[i];
        assert_int_equal(map_run(m, i, 0, &hooks), 0);
        p->views[i] = view(&m->parts[i]);
        if (p->outputs[i].has_fd) {
            assert_int_equal(m->parts[i].size, 0);
            void *at = mmap(NULL, p->outputs[i].size, PROT_READ, MAP_SHARED, p->outputs[i].fd, 0);
            p->views[i] = (struct bytes){at, p->outputs[i].size};
        }
    }
    hooks.output = &output;
}

static void drop(struct parts *p, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (p->outputs[i].has_fd) {
            union {
                const void *in;
                void *out;
            } at = {p->views[i].data};
            munmap(at.out, p->views[i].size);
        }
        host_output_deinit(&p->outputs[i]);
    }
}

static int read_result(void *arg, uint64_t offset, void *to, size_t size) {
    (void)arg;
    return pread(output.fd, to, size, (off_t)offset) == (ssize_t)size ? 0 : -1;
}

static void assert_item(uint32_t index, const char *media_type, bool failed, const char *expected) {
    struct host_reader r = {read_result, NULL, output.size};
    struct host_mixed_item item;
    char bytes[4096] = "";
    assert_int_equal(host_mixed_item(&r, index, &item), 0);
    assert_string_equal(item.media_type, media_type);
    assert_int_equal(item.failed, failed);
    assert_true(item.size < sizeof bytes);
    assert_int_equal(read_result(NULL, item.offset, bytes, (size_t)item.size), 0);
    if (expected != NULL)
        assert_string_equal(bytes, expected);
}

/* ---- which attachments ------------------------------------------------------------------------------------------- */

static void each_item_takes_the_next_part(void **state) {
    struct map m;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{\"op\":\"copy\"},{},{\"op\":\"sum\"},{}]}", PARTS);
    assert_string_equal(
        m.submission.text.data,
        "{\"type\":\"bytes\",\"items\":[{\"op\":\"copy\",\"data\":{\"part\":0}},{\"data\":{\"part\":1}},"
        "{\"op\":\"sum\",\"data\":{\"part\":2}},{\"data\":{\"part\":3}}]}");
    plan(&m, 2);
    assert_int_equal(m.plan.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(m.plan.chunks[i].attachment_first, 2 * i);
        assert_int_equal(m.plan.chunks[i].attachment_count, 2);
    }
    map_deinit(&m);
}

static void one_part_is_for_all_items(void **state) {
    struct map m;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{},{}]}", 1);
    assert_string_equal(m.submission.text.data,
                        "{\"type\":\"bytes\",\"items\":[{\"data\":{\"part\":0}},{\"data\":{\"part\":0}}]}");
    map_deinit(&m);
    parse(&m, "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"copy\"]}}", 1);
    assert_string_equal(m.submission.text.data,
                        "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"copy\"],\"data\":{\"part\":0}}}");
    map_deinit(&m);
    parse(&m, "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"copy\"]}}", 2);
    assert_string_equal(m.submission.text.data, "{\"type\":\"bytes\",\"columns\":{\"op\":[\"sum\",\"copy\"],"
                                                "\"data\":[{\"part\":0},{\"part\":1}]}}");
    map_deinit(&m);
}

static void a_part_that_nothing_uses_is_reported(void **state) {
    struct submission s;
    struct fault fault = {{0}};
    static const char *const bodies[] = {"{\"type\":\"bytes\",\"items\":[{},{}]}",
                                         "{\"type\":\"echo\",\"params\":{\"value\":1}}",
                                         "{\"type\":\"bytes\",\"params\":{\"data\":{\"part\":2}}}"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(submission_parse(bodies[i], strlen(bodies[i]), 64, 3, &s, &fault), -1);
        assert_non_null(strstr(fault.json.data, i == 0 ? "/data/2" : "/data/0"));
        submission_deinit(&s);
        fault_deinit(&fault);
    }
}

static void extras_follow_the_parts(void **state) {
    struct submission s;
    struct fault fault = {{0}};
    static const char body[] = "{\"type\":\"bytes\",\"items\":[{\"data\":\"aGk=\"},{\"data\":{\"part\":0}},"
                               "{\"data\":{\"job\":\"x\"}},{\"data\":{\"shm\":{\"name\":\"/a\",\"offset\":3}}},"
                               "{\"data\":\"aGk\"},{\"data\":\"a\\/8=\"},{\"data\":\"\"}]}";
    (void)state;
    assert_int_equal(submission_parse(body, strlen(body), 64, 1, &s, &fault), 0);
    assert_string_equal(s.text.data, "{\"type\":\"bytes\",\"items\":[{\"data\":{\"part\":1}},{\"data\":{\"part\":0}},"
                                     "{\"data\":{\"part\":2}},{\"data\":{\"part\":3}},{\"data\":{\"part\":4}},"
                                     "{\"data\":{\"part\":5}},{\"data\":{\"part\":6}}]}");
    assert_int_equal(s.extra_count, 6);
    assert_int_equal(s.extras[0].kind, HOST_EXTRA_BYTES);
    assert_int_equal(s.extras[0].size, 2);
    assert_memory_equal(s.extras[0].bytes.data, "hi", 2);
    assert_int_equal(s.extras[1].kind, HOST_EXTRA_JOB);
    assert_string_equal(s.extras[1].name, "x");
    assert_string_equal(s.extras[1].where, "/items/2/data");
    assert_int_equal(s.extras[2].kind, HOST_EXTRA_SHM);
    assert_string_equal(s.extras[2].name, "/a");
    assert_int_equal(s.extras[2].offset, 3);
    assert_true(s.extras[2].size == UINT64_MAX);
    assert_memory_equal(s.extras[3].bytes.data, "hi", 2);
    assert_memory_equal(s.extras[4].bytes.data, "\x6b\xff", 2);
    assert_int_equal(s.extras[5].size, 0);
    submission_deinit(&s);
}

static void long_base64_goes_into_a_memfd(void **state) {
    struct submission s;
    struct fault fault = {{0}};
    struct buf body = {0};
    (void)state;
    buf_puts(&body, "{\"type\":\"bytes\",\"params\":{\"data\":\"");
    for (unsigned i = 0; i < 50000; i++)
        buf_puts(&body, "YWJj");
    buf_puts(&body, "\"}}");
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), 0);
    assert_true(s.extras[0].fd >= 0);
    assert_int_equal(s.extras[0].size, 150000);
    char *bytes = malloc(150000);
    assert_int_equal(pread(s.extras[0].fd, bytes, 150000, 0), 150000);
    for (unsigned i = 0; i < 150000; i += 3)
        assert_memory_equal(bytes + i, "abc", 3);
    free(bytes);
    submission_deinit(&s);
    buf_deinit(&body);
}

static void what_is_no_data_is_reported_where_it_stands(void **state) {
    static const char *const values[] = {"\"a\"",
                                         "\"aGk =\"",
                                         "\"aGk==\"",
                                         "\"====\"",
                                         "5",
                                         "null",
                                         "{\"part\":-1}",
                                         "{\"part\":\"0\"}",
                                         "{\"part\":4294967295}",
                                         "{\"job\":5}",
                                         "{\"job\":\"x\",\"part\":0}",
                                         "{}",
                                         "{\"shm\":{}}",
                                         "{\"shm\":{\"name\":\"/a\",\"size\":1}}",
                                         "{\"shm\":{\"name\":\"/a\",\"offset\":-1}}",
                                         "\"a\\u00e9GE=\""};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct submission s;
        struct fault fault = {{0}};
        char body[200];
        snprintf(body, sizeof body, "{\"type\":\"bytes\",\"params\":{\"data\":%s}}", values[i]);
        if (submission_parse(body, strlen(body), 64, 0, &s, &fault) != -1)
            fail_msg("%s", body);
        assert_non_null(strstr(fault.json.data, "\"pointer\":\"/params/data\""));
        submission_deinit(&s);
        fault_deinit(&fault);
    }
}

static void a_part_that_is_not_there_fails_its_item(void **state) {
    struct map m;
    struct parts p;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{\"data\":{\"part\":0}},{\"data\":{\"part\":9}},{\"data\":\"?\"}]}", 1);
    attachments.count = 1;
    plan(&m, 1);
    run(&m, &p);
    attachments.count = PARTS;
    assert_int_equal(map_merge(&m), 0);
    assert_non_null(strstr(m.json.data, "there is no data part 9"));
    assert_non_null(strstr(m.json.data, "/items/1/data"));
    assert_non_null(strstr(m.json.data, "/items/2/data"));
    assert_non_null(strstr(m.json.data, "{\"status\":\"succeeded\",\"result\":{\"sum\":294}}"));
    drop(&p, m.plan.count);
    map_deinit(&m);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static const char mixed_body[] =
    "{\"type\":\"bytes\",\"items\":[{\"op\":\"reverse\",\"data\":{\"part\":0}},"
    "{\"op\":\"sum\",\"data\":{\"part\":1}},{\"op\":\"echo\",\"data\":{\"part\":2},\"format\":\"text\"},"
    "{\"op\":\"x\"},{\"op\":\"copy\",\"data\":{\"part\":3}},{\"op\":\"add\",\"data\":{\"part\":1}}]}";

/* hooks.output has what the plan makes: the output of "add". */
static void take_made(void) {
    assert_int_equal(output.made_count, 1);
    list[PARTS] =
        (struct host_attachment){.fd = output.made[0].fd, .size = output.made[0].size, .own = true, .media_type = ""};
    attachments.count = PARTS + 1;
}

static void results_of_all_kinds_are_one_document(void **state) {
    (void)state;
    for (unsigned chunks = 1; chunks <= 3; chunks += 2) {
        struct map m;
        struct parts p;
        output.made_first = PARTS;
        parse(&m, mixed_body, PARTS);
        plan(&m, chunks);
        take_made();
        run(&m, &p);
        struct bytes common = view(&m.plan.common);
        assert_int_equal(host_merge_items(m.submission.type, common, p.views, m.plan.count, &hooks, &m.json, &m.fault),
                         0);
        assert_int_equal(output.source, HOST_SOURCE_BYTES);
        assert_int_equal(strncmp(output.media_type, "multipart/mixed; boundary=offload-", 34), 0);
        assert_item(0, "application/octet-stream", false, "cba");
        assert_item(1, "application/json", false, "{\"sum\":510}");
        assert_item(2, "text/plain", false, "");
        assert_item(3, "application/problem+json", true, NULL);
        assert_item(4, "application/octet-stream", false, "0123456789");
        assert_item(5, "application/octet-stream", false, "efghi");
        struct host_reader r = {read_result, NULL, output.size};
        struct host_mixed_item item;
        uint64_t size;
        uint32_t items;
        assert_int_equal(host_mixed_item(&r, 6, &item), -1);
        assert_int_equal(host_mixed_size(&r, &size, &items), 0);
        assert_int_equal(items, 6);
        char end[64] = "", expected[64];
        snprintf(expected, sizeof expected, "\r\n--%s--\r\n", output.media_type + 26);
        assert_int_equal(read_result(NULL, size - strlen(expected), end, strlen(expected)), 0);
        assert_string_equal(end, expected);
        assert_non_null(strstr(m.json.data,
                               "{\"status\":\"succeeded\",\"result_media_type\":\"application/octet-stream\","
                               "\"result_size\":3},{\"status\":\"succeeded\",\"result\":{\"sum\":510}}"));
        assert_non_null(strstr(m.json.data, "\"result_size\":5,\"result\":{\"in_place\":false}}"));
        drop(&p, m.plan.count);
        map_deinit(&m);
        host_output_deinit(&output);
        attachments.count = PARTS;
    }
}

static void a_map_by_columns_has_its_results_likewise(void **state) {
    struct map m;
    struct parts p;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"columns\":{\"op\":[\"reverse\",\"sum\",\"x\",\"copy\"]}}", PARTS);
    plan(&m, 2);
    run(&m, &p);
    struct bytes common = view(&m.plan.common);
    assert_int_equal(host_merge_items(m.submission.type, common, p.views, m.plan.count, &hooks, &m.json, &m.fault), 0);
    assert_item(0, "application/octet-stream", false, "cba");
    assert_item(1, "application/json", false, "{\"sum\":510}");
    assert_item(2, "application/problem+json", true, NULL);
    assert_item(3, "application/octet-stream", false, "0123456789");
    assert_int_equal(
        strncmp(
            m.json.data,
            "{\"results\":[{\"result_media_type\":\"application/octet-stream\",\"result_size\":3},{\"sum\":510},null,",
            90),
        0);
    drop(&p, m.plan.count);
    map_deinit(&m);
    host_output_deinit(&output);
}

static void without_binary_results_the_result_is_json(void **state) {
    struct map m;
    struct parts p;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{},{},{},{}]}", PARTS);
    plan(&m, 2);
    run(&m, &p);
    struct bytes common = view(&m.plan.common);
    assert_int_equal(host_merge_items(m.submission.type, common, p.views, m.plan.count, &hooks, &m.json, &m.fault), 0);
    assert_int_equal(output.source, HOST_SOURCE_JSON);
    drop(&p, m.plan.count);
    map_deinit(&m);
}

/* ---- what a worker out of control makes -------------------------------------------------------------------------- */

static char *damaged;
static size_t damaged_size;

static int read_damaged(void *arg, uint64_t offset, void *to, size_t size) {
    (void)arg;
    assert_true(offset <= damaged_size && size <= damaged_size - offset);
    memcpy(to, damaged + offset, size);
    return 0;
}

static void try_damaged(void) {
    struct host_reader r = {read_damaged, NULL, damaged_size};
    struct host_mixed_item item;
    uint64_t size = 0;
    uint32_t items = 0;
    if (host_mixed_size(&r, &size, &items) == 0)
        assert_true(size <= damaged_size);
    for (uint32_t i = 0; i < 8; i++)
        if (host_mixed_item(&r, i, &item) == 0)
            assert_true(item.offset <= damaged_size && item.size <= damaged_size - item.offset);
}

static void a_damaged_result_is_read_within_its_bounds(void **state) {
    struct map m;
    struct parts p;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{\"op\":\"copy\"},{\"op\":\"reverse\"},{},{}]}", PARTS);
    plan(&m, 1);
    run(&m, &p);
    struct bytes common = view(&m.plan.common);
    assert_int_equal(host_merge_items(m.submission.type, common, p.views, m.plan.count, &hooks, &m.json, &m.fault), 0);
    size_t whole = (size_t)output.size;
    char *good = malloc(whole);
    assert_int_equal(read_result(NULL, 0, good, whole), 0);
    for (size_t cut = 0; cut < whole; cut += 7) {
        damaged_size = whole - cut;
        damaged = malloc(damaged_size);
        memcpy(damaged, good + cut, damaged_size);
        try_damaged();
        free(damaged);
    }
    damaged_size = whole;
    damaged = malloc(whole);
    for (size_t at = whole > 700 ? whole - 700 : 0; at < whole; at++) {
        memcpy(damaged, good, whole);
        damaged[at] = (char)0xff;
        try_damaged();
    }
    free(damaged);
    free(good);
    drop(&p, m.plan.count);
    map_deinit(&m);
    host_output_deinit(&output);
}

static void a_damaged_part_is_refused(void **state) {
    struct map m;
    struct parts p;
    (void)state;
    parse(&m, "{\"type\":\"bytes\",\"items\":[{\"op\":\"copy\"},{\"op\":\"reverse\"},{},{}]}", PARTS);
    plan(&m, 1);
    run(&m, &p);
    size_t size = p.views[0].size;
    for (size_t at = 0; at < size; at += 3) {
        _Alignas(8) char *copy = malloc(size);
        struct fault fault = {{0}};
        struct buf json = {0};
        memcpy(copy, p.views[0].data, size);
        copy[at] ^= 0x55;
        struct bytes part = {copy, size}, common = view(&m.plan.common);
        assert_true(host_count_items(part, 4) <= 4);
        if (host_merge_items(m.submission.type, common, &part, 1, &hooks, &json, &fault) == 0)
            host_output_deinit(&output);
        fault_deinit(&fault);
        buf_deinit(&json);
        free(copy);
    }
    drop(&p, m.plan.count);
    map_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_takes_the_next_part),
        cmocka_unit_test(one_part_is_for_all_items),
        cmocka_unit_test(a_part_that_nothing_uses_is_reported),
        cmocka_unit_test(extras_follow_the_parts),
        cmocka_unit_test(long_base64_goes_into_a_memfd),
        cmocka_unit_test(what_is_no_data_is_reported_where_it_stands),
        cmocka_unit_test(a_part_that_is_not_there_fails_its_item),
        cmocka_unit_test(results_of_all_kinds_are_one_document),
        cmocka_unit_test(a_map_by_columns_has_its_results_likewise),
        cmocka_unit_test(without_binary_results_the_result_is_json),
        cmocka_unit_test(a_damaged_result_is_read_within_its_bounds),
        cmocka_unit_test(a_damaged_part_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
