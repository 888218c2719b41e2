/* zygote_link_test.c: the front end's end of a control socket, pool/zygote_link.c. The test plays the zygote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "pool/zygote_link.h"
#include "tests/unit/fake_zygote.h"

static struct loop *loop;
static struct fake_zygote zygote;
static struct zygote_link *zlink;
static unsigned descriptors;

/* The events of the link. */
static struct {
    unsigned events, loaded, load_failed, spawned, not_spawned, exited, lost;
    unsigned slot;
    pid_t pid;
    int socket, stderr_fd, error, types;
    char why[1024];
    struct zygote_exit exit;
    bool was_loaded, close_at_once;
} seen;

static void note(unsigned *event) {
    ++*event;
    seen.events++;
    if (!seen.close_at_once)
        return;
    zygote_link_close(zlink);
    zlink = NULL;
}

static void on_loaded(void *owner, struct zygote_link *z, int types) {
    seen.types = types;
    assert_ptr_equal(owner, &seen);
    assert_ptr_equal(z, zlink);
    assert_true(zygote_link_is_loaded(z));
    note(&seen.loaded);
}

static void on_load_failed(void *owner, struct zygote_link *z, const char *why) {
    (void)owner, (void)z;
    snprintf(seen.why, sizeof seen.why, "%s", why);
    note(&seen.load_failed);
}

static void on_spawned(void *owner, struct zygote_link *z, unsigned slot, pid_t pid, int socket, int stderr_fd) {
    (void)owner, (void)z;
    seen.slot = slot;
    seen.pid = pid;
    seen.socket = socket;
    seen.stderr_fd = stderr_fd;
    note(&seen.spawned);
}

static void on_not_spawned(void *owner, struct zygote_link *z, unsigned slot, int error) {
    (void)owner, (void)z;
    seen.slot = slot;
    seen.error = error;
    note(&seen.not_spawned);
}

static void on_exited(void *owner, struct zygote_link *z, const struct zygote_exit *e) {
    (void)owner, (void)z;
    seen.exit = *e;
    note(&seen.exited);
}

static void on_lost(void *owner, struct zygote_link *z, bool was_loaded) {
    (void)owner, (void)z;
    seen.was_loaded = was_loaded;
    note(&seen.lost);
}

static int open_link(void **state) {
    static const struct zygote_link_events events = {&seen,          on_loaded, on_load_failed, on_spawned,
                                                     on_not_spawned, on_exited, on_lost};
    (void)state;
    memset(&seen, 0, sizeof seen);
    descriptors = count_descriptors();
    loop = loop_new();
    int socket = fake_zygote_open(&zygote, false);
    zlink = zygote_link_open(loop, &events, socket, zygote.pid);
    return zlink == NULL ? -1 : 0;
}

/* Whatever a test did, no descriptor is left. */
static int close_link(void **state) {
    (void)state;
    if (zlink != NULL)
        zygote_link_close(zlink);
    fake_zygote_close(&zygote);
    kill(zygote.pid, SIGKILL);
    waitpid(zygote.pid, NULL, 0);
    loop_free(loop);
    assert_int_equal(count_descriptors(), descriptors);
    return 0;
}

static void report(struct zygote_report r, const int fds[2]) {
    unsigned before = seen.events;
    fake_zygote_report(&zygote, r, fds);
    STEP_UNTIL(loop, seen.events > before);
}

static void report_loaded(void) {
    report((struct zygote_report){.kind = ZYGOTE_LOADED}, NULL);
}

