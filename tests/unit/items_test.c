/* items_test.c: maps, from the submission to the merged result, without processes: handlers/host/items_*.c, with the
 * types of the service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "handlers/host/items_format.h"
#include "server/model/problem.h"
#include "tests/unit/map.h"

/* ---- a whole map ------------------------------------------------------------------------------------------------- */

static void map_parse(struct map *m, const char *type, const char *items) {
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"%s\",\"items\":", type);
    buf_puts(&body, items);
    buf_putc(&body, '}');
    map_parse_body(m, body.data);
    buf_deinit(&body);
}

/* The result as JSON; the caller frees. */
static char *map_result(const char *type, const char *items, unsigned chunks) {
    struct map m;
    map_parse(&m, type, items);
    map_plan(&m, chunks);
    char *json = map_finish(&m);
    map_deinit(&m);
    return json;
}

static void assert_result(const char *type, const char *items, unsigned chunks, const char *expected) {
    char *json = map_result(type, items, chunks);
    assert_string_equal(json, expected);
    free(json);
}

/* [first,first+1,...]: `count` items for echo. */
static char *echo_items(unsigned count) {
    struct buf items = {0};
    buf_putc(&items, '[');
    for (unsigned i = 0; i < count; i++)
        buf_printf(&items, "%s{\"value\":%u}", i > 0 ? "," : "", i);
    buf_putc(&items, ']');
    return buf_steal(&items, NULL);
}

static void assert_echoed_in_order(const char *json, unsigned count) {
    json_t *root = json_loads(json, 0, NULL), *items = json_object_get(root, "items");
    assert_int_equal(json_array_size(items), count);
    for (unsigned i = 0; i < count; i++) {
        json_t *result = json_object_get(json_array_get(items, i), "result");
        assert_int_equal(json_integer_value(json_object_get(result, "value")), i);
    }
    json_decref(root);
}

/* The error of the one item of a map. */
static json_t *only_error(const char *type, const char *item) {
    char items[512];
    snprintf(items, sizeof items, "[%s]", item);
    char *json = map_result(type, items, 0);
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    json_t *first = json_array_get(json_object_get(root, "items"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "status")), "failed");
    json_t *error = json_incref(json_object_get(first, "error"));
    json_decref(root);
    free(json);
    return error;
}

static void assert_error_at(const char *type, const char *item, const char *pointer) {
    json_t *error = only_error(type, item), *errors = json_object_get(error, "errors");
    assert_string_equal(json_string_value(json_object_get(error, "code")), "invalid_params");
    assert_string_equal(json_string_value(json_object_get(error, "type")), "/problems/invalid_params");
    assert_int_equal(json_array_size(errors), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(errors, 0), "pointer")), pointer);
    json_decref(error);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void each_item_is_one_call_and_the_results_are_in_their_order(void **state) {
    (void)state;
    assert_result(
        "primes", "[{\"start\":0,\"stop\":100},{\"nth\":4},{\"numbers\":[\"7\",8]}]", 0,
        "{\"items\":[{\"status\":\"succeeded\",\"result\":{\"count\":25}},"
        "{\"status\":\"succeeded\",\"result\":{\"prime\":7}},"
        "{\"status\":\"succeeded\",\"result\":{\"is_prime\":[true,false],\"count\":1,\"certainty\":\"proven\"}}]}");
}

static void no_items_make_an_empty_list(void **state) {
    (void)state;
    assert_result("primes", "[]", 0, "{\"items\":[]}");
    assert_result("primes", "[]", 9, "{\"items\":[]}");
}

static void the_result_is_the_same_however_it_is_divided(void **state) {
    (void)state;
    char *items = echo_items(1000);
    for (unsigned chunks = 0; chunks < 30; chunks += 7) {
        char *json = map_result("echo", items, chunks);
        assert_echoed_in_order(json, 1000);
        free(json);
    }
    free(items);
}

