/* pool_death_test.c: workers that break the protocol, die, use too much memory or are recycled, and what happens to
 * their tasks and their slots then: pool/life.c, pool/receiving.c and pool/memory_limit.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/host.h"
#include "tests/unit/pool_world.h"

/* ---- workers that break the protocol ----------------------------------------------------------------------------- */

/* The worker is killed, and its task is lost with the cause "protocol". */
static void expect_protocol_death(struct fake_worker *w) {
    await_signal(w, SIGKILL);
    assert_false(worker_takes_tasks(slot(0)));
    report_exit(w, SIGKILL);
    assert_int_equal(seen.replies, 0);
    assert_int_equal(seen.lost, 1);
    assert_string_equal(seen.lost_tasks[0].cause, "protocol");
    next_worker(&zygotes[0]);
}

static void a_reply_out_of_order_kills_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, NULL);
    say(w, WIRE_DONE, give_now(0, &tasks[0]));
    expect_protocol_death(w);
}

static void a_reply_that_the_owner_rejects_kills_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    seen.reject_replies = true;
    say(w, WIRE_DONE, give_now(0, &tasks[0]));
    expect_protocol_death(w);
}

static void a_request_from_a_worker_kills_it(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    say(w, WIRE_RUN, give_now(0, &tasks[0]));
    expect_protocol_death(w);
}

static void a_second_ready_kills_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    say(w, WIRE_READY, 0);
    expect_protocol_death(w);
}

static void bytes_that_are_no_frame_kill_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    assert_int_equal(send(w->socket, "nonsense", 8, 0), 8);
    expect_protocol_death(w);
}

static void a_reply_without_a_task_kills_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    say(w, WIRE_DONE, 1);
    await_signal(w, SIGKILL);
}

static void a_worker_that_closes_its_socket_is_killed(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    close(w->socket);
    w->socket = -1;
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_string_equal(seen.lost_tasks[0].cause, "signal");
}

static const struct wire_loss good_loss = {.cause = HOST_LOST_EXIT, .exit_code = 3, .steps = 7};

/* A loss of so many bytes. */
static void expect_bad_loss(struct wire_loss loss, size_t size) {
    unsigned char bytes[sizeof loss + HANDLER_MAX_LAST_WORDS + 1] = {0};
    struct fake_worker *w = ready_worker(&small);
    memcpy(bytes, &loss, sizeof loss);
    say_with(w, (struct wire_header){.kind = WIRE_LOST, .ticket = give_now(0, &tasks[0])}, bytes, size);
    expect_protocol_death(w);
}

/* A process that worked for several tasks: none of them is answered by that. */
static void the_death_of_a_process_is_reported_and_no_task_is_lost(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = give_now(0, &tasks[0]), second = give_now(0, &tasks[1]);
    say_with(w, (struct wire_header){.kind = WIRE_DIED, .ticket = second}, &good_loss, sizeof good_loss);
    STEP_UNTIL(loop, seen.processes_died == 1);
    assert_string_equal(seen.cause, "exit");
    assert_int_equal(seen.lost, 0);
    answer(w, first);
    answer(w, second);
}

static void a_death_of_no_task_kills_the_worker(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t ticket = give_now(0, &tasks[0]);
    say_with(w, (struct wire_header){.kind = WIRE_DIED, .ticket = ticket + 1}, &good_loss, sizeof good_loss);
    expect_protocol_death(w);
    assert_int_equal(seen.processes_died, 0);
}

static void a_loss_of_no_cause_kills_the_worker(void **state) {
    (void)state;
    struct wire_loss l = good_loss;
    l.cause = HOST_NOT_LOST;
    expect_bad_loss(l, sizeof l);
}

static void a_loss_of_an_unknown_cause_kills_the_worker(void **state) {
    (void)state;
    struct wire_loss l = good_loss;
    l.cause = HOST_LOST_PROTOCOL + 1;
    expect_bad_loss(l, sizeof l);
}

static void a_loss_that_is_too_short_kills_the_worker(void **state) {
    (void)state;
    expect_bad_loss(good_loss, sizeof good_loss - 1);
}

static void a_loss_with_too_many_words_kills_the_worker(void **state) {
    (void)state;
    expect_bad_loss(good_loss, sizeof good_loss + HANDLER_MAX_LAST_WORDS + 1);
}

static void a_loss_with_an_impossible_exit_code_kills_the_worker(void **state) {
    (void)state;
    struct wire_loss l = good_loss;
    l.exit_code = 256;
    expect_bad_loss(l, sizeof l);
}

static void a_loss_by_an_impossible_signal_kills_the_worker(void **state) {
    (void)state;
    struct wire_loss l = good_loss;
    l.signal = -9;
    expect_bad_loss(l, sizeof l);
}

