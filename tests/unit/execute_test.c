/* execute_test.c: how the host calls a handler, and how it reports the ways to fail: handlers/host/execute.c. Each test
 * sets the functions of the toy type "plain". */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/toy_types.h"

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

static int plan_nothing(struct call *c, const struct params *p) {
    (void)c, (void)p;
    return 0;
}

static int plan_three(struct call *c, const struct params *p) {
    (void)p;
    plan_common(c, "com", 3);
    plan_common(c, "mon", 3);
    plan_chunk(c, "a", 1, 10);
    plan_chunk(c, NULL, 0, 20);
    return plan_chunk(c, "0123456789", 10, 30);
}

static int plan_wanted(struct call *c, const struct params *p) {
    (void)p;
    for (unsigned i = 0; i < plan_wanted_chunks(c); i++)
        if (plan_chunk(c, &i, sizeof i, 1) != 0)
            return -1;
    return 0;
}

static int plan_one_too_many(struct call *c, const struct params *p) {
    (void)p;
    for (unsigned i = 0; i <= HANDLER_MAX_CHUNKS; i++)
        plan_chunk(c, NULL, 0, 1);
    return 0; /* it fails even though the handler does not check */
}

static int plan_too_much_in_common(struct call *c, const struct params *p) {
    static const char bytes[HANDLER_MAX_COMMON];
    (void)p;
    plan_common(c, bytes, sizeof bytes);
    plan_chunk(c, NULL, 0, 1);
    return plan_common(c, "x", 1);
}

static int plan_rejects(struct call *c, const struct params *p) {
    (void)p;
    return call_fail(c, CALL_INVALID, "/numbers/3", "is %d too many", 1);
}

static int run_fails_twice(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    call_fail(c, CALL_FAILED, NULL, "first \"reason\"");
    return call_fail(c, CALL_MEMORY, NULL, "second");
}

static int run_fails_at_length(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    return call_fail(c, CALL_MEMORY, NULL, "%01000d", 7);
}

static int run_fails_in_silence(struct call *c, struct bytes common, struct bytes chunk) {
    (void)c, (void)common, (void)chunk;
    return -1;
}

static int run_gives_up_if_cancelled(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    return call_cancelled(c) ? -1 : 0;
}

static int run_fails_and_returns_0(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    call_fail(c, CALL_FAILED, NULL, "failed");
    return 0;
}

static int run_plans(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    return plan_chunk(c, "x", 1, 1);
}

/* Checks that its inputs are aligned and not NULL. Writes the attempt and both inputs. */
static int run_writes(struct call *c, struct bytes common, struct bytes chunk) {
    if ((uintptr_t)common.data % 8 != 0 || (uintptr_t)chunk.data % 8 != 0 || common.data == NULL || chunk.data == NULL)
        return call_fail(c, CALL_FAILED, NULL, "unaligned");
    char attempt = (char)('0' + call_attempt(c));
    call_progress(c, 1, 2);
    part_write(c, &attempt, 1);
    part_write(c, common.data, common.size);
    return part_write(c, chunk.data, chunk.size);
}

static int merge_parts(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    json_begin_array(c);
    for (size_t i = 0; i < count; i++) {
        if ((uintptr_t)parts[i].data % 8 != 0)
            return call_fail(c, CALL_FAILED, NULL, "unaligned");
        json_text(c, parts[i].data, parts[i].size);
    }
    json_end_array(c);
    return 0;
}

static int merge_half(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)parts, (void)count;
    json_begin_object(c);
    return 0;
}

/* ---- the host ---------------------------------------------------------------------------------------------------- */

struct world {
    bool cancelled;
    uint64_t done, total;
};

static void see_progress(void *arg, uint64_t done, uint64_t total) {
    struct world *w = arg;
    w->done = done;
    w->total = total;
}

static bool is_cancelled(void *arg) {
    struct world *w = arg;
    return w->cancelled;
}

static struct buf pack_nothing(void) {
    struct buf packed = {0};
    struct faults faults = {.code = "invalid_params"};
    params_pack(&toy_tables()[TOY_PLAIN], NULL, NULL, &packed, &faults);
    assert_int_equal(faults.count, 0);
    return packed;
}

static int plan_plain(int (*plan)(struct call *, const struct params *), unsigned wanted, struct host_plan *out,
                      struct fault *fault) {
    struct buf packed = pack_nothing();
    toy_plain.plan = plan;
    int rc = host_plan(TOY_PLAIN, packed.data, packed.size, wanted, NULL, out, fault);
    buf_deinit(&packed);
    return rc;
}

static void assert_plan_fails(int (*plan)(struct call *, const struct params *), const char *expected) {
    struct host_plan out;
    struct fault fault = {0};
    assert_int_equal(plan_plain(plan, 0, &out, &fault), -1);
    assert_string_equal(fault.json.data, expected);
    fault_deinit(&fault);
    host_plan_deinit(&out);
}

static int run_plain(int (*run)(struct call *, struct bytes, struct bytes), const struct host_hooks *hooks,
                     struct buf *part, struct fault *fault) {
    toy_plain.run = run;
    return host_run(TOY_PLAIN, 2, (struct bytes){"common", 6}, (struct bytes){"chunk", 5}, hooks, part, fault);
}

