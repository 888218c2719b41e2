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
    struct pool_config c = {.workers = 2, .express_workers = 1, .worker_nice = 5};
    start_pool(&c);
    settle();
    assert_no_request(&zygotes[0]);
    report_loaded(&zygotes[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct fake_worker *w = fork_worker(&zygotes[0]);
        assert_int_equal(w->slot, i);
        assert_int_equal(w->nice, i == 2 ? 0 : 5);
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

static void one_flush_sends_to_all_that_have_got_tasks(void **state) {
    (void)state;
    const struct pool_config three = {.workers = 3, .cancel_grace_ns = NS_PER_S};
    struct fake_worker *w[3];
    struct wire_header h[WIRE_MAX_FRAMES];
    start_pool(&three);
    report_loaded(&zygotes[0]);
    for (int i = 0; i < 3; i++)
        w[i] = next_worker(&zygotes[0]);
    give(2, &tasks[0], 8);
    give(0, &tasks[1], 8);
    give(0, &tasks[2], 8);
    pool_flush(slot(2)); /* it is in the list of those to be flushed all the same */
    give(2, &tasks[3], 8);
    pool_flush_all(pool);
    assert_int_equal(hear(w[0], h), 2);
    assert_int_equal(hear(w[1], h), 0);
    assert_int_equal(hear(w[2], h), 1);
    assert_int_equal(hear(w[2], h), 1);
    pool_flush_all(pool); /* nothing is left */
    for (int i = 0; i < 3; i++)
        assert_int_equal(hear(w[i], h), 0);
}

static void a_flush_after_a_death_sends_nothing_to_the_next_process(void **state) {
    (void)state;
    struct wire_header h[WIRE_MAX_FRAMES];
    struct fake_worker *w = ready_worker(&small);
    give(0, &tasks[0], 8);
    report_exit(w, SIGSEGV);
    assert_int_equal(seen.lost, 1);
    w = next_worker(&zygotes[0]);
    pool_flush_all(pool);
    assert_int_equal(hear(w, h), 0);
    give(0, &tasks[1], 8);
    pool_flush_all(pool);
    assert_int_equal(hear(w, h), 1);
}

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

/* ---- tasks that are held back ------------------------------------------------------------------------------------ */

/* Sends three tasks. The worker has done the first, and is at the second. */
static void hold_back(struct fake_worker *w, uint64_t tickets[3]) {
    struct scoreboard_slot *board = board_of(w->slot);
    for (unsigned i = 0; i < 3; i++)
        tickets[i] = give_now(w->slot, &tasks[i]);
    atomic_store(&board->passed, tickets[0]);
    atomic_store(&board->current, tickets[1]);
    scoreboard_unmap(board);
}

static void tasks_before_and_behind_a_slow_one_are_given_back(void **state) {
    (void)state;
    uint64_t tickets[3];
    struct fake_worker *w = ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    hold_back(w, tickets);
    assert_true(pool_task_is_held_back(slot(0), tickets[0]));
    assert_false(pool_task_is_held_back(slot(0), tickets[1]));
    assert_true(pool_task_is_held_back(slot(0), tickets[2]));
    assert_false(pool_task_is_held_back(slot(0), tickets[2] + 1));
    STEP_UNTIL(loop, seen.held_back == 2);
    assert_ptr_equal(seen.held_back_task, &tasks[2]);
    assert_int_equal(atomic_load(&board->cancelled[tickets[2] % WIRE_MAX_IN_FLIGHT]), tickets[2]);
    scoreboard_unmap(board);
    assert_false(worker_takes_tasks(slot(0))); /* they would be held back, too */
    say(w, WIRE_DONE, tickets[0]);             /* it comes after all, and is dropped */
    answer(w, tickets[1]);
    assert_ptr_equal(seen.last_task, &tasks[1]);
    say(w, WIRE_CANCELLED, tickets[2]);
    STEP_UNTIL(loop, worker_in_flight(slot(0)) == 0);
    assert_true(worker_takes_tasks(slot(0)));
    assert_int_equal(seen.replies, 1);
    assert_int_equal(seen.held_back, 2);
}

static void an_owner_can_go_on_waiting_for_a_task_that_is_held_back(void **state) {
    (void)state;
    uint64_t tickets[3];
    struct fake_worker *w = ready_worker(&small);
    seen.keep_waiting = true;
    hold_back(w, tickets);
    STEP_UNTIL(loop, seen.held_back == 4); /* it is asked again */
    for (int i = 0; i < 3; i++) {
        answer(w, tickets[i]);
        assert_ptr_equal(seen.last_task, &tasks[i]);
    }
}

static void a_worker_that_goes_on_from_task_to_task_holds_nothing_back(void **state) {
    (void)state;
    uint64_t tickets[2];
    struct fake_worker *w = ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    tickets[1] = give_now(0, &tasks[0]);
    for (int64_t end_ns = clock_monotonic_ns() + 100 * NS_PER_MS; clock_monotonic_ns() < end_ns;) {
        tickets[0] = tickets[1];
        tickets[1] = give_now(0, &tasks[0]);
        answer(w, tickets[0]);
        assert_int_equal(seen.held_back, 0);
    }
    scoreboard_unmap(board);
}

static void a_task_behind_one_that_is_done_is_pressed(void **state) {
    (void)state;
    struct pool_config c = small;
    uint64_t tickets[3];
    c.cancel_grace_ns = NS_PER_S / 2;
    struct fake_worker *w = ready_worker(&c);
    hold_back(w, tickets);
    assert_true(pool_stop_task(slot(0), tickets[1], STOP_TIMEOUT)); /* it has begun */
    await_signal(w, SIGTERM);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_int_equal(seen.lost, 1); /* the others were given back before */
    assert_ptr_equal(seen.lost_tasks[0].task, &tasks[1]);
    assert_true(seen.lost_tasks[0].guilty);
}

static void to_stop_a_task_that_is_done_does_not_press_the_worker(void **state) {
    (void)state;
    struct pool_config c = small;
    uint64_t tickets[3];
    c.cancel_grace_ns = 20 * NS_PER_MS;
    struct fake_worker *w = ready_worker(&c);
    hold_back(w, tickets);
    assert_false(pool_stop_task(slot(0), tickets[0], STOP_TIMEOUT));
    for (int64_t end_ns = clock_monotonic_ns() + 100 * NS_PER_MS; clock_monotonic_ns() < end_ns;)
        loop_step(loop, NS_PER_MS);
    assert_no_request(&zygotes[0]);
    say(w, WIRE_DONE, tickets[0]);
    answer(w, tickets[1]);
    assert_int_equal(seen.replies, 1);
}

static void a_worker_that_says_it_has_done_more_than_it_got_is_not_believed(void **state) {
    (void)state;
    uint64_t tickets[3];
    struct fake_worker *w = ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    hold_back(w, tickets);
    atomic_store(&board->passed, UINT64_MAX);
    scoreboard_unmap(board);
    assert_false(pool_task_is_held_back(slot(0), tickets[0]));
    assert_true(pool_task_is_held_back(slot(0), tickets[1]));
    assert_true(pool_stop_task(slot(0), tickets[0], STOP_CANCEL));
}

/* ---- frames that do not fit -------------------------------------------------------------------------------------- */

static void a_large_payload_on_the_heap_travels_as_a_memfd(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    static unsigned char buffer[WIRE_MAX_DATAGRAM];
    static const char bytes[WIRE_MAX_DATAGRAM + 1000];
    struct wire_reader r;
    struct wire_frame f;
    struct slice part = slice_copy(bytes, sizeof bytes), bulk;
    uint64_t ticket = give_now(0, &tasks[0]);
    struct wire_header h[WIRE_MAX_FRAMES];
    assert_int_equal(hear(w, h), 1);
    pool_send_part(slot(0), ticket, &part);
    pool_send_part(slot(0), ticket, &part);
    pool_flush(slot(0));
    slice_deinit(&part);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wire_receive(w->socket, buffer, &r), 1);
        assert_int_equal(wire_next(&r, &f), 1);
        assert_int_equal(f.header.kind, WIRE_PART);
        assert_int_equal(wire_take_bulk(&r, &f, &bulk), 0);
        assert_int_equal(bulk.size, sizeof bytes);
        slice_deinit(&bulk);
        wire_close_reader(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOL_TEST(every_slot_gets_a_worker_when_the_zygote_has_loaded),
        POOL_TEST(a_failed_load_is_reported_and_starts_no_worker),
        POOL_TEST(a_fork_that_failed_is_tried_again),
        POOL_TEST(a_worker_without_a_socket_is_killed_and_replaced),
        POOL_TEST(workers_that_were_not_asked_for_are_ignored),
        POOL_TEST(one_flush_sends_to_all_that_have_got_tasks),
        POOL_TEST(a_flush_after_a_death_sends_nothing_to_the_next_process),
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
        POOL_TEST(tasks_before_and_behind_a_slow_one_are_given_back),
        POOL_TEST(an_owner_can_go_on_waiting_for_a_task_that_is_held_back),
        POOL_TEST(a_worker_that_goes_on_from_task_to_task_holds_nothing_back),
        POOL_TEST(a_task_behind_one_that_is_done_is_pressed),
        POOL_TEST(to_stop_a_task_that_is_done_does_not_press_the_worker),
        POOL_TEST(a_worker_that_says_it_has_done_more_than_it_got_is_not_believed),
        POOL_TEST(a_large_payload_on_the_heap_travels_as_a_memfd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
