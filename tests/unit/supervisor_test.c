/* supervisor_test.c: what a supervisor is told, and where it listens: base/supervisor.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/supervisor.h"
#include "tests/unit/descriptors.h"

/* Binds a socket to that name, as $NOTIFY_SOCKET has it. */
static int listen_at(const char *name) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    memcpy(a.sun_path, name, strlen(name));
    if (name[0] == '@')
        a.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, length), 0);
    return fd;
}

static void check_hears(const char *name) {
    char text[64];
    int fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    unsigned before = count_descriptors();
    assert_int_equal(supervisor_tell("READY=1"), 1);
    assert_int_equal(supervisor_tell("STOPPING=1"), 1);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(read(fd, text, sizeof text), 7);
    assert_memory_equal(text, "READY=1", 7);
    assert_int_equal(read(fd, text, sizeof text), 10);
    assert_memory_equal(text, "STOPPING=1", 10);
    close(fd);
}

static void test_path_and_abstract_name(void **state) {
    char path[64], name[64];
    (void)state;
    snprintf(path, sizeof path, "/tmp/supervisor-test-%d", (int)getpid());
    snprintf(name, sizeof name, "@supervisor-test-%d", (int)getpid());
    check_hears(path);
    unlink(path);
    check_hears(name);
}

static void test_nobody_asks(void **state) {
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(supervisor_tell("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(supervisor_tell("READY=1"), 0);
}

static void test_address_that_does_not_work(void **state) {
    char path[200];
    struct {
        const char *address;
        int error;
    } cases[] = {
        {"vsock:2:1234", EAFNOSUPPORT}, {"relative", EAFNOSUPPORT}, {path, EAFNOSUPPORT}, {"/nonexistent/x", ENOENT}};
    (void)state;
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    unsigned before = count_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("NOTIFY_SOCKET", cases[i].address, 1);
        errno = 0;
        assert_int_equal(supervisor_tell("READY=1"), -1);
        assert_int_equal(errno, cases[i].error);
    }
    assert_int_equal(count_descriptors(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_and_abstract_name),
        cmocka_unit_test(test_nobody_asks),
        cmocka_unit_test(test_address_that_does_not_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
