/* gemm_fx16.c: matrices and rows in 16-bit fixed point (gemm_fx16.h). Matrices are made in the zygote, rows in workers. */
#include "handlers/embed/gemm_fx16.h"

#ifdef __x86_64__
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "handlers/embed/gemm_avx2.h"

#define LARGEST 8191

/* ---- packing ----------------------------------------------------------------------------------------------------- */

size_t gemm_fx16_packed_size(const struct gemm_matrix *w) {
    size_t padded = gemm_panels(w->outputs) * GEMM_PANEL;
    return gemm_align(padded * (2 * sizeof(float) + w->inputs * sizeof(int16_t)));
}

static int16_t *panels_of(const void *packed, uint32_t outputs) {
    return (int16_t *)(void *)((char *)(uintptr_t)packed + gemm_panels(outputs) * GEMM_PANEL * 2 * sizeof(float));
}

static int64_t quantised(float weight, double scale) {
    return llrint(weight / scale);
}

/* Whether no sum can overflow with this scale. */
static bool fits(const float *weights, uint32_t inputs, double scale) {
    for (uint32_t at = 0; at < inputs; at += INTEGER_BLOCK) {
        int64_t sum = 0;
        for (uint32_t i = at; i < inputs && i < at + INTEGER_BLOCK; i++) {
            int64_t q = llabs(quantised(weights[i], scale));
            if (q > INT16_MAX)
                return false;
            sum += q;
        }
        if (sum * LARGEST > INT32_MAX)
            return false;
    }
    return true;
}

/* The finest scale that fits, or one that is coarser by less than a thousandth. 1 for weights that are all zero. */
static float finest_scale(const float *weights, uint32_t inputs) {
    double largest = 0, largest_sum = 0;
    for (uint32_t at = 0; at < inputs; at += INTEGER_BLOCK) {
        double sum = 0;
        for (uint32_t i = at; i < inputs && i < at + INTEGER_BLOCK; i++) {
            sum += fabs((double)weights[i]);
            largest = fmax(largest, fabs((double)weights[i]));
        }
        largest_sum = fmax(largest_sum, sum);
    }
    double scale = fmax(largest / INT16_MAX, largest_sum * LARGEST / INT32_MAX);
    float rounded = (float)scale;
    if (rounded < FLT_MIN) /* all are zero, or next to it */
        return 1;
    while (!fits(weights, inputs, rounded))
        rounded *= 1.0005F;
    return rounded;
}

const char *gemm_fx16_pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed) {
    uint32_t inputs = w->inputs;
    size_t padded = gemm_panels(w->outputs) * GEMM_PANEL;
    float *bias = packed, *scales = bias + padded;
    int16_t *panels = panels_of(packed, w->outputs);
    for (uint32_t o = 0; o < padded; o++) {
        const float *from = gemm_output(parts, count, o, &bias[o]);
        int16_t *to = panels + (size_t)(o / GEMM_PANEL) * GEMM_PANEL * inputs + (size_t)(o % GEMM_PANEL) * 2;
        scales[o] = from == NULL ? 1 : finest_scale(from, inputs);
        for (size_t i = 0; i < inputs; i++)
            to[i / 2 * 2 * GEMM_PANEL + i % 2] = from == NULL ? 0 : (int16_t)quantised(from[i], scales[o]);
    }
    return NULL;
}

/* ---- the rows ---------------------------------------------------------------------------------------------------- */

/* The integers of all rows, and then the scales of each row: one for each of its blocks. */
size_t gemm_fx16_scratch_size(uint32_t outputs, uint32_t inputs) {
    (void)outputs;
    return gemm_align(GEMM_ROWS * (inputs * sizeof(int16_t) + gemm_blocks(inputs) * sizeof(float)));
}

/* Makes `count` numbers, a multiple of 8, into integers. Returns their scale. */
static TARGET float quantise(const float *a, size_t count, int16_t *to) {
    float largest = gemm_largest(a, count), scale = largest / LARGEST;
    const __m256 factor = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
    for (size_t i = 0; i < count; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(to + i), gemm_integers(a + i, factor, LARGEST));
    return scale;
}

struct fx16 gemm_fx16_rows(const struct gemm_matrix *w, const float *a, size_t rows, void *scratch) {
    size_t blocks = gemm_blocks(w->inputs);
    int16_t *integers = scratch;
    float *scales = (float *)(void *)(integers + GEMM_ROWS * w->inputs);
    const float *bias = w->packed;
    for (size_t row = 0; row < rows; row++)
        for (size_t b = 0; b < blocks; b++) {
            size_t at = row * w->inputs + b * INTEGER_BLOCK, left = w->inputs - b * INTEGER_BLOCK;
            scales[row * blocks + b] = quantise(a + at, left < INTEGER_BLOCK ? left : INTEGER_BLOCK, integers + at);
        }
    return (struct fx16){
        bias, bias + gemm_panels(w->outputs) * GEMM_PANEL, panels_of(w->packed, w->outputs), integers, scales, blocks};
}
#endif
