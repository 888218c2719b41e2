/* blob.h: bytes that several owners share: on the heap, in a sealed memfd that can be passed to another process without
 * a copy (memfd_create(2), F_ADD_SEALS in fcntl(2)), or in a file whose bytes do not change. One thread alone counts
 * references; others can read the bytes meanwhile. A slice is a part of a blob and holds a reference to it. Any
 * process. */
#ifndef OFFLOAD_BLOB_H
#define OFFLOAD_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/held.h"
#include "base/memfd.h"

enum blob_seals {
    BLOB_SEALED, /* neither its bytes nor its size can change */
    BLOB_SIZED,  /* its size cannot: a job can have its bytes changed */
    BLOB_FILE,   /* not sealed at all: who maps it can be hit by SIGBUS if somebody cuts it off */
    BLOB_SHARED  /* likewise; and it is memory of a client, who can change it at any time */
};

struct blob {
    int refs;
    int fd; /* the memfd or file, or -1: the bytes are in data */
    size_t size;
    size_t held; /* its share of HELD_PAYLOADS (base/held.h); 0 for a file */
    enum blob_seals seals;
    _Alignas(8) unsigned char data[];
};

struct slice {
    struct blob *blob; /* NULL: empty */
    size_t offset, size;
};

/* Bytes of memory held by all blobs of this process. For reading. */
#define blob_held_bytes (held_bytes[HELD_PAYLOADS])

/* Each of the seven returns a blob with one reference, or NULL with errno. */
MUST_CHECK struct blob *blob_copy(const void *bytes, size_t size);                          /* on the heap */
MUST_CHECK struct blob *blob_copy_sealed(const char *name, const void *bytes, size_t size); /* in a sealed memfd */
/* These take a descriptor: of a memfd that is sealed already; of a memfd, which they seal, the second one against a
 * change of its size only; of a regular file or of shared memory, which does not count as our memory. On failure
 * blob_seal and blob_seal_size close the descriptor, and the others leave it to the caller. */
MUST_CHECK struct blob *blob_adopt(int fd, size_t size);
MUST_CHECK struct blob *blob_seal(int fd, size_t size);
MUST_CHECK struct blob *blob_seal_size(int fd, size_t size);
MUST_CHECK struct blob *blob_file(int fd, size_t size);
MUST_CHECK struct blob *blob_shared(int fd, size_t size);
/* Seals a BLOB_SIZED memfd against changes of its bytes, too, from now on. No effect if somebody can write to it. */
void blob_freeze(struct blob *b);

struct blob *blob_ref(struct blob *b); /* returns b */
void blob_unref(struct blob *b);       /* NULL is allowed */

/* A copy of the bytes with one reference, on the heap. Empty if memory ran out. */
MUST_CHECK struct slice slice_copy(const void *bytes, size_t size);
struct slice slice_all(struct blob *b); /* takes the caller's reference */
MUST_CHECK struct slice slice_ref(const struct slice *s);
MUST_CHECK struct slice slice_part(const struct slice *s, size_t offset, size_t size); /* a new reference; within s */
void slice_deinit(struct slice *s);                                                    /* empty afterwards */

/* True if the bytes lie in a memfd or a file: then they travel as a descriptor. False: slice_heap gives them in
 * place. */
static inline bool slice_is_bulk(const struct slice *s) {
    return s->blob != NULL && s->blob->fd >= 0;
}
static inline const unsigned char *slice_heap(const struct slice *s) {
    return s->blob == NULL ? NULL : s->blob->data + s->offset;
}

/* The bytes for reading: in place for the heap, else mapped. NULL with errno. Call slice_unmap at the end. */
MUST_CHECK const unsigned char *slice_map(const struct slice *s);
void slice_unmap(const struct slice *s, const unsigned char *mapped);
/* Copies `size` bytes from `offset` of the slice. 0, or -1: they are not all within the slice, or cannot be read. */
MUST_CHECK int slice_read(const struct slice *s, size_t offset, void *to, size_t size);

#endif
