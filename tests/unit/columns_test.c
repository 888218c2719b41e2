/* columns_test.c: maps by columns, from the submission to the merged result, without processes: handlers/host/columns.c
 * and items_*.c. What a call means is compared with the same call in a list of items. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "handlers/host/items_format.h"
#include "tests/unit/map.h"

/* ---- types whose parameters are kept as a whole ------------------------------------------------------------------ */

/* The result is the parameters. */
static int plan_whole(struct call *c, const struct params *p) {
    size_t size;
    const char *json = params_json(p, &size);
    return plan_chunk(c, json, size, 1000);
}

static int run_whole(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common;
    return part_write(c, chunk.data, chunk.size);
}

static int merge_whole(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)count;
    json_verbatim(c, parts[0].data, parts[0].size);
    return 0;
}

static const struct param_spec whole_specs[] = {
    {.name = "n", .kind = PARAM_INTEGER, .flags = PARAM_REQUIRED, .max = "1000", .help = "an integer"},
    {.name = "text", .kind = PARAM_TEXT, .help = "a text"},
    {.name = "json", .kind = PARAM_JSON, .flags = PARAM_OBJECT | PARAM_NUMBER, .help = "a value"},
    {.name = NULL}};
#define WHOLE_HANDLER                                                                                                  \
    .abi = HANDLER_ABI, .summary = "A test", .params = whole_specs, .plan = plan_whole, .run = run_whole,              \
    .merge = merge_whole
static const struct handler whole_type = {WHOLE_HANDLER, .name = "whole", .flags = HANDLER_WHOLE_PARAMS};
static const struct handler open_type = {WHOLE_HANDLER, .name = "open",
                                         .flags = HANDLER_WHOLE_PARAMS | HANDLER_OPEN_PARAMS};

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void columns_parse(struct map *m, const char *type, const char *columns) {
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"%s\",\"columns\":", type);
    buf_puts(&body, columns);
    buf_putc(&body, '}');
    map_parse_body(m, body.data);
    buf_deinit(&body);
}

/* The result as JSON; the caller frees. */
static char *columns_result(const char *type, const char *columns, unsigned chunks) {
    struct map m;
    columns_parse(&m, type, columns);
    map_plan(&m, chunks);
    char *json = map_finish(&m);
    map_deinit(&m);
    return json;
}

static void assert_result(const char *type, const char *columns, unsigned chunks, const char *expected) {
    char *json = columns_result(type, columns, chunks);
    assert_string_equal(json, expected);
    free(json);
}

/* "PLACE DETAIL" of all errors of a fault, one behind the other. The caller frees. */
static char *list_errors(const json_t *problem) {
    struct buf list = {0};
    const json_t *errors = json_object_get(problem, "errors");
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const json_t *error = json_array_get(errors, i);
        buf_printf(&list, "%s%s %s", i > 0 ? "; " : "", json_string_value(json_object_get(error, "pointer")),
                   json_string_value(json_object_get(error, "detail")));
    }
    buf_append(&list, "", 0);
    return buf_steal(&list, NULL);
}

static void assert_rejected(const char *body, const char *expected) {
    struct submission s;
    struct fault fault = {{0}};
    if (submission_parse(body, strlen(body), 64, 0, &s, &fault) != -1)
        fail_msg("%s is taken", body);
    json_t *problem = json_loads(fault.json.data, JSON_REJECT_DUPLICATES, NULL);
    char *errors = list_errors(problem);
    assert_string_equal(errors, expected);
    free(errors);
    json_decref(problem);
    submission_deinit(&s);
    fault_deinit(&fault);
}

