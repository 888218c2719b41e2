/* types_test.c: job types that are known only at the start: handlers/host/registry.c, described.c and table_schema.c, and
 * parameters as a whole (HANDLER_WHOLE_PARAMS). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/registry.h"

/* ---- a type of somebody else ------------------------------------------------------------------------------------- */

static struct buf planned; /* what params_json gave the last plan */

static int plan(struct call *c, const struct params *p) {
    size_t size;
    int64_t n;
    const char *text = params_json(p, &size);
    buf_clear(&planned);
    if (text != NULL)
        buf_append(&planned, text, size);
    assert_false(param_i64(p, "n", &n) && text != NULL); /* with the whole there is nothing else */
    return plan_chunk(c, "", 0, 0);
}

static int run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)c, (void)common, (void)chunk;
    return 0;
}

static int merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)parts, (void)count;
    json_bool(c, true);
    return 0;
}

static const char *const colours[] = {"red", "green", NULL};
static const struct param_spec params[] = {
    {"n", PARAM_INTEGER, PARAM_REQUIRED, .min = "0", .max = "99999999999999999999", .help = "a number"},
    {"on", PARAM_BOOLEAN},
    {"colour", PARAM_ENUM, .choices = colours, .fallback = "\"red\""},
    {"text", PARAM_TEXT},
    {"list", PARAM_JSON, PARAM_ARRAY | PARAM_NULL},
    {"any", PARAM_JSON},
    {"numbers", PARAM_NUMBERS, PARAM_REALS},
    {0},
};

static struct handler handler_of(const char *name, unsigned flags) {
    return (struct handler){.abi = HANDLER_ABI,
                            .name = name,
                            .summary = "A \"type\" of somebody else",
                            .flags = flags,
                            .params = params,
                            .plan = plan,
                            .run = run,
                            .merge = merge};
}