static void assert_run_fails(int (*run)(struct call *, struct bytes, struct bytes), const char *expected) {
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(run_plain(run, NULL, &part, &fault), -1);
    assert_string_equal(fault.json.data, expected);
    fault_deinit(&fault);
    buf_deinit(&part);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void chunks_keep_their_order_bytes_and_costs(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {0};
    assert_int_equal(plan_plain(plan_three, 0, &plan, &fault), 0);
    assert_int_equal(plan.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(plan.chunks[i].offset % 8, 0);
        assert_int_equal(plan.chunks[i].cost_ns, 10 * (i + 1));
        assert_true(plan.chunks[i].offset + plan.chunks[i].size <= plan.bytes.size);
    }
    assert_int_equal(plan.chunks[0].size, 1);
    assert_int_equal(plan.chunks[1].size, 0);
    assert_memory_equal(plan.bytes.data + plan.chunks[2].offset, "0123456789", 10);
    assert_int_equal(plan.common.size, 6);
    assert_memory_equal(plan.common.data, "common", 6);
    host_plan_deinit(&plan);
}

static void the_wanted_number_of_chunks_reaches_the_handler(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {0};
    assert_int_equal(plan_plain(plan_wanted, 100, &plan, &fault), 0);
    assert_int_equal(plan.count, 100);
    host_plan_deinit(&plan);
    assert_int_equal(plan_plain(plan_wanted, 1000000, &plan, &fault), 0);
    assert_int_equal(plan.count, HANDLER_MAX_CHUNKS);
    host_plan_deinit(&plan);
}

static void a_plan_without_chunks_fails(void **state) {
    (void)state;
    assert_plan_fails(plan_nothing, "{\"code\":\"handler_failed\",\"detail\":\"the plain handler planned nothing\"}");
}

static void the_limits_of_a_plan_hold(void **state) {
    (void)state;
    assert_plan_fails(plan_one_too_many,
                      "{\"code\":\"handler_failed\",\"detail\":\"handler planned more than 4096 chunks\"}");
    assert_plan_fails(plan_too_much_in_common,
                      "{\"code\":\"handler_failed\",\"detail\":\"handler has more than 1024 common bytes\"}");
}

static void invalid_parameters_are_named_by_their_pointer(void **state) {
    (void)state;
    assert_plan_fails(plan_rejects, "{\"code\":\"invalid_params\",\"detail\":\"/params/numbers/3: is 1 too many\","
                                    "\"errors\":[{\"pointer\":\"/params/numbers/3\",\"detail\":\"is 1 too many\"}]}");
}

static void damaged_parameters_never_reach_the_handler(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {0};
    struct buf packed = pack_nothing();
    toy_plain.plan = plan_three;
    assert_int_equal(host_plan(TOY_PLAIN, packed.data, packed.size - 1, 0, NULL, &plan, &fault), -1);
    assert_int_equal(plan.count, 0);
    fault_deinit(&fault);
    assert_int_equal(host_plan(TOY_PLAIN, NULL, 0, 0, NULL, &plan, &fault), -1);
    fault_deinit(&fault);
    buf_deinit(&packed);
}

static void parameters_may_stand_at_any_address(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {0};
    struct buf packed = pack_nothing(), shifted = {0};
    buf_putc(&shifted, 'x');
    buf_append(&shifted, packed.data, packed.size);
    toy_plain.plan = plan_three;
    assert_int_equal(host_plan(TOY_PLAIN, shifted.data + 1, packed.size, 0, NULL, &plan, &fault), 0);
    host_plan_deinit(&plan);
    buf_deinit(&shifted);
    buf_deinit(&packed);
}

static void a_type_beyond_the_registry_is_a_fault(void **state) {
    (void)state;
    struct host_plan plan;
    struct fault fault = {0};
    struct buf out = {0};
    struct bytes none = {NULL, 0};
    assert_int_equal(host_plan(TOY_TYPES, NULL, 0, 0, NULL, &plan, &fault), -1);
    assert_true(fault.json.size > 0);
    host_plan_deinit(&plan);
    assert_int_equal(host_run(SIZE_MAX, 0, none, none, NULL, &out, &fault), -1);
    assert_int_equal(host_merge(99, none, NULL, 0, NULL, &out, &fault), -1);
    fault_deinit(&fault);
}

static void a_run_reads_its_inputs_and_writes_its_part(void **state) {
    (void)state;
    struct world world = {0};
    struct host_hooks hooks = {&world, see_progress, is_cancelled};
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(run_plain(run_writes, &hooks, &part, &fault), 0);
    assert_string_equal(part.data, "2commonchunk");
    assert_int_equal(world.done, 1);
    assert_int_equal(world.total, 2);
    buf_deinit(&part);
}

static void inputs_are_aligned_whatever_their_address(void **state) {
    (void)state;
    _Alignas(8) char bytes[32] = "01234567890123456789";
    struct buf part = {0};
    struct fault fault = {0};
    toy_plain.run = run_writes;
    for (size_t shift = 0; shift < 8; shift++) {
        struct bytes common = {bytes + shift, 4}, chunk = {bytes + 2 * shift, 0};
        buf_clear(&part);
        assert_int_equal(host_run(TOY_PLAIN, 0, common, chunk, NULL, &part, &fault), 0);
        assert_int_equal(part.size, 5);
        assert_memory_equal(part.data + 1, bytes + shift, 4);
    }
    buf_deinit(&part);
}

static void only_the_first_reason_counts(void **state) {
    (void)state;
    assert_run_fails(run_fails_twice, "{\"code\":\"handler_failed\",\"detail\":\"first \\\"reason\\\"\"}");
}

static void reasons_are_cut_at_500_bytes(void **state) {
    (void)state;
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(run_plain(run_fails_at_length, NULL, &part, &fault), -1);
    assert_int_equal(fault.json.size, strlen("{\"code\":\"memory_limit\",\"detail\":\"\"}") + 500);
    fault_deinit(&fault);
}

static void a_failure_without_a_reason_is_reported_as_one(void **state) {
    (void)state;
    assert_run_fails(run_fails_in_silence,
                     "{\"code\":\"handler_failed\",\"detail\":\"the plain handler gave no reason for its failure\"}");
}

static void a_failure_counts_even_if_0_is_returned(void **state) {
    (void)state;
    assert_run_fails(run_fails_and_returns_0, "{\"code\":\"handler_failed\",\"detail\":\"failed\"}");
}

static void planning_in_a_run_fails(void **state) {
    (void)state;
    assert_run_fails(run_plans, "{\"code\":\"handler_failed\",\"detail\":\"handler planned a chunk outside plan\"}");
}

static void giving_up_when_cancelled_is_no_failure(void **state) {
    (void)state;
    struct world world = {.cancelled = true};
    struct host_hooks hooks = {&world, see_progress, is_cancelled};
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(run_plain(run_gives_up_if_cancelled, &hooks, &part, &fault), HOST_CANCELLED);
    assert_int_equal(fault.json.size, 0);
    world.cancelled = false;
    assert_int_equal(run_plain(run_gives_up_if_cancelled, &hooks, &part, &fault), 0);
    buf_deinit(&part);
}

static void finishing_in_spite_of_a_cancel_is_a_success(void **state) {
    (void)state;
    struct world world = {.cancelled = true};
    struct host_hooks hooks = {&world, see_progress, is_cancelled};
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(run_plain(run_writes, &hooks, &part, &fault), 0);
    buf_deinit(&part);
}

static void a_merge_gets_the_parts_in_order(void **state) {
    (void)state;
    _Alignas(8) char bytes[16] = "onetwothree";
    struct bytes parts[] = {{bytes, 3}, {bytes + 3, 3}, {NULL, 0}, {bytes + 6, 5}};
    struct bytes none = {NULL, 0};
    struct buf json = {0};
    struct fault fault = {0};
    toy_plain.merge = merge_parts;
    assert_int_equal(host_merge(TOY_PLAIN, none, parts, 4, NULL, &json, &fault), 0);
    assert_string_equal(json.data, "[\"one\",\"two\",\"\",\"three\"]");
    buf_deinit(&json);
}

static void a_merge_that_stops_half_way_fails(void **state) {
    (void)state;
    struct bytes none = {NULL, 0};
    struct buf json = {0};
    struct fault fault = {0};
    toy_plain.merge = merge_half;
    assert_int_equal(host_merge(TOY_PLAIN, none, &none, 1, NULL, &json, &fault), -1);
    assert_non_null(strstr(fault.json.data, "malformed JSON"));
    fault_deinit(&fault);
    buf_deinit(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_keep_their_order_bytes_and_costs),
        cmocka_unit_test(the_wanted_number_of_chunks_reaches_the_handler),
        cmocka_unit_test(a_plan_without_chunks_fails),
        cmocka_unit_test(the_limits_of_a_plan_hold),
        cmocka_unit_test(invalid_parameters_are_named_by_their_pointer),
        cmocka_unit_test(damaged_parameters_never_reach_the_handler),
        cmocka_unit_test(parameters_may_stand_at_any_address),
        cmocka_unit_test(a_type_beyond_the_registry_is_a_fault),
        cmocka_unit_test(a_run_reads_its_inputs_and_writes_its_part),
        cmocka_unit_test(inputs_are_aligned_whatever_their_address),
        cmocka_unit_test(only_the_first_reason_counts),
        cmocka_unit_test(reasons_are_cut_at_500_bytes),
        cmocka_unit_test(a_failure_without_a_reason_is_reported_as_one),
        cmocka_unit_test(a_failure_counts_even_if_0_is_returned),
        cmocka_unit_test(planning_in_a_run_fails),
        cmocka_unit_test(giving_up_when_cancelled_is_no_failure),
        cmocka_unit_test(finishing_in_spite_of_a_cancel_is_a_success),
        cmocka_unit_test(a_merge_gets_the_parts_in_order),
        cmocka_unit_test(a_merge_that_stops_half_way_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