static void strings_and_nested_values_reach_their_items(void **state) {
    (void)state;
    assert_result("echo",
                  "[{\"value\":\"a]}\\\"\\u00e9\"},{ \"value\" : [1,{\"x\":[]}] },{\"value\":1.5},{\"value\":null}]", 0,
                  "{\"items\":[{\"status\":\"succeeded\",\"result\":{\"value\":\"a]}\\\"\u00e9\"}},"
                  "{\"status\":\"succeeded\",\"result\":{\"value\":[1,{\"x\":[]}]}},"
                  "{\"status\":\"succeeded\",\"result\":{\"value\":1.5}},"
                  "{\"status\":\"succeeded\",\"result\":{\"value\":null}}]}");
}

static void integers_of_every_size_and_form_are_kept(void **state) {
    (void)state;
    assert_result("sum",
                  "[{\"start\":-3,\"stop\":3},{\"start\":\"0\",\"stop\":\"4\"},{\"start\":0,\"stop\":1e1},"
                  "{\"start\":-0,\"stop\":340282366920938463463374607431768211456,\"method\":\"closed_form\"}]",
                  0,
                  "{\"items\":[{\"status\":\"succeeded\",\"result\":{\"sum\":\"-3\",\"count\":6}},"
                  "{\"status\":\"succeeded\",\"result\":{\"sum\":\"6\",\"count\":4}},"
                  "{\"status\":\"succeeded\",\"result\":{\"sum\":\"45\",\"count\":10}},"
                  "{\"status\":\"succeeded\",\"result\":{\"sum\":"
                  "\"57896044618658097711785492504343953926464851149359812787997104700240680714240\","
                  "\"count\":\"340282366920938463463374607431768211456\"}}]}");
}

/* ---- bad items --------------------------------------------------------------------------------------------------- */

static void a_bad_item_fails_alone(void **state) {
    (void)state;
    char *json =
        map_result("primes", "[{\"start\":0,\"stop\":10},7,{\"start\":0,\"stop\":\"x\"},{\"start\":0,\"stop\":20}]", 2);
    json_t *root = json_loads(json, 0, NULL), *items = json_object_get(root, "items");
    static const char *const expected[] = {"succeeded", "failed", "failed", "succeeded"};
    assert_int_equal(json_array_size(items), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(items, i), "status")), expected[i]);
    json_decref(root);
    free(json);
}

static void an_error_points_into_its_item(void **state) {
    (void)state;
    assert_error_at("primes", "5", "/items/0");
    assert_error_at("primes", "null", "/items/0");
    assert_error_at("primes", "[]", "/items/0");
    assert_error_at("primes", "\"x\"", "/items/0");
    assert_error_at("primes", "{\"start\":1}", "/items/0");
    assert_error_at("primes", "{\"start\":1,\"stop\":2,\"opp\":3}", "/items/0/opp");
    assert_error_at("primes", "{\"start\":1,\"stop\":true}", "/items/0/stop");
    assert_error_at("primes", "{\"numbers\":[1,2,\"x\"]}", "/items/0/numbers/2");
    assert_error_at("primes", "{\"start\":0,\"stop\":99999999999999,\"op\":\"list\"}",
                    "/items/0/stop"); /* its plan says so */
    assert_error_at("embeddings", "{\"input\":[\"a\",\"\"]}", "/items/0/input/1");
}

static void the_errors_of_items_have_the_titles_of_the_front_end(void **state) {
    (void)state;
    static const char *const codes[] = {"invalid_params", "handler_failed", "memory_limit", "worker_crashed"};
    for (size_t i = 0; i < 4; i++) {
        const struct problem *p = problem_get(problem_find(codes[i], strlen(codes[i])));
        struct fault fault = {{0}};
        struct buf json = {0};
        fault_set(&fault, codes[i], "because");
        fault_write_problem(&json, &fault);
        json_t *root = json_loads(json.data, JSON_REJECT_DUPLICATES, NULL);
        assert_string_equal(json_string_value(json_object_get(root, "title")), p->title);
        assert_int_equal(json_integer_value(json_object_get(root, "status")), p->status);
        assert_string_equal(json_string_value(json_object_get(root, "detail")), "because");
        json_decref(root);
        fault_deinit(&fault);
        buf_deinit(&json);
    }
}