static int setup(void **state) {
    (void)state;
    host_init(true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    host_init(false);
    buf_deinit(&planned);
    return 0;
}

static void must_add(const struct handler *h) {
    struct buf error = {0};
    const struct host_type t = {.handler = h, .source = "plugin:./a.so"};
    assert_int_equal(host_add(&t, &error), 0);
}

/* ---- host_add ---------------------------------------------------------------------------------------------------- */

static void assert_refused(const struct handler *h, const char *expected) {
    struct buf error = {0};
    const struct host_type t = {.handler = h, .source = "plugin:./b.so"};
    size_t before = host_count();
    assert_int_equal(host_add(&t, &error), -1);
    if (strstr(error.data, expected) == NULL || strncmp(error.data, "plugin:./b.so: ", 15) != 0)
        fail_msg("%s", error.data);
    assert_int_equal(host_count(), before);
    buf_deinit(&error);
}

static void a_type_is_added_behind_those_that_are_built_in(void **state) {
    (void)state;
    static struct handler h;
    size_t before = host_count();
    h = handler_of("thumb", 0);
    must_add(&h);
    assert_int_equal(host_find("thumb"), before);
    assert_string_equal(host_type(before)->source, "plugin:./a.so");
    assert_ptr_equal(host_handler(before), &h);
    assert_string_equal(host_type(0)->source, "builtin");
}

static void a_type_that_cannot_be_is_refused_with_a_reason(void **state) {
    (void)state;
    static struct handler good, h;
    good = handler_of("thumb", 0);
    must_add(&good);
    h = handler_of("thumb", 0);
    assert_refused(&h, "plugin:./a.so has a job type \"thumb\", too");
    h = handler_of("primes", 0);
    assert_refused(&h, "builtin has a job type \"primes\", too");
    static const char *const names[] = {"",        "Thumb",
                                        "1thumb",  "thumb.x",
                                        "thumb\n", "a234567890123456789012345678901234567890123456789012345678901234x"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        h = handler_of(names[i], 0);
        assert_refused(&h, "cannot be the name of a job type");
    }
    h = handler_of("other", 0);
    h.abi = HANDLER_ABI - 1;
    h.name = (const char *)1; /* nothing else of another ABI is looked at */
    assert_refused(&h, "built for ABI 3 of handler.h, and this offloadd has ABI 4");
    h = handler_of("other", 0);
    h.run = NULL;
    assert_refused(&h, "lacks plan, run or merge");
    h = handler_of("other", 0);
    h.summary = NULL;
    assert_refused(&h, "has no summary");
    h = handler_of("other", HANDLER_OPEN_PARAMS);
    assert_refused(&h, "HANDLER_OPEN_PARAMS without HANDLER_WHOLE_PARAMS");
}

static void a_table_that_cannot_be_is_refused_with_a_reason(void **state) {
    (void)state;
    static struct param_spec many[PARAMS_MAX + 2];
    static char names[PARAMS_MAX + 1][8];
    static const char *const empty[] = {NULL};
    static const struct {
        struct param_spec rows[3];
        const char *expected;
    } bad[] = {
        {{{"n", PARAM_ENUM}}, "n: has no choices"},
        {{{"n", PARAM_ENUM, .choices = empty}}, "n: has no choices"},
        {{{"n", PARAM_INTEGER, .forms = 2}}, "n: belongs to a form that is not named"},
        {{{"n", PARAM_INTEGER, .fallback = "{"}}, "n: its fallback is not JSON"},
        {{{"n", PARAM_INTEGER, .min = "01"}}, "n: min and max are decimal digits"},
        {{{"n", PARAM_INTEGER, .max = "1e3"}}, "n: min and max are decimal digits"},
        {{{"n", (enum param_kind)17}}, "n: has no kind"},
        {{{"n", PARAM_TEXT}, {"n", PARAM_TEXT}}, "n: is there twice"},
        {{{"a\"b", PARAM_TEXT}}, "a name is UTF-8"},
        {{{"a\xff", PARAM_TEXT}}, "a name is UTF-8"},
        {{{"a\nb", PARAM_TEXT}}, "a name is UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct handler h = handler_of("other", 0);
        h.params = bad[i].rows;
        assert_refused(&h, bad[i].expected);
    }
    for (int i = 0; i <= PARAMS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        many[i] = (struct param_spec){names[i], PARAM_INTEGER};
    }
    struct handler h = handler_of("other", 0);
    h.params = many;
    assert_refused(&h, "n32: too many parameters");
}

static void impossible_defaults_are_refused(void **state) {
    (void)state;
    struct handler h = handler_of("other", 0);
    struct host_type t = {.handler = &h, .source = "program:x", .max_attempts = 101};
    struct buf error = {0};
    assert_int_equal(host_add(&t, &error), -1);
    assert_string_equal(error.data, "program:x: the job type other: max_attempts is not from 1 to 100");
    buf_clear(&error);
    t = (struct host_type){.handler = &h, .source = "program:x", .timeout_ms = -1};
    assert_int_equal(host_add(&t, &error), -1);
    assert_non_null(strstr(error.data, "timeout_ms is not from 1 to "));
    buf_deinit(&error);
}

static void there_are_no_more_numbers_than_there_can_be(void **state) {
    (void)state;
    char name[16];
    while (host_count() < HOST_MAX_TYPES) {
        size_t next = host_count();
        snprintf(name, sizeof name, "t%zu", next);
        assert_int_equal(host_number(name), next);
    }
    assert_int_equal(host_number("one-more"), -1);
    assert_int_equal(host_number("t250"), 250);
    struct handler h = handler_of("one-more", 0);
    assert_refused(&h, "there are more than 256 job types");
}

static void a_name_without_a_type_is_a_hole(void **state) {
    (void)state;
    int hole = host_number("gone");
    assert_true(hole > 0);
    assert_int_equal(host_number("gone"), hole);
    assert_int_equal(host_known("gone"), hole);
    assert_int_equal(host_find("gone"), -1);
    assert_int_equal(host_known("never"), -1);
    assert_int_equal(host_number("No Name"), -1);
    assert_string_equal(host_name((size_t)hole), "gone");
    assert_null(host_type((size_t)hole));
    assert_null(host_handler((size_t)hole));
    struct host_plan plan_of_hole;
    struct fault fault = {0};
    assert_int_equal(host_plan((size_t)hole, "", 0, 0, NULL, &plan_of_hole, &fault), -1);
    assert_string_equal(fault.json.data, "{\"code\":\"unknown_type\",\"detail\":\"the job type \\\"gone\\\" is gone: "
                                         "nothing that is loaded has it\"}");
    fault_deinit(&fault);
    host_plan_deinit(&plan_of_hole);
    struct handler h = handler_of("gone", 0);
    must_add(&h);
    assert_int_equal(host_find("gone"), hole); /* it has its old number */
}

/* ---- parameters as a whole --------------------------------------------------------------------------------------- */

/* Submits a job of the type "whole", plans it, and returns what its plan got; or the faults. */
static const char *submit(const char *json) {
    static char text[4096];
    struct submission s;
    struct fault fault = {0};
    struct host_plan made = {0};
    buf_clear(&planned);
    int rc = submission_parse(json, strlen(json), 64, 0, &s, &fault);
    if (rc == 0)
        rc = host_plan(s.type, s.params.data, s.params.size, 0, NULL, &made, &fault);
    snprintf(text, sizeof text, "%s", rc == 0 ? (planned.data == NULL ? "" : planned.data) : fault.json.data);
    host_plan_deinit(&made);
    submission_deinit(&s);
    fault_deinit(&fault);
    return text;
}

/* The members before "type" keep a body from the quick way. */
static void assert_both(const char *params_json_text, const char *expected) {
    char body[1024];
    snprintf(body, sizeof body, "{\"type\":\"whole\",\"params\":%s}", params_json_text);
    assert_string_equal(submit(body), expected);
    snprintf(body, sizeof body, "{\"params\":%s,\"type\":\"whole\"}", params_json_text);
    assert_string_equal(submit(body), expected);
}

static void assert_fault(const char *params_json_text, const char *pointer, const char *detail) {
    char expected[1024];
    snprintf(expected, sizeof expected,
             "{\"code\":\"invalid_params\",\"detail\":\"%s: %s\",\"errors\":[{\"pointer\":\"%s\",\"detail\":\"%s\"}]}",
             pointer, detail, pointer, detail);
    assert_both(params_json_text, expected);
}

static void whole_parameters_are_canonical_json_of_what_was_given(void **state) {
    (void)state;
    static struct handler h;
    h = handler_of("whole", HANDLER_WHOLE_PARAMS);
    must_add(&h);
    assert_both("{\"n\":5}", "{\"n\":5}");
    assert_both("{ \"n\" : 5 }", "{\"n\":5}");
    assert_both("{\"n\":\"5\"}", "{\"n\":5}");
    assert_both("{\"n\":1e3}", "{\"n\":1000}");
    assert_both("{\"n\":10.0}", "{\"n\":10}");
    assert_both("{\"n\":-0}", "{\"n\":0}");
    assert_both("{\"n\":9007199254740991}", "{\"n\":9007199254740991}");
    assert_both("{\"n\":9007199254740992}", "{\"n\":\"9007199254740992\"}");
    assert_both("{\"n\":\"0009007199254740993\"}", "{\"n\":\"9007199254740993\"}");
    assert_both("{\"n\":99999999999999999999}", "{\"n\":\"99999999999999999999\"}");
    assert_both("{\"on\":true,\"n\":1,\"colour\":\"green\"}", "{\"on\":true,\"n\":1,\"colour\":\"green\"}");
    assert_both("{\"n\":1,\"text\":\"a\"}", "{\"n\":1,\"text\":\"a\"}");
    assert_both("{\"n\":1,\"text\":\"\\u0061\\n\\u0000\"}", "{\"n\":1,\"text\":\"a\\n\\u0000\"}");
    assert_both("{\"n\":1,\"list\":[1, 2.50,{\"a\":[]}]}", "{\"n\":1,\"list\":[1,2.5,{\"a\":[]}]}");
    assert_both("{\"n\":1,\"list\":null,\"any\":\"x\"}", "{\"n\":1,\"list\":null,\"any\":\"x\"}");
    assert_both("{\"n\":1,\"any\":false}", "{\"n\":1,\"any\":false}");
    assert_both("{\"n\":1,\"numbers\":[1,\"2\",0.5]}", "{\"n\":1,\"numbers\":[1,\"2\",0.5]}");
    assert_both("{\"\\u006e\":1}", "{\"n\":1}");
}

static void whole_parameters_have_the_faults_of_others(void **state) {
    (void)state;
    static struct handler h;
    h = handler_of("whole", HANDLER_WHOLE_PARAMS);
    must_add(&h);
    assert_fault("{}", "/params", "n is required");
    assert_fault("{\"n\":-1}", "/params/n", "must be from 0 to 99999999999999999999");
    assert_fault("{\"n\":null}", "/params/n", "must be an integer, not null");
    assert_fault("{\"n\":1,\"on\":1}", "/params/on", "must be true or false, not an integer");
    assert_fault("{\"n\":1,\"text\":1}", "/params/text", "must be a string, not an integer");
    assert_fault("{\"n\":1,\"list\":\"x\"}", "/params/list", "must be an array or null, not a string");
    assert_fault("{\"n\":1,\"list\":1.5}", "/params/list", "must be an array or null, not a number");
    assert_fault("{\"n\":1,\"numbers\":[1,true]}", "/params/numbers/1", "must be an integer, not a boolean");
    assert_fault("{\"n\":1,\"any\":1e999}", "/params/any", "is beyond the range of a 64-bit floating-point number");
    assert_fault("{\"n\":1,\"x\":1}", "/params/x",
                 "\\\"x\\\" is not a parameter of whole; it has n, on, colour, text, list, any, numbers");
}

static void open_parameters_take_other_names_too(void **state) {
    (void)state;
    static struct handler h;
    h = handler_of("whole", HANDLER_WHOLE_PARAMS | HANDLER_OPEN_PARAMS);
    must_add(&h);
    assert_both("{\"n\":1,\"x\":[1, {}],\"\xc3\xa9\":1.0}", "{\"n\":1,\"x\":[1,{}],\"\xc3\xa9\":1.0}");
    assert_both("{\"x\\\"\":\"y\",\"n\":\"7\"}", "{\"x\\\"\":\"y\",\"n\":7}");
    assert_fault("{\"x\":1}", "/params", "n is required");
}

static void whole_parameters_outlive_their_table(void **state) {
    (void)state;
    static const struct param_spec other[] = {{"m", PARAM_TEXT, PARAM_REQUIRED}, {0}};
    static struct handler h[2];
    const char *json = "{\"type\":\"whole\",\"params\":{\"n\":7}}";
    struct submission s;
    struct fault fault = {0};
    struct host_plan made;
    h[0] = h[1] = handler_of("whole", HANDLER_WHOLE_PARAMS);
    h[1].params = other;
    must_add(&h[0]);
    assert_int_equal(submission_parse(json, strlen(json), 64, 0, &s, &fault), 0);
    host_init(true);
    must_add(&h[1]);
    assert_int_equal(host_plan(s.type, s.params.data, s.params.size, 0, NULL, &made, &fault), 0);
    assert_string_equal(planned.data, "{\"n\":7}");
    host_plan_deinit(&made);
    submission_deinit(&s);
}

static void damaged_whole_parameters_are_noticed(void **state) {
    (void)state;
    static struct handler h;
    const char *json = "{\"type\":\"whole\",\"params\":{\"n\":7}}";
    struct submission s;
    struct fault fault = {0};
    h = handler_of("whole", HANDLER_WHOLE_PARAMS);
    must_add(&h);
    assert_int_equal(submission_parse(json, strlen(json), 64, 0, &s, &fault), 0);
    for (size_t i = 0; i < PARAMS_WHOLE_FRONT + 8; i++) {
        struct host_plan made;
        char before = s.params.data[i];
        s.params.data[i] = (char)(before ^ 0x41);
        int rc = host_plan(s.type, s.params.data, s.params.size, 0, NULL, &made, &fault);
        bool unused = i >= 4 && i < 8;
        bool other_text = i == PARAMS_WHOLE_FRONT + 2; /* another name is JSON, too */
        assert_int_equal(rc, unused || other_text ? 0 : -1);
        s.params.data[i] = before;
        host_plan_deinit(&made);
        fault_deinit(&fault);
        fault = (struct fault){0};
    }
    submission_deinit(&s);
}

/* Each change of the table shows in jobs that were submitted before. */
static void parameters_of_another_table_fail_clearly(void **state) {
    (void)state;
    static const struct param_spec tables[][3] = {
        {{"n", PARAM_INTEGER, PARAM_REQUIRED}},
        {{"m", PARAM_INTEGER, PARAM_REQUIRED}},
        {{"n", PARAM_INTEGER, 0}},
        {{"n", PARAM_INTEGER, PARAM_REQUIRED, .max = "7"}},
        {{"n", PARAM_INTEGER, PARAM_REQUIRED}, {"m", PARAM_TEXT}},
        {{"n", PARAM_JSON, PARAM_REQUIRED}},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        struct handler before = handler_of("other", 0), after = before;
        const char *json = "{\"type\":\"other\",\"params\":{\"n\":7}}";
        struct submission s;
        struct fault fault = {0};
        struct host_plan made;
        before.params = tables[0];
        after.params = tables[i];
        host_init(true);
        must_add(&before);
        assert_int_equal(submission_parse(json, strlen(json), 64, 0, &s, &fault), 0);
        host_init(true);
        must_add(&after);
        int rc = host_plan(s.type, s.params.data, s.params.size, 0, NULL, &made, &fault);
        assert_int_equal(rc, i == 0 ? 0 : -1);
        if (i > 0)
            assert_string_equal(fault.json.data,
                                "{\"code\":\"handler_failed\",\"detail\":\"the parameters of other have changed since "
                                "this job was submitted; submit it again\"}");
        host_plan_deinit(&made);
        fault_deinit(&fault);
        submission_deinit(&s);
    }
}

static void a_type_has_defaults_for_the_options_of_its_jobs(void **state) {
    (void)state;
    static struct handler h;
    static const struct {
        const char *json;
        int64_t timeout_ms;
        int32_t max_attempts;
    } cases[] = {
        {"{\"type\":\"slow\",\"params\":{\"n\":7}}", 1500, 5}, /* the quick way */
        {"{\"params\":{\"n\":7},\"type\":\"slow\"}", 1500, 5},
        {"{\"type\":\"slow\",\"params\":{\"n\":7},\"options\":{\"timeout_ms\":9}}", 9, 5},
        {"{\"type\":\"slow\",\"items\":[],\"options\":{\"max_attempts\":3}}", 1500, 3},
        {"{\"type\":\"echo\",\"params\":{\"value\":7}}", OPTION_UNSET, 3},
    };
    struct buf error = {0}, shown = {0};
    h = handler_of("slow", HANDLER_WHOLE_PARAMS);
    const struct host_type t = {
        .handler = &h, .source = "program:slow", .marks = "split merge", .timeout_ms = 1500, .max_attempts = 5};
    assert_int_equal(host_add(&t, &error), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct submission s;
        struct fault fault = {0};
        assert_int_equal(submission_parse(cases[i].json, strlen(cases[i].json), 64, 0, &s, &fault), 0);
        assert_int_equal(s.options.timeout_ms, cases[i].timeout_ms);
        assert_int_equal(s.options.max_attempts, cases[i].max_attempts);
        submission_deinit(&s);
    }
    host_describe((size_t)host_find("slow"), &shown);
    assert_non_null(strstr(shown.data, ",\"flags\":[\"split\",\"merge\"],\"timeout\":1.5,\"max_attempts\":5}"));
    buf_deinit(&shown);
}

/* ---- descriptions ------------------------------------------------------------------------------------------------ */

/* What a zygote with these types sends. */
static void describe_some(struct buf *out) {
    static const char *const forms[] = {"one", "two", NULL};
    static const struct param_spec formed[] = {
        {"a", PARAM_INTEGER, PARAM_REQUIRED, .forms = 1}, {"b", PARAM_TEXTS, PARAM_REQUIRED, .forms = 2}, {0}};
    static const char *const files[] = {"/srv/a.py", "/srv/b.py", NULL};
    static struct handler plain, whole, spawned;
    struct buf error = {0};
    plain = handler_of("plain", 0);
    whole = handler_of("whole", HANDLER_WHOLE_PARAMS | HANDLER_OPEN_PARAMS);
    spawned = handler_of("gpu", HANDLER_SPAWN);
    spawned.forms = forms;
    spawned.params = formed;
    const struct host_type t = {.handler = &whole,
                                .source = "python:\"a\".py",
                                .schema = "{\"type\":\"object\",\"$comment\":\"\\u00e9\"}",
                                .marks = "split",
                                .files = files,
                                .timeout_ms = 60000,
                                .max_attempts = 1};
    host_init(true);
    must_add(&plain);
    assert_int_equal(host_add(&t, &error), 0);
    must_add(&spawned);
    host_describe_added(out);
}

static void describe_all(struct buf *out) {
    for (size_t i = 0; i < host_count(); i++)
        host_describe(i, out);
}

/* A @ in the text stands for the next number. */
static int take(const char *json) {
    struct buf error = {0}, text = {0};
    for (; *json != '\0'; json++) {
        if (*json == '@')
            buf_u64(&text, host_count());
        else
            buf_putc(&text, *json);
    }
    int rc = host_take_described(text.data == NULL ? "" : text.data, text.size, &error);
    assert_int_equal(error.size > 0, rc == -1);
    buf_deinit(&error);
    buf_deinit(&text);
    return rc;
}

static void the_front_end_knows_a_type_as_the_zygote_does(void **state) {
    (void)state;
    struct buf sent = {0}, there = {0}, here = {0};
    describe_some(&sent);
    describe_all(&there);
    uint32_t prints[] = {registry_table((size_t)host_find("plain"))->print,
                         registry_table((size_t)host_find("gpu"))->print};
    host_init(true);
    assert_int_equal(take(sent.data), 0);
    describe_all(&here);
    assert_string_equal(here.data, there.data);
    assert_int_equal(registry_table((size_t)host_find("plain"))->print, prints[0]);
    assert_int_equal(registry_table((size_t)host_find("gpu"))->print, prints[1]);
    const struct host_type *t = host_type((size_t)host_find("whole"));
    assert_null(t->handler->run);
    assert_string_equal(t->files[1], "/srv/b.py");
    assert_null(t->files[2]);
    buf_clear(&here);
    host_describe_added(&here); /* and so it would tell others */
    assert_string_equal(here.data, sent.data);
    buf_deinit(&sent);
    buf_deinit(&there);
    buf_deinit(&here);
}

static void a_type_that_is_gone_leaves_its_number(void **state) {
    (void)state;
    struct buf sent = {0};
    describe_some(&sent);
    host_init(true);
    assert_int_equal(take(sent.data), 0);
    int plain = host_find("plain"), gpu = host_find("gpu");
    size_t count = host_count();
    assert_int_equal(take("[]"), 0);
    assert_int_equal(host_find("plain"), -1);
    assert_int_equal(host_known("plain"), plain);
    assert_int_equal(host_count(), count);
    assert_true(host_find("primes") == 0);
    assert_int_equal(take(sent.data), 0);
    assert_int_equal(host_find("plain"), plain);
    assert_int_equal(host_find("gpu"), gpu);
    buf_deinit(&sent);
}

static void a_zygote_that_does_not_know_all_names_is_noticed(void **state) {
    (void)state;
    struct buf sent = {0};
    describe_some(&sent);
    host_init(true);
    host_number("from-the-store");
    assert_int_equal(take(sent.data), HOST_RENUMBERED);
    assert_int_equal(host_find("plain"), -1);
    buf_deinit(&sent);
}

#define FRONT "{\"number\":@,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"t\",\"summary\":\"\","
#define BACK  "\"source\":\"x\",\"params\":[]}"

static void damaged_descriptions_are_refused_and_change_nothing(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[1]",
        "[{}]",
        "[" FRONT BACK "," FRONT BACK "]",
        "[{\"number\":0,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"t\",\"summary\":\"\"," BACK "]",
        "[{\"number\":256,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"t\",\"summary\":\"\"," BACK "]",
        "[{\"number\":@,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"primes\",\"summary\":\"\"," BACK "]",
        "[{\"number\":@,\"flags\":0,\"timeout_ms\":-1,\"max_attempts\":0,\"name\":\"t\",\"summary\":\"\"," BACK "]",
        "[{\"number\":@,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":1000,\"name\":\"t\",\"summary\":\"\"," BACK "]",
        "[{\"number\":@,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"T\",\"summary\":\"\"," BACK "]",
        "[{\"number\":@,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"t\\u0000\",\"summary\":\"\"," BACK
        "]",
        "[" FRONT "\"schema\":\"{\"," BACK "]",
        "[" FRONT "\"schema\":\"[]\"," BACK "]",
        "[" FRONT "\"files\":[1]," BACK "]",
        "[" FRONT "\"forms\":[]," BACK "]",
        "[" FRONT "\"source\":\"x\",\"params\":[{\"kind\":0,\"flags\":0,\"forms\":0}]}]",
        "[" FRONT "\"source\":\"x\",\"params\":[{\"kind\":8,\"flags\":0,\"forms\":0,\"name\":\"n\"}]}]",
        "[" FRONT "\"source\":\"x\",\"params\":[{\"kind\":2,\"flags\":0,\"forms\":0,\"name\":\"n\"}]}]",
        "[" FRONT "\"source\":\"x\",\"params\":[1]}]",
    };
    struct buf before = {0}, after = {0};
    describe_all(&before);
    assert_int_equal(take("[" FRONT BACK "]"), 0); /* so the others are bad for one reason only */
    host_init(true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (take(bad[i]) == 0)
            fail_msg("%s", bad[i]);
    describe_all(&after);
    assert_string_equal(before.data, after.data);
    buf_deinit(&before);
    buf_deinit(&after);
}

/* ---- schemas ----------------------------------------------------------------------------------------------------- */

static void read_schema(const char *json, struct host_table *t) {
    struct buf error = {0};
    if (host_table_from_schema(json, strlen(json), false, t, &error) != 0)
        fail_msg("%s", error.data);
}

static void a_schema_becomes_a_table(void **state) {
    (void)state;
    struct host_table t;
    read_schema(
        "{\"type\":\"object\",\"required\":[\"n\",\"x\"],\"additionalProperties\":false,\"properties\":{"
        "\"n\":{\"type\":\"integer\",\"minimum\":-5,\"maximum\":100000000000000000000,\"description\":\"a\\nb\"},"
        "\"half\":{\"type\":\"integer\",\"minimum\":0.5},"
        "\"on\":{\"type\":\"boolean\",\"default\":true},\"s\":{\"type\":\"string\"},"
        "\"e\":{\"enum\":[\"a\",\"b\"]},\"mixed\":{\"enum\":[\"a\",1]},"
        "\"opt\":{\"type\":[\"integer\",\"null\"]},\"l\":{\"type\":\"array\",\"items\":{}},"
        "\"f\":{\"type\":\"number\"},\"o\":{\"type\":\"object\"},\"ref\":{\"$ref\":\"#/$defs/x\"},\"t\":true}}",
        &t);
    static const struct {
        const char *name;
        enum param_kind kind;
        unsigned flags;
        const char *min, *max, *help;
    } expected[] = {
        {"n", PARAM_INTEGER, PARAM_REQUIRED, "-5", "100000000000000000000", "a"},
        {"half", PARAM_INTEGER, 0, NULL, NULL, NULL},
        {"on", PARAM_BOOLEAN, 0, NULL, NULL, NULL},
        {"s", PARAM_TEXT, 0, NULL, NULL, NULL},
        {"e", PARAM_ENUM, 0, NULL, NULL, NULL},
        {"mixed", PARAM_JSON, 0, NULL, NULL, NULL},
        {"opt", PARAM_JSON, PARAM_NUMBER | PARAM_STRING | PARAM_NULL, NULL, NULL, NULL},
        {"l", PARAM_JSON, PARAM_ARRAY, NULL, NULL, NULL},
        {"f", PARAM_JSON, PARAM_NUMBER, NULL, NULL, NULL},
        {"o", PARAM_JSON, PARAM_OBJECT, NULL, NULL, NULL},
        {"ref", PARAM_JSON, 0, NULL, NULL, NULL},
        {"t", PARAM_JSON, 0, NULL, NULL, NULL},
        {"x", PARAM_JSON, PARAM_REQUIRED, NULL, NULL, NULL},
    };
    size_t count = sizeof expected / sizeof expected[0];
    for (size_t i = 0; i < count; i++) {
        const struct param_spec *got = &t.specs[i];
        assert_string_equal(got->name, expected[i].name);
        assert_int_equal(got->kind, expected[i].kind);
        assert_int_equal(got->flags, expected[i].flags);
        assert_string_equal(got->min == NULL ? "-" : got->min, expected[i].min == NULL ? "-" : expected[i].min);
        assert_string_equal(got->max == NULL ? "-" : got->max, expected[i].max == NULL ? "-" : expected[i].max);
        assert_string_equal(got->help == NULL ? "-" : got->help, expected[i].help == NULL ? "-" : expected[i].help);
        assert_null(got->fallback);
    }
    assert_null(t.specs[count].name);
    assert_string_equal(t.specs[4].choices[1], "b");
    assert_null(t.specs[4].choices[2]);
    assert_int_equal(t.flags, HANDLER_WHOLE_PARAMS);
    host_table_deinit(&t);
}

static void a_schema_is_closed_unless_it_says_otherwise(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        bool open;
    } cases[] = {{"{}", false},
                 {"{\"type\":\"object\"}", false},
                 {"{\"additionalProperties\":false}", false},
                 {"{\"additionalProperties\":true}", true},
                 {"{\"additionalProperties\":{\"type\":\"integer\"}}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct host_table t;
        read_schema(cases[i].schema, &t);
        assert_int_equal(t.flags, HANDLER_WHOLE_PARAMS | (cases[i].open ? HANDLER_OPEN_PARAMS : 0));
        host_table_deinit(&t);
    }
}

static void a_schema_that_makes_no_table_is_refused_with_a_reason(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "not JSON"},
        {"[]", "no object"},
        {"{\"type\":\"array\"}", "its \"type\" is not \"object\""},
        {"{\"properties\":[]}", "\"properties\" is no object"},
        {"{\"properties\":{\"n\":3}}", "n: its schema is neither an object nor true"},
        {"{\"properties\":{\"n\":{\"type\":\"int\"}}}", "n: \"type\" names no type of JSON Schema"},
        {"{\"properties\":{\"n\":{\"type\":[\"int\"]}}}", "n: \"type\" names no type of JSON Schema"},
        {"{\"required\":{}}", "\"required\" is no array"},
        {"{\"required\":[1]}", "\"required\" has a member that is no string"},
    };
    struct buf many = {0}, error = {0};
    struct host_table t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(host_table_from_schema(bad[i][0], strlen(bad[i][0]), false, &t, &error), -1);
        if (strstr(error.data, bad[i][1]) == NULL)
            fail_msg("%s", error.data);
        host_table_deinit(&t);
        buf_clear(&error);
    }
    for (int i = 0; i <= PARAMS_MAX; i++)
        buf_printf(&many, "%s\"p%d\":{}", i == 0 ? "{\"properties\":{" : ",", i);
    buf_puts(&many, "}}");
    assert_int_equal(host_table_from_schema(many.data, many.size, false, &t, &error), -1);
    assert_string_equal(error.data, "the schema of the parameters has more than 32 properties");
    host_table_deinit(&t);
    buf_deinit(&many);
    buf_deinit(&error);
}

