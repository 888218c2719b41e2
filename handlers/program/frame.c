/* frame.c: see frame.h. It runs in the zygote and in workers. */
#include "handlers/program/frame.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"

#define READ_SIZE  (64 * 1024) /* at least so much room is there for what comes */
#define KEPT_BYTES (1024 * 1024)

void frames_open(struct frames *f, int fd) {
    *f = (struct frames){.fd = fd};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void close_fds(struct frame_fds *w) {
    for (unsigned i = 0; i < w->count; i++)
        close(w->fds[i]);
    w->count = 0;
}

void frames_close(struct frames *f) {
    if (f->fd >= 0)
        close(f->fd);
    while (f->waiting_count > 0)
        close_fds(&f->waiting[--f->waiting_count]);
    free(f->waiting);
    for (unsigned i = 0; i < f->held_count; i++)
        close(f->held[i]);
    buf_deinit(&f->out);
    buf_deinit(&f->in);
    *f = (struct frames){.fd = -1};
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

struct buf *frames_begin(struct frames *f, size_t *start) {
    static const char head[FRAME_HEAD];
    *start = f->out.size;
    f->json_end = 0;
    buf_append(&f->out, head, sizeof head);
    return &f->out;
}

void frames_begin_binary(struct frames *f) {
    f->json_end = f->out.size;
}

/* The descriptors of the frame that begins there; NULL: it has none yet. */
static struct frame_fds *fds_of(struct frames *f, size_t start) {
    struct frame_fds *last = f->waiting_count > 0 ? &f->waiting[f->waiting_count - 1] : NULL;
    return last != NULL && last->at == start ? last : NULL;
}

bool frames_attach(struct frames *f, size_t start, int fd) {
    struct frame_fds *w = fds_of(f, start);
    if (w == NULL && GROW_ARRAY(&f->waiting, f->waiting_count, &f->waiting_room) == 0) {
        w = &f->waiting[f->waiting_count++];
        w->at = start;
        w->count = 0;
    }
    if (w == NULL || w->count == FRAME_MAX_FDS) {
        close(fd);
        return false;
    }
    w->fds[w->count++] = fd;
    return true;
}

void frames_drop(struct frames *f, size_t start) {
    struct frame_fds *w = fds_of(f, start);
    if (w != NULL) {
        close_fds(w);
        f->waiting_count--;
    }
    f->out.failed = false;
    f->out.size = start;
}

bool frames_end(struct frames *f, size_t start) {
    size_t json_end = f->json_end > 0 ? f->json_end : f->out.size;
    size_t size = json_end - start - FRAME_HEAD, binary = f->out.size - json_end;
    if (f->out.failed || size > FRAME_MAX_JSON || binary > FRAME_MAX_BINARY) {
        frames_drop(f, start);
        return false;
    }
    uint32_t head[2] = {htole32((uint32_t)size), htole32((uint32_t)binary)};
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

/* Sends bytes that are not sent yet, up to `end`, with the descriptors. */
static ssize_t send_with(struct frames *f, size_t end, const int *fds, unsigned count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FRAME_MAX_FDS * sizeof(int))];
    } control = {0};
    struct iovec piece = {f->out.data + f->sent, end - f->sent};
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    return sendmsg(f->fd, &m, MSG_NOSIGNAL);
}

/* Sends bytes up to the next descriptors; or, if those are due, the descriptors and bytes up to the next ones. */
static ssize_t send_some(struct frames *f) {
    struct frame_fds *w = f->waiting_count > 0 ? f->waiting : NULL;
    if (w == NULL || w->at != f->sent)
        return send(f->fd, f->out.data + f->sent, (w == NULL ? f->out.size : w->at) - f->sent, MSG_NOSIGNAL);
    ssize_t n = send_with(f, f->waiting_count > 1 ? w[1].at : f->out.size, w->fds, w->count);
    if (n > 0) {
        close_fds(w);
        memmove(w, w + 1, --f->waiting_count * sizeof *w);
    }
    return n;
}

int frames_send(struct frames *f) {
    while (frames_wait_to_send(f)) {
        ssize_t n = send_some(f);
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
    ssize_t n = send_with(f, f->out.size, fds, 2);
    if (n < 0) {
        f->out.size = f->sent;
        return -1;
    }
    f->sent += (size_t)n;
    return frames_send(f);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* The sizes of the JSON and the binary part of the frame that begins in `in`. False: its head is not whole yet. */
static bool read_sizes(const struct frames *f, uint32_t *json, uint32_t *binary) {
    uint32_t head[2];
    if (f->in.size - f->taken < FRAME_HEAD)
        return false;
    memcpy(head, f->in.data + f->taken, sizeof head);
    *json = le32toh(head[0]);
    *binary = le32toh(head[1]);
    return true;
}

/* Moves what is not used up to the front, and makes room for the rest of a frame, or for what comes. */
static char *make_room(struct frames *f, size_t *room) {
    uint32_t json = 0, binary = 0;
    bool begun = read_sizes(f, &json, &binary);
    size_t have = f->in.size - f->taken, want = READ_SIZE, all = FRAME_HEAD + (size_t)json + binary;
    if (have == 0) {
        clear(&f->in);
    } else if (f->taken > 0) {
        memmove(f->in.data, f->in.data + f->taken, have);
        f->in.size = have;
    }
    f->taken = 0;
    if (begun && json <= FRAME_MAX_JSON && binary <= (f->takes_binary ? FRAME_MAX_BINARY : 0) && all > have + want)
        want = all - have;
    *room = want;
    return buf_reserve(&f->in, want);
}

static void hold(struct frames *f, const struct cmsghdr *c) {
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        if (f->held_count < FRAME_MAX_HELD) {
            f->held[f->held_count++] = fd;
        } else {
            close(fd);
            f->flooded = true;
        }
    }
}

static ssize_t receive_with(struct frames *f, char *to, size_t room) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FRAME_MAX_HELD * sizeof(int))];
    } control;
    struct iovec piece = {to, room};
    struct msghdr m = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(f->fd, &m, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            hold(f, c);
    f->flooded |= (m.msg_flags & MSG_CTRUNC) != 0;
    return n;
}

int frames_receive(struct frames *f) {
    for (;;) {
        size_t room;
        char *to = make_room(f, &room);
        if (to == NULL)
            return -1;
        ssize_t n = f->takes_fds ? receive_with(f, to, room) : recv(f->fd, to, room, 0);
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
    uint32_t binary, size;
    if (!read_sizes(f, &size, &binary))
        return 0;
    if (f->flooded || size < 2 || size > FRAME_MAX_JSON || binary > (f->takes_binary ? FRAME_MAX_BINARY : 0))
        return -1;
    if (f->in.size - f->taken < FRAME_HEAD + (size_t)size + binary)
        return 0;
    *json = (struct bytes){f->in.data + f->taken + FRAME_HEAD, size};
    f->binary = (struct bytes){f->in.data + f->taken + FRAME_HEAD + size, binary};
    f->taken += FRAME_HEAD + (size_t)size + binary;
    return 1;
}

int frames_take_fd(struct frames *f) {
    if (f->held_count == 0)
        return -1;
    int fd = f->held[0];
    memmove(f->held, f->held + 1, --f->held_count * sizeof *f->held);
    return fd;
}