static void many_bad_items_have_shorter_faults(void **state) {
    (void)state;
    struct buf items = {0};
    struct map m;
    enum { COUNT = 20000 };
    for (unsigned i = 0; i < COUNT; i++)
        buf_puts(&items, i == 0 ? "[{\"a\":1,\"b\":1,\"c\":1,\"d\":1}" : ",{\"a\":1,\"b\":1,\"c\":1,\"d\":1}");
    buf_putc(&items, ']');
    map_parse(&m, "primes", items.data);
    assert_int_equal(m.submission.items, COUNT);
    assert_true(m.submission.params.size < COUNT * 400);
    map_deinit(&m);
    buf_deinit(&items);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static void cheap_items_share_one_group(void **state) {
    (void)state;
    struct map m;
    char *items = echo_items(100);
    map_parse(&m, "echo", items);
    map_plan(&m, 0);
    assert_int_equal(m.plan.count, 1);
    map_deinit(&m);
    free(items);
}

static void as_many_groups_are_made_as_the_client_wants_and_items_allow(void **state) {
    (void)state;
    static const unsigned wanted[] = {1, 2, 3, 99, 100, 101, 4096};
    char *items = echo_items(100);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct map m;
        map_parse(&m, "echo", items);
        map_plan(&m, wanted[i]);
        assert_int_equal(m.plan.count, wanted[i] < 100 ? wanted[i] : 100);
        map_deinit(&m);
    }
    free(items);
}

static void an_expensive_item_has_a_group_of_its_own(void **state) {
    (void)state;
    struct map m;
    map_parse(&m, "burn", "[{\"cpu_ms\":0},{\"cpu_ms\":0},{\"cpu_ms\":1000},{\"cpu_ms\":0},{\"cpu_ms\":0}]");
    map_plan(&m, 0);
    assert_int_equal(m.plan.count, 3);
    assert_in_range(m.plan.chunks[1].cost_ns, 900000000, 1100000000);
    map_deinit(&m);
}

static void an_expensive_map_is_divided_into_groups_of_a_good_size(void **state) {
    (void)state;
    struct buf items = {0};
    struct map m;
    for (unsigned i = 0; i < 5000; i++)
        buf_puts(&items, i == 0 ? "[{\"cpu_ms\":1}" : ",{\"cpu_ms\":1}");
    buf_putc(&items, ']');
    map_parse(&m, "burn", items.data);
    map_plan(&m, 0);
    assert_in_range(m.plan.count, 5000 / 40, 5000 / 20);
    for (size_t i = 0; i < m.plan.count; i++)
        assert_in_range(m.plan.chunks[i].cost_ns, HANDLER_CHUNK_NS / 2, HANDLER_CHUNK_NS * 3 / 2);
    map_deinit(&m);
    buf_deinit(&items);
}

static void odd_costs_never_make_more_groups_than_are_allowed(void **state) {
    (void)state;
    struct buf items = {0};
    struct map m;
    for (unsigned i = 0; i < 20000; i++)
        buf_printf(&items, "%s{\"cpu_ms\":%u}", i == 0 ? "[" : ",", i % 2 == 0 ? 3600000 : 0);
    buf_putc(&items, ']');
    map_parse(&m, "burn", items.data);
    map_plan(&m, 0);
    assert_in_range(m.plan.count, 100, HANDLER_MAX_CHUNKS);
    map_deinit(&m);
    buf_deinit(&items);
}

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