static void assert_media_type(const char *property, const char *expected) {
    struct host_table t;
    struct buf error = {0}, json = {0};
    buf_printf(&json, "{\"properties\":{\"data\":%s}}", property);
    assert_int_equal(host_table_from_schema(json.data, json.size, true, &t, &error), 0);
    assert_int_equal(t.specs[0].kind, PARAM_BYTES);
    if (expected == NULL) {
        assert_null(t.specs[0].choices);
    } else {
        assert_string_equal(t.specs[0].choices[0], expected);
        assert_null(t.specs[0].choices[1]);
    }
    host_table_deinit(&t);
    buf_deinit(&json);
}

static void base64_in_a_schema_is_binary_data_of_its_media_type(void **state) {
    (void)state;
#define BASE64 "{\"type\":\"string\",\"contentEncoding\":\"base64\""
    assert_media_type(BASE64 "}", NULL);
    assert_media_type(BASE64 ",\"contentMediaType\":\"Application/X-Npy\"}", "application/x-npy");
    assert_media_type(BASE64 ",\"contentMediaType\":\"image/*\"}", "image/");
    assert_media_type("{\"anyOf\":[" BASE64 ",\"contentMediaType\":\"image/png\"},{\"type\":\"null\"}]}", "image/png");
    static const char *const none[] = {"*", "/x", "image", "text/plain; charset=utf-8", ""};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        char property[256];
        snprintf(property, sizeof property, BASE64 ",\"contentMediaType\":\"%s\"}", none[i]);
        assert_media_type(property, NULL);
    }
    assert_media_type(BASE64 ",\"contentMediaType\":7}", NULL);
}

