/* http_held_test.c: what the HTTP server holds for its clients is counted, and is bounded: bodies that come, answers
 * that nobody reads, connections. See base/held.h and server/http/unread.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/log.h"
#pragma GCC diagnostic ignored "-Wunused-function" /* the world has more than is needed here */
#include "http_world.h"

enum { LARGE = 300000, UNREAD = 4000000 }; /* no socket takes so much as UNREAD */

static char *text_of(size_t size) {
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

/* Until so much is held of it. */
static void until_held(enum held what, size_t least, size_t most) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (held_bytes[what] < least || held_bytes[what] > most) {
        if (clock_monotonic_ns() > end_ns)
            fail_msg("%s: %zu bytes are held, not %zu to %zu", held_name(what), held_bytes[what], least, most);
        step();
    }
}

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

/* The head, and the beginning of its body, or as much of it as the server takes before it rejects it. */
static struct client *begin_body(size_t announced, size_t sent) {
    char length[64], *text = text_of(sent);
    struct client *c = connect_client();
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", announced);
    send_request(c, "POST", "/wait", length);
    (void)offer_bytes(c, text, sent);
    free(text);
    return c;
}

static void a_body_counts_while_it_comes_and_then_as_a_payload(void **state) {
    (void)state;
    char *rest = text_of(LARGE / 2);
    struct client *c = begin_body(LARGE, LARGE / 2);
    until_held(HELD_BODIES, LARGE / 2, LARGE / 2);
    assert_int_equal(blob_held_bytes, 0);
    send_bytes(c, rest, LARGE / 2);
    until_traced("handle");
    assert_int_equal(held_bytes[HELD_BODIES], 0);
    assert_int_equal(blob_held_bytes, LARGE);
    http_answer_static(world.waiting, 200, "text/plain", "ok", 2);
    until_received(c, "ok");
    until_held(HELD_PAYLOADS, 0, 0);
    free(rest);
}

static void a_small_body_counts_too_and_goes_with_its_client(void **state) {
    (void)state;
    struct client *c = begin_body(20000, 10000);
    until_held(HELD_BODIES, 10000, 10000);
    leave(c);
    until_held(HELD_BODIES, 0, 0);
}

static void unfinished_bodies_hold_no_more_than_the_limit(void **state) {
    (void)state;
    held_set_limit(2 * UNREAD);
    world.config.max_body = UNREAD;
    for (int i = 0; i < MAX_CLIENTS; i++)
        begin_body(UNREAD, UNREAD / 2);
    settle();
    assert_true(held_total <= 2 * UNREAD);
    assert_true(held_bytes[HELD_BODIES] >= UNREAD / 2); /* the first one fits */
    for (int i = 0; i < MAX_CLIENTS; i++)
        leave(&world.clients[i]);
    until_held(HELD_BODIES, 0, 0);
}

static void a_body_that_does_not_fit_is_rejected_and_what_has_come_is_given_back(void **state) {
    (void)state;
    char *text = text_of(LARGE);
    held_set_limit(200000);
    struct client *c = connect_client();
    send_request(c, "POST", "/wait", "Transfer-Encoding: chunked\r\n");
    send_text(c, "186a0\r\n");
    send_bytes(c, text, 100000);
    until_held(HELD_BODIES, 100000, 100000);
    send_text(c, "\r\n186a0\r\n");
    send_bytes(c, text, 100000);
    until_held(HELD_BODIES, 0, 0);
    send_text(c, "\r\n0\r\n\r\n");
    until_received(c, "HTTP/1.1 429 ");
    until_received(c, "over_memory");
    assert_true(has_received(c, "Retry-After: "));
    free(text);
}

