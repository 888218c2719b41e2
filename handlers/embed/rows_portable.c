/* rows_portable.c: what the encoder does between two products, on any CPU. */
#define LANES        4
#define TILE         6
#define WIDTH        2
#define FMA(a, b, c) ((a) * (b) + (c))
#define MAX(a, b)    larger(a, b)
#define TARGET

#include <stdint.h>

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_ints __attribute__((vector_size(16)));

static inline four larger(four a, four b) {
    four_ints first = a > b;
    return (four)((first & (four_ints)a) | (~first & (four_ints)b));
}

#include "handlers/embed/rows_body.h"

static bool usable(void) {
    return true;
}

const struct rows_kernel rows_portable = {"portable", usable, layer_norm, gelu, head_gather, head_attend};
