/* gemm_int8_avx2.c: products of 8-bit weights and 7-bit numbers on CPUs with AVX2. It runs in workers. It is no quicker
 * than fx16 for more than a few tokens and far less exact; its weights take half of the memory.
 *
 * Inputs are taken in blocks of INTEGER_BLOCK. A row has a scale for each block, by which its numbers become integers from
 * -LARGEST to LARGEST; OFFSET is added, for vpmaddubsw wants one side without signs. It adds two products in 16 bits,
 * which cannot overflow: 2 * (OFFSET + LARGEST) * 127 < 2^15. What OFFSET brought in is taken off each sum: OFFSET times
 * the sum of the weights.
 *
 *     packed   the biases, the scales, the sums of the weights in each block, and then panels: for each four inputs the
 *              four weights of each of the outputs */
#include "handlers/embed/gemm_avx2.h"

#ifdef __x86_64__
#include <float.h>
#include <math.h>

#define LARGEST 63
#define OFFSET  64
#define WEIGHT  127 /* the largest weight */

/* ---- packing ----------------------------------------------------------------------------------------------------- */

struct packed {
    float *bias, *scales;
    int32_t *sums; /* [block][output] */
    int8_t *panels;
    size_t padded; /* outputs */
};

static struct packed parts_of(const void *memory, uint32_t outputs, uint32_t inputs) {
    struct packed p = {.bias = (float *)(uintptr_t)memory, .padded = gemm_panels(outputs) * GEMM_PANEL};
    p.scales = p.bias + p.padded;
    p.sums = (int32_t *)(void *)(p.scales + p.padded);
    p.panels = (int8_t *)(p.sums + gemm_blocks(inputs) * p.padded);
    return p;
}

static size_t packed_size(const struct gemm_matrix *w) {
    size_t padded = gemm_panels(w->outputs) * GEMM_PANEL;
    return gemm_align(padded * ((2 + gemm_blocks(w->inputs)) * sizeof(float) + w->inputs));
}

static float scale_of(const float *weights, uint32_t inputs) {
    float largest = 0;
    for (uint32_t i = 0; i < inputs; i++)
        largest = fmaxf(largest, fabsf(weights[i]));
    return largest < FLT_MIN * WEIGHT ? 1 : largest / WEIGHT; /* 1: all are zero, or next to it */
}

static void pack_output(const struct packed *p, uint32_t output, const float *from, uint32_t inputs) {
    int8_t *to = p->panels + (size_t)(output / GEMM_PANEL) * GEMM_PANEL * inputs + (size_t)(output % GEMM_PANEL) * 4;
    p->scales[output] = from == NULL ? 1 : scale_of(from, inputs);
    for (size_t b = 0; b < gemm_blocks(inputs); b++)
        p->sums[b * p->padded + output] = 0;
    for (size_t i = 0; i < inputs; i++) {
        long q = from == NULL ? 0 : lrintf(from[i] / p->scales[output]);
        q = q > WEIGHT ? WEIGHT : q < -WEIGHT ? -WEIGHT : q;
        to[i / 4 * 4 * GEMM_PANEL + i % 4] = (int8_t)q;
        p->sums[i / INTEGER_BLOCK * p->padded + output] += OFFSET * (int32_t)q;
    }
}

static const char *pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *memory) {
    struct packed p = parts_of(memory, w->outputs, w->inputs);
    for (uint32_t o = 0; o < p.padded; o++) {
        const float *from = gemm_output(parts, count, o, &p.bias[o]);
        pack_output(&p, o, from, w->inputs);
    }
    return NULL;
}

/* ---- the rows ---------------------------------------------------------------------------------------------------- */

/* The integers of all rows, and then the scales of each row: one for each of its blocks. */
static size_t scratch_size(uint32_t outputs, uint32_t inputs) {
    (void)outputs;
    return gemm_align(GEMM_ROWS * (inputs + gemm_blocks(inputs) * sizeof(float)));
}

/* Makes `count` numbers, a multiple of 8, into integers. Returns their scale. */
static TARGET float quantise(const float *a, size_t count, uint8_t *to) {
    float largest = gemm_largest(a, count), scale = largest / LARGEST;
    const __m256 factor = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
    const __m128i offset = _mm_set1_epi16(OFFSET);
    for (size_t i = 0; i < count; i += 8) {
        __m128i words = _mm_add_epi16(gemm_integers(a + i, factor, LARGEST), offset);
        _mm_storel_epi64((__m128i *)(void *)(to + i), _mm_packus_epi16(words, words));
    }
    return scale;
}