struct observer {
    uint64_t done, total, seen;
    unsigned cancel_after; /* calls of `cancelled`; 0: never */
    unsigned asked;
};

static void observe_progress(void *arg, uint64_t done, uint64_t total) {
    struct observer *o = arg;
    assert_true(done >= o->done && done <= total);
    o->done = done;
    o->total = total;
    o->seen++;
}

static bool observe_cancelled(void *arg) {
    struct observer *o = arg;
    return o->cancel_after > 0 && ++o->asked >= o->cancel_after;
}

static void progress_grows_with_the_items_and_within_them(void **state) {
    (void)state;
    struct observer o = {0};
    struct host_hooks hooks = {&o, observe_progress, observe_cancelled};
    struct map m;
    map_parse(&m, "burn", "[{\"cpu_ms\":1},{\"cpu_ms\":20},{\"cpu_ms\":1},{\"cpu_ms\":1}]");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, &hooks), 0);
    assert_true(o.seen > 8);
    assert_true(o.done >= o.total / 4 * 3);
    map_deinit(&m);
}

static void a_cancelled_item_ends_the_run(void **state) {
    (void)state;
    struct observer o = {.cancel_after = 5};
    struct host_hooks hooks = {&o, observe_progress, observe_cancelled};
    struct map m;
    map_parse(&m, "burn", "[{\"cpu_ms\":1},{\"cpu_ms\":60000},{\"cpu_ms\":1}]");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, &hooks), HOST_CANCELLED);
    map_deinit(&m);
}

static void cancellation_is_seen_between_items_and_while_they_are_planned(void **state) {
    (void)state;
    struct observer o = {.cancel_after = 500};
    struct host_hooks hooks = {&o, observe_progress, observe_cancelled};
    struct map m;
    char *items = echo_items(1000);
    map_parse(&m, "echo", items);
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, &hooks), HOST_CANCELLED);
    o.asked = 0;
    host_plan_deinit(&m.plan);
    buf_deinit(&m.parts[0]);
    assert_int_equal(host_plan_items(m.submission.type, m.submission.params.data, m.submission.params.size, 0, &hooks,
                                     &m.plan, &m.fault),
                     HOST_CANCELLED);
    host_plan_deinit(&m.plan);
    map_deinit(&m);
    free(items);
}

static void every_item_learns_its_attempt(void **state) {
    (void)state;
    struct map m;
    map_parse(&m, "crash", "[{\"how\":\"abort\",\"times\":2},{\"how\":\"exit\",\"times\":1}]");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 2, NULL), 0);
    assert_int_equal(map_merge(&m), 0);
    assert_string_equal(m.json.data, "{\"items\":[{\"status\":\"succeeded\",\"result\":{\"survived_attempts\":2}},"
                                     "{\"status\":\"succeeded\",\"result\":{\"survived_attempts\":2}}]}");
    map_deinit(&m);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static void a_part_is_read_entry_by_entry(void **state) {
    (void)state;
    struct map m;
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    map_parse(&m, "echo", "[{\"value\":1},{},{\"value\":\"x\"}]");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    struct bytes part = view(&m.parts[0]);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(host_next_item(part, &at, &entry, &json), 1);
        assert_int_equal(entry.index, i);
        assert_int_equal(entry.ok, i != 1);
        assert_memory_equal(json, i == 1 ? "{\"status\":\"failed\"," : "{\"status\":\"succeeded\",", i == 1 ? 19 : 22);
        assert_int_equal(json[entry.size - 1], '}');
    }
    assert_int_equal(host_next_item(part, &at, &entry, &json), 0);
    assert_int_equal(host_next_item(part, &at, &entry, &json), 0);
    map_deinit(&m);
}

