/* config_test.c: how the values of offloadd's options are written, and which source wins. See server/config.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/config.h"

#define MAX_FLAGS 24
static char path[] = "/tmp/config_test-XXXXXX";

static int make_file(void **state) {
    (void)state;
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    unsetenv("OFFLOAD_MAX_BODY");
    unsetenv("OFFLOAD_LISTEN");
    unsetenv("OFFLOAD_CONFIG");
    unsetenv("OFFLOAD_WORKERS");
    return unlink(path);
}

static void write_file(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Reads flags that are separated by spaces. `error`: NULL if they must be good, else a part of the message. */
static struct config read_config(const char *flags, const char *error) {
    static char all_words[4][512]; /* those of the last four calls; they live as long as a real argv */
    static unsigned calls;
    char *words = all_words[calls++ % 4];
    char *argv[MAX_FLAGS] = {(char[]){"offloadd"}}, *rest = words;
    int argc = 1;
    struct config c;
    struct buf why = {0};
    snprintf(words, sizeof all_words[0], "%s", flags);
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " "))
        if (*word != '\0')
            argv[argc++] = word;
    int rc = config_read(&c, argc, argv, &why);
    if (rc != (error == NULL ? 0 : -1) || (error != NULL && strstr(why.data, error) == NULL))
        fail_msg("\"%s\": %d %s", flags, rc, why.data == NULL ? "" : why.data);
    buf_deinit(&why);
    return c;
}

/* The same, and the file is read, too. */
static struct config read_both(const char *flags, const char *error) {
    char all[512];
    snprintf(all, sizeof all, "--config %s %s", path, flags);
    return read_config(all, error);
}

static void the_defaults_are_those_of_the_documentation(void **state) {
    (void)state;
    struct config c = read_config("", NULL);
    assert_string_equal(c.listen.at[0], "127.0.0.1:8080");
    assert_int_equal(c.listen.count, 1);
    assert_true(c.workers >= 1);
    assert_int_equal(c.express_workers, 1);
    assert_int_equal(c.express_cost_ns, 5 * NS_PER_MS);
    assert_int_equal(c.sync_wait_ns, 30 * NS_PER_S);
    assert_int_equal(c.max_wait_ns, 300 * NS_PER_S);
    assert_int_equal(c.max_body, 64 << 20);
    assert_int_equal(c.max_queue, 100000);
    assert_int_equal(c.max_header, 8 << 10);
    assert_int_equal(c.result_ttl_ns, 3600 * NS_PER_S);
    assert_int_equal(c.job_timeout_ns, 600 * NS_PER_S);
    assert_int_equal(c.cancel_grace_ns, 200 * NS_PER_MS);
    assert_true(c.max_memory > 0);
    assert_int_equal(c.max_job_memory, c.max_memory / 4 > 1 << 30 ? c.max_memory / 4 : 1 << 30);
    assert_false(c.enable_test_types || c.insecure_no_auth || c.check_config || c.show_help || c.show_version);
}

static void the_memory_of_a_job_follows_from_that_of_all(void **state) {
    (void)state;
    assert_int_equal(read_config("--max-memory 64GiB", NULL).max_job_memory, INT64_C(16) << 30);
    assert_int_equal(read_config("--max-memory 64MiB", NULL).max_job_memory, INT64_C(1) << 30);
    assert_int_equal(read_config("--max-memory 64GiB --max-job-memory 5MiB", NULL).max_job_memory, 5 << 20);
    assert_int_equal(read_config("--max-memory 64GiB --max-job-memory 0", NULL).max_job_memory, 0);
}

static void sizes_take_binary_units(void **state) {
    (void)state;
    assert_int_equal(read_config("--max-body 2048", NULL).max_body, 2048);
    assert_int_equal(read_config("--max-body 3KiB", NULL).max_body, 3072);
    assert_int_equal(read_config("--max-body=1.5MiB", NULL).max_body, 3 << 19);
    assert_int_equal(read_config("--max-body 2GiB", NULL).max_body, INT64_C(2) << 30);
    static const char *const bad[] = {"1MB",       "1kib",  "1_KiB", "-1",  "",    "x",
                                      "1.0001KiB", "1e999", "0x800", "nan", "inf", "+2048"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char flags[64];
        snprintf(flags, sizeof flags, "--max-body=%s", bad[i]);
        read_config(flags, "--max-body");
    }
}