static void a_loss_with_reserved_bits_kills_the_worker(void **state) {
    (void)state;
    struct wire_loss l = good_loss;
    l.reserved = 1;
    expect_bad_loss(l, sizeof l);
}

static void expect_bad_log(uint64_t ticket, size_t size) {
    static const char text[WIRE_MAX_LOG + 1];
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    say_with(w, (struct wire_header){.kind = WIRE_LOG, .ticket = ticket}, text, size);
    expect_protocol_death(w);
    assert_int_equal(seen.log.size, 0);
}

static void a_log_without_text_kills_the_worker(void **state) {
    (void)state;
    expect_bad_log(1, 0);
}

static void a_log_that_is_too_long_kills_the_worker(void **state) {
    (void)state;
    expect_bad_log(1, WIRE_MAX_LOG + 1);
}

static void a_log_of_a_task_that_was_not_sent_kills_the_worker(void **state) {
    (void)state;
    expect_bad_log(2, 5);
}

static void a_log_of_no_task_kills_the_worker(void **state) {
    (void)state;
    expect_bad_log(0, 5);
}

/* ---- losses and logs --------------------------------------------------------------------------------------------- */

static void an_attempt_is_lost_and_the_worker_goes_on(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = give_now(0, &tasks[0]), second = give_now(0, &tasks[1]);
    unsigned char bytes[sizeof good_loss + 10];
    memcpy(bytes, &good_loss, sizeof good_loss);
    memcpy(bytes + sizeof good_loss, "last\0words", 10);
    say_with(w, (struct wire_header){.kind = WIRE_LOST, .ticket = first}, bytes, sizeof bytes);
    STEP_UNTIL(loop, seen.lost == 1);
    assert_ptr_equal(seen.lost_tasks[0].task, &tasks[0]);
    assert_true(seen.lost_tasks[0].guilty && seen.lost_tasks[0].worker_lives);
    assert_string_equal(seen.lost_tasks[0].cause, "exit");
    assert_int_equal(seen.lost_tasks[0].exit_code, 3);
    assert_int_equal(seen.lost_tasks[0].steps, 7);
    assert_string_equal(seen.lost_tasks[0].stderr_tail, "last words");
    answer(w, second);
    assert_int_equal(seen.restarted, 0);
    assert_true(worker_takes_tasks(slot(0)));
}

static void a_death_tells_the_steps_of_the_guilty_task(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = give_now(0, &tasks[0]);
    give_now(0, &tasks[1]);
    struct scoreboard_slot *board = board_of(0);
    atomic_store(&board->current, first);
    atomic_store(&board->done, 4007);
    scoreboard_unmap(board);
    report_exit(w, SIGSEGV);
    assert_int_equal(seen.lost_tasks[0].steps, 4007);
    assert_false(seen.lost_tasks[0].worker_lives);
    assert_int_equal(seen.lost_tasks[1].steps, 0);
}

static void text_comes_for_any_task_that_is_not_answered(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t first = give_now(0, &tasks[0]), second = give_now(0, &tasks[1]);
    say_with(w, (struct wire_header){.kind = WIRE_LOG, .ticket = second}, "two\n", 4);
    STEP_UNTIL(loop, seen.log.size == 4);
    assert_ptr_equal(seen.log_task, &tasks[1]);
    say_with(w, (struct wire_header){.kind = WIRE_LOG, .ticket = first}, "one\n", 4);
    STEP_UNTIL(loop, seen.log.size == 8);
    assert_ptr_equal(seen.log_task, &tasks[0]);
    assert_string_equal(seen.log.data, "two\none\n");
    answer(w, first);
    say_with(w, (struct wire_header){.kind = WIRE_LOG, .ticket = first}, "late\n", 5); /* it is answered */
    await_signal(w, SIGKILL);
    assert_int_equal(seen.log.size, 8);
}

/* More datagrams than the event loop takes in one go. */
static void all_text_of_a_dead_worker_counts(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t ticket = give_now(0, &tasks[0]);
    for (int i = 0; i < 200; i++)
        say_with(w, (struct wire_header){.kind = WIRE_LOG, .ticket = ticket}, "x\n", 2);
    report_exit(w, SIGKILL);
    assert_int_equal(seen.log.size, 400);
    assert_int_equal(seen.lost, 1);
}

/* ---- death ------------------------------------------------------------------------------------------------------- */

