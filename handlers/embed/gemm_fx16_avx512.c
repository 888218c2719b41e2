/* gemm_fx16_avx512.c: products in 16-bit fixed point on CPUs with AVX-512 and its VNNI. It runs in workers. vpdpwssd
 * multiplies pairs of integers and adds the two products to a sum.
 *
 * A tile is 12 rows by two panels of 16 outputs: 24 registers of sums, two of weights and one pair of a row, of 32. */
#include "handlers/embed/gemm_fx16.h"

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vnni")))
#define TILE   12
#define AHEAD  (4 * TILE) /* the rows during which the next panels are fetched into the cache */

static bool usable(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}

/* What a tile works on: `pairs` pairs of inputs of two panels, and of its rows. */
struct piece {
    const int16_t *weights, *a;
    size_t second; /* vectors from the first panel to the second; 0 if there is none */
    size_t pairs, inputs, outputs;
    size_t ahead;            /* vectors from a panel to the one that is fetched meanwhile */
    const float *scales;     /* of the outputs */
    const float *row_scales; /* of the first row */
    size_t row_scale_stride;
    const float *bias; /* NULL: the sums go on from what is in `out` */
    float *out;
    __mmask16 there[2]; /* the outputs that each panel has */
};

static inline __attribute__((always_inline)) TARGET void put(const struct piece *p, size_t row, int panel,
                                                             __m512i sum) {
    size_t at = (size_t)panel * GEMM_PANEL;
    __mmask16 there = p->there[panel];
    float *out = p->out + row * p->outputs + at;
    __m512 scale = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, p->scales + at),
                                 _mm512_set1_ps(p->row_scales[row * p->row_scale_stride]));
    __m512 before = _mm512_maskz_loadu_ps(there, p->bias != NULL ? p->bias + at : out);
    _mm512_mask_storeu_ps(out, there, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, before));
}

/* Around the intrinsic _mm512_dpwssd_epi32, gcc 12 copies the sums from register to register, and into memory. */
static inline __attribute__((always_inline)) TARGET void add_products(__m512i *sum, __m512i a, __m512i b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

/* `height` is a constant where this is called, so that the sums stay in registers. */
static inline __attribute__((always_inline)) TARGET void tile(const struct piece *p, int height) {
    __m512i sums[TILE][2];
    const __m512i *w = (const __m512i *)(const void *)p->weights;
    const int16_t *a = p->a, *end = a + 2 * p->pairs;
    size_t inputs = p->inputs, second = p->second, ahead = p->ahead;
#pragma GCC unroll 12
    for (int r = 0; r < height; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (; a < end; a += 2, w++) {
        _mm_prefetch((const char *)(w + ahead), _MM_HINT_T0);
        _mm_prefetch((const char *)(w + second + ahead), _MM_HINT_T0);
        __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + second);
#pragma GCC unroll 12
        for (int r = 0; r < height; r++) {
            int32_t pair;
            __builtin_memcpy(&pair, a + (size_t)r * inputs, sizeof pair);
            __m512i x = _mm512_set1_epi32(pair);
            add_products(&sums[r][0], x, w0);
            add_products(&sums[r][1], x, w1);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < height; r++) {
        put(p, (size_t)r, 0, sums[r][0]);
        put(p, (size_t)r, 1, sums[r][1]);
    }
}

#define TILE_OF(height)                                                                                                \
    static TARGET void tile_##height(const struct piece *p) {                                                          \
        tile(p, height);                                                                                               \
    }
TILE_OF(1)
TILE_OF(2)
TILE_OF(3)
TILE_OF(4)
TILE_OF(5)
TILE_OF(6)
TILE_OF(7)
TILE_OF(8)
TILE_OF(9)
TILE_OF(10)
TILE_OF(11)
TILE_OF(12)
static void (*const tiles[TILE + 1])(const struct piece *) = {NULL,   tile_1, tile_2, tile_3,  tile_4,  tile_5, tile_6,
                                                              tile_7, tile_8, tile_9, tile_10, tile_11, tile_12};

static __mmask16 first_lanes(size_t count) {
    return (__mmask16)(count < GEMM_PANEL ? (1u << count) - 1 : 0xffff);
}

static bool multiply(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    struct fx16 x = gemm_fx16_rows(w, a, rows, scratch);
    struct piece p = {.inputs = w->inputs, .outputs = w->outputs, .row_scale_stride = x.blocks};
    for (size_t b = 0; b < x.blocks; b++) {
        size_t inputs_left = w->inputs - b * INTEGER_BLOCK;
        p.pairs = (inputs_left < INTEGER_BLOCK ? inputs_left : INTEGER_BLOCK) / 2;
        for (size_t o = 0; o < w->outputs; o += 2 * GEMM_PANEL) {
            size_t left = w->outputs - o;
            p.weights = x.panels + o * w->inputs + b * INTEGER_BLOCK * GEMM_PANEL;
            p.second = left > GEMM_PANEL ? w->inputs / 2 : 0;
            p.scales = x.scales + o;
            p.bias = b == 0 ? x.bias + o : NULL;
            p.there[0] = first_lanes(left);
            p.there[1] = left > GEMM_PANEL ? first_lanes(left - GEMM_PANEL) : 0;
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
#else
static bool usable(void) {
    return false;
}
#endif

const struct gemm_kernel gemm_fx16_avx512 = {
    .name = "fx16 avx512",
    .needs = "AVX512_VNNI",
    .usable = usable,
#ifdef __x86_64__
    .packed_size = gemm_fx16_packed_size,
    .scratch_size = gemm_fx16_scratch_size,
    .pack = gemm_fx16_pack,
    .multiply = multiply,
#endif
};
