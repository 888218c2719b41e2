/* options_test.c: the options of a submission between processes, in a Job, and in openapi.yaml: handlers/host/options.c
 * and raw.c. How they are parsed is in submission_test.c, how they are stored in store_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/api/assets.h"
#include "tests/unit/toy_types.h"

static const uint8_t hash[32] = "the hash of some request: 32 byt";

/* All options, none of them at its default. */
#define EVERY_OPTION                                                                                                   \
    "\"options\":{\"priority\":7,\"timeout_ms\":1,\"queue_timeout_ms\":2,\"max_attempts\":4,\"ttl_s\":5,"              \
    "\"chunks\":6,\"delay_ms\":8,\"isolation\":\"fresh\",\"webhook\":\"https://example.org/h\"}"

static void assert_same_options(const struct submission_options *a, const struct submission_options *b) {
    for (const struct option_spec *spec = option_specs; spec->name != NULL; spec++) {
        if (spec->kind != OPTION_STRING)
            assert_int_equal(option_number(a, spec), option_number(b, spec));
        else if (option_string(a, spec) == NULL)
            assert_null(option_string(b, spec));
        else
            assert_string_equal(option_string(a, spec), option_string(b, spec));
    }
}

static struct submission parse(const char *body) {
    struct submission s;
    struct fault fault = {0};
    assert_int_equal(submission_parse(body, strlen(body), 64, 0, &s, &fault), 0);
    return s;
}

static bool reads(const struct buf *bytes) {
    struct submission s;
    bool good = host_read_submission((struct bytes){bytes->data, bytes->size}, &s, NULL);
    if (good)
        submission_deinit(&s);
    return good;
}

/* ---- between processes ------------------------------------------------------------------------------------------- */

static void assert_travels(const char *body) {
    struct submission s = parse(body), read;
    struct buf bytes = {0};
    uint8_t read_hash[32];
    host_write_submission(&s, hash, &bytes);
    assert_int_equal(bytes.size % 8, 0);
    assert_true(host_read_submission((struct bytes){bytes.data, bytes.size}, &read, read_hash));
    assert_memory_equal(read_hash, hash, sizeof hash);
    assert_int_equal(read.type, s.type);
    assert_int_equal(read.map, s.map);
    assert_int_equal(read.items, s.items);
    assert_same_options(&read.options, &s.options);
    submission_deinit(&read);
    submission_deinit(&s);
    buf_deinit(&bytes);
}

static void a_submission_arrives_as_it_was_sent(void **state) {
    (void)state;
    assert_travels("{\"type\":\"plain\"}");
    assert_travels("{\"type\":\"plain\"," EVERY_OPTION "}");
    assert_travels("{\"type\":\"plain\",\"items\":[{},{}]," EVERY_OPTION "}");
}

static void the_longest_submission_is_within_its_limit(void **state) {
    (void)state;
    struct submission s = {.type = TOY_PLAIN};
    struct buf bytes = {0}, text = {0};
    options_init(&s.options);
    for (const struct option_spec *spec = option_specs; spec->name != NULL; spec++) {
        buf_clear(&text);
        while (spec->kind == OPTION_STRING && (int64_t)text.size < spec->max)
            buf_putc(&text, 'w');
        if (spec->kind == OPTION_STRING)
            assert_true(option_set_string(&s.options, spec, text.data));
    }
    host_write_submission(&s, hash, &bytes);
    assert_true(bytes.size <= HOST_MAX_SUBMISSION);
    assert_true(reads(&bytes));
    submission_deinit(&s);
    buf_deinit(&bytes);
    buf_deinit(&text);
}

static void each_field_has_room_for_the_values_of_its_row(void **state) {
    (void)state;
    struct submission_options o;
    options_init(&o);
    for (const struct option_spec *spec = option_specs; spec->name != NULL; spec++) {
        if (spec->kind == OPTION_STRING)
            continue;
        int64_t values[] = {OPTION_UNSET, option_clamp(spec, INT64_MIN), option_clamp(spec, INT64_MAX)};
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            option_set_number(&o, spec, values[i]);
            assert_int_equal(option_number(&o, spec), values[i]);
        }
    }
    options_deinit(&o);
}

static void a_submission_of_another_size_is_rejected(void **state) {
    (void)state;
    struct submission s = parse("{\"type\":\"plain\"," EVERY_OPTION "}");
    struct buf bytes = {0};
    host_write_submission(&s, hash, &bytes);
    size_t whole = bytes.size;
    for (bytes.size = 0; bytes.size < whole; bytes.size++)
        assert_false(reads(&bytes));
    buf_append(&bytes, &(int64_t){0}, 8);
    assert_false(reads(&bytes));
    submission_deinit(&s);
    buf_deinit(&bytes);
}

