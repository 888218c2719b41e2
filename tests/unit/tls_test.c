/* tls_test.c: a server of server/http with TLS, its clients by GnuTLS, and the names of their certificates. All runs in
 * one thread, as http_world.h says; and each client is a step of the test: it shakes hands while the server works. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#define params gnutls_params /* handler.h has a struct of that name */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#undef params

#pragma GCC diagnostic ignored "-Wunused-function" /* of http_world.h */
#include "http_world.h"
#include "server/http/tls.h"

/* ---- certificates ------------------------------------------------------------------------------------------------ */

/* A certificate with its key, and its file. */
struct made {
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_t key;
    char path[64], key_path[64];
};

static struct made authority, server, renewed, alice, large;
static bool small_buffers; /* of the server's sockets */

static void write_file(char path[64], const gnutls_datum_t *text) {
    snprintf(path, 64, "/tmp/offload-tls-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text->data, text->size), text->size);
    close(fd);
}

static gnutls_x509_crt_t new_certificate(gnutls_x509_privkey_t *key) {
    gnutls_x509_crt_t c;
    assert_int_equal(gnutls_x509_crt_init(&c), 0);
    assert_int_equal(gnutls_x509_privkey_init(key), 0);
    assert_int_equal(
        gnutls_x509_privkey_generate(*key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0), 0);
    gnutls_x509_crt_set_version(c, 3);
    gnutls_x509_crt_set_serial(c, "\x05", 1);
    gnutls_x509_crt_set_key(c, *key);
    gnutls_x509_crt_set_activation_time(c, time(NULL) - 3600);
    gnutls_x509_crt_set_expiration_time(c, time(NULL) + 100 * 86400);
    return c;
}

/* by: NULL: it signs itself, and others. */
static void make(struct made *m, const char *name, const struct made *by) {
    static const char blank[60000];
    gnutls_datum_t text;
    m->certificate = new_certificate(&m->key);
    assert_int_equal(
        gnutls_x509_crt_set_dn_by_oid(m->certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)), 0);
    gnutls_x509_crt_set_basic_constraints(m->certificate, by == NULL, -1);
    if (m == &large)
        assert_int_equal(gnutls_x509_crt_set_extension_by_oid(m->certificate, "1.2.3.4", blank, sizeof blank, 0), 0);
    by = by == NULL ? m : by;
    assert_int_equal(gnutls_x509_crt_sign2(m->certificate, by->certificate, by->key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(m->certificate, GNUTLS_X509_FMT_PEM, &text), 0);
    write_file(m->path, &text);
    gnutls_free(text.data);
    assert_int_equal(gnutls_x509_privkey_export2(m->key, GNUTLS_X509_FMT_PEM, &text), 0);
    write_file(m->key_path, &text);
    gnutls_free(text.data);
}

static void forget_made(struct made *m) {
    unlink(m->path);
    unlink(m->key_path);
    gnutls_x509_crt_deinit(m->certificate);
    gnutls_x509_privkey_deinit(m->key);
}

static int make_all(void **state) {
    (void)state;
    make(&authority, "authority", NULL);
    make(&server, "server", &authority);
    make(&renewed, "renewed", &authority);
    make(&alice, "alice", &authority);
    make(&large, "large", &authority);
    return 0;
}

static int forget_all(void **state) {
    (void)state;
    forget_made(&authority);
    forget_made(&server);
    forget_made(&renewed);
    forget_made(&alice);
    forget_made(&large);
    return 0;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* The name that is found in a certificate with these common names, each in DER. "": none. */
static const char *name_of(const char *const *values, const size_t *sizes, size_t count) {
    static char name[TLS_NAME_SIZE];
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t c = new_certificate(&key), read;
    gnutls_datum_t der;
    gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "an organization", 15);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(
            gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_COMMON_NAME, 1, values[i], (unsigned)sizes[i]), 0);
    gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_COUNTRY_NAME, 0, "DE", 2);
    assert_int_equal(gnutls_x509_crt_sign2(c, c, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_DER, &der), 0);
    assert_int_equal(gnutls_x509_crt_init(&read), 0);
    assert_int_equal(gnutls_x509_crt_import(read, &der, GNUTLS_X509_FMT_DER), 0);
    memset(name, 'x', sizeof name);
    bool found = tls_common_name(read, name);
    assert_true(found == (name[0] != '\0'));
    gnutls_free(der.data);
    gnutls_x509_crt_deinit(read);
    gnutls_x509_crt_deinit(c);
    gnutls_x509_privkey_deinit(key);
    return name;
}