static void quantise_rows(const struct gemm_matrix *w, const float *a, size_t rows, uint8_t *to, float *scales) {
    size_t blocks = gemm_blocks(w->inputs);
    for (size_t row = 0; row < rows; row++)
        for (size_t b = 0; b < blocks; b++) {
            size_t at = row * w->inputs + b * INTEGER_BLOCK, left = w->inputs - b * INTEGER_BLOCK;
            scales[row * blocks + b] = quantise(a + at, left < INTEGER_BLOCK ? left : INTEGER_BLOCK, to + at);
        }
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* What a tile works on: `fours` times four inputs of a panel, and of its rows. */
struct piece {
    const int8_t *weights;
    const uint8_t *a;
    size_t fours, inputs, outputs;
    size_t ahead;            /* vectors from this panel to the one that is fetched meanwhile */
    const int32_t *sums;     /* OFFSET times the sums of the weights, of the outputs */
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
    sum = _mm256_sub_epi32(sum, _mm256_loadu_si256((const __m256i *)(const void *)(p->sums + at)));
    _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, before));
}

/* `height` is a constant where this is called, so that the sums stay in registers. */
static inline __attribute__((always_inline)) TARGET void tile(const struct piece *p, int height) {
    __m256i sums[TILE][2];
    const __m256i *w = (const __m256i *)(const void *)p->weights;
    const uint8_t *a = p->a, *end = a + 4 * p->fours;
    const __m256i ones = _mm256_set1_epi16(1);
    size_t inputs = p->inputs, ahead = p->ahead;
#pragma GCC unroll 6
    for (int r = 0; r < height; r++)
        sums[r][0] = sums[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (; a < end; a += 4, w += 2) {
        _mm_prefetch((const char *)(w + ahead), _MM_HINT_T0);
        __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
#pragma GCC unroll 6
        for (int r = 0; r < height; r++) {
            int32_t four;
            __builtin_memcpy(&four, a + (size_t)r * inputs, sizeof four);
            __m256i x = _mm256_set1_epi32(four);
            sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w0), ones));
            sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(_mm256_maddubs_epi16(x, w1), ones));
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
    size_t blocks = gemm_blocks(w->inputs);
    uint8_t *integers = scratch;
    float *row_scales = (float *)(void *)(integers + GEMM_ROWS * w->inputs);
    struct packed packed = parts_of(w->packed, w->outputs, w->inputs);
    struct piece p = {.inputs = w->inputs, .outputs = w->outputs, .row_scale_stride = blocks};
    quantise_rows(w, a, rows, integers, row_scales);
    for (size_t b = 0; b < blocks; b++) {
        size_t left = w->inputs - b * INTEGER_BLOCK;
        p.fours = (left < INTEGER_BLOCK ? left : INTEGER_BLOCK) / 4;
        for (size_t o = 0; o < w->outputs; o += GEMM_PANEL) {
            p.weights = packed.panels + o * w->inputs + b * INTEGER_BLOCK * GEMM_PANEL;
            p.scales = packed.scales + o;
            p.sums = packed.sums + b * packed.padded + o;
            p.bias = b == 0 ? packed.bias + o : NULL;
            p.half = w->outputs - o < GEMM_PANEL;
            for (size_t row = 0; row < rows; row += TILE) {
                p.a = integers + row * w->inputs + b * INTEGER_BLOCK;
                p.row_scales = row_scales + row * blocks + b;
                p.out = out + row * w->outputs + o;
                p.ahead = row < AHEAD ? w->inputs / 2 : 0;
                tiles[rows - row < TILE ? rows - row : TILE](&p);
            }
        }
    }
    return true;
}
#endif

const struct gemm_kernel gemm_int8_avx2 = {
    .name = "int8 avx2",
    .needs = "AVX2",
    .usable = gemm_avx2_usable,
#ifdef __x86_64__
    .packed_size = packed_size,
    .scratch_size = scratch_size,
    .pack = pack,
    .multiply = multiply,
#endif
};
