/* items_batch_test.c: the items of a group as a batch (handlers/host/items_run.c), with a type that has run_batch. The
 * result must be that of the same items, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/items_format.h"
#include "tests/unit/map.h"

/* ---- a type that is only known here ------------------------------------------------------------------------------ */

/* How the batch behaves, and what it has seen. */
static struct {
    unsigned window;   /* calls that are taken before the first is done */
    bool leaves;       /* it returns before the calls that it has taken are done */
    unsigned in_batch; /* calls that were taken */
    unsigned one_by_one;
} seen;

enum how { HOW_OK, HOW_FAIL, HOW_INVALID, HOW_TWO, HOW_STEPS, HOW_LOST, HOW_RAISE, HOW_SPACE, HOW_LOST_PLAN };

static int do_plan(struct call *c, const struct params *p) {
    size_t size;
    const char *value = param_json(p, "value", &size);
    struct buf chunk = {0};
    int how = param_choice(p, "how"), rc = plan_common(c, "common", 7);
    if (how == HOW_LOST_PLAN)
        return call_lost(c, &(struct call_loss){.cause = "exit", .exit_code = 3});
    buf_putc(&chunk, (char)how);
    buf_append(&chunk, value, size + (how == HOW_RAISE)); /* with its NUL */
    for (int i = 0; rc == 0 && i < (how == HOW_TWO ? 2 : 1); i++)
        rc = plan_chunk(c, chunk.data, chunk.size, 1000);
    buf_deinit(&chunk);
    return rc;
}

static int run_call(struct call *c, struct bytes common, struct bytes chunk) {
    const char *bytes = chunk.data;
    assert_int_equal(common.size, 7);
    assert_memory_equal(common.data, "common", 7);
    if (call_cancelled(c))
        return -1;
    if (bytes[0] == HOW_FAIL)
        return call_fail(c, CALL_FAILED, NULL, "it fails in attempt %u", call_attempt(c));
    if (bytes[0] == HOW_INVALID)
        return call_fail(c, CALL_INVALID, "/value/x", "it is wrong");
    if (bytes[0] == HOW_LOST)
        return call_lost(c, &(struct call_loss){.cause = "signal", .signal = 9, .exit_code = -1});
    if (bytes[0] == HOW_RAISE)
        return call_fail_exception(c, "ValueError", "it is wrong", bytes + 1);
    if (bytes[0] == HOW_STEPS)
        call_progress(c, 1, 2);
    if (bytes[0] == HOW_SPACE && part_write(c, " \n", 2) != 0)
        return -1;
    if (part_write(c, bytes + 1, chunk.size - 1) != 0)
        return -1;
    return bytes[0] == HOW_SPACE ? part_write(c, "\t ", 2) : 0;
}

static int do_run(struct call *c, struct bytes common, struct bytes chunk) {
    seen.one_by_one++;
    return run_call(c, common, chunk);
}

static int do_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    if (count > 1)
        json_begin_array(c);
    for (size_t i = 0; i < count; i++)
        json_verbatim(c, parts[i].data, parts[i].size);
    if (count > 1)
        json_end_array(c);
    return 0;
}

static void do_batch(struct batch *b) {
    struct {
        struct call *call;
        struct bytes common, chunk;
    } taken[BATCH_MAX];
    unsigned first = 0, count = 0;
    bool more = true;
    while (more || count > 0) {
        while (more && count < seen.window) {
            unsigned at = (first + count) % BATCH_MAX;
            taken[at].call = batch_next(b, &taken[at].common, &taken[at].chunk);
            more = taken[at].call != NULL;
            count += more;
            seen.in_batch += more;
        }
        if (count == 0 || (seen.leaves && count == seen.window))
            return;
        for (unsigned i = 1; i < count; i++) /* of a call that is not the first under way: it counts for nothing */
            call_progress(taken[(first + i) % BATCH_MAX].call, 1, 1);
        batch_done(b, run_call(taken[first].call, taken[first].common, taken[first].chunk));
        first = (first + 1) % BATCH_MAX;
        count--;
        more = true;
    }
}