#define UTF8      "\x0c"
#define PRINTABLE "\x13"
#define TELETEX   "\x14"

/* One common name of that type. */
static const char *name_by(const char *type, const char *text, size_t size) {
    char der[260];
    der[0] = type[0];
    size_t head = size < 128 ? 2 : 3;
    der[1] = (char)(size < 128 ? size : 0x81);
    der[head - 1] = (char)size;
    memcpy(der + head, text, size);
    const char *values[] = {der};
    return name_of(values, (size_t[]){head + size}, 1);
}

#define NAME(type, literal) name_by(type, literal, sizeof(literal) - 1)

static void a_common_name_is_found(void **state) {
    (void)state;
    assert_string_equal(NAME(UTF8, "alice"), "alice");
    assert_string_equal(NAME(PRINTABLE, "ACME, Ltd. (+1)"), "ACME, Ltd. (+1)");
    assert_string_equal(NAME(UTF8, "B\xC3\xA4r \xE2\x82\xAC"), "B\xC3\xA4r \xE2\x82\xAC");
}

static void a_name_that_could_be_taken_for_another_is_none(void **state) {
    (void)state;
    assert_string_equal(NAME(UTF8, ""), "");
    assert_string_equal(NAME(UTF8, "ali\0ce"), "");
    assert_string_equal(NAME(UTF8, "alice\n"), "");
    assert_string_equal(NAME(UTF8, "\x1b[2Jalice"), "");
    assert_string_equal(NAME(UTF8, "alice\x7f"), "");
    assert_string_equal(NAME(UTF8, "al\xC2\x85ice"), "");
    assert_string_equal(NAME(UTF8, "al\xFFice"), "");
    assert_string_equal(NAME(UTF8, "al\xC0\xAFice"), "");
    assert_string_equal(NAME(UTF8, "al\xE2\x82"), "");
    assert_string_equal(NAME(TELETEX, "alice"), "");
}

static void a_name_has_at_most_64_characters(void **state) {
    char text[200];
    (void)state;
    memset(text, 'a', sizeof text);
    assert_int_equal(strlen(name_by(UTF8, text, 64)), 64);
    assert_string_equal(name_by(UTF8, text, 65), "");
    for (size_t i = 0; i < 128; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    assert_int_equal(strlen(name_by(UTF8, text, 128)), 128);
    assert_string_equal(name_by(UTF8, text, 129), "");
}

static void none_and_several_names_are_none(void **state) {
    const char *two[] = {"\x0c\x05"
                         "alice",
                         "\x0c\x03"
                         "bob"};
    (void)state;
    assert_string_equal(name_of(NULL, NULL, 0), "");
    assert_string_equal(name_of(two, (size_t[]){7, 5}, 2), "");
    assert_string_equal(name_of(two, (size_t[]){7}, 1), "alice");
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

struct tls_client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
    struct buf in;
    bool ended;
};

static void with_tls(const struct made *certificate, bool asks) {
    world.config.tls_cert = certificate->path;
    world.config.tls_key = certificate->key_path;
    world.config.tls_client_ca = asks ? authority.path : NULL;
}

/* Connects, and sends nothing yet. as: its certificate, or NULL. */
static void connect_tls(struct tls_client *c, const struct made *as) {
    const struct sockaddr peer = {.sa_family = AF_INET};
    struct buf error = {0};
    bool misconfigured;
    int pair[2];
    memset(c, 0, sizeof *c);
    if (world.http == NULL)
        assert_true(open_server(&error, &misconfigured));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    if (small_buffers)
        assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)), 0);
    http_adopt(world.http, pair[1], &peer, sizeof peer, false);
    c->fd = pair[0];
    assert_int_equal(gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL), 0);
    assert_int_equal(gnutls_certificate_allocate_credentials(&c->credentials), 0);
    if (as != NULL)
        assert_int_equal(
            gnutls_certificate_set_x509_key(c->credentials, &((struct made *)(uintptr_t)as)->certificate, 1, as->key),
            0);
    assert_int_equal(gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials), 0);
    assert_int_equal(gnutls_set_default_priority(c->session), 0);
    gnutls_transport_set_int(c->session, c->fd);
}

