/* closing_test.c: files that another thread closes: base/closing.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/closing.h"
#include "tests/unit/descriptors.h"

static int new_file(void) {
    int fd = memfd_create("closing-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

static void test_at_once_without_the_thread(void **state) {
    int fd = new_file();
    (void)state;
    closing_close(fd, CLOSING_FROM);
    assert_false(is_open(fd));
}

static void test_small_ones_at_once(void **state) {
    const size_t at_once[] = {0, CLOSING_FROM - 1};
    (void)state;
    assert_int_equal(closing_start(), 0);
    for (size_t i = 0; i < sizeof at_once / sizeof at_once[0]; i++) {
        int fd = new_file();
        closing_close(fd, at_once[i]);
        assert_false(is_open(fd));
    }
    closing_stop();
}

static void test_closed_while_the_thread_runs(void **state) {
    unsigned before = count_descriptors();
    (void)state;
    assert_int_equal(closing_start(), 0);
    unsigned started = count_descriptors();
    for (int i = 0; i < 100; i++)
        closing_close(new_file(), CLOSING_FROM);
    closing_close(new_file(), CLOSING_MOST); /* it waits, too, however large it is */
    closing_close(new_file(), SIZE_MAX);     /* too many wait, or it waits, too */
    for (int tries = 0; tries < 1000 && count_descriptors() != started; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    assert_int_equal(count_descriptors(), started);
    closing_stop();
    assert_int_equal(count_descriptors(), before);
}

static void test_stop_waits_for_all(void **state) {
    unsigned before = count_descriptors();
    (void)state;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(closing_start(), 0);
        for (int i = 0; i < 500; i++)
            closing_close(new_file(), CLOSING_FROM);
        closing_stop();
        assert_int_equal(count_descriptors(), before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once_without_the_thread),
        cmocka_unit_test(test_small_ones_at_once),
        cmocka_unit_test(test_closed_while_the_thread_runs),
        cmocka_unit_test(test_stop_waits_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
