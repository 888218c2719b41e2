/* head_test.c: tests server/http/head.c and framing.c: which heads and bodies are good, and what is said of the others.
 * Each input is followed in one piece, byte by byte, and in two pieces cut at each place: the verdict must not differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/http/framing.h"

#define GET  "GET / HTTP/1.1\r\nHost: localhost\r\n"
#define POST "POST / HTTP/1.1\r\nHost: localhost\r\n"
#define GOOD ((enum problem_code)(PROBLEM_COUNT + 1))

static const char *const hosts[] = {"service.example"};
static struct head_rules rules;

static int set_up(void **state) {
    (void)state;
    rules = (struct head_rules){.max_header = 4096};
    return 0;
}

struct verdict {
    int rc;
    uint64_t heads;
    enum framing_state state;
    struct head_fault fault;
};

static void follow_piece(struct framing *f, const char *bytes, size_t size, struct verdict *v) {
    if (v->rc != 0 || size == 0)
        return;
    char *piece = malloc(size);
    const char *head;
    size_t left = size, head_size;
    assert_non_null(piece);
    memcpy(piece, bytes, size);
    v->rc = framing_follow(f, &rules, piece, &left, &v->fault, &head, &head_size);
    assert_true(left <= size);
    free(piece);
}

static struct verdict follow(const char *bytes, size_t size, size_t cut, size_t step) {
    struct framing f = {.state = FRAMING_IDLE};
    struct verdict v = {0};
    follow_piece(&f, bytes, cut, &v);
    for (size_t at = cut; at < size; at += step)
        follow_piece(&f, bytes + at, size - at < step ? size - at : step, &v);
    v.heads = f.heads;
    v.state = f.state;
    framing_deinit(&f);
    return v;
}

/* code: GOOD, or the fault. */
static void expect_bytes(const char *bytes, size_t size, enum problem_code code, uint64_t heads) {
    for (size_t cut = 0; cut <= size; cut++) {
        struct verdict v = follow(bytes, size, cut, cut == 0 ? 1 : size);
        if ((v.rc == 0) != (code == GOOD) || (code != GOOD && v.fault.code != code))
            fail_msg("cut at %zu: %d, code %d, %s, wanted %d: %s", cut, v.rc, v.fault.code,
                     v.fault.detail == NULL ? "" : v.fault.detail, code, bytes);
        if (code == GOOD && (v.heads != heads || v.state != FRAMING_IDLE))
            fail_msg("cut at %zu: %d heads, state %d: %s", cut, (int)v.heads, v.state, bytes);
    }
}

static void expect(const char *text, enum problem_code code) {
    expect_bytes(text, strlen(text), code, 1);
}

static void good_requests(void **state) {
    (void)state;
    expect(GET "\r\n", GOOD);
    expect("\r\n\r\n" GET "\r\n", GOOD);
    expect("GET /a?b=c&d=%20 HTTP/1.1\r\nhost:localhost:8080\r\nX: \t caf\xc3\xa9 \t\r\nEmpty:\r\n\r\n", GOOD);
    expect("GET / HTTP/1.0\r\n\r\n", GOOD);
    expect("GET http://localhost/livez HTTP/1.1\r\nHost: other\r\n\r\n", GOOD);
    expect("GET HTTPS://[::1]:443?x HTTP/1.1\r\nHost: a\r\n\r\n", GOOD);
    expect("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", GOOD);
    expect(POST "Content-Length: 3\r\n\r\nabc", GOOD);
    expect(POST "Content-Length: 00003\r\n\r\nabc", GOOD);
    expect(POST "Content-Length: 0\r\n\r\n", GOOD);
    expect(POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;a=\"b\"\r\n0123456789\r\n0\r\n\r\n", GOOD);
    expect(POST "Transfer-Encoding: chunked\r\n\r\n00\r\nX: y\r\nContent-Length: 5\r\n\r\n", GOOD);
    expect_bytes(GET "\r\n" POST "Content-Length: 3\r\n\r\nabc" GET "\r\n",
                 strlen(GET "\r\n" POST "Content-Length: 3\r\n\r\nabc" GET "\r\n"), GOOD, 3);
}