static const char *const hows[] = {"ok",   "fail",  "invalid", "two",       "steps",
                                   "lost", "raise", "space",   "lost-plan", NULL};
static const struct param_spec specs[] = {
    {.name = "value", .kind = PARAM_JSON, .flags = PARAM_REQUIRED, .help = "the result"},
    {.name = "how", .kind = PARAM_ENUM, .choices = hows, .fallback = "\"ok\"", .help = "what happens"},
    {.name = NULL}};
#define TEST_HANDLER                                                                                                   \
    .abi = HANDLER_ABI, .summary = "A test", .params = specs, .plan = do_plan, .run = do_run, .merge = do_merge
static const struct handler one_by_one = {TEST_HANDLER, .name = "one-by-one"};
static const struct handler in_batches = {TEST_HANDLER, .name = "in-batches", .run_batch = do_batch};

static void begin(unsigned window, bool leaves) {
    memset(&seen, 0, sizeof seen);
    seen.window = window;
    seen.leaves = leaves;
}

/* A map of the type with batches or, without a window, of the other one. rest: the body behind the type. */
static void parse(struct map *m, const char *rest) {
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"%s\",%s", seen.window > 0 ? "in-batches" : "one-by-one", rest);
    map_parse_body(m, body.data);
    buf_deinit(&body);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static const struct host_hooks *hooks_of_test;

static char *result_of(const char *body, unsigned window, struct bytes poison) {
    struct map m;
    begin(window, false);
    parse(&m, body);
    map_plan(&m, 1);
    int rc = host_run_items(m.submission.type, 4, poison, group_of(&m, 0), hooks_of_test, &m.parts[0], &m.fault);
    assert_int_equal(rc, 0);
    assert_int_equal(host_count_items(view(&m.parts[0]), m.submission.items), m.submission.items);
    assert_int_equal(map_merge(&m), 0);
    char *json = buf_steal(&m.json, NULL);
    map_deinit(&m);
    return json;
}

#define MIXED_VALUES "0,null,\"a\",[1],2,3,{\"x\":[]},4,5,6"
#define MIXED_HOWS   "\"ok\",\"ok\",\"fail\",\"ok\",\"two\",\"wrong\",\"invalid\",\"steps\",\"ok\",\"ok\""

static const char mixed_columns[] = "\"columns\":{\"value\":[" MIXED_VALUES "],\"how\":[" MIXED_HOWS "]}}";
static const char mixed_items[] =
    "\"items\":[{\"value\":0},{\"value\":null},{\"how\":\"fail\",\"value\":\"a\"},{\"value\":[1]},"
    "{\"value\":2,\"how\":\"two\"},{\"value\":3,\"how\":\"wrong\"},{\"value\":{\"x\":[]},\"how\":\"invalid\"},"
    "{\"value\":4,\"how\":\"steps\"},{\"value\":5},{\"value\":6}]}";

static void a_batch_gives_what_the_items_give_one_by_one(void **state) {
    (void)state;
    static const uint32_t places[] = {8, 3 | HOST_POISON_MEMORY};
    static const unsigned windows[] = {1, 2, 3, 5, BATCH_MAX};
    for (unsigned form = 0; form < 2; form++) {
        const char *body = form == 0 ? mixed_columns : mixed_items;
        for (unsigned poison = 0; poison < 2; poison++) {
            const struct bytes list = {places, poison * sizeof places};
            char *expected = result_of(body, 0, list);
            assert_int_equal(seen.in_batch, 0);
            for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
                char *json = result_of(body, windows[w], list);
                assert_string_equal(json, expected);
                assert_int_equal(seen.in_batch, poison ? 6 : 8);
                assert_int_equal(seen.one_by_one, 2); /* the two chunks of an item */
                free(json);
            }
            free(expected);
        }
    }
}

