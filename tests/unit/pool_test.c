/* pool_test.c: the pool at work, pool/pool.c and the modules below it: workers start, tasks go out, replies come back,
 * and tasks are stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/pool_world.h"

/* ---- start ------------------------------------------------------------------------------------------------------- */

static void every_slot_gets_a_worker_when_the_zygote_has_loaded(void **state) {
    (void)state;
    struct pool_config c = {.workers = 2, .express_workers = 1};
    start_pool(&c);
    settle();
    assert_no_request(&zygotes[0]);
    report_loaded(&zygotes[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct fake_worker *w = fork_worker(&zygotes[0]);
        assert_int_equal(w->slot, i);
        assert_int_equal(w->express, i == 2);
        assert_int_equal(w->start_type, START_FORKED);
        assert_int_equal(worker_lane(slot(i)), i == 2 ? LANE_EXPRESS : LANE_MAIN);
        assert_int_equal(worker_look(slot(i)).activity, WORKER_IS_STARTING);
        assert_false(worker_takes_tasks(slot(i)));
        become_ready(w);
        assert_int_equal(worker_look(slot(i)).activity, WORKER_IS_IDLE);
        assert_true(worker_is_unused(slot(i)) && worker_takes_tasks(slot(i)));
    }
}

static void a_failed_load_is_reported_and_starts_no_worker(void **state) {
    (void)state;
    start_pool(&small);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_LOAD_FAILED, .text = "primes"}, NULL);
    STEP_UNTIL(loop, seen.load_failed > 0);
    settle();
    assert_no_request(&zygotes[0]);
}

static void a_fork_that_failed_is_tried_again(void **state) {
    (void)state;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    await_request(&zygotes[0], ZYGOTE_SPAWN);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_NOT_SPAWNED, .status = EAGAIN}, NULL);
    next_worker(&zygotes[0]);
}

static void a_worker_without_a_socket_is_killed_and_replaced(void **state) {
    (void)state;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker w = {.zygote = &zygotes[0], .pid = FIRST_PID, .socket = -1, .stderr_fd = -1};
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_SPAWNED, .pid = w.pid}, NULL);
    await_signal(&w, SIGKILL);
    report_exit(&w, SIGKILL);
    next_worker(&zygotes[0]);
}

static void workers_that_were_not_asked_for_are_ignored(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    struct zygote_request once_more = {.slot = 0}, beyond = {.slot = 1};
    struct fake_worker *twice = fork_worker_as(&zygotes[0], &once_more, FIRST_PID + 100, false);
    struct fake_worker *stray = fork_worker_as(&zygotes[0], &beyond, FIRST_PID + 101, false);
    settle();
    assert_int_equal(worker_look(slot(0)).pid, w->pid);
    struct wire_header h[WIRE_MAX_FRAMES];
    assert_int_equal(hear(twice, h) + hear(stray, h), 0);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_EXITED, .slot = 9, .pid = w->pid}, NULL);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_EXITED, .slot = 0, .pid = w->pid + 1}, NULL);
    settle();
    assert_int_equal(seen.restarted, 0);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static void tasks_travel_together_and_their_replies_find_them(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    struct wire_header h[WIRE_MAX_FRAMES];
    uint64_t tickets[3];
    for (int i = 0; i < 3; i++)
        tickets[i] = give(0, &tasks[i], 8);
    assert_int_equal(hear(w, h), 0);
    pool_flush(slot(0));
    assert_int_equal(hear(w, h), 3);
    assert_int_equal(worker_in_flight(slot(0)), 3);
    assert_int_equal(worker_look(slot(0)).activity, WORKER_IS_BUSY);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(h[i].ticket, tickets[i]);
        answer(w, tickets[i]);
        assert_ptr_equal(seen.last_task, &tasks[i]);
    }
    assert_int_equal(worker_in_flight(slot(0)), 0);
    assert_int_equal(worker_look(slot(0)).tasks, 3);
    assert_false(worker_is_unused(slot(0)));
}

