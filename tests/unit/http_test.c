/* http_test.c: HTTP as clients see it, byte by byte, and as the owner of the server sees it by its callbacks. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#define ZLIB_CONST

#include "http_world.h"

enum { LARGE = 300000 };

/* Bytes that differ from their neighbours at any offset; heap. */
static char *large_text(size_t size) {
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    text[size] = '\0';
    return text;
}

/* ---- requests and their bodies ----------------------------------------------------------------------------------- */

static void a_request_is_begun_handled_answered_and_done(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    assert_true(has_received(c, "HTTP/1.1 200 OK\r\n"));
    assert_true(has_received(c, "Content-Type: text/plain\r\n"));
    until_traced("done");
    expect_trace("begin /hello; handle /hello; done /hello 200; ");
    assert_false(c->ended);
}

static void a_connection_serves_one_request_after_the_other(void **state) {
    (void)state;
    struct client *c = connect_client();
    for (int i = 0; i < 3; i++) {
        forget(c);
        send_post(c, "/echo", "abc", 3);
        assert_memory_equal(until_body(c, 3), "abc", 3);
    }
    assert_int_equal(http_connections(world.http), 1);
}

static void a_small_body_is_on_the_heap(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_post(c, "/echo", "a small body", 12);
    assert_memory_equal(until_body(c, 12), "a small body", 12);
    assert_true(has_received(c, "X-Body: small\r\n"));
}

static void a_large_body_is_in_a_memfd(void **state) {
    (void)state;
    char *body = large_text(LARGE);
    struct client *c = connect_client();
    send_post(c, "/echo", body, LARGE);
    assert_memory_equal(until_body(c, LARGE), body, LARGE);
    assert_true(has_received(c, "X-Body: large\r\n"));
    free(body);
}

static void a_body_can_come_in_chunks(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    send_text(c, "3\r\nabc\r\n");
    settle();
    send_text(c, "4\r\ndefg\r\n0\r\n\r\n");
    assert_memory_equal(until_body(c, 7), "abcdefg", 7);
}

static void a_request_can_come_byte_by_byte(void **state) {
    (void)state;
    const char text[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nbytes";
    struct client *c = connect_client();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        send_bytes(c, text + i, 1);
        step();
    }
    assert_memory_equal(until_body(c, 5), "bytes", 5);
}

static void the_clients_id_is_taken_if_it_is_a_good_one(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/hello", "X-Request-Id: mine-1\r\n");
    until_received(c, "hello");
    assert_true(has_received(c, "X-Request-Id: mine-1\r\n"));
    forget(c);
    send_request(c, "GET", "/hello", "X-Request-Id: not \"good\"\r\n");
    until_received(c, "hello");
    assert_true(has_received(c, "X-Request-Id: "));
    assert_false(has_received(c, "good"));
}

static void pipelined_requests_are_served_in_order_one_at_a_time(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "X-Request-Id: one\r\n");
    send_post(c, "/echo", "two", 3);
    send_request(c, "GET", "/hello", "X-Request-Id: three\r\n");
    until_traced("handle /wait");
    settle();
    expect_trace("begin /wait; handle /wait; ");
    http_answer_static(world.waiting, 200, "text/plain", "first", 5);
    until_received(c, "X-Request-Id: three\r\n");
    until_traced("done /hello");
    expect_trace("begin /wait; handle /wait; done /wait 200; begin /echo; handle /echo; done /echo 200; "
                 "begin /hello; handle /hello; done /hello 200; ");
    assert_true(strstr(c->in.data, "first") < strstr(c->in.data, "two"));
    assert_true(strstr(c->in.data, "two") < strstr(c->in.data, "hello"));
}

static void a_request_that_nobody_answers_ends_its_connection(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/forget", "");
    until_ended(c);
    assert_int_equal(c->in.size, 0);
    expect_trace("begin /forget; handle /forget; done /forget 0; ");
}

static void an_answer_without_memory_is_a_500(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/failed", "");
    until_received(c, "there is no memory for the answer");
    assert_memory_equal(c->in.data, "HTTP/1.1 500 ", 13);
    assert_true(has_received(c, "application/problem+json"));
    assert_true(has_received(c, "\"code\":\"internal_error\""));
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    expect_trace("begin /failed; handle /failed; done /failed 500; begin /hello; handle /hello; done /hello 200; ");
}

/* ---- what is rejected -------------------------------------------------------------------------------------------- */

static void a_rejected_request_is_not_handled_and_keeps_its_connection(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_post(c, "/reject", "a body that nobody wants", 24);
    until_received(c, "unsupported_media_type");
    assert_true(has_received(c, "HTTP/1.1 415 "));
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    expect_trace("begin /reject; done /reject 415; begin /hello; handle /hello; done /hello 200; ");
}

static void a_rejected_client_that_expects_100_gets_no_100(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/reject", "Content-Length: 24\r\nExpect: 100-continue\r\n");
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 415 ", 13);
    assert_false(has_received(c, "100 Continue"));
    expect_trace("begin /reject; done /reject 415; ");
}

static void an_accepted_client_that_expects_100_gets_a_100(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 4\r\nExpect: 100-continue\r\n");
    until_received(c, "HTTP/1.1 100 Continue\r\n\r\n");
    forget(c);
    send_text(c, "body");
    assert_memory_equal(until_body(c, 4), "body", 4);
}

static void a_body_above_the_limit_is_rejected_by_its_length(void **state) {
    (void)state;
    world.config.max_body = 10;
    struct client *c = connect_client();
    send_post(c, "/echo", "eleven byte", 11);
    until_received(c, "\"limit_bytes\":10");
    assert_true(has_received(c, "HTTP/1.1 413 "));
    forget(c);
    send_post(c, "/echo", "ten bytes.", 10);
    assert_memory_equal(until_body(c, 10), "ten bytes.", 10);
}

static void a_long_body_above_the_limit_is_answered_before_it_comes(void **state) {
    (void)state;
    world.config.max_body = 10;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 100000000\r\n");
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 413 "));
    expect_trace("begin /echo; done /echo 413; ");
}

