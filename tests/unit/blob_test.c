/* blob_test.c: shared bytes on the heap and in a memfd, pool/blob.c, and the pages of the scoreboard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "pool/blob.h"
#include "pool/scoreboard.h"

enum { SIZE = 20000 }; /* some pages */

static unsigned char bytes[SIZE];

static int fill(void **state) {
    (void)state;
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    return 0;
}

static int nothing_is_held(void **state) {
    (void)state;
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

static struct blob *make_blob(bool on_heap) {
    if (on_heap)
        return blob_copy(bytes, SIZE);
    int fd = memfd_new("blob-test");
    assert_int_equal(memfd_write(fd, bytes, SIZE), 0);
    return blob_seal(fd, SIZE);
}

static void a_file_reads_as_any_blob_but_holds_no_memory(void **state) {
    (void)state;
    unsigned char some[100];
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = dup(fileno(file));
    fclose(file);
    assert_int_equal(memfd_write(fd, bytes, SIZE), 0);
    struct slice all = slice_all(blob_file(fd, SIZE));
    assert_int_equal(blob_held_bytes, 0);
    const unsigned char *mapped = slice_map(&all);
    assert_memory_equal(mapped, bytes, SIZE);
    slice_unmap(&all, mapped);
    assert_int_equal(slice_read(&all, 5000, some, sizeof some), 0);
    assert_memory_equal(some, bytes + 5000, sizeof some);
    slice_deinit(&all);
    assert_int_equal(blob_held_bytes, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void a_part_reads_as_the_bytes_it_stands_for(void **state) {
    (void)state;
    static const size_t offsets[] = {0, 1, 8, 4095, 4096, 4097, 12288, SIZE - 1, SIZE};
    for (int heap = 0; heap < 2; heap++) {
        struct slice all = slice_all(make_blob(heap));
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            size_t size = SIZE - offsets[i];
            unsigned char copy[SIZE];
            struct slice part = slice_part(&all, offsets[i], size);
            const unsigned char *mapped = slice_map(&part);
            assert_non_null(mapped);
            if (size > 0)
                assert_memory_equal(mapped, bytes + offsets[i], size);
            slice_unmap(&part, mapped);
            assert_int_equal(slice_read(&part, 0, copy, size), 0);
            if (size > 1)
                assert_int_equal(slice_read(&part, 1, copy, size - 1), 0);
            assert_int_equal(slice_read(&part, 1, copy, size), -1);
            assert_int_equal(slice_read(&part, SIZE_MAX, copy, 1), -1);
            assert_int_equal(slice_read(&part, 1, copy, SIZE_MAX), -1);
            slice_deinit(&part);
        }
        slice_deinit(&all);
    }
}

static void parts_of_parts_count_from_the_part(void **state) {
    (void)state;
    for (int heap = 0; heap < 2; heap++) {
        struct slice all = slice_all(make_blob(heap)), part = slice_part(&all, 5000, 3000);
        struct slice inner = slice_part(&part, 100, 50);
        slice_deinit(&all);
        slice_deinit(&part);
        unsigned char copy[50];
        assert_int_equal(slice_read(&inner, 0, copy, 50), 0);
        assert_memory_equal(copy, bytes + 5100, 50);
        slice_deinit(&inner);
    }
}

static void bytes_are_held_until_the_last_owner_has_gone(void **state) {
    (void)state;
    for (int heap = 0; heap < 2; heap++) {
        struct slice a = slice_all(make_blob(heap)), b = slice_ref(&a);
        int fd = a.blob->fd;
        slice_deinit(&a);
        slice_deinit(&a);
        assert_int_equal(blob_held_bytes, SIZE);
        assert_int_equal(slice_read(&b, 0, bytes, 1), 0);
        slice_deinit(&b);
        assert_int_equal(blob_held_bytes, 0);
        assert_true(heap || (fcntl(fd, F_GETFD) < 0 && errno == EBADF));
    }
}

static void an_empty_slice_is_readable(void **state) {
    (void)state;
    struct slice none = {NULL, 0, 0}, ref = slice_ref(&none);
    const unsigned char *mapped = slice_map(&ref);
    assert_non_null(mapped);
    assert_int_equal(slice_read(&ref, 0, bytes, 0), 0);
    assert_int_equal(slice_read(&ref, 0, bytes, 1), -1);
    slice_unmap(&ref, mapped);
    slice_deinit(&ref);
    blob_unref(NULL);
}

static void a_sealed_memfd_cannot_change_any_more(void **state) {
    (void)state;
    struct slice s = slice_all(make_blob(false));
    assert_int_equal(pwrite(s.blob->fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(s.blob->fd, 1), -1);
    assert_int_equal(ftruncate(s.blob->fd, 2 * SIZE), -1);
    assert_int_not_equal(fcntl(s.blob->fd, F_GETFD) & FD_CLOEXEC, 0);
    slice_deinit(&s);
}

static void what_cannot_be_sealed_is_closed(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_null(blob_seal(fds[0], 10));
    assert_true(fcntl(fds[0], F_GETFD) < 0 && errno == EBADF);
    close(fds[1]);
}

static void scoreboard_slots_are_pages_of_their_own(void **state) {
    (void)state;
    int fd = scoreboard_new(3);
    struct scoreboard_slot *a = scoreboard_map(fd, 1), *same = scoreboard_map(fd, 1), *b = scoreboard_map(fd, 2);
    atomic_store(&a->done, 7);
    atomic_store(&a->cancelled[63], 9);
    atomic_store(&b->done, 8);
    assert_int_equal(atomic_load(&same->done), 7);
    assert_int_equal(ftruncate(fd, 0), -1);
    scoreboard_clear(a);
    assert_int_equal(atomic_load(&same->done), 0);
    assert_int_equal(atomic_load(&same->cancelled[63]), 0);
    assert_int_equal(atomic_load(&b->done), 8);
    scoreboard_unmap(a);
    scoreboard_unmap(same);
    scoreboard_unmap(b);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fill, nothing_is_held)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_file_reads_as_any_blob_but_holds_no_memory),
        TEST(a_part_reads_as_the_bytes_it_stands_for),
        TEST(parts_of_parts_count_from_the_part),
        TEST(bytes_are_held_until_the_last_owner_has_gone),
        TEST(an_empty_slice_is_readable),
        TEST(a_sealed_memfd_cannot_change_any_more),
        TEST(what_cannot_be_sealed_is_closed),
        TEST(scoreboard_slots_are_pages_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
