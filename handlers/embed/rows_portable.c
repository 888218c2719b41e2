/* rows_portable.c: what the encoder does between two products, on any CPU. */
#define LANES        4
#define TILE         6
#define WIDTH        2
#define FMA(a, b, c) ((a) * (b) + (c))
#define MAX(a, b)    larger(a, b)
#define TARGET

#include <stdint.h>

typedef float lanes __attribute__((vector_size(16)));
typedef int32_t masks __attribute__((vector_size(16)));

static inline lanes larger(lanes a, lanes b) {
    masks first = a > b;
    return (lanes)((first & (masks)a) | (~first & (masks)b));
}

#include "handlers/embed/rows_body.h"

static bool usable(void) {
    return true;
}

const struct rows_kernel rows_portable = {"portable", usable, layer_norm, gelu, head_gather, head_attend};
