/* slow_test.c: clients that are neither silent nor quick: bodies that drip in, answers that are taken by the byte. The
 * windows are short, and what has to come in them is either next to nothing or more than a socket takes in that time, so
 * it does not matter how slow the machine is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/log.h"
#pragma GCC diagnostic ignored "-Wunused-function" /* the world has more than is needed here */
#include "http_world.h"

#define WINDOW_NS (200 * NS_PER_MS)
#define LARGE     (16 * 1024 * 1024) /* no socket takes so much at once */
#define MUCH      (1 << 30)          /* a second */

static int open_slow_world(void **state) {
    log_threshold = LOG_ERROR;
    int rc = open_world(state);
    world.config.idle_timeout_ns = WINDOW_NS;
    return rc;
}

/* A client by TCP: of a Unix socket the kernel does not tell how much was taken. */
static struct client *connect_by_tcp(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, peer;
    socklen_t size = sizeof a, peer_size = sizeof peer;
    int room = 4096, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (world.http == NULL)
        leave(connect_client());
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    int accepted = accept4(listener, (struct sockaddr *)&peer, &peer_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    close(listener);
    http_adopt(world.http, accepted, (const struct sockaddr *)&peer, peer_size, false);
    return add_client(fd);
}

static uint64_t slow_closed(const char *what) {
    const struct label_count *list = http_slow_closed(world.http);
    for (size_t i = 0; i < METRICS_LABELS && list[i].label != NULL; i++)
        if (strcmp(list[i].label, what) == 0)
            return list[i].count;
    return 0;
}

/* Without reading what the clients get. */
static void turn(void) {
    int64_t sleep_ns = http_turn(world.http);
    loop_step(world.loop, sleep_ns < 0 || sleep_ns > NS_PER_MS ? NS_PER_MS : sleep_ns);
}

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

/* Sends the text again and again until the connection is closed. */
static void drip(struct client *c, const char *text) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!c->ended) {
        assert_true(clock_monotonic_ns() < end_ns);
        (void)offer_bytes(c, text, strlen(text));
        step();
    }
}

static void a_body_that_drips_in_is_408(void **state) {
    (void)state;
    world.config.min_rate = MUCH;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 1000000\r\nX-Request-Id: slow-one\r\n");
    drip(c, "x");
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    assert_true(has_received(c, "--min-rate"));
    assert_true(has_received(c, "X-Request-Id: slow-one\r\n"));
    assert_int_equal(slow_closed("body"), 1);
    until_traced("done");
    expect_trace("begin /echo; done /echo 0; ");
}

static void a_chunked_body_that_drips_in_is_408(void **state) {
    (void)state;
    world.config.min_rate = MUCH;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    drip(c, "1\r\nx\r\n");
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    assert_int_equal(slow_closed("body"), 1);
}

static void a_body_that_is_quick_enough_can_last_for_many_windows(void **state) {
    (void)state;
    world.config.min_rate = 5; /* one byte in each window */
    struct client *c = connect_client();
    char length[64];
    int64_t end_ns = clock_monotonic_ns() + 5 * WINDOW_NS;
    size_t sent = 0;
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    for (; clock_monotonic_ns() < end_ns; sent++) {
        send_text(c, "1\r\nx\r\n");
        step();
    }
    send_text(c, "0\r\n\r\n");
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", sent);
    until_received(c, length);
    assert_true(has_received(c, "HTTP/1.1 200 "));
    assert_int_equal(slow_closed("body"), 0);
}

static void without_a_rate_only_silence_ends_a_body(void **state) {
    (void)state;
    struct client *c = connect_client();
    int64_t end_ns = clock_monotonic_ns() + 3 * WINDOW_NS;
    send_request(c, "POST", "/echo", "Content-Length: 1000000\r\n");
    while (clock_monotonic_ns() < end_ns) {
        send_text(c, "x");
        step();
    }
    assert_false(c->ended);
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
}

/* The bytes of the framing come, and none of the body. */
static void the_framing_of_a_body_does_not_hold_its_connection_open(void **state) {
    (void)state;
    static const char *const first[] = {"", "1\r\nx\r\n", "1\r\nx\r\n0\r\n"}, *const then[] = {"0", "0", "a"};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct client *c = connect_client();
        send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
        send_text(c, first[i]);
        int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
        while (!c->ended) {
            int64_t pause_ns = clock_monotonic_ns() + 2 * NS_PER_MS; /* a line has an end, too */
            assert_true(clock_monotonic_ns() < end_ns);
            (void)offer_bytes(c, then[i], 1);
            while (clock_monotonic_ns() < pause_ns)
                step();
        }
        assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    }
}

