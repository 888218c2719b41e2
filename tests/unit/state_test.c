/* state_test.c: a move that a state machine does not have, base/state.c: it is logged, and it ends a debug build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/state.h"

static char logged[1000];

/* Makes the move in a child, and puts what that writes to stderr into `logged`. Returns the status of waitpid(2). */
static int move_in_child(void) {
    const struct rlimit no_core = {0, 0};
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        state_illegal_move("door", "locked", "open");
        _exit(7);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], logged, sizeof logged - 1);
    logged[n < 0 ? 0 : n] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void an_illegal_move_is_logged_with_its_machine_and_states(void **state) {
    (void)state;
    move_in_child();
    assert_non_null(strstr(logged, " error illegal_move machine=\"door\" from=\"locked\" to=\"open\"\n"));
}

static void an_illegal_move_ends_only_a_debug_build(void **state) {
    (void)state;
    int status = move_in_child();
#ifdef OFFLOAD_DEBUG
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
#else
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_illegal_move_is_logged_with_its_machine_and_states),
        cmocka_unit_test(an_illegal_move_ends_only_a_debug_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
