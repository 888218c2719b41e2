/* gemm_bf16_onednn.c: products in bf16, by oneDNN, on CPUs with AMX, or with AVX512_BF16 alone. It runs in workers.
 *
 * A product of oneDNN has onednn_rows() rows: a call makes as many products as its rows need, and the last one is filled
 * up with rows of zeros.
 *
 *     packed    the biases, and then the weights in oneDNN's order
 *     scratch   the rows as bf16, and then the results of the last product, which the caller's memory has no room for */
#include "handlers/embed/gemm.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/embed/onednn.h"

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bf16")))

_Static_assert(GEMM_ROWS % ONEDNN_MOST_ROWS == 0, "filled up, they are no more than GEMM_ROWS");

/* ---- the CPU ----------------------------------------------------------------------------------------------------- */

static bool has_avx512_bf16(void) {
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl");
}

/* AMX-BF16 and AMX-TILE of CPUID 7 (Intel SDM, volume 2, CPUID). Not every compiler has names for them. */
static bool has_amx(void) {
    const unsigned wanted = 1u << 22 | 1u << 24;
    unsigned a, b, c, d;
    return has_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & wanted) == wanted;
}

static const char *open_for_amx(void) {
    const char *wrong = onednn_open();
    return wrong != NULL ? wrong : onednn_has_amx() ? NULL : "oneDNN does not use AMX here";
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

static size_t bias_size(const struct gemm_matrix *w) {
    return gemm_align(w->outputs * sizeof(float));
}

static const char *prepare(struct gemm_matrix *w) {
    struct onednn_product *made = NULL;
    const char *wrong = onednn_product_new(w->outputs, w->inputs, &made);
    w->prepared = made;
    return wrong;
}

static void release(struct gemm_matrix *w) {
    onednn_product_free(w->prepared);
    w->prepared = NULL;
}

static size_t packed_size(const struct gemm_matrix *w) {
    return bias_size(w) + gemm_align(onednn_packed_size(w->prepared));
}

/* The nearest bf16; of two that are as near, the even one. For finite numbers. */
static uint16_t rounded(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static const char *pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed) {
    uint16_t *weights = malloc((size_t)w->outputs * w->inputs * sizeof *weights);
    float *bias = packed;
    if (weights == NULL)
        return "no memory";
    for (uint32_t o = 0; o < w->outputs; o++) {
        const float *from = gemm_output(parts, count, o, &bias[o]);
        for (size_t i = 0; i < w->inputs; i++)
            weights[(size_t)o * w->inputs + i] = rounded(from[i]);
    }
    const char *wrong = onednn_pack(w->prepared, weights, bias, (char *)packed + bias_size(w));
    free(weights);
    return wrong;
}

/* ---- multiplying ------------------------------------------------------------------------------------------------- */

static size_t rows_size(uint32_t inputs) {
    return gemm_align((size_t)GEMM_ROWS * inputs * sizeof(uint16_t));
}

static size_t scratch_size(uint32_t outputs, uint32_t inputs) {
    return rows_size(inputs) + gemm_align((size_t)ONEDNN_MOST_ROWS * outputs * sizeof(float));
}

/* `count` is a multiple of 8. */
static TARGET void round_all(const float *from, size_t count, uint16_t *to) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(to + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i)));
    if (i < count)
        _mm_storeu_si128((__m128i *)(void *)(to + i), (__m128i)_mm256_cvtneps_pbh(_mm256_loadu_ps(from + i)));
}

static bool multiply(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    uint16_t *rounded_rows = scratch;
    float *last = (float *)(void *)((char *)scratch + rows_size(w->inputs));
    size_t height = onednn_rows(), count = rows * w->inputs, left = rows % height, whole = rows - left;
    round_all(a, count, rounded_rows);
    for (size_t row = 0; row < whole; row += height)
        if (!onednn_multiply(w->prepared, rounded_rows + row * w->inputs, out + row * w->outputs))
            return false;
    if (left == 0)
        return true;
    memset(rounded_rows + count, 0, (height - left) * w->inputs * sizeof *rounded_rows);
    if (!onednn_multiply(w->prepared, rounded_rows + whole * w->inputs, last))
        return false;
    memcpy(out + whole * w->outputs, last, left * w->outputs * sizeof *out);
    return true;
}
#else
static bool has_avx512_bf16(void) {
    return false;
}

static bool has_amx(void) {
    return false;
}
#endif

const struct gemm_kernel gemm_bf16_amx = {
    .name = "bf16 amx",
    .needs = "AMX",
    .usable = has_amx,
#ifdef __x86_64__
    .open = open_for_amx,
    .prepare = prepare,
    .release = release,
    .packed_size = packed_size,
    .scratch_size = scratch_size,
    .pack = pack,
    .multiply = multiply,
#endif
};

const struct gemm_kernel gemm_bf16_avx512 = {
    .name = "bf16 avx512",
    .needs = "AVX512_BF16",
    .usable = has_avx512_bf16,
#ifdef __x86_64__
    .open = onednn_open,
    .prepare = prepare,
    .release = release,
    .packed_size = packed_size,
    .scratch_size = scratch_size,
    .pack = pack,
    .multiply = multiply,
#endif
};
