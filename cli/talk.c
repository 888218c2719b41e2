/* talk.c: see talk.h. Process: the client. */
#include "cli/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/output.h"

#define HEAD        8
#define READ_BYTES  65536
#define MAX_INTEGER INT64_C(9007199254740991) /* 2^53 - 1 */
#define DESCRIPTORS 8                         /* that one message can bring; the kernel closes more */

void talk_open(struct talk *t, int fd) {
    *t = (struct talk){.fd = fd};
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

void talk_close(struct talk *t) {
    if (t->fd >= 0)
        close(t->fd);
    buf_deinit(&t->in);
    *t = (struct talk){.fd = -1, .ended = true};
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void write_u32(char *to, uint32_t n) {
    for (int i = 0; i < 4; i++)
        to[i] = (char)(n >> (8 * i) & 0xFF);
}

void talk_frame(json_t *message, struct buf *bytes) {
    char head[HEAD] = {0};
    char *text = json_dumps(message, JSON_COMPACT);
    size_t size = text != NULL ? strlen(text) : 0;
    *bytes = (struct buf){0};
    write_u32(head, (uint32_t)size);
    buf_append(bytes, head, HEAD);
    buf_append(bytes, text, size);
    free(text);
    json_decref(message);
}

/* Takes what has come. False: nothing had come. */
static bool receive_some(struct talk *t) {
    char *to = buf_reserve(&t->in, READ_BYTES);
    char control[CMSG_SPACE(DESCRIPTORS * sizeof(int))] __attribute__((aligned(sizeof(size_t))));
    struct iovec part = {to, READ_BYTES};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (to == NULL) {
        t->ended = true; /* memory ran out */
        return true;
    }
    ssize_t n = recvmsg(t->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        int fds[DESCRIPTORS];
        size_t size = c->cmsg_len - CMSG_LEN(0);
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || size > sizeof fds)
            continue;
        memcpy(fds, CMSG_DATA(c), size);
        for (size_t i = 0; i < size / sizeof fds[0]; i++)
            close(fds[i]);
        t->descriptor = true;
    }
    t->ended = n <= 0;
    t->in.size += n > 0 ? (size_t)n : 0;
    return true;
}

/* Sends with ancillary data, once. What the program says meanwhile is received: it may wait for that itself. */
static int send_all(struct talk *t, const char *bytes, size_t size, char *control, size_t control_size,
                    int64_t deadline_ns) {
    while (size > 0) {
        struct iovec part = {(char *)(uintptr_t)bytes, size};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_size};
        ssize_t n = t->fd < 0 ? -1 : sendmsg(t->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            control = NULL;
            control_size = 0;
            bytes += n;
            size -= (size_t)n;
            continue;
        }
        if (t->fd < 0 || (errno != EAGAIN && errno != EINTR)) {
            errno = EPIPE;
            return -1;
        }
        int events = output_poll(t->fd, t->ended ? POLLOUT : POLLIN | POLLOUT, deadline_ns);
        if (events == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        if ((events & POLLIN) != 0)
            receive_some(t);
    }
    return 0;
}

int talk_send(struct talk *t, const char *bytes, size_t size, int64_t deadline_ns) {
    return send_all(t, bytes, size, NULL, 0, deadline_ns);
}

int talk_send_message(struct talk *t, json_t *message, int64_t deadline_ns) {
    struct buf bytes;
    talk_frame(message, &bytes);
    int sent = bytes.failed ? -1 : talk_send(t, bytes.data, bytes.size, deadline_ns);
    buf_deinit(&bytes);
    return sent;
}

int talk_send_with(struct talk *t, json_t *message, const int fds[2], int64_t deadline_ns) {
    char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(sizeof(size_t)))) = {0};
    struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
    struct buf bytes;
    talk_frame(message, &bytes);
    int sent = bytes.failed ? -1 : send_all(t, bytes.data, bytes.size, control, sizeof control, deadline_ns);
    buf_deinit(&bytes);
    return sent;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static uint32_t read_u32(const char *from) {
    uint32_t n = 0;
    for (int i = 3; i >= 0; i--)
        n = n << 8 | (unsigned char)from[i];
    return n;
}

/* False: a number in it is an integer beyond ±(2^53-1). */
static bool has_small_integers(const json_t *value) {
    const char *name;
    json_t *part;
    size_t i;
    if (json_is_integer(value))
        return json_integer_value(value) <= MAX_INTEGER && json_integer_value(value) >= -MAX_INTEGER;
    json_array_foreach(value, i, part) {
        if (!has_small_integers(part))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, part) {
        if (!has_small_integers(part))
            return false;
    }
    return true;
}

static enum talk_result parse(const char *text, size_t size, json_t **message, struct buf *why) {
    json_error_t error;
    *message = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool overflow = *message == NULL && json_error_code(&error) == json_error_numeric_overflow;
    if (overflow || (*message != NULL && !has_small_integers(*message)))
        buf_puts(why, "a frame has an integer beyond ±(2^53-1); write it as a string of decimal digits");
    else if (*message == NULL)
        buf_printf(why, "a frame has to be JSON in UTF-8, and this one is not (%s)", error.text);
    else if (!json_is_object(*message))
        buf_puts(why, "a frame has to be a JSON object, and this one is another value");
    else if (!json_is_string(json_object_get(*message, "kind")))
        buf_puts(why, "a frame has to have a member \"kind\", a string");
    else
        return TALK_MESSAGE;
    buf_printf(why, "; the frame: %.*s", size < 200 ? (int)size : 200, text);
    json_decref(*message);
    *message = NULL;
    return TALK_WRONG;
}

/* TALK_LATE: the frame is not complete. */
static enum talk_result take_frame(struct talk *t, json_t **message, struct buf *why) {
    if (t->descriptor) {
        buf_puts(why, "a program must not send descriptors, and this one has");
        return TALK_WRONG;
    }
    if (t->in.size < HEAD)
        return TALK_LATE;
    uint32_t size = read_u32(t->in.data), binary = read_u32(t->in.data + 4);
    if (size < 2 || size > TALK_MESSAGE_MAX || binary != 0) {
        buf_printf(why,
                   "a frame begins with two u32, little endian: the size of the JSON, 2 to %" PRIu32
                   ", and 0; these were %" PRIu32 " and %" PRIu32,
                   TALK_MESSAGE_MAX, size, binary);
        return TALK_WRONG;
    }
    if (t->in.size - HEAD < size)
        return TALK_LATE;
    enum talk_result result = parse(t->in.data + HEAD, size, message, why);
    t->in.size -= HEAD + size;
    memmove(t->in.data, t->in.data + HEAD + size, t->in.size);
    return result;
}

enum talk_result talk_receive(struct talk *t, int64_t deadline_ns, json_t **message, struct buf *why) {
    *message = NULL;
    for (;;) {
        enum talk_result result = take_frame(t, message, why);
        if (result != TALK_LATE)
            return result;
        if (t->ended && t->in.size > 0) {
            buf_printf(why, "the stream has ended in the middle of a frame, after %zu bytes of it", t->in.size);
            return TALK_WRONG;
        }
        if (t->ended)
            return TALK_END;
        if (!receive_some(t) && output_poll(t->fd, POLLIN, deadline_ns) == 0)
            return TALK_LATE;
    }
}