/* A worker with three tasks and the scoreboard at `current` dies: the task at index `guilty` is the guilty one. */
static void expect_guilty(uint64_t current, unsigned guilty) {
    struct fake_worker *w = ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    for (int i = 0; i < 3; i++)
        give_now(0, &tasks[i]);
    atomic_store(&board->current, current);
    scoreboard_unmap(board);
    report_exit(w, SIGSEGV);
    assert_int_equal(seen.lost, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(seen.lost_tasks[i].task, &tasks[i]);
        assert_int_equal(seen.lost_tasks[i].guilty, i == guilty);
        assert_string_equal(seen.lost_tasks[i].cause, "signal");
        assert_int_equal(seen.lost_tasks[i].signal, SIGSEGV);
        assert_int_equal(seen.lost_tasks[i].exit_code, -1);
    }
    assert_string_equal(seen.cause, "signal");
}

static void the_task_on_the_scoreboard_is_guilty(void **state) {
    (void)state;
    expect_guilty(2, 1);
}

static void without_one_on_the_scoreboard_the_oldest_is_guilty(void **state) {
    (void)state;
    expect_guilty(0, 0);
}

static void a_scoreboard_that_names_a_foreign_task_is_not_believed(void **state) {
    (void)state;
    expect_guilty(12345, 0);
}

/* Sends two tasks, of which the first is done, or both, and kills the worker. */
static void die_after(unsigned done, int status) {
    struct fake_worker *w = ready_worker(&small);
    struct scoreboard_slot *board = board_of(0);
    uint64_t tickets[2] = {give_now(0, &tasks[0]), give_now(0, &tasks[1])};
    atomic_store(&board->passed, tickets[done - 1]);
    scoreboard_unmap(board);
    report_exit(w, status);
    assert_int_equal(seen.lost, 2);
}

static void a_task_that_was_done_is_not_guilty(void **state) {
    (void)state;
    die_after(1, SIGKILL);
    assert_false(seen.lost_tasks[0].guilty);
    assert_true(seen.lost_tasks[1].guilty);
}

static void a_worker_killed_after_its_work_was_done_has_no_guilty_task(void **state) {
    (void)state;
    die_after(2, SIGKILL);
    assert_false(seen.lost_tasks[0].guilty);
    assert_false(seen.lost_tasks[1].guilty);
}

static void a_worker_that_dies_by_itself_has_a_guilty_task_whatever_it_says(void **state) {
    (void)state;
    die_after(2, SIGSEGV);
    assert_false(seen.lost_tasks[0].guilty);
    assert_true(seen.lost_tasks[1].guilty);
}

static void replies_that_a_worker_sent_before_it_died_count(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    uint64_t ticket = give_now(0, &tasks[0]);
    give_now(0, &tasks[1]);
    say(w, WIRE_DONE, ticket);
    report_exit(w, 3 << 8);
    assert_int_equal(seen.replies, 1);
    assert_int_equal(seen.lost, 1);
    assert_ptr_equal(seen.lost_tasks[0].task, &tasks[1]);
    assert_string_equal(seen.lost_tasks[0].cause, "exit");
    assert_int_equal(seen.lost_tasks[0].exit_code, 3);
}

static void the_last_words_on_stderr_come_with_the_death(void **state) {
    (void)state;
    char line[3000];
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    memset(line, 'x', sizeof line);
    assert_int_equal(write(w->stderr_fd, line, sizeof line), sizeof line);
    assert_int_equal(write(w->stderr_fd, "last\0words", 10), 10);
    report_exit(w, SIGABRT);
    const char *tail = seen.lost_tasks[0].stderr_tail;
    assert_int_equal(strlen(tail), sizeof seen.lost_tasks[0].stderr_tail - 1);
    assert_string_equal(tail + strlen(tail) - 10, "last words");
}

static void workers_that_die_at_once_again_and_again_are_replaced_with_a_delay(void **state) {
    (void)state;
    struct zygote_request q;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    bool delayed = false;
    await_request(&zygotes[0], ZYGOTE_SPAWN);
    q = (struct zygote_request){.slot = 0};
    while (!delayed) {
        assert_true(workers_forked < MAX_WORKERS - 1);
        struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID + (pid_t)workers_forked, false);
        become_ready(w);
        report_exit(w, SIGSEGV);
        do
            delayed = !fake_zygote_receive(&zygotes[0], &q);
        while (!delayed && q.kind != ZYGOTE_SPAWN);
    }
    assert_true(workers_forked > 2); /* the first ones were replaced at once */
    next_worker(&zygotes[0]);        /* there is one in the end */
}

static void a_worker_over_the_memory_limit_is_killed_while_it_works(void **state) {
    (void)state;
    struct pool_config c = small;
    c.max_job_memory = 1;
    start_pool(&c);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, getpid(), false); /* its memory is ours */
    become_ready(w);
    settle();
    assert_no_request(&zygotes[0]); /* it is idle */
    give_now(0, &tasks[0]);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    assert_string_equal(seen.lost_tasks[0].cause, "memory");
}