/* The errors of one call of a map: "INDEX CODE PLACE DETAIL". */
static void assert_call_fails(const char *type, const char *columns, const char *expected) {
    struct buf found = {0};
    char *json = columns_result(type, columns, 1);
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    const json_t *list = json_object_get(root, "errors");
    assert_int_equal(json_array_size(list), 1);
    const json_t *one = json_array_get(list, 0), *problem = json_object_get(one, "error");
    json_int_t index = json_integer_value(json_object_get(one, "index"));
    assert_true(json_is_null(json_array_get(json_object_get(root, "results"), (size_t)index)));
    char *errors = list_errors(problem);
    buf_printf(&found, "%lld %s %s", (long long)index, json_string_value(json_object_get(problem, "code")), errors);
    assert_string_equal(found.data, expected);
    buf_deinit(&found);
    free(errors);
    json_decref(root);
    free(json);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void call_i_has_the_value_i_of_each_list_and_the_scalars(void **state) {
    (void)state;
    assert_result("primes", "{\"start\":0,\"stop\":[100,10,20]}", 0,
                  "{\"results\":[{\"count\":25},{\"count\":4},{\"count\":8}],\"errors\":[]}");
    assert_result("primes", " { \"op\" : \"list\" , \"stop\" : [ 5 ,\n10 ] , \"\\u0073tart\" : [ 0 , 6 ] } ", 0,
                  "{\"results\":[{\"count\":2,\"primes\":[2,3]},{\"count\":1,\"primes\":[7]}],\"errors\":[]}");
    assert_result("sum", "{\"start\":[0,\"1\",-2],\"stop\":1e1,\"step\":[1,1,\"2\"]}", 0,
                  "{\"results\":[{\"sum\":\"45\",\"count\":10},{\"sum\":\"45\",\"count\":9},"
                  "{\"sum\":\"18\",\"count\":6}],\"errors\":[]}");
}

static void a_parameter_that_is_an_array_is_an_element(void **state) {
    (void)state;
    assert_result("primes", "{\"numbers\":[[7,8],[\"9\"],[]]}", 0,
                  "{\"results\":[{\"is_prime\":[true,false],\"count\":1,\"certainty\":\"proven\"},"
                  "{\"is_prime\":[false],\"count\":0,\"certainty\":\"proven\"},"
                  "{\"is_prime\":[],\"count\":0,\"certainty\":\"proven\"}],\"errors\":[]}");
    assert_result("echo", "{\"value\":[[1,[]],[],\"]\",{\"x\":[\"}\"]}]}", 0,
                  "{\"results\":[{\"value\":[1,[]]},{\"value\":[]},{\"value\":\"]\"},{\"value\":{\"x\":[\"}\"]}}],"
                  "\"errors\":[]}");
}

static void a_type_can_keep_its_parameters_as_a_whole(void **state) {
    (void)state;
    assert_result("whole", "{\"n\":[1,\"2\",3e0], \"json\": {\"a\" : [1]}}", 0,
                  "{\"results\":[{\"n\":1,\"json\":{\"a\":[1]}},{\"n\":2,\"json\":{\"a\":[1]}},"
                  "{\"n\":3,\"json\":{\"a\":[1]}}],\"errors\":[]}");
    assert_result("open", "{\"n\":1,\"more\":[[1], 2 ],\"\\u0061\":true}", 0,
                  "{\"results\":[{\"n\":1,\"more\":[1],\"a\":true},{\"n\":1,\"more\":2,\"a\":true}],\"errors\":[]}");
    assert_call_fails("open", "{\"n\":[1,1001],\"more\":[1,1]}", "1 invalid_params /columns/n/1 must be at most 1000");
    assert_rejected("{\"type\":\"whole\",\"columns\":{\"n\":[1],\"more\":[1]}}",
                    "/columns/more \"more\" is not a parameter of whole; it has n, text, json");
    assert_rejected("{\"type\":\"open\",\"columns\":{\"more\":[1]}}", "/columns n is required");
}

static void no_calls_make_empty_lists(void **state) {
    (void)state;
    assert_result("primes", "{\"start\":0,\"stop\":[]}", 0, "{\"results\":[],\"errors\":[]}");
    assert_result("primes", "{\"start\":[],\"stop\":[ ]}", 9, "{\"results\":[],\"errors\":[]}");
}

static void the_result_is_the_same_however_it_is_divided(void **state) {
    (void)state;
    struct buf columns = {0};
    for (unsigned i = 0; i < 1000; i++)
        buf_printf(&columns, "%s%s", i == 0 ? "{\"start\":0,\"stop\":[" : ",", i % 100 == 7 ? "null" : "10");
    buf_puts(&columns, "]}");
    char *whole = columns_result("primes", columns.data, 1);
    for (unsigned chunks = 0; chunks < 1200; chunks = 3 * chunks + 1) {
        char *json = columns_result("primes", columns.data, chunks);
        assert_string_equal(json, whole);
        free(json);
    }
    free(whole);
    buf_deinit(&columns);
}

/* ---- faults of the columns --------------------------------------------------------------------------------------- */

static void what_is_wrong_with_the_columns_is_the_fault_of_the_submission(void **state) {
    (void)state;
    static const struct {
        const char *columns, *expected;
    } cases[] = {
        {"7", "/columns must be an object of lists, not an integer"},
        {"[]", "/columns must be an object of lists, not an array"},
        {"{}", "/columns needs start, stop; or numbers; or nth; "
               "/columns needs a list: with none there is one call, for which there is params"},
        {"{\"nth\":5}", "/columns needs a list: with none there is one call, for which there is params"},
        {"{\"start\":0,\"stop\":[1],\"stap\":[1]}",
         "/columns/stap \"stap\" is not a parameter of primes; it has start, stop, op, numbers, nth"},
        {"{\"start\":[0,1]}", "/columns stop is required"},
        {"{\"start\":[0],\"stop\":[1],\"nth\":[1]}", "/columns/nth cannot be combined with start, stop"},
        {"{\"start\":true,\"stop\":[1]}", "/columns/start must be an integer, not a boolean"},
        {"{\"start\":[0,1],\"stop\":[1]}", "/columns/stop is a list of 1, but \"start\" is one of 2; all lists must "
                                           "have one length"},
        {"{\"start\":[0,1],\"op\":[],\"stop\":[1,2]}",
         "/columns/op is a list of 0, but \"stop\" is one of 2; all lists must have one length"},
        {"{\"op\":[\"sum\"],\"start\":[0,1],\"stop\":[1,2]}",
         "/columns/op is a list of 1, but \"stop\" is one of 2; all lists must have one length"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf body = {0};
        buf_printf(&body, "{\"type\":\"primes\",\"columns\":%s}", cases[i].columns);
        assert_rejected(body.data, cases[i].expected);
        buf_deinit(&body);
    }
}

static void params_items_and_columns_exclude_one_another(void **state) {
    (void)state;
    assert_rejected("{\"type\":\"primes\",\"params\":{\"nth\":1},\"columns\":{\"nth\":[1]}}",
                    "/columns cannot be combined with params: a job has one or the other");
    assert_rejected("{\"columns\":{\"nth\":[1]},\"type\":\"primes\",\"items\":[]}",
                    "/columns cannot be combined with items: a job has one or the other");
    assert_rejected("{\"columns\":{\"nth\":[1]},\"type\":\"primes\",\"items\":[],\"params\":{}}",
                    "/items cannot be combined with params: a job has one or the other");
    assert_rejected("{\"columns\":{\"nth\":[1]},\"type\":\"primes\",\"options\":{\"chunks\":-1}}",
                    "/options/chunks must be from 0 to 4096");
}

static void too_many_calls_are_rejected(void **state) {
    (void)state;
    struct buf body = {0};
    buf_puts(&body, "{\"type\":\"primes\",\"columns\":{\"nth\":[1");
    for (unsigned i = 0; i < HOST_MAX_ITEMS; i++)
        buf_puts(&body, ",1");
    buf_puts(&body, "]}}");
    assert_rejected(body.data, "/columns makes 1000001 calls; a job has at most 1000000");
    buf_deinit(&body);
}

/* ---- bad values -------------------------------------------------------------------------------------------------- */

static void a_bad_value_fails_its_call_alone_and_its_pointer_has_the_index_last(void **state) {
    (void)state;
    assert_call_fails("primes", "{\"start\":0,\"stop\":[1,true]}",
                      "1 invalid_params /columns/stop/1 must be an integer, not a boolean");
    assert_call_fails("primes", "{\"start\":0,\"stop\":[1,2],\"op\":[\"add\",\"sum\"]}",
                      "0 invalid_params /columns/op/0 must be one of \"count\", \"list\", \"sum\", \"twins\"");
    assert_call_fails("primes", "{\"start\":[0,null,0],\"stop\":[1,1.5,2]}",
                      "1 invalid_params /columns/start/1 must be an integer, not null; "
                      "/columns/stop/1 must be an integer, without a fraction");
    assert_call_fails("primes", "{\"numbers\":[[1],[1,2,\"x\"]]}",
                      "1 invalid_params /columns/numbers/1/2 must be an integer: as a string, decimal digits only");
    assert_call_fails("primes", "{\"numbers\":[[1],7]}",
                      "1 invalid_params /columns/numbers/1 must be an array of numbers, not an integer");
    assert_call_fails("primes", "{\"start\":0,\"\\u0073top\":[1,true]}",
                      "1 invalid_params /columns/stop/1 must be an integer, not a boolean");
    /* These are found by the plan of the handler. */
    assert_call_fails("embeddings", "{\"input\":[\"a\",[\"a\",\"\"]]}", "1 invalid_params /columns/input/1/1 is empty");
}

/* A scalar is the same for all calls, so its pointer has no index. */
static void a_handler_that_rejects_a_scalar_names_its_column(void **state) {
    (void)state;
    struct map m;
    columns_parse(&m, "primes", "{\"start\":[0,1],\"stop\":99999999999999,\"op\":\"list\"}");
    map_plan(&m, 1);
    char *json = map_finish(&m);
    assert_non_null(strstr(json, "{\"results\":[null,null],\"errors\":[{\"index\":0,"));
    assert_non_null(strstr(json, "\"pointer\":\"/columns/stop\","));
    assert_null(strstr(json, "/columns/stop/"));
    free(json);
    map_deinit(&m);
}

static void many_bad_values_stay_small(void **state) {
    (void)state;
    struct buf columns = {0};
    struct map m;
    enum { COUNT = 20000 };
    for (unsigned i = 0; i < COUNT; i++)
        buf_puts(&columns, i == 0 ? "{\"start\":0,\"stop\":[true" : ",true");
    buf_puts(&columns, "]}");
    columns_parse(&m, "primes", columns.data);
    map_plan(&m, 0);
    assert_true(m.plan.bytes.size < COUNT * 80);
    map_deinit(&m);
    buf_deinit(&columns);
}

/* ---- the same as items ------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned draw(unsigned below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % below;
}

static const char *draw_value(void) {
    static const char *const values[] = {"0",
                                         "7",
                                         "100",
                                         "-3",
                                         "-0",
                                         "1e1",
                                         "10.0",
                                         "0.5",
                                         "\"12\"",
                                         "\"x\"",
                                         "\"\"",
                                         "\"count\"",
                                         "true",
                                         "false",
                                         "null",
                                         "[]",
                                         "[1,2]",
                                         "[\"a\"]",
                                         "[0.5]",
                                         "{}",
                                         "5 ",
                                         " 5",
                                         "\"sum\"",
                                         "\"\\u0073um\"",
                                         "[[1]]",
                                         "99999999",
                                         "1e400",
                                         "\"a\\n\"",
                                         "123456789012345678901234567890",
                                         "{\"a\":[1,{}]}",
                                         "\"abc\"",
                                         "\"closed_form\"",
                                         "\"list\"",
                                         "3"};
    return values[draw(sizeof values / sizeof *values)];
}

struct pair {
    struct buf columns, items; /* bodies */
};

/* Makes the same calls in both ways. */
static void draw_pair(const char *type, const char *const *names, struct pair *p) {
    enum { MAX = 6 };
    const char *values[MAX][MAX];
    bool lists[MAX];
    unsigned count = 0, calls = draw(MAX);
    buf_printf(&p->columns, "{\"type\":\"%s\",\"columns\":{", type);
    buf_printf(&p->items, "{\"type\":\"%s\",\"items\":[", type);
    const char *used[MAX];
    for (unsigned i = 0; names[i] != NULL && count < MAX; i++)
        if (draw(3) > 0)
            used[count++] = names[i];
    for (unsigned c = 0; c < count; c++) {
        lists[c] = draw(3) > 0 || c == 0;
        const char *same = draw_value();
        lists[c] = lists[c] || same[0] == '[' || same[1] == '[';
        for (unsigned i = 0; i < calls; i++)
            values[c][i] = lists[c] ? (draw(4) > 0 && i > 0 ? values[c][i - 1] : draw_value()) : same;
        buf_printf(&p->columns, "%s\"%s\":", c > 0 ? "," : "", used[c]);
        if (!lists[c]) {
            buf_puts(&p->columns, same);
            continue;
        }
        buf_putc(&p->columns, '[');
        for (unsigned i = 0; i < calls; i++)
            buf_printf(&p->columns, "%s%s", i > 0 ? "," : "", values[c][i]);
        buf_putc(&p->columns, ']');
    }
    for (unsigned i = 0; i < calls; i++) {
        buf_puts(&p->items, i > 0 ? ",{" : "{");
        for (unsigned c = 0; c < count; c++)
            buf_printf(&p->items, "%s\"%s\":%s", c > 0 ? "," : "", used[c], values[c][i]);
        buf_putc(&p->items, '}');
    }
    buf_puts(&p->columns, "}}");
    buf_puts(&p->items, "]}");
}

/* The pointer of an item as that of a call by columns: /items/3/stop/1 is /columns/stop/3/1, or /columns/stop/1. */
static bool is_same_place(const char *item, const char *column) {
    char name[64] = "", index[16] = "", rest[64] = "", with[200], without[200];
    if (sscanf(item, "/items/%15[0-9]/%63[^/]%63s", index, name, rest) < 2)
        return strcmp(column, "/columns") == 0;
    snprintf(with, sizeof with, "/columns/%s/%s%s", name, index, rest);
    snprintf(without, sizeof without, "/columns/%s%s", name, rest);
    return strcmp(column, with) == 0 || strcmp(column, without) == 0;
}

static void assert_same_problem(const json_t *item, const json_t *column) {
    const json_t *x = json_object_get(item, "errors"), *y = json_object_get(column, "errors");
    assert_true(json_equal(json_object_get(item, "code"), json_object_get(column, "code")));
    assert_int_equal(json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x); i++) {
        const json_t *a = json_array_get(x, i), *b = json_array_get(y, i);
        assert_true(is_same_place(json_string_value(json_object_get(a, "pointer")),
                                  json_string_value(json_object_get(b, "pointer"))));
        assert_true(json_equal(json_object_get(a, "detail"), json_object_get(b, "detail")));
    }
}

