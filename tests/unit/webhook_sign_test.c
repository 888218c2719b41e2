/* webhook_sign_test.c: the signatures of webhooks, server/webhooks/sign.c, and the file that their secrets are in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "server/webhooks/sign.h"

/* The secret and the message that the libraries of Standard Webhooks test themselves with. */
#define SECRET    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
/* The bytes 0..23 and 0..63. */
#define SHORTEST  "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
#define LONGEST   "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="

static char path[] = "/tmp/webhook_sign_test-XXXXXX";

static int make_file(void **state) {
    (void)state;
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

static void write_secrets(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct webhook_secrets read_secrets(const char *text) {
    struct webhook_secrets s;
    struct buf error = {0};
    write_secrets(text);
    if (webhook_secrets_read(&s, path, &error) != 0)
        fail_msg("%s", error.data);
    assert_int_equal(error.size, 0);
    return s;
}

static void expect_signature(const struct webhook_secrets *s, const char *id, int64_t unix_s, const char *body,
                             const char *signature) {
    struct buf b = {0};
    webhook_sign(&b, s, id, unix_s, body, strlen(body));
    assert_false(b.failed);
    assert_string_equal(b.data, signature);
    buf_deinit(&b);
}

static void the_signature_is_that_of_the_standards_own_example(void **state) {
    (void)state;
    struct webhook_secrets s = read_secrets(SECRET "\n");
    expect_signature(&s, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", SIGNATURE);
}

/* The expected value was computed by Python's hmac module. */
static void the_signature_is_that_of_another_implementation(void **state) {
    (void)state;
    struct webhook_secrets s = read_secrets(LONGEST);
    expect_signature(&s, "msg_01927f0e-abcd-7abc-8def-0123456789ab", 1767319445, "{\"type\":\"job.succeeded\"}",
                     "v1,SzCFoLrzeY/VxIxkDBk3Y9k6dRZj3LyeQzX8tAd38nw=");
}

static void every_secret_signs(void **state) {
    (void)state;
    struct webhook_secrets s = read_secrets("# new\n" SECRET "\n\n# old\n" SECRET "\n");
    assert_int_equal(s.count, 2);
    expect_signature(&s, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", SIGNATURE " " SIGNATURE);
    webhook_secrets_wipe(&s);
    assert_int_equal(s.count, 0);
    struct buf b = {0};
    webhook_sign(&b, &s, "msg", 1, "", 0);
    assert_int_equal(b.size, 0);
}

static void the_file_has_secrets_comments_and_blank_lines(void **state) {
    (void)state;
    struct webhook_secrets s = read_secrets("\n  # whsec_no\n\t" SHORTEST "  \r\n" LONGEST);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.at[0].size, WEBHOOK_MIN_SECRET);
    assert_int_equal(s.at[1].size, WEBHOOK_MAX_SECRET);
    for (size_t i = 0; i < WEBHOOK_MAX_SECRET; i++) {
        assert_int_equal(s.at[1].key[i], i);
        assert_true(i >= WEBHOOK_MIN_SECRET || s.at[0].key[i] == i);
    }
}

static void a_mistake_is_told_with_file_and_line_but_without_the_secret(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {SECRET "\nMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "line 2: must begin with whsec_"},
        {"whsec_", "line 1: must begin with whsec_"},
        {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-\n", "line 1: is no base64"},
        {"whsec_MfKQ9r8GKYqrTwjUPD8I LPZIo2LaLaSw\n", "line 1: is no base64"},
        {"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "line 1: must be the base64 of 24 to 64 bytes"},
        {"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
         "line 1: must be the base64 of 24 to 64 bytes"},
        {"", ": holds no secret"},
        {"# nothing\n\n", ": holds no secret"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct webhook_secrets s;
        struct buf error = {0};
        write_secrets(bad[i][0]);
        if (webhook_secrets_read(&s, path, &error) == 0)
            fail_msg("%s", bad[i][0]);
        if (strstr(error.data, bad[i][1]) == NULL || strstr(error.data, path) == NULL)
            fail_msg("%s, not %s", error.data, bad[i][1]);
        assert_null(strstr(error.data, "MfKQ9"));
        assert_int_equal(s.count, 0);
        buf_deinit(&error);
    }
}

static void too_many_secrets_a_long_line_and_no_file_are_mistakes(void **state) {
    (void)state;
    char many[(WEBHOOK_MAX_SECRETS + 1) * sizeof SECRET + 600] = "";
    struct webhook_secrets s;
    struct buf error = {0};
    for (int i = 0; i <= WEBHOOK_MAX_SECRETS; i++)
        strncat(many, SECRET "\n", sizeof many - strlen(many) - 1);
    write_secrets(many);
    assert_int_equal(webhook_secrets_read(&s, path, &error), -1);
    assert_non_null(strstr(error.data, "line 17: is one secret too many"));
    buf_clear(&error);
    memset(many, 'x', 600);
    many[600] = '\0';
    write_secrets(many);
    assert_int_equal(webhook_secrets_read(&s, path, &error), -1);
    assert_non_null(strstr(error.data, "line 1: is too long"));
    buf_clear(&error);
    write_secrets(SECRET "\n" SECRET "\n"); /* no line is lost behind a NUL */
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "", 1, 3), 1);
    close(fd);
    assert_int_equal(webhook_secrets_read(&s, path, &error), -1);
    assert_non_null(strstr(error.data, "line 1: it has a NUL byte"));
    buf_clear(&error);
    assert_int_equal(webhook_secrets_read(&s, "/dev/zero", &error), -1);
    assert_non_null(strstr(error.data, "not a regular file"));
    buf_clear(&error);
    assert_int_equal(webhook_secrets_read(&s, "/nonexistent/secrets", &error), -1);
    assert_non_null(strstr(error.data, "/nonexistent/secrets: No such file"));
    buf_clear(&error);
    assert_int_equal(webhook_secrets_read(&s, "/", &error), -1);
    assert_non_null(strstr(error.data, "Is a directory"));
    buf_deinit(&error);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_signature_is_that_of_the_standards_own_example),
        TEST(the_signature_is_that_of_another_implementation),
        TEST(every_secret_signs),
        TEST(the_file_has_secrets_comments_and_blank_lines),
        TEST(a_mistake_is_told_with_file_and_line_but_without_the_secret),
        TEST(too_many_secrets_a_long_line_and_no_file_are_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
