/* wire_test.c: datagrams between the front end and its workers, pool/wire.c: what goes in comes out, what breaks the
 * rules is rejected, and no descriptor stays open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pool/wire.h"
#include "tests/unit/descriptors.h"

static int pair[2];
static unsigned char *buffer;
static unsigned descriptors;

static int open_pair(void **state) {
    int size = 4 << 20;
    (void)state;
    descriptors = count_descriptors();
    buffer = malloc(WIRE_MAX_DATAGRAM);
    if (buffer == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return -1;
    return setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* Whatever a test did, no descriptor and no blob is left. */
static int close_pair(void **state) {
    (void)state;
    close(pair[0]);
    close(pair[1]);
    free(buffer);
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* ---- senders that break the rules -------------------------------------------------------------------------------- */

static void send_raw(const void *bytes, size_t size, const int *fds, size_t n) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    char *copy = malloc(size + 1);
    memcpy(copy, bytes, size);
    struct iovec iov = {copy, size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    assert_int_equal(sendmsg(pair[0], &m, 0), size);
    free(copy);
}

static struct wire_header good_header(void) {
    return (struct wire_header){.version = WIRE_VERSION, .kind = WIRE_RUN, .ticket = 7};
}

/* A memfd of two pages, sealed or not. */
static int make_memfd(int seals) {
    char page[8192] = {0};
    int fd = memfd_new("wire-test");
    assert_int_equal(memfd_write(fd, page, sizeof page), 0);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

enum { ALL_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* The next datagram is rejected at its first frame, or at its bulk payload. */
static void assert_rejected(void) {
    struct wire_reader r;
    struct wire_frame f;
    struct slice bulk = {NULL, 0, 0};
    int got = wire_receive(pair[1], buffer, &r);
    if (got == 1) {
        got = wire_next(&r, &f);
        if (got == 1 && (f.header.flags & WIRE_BULK) != 0)
            got = wire_take_bulk(&r, &f, &bulk);
    }
    assert_int_equal(got, -1);
    assert_null(bulk.blob);
    wire_close_reader(&r);
}

static void assert_header_rejected(struct wire_header h) {
    char datagram[sizeof h + 64] = {0};
    memcpy(datagram, &h, sizeof h);
    send_raw(datagram, sizeof h, NULL, 0);
    assert_rejected();
}

static void headers_that_break_a_rule_are_rejected(void **state) {
    (void)state;
    struct wire_header h = good_header();
    h.version = WIRE_VERSION + 1;
    assert_header_rejected(h);
    h.version = 0;
    assert_header_rejected(h);
    h = good_header();
    h.flags = 2 * WIRE_ACCEPTS;
    assert_header_rejected(h);
    h = good_header();
    h.kind = WIRE_PING;
    h.attachments = 1;
    assert_header_rejected(h);
    h = good_header();
    h.bulk_size = 1;
    assert_header_rejected(h);
    h = good_header();
    h.bulk_offset = 1;
    assert_header_rejected(h);
}

static void kinds_that_no_peer_sends_are_rejected(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        struct wire_header h = good_header();
        h.kind = (uint8_t)kind;
        assert_false(wire_is_request(h.kind) && wire_is_reply(h.kind));
        if (!wire_is_request(h.kind) && !wire_is_reply(h.kind))
            assert_header_rejected(h);
    }
    assert_true(wire_is_request(WIRE_PLAN) && wire_is_request(WIRE_EXIT) && !wire_is_request(WIRE_READY));
    assert_true(wire_is_reply(WIRE_READY) && wire_is_reply(WIRE_PONG) && !wire_is_reply(WIRE_PLAN));
}

static void lengths_beyond_the_datagram_are_rejected(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 8, 64, WIRE_MAX_DATAGRAM, INT32_MAX, UINT32_MAX - 7, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct wire_header h = good_header();
        h.length = lengths[i];
        assert_header_rejected(h);
    }
}

static void an_unpadded_payload_is_rejected(void **state) {
    (void)state;
    struct wire_header h = good_header();
    char datagram[sizeof h + 8] = {0};
    h.length = 5;
    memcpy(datagram, &h, sizeof h);
    send_raw(datagram, sizeof h + 5, NULL, 0);
    assert_rejected();
    send_raw(datagram, sizeof h + 7, NULL, 0);
    assert_rejected();
}

static void truncated_headers_are_rejected(void **state) {
    (void)state;
    struct wire_header h = good_header();
    for (size_t size = 1; size < sizeof h; size++) {
        send_raw(&h, size, NULL, 0);
        assert_rejected();
    }
}

static void a_truncated_second_frame_is_rejected(void **state) {
    (void)state;
    struct wire_header two[2] = {good_header(), good_header()};
    struct wire_reader r;
    struct wire_frame f;
    send_raw(two, sizeof two - 1, NULL, 0);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(wire_next(&r, &f), -1);
    wire_close_reader(&r);
}

static void more_frames_than_allowed_are_rejected(void **state) {
    (void)state;
    struct wire_header many[WIRE_MAX_FRAMES + 1];
    struct wire_reader r;
    struct wire_frame f;
    for (int i = 0; i <= WIRE_MAX_FRAMES; i++)
        many[i] = good_header();
    send_raw(many, sizeof many, NULL, 0);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
    for (int i = 0; i < WIRE_MAX_FRAMES; i++)
        assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(wire_next(&r, &f), -1);
    wire_close_reader(&r);
}

static void a_datagram_that_is_too_long_is_rejected(void **state) {
    (void)state;
    struct wire_reader r;
    unsigned char *huge = calloc(1, WIRE_MAX_DATAGRAM + 1);
    int fd = make_memfd(ALL_SEALS);
    send_raw(huge, WIRE_MAX_DATAGRAM + 1, &fd, 1);
    assert_int_equal(wire_receive(pair[1], buffer, &r), -1);
    assert_int_equal(errno, EPROTO);
    wire_close_reader(&r);
    close(fd);
    free(huge);
}

static void more_than_one_descriptor_is_rejected(void **state) {
    (void)state;
    int fds[8];
    struct wire_reader r;
    struct wire_header h = good_header();
    h.flags = WIRE_BULK;
    for (int i = 0; i < 8; i++)
        fds[i] = make_memfd(ALL_SEALS);
    for (size_t n = 2; n <= 8; n++) {
        send_raw(&h, sizeof h, fds, n);
        assert_int_equal(wire_receive(pair[1], buffer, &r), -1);
        assert_int_equal(errno, EPROTO);
        wire_close_reader(&r);
    }
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}

static void a_descriptor_that_was_not_announced_is_rejected(void **state) {
    (void)state;
    int fd = make_memfd(ALL_SEALS);
    struct wire_header h[2] = {good_header(), good_header()};
    send_raw(h, sizeof h[0], &fd, 1);
    assert_rejected();
    h[0].flags = h[1].flags = WIRE_BULK; /* it must travel alone */
    send_raw(h, sizeof h, &fd, 1);
    assert_rejected();
    send_raw("", 1, &fd, 1);
    assert_rejected();
    close(fd);
}

static void an_announced_descriptor_that_is_missing_is_rejected(void **state) {
    (void)state;
    struct wire_header h = good_header();
    h.flags = WIRE_BULK;
    assert_header_rejected(h);
}

static void memory_that_can_still_change_is_rejected(void **state) {
    (void)state;
    static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_WRITE,
                                F_SEAL_GROW | F_SEAL_WRITE};
    struct wire_header h = good_header();
    h.flags = WIRE_BULK;
    h.bulk_size = 1;
    for (size_t i = 0; i < sizeof seals / sizeof seals[0]; i++) {
        int fd = make_memfd(seals[i]);
        send_raw(&h, sizeof h, &fd, 1);
        assert_rejected();
        close(fd);
    }
}

