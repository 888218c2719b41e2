/* pool_zygotes_test.c: zygotes that are replaced by a reload, or die, pool/pool.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <sys/resource.h>

#include "handlers/host/host.h"
#include "pool/slot.h"
#include "pool/sources.h"
#include "tests/unit/pool_world.h"

/* ---- reload, and the zygote's death ------------------------------------------------------------------------------ */

/* The pool has closed its end of the control socket, and so has the child, which had inherited it. */
static bool is_closed(const struct fake_zygote *z) {
    struct pollfd p = {.fd = z->socket};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

static void a_reload_replaces_zygote_and_workers(void **state) {
    (void)state;
    struct wire_header h[WIRE_MAX_FRAMES];
    struct fake_worker *w = ready_worker(&small);
    uint64_t ticket = give_now(0, &tasks[0]);
    assert_int_equal(pool_reload(pool), 0);
    assert_int_equal(zygotes_started, 2);
    settle();
    assert_true(worker_takes_tasks(slot(0))); /* the handlers are not there yet */
    report_loaded(&zygotes[1]);
    assert_false(worker_takes_tasks(slot(0)));
    assert_int_equal(hear(w, h), 1);
    answer(w, ticket);
    expect_frame(w, WIRE_EXIT);
    assert_false(is_closed(&zygotes[0]));
    report_exit(w, 0);
    STEP_UNTIL(loop, is_closed(&zygotes[0]));
    next_worker(&zygotes[1]);
}

static void a_reload_that_cannot_load_leaves_all_as_it_was(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    assert_int_equal(pool_reload(pool), 0);
    fake_zygote_report(&zygotes[1], (struct zygote_report){.kind = ZYGOTE_LOAD_FAILED, .text = "primes"}, NULL);
    STEP_UNTIL(loop, seen.load_failed > 0);
    STEP_UNTIL(loop, is_closed(&zygotes[1]));
    answer(w, give_now(0, &tasks[0]));
}

static void a_worker_that_is_ready_after_a_reload_leaves_at_once(void **state) {
    (void)state;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct fake_worker *w = fork_worker(&zygotes[0]);
    assert_int_equal(pool_reload(pool), 0);
    report_loaded(&zygotes[1]);
    become_ready(w);
    expect_frame(w, WIRE_EXIT);
}

static void a_zygote_keeps_its_link_while_it_is_asked_for_a_worker(void **state) {
    (void)state;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    assert_int_equal(pool_reload(pool), 0);
    report_loaded(&zygotes[1]);
    assert_false(is_closed(&zygotes[0]));
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID, false);
    become_ready(w);
    report_exit(w, 0);
    STEP_UNTIL(loop, is_closed(&zygotes[0]));
    next_worker(&zygotes[1]);
}

/* After the current zygote's death: another one was started, and serves. */
static void expect_new_zygote(void) {
    STEP_UNTIL(loop, zygotes_started == 2);
    report_loaded(&zygotes[1]);
    next_worker(&zygotes[1]);
}

static void workers_that_a_dead_zygote_took_along_are_lost(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    fake_zygote_die(&zygotes[0]);
    STEP_UNTIL(loop, zygotes_started == 2);
    assert_int_equal(seen.lost, 0); /* we do not know yet who reaps it */
    close_worker(w);
    pool_reap(pool);
    assert_int_equal(seen.lost, 1);
    assert_string_equal(seen.lost_tasks[0].cause, "signal");
    expect_new_zygote();
}

static void a_zygote_that_is_reaped_before_its_socket_tells_is_replaced_too(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    give_now(0, &tasks[0]);
    fake_zygote_die(&zygotes[0]);
    pool_reap(pool);
    close_worker(w);
    STEP_UNTIL(loop, seen.lost == 1);
    expect_new_zygote();
}

static void an_orphan_is_reaped_by_the_front_end(void **state) {
    (void)state;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    pid_t pid = fork();
    if (pid == 0)
        _exit(9);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, pid, false);
    become_ready(w);
    give_now(0, &tasks[0]);
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    pool_reap(pool);
    assert_int_equal(seen.lost, 1);
    assert_string_equal(seen.lost_tasks[0].cause, "exit");
    assert_int_equal(seen.lost_tasks[0].exit_code, 9);
}

static void a_zygote_that_dies_before_it_has_loaded_is_started_again(void **state) {
    (void)state;
    start_pool(&small);
    fake_zygote_die(&zygotes[0]);
    expect_new_zygote();
}

static void report_load_failed(struct fake_zygote *z) {
    unsigned before = seen.load_failed;
    fake_zygote_report(z, (struct zygote_report){.kind = ZYGOTE_LOAD_FAILED, .text = "primes"}, NULL);
    STEP_UNTIL(loop, seen.load_failed > before);
}