static void leave_tls(struct tls_client *c) {
    gnutls_deinit(c->session);
    gnutls_certificate_free_credentials(c->credentials);
    close(c->fd);
    buf_deinit(&c->in);
}

/* True when the handshake is done. */
static bool shake_once(struct tls_client *c) {
    int rc = gnutls_handshake(c->session);
    assert_true(rc == 0 || rc == GNUTLS_E_AGAIN);
    return rc == 0;
}

static void shake(struct tls_client *c) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!shake_once(c)) {
        assert_true(clock_monotonic_ns() < end_ns);
        step();
    }
}

static void read_tls(struct tls_client *c) {
    char bytes[65536];
    ssize_t n = 1;
    while (!c->ended && n > 0) {
        n = gnutls_record_recv(c->session, bytes, sizeof bytes);
        if (n > 0)
            buf_append(&c->in, bytes, (size_t)n);
        c->ended = n == 0 || (n < 0 && gnutls_error_is_fatal((int)n) != 0);
    }
}

static void send_tls(struct tls_client *c, const char *text, size_t size) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    for (size_t at = 0; at < size;) {
        ssize_t n = gnutls_record_send(c->session, text + at, size - at);
        assert_true(n > 0 || n == GNUTLS_E_AGAIN);
        assert_true(clock_monotonic_ns() < end_ns);
        at += n > 0 ? (size_t)n : 0;
        step();
    }
}

static void request_tls(struct tls_client *c, const char *path) {
    char text[200];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
    send_tls(c, text, strlen(text));
}

static void until_got(struct tls_client *c, const char *text, size_t size) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (c->in.size < size || memmem(c->in.data, c->in.size, text, strlen(text)) == NULL) {
        if (clock_monotonic_ns() > end_ns || c->ended)
            fail_msg("never received: \"%s\" and %zu bytes, but %zu", text, size, c->in.size);
        step();
        read_tls(c);
    }
    buf_clear(&c->in);
}

/* The common name of the server's certificate. */
static const char *server_of(struct tls_client *c) {
    static char name[TLS_NAME_SIZE];
    unsigned count;
    gnutls_x509_crt_t certificate;
    const gnutls_datum_t *peers = gnutls_certificate_get_peers(c->session, &count);
    assert_true(peers != NULL && count == 1);
    gnutls_x509_crt_init(&certificate);
    assert_int_equal(gnutls_x509_crt_import(certificate, peers, GNUTLS_X509_FMT_DER), 0);
    assert_true(tls_common_name(certificate, name));
    gnutls_x509_crt_deinit(certificate);
    return name;
}

static void until_waiting(void) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (world.waiting == NULL) {
        assert_true(clock_monotonic_ns() < end_ns);
        step();
    }
}

static void until_connections(unsigned count) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (http_connections(world.http) != count) {
        assert_true(clock_monotonic_ns() < end_ns);
        step();
    }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void a_request_knows_its_clients_name(void **state) {
    struct tls_client c, anonymous;
    (void)state;
    with_tls(&server, true);
    connect_tls(&c, &alice);
    shake(&c);
    for (int i = 0; i < 2; i++) {
        request_tls(&c, "/wait");
        until_waiting();
        assert_true(http_is_tls(world.waiting));
        assert_string_equal(http_client_subject(world.waiting), "alice");
        http_answer_static(world.waiting, 200, "text/plain", "later", 5);
        until_got(&c, "later", 5);
        settle();
    }
    connect_tls(&anonymous, NULL);
    shake(&anonymous);
    request_tls(&anonymous, "/wait");
    until_waiting();
    assert_true(http_is_tls(world.waiting));
    assert_null(http_client_subject(world.waiting));
    http_answer_static(world.waiting, 200, "text/plain", "later", 5);
    until_got(&anonymous, "later", 5);
    leave_tls(&c);
    leave_tls(&anonymous);
}

