/* hostile_test.c: handlers that get bytes which no plan and no run has made: nothing, cut ones; for a plan also random ones. They can come
 * from a database, or from a worker that a bug or an attacker has changed. A handler reports them, or makes some result;
 * it reads nothing that is not there. To see that, run it with SANITIZE=address,undefined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/host.h"

enum { ROUNDS = 300, LOOKS = 50 };

/* A submission of each way in which a type can be called. */
static const char *const submissions[] = {
    "{\"type\":\"primes\",\"params\":{\"start\":0,\"stop\":1000}}",
    "{\"type\":\"primes\",\"params\":{\"start\":0,\"stop\":1000,\"op\":\"list\"}}",
    "{\"type\":\"primes\",\"params\":{\"start\":0,\"stop\":1000,\"op\":\"sum\"}}",
    "{\"type\":\"primes\",\"params\":{\"start\":0,\"stop\":1000,\"op\":\"twins\"}}",
    "{\"type\":\"primes\",\"params\":{\"numbers\":[]}}",
    "{\"type\":\"primes\",\"params\":{\"numbers\":[1,2,3]}}",
    "{\"type\":\"primes\",\"params\":{\"numbers\":[\"123456789012345678901234567890\"]}}",
    "{\"type\":\"sum\",\"params\":{\"start\":0,\"stop\":1000}}",
    "{\"type\":\"sum\",\"params\":{\"start\":0,\"stop\":1000,\"method\":\"closed_form\"}}",
    "{\"type\":\"sum\",\"params\":{\"numbers\":[]}}",
    "{\"type\":\"sum\",\"params\":{\"numbers\":[1,2,3],\"power\":3}}",
    "{\"type\":\"sum\",\"params\":{\"numbers\":[0.5,1]}}",
    "{\"type\":\"sum\",\"params\":{\"numbers\":[\"123456789012345678901234567890\",0.5]}}",
    "{\"type\":\"embeddings\",\"params\":{\"input\":[\"a\",\"bc\"]}}",
    "{\"type\":\"embeddings\",\"params\":{\"input\":\"a\",\"encoding_format\":\"base64\"}}",
    "{\"type\":\"echo\",\"params\":{\"value\":[1]}}",
    "{\"type\":\"collatz\",\"params\":{\"below\":1000}}",
    "{\"type\":\"burn\",\"params\":{\"cpu_ms\":0}}",
    "{\"type\":\"sleep\",\"params\":{\"ms\":0}}",
    "{\"type\":\"process\"}",
};

static unsigned looks;

/* So that a range which a random number makes huge comes to an end. */
static bool is_cancelled(void *arg) {
    (void)arg;
    return ++looks > LOOKS;
}

static const struct host_hooks hooks = {.cancelled = is_cancelled};

/* What the handlers get. The bytes are on the heap, in a block of their size, so that a sanitizer sees an access beyond
 * them. */
struct work {
    struct submission submission;
    struct host_plan plan;
    struct buf part;
};

static struct bytes copy_of(const void *data, size_t size) {
    void *copy = size == 0 ? NULL : malloc(size);
    if (size != 0)
        memcpy(copy, data, size);
    return (struct bytes){copy, size};
}

static void free_bytes(struct bytes b) {
    union {
        const void *in;
        void *out;
    } data = {b.data};
    free(data.out);
}

/* Nothing, a shorter one, or the same; with `any` also a longer one, or one with other bytes. */
static struct bytes damaged(const char *data, size_t size, bool any) {
    int how = any ? rand() % 5 : rand() % 3 == 2 ? 4 : rand() % 2;
    size_t cut = how == 0 || size == 0 ? 0 : how == 1 ? (size_t)rand() % size : size;
    struct buf b = {0};
    buf_append(&b, data, cut);
    for (int i = 0; how == 2 && i < 8 * (1 + rand() % 3); i++)
        buf_putc(&b, (char)(rand() % 256));
    for (int i = 0; how == 3 && i < 3 && b.size > 0; i++)
        b.data[(size_t)rand() % b.size] = (char)(rand() % 4 == 0 ? rand() % 256 : rand() % 3);
    struct bytes copy = copy_of(b.data, b.size);
    buf_deinit(&b);
    return copy;
}

