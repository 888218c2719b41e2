/* shm.c: see shm.h. Front end. The object is never mapped here: its owner can cut it off at any time, and only a worker may
 * die of that. */
#include "server/api/shm.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NONE "there is no shared memory of that name that the client may read"

/* "/name", as shm_open(3) takes it everywhere. */
static bool is_name(const char *name) {
    size_t size = strlen(name);
    return size > 1 && size <= NAME_MAX && name[0] == '/' && strchr(name + 1, '/') == NULL && strcmp(name, "/.") != 0 &&
           strcmp(name, "/..") != 0;
}

struct peer {
    uid_t uid;
    gid_t gid;
};

/* right: S_IROTH or S_IWOTH. Root can read all, and write what anybody can write. */
static bool may(const struct stat *st, const struct peer *peer, mode_t right) {
    unsigned shift = peer->uid == st->st_uid ? 6 : peer->gid == st->st_gid ? 3 : 0;
    if (peer->uid == 0)
        return right == S_IROTH || (st->st_mode & (right * 0111)) != 0;
    return (st->st_mode & (right << shift)) != 0;
}

/* Makes *fd a descriptor that can write, too. */
static bool make_writable(int *fd) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
    int writable = open(path, O_RDWR | O_CLOEXEC);
    if (writable < 0)
        return false;
    close(*fd);
    *fd = writable;
    return true;
}

/* What is wrong with the object; NULL: nothing. */
static const char *check(int fd, const struct peer *peer, const struct host_extra *e, struct stat *st) {
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode) || !may(st, peer, S_IROTH))
        return NONE;
    uint64_t size = (uint64_t)st->st_size;
    if (e->offset > size || (e->size != UINT64_MAX && e->size > size - e->offset))
        return "the shared memory has no such piece: it is shorter";
    return NULL;
}

const char *shm_take(const struct http_request *r, const struct host_extra *e, struct slice *out, bool *own) {
    struct peer peer;
    struct stat st;
    if (!http_peer(r, &peer.uid, &peer.gid))
        return "shared memory is taken only over a Unix socket";
    if (!is_name(e->name))
        return "the name of shared memory is a slash and then no further one";
    int fd = shm_open(e->name, O_RDONLY | O_NONBLOCK, 0); /* a FIFO of that name must not stop us */
    const char *why = fd < 0 ? NONE : check(fd, &peer, e, &st);
    if (why != NULL) {
        if (fd >= 0)
            close(fd);
        return why;
    }
    *own = *own && may(&st, &peer, S_IWOTH) && make_writable(&fd);
    struct blob *b = blob_shared(fd, (size_t)st.st_size);
    if (b == NULL)
        close(fd);
    uint64_t size = e->size == UINT64_MAX ? (uint64_t)st.st_size - e->offset : e->size;
    *out = (struct slice){b, (size_t)e->offset, (size_t)size};
    return NULL;
}