/* Sends reports that must be ignored, with two descriptors each, which must be closed. */
static void report_in_vain(const struct zygote_report *lies, size_t count) {
    unsigned before = seen.events;
    for (size_t i = 0; i < count; i++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        fake_zygote_report(&zygote, lies[i], fds);
        close(fds[0]);
        close(fds[1]);
    }
    for (size_t i = 0; i < count; i++)
        loop_step(loop, 0);
    assert_int_equal(seen.events, before);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void a_request_for_a_worker_says_which(void **state) {
    (void)state;
    struct zygote_request q;
    assert_int_equal(zygote_link_spawn(zlink, 7, 5, 3), 0);
    assert_true(fake_zygote_receive(&zygote, &q));
    assert_int_equal(q.version, WIRE_VERSION);
    assert_int_equal(q.kind, ZYGOTE_SPAWN);
    assert_int_equal(q.slot, 7);
    assert_int_equal(q.nice, 5);
    assert_int_equal(q.start_type, 3);
}

static void a_signal_is_sent_by_the_zygote(void **state) {
    (void)state;
    struct zygote_request q;
    assert_int_equal(zygote_link_signal(zlink, 1234, SIGTERM), 0);
    assert_true(fake_zygote_receive(&zygote, &q));
    assert_int_equal(q.kind, ZYGOTE_SIGNAL);
    assert_int_equal(q.pid, 1234);
    assert_int_equal(q.signal, SIGTERM);
}

enum { MANY = 2000 }; /* many more datagrams than a socket takes */

static void requests_that_the_socket_does_not_take_wait_for_room(void **state) {
    (void)state;
    struct zygote_request q;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(zygote_link_spawn(zlink, i, 0, START_FORKED), 0);
    assert_int_equal(zygote_link_signal(zlink, 1234, SIGKILL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        STEP_UNTIL(loop, fake_zygote_receive(&zygote, &q));
        assert_int_equal(q.kind, ZYGOTE_SPAWN);
        assert_int_equal(q.slot, i);
    }
    STEP_UNTIL(loop, fake_zygote_receive(&zygote, &q));
    assert_int_equal(q.kind, ZYGOTE_SIGNAL);
    assert_int_equal(zygote_link_spawn(zlink, 7, 0, START_FORKED), 0); /* nothing waits now */
    assert_true(fake_zygote_receive(&zygote, &q));
    assert_int_equal(q.slot, 7);
}

static void reports_are_read_while_requests_wait(void **state) {
    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(zygote_link_spawn(zlink, i, 0, START_FORKED), 0);
    report((struct zygote_report){.kind = ZYGOTE_LOADED}, NULL);
    assert_int_equal(seen.loaded, 1);
}

static void a_request_to_a_zygote_that_is_gone_is_refused(void **state) {
    (void)state;
    shutdown(zygote.socket, SHUT_RD);
    assert_int_equal(zygote_link_spawn(zlink, 1, 0, START_FORKED), -1);
    assert_int_equal(zygote_link_signal(zlink, 1234, SIGKILL), -1);
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

static void it_is_loaded_when_the_zygote_says_so(void **state) {
    (void)state;
    assert_false(zygote_link_is_loaded(zlink));
    report_loaded();
    assert_int_equal(seen.loaded, 1);
    assert_true(zygote_link_is_loaded(zlink));
}

static void a_failed_load_names_the_handler(void **state) {
    (void)state;
    struct zygote_report r = {.kind = ZYGOTE_LOAD_FAILED};
    memset(r.text, 'x', sizeof r.text); /* without a NUL */
    report(r, NULL);
    assert_int_equal(seen.load_failed, 1);
    assert_int_equal(strlen(seen.why), sizeof r.text - 1);
    assert_false(zygote_link_is_loaded(zlink));
}

static void a_worker_comes_with_its_socket_and_its_stderr(void **state) {
    (void)state;
    int sockets[2], pipes[2];
    char text[8] = "";
    report_loaded();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
    assert_int_equal(pipe(pipes), 0);
    report((struct zygote_report){.kind = ZYGOTE_SPAWNED, .slot = 2, .pid = 77}, (int[]){sockets[0], pipes[0]});
    assert_int_equal(seen.spawned, 1);
    assert_int_equal(seen.slot, 2);
    assert_int_equal(seen.pid, 77);
    assert_int_equal(write(sockets[1], "socket", 6), 6);
    assert_int_equal(read(seen.socket, text, sizeof text), 6);
    assert_int_equal(write(pipes[1], "err", 3), 3);
    assert_int_equal(read(seen.stderr_fd, text, sizeof text), 3);
    assert_true((fcntl(seen.socket, F_GETFD) & FD_CLOEXEC) != 0);
    close(seen.socket);
    close(seen.stderr_fd);
    for (int i = 0; i < 2; i++) {
        close(sockets[i]);
        close(pipes[i]);
    }
}

static void a_worker_whose_descriptors_did_not_arrive_is_reported_too(void **state) {
    (void)state;
    report_loaded();
    report((struct zygote_report){.kind = ZYGOTE_SPAWNED, .slot = 2, .pid = 77}, NULL);
    assert_int_equal(seen.spawned, 1);
    assert_int_equal(seen.socket, -1);
    assert_int_equal(seen.stderr_fd, -1);
}

static void a_failed_fork_comes_with_its_errno(void **state) {
    (void)state;
    report_loaded();
    report((struct zygote_report){.kind = ZYGOTE_NOT_SPAWNED, .slot = 4, .status = EAGAIN}, NULL);
    assert_int_equal(seen.not_spawned, 1);
    assert_int_equal(seen.slot, 4);
    assert_int_equal(seen.error, EAGAIN);
}

static void the_end_of_a_worker_comes_with_its_numbers(void **state) {
    (void)state;
    report_loaded();
    report((struct zygote_report){.kind = ZYGOTE_EXITED,
                                  .slot = 1,
                                  .pid = 77,
                                  .status = SIGSEGV,
                                  .oom = 1,
                                  .max_rss_bytes = 1 << 20,
                                  .cpu_ms = 12},
           NULL);
    assert_int_equal(seen.exited, 1);
    assert_int_equal(seen.exit.slot, 1);
    assert_int_equal(seen.exit.pid, 77);
    assert_int_equal(seen.exit.status, SIGSEGV);
    assert_true(seen.exit.oom);
    assert_int_equal(seen.exit.max_rss_bytes, 1 << 20);
    assert_int_equal(seen.exit.cpu_ms, 12);
}

static void descriptors_that_a_report_does_not_need_are_closed(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    report((struct zygote_report){.kind = ZYGOTE_LOADED}, fds);
    close(fds[0]);
    close(fds[1]);
}

static void reports_that_come_too_early_or_twice_are_ignored(void **state) {
    (void)state;
    const struct zygote_report early[] = {
        {.kind = ZYGOTE_SPAWNED, .pid = 77}, {.kind = ZYGOTE_NOT_SPAWNED}, {.kind = ZYGOTE_EXITED, .pid = 77}};
    const struct zygote_report twice[] = {{.kind = ZYGOTE_LOADED}, {.kind = ZYGOTE_LOAD_FAILED}};
    report_in_vain(early, 3);
    report_loaded();
    report_in_vain(twice, 2);
    assert_true(zygote_link_is_loaded(zlink));
}

static void reports_that_make_no_sense_are_ignored(void **state) {
    (void)state;
    const struct zygote_report lies[] = {{.kind = 0},
                                         {.kind = 99},
                                         {.kind = ZYGOTE_SPAWNED, .pid = 0},
                                         {.kind = ZYGOTE_SPAWNED, .pid = -1},
                                         {.kind = ZYGOTE_EXITED, .pid = -1}};
    report_loaded();
    report_in_vain(lies, 5);
    report((struct zygote_report){.kind = ZYGOTE_NOT_SPAWNED}, NULL); /* it goes on */
}

static void what_a_zygote_says_is_logged_even_if_its_handlers_do_not_load(void **state) {
    (void)state;
    char text[1000];
    int said[2], log[2], kept = dup(STDERR_FILENO);
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    dup2(log[1], STDERR_FILENO);
    fake_zygote_report(&zygote, (struct zygote_report){.kind = ZYGOTE_STDERR}, said);
    close(said[0]);
    dprintf(said[1], "no model\n%ca line of its log\nnot %ca line of its log\n", LOG_MARK, LOG_MARK);
    close(said[1]);
    report((struct zygote_report){.kind = ZYGOTE_LOAD_FAILED, .text = "embeddings"}, NULL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(log[1]);
    ssize_t n = read(log[0], text, sizeof text - 1);
    close(log[0]);
    text[n < 0 ? 0 : n] = '\0';
    assert_non_null(strstr(text, "zygote_stderr"));
    assert_non_null(strstr(text, "no model"));
    assert_non_null(strstr(text, "\na line of its log\n"));
    assert_non_null(strstr(text, "not \\u001ea line"));
}

/* ---- loss -------------------------------------------------------------------------------------------------------- */

static bool is_killed(pid_t pid) {
    int status;
    return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void send_to_link(const void *bytes, size_t size) {
    assert_int_equal(send(zygote.socket, bytes, size, 0), size);
    STEP_UNTIL(loop, seen.events > 0);
    assert_int_equal(seen.lost, 1);
    assert_true(is_killed(zygote.pid));
}

static void a_zygote_that_closes_its_socket_is_lost_and_killed(void **state) {
    (void)state;
    shutdown(zygote.socket, SHUT_RDWR);
    STEP_UNTIL(loop, seen.events > 0);
    assert_int_equal(seen.lost, 1);
    assert_false(seen.was_loaded);
    assert_true(is_killed(zygote.pid));
    loop_step(loop, 0);
    assert_int_equal(seen.events, 1);
}

static void a_loss_comes_with_whether_the_zygote_had_loaded(void **state) {
    (void)state;
    report_loaded();
    fake_zygote_die(&zygote);
    STEP_UNTIL(loop, seen.lost > 0);
    assert_true(seen.was_loaded);
    assert_false(zygote_link_is_loaded(zlink));
}

static void a_zygote_of_another_version_is_lost(void **state) {
    (void)state;
    struct zygote_report r = {.version = WIRE_VERSION + 1, .kind = ZYGOTE_LOADED};
    send_to_link(&r, sizeof r);
}

static void a_report_of_a_wrong_size_loses_the_zygote(void **state) {
    (void)state;
    struct zygote_report r = {.version = WIRE_VERSION, .kind = ZYGOTE_LOADED};
    send_to_link(&r, sizeof r - 1);
}

static void a_zygote_that_is_reaped_is_not_killed(void **state) {
    (void)state;
    zygote_link_set_reaped(zlink, 0); /* as if it were reaped: its pid can be another process by now */
    assert_true(zygote_link_is_reaped(zlink));
    shutdown(zygote.socket, SHUT_RDWR);
    STEP_UNTIL(loop, seen.lost > 0);
    assert_int_equal(waitpid(zygote.pid, NULL, WNOHANG), 0);
}

static void the_owner_can_close_the_link_in_every_callback(void **state) {
    (void)state;
    const struct zygote_report reports[] = {{.kind = ZYGOTE_LOADED},
                                            {.kind = ZYGOTE_LOAD_FAILED},
                                            {.kind = ZYGOTE_SPAWNED, .pid = 77},
                                            {.kind = ZYGOTE_NOT_SPAWNED},
                                            {.kind = ZYGOTE_EXITED, .pid = 77}};
    for (unsigned i = 0; i <= 5; i++) {
        if (i > 0)
            open_link(state);
        if (i >= 2 && i < 5)
            report_loaded();
        seen.close_at_once = true;
        if (i < 5)
            report(reports[i], NULL);
        else
            shutdown(zygote.socket, SHUT_RDWR);
        STEP_UNTIL(loop, zlink == NULL);
        if (i < 5)
            close_link(state);
    }
}

#define LINK_TEST(f) cmocka_unit_test_setup_teardown(f, open_link, close_link)

int main(void) {
    const struct CMUnitTest tests[] = {
        LINK_TEST(a_request_for_a_worker_says_which),
        LINK_TEST(a_signal_is_sent_by_the_zygote),
        LINK_TEST(requests_that_the_socket_does_not_take_wait_for_room),
        LINK_TEST(reports_are_read_while_requests_wait),
        LINK_TEST(a_request_to_a_zygote_that_is_gone_is_refused),
        LINK_TEST(it_is_loaded_when_the_zygote_says_so),
        LINK_TEST(a_failed_load_names_the_handler),
        LINK_TEST(a_worker_comes_with_its_socket_and_its_stderr),
        LINK_TEST(a_worker_whose_descriptors_did_not_arrive_is_reported_too),
        LINK_TEST(a_failed_fork_comes_with_its_errno),
        LINK_TEST(the_end_of_a_worker_comes_with_its_numbers),
        LINK_TEST(descriptors_that_a_report_does_not_need_are_closed),
        LINK_TEST(reports_that_come_too_early_or_twice_are_ignored),
        LINK_TEST(what_a_zygote_says_is_logged_even_if_its_handlers_do_not_load),
        LINK_TEST(reports_that_make_no_sense_are_ignored),
        LINK_TEST(a_zygote_that_closes_its_socket_is_lost_and_killed),
        LINK_TEST(a_loss_comes_with_whether_the_zygote_had_loaded),
        LINK_TEST(a_zygote_of_another_version_is_lost),
        LINK_TEST(a_report_of_a_wrong_size_loses_the_zygote),
        LINK_TEST(a_zygote_that_is_reaped_is_not_killed),
        LINK_TEST(the_owner_can_close_the_link_in_every_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
