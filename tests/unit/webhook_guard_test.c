/* webhook_guard_test.c: where webhooks may go, server/webhooks/guard.c: which addresses are public, which URLs are
 * taken, and what --webhook-allow adds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include "server/webhooks/guard.h"

static struct webhook_allow allow_of(const char *a, const char *b) {
    struct webhook_allow allow = {0};
    struct buf error = {0};
    if (a != NULL)
        assert_int_equal(webhook_allow_add(&allow, a, &error), 0);
    if (b != NULL)
        assert_int_equal(webhook_allow_add(&allow, b, &error), 0);
    assert_int_equal(error.size, 0);
    return allow;
}

static bool may_connect(const struct webhook_allow *allow, const struct webhook_target *t, const char *address,
                        int port) {
    struct sockaddr_storage s = {0};
    struct sockaddr_in *ipv4 = (void *)&s;
    struct sockaddr_in6 *ipv6 = (void *)&s;
    if (inet_pton(AF_INET, address, &ipv4->sin_addr) == 1) {
        s.ss_family = AF_INET;
        ipv4->sin_port = htons((uint16_t)port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, address, &ipv6->sin6_addr), 1);
        s.ss_family = AF_INET6;
        ipv6->sin6_port = htons((uint16_t)port);
    }
    return webhook_guard_address(allow, t, (struct sockaddr *)&s);
}

static void expect_url(const struct webhook_allow *allow, const char *url, const char *error) {
    struct webhook_target t;
    struct buf detail = {0};
    int rc = webhook_guard_url(allow, url, &t, &detail);
    if (error == NULL && rc != 0)
        fail_msg("%s: %s", url, detail.data);
    if (error != NULL && (rc == 0 || strstr(detail.data, error) == NULL))
        fail_msg("%s: \"%s\", not \"%s\"", url, rc == 0 ? "taken" : detail.data, error);
    buf_deinit(&detail);
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static void addresses_that_are_not_globally_reachable_are_not_public(void **state) {
    (void)state;
    static const char *const not_public[] = {"0.0.0.0",
                                             "0.1.2.3",
                                             "10.0.0.0",
                                             "10.255.255.255",
                                             "100.64.0.0",
                                             "100.127.255.255",
                                             "127.0.0.1",
                                             "127.255.255.255",
                                             "169.254.0.1",
                                             "169.254.169.254",
                                             "172.16.0.1",
                                             "172.31.255.255",
                                             "192.0.0.1",
                                             "192.0.0.255",
                                             "192.0.2.1",
                                             "192.88.99.1",
                                             "192.168.0.1",
                                             "192.168.255.255",
                                             "198.18.0.1",
                                             "198.19.255.255",
                                             "198.51.100.1",
                                             "203.0.113.255",
                                             "224.0.0.1",
                                             "239.255.255.255",
                                             "240.0.0.1",
                                             "255.255.255.255",
                                             "::",
                                             "::1",
                                             "::2",
                                             "::127.0.0.1",
                                             "::8.8.8.8",
                                             "::ffff:127.0.0.1",
                                             "::ffff:10.1.2.3",
                                             "::ffff:0:8.8.8.8",
                                             "64:ff9b::10.0.0.1",
                                             "64:ff9b::7f00:1",
                                             "64:ff9b:1::8.8.8.8",
                                             "100::1",
                                             "100:0:0:1::1",
                                             "2001::1",
                                             "2001:0:1::1",
                                             "2001:2::1",
                                             "2001:10::1",
                                             "2001:1ff:ffff::1",
                                             "2001:db8::1",
                                             "2001:db8:ffff:ffff::1",
                                             "2002:7f00:1::1",
                                             "2002:a00:1::1",
                                             "2002:c0a8:101::",
                                             "3fff::1",
                                             "3fff:fff::1",
                                             "4000::1",
                                             "5f00::1",
                                             "fc00::1",
                                             "fdff::1",
                                             "fe80::1",
                                             "febf::1",
                                             "fec0::1",
                                             "ff02::1",
                                             "ff0e::1",
                                             "ffff::1"};
    const struct webhook_allow none = {0};
    const struct webhook_target https = {.https = true};
    for (size_t i = 0; i < sizeof not_public / sizeof not_public[0]; i++)
        if (may_connect(&none, &https, not_public[i], 443))
            fail_msg("%s", not_public[i]);
}

static void public_addresses_are_taken_by_https_alone(void **state) {
    (void)state;
    static const char *const taken[] = {
        "1.0.0.0",         "1.1.1.1",         "8.8.8.8",          "9.255.255.255",
        "11.0.0.0",        "100.63.255.255",  "100.128.0.0",      "126.255.255.255",
        "128.0.0.1",       "169.253.255.255", "169.255.0.0",      "172.15.255.255",
        "172.32.0.0",      "191.255.255.255", "192.0.1.0",        "192.0.3.0",
        "192.167.255.255", "192.169.0.0",     "198.17.255.255",   "198.20.0.0",
        "223.255.255.255", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8", "2000::1",
        "2001:200::1",     "2001:db7::1",     "2001:db9::1",      "2001:4860:4860::8888",
        "2002:808:808::1", "2606:4700::1111", "2a00:1450::1",     "3ffe::1",
        "3fff:1000::1"};
    const struct webhook_allow none = {0};
    const struct webhook_target https = {.https = true}, http = {.https = false};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (!may_connect(&none, &https, taken[i], 443) || may_connect(&none, &http, taken[i], 80))
            fail_msg("%s", taken[i]);
}

static void other_families_are_not_public(void **state) {
    (void)state;
    const struct webhook_allow all = allow_of("0.0.0.0/0", "::/0");
    const struct webhook_target t = {.https = true, .named = true};
    struct sockaddr_storage s = {.ss_family = AF_UNIX};
    assert_false(webhook_guard_address(&all, &t, (struct sockaddr *)&s));
}

static void an_allowed_network_or_address_is_taken_by_http_too(void **state) {
    (void)state;
    const struct webhook_target http = {.https = false}, https = {.https = true};
    struct webhook_allow a = allow_of("10.0.0.0/9", "127.0.0.1:8080");
    assert_true(may_connect(&a, &http, "10.127.255.255", 1));
    assert_false(may_connect(&a, &http, "10.128.0.0", 1));
    assert_false(may_connect(&a, &https, "10.128.0.0", 1));
    assert_true(may_connect(&a, &http, "127.0.0.1", 8080));
    assert_true(may_connect(&a, &https, "::ffff:127.0.0.1", 8080));
    assert_false(may_connect(&a, &https, "127.0.0.1", 8081));
    assert_false(may_connect(&a, &http, "127.0.0.2", 8080));
    assert_false(may_connect(&a, &https, "64:ff9b::10.0.0.1", 1));
    a = allow_of("fd00::/8", "[::1]:80");
    assert_true(may_connect(&a, &http, "fdff::1", 1));
    assert_false(may_connect(&a, &http, "fc00::1", 1));
    assert_true(may_connect(&a, &http, "::1", 80));
    assert_false(may_connect(&a, &http, "::1", 81));
    a = allow_of("::/0", NULL);
    assert_true(may_connect(&a, &http, "fe80::1", 1));
    assert_false(may_connect(&a, &http, "10.0.0.1", 1));
    a = allow_of("0.0.0.0/0", NULL);
    assert_true(may_connect(&a, &http, "10.0.0.1", 1));
    assert_false(may_connect(&a, &http, "fe80::1", 1));
}

/* ---- URLs -------------------------------------------------------------------------------------------------------- */

