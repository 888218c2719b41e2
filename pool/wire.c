/* wire.c: see wire.h. Runs on both ends; each treats the other as hostile. */
#include "pool/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FDS 4 /* room to receive too many, so that they can be closed */

/* Takes the descriptors out of a received message. Returns how many there were, or -1 if they are not all there (we
 * have no room for them, or there were too many), or there were control data of another kind. `fds` has room for
 * MAX_FDS. */
static int collect_fds(struct msghdr *m, int *fds) {
    int count = 0;
    bool bad = (m->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            bad = true;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && count < MAX_FDS; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if (!bad)
        return count;
    for (int i = 0; i < count; i++)
        close(fds[i]);
    return -1;
}

/* recvmsg(2) with descriptors. Returns what wire_receive returns. *size: the room; then the bytes received. *n_fds: -1
 * if the descriptors did not arrive. */
static int receive(int socket, void *data, size_t *size, int *fds, int *n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = {data, *size};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n;
    /* A peer that closes its end without having read everything causes one ECONNRESET, which comes before the datagrams
     * that it has sent: those are received by asking again. */
    do
        n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -1;
    *n_fds = m.msg_controllen == 0 && (m.msg_flags & MSG_CTRUNC) == 0 ? 0 : collect_fds(&m, fds);
    if (n == 0 && *n_fds == 0)
        return 0;
    if ((m.msg_flags & MSG_TRUNC) != 0) {
        for (int i = 0; i < *n_fds; i++)
            close(fds[i]);
        errno = EPROTO;
        return -1;
    }
    *size = (size_t)n;
    return 1;
}

int wire_receive(int socket, unsigned char *buffer, struct wire_reader *r) {
    int fds[MAX_FDS], n_fds = 0;
    *r = (struct wire_reader){.data = buffer, .size = WIRE_MAX_DATAGRAM, .fd = -1};
    int got = receive(socket, buffer, &r->size, fds, &n_fds);
    if (got <= 0) {
        r->size = 0;
        return got;
    }
    if (n_fds > 1 || n_fds < 0) {
        for (int i = 0; i < n_fds; i++)
            close(fds[i]);
        errno = EPROTO;
        return -1;
    }
    r->fd = n_fds == 1 ? fds[0] : -1;
    return 1;
}

int wire_next(struct wire_reader *r, struct wire_frame *f) {
    size_t left = r->size - r->offset;
    if (left == 0)
        return r->frames == 0 ? -1 : 0;
    if (left < sizeof f->header || r->frames == WIRE_MAX_FRAMES)
        return -1;
    memcpy(&f->header, r->data + r->offset, sizeof f->header);
    const struct wire_header *h = &f->header;
    bool bulk = (h->flags & WIRE_BULK) != 0;
    if (h->version != WIRE_VERSION ||
        (h->flags & ~(WIRE_BULK | WIRE_RAW | WIRE_GO | WIRE_ITEMS | WIRE_HASH | WIRE_OWN | WIRE_UNSEALED | WIRE_BINARY |
                      WIRE_SHARED | WIRE_PARAMS | WIRE_ACCEPTS)) != 0)
        return -1;
    if (h->length > left - sizeof *h || WIRE_PAD(h->length) > left - sizeof *h)
        return -1;
    if (!wire_is_request(h->kind) && !wire_is_reply(h->kind))
        return -1;
    if (h->attachments != 0 && h->kind != WIRE_PLAN && h->kind != WIRE_RUN && h->kind != WIRE_MERGE &&
        h->kind != WIRE_PLANNED && h->kind != WIRE_PARSED)
        return -1;
    f->inlined = r->data + r->offset + sizeof *h;
    r->offset += sizeof *h + WIRE_PAD(h->length);
    r->frames++;
    if (bulk && (r->fd < 0 || r->frames != 1 || r->offset != r->size))
        return -1;
    if (!bulk && (r->fd >= 0 || h->bulk_offset != 0 || h->bulk_size != 0))
        return -1;
    return 1;
}

int wire_take_bulk(struct wire_reader *r, const struct wire_frame *f, struct slice *bulk) {
    const struct wire_header *h = &f->header;
    bool is_attachment = h->kind == WIRE_ATTACHMENT || h->kind == WIRE_MADE;
    bool own = is_attachment && (h->flags & WIRE_OWN) != 0;
    bool unsealed = h->kind == WIRE_ATTACHMENT && (h->flags & WIRE_UNSEALED) != 0;
    const int need = F_SEAL_SHRINK | F_SEAL_GROW | (own ? 0 : F_SEAL_WRITE);
    struct stat st;
    *bulk = (struct slice){NULL, 0, 0};
    int seals = unsealed ? need : fcntl(r->fd, F_GET_SEALS);
    if (seals < 0 || (seals & need) != need || fstat(r->fd, &st) != 0)
        return -1;
    /* What can be cut off at any time may be so already: who reads it is hit by SIGBUS. */
    uint64_t size = unsealed ? h->bulk_offset + h->bulk_size : (uint64_t)st.st_size;
    if (h->bulk_offset > size || h->bulk_size > size - h->bulk_offset)
        return -1;
    struct blob *b = unsealed ? blob_file(r->fd, (size_t)size) : blob_adopt(r->fd, (size_t)size);
    if (b == NULL)
        return -1;
    bool shared = unsealed && (h->flags & WIRE_SHARED) != 0;
    b->seals = shared ? BLOB_SHARED : unsealed ? BLOB_FILE : own ? BLOB_SIZED : BLOB_SEALED;
    r->fd = -1;
    *bulk = (struct slice){b, (size_t)h->bulk_offset, (size_t)h->bulk_size};
    return 0;
}

void wire_close_reader(struct wire_reader *r) {
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

bool wire_is_request(uint8_t kind) {
    return kind >= WIRE_PLAN && kind <= WIRE_ATTACHMENT;
}

bool wire_is_reply(uint8_t kind) {
    return kind >= WIRE_READY && kind <= WIRE_DIED;
}

int wire_open_writer(struct wire_writer *w) {
    *w = (struct wire_writer){.data = malloc(WIRE_MAX_DATAGRAM)};
    return w->data == NULL ? -1 : 0;
}

void wire_close_writer(struct wire_writer *w) {
    slice_deinit(&w->bulk);
    free(w->data);
    *w = (struct wire_writer){0};
}

bool wire_fits(const struct wire_writer *w, size_t inline_size, bool bulk) {
    if (w->data == NULL || inline_size > WIRE_MAX_DATAGRAM)
        return false;
    if (w->frames == 0)
        return sizeof(struct wire_header) + WIRE_PAD(inline_size) <= WIRE_MAX_DATAGRAM;
    return !bulk && w->bulk.blob == NULL && w->frames < WIRE_MAX_FRAMES &&
           w->size + sizeof(struct wire_header) + WIRE_PAD(inline_size) <= WIRE_MAX_INLINE;
}

static void put_bytes(struct wire_writer *w, const void *bytes, size_t size) {
    if (size != 0)
        memcpy(w->data + w->size, bytes, size);
    w->size += size;
}

int wire_put(struct wire_writer *w, const struct wire_header *h, const void *first, size_t first_size,
             const void *second, size_t second_size, const struct slice *bulk) {
    static const char zeros[8];
    struct wire_header header = *h;
    if (first_size > WIRE_MAX_DATAGRAM || second_size > WIRE_MAX_DATAGRAM ||
        !wire_fits(w, first_size + second_size, bulk != NULL))
        return -1;
    size_t size = first_size + second_size;
    header.version = WIRE_VERSION;
    header.length = (uint32_t)size;
    if (bulk != NULL) {
        header.flags |= WIRE_BULK;
        header.bulk_offset = bulk->offset;
        header.bulk_size = bulk->size;
        w->bulk = slice_ref(bulk);
    }
    put_bytes(w, &header, sizeof header);
    put_bytes(w, first, first_size);
    put_bytes(w, second, second_size);
    put_bytes(w, zeros, WIRE_PAD(size) - size);
    w->frames++;
    return 0;
}

void wire_drop(struct wire_writer *w) {
    slice_deinit(&w->bulk);
    w->size = 0;
    w->frames = 0;
}

static ssize_t send_with_fds(int socket, const void *data, size_t size, const int *fds, int n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    union {
        const void *in;
        void *out;
    } base = {data};
    struct iovec iov = {base.out, size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(socket, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

int wire_flush(struct wire_writer *w, int socket) {
    int fd = w->bulk.blob != NULL ? w->bulk.blob->fd : -1;
    ssize_t n = send_with_fds(socket, w->data, w->size, &fd, fd >= 0 ? 1 : 0);
    if (n < 0)
        return -1;
    wire_drop(w);
    return 0;
}

int wire_send_control(int socket, const void *message, size_t size, const int fds[2]) {
    int n_fds = fds == NULL ? 0 : 2;
    return send_with_fds(socket, message, size, fds, n_fds) == (ssize_t)size ? 0 : -1;
}

int wire_receive_control(int socket, void *message, size_t size, int fds[2]) {
    int all[MAX_FDS], n_fds = 0;
    size_t got = size;
    fds[0] = fds[1] = -1;
    int rc = receive(socket, message, &got, all, &n_fds);
    if (rc <= 0)
        return rc;
    if (got == size && (n_fds <= 0 || n_fds == 2)) {
        for (int i = 0; i < n_fds; i++)
            fds[i] = all[i];
        return 1;
    }
    for (int i = 0; i < n_fds; i++)
        close(all[i]);
    errno = EPROTO;
    return -1;
}

struct slice wire_payload(const struct wire_frame *f, const struct slice *bulk, size_t front) {
    if (bulk->blob != NULL)
        return slice_ref(bulk);
    return slice_copy(f->inlined + front, f->header.length - front);
}