static void descriptors_that_are_no_memory_are_rejected(void **state) {
    (void)state;
    struct wire_header h = good_header();
    int fds[2];
    h.flags = WIRE_BULK;
    assert_int_equal(pipe(fds), 0);
    send_raw(&h, sizeof h, &fds[0], 1);
    assert_rejected();
    close(fds[0]);
    close(fds[1]);
    fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    send_raw(&h, sizeof h, &fds[0], 1);
    assert_rejected();
    close(fds[0]);
}

static void parts_outside_the_memory_are_rejected(void **state) {
    (void)state;
    static const uint64_t parts[][2] = {{0, 8193},
                                        {8192, 1},
                                        {8193, 0},
                                        {1, 8192},
                                        {UINT64_MAX, 1},
                                        {1, UINT64_MAX},
                                        {UINT64_MAX, UINT64_MAX},
                                        {4096, UINT64_MAX - 4095}};
    struct wire_header h = good_header();
    int fd = make_memfd(ALL_SEALS);
    h.flags = WIRE_BULK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        h.bulk_offset = parts[i][0];
        h.bulk_size = parts[i][1];
        send_raw(&h, sizeof h, &fd, 1);
        assert_rejected();
    }
    close(fd);
}

static void random_bytes_never_do_harm(void **state) {
    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[256];
        size_t size = 1 + (size_t)random() % sizeof bytes;
        struct wire_header h = good_header();
        struct wire_reader r;
        struct wire_frame f;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)random();
        h.length = (uint32_t)random() % 80;
        if (random() % 2 == 0)
            memcpy(bytes, &h, size < sizeof h ? size : sizeof h);
        send_raw(bytes, size, NULL, 0);
        assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
        int got = wire_next(&r, &f);
        for (; got == 1; got = wire_next(&r, &f))
            assert_true(f.inlined + f.header.length <= buffer + size);
        wire_close_reader(&r);
    }
}