static void https_urls_are_taken_and_their_host_is_found(void **state) {
    (void)state;
    static const char *const good[][2] = {{"https://example.com", "example.com"},
                                          {"https://example.com/a/b?c=d#e", "example.com"},
                                          {"HTTPS://Example.COM:8443/", "Example.COM"},
                                          {"https://example.com.", "example.com"},
                                          {"https://xn--bcher-kva.example/", "xn--bcher-kva.example"},
                                          {"https://localhost/", "localhost"},
                                          {"https://8.8.8.8/", "8.8.8.8"},
                                          {"https://[2606:4700::1111]:443/", "2606:4700::1111"}};
    const struct webhook_allow none = {0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct webhook_target t;
        struct buf detail = {0};
        assert_int_equal(webhook_guard_url(&none, good[i][0], &t, &detail), 0);
        assert_int_equal(strcasecmp(t.host, good[i][1]), 0);
        assert_true(t.https && !t.named);
    }
}

static void other_urls_are_not_public_with_their_mistake(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"http://example.com/", "must begin with https://"},
                                         {"ftp://example.com/", "must begin with https://"},
                                         {"file:///etc/passwd", "must begin with https://"},
                                         {"gopher://127.0.0.1:70/", "must begin with https://"},
                                         {"javascript:alert(1)", "must begin with https://"},
                                         {"example.com/hook", "must begin with https://"},
                                         {"//example.com/hook", "must begin with https://"},
                                         {"", ""},
                                         {"https://", "is no URL"},
                                         {"https://:443/", "is no URL"},
                                         {"https://example.com:0/", "has no possible port"},
                                         {"https://example.com:65536/", "is no URL"},
                                         {"https://example.com:x/", "is no URL"},
                                         {"https://[::1/", "is no URL"},
                                         {"https://user@example.com/", "user name or a password"},
                                         {"https://user:pass@example.com/", "user name or a password"},
                                         {"https://example.com/a b", "percent-encoded"},
                                         {"https://example.com/\r\nhost: x", "percent-encoded"},
                                         {"https://b\xc3\xbc"
                                          "cher.example/",
                                          "percent-encoded"},
                                         {"https://127.0.0.1/", "127.0.0.1, which is no public address"},
                                         {"https://127.1/", "no public address"},
                                         {"https://2130706433/", "no public address"},
                                         {"https://0x7f.0.0.1/", "no public address"},
                                         {"https://0177.0.0.1/", "no public address"},
                                         {"https://0/", "no public address"},
                                         {"https://169.254.169.254/latest/meta-data", "no public address"},
                                         {"https://[::1]/", "::1, which is no public address"},
                                         {"https://[::ffff:10.0.0.1]/", "no public address"},
                                         {"https://[fe80::1%25eth0]/", "no public address"}};
    const struct webhook_allow none = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_url(&none, bad[i][0], bad[i][1]);
}