static void bytes_that_are_no_part_are_rejected(void **state) {
    (void)state;
    struct {
        struct part_head head;
        struct part_entry row;
        char text[16];
    } room = {.head = {1, 0}, .row = {.size = 1000}};
    struct item_entry entry;
    const char *json;
    static const uint32_t sizes[] = {1000, 17, PART_MAX_JSON, 1, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct item_cursor at = {0};
        room.row.size = sizes[i] & PART_MAX_JSON;
        assert_int_equal(host_next_item((struct bytes){&room, sizeof room}, &at, &entry, &json), -1);
    }
    room.row.size = 16;
    for (size_t size = 1; size < sizeof room; size++) {
        struct item_cursor at = {0};
        assert_int_equal(host_next_item((struct bytes){&room, size}, &at, &entry, &json), -1);
    }
    struct item_cursor beyond = {.next = 2}, past = {.next = 1, .text = 17};
    assert_int_equal(host_next_item((struct bytes){&room, sizeof room}, &beyond, &entry, &json), -1);
    assert_int_equal(host_next_item((struct bytes){&room, sizeof room}, &past, &entry, &json), -1);
}

/* ---- bytes from a process that is out of control ----------------------------------------------------------------- */

/* Each byte of a list is changed in turn. The list is rejected or planned, and the sanitizers find nothing. */
static void damaged_lists_do_no_harm(void **state) {
    (void)state;
    struct map m;
    map_parse(&m, "primes", "[{\"start\":0,\"stop\":10},5,{\"nth\":3}]");
    unsigned char *bytes = (unsigned char *)m.submission.params.data;
    for (size_t i = 0; i < m.submission.params.size; i++) {
        struct host_plan plan;
        struct fault fault = {{0}};
        bytes[i] ^= 0x55;
        int rc = host_plan_items(m.submission.type, bytes, m.submission.params.size, 0, NULL, &plan, &fault);
        assert_int_equal(rc == 0, fault.json.size == 0);
        host_plan_deinit(&plan);
        fault_deinit(&fault);
        bytes[i] ^= 0x55;
    }
    map_deinit(&m);
}

static void damaged_groups_do_no_harm(void **state) {
    (void)state;
    struct map m;
    map_parse(&m, "echo", "[{\"value\":0},5,{\"value\":\"abc\"}]");
    map_plan(&m, 1);
    unsigned char *bytes = (unsigned char *)m.plan.bytes.data;
    for (size_t i = 0; i < m.plan.bytes.size; i++) {
        bytes[i] ^= 0x81;
        map_run(&m, 0, 0, NULL);
        fault_deinit(&m.fault);
        bytes[i] ^= 0x81;
    }
    for (size_t size = 1; size < m.plan.chunks[0].size; size += 3) {
        struct bytes cut = {bytes, size};
        buf_clear(&m.parts[0]);
        int rc = host_run_items(m.submission.type, 0, view(&m.plan.common), cut, NULL, &m.parts[0], &m.fault);
        assert_int_equal(rc == 0, m.fault.json.size == 0);
        fault_deinit(&m.fault);
    }
    map_deinit(&m);
}

static void parts_that_are_missing_or_strange_fail_the_merge(void **state) {
    (void)state;
    struct map m;
    map_parse(&m, "echo", "[{\"value\":0},{\"value\":1}]");
    map_plan(&m, 2);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    assert_int_equal(map_merge(&m), -1); /* the second part is empty */
    assert_non_null(strstr(m.fault.json.data, "handler_failed"));
    buf_clear(&m.json);
    assert_int_equal(map_run(&m, 1, 0, NULL), 0);
    assert_int_equal(map_merge(&m), 0);
    m.parts[1].data[0] ^= 1; /* another index */
    buf_clear(&m.json);
    assert_int_equal(map_merge(&m), -1);
    map_deinit(&m);
}

static void a_type_that_does_not_exist_is_a_fault(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {{0}};
    struct buf part = {0};
    assert_int_equal(host_plan_items(999, "", 0, 0, NULL, &plan, &fault), -1);
    assert_int_equal(host_run_items(999, 0, (struct bytes){"", 0}, (struct bytes){"", 0}, NULL, &part, &fault), -1);
    fault_deinit(&fault);
}