/* ---- what goes in comes out -------------------------------------------------------------------------------------- */

static void assert_frame(struct wire_reader *r, uint64_t ticket, const char *text) {
    struct wire_frame f;
    assert_int_equal(wire_next(r, &f), 1);
    assert_int_equal(f.header.ticket, ticket);
    assert_int_equal(f.header.length, strlen(text));
    assert_memory_equal(f.inlined, text, strlen(text));
    assert_int_equal((f.inlined - buffer) % 8, 0);
}

static void frames_come_out_as_they_went_in(void **state) {
    (void)state;
    struct wire_writer w;
    struct wire_reader r;
    struct wire_frame f;
    assert_int_equal(wire_open_writer(&w), 0);
    assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_RUN, .ticket = 1, .type = 3, .attempt = 2}, "abc",
                              3, "de", 2, NULL),
                     0);
    assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_PING, .ticket = 2}, NULL, 0, NULL, 0, NULL), 0);
    assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_PLAN, .ticket = 3}, NULL, 0, "12345678", 8, NULL),
                     0);
    assert_int_equal(wire_flush(&w, pair[0]), 0);
    assert_int_equal(w.frames, 0);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
    assert_frame(&r, 1, "abcde");
    assert_frame(&r, 2, "");
    assert_frame(&r, 3, "12345678");
    assert_int_equal(wire_next(&r, &f), 0);
    wire_close_reader(&r);
    wire_close_writer(&w);
}

static void a_bulk_payload_passes_with_its_bytes(void **state) {
    (void)state;
    struct wire_writer w;
    struct wire_reader r;
    struct wire_frame f;
    struct slice bulk;
    int fd = memfd_new("wire-test");
    assert_int_equal(memfd_write(fd, "0123456789", 10), 0);
    struct slice all = slice_all(blob_seal(fd, 10)), part = slice_part(&all, 3, 4);
    assert_int_equal(wire_open_writer(&w), 0);
    assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_PART, .ticket = 9}, "head", 4, NULL, 0, &part), 0);
    assert_false(wire_fits(&w, 0, false));
    assert_int_equal(wire_flush(&w, pair[0]), 0);
    slice_deinit(&part);
    slice_deinit(&all);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_memory_equal(f.inlined, "head", 4);
    assert_int_equal(wire_take_bulk(&r, &f, &bulk), 0);
    const unsigned char *bytes = slice_map(&bulk);
    assert_int_equal(bulk.size, 4);
    assert_memory_equal(bytes, "3456", 4);
    slice_unmap(&bulk, bytes);
    assert_int_equal(wire_next(&r, &f), 0);
    slice_deinit(&bulk);
    wire_close_reader(&r);
    wire_close_writer(&w);
}