static void long_urls_are_not_public(void **state) {
    (void)state;
    const struct webhook_allow none = {0};
    char url[WEBHOOK_MAX_URL + 2];
    memset(url, 'x', sizeof url);
    memcpy(url, "https://example.com/", 20);
    url[WEBHOOK_MAX_URL] = '\0';
    expect_url(&none, url, NULL);
    url[WEBHOOK_MAX_URL] = 'x';
    url[WEBHOOK_MAX_URL + 1] = '\0';
    expect_url(&none, url, "at most 2048 bytes");
    memset(url + 8, 'x', 1000);
    url[1008] = '\0';
    expect_url(&none, url, "host");
}

static void an_allowed_host_is_taken_by_http_and_at_any_address(void **state) {
    (void)state;
    const struct webhook_allow a = allow_of("Hooks.internal", "other.internal:8080");
    struct webhook_target t;
    struct buf detail = {0};
    assert_int_equal(webhook_guard_url(&a, "http://hooks.INTERNAL:99/x", &t, &detail), 0);
    assert_true(t.named && !t.https);
    assert_true(may_connect(&a, &t, "127.0.0.1", 99));
    assert_int_equal(webhook_guard_url(&a, "http://hooks.internal./x", &t, &detail), 0);
    assert_int_equal(webhook_guard_url(&a, "http://other.internal:8080/", &t, &detail), 0);
    assert_true(t.named);
    assert_int_equal(webhook_guard_url(&a, "https://other.internal/", &t, &detail), 0);
    assert_false(t.named || may_connect(&a, &t, "10.0.0.1", 443));
    expect_url(&a, "http://other.internal/", "must begin with https://");
    expect_url(&a, "http://sub.hooks.internal/", "must begin with https://");
    expect_url(&a, "http://hooks.internal.example.com/", "must begin with https://");
    expect_url(&a, "ftp://hooks.internal/", "must begin with https://");
    expect_url(&a, "http://user@hooks.internal/", "user name");
}

