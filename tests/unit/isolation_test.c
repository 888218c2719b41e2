/* isolation_test.c: workers that work for one owner alone, pool/isolation.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/pool_world.h"

/* ---- isolation --------------------------------------------------------------------------------------------------- */

static int owner;

static void an_unused_worker_is_isolated_at_once(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    assert_true(pool_isolate_worker(slot(0), &owner, START_FORKED));
    assert_ptr_equal(worker_owner(slot(0)), &owner);
    assert_int_equal(pool_owned(pool), 1);
    answer(w, give_now(0, &tasks[0]));
    struct wire_header h[WIRE_MAX_FRAMES];
    assert_int_equal(hear(w, h), 1);
    pool_release_worker(slot(0));
    assert_null(worker_owner(slot(0)));
    assert_int_equal(pool_owned(pool), 0);
    expect_frame(w, WIRE_EXIT);
    report_exit(w, 0);
    assert_int_equal(seen.isolation_ended, 0);
    assert_true(worker_is_unused(slot(next_worker(&zygotes[0])->slot)));
}

static void a_used_worker_is_replaced_for_its_owner(void **state) {
    (void)state;
    struct wire_header h[WIRE_MAX_FRAMES];
    struct fake_worker *w = ready_worker(&small);
    answer(w, give_now(0, &tasks[0]));
    hear(w, h);
    assert_false(pool_isolate_worker(slot(0), &owner, START_FORKED));
    assert_false(worker_takes_tasks(slot(0)));
    assert_int_equal(pool_owned(pool), 1);
    expect_frame(w, WIRE_EXIT);
    report_exit(w, 0);
    assert_ptr_equal(worker_owner(slot(0)), &owner);
    assert_int_equal(pool_owned(pool), 1);
    assert_int_equal(seen.isolation_ended, 0);
    w = next_worker(&zygotes[0]);
    assert_ptr_equal(worker_owner(slot(0)), &owner);
    assert_true(worker_is_unused(slot(0)));
    report_exit(w, SIGSEGV);
    assert_int_equal(seen.isolation_ended, 1);
    assert_ptr_equal(seen.owner, &owner);
    assert_false(seen.start_failed);
    assert_null(worker_owner(slot(0)));
    assert_int_equal(pool_owned(pool), 0);
}

static void an_unused_worker_that_is_released_stays(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    struct wire_header h[WIRE_MAX_FRAMES];
    assert_true(pool_isolate_worker(slot(0), &owner, START_FORKED));
    pool_release_worker(slot(0));
    assert_int_equal(hear(w, h), 0);
    assert_true(worker_takes_tasks(slot(0)));
}

/* Isolates the worker, which leaves, for a process that loads a handler. Returns the request for that process. */
static struct zygote_request isolate_by_type(struct fake_worker *w, uint32_t type) {
    assert_false(pool_isolate_worker(slot(0), &owner, type));
    expect_frame(w, WIRE_EXIT);
    report_exit(w, 0);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    assert_int_equal(q.start_type, type);
    return q;
}

static void a_worker_that_loads_a_handler_by_itself_is_the_owners(void **state) {
    (void)state;
    struct wire_header h[WIRE_MAX_FRAMES];
    struct zygote_request q = isolate_by_type(ready_worker(&small), 3);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID + 50, false);
    become_ready(w);
    assert_int_equal(worker_start_type(slot(0)), 3);
    answer(w, give_now(0, &tasks[0]));
    hear(w, h);
    pool_release_worker(slot(0));
    expect_frame(w, WIRE_EXIT);
    report_exit(w, 0);
    assert_int_equal(worker_start_type(slot(0)), START_FORKED);
}

static void a_handler_that_a_worker_cannot_load_ends_the_isolation(void **state) {
    (void)state;
    struct zygote_request q = isolate_by_type(ready_worker(&small), 3);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID + 50, false);
    settle();
    report_exit(w, 1 << 8);
    assert_int_equal(seen.isolation_ended, 1);
    assert_true(seen.start_failed);
    assert_int_equal(worker_start_type(slot(0)), START_FORKED);
}

static void a_worker_that_is_released_while_it_loads_is_killed(void **state) {
    (void)state;
    struct zygote_request q = isolate_by_type(ready_worker(&small), 3);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID + 50, false);
    settle();
    pool_release_worker(slot(0));
    await_signal(w, SIGKILL);
    assert_true(worker_is_changing(slot(0)));
    report_exit(w, SIGKILL);
    assert_string_equal(seen.cause, "recycled");
    assert_int_equal(seen.isolation_ended, 0);
}

static void a_worker_that_is_released_before_it_is_forked_is_killed(void **state) {
    (void)state;
    struct zygote_request q = isolate_by_type(ready_worker(&small), 3);
    pool_release_worker(slot(0));
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID + 50, false);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_int_equal(worker_start_type(slot(0)), START_FORKED);
}

static void a_worker_that_is_released_while_it_is_replaced_becomes_a_forked_one(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    assert_false(pool_isolate_worker(slot(0), &owner, 3));
    pool_release_worker(slot(0));
    report_exit(w, 0);
    assert_int_equal(seen.isolation_ended, 0);
    assert_int_equal(next_worker(&zygotes[0])->start_type, START_FORKED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOL_TEST(an_unused_worker_is_isolated_at_once),
        POOL_TEST(a_used_worker_is_replaced_for_its_owner),
        POOL_TEST(an_unused_worker_that_is_released_stays),
        POOL_TEST(a_worker_that_loads_a_handler_by_itself_is_the_owners),
        POOL_TEST(a_handler_that_a_worker_cannot_load_ends_the_isolation),
        POOL_TEST(a_worker_that_is_released_while_it_loads_is_killed),
        POOL_TEST(a_worker_that_is_released_before_it_is_forked_is_killed),
        POOL_TEST(a_worker_that_is_released_while_it_is_replaced_becomes_a_forked_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
