/* program_frame_test.c: frames over a socket pair, handlers/program/frame.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handlers/program/frame.h"
#include "tests/unit/descriptors.h"

static struct frames ours;
static int theirs;
static unsigned descriptors;

static int open_pair(void **state) {
    int fds[2];
    (void)state;
    descriptors = count_descriptors();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    frames_open(&ours, fds[0]);
    theirs = fds[1];
    return 0;
}

static int close_pair(void **state) {
    (void)state;
    frames_close(&ours);
    assert_int_equal(ours.fd, -1);
    if (theirs >= 0)
        close(theirs);
    assert_int_equal(count_descriptors(), descriptors);
    return 0;
}

static void say(const void *bytes, size_t size) {
    assert_int_equal(send(theirs, bytes, size, MSG_NOSIGNAL), size);
}

static void say_head(uint32_t json, uint32_t binary) {
    uint32_t head[2] = {htole32(json), htole32(binary)};
    say(head, sizeof head);
}

static void put(const char *json) {
    size_t start;
    buf_puts(frames_begin(&ours, &start), json);
    assert_true(frames_end(&ours, start));
}

static void expect(const char *json) {
    struct bytes got;
    assert_int_equal(frames_next(&ours, &got), 1);
    assert_int_equal(got.size, strlen(json));
    assert_memory_equal(got.data, json, got.size);
}

static void expect_none(int what) {
    struct bytes got;
    assert_int_equal(frames_next(&ours, &got), what);
}

static void a_frame_is_two_sizes_and_the_json(void **state) {
    char got[64];
    (void)state;
    put("{}");
    put("{\"a\":1}");
    assert_true(frames_wait_to_send(&ours));
    assert_int_equal(frames_send(&ours), 0);
    assert_false(frames_wait_to_send(&ours));
    assert_int_equal(recv(theirs, got, sizeof got, 0), 8 + 2 + 8 + 7);
    assert_memory_equal(got, "\2\0\0\0\0\0\0\0{}\7\0\0\0\0\0\0\0{\"a\":1}", 8 + 2 + 8 + 7);
}

static void frames_that_come_in_pieces_are_put_together(void **state) {
    static const char bytes[] = "\2\0\0\0\0\0\0\0{}\7\0\0\0\0\0\0\0{\"a\":1}";
    (void)state;
    expect_none(0);
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        assert_int_equal(frames_receive(&ours), 0); /* nothing has come */
        say(bytes + i, 1);
        assert_int_equal(frames_receive(&ours), 0);
        if (i == 9)
            expect("{}");
        else if (i + 1 < sizeof bytes - 1)
            expect_none(0);
    }
    expect("{\"a\":1}");
    expect_none(0);
    for (int i = 0; i < 3; i++)
        say(bytes, sizeof bytes - 1);
    assert_int_equal(frames_receive(&ours), 0);
    for (int i = 0; i < 3; i++) {
        expect("{}");
        expect("{\"a\":1}");
    }
    expect_none(0);
}

static void a_large_frame_passes_through_a_socket_that_is_full(void **state) {
    size_t size = 5 << 20, start;
    struct frames far;
    (void)state;
    frames_open(&far, theirs);
    theirs = -1;
    char *text = malloc(size);
    memset(text, 'x', size);
    buf_append(frames_begin(&ours, &start), text, size);
    assert_true(frames_end(&ours, start));
    put("{\"after\":1}");
    struct bytes got;
    int have;
    while ((have = frames_next(&far, &got)) == 0) {
        assert_int_equal(frames_send(&ours), 0);
        assert_int_equal(frames_receive(&far), 0);
    }
    assert_int_equal(have, 1);
    assert_int_equal(got.size, size);
    assert_memory_equal(got.data, text, size);
    while ((have = frames_next(&far, &got)) == 0) {
        assert_int_equal(frames_send(&ours), 0);
        assert_int_equal(frames_receive(&far), 0);
    }
    assert_int_equal(got.size, strlen("{\"after\":1}"));
    assert_false(frames_wait_to_send(&ours));
    free(text);
    frames_close(&far);
}

