/* safetensors.h: a file of tensors (https://huggingface.co/docs/safetensors, "Format"), read-only. For the models of the
 * type "embeddings".
 *
 *     OFFSET  SIZE  FIELD
 *        0      8   N, the size of the header, little-endian
 *        8      N   JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [BEGIN, END]}, ...}
 *      8 + N        the numbers, little-endian; BEGIN and END count from here
 */
#ifndef OFFLOAD_EMBED_SAFETENSORS_H
#define OFFLOAD_EMBED_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SAFETENSORS_WHY = 250, /* room for a reason: the end of a sentence that begins with the file: "has ..." */
    SAFETENSORS_MAX_HEADER = 1 << 20, /* bytes of JSON; 64 layers take a tenth of it */
    SAFETENSORS_MAX_DIMENSIONS = 8
};

enum tensor_dtype { TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_OTHER };

struct tensor {
    enum tensor_dtype dtype;
    unsigned dimensions;
    uint64_t shape[SAFETENSORS_MAX_DIMENSIONS];
    uint64_t count;             /* the product of the shape */
    const unsigned char *bytes; /* in the file; not aligned to anything */
    uint64_t size;              /* of these bytes; fits count and dtype, unless it is TENSOR_OTHER */
};

struct safetensors;

/* Maps a file, and checks all of its header. NULL with `why`: it cannot be read, or it is not whole. The file must not
 * shrink while it is open: a page that is gone is SIGBUS. It is the operator's, so that is not guarded against. */
struct safetensors *safetensors_open(const char *path, char why[SAFETENSORS_WHY]);
/* The same for a file in memory, which is borrowed until safetensors_close. */
struct safetensors *safetensors_read(const void *bytes, size_t size, char why[SAFETENSORS_WHY]);
void safetensors_close(struct safetensors *s); /* NULL is allowed */

/* False: there is no such tensor. */
bool safetensors_find(const struct safetensors *s, const char *name, struct tensor *t);

/* The numbers where they lie in the file, or NULL if they are not aligned floats of this machine. */
const float *tensor_in_place(const struct tensor *t);
/* Writes t->count floats. Not for TENSOR_OTHER. */
void tensor_copy(const struct tensor *t, float *to);

#endif
