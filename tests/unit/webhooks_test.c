/* webhooks_test.c: the delivery of webhooks, server/webhooks/: by the real event loop to the
 * real receiver tests/http/receiver.py. The store is a fake that notes how it was called. Names ending in .test are
 * resolved here: the linker takes the getaddrinfo below for libcurl's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/webhooks/schedule.h"
#include "server/webhooks/sign.h"
#include "server/webhooks/webhooks.h"
#include "tests/unit/toy_types.h"
#include "tests/unit/descriptors.h"

#define TRACE       "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define PATIENCE_NS (20 * NS_PER_S)

enum { NOTES = 64 };

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int stuck[2]; /* stuck.test is resolved when something was written to [1] */
static atomic_bool resolver_waits, resolver_went_on, resolver_gave_in;

static const char *const names[][3] = {{"private.test", "10.0.0.1", NULL},
                                       {"mapped.test", "::ffff:127.0.0.1", NULL},
                                       {"both.test", "10.0.0.1", "127.0.0.1"},
                                       {"public.test", "198.41.0.4", NULL}};

typedef int resolver(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);

static int resolve_stuck(void) {
    struct pollfd p = {stuck[0], POLLIN, 0};
    atomic_store(&resolver_waits, true);
    if (poll(&p, 1, 30000) == 0)
        atomic_store(&resolver_gave_in, true);
    atomic_store(&resolver_went_on, true);
    return EAI_AGAIN;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    resolver *real;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    if (strcmp(name, "stuck.test") == 0)
        return resolve_stuck();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i][0]) != 0)
            continue;
        int rc = real(names[i][1], service, hints, found);
        return rc != 0 || names[i][2] == NULL ? rc : real(names[i][2], service, hints, &(*found)->ai_next);
    }
    return real(name, service, hints, found);
}

/* ---- the receivers ----------------------------------------------------------------------------------------------- */

struct receiver {
    pid_t pid;
    int input;
    char port[8];
};

static struct receiver plain, tls;
static char directory[] = "/tmp/webhooks_test-XXXXXX";
static char logs[80], certificate[80], secrets[80];

static void run_receiver(int in, int out, bool with_tls) {
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execlp("python3", "python3", "tests/http/receiver.py", logs, with_tls ? "--tls" : NULL, directory, (char *)NULL);
    _exit(127);
}

static void start_receiver(struct receiver *r, bool with_tls) {
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r->pid = fork();
    if (r->pid == 0)
        run_receiver(in[0], out[1], with_tls);
    close(in[0]);
    close(out[1]);
    r->input = in[1];
    FILE *f = fdopen(out[0], "r");
    if (f == NULL || fgets(r->port, sizeof r->port, f) == NULL)
        fail_msg("tests/http/receiver.py did not start");
    r->port[strcspn(r->port, "\n")] = '\0';
    fclose(f);
}

static void stop_receiver(struct receiver *r) {
    close(r->input); /* its end */
    waitpid(r->pid, NULL, 0);
}

static int open_all(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* to be ignored */
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    assert_non_null(mkdtemp(directory));
    snprintf(logs, sizeof logs, "%s/log", directory);
    snprintf(certificate, sizeof certificate, "%s/cert.pem", directory);
    snprintf(secrets, sizeof secrets, "%s/secrets", directory);
    FILE *f = fopen(secrets, "w");
    assert_non_null(f);
    fputs("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", f);
    fclose(f);
    start_receiver(&plain, false);
    start_receiver(&tls, true);
    return pipe2(stuck, O_CLOEXEC);
}

static int close_all(void **state) {
    static const char *const files[] = {"log", "cert.pem", "key.pem", "secrets"};
    char path[96];
    (void)state;
    stop_receiver(&plain);
    stop_receiver(&tls);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    return rmdir(directory);
}