static void a_frame_that_is_too_large_is_taken_back(void **state) {
    size_t start;
    char got[64];
    (void)state;
    put("{}");
    struct buf *to = frames_begin(&ours, &start);
    assert_non_null(buf_reserve(to, (size_t)FRAME_MAX_JSON + 1));
    to->size += (size_t)FRAME_MAX_JSON + 1;
    assert_false(frames_end(&ours, start));
    put("[]");
    assert_int_equal(frames_send(&ours), 0);
    assert_int_equal(recv(theirs, got, sizeof got, 0), 20);
    assert_memory_equal(got, "\2\0\0\0\0\0\0\0{}\2\0\0\0\0\0\0\0[]", 20);
}

static void sizes_that_break_the_rules_are_refused_at_once(void **state) {
    static const uint32_t bad[][2] = {{0, 0},          {1, 0}, {FRAME_MAX_JSON + 1, 0}, {UINT32_MAX, 0}, {2, 1},
                                      {2, UINT32_MAX}, {0, 2}, {UINT32_MAX, UINT32_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        close_pair(NULL);
        open_pair(NULL);
        say_head(bad[i][0], bad[i][1]);
        assert_int_equal(frames_receive(&ours), 0);
        expect_none(-1);
        say("{}", 2);
        assert_int_equal(frames_receive(&ours), 0);
        expect_none(-1);
    }
}

static void the_largest_size_is_taken(void **state) {
    (void)state;
    say_head(FRAME_MAX_JSON, 0);
    assert_int_equal(frames_receive(&ours), 0);
    expect_none(0);
}

static void the_end_and_an_error_are_told(void **state) {
    (void)state;
    say("\2\0\0\0\0\0\0\0{}\2\0", 12);
    close(theirs);
    theirs = -1;
    assert_int_equal(frames_receive(&ours), 0);
    expect("{}");
    expect_none(0);
    assert_int_equal(frames_receive(&ours), -1);
    put("{}");
    assert_int_equal(frames_send(&ours), -1);
}

static void a_frame_brings_two_descriptors(void **state) {
    char bytes[64], control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec piece = {bytes, sizeof bytes};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fds[2], got[2];
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    put("{\"kind\":\"fork\"}");
    assert_int_equal(frames_send_with(&ours, fds), 0);
    assert_false(frames_wait_to_send(&ours));
    assert_int_equal(recvmsg(theirs, &m, MSG_CMSG_CLOEXEC), 8 + 15);
    memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
    assert_int_equal(write(got[1], "x", 1), 1);
    assert_int_equal(read(fds[0], bytes, sizeof bytes), 1);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(got[i]);
    }
    close(theirs);
    theirs = -1;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    put("{}");
    assert_int_equal(frames_send_with(&ours, fds), -1);
    assert_false(frames_wait_to_send(&ours)); /* it is taken back */
    close(fds[0]);
    close(fds[1]);
}

/* Sends bytes of ours with the reading end of a pipe, so many times. */
static void say_with(const void *bytes, size_t size, unsigned count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    int fds[2], list[16];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    for (unsigned i = 0; i < count; i++)
        list[i] = fds[0];
    struct iovec piece = {(void *)(uintptr_t)bytes, size};
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), list, count * sizeof(int));
    assert_int_equal(sendmsg(theirs, &msg, MSG_NOSIGNAL), size);
    close(fds[0]);
    close(fds[1]);
}