static void what_a_batch_says_is_in_the_result(void **state) {
    (void)state;
    char *json = result_of(mixed_columns, 3, (struct bytes){NULL, 0});
    assert_non_null(strstr(json, "{\"results\":[0, null,null,[1],[2,2],null,null,4,5,6],\"errors\":[{\"index\":2,"));
    assert_non_null(strstr(json, "\"detail\":\"it fails in attempt 4\""));
    assert_non_null(strstr(json, "{\"pointer\":\"/columns/how/5\",\"detail\":\"must be one of"));
    assert_non_null(strstr(json, "{\"pointer\":\"/columns/value/6/x\",\"detail\":\"it is wrong\"}"));
    free(json);
    json = result_of(mixed_items, 3, (struct bytes){NULL, 0});
    assert_non_null(strstr(json, "{\"pointer\":\"/items/6/value/x\",\"detail\":\"it is wrong\"}"));
    free(json);
}

/* A null that is a result, and one that stands for a failure, are told apart by those who read a part or the result. */
static void a_null_that_is_a_result_is_no_failure(void **state) {
    (void)state;
    struct map m;
    struct item_cursor at = {0};
    struct item_entry entry;
    const char *json;
    begin(2, false);
    parse(&m, "\"columns\":{\"value\":[null,null],\"how\":[\"ok\",\"fail\"]}}");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    assert_int_equal(host_next_item(view(&m.parts[0]), &at, &entry, &json), 1);
    assert_true(entry.ok && entry.bare && entry.size == 4);
    assert_memory_equal(json, "null", 4);
    assert_int_equal(host_next_item(view(&m.parts[0]), &at, &entry, &json), 1);
    assert_true(!entry.ok && entry.bare && entry.index == 1 && json[0] == '{' && json[entry.size - 1] == '}');
    assert_int_equal(host_next_item(view(&m.parts[0]), &at, &entry, &json), 0);
    map_deinit(&m);
}

static void calls_that_the_handler_leaves_fail(void **state) {
    (void)state;
    struct map m;
    begin(3, true);
    parse(&m, "\"columns\":{\"value\":[1,2,3,4]}}");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    assert_int_equal(map_merge(&m), 0);
    assert_non_null(strstr(m.json.data, "\"results\":[null,null,null,4]"));
    assert_non_null(strstr(m.json.data, "did not finish this call of a batch"));
    map_deinit(&m);
}

/* Whoever reads the list of results relies on that. */
static void a_result_has_no_space_around_it(void **state) {
    (void)state;
    struct map m;
    begin(2, false);
    parse(&m, "\"columns\":{\"value\":[1,null,\"a\"],\"how\":\"space\"}}");
    map_plan(&m, 1);
    char *json = map_finish(&m);
    assert_string_equal(json, "{\"results\":[1, null,\"a\"],\"errors\":[]}");
    free(json);
    map_deinit(&m);
}

/* It is the loss of the whole group, so that all of it is tried again. */
static void a_call_that_is_lost_ends_the_group(void **state) {
    (void)state;
    for (unsigned window = 0; window < 5; window++) {
        struct map m;
        begin(window, false);
        parse(&m, "\"columns\":{\"value\":[1,2,3,4],\"how\":[\"ok\",\"fail\",\"lost\",\"ok\"]}}");
        map_plan(&m, 1);
        assert_int_equal(map_run(&m, 0, 0, NULL), HOST_LOST);
        assert_int_equal(m.fault.loss.cause, HOST_LOST_SIGNAL);
        assert_int_equal(m.fault.loss.signal, 9);
        assert_int_equal(m.fault.json.size, 0);
        map_deinit(&m);
    }
}

static void a_plan_that_is_lost_is_the_loss_of_the_whole_plan(void **state) {
    (void)state;
    static const char *const rests[] = {"\"columns\":{\"value\":[1,2],\"how\":[\"ok\",\"lost-plan\"]}}",
                                        "\"items\":[{\"value\":1},{\"value\":2,\"how\":\"lost-plan\"}]}"};
    begin(2, false);
    for (size_t i = 0; i < 2; i++) {
        struct map m;
        parse(&m, rests[i]);
        const struct submission *sub = &m.submission;
        int rc = host_plan_items(sub->type, sub->params.data, sub->params.size, 1, NULL, &m.plan, &m.fault);
        assert_int_equal(rc, HOST_LOST);
        assert_int_equal(m.fault.loss.cause, HOST_LOST_EXIT);
        assert_int_equal(m.fault.loss.exit_code, 3);
        assert_int_equal(m.fault.json.size, 0);
        map_deinit(&m);
    }
}