static void a_memory_limit_that_a_reload_takes_away_kills_no_worker(void **state) {
    (void)state;
    struct pool_config c = small;
    c.max_job_memory = UINT64_C(1) << 60;
    start_pool(&c);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, getpid(), false);
    become_ready(w);
    uint64_t ticket = give_now(0, &tasks[0]);
    pool_configure(pool, &small);
    for (int64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_MS; clock_monotonic_ns() < end_ns;)
        loop_step(loop, NS_PER_MS); /* it would be checked after 20 ms */
    assert_no_request(&zygotes[0]);
    answer(w, ticket);
}

static void a_worker_is_recycled_at_its_limit_of_tasks(void **state) {
    (void)state;
    struct pool_config c = small;
    c.max_jobs_per_worker = 2;
    struct fake_worker *w = ready_worker(&c);
    struct wire_header h[WIRE_MAX_FRAMES];
    uint64_t first = give_now(0, &tasks[0]);
    assert_true(worker_takes_tasks(slot(0)));
    uint64_t second = give_now(0, &tasks[1]);
    assert_false(worker_takes_tasks(slot(0)));
    answer(w, first);
    answer(w, second);
    assert_int_equal(hear(w, h) + hear(w, h), 2);
    expect_frame(w, WIRE_EXIT);
    assert_true(worker_is_up(slot(0)));
    report_exit(w, 0);
    assert_string_equal(seen.cause, "recycled");
    assert_true(worker_is_changing(slot(0)));
    next_worker(&zygotes[0]);
    assert_false(worker_is_changing(slot(0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_reply_out_of_order_kills_the_worker),
        POOL_TEST(a_reply_that_the_owner_rejects_kills_the_worker),
        POOL_TEST(a_request_from_a_worker_kills_it),
        POOL_TEST(a_second_ready_kills_the_worker),
        POOL_TEST(bytes_that_are_no_frame_kill_the_worker),
        POOL_TEST(a_reply_without_a_task_kills_the_worker),
        POOL_TEST(a_worker_that_closes_its_socket_is_killed),
        POOL_TEST(the_death_of_a_process_is_reported_and_no_task_is_lost),
        POOL_TEST(a_death_of_no_task_kills_the_worker),
        POOL_TEST(a_loss_of_no_cause_kills_the_worker),
        POOL_TEST(a_loss_of_an_unknown_cause_kills_the_worker),
        POOL_TEST(a_loss_that_is_too_short_kills_the_worker),
        POOL_TEST(a_loss_with_too_many_words_kills_the_worker),
        POOL_TEST(a_loss_with_an_impossible_exit_code_kills_the_worker),
        POOL_TEST(a_loss_by_an_impossible_signal_kills_the_worker),
        POOL_TEST(a_loss_with_reserved_bits_kills_the_worker),
        POOL_TEST(a_log_without_text_kills_the_worker),
        POOL_TEST(a_log_that_is_too_long_kills_the_worker),
        POOL_TEST(a_log_of_a_task_that_was_not_sent_kills_the_worker),
        POOL_TEST(a_log_of_no_task_kills_the_worker),
        POOL_TEST(an_attempt_is_lost_and_the_worker_goes_on),
        POOL_TEST(a_death_tells_the_steps_of_the_guilty_task),
        POOL_TEST(text_comes_for_any_task_that_is_not_answered),
        POOL_TEST(all_text_of_a_dead_worker_counts),
        POOL_TEST(the_task_on_the_scoreboard_is_guilty),
        POOL_TEST(without_one_on_the_scoreboard_the_oldest_is_guilty),
        POOL_TEST(a_scoreboard_that_names_a_foreign_task_is_not_believed),
        POOL_TEST(a_task_that_was_done_is_not_guilty),
        POOL_TEST(a_worker_killed_after_its_work_was_done_has_no_guilty_task),
        POOL_TEST(a_worker_that_dies_by_itself_has_a_guilty_task_whatever_it_says),
        POOL_TEST(replies_that_a_worker_sent_before_it_died_count),
        POOL_TEST(the_last_words_on_stderr_come_with_the_death),
        POOL_TEST(workers_that_die_at_once_again_and_again_are_replaced_with_a_delay),
        POOL_TEST(a_worker_over_the_memory_limit_is_killed_while_it_works),
        POOL_TEST(a_memory_limit_that_a_reload_takes_away_kills_no_worker),
        POOL_TEST(a_worker_is_recycled_at_its_limit_of_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
