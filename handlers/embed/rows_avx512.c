/* rows_avx512.c: attention on CPUs with AVX-512. Layer norms and GELU are those of AVX2: their divisions take as long. */
#include "handlers/embed/rows.h"

#ifdef __x86_64__
#include <immintrin.h>

#define LANES        16
#define TILE         12
#define WIDTH        1
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MAX(a, b)    _mm512_max_ps(a, b)
#define TARGET       __attribute__((target("avx512f,avx512dq")))

#include "handlers/embed/rows_body.h"

static bool usable(void) {
    return rows_avx2.usable() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

static void layer_norm(float *x, const float *add, size_t rows, uint32_t hidden, const struct layer_norm *norm,
                       float epsilon) {
    rows_avx2.layer_norm(x, add, rows, hidden, norm, epsilon);
}

static void gelu(float *x, size_t count) {
    rows_avx2.gelu(x, count);
}

const struct rows_kernel rows_avx512 = {"avx512", usable, layer_norm, gelu, head_gather, head_attend};
#else
static bool usable(void) {
    return false;
}

const struct rows_kernel rows_avx512 = {"avx512", usable, NULL, NULL, NULL, NULL};
#endif