/* What was received since the test began: an array of the lines of the log. */
static json_t *received(void) {
    json_t *all = json_array(), *line;
    FILE *f = fopen(logs, "r");
    while (f != NULL && (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL)
        json_array_append_new(all, line);
    if (f != NULL)
        fclose(f);
    return all;
}

static const char *header(json_t *all, size_t i, const char *name) {
    return json_string_value(json_object_get(json_object_get(json_array_get(all, i), "headers"), name));
}

static size_t count_received(void) {
    json_t *all = received();
    size_t n = json_array_size(all);
    json_decref(all);
    return n;
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

struct note {
    struct id job;
    unsigned attempt; /* 0: delivered, or given up */
    int64_t delay_ms;
};

static struct note notes[NOTES];
static size_t note_count;

static void note_deliver(struct store *s, const struct delivery *d) {
    (void)s;
    assert_true(note_count < NOTES && d->attempt > 0 && d->url != NULL && d->body.size > 0);
    notes[note_count++] = (struct note){d->job, d->attempt, d->due_ms - clock_wall_ms()};
}

static void note_delivered(struct store *s, const struct id *job) {
    (void)s;
    assert_true(note_count < NOTES);
    notes[note_count++] = (struct note){*job, 0, 0};
}

static const struct store_ops ops = {.deliver = note_deliver, .delivered = note_delivered};
static struct store store = {&ops};

/* ---- the webhooks under test ------------------------------------------------------------------------------------- */

static struct loop *loop;
static struct webhooks *w;
static size_t descriptors;

static struct webhooks_config config_of(const char *const *allow, unsigned count) {
    return (struct webhooks_config){.secret_file = secrets,
                                    .allow = allow,
                                    .allow_count = count,
                                    .timeout_ns = PATIENCE_NS,
                                    .retry_ns = 200 * NS_PER_MS,
                                    .max_running = 100,
                                    .max_bytes = 64 << 20};
}

static void configure(const struct webhooks_config *c) {
    struct buf error = {0};
    if (webhooks_configure(w, c, &error) != 0)
        fail_msg("%s", error.data);
}

static int open_webhooks(void **state) {
    static const char *const allow[] = {"127.0.0.0/8"};
    struct webhooks_config c = config_of(allow, 1);
    struct buf error = {0};
    (void)state;
    descriptors = count_descriptors();
    unlink(logs);
    unsetenv("SSL_CERT_FILE");
    note_count = 0;
    loop = loop_new();
    w = webhooks_new(loop, &c, &store, &error);
    return w == NULL ? -1 : 0;
}

static int close_webhooks(void **state) {
    (void)state;
    if (w != NULL)
        webhooks_free(w);
    loop_free(loop);
    assert_int_equal(count_descriptors(), descriptors);
    return 0;
}

static struct id job_id(unsigned n) {
    struct id id;
    assert_true(id_parse("01927f0e-abcd-7abc-8def-000000000000", &id));
    id.bytes[15] = (uint8_t)n;
    return id;
}

/* The body is {"job":N}, with spaces behind it up to that many bytes. */
static void send_delivery(unsigned job, unsigned attempt, int64_t due_ms, size_t bytes, const char *url) {
    struct delivery d = {.job = job_id(job), .url = url, .attempt = attempt, .due_ms = due_ms, .trace = TRACE};
    struct buf body = {0};
    buf_printf(&body, "{\"job\":%u}", job);
    while (body.size < bytes)
        buf_putc(&body, ' ');
    d.body = slice_all(blob_copy(body.data, body.size));
    webhooks_send(w, &d);
    slice_deinit(&d.body);
    buf_deinit(&body);
}

/* Of a job that has just ended; the path says how the receiver answers. */
static void send_now(unsigned job, const char *scheme_and_host, const struct receiver *to, const char *path) {
    char url[200];
    snprintf(url, sizeof url, "%s:%s%s/job-%u", scheme_and_host, to->port, path, job);
    send_delivery(job, 0, 0, 0, url);
}

static size_t wanted_notes;
static bool (*wanted)(void);
static int64_t give_up_ns;

static int64_t look(void *arg) {
    (void)arg;
    if (clock_monotonic_ns() > give_up_ns)
        fail_msg("it never came to what the test waits for (%zu notes)", note_count);
    if (wanted != NULL ? wanted() : note_count >= wanted_notes)
        loop_stop(loop);
    return 10 * NS_PER_MS;
}

/* The loop has stopped then, and is not run again. */
static void run_until(bool (*condition)(void)) {
    wanted = condition;
    give_up_ns = clock_monotonic_ns() + PATIENCE_NS;
    loop_run(loop, look, NULL);
}

static void run_until_notes(size_t n) {
    wanted_notes = n;
    run_until(NULL);
}

static void expect_note(size_t i, unsigned job, unsigned attempt) {
    struct id id = job_id(job);
    assert_true(i < note_count);
    assert_memory_equal(&notes[i].job, &id, sizeof id);
    assert_int_equal(notes[i].attempt, attempt);
}

static void expect_metric(const char *line) {
    struct buf b = {0};
    webhooks_write_metrics(w, &b);
    if (strstr(b.data, line) == NULL)
        fail_msg("%s not in:\n%s", line, b.data);
    buf_deinit(&b);
}

/* ---- how it is answered ------------------------------------------------------------------------------------------ */

static void a_webhook_arrives_once_with_its_headers(void **state) {
    (void)state;
    struct webhook_secrets s;
    struct buf error = {0}, signature = {0};
    send_now(7, "http://127.0.0.1", &plain, "/200");
    assert_int_equal(webhooks_pending(w), 1);
    assert_int_equal(webhooks_active(w), 1);
    run_until_notes(1);
    expect_note(0, 7, 0);
    assert_int_equal(webhooks_pending(w), 0);
    json_t *all = received();
    assert_int_equal(json_array_size(all), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(all, 0), "method")), "POST");
    assert_string_equal(json_string_value(json_object_get(json_array_get(all, 0), "body")), "{\"job\":7}");
    assert_string_equal(header(all, 0, "webhook-id"), "msg_01927f0e-abcd-7abc-8def-000000000007");
    assert_string_equal(header(all, 0, "content-type"), "application/json");
    assert_string_equal(header(all, 0, "traceparent"), TRACE);
    assert_string_equal(header(all, 0, "content-length"), "9");
    assert_string_equal(header(all, 0, "user-agent"), "offload");
    assert_null(header(all, 0, "expect"));
    assert_null(header(all, 0, "authorization"));
    assert_null(header(all, 0, "cookie"));
    long long at = strtoll(header(all, 0, "webhook-timestamp"), NULL, 10);
    assert_true(llabs(at - clock_wall_ms() / 1000) < 60);
    assert_int_equal(webhook_secrets_read(&s, secrets, &error), 0);
    webhook_sign(&signature, &s, header(all, 0, "webhook-id"), at, "{\"job\":7}", 9);
    assert_string_equal(header(all, 0, "webhook-signature"), signature.data);
    assert_non_null(strstr(signature.data, " v1,"));
    buf_deinit(&signature);
    json_decref(all);
    expect_metric("offload_webhooks_total{outcome=\"delivered\"} 1\n");
    expect_metric("offload_webhooks_pending 0\n");
}