static void a_client_that_was_not_asked_has_no_name_and_one_without_tls_is_plain(void **state) {
    struct tls_client c;
    (void)state;
    with_tls(&server, false);
    connect_tls(&c, &alice);
    shake(&c);
    request_tls(&c, "/wait");
    until_waiting();
    assert_null(http_client_subject(world.waiting));
    http_answer_static(world.waiting, 200, "text/plain", "later", 5);
    until_got(&c, "later", 5);
    settle();
    struct client *plain = connect_client(); /* by a Unix socket */
    send_request(plain, "GET", "/wait", "");
    until_waiting();
    assert_false(http_is_tls(world.waiting));
    assert_null(http_client_subject(world.waiting));
    http_answer_static(world.waiting, 200, "text/plain", "later", 5);
    until_received(plain, "later");
    leave_tls(&c);
}

enum { LARGE = 3000000 };

static void large_bodies_go_in_and_out(void **state) {
    struct tls_client c;
    char *text = malloc(LARGE + 1), head[100];
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    text[LARGE] = '\0';
    world.config.max_body = LARGE;
    with_tls(&server, false);
    connect_tls(&c, NULL);
    shake(&c);
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", LARGE);
    send_tls(&c, head, strlen(head));
    send_tls(&c, text, LARGE);
    until_got(&c, text, LARGE);
    leave_tls(&c);
    free(text);
}

/* ---- certificates and sessions ----------------------------------------------------------------------------------- */

static void a_reload_is_for_connections_from_then_on(void **state) {
    struct tls_client before, after;
    struct buf error = {0};
    (void)state;
    with_tls(&server, false);
    connect_tls(&before, NULL);
    shake(&before);
    with_tls(&renewed, false);
    assert_int_equal(http_reload_tls(world.http, &world.config, &error), 0);
    connect_tls(&after, NULL);
    shake(&after);
    assert_string_equal(server_of(&before), "server");
    assert_string_equal(server_of(&after), "renewed");
    request_tls(&before, "/hello");
    until_got(&before, "hello", 5);

    world.config.tls_key = server.key_path;
    assert_int_equal(http_reload_tls(world.http, &world.config, &error), -1);
    assert_non_null(strstr(error.data, "--tls-key"));
    buf_clear(&error);
    world.config.tls_cert = world.config.tls_key = NULL;
    assert_int_equal(http_reload_tls(world.http, &world.config, &error), -1);
    assert_non_null(strstr(error.data, "restart"));
    buf_deinit(&error);
    request_tls(&after, "/hello");
    until_got(&after, "hello", 5);
    leave_tls(&before);
    leave_tls(&after);
}

static void many_reloads_during_handshakes_free_what_was_replaced(void **state) {
    struct tls_client c[20];
    struct buf error = {0};
    (void)state;
    with_tls(&server, false);
    for (int i = 0; i < 20; i++) {
        connect_tls(&c[i], NULL);
        shake_once(&c[i]);
        with_tls(i % 2 == 0 ? &renewed : &server, false);
        assert_int_equal(http_reload_tls(world.http, &world.config, &error), 0);
        step();
    }
    for (int i = 0; i < 20; i++) {
        shake(&c[i]);
        assert_string_equal(server_of(&c[i]), i % 2 == 0 ? "server" : "renewed");
        leave_tls(&c[i]);
    }
    until_connections(0);
}

static void more_handshakes_at_a_time_than_one_turn_does(void **state) {
    struct tls_client c[60];
    bool all = false;
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    (void)state;
    with_tls(&server, false);
    for (int i = 0; i < 60; i++) {
        connect_tls(&c[i], NULL);
        shake_once(&c[i]);
    }
    while (!all) {
        assert_true(clock_monotonic_ns() < end_ns);
        step();
        all = true;
        for (int i = 0; i < 60; i++)
            all &= shake_once(&c[i]);
    }
    for (int i = 0; i < 60; i++) {
        request_tls(&c[i], "/hello");
        until_got(&c[i], "hello", 5);
        leave_tls(&c[i]);
    }
}

