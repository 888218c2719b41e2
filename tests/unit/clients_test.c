/* clients_test.c: how many connections an address has, and how often it asks. */
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

#pragma GCC diagnostic ignored "-Wunused-function" /* the world has more than is needed here */
#include "http_world.h"
#include "server/http/clients.h"

#define SERVED   "\r\n\r\nhello" /* "hello" alone is in each problem, too */
#define START_NS (1000 * NS_PER_S)

static struct sockaddr_storage address(const char *text) {
    struct sockaddr_storage a = {.ss_family = strchr(text, ':') == NULL ? AF_INET : AF_INET6};
    struct sockaddr_in *ip4 = (struct sockaddr_in *)(void *)&a;
    struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)(void *)&a;
    void *to = a.ss_family == AF_INET ? (void *)&ip4->sin_addr : (void *)&ip6->sin6_addr;
    assert_int_equal(inet_pton(a.ss_family, text, to), 1);
    return a;
}

static struct http_client *enter(struct http_clients *all, const char *text, int64_t now_ns) {
    const struct sockaddr_storage a = address(text);
    struct http_client *c = NULL;
    assert_true(http_clients_enter(all, (const struct sockaddr *)&a, now_ns, &c));
    return c;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void an_address_is_all_of_ipv4_and_64_bits_of_ipv6(void **state) {
    (void)state;
    static const struct {
        const char *one, *other;
        bool same;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
        {"2001:db8::1", "2001:db8::ffff:1:2:3", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
        {"::1", "::2", true},
        {"::1", "0.0.0.1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_clients all = {.count = 0};
        struct http_client *a = enter(&all, rows[i].one, START_NS), *b = enter(&all, rows[i].other, START_NS);
        assert_int_equal(a == b, rows[i].same);
        assert_int_equal(all.count, rows[i].same ? 1 : 2);
        http_clients_leave(&all, a, START_NS);
        http_clients_leave(&all, b, START_NS);
        assert_int_equal(all.count, 0);
    }
}

static void a_client_of_a_unix_socket_has_no_address(void **state) {
    (void)state;
    const struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct http_clients all = {.count = 0};
    struct http_client *c = (struct http_client *)&all;
    assert_true(http_clients_enter(&all, (const struct sockaddr *)&a, START_NS, &c));
    assert_null(c);
    http_clients_leave(&all, NULL, START_NS);
    assert_int_equal(all.count, 0);
}

static void a_bucket_has_the_requests_of_one_second(void **state) {
    (void)state;
    static const uint64_t rates[] = {1, 3, 10, 10000, 1000000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct http_clients all = {.count = 0};
        struct http_client *c = enter(&all, "192.0.2.1", START_NS);
        uint64_t most = rates[i] < 20000 ? rates[i] : 20000;
        int64_t share_ns = NS_PER_S / (int64_t)rates[i];
        for (uint64_t k = 0; k < most; k++)
            assert_true(http_client_take(c, rates[i], START_NS));
        if (most == rates[i]) {
            assert_false(http_client_take(c, rates[i], START_NS));
            assert_false(http_client_take(c, rates[i], START_NS + share_ns - 2));
            assert_true(http_client_take(c, rates[i], START_NS + share_ns));
            assert_false(http_client_take(c, rates[i], START_NS + share_ns));
        }
        assert_true(http_client_take(c, rates[i], START_NS + 3600 * NS_PER_S)); /* no more than a second's are saved */
        for (uint64_t k = 1; k < most; k++)
            assert_true(http_client_take(c, rates[i], START_NS + 3600 * NS_PER_S));
        if (most == rates[i])
            assert_false(http_client_take(c, rates[i], START_NS + 3600 * NS_PER_S));
        http_clients_leave(&all, c, START_NS);
        http_clients_deinit(&all);
        assert_int_equal(all.count, 0);
    }
}

static void handshakes_have_a_bucket_of_their_own_which_is_not_forgotten(void **state) {
    (void)state;
    struct http_clients all = {.count = 0};
    struct http_client *c = enter(&all, "192.0.2.1", START_NS);
    for (int i = 0; i < 2; i++)
        assert_true(http_client_take_handshake(c, 20, START_NS));
    assert_false(http_client_take_handshake(c, 20, START_NS));
    assert_true(http_client_take(c, 20, START_NS));
    assert_true(http_client_take_handshake(c, 20, START_NS + NS_PER_S / 2));
    http_clients_leave(&all, c, START_NS + NS_PER_S);
    assert_int_equal(all.count, 1);
    c = enter(&all, "192.0.2.1", START_NS + NS_PER_S);
    assert_false(http_client_take_handshake(c, 1, START_NS + NS_PER_S)); /* at least one a second */
    assert_true(http_client_take_handshake(c, 1, START_NS + 2 * NS_PER_S));
    http_clients_leave(&all, c, START_NS + 3 * NS_PER_S);
    assert_int_equal(all.count, 0);
}

static void an_address_that_comes_back_finds_its_bucket(void **state) {
    (void)state;
    struct http_clients all = {.count = 0};
    struct http_client *c = enter(&all, "192.0.2.1", START_NS);
    assert_true(http_client_take(c, 1, START_NS));
    http_clients_leave(&all, c, START_NS);
    assert_int_equal(all.count, 1);
    c = enter(&all, "192.0.2.1", START_NS + 1);
    assert_int_equal(all.idle_count, 0);
    assert_false(http_client_take(c, 1, START_NS + 1));
    http_clients_leave(&all, c, START_NS + 1);
    /* It is forgotten when another one comes, a second later. */
    struct http_client *other = enter(&all, "192.0.2.2", START_NS + NS_PER_S);
    assert_int_equal(all.count, 1);
    http_clients_leave(&all, other, START_NS + NS_PER_S);
    assert_int_equal(all.count, 0);
}

static void addresses_without_connections_are_bounded(void **state) {
    (void)state;
    struct http_clients all = {.count = 0};
    for (unsigned i = 0; i < 3 * HTTP_MAX_IDLE_CLIENTS; i++) {
        char text[64];
        snprintf(text, sizeof text, "2001:db8:%x:%x::1", i >> 8, i & 0xff);
        struct http_client *c = enter(&all, text, START_NS);
        assert_true(http_client_take(c, 1, START_NS));
        http_clients_leave(&all, c, START_NS);
        assert_true(all.count <= HTTP_MAX_IDLE_CLIENTS + 1);
    }
    http_clients_deinit(&all);
    assert_int_equal(all.count, 0);
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static struct client *connect_from(const char *text, bool loopback) {
    const struct sockaddr_storage a = address(text);
    struct buf error = {0};
    bool misconfigured;
    int pair[2];
    if (world.http == NULL)
        assert_true(open_server(&error, &misconfigured));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    http_adopt(world.http, pair[1], (const struct sockaddr *)&a, sizeof a, loopback);
    return add_client(pair[0]);
}

static uint64_t refused(const char *reason) {
    const struct label_count *list = http_refused(world.http);
    for (size_t i = 0; i < METRICS_LABELS && list[i].label != NULL; i++)
        if (strcmp(list[i].label, reason) == 0)
            return list[i].count;
    return 0;
}

static void ask(struct client *c, const char *wanted) {
    forget(c);
    send_text(c, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    until_received(c, wanted);
}

static void an_address_beyond_its_connections_is_told_so_and_others_are_served(void **state) {
    (void)state;
    world.config.address_limits.connections = 2;
    struct client *first = connect_from("192.0.2.1", false);
    connect_from("192.0.2.1", false);
    struct client *third = connect_from("192.0.2.1", false), *other = connect_from("192.0.2.2", false);
    send_request(third, "GET", "/hello", "");
    until_ended(third);
    assert_true(has_received(third, "HTTP/1.1 503 "));
    assert_true(has_received(third, "too_many_connections"));
    assert_true(has_received(third, "--max-connections-per-address"));
    assert_true(has_received(third, "Connection: close\r\n"));
    assert_true(has_received(third, "Retry-After: 1\r\n"));
    assert_int_equal(refused("address_connections"), 1);
    ask(first, SERVED);
    ask(other, SERVED);
    leave(first);
    while (http_connections(world.http) > 2)
        step();
    ask(connect_from("192.0.2.1", false), SERVED);
}

static void idle_connections_beyond_the_limit_make_room_for_a_further_one(void **state) {
    (void)state;
    world.config.address_limits.connections = 1;
    struct client *clients[40];
    for (size_t i = 0; i < 40; i++)
        clients[i] = connect_from("192.0.2.1", false);
    send_request(clients[39], "GET", "/hello", "");
    until_received(clients[39], "too_many_connections");
    while (http_connections(world.http) > 18) /* 1, and 16 more, and one that is being closed */
        step();
    ask(clients[0], SERVED); /* the one within the limit stays */
    assert_true(clients[1]->ended);
    ask(connect_from("192.0.2.2", false), SERVED);
}

static void an_address_that_asks_too_often_is_told_when_it_can_ask_again(void **state) {
    (void)state;
    world.config.address_limits.requests = 1;
    struct client *a = connect_from("192.0.2.1", false), *b = connect_from("192.0.2.1", false);
    struct client *other = connect_from("192.0.2.2", false);
    ask(a, SERVED);
    ask(b, "HTTP/1.1 429 ");
    until_received(b, "over_quota");
    assert_true(has_received(b, "--max-requests-per-address"));
    assert_true(has_received(b, "Retry-After: 1\r\n"));
    assert_false(has_received(b, "Connection: close"));
    assert_int_equal(refused("address_requests"), 1);
    ask(other, SERVED);
    int64_t end_ns = clock_monotonic_ns() + 11 * NS_PER_S / 10; /* as Retry-After says */
    while (clock_monotonic_ns() < end_ns)
        step();
    ask(b, SERVED);
}

static void the_limits_of_a_loopback_address_are_others(void **state) {
    (void)state;
    world.config.address_limits = (struct http_address_limits){1, 1};
    for (int i = 0; i < 3; i++)
        ask(connect_from("127.0.0.1", true), SERVED);
    connect_from("127.0.0.1", false);
    ask(connect_from("127.0.0.1", false), "too_many_connections");
    world.config.loopback_limits.connections = 2;
    http_configure(world.http, &world.config);
    ask(connect_from("127.0.0.1", true), "too_many_connections");
}

static void clients_of_unix_sockets_have_no_limits(void **state) {
    (void)state;
    world.config.address_limits = world.config.loopback_limits = (struct http_address_limits){1, 1};
    for (int i = 0; i < 5; i++)
        ask(connect_client(), SERVED);
    assert_null(http_refused(world.http)[0].label);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_all_of_ipv4_and_64_bits_of_ipv6),
        cmocka_unit_test(a_client_of_a_unix_socket_has_no_address),
        cmocka_unit_test(a_bucket_has_the_requests_of_one_second),
        cmocka_unit_test(handshakes_have_a_bucket_of_their_own_which_is_not_forgotten),
        cmocka_unit_test(an_address_that_comes_back_finds_its_bucket),
        cmocka_unit_test(addresses_without_connections_are_bounded),
        TEST(an_address_beyond_its_connections_is_told_so_and_others_are_served),
        TEST(idle_connections_beyond_the_limit_make_room_for_a_further_one),
        TEST(an_address_that_asks_too_often_is_told_when_it_can_ask_again),
        TEST(the_limits_of_a_loopback_address_are_others),
        TEST(clients_of_unix_sockets_have_no_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