static void bad_first_lines(void **state) {
    static const char *const lines[] = {
        "GET  / HTTP/1.1",          " GET / HTTP/1.1",          "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",          "GET /a b HTTP/1.1",        "GET /",
        "GET / HTTP/1.10",          "GET / http/1.1",           "GET / HTTP/1",
        "GET / XTTP/1.1",           "G(T / HTTP/1.1",           "GET",
        "GET /a#b HTTP/1.1",        "GET /\xff HTTP/1.1",       "GET a HTTP/1.1",
        "GET * HTTP/1.1",           "GET ftp://a/ HTTP/1.1",    "GET http:/// HTTP/1.1",
        "GET http://a b/ HTTP/1.1", "GET http://a@b/ HTTP/1.1", "GET /\x01 HTTP/1.1",
        "GET /\r HTTP/1.1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s\r\nHost: localhost\r\n\r\n", lines[i]);
        expect(text, PROBLEM_BAD_REQUEST);
    }
    expect("\r\n\r\n\r\n\r\n\r\n" GET "\r\n", PROBLEM_BAD_REQUEST);
    expect("\n" GET "\r\n", PROBLEM_BAD_REQUEST);
    expect("\rGET / HTTP/1.1\r\n\r\n", PROBLEM_BAD_REQUEST);
    expect("GET / HTTP/2.0\r\n\r\n", PROBLEM_VERSION_NOT_SUPPORTED);
    expect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PROBLEM_VERSION_NOT_SUPPORTED);
    expect("GET / HTTP/1.2\r\nHost: a\r\n\r\n", PROBLEM_VERSION_NOT_SUPPORTED);
    expect("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_NOT_IMPLEMENTED);
    expect("GET /?a=%00 HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_INVALID_QUERY);
    expect("GET /%00?a HTTP/1.1\r\nHost: a\r\n\r\n", GOOD); /* the path is compared, and is nothing's */
    expect_bytes("GET /\0/x HTTP/1.1\r\nHost: a\r\n\r\n", 31, PROBLEM_BAD_REQUEST, 0);
    expect_bytes("\x16\x03\x01\x02\x00\x01", 6, PROBLEM_COUNT, 0);
}

static void bad_fields(void **state) {
    static const char *const fields[] = {
        "foo",
        ": foo",
        "X-A : b",
        "X-A\t: b",
        "X(A: b",
        "X-A: b\r\n c",
        "X-A:\r\n\tc",
        "X-A: b\rX",
        "X-A: b\nX-B: c",
        "X-A: b\r\r",
        "X-A: \x01",
        "X-A: \x7f",
        " X-A: b",
        "Content-Type: a\r\nContent-Type: a",
        "idempotency-key: a\r\nIDEMPOTENCY-KEY: b",
        "Last-Event-ID: 1\r\nX: y\r\nLast-Event-ID: 1",
        "Range: a\r\nRange: b",
        "If-Range: a\r\nIf-Range: a",
        "Authorization: a\r\nAuthorization: a",
        "X-Request-Id: a\r\nX-Request-Id: b",
        "Host: localhost", /* a second one */
    };
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, GET "%s\r\n\r\n", fields[i]);
        expect(text, PROBLEM_BAD_REQUEST);
    }
    expect_bytes(GET "X: a\0b\r\n\r\n", strlen(GET) + 10, PROBLEM_BAD_REQUEST, 0);
    expect(GET "X: a\r\nX: b\r\nAccept: c\r\nAccept: d\r\nPrefer: e\r\nPrefer: f\r\n\r\n", GOOD);
}

static void the_field_is_named(void **state) {
    (void)state;
    struct verdict v = follow(GET "content-type: a\r\ncontent-type: a\r\n\r\n",
                              strlen(GET "content-type: a\r\ncontent-type: a\r\n\r\n"), 0, 1000);
    assert_string_equal(v.fault.field, "Content-Type");
}

static void framing_that_two_readers_can_understand_differently(void **state) {
    static const char *const bad[] = {
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 3 3",
        "Content-Length: 0x3",
        "Content-Length: 3.0",
        "Content-Length: 3 ",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: chunked\t",
        "Content-Length:",
        "Content-Length: 18446744073709551619",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \x0b"
        "chunked",
    };
    static const char *const unknown[] = {"chunked,", ",chunked",    "gzip, chunked", "gzip",
                                          "xchunked", "chunked;q=1", "identity",      ","};
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, POST "%s\r\n\r\n", bad[i]);
        expect(text, PROBLEM_BAD_REQUEST);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        snprintf(text, sizeof text, POST "Transfer-Encoding: %s\r\n\r\n", unknown[i]);
        expect(text, PROBLEM_NOT_IMPLEMENTED);
    }
    expect("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", PROBLEM_BAD_REQUEST);
}

static void bad_chunks(void **state) {
    static const char *const bodies[] = {
        "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n",     "\r\nabc",
        " 3\r\nabc\r\n",          "3 \r\nabc\r\n",         "+3\r\nabc\r\n",
        "-3\r\nabc\r\n",          "0x3\r\nabc\r\n",        "g\r\n",
        "ffffffffffffffff\r\n",   "10000000000000003\r\n", "3\nabc\r\n",
        "3\r\nabc\n0\r\n\r\n",    "3;a\nabc\r\n",          "3\r;\r\nabc",
        "0\r\nX: y\n\r\n",        "0\r\nX: \x01\r\n\r\n",  "0\r\n\rX",
    };
    struct buf text = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        buf_clear(&text);
        buf_printf(&text, POST "Transfer-Encoding: chunked\r\n\r\n%s", bodies[i]);
        expect(text.data, PROBLEM_BAD_REQUEST);
    }
    buf_clear(&text);
    buf_puts(&text, POST "Transfer-Encoding: chunked\r\n\r\n3;");
    for (int i = 0; i < 1024; i++)
        buf_putc(&text, 'a');
    expect(text.data, PROBLEM_BAD_REQUEST);
    buf_clear(&text);
    buf_puts(&text, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n");
    for (int i = 0; i < 70; i++)
        buf_puts(&text, "a: b\r\n");
    expect(text.data, PROBLEM_HEADER_TOO_LARGE);
    buf_deinit(&text);
}

