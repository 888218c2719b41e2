/* rows_avx2.c: what the encoder does between two products, on CPUs with AVX2 and FMA. */
#include "handlers/embed/rows.h"

static bool usable(void) {
#ifdef __x86_64__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

#ifdef __x86_64__
#include <immintrin.h>

#define LANES        8
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MAX(a, b)    _mm256_max_ps(a, b)
#define TARGET       __attribute__((target("avx2,fma")))

#include "handlers/embed/rows_body.h"

const struct rows_kernel rows_avx2 = {"avx2", usable, layer_norm, gelu, head_gather, head_attend};
#else
const struct rows_kernel rows_avx2 = {"avx2", usable, NULL, NULL, NULL, NULL};
#endif