static void a_zygote_that_was_started_again_and_cannot_load_is_replaced_too(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    fake_zygote_die(&zygotes[0]);
    STEP_UNTIL(loop, zygotes_started == 2);
    close_worker(w);
    pool_reap(pool);
    report_load_failed(&zygotes[1]);
    STEP_UNTIL(loop, is_closed(&zygotes[1]));
    STEP_UNTIL(loop, zygotes_started == 3);
    report_loaded(&zygotes[2]);
    next_worker(&zygotes[2]);
}

/* ---- types that are not built in --------------------------------------------------------------------------------- */

static void describe(struct fake_zygote *z, const char *json) {
    struct buf text = {0};
    buf_puts(&text, json);
    int memfd = sources_seal("test", &text);
    assert_true(memfd >= 0);
    fake_zygote_report(z, (struct zygote_report){.kind = ZYGOTE_LOADED}, (int[2]){memfd, memfd});
    close(memfd);
    buf_deinit(&text);
}

static const char *describe_thumb(int number) {
    static char json[256];
    snprintf(json, sizeof json,
             "[{\"number\":%d,\"flags\":0,\"timeout_ms\":0,\"max_attempts\":0,\"name\":\"thumb\",\"summary\":\"\","
             "\"source\":\"x\",\"params\":[]}]",
             number);
    return json;
}

static void a_zygote_describes_its_types(void **state) {
    (void)state;
    host_init(false);
    start_pool(&small);
    describe(&zygotes[0], describe_thumb((int)host_count()));
    STEP_UNTIL(loop, seen.loaded == 1);
    assert_true(host_find("thumb") > 0);
    next_worker(&zygotes[0]);
    assert_int_equal(pool_reload(pool), 0);
    report_loaded(&zygotes[1]); /* which has none */
    assert_int_equal(host_find("thumb"), -1);
    assert_true(host_known("thumb") > 0);
}

static void a_zygote_that_describes_nonsense_has_not_loaded(void **state) {
    (void)state;
    static const char *const bad[] = {"", "[{}]"};
    int pipes[2];
    host_init(false);
    struct fake_worker *w = ready_worker(&small);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pool_reload(pool), 0);
        describe(&zygotes[1 + i], bad[i]);
        STEP_UNTIL(loop, seen.load_failed == 1 + i);
        STEP_UNTIL(loop, is_closed(&zygotes[1 + i]));
    }
    assert_int_equal(host_find("thumb"), -1);
    assert_int_equal(pipe(pipes), 0); /* it would be waited for */
    assert_int_equal(pool_reload(pool), 0);
    fake_zygote_report(&zygotes[3], (struct zygote_report){.kind = ZYGOTE_LOADED}, pipes);
    STEP_UNTIL(loop, seen.load_failed == 3);
    assert_string_equal(seen.why, "the zygote has sent no good description of its types");
    close(pipes[0]);
    close(pipes[1]);
    answer(w, give_now(0, &tasks[0])); /* the first zygote goes on */
}

/* As the store does when it reads a job of a type that is not there. */
static void a_zygote_that_does_not_know_a_new_name_is_replaced(void **state) {
    (void)state;
    host_init(false);
    ready_worker(&small);
    int number = host_number("from-the-store");
    assert_int_equal(pool_reload(pool), 0);
    describe(&zygotes[1], describe_thumb(number));
    STEP_UNTIL(loop, zygotes_started == 3);
    STEP_UNTIL(loop, is_closed(&zygotes[1]));
    describe(&zygotes[2], describe_thumb(number + 1));
    STEP_UNTIL(loop, seen.loaded == 2);
    assert_int_equal(seen.load_failed, 0);
    assert_int_equal(host_find("thumb"), number + 1);
    assert_int_equal(pool_reload(pool), 0); /* one that never learns is given up */
    for (unsigned i = 3; i <= 6; i++) {
        STEP_UNTIL(loop, zygotes_started == i + 1);
        describe(&zygotes[i], describe_thumb(number));
    }
    STEP_UNTIL(loop, seen.load_failed == 1);
    assert_int_equal(host_find("thumb"), number + 1);
}

static void a_zygote_that_dies_while_it_loads_says_at_what(void **state) {
    (void)state;
    start_pool(&small);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_LOADING, .text = "plugin:./a.so"}, NULL);
    settle();
    fake_zygote_die(&zygotes[0]);
    STEP_UNTIL(loop, seen.load_failed == 1);
    assert_string_equal(seen.why, "plugin:./a.so: the process that loaded it was ended by SIGKILL");
    STEP_UNTIL(loop, zygotes_started == 2); /* if nobody stops the loop */
}