/* Any byte can be wrong. That must do no harm, and what is read must be within its bounds. */
static void any_byte_of_a_submission_can_be_wrong(void **state) {
    (void)state;
    struct submission s = parse("{\"type\":\"plain\",\"items\":[]," EVERY_OPTION "}"), read;
    struct buf bytes = {0};
    host_write_submission(&s, hash, &bytes);
    for (size_t i = 0; i < bytes.size * 4; i++) {
        static const char values[] = {0, 1, 2, (char)255};
        char before = bytes.data[i / 4];
        bytes.data[i / 4] = values[i % 4];
        if (host_read_submission((struct bytes){bytes.data, bytes.size}, &read, NULL)) {
            assert_true(read.type < TOY_TYPES && read.items <= HOST_MAX_ITEMS);
            assert_in_range(read.options.priority + 1, 0, OPTIONS_MAX_PRIORITY + 1);
            assert_in_range(read.options.max_attempts, 1, 100);
            assert_in_range(read.options.isolated, 0, 1);
            submission_deinit(&read);
        }
        bytes.data[i / 4] = before;
    }
    assert_true(reads(&bytes));
    submission_deinit(&s);
    buf_deinit(&bytes);
}

static void a_raw_body_is_parsed_for_its_plan_and_for_the_front_end(void **state) {
    (void)state;
    static const char body[] = "{\"type\":\"plain\",\"items\":[{}],\"options\":{\"chunks\":9,\"priority\":2}}";
    struct host_parsed p;
    struct fault fault = {0};
    struct submission s;
    uint8_t wanted[32], found[32];
    struct bytes bytes = {body, sizeof body - 1};
    assert_int_equal(host_request_hash(body, sizeof body - 1, 64, wanted, &fault), 0);
    assert_int_equal(host_parse_raw(bytes, 64, true, NULL, &p, &fault), 0);
    assert_int_equal(p.type, TOY_PLAIN);
    assert_true(p.map);
    assert_false(p.isolated);
    assert_int_equal(p.wanted_chunks, 9);
    assert_true(p.params.size > 0);
    assert_true(host_read_submission((struct bytes){p.submission.data, p.submission.size}, &s, found));
    assert_memory_equal(found, wanted, sizeof wanted);
    assert_int_equal(s.options.priority, 2);
    submission_deinit(&s);
    host_parsed_deinit(&p);
}

static void a_job_that_needs_an_isolated_worker_is_marked(void **state) {
    (void)state;
    static const char body[] = "{\"type\":\"plain\",\"options\":{\"isolation\":\"fresh\"}}",
                      plain[] = "{\"type\":\"plain\"}";
    struct host_parsed p;
    struct fault fault = {0};
    assert_int_equal(host_parse_raw((struct bytes){body, sizeof body - 1}, 64, false, NULL, &p, &fault), 0);
    assert_true(p.isolated);
    host_parsed_deinit(&p);
    toy_plain.flags |= HANDLER_SPAWN;
    assert_int_equal(host_parse_raw((struct bytes){plain, sizeof plain - 1}, 64, false, NULL, &p, &fault), 0);
    assert_true(p.isolated);
    host_parsed_deinit(&p);
    toy_plain.flags &= ~(unsigned)HANDLER_SPAWN;
}

static bool is_cancelled(void *arg) {
    ++*(unsigned *)arg;
    return true;
}

static void a_raw_body_that_is_cancelled_gives_neither_a_submission_nor_a_fault(void **state) {
    (void)state;
    static const char body[] = "{\"type\":\"plain\"}";
    for (int want_hash = 0; want_hash < 2; want_hash++) {
        unsigned asked = 0;
        struct host_hooks hooks = {.arg = &asked, .cancelled = is_cancelled};
        struct host_parsed p;
        struct fault fault = {0};
        struct bytes bytes = {body, sizeof body - 1};
        assert_int_equal(host_parse_raw(bytes, 64, want_hash, &hooks, &p, &fault), HOST_CANCELLED);
        assert_int_equal(p.submission.size, 0);
        assert_int_equal(p.params.size, 0);
        assert_int_equal(fault.json.size, 0);
        assert_true(asked > 0);
        host_parsed_deinit(&p);
    }
}

