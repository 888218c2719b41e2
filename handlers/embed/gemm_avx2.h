/* gemm_avx2.h: what the kernels for AVX2 have in common: their target, and tiles of one to TILE rows. */
#ifndef OFFLOAD_EMBED_GEMM_AVX2_H
#define OFFLOAD_EMBED_GEMM_AVX2_H

#include "handlers/embed/gemm.h"

static inline bool gemm_avx2_usable(void) {
#ifdef __x86_64__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define TILE   6
#define AHEAD  (4 * TILE) /* the rows during which the next panel is fetched into the cache */

/* tiles[n] does n rows, by `tile(piece, height)`, in which the height is a constant, so that the sums stay in registers. */
#define TILE_OF(height)                                                                                                \
    static TARGET void tile_##height(const struct piece *p) {                                                          \
        tile(p, height);                                                                                               \
    }
#define TILES                                                                                                          \
    TILE_OF(1)                                                                                                         \
    TILE_OF(2)                                                                                                         \
    TILE_OF(3)                                                                                                         \
    TILE_OF(4)                                                                                                         \
    TILE_OF(5)                                                                                                         \
    TILE_OF(6)                                                                                                         \
    static void (*const tiles[TILE + 1])(const struct piece *) = {NULL, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

/* The largest magnitude of `count` numbers, a multiple of 8. */
static inline TARGET float gemm_largest(const float *a, size_t count) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 most = _mm256_setzero_ps();
    float lanes[8], largest = 0;
    for (size_t i = 0; i < count; i += 8)
        most = _mm256_max_ps(most, _mm256_and_ps(magnitude, _mm256_loadu_ps(a + i)));
    _mm256_storeu_ps(lanes, most);
    for (int i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

/* ---- for kernels of integers ------------------------------------------------------------------------------------- */

/* Eight numbers times a factor, as integers from -largest to largest. */
static inline TARGET __m128i gemm_integers(const float *a, __m256 factor, int16_t largest) {
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(a), factor));
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_max_epi16(_mm_min_epi16(words, _mm_set1_epi16(largest)), _mm_set1_epi16((int16_t)-largest));
}

#endif
#endif