static void a_zygote_that_loads_for_too_long_is_killed(void **state) {
    (void)state;
    const struct pool_sources sources = {.load_timeout_ns = NS_PER_MS};
    struct pool_config config = small;
    config.sources = &sources;
    start_pool(&config);
    fake_zygote_report(&zygotes[0], (struct zygote_report){.kind = ZYGOTE_LOADING, .text = "plugin:./a.so"}, NULL);
    STEP_UNTIL(loop, seen.load_failed == 1);
    assert_string_equal(seen.why, "plugin:./a.so: it was not loaded within 0.001 s (--load-timeout)");
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)zygotes[0].pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_status, SIGKILL);
}

/* The first one is replaced at once, the next ones after delays that grow. */
static void zygotes_that_die_at_once_again_and_again_are_replaced_after_a_delay(void **state) {
    (void)state;
    start_pool(&small);
    for (unsigned i = 0; i < 5; i++) {
        STEP_UNTIL(loop, zygotes_started == i + 1);
        report_loaded(&zygotes[i]);
        int64_t died_ns = clock_monotonic_ns();
        fake_zygote_die(&zygotes[i]);
        STEP_UNTIL(loop, zygotes_started == i + 2);
        /* No sooner than that: 20 ms after the second one, 40 ms after the third one, and so on. */
        assert_true(i == 0 || clock_monotonic_ns() - died_ns >= (INT64_C(10) << i) * NS_PER_MS);
        pool_reap(pool);
    }
    report_loaded(&zygotes[5]);
    next_worker(&zygotes[5]);
}

/* ---- requests that do not reach the zygote ----------------------------------------------------------------------- */

static void a_worker_that_could_not_be_asked_for_is_asked_for_again(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    shutdown(zygotes[0].socket, SHUT_RD);
    report_exit(w, 0);
    assert_int_equal(slot(0)->state, WORKER_EMPTY);
    assert_true(slot(0)->spawn_timer.is_set);
}

static void a_worker_that_could_not_be_killed_is_killed_again(void **state) {
    (void)state;
    struct fake_worker *w = ready_worker(&small);
    shutdown(zygotes[0].socket, SHUT_RD);
    close(w->socket);
    w->socket = -1;
    STEP_UNTIL(loop, slot(0)->state == WORKER_DYING);
    assert_true(slot(0)->spawn_timer.is_set);
}

/* The front end has no room for descriptors: nothing but that process is lost. */
static void a_worker_whose_descriptors_find_no_room_is_replaced(void **state) {
    (void)state;
    struct rlimit before, none;
    start_pool(&small);
    report_loaded(&zygotes[0]);
    struct zygote_request q = await_request(&zygotes[0], ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(&zygotes[0], &q, FIRST_PID, false);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    int free_one = open("/dev/null", O_RDONLY);
    none.rlim_cur = (rlim_t)free_one; /* no number from here on is given out */
    close(free_one);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    STEP_UNTIL(loop, slot(0)->state == WORKER_DYING);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    await_signal(w, SIGKILL);
    report_exit(w, SIGKILL);
    next_worker(&zygotes[0]);
    assert_int_equal(zygotes_started, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_reload_replaces_zygote_and_workers),
        POOL_TEST(a_reload_that_cannot_load_leaves_all_as_it_was),
        POOL_TEST(a_worker_that_is_ready_after_a_reload_leaves_at_once),
        POOL_TEST(a_zygote_keeps_its_link_while_it_is_asked_for_a_worker),
        POOL_TEST(workers_that_a_dead_zygote_took_along_are_lost),
        POOL_TEST(a_zygote_that_is_reaped_before_its_socket_tells_is_replaced_too),
        POOL_TEST(an_orphan_is_reaped_by_the_front_end),
        POOL_TEST(a_zygote_that_dies_before_it_has_loaded_is_started_again),
        POOL_TEST(a_zygote_that_was_started_again_and_cannot_load_is_replaced_too),
        POOL_TEST(a_zygote_describes_its_types),
        POOL_TEST(a_zygote_that_describes_nonsense_has_not_loaded),
        POOL_TEST(a_zygote_that_does_not_know_a_new_name_is_replaced),
        POOL_TEST(a_zygote_that_dies_while_it_loads_says_at_what),
        POOL_TEST(a_zygote_that_loads_for_too_long_is_killed),
        POOL_TEST(zygotes_that_die_at_once_again_and_again_are_replaced_after_a_delay),
        POOL_TEST(a_worker_that_could_not_be_asked_for_is_asked_for_again),
        POOL_TEST(a_worker_that_could_not_be_killed_is_killed_again),
        POOL_TEST(a_worker_whose_descriptors_find_no_room_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