static void without_secrets_it_is_sent_unsigned(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.secret_file = NULL;
    configure(&c);
    send_now(1, "http://127.0.0.1", &plain, "/204");
    run_until_notes(1);
    json_t *all = received();
    assert_non_null(header(all, 0, "webhook-id"));
    assert_null(header(all, 0, "webhook-signature"));
    json_decref(all);
}

static void after_a_failure_it_is_sent_again_under_the_same_id(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.retry_ns = 5 * NS_PER_MS;
    configure(&c);
    send_now(1, "http://127.0.0.1", &plain, "/500,404,200");
    run_until_notes(3);
    expect_note(0, 1, 1);
    expect_note(1, 1, 2);
    expect_note(2, 1, 0);
    assert_true(notes[0].delay_ms <= 6 && notes[1].delay_ms <= 330);
    json_t *all = received();
    assert_int_equal(json_array_size(all), 3);
    for (size_t i = 1; i < 3; i++) {
        assert_string_equal(header(all, 0, "webhook-id"), header(all, i, "webhook-id"));
        assert_true(json_equal(json_object_get(json_array_get(all, 0), "body"),
                               json_object_get(json_array_get(all, i), "body")));
        assert_true(strcmp(header(all, 0, "webhook-timestamp"), header(all, i, "webhook-timestamp")) <= 0);
    }
    json_decref(all);
    expect_metric("{outcome=\"failed\"} 2\n");
    expect_metric("{outcome=\"delivered\"} 1\n");
}