static void handshakes_that_are_never_done_are_counted_and_forgotten(void **state) {
    struct tls_client c[3];
    (void)state;
    with_tls(&server, false);
    for (int i = 0; i < 3; i++) {
        connect_tls(&c[i], NULL);
        if (i > 0)
            shake_once(&c[i]);
    }
    settle();
    assert_int_equal(http_connections(world.http), 3);
    assert_int_equal(held_bytes[HELD_CONNECTIONS], 3 * http_connection_bytes(world.config.max_header, true));
    for (int i = 0; i < 3; i++)
        leave_tls(&c[i]);
    until_connections(0);
    assert_int_equal(http_tls_failed(world.http), 2); /* the first one has said nothing */
    assert_int_equal(held_bytes[HELD_CONNECTIONS], 0);
}

static void a_handshake_goes_on_when_its_client_reads_again(void **state) {
    struct tls_client c;
    int waiting = 0;
    (void)state;
    with_tls(&large, false);
    small_buffers = true;
    connect_tls(&c, NULL);
    small_buffers = false;
    /* A client of TLS 1.3 sends something in the middle, which would wake the server. */
    assert_int_equal(gnutls_priority_set_direct(c.session, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL), 0);
    assert_false(shake_once(&c));
    settle();
    assert_int_equal(ioctl(c.fd, FIONREAD, &waiting), 0);
    assert_in_range(waiting, 1, 59999); /* the certificate is longer */
    shake(&c);
    assert_string_equal(server_of(&c), "large");
    request_tls(&c, "/hello");
    until_got(&c, "hello", 5);
    leave_tls(&c);
}

static void plain_http_is_told_to_use_tls(void **state) {
    struct tls_client c;
    char answer[1000];
    (void)state;
    with_tls(&server, false);
    connect_tls(&c, NULL);
    assert_int_equal(send(c.fd, "GET / HTTP/1.1\r\n", 16, 0), 16);
    until_traced("rejected 400; ");
    ssize_t n = recv(c.fd, answer, sizeof answer - 1, 0);
    assert_true(n > 0);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 400 "));
    assert_non_null(strstr(answer, "use https"));
    leave_tls(&c);
}

static void a_server_ends_while_handshakes_and_requests_are_under_way(void **state) {
    struct tls_client c[3];
    (void)state;
    with_tls(&server, true);
    for (int i = 0; i < 3; i++)
        connect_tls(&c[i], i == 0 ? NULL : &alice);
    shake_once(&c[1]);
    shake(&c[2]);
    request_tls(&c[2], "/wait");
    until_waiting();
    close_server();
    read_tls(&c[2]);
    buf_putc(&c[2].in, '\0');
    assert_non_null(strstr(c[2].in.data, "HTTP/1.1 503 "));
    for (int i = 0; i < 3; i++)
        leave_tls(&c[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_common_name_is_found),
        cmocka_unit_test(a_name_that_could_be_taken_for_another_is_none),
        cmocka_unit_test(a_name_has_at_most_64_characters),
        cmocka_unit_test(none_and_several_names_are_none),
        TEST(a_request_knows_its_clients_name),
        TEST(a_client_that_was_not_asked_has_no_name_and_one_without_tls_is_plain),
        TEST(large_bodies_go_in_and_out),
        TEST(a_reload_is_for_connections_from_then_on),
        TEST(many_reloads_during_handshakes_free_what_was_replaced),
        TEST(more_handshakes_at_a_time_than_one_turn_does),
        TEST(handshakes_that_are_never_done_are_counted_and_forgotten),
        TEST(a_handshake_goes_on_when_its_client_reads_again),
        TEST(plain_http_is_told_to_use_tls),
        TEST(a_server_ends_while_handshakes_and_requests_are_under_way),
    };
    return cmocka_run_group_tests(tests, make_all, forget_all);
}