static void a_body_of_unknown_length_is_rejected_when_it_grows_above_the_limit(void **state) {
    (void)state;
    world.config.max_body = 10;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    send_text(c, "8\r\neight by\r\n8\r\ntes, 16 \r\n0\r\n\r\n");
    until_received(c, "body_too_large");
    assert_true(has_received(c, "HTTP/1.1 413 "));
    until_ended(c);
    expect_trace("begin /echo; done /echo 413; ");
}

static void a_rejected_body_without_end_is_not_read_for_ever(void **state) {
    (void)state;
    char *chunk = large_text(0x10000);
    world.config.max_body = 10;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    for (int i = 0; i < 100 && !c->ended; i++) {
        struct buf text = {0};
        buf_puts(&text, "10000\r\n");
        buf_append(&text, chunk, 0x10000);
        buf_puts(&text, "\r\n");
        for (size_t at = 0; at < text.size && !c->ended;) {
            ssize_t n = send(c->fd, text.data + at, text.size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += n < 0 ? 0 : (size_t)n;
            step();
        }
        buf_deinit(&text);
    }
    free(chunk);
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 413 "));
    expect_trace("begin /echo; done /echo 413; ");
}

static void a_head_above_the_limit_is_rejected(void **state) {
    (void)state;
    struct buf header = {0};
    char *value = large_text(9000);
    buf_printf(&header, "X-Long: %s\r\n", value);
    struct client *c = connect_client();
    send_request(c, "GET", "/hello", header.data);
    until_received(c, "\"limit_bytes\":8192");
    assert_true(has_received(c, "HTTP/1.1 431 "));
    until_ended(c);
    expect_trace("rejected 431; ");
    free(value);
    buf_deinit(&header);
}

static void limits_can_be_changed(void **state) {
    (void)state;
    struct client *c = connect_client();
    world.config.max_body = 2;
    http_configure(world.http, &world.config);
    send_post(c, "/echo", "abc", 3);
    until_received(c, "HTTP/1.1 413 ");
}

static void a_connection_beyond_the_limit_gets_a_503_and_is_closed(void **state) {
    (void)state;
    world.config.max_connections = 1;
    struct client *first = connect_client(), *second = connect_client();
    send_request(second, "GET", "/hello", "");
    until_ended(second);
    assert_true(has_received(second, "HTTP/1.1 503 "));
    assert_true(has_received(second, "too_many_connections"));
    assert_true(has_received(second, "Connection: close\r\n"));
    assert_true(has_received(second, "Retry-After: 1\r\n"));
    send_request(first, "GET", "/hello", "");
    until_received(first, "hello");
    struct client *third = connect_client();
    leave(first);
    until_traced("begin /hello; handle /hello; done /hello 200; ");
    while (http_connections(world.http) > 1)
        step();
    struct client *fourth = connect_client();
    send_request(third, "GET", "/hello", ""); /* there were too many when it connected */
    until_received(third, "too_many_connections");
    send_request(fourth, "GET", "/hello", "");
    until_ended(fourth);
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

static void a_bad_head_is_answered_and_its_connection_closed(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_text(c, "GET /hello HTTP/1.1\r\nX-Request-Id: mine\r\nHost: a\r\nHost: b\r\n\r\nGET /hello HTTP/1.1\r\n");
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 400 Bad Request\r\n"));
    assert_true(has_received(c, "Content-Type: application/problem+json\r\n"));
    assert_true(has_received(c, "X-Request-Id: mine\r\n"));
    assert_true(has_received(c, "Connection: close\r\n"));
    assert_true(has_received(c, "\"field\":\"Host\""));
    expect_trace("rejected 400; ");
}

static void a_bad_head_is_answered_after_the_requests_before_it(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_text(c,
              "GET /wait HTTP/1.1\r\nHost: h\r\n\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\nGET  /bad HTTP/1.1\r\n\r\n");
    until_traced("handle /wait");
    settle();
    assert_int_equal(c->in.size, 0);
    http_answer_static(world.waiting, 200, "text/plain", "first", 5);
    until_ended(c);
    const char *first = strstr(c->in.data, "first"), *second = strstr(c->in.data, "hello");
    const char *third = strstr(c->in.data, "bad_request");
    assert_true(first != NULL && second > first && third > second);
    expect_trace(
        "begin /wait; handle /wait; done /wait 200; begin /hello; handle /hello; done /hello 200; rejected 400; ");
}

static void a_bad_chunk_ends_its_request(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Transfer-Encoding: chunked\r\n");
    until_traced("begin");
    send_text(c, "3\r\nabcd\r\n0\r\n\r\n");
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 400 "));
    until_traced("done");
    expect_trace("begin /echo; done /echo 0; ");
}

static void an_answer_to_head_has_no_body_even_if_its_head_is_bad(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_text(c, "HEAD /hello HTTP/1.1\r\n\r\n");
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 400 "));
    assert_string_equal(strstr(c->in.data, "\r\n\r\n"), "\r\n\r\n");
}

static void the_bytes_of_a_tls_handshake_are_not_answered(void **state) {
    static const char hello[] = {0x16, 3, 1, 2, 0, 1, 0, 1, (char)0xfc, 3, 3};
    (void)state;
    struct client *c = connect_client();
    send_bytes(c, hello, sizeof hello);
    until_ended(c);
    assert_int_equal(c->in.size, 0);
}

static void a_target_in_absolute_form_is_taken_as_its_path(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "http://h:80/hello", "");
    until_received(c, "hello");
    expect_trace("begin /hello; handle /hello; done /hello 200; ");
}

static void a_path_is_unescaped_but_not_cut_at_a_nul(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/%68ello", "");
    until_received(c, "hello");
    send_request(c, "GET", "/forget%00/hello", "");
    until_traced("begin /forget%00/hello");
    until_ended(c);
}

static void a_half_request_and_a_fin_end_the_connection(void **state) {
    (void)state;
    static const char *const parts[] = {
        "G", "GET /hello HTTP/1.1\r\nHost:", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", "\r\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct client *c = connect_client();
        send_text(c, parts[i]);
        close_side(c);
        until_ended(c);
        assert_int_equal(c->in.size, 0);
    }
    while (http_connections(world.http) > 0)
        step();
}

static void a_further_head_has_a_timeout_too(void **state) {
    (void)state;
    world.config.header_timeout_ns = 50 * NS_PER_MS;
    struct client *c = connect_client();
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    send_text(c, "\r\nGET /he");
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 408 "));
}

static void what_comes_behind_a_rejected_body_does_not_reset_the_answer(void **state) {
    (void)state;
    char *body = large_text(300000);
    world.config.max_body = 10;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Expect: 100-continue\r\nContent-Length: 300000\r\n");
    send_bytes(c, body, 300000); /* fails if the server does not read on */
    until_ended(c);
    assert_true(has_received(c, "HTTP/1.1 413 "));
    free(body);
}

/* ---- slow clients ------------------------------------------------------------------------------------------------ */

static void a_slow_head_gets_a_408(void **state) {
    (void)state;
    world.config.header_timeout_ns = 20 * NS_PER_MS;
    struct client *c = connect_client();
    send_text(c, "GET /hello HTTP/1.1\r\nHos");
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    assert_true(has_received(c, "request_timeout"));
    expect_trace("");
}

static void a_head_that_came_in_time_has_no_timeout_any_more(void **state) {
    (void)state;
    world.config.header_timeout_ns = NS_PER_S; /* the head takes less, even on a slow machine */
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    while (world.waiting == NULL && !c->ended)
        step();
    assert_non_null(world.waiting);
    int64_t end_ns = clock_monotonic_ns() + 5 * NS_PER_S / 4;
    while (clock_monotonic_ns() < end_ns)
        step();
    assert_false(c->ended);
    http_answer_static(world.waiting, 200, "text/plain", "late", 4);
    until_received(c, "late");
}

static void a_body_that_stops_coming_gets_a_408_with_its_id(void **state) {
    (void)state;
    world.config.idle_timeout_ns = 20 * NS_PER_MS;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 100\r\nX-Request-Id: slow-one\r\n");
    send_text(c, "a few bytes");
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    assert_true(has_received(c, "X-Request-Id: slow-one\r\n"));
    until_traced("done");
    expect_trace("begin /echo; done /echo 0; ");
}

/* libmicrohttpd can find the rest of a request after a 408. It must not be handled. */
static void the_rest_of_a_request_behind_a_408_is_not_served(void **state) {
    (void)state;
    world.config.header_timeout_ns = 20 * NS_PER_MS;
    struct client *c = connect_client();
    send_text(c, "GET /hello HTTP/1.1\r\n");
    int64_t end_ns = clock_monotonic_ns() + 30 * NS_PER_MS;
    while (clock_monotonic_ns() < end_ns)
        http_turn(world.http);
    send_text(c, "Host: h\r\n\r\n"); /* seen when the timer fires */
    until_ended(c);
    assert_memory_equal(c->in.data, "HTTP/1.1 408 ", 13);
    settle();
    assert_null(strstr(world.trace.data == NULL ? "" : world.trace.data, "handle"));
}

/* ---- requests that wait ------------------------------------------------------------------------------------------ */

static void a_suspended_request_is_answered_later(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    settle();
    assert_int_equal(c->in.size, 0);
    assert_true(http_busy(world.http));
    http_answer_static(world.waiting, 200, "text/plain", "at last", 7);
    until_received(c, "at last");
    until_traced("done");
    assert_false(http_busy(world.http));
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    expect_trace("begin /wait; handle /wait; done /wait 200; begin /hello; handle /hello; done /hello 200; ");
}

/* It is not suspended yet. */
static void a_request_is_answered_as_soon_as_it_waits(void **state) {
    (void)state;
    struct client *c = connect_client();
    for (int i = 0; i < 3; i++) {
        forget(c);
        send_request(c, "GET", "/wait", "");
        while (world.waiting == NULL)
            step();
        http_answer_static(world.waiting, 200, "text/plain", "at once", 7);
        until_received(c, "at once");
        while (world.waiting != NULL)
            step();
    }
    assert_false(http_busy(world.http));
}

/* More than libmicrohttpd is asked to poll. The one that waits longest is answered last. */
static void many_clients_wait_at_a_time(void **state) {
    (void)state;
    for (int i = 0; i < MAX_CLIENTS; i++)
        send_request(connect_client(), "GET", "/wait", "");
    while (world.waits < MAX_CLIENTS)
        step();
    for (unsigned i = MAX_CLIENTS; i > 0; i--)
        http_answer_static(world.all_waiting[i - 1], 200, "text/plain", "one of many", 11);
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        until_received(&world.clients[i], "one of many");
    settle();
    assert_false(http_busy(world.http));
}

/* libmicrohttpd has no room for the head. It ends the request while it takes the answer. */
static void an_answer_that_libmicrohttpd_cannot_send_ends_the_request(void **state) {
    (void)state;
    char *text = large_text(64 * 1024);
    for (int suspended = 0; suspended < 2; suspended++) {
        struct client *c = connect_client();
        send_request(c, "GET", "/wait", "");
        while (world.waiting == NULL)
            step();
        if (suspended)
            settle();
        http_set_header(world.waiting, "X-Long", text);
        http_answer_static(world.waiting, 200, "text/plain", "never", 5);
        until_ended(c);
        assert_false(has_received(c, "200"));
        while (world.waiting != NULL)
            step();
    }
    free(text);
}

static void a_server_that_closes_answers_who_has_just_begun_to_wait(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    while (world.waiting == NULL)
        step();
    close_server();
    assert_true(has_received(c, "HTTP/1.1 503 "));
    expect_trace("begin /wait; handle /wait; done /wait 503; ");
}

static void a_client_that_leaves_while_it_waits_is_noticed(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    leave(c);
    until_traced("done");
    expect_trace("begin /wait; handle /wait; hangup /wait; done /wait 0; ");
}

static void a_request_can_be_abandoned_some_time_after_the_hangup(void **state) {
    (void)state;
    world.keeps_after_hangup = true;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    close_side(c);
    until_traced("hangup");
    assert_false(http_client_has_left(world.waiting));
    leave(c);
    until_traced("hangup /wait; hangup /wait; ");
    settle();
    expect_trace("begin /wait; handle /wait; hangup /wait; hangup /wait; ");
    assert_true(http_client_has_left(world.waiting));
    http_abandon(world.waiting);
    until_traced("done");
    expect_trace("begin /wait; handle /wait; hangup /wait; hangup /wait; done /wait 0; ");
}

static void an_abandoned_request_can_be_answered_before_it_is_done(void **state) {
    (void)state;
    world.answers_after_abandon = true;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    close_side(c);
    until_ended(c);
    assert_int_equal(c->in.size, 0);
    expect_trace("begin /wait; handle /wait; hangup /wait; done /wait 0; ");
}

static void a_fin_before_the_request_is_suspended_is_noticed(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    close_side(c);
    loop_step(world.loop, 0); /* the FIN is seen before the request */
    until_ended(c);
    assert_int_equal(c->in.size, 0);
    expect_trace("begin /wait; handle /wait; hangup /wait; done /wait 0; ");
}

static void a_client_that_closes_its_side_gets_an_answer_that_need_not_wait(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/hello", "");
    close_side(c);
    until_received(c, "hello");
    until_ended(c);
    expect_trace("begin /hello; handle /hello; done /hello 200; ");
}

static void a_client_that_leaves_in_the_middle_of_a_body_is_noticed(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "POST", "/echo", "Content-Length: 100\r\n");
    send_text(c, "a few bytes");
    until_traced("begin");
    leave(c);
    until_traced("done");
    expect_trace("begin /echo; done /echo 0; ");
    while (http_connections(world.http) > 0)
        step();
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static struct client *connect_to_stream(const char *text, ssize_t after) {
    world.stream.text = text;
    world.stream.after = after;
    struct client *c = connect_client();
    send_request(c, "GET", "/stream", "");
    return c;
}

static void a_stream_is_sent_to_its_end(void **state) {
    (void)state;
    char *text = large_text(LARGE);
    struct client *c = connect_to_stream(text, HTTP_STREAM_END);
    until_received(c, "\r\n0\r\n\r\n");
    assert_true(c->in.size > LARGE);
    until_traced("done");
    expect_trace("begin /stream; handle /stream; close; done /stream 200; ");
    assert_false(c->ended);
    free(text);
}

static void a_stream_that_has_nothing_is_not_asked_until_it_is_woken(void **state) {
    (void)state;
    struct client *c = connect_to_stream("", 0);
    until_traced("handle /stream");
    settle();
    assert_int_equal(world.stream.reads, 1);
    assert_true(has_received(c, "HTTP/1.1 200 OK\r\n"));
    world.stream.text = "news";
    http_wake_stream(world.streamed);
    http_wake_stream(world.streamed);
    until_received(c, "news");
    settle();
    assert_int_equal(world.stream.reads, 3);
    world.stream.after = HTTP_STREAM_END;
    http_wake_streams(world.http);
    until_received(c, "0\r\n\r\n");
    assert_int_equal(world.stream.reads, 4);
}

static void a_request_without_a_stream_cannot_be_woken(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    http_wake_stream(world.waiting);
    settle();
    expect_trace("begin /wait; handle /wait; ");
    http_answer_static(world.waiting, 204, NULL, "", 0);
    until_received(c, "HTTP/1.1 204 ");
}

static void a_suspended_request_can_be_answered_by_a_stream(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    world.stream.text = "bit by bit";
    world.stream.after = HTTP_STREAM_END;
    http_answer_stream(world.waiting, 200, "text/plain", &world.stream.stream);
    until_received(c, "bit by bit");
    until_traced("close; done /wait 200; ");
}

static void the_client_sees_that_a_stream_was_cut(void **state) {
    (void)state;
    struct client *c = connect_to_stream("half", HTTP_STREAM_CUT);
    until_ended(c);
    assert_true(has_received(c, "half"));
    assert_false(has_received(c, "\r\n0\r\n"));
    expect_trace("begin /stream; handle /stream; close; done /stream 200; ");
}

static void a_client_that_leaves_a_stream_with_nothing_to_say_is_noticed(void **state) {
    (void)state;
    struct client *c = connect_to_stream("", 0);
    until_traced("handle /stream");
    settle();
    leave(c);
    until_traced("done");
    expect_trace("begin /stream; handle /stream; close; done /stream 200; ");
    assert_int_equal(world.stream.reads, 1);
}

static void an_expendable_stream_is_not_worth_waiting_for(void **state) {
    (void)state;
    world.stream.stream.expendable = true;
    connect_to_stream("", 0);
    until_traced("handle /stream");
    assert_false(http_busy(world.http));
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    assert_true(http_busy(world.http));
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void head_is_answered_without_the_body(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "HEAD", "/hello", "");
    until_received(c, "\r\n\r\n");
    assert_true(has_received(c, "Content-Length: 5\r\n"));
    send_request(c, "GET", "/hello", "");
    until_received(c, "\r\n\r\nhello");
    assert_non_null(strstr(c->in.data, "\r\n\r\nHTTP/1.1 200 OK"));
}

static void head_does_not_read_a_stream(void **state) {
    (void)state;
    world.stream.text = "news";
    world.stream.after = HTTP_STREAM_END;
    struct client *c = connect_client();
    send_request(c, "HEAD", "/stream", "");
    until_received(c, "\r\n\r\n");
    until_traced("done");
    assert_int_equal(world.stream.reads, 0);
    expect_trace("begin /stream; handle /stream; close; done /stream 200; ");
}

/* A large slice is in a memfd, and sent by sendfile; a small one is on the heap. */
static void check_ranges(size_t size) {
    const struct {
        const char *range;
        size_t first, end; /* end 0: the whole */
    } rows[] = {
        {"bytes=0-0", 0, 1},
        {"bytes=10-19", 10, 20},
        {"bytes=90-", 90, size},
        {"bytes=-5", size - 5, size},
        {"bytes=-999999999", 0, size},
        {"bytes=50-999999999", 50, size},
        {"bytes=20-10", 0, 0},
        {"bytes=a-b", 0, 0},
        {"bytes=+1-2", 0, 0},
        {"bytes=0-1,3-4", 0, 0},
        {"lines=0-1", 0, 0},
        {"bytes=", 0, 0},
        {"BYTES=1-2", 1, 3},
        {"bytes=7-8,", 7, 9},
        {"bytes=0-1x", 0, 0},
        {"bytes=5-99999999999999999999999999", 5, size},
        {"bytes=-99999999999999999999999999", 0, size},
        {"bytes=99999999999999999999999999-5", 0, 0},
    };
    char *text = large_text(size), expected[128];
    world.slice = size > 1000 ? slice_all(blob_copy_sealed("test", text, size)) : slice_copy(text, size);
    struct client *c = connect_client();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t first = rows[i].first, end = rows[i].end == 0 ? size : rows[i].end;
        snprintf(expected, sizeof expected, "Range: %s\r\n", rows[i].range);
        send_request(c, "GET", "/slice", expected);
        assert_memory_equal(until_body(c, end - first), text + first, end - first);
        snprintf(expected, sizeof expected, "Content-Range: bytes %zu-%zu/%zu\r\n", first, end - 1, size);
        assert_true(has_received(c, rows[i].end == 0 ? "HTTP/1.1 200 " : "HTTP/1.1 206 "));
        assert_true(has_received(c, expected) == (rows[i].end != 0));
        forget(c);
    }
    snprintf(expected, sizeof expected, "Content-Range: bytes */%zu\r\n", size);
    send_request(c, "GET", "/slice", "Range: bytes=999999999-\r\n");
    until_received(c, "range_not_satisfiable");
    assert_true(has_received(c, "HTTP/1.1 416 ") && has_received(c, expected));
    forget(c);
    send_request(c, "GET", "/slice", "Range: bytes=-0\r\n");
    until_received(c, "range_not_satisfiable");
    forget(c);
    send_request(c, "GET", "/slice", "Range: bytes=99999999999999999999999999-\r\n");
    until_received(c, "range_not_satisfiable");
    free(text);
}

