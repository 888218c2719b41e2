/* access_test.c: the keys file, who is known by what, and the arithmetic of quotas: server/access/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/access/access.h"
#include "server/access/keys.h"

/* The SHA-256 of "offload_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" and of the same with B, by sha256sum. */
#define KEY_A  "offload_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define HASH_A "sha256:1d6fa03889304629ff3b458978841433f11d7dd2581a4a57a7c8e5816cfe177a"
#define KEY_B  "offload_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
#define HASH_B "sha256:1df37b229aae9ce0b1235099c97c550e12bb7fe2ef4c9b92716d133f2d6ba1a9"

#define S NS_PER_S

static uint64_t left_of(struct bucket *b, int64_t now_ns) {
    uint64_t left, more_s;
    bucket_look(b, false, now_ns, &left, &more_s);
    return left;
}

static uint64_t more_of(struct bucket *b, bool in_parts, int64_t now_ns) {
    uint64_t left, more_s;
    bucket_look(b, in_parts, now_ns, &left, &more_s);
    return more_s;
}

/* ---- buckets, with a clock of our own ---------------------------------------------------------------------------- */

static void test_a_bucket_without_a_rate_has_no_limit(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){0, 0}, S);
    for (int i = 0; i < 1000; i++)
        assert_true(bucket_take(&b, 1e12, S));
    assert_int_equal(bucket_wait_s(&b, 1e12, S), 0);
}

static void test_a_bucket_is_full_at_first_and_fills_up_by_its_rate(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){10, 1}, 5 * S);
    for (int i = 0; i < 10; i++)
        assert_true(bucket_take(&b, 1, 5 * S));
    assert_false(bucket_take(&b, 1, 5 * S));
    assert_false(bucket_take(&b, 1, 5 * S + S / 10 - 1000));
    assert_true(bucket_take(&b, 1, 5 * S + S / 10));
    assert_false(bucket_take(&b, 1, 5 * S + S / 10));
    assert_int_equal(left_of(&b, 6 * S), 9);
    assert_int_equal(left_of(&b, 600 * S), 10); /* no more than fits */
}

/* What Retry-After says is true: a moment before it is too early, and then it is not. */
static void test_the_wait_is_true(void **state) {
    static const struct quota_rate rates[] = {{1, 1}, {3, 1}, {50, 1}, {1, 60}, {7, 60}, {3600, 3600}, {1, 3600}};
    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct bucket b = {0};
        int64_t now = 17 * S + 12345;
        bucket_set(&b, rates[i], now);
        while (bucket_take(&b, 1, now))
            now += 1000;
        uint64_t wait = bucket_wait_s(&b, 1, now);
        assert_true(wait >= 1);
        assert_true(wait == 1 || !bucket_has(&b, 1, now + (int64_t)(wait - 1) * S));
        assert_true(bucket_take(&b, 1, now + (int64_t)wait * S));
    }
}

static void test_what_is_known_afterwards_can_leave_it_below_zero(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){3600, 3600}, 0);
    assert_true(bucket_has(&b, 0, 0));
    bucket_charge(&b, 3610, 0);
    assert_false(bucket_has(&b, 0, 0));
    assert_int_equal(left_of(&b, 0), 0);
    assert_int_equal(bucket_wait_s(&b, 0, 0), 10);
    assert_false(bucket_has(&b, 0, 9 * S));
    assert_true(bucket_has(&b, 0, 10 * S + 1000));
    bucket_charge(&b, 1e9, 11 * S); /* no deeper than its capacity */
    assert_int_equal(bucket_wait_s(&b, 0, 11 * S), 3600);
    assert_int_equal(more_of(&b, true, 11 * S), 3600);
    assert_int_equal(more_of(&b, false, 11 * S), 3601);
}