static void repeat(struct buf *text, const char *part, int times) {
    while (times-- > 0)
        buf_puts(text, part);
}

static void heads_that_are_too_large(void **state) {
    struct buf text = {0};
    (void)state;
    buf_puts(&text, GET);
    repeat(&text, "a: bcdefgh\r\n", 400);
    buf_puts(&text, "\r\n");
    expect(text.data, PROBLEM_HEADER_TOO_LARGE);
    buf_clear(&text);
    buf_puts(&text, GET); /* few bytes, but many fields */
    repeat(&text, "a:b\r\n", 170);
    buf_puts(&text, "\r\n");
    expect(text.data, PROBLEM_HEADER_TOO_LARGE);
    buf_clear(&text);
    buf_puts(&text, GET "Cookie: ");
    repeat(&text, "a=b;", 200);
    buf_puts(&text, "\r\n\r\n");
    expect(text.data, PROBLEM_HEADER_TOO_LARGE);
    buf_clear(&text);
    buf_puts(&text, "GET /?");
    repeat(&text, "a&", 200);
    buf_puts(&text, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(text.data, PROBLEM_URI_TOO_LONG);
    buf_clear(&text);
    buf_puts(&text, "GET /");
    repeat(&text, "a", 5000);
    expect(text.data, PROBLEM_URI_TOO_LONG);
    buf_deinit(&text);
}

static void hosts_are_checked(void **state) {
    static const char *const good[] = {"a", "a:80", "a:", "127.0.0.1:65535", "[::1]", "[::1]:80", "a_b.c-d", "%41"};
    static const char *const bad[] = {"",         ":80",  "a b",    "a, b", "a/b", "a@b", "a:b",   "a:65536",
                                      "a:800000", "[::1", "[::1]x", "[x]",  "[]",  "a?b", "\"a\"", "caf\xc3\xa9"};
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s \r\n\r\n", good[i]);
        expect(text, GOOD);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        expect(text, PROBLEM_BAD_REQUEST);
    }
    expect("GET / HTTP/1.1\r\n\r\n", PROBLEM_BAD_REQUEST);
}

static void only_local_hosts_are_served_if_the_rules_say_so(void **state) {
    static const char *const good[] = {"localhost", "LOCALHOST:80", "127.0.0.1",
                                       "[::1]:9",   "10.1.2.3",     "Service.Example:80"};
    static const char *const bad[] = {"evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "1.2.3",
                                      "localhos",  "service.example.",    "127.0.0.256"};
    char text[200];
    (void)state;
    rules = (struct head_rules){4096, true, hosts, 1};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
        expect(text, GOOD);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        expect(text, PROBLEM_MISDIRECTED_REQUEST);
        snprintf(text, sizeof text, "GET http://%s/ HTTP/1.1\r\nHost: localhost\r\n\r\n", bad[i]);
        expect(text, PROBLEM_MISDIRECTED_REQUEST);
    }
    expect("GET http://localhost/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", GOOD);
    expect("GET / HTTP/1.0\r\n\r\n", GOOD);
}

static void a_field_is_found_in_a_bad_head(void **state) {
    static const char head[] = "GET\r\nX-Request-Idx: no\r\nx-request-id:\t my id\r\n";
    const char *value;
    (void)state;
    assert_int_equal(head_find(head, sizeof head - 1, "X-Request-Id", &value), 5);
    assert_int_equal(memcmp(value, "my id", 5), 0);
    assert_int_equal(head_find(head, sizeof head - 1, "Host", &value), 0);
    assert_int_equal(head_find("\nHost", 5, "Host", &value), 0);
    assert_true(head_is_for_head("HEAD /", 6));
    assert_false(head_is_for_head("HEADER", 6));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(good_requests),
        TEST(bad_first_lines),
        TEST(bad_fields),
        TEST(the_field_is_named),
        TEST(framing_that_two_readers_can_understand_differently),
        TEST(bad_chunks),
        TEST(heads_that_are_too_large),
        TEST(hosts_are_checked),
        TEST(only_local_hosts_are_served_if_the_rules_say_so),
        TEST(a_field_is_found_in_a_bad_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