static void a_bad_raw_body_is_a_fault(void **state) {
    (void)state;
    struct host_parsed p;
    struct fault fault = {0};
    assert_int_equal(host_parse_raw((struct bytes){"{\"type\":7}", 10}, 64, true, NULL, &p, &fault), -1);
    assert_non_null(strstr(fault.json.data, "/type"));
    host_parsed_deinit(&p);
    fault_deinit(&fault);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static void copies_have_texts_of_their_own(void **state) {
    (void)state;
    struct submission s = parse("{\"type\":\"plain\"," EVERY_OPTION "}");
    struct submission_options copy = {0};
    for (int i = 0; i < 2; i++) { /* what it had is freed */
        assert_true(options_copy(&copy, &s.options));
        assert_same_options(&copy, &s.options);
        assert_ptr_not_equal(copy.webhook, s.options.webhook);
    }
    submission_deinit(&s);
    assert_string_equal(copy.webhook, "https://example.org/h");
    options_deinit(&copy);
    assert_null(copy.webhook);
}

static void texts_can_be_placed_elsewhere(void **state) {
    (void)state;
    struct submission s = parse("{\"type\":\"plain\"," EVERY_OPTION "}");
    struct submission_options copy = s.options;
    char room[64];
    size_t size = options_text_size(&s.options);
    assert_int_equal(size, sizeof "https://example.org/h");
    assert_ptr_equal(options_place_texts(&copy, room), room + size);
    assert_ptr_equal(copy.webhook, room);
    assert_same_options(&copy, &s.options);
    submission_deinit(&s);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void a_job_shows_its_priority(void **state) {
    (void)state;
    struct submission s = parse("{\"type\":\"plain\"," EVERY_OPTION "}");
    struct buf out = {0};
    options_render(&s.options, &out);
    assert_string_equal(out.data, ",\"priority\":7");
    submission_deinit(&s);
    buf_deinit(&out);
}

/* {"$ref": "#/components/schemas/NAME", more...} as one schema: the members beside a $ref are added to it. */
static void follow_ref(const json_t *document, json_t *schema) {
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref == NULL)
        return;
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    json_object_update_missing(schema, json_object_get(schemas, strrchr(ref, '/') + 1));
    json_object_del(schema, "$ref");
}

/* Makes the schema comparable with the other one, in which bounds beside an anyOf belong to its integer. */
static void move_bounds(json_t *schema) {
    static const char *const bounds[] = {"minimum", "maximum"};
    json_t *anyof = json_deep_copy(json_object_get(schema, "anyOf"));
    for (size_t i = 0; anyof != NULL && i < 2; i++) {
        json_t *bound = json_object_get(schema, bounds[i]);
        if (bound != NULL)
            json_object_set(json_array_get(anyof, 0), bounds[i], bound);
        json_object_del(schema, bounds[i]);
    }
    if (anyof != NULL)
        json_object_set_new(schema, "anyOf", anyof);
}

static void openapi_has_the_same_options(void **state) {
    (void)state;
    struct buf out = {0};
    json_t *document = json_loadb(asset_openapi_json, asset_size(asset_openapi_json, asset_openapi_json_end), 0, NULL);
    json_t *theirs = json_object_get(json_object_get(json_object_get(document, "components"), "schemas"), "Options");
    host_describe_options(&out);
    json_t *ours = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(theirs);
    assert_non_null(ours);
    const char *name;
    json_t *option;
    json_object_foreach(json_object_get(theirs, "properties"), name, option) {
        follow_ref(document, option);
        move_bounds(option);
        assert_true(json_string_length(json_object_get(option, "description")) > 0);
        json_object_del(option, "description");
    }
    json_object_foreach(json_object_get(ours, "properties"), name, option) {
        assert_true(json_string_length(json_object_get(option, "description")) > 0);
        json_object_del(option, "description");
    }
    if (!json_equal(ours, theirs)) {
        char *a = json_dumps(ours, JSON_SORT_KEYS), *b = json_dumps(theirs, JSON_SORT_KEYS);
        fail_msg("the table says\n%s\nand openapi.yaml\n%s", a, b);
    }
    json_decref(ours);
    json_decref(document);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submission_arrives_as_it_was_sent),
        cmocka_unit_test(the_longest_submission_is_within_its_limit),
        cmocka_unit_test(each_field_has_room_for_the_values_of_its_row),
        cmocka_unit_test(a_submission_of_another_size_is_rejected),
        cmocka_unit_test(any_byte_of_a_submission_can_be_wrong),
        cmocka_unit_test(a_raw_body_is_parsed_for_its_plan_and_for_the_front_end),
        cmocka_unit_test(a_job_that_needs_an_isolated_worker_is_marked),
        cmocka_unit_test(a_raw_body_that_is_cancelled_gives_neither_a_submission_nor_a_fault),
        cmocka_unit_test(a_bad_raw_body_is_a_fault),
        cmocka_unit_test(copies_have_texts_of_their_own),
        cmocka_unit_test(texts_can_be_placed_elsewhere),
        cmocka_unit_test(a_job_shows_its_priority),
        cmocka_unit_test(openapi_has_the_same_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
