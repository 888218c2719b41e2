/* test_types_test.c: the job types sleep, burn, collatz, crash and report. A job that ends its process runs in a forked child
 * whose stderr is a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pool/wire.h"
#include "tests/unit/job.h"

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

struct watch {
    uint64_t done, total;
    unsigned looks, cancel_at; /* 0: never */
    bool went_back;
};

static void on_progress(void *arg, uint64_t done, uint64_t total) {
    struct watch *watch = arg;
    watch->went_back |= done < watch->done || done > total;
    watch->done = done;
    watch->total = total;
}

static bool on_cancelled(void *arg) {
    struct watch *watch = arg;
    watch->looks++;
    return watch->cancel_at > 0 && watch->looks >= watch->cancel_at;
}

static void plan_of(const char *type, const char *params, struct host_plan *plan) {
    struct submission s = {0};
    struct fault fault = {0};
    struct buf body = {0};
    job_init();
    buf_printf(&body, "{\"type\":\"%s\",\"params\":%s}", type, params);
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), 0);
    assert_int_equal(host_plan(s.type, s.params.data, s.params.size, 0, NULL, plan, &fault), 0);
    submission_deinit(&s);
    buf_deinit(&body);
}

static int run_first_chunk(const char *type, const struct host_plan *plan, unsigned attempt, struct watch *watch,
                           struct buf *part, struct fault *fault) {
    struct host_hooks hooks = {.arg = watch, .progress = on_progress, .cancelled = on_cancelled};
    struct bytes common = {plan->common.data, plan->common.size};
    struct bytes chunk = {plan->bytes.data + plan->chunks[0].offset, plan->chunks[0].size};
    return host_run((size_t)host_find(type), attempt, common, chunk, &hooks, part, fault);
}

/* Runs the only chunk of a job of that type, and ignores its part. */
static int run_watched(const char *type, const char *params, struct watch *watch) {
    struct host_plan plan = {0};
    struct fault fault = {0};
    struct buf part = {0};
    plan_of(type, params, &plan);
    assert_int_equal(plan.count, 1);
    int rc = run_first_chunk(type, &plan, 0, watch, &part, &fault);
    buf_deinit(&part);
    fault_deinit(&fault);
    host_plan_deinit(&plan);
    return rc;
}

static void assert_job(const char *type, const char *params, unsigned chunks, const char *expected) {
    char *json = job_run(type, params, chunks);
    assert_string_equal(json, expected);
    free(json);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Starts a process that does what crash does. The caller waits for its end, and reads its stderr from *stderr_fd. */
static pid_t start_crash(const char *params, int *stderr_fd) {
    int ends[2];
    struct host_plan plan = {0};
    plan_of("crash", params, &plan);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct watch watch = {0};
        struct fault fault = {0};
        struct buf part = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* in case an assertion fails before this child has ended */
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        dup2(ends[1], STDERR_FILENO);
        run_first_chunk("crash", &plan, 0, &watch, &part, &fault);
        _exit(99); /* it survived */
    }
    close(ends[1]);
    *stderr_fd = ends[0];
    host_plan_deinit(&plan);
    return pid;
}

static void assert_last_words(int stderr_fd, const char *expected) {
    char words[200] = "";
    size_t size = 0;
    while (size + 1 < sizeof words && !strchr(words, '\n')) {
        ssize_t n = read(stderr_fd, words + size, sizeof words - 1 - size);
        assert_true(n > 0);
        size += (size_t)n;
        words[size] = '\0';
    }
    assert_string_equal(words, expected);
    close(stderr_fd);
}

static int wait_status(pid_t pid) {
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_dies_of(const char *how, int signal_number) {
    char params[64], words[100];
    int stderr_fd;
    snprintf(params, sizeof params, "{\"how\":\"%s\"}", how);
    snprintf(words, sizeof words, "crash: about to fail: %s, attempt 0\n", how);
    int status = wait_status(start_crash(params, &stderr_fd));
    assert_last_words(stderr_fd, words);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signal_number);
}