static void a_range_of_a_small_slice(void **state) {
    (void)state;
    check_ranges(100);
}

static void a_range_of_a_large_slice(void **state) {
    (void)state;
    check_ranges(LARGE);
}

/* More than the sockets hold. */
static void a_client_can_leave_in_the_middle_of_a_large_slice(void **state) {
    (void)state;
    enum { HUGE_SLICE = 16 * 1024 * 1024 };
    char *text = large_text(HUGE_SLICE);
    world.slice = slice_all(blob_copy_sealed("test", text, HUGE_SLICE));
    struct client *c = connect_client();
    send_request(c, "GET", "/slice", "");
    until_received(c, "\r\n\r\n");
    leave(c);
    until_traced("done");
    assert_non_null(strstr(world.trace.data, "done /slice"));
    free(text);
}

/* With HTTP/1.0 the body ends with the connection, and is not sent in chunks. */
static void expect_answer(struct client *c, const char *method, const char *headers, const char *status) {
    forget(c);
    send_request(c, method, "/slice", headers);
    until_received(c, "\r\n\r\n");
    settle();
    if (!has_received(c, status))
        fail_msg("%s with %s: not %s, but: %.100s", method, headers, status, c->in.data);
}

static void a_range_holds_only_for_the_bytes_that_the_client_knows(void **state) {
    (void)state;
    static const char *const whole[] = {"\"nosuch\"",
                                        "W/\"slice\"",
                                        "*",
                                        "slice",
                                        "\"slice\", \"slice\"",
                                        "\"slice-gzip\"",
                                        "Thu, 26 Nov 2026 00:00:00 GMT",
                                        ""};
    char headers[128];
    world.slice = slice_copy("0123456789", 10);
    struct client *c = connect_client();
    expect_answer(c, "GET", "Range: bytes=2-3\r\nIf-Range: \"slice\"\r\n", "HTTP/1.1 206 ");
    assert_true(has_received(c, "ETag: \"slice\"\r\n"));
    assert_true(has_received(c, "\r\n\r\n23"));
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        snprintf(headers, sizeof headers, "Range: bytes=2-3\r\nIf-Range: %s\r\n", whole[i]);
        expect_answer(c, "GET", headers, "HTTP/1.1 200 ");
        assert_true(has_received(c, "\r\n\r\n0123456789"));
    }
    expect_answer(c, "GET", "Range: bytes=99-\r\nIf-Range: \"nosuch\"\r\n", "HTTP/1.1 200 ");
    expect_answer(c, "HEAD", "Range: bytes=2-3\r\n", "HTTP/1.1 200 "); /* only GET has ranges */
    assert_true(has_received(c, "Content-Length: 10\r\n"));
}