static void limits_of_an_address_are_unset_at_first(void **state) {
    (void)state;
    struct config c = read_config("--workers 1", NULL);
    assert_int_equal(c.max_connections_per_address, CONFIG_UNSET);
    assert_int_equal(c.max_requests_per_address, CONFIG_UNSET);
    c = read_config("--max-connections-per-address 0 --max-requests-per-address 7", NULL);
    assert_int_equal(c.max_connections_per_address, 0);
    assert_int_equal(c.max_requests_per_address, 7);
    read_config("--max-requests-per-address -1", "a whole number");
    read_config("--max-requests-per-address 1000000001", "out of range");
}

static void times_need_a_unit(void **state) {
    (void)state;
    assert_int_equal(read_config("--job-timeout 250ms", NULL).job_timeout_ns, 250 * NS_PER_MS);
    assert_int_equal(read_config("--job-timeout 1.5s", NULL).job_timeout_ns, 1500 * NS_PER_MS);
    assert_int_equal(read_config("--job-timeout 2m", NULL).job_timeout_ns, 120 * NS_PER_S);
    assert_int_equal(read_config("--job-timeout 2h", NULL).job_timeout_ns, 7200 * NS_PER_S);
    assert_int_equal(read_config("--drain-timeout 0", NULL).drain_timeout_ns, 0);
    read_config("--job-timeout 30", "a time like");
    read_config("--job-timeout 30sec", "a time like");
    read_config("--job-timeout 1d", "a time like");
}

static void values_out_of_range_are_rejected(void **state) {
    (void)state;
    read_config("--workers 0", "out of range");
    read_config("--workers 4097", "out of range");
    assert_int_equal(read_config("--workers 4096", NULL).workers, 4096);
    read_config("--max-json-depth 2001", "out of range");
    read_config("--cancel-grace 9ms", "out of range");
    read_config("--max-body 2000GiB", "out of range");
    read_config("--workers 2.5", "a whole number");
    assert_true(read_config("--max-jobs-per-worker 9223372036854775807", NULL).max_jobs_per_worker > INT64_C(9) << 59);
    read_config("--max-jobs-per-worker 99999999999999999999", "out of range");
}

static void switches_are_on_alone_and_take_true_and_false(void **state) {
    (void)state;
    assert_true(read_config("--enable-test-types", NULL).enable_test_types);
    assert_true(read_config("--enable-test-types=true", NULL).enable_test_types);
    assert_false(read_config("--enable-test-types --enable-test-types=false", NULL).enable_test_types);
    read_config("--enable-test-types=yes", "unknown value");
    read_config("--enable-test-types=1", "unknown value");
}

static void words_are_checked(void **state) {
    (void)state;
    assert_int_equal(read_config("--log-level warn --log-format json", NULL).log_level, LOG_WARN);
    assert_int_equal(read_config("--log-format json", NULL).log_format, LOG_JSON);
    read_config("--log-level loud", "unknown value \"loud\"");
    assert_string_equal(read_config("--data-dir /tmp", NULL).data_dir, "/tmp");
}

static void what_is_unknown_is_named(void **state) {
    (void)state;
    read_config("--no-such-option", "unknown option --no-such-option");
    read_config("--no-such-option=3", "unknown option --no-such-option=3");
    read_config("-x", "unknown option -x");
    read_config("--max-body", "--max-body needs a value");
    read_config("serve", "unexpected argument \"serve\"");
    read_config("--insecure-no-auth true", "unexpected argument \"true\": a switch is --name or --name=true");
}

static void the_last_of_a_repeated_flag_counts_and_listen_adds(void **state) {
    (void)state;
    struct config c = read_config("--workers 3 --workers 5 --listen a:1 --listen [::1]:2 --listen unix:/x", NULL);
    assert_int_equal(c.workers, 5);
    assert_int_equal(c.listen.count, 3);
    assert_string_equal(c.listen.at[1], "[::1]:2");
    char many[512] = "";
    for (int i = 0; i < CONFIG_MAX_LIST; i++)
        strncat(many, "--listen=a:1 ", sizeof many - strlen(many) - 1);
    assert_int_equal(read_config(many, NULL).listen.count, CONFIG_MAX_LIST);
    strncat(many, "--listen=a:1", sizeof many - strlen(many) - 1);
    read_config(many, "--listen: at most 16");
}