static void a_worker_takes_no_task_beyond_the_limit_in_flight(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = 0;
    for (int i = 0; i < WIRE_MAX_IN_FLIGHT; i++) {
        uint64_t ticket = give_now(0, &tasks[i]);
        first = i == 0 ? ticket : first;
    }
    assert_false(worker_takes_tasks(slot(0)));
    answer(w, first);
    assert_true(worker_takes_tasks(slot(0)));
}

static void a_long_task_is_counted_until_it_is_answered(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    struct wire_header h = {.kind = WIRE_RUN};
    uint64_t ticket = pool_send_task(slot(0), &(struct pool_task){.header = h, .owner = &tasks[0], .is_long = true});
    assert_true(worker_has_long_task(slot(0)));
    answer(w, ticket);
    assert_false(worker_has_long_task(slot(0)));
}

static void a_ping_is_answered_by_a_pong(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    struct wire_header h[WIRE_MAX_FRAMES];
    pool_ping(slot(0));
    assert_int_equal(hear(w, h), 1);
    assert_int_equal(h[0].kind, WIRE_PING);
    say(w, WIRE_PONG, h[0].ticket);
    STEP_UNTIL(loop, seen.pongs == 1);
    assert_int_equal(worker_in_flight(slot(0)), 0);
    assert_true(worker_is_unused(slot(0)));
}

static void progress_is_that_of_the_current_task(void **state) {
    (void)state;
    ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    uint64_t ticket = give_now(0, &tasks[0]);
    assert_true(pool_progress(slot(0), ticket) <= 0);
    atomic_store(&board->current, ticket);
    atomic_store(&board->done, 3);
    assert_true(pool_progress(slot(0), ticket) <= 0); /* the total is not known */
    atomic_store(&board->total, 4);
    assert_true(pool_progress(slot(0), ticket) > 0.74 && pool_progress(slot(0), ticket) < 0.76);
    assert_int_equal(pool_steps(slot(0), ticket), 3);
    assert_int_equal(pool_steps(slot(0), ticket + 1), 0);
    atomic_store(&board->done, 5);
    assert_true(pool_progress(slot(0), ticket) <= 1); /* a worker can write anything */
    scoreboard_unmap(board);
}

static void what_a_full_socket_does_not_take_waits_and_stays_in_order(void **state) {
    (void)state;
    struct wire_header h[WIRE_MAX_FRAMES];
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID, true);
    become_ready(w);
    uint64_t last = 0;
    unsigned sent = 0;
    while (sent < WIRE_MAX_IN_FLIGHT && worker_can_send(slot(0))) {
        last = give(0, &tasks[sent++], 1000);
        pool_flush(slot(0));
    }
    assert_false(worker_can_send(slot(0)));
    for (int i = 0; i < 3; i++, sent++) {
        last = give(0, &tasks[sent], 1000);
        pool_flush(slot(0));
    }
    pool_ping(slot(0)); /* has no effect: it would come between the parts of a merge */
    assert_int_equal(worker_in_flight(slot(0)), sent);
    uint64_t heard = 0;
    for (unsigned i = 0; i < sent;) {
        unsigned n = hear(w, h);
        for (unsigned j = 0; j < n; j++, i++)
            assert_int_equal(h[j].ticket, ++heard);
        loop_step(loop, 0);
    }
    assert_int_equal(heard, last);
    assert_true(worker_can_send(slot(0)));
    assert_int_equal(seen.can_send, 1);
}