static void a_writer_takes_what_fits_and_no_more(void **state) {
    (void)state;
    struct wire_writer w;
    struct wire_header h = {.kind = WIRE_PING};
    assert_int_equal(wire_open_writer(&w), 0);
    assert_true(wire_fits(&w, WIRE_MAX_DATAGRAM - sizeof h, false));
    assert_false(wire_fits(&w, WIRE_MAX_DATAGRAM - sizeof h + 1, false));
    for (int i = 0; i < WIRE_MAX_FRAMES; i++) {
        assert_true(wire_fits(&w, 8, false));
        assert_int_equal(wire_fits(&w, 8, true), i == 0);
        assert_int_equal(wire_put(&w, &h, "12345678", 8, NULL, 0, NULL), 0);
    }
    assert_false(wire_fits(&w, 0, false));
    wire_close_writer(&w);
}

/* Whoever forgets to look for room is told, and nothing is written beyond the datagram. */
static void a_frame_without_room_is_refused(void **state) {
    (void)state;
    static const char bytes[WIRE_MAX_DATAGRAM];
    struct wire_writer w;
    struct wire_header h = good_header();
    struct slice bulk = slice_all(blob_adopt(make_memfd(ALL_SEALS), 8192));
    assert_int_equal(wire_open_writer(&w), 0);
    assert_int_equal(wire_put(&w, &h, bytes, sizeof bytes, NULL, 0, NULL), -1); /* there is a header, too */
    assert_int_equal(wire_put(&w, &h, bytes, SIZE_MAX, bytes, 1, NULL), -1);
    assert_int_equal(wire_put(&w, &h, bytes, 8, bytes, SIZE_MAX - 7, NULL), -1);
    assert_int_equal(w.frames, 0);
    for (int i = 0; i < WIRE_MAX_FRAMES; i++)
        assert_int_equal(wire_put(&w, &h, "12345678", 8, NULL, 0, NULL), 0);
    size_t size = w.size;
    assert_int_equal(wire_put(&w, &h, NULL, 0, NULL, 0, NULL), -1);
    assert_int_equal(wire_put(&w, &h, NULL, 0, NULL, 0, &bulk), -1);
    assert_int_equal(w.size, size);
    wire_drop(&w);
    assert_int_equal(wire_put(&w, &h, NULL, 0, NULL, 0, &bulk), 0);
    assert_int_equal(wire_put(&w, &h, NULL, 0, NULL, 0, NULL), -1);
    wire_close_writer(&w);
    assert_int_equal(wire_put(&w, &h, NULL, 0, NULL, 0, NULL), -1); /* it is closed */
    slice_deinit(&bulk);
}

static void a_full_socket_loses_nothing(void **state) {
    (void)state;
    struct wire_writer w;
    struct wire_reader r;
    struct wire_frame f;
    char payload[1024] = {0};
    uint64_t sent = 0, received = 0;
    assert_int_equal(wire_open_writer(&w), 0);
    for (;; sent++) {
        assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_PART, .ticket = sent}, payload, sizeof payload,
                                  NULL, 0, NULL),
                         0);
        if (wire_flush(&w, pair[0]) != 0)
            break;
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(w.frames, 1);
    while (wire_receive(pair[1], buffer, &r) == 1) {
        assert_int_equal(wire_next(&r, &f), 1);
        assert_int_equal(f.header.ticket, received++);
        if (w.frames == 1 && wire_flush(&w, pair[0]) == 0)
            sent++;
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(received, sent);
    wire_close_writer(&w);
}