static void assert_same_plan(const struct map *items, const struct map *columns) {
    const struct buf *x = &items->plan.bytes, *y = &columns->plan.bytes;
    size_t at = 0;
    for (size_t other = 0; at < x->size;) {
        struct planned_item a, b;
        memcpy(&a, x->data + at, sizeof a);
        memcpy(&b, y->data + other, sizeof b);
        assert_int_equal(a.index, b.index);
        assert_int_equal(a.chunks, b.chunks);
        assert_int_equal(b.by_columns, 1);
        if (a.chunks > 0) {
            assert_int_equal(a.size, b.size);
            assert_memory_equal(x->data + at + sizeof a, y->data + other + sizeof b, a.size);
        }
        at += sizeof a + ITEMS_PAD(a.size);
        other += sizeof b + ITEMS_PAD(b.size);
    }
}

static void assert_same_results(struct map *items, struct map *columns) {
    char *x = map_finish(items), *y = map_finish(columns);
    json_t *a = json_loads(x, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_t *b = json_loads(y, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const json_t *list = json_object_get(a, "items"), *results = json_object_get(b, "results");
    const json_t *errors = json_object_get(b, "errors");
    size_t failed = 0;
    assert_int_equal(json_array_size(list), json_array_size(results));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *result = json_object_get(item, "result");
        if (result != NULL) {
            assert_true(json_equal(result, json_array_get(results, i)));
            continue;
        }
        const json_t *error = json_array_get(errors, failed++);
        assert_int_equal(json_integer_value(json_object_get(error, "index")), i);
        assert_true(json_is_null(json_array_get(results, i)));
        assert_same_problem(json_object_get(item, "error"), json_object_get(error, "error"));
    }
    assert_int_equal(json_array_size(errors), failed);
    json_decref(a);
    json_decref(b);
    free(x);
    free(y);
}

/* What is the fault of the columns is the fault of each item. */
static void assert_all_fail(struct map *items, const char *body) {
    char *json = map_finish(items);
    if (strstr(json, "\"status\":\"succeeded\"") != NULL)
        fail_msg("%s is rejected, but %s", body, json);
    free(json);
}

static bool assert_same(const struct pair *p) {
    struct map items, columns = {0};
    map_parse_body(&items, p->items.data);
    map_plan(&items, 2);
    bool taken = submission_parse(p->columns.data, p->columns.size, 64, 0, &columns.submission, &columns.fault) == 0;
    if (taken) {
        map_plan(&columns, 2);
        assert_same_plan(&items, &columns);
        assert_same_results(&items, &columns);
    } else {
        assert_all_fail(&items, p->columns.data);
    }
    map_deinit(&items);
    map_deinit(&columns);
    return taken;
}

static void calls_mean_the_same_as_in_a_list_of_items(void **state) {
    (void)state;
    static const char *const primes[] = {"start", "stop", "op", NULL}, *const numbers[] = {"numbers", NULL};
    static const char *const sum[] = {"start", "stop", "step", "power", "method", NULL};
    static const char *const embeddings[] = {"input", "dimensions", "truncate", "normalize", NULL};
    static const char *const echo[] = {"value", NULL}, *const all[] = {"n", "text", "more", "json", NULL};
    static const struct {
        const char *type;
        const char *const *names;
    } cases[] = {{"primes", primes}, {"primes", numbers}, {"sum", sum},   {"embeddings", embeddings},
                 {"echo", echo},     {"sum", numbers},    {"whole", all}, {"open", all}};
    unsigned taken = 0;
    random_state = 88172645463325252;
    for (unsigned round = 0; round < 4000; round++) {
        struct pair p = {{0}, {0}};
        unsigned i = round % (sizeof cases / sizeof *cases);
        draw_pair(cases[i].type, cases[i].names, &p);
        taken += assert_same(&p);
        buf_deinit(&p.columns);
        buf_deinit(&p.items);
    }
    assert_true(taken > 800);
}

/* ---- bytes from a process that is out of control ----------------------------------------------------------------- */

static void damaged_columns_do_no_harm(void **state) {
    (void)state;
    static const char *const columns[] = {"{\"start\":0,\"stop\":[10,5,\"x\",\"7\"]}", "{\"nth\":[ 1,2 ]}",
                                          "{\"numbers\":[[1],[2,3]]}"};
    for (size_t c = 0; c < 3; c++) {
        struct map m;
        columns_parse(&m, "primes", columns[c]);
        size_t size = m.submission.params.size;
        unsigned char *bytes = malloc(size); /* so that a read beyond the end is seen */
        memcpy(bytes, m.submission.params.data, size);
        for (size_t i = 0; i < 8 * size; i++) {
            struct host_plan plan;
            struct fault fault = {{0}};
            bytes[i / 8] ^= (unsigned char)(1u << i % 8);
            int rc = host_plan_items(m.submission.type, bytes, size, 0, NULL, &plan, &fault);
            assert_int_equal(rc == 0, fault.json.size == 0);
            host_plan_deinit(&plan);
            fault_deinit(&fault);
            bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        }
        free(bytes);
        map_deinit(&m);
    }
}

static void columns_that_are_cut_are_damaged(void **state) {
    (void)state;
    struct map m;
    columns_parse(&m, "primes", "{\"start\":0,\"stop\":[10,5,\"x\",\"7\"]}");
    for (size_t size = 0; size < m.submission.params.size - 1; size++) { /* the bracket at the end is not needed */
        struct host_plan plan;
        struct fault fault = {{0}};
        char *bytes = malloc(size + 1);
        memcpy(bytes, m.submission.params.data, size);
        if (size >= sizeof(struct items_head))
            memcpy(bytes + 8, &(uint64_t){size}, sizeof(uint64_t));
        assert_int_equal(host_plan_items(m.submission.type, bytes, size, 0, NULL, &plan, &fault), -1);
        assert_non_null(strstr(fault.json.data, "handler_failed"));
        host_plan_deinit(&plan);
        fault_deinit(&fault);
        free(bytes);
    }
    map_deinit(&m);
}

static void damaged_groups_do_no_harm(void **state) {
    (void)state;
    struct map m;
    columns_parse(&m, "echo", "{\"value\":[0,\"abc\",1e999]}");
    map_plan(&m, 1);
    for (size_t i = 0; i < 8 * m.plan.bytes.size; i++) {
        m.plan.bytes.data[i / 8] ^= (char)(1u << i % 8);
        int rc = map_run(&m, 0, 0, NULL);
        assert_int_equal(rc == 0, m.fault.json.size == 0);
        fault_deinit(&m.fault);
        m.plan.bytes.data[i / 8] ^= (char)(1u << i % 8);
    }
    map_deinit(&m);
}

/* A part that is read has all its entries within it. */
static void damaged_parts_do_no_harm(void **state) {
    (void)state;
    struct map m;
    columns_parse(&m, "primes", "{\"start\":0,\"stop\":[10,true,20,null]}");
    map_plan(&m, 1);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    size_t size = m.parts[0].size;
    assert_int_equal(host_count_items(view(&m.parts[0]), 4), 4);
    assert_int_equal(host_count_items(view(&m.parts[0]), 3), -1);
    for (size_t i = 0; i < 8 * size; i++) {
        struct item_entry entry;
        struct item_cursor at = {0};
        const char *json;
        int got;
        char *bytes = malloc(size);
        memcpy(bytes, m.parts[0].data, size);
        bytes[i / 8] ^= (char)(1u << i % 8);
        while ((got = host_next_item((struct bytes){bytes, size}, &at, &entry, &json)) == 1)
            assert_true(json >= bytes && entry.size > 0 && json + entry.size <= bytes + size);
        assert_in_range(got + 1, 0, 1);
        free(bytes);
        m.parts[0].data[i / 8] ^= (char)(1u << i % 8);
        buf_clear(&m.json);
        (void)!map_merge(&m);
        fault_deinit(&m.fault);
        m.parts[0].data[i / 8] ^= (char)(1u << i % 8);
    }
    for (size_t cut = 1; cut < size; cut++)
        assert_int_equal(host_count_items((struct bytes){m.parts[0].data, cut}, 4), -1);
    map_deinit(&m);
}

static void parts_that_are_missing_or_of_another_map_fail_the_merge(void **state) {
    (void)state;
    struct map m, items;
    columns_parse(&m, "primes", "{\"start\":0,\"stop\":[10,20]}");
    map_plan(&m, 2);
    assert_int_equal(map_run(&m, 0, 0, NULL), 0);
    assert_int_equal(map_merge(&m), -1); /* the second part is empty */
    buf_clear(&m.json);
    assert_int_equal(map_run(&m, 1, 0, NULL), 0);
    assert_int_equal(map_merge(&m), 0);
    struct buf part = m.parts[0];
    m.parts[0] = m.parts[1];
    m.parts[1] = part;
    buf_clear(&m.json);
    assert_int_equal(map_merge(&m), -1); /* the order */
    map_parse_body(&items, "{\"type\":\"primes\",\"items\":[{\"start\":0,\"stop\":10},{\"start\":0,\"stop\":20}]}");
    map_plan(&items, 2);
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&m.parts[i]);
        assert_int_equal(host_run_items(items.submission.type, 0, view(&items.plan.common), group_of(&items, i), NULL,
                                        &m.parts[i], &items.fault),
                         0);
    }
    buf_clear(&m.json);
    assert_int_equal(map_merge(&m), -1); /* parts of items */
    map_deinit(&items);
    map_deinit(&m);
}

