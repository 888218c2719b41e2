/* gemm_fp32_avx2.c: products in fp32 on CPUs with AVX2 and FMA. It runs in workers.
 *
 * A tile is 6 rows by 16 outputs: 12 registers of sums, two of weights and one number of a row, of 16 registers. Weights
 * are taken in blocks of BLOCK inputs, of which a panel stays in the first-level cache while the rows pass by. */
#include "handlers/embed/gemm_avx2.h"
#include "handlers/embed/gemm_fp32.h"

#ifdef __x86_64__

#define BLOCK 256

static size_t scratch_size(uint32_t outputs, uint32_t inputs) {
    (void)outputs, (void)inputs;
    return 0;
}

/* What a tile works on: `count` inputs of a panel, and of its rows. */
struct piece {
    const float *weights, *a;
    size_t count, inputs, outputs;
    size_t ahead;      /* numbers from this panel to the one that is fetched meanwhile */
    const float *bias; /* NULL: the sums go on from what is in `out` */
    float *out;
    bool half; /* the panel has 8 outputs only */
};

/* `height` is a constant where this is called, so that the sums stay in registers. */
static inline __attribute__((always_inline)) TARGET void tile(const struct piece *p, int height) {
    __m256 sums[TILE][2];
    const float *w = p->weights, *a = p->a, *end = a + p->count;
    size_t inputs = p->inputs, ahead = p->ahead;
#pragma GCC unroll 6
    for (int r = 0; r < height; r++) {
        const float *from = p->bias != NULL ? p->bias : p->out + (size_t)r * p->outputs;
        sums[r][0] = _mm256_loadu_ps(from);
        sums[r][1] = p->half ? _mm256_setzero_ps() : _mm256_loadu_ps(from + 8);
    }
#pragma GCC unroll 4
    for (; a < end; a++, w += GEMM_PANEL) {
        _mm_prefetch((const char *)(w + ahead), _MM_HINT_T0);
        __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8);
#pragma GCC unroll 6
        for (int r = 0; r < height; r++) {
            __m256 x = _mm256_broadcast_ss(a + (size_t)r * inputs);
            sums[r][0] = _mm256_fmadd_ps(x, w0, sums[r][0]);
            sums[r][1] = _mm256_fmadd_ps(x, w1, sums[r][1]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < height; r++) {
        _mm256_storeu_ps(p->out + (size_t)r * p->outputs, sums[r][0]);
        if (!p->half)
            _mm256_storeu_ps(p->out + (size_t)r * p->outputs + 8, sums[r][1]);
    }
}

TILES

static bool multiply(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    struct piece p = {.inputs = w->inputs, .outputs = w->outputs};
    (void)scratch;
    for (size_t at = 0; at < w->inputs; at += BLOCK) {
        p.count = w->inputs - at < BLOCK ? w->inputs - at : BLOCK;
        for (size_t o = 0; o < w->outputs; o += GEMM_PANEL) {
            p.weights = gemm_fp32_panel(w, o / GEMM_PANEL) + at * GEMM_PANEL;
            p.bias = at == 0 ? (const float *)w->packed + o : NULL;
            p.half = w->outputs - o < GEMM_PANEL;
            for (size_t row = 0; row < rows; row += TILE) {
                p.a = a + row * w->inputs + at;
                p.out = out + row * w->outputs + o;
                p.ahead = row < AHEAD ? (size_t)w->inputs * GEMM_PANEL : 0;
                tiles[rows - row < TILE ? rows - row : TILE](&p);
            }
        }
    }
    return true;
}
#endif

const struct gemm_kernel gemm_fp32_avx2 = {
    .name = "fp32 avx2",
    .needs = "AVX2",
    .usable = gemm_avx2_usable,
#ifdef __x86_64__
    .packed_size = gemm_fp32_packed_size,
    .scratch_size = scratch_size,
    .pack = gemm_fp32_pack,
    .multiply = multiply,
#endif
};