/* What a client is told beforehand is never later than what Retry-After says. */
static void test_it_is_known_when_there_is_one_more(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){60, 3600}, 0);
    assert_int_equal(more_of(&b, false, 0), 0); /* it is full */
    assert_true(bucket_take(&b, 1, 0));
    assert_int_equal(more_of(&b, false, 0), 60);
    assert_int_equal(more_of(&b, false, 59 * S), 1);
    assert_int_equal(more_of(&b, false, 60 * S), 0);
    assert_true(bucket_take(&b, 60, 60 * S));
    assert_int_equal(more_of(&b, false, 60 * S), bucket_wait_s(&b, 1, 60 * S));
    assert_int_equal(more_of(&b, true, 60 * S), 1); /* any part of one */
    assert_true(bucket_wait_s(&b, 20, 60 * S) >= more_of(&b, false, 60 * S));
    bucket_set(&b, (struct quota_rate){0.5, 1}, 0); /* it never holds a whole one */
    assert_true(more_of(&b, false, 60 * S) <= 2);
}

static void test_more_than_a_bucket_holds_is_there_when_it_is_full(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){100, 1}, 0);
    assert_true(bucket_has(&b, 1000, 0));
    assert_true(bucket_take(&b, 1000, 0));
    assert_int_equal(bucket_wait_s(&b, 1000, 0), 2);
}

static void test_a_new_rate_leaves_the_share(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){100, 1}, 0);
    bucket_charge(&b, 75, 0);
    bucket_set(&b, (struct quota_rate){1000, 1}, 0);
    assert_int_equal(left_of(&b, 0), 250);
    bucket_charge(&b, -10000, 0); /* what is given back */
    assert_int_equal(left_of(&b, 0), 1000);
}

