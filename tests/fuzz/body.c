/* body.c: libFuzzer's entry for bodies of POST /v1/jobs, from the text to the plan. Each is read as a body of POST
 * /v1/embeddings, too. Each body is read in two ways, and the ways must agree:
 *
 *     jsontext_check, which has no tree         jsontext_parse, which has jansson make one: both take a text, or both
 *                                               report the same fault
 *     the body as it is                         the same JSON, written by jansson: with other spaces, and with an
 *                                               escape in each name, so that the quick ways are not taken. Both have
 *                                               the same hash, the same fault or the same packed bytes, and the same
 *                                               plan. Reals are packed as they are spelled (handlers/host/numbers.h), so
 *                                               bytes with reals in them are not compared
 *     a map by columns                          the same calls in a list of items: each has the same plan in both
 *
 * `make fuzz` builds it. The seeds are in tests/fuzz/corpus/body. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "handlers/host/host.h"
#include "handlers/host/items_format.h"
#include "handlers/host/jsontext.h"

#define MAX_DEPTH 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static bool is_equal(const struct buf *a, const struct buf *b) {
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* ---- JSON, written in another way ---------------------------------------------------------------------------------- */

static bool has_reals; /* of the JSON that was written last */

static void put_again(struct buf *to, json_t *value) {
    struct faults faults = {.code = "invalid_params"};
    struct fault fault = {{0}};
    const char *name, *text;
    json_t *member;
    size_t i, size;
    if (json_is_object(value)) {
        bool first = true;
        buf_puts(to, "{\n");
        json_object_foreach(value, name, member) {
            struct buf quoted = {0};
            buf_json_string(&quoted, name, strlen(name));
            buf_puts(to, first ? "" : " ,\t");
            if (name[0] > ' ' && name[0] != '"' && name[0] != '\\' && name[0] < 0x7f)
                buf_printf(to, "\"\\u%04x%s", (unsigned)name[0], quoted.data + 2);
            else
                buf_append(to, quoted.data, quoted.size);
            buf_puts(to, " : ");
            put_again(to, member);
            buf_deinit(&quoted);
            first = false;
        }
        buf_puts(to, " }");
    } else if (json_is_array(value)) {
        buf_puts(to, "[\r\n");
        json_array_foreach(value, i, member) {
            buf_puts(to, i == 0 ? "" : " , ");
            put_again(to, member);
        }
        buf_puts(to, " ]");
    } else if (jsontext_number(value, &text, &size)) {
        buf_append(to, text, size);
    } else {
        has_reals = has_reals || json_is_real(value);
        jsontext_write(to, value, NULL, &faults);
    }
    (void)faults_finish(&faults, &fault);
    fault_deinit(&fault);
}

/* ---- what a body means --------------------------------------------------------------------------------------------- */

struct meaning {
    int rc;
    struct submission submission;
    struct buf options;
    struct fault fault;
    int plan_rc;
    struct host_plan plan;
    struct fault plan_fault;
    uint8_t hash[32];
};

static void plan(struct meaning *m) {
    const struct submission *s = &m->submission;
    options_pack(&s->options, &m->options);
    m->plan_rc = (s->map ? host_plan_items : host_plan)(s->type, s->params.data, s->params.size, 0, NULL, &m->plan,
                                                        &m->plan_fault);
}

/* As a body of POST /v1/embeddings. */
static void understand_params(const char *text, size_t size, struct meaning *m) {
    uint32_t type = (uint32_t)host_known("openai-embeddings");
    memset(m, 0, sizeof *m);
    m->rc = submission_parse_params(type, text, size, MAX_DEPTH, &m->submission, &m->fault);
    require((m->rc == 0) == (m->fault.json.size == 0), "a fault without a reason, or a reason without a fault");
    if (m->rc == 0)
        plan(m);
}

static void understand(const char *text, size_t size, struct meaning *m) {
    struct fault ignored = {{0}};
    memset(m, 0, sizeof *m);
    m->rc = submission_parse(text, size, MAX_DEPTH, 0, &m->submission, &m->fault);
    require((m->rc == 0) == (m->fault.json.size == 0), "a fault without a reason, or a reason without a fault");
    if (m->rc == 0)
        plan(m);
    (void)!host_request_hash(text, size, MAX_DEPTH, m->hash, &ignored);
    fault_deinit(&ignored);
}

static void forget(struct meaning *m) {
    submission_deinit(&m->submission);
    buf_deinit(&m->options);
    fault_deinit(&m->fault);
    host_plan_deinit(&m->plan);
    fault_deinit(&m->plan_fault);
}

/* The planned item at *offset, which is moved behind it. */
static struct bytes next_item(const struct meaning *m, size_t *offset, struct planned_item *head) {
    struct bytes item = {m->plan.bytes.data + *offset, 0};
    require(m->plan.bytes.size - *offset >= sizeof *head, "a planned item is cut off");
    memcpy(head, item.data, sizeof *head);
    item.size = sizeof *head + ITEMS_PAD(head->size);
    *offset += item.size;
    require(*offset <= m->plan.bytes.size, "a planned item is cut off");
    return item;
}

/* What a bad item fails with. Its run makes the fault, and calls no handler. */
static void run_bad_item(const struct meaning *m, struct bytes item, struct buf *part) {
    struct fault fault = {{0}};
    struct bytes nothing = {"", 0};
    require(host_run_items(m->submission.type, 0, nothing, item, NULL, part, &fault) == 0, "a bad item does not run");
    fault_deinit(&fault);
}