static uint64_t resident_bytes(pid_t pid) {
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

static void sleep_takes_its_time_and_reports_progress(void **state) {
    (void)state;
    struct watch watch = {0};
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    assert_int_equal(run_watched("sleep", "{\"ms\":45}", &watch), 0);
    assert_true(clock_ns(CLOCK_MONOTONIC) - start_ns >= 45000000);
    assert_int_equal(watch.done, 45);
    assert_int_equal(watch.total, 45);
    assert_false(watch.went_back);
    assert_job("sleep", "{\"ms\":3}", 0, "{\"ms\":3}");
    assert_job("sleep", "{\"ms\":0}", 5, "{\"ms\":0}");
}

static void sleep_estimates_its_cost(void **state) {
    (void)state;
    struct host_plan plan = {0};
    plan_of("sleep", "{\"ms\":86400000}", &plan);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.chunks[0].cost_ns, UINT64_C(86400000000000));
    host_plan_deinit(&plan);
}

static void sleep_can_be_cancelled(void **state) {
    (void)state;
    struct watch watch = {.cancel_at = 3};
    assert_int_equal(run_watched("sleep", "{\"ms\":86400000}", &watch), HOST_CANCELLED);
    assert_true(watch.done < 86400000);
}

/* ---- collatz ----------------------------------------------------------------------------------------------------- */

static void collatz_finds_the_same_number_however_it_is_divided(void **state) {
    (void)state;
    static const unsigned chunks[] = {0, 1, 2, 7, 4096};
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        assert_job("collatz", "{\"below\":1000000}", chunks[i], "{\"start\":837799,\"steps\":524}");
        assert_job("collatz", "{\"below\":10}", chunks[i], "{\"start\":9,\"steps\":19}");
        assert_job("collatz", "{\"below\":2}", chunks[i], "{\"start\":1,\"steps\":0}");
    }
    assert_job("collatz", "{\"below\":20}", 3, "{\"start\":18,\"steps\":20}"); /* 19 takes 20 steps, too */
}

static void collatz_plans_as_many_chunks_as_are_wanted_or_worth_it(void **state) {
    (void)state;
    struct host_plan plan = {0};
    plan_of("collatz", "{\"below\":1000000000}", &plan);
    assert_in_range(plan.count, 100, HANDLER_MAX_CHUNKS); /* on any machine, as it is minutes of work */
    host_plan_deinit(&plan);
    plan_of("collatz", "{\"below\":3}", &plan);
    assert_int_equal(plan.count, 1);
    host_plan_deinit(&plan);
}

static void collatz_can_be_cancelled_and_checks_its_bytes(void **state) {
    (void)state;
    struct watch watch = {0};
    struct host_plan plan = {0};
    struct fault fault = {0};
    struct buf part = {0}, json = {0};
    size_t type = (size_t)host_find("collatz");
    struct bytes short_bytes = {"short", 5};
    plan_of("collatz", "{\"below\":1000000000}", &plan);
    watch.cancel_at = 2;
    assert_int_equal(run_first_chunk("collatz", &plan, 0, &watch, &part, &fault), HOST_CANCELLED);
    assert_true(watch.total > 0);
    assert_int_equal(host_run(type, 0, (struct bytes){0}, short_bytes, NULL, &part, &fault), -1);
    fault_deinit(&fault);
    assert_int_equal(host_merge(type, (struct bytes){0}, &short_bytes, 1, NULL, &json, &fault), -1);
    fault_deinit(&fault);
    buf_deinit(&part);
    buf_deinit(&json);
    host_plan_deinit(&plan);
}

/* ---- burn -------------------------------------------------------------------------------------------------------- */

static void assert_burns(const char *params, unsigned wanted, double cpu_ms, json_int_t chunks) {
    uint64_t start_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    char *text = job_run("burn", params, wanted);
    double used_ms = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns) / 1e6;
    json_t *json = json_loads(text, 0, NULL);
    double told_ms = json_number_value(json_object_get(json, "cpu_ms"));
    assert_int_equal(json_integer_value(json_object_get(json, "chunks")), chunks);
    assert_true(told_ms >= cpu_ms);
    assert_true(told_ms <= used_ms);
    json_decref(json);
    free(text);
}

static void burn_uses_as_much_cpu_as_asked(void **state) {
    (void)state;
    assert_burns("{\"cpu_ms\":20}", 0, 20, 1);
    assert_burns("{\"cpu_ms\":20,\"chunks\":4}", 0, 20, 4);
    assert_burns("{\"cpu_ms\":20,\"chunks\":4}", 2, 20, 2);
    assert_burns("{\"cpu_ms\":0,\"chunks\":4096}", 0, 0, 4096);
}