static void a_redirect_is_a_failure_and_not_followed(void **state) {
    (void)state;
    static const char *const paths[] = {"/301,200", "/302,200", "/307,200", "/308,200"};
    for (unsigned i = 0; i < 4; i++)
        send_now(i, "http://127.0.0.1", &plain, paths[i]);
    run_until_notes(8);
    json_t *all = received(), *line;
    size_t i;
    assert_int_equal(json_array_size(all), 8);
    json_array_foreach(all, i, line)
        assert_null(strstr(json_string_value(json_object_get(line, "path")), "redirected"));
    json_decref(all);
    expect_metric("{outcome=\"failed\"} 4\n");
    expect_metric("{outcome=\"delivered\"} 4\n");
}

static void gone_ends_it_for_good(void **state) {
    (void)state;
    send_now(1, "http://127.0.0.1", &plain, "/410");
    run_until_notes(1);
    expect_note(0, 1, 0);
    assert_int_equal(webhooks_pending(w), 0);
    expect_metric("{outcome=\"gave_up\"} 1\n");
    expect_metric("{outcome=\"delivered\"} 0\n");
}

static void the_last_attempt_is_the_last(void **state) {
    (void)state;
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%s/500", plain.port);
    send_delivery(1, WEBHOOK_ATTEMPTS - 1, 0, 0, url);
    run_until_notes(1);
    expect_note(0, 1, 0);
    assert_int_equal(count_received(), 1);
    assert_int_equal(webhooks_pending(w), 0);
    expect_metric("{outcome=\"gave_up\"} 1\n");
}

static void retry_after_puts_the_next_attempt_off(void **state) {
    (void)state;
    send_now(1, "http://127.0.0.1", &plain, "/503r60");
    send_now(2, "http://127.0.0.1", &plain, "/429rdate");
    send_now(3, "http://127.0.0.1", &plain, "/503r9999999");
    send_now(4, "http://127.0.0.1", &plain, "/503r-5");
    send_now(5, "http://127.0.0.1", &plain, "/503rsoon");
    run_until_notes(5);
    for (size_t i = 0; i < 5; i++) {
        int64_t delay_ms = notes[i].delay_ms;
        switch (notes[i].job.bytes[15]) {
        case 1: assert_true(delay_ms > 50000 && delay_ms <= 60000); break;
        case 2: assert_true(delay_ms > 60000 && delay_ms <= 90000); break;
        case 3: assert_true(delay_ms > 86000000 && delay_ms <= 86400000); break;
        default: assert_true(delay_ms <= 220);
        }
    }
    assert_true(webhooks_pending(w) >= 3);
}

static void no_answer_in_time_is_a_failure(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.timeout_ns = 200 * NS_PER_MS;
    configure(&c);
    send_now(1, "http://127.0.0.1", &plain, "/hang");
    run_until_notes(1);
    expect_note(0, 1, 1);
    expect_metric("{outcome=\"failed\"} 1\n");
}

static void a_huge_body_is_cut_off_and_its_status_counts(void **state) {
    (void)state;
    send_now(1, "http://127.0.0.1", &plain, "/huge");
    run_until_notes(1);
    expect_note(0, 1, 0);
    assert_int_equal(count_received(), 1); /* it was not taken to its end */
    expect_metric("{outcome=\"delivered\"} 1\n");
}

