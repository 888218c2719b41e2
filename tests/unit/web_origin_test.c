/* web_origin_test.c: what browsers say in Origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/web_origin.h"

static void only_scheme_host_and_port_make_an_origin(void **state) {
    (void)state;
    static const char *const good[] = {"http://a",       "https://a.example",   "http://127.0.0.1:8080",
                                       "http://[::1]",   "http://[::1]:65535",  "HTTPS://A.EXAMPLE:1",
                                       "http://a_b.c-d", "moz-extension://0-1", "app+x.y-z2://h"};
    static const char *const bad[] = {"",
                                      "null",
                                      "*",
                                      "http",
                                      "http:",
                                      "http://",
                                      "http:///",
                                      "a.example",
                                      "//a.example",
                                      "://a",
                                      "1http://a",
                                      "http//a",
                                      "http:/a",
                                      "http://a/",
                                      "http://a?",
                                      "http://a#",
                                      "http://a b",
                                      "http://u@a",
                                      "http://a:",
                                      "http://a:x",
                                      "http://a:0",
                                      "http://:1",
                                      "http://[]",
                                      "http://[::1",
                                      "http://[::1]x",
                                      "http://a:1 ",
                                      "http://a:65536",
                                      "http://a:000080",
                                      " http://a",
                                      "http://a,http://b",
                                      "http://\xc3\xa4"};
    struct web_origin o;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!web_origin_read(&o, good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (web_origin_read(&o, bad[i]))
            fail_msg("%s", bad[i]);
}

static void origins_are_compared_by_what_they_mean(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"http://a.example", "http://a.example", true},
        {"http://a.example", "HTTP://A.Example", true},
        {"http://a.example", "http://a.example:80", true},
        {"https://a.example:443", "https://a.example", true},
        {"https://a.example", "http://a.example", false},
        {"https://a.example:80", "http://a.example", false},
        {"http://a.example:443", "http://a.example", false},
        {"http://a.example", "http://b.example", false},
        {"http://a.example", "http://a.example.evil.example", false},
        {"http://a.example.evil.example", "http://a.example", false},
        {"http://a.example:8080", "http://a.example:8081", false},
        {"http://[::1]:80", "http://[::1]", true},
        {"x://a", "x://a", true},
        {"x://a", "xy://a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct web_origin a, b;
        assert_true(web_origin_read(&a, rows[i].a) && web_origin_read(&b, rows[i].b));
        if (web_origin_is(&a, &b) != rows[i].same || web_origin_is(&b, &a) != rows[i].same)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
    }
}

static void a_host_has_the_port_of_the_scheme_if_it_names_none(void **state) {
    (void)state;
    static const struct {
        const char *origin, *host;
        bool same;
    } rows[] = {
        {"http://127.0.0.1:8080", "127.0.0.1:8080", true},
        {"http://a.example", "A.example", true},
        {"http://a.example", "a.example:80", true},
        {"https://a.example", "a.example:443", true},
        {"https://a.example", "a.example", true},
        {"https://a.example", "a.example:80", false},
        {"http://127.0.0.1:8080", "127.0.0.1", false},
        {"http://127.0.0.1", "127.0.0.1:8080", false},
        {"http://127.0.0.1:8080", "localhost:8080", false},
        {"http://[::1]:8080", "[::1]:8080", true},
        {"http://a.example", "", false},
        {"http://a.example", "a.example, b", false},
        {"http://a", "a.example", false},
        {"http://a.example", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct web_origin o;
        assert_true(web_origin_read(&o, rows[i].origin));
        if (web_origin_is_host(&o, rows[i].host) != rows[i].same)
            fail_msg("%s and %s", rows[i].origin, rows[i].host);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_scheme_host_and_port_make_an_origin),
        cmocka_unit_test(origins_are_compared_by_what_they_mean),
        cmocka_unit_test(a_host_has_the_port_of_the_scheme_if_it_names_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
