/* loop_test.c: the event loop, base/loop.c: timers fire in order and never early, and callbacks can remove anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"

enum { MANY = 500 };

static struct loop *loop;

static int open_loop(void **state) {
    (void)state;
    loop = loop_new();
    return loop == NULL ? -1 : 0;
}

static int close_loop(void **state) {
    (void)state;
    loop_free(loop);
    return 0;
}

static int64_t sleep_on(void *arg) {
    (void)arg;
    return -1;
}

/* A timer that notes when it fired, and stops the loop after the last. */
struct alarm {
    struct timer timer;
    int64_t set_for_ns;
    unsigned fired;
    struct alarm *victim; /* cleared when this one fires */
};

static unsigned left;
static int64_t last_due_ns;

static void on_alarm(struct timer *t) {
    struct alarm *a = (struct alarm *)t; /* the first member */
    assert_true(clock_monotonic_ns() >= a->set_for_ns);
    assert_true(a->set_for_ns >= last_due_ns);
    assert_false(t->is_set);
    last_due_ns = a->set_for_ns;
    a->fired++;
    if (a->victim != NULL) {
        left -= a->victim->timer.is_set;
        loop_clear_timer(loop, &a->victim->timer);
    }
    if (--left == 0)
        loop_stop(loop);
}

static void set_alarm(struct alarm *a, int64_t due_ns) {
    a->timer.fire = on_alarm;
    a->set_for_ns = due_ns;
    left += !a->timer.is_set;
    loop_set_timer(loop, &a->timer, due_ns);
}

static void start_alarms(void) {
    left = 0;
    last_due_ns = 0;
}

static void timers_fire_once_in_order_and_never_early(void **state) {
    (void)state;
    static struct alarm alarms[MANY];
    int64_t now_ns = clock_monotonic_ns();
    memset(alarms, 0, sizeof alarms);
    start_alarms();
    srandom(1);
    for (int i = 0; i < MANY; i++)
        set_alarm(&alarms[i], now_ns + random() % (30 * NS_PER_MS));
    for (int i = 0; i < MANY; i += 3) /* moved, both ways */
        set_alarm(&alarms[i], now_ns + random() % (30 * NS_PER_MS));
    for (int i = 1; i < MANY; i += 3) {
        loop_clear_timer(loop, &alarms[i].timer);
        loop_clear_timer(loop, &alarms[i].timer);
        left--;
    }
    loop_run(loop, sleep_on, NULL);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(alarms[i].fired, i % 3 != 1);
}

static void a_timer_can_clear_another_that_is_due_at_the_same_time(void **state) {
    (void)state;
    static struct alarm alarms[4];
    memset(alarms, 0, sizeof alarms);
    start_alarms();
    int64_t due_ns = clock_monotonic_ns() + NS_PER_MS;
    for (int i = 0; i < 4; i++)
        set_alarm(&alarms[i], due_ns);
    for (int i = 0; i < 4; i++)
        alarms[i].victim = &alarms[i ^ 1];
    loop_run(loop, sleep_on, NULL);
    assert_int_equal(alarms[0].fired + alarms[1].fired, 1);
    assert_int_equal(alarms[2].fired + alarms[3].fired, 1);
}

static void on_repeat(struct timer *t) {
    if (--left == 0)
        loop_stop(loop);
    else
        loop_set_timer(loop, t, clock_monotonic_ns() + NS_PER_MS);
}

static void a_timer_can_set_itself_again(void **state) {
    (void)state;
    struct timer t = {.fire = on_repeat};
    left = 5;
    loop_set_timer(loop, &t, 0); /* long past */
    loop_run(loop, sleep_on, NULL);
    assert_int_equal(left, 0);
    assert_false(t.is_set);
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

struct listener {
    struct watch watch;
    int writer;
    unsigned heard;
    struct listener *victim; /* removed and freed when this one hears something */
};

static struct listener *listeners[3];

static void remove_listener(struct listener *l) {
    loop_unwatch(loop, &l->watch);
    close(l->watch.fd);
    close(l->writer);
    for (int i = 0; i < 3; i++)
        if (listeners[i] == l)
            listeners[i] = NULL;
    free(l);
}

static void on_ready(struct watch *w, uint32_t events) {
    struct listener *l = (struct listener *)w; /* the first member */
    char c;
    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(w->fd, &c, 1), 1);
    l->heard++;
    if (l->victim != NULL)
        remove_listener(l->victim);
    loop_stop(loop);
}

static struct listener *add_listener(void) {
    struct listener *l = calloc(1, sizeof *l);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    *l = (struct listener){.watch = {fds[0], on_ready}, .writer = fds[1]};
    assert_int_equal(loop_watch(loop, &l->watch, EPOLLIN), 0);
    return l;
}

/* Each listener that hears something removes and frees the next one: in any order of events two of the three are
 * removed. */
static void a_watch_removed_by_another_hears_nothing_more_in_the_same_batch(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        listeners[i] = add_listener();
    for (int i = 0; i < 3; i++) {
        listeners[i]->victim = listeners[(i + 1) % 3];
        assert_int_equal(write(listeners[i]->writer, "x", 1), 1);
    }
    loop_run(loop, sleep_on, NULL);
    int alive = 0;
    for (int i = 0; i < 3; i++) {
        alive += listeners[i] != NULL;
        if (listeners[i] != NULL)
            remove_listener(listeners[i]);
    }
    assert_int_equal(alive, 1);
}

static void a_watch_can_remove_itself(void **state) {
    (void)state;
    listeners[0] = add_listener();
    listeners[0]->victim = listeners[0];
    assert_int_equal(write(listeners[0]->writer, "x", 1), 1);
    loop_run(loop, sleep_on, NULL);
    assert_null(listeners[0]);
}

static int64_t stop_at_third(void *arg) {
    unsigned *turns = arg;
    if (++*turns == 3)
        loop_stop(loop);
    return 0;
}

static void a_turn_that_has_more_to_do_is_not_kept_waiting(void **state) {
    (void)state;
    unsigned turns = 0;
    loop_run(loop, stop_at_third, &turns);
    assert_int_equal(turns, 3);
}

static void a_loop_that_was_stopped_runs_again(void **state) {
    (void)state;
    unsigned turns = 0;
    loop_run(loop, stop_at_third, &turns);
    turns = 0;
    loop_run(loop, stop_at_third, &turns);
    assert_int_equal(turns, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(timers_fire_once_in_order_and_never_early),
        TEST(a_timer_can_clear_another_that_is_due_at_the_same_time),
        TEST(a_timer_can_set_itself_again),
        TEST(a_watch_removed_by_another_hears_nothing_more_in_the_same_batch),
        TEST(a_watch_can_remove_itself),
        TEST(a_turn_that_has_more_to_do_is_not_kept_waiting),
        TEST(a_loop_that_was_stopped_runs_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