static void a_slice_that_the_client_has_is_not_sent_again(void **state) {
    (void)state;
    char *text = large_text(LARGE);
    world.slice = slice_all(blob_copy_sealed("test", text, LARGE));
    struct client *c = connect_client();
    for (int i = 0; i < 2; i++) {
        const char *method = i == 0 ? "GET" : "HEAD";
        expect_answer(c, method, "If-None-Match: \"a\", W/\"slice\"\r\n", "HTTP/1.1 304 ");
        assert_true(has_received(c, "ETag: \"slice\"\r\n") && has_received(c, "Vary: Accept-Encoding\r\n"));
        expect_answer(c, method, "If-None-Match: \"a\"\r\nIf-None-Match: *\r\n", "HTTP/1.1 304 ");
        expect_answer(c, method, "If-None-Match: \"slice\"\r\nRange: bytes=0-1\r\n", "HTTP/1.1 304 ");
        expect_answer(c, method, "If-None-Match: \"slice\"\r\nIf-Match: \"a\"\r\n", "HTTP/1.1 412 ");
        expect_answer(c, method, "If-Match: \"slice\"\r\nIf-None-Match: \"slice\"\r\n", "HTTP/1.1 304 ");
        /* What is compressed has other bytes, so it has another tag. */
        expect_answer(c, method, "Accept-Encoding: gzip\r\nIf-None-Match: \"slice-gzip\"\r\n", "HTTP/1.1 304 ");
        assert_true(has_received(c, "ETag: \"slice-gzip\"\r\n"));
    }
    expect_answer(c, "HEAD", "Accept-Encoding: gzip\r\nIf-None-Match: \"slice\"\r\n", "HTTP/1.1 200 ");
    assert_true(has_received(c, "ETag: \"slice-gzip\"\r\n"));
    free(text);
}

