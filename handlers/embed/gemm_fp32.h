/* gemm_fp32.h: how the fp32 kernels pack weights: panels of GEMM_PANEL outputs, and in a panel the weights of all its
 * outputs for an input, then for the next input. The biases come first. */
#ifndef OFFLOAD_EMBED_GEMM_FP32_H
#define OFFLOAD_EMBED_GEMM_FP32_H

#include "handlers/embed/gemm.h"

size_t gemm_fp32_packed_size(const struct gemm_matrix *w);
const char *gemm_fp32_pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed);

static inline const float *gemm_fp32_panel(const struct gemm_matrix *w, size_t panel) {
    return (const float *)w->packed + gemm_panels(w->outputs) * GEMM_PANEL + panel * GEMM_PANEL * w->inputs;
}

#endif
