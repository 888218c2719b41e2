/* gemm_portable.c: products in fp32 on any CPU, by vectors of four numbers, which every compiler target has or imitates.
 * It runs in workers. */
#include "handlers/embed/gemm_fp32.h"

#include <string.h>

#define LANES 4
#define TILE  4 /* rows; with two vectors of each row and of a weight they take 10 of the 16 registers of SSE2 */

typedef float vec __attribute__((vector_size(4 * LANES)));

/* ---- packing ----------------------------------------------------------------------------------------------------- */

size_t gemm_fp32_packed_size(const struct gemm_matrix *w) {
    return gemm_align(gemm_panels(w->outputs) * GEMM_PANEL * ((size_t)w->inputs + 1) * sizeof(float));
}

const char *gemm_fp32_pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed) {
    size_t padded = gemm_panels(w->outputs) * GEMM_PANEL, inputs = w->inputs;
    float *bias = packed, *panels = bias + padded;
    for (uint32_t o = 0; o < padded; o++) {
        const float *from = gemm_output(parts, count, o, &bias[o]);
        float *to = panels + (size_t)(o / GEMM_PANEL) * GEMM_PANEL * inputs + o % GEMM_PANEL;
        for (size_t i = 0; i < inputs; i++)
            to[i * GEMM_PANEL] = from == NULL ? 0 : from[i];
    }
    return NULL;
}

/* ---- multiplying ------------------------------------------------------------------------------------------------- */

static bool usable(void) {
    return true;
}

static size_t scratch_size(uint32_t outputs, uint32_t inputs) {
    (void)outputs, (void)inputs;
    return 0;
}

static inline vec load(const float *from) {
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

/* `height` rows by 8 outputs. It is a constant where this is called, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void tile(const float *weights, const float *bias, const float *a,
                                                       size_t inputs, float *out, size_t outputs, int height) {
    vec sums[TILE][2];
#pragma GCC unroll 4
    for (int r = 0; r < height; r++) {
        sums[r][0] = load(bias);
        sums[r][1] = load(bias + LANES);
    }
    for (size_t i = 0; i < inputs; i++, weights += GEMM_PANEL) {
        vec w0 = load(weights), w1 = load(weights + LANES);
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) {
            float x = a[(size_t)r * inputs + i];
            sums[r][0] += x * w0;
            sums[r][1] += x * w1;
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
        memcpy(out + (size_t)r * outputs, sums[r], sizeof sums[r]);
}

static bool multiply(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    const float *bias = w->packed;
    (void)scratch;
    for (uint32_t o = 0; o < w->outputs; o += 2 * LANES) {
        const float *weights = gemm_fp32_panel(w, o / GEMM_PANEL) + o % GEMM_PANEL;
        size_t row = 0;
        for (; row + TILE <= rows; row += TILE)
            tile(weights, bias + o, a + row * w->inputs, w->inputs, out + row * w->outputs + o, w->outputs, TILE);
        for (; row < rows; row++)
            tile(weights, bias + o, a + row * w->inputs, w->inputs, out + row * w->outputs + o, w->outputs, 1);
    }
    return true;
}

const struct gemm_kernel gemm_fp32_portable = {
    .name = "fp32 portable",
    .usable = usable,
    .packed_size = gemm_fp32_packed_size,
    .scratch_size = scratch_size,
    .pack = gemm_fp32_pack,
    .multiply = multiply,
};