static void a_file_has_keys_comments_and_blank_lines(void **state) {
    (void)state;
    write_file("# comment\n\n  workers = 3  \r\nmax-body=1KiB\n\tlisten = a:1\nlisten = b:2\nenable-test-types = true\n"
               "job-timeout = 5s # not a comment here");
    read_both("", "line 8");
    write_file("# comment\n\n  workers = 3  \r\nmax-body=1KiB\n\tlisten = a:1\nlisten = b:2\nenable-test-types = true\n"
               "job-timeout = 5s");
    struct config c = read_both("", NULL);
    assert_int_equal(c.workers, 3);
    assert_string_equal(c.workers_why, "as configured");
    assert_int_equal(c.max_body, 1024);
    assert_int_equal(c.listen.count, 2);
    assert_string_equal(c.listen.at[1], "b:2");
    assert_true(c.enable_test_types);
    assert_int_equal(c.job_timeout_ns, 5 * NS_PER_S);
}

static void a_mistake_in_the_file_is_reported_with_its_line(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"\nworker = 3\n", "line 2: unknown key \"worker\""},
                                         {"workers\n", "line 1: `key = value`"},
                                         {"--workers = 3\n", "line 1: unknown key \"--workers\""},
                                         {"config = /x\n", "line 1: unknown key \"config\""},
                                         {"workers = many\n", "line 1: --workers"},
                                         {"workers =\n", "line 1: --workers"},
                                         {"= 3\n", "line 1: unknown key \"\""}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i][0]);
        read_both("", bad[i][1]);
    }
    read_config("--config /nonexistent/offload.conf", "/nonexistent/offload.conf: No such file");
}

static void a_file_that_is_none_is_a_mistake(void **state) {
    (void)state;
    static const char text[] = "workers = 3\nmax-body = 1KiB\0\nworkers = 4\n";
    read_config("--config /", "--config /: Is a directory");
    read_config("--config /dev/zero", "not a regular file");
    read_config("--config /proc/self/mem", "--config /proc/self/mem: ");
    read_config("--webhook-secret-file /", "--webhook-secret-file /: Is a directory");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    read_both("", "not a regular file");
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(text, 1, sizeof text - 1, f);
    fclose(f);
    read_both("", "line 2: it has a NUL byte");
    assert_int_equal(truncate(path, 2 << 20), 0);
    read_both("", "larger than 1048576 bytes");
    write_file("");
    read_both("", NULL);
}

static void an_empty_variable_is_as_if_it_were_not_set(void **state) {
    (void)state;
    size_t count;
    const struct config_option *rows = config_options(&count);
    char name[CONFIG_VARIABLE_SIZE];
    write_file("max-body = 1KiB\nlisten = file:1\n");
    for (size_t i = 0; i < count; i++) {
        config_variable_of(&rows[i], name);
        setenv(name, "", 1);
    }
    struct config c = read_both("", NULL), none = read_config("", NULL);
    for (size_t i = 0; i < count; i++) {
        config_variable_of(&rows[i], name);
        unsetenv(name);
    }
    assert_int_equal(c.max_body, 1024);
    assert_string_equal(c.listen.at[0], "file:1");
    const struct config defaults = read_config("", NULL);
    for (size_t i = 0; i < count; i++)
        assert_true(config_option_is_same(&rows[i], &none, &defaults));
}

static void flags_beat_the_environment_and_that_beats_the_file(void **state) {
    (void)state;
    write_file("max-body = 1KiB\nworkers = 2\nlisten = file:1\nlisten = file:2\n");
    struct config c = read_both("", NULL);
    assert_int_equal(c.max_body, 1024);
    setenv("OFFLOAD_MAX_BODY", "2KiB", 1);
    setenv("OFFLOAD_LISTEN", "env:1", 1);
    c = read_both("", NULL);
    assert_int_equal(c.max_body, 2048);
    assert_int_equal(c.workers, 2);
    assert_int_equal(c.listen.count, 1);
    assert_string_equal(c.listen.at[0], "env:1");
    c = read_both("--max-body 3KiB --listen flag:1 --listen flag:2", NULL);
    assert_int_equal(c.max_body, 3072);
    assert_int_equal(c.listen.count, 2);
    assert_string_equal(c.listen.at[0], "flag:1");
}

static void the_environment_names_the_file_too(void **state) {
    (void)state;
    write_file("max-body = 5KiB\n");
    setenv("OFFLOAD_CONFIG", path, 1);
    assert_int_equal(read_config("", NULL).max_body, 5120);
    setenv("OFFLOAD_CONFIG", "/nonexistent", 1);
    read_config("", "/nonexistent");
    assert_int_equal(read_both("", NULL).max_body, 5120);
}