static void a_closed_peer_is_neither_a_datagram_nor_an_error(void **state) {
    (void)state;
    struct wire_reader r;
    struct wire_writer w;
    assert_int_equal(wire_receive(pair[1], buffer, &r), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(wire_open_writer(&w), 0);
    assert_int_equal(wire_put(&w, &(struct wire_header){.kind = WIRE_PING}, NULL, 0, NULL, 0, NULL), 0);
    shutdown(pair[0], SHUT_RDWR);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 0);
    assert_int_equal(wire_flush(&w, pair[0]), -1);
    assert_int_equal(errno, EPIPE);
    wire_close_writer(&w);
}

/* The kernel reports the reset before it gives the datagrams in the queue. */
static void datagrams_of_a_peer_that_left_without_reading_all_are_read(void **state) {
    (void)state;
    struct wire_header h = good_header();
    struct wire_reader r;
    struct wire_frame f;
    assert_int_equal(send(pair[1], "unread", 6, 0), 6);
    send_raw(&h, sizeof h, NULL, 0);
    close(pair[0]);
    pair[0] = dup(pair[1]); /* for close_pair */
    assert_int_equal(wire_receive(pair[1], buffer, &r), 1);
    assert_int_equal(wire_next(&r, &f), 1);
    wire_close_reader(&r);
    assert_int_equal(wire_receive(pair[1], buffer, &r), 0);
}

static void control_messages_carry_two_descriptors_or_none(void **state) {
    (void)state;
    int fds[2], got[2], one;
    struct zygote_report out = {.version = WIRE_VERSION, .kind = ZYGOTE_SPAWNED, .pid = 5}, in;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(wire_send_control(pair[0], &out, sizeof out, fds), 0);
    assert_int_equal(wire_receive_control(pair[1], &in, sizeof in, got), 1);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_not_equal(fcntl(got[0], F_GETFD) & FD_CLOEXEC, 0);
    close(got[0]);
    close(got[1]);
    assert_int_equal(wire_send_control(pair[0], &out, sizeof out, NULL), 0);
    assert_int_equal(wire_receive_control(pair[1], &in, sizeof in, got), 1);
    assert_int_equal(got[0], -1);
    one = fds[0];
    send_raw(&out, sizeof out, &one, 1);
    assert_int_equal(wire_receive_control(pair[1], &in, sizeof in, got), -1);
    send_raw(&out, sizeof out - 1, fds, 2);
    assert_int_equal(wire_receive_control(pair[1], &in, sizeof in, got), -1);
    assert_int_equal(wire_send_control(pair[0], &out, sizeof out, NULL), 0);
    assert_int_equal(wire_receive_control(pair[1], &in, sizeof in - 8, got), -1); /* longer than expected */
    assert_int_equal(errno, EPROTO);
    close(fds[0]);
    close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(headers_that_break_a_rule_are_rejected),
        TEST(kinds_that_no_peer_sends_are_rejected),
        TEST(lengths_beyond_the_datagram_are_rejected),
        TEST(an_unpadded_payload_is_rejected),
        TEST(truncated_headers_are_rejected),
        TEST(a_truncated_second_frame_is_rejected),
        TEST(more_frames_than_allowed_are_rejected),
        TEST(a_datagram_that_is_too_long_is_rejected),
        TEST(more_than_one_descriptor_is_rejected),
        TEST(a_descriptor_that_was_not_announced_is_rejected),
        TEST(an_announced_descriptor_that_is_missing_is_rejected),
        TEST(memory_that_can_still_change_is_rejected),
        TEST(descriptors_that_are_no_memory_are_rejected),
        TEST(parts_outside_the_memory_are_rejected),
        TEST(random_bytes_never_do_harm),
        TEST(frames_come_out_as_they_went_in),
        TEST(a_bulk_payload_passes_with_its_bytes),
        TEST(a_writer_takes_what_fits_and_no_more),
        TEST(a_frame_without_room_is_refused),
        TEST(a_full_socket_loses_nothing),
        TEST(a_closed_peer_is_neither_a_datagram_nor_an_error),
        TEST(datagrams_of_a_peer_that_left_without_reading_all_are_read),
        TEST(control_messages_carry_two_descriptors_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