static void a_binary_part_and_descriptors_come_with_a_frame(void **state) {
    static const char frame[] = "\2\0\0\0\3\0\0\0{}abc";
    (void)state;
    ours.takes_binary = ours.takes_fds = true;
    say_with(frame, sizeof frame - 2, 1);
    assert_int_equal(frames_receive(&ours), 0);
    expect_none(0);
    say("c", 1);
    assert_int_equal(frames_receive(&ours), 0);
    expect("{}");
    assert_int_equal(ours.binary.size, 3);
    assert_memory_equal(ours.binary.data, "abc", 3);
    int fd = frames_take_fd(&ours);
    assert_true(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
    assert_int_equal(frames_take_fd(&ours), -1);
    say_head(2, FRAME_MAX_BINARY + 1);
    assert_int_equal(frames_receive(&ours), 0);
    expect_none(-1);
}

static void a_flood_of_descriptors_is_refused(void **state) {
    (void)state;
    ours.takes_binary = ours.takes_fds = true;
    say_with("\2\0\0\0\0\0\0\0{}", 10, FRAME_MAX_HELD);
    assert_int_equal(frames_receive(&ours), 0);
    expect("{}");
    say_with("\2\0\0\0\0\0\0\0{}", 10, 1);
    assert_int_equal(frames_receive(&ours), 0);
    expect_none(-1);
    close_pair(NULL);
    open_pair(NULL);
    ours.takes_fds = true;
    say_with("\2\0\0\0\0\0\0\0{}", 10, 16); /* more than there is room for at once */
    assert_int_equal(frames_receive(&ours), 0);
    expect_none(-1);
}

static void nobody_asked_for_descriptors_so_none_are_kept(void **state) {
    (void)state;
    say_with("\2\0\0\0\0\0\0\0{}", 10, 3);
    assert_int_equal(frames_receive(&ours), 0);
    expect("{}");
    assert_int_equal(frames_take_fd(&ours), -1);
}

static void each_frame_takes_its_own_descriptors_along(void **state) {
    char got[64], control[CMSG_SPACE(4 * sizeof(int))];
    size_t start, dropped;
    int pipes[2];
    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    put("{}");
    buf_puts(frames_begin(&ours, &start), "{\"a\":1}");
    assert_true(frames_attach(&ours, start, pipes[0]) && frames_attach(&ours, start, pipes[1]));
    frames_begin_binary(&ours);
    buf_puts(&ours.out, "xyz");
    assert_true(frames_end(&ours, start));
    buf_puts(frames_begin(&ours, &dropped), "{}");
    assert_true(frames_attach(&ours, dropped, open("/dev/null", O_RDONLY | O_CLOEXEC)));
    frames_drop(&ours, dropped);
    put("{}");
    assert_int_equal(frames_send(&ours), 0);
    assert_false(frames_wait_to_send(&ours));
    /* The kernel gives bytes without descriptors together with those that follow and have some. */
    struct iovec piece = {got, sizeof got};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    assert_int_equal(recvmsg(theirs, &msg, MSG_CMSG_CLOEXEC), 10 + 8 + 7 + 3 + 10);
    assert_memory_equal(got + 10, "\7\0\0\0\3\0\0\0{\"a\":1}xyz\2\0\0\0\0\0\0\0{}", 28);
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    assert_non_null(c);
    assert_int_equal(c->cmsg_len, CMSG_LEN(2 * sizeof(int)));
    memcpy(pipes, CMSG_DATA(c), sizeof pipes);
    close(pipes[0]);
    close(pipes[1]);
    /* Those of a frame that is not sent are closed with the conversation: close_pair counts them. */
    buf_puts(frames_begin(&ours, &start), "{}");
    assert_true(frames_attach(&ours, start, open("/dev/null", O_RDONLY | O_CLOEXEC)));
    assert_true(frames_end(&ours, start));
}

#define FRAME_TEST(f) cmocka_unit_test_setup_teardown(f, open_pair, close_pair)

int main(void) {
    const struct CMUnitTest tests[] = {
        FRAME_TEST(a_frame_is_two_sizes_and_the_json),
        FRAME_TEST(frames_that_come_in_pieces_are_put_together),
        FRAME_TEST(a_large_frame_passes_through_a_socket_that_is_full),
        FRAME_TEST(a_frame_that_is_too_large_is_taken_back),
        FRAME_TEST(sizes_that_break_the_rules_are_refused_at_once),
        FRAME_TEST(the_largest_size_is_taken),
        FRAME_TEST(the_end_and_an_error_are_told),
        FRAME_TEST(a_frame_brings_two_descriptors),
        FRAME_TEST(a_binary_part_and_descriptors_come_with_a_frame),
        FRAME_TEST(a_flood_of_descriptors_is_refused),
        FRAME_TEST(nobody_asked_for_descriptors_so_none_are_kept),
        FRAME_TEST(each_frame_takes_its_own_descriptors_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