static int load_types(void **state) {
    (void)state;
    const struct host_type types[] = {{.handler = &whole_type, .source = "test"},
                                      {.handler = &open_type, .source = "test"}};
    struct buf error = {0};
    job_init();
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(host_add(&types[i], &error), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_i_has_the_value_i_of_each_list_and_the_scalars),
        cmocka_unit_test(a_parameter_that_is_an_array_is_an_element),
        cmocka_unit_test(a_type_can_keep_its_parameters_as_a_whole),
        cmocka_unit_test(no_calls_make_empty_lists),
        cmocka_unit_test(the_result_is_the_same_however_it_is_divided),
        cmocka_unit_test(what_is_wrong_with_the_columns_is_the_fault_of_the_submission),
        cmocka_unit_test(params_items_and_columns_exclude_one_another),
        cmocka_unit_test(too_many_calls_are_rejected),
        cmocka_unit_test(a_bad_value_fails_its_call_alone_and_its_pointer_has_the_index_last),
        cmocka_unit_test(a_handler_that_rejects_a_scalar_names_its_column),
        cmocka_unit_test(many_bad_values_stay_small),
        cmocka_unit_test(calls_mean_the_same_as_in_a_list_of_items),
        cmocka_unit_test(damaged_columns_do_no_harm),
        cmocka_unit_test(columns_that_are_cut_are_damaged),
        cmocka_unit_test(damaged_groups_do_no_harm),
        cmocka_unit_test(damaged_parts_do_no_harm),
        cmocka_unit_test(parts_that_are_missing_or_of_another_map_fail_the_merge),
    };
    return cmocka_run_group_tests(tests, load_types, NULL);
}