static void a_bulk_payload_waits_with_its_descriptor(void **state) {
    (void)state;
    struct wire_header head = {.kind = WIRE_RUN}, h[WIRE_MAX_FRAMES];
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID, true);
    become_ready(w);
    while (worker_can_send(slot(0)))
        give_now(0, NULL);
    struct slice bulk = slice_all(blob_copy_sealed("pool-test", "bulk", 4));
    uint64_t ticket = pool_send_task(slot(0), &(struct pool_task){.header = head, .payload = bulk, .owner = &tasks[0]});
    slice_deinit(&bulk);
    pool_flush(slot(0));
    assert_int_equal(blob_held_bytes, 4);
    h[0].ticket = 0;
    while (h[0].ticket != ticket) {
        hear(w, h);
        loop_step(loop, 0);
    }
    assert_true((h[0].flags & WIRE_BULK) != 0);
    assert_int_equal(blob_held_bytes, 0);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static void a_task_that_does_not_stop_meets_sigterm_and_then_sigkill(void **state) {
    (void)state;
    struct pool_config c = small;
    c.cancel_grace_ns = NS_PER_S / 2;
    struct fake_worker *w = ready_worker(&c);
    struct scoreboard_slot *board = board_of(0);
    uint64_t ticket = give_now(0, &tasks[0]);
    assert_true(pool_stop_task(slot(0), ticket, STOP_TIMEOUT));
    assert_int_equal(atomic_load(&board->cancelled[ticket % WIRE_MAX_IN_FLIGHT]), ticket);
    scoreboard_unmap(board);
    await_signal(w, SIGTERM);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_int_equal(seen.lost, 1);
    assert_string_equal(seen.lost_tasks[0].cause, "timeout");
}

static void a_task_that_stops_in_time_meets_no_signal(void **state) {
    (void)state;
    struct pool_config c = small;
    c.cancel_grace_ns = 100 * NS_PER_MS;
    struct fake_worker *w = ready_worker(&c);
    uint64_t ticket = give_now(0, &tasks[0]);
    say(w, WIRE_CANCELLED, ticket);
    assert_true(pool_stop_task(slot(0), ticket, STOP_CANCEL));
    STEP_UNTIL(loop, seen.replies == 1);
    assert_int_equal(seen.last_kind, WIRE_CANCELLED);
    for (int64_t end_ns = clock_monotonic_ns() + 150 * NS_PER_MS; clock_monotonic_ns() < end_ns;)
        loop_step(loop, NS_PER_MS);
    assert_no_request(&zygotes[0]);
}

static void a_task_that_had_not_begun_is_forgotten_at_once(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = give_now(0, &tasks[0]), second = give_now(0, &tasks[1]);
    assert_false(pool_stop_task(slot(0), second, STOP_CANCEL));
    assert_false(pool_stop_task(slot(0), second + 1, STOP_CANCEL)); /* there is no such task */
    answer(w, first);
    say(w, WIRE_CANCELLED, second);
    STEP_UNTIL(loop, worker_in_flight(slot(0)) == 0);
    assert_int_equal(seen.replies, 1);
    assert_int_equal(worker_look(slot(0)).tasks, 1);
}

static void a_forgotten_task_is_pressed_when_it_is_the_oldest(void **state) {
    (void)state;
    struct pool_config c = small;
    c.cancel_grace_ns = NS_PER_S / 2;
    struct fake_worker *w = ready_worker(&c);
    uint64_t first = give_now(0, &tasks[0]), second = give_now(0, &tasks[1]);
    assert_false(pool_stop_task(slot(0), second, STOP_CANCEL));
    answer(w, first);
    await_signal(w, SIGTERM);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_int_equal(seen.lost, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOL_TEST(every_slot_gets_a_worker_when_the_zygote_has_loaded),
        POOL_TEST(a_failed_load_is_reported_and_starts_no_worker),
        POOL_TEST(a_fork_that_failed_is_tried_again),
        POOL_TEST(a_worker_without_a_socket_is_killed_and_replaced),
        POOL_TEST(workers_that_were_not_asked_for_are_ignored),
        POOL_TEST(tasks_travel_together_and_their_replies_find_them),
        POOL_TEST(a_worker_takes_no_task_beyond_the_limit_in_flight),
        POOL_TEST(a_long_task_is_counted_until_it_is_answered),
        POOL_TEST(a_ping_is_answered_by_a_pong),
        POOL_TEST(progress_is_that_of_the_current_task),
        POOL_TEST(what_a_full_socket_does_not_take_waits_and_stays_in_order),
        POOL_TEST(a_bulk_payload_waits_with_its_descriptor),
        POOL_TEST(a_task_that_does_not_stop_meets_sigterm_and_then_sigkill),
        POOL_TEST(a_task_that_stops_in_time_meets_no_signal),
        POOL_TEST(a_task_that_had_not_begun_is_forgotten_at_once),
        POOL_TEST(a_forgotten_task_is_pressed_when_it_is_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