static void open_work(const char *body, struct work *w) {
    struct fault fault = {{0}};
    memset(w, 0, sizeof *w);
    looks = 0;
    assert_int_equal(submission_parse(body, strlen(body), 64, 0, &w->submission, &fault), 0);
    struct submission *s = &w->submission;
    assert_int_equal(host_plan(s->type, s->params.data, s->params.size, 0, &hooks, &w->plan, &fault), 0);
    struct bytes common = {w->plan.common.data, w->plan.common.size},
                 chunk = {w->plan.bytes.data + w->plan.chunks[0].offset, w->plan.chunks[0].size};
    assert_int_equal(host_run(s->type, 0, common, chunk, &hooks, &w->part, &fault), 0);
}

static void close_work(struct work *w) {
    submission_deinit(&w->submission);
    host_plan_deinit(&w->plan);
    buf_deinit(&w->part);
}

static void try_plan(const struct work *w) {
    struct fault fault = {{0}};
    struct host_plan plan;
    struct bytes params = damaged(w->submission.params.data, w->submission.params.size, true);
    looks = 0;
    int rc = host_plan(w->submission.type, params.data, params.size, 0, &hooks, &plan, &fault);
    assert_true(rc == 0 || rc == HOST_CANCELLED || fault.json.size > 0);
    host_plan_deinit(&plan);
    fault_deinit(&fault);
    free_bytes(params);
}

static struct bytes any_common(const struct work *w) {
    const struct buf *common = &w->plan.common;
    return rand() % 2 == 0 ? damaged(common->data, common->size, false) : copy_of(common->data, common->size);
}

static void try_run(const struct work *w) {
    struct fault fault = {{0}};
    struct buf part = {0};
    struct bytes common = any_common(w),
                 chunk = damaged(w->plan.bytes.data + w->plan.chunks[0].offset, w->plan.chunks[0].size, false);
    looks = 0;
    int rc = host_run(w->submission.type, 0, common, chunk, &hooks, &part, &fault);
    assert_true(rc == 0 || rc == HOST_CANCELLED || fault.json.size > 0);
    buf_deinit(&part);
    fault_deinit(&fault);
    free_bytes(common);
    free_bytes(chunk);
}

static void try_merge(const struct work *w) {
    struct fault fault = {{0}};
    struct buf json = {0};
    struct bytes common = any_common(w), parts[3];
    size_t count = (size_t)rand() % 4;
    for (size_t i = 0; i < count; i++)
        parts[i] = damaged(w->part.data, w->part.size, false);
    looks = 0;
    int rc = host_merge(w->submission.type, common, parts, count, &hooks, &json, &fault);
    assert_true(rc == 0 || rc == HOST_CANCELLED || fault.json.size > 0);
    buf_deinit(&json);
    fault_deinit(&fault);
    free_bytes(common);
    for (size_t i = 0; i < count; i++)
        free_bytes(parts[i]);
}

static void try_all(void (*attempt)(const struct work *w)) {
    srand(1);
    for (size_t i = 0; i < sizeof submissions / sizeof *submissions; i++) {
        struct work w;
        open_work(submissions[i], &w);
        for (int round = 0; round < ROUNDS; round++)
            attempt(&w);
        close_work(&w);
    }
}

static void params_that_nobody_packed_are_planned_or_reported(void **state) {
    (void)state;
    try_all(try_plan);
}

static void chunks_that_nobody_planned_are_run_or_reported(void **state) {
    (void)state;
    try_all(try_run);
}

static void parts_that_nobody_made_are_merged_or_reported(void **state) {
    (void)state;
    try_all(try_merge);
}

static void a_merge_of_nothing_is_reported(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof submissions / sizeof *submissions; i++) {
        struct work w;
        struct fault fault = {{0}};
        struct buf json = {0};
        open_work(submissions[i], &w);
        struct bytes common = {w.plan.common.data, w.plan.common.size};
        assert_int_equal(host_merge(w.submission.type, common, NULL, 0, &hooks, &json, &fault), -1);
        assert_non_null(strstr(fault.json.data, "handler_failed"));
        buf_deinit(&json);
        fault_deinit(&fault);
        close_work(&w);
    }
}

static int init(void **state) {
    (void)state;
    struct buf error = {0};
    host_init(true);
    return host_load(NULL, &error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(params_that_nobody_packed_are_planned_or_reported),
        cmocka_unit_test(chunks_that_nobody_planned_are_run_or_reported),
        cmocka_unit_test(parts_that_nobody_made_are_merged_or_reported),
        cmocka_unit_test(a_merge_of_nothing_is_reported),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