/* ---- the list itself --------------------------------------------------------------------------------------------- */

static void assert_rejected_at_items(const char *body, size_t size) {
    struct submission s;
    struct fault fault = {{0}};
    assert_int_equal(submission_parse(body, size, 64, 0, &s, &fault), -1);
    assert_non_null(strstr(fault.json.data, "\"errors\":[{\"pointer\":\"/items\""));
    submission_deinit(&s);
    fault_deinit(&fault);
}

static void items_that_are_no_list_are_rejected(void **state) {
    (void)state;
    static const char *const bodies[] = {"{\"type\":\"primes\",\"items\":{}}", "{\"type\":\"primes\",\"items\":null}",
                                         "{\"type\":\"primes\",\"items\":7}",
                                         "{\"type\":\"primes\",\"items\":[],\"params\":{}}",
                                         "{\"params\":null,\"type\":\"primes\",\"items\":[{}]}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_rejected_at_items(bodies[i], strlen(bodies[i]));
}

static void a_list_that_is_too_long_is_rejected(void **state) {
    (void)state;
    struct buf body = {0};
    buf_puts(&body, "{\"type\":\"primes\",\"items\":[1");
    for (unsigned i = 0; i < HOST_MAX_ITEMS; i++)
        buf_puts(&body, ",1");
    buf_puts(&body, "]}");
    assert_rejected_at_items(body.data, body.size);
    buf_deinit(&body);
}

/* ---- read one by one, or as a whole ------------------------------------------------------------------------------ */

/* Takes the item as the parameters of a job. Is it right, and does it have the same plan? */
static void assert_same_alone(const char *type, const json_t *item, const struct map *m) {
    struct buf body = {0};
    struct submission s;
    struct fault fault = {{0}};
    struct host_plan plan = {0};
    char *text = json_dumps(item, JSON_ENCODE_ANY | JSON_COMPACT);
    buf_printf(&body, "{\"type\":\"%s\",\"params\":", type);
    buf_puts(&body, text);
    buf_putc(&body, '}');
    bool good = submission_parse(body.data, body.size, 64, 0, &s, &fault) == 0 &&
                host_plan(s.type, s.params.data, s.params.size, 1, NULL, &plan, &fault) == 0;
    struct bytes group = group_of(m, 0);
    struct planned_item planned;
    assert_true(group.size >= sizeof planned);
    memcpy(&planned, group.data, sizeof planned);
    if (good != (planned.chunks > 0))
        print_error("%s\n", text);
    assert_int_equal(good, planned.chunks > 0);
    if (good)
        assert_non_null(memmem(group.data, group.size, plan.bytes.data, plan.bytes.size));
    host_plan_deinit(&plan);
    submission_deinit(&s);
    fault_deinit(&fault);
    buf_deinit(&body);
    free(text);
}

/* A body that is JSON is taken, and its item is the same as in a job. A body that is not JSON is rejected. */
static void assert_read_as_jansson_does(const char *type, const char *items) {
    struct map m = {0};
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"%s\",\"items\":", type);
    buf_puts(&body, items);
    buf_putc(&body, '}');
    json_t *root = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_t *list = json_object_get(root, "items");
    bool is_map = json_is_array(list) && json_object_size(root) == 2;
    int rc = submission_parse(body.data, body.size, 64, 0, &m.submission, &m.fault);
    if (rc != (is_map ? 0 : -1))
        print_error("%s\n", body.data);
    assert_int_equal(rc, is_map ? 0 : -1);
    if (is_map) {
        assert_int_equal(m.submission.items, json_array_size(list));
        map_plan(&m, 1);
    }
    if (is_map && json_array_size(list) == 1)
        assert_same_alone(type, json_array_get(list, 0), &m);
    json_decref(root);
    buf_deinit(&body);
    map_deinit(&m);
}

