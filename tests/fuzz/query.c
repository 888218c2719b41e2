/* query.c: fuzzes what becomes of a query (host_query_to_json) and of an Accept (host_choose_result), and the submission
 * with data parts that their text is read as.
 *
 *     byte 0     how many data parts there are: its low 2 bits; bit 2: with ranges of Accept
 *     the rest   the type, a NUL, then pairs NAME NUL VALUE NUL; ranges are pairs whose name begins with "Accept"
 *
 * The text is JSON of one shape, whatever the pairs are; it is the same when it is made again; and what was stored of a
 * submission is read again as the same one. */
#include "handlers/host/fault.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"
#include "tests/fuzz/input.h"

#define MAX_PAIRS 16
#define MAX_DEPTH 64

struct query {
    struct host_pair pairs[MAX_PAIRS];
    struct host_range ranges[MAX_PAIRS];
    size_t count, range_count;
    uint32_t parts;
    bool with_ranges;
};

/* Each text is an allocation of its own, so that a read beyond its end is seen. */
static char *take_text(struct input *in) {
    size_t size = strnlen((const char *)in->data, in->size);
    char *text = malloc(size + 1);
    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, in->data, size);
    text[size] = '\0';
    (void)take_bytes(in, size + 1);
    return text;
}

static void add_range(struct query *q, const char *name, const char *quality) {
    struct host_range *r = &q->ranges[q->range_count++];
    snprintf(r->name, sizeof r->name, "%s", name);
    r->quality = (unsigned)atoi(quality) % 1001;
}

static void read_query(struct input *in, struct query *q) {
    uint8_t first = take_u8(in);
    q->parts = first & 3;
    q->with_ranges = (first & 4) != 0;
    q->pairs[q->count++] = (struct host_pair){strdup("type"), take_text(in)};
    while (in->size > 0 && q->count < MAX_PAIRS && q->range_count < MAX_PAIRS) {
        char *name = take_text(in), *value = take_text(in);
        if (strncmp(name, "Accept", 6) != 0) {
            q->pairs[q->count++] = (struct host_pair){name, value};
            continue;
        }
        add_range(q, name + 6, value);
        free(name);
        free(value);
    }
}

static void forget_query(struct query *q) {
    for (size_t i = 0; i < q->count; i++) {
        free((void *)(uintptr_t)q->pairs[i].name);
        free((void *)(uintptr_t)q->pairs[i].value);
    }
}

static bool is_equal(const struct buf *a, const struct buf *b) {
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* A copy without anything behind it. */
static char *exact_text(const struct buf *text) {
    return exact_copy(text->data, text->size);
}

static int parse(const struct buf *text, uint32_t parts, struct submission *s) {
    struct fault fault = {{0}};
    char *copy = exact_text(text);
    int rc = submission_parse(copy, text->size, MAX_DEPTH, parts, s, &fault);
    MUST((rc == 0) == (fault.json.size == 0));
    fault_deinit(&fault);
    free(copy);
    return rc;
}

/* All attachments are data parts then, as they are when the service has started anew. */
static void read_again(const struct submission *s, uint32_t parts) {
    struct submission again;
    if (s->text.size > 0) {
        MUST(parse(&s->text, parts + s->extra_count, &again) == 0);
        MUST(again.extra_count == 0 && again.type == s->type);
        MUST(is_equal(&again.params, &s->params) && is_equal(&again.text, &s->text));
        submission_deinit(&again);
    }
}

static void submit(const struct buf *text, uint32_t parts) {
    struct submission s;
    if (parse(text, parts, &s) == 0) {
        MUST(!s.map);
        MUST(parts == 0 || s.text.size > 0);
        for (uint32_t i = 0; i < s.extra_count; i++)
            MUST(s.extras[i].where != NULL && s.extras[i].where[0] == '/');
        read_again(&s, parts);
    }
    submission_deinit(&s);
}

/* What is chosen is one more parameter, of a type that has it. It is not chosen twice. */
static void choose(const struct query *q, const struct buf *text, struct buf *chosen) {
    struct buf twice = {0};
    char *copy = exact_text(text);
    host_choose_result(copy, text->size, q->ranges, q->range_count, chosen);
    free(copy);
    if (chosen->size == 0)
        return;
    struct fault fault = {{0}};
    json_t *before = jsontext_parse(text->data, text->size, MAX_DEPTH + 2, &fault);
    json_t *after = jsontext_parse(chosen->data, chosen->size, MAX_DEPTH + 2, &fault);
    MUST(before != NULL && after != NULL);
    json_t *params = json_object_get(after, "params");
    const struct handler *h = host_handler((size_t)host_find(json_string_value(json_object_get(after, "type"))));
    MUST(json_object_size(params) == json_object_size(json_object_get(before, "params")) + 1);
    MUST(json_object_del(params, h->result_param) == 0);
    MUST(json_equal(before, after));
    host_choose_result(chosen->data, chosen->size, q->ranges, q->range_count, &twice);
    MUST(twice.size == 0);
    json_decref(before);
    json_decref(after);
}

/* Two pairs of one name make two members, which the check refuses. */
static bool is_whole(const struct buf *text) {
    struct fault fault = {{0}};
    bool whole = jsontext_check(text->data, text->size, MAX_DEPTH + 2, &fault) == 0;
    fault_deinit(&fault);
    return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    struct input in = {data, size};
    struct query q = {0};
    struct buf text = {0}, again = {0}, chosen = {0};
    struct fault fault = {{0}};
    if (!ready)
        host_init(true);
    ready = true;
    read_query(&in, &q);
    MUST(host_query_to_json(q.pairs, q.count, &text, &fault) == 0);
    MUST(host_query_to_json(q.pairs, q.count, &again, &fault) == 0);
    MUST(is_equal(&text, &again));
    if (q.with_ranges && is_whole(&text))
        choose(&q, &text, &chosen);
    submit(chosen.size > 0 ? &chosen : &text, q.parts);
    buf_deinit(&text);
    buf_deinit(&again);
    buf_deinit(&chosen);
    forget_query(&q);
    return 0;
}