/* However many calls are under way at once. */
static void the_calls_of_a_group_share_what_there_is_for_tracebacks(void **state) {
    (void)state;
    struct buf rest = {0};
    char *expected = NULL;
    for (unsigned i = 0; i < 40; i++)
        buf_printf(&rest, "%s\"%01000u\"", i == 0 ? "\"columns\":{\"how\":\"raise\",\"value\":[" : ",", i);
    buf_puts(&rest, "]}}");
    for (unsigned window = 0; window <= BATCH_MAX; window = 5 * window + 1) {
        char *json = result_of(rest.data, window, (struct bytes){NULL, 0});
        expected = expected == NULL ? json : expected;
        assert_string_equal(json, expected);
        assert_non_null(strstr(json, "\"exception\":\"ValueError\""));
        assert_in_range(strlen(json), 20 * 1024, 40 * 1024);
        if (json != expected)
            free(json);
    }
    free(expected);
    buf_deinit(&rest);
}

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

struct observer {
    uint64_t done, total;
    bool half;
    unsigned asked, cancel_after; /* 0: never */
};

static void observe_progress(void *arg, uint64_t done, uint64_t total) {
    struct observer *o = arg;
    assert_true(done >= o->done && done <= total);
    o->half |= done % HOST_ITEM_STEPS == HOST_ITEM_STEPS / 2;
    o->done = done;
    o->total = total;
}

static bool observe_cancelled(void *arg) {
    struct observer *o = arg;
    return o->cancel_after > 0 && ++o->asked >= o->cancel_after;
}

/* The place at which a worker died is read from the progress. */
static void the_progress_is_at_the_first_item_under_way(void **state) {
    (void)state;
    for (unsigned window = 1; window <= BATCH_MAX; window *= 4) {
        struct observer o = {0};
        const struct host_hooks hooks = {.arg = &o, .progress = observe_progress};
        hooks_of_test = &hooks;
        free(result_of(mixed_columns, window, (struct bytes){NULL, 0}));
        hooks_of_test = NULL;
        assert_true(o.half);
        assert_in_range(o.done, 9 * HOST_ITEM_STEPS, 10 * HOST_ITEM_STEPS);
        assert_int_equal(o.total, 10 * HOST_ITEM_STEPS);
    }
}

static void a_batch_is_cancelled_between_its_calls_and_within_them(void **state) {
    (void)state;
    for (unsigned after = 1; after < 20; after++) {
        struct observer o = {.cancel_after = after};
        const struct host_hooks hooks = {.arg = &o, .cancelled = observe_cancelled};
        struct map m;
        begin(2, false);
        parse(&m, mixed_columns);
        map_plan(&m, 1);
        assert_int_equal(map_run(&m, 0, 0, &hooks), HOST_CANCELLED);
        assert_int_equal(m.fault.json.size, 0);
        map_deinit(&m);
    }
}

static int load_types(void **state) {
    (void)state;
    const struct host_type types[] = {{.handler = &one_by_one, .source = "test"},
                                      {.handler = &in_batches, .source = "test"}};
    struct buf error = {0};
    host_init(true);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(host_add(&types[i], &error), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_gives_what_the_items_give_one_by_one),
        cmocka_unit_test(what_a_batch_says_is_in_the_result),
        cmocka_unit_test(a_null_that_is_a_result_is_no_failure),
        cmocka_unit_test(calls_that_the_handler_leaves_fail),
        cmocka_unit_test(a_result_has_no_space_around_it),
        cmocka_unit_test(a_call_that_is_lost_ends_the_group),
        cmocka_unit_test(a_plan_that_is_lost_is_the_loss_of_the_whole_plan),
        cmocka_unit_test(the_calls_of_a_group_share_what_there_is_for_tracebacks),
        cmocka_unit_test(the_progress_is_at_the_first_item_under_way),
        cmocka_unit_test(a_batch_is_cancelled_between_its_calls_and_within_them),
    };
    return cmocka_run_group_tests(tests, load_types, NULL);
}
