/* gemm.h: the products of the encoder, x W^T + b, behind a table of kernels: one for each precision and kind of CPU. For
 * the type "embeddings".
 *
 * Weights are packed once, in the order in which a kernel reads them. A row of a product is the same, to the bit, whatever
 * rows are beside it: a kernel adds the terms of each number in one order, in tiles of any height. */
#ifndef OFFLOAD_EMBED_GEMM_H
#define OFFLOAD_EMBED_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/model.h"

enum {
    GEMM_ROWS = 96,   /* rows that a call can have; a multiple of the height of all tiles */
    GEMM_ALIGN = 64,  /* of packed weights and of scratch, in bytes */
    GEMM_MULTIPLE = 8 /* of which outputs and inputs are multiples */
};

/* One packed matrix: several `struct linear` of the same inputs, whose outputs follow each other. */
struct gemm_matrix {
    uint32_t outputs, inputs;
    const void *packed; /* aligned to GEMM_ALIGN */
    void *prepared;     /* what `prepare` has made; NULL for a kernel without it */
};

/* Where a function returns text, NULL means that it went well, and the text says what is wrong: "no memory". */
struct gemm_kernel {
    const char *name;  /* "fx16 avx2" */
    const char *needs; /* what a CPU lacks that cannot run it: "AVX2" */
    /* Can this CPU run it? The other functions may be called only then. */
    bool (*usable)(void);
    /* Opens the library that does the work. NULL: this kernel has none. The functions below may be called after it. */
    const char *(*open)(void);
    /* Makes what it needs for a matrix of this size besides the packed bytes, and gives it back. NULL: it needs nothing. */
    const char *(*prepare)(struct gemm_matrix *w);
    void (*release)(struct gemm_matrix *w);
    /* Bytes; multiples of GEMM_ALIGN. For scratch: of the widest outputs and inputs. */
    size_t (*packed_size)(const struct gemm_matrix *w);
    size_t (*scratch_size)(uint32_t outputs, uint32_t inputs);
    /* Writes packed_size bytes, which stay where they are until `release`. The weights must be finite. */
    const char *(*pack)(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed);
    /* out[rows][outputs] = a[rows][inputs] W^T + b, for at most GEMM_ROWS rows. They may not overlap. False: no memory. */
    bool (*multiply)(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch);
};

extern const struct gemm_kernel gemm_fp32_avx2;
extern const struct gemm_kernel gemm_fp32_portable; /* any CPU */
extern const struct gemm_kernel gemm_fx16_avx2;     /* 16-bit fixed point */
extern const struct gemm_kernel gemm_fx16_avx512;   /* the same, and the same bits */
extern const struct gemm_kernel gemm_int8_avx2;     /* activations of 7 bits, weights of 8 */
extern const struct gemm_kernel gemm_bf16_amx;      /* by oneDNN */
extern const struct gemm_kernel gemm_bf16_avx512;   /* the same on CPUs without AMX */

/* ---- for kernels ------------------------------------------------------------------------------------------------- */

enum {
    GEMM_PANEL = 16,    /* outputs that are packed together; the last panel is filled up with zeros */
    INTEGER_BLOCK = 384 /* for kernels of integers: inputs that share a scale of their row */
};

static inline size_t gemm_align(size_t bytes) {
    return (bytes + GEMM_ALIGN - 1) / GEMM_ALIGN * GEMM_ALIGN;
}
static inline size_t gemm_panels(uint32_t outputs) {
    return (outputs + GEMM_PANEL - 1) / GEMM_PANEL;
}
static inline size_t gemm_blocks(uint32_t inputs) {
    return (inputs + INTEGER_BLOCK - 1) / INTEGER_BLOCK;
}

/* The weights of an output of all parts together, and its bias. NULL: there is no such output, its weights are zeros. */
static inline const float *gemm_output(const struct linear *parts, size_t count, uint32_t output, float *bias) {
    for (size_t i = 0; i < count; i++) {
        if (output < parts[i].outputs) {
            *bias = parts[i].bias[output];
            return parts[i].weight + (size_t)output * parts[i].inputs;
        }
        output -= parts[i].outputs;
    }
    *bias = 0;
    return NULL;
}
static inline uint32_t gemm_outputs(const struct linear *parts, size_t count) {
    uint32_t outputs = 0;
    for (size_t i = 0; i < count; i++)
        outputs += parts[i].outputs;
    return outputs;
}

#endif