static void by_http_a_name_may_turn_out_to_be_in_an_allowed_network(void **state) {
    (void)state;
    struct webhook_allow a = allow_of("10.0.0.0/8", NULL);
    expect_url(&a, "http://10.1.2.3/", NULL);
    expect_url(&a, "http://11.1.2.3/", "must begin with https://");
    expect_url(&a, "https://127.0.0.1/", "no public address");
    expect_url(&a, "http://service.internal/", NULL); /* the address decides */
    a = allow_of("10.0.0.1:8080", NULL);
    expect_url(&a, "http://service.internal/", "must begin with https://");
    expect_url(&a, "http://service.internal:8080/", NULL);
    expect_url(&a, "http://10.0.0.1:8080/", NULL);
    expect_url(&a, "http://10.0.0.1/", "must begin with https://");
}

/* ---- --webhook-allow --------------------------------------------------------------------------------------------- */

static void what_can_be_allowed(void **state) {
    (void)state;
    static const char *const good[] = {
        "hooks.internal", "hooks", "hooks_1.internal:1", "h:65535",    "10.1.2.3",    "10.1.2.3:80", "::1",
        "fd00::1",        "[::1]", "[fd00::1]:443",      "10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0",   "fd00::/8",
        "::1/128",        "::/0",  "10.0.0.128/25"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        allow_of(good[i], NULL);
}

static void mistakes_in_it_are_named(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "/",
                                      "/8",
                                      ":",
                                      ":80",
                                      "[",
                                      "[]",
                                      "[]:80",
                                      "[::1",
                                      "[::1]x",
                                      "[::1]:",
                                      "[::1]:0",
                                      "[hooks]:80",
                                      "[10.0.0.1]:80",
                                      "hooks:",
                                      "hooks:0",
                                      "hooks:65536",
                                      "hooks:http",
                                      "hooks:80:80",
                                      "http://hooks",
                                      "hooks/path",
                                      "hooks.internal.",
                                      ".internal",
                                      "a..b",
                                      "*.internal",
                                      "user@hooks",
                                      "10.0.0.0/33",
                                      "10.0.0.0/",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8x",
                                      "10.0.0.1/8",
                                      "10.0.0.0/8:80",
                                      "10.0.0/8",
                                      "10.0.0",
                                      "300.1.1.1",
                                      "12345",
                                      "::1/129",
                                      "fd00::1/8",
                                      "::g",
                                      "hooks/8",
                                      "a b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct webhook_allow allow = {0};
        struct buf error = {0};
        if (webhook_allow_add(&allow, bad[i], &error) == 0)
            fail_msg("%s", bad[i]);
        assert_non_null(strstr(error.data, "--webhook-allow"));
        assert_non_null(strstr(error.data, bad[i]));
        assert_int_equal(allow.count, 0);
        buf_deinit(&error);
    }
}

static void there_is_a_limit_to_allowances(void **state) {
    (void)state;
    struct webhook_allow allow = {0};
    struct buf error = {0};
    char long_name[300];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(webhook_allow_add(&allow, long_name, &error), -1);
    for (int i = 0; i < WEBHOOK_MAX_ALLOWED; i++)
        assert_int_equal(webhook_allow_add(&allow, "hooks", &error), 0);
    assert_int_equal(webhook_allow_add(&allow, "hooks", &error), -1);
    assert_non_null(strstr(error.data, "at most 16"));
    buf_deinit(&error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_are_not_globally_reachable_are_not_public),
        cmocka_unit_test(public_addresses_are_taken_by_https_alone),
        cmocka_unit_test(other_families_are_not_public),
        cmocka_unit_test(an_allowed_network_or_address_is_taken_by_http_too),
        cmocka_unit_test(https_urls_are_taken_and_their_host_is_found),
        cmocka_unit_test(other_urls_are_not_public_with_their_mistake),
        cmocka_unit_test(long_urls_are_not_public),
        cmocka_unit_test(an_allowed_host_is_taken_by_http_and_at_any_address),
        cmocka_unit_test(by_http_a_name_may_turn_out_to_be_in_an_allowed_network),
        cmocka_unit_test(what_can_be_allowed),
        cmocka_unit_test(mistakes_in_it_are_named),
        cmocka_unit_test(there_is_a_limit_to_allowances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