static void items_are_read_as_the_same_text_is_read_alone(void **state) {
    (void)state;
    static const struct {
        const char *type, *items;
    } good[] = {{"primes", "[{\"start\":10,\"stop\":20}]"},
                {"primes", "[ { \"start\" : -10 , \"op\" : \"sum\" , \"stop\" : 20 } ]"},
                {"primes", "[{\"nth\":4}]"},
                {"primes", "[{\"numbers\":[1,\"2\"]}]"},
                {"sum", "[{\"start\":0,\"stop\":9,\"step\":-2,\"method\":\"closed_form\"}]"},
                {"embeddings", "[{\"input\":\"abc\",\"truncate\":true,\"dimensions\":8}]"},
                {"echo", "[{\"value\":\"abc\"}]"},
                {"echo", "[{\"value\":false}]"},
                {"sleep", "[{\"ms\":1},{}]"}};
    static const char changes[] = "\"\\,:{}[] \n\t\x01\x7f-+.0159eEnatfu/\xc3";
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[128];
        size_t size = strlen(good[i].items);
        assert_read_as_jansson_does(good[i].type, good[i].items);
        for (size_t at = 0; at < size; at++) {
            for (size_t c = 0; c < sizeof changes - 1; c++) {
                memcpy(text, good[i].items, size + 1);
                text[at] = changes[c]; /* another byte */
                assert_read_as_jansson_does(good[i].type, text);
                memmove(text + at + 1, good[i].items + at, size - at + 1); /* one byte more */
                assert_read_as_jansson_does(good[i].type, text);
            }
            memmove(text + at, good[i].items + at + 1, size - at); /* one byte less */
            assert_read_as_jansson_does(good[i].type, text);
        }
    }
}

static void assert_rejected_as(const char *body, unsigned max_depth, const char *code) {
    struct submission s;
    struct fault fault = {{0}};
    assert_int_equal(submission_parse(body, strlen(body), max_depth, 0, &s, &fault), -1);
    if (strstr(fault.json.data, code) == NULL)
        print_error("%s\n", fault.json.data);
    assert_non_null(strstr(fault.json.data, code));
    submission_deinit(&s);
    fault_deinit(&fault);
}

static void errors_around_and_within_a_list_are_reported_at_their_place(void **state) {
    (void)state;
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1}]", 64, "invalid_json");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1}]}x", 64, "invalid_json");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1},]}", 64, "\"position\":37");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1 \"x\"}]}", 64, "invalid_json");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[],\"items\":[]}", 64, "duplicate_key");
    assert_rejected_as("{\"type\":\"echo\",\"\\u0069tems\":[],\"items\":[]}", 64, "duplicate_key");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1,\"value\":1}]}", 64, "duplicate_key");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":\"\xff\"}]}", 64, "not_utf8");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":[]}]}", 3, "too_deep");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1}]}", 2, "too_deep");
    assert_rejected_as("{\"type\":\"none\",\"items\":[{\"value\":1}]}", 64, "unknown_type");
    assert_rejected_as("{\"type\":\"echo\",\"items\":[{\"value\":1}],\"options\":{\"chunks\":-1}}", 64,
                       "/options/chunks");
}

static int load_types(void **state) {
    (void)state;
    job_init();
    return 0;
}

/* ---- groups that are cut anew ------------------------------------------------------------------------------------ */