/* The library before 0.9.77 sends the last chunk of an answer whose size is not known, so the connection is closed. */
static void nothing_follows_a_head_whose_body_has_no_known_size(void **state) {
    (void)state;
    static const char *const paths[] = {"/stream", "/slice"};
    char *text = large_text(LARGE);
    world.slice = slice_all(blob_copy_sealed("test", text, LARGE));
    world.stream.text = "news";
    world.stream.after = HTTP_STREAM_END;
    for (int i = 0; i < 2; i++) {
        struct client *c = connect_client();
        send_request(c, "HEAD", paths[i], "Accept-Encoding: gzip\r\n");
        until_received(c, "\r\n\r\n");
        settle();
        assert_true(has_received(c, "HTTP/1.1 200 "));
        assert_false(has_received(c, "Content-Length"));
        assert_memory_equal(c->in.data + c->in.size - 4, "\r\n\r\n", 4);
        assert_ptr_equal(memmem(c->in.data, c->in.size, "\r\n\r\n", 4), c->in.data + c->in.size - 4);
        assert_true(c->ended == has_received(c, "Connection: close\r\n"));
        if (c->ended)
            continue;
        send_request(c, "GET", "/hello", "");
        until_received(c, "\r\n\r\nHTTP/1.1 200 ");
    }
    assert_int_equal(world.stream.reads, 0);
    free(text);
}