static void a_body_of_which_nothing_comes_is_408(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 10\r\n");
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
}

static void a_head_that_drips_in_has_no_more_time_than_another(void **state) {
    (void)state;
    world.config.header_timeout_ns = WINDOW_NS;
    for (int i = 0; i < 3; i++) {
        struct client *c = connect_client();
        if (i == 1) { /* a second head on a kept connection */
            send_request(c, "GET", "/hello", "");
            until_received(c, "\r\n\r\nhello");
            forget(c);
        }
        send_text(c, i == 2 ? "\r\n" : "GET /hello HTTP/1.1\r\nX: ");
        if (i == 2) /* empty lines come before the head */
            send_text(c, "GET /");
        drip(c, "y");
        assert_true(has_received(c, "HTTP/1.1 408 "));
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static struct client *ask_for_much(struct client *c) {
    char *text = malloc(LARGE);
    assert_non_null(text);
    memset(text, 'x', LARGE);
    world.slice = slice_copy(text, LARGE);
    free(text);
    send_request(c, "GET", "/slice", "");
    return c;
}

/* Takes so many bytes at a time until the server gives the client up, or so many have come. Then it takes all that there
 * is. Returns how many bytes it has taken. */
static size_t take_slowly(const struct client *c, size_t piece, size_t most) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    char bytes[65536];
    size_t taken = 0;
    while (taken < most) {
        bool given_up = slow_closed("answer") > 0;
        ssize_t n = recv(c->fd, bytes, given_up ? sizeof bytes : piece, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        taken += n > 0 ? (size_t)n : 0;
        assert_true(clock_monotonic_ns() < end_ns);
        turn();
    }
    return taken;
}

static void an_answer_that_is_taken_by_the_byte_is_cut(void **state) {
    (void)state;
    world.config.min_rate = MUCH;
    struct client *c = ask_for_much(connect_by_tcp());
    assert_true(take_slowly(c, 1, LARGE) < LARGE);
    assert_int_equal(slow_closed("answer"), 1);
    until_traced("done");
}

static void an_answer_that_is_taken_quickly_enough_comes_whole(void **state) {
    (void)state;
    world.config.min_rate = 5;
    struct client *c = ask_for_much(connect_by_tcp());
    assert_true(take_slowly(c, 20000, LARGE) >= LARGE);
    assert_int_equal(slow_closed("answer"), 0);
}

static void a_stream_that_is_taken_by_the_byte_is_cut(void **state) {
    (void)state;
    char *text = malloc(LARGE + 1);
    assert_non_null(text);
    memset(text, 'x', LARGE);
    text[LARGE] = '\0';
    world.config.min_rate = MUCH;
    world.stream.text = text;
    struct client *c = connect_by_tcp();
    send_request(c, "GET", "/stream", "");
    assert_true(take_slowly(c, 1, LARGE) < LARGE);
    assert_int_equal(slow_closed("answer"), 1);
    until_traced("done");
    free(text);
}

static void a_client_that_has_nothing_to_take_is_not_slow(void **state) {
    (void)state;
    world.config.min_rate = MUCH;
    world.stream.text = "one";
    struct client *c = connect_by_tcp(), *waiting = connect_by_tcp();
    send_request(c, "GET", "/stream", "");
    until_received(c, "one");
    send_request(waiting, "GET", "/wait", "");
    until_traced("handle /wait");
    int64_t end_ns = clock_monotonic_ns() + 5 * WINDOW_NS;
    while (clock_monotonic_ns() < end_ns)
        step();
    assert_false(c->ended);
    assert_false(waiting->ended);
    http_answer_static(world.waiting, 200, "text/plain", "late", 4);
    until_received(waiting, "late");
    world.stream.text = "one two";
    http_wake_stream(world.streamed);
    until_received(c, " two");
    assert_int_equal(slow_closed("answer"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_slow_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_body_that_drips_in_is_408),
        TEST(a_chunked_body_that_drips_in_is_408),
        TEST(a_body_that_is_quick_enough_can_last_for_many_windows),
        TEST(without_a_rate_only_silence_ends_a_body),
        TEST(the_framing_of_a_body_does_not_hold_its_connection_open),
        TEST(a_body_of_which_nothing_comes_is_408),
        TEST(a_head_that_drips_in_has_no_more_time_than_another),
        TEST(an_answer_that_is_taken_by_the_byte_is_cut),
        TEST(an_answer_that_is_taken_quickly_enough_comes_whole),
        TEST(a_stream_that_is_taken_by_the_byte_is_cut),
        TEST(a_client_that_has_nothing_to_take_is_not_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