static void groups_are_cut_by_the_rate(void **state) {
    (void)state;
    struct map m;
    struct host_plan_chunk groups[8];
    map_parse_body(
        &m, "{\"type\":\"sleep\",\"items\":[{\"ms\":1},{\"ms\":1},{\"ms\":1},{\"ms\":1},{\"ms\":9},{\"ms\":1}]}");
    map_plan(&m, 1);
    struct bytes all = group_of(&m, 0);
    /* Each takes ten times as long: the groups have 30 ms at most, or one item. */
    size_t count = host_regroup(all, 10, groups, 8);
    assert_in_range(count, 4, 6);
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(groups[i].offset, offset);
        assert_true(groups[i].size > 0 && groups[i].size % 8 == 0);
        offset += groups[i].size;
    }
    assert_int_equal(offset, all.size);
    assert_true(groups[count - 2].cost_ns > 80000000 || groups[count - 1].cost_ns > 80000000);
    /* No more than there is room for, and one if they take no time. */
    count = host_regroup(all, 1000, groups, 3);
    assert_in_range(count, 2, 3);
    assert_int_equal(groups[count - 1].offset + groups[count - 1].size, all.size);
    assert_int_equal(host_regroup(all, 0, groups, 8), 1);
    map_deinit(&m);
}

static void bytes_that_are_no_items_are_not_cut(void **state) {
    (void)state;
    struct map m;
    struct host_plan_chunk groups[8];
    map_parse_body(&m, "{\"type\":\"sleep\",\"items\":[{\"ms\":1},{\"ms\":1}]}");
    map_plan(&m, 1);
    struct bytes all = group_of(&m, 0);
    for (size_t size = 1; size < all.size; size++) {
        char *part = malloc(size); /* so that AddressSanitizer sees its end */
        assert_non_null(part);
        memcpy(part, all.data, size);
        size_t count = host_regroup((struct bytes){part, size}, 1, groups, 8);
        assert_true(count == 0 || (count == 1 && groups[0].size == size));
        free(part);
    }
    map_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_is_one_call_and_the_results_are_in_their_order),
        cmocka_unit_test(no_items_make_an_empty_list),
        cmocka_unit_test(the_result_is_the_same_however_it_is_divided),
        cmocka_unit_test(strings_and_nested_values_reach_their_items),
        cmocka_unit_test(integers_of_every_size_and_form_are_kept),
        cmocka_unit_test(a_bad_item_fails_alone),
        cmocka_unit_test(an_error_points_into_its_item),
        cmocka_unit_test(the_errors_of_items_have_the_titles_of_the_front_end),
        cmocka_unit_test(many_bad_items_have_shorter_faults),
        cmocka_unit_test(groups_are_cut_by_the_rate),
        cmocka_unit_test(bytes_that_are_no_items_are_not_cut),
        cmocka_unit_test(cheap_items_share_one_group),
        cmocka_unit_test(as_many_groups_are_made_as_the_client_wants_and_items_allow),
        cmocka_unit_test(an_expensive_item_has_a_group_of_its_own),
        cmocka_unit_test(an_expensive_map_is_divided_into_groups_of_a_good_size),
        cmocka_unit_test(odd_costs_never_make_more_groups_than_are_allowed),
        cmocka_unit_test(progress_grows_with_the_items_and_within_them),
        cmocka_unit_test(a_cancelled_item_ends_the_run),
        cmocka_unit_test(cancellation_is_seen_between_items_and_while_they_are_planned),
        cmocka_unit_test(every_item_learns_its_attempt),
        cmocka_unit_test(a_part_is_read_entry_by_entry),
        cmocka_unit_test(bytes_that_are_no_part_are_rejected),
        cmocka_unit_test(damaged_lists_do_no_harm),
        cmocka_unit_test(damaged_groups_do_no_harm),
        cmocka_unit_test(parts_that_are_missing_or_strange_fail_the_merge),
        cmocka_unit_test(a_type_that_does_not_exist_is_a_fault),
        cmocka_unit_test(items_that_are_no_list_are_rejected),
        cmocka_unit_test(a_list_that_is_too_long_is_rejected),
        cmocka_unit_test(items_are_read_as_the_same_text_is_read_alone),
        cmocka_unit_test(errors_around_and_within_a_list_are_reported_at_their_place),
    };
    return cmocka_run_group_tests(tests, load_types, NULL);
}