static void from_then_on_each_answer_closes_its_connection(void **state) {
    (void)state;
    struct client *kept = connect_client(), *waits = connect_client(), *late = connect_client();
    send_request(kept, "GET", "/hello", "");
    until_received(kept, "hello");
    assert_false(has_received(kept, "Connection: close"));
    send_request(waits, "GET", "/wait", "");
    until_traced("handle /wait");
    http_close_after_answer(world.http);
    http_answer_static(world.waiting, 200, "text/plain", "later", 5);
    until_ended(waits);
    assert_true(has_received(waits, "Connection: close\r\n") && has_received(waits, "later"));
    forget(kept);
    send_request(kept, "GET", "/hello", "");
    until_ended(kept);
    assert_true(has_received(kept, "Connection: close\r\n") && has_received(kept, "hello"));
    send_request(late, "GET", "/hello", "");
    until_ended(late);
    assert_true(has_received(late, "hello"));
}

static void a_large_slice_is_compressed_if_the_client_accepts_it(void **state) {
    (void)state;
    char *text = large_text(LARGE);
    world.slice = slice_all(blob_copy_sealed("test", text, LARGE));
    struct client *c = connect_client();
    expect_answer(c, "GET", "Accept-Encoding: br, gzip;q=0.5\r\n", "HTTP/1.1 200 ");
    assert_true(has_received(c, "Content-Encoding: gzip\r\n") && has_received(c, "Content-Length: 5\r\n"));
    assert_true(has_received(c, "Vary: Accept-Encoding\r\n") && has_received(c, "ETag: \"slice-gzip\"\r\n"));
    assert_true(has_received(c, "\r\n\r\ncoded"));
    expect_answer(c, "GET", "Accept-Encoding: gzip, zstd\r\n", "HTTP/1.1 200 ");
    assert_true(has_received(c, "Content-Encoding: zstd\r\n") && has_received(c, "ETag: \"slice-zstd\"\r\n"));
    forget(c);
    send_request(c, "GET", "/slice", "Accept-Encoding: gzip\r\nRange: bytes=1-2\r\n"); /* of the bytes as they are */
    until_body(c, 2);
    assert_true(has_received(c, "HTTP/1.1 206 ") && !has_received(c, "Content-Encoding"));
    free(text);
}

static void a_slice_that_cannot_be_compressed_now_is_sent_as_it_is(void **state) {
    (void)state;
    char *text = large_text(LARGE);
    world.slice = slice_all(blob_copy_sealed("test", text, LARGE));
    struct client *c = connect_client();
    for (int i = 0; i < 2; i++) {
        world.compress = i == 0 ? COMPRESS_NOT : COMPRESS_LATER;
        world.waiting = NULL;
        forget(c);
        send_request(c, "GET", "/slice", "Accept-Encoding: gzip\r\n");
        while (i == 1 && world.waiting == NULL)
            step();
        if (i == 1)
            http_answer_plain(world.waiting, "text/plain", &world.slice, "slice");
        assert_memory_equal(until_body(c, LARGE), text, LARGE);
        assert_false(has_received(c, "Content-Encoding"));
        assert_true(has_received(c, "ETag: \"slice\"\r\n") && has_received(c, "Vary: Accept-Encoding\r\n"));
    }
    free(text);
}