/* What the program would accept must not be refused: an integer as a string, for one. */
static void a_table_of_a_schema_checks_parameters(void **state) {
    (void)state;
    struct host_table t;
    struct handler h = handler_of("whole", 0);
    read_schema("{\"required\":[\"n\"],\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1},"
                "\"m\":{\"type\":[\"integer\",\"null\"]},\"f\":{\"type\":\"number\"}}}",
                &t);
    h.params = t.specs;
    h.flags = t.flags;
    must_add(&h);
    assert_both("{\"n\":\"18446744073709551616\",\"m\":\"18446744073709551616\",\"f\":1}",
                "{\"n\":\"18446744073709551616\",\"m\":\"18446744073709551616\",\"f\":1}");
    assert_fault("{\"n\":0}", "/params/n", "must be at least 1");
    assert_fault("{\"n\":1,\"m\":[]}", "/params/m", "must be a number, a string or null, not an array");
    assert_fault("{\"n\":1,\"f\":\"1\"}", "/params/f", "must be a number, not a string");
    assert_fault("{\"n\":1,\"g\":1}", "/params/g", "\\\"g\\\" is not a parameter of whole; it has n, m, f");
    host_init(true); /* before the table goes */
    host_table_deinit(&t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_type_is_added_behind_those_that_are_built_in),
        TEST(a_type_that_cannot_be_is_refused_with_a_reason),
        TEST(a_table_that_cannot_be_is_refused_with_a_reason),
        TEST(impossible_defaults_are_refused),
        TEST(there_are_no_more_numbers_than_there_can_be),
        TEST(a_name_without_a_type_is_a_hole),
        TEST(whole_parameters_are_canonical_json_of_what_was_given),
        TEST(whole_parameters_have_the_faults_of_others),
        TEST(open_parameters_take_other_names_too),
        TEST(whole_parameters_outlive_their_table),
        TEST(damaged_whole_parameters_are_noticed),
        TEST(parameters_of_another_table_fail_clearly),
        TEST(a_type_has_defaults_for_the_options_of_its_jobs),
        TEST(the_front_end_knows_a_type_as_the_zygote_does),
        TEST(a_type_that_is_gone_leaves_its_number),
        TEST(a_zygote_that_does_not_know_all_names_is_noticed),
        TEST(damaged_descriptions_are_refused_and_change_nothing),
        TEST(a_schema_becomes_a_table),
        TEST(a_schema_is_closed_unless_it_says_otherwise),
        TEST(a_schema_that_makes_no_table_is_refused_with_a_reason),
        TEST(base64_in_a_schema_is_binary_data_of_its_media_type),
        TEST(a_table_of_a_schema_checks_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