static void endless_headers_are_cut_off_and_a_failure(void **state) {
    (void)state;
    send_now(1, "http://127.0.0.1", &plain, "/heads,200");
    run_until_notes(2);
    expect_note(0, 1, 1);
    expect_note(1, 1, 0);
}

static void no_server_or_no_answer_is_a_failure(void **state) {
    (void)state;
    const struct receiver none = {.port = "1"};
    send_now(1, "http://127.0.0.1", &none, "/200");
    send_now(2, "http://127.0.0.1", &plain, "/reset,200");
    send_now(3, "https://127.0.0.1", &plain, "/200"); /* which speaks no TLS */
    run_until_notes(3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(notes[i].attempt, 1);
    expect_metric("{outcome=\"failed\"} 3\n");
    expect_metric("{outcome=\"refused\"} 0\n");
}

/* ---- where it may go --------------------------------------------------------------------------------------------- */

static void a_name_that_resolves_to_loopback_is_refused_until_it_is_allowed(void **state) {
    (void)state;
    static const char *const allow[] = {"localhost"};
    struct webhooks_config c = config_of(allow, 0);
    configure(&c);
    setenv("SSL_CERT_FILE", certificate, 1);
    send_now(1, "https://localhost", &tls, "/200");
    run_until_notes(1);
    expect_note(0, 1, 1);
    expect_metric("{outcome=\"refused\"} 1\n");
    assert_int_equal(count_received(), 0);
}

static void allowing_it_later_lets_the_next_attempt_through(void **state) {
    (void)state;
    static const char *const allow[] = {"localhost"};
    struct webhooks_config c = config_of(allow, 1);
    configure(&c);
    setenv("SSL_CERT_FILE", certificate, 1);
    char url[100];
    snprintf(url, sizeof url, "https://localhost:%s/200", tls.port);
    send_delivery(1, 1, 0, 0, url);
    run_until_notes(1);
    expect_note(0, 1, 0);
    expect_metric("{outcome=\"delivered\"} 1\n");
}

static void the_address_that_a_name_resolves_to_is_what_is_checked(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    configure(&c);
    send_now(1, "https://private.test", &tls, "/200");
    send_now(2, "http://public.test", &plain, "/200"); /* public, but http */
    run_until_notes(2);
    expect_metric("{outcome=\"refused\"} 2\n");
    assert_int_equal(count_received(), 0);
}

static void a_name_with_a_refused_and_an_allowed_address_uses_the_allowed_one(void **state) {
    (void)state;
    send_now(1, "http://both.test", &plain, "/200");
    send_now(2, "http://mapped.test", &plain, "/200");
    run_until_notes(2);
    expect_metric("{outcome=\"delivered\"} 2\n");
    assert_int_equal(count_received(), 2);
}

static void a_url_that_is_not_allowed_any_more_is_refused(void **state) {
    (void)state;
    struct webhooks_config c = config_of(NULL, 0);
    send_now(1, "http://127.0.0.1", &plain, "/200");
    configure(&c);
    run_until_notes(1);
    expect_note(0, 1, 1);
    expect_metric("{outcome=\"refused\"} 1\n");
    assert_int_equal(count_received(), 0);
}

static void a_certificate_of_an_unknown_authority_is_refused(void **state) {
    (void)state;
    send_now(1, "https://127.0.0.1", &tls, "/200");
    run_until_notes(1);
    expect_note(0, 1, 1);
    expect_metric("{outcome=\"failed\"} 1\n");
    assert_int_equal(count_received(), 0);
}

static void an_authority_of_ssl_cert_file_is_known(void **state) {
    (void)state;
    setenv("SSL_CERT_FILE", certificate, 1);
    send_now(1, "https://127.0.0.1", &tls, "/200");
    run_until_notes(1);
    expect_note(0, 1, 0);
    assert_int_equal(count_received(), 1);
}

static void a_certificate_for_another_name_is_refused(void **state) {
    (void)state;
    setenv("SSL_CERT_FILE", certificate, 1);
    send_now(1, "https://both.test", &tls, "/200");
    run_until_notes(1);
    expect_note(0, 1, 1);
    assert_int_equal(count_received(), 0);
}

static void a_submitted_url_is_checked(void **state) {
    (void)state;
    struct buf detail = {0};
    assert_int_equal(webhooks_check(w, "http://127.0.0.1:1/", &detail), 0);
    assert_int_equal(webhooks_check(w, "https://10.0.0.1/", &detail), -1);
    assert_string_equal(detail.data,
                        "must not go to 10.0.0.1, which is no public address and not named by --webhook-allow");
    buf_deinit(&detail);
}

static void a_mistake_in_the_configuration_leaves_it_as_it_was(void **state) {
    (void)state;
    static const char *const allow[] = {"10.0.0.0/8", "10.0.0.0/99"};
    struct webhooks_config c = config_of(allow, 2);
    struct buf error = {0};
    assert_int_equal(webhooks_configure(w, &c, &error), -1);
    assert_non_null(strstr(error.data, "10.0.0.0/99"));
    buf_clear(&error);
    c.allow_count = 1;
    c.secret_file = "/nonexistent/secrets";
    assert_int_equal(webhooks_configure(w, &c, &error), -1);
    assert_non_null(strstr(error.data, "/nonexistent/secrets"));
    assert_null(webhooks_new(loop, &c, &store, &error));
    buf_clear(&error);
    assert_int_equal(webhooks_check(w, "http://10.0.0.1:1/", &error), -1);
    assert_int_equal(webhooks_check(w, "http://127.0.0.1:1/", &error), 0);
    buf_deinit(&error);
}

/* ---- many, and the end ------------------------------------------------------------------------------------------- */

static void one_at_a_time_they_go_in_their_order(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.max_running = 1;
    configure(&c);
    for (unsigned i = 0; i < 30; i++)
        send_now(i, "http://127.0.0.1", &plain, "/200");
    run_until_notes(30);
    for (unsigned i = 0; i < 30; i++)
        expect_note(i, i, 0);
}

static bool two_have_arrived(void) {
    return count_received() == 2;
}

static void more_than_max_running_wait(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.max_running = 2;
    configure(&c);
    for (unsigned i = 0; i < 5; i++)
        send_now(i, "http://127.0.0.1", &plain, "/hang");
    run_until(two_have_arrived);
    assert_int_equal(webhooks_active(w), 5);
    assert_int_equal(count_received(), 2);
    expect_metric("offload_webhooks_pending 5\n");
}

static void many_go_at_once(void **state) {
    (void)state;
    for (unsigned i = 0; i < 60; i++)
        send_now(i, "http://127.0.0.1", &plain, i % 2 == 0 ? "/200" : "/202");
    run_until_notes(60);
    assert_int_equal(webhooks_pending(w), 0);
    expect_metric("{outcome=\"delivered\"} 60\n");
}

static void a_later_time_is_waited_for_and_a_past_one_is_not(void **state) {
    (void)state;
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%s/200/due", plain.port);
    int64_t due_ms = clock_wall_ms() + 400;
    send_delivery(1, 2, due_ms, 0, url);
    send_delivery(2, 3, clock_wall_ms() - 1000000, 0, url);
    assert_int_equal(webhooks_active(w), 1);
    assert_int_equal(webhooks_pending(w), 2);
    run_until_notes(2);
    expect_note(0, 2, 0);
    expect_note(1, 1, 0);
    assert_true(clock_wall_ms() >= due_ms);
}

static void what_failed_most_often_makes_room(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    int64_t later_ms = clock_wall_ms() + 3600000;
    c.max_bytes = 5 * 40000;
    configure(&c);
    send_delivery(1, 1, later_ms, 35000, "http://127.0.0.1:1/");
    send_delivery(2, 3, later_ms, 35000, "http://127.0.0.1:1/");
    send_delivery(3, 3, later_ms, 35000, "http://127.0.0.1:1/");
    send_delivery(4, 2, later_ms, 35000, "http://127.0.0.1:1/");
    send_delivery(5, 0, 0, 35000, "http://127.0.0.1:1/");
    assert_int_equal(note_count, 0);
    send_delivery(6, 0, 0, 35000, "http://127.0.0.1:1/");
    send_delivery(7, 0, 0, 70000, "http://127.0.0.1:1/");
    assert_int_equal(note_count, 3);
    expect_note(0, 2, 0);
    expect_note(1, 3, 0);
    expect_note(2, 4, 0);
    send_delivery(8, 0, 0, 300000, "http://127.0.0.1:1/"); /* more than there is: it goes, and no other makes room */
    assert_int_equal(note_count, 4);
    expect_note(3, 8, 0);
    send_delivery(9, 0, 0, 70000, "http://127.0.0.1:1/"); /* what waits is too little: the others are under way */
    assert_int_equal(note_count, 5);
    expect_note(4, 9, 0);
    assert_int_equal(webhooks_pending(w), 4);
    send_delivery(10, 0, later_ms, 35000, "http://127.0.0.1:1/"); /* as many as are needed */
    assert_int_equal(note_count, 6);
    expect_note(5, 1, 0);
    assert_int_equal(webhooks_pending(w), 4);
    expect_metric("{outcome=\"gave_up\"} 6\n");
}

static bool is_resolving(void) {
    return atomic_load(&resolver_waits);
}

static void a_resolver_that_hangs_holds_nothing_up(void **state) {
    (void)state;
    struct webhooks_config c = config_of(NULL, 0);
    c.timeout_ns = 200 * NS_PER_MS;
    configure(&c);
    send_now(1, "https://stuck.test", &tls, "/200");
    run_until_notes(1); /* the time-out is noticed while the resolver still hangs */
    assert_true(is_resolving());
    assert_false(atomic_load(&resolver_went_on));
    expect_note(0, 1, 1);
    assert_int_equal(write(stuck[1], "x", 1), 1);
    while (!atomic_load(&resolver_went_on))
        usleep(1000);
    usleep(100000); /* libcurl's thread, which nobody joins, cleans up behind itself */
    assert_false(atomic_load(&resolver_gave_in));
}

static void it_may_end_in_the_middle_of_everything(void **state) {
    (void)state;
    static const char *const allow[] = {"127.0.0.1"};
    struct webhooks_config c = config_of(allow, 1);
    c.max_running = 2;
    configure(&c);
    for (unsigned i = 0; i < 5; i++)
        send_now(i, "http://127.0.0.1", &plain, "/hang");
    send_delivery(9, 1, clock_wall_ms() + 3600000, 0, "http://127.0.0.1:1/");
    run_until(two_have_arrived);
    webhooks_free(w);
    w = NULL;
    assert_int_equal(note_count, 0); /* the store still has them all */
}

/* ---- the schedule and the body ----------------------------------------------------------------------------------- */

static void delays_are_those_of_the_standard_with_jitter(void **state) {
    (void)state;
    static const int64_t seconds[WEBHOOK_ATTEMPTS] = {0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    for (unsigned attempt = 1; attempt < WEBHOOK_ATTEMPTS; attempt++) {
        int64_t least = INT64_MAX, most = 0;
        for (int i = 0; i < 1000; i++) {
            int64_t ms = webhook_delay_ms(attempt, 5 * NS_PER_S, -1);
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        assert_true(least >= seconds[attempt] * 900 - 1 && least < seconds[attempt] * 950);
        assert_true(most <= seconds[attempt] * 1100 && most > seconds[attempt] * 1050);
    }
    int64_t tenth = webhook_delay_ms(2, 500 * NS_PER_MS, -1);
    assert_true(tenth >= 26999 && tenth <= 33000);
}

static void retry_after_only_lengthens_and_by_a_day_at_most(void **state) {
    (void)state;
    assert_int_equal(webhook_delay_ms(1, 5 * NS_PER_S, 60), 60000);
    assert_true(webhook_delay_ms(2, 5 * NS_PER_S, 60) >= 269999);
    assert_int_equal(webhook_delay_ms(1, 5 * NS_PER_S, INT64_MAX), 86400000);
    assert_true(webhook_delay_ms(1, 5 * NS_PER_S, 0) <= 5500);
}

static void the_body_names_the_event_and_holds_the_job(void **state) {
    (void)state;
    static const char *const types[] = {
        [JOB_SUCCEEDED] = "job.succeeded", [JOB_FAILED] = "job.failed", [JOB_CANCELLED] = "job.cancelled"};
    for (int status = JOB_SUCCEEDED; status <= JOB_CANCELLED; status++) {
        struct record *r = record_new();
        struct buf b = {0};
        const char *type, *at, *is, *id;
        r->id = job_id(1);
        r->type = TOY_PLAIN;
        r->status = (enum job_status)status;
        r->created_ms = 1000;
        r->finished_ms = 2000;
        if (status == JOB_SUCCEEDED)
            r->result = slice_all(blob_copy("{\"n\":1}", 7));
        webhook_body(&b, r);
        json_t *o = json_loadb(b.data, b.size, JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(json_unpack(o, "{s:s, s:s, s:{s:s, s:s}}", "type", &type, "timestamp", &at, "data", "status",
                                     &is, "id", &id),
                         0);
        assert_int_equal(json_object_size(o), 3);
        assert_string_equal(type, types[status]);
        assert_string_equal(at, "1970-01-01T00:00:02.000Z");
        assert_string_equal(is, job_status_name(r->status));
        assert_string_equal(id, "01927f0e-abcd-7abc-8def-000000000001");
        assert_int_equal(json_object_get(json_object_get(o, "data"), "result") != NULL, status == JOB_SUCCEEDED);
        json_decref(o);
        buf_deinit(&b);
        record_unref(r);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_webhooks, close_webhooks)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_webhook_arrives_once_with_its_headers),
        TEST(without_secrets_it_is_sent_unsigned),
        TEST(after_a_failure_it_is_sent_again_under_the_same_id),
        TEST(a_redirect_is_a_failure_and_not_followed),
        TEST(gone_ends_it_for_good),
        TEST(the_last_attempt_is_the_last),
        TEST(retry_after_puts_the_next_attempt_off),
        TEST(no_answer_in_time_is_a_failure),
        TEST(a_huge_body_is_cut_off_and_its_status_counts),
        TEST(endless_headers_are_cut_off_and_a_failure),
        TEST(no_server_or_no_answer_is_a_failure),
        TEST(a_name_that_resolves_to_loopback_is_refused_until_it_is_allowed),
        TEST(allowing_it_later_lets_the_next_attempt_through),
        TEST(the_address_that_a_name_resolves_to_is_what_is_checked),
        TEST(a_name_with_a_refused_and_an_allowed_address_uses_the_allowed_one),
        TEST(a_url_that_is_not_allowed_any_more_is_refused),
        TEST(a_certificate_of_an_unknown_authority_is_refused),
        TEST(an_authority_of_ssl_cert_file_is_known),
        TEST(a_certificate_for_another_name_is_refused),
        TEST(a_submitted_url_is_checked),
        TEST(a_mistake_in_the_configuration_leaves_it_as_it_was),
        TEST(one_at_a_time_they_go_in_their_order),
        TEST(more_than_max_running_wait),
        TEST(many_go_at_once),
        TEST(a_later_time_is_waited_for_and_a_past_one_is_not),
        TEST(what_failed_most_often_makes_room),
        TEST(a_resolver_that_hangs_holds_nothing_up),
        TEST(it_may_end_in_the_middle_of_everything),
        cmocka_unit_test(delays_are_those_of_the_standard_with_jitter),
        cmocka_unit_test(retry_after_only_lengthens_and_by_a_day_at_most),
        cmocka_unit_test(the_body_names_the_event_and_holds_the_job),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
