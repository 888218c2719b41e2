/* gemm_fx16_avx2.c: products in 16-bit fixed point on CPUs with AVX2. It runs in workers. vpmaddwd multiplies pairs of
 * integers and adds the two products. */
#include "handlers/embed/gemm_avx2.h"
#include "handlers/embed/gemm_fx16.h"

#ifdef __x86_64__

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
    struct fx16 x = gemm_fx16_rows(w, a, rows, scratch);
    struct piece p = {.inputs = w->inputs, .outputs = w->outputs, .row_scale_stride = x.blocks};
    for (size_t b = 0; b < x.blocks; b++) {
        size_t left = w->inputs - b * INTEGER_BLOCK;
        p.pairs = (left < INTEGER_BLOCK ? left : INTEGER_BLOCK) / 2;
        for (size_t o = 0; o < w->outputs; o += GEMM_PANEL) {
            p.weights = x.panels + o * w->inputs + b * INTEGER_BLOCK * GEMM_PANEL;
            p.scales = x.scales + o;
            p.bias = b == 0 ? x.bias + o : NULL;
            p.half = w->outputs - o < GEMM_PANEL;
            for (size_t row = 0; row < rows; row += TILE) {
                p.a = x.rows + row * w->inputs + b * INTEGER_BLOCK;
                p.row_scales = x.row_scales + row * x.blocks + b;
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
    .packed_size = gemm_fx16_packed_size,
    .scratch_size = gemm_fx16_scratch_size,
    .pack = gemm_fx16_pack,
    .multiply = multiply,
#endif
};
