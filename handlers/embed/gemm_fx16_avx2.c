/* gemm_fx16_avx2.c: products in 16-bit fixed point on CPUs with AVX2. It runs in workers.
 *
 * Inputs are taken in blocks of INTEGER_BLOCK. A row has a scale for each block, by which its numbers become integers up to
 * LARGEST; an output has one scale, by which its weights do. vpmaddwd multiplies pairs of them and adds the two products,
 * in 32 bits. The scale of an output is as fine as it can be with
 *
 *     LARGEST * (the sum of its weights' magnitudes in a block) < 2^31
 *
 * so no row whatsoever makes a sum of 32 bits overflow.
 *
 *     packed   the biases, the scales, and then panels: for each pair of inputs the two weights of each of the outputs */
#include "handlers/embed/gemm_avx2.h"

#ifdef __x86_64__
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define LARGEST 8191

/* ---- packing ----------------------------------------------------------------------------------------------------- */

static size_t packed_size(const struct gemm_matrix *w) {
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

static const char *pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed) {
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
static size_t scratch_size(uint32_t outputs, uint32_t inputs) {
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

static void quantise_rows(const struct gemm_matrix *w, const float *a, size_t rows, int16_t *to, float *scales) {
    size_t blocks = gemm_blocks(w->inputs);
    for (size_t row = 0; row < rows; row++)
        for (size_t b = 0; b < blocks; b++) {
            size_t at = row * w->inputs + b * INTEGER_BLOCK, left = w->inputs - b * INTEGER_BLOCK;
            scales[row * blocks + b] = quantise(a + at, left < INTEGER_BLOCK ? left : INTEGER_BLOCK, to + at);
        }
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* What a tile works on: `pairs` pairs of inputs of a panel, and of its rows. */
struct piece {
    const int16_t *weights, *a;
    size_t pairs, inputs, outputs;
    size_t ahead;            /* vectors from this panel to the one that is fetched meanwhile */
    const float *scales;     /* of the outputs */
    const float *row_scales; /* of the first row */
    size_t row_scale_stride;
    const float *bias; /* NULL: the sums go on from what is in `out` */
    float *out;
    bool half; /* the panel has 8 outputs only */
};

static inline __attribute__((always_inline)) TARGET void put(const struct piece *p, size_t row, int at, __m256i sum) {
    float *out = p->out + row * p->outputs + at;
    __m256 scale =
        _mm256_mul_ps(_mm256_loadu_ps(p->scales + at), _mm256_set1_ps(p->row_scales[row * p->row_scale_stride]));
    __m256 before = _mm256_loadu_ps(p->bias != NULL ? p->bias + at : out);
    _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, before));
}

/* `height` is a constant where this is called, so that the sums stay in registers. */
static inline __attribute__((always_inline)) TARGET void tile(const struct piece *p, int height) {
    __m256i sums[TILE][2];
    const __m256i *w = (const __m256i *)(const void *)p->weights;
    const int16_t *a = p->a, *end = a + 2 * p->pairs;
    size_t inputs = p->inputs, ahead = p->ahead;
#pragma GCC unroll 6
    for (int r = 0; r < height; r++)
        sums[r][0] = sums[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (; a < end; a += 2, w += 2) {
        _mm_prefetch((const char *)(w + ahead), _MM_HINT_T0);
        __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
#pragma GCC unroll 6
        for (int r = 0; r < height; r++) {
            int32_t pair;
            __builtin_memcpy(&pair, a + (size_t)r * inputs, sizeof pair);
            __m256i x = _mm256_set1_epi32(pair);
            sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(x, w0));
            sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(x, w1));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < height; r++) {
        put(p, (size_t)r, 0, sums[r][0]);
        if (!p->half)
            put(p, (size_t)r, 8, sums[r][1]);
    }
}

TILES

static bool multiply(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    size_t padded = gemm_panels(w->outputs) * GEMM_PANEL, blocks = gemm_blocks(w->inputs);
    int16_t *integers = scratch;
    float *row_scales = (float *)(void *)(integers + GEMM_ROWS * w->inputs);
    const float *bias = w->packed;
    const int16_t *panels = panels_of(w->packed, w->outputs);
    struct piece p = {.inputs = w->inputs, .outputs = w->outputs, .row_scale_stride = blocks};
    quantise_rows(w, a, rows, integers, row_scales);
    for (size_t b = 0; b < blocks; b++) {
        size_t left = w->inputs - b * INTEGER_BLOCK;
        p.pairs = (left < INTEGER_BLOCK ? left : INTEGER_BLOCK) / 2;
        for (size_t o = 0; o < w->outputs; o += GEMM_PANEL) {
            p.weights = panels + o * w->inputs + b * INTEGER_BLOCK * GEMM_PANEL;
            p.scales = bias + padded + o;
            p.bias = b == 0 ? bias + o : NULL;
            p.half = w->outputs - o < GEMM_PANEL;
            for (size_t row = 0; row < rows; row += TILE) {
                p.a = integers + row * w->inputs + b * INTEGER_BLOCK;
                p.row_scales = row_scales + row * blocks + b;
                p.out = out + row * w->outputs + o;
                p.ahead = row < AHEAD ? w->inputs : 0;
                tiles[rows - row < TILE ? rows - row : TILE](&p);
            }
        }
    }
    return true;
}
#endif

const struct gemm_kernel gemm_fx16_avx2 = {
    .name = "fx16 avx2",
    .needs = "AVX2",
    .usable = gemm_avx2_usable,
#ifdef __x86_64__
    .packed_size = packed_size,
    .scratch_size = scratch_size,
    .pack = pack,
    .multiply = multiply,
#endif
};