static void a_body_that_can_never_fit_is_rejected_by_its_head(void **state) {
    (void)state;
    held_set_limit(200000);
    struct client *c = connect_client();
    send_request(c, "POST", "/wait", "Content-Length: 200001\r\nExpect: 100-continue\r\n");
    until_received(c, "HTTP/1.1 429 ");
    until_received(c, "over_memory");
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* A client that reads nothing asks for something, which `size` bytes on the heap answer. */
static int ask_and_do_not_read(size_t size) {
    const struct sockaddr_un peer = {.sun_family = AF_UNIX};
    const char request[] = "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n";
    struct buf body = {0};
    char *text = text_of(size);
    int pair[2];
    if (world.http == NULL)
        connect_client();
    buf_append(&body, text, size);
    free(text);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    http_adopt(world.http, pair[1], (const struct sockaddr *)&peer, sizeof peer.sun_family, false);
    assert_int_equal(write(pair[0], request, sizeof request - 1), sizeof request - 1);
    while (world.waiting == NULL)
        step();
    http_answer(world.waiting, 200, "text/plain", &body);
    world.waiting = NULL;
    return pair[0];
}

static void an_answer_counts_until_it_is_taken(void **state) {
    (void)state;
    struct buf body = {0};
    char *text = text_of(UNREAD);
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle");
    buf_append(&body, text, UNREAD);
    http_answer(world.waiting, 200, "text/plain", &body);
    assert_true(held_bytes[HELD_ANSWERS] >= UNREAD);
    until_body(c, UNREAD);
    until_held(HELD_ANSWERS, 0, 0);
    free(text);
}

static void a_slice_is_sent_without_a_copy_even_if_its_owner_drops_it(void **state) {
    (void)state;
    char *text = text_of(UNREAD);
    world.slice = slice_copy(text, UNREAD);
    struct client *c = connect_client();
    send_request(c, "GET", "/slice", "");
    while (world.trace.data == NULL || strstr(world.trace.data, "handle") == NULL)
        http_turn(world.http), loop_step(world.loop, NS_PER_MS);
    assert_int_equal(held_bytes[HELD_ANSWERS], 0);
    assert_int_equal(blob_held_bytes, UNREAD);
    slice_deinit(&world.slice);
    assert_int_equal(blob_held_bytes, UNREAD);
    assert_memory_equal(until_body(c, UNREAD), text, UNREAD);
    until_held(HELD_PAYLOADS, 0, 0);
    free(text);
}

static void a_large_answer_that_does_not_fit_is_429_and_a_small_one_is_given(void **state) {
    (void)state;
    struct client *c = connect_client();
    struct buf body = {0};
    char *text = text_of(LARGE);
    held_set_limit(100000);
    send_request(c, "GET", "/wait", "");
    until_traced("handle");
    buf_append(&body, text, LARGE);
    http_set_header(world.waiting, "ETag", "\"x\"");
    http_answer(world.waiting, 200, "text/plain", &body);
    until_received(c, "HTTP/1.1 429 ");
    until_received(c, "over_memory");
    assert_true(has_received(c, "Retry-After: 1\r\n"));
    assert_false(has_received(c, "ETag"));
    held_set_limit(1);
    forget(c);
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    free(text);
}

static unsigned bytes_left(int fd) {
    char bytes[65536];
    unsigned total = 0;
    for (ssize_t n = 1; n > 0; total += n > 0 ? (unsigned)n : 0)
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    return total;
}

static void clients_that_take_nothing_are_closed_when_memory_is_short_and_others_are_not(void **state) {
    (void)state;
    log_threshold = LOG_ERROR;
    int silent = ask_and_do_not_read(UNREAD), reading = ask_and_do_not_read(UNREAD);
    held_set_limit(held_total + UNREAD);                /* three quarters of it are used up */
    assert_false(held_make_room(HELD_FOR_NEW, UNREAD)); /* nobody has had the time to read */
    assert_int_equal(http_unread_closed(world.http), 0);
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    unsigned taken = 0;
    char byte[1000];
    while (!held_make_room(HELD_FOR_NEW, UNREAD / 4) && clock_monotonic_ns() < end_ns) {
        ssize_t n = recv(reading, byte, sizeof byte, MSG_DONTWAIT); /* slowly, but again and again */
        taken += n > 0 ? (unsigned)n : 0;
        step();
    }
    assert_int_equal(http_unread_closed(world.http), 1);
    assert_true(bytes_left(silent) < UNREAD);
    held_set_limit(UINT64_MAX);
    while (taken < UNREAD && clock_monotonic_ns() < end_ns) {
        taken += bytes_left(reading);
        step();
    }
    assert_true(taken > UNREAD); /* and a head */
    until_held(HELD_ANSWERS, 0, 0);
    close(silent);
    close(reading);
    log_threshold = LOG_INFO;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void a_connection_counts_from_its_first_to_its_last_moment(void **state) {
    (void)state;
    size_t one = http_connection_bytes(world.config.max_header, false);
    struct client *a = connect_client(), *b = connect_client();
    until_held(HELD_CONNECTIONS, 2 * one, 2 * one);
    leave(a);
    until_held(HELD_CONNECTIONS, one, one);
    leave(b);
    until_held(HELD_CONNECTIONS, 0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_body_counts_while_it_comes_and_then_as_a_payload),
        TEST(a_small_body_counts_too_and_goes_with_its_client),
        TEST(unfinished_bodies_hold_no_more_than_the_limit),
        TEST(a_body_that_does_not_fit_is_rejected_and_what_has_come_is_given_back),
        TEST(a_body_that_can_never_fit_is_rejected_by_its_head),
        TEST(an_answer_counts_until_it_is_taken),
        TEST(a_slice_is_sent_without_a_copy_even_if_its_owner_drops_it),
        TEST(a_large_answer_that_does_not_fit_is_429_and_a_small_one_is_given),
        TEST(clients_that_take_nothing_are_closed_when_memory_is_short_and_others_are_not),
        TEST(a_connection_counts_from_its_first_to_its_last_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