static void a_slice_is_not_compressed_if_the_client_does_not_accept_it(void **state) {
    (void)state;
    char *text = large_text(LARGE);
    world.slice = slice_all(blob_copy_sealed("test", text, LARGE));
    struct client *c = connect_client();
    send_request(c, "GET", "/slice", "Accept-Encoding: gzip;q=0, br\r\n");
    assert_memory_equal(until_body(c, LARGE), text, LARGE);
    assert_false(has_received(c, "Content-Encoding"));
    assert_true(has_received(c, "Accept-Ranges: bytes\r\n"));
    free(text);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

static void waiting_clients_get_a_503_when_the_server_closes(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    close_server();
    assert_true(has_received(c, "HTTP/1.1 503 "));
    assert_true(has_received(c, "draining"));
    assert_true(has_received(c, "Retry-After: 1\r\n"));
    assert_true(c->ended);
    expect_trace("begin /wait; handle /wait; done /wait 503; ");
}

/* An answer lets in the next request, which is suspended, too. libmicrohttpd aborts if it is stopped then. */
static void clients_that_send_many_requests_at_a_time_do_not_keep_the_server_from_closing(void **state) {
    (void)state;
    struct client *c = connect_client();
    for (int i = 0; i < 10; i++)
        send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    close_server();
    assert_true(has_received(c, "HTTP/1.1 503 "));
    assert_true(c->ended);
}

static void a_stream_is_cut_when_the_server_closes(void **state) {
    (void)state;
    struct client *c = connect_to_stream("half", 0);
    until_received(c, "half");
    settle();
    close_server();
    assert_true(c->ended);
    assert_false(has_received(c, "\r\n0\r\n"));
    expect_trace("begin /stream; handle /stream; close; done /stream 200; ");
}

static void a_server_can_close_with_bodies_on_their_way_and_idle_connections(void **state) {
    (void)state;
    struct client *idle = connect_client(), *silent = connect_client(), *busy = connect_client();
    send_request(idle, "GET", "/hello", "");
    until_received(idle, "hello");
    send_request(busy, "POST", "/echo", "Content-Length: 100000\r\n");
    send_text(busy, "a few bytes");
    until_traced("begin /echo");
    close_server();
    assert_true(idle->ended && silent->ended && busy->ended);
}

/* ---- listeners --------------------------------------------------------------------------------------------------- */

static void a_listener_accepts_and_its_socket_file_is_removed(void **state) {
    (void)state;
    char folder[] = "/tmp/http_test.XXXXXX", address[128];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct buf error = {0}, addresses = {0};
    bool misconfigured;
    assert_non_null(mkdtemp(folder));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", folder);
    snprintf(address, sizeof address, "unix:%s", a.sun_path);
    const char *const listen_on[] = {address, "127.0.0.1:0"};
    world.config.listen = listen_on;
    world.config.listen_count = 2;
    assert_true(open_server(&error, &misconfigured));
    http_addresses(world.http, &addresses);
    assert_non_null(strstr(addresses.data, address));
    assert_non_null(strstr(addresses.data, ",\"127.0.0.1:"));
    assert_null(strstr(addresses.data, ":0\""));
    buf_deinit(&addresses);
    struct client *c = add_client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
    send_request(c, "GET", "/hello", "");
    until_received(c, "hello");
    close_server();
    assert_int_equal(access(a.sun_path, F_OK), -1);
    assert_int_equal(rmdir(folder), 0);
}

static void a_malformed_address_differs_from_one_that_cannot_be_opened(void **state) {
    (void)state;
    const struct {
        const char *address, *error;
        bool misconfigured;
    } rows[] = {
        {"nonsense", "host:port", true},
        {"127.0.0.1:65536", "host:port", true},
        {"192.0.2.1:0", "only loopback addresses", true},
        {"unix:relative", "an absolute path", true},
        {"unix:", "an absolute path", true},
        {"127.0.0.1:http", "with a port", true},
        {"127.0.0.1: 80", "with a port", true},
        {"127.0.0.1:80 ", "with a port", true},
        {"127.0.0.1:-1", "with a port", true},
        {"127.0.0.1:080", "with a port", true},
        {"127.0.0.1:0x50", "with a port", true},
        {"127.0.0.1:", "with a port", true},
        {"127.0.0.1:4294967376", "with a port", true},
        {":+80", "the host is empty", true},
        {":80", "the host is empty", true},
        {"[]:80", "the host is empty", true},
        {"[::1", "[address]:port", true},
        {"[::1]x:80", "[address]:port", true},
        {"[::1]80", "[address]:port", true},
        {"::1:80", "in brackets", true},
        {"[127.0.0.1]:80", "no IPv6 address", true},
        {"[localhost]:80", "no IPv6 address", true},
        {"local host:80", "neither a name nor an address", true},
        {"127.0.0.1/8:80", "neither a name nor an address", true},
        {"http://127.0.0.1:80", "in brackets", true},
        {"unix:/nonexistent/socket", "No such file", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf error = {0};
        bool misconfigured = !rows[i].misconfigured;
        world.config.listen = &rows[i].address;
        world.config.listen_count = 1;
        assert_false(open_server(&error, &misconfigured));
        assert_non_null(strstr(error.data, rows[i].error));
        assert_int_equal(misconfigured, rows[i].misconfigured);
        buf_clear(&error);
        assert_int_equal(http_check_listen(&world.config, &error), -1);
        assert_non_null(strstr(error.data, rows[i].error));
        buf_deinit(&error);
    }
}

static void an_address_is_named_once(void **state) {
    (void)state;
    static const char *const twice[][2] = {
        {"127.0.0.1:4", "127.0.0.1:4"}, {"[::1]:4", "[0:0::1]:4"}, {"unix:/tmp/a", "unix:/tmp/a"}};
    static const char *const different[] = {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:4",
                                            "127.0.0.1:5", "127.0.0.2:4", "[::1]:4"};
    for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++) {
        struct buf error = {0};
        world.config.listen = twice[i];
        world.config.listen_count = 2;
        assert_int_equal(http_check_listen(&world.config, &error), -1);
        assert_non_null(strstr(error.data, "the same address"));
        buf_deinit(&error);
    }
    world.config.listen = different;
    world.config.listen_count = sizeof different / sizeof different[0];
    struct buf none = {0};
    assert_int_equal(http_check_listen(&world.config, &none), 0);
    assert_int_equal(none.size, 0);
}

/* It neither binds nor removes: a socket that was left behind is still there. */
static void a_check_of_the_listeners_changes_nothing(void **state) {
    (void)state;
    char folder[] = "/tmp/http_test.XXXXXX", address[128], file[128];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct buf error = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", folder);
    snprintf(address, sizeof address, "unix:%s", a.sun_path);
    snprintf(file, sizeof file, "unix:%s/file", folder);
    const char *const one[] = {address}, *const other[] = {file};
    world.config.listen = one;
    world.config.listen_count = 1;
    assert_int_equal(http_check_listen(&world.config, &error), 0);
    assert_int_equal(access(a.sun_path, F_OK), -1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    assert_int_equal(http_check_listen(&world.config, &error), 0);
    assert_int_equal(access(a.sun_path, F_OK), 0);
    close(open(file + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    world.config.listen = other;
    assert_int_equal(http_check_listen(&world.config, &error), -1);
    assert_non_null(strstr(error.data, "no socket"));
    buf_deinit(&error);
    unlink(file + 5);
    unlink(a.sun_path);
    assert_int_equal(rmdir(folder), 0);
}

static void more_addresses_than_there_is_room_for_are_rejected(void **state) {
    (void)state;
    const char *addresses[HTTP_MAX_LISTENERS + 1];
    struct buf error = {0};
    bool misconfigured = false;
    for (int i = 0; i <= HTTP_MAX_LISTENERS; i++)
        addresses[i] = "127.0.0.1:0";
    world.config.listen = addresses;
    world.config.listen_count = HTTP_MAX_LISTENERS + 1;
    assert_false(open_server(&error, &misconfigured));
    assert_true(misconfigured);
    buf_deinit(&error);
}

/* ---- bugs of ours ------------------------------------------------------------------------------------------------ */

#ifdef OFFLOAD_DEBUG
/* A second answer is a move that the diagram does not have. */
static void an_illegal_move_aborts_in_debug_builds(void **state) {
    (void)state;
    struct client *c = connect_client();
    send_request(c, "GET", "/wait", "");
    until_traced("handle /wait");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        http_answer_static(world.waiting, 200, "text/plain", "one", 3);
        http_answer_static(world.waiting, 200, "text/plain", "two", 3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    http_answer_static(world.waiting, 200, "text/plain", "one", 3);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_begun_handled_answered_and_done),
        TEST(a_connection_serves_one_request_after_the_other),
        TEST(a_small_body_is_on_the_heap),
        TEST(a_large_body_is_in_a_memfd),
        TEST(a_body_can_come_in_chunks),
        TEST(a_request_can_come_byte_by_byte),
        TEST(the_clients_id_is_taken_if_it_is_a_good_one),
        TEST(pipelined_requests_are_served_in_order_one_at_a_time),
        TEST(a_request_that_nobody_answers_ends_its_connection),
        TEST(an_answer_without_memory_is_a_500),
        TEST(a_rejected_request_is_not_handled_and_keeps_its_connection),
        TEST(a_rejected_client_that_expects_100_gets_no_100),
        TEST(an_accepted_client_that_expects_100_gets_a_100),
        TEST(a_body_above_the_limit_is_rejected_by_its_length),
        TEST(a_long_body_above_the_limit_is_answered_before_it_comes),
        TEST(a_body_of_unknown_length_is_rejected_when_it_grows_above_the_limit),
        TEST(a_rejected_body_without_end_is_not_read_for_ever),
        TEST(a_head_above_the_limit_is_rejected),
        TEST(limits_can_be_changed),
        TEST(a_connection_beyond_the_limit_gets_a_503_and_is_closed),
        TEST(a_bad_head_is_answered_and_its_connection_closed),
        TEST(a_bad_head_is_answered_after_the_requests_before_it),
        TEST(a_bad_chunk_ends_its_request),
        TEST(an_answer_to_head_has_no_body_even_if_its_head_is_bad),
        TEST(the_bytes_of_a_tls_handshake_are_not_answered),
        TEST(a_target_in_absolute_form_is_taken_as_its_path),
        TEST(a_path_is_unescaped_but_not_cut_at_a_nul),
        TEST(a_half_request_and_a_fin_end_the_connection),
        TEST(a_further_head_has_a_timeout_too),
        TEST(what_comes_behind_a_rejected_body_does_not_reset_the_answer),
        TEST(a_slow_head_gets_a_408),
        TEST(a_head_that_came_in_time_has_no_timeout_any_more),
        TEST(a_body_that_stops_coming_gets_a_408_with_its_id),
        TEST(the_rest_of_a_request_behind_a_408_is_not_served),
        TEST(a_suspended_request_is_answered_later),
        TEST(a_request_is_answered_as_soon_as_it_waits),
        TEST(many_clients_wait_at_a_time),
        TEST(an_answer_that_libmicrohttpd_cannot_send_ends_the_request),
        TEST(a_server_that_closes_answers_who_has_just_begun_to_wait),
        TEST(a_client_that_leaves_while_it_waits_is_noticed),
        TEST(a_request_can_be_abandoned_some_time_after_the_hangup),
        TEST(an_abandoned_request_can_be_answered_before_it_is_done),
        TEST(a_fin_before_the_request_is_suspended_is_noticed),
        TEST(a_client_that_closes_its_side_gets_an_answer_that_need_not_wait),
        TEST(a_client_that_leaves_in_the_middle_of_a_body_is_noticed),
        TEST(a_stream_is_sent_to_its_end),
        TEST(a_stream_that_has_nothing_is_not_asked_until_it_is_woken),
        TEST(a_request_without_a_stream_cannot_be_woken),
        TEST(a_suspended_request_can_be_answered_by_a_stream),
        TEST(the_client_sees_that_a_stream_was_cut),
        TEST(a_client_that_leaves_a_stream_with_nothing_to_say_is_noticed),
        TEST(an_expendable_stream_is_not_worth_waiting_for),
        TEST(head_is_answered_without_the_body),
        TEST(head_does_not_read_a_stream),
        TEST(a_range_of_a_small_slice),
        TEST(a_range_of_a_large_slice),
        TEST(a_client_can_leave_in_the_middle_of_a_large_slice),
        TEST(a_large_slice_is_compressed_if_the_client_accepts_it),
        TEST(a_slice_that_cannot_be_compressed_now_is_sent_as_it_is),
        TEST(a_range_holds_only_for_the_bytes_that_the_client_knows),
        TEST(a_slice_that_the_client_has_is_not_sent_again),
        TEST(nothing_follows_a_head_whose_body_has_no_known_size),
        TEST(from_then_on_each_answer_closes_its_connection),
        TEST(a_slice_is_not_compressed_if_the_client_does_not_accept_it),
        TEST(waiting_clients_get_a_503_when_the_server_closes),
        TEST(clients_that_send_many_requests_at_a_time_do_not_keep_the_server_from_closing),
        TEST(a_stream_is_cut_when_the_server_closes),
        TEST(a_server_can_close_with_bodies_on_their_way_and_idle_connections),
        TEST(a_listener_accepts_and_its_socket_file_is_removed),
        TEST(a_malformed_address_differs_from_one_that_cannot_be_opened),
        TEST(more_addresses_than_there_is_room_for_are_rejected),
        TEST(an_address_is_named_once),
        TEST(a_check_of_the_listeners_changes_nothing),
#ifdef OFFLOAD_DEBUG
        TEST(an_illegal_move_aborts_in_debug_builds),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