static void burn_reports_progress_and_can_be_cancelled(void **state) {
    (void)state;
    struct watch watch = {0};
    assert_int_equal(run_watched("burn", "{\"cpu_ms\":5}", &watch), 0);
    assert_int_equal(watch.total, 5000000);
    assert_int_equal(watch.done, watch.total);
    assert_false(watch.went_back);
    watch = (struct watch){.cancel_at = 3};
    assert_int_equal(run_watched("burn", "{\"cpu_ms\":86400000}", &watch), HOST_CANCELLED);
}

/* ---- crash ------------------------------------------------------------------------------------------------------- */

static void crash_dies_of_the_signal_named(void **state) {
    (void)state;
    assert_dies_of("SIGSEGV", SIGSEGV);
    assert_dies_of("SIGKILL", SIGKILL);
    assert_dies_of("abort", SIGABRT);
}

static void crash_by_exit_ends_with_3(void **state) {
    (void)state;
    int stderr_fd;
    int status = wait_status(start_crash("{\"how\":\"exit\"}", &stderr_fd));
    assert_last_words(stderr_fd, "crash: about to fail: exit, attempt 0\n");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
}

/* After SIGTERM it goes on and uses the CPU for 50 ms more. SIGKILL ends it. */
static void crash_by_hang_outlives_sigterm(void **state) {
    (void)state;
    int stderr_fd, status;
    clockid_t cpu;
    const struct timespec pause = {.tv_nsec = 1000000};
    pid_t pid = start_crash("{\"how\":\"hang\"}", &stderr_fd);
    assert_last_words(stderr_fd, "crash: about to fail: hang, attempt 0\n");
    assert_int_equal(clock_getcpuclockid(pid, &cpu), 0);
    /* It writes its message shortly before it ignores SIGTERM. When it uses the CPU, it does ignore it. */
    uint64_t start_ns = clock_ns(cpu);
    while (clock_ns(cpu) - start_ns < 50000000)
        nanosleep(&pause, NULL);
    kill(pid, SIGTERM);
    start_ns = clock_ns(cpu);
    while (clock_ns(cpu) - start_ns < 50000000) {
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    assert_int_equal(WTERMSIG(wait_status(pid)), SIGKILL);
}

static void crash_by_memory_grows_until_it_is_killed(void **state) {
    (void)state;
    int stderr_fd, status;
    const struct timespec pause = {.tv_nsec = 1000000};
    pid_t pid = start_crash("{\"how\":\"memory\"}", &stderr_fd);
    assert_last_words(stderr_fd, "crash: about to fail: memory, attempt 0\n");
    while (resident_bytes(pid) < 100 << 20) {
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    assert_int_equal(WTERMSIG(wait_status(pid)), SIGKILL);
}

static void crash_by_memory_can_be_cancelled(void **state) {
    (void)state;
    struct watch watch = {.cancel_at = 20};
    assert_int_equal(run_watched("crash", "{\"how\":\"memory\"}", &watch), HOST_CANCELLED);
}

static void crash_survives_after_so_many_attempts(void **state) {
    (void)state;
    struct host_plan plan = {0};
    struct watch watch = {0};
    struct fault fault = {0};
    struct buf part = {0}, json = {0};
    plan_of("crash", "{\"how\":\"abort\",\"times\":2}", &plan);
    assert_int_equal(run_first_chunk("crash", &plan, 2, &watch, &part, &fault), 0);
    struct bytes common = {plan.common.data, plan.common.size}, view = {part.data, part.size};
    assert_int_equal(host_merge((size_t)host_find("crash"), common, &view, 1, NULL, &json, &fault), 0);
    assert_string_equal(json.data, "{\"survived_attempts\":2}");
    buf_deinit(&part);
    buf_deinit(&json);
    host_plan_deinit(&plan);
}

/* ---- report ------------------------------------------------------------------------------------------------------ */

static void on_log(void *arg, const char *text, size_t size) {
    buf_append(arg, text, size);
}

/* Runs a report in that attempt. Its log is appended to *log. */
static int run_report(const char *params, unsigned attempt, struct buf *log, struct fault *fault) {
    struct host_plan plan = {0};
    struct buf part = {0};
    const struct host_hooks hooks = {.arg = log, .log = on_log};
    plan_of("report", params, &plan);
    struct bytes common = {plan.common.data, plan.common.size}, chunk = {plan.bytes.data, plan.chunks[0].size};
    int rc = host_run((size_t)host_find("report"), attempt, common, chunk, &hooks, &part, fault);
    buf_deinit(&part);
    host_plan_deinit(&plan);
    return rc;
}

static void report_prints_to_the_log_of_its_job(void **state) {
    (void)state;
    struct buf log = {0};
    struct fault fault = {0};
    assert_int_equal(run_report("{\"print\":\"a\\n\",\"hex\":\"ff0a\",\"lines\":2}", 0, &log, &fault), 0);
    assert_string_equal(log.data, "a\n\xFF\nline 0\nline 1\n");
    buf_deinit(&log);
}

static void report_loses_attempts_for_each_cause(void **state) {
    (void)state;
    static const struct {
        const char *params;
        enum host_cause cause;
        int signal, exit_code;
    } ways[] = {{"{\"lost\":\"signal\",\"times\":2}", HOST_LOST_SIGNAL, 9, -1},
                {"{\"lost\":\"exit\",\"times\":2}", HOST_LOST_EXIT, 0, 3},
                {"{\"lost\":\"oom\",\"times\":2}", HOST_LOST_OOM, 9, -1},
                {"{\"lost\":\"memory\",\"times\":2}", HOST_LOST_MEMORY, 0, -1},
                {"{\"lost\":\"timeout\",\"times\":2}", HOST_LOST_TIMEOUT, 0, -1},
                {"{\"lost\":\"protocol\",\"times\":2}", HOST_LOST_PROTOCOL, 0, -1}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct buf log = {0};
        struct fault fault = {0};
        assert_int_equal(run_report(ways[i].params, 1, &log, &fault), HOST_LOST);
        assert_int_equal(fault.json.size, 0);
        assert_int_equal(fault.loss.cause, ways[i].cause);
        assert_int_equal(fault.loss.signal, ways[i].signal);
        assert_int_equal(fault.loss.exit_code, ways[i].exit_code);
        assert_int_equal(fault.loss.max_rss_bytes, 1 << 20);
        assert_int_equal(fault.loss.cpu_ms, 12);
        assert_string_equal(fault.loss.last_words.data, "last words of attempt 1\n");
        fault_deinit(&fault);
        assert_int_equal(run_report(ways[i].params, 2, &log, &fault), 0);
        buf_deinit(&log);
    }
}

static void report_fails_with_an_exception(void **state) {
    (void)state;
    char *fault =
        job_run("report",
                "{\"exception\":\"ValueError\",\"detail\":\"bad \\\"n\\\"\",\"traceback\":\"File 1\\nFile 2\\n\"}", 1);
    assert_string_equal(fault, "{\"code\":\"handler_failed\",\"detail\":\"bad \\\"n\\\"\",\"exception\":\"ValueError\","
                               "\"traceback\":\"File 1\\nFile 2\\n\"}");
    free(fault);
    fault = job_run("report", "{\"exception\":\"KeyError\"}", 1);
    assert_string_equal(fault, "{\"code\":\"handler_failed\",\"detail\":\"\",\"exception\":\"KeyError\"}");
    free(fault);
}

/* Appends a member whose value is that many bytes: "x", and then characters of two bytes. */
static void put_long(struct buf *b, const char *name, size_t size) {
    buf_printf(b, ",\"%s\":\"x", name);
    for (size_t i = 1; i < size; i += 2)
        buf_puts(b, "\xC3\xA9");
    buf_puts(b, "\"");
}

static void the_texts_of_an_exception_are_cut_at_a_character(void **state) {
    (void)state;
    struct buf params = {0};
    buf_puts(&params, "{\"lines\":0");
    put_long(&params, "exception", 301);
    put_long(&params, "detail", 3001);
    put_long(&params, "traceback", 10001);
    buf_puts(&params, "}");
    char *text = job_run("report", params.data, 1);
    json_t *fault = json_loads(text, 0, NULL);
    assert_non_null(fault);
    assert_int_equal(json_string_length(json_object_get(fault, "exception")), 199);
    assert_int_equal(json_string_length(json_object_get(fault, "detail")), 1999);
    assert_int_equal(json_string_length(json_object_get(fault, "traceback")), 8192);
    assert_null(strstr(text, "\xEF\xBF\xBD"));
    json_decref(fault);
    free(text);
    buf_deinit(&params);
}

static void an_exception_fits_into_a_frame_whatever_is_in_it(void **state) {
    (void)state;
    struct buf params = {0};
    static const char *const names[] = {"exception", "detail", "traceback"};
    for (int i = 0; i < 3; i++) {
        buf_printf(&params, "%c\"%s\":\"", i == 0 ? '{' : ',', names[i]);
        for (int n = 0; n < 10000; n++)
            buf_puts(&params, "\\u0001");
        buf_puts(&params, "\"");
    }
    buf_puts(&params, "}");
    char *text = job_run("report", params.data, 1);
    assert_in_range(strlen(text), 60000, WIRE_MAX_INLINE);
    free(text);
    buf_deinit(&params);
}

static void a_map_keeps_some_tracebacks(void **state) {
    (void)state;
    struct submission s = {0};
    struct fault fault = {0};
    struct host_plan plan = {0};
    struct buf body = {0}, part = {0};
    job_init();
    buf_puts(&body, "{\"type\":\"report\",\"items\":[");
    for (int i = 0; i < 5; i++) {
        buf_printf(&body, "%s{\"exception\":\"E%d\"", i == 0 ? "" : ",", i);
        put_long(&body, "traceback", 6001);
        buf_puts(&body, "}");
    }
    buf_puts(&body, "]}");
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), 0);
    assert_int_equal(host_plan_items(s.type, s.params.data, s.params.size, 1, NULL, &plan, &fault), 0);
    struct bytes none = {NULL, 0}, group = {plan.bytes.data, plan.chunks[0].size};
    assert_int_equal(host_run_items(s.type, 0, none, group, NULL, &part, &fault), 0);
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    for (int i = 0; i < 5; i++) {
        char name[32];
        assert_int_equal(host_next_item((struct bytes){part.data, part.size}, &at, &entry, &json), 1);
        snprintf(name, sizeof name, "\"exception\":\"E%d\"", i);
        assert_false(entry.ok);
        assert_non_null(memmem(json, entry.size, name, strlen(name)));
        assert_int_equal(memmem(json, entry.size, "\"traceback\":", 12) != NULL, i < 2);
    }
    host_plan_deinit(&plan);
    submission_deinit(&s);
    buf_deinit(&body);
    buf_deinit(&part);
}

