/* frame.c: see frame.h. It runs in the zygote and in workers. */
#include "handlers/program/frame.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE  (64 * 1024) /* at least so much room is there for what comes */
#define KEPT_BYTES (1024 * 1024)

void frames_open(struct frames *f, int fd) {
    *f = (struct frames){.fd = fd};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void frames_close(struct frames *f) {
    if (f->fd >= 0)
        close(f->fd);
    buf_deinit(&f->out);
    buf_deinit(&f->in);
    *f = (struct frames){.fd = -1};
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

struct buf *frames_begin(struct frames *f, size_t *start) {
    static const char head[FRAME_HEAD];
    *start = f->out.size;
    buf_append(&f->out, head, sizeof head);
    return &f->out;
}

bool frames_end(struct frames *f, size_t start) {
    size_t size = f->out.size - start - FRAME_HEAD;
    if (f->out.failed || size > FRAME_MAX_JSON) {
        f->out.failed = false;
        f->out.size = start;
        return false;
    }
    uint32_t head[2] = {htole32((uint32_t)size), 0};
    memcpy(f->out.data + start, head, sizeof head);
    return true;
}

bool frames_wait_to_send(const struct frames *f) {
    return f->sent < f->out.size;
}

/* Gives the memory of a large frame back. */
static void clear(struct buf *b) {
    if (b->capacity > KEPT_BYTES)
        buf_deinit(b);
    else
        buf_clear(b);
}

int frames_send(struct frames *f) {
    while (frames_wait_to_send(f)) {
        ssize_t n = send(f->fd, f->out.data + f->sent, f->out.size - f->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        f->sent += (size_t)n;
    }
    clear(&f->out);
    f->sent = 0;
    return 0;
}

int frames_send_with(struct frames *f, const int fds[2]) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec piece = {f->out.data + f->sent, f->out.size - f->sent};
    struct msghdr m = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
    ssize_t n = sendmsg(f->fd, &m, MSG_NOSIGNAL);
    if (n < 0) {
        int error = errno;
        f->out.size = f->sent;
        errno = error;
        return -1;
    }
    f->sent += (size_t)n;
    return frames_send(f);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* The size of the JSON of the frame that begins in `in`; 0: its head is not whole yet. */
static uint32_t json_size(const struct frames *f, uint32_t *binary) {
    uint32_t head[2];
    if (f->in.size - f->taken < FRAME_HEAD)
        return 0;
    memcpy(head, f->in.data + f->taken, sizeof head);
    *binary = le32toh(head[1]);
    return le32toh(head[0]);
}

/* Moves what is not used up to the front, and makes room for the rest of a frame, or for what comes. */
static char *make_room(struct frames *f, size_t *room) {
    uint32_t binary, size = json_size(f, &binary);
    size_t have = f->in.size - f->taken, want = READ_SIZE;
    if (have == 0) {
        clear(&f->in);
    } else if (f->taken > 0) {
        memmove(f->in.data, f->in.data + f->taken, have);
        f->in.size = have;
    }
    f->taken = 0;
    if (size <= FRAME_MAX_JSON && FRAME_HEAD + (size_t)size > have + want)
        want = FRAME_HEAD + (size_t)size - have;
    *room = want;
    return buf_reserve(&f->in, want);
}

int frames_receive(struct frames *f) {
    for (;;) {
        size_t room;
        char *to = make_room(f, &room);
        if (to == NULL)
            return -1;
        ssize_t n = recv(f->fd, to, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (n == 0)
            return -1;
        f->in.size += (size_t)n;
        return 0;
    }
}

int frames_next(struct frames *f, struct bytes *json) {
    uint32_t binary = 0, size = json_size(f, &binary);
    if (f->in.size - f->taken < FRAME_HEAD)
        return 0;
    if (size < 2 || size > FRAME_MAX_JSON || binary != 0)
        return -1;
    if (f->in.size - f->taken < FRAME_HEAD + (size_t)size)
        return 0;
    *json = (struct bytes){f->in.data + f->taken + FRAME_HEAD, size};
    f->taken += FRAME_HEAD + (size_t)size;
    return 1;
}