static void test_the_clock_can_stand_still(void **state) {
    struct bucket b = {0};
    (void)state;
    bucket_set(&b, (struct quota_rate){2, 1}, 10 * S);
    assert_true(bucket_take(&b, 1, 10 * S));
    assert_true(bucket_take(&b, 1, 9 * S)); /* nothing is gained or lost by a time that is behind */
    assert_false(bucket_take(&b, 1, 9 * S));
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static void test_a_line_has_all_its_parts(void **state) {
    static const char text[] =
        "# a comment\n\n  # another\n"
        "front.end-1 " HASH_A " submit,read  rate=50/s jobs=100\tcpu=3600/h bytes=1GiB/h weight=7\r\n"
        "\tlocal_ uid:1000 read\n"
        "partner cert admin";
    struct keys keys;
    struct buf error = {0};
    (void)state;
    assert_int_equal(keys_parse(&keys, text, sizeof text - 1, &error), 0);
    assert_int_equal(error.size, 0);
    assert_int_equal(keys.count, 3);
    const struct key_line *a = &keys.lines[0], *b = &keys.lines[1], *c = &keys.lines[2];
    assert_string_equal(a->name, "front.end-1");
    assert_int_equal(a->kind, KEY_HASH);
    assert_int_equal(a->number, 4);
    assert_int_equal(a->grant.scopes, ACCESS_SUBMIT | ACCESS_READ);
    assert_true(a->grant.rate.amount == 50 && a->grant.rate.window_s == 1);
    assert_true(a->grant.cpu.amount == 3600 && a->grant.cpu.window_s == 3600);
    assert_true(a->grant.bytes.amount == 1073741824 && a->grant.bytes.window_s == 3600);
    assert_int_equal(a->grant.jobs, 100);
    assert_int_equal(a->grant.weight, 7);
    assert_int_equal(b->kind, KEY_UID);
    assert_int_equal(b->uid, 1000);
    assert_int_equal(b->grant.scopes, ACCESS_READ);
    assert_int_equal(b->grant.weight, 1);
    assert_int_equal(c->kind, KEY_CERTIFICATE);
    assert_int_equal(c->grant.scopes, ACCESS_ADMIN);
    keys_deinit(&keys);
}

static void test_an_empty_file_has_no_lines(void **state) {
    struct keys keys;
    struct buf error = {0};
    (void)state;
    assert_int_equal(keys_parse(&keys, NULL, 0, &error), 0);
    assert_int_equal(keys.count, 0);
    keys_deinit(&keys);
}

static void expect_fault(const char *text, const char *what) {
    struct keys keys;
    struct buf error = {0};
    assert_int_equal(keys_parse(&keys, text, strlen(text), &error), -1);
    if (error.data == NULL || strstr(error.data, what) == NULL)
        fail_msg("\"%s\": \"%s\" is not in \"%s\"", text, what, error.data == NULL ? "" : error.data);
    assert_null(keys.lines);
    buf_deinit(&error);
}

static void test_faults_name_their_line(void **state) {
    static const char *const cases[][2] = {
        {"a", "line 1: a name, a credential and scopes are wanted"},
        {"\n\na uid:1", "line 3: a name, a credential"},
        {"a\"b uid:1 read", "line 1: a name has"},
        {"a\\b uid:1 read", "line 1: a name has"},
        {"a\x80 uid:1 read", "line 1: a name has"},
        {"a\xC2\x85 uid:1 read", "line 1: a name has"},
        {"a\x7F uid:1 read", "line 1: a name has"},
        {"(others) uid:1 read", "line 1: a name has"},
        {KEY_A " uid:1 read", "line 1: it begins with a name, and not with the key"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa uid:1 read", "line 1: a name has"},
        {"a uid: read", "uid: wants a user id"},
        {"a uid:-1 read", "uid: wants a user id"},
        {"a uid:4294967295 read", "uid: wants a user id"},
        {"a uid:1x read", "uid: wants a user id"},
        {"a sha256:00 read", "64 hexadecimal digits"},
        {"a " HASH_A "0 read", "64 hexadecimal digits"},
        {"a " KEY_A " read", "the credential is"},
        {"a md5:00 read", "the credential is"},
        {"a uid:1 write", "the scopes are"},
        {"a uid:1 read,", "the scopes are"},
        {"a uid:1 read,read", "a scope is there twice"},
        {"a uid:1 read rate=5", "rate= wants"},
        {"a uid:1 read rate=0/s", "rate= wants"},
        {"a uid:1 read rate=5/d", "rate= wants"},
        {"a uid:1 read rate=5KiB/s", "rate= wants"},
        {"a uid:1 read rate=99999999999999999999/s", "rate= wants"},
        {"a uid:1 read cpu=/h", "cpu= wants"},
        {"a uid:1 read bytes=1XiB/h", "bytes= wants"},
        {"a uid:1 read jobs=0", "jobs= wants"},
        {"a uid:1 read jobs=-1", "jobs= wants"},
        {"a uid:1 read weight=101", "weight= wants"},
        {"a uid:1 read weight=1 weight=2", "a quota is there twice"},
        {"a uid:1 read extra", "a quota is rate="},
        {"a uid:1 read\nb uid:1 read", "line 2: line 1 has the same credential"},
        {"a " HASH_A " read\nb " HASH_A " submit", "line 2: line 1 has the same credential"},
        {"a cert read\na cert read", "line 2: line 1 has the same credential"},
        {"a uid:1 read\na uid:2 submit", "line 2: line 1 has the same name, and other scopes or quotas"},
        {"a uid:1 read jobs=1\na uid:2 read jobs=2", "line 2: line 1 has the same name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_fault(cases[i][0], cases[i][1]);
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    expect_fault(text, "line 1: the line is too long");
    struct keys keys;
    struct buf error = {0};
    assert_int_equal(keys_parse(&keys, "a uid:1\0 read", 13, &error), -1);
    assert_string_equal(error.data, "line 1: there is a NUL");
    buf_deinit(&error);
}

/* ---- who it is --------------------------------------------------------------------------------------------------- */

static char path[] = "/tmp/access_test-XXXXXX";

static void write_file(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_access(void **state) {
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    *state = access_new();
    return fd < 0 || *state == NULL ? -1 : close(fd);
}

static int free_access(void **state) {
    access_free(*state);
    return unlink(path);
}

static void configure(struct access *a, const char *text) {
    struct buf error = {0};
    write_file(text);
    if (access_configure(a, &(struct access_config){.keys_file = path}, &error) != 0)
        fail_msg("%s", error.data);
}

static struct caller *by_token(struct access *a, const char *token) {
    return access_by_token(a, token, strlen(token));
}

static void test_it_is_known_by_key_user_and_certificate(void **state) {
    struct access *a = *state;
    assert_false(access_is_on(a));
    configure(a, "one " HASH_A " submit\none " HASH_B " submit\nlocal uid:7 read\npartner cert admin\n");
    assert_true(access_is_on(a));
    struct caller *one = by_token(a, KEY_A);
    assert_non_null(one);
    assert_string_equal(caller_name(one), "one");
    assert_ptr_equal(by_token(a, KEY_B), one);
    assert_null(by_token(a, KEY_A "A"));
    assert_null(by_token(a, "offload_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"));
    assert_string_equal(caller_name(access_by_user(a, 7)), "local");
    assert_null(access_by_user(a, 8));
    assert_string_equal(caller_name(access_by_certificate(a, "partner")), "partner");
    assert_null(access_by_certificate(a, "local"));
    assert_null(access_by_certificate(a, "one"));
}

static void test_scopes_and_views(void **state) {
    struct access *a = *state;
    configure(a, "s uid:1 submit\nr uid:2 read\na uid:3 admin\n");
    struct caller *s = access_by_user(a, 1), *r = access_by_user(a, 2), *admin = access_by_user(a, 3);
    assert_true(caller_may(s, ACCESS_SUBMIT) && !caller_may(s, ACCESS_READ) && !caller_may(s, ACCESS_ADMIN));
    assert_true(caller_may(r, ACCESS_READ) && !caller_may(r, ACCESS_SUBMIT));
    assert_true(caller_may(admin, ACCESS_READ) && caller_may(admin, ACCESS_SUBMIT));
    assert_string_equal(caller_view(s), "s");
    assert_null(caller_view(admin));
}

static void test_a_bad_file_changes_nothing(void **state) {
    struct access *a = *state;
    struct buf error = {0};
    configure(a, "one " HASH_A " submit rate=5/s\n");
    write_file("one " HASH_B " submit\ntwo oops read\n");
    assert_int_equal(access_configure(a, &(struct access_config){.keys_file = path}, &error), -1);
    assert_non_null(strstr(error.data, path));
    assert_non_null(strstr(error.data, "line 2: the credential is"));
    assert_non_null(by_token(a, KEY_A));
    assert_null(by_token(a, KEY_B));
    buf_clear(&error);
    write_file("# nobody\n");
    assert_int_equal(access_configure(a, &(struct access_config){.keys_file = path}, &error), -1);
    assert_non_null(strstr(error.data, "holds no key"));
    buf_deinit(&error);
}

static void test_a_new_file_keeps_what_was_used(void **state) {
    struct access *a = *state;
    char text[CALLER_FIELD_SIZE];
    configure(a, "one " HASH_A " submit rate=100/h\ntwo uid:2 read\n");
    struct caller *one = by_token(a, KEY_A), *two = access_by_user(a, 2);
    int64_t now = clock_monotonic_ns();
    for (int i = 0; i < 40; i++)
        assert_int_equal(caller_begin_request(one, now), 0);
    configure(a, "one " HASH_B " submit,read rate=100/h\n");
    assert_null(by_token(a, KEY_A));
    assert_ptr_equal(by_token(a, KEY_B), one);
    assert_true(caller_may(one, ACCESS_READ));
    caller_write_limits(one, 0, now, text);
    assert_non_null(strstr(text, "\"requests\";r=60;t=36"));
    assert_null(access_by_user(a, 2));
    assert_false(caller_may(two, ACCESS_READ)); /* who still has a request of it */
}

static void test_certificates_without_a_file(void **state) {
    struct access *a = *state;
    struct buf error = {0};
    assert_int_equal(access_configure(a, &(struct access_config){.takes_certificates = true}, &error), 0);
    assert_true(access_is_on(a));
    struct caller *c = access_by_certificate(a, "billing");
    assert_non_null(c);
    assert_ptr_equal(access_by_certificate(a, "billing"), c);
    assert_true(caller_may(c, ACCESS_SUBMIT) && caller_may(c, ACCESS_READ) && !caller_may(c, ACCESS_ADMIN));
    assert_string_equal(caller_name(access_by_certificate(a, "J\u00f6rg, sales@example")), "J\u00f6rg, sales@example");
    assert_null(access_by_certificate(a, "a\"b"));
    assert_null(access_by_certificate(a, "a\\b"));
    assert_null(access_by_certificate(a, ""));
    assert_null(access_by_certificate(a, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    assert_null(by_token(a, KEY_A));
}

static void test_forms_of_the_header(void **state) {
    static const struct {
        const char *header, *token; /* NULL: it is refused */
    } cases[] = {
        {"Bearer abc", "abc"},
        {"bearer abc", "abc"},
        {"BEARER abc", "abc"},
        {"Bearer   abc", "abc"},
        {"Bearer a-._~+/=", "a-._~+/="},
        {"Bearer", NULL},
        {"Bearer ", NULL},
        {"Bearerabc", NULL},
        {"Bearer abc \t", "abc"},
        {"Bearer abc def", NULL},
        {"Bearer abc,def", NULL},
        {"Bearer \"abc\"", NULL},
        {"Basic YTpi", NULL},
        {"abc", NULL},
        {"", NULL},
        {"Bearer\tabc", NULL},
    };
    size_t size;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *token = access_read_token(cases[i].header, &size);
        if (cases[i].token == NULL) {
            if (token != NULL)
                fail_msg("\"%s\" was taken", cases[i].header);
        } else {
            assert_non_null(token);
            assert_int_equal(size, strlen(cases[i].token));
            assert_memory_equal(token, cases[i].token, size);
        }
    }
    char longest[7 + ACCESS_MAX_TOKEN + 2];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "Bearer ", 7);
    longest[7 + ACCESS_MAX_TOKEN] = '\0';
    assert_non_null(access_read_token(longest, &size));
    longest[7 + ACCESS_MAX_TOKEN] = 'a';
    longest[7 + ACCESS_MAX_TOKEN + 1] = '\0';
    assert_null(access_read_token(longest, &size));
}

/* ---- what it may use --------------------------------------------------------------------------------------------- */

static void test_the_fields_say_what_is_left(void **state) {
    struct access *a = *state;
    char text[CALLER_FIELD_SIZE];
    configure(a, "one uid:1 submit rate=50/s jobs=8 cpu=3600/h bytes=1MiB/h\ntwo uid:2 submit\n");
    struct caller *one = access_by_user(a, 1);
    int64_t now = clock_monotonic_ns() + S;
    assert_string_equal(caller_policy(one),
                        "\"requests\";q=50;w=1, \"jobs\";q=8;qu=\"concurrent-requests\", "
                        "\"cpu\";q=3600;w=3600;qu=\"cpu-seconds\", \"bytes\";q=1048576;w=3600;qu=\"content-bytes\"");
    assert_int_equal(caller_begin_request(one, now), 0);
    assert_int_equal(caller_begin_body(one, 48576, now), 0);
    access_charge_cpu(a, "one", 600 * S, now);
    caller_write_limits(one, 3, now, text);
    assert_string_equal(text, "\"requests\";r=49;t=1, \"jobs\";r=5, \"cpu\";r=3000;t=1, \"bytes\";r=1000000;t=1");
    assert_false(caller_has_all_jobs(one, 7));
    assert_true(caller_has_all_jobs(one, 8));
    access_charge_cpu(a, "one", 3010 * S, now);
    assert_int_equal(caller_begin_job(one, now), 10);
    assert_int_equal(caller_largest_body(one), 1048576);
    assert_true(caller_begin_body(one, 1048576, now) > 0);
    assert_int_equal(caller_begin_body(one, 1000000, now), 0);
    assert_true(caller_begin_body(one, 0, now) > 0);
    caller_return_body(one, 1000000, now);
    assert_int_equal(caller_begin_body(one, 0, now), 0);
    caller_return_body(one, 1048576, now); /* it is full */
    assert_int_equal(caller_take_body(one, 1000000, 1000000, now), 0);
    assert_int_equal(caller_take_body(one, 48577, 1048577, now),
                     3601); /* the second byte too many has to be made up for */
    caller_return_body(one, 1, now);
    assert_int_equal(caller_begin_body(one, 1, now + S), 0);
    struct caller *two = access_by_user(a, 2);
    assert_null(caller_policy(two));
    assert_false(caller_has_all_jobs(two, UINT64_MAX));
    assert_true(caller_largest_body(two) == UINT64_MAX);
}

static uint64_t two_jobs(void *arg, const char *name) {
    (void)arg;
    return strlen(name) == 3 ? 2 : 0;
}

static void test_metrics_are_bounded(void **state) {
    struct access *a = *state;
    struct buf out = {0};
    configure(a, "one uid:1 submit rate=1/h\ntwo uid:2 submit\nsix uid:3 submit\n");
    int64_t now = clock_monotonic_ns();
    struct caller *one = access_by_user(a, 1), *six = access_by_user(a, 3);
    assert_int_equal(caller_begin_request(one, now), 0);
    caller_count_refusal(one, QUOTA_REQUESTS);
    assert_int_equal(caller_begin_request(six, now), 0);
    access_charge_cpu(a, "six", S / 2, now);
    access_count_failure(a, "no_key");
    access_write_metrics(a, 2, two_jobs, NULL, &out);
    static const char *const lines[] = {"offload_key_requests_total{key=\"one\"} 1\n",
                                        "offload_key_requests_total{key=\"(others)\"} 1\n",
                                        "offload_key_jobs{key=\"two\"} 2\n",
                                        "offload_key_cpu_seconds_total{key=\"(others)\"} 0.500000\n",
                                        "offload_key_refused_total{key=\"one\",quota=\"requests\"} 1\n",
                                        "offload_auth_failures_total{reason=\"no_key\"} 1\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strstr(out.data, lines[i]) == NULL)
            fail_msg("%s is not in %s", lines[i], out.data);
    assert_null(strstr(out.data, "key=\"six\""));
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bucket_without_a_rate_has_no_limit),
        cmocka_unit_test(test_a_bucket_is_full_at_first_and_fills_up_by_its_rate),
        cmocka_unit_test(test_the_wait_is_true),
        cmocka_unit_test(test_what_is_known_afterwards_can_leave_it_below_zero),
        cmocka_unit_test(test_it_is_known_when_there_is_one_more),
        cmocka_unit_test(test_more_than_a_bucket_holds_is_there_when_it_is_full),
        cmocka_unit_test(test_a_new_rate_leaves_the_share),
        cmocka_unit_test(test_the_clock_can_stand_still),
        cmocka_unit_test(test_a_line_has_all_its_parts),
        cmocka_unit_test(test_an_empty_file_has_no_lines),
        cmocka_unit_test(test_faults_name_their_line),
        cmocka_unit_test_setup_teardown(test_it_is_known_by_key_user_and_certificate, make_access, free_access),
        cmocka_unit_test_setup_teardown(test_scopes_and_views, make_access, free_access),
        cmocka_unit_test_setup_teardown(test_a_bad_file_changes_nothing, make_access, free_access),
        cmocka_unit_test_setup_teardown(test_a_new_file_keeps_what_was_used, make_access, free_access),
        cmocka_unit_test_setup_teardown(test_certificates_without_a_file, make_access, free_access),
        cmocka_unit_test(test_forms_of_the_header),
        cmocka_unit_test_setup_teardown(test_the_fields_say_what_is_left, make_access, free_access),
        cmocka_unit_test_setup_teardown(test_metrics_are_bounded, make_access, free_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