static void a_reload_takes_what_its_row_says_and_names_the_rest(void **state) {
    (void)state;
    struct buf ignored = {0};
    struct config c =
        read_config("--workers 3 --max-body 1KiB --listen a:1 --listen b:2 --webhook-allow x.internal", NULL);
    const struct config same = read_config("--workers 3 --max-body 1KiB --listen a:1 --listen b:2", NULL);
    const struct config other = read_config(
        "--workers 4 --max-body 2KiB --listen a:1 --listen b:3 --data-dir /x --webhook-allow y.internal", NULL);
    config_take_reload(&c, &same, &ignored);
    assert_int_equal(ignored.size, 0);
    assert_int_equal(c.webhook_allow.count, 0);
    config_take_reload(&c, &other, &ignored);
    assert_string_equal(ignored.data, "--data-dir, --listen, --workers");
    assert_int_equal(c.workers, 3);
    assert_string_equal(c.listen.at[1], "b:2");
    assert_string_equal(c.workers_why, "as configured");
    assert_int_equal(c.max_body, 2048);
    assert_string_equal(c.webhook_allow.at[0], "y.internal");
    buf_deinit(&ignored);
}

static void a_mistake_in_the_environment_is_reported_as_one(void **state) {
    (void)state;
    setenv("OFFLOAD_WORKERS", "several", 1);
    read_config("", "(from the environment)");
}

static void webhook_options_have_the_defaults_of_the_standard_and_their_list_is_its_own(void **state) {
    (void)state;
    struct config c = read_config("--listen a:1", NULL);
    assert_int_equal(c.webhook_timeout_ns, 20 * NS_PER_S);
    assert_int_equal(c.webhook_retry_ns, 5 * NS_PER_S);
    assert_int_equal(c.max_webhooks, 100);
    assert_int_equal(c.max_webhook_bytes, 64 << 20);
    assert_int_equal(c.webhook_allow.count, 0);
    assert_null(c.webhook_secret_file);
    c = read_config("--webhook-allow hooks.internal --listen a:1 --webhook-allow 10.0.0.0/8 --listen b:2", NULL);
    assert_int_equal(c.listen.count, 2);
    assert_int_equal(c.webhook_allow.count, 2);
    assert_string_equal(c.webhook_allow.at[1], "10.0.0.0/8");
    write_file("webhook-allow = file.internal\nlisten = a:1\nwebhook-allow = 10.0.0.0/8\n");
    c = read_both("", NULL);
    assert_int_equal(c.webhook_allow.count, 2);
    c = read_both("--webhook-allow flag.internal", NULL);
    assert_int_equal(c.webhook_allow.count, 1);
    assert_string_equal(c.webhook_allow.at[0], "flag.internal");
    assert_string_equal(c.listen.at[0], "a:1");
}

static void webhook_mistakes_are_reported_before_the_start(void **state) {
    (void)state;
    char flags[64];
    read_config("--webhook-allow https://hooks.internal/", "--webhook-allow");
    read_config("--webhook-allow ok.internal --webhook-allow 10.0.0.0/33", "not \"10.0.0.0/33\"");
    read_config("--webhook-secret-file /nonexistent/secrets", "/nonexistent/secrets: No such file");
    read_config("--max-webhooks 0", "out of range");
    snprintf(flags, sizeof flags, "--webhook-secret-file %s", path);
    write_file("# old\n\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    assert_string_equal(read_config(flags, NULL).webhook_secret_file, path);
    write_file("# old\n\nwhsec_c2hvcnQ=\n");
    read_config(flags, "line 3: must be the base64 of 24 to 64 bytes");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults_are_those_of_the_documentation),
        TEST(the_memory_of_a_job_follows_from_that_of_all),
        TEST(sizes_take_binary_units),
        TEST(limits_of_an_address_are_unset_at_first),
        TEST(times_need_a_unit),
        TEST(values_out_of_range_are_rejected),
        TEST(switches_are_on_alone_and_take_true_and_false),
        TEST(words_are_checked),
        TEST(what_is_unknown_is_named),
        TEST(the_last_of_a_repeated_flag_counts_and_listen_adds),
        TEST(a_file_has_keys_comments_and_blank_lines),
        TEST(a_mistake_in_the_file_is_reported_with_its_line),
        TEST(a_file_that_is_none_is_a_mistake),
        TEST(an_empty_variable_is_as_if_it_were_not_set),
        TEST(flags_beat_the_environment_and_that_beats_the_file),
        TEST(the_environment_names_the_file_too),
        TEST(a_reload_takes_what_its_row_says_and_names_the_rest),
        TEST(a_mistake_in_the_environment_is_reported_as_one),
        TEST(webhook_options_have_the_defaults_of_the_standard_and_their_list_is_its_own),
        TEST(webhook_mistakes_are_reported_before_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
