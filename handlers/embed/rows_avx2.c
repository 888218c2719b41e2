/* rows_avx2.c: what the encoder does between two products, on CPUs with AVX2 and FMA. */
#include "handlers/embed/gemm_avx2.h"
#include "handlers/embed/rows.h"

#ifdef __x86_64__
#define LANES        8
#define WIDTH        2
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MAX(a, b)    _mm256_max_ps(a, b)

#include "handlers/embed/rows_body.h"

const struct rows_kernel rows_avx2 = {"avx2", gemm_avx2_usable, layer_norm, gelu, head_gather, head_attend};
#else
const struct rows_kernel rows_avx2 = {"avx2", gemm_avx2_usable, NULL, NULL, NULL, NULL};
#endif
