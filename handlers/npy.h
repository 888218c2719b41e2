/* npy.h: the header of a .npy file: which numbers follow, and in what shape. It reads the versions 1.0, 2.0 and 3.0, and
 * writes 1.0 (NEP 1 and the documentation of numpy.lib.format).
 *
 *     offset 0   "\x93NUMPY", two bytes of version
 *     offset 8   the length of the text: 2 bytes in version 1.0, else 4; little-endian
 *     then       the text: {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), } and blanks up to a line feed
 *     then       the numbers, without gaps
 *
 * All functions are pure: they keep nothing, and allocate nothing.
 */
#ifndef OFFLOAD_NPY_H
#define OFFLOAD_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_DIMENSIONS 32          /* numpy's own limit */
#define NPY_MAX_HEADER     (64 * 1024) /* bytes that are read of a file to find its numbers */
#define NPY_MAX_WRITTEN    1024        /* bytes that npy_write needs at most */
#define NPY_MAX_ERROR      200         /* bytes of a message, with its NUL */

enum npy_dtype {
    NPY_BOOL,
    NPY_I8,
    NPY_I16,
    NPY_I32,
    NPY_I64,
    NPY_U8,
    NPY_U16,
    NPY_U32,
    NPY_U64,
    NPY_F16,
    NPY_F32,
    NPY_F64,
    NPY_DTYPES /* how many there are */
};

struct npy {
    enum npy_dtype dtype;
    bool swapped; /* the bytes of each number have the other order than this machine's */
    bool fortran; /* the first index runs fastest, instead of the last */
    unsigned dimensions;
    uint64_t shape[NPY_MAX_DIMENSIONS];
    uint64_t count; /* of the numbers: the product of the shape, 1 without dimensions */
    uint64_t data;  /* where in the file the first number is */
};

const char *npy_name(enum npy_dtype dtype); /* "float64" */
size_t npy_size(enum npy_dtype dtype);      /* bytes of one number */

/* Does a file begin as a .npy file does? */
bool npy_is(const void *bytes, size_t size);
/* Reads the header of a file of `size` bytes. The first `have` of them are at `bytes`: all, or at least NPY_MAX_HEADER.
 * 0; or -1 with the reason in error[NPY_MAX_ERROR], as the end of a sentence that begins with the file: "has ...". */
int npy_read(const void *bytes, size_t have, uint64_t size, struct npy *out, char *error);
/* Reads the name of a dtype: "float64", "f8", "<f8". Fills in dtype and swapped. 0, or -1 as npy_read. */
int npy_read_dtype(const char *text, size_t size, struct npy *out, char *error);
/* Sets count to the product of the shape. 0; or -1 as npy_read: the numbers would take more bytes than `size`, or
 * fewer. */
int npy_count(struct npy *a, uint64_t size, char *error);
/* Writes the header of a file to `to`, which has room for NPY_MAX_WRITTEN bytes, and sets a->data to its size, which is a
 * multiple of 64. */
void npy_write(struct npy *a, char *to);

#endif