/* A bad item can stand in the plan as the client has written it. forms: one map is by columns, and only the other is
 * not: then the faults of bad items are at other places. */
static void compare_items(const struct meaning *a, const struct meaning *b, bool forms) {
    size_t at_a = 0, at_b = 0;
    while (at_a < a->plan.bytes.size && at_b < b->plan.bytes.size) {
        struct planned_item x, y;
        struct bytes item_a = next_item(a, &at_a, &x), item_b = next_item(b, &at_b, &y);
        require(x.chunks == y.chunks, "only one spelling of an item is good");
        if (x.chunks > 0) {
            y.cost_ns = x.cost_ns; /* it can have been measured */
            require(has_reals || (item_a.size == item_b.size && (forms || memcmp(&x, &y, sizeof x) == 0) &&
                                  memcmp((const char *)item_a.data + sizeof x, (const char *)item_b.data + sizeof x,
                                         item_a.size - sizeof x) == 0),
                    "two spellings of an item have two plans");
            continue;
        }
        if (forms)
            continue;
        struct buf part_a = {0}, part_b = {0};
        run_bad_item(a, item_a, &part_a);
        run_bad_item(b, item_b, &part_b);
        require(is_equal(&part_a, &part_b), "two spellings of an item have two faults");
        buf_deinit(&part_a);
        buf_deinit(&part_b);
    }
    require(at_a == a->plan.bytes.size && at_b == b->plan.bytes.size, "two spellings have other items");
}

static void compare(const struct meaning *a, const struct meaning *b) {
    require(a->rc == b->rc, "only one spelling is taken");
    require(memcmp(a->hash, b->hash, sizeof a->hash) == 0, "two spellings have two hashes");
    require(is_equal(&a->fault.json, &b->fault.json), "two spellings have two faults");
    if (a->rc != 0)
        return;
    require(a->submission.type == b->submission.type && a->submission.items == b->submission.items,
            "two spellings are two submissions");
    require(is_equal(&a->options, &b->options), "two spellings have two sets of options");
    require(has_reals || a->submission.map || is_equal(&a->submission.params, &b->submission.params),
            "two spellings have other packed params");
    require(a->plan_rc == b->plan_rc && is_equal(&a->plan_fault.json, &b->plan_fault.json),
            "only one spelling can be planned");
    require(is_equal(&a->plan.common, &b->plan.common), "two spellings have two plans");
    if (a->submission.map)
        compare_items(a, b, false);
    else
        require(has_reals || is_equal(&a->plan.bytes, &b->plan.bytes), "two spellings have other chunks");
}

/* The body with its columns as a list of items. The caller frees it with json_decref. */
static json_t *with_items(json_t *body) {
    json_t *columns = json_object_get(body, "columns"), *items = json_array(), *copy, *value;
    const char *name;
    size_t calls = 0;
    json_object_foreach(columns, name, value) calls = json_is_array(value) ? json_array_size(value) : calls;
    for (size_t i = 0; i < calls; i++) {
        json_t *item = json_object();
        json_object_foreach(columns, name, value)(void) !json_object_set(
            item, name, json_is_array(value) ? json_array_get(value, i) : value);
        (void)!json_array_append_new(items, item);
    }
    copy = json_copy(body);
    (void)!json_object_del(copy, "columns");
    (void)!json_object_set_new(copy, "items", items);
    return copy;
}

/* a: of a map by columns. */
static void compare_with_items(const struct meaning *a, json_t *body) {
    struct buf text = {0};
    struct meaning b;
    json_t *other = with_items(body);
    has_reals = false;
    put_again(&text, other);
    understand(text.data, text.size, &b);
    require(b.rc == 0 && b.submission.items == a->submission.items, "the calls of columns are no items");
    require(is_equal(&a->options, &b.options), "columns and items have two sets of options");
    require(a->plan_rc == b.plan_rc && is_equal(&a->plan_fault.json, &b.plan_fault.json), "only one can be planned");
    compare_items(a, &b, true);
    forget(&b);
    json_decref(other);
    buf_deinit(&text);
}

static void compare_texts(const char *text, size_t size) {
    struct fault checked = {{0}}, parsed = {{0}};
    int rc = jsontext_check(text, size, MAX_DEPTH, &checked);
    json_t *value = jsontext_parse(text, size, MAX_DEPTH, &parsed);
    require((rc == 0) == (value != NULL), "jansson sees it otherwise");
    if (!is_equal(&checked.json, &parsed.json)) {
        fprintf(stderr, "check: %s\nparse: %s\n", checked.json.data, parsed.json.data);
        abort();
    }
    if (value != NULL) {
        struct buf again = {0};
        struct meaning a, b;
        has_reals = false;
        put_again(&again, value);
        understand(text, size, &a);
        understand(again.data, again.size, &b);
        compare(&a, &b);
        if (a.rc == 0 && a.submission.map && json_is_object(json_object_get(value, "columns")))
            compare_with_items(&a, value);
        forget(&a);
        forget(&b);
        understand_params(text, size, &a);
        understand_params(again.data, again.size, &b);
        compare(&a, &b);
        forget(&a);
        forget(&b);
        buf_deinit(&again);
    }
    json_decref(value);
    fault_deinit(&checked);
    fault_deinit(&parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready)
        host_init(true);
    ready = true;
    char *text = malloc(size > 0 ? size : 1); /* so that a read beyond the end is seen */
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    compare_texts(text, size);
    free(text);
    return 0;
}
