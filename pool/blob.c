/* blob.c: see blob.h. Front end and workers. */
#include "pool/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/closing.h"

static struct blob *make(size_t on_heap, int fd, size_t size, size_t held) {
    struct blob *b = on_heap > SIZE_MAX - sizeof *b ? NULL : malloc(sizeof *b + on_heap);
    if (b == NULL)
        return NULL;
    b->refs = 1;
    b->fd = fd;
    b->size = size;
    b->held = held;
    b->seals = BLOB_SEALED;
    held_add(HELD_PAYLOADS, held);
    return b;
}

struct blob *blob_copy(const void *bytes, size_t size) {
    struct blob *b = make(size, -1, size, size);
    if (b != NULL && size != 0)
        memcpy(b->data, bytes, size);
    return b;
}

struct blob *blob_adopt(int fd, size_t size) {
    return make(0, fd, size, size);
}

struct blob *blob_file(int fd, size_t size) {
    struct blob *b = make(0, fd, size, 0);
    if (b != NULL)
        b->seals = BLOB_FILE;
    return b;
}

struct blob *blob_shared(int fd, size_t size) {
    struct blob *b = blob_file(fd, size);
    if (b != NULL)
        b->seals = BLOB_SHARED;
    return b;
}

static struct blob *seal(int fd, size_t size, int seals) {
    struct blob *b = NULL;
    if (fcntl(fd, F_ADD_SEALS, seals) == 0)
        b = blob_adopt(fd, size);
    if (b == NULL) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return b;
}

struct blob *blob_seal(int fd, size_t size) {
    return seal(fd, size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

struct blob *blob_seal_size(int fd, size_t size) {
    struct blob *b = seal(fd, size, F_SEAL_SHRINK | F_SEAL_GROW);
    if (b != NULL)
        b->seals = BLOB_SIZED;
    return b;
}

void blob_freeze(struct blob *b) {
    if (b->seals == BLOB_SIZED && fcntl(b->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        b->seals = BLOB_SEALED;
}

struct blob *blob_copy_sealed(const char *name, const void *bytes, size_t size) {
    int fd = memfd_copy(name, bytes, size);
    struct blob *b = fd < 0 ? NULL : blob_adopt(fd, size);
    if (fd >= 0 && b == NULL)
        close(fd);
    return b;
}

struct blob *blob_ref(struct blob *b) {
    b->refs++;
    return b;
}

void blob_unref(struct blob *b) {
    if (b == NULL || --b->refs > 0)
        return;
    held_sub(HELD_PAYLOADS, b->held);
    if (b->fd >= 0)
        closing_close(b->fd, b->size);
    free(b);
}

struct slice slice_copy(const void *bytes, size_t size) {
    struct blob *b = blob_copy(bytes, size);
    return b == NULL ? (struct slice){NULL, 0, 0} : slice_all(b);
}

struct slice slice_all(struct blob *b) {
    return (struct slice){b, 0, b->size};
}

struct slice slice_ref(const struct slice *s) {
    if (s->blob != NULL)
        blob_ref(s->blob);
    return *s;
}

struct slice slice_part(const struct slice *s, size_t offset, size_t size) {
    struct slice part = slice_ref(s);
    part.offset += offset;
    part.size = size;
    return part;
}

void slice_deinit(struct slice *s) {
    blob_unref(s->blob);
    *s = (struct slice){NULL, 0, 0};
}

/* mmap wants whole pages: map from the page that holds the first byte. */
static size_t page_start(size_t offset) {
    return offset & ~((size_t)sysconf(_SC_PAGESIZE) - 1);
}

const unsigned char *slice_map(const struct slice *s) {
    if (s->blob == NULL || s->size == 0)
        return (const unsigned char *)"";
    if (s->blob->fd < 0)
        return s->blob->data + s->offset;
    size_t start = page_start(s->offset), lead = s->offset - start;
    unsigned char *m = mmap(NULL, lead + s->size, PROT_READ, MAP_PRIVATE, s->blob->fd, (off_t)start);
    return m == MAP_FAILED ? NULL : m + lead;
}

void slice_unmap(const struct slice *s, const unsigned char *mapped) {
    if (s->blob == NULL || s->size == 0 || s->blob->fd < 0 || mapped == NULL)
        return;
    size_t lead = s->offset - page_start(s->offset);
    union {
        const unsigned char *in;
        void *out;
    } start = {mapped - lead};
    munmap(start.out, lead + s->size);
}

int slice_read(const struct slice *s, size_t offset, void *to, size_t size) {
    if (offset > s->size || size > s->size - offset) {
        errno = EINVAL;
        return -1;
    }
    if (size == 0)
        return 0;
    if (s->blob->fd < 0) {
        memcpy(to, s->blob->data + s->offset + offset, size);
        return 0;
    }
    ssize_t n = pread(s->blob->fd, to, size, (off_t)(s->offset + offset));
    return n == (ssize_t)size ? 0 : -1;
}