static void test_types_are_offered_only_if_asked_for(void **state) {
    (void)state;
    host_init(false);
    assert_int_equal(host_find("crash"), -1);
    assert_int_equal(host_find("sleep"), -1);
    assert_int_equal(host_find("burn"), -1);
    host_init(true);
    assert_true(host_find("crash") >= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleep_takes_its_time_and_reports_progress),
        cmocka_unit_test(sleep_estimates_its_cost),
        cmocka_unit_test(sleep_can_be_cancelled),
        cmocka_unit_test(collatz_finds_the_same_number_however_it_is_divided),
        cmocka_unit_test(collatz_plans_as_many_chunks_as_are_wanted_or_worth_it),
        cmocka_unit_test(collatz_can_be_cancelled_and_checks_its_bytes),
        cmocka_unit_test(burn_uses_as_much_cpu_as_asked),
        cmocka_unit_test(burn_reports_progress_and_can_be_cancelled),
        cmocka_unit_test(crash_dies_of_the_signal_named),
        cmocka_unit_test(crash_by_exit_ends_with_3),
        cmocka_unit_test(crash_by_hang_outlives_sigterm),
        cmocka_unit_test(crash_by_memory_grows_until_it_is_killed),
        cmocka_unit_test(crash_by_memory_can_be_cancelled),
        cmocka_unit_test(crash_survives_after_so_many_attempts),
        cmocka_unit_test(report_prints_to_the_log_of_its_job),
        cmocka_unit_test(report_loses_attempts_for_each_cause),
        cmocka_unit_test(report_fails_with_an_exception),
        cmocka_unit_test(the_texts_of_an_exception_are_cut_at_a_character),
        cmocka_unit_test(an_exception_fits_into_a_frame_whatever_is_in_it),
        cmocka_unit_test(a_map_keeps_some_tracebacks),
        cmocka_unit_test(test_types_are_offered_only_if_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
