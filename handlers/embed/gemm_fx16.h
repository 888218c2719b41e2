/* gemm_fx16.h: 16-bit fixed point, as the kernels for AVX2 and for AVX-512 have it. Their products are equal to the bit.
 *
 * Inputs are taken in blocks of INTEGER_BLOCK. A row has a scale for each block, by which its numbers become integers up to
 * LARGEST; an output has one scale, by which its weights do. Pairs of them are multiplied, and their products added up in
 * 32 bits. The scale of an output is as fine as it can be with
 *
 *     LARGEST * (the sum of its weights' magnitudes in a block) < 2^31
 *
 * so no row whatsoever makes a sum of 32 bits overflow.
 *
 *     packed   the biases, the scales, and then panels: for each pair of inputs the two weights of each of the outputs */
#ifndef OFFLOAD_EMBED_GEMM_FX16_H
#define OFFLOAD_EMBED_GEMM_FX16_H

#include "handlers/embed/gemm.h"

#ifdef __x86_64__

/* A packed matrix, and rows that are to be multiplied by it. */
struct fx16 {
    const float *bias, *scales; /* of each output */
    const int16_t *panels;
    const int16_t *rows;
    const float *row_scales; /* [row][block] */
    size_t blocks;           /* of the inputs */
};

/* As in struct gemm_kernel. */
size_t gemm_fx16_packed_size(const struct gemm_matrix *w);
size_t gemm_fx16_scratch_size(uint32_t outputs, uint32_t inputs);
const char *gemm_fx16_pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed);
/* Makes the rows into integers, in the scratch. Needs AVX2. */
struct fx16 gemm_fx16_rows(const struct gemm_matrix *w, const float *a, size_t rows, void *scratch);

#endif
#endif
