/* rows.h: what the encoder does between two products: layer norms, GELU and attention, behind a table with one row for
 * each kind of CPU. For the type "embeddings".
 *
 * Each function adds in an order that depends on its own row or text alone, so what is beside it changes no bit. */
#ifndef OFFLOAD_EMBED_ROWS_H
#define OFFLOAD_EMBED_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/model.h"

enum {
    ROWS_TILE = 12, /* queries that attention takes at once, at most */
    ROWS_LANES = 16 /* the keys of a head, and the numbers of a value, are filled up to a multiple of it */
};

/* One head of attention over one text. The memory is the caller's; all of it is aligned to 64. */
struct head {
    const float *query; /* of the first token; that of the next one is `stride` numbers on, as for key and value */
    const float *key, *value;
    size_t stride, tokens;
    uint32_t size;  /* numbers of a query, a key, a value: a multiple of 4 */
    float *keys;    /* rows_padded(tokens) * size */
    float *values;  /* tokens * rows_padded(size) */
    float *weights; /* ROWS_TILE * rows_padded(tokens) */
};

static inline size_t rows_padded(size_t count) {
    return (count + ROWS_LANES - 1) / ROWS_LANES * ROWS_LANES;
}

struct rows_kernel {
    const char *name; /* "avx2" */
    bool (*usable)(void);
    /* x = norm(x + add), for each row. `hidden` is a multiple of 8. */
    void (*layer_norm)(float *x, const float *add, size_t rows, uint32_t hidden, const struct layer_norm *norm,
                       float epsilon);
    /* x = x/2 (1 + erf(x / sqrt 2)), off by at most 1e-6 for |x| <= 5 (2e-6 without FMA). `count` is a multiple of 8. */
    void (*gelu)(float *x, size_t count);
    /* Copies keys and values to where head_attend wants them. */
    void (*head_gather)(const struct head *h);
    /* The result of `count` queries, the first of which is `first`, to out[query * out_stride]. */
    void (*head_attend)(const struct head *h, size_t first, size_t count, float *out, size_t out_stride);
};

extern const struct rows_kernel rows_avx512;
extern const struct rows_kernel rows_avx2;
extern const struct rows_kernel rows_portable; /* any CPU */

#endif
