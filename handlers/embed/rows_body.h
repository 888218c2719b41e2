/* rows_body.h: the functions of rows.h, by vectors of LANES numbers. rows_avx512.c and its like include it after they have
 * said what a vector is: LANES, FMA(a, b, c), which is a * b + c, MAX(a, b), and TARGET, the attribute of each function.
 * Attention works on tiles of up to 6 or 12 queries, TILE, by WIDTH vectors, for whose sums there must be registers. They
 * run in workers. */
#include <math.h>
#include <string.h>

#include "handlers/embed/rows.h"

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

_Static_assert(TILE <= ROWS_TILE && ROWS_LANES % (WIDTH * LANES) == 0, "tiles fit into the caller's memory");

#define INLINE   static inline __attribute__((always_inline)) TARGET
#define SPLAT(x) ((x) - (vec){0})

INLINE vec load(const float *from) {
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, vec v) {
    memcpy(to, &v, sizeof v);
}

/* Makes the numbers 0 whose mask is ones. */
INLINE vec clear(ints mask, vec v) {
    return (vec)(~mask & (ints)v);
}

INLINE float sum(vec v) {
    float s = 0;
    for (int i = 0; i < LANES; i++)
        s += v[i];
    return s;
}

/* A row is a multiple of 8 numbers, so wider vectors are for attention alone. */
#if LANES <= 8
/* ---- layer norm -------------------------------------------------------------------------------------------------- */

/* The mean and the variance in two passes: one pass would lose digits where the mean is large. */
INLINE void norm_row(float *x, const float *add, uint32_t hidden, const struct layer_norm *norm, float epsilon) {
    vec total = {0}, squares = {0};
    for (uint32_t i = 0; i < hidden; i += LANES) {
        vec v = load(x + i) + load(add + i);
        store(x + i, v);
        total += v;
    }
    vec mean = SPLAT(sum(total) / (float)hidden);
    for (uint32_t i = 0; i < hidden; i += LANES) {
        vec v = load(x + i) - mean;
        squares = FMA(v, v, squares);
    }
    vec scale = SPLAT(1 / sqrtf(sum(squares) / (float)hidden + epsilon));
    for (uint32_t i = 0; i < hidden; i += LANES)
        store(x + i, FMA((load(x + i) - mean) * scale, load(norm->gain + i), load(norm->shift + i)));
}

static TARGET void layer_norm(float *x, const float *add, size_t rows, uint32_t hidden, const struct layer_norm *norm,
                              float epsilon) {
    for (size_t r = 0; r < rows; r++)
        norm_row(x + r * hidden, add + r * hidden, hidden, norm, epsilon);
}

/* ---- GELU -------------------------------------------------------------------------------------------------------- */

/* x Phi(x), where Phi(x) = 1/2 + x P(x^2) / Q(x^2) up to |x| = LIMIT, beyond which it is 0 or 1. P and Q are fitted to
 * erf (least squares with Lawson's weights, until the largest error of x Phi(x) was 2.2e-8). */
#define LIMIT 5.5f
INLINE vec gelu_of(vec x) {
    vec c = -MAX(-MAX(x, SPLAT(-LIMIT)), SPLAT(-LIMIT)), t = c * c;
    vec p = FMA(SPLAT(2.2226599227792576e-08f), t, SPLAT(6.5129902395710815e-06f));
    vec q = FMA(SPLAT(1.19434491807624e-06f), t, SPLAT(7.821946201147512e-05f));
    p = FMA(p, t, SPLAT(0.00018183562497142702f));
    q = FMA(q, t, SPLAT(0.0019569192081689835f));
    p = FMA(p, t, SPLAT(0.004755665082484484f));
    q = FMA(q, t, SPLAT(0.029345979914069176f));
    p = FMA(p, t, SPLAT(0.03505267575383186f));
    q = FMA(q, t, SPLAT(0.2545280158519745f));
    p = FMA(p, t, SPLAT(0.3989420533180237f));
    q = FMA(q, t, SPLAT(1.0f));
    return clear(x <= SPLAT(-LIMIT), x * FMA(c, p / q, SPLAT(0.5f)));
}

static TARGET void gelu(float *x, size_t count) {
    for (size_t i = 0; i < count; i += LANES)
        store(x + i, gelu_of(load(x + i)));
}

#endif
/* ---- attention --------------------------------------------------------------------------------------------------- */

/* e^x for x <= 0, off by at most 2e-7 of it; 0 for x < -87, where it would leave the range of normal numbers. It is
 * 2^n e^r with an integer n and |r| <= ln(2) / 2. Adding 1.5 * 2^23 rounds to an integer, whose bits are then the lowest
 * ones of the sum. */
INLINE vec exp_of(vec x) {
    vec rounder = SPLAT(12582912.0f);
    vec n = FMA(x, SPLAT(1.44269504f), rounder);
    words bits = (words)n << 23;
    n -= rounder;
    vec r = FMA(n, SPLAT(-0.693359375f), x);
    r = FMA(n, SPLAT(2.12194440e-4f), r);
    vec p = FMA(SPLAT(0.001394467311911285f), r, SPLAT(0.008333496749401093f));
    p = FMA(p, r, SPLAT(0.04166629537940025f));
    p = FMA(p, r, SPLAT(0.1666666567325592f));
    p = FMA(p, r, SPLAT(0.5f));
    p = FMA(p * r, r, r) + 1.0f;
    return clear(x < SPLAT(-87.0f), (vec)((words)p + bits));
}

/* Several vectors, whose sums are made at the same time. */
struct wide {
    vec part[WIDTH];
};

INLINE struct wide load_wide(const float *from) {
    struct wide w;
    for (int i = 0; i < WIDTH; i++)
        w.part[i] = load(from + i * LANES);
    return w;
}

/* The first `left` numbers, if that is less than all of them. */
INLINE void store_wide(float *to, struct wide w, size_t left) {
    if (left < WIDTH * LANES) {
        memcpy(to, &w, left * sizeof *to);
        return;
    }
    for (int i = 0; i < WIDTH; i++)
        store(to + i * LANES, w.part[i]);
}

INLINE void add_product(struct wide *sum, float factor, struct wide w) {
    for (int i = 0; i < WIDTH; i++)
        sum->part[i] = FMA(SPLAT(factor), w.part[i], sum->part[i]);
}

INLINE struct wide scaled(struct wide w, float factor) {
    for (int i = 0; i < WIDTH; i++)
        w.part[i] *= factor;
    return w;
}

typedef float four __attribute__((vector_size(16)));

/* Zeros for NULL. */
INLINE four load_four(const float *from) {
    four v = {0};
    if (from != NULL)
        memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store_four(float *to, four v) {
    memcpy(to, &v, sizeof v);
}

/* Four numbers of each of four keys, of which `count` are there, to four rows of a panel. */
INLINE void transpose(const float *keys, size_t stride, size_t count, float *to) {
    four a = load_four(count > 0 ? keys : NULL), b = load_four(count > 1 ? keys + stride : NULL);
    four c = load_four(count > 2 ? keys + 2 * stride : NULL), d = load_four(count > 3 ? keys + 3 * stride : NULL);
    four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    store_four(to, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
    store_four(to + ROWS_LANES, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    store_four(to + 2 * ROWS_LANES, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
    store_four(to + 3 * ROWS_LANES, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
}

/* Keys become panels of ROWS_LANES of them: their first numbers, their second numbers and so on, with zeros for keys that
 * are not there. Values become rows that lie end to end, and are filled up with zeros. So both are read in the order in
 * which they lie, and not at steps of a power of two, which would use few sets of the first-level cache. */
static TARGET void head_gather(const struct head *h) {
    size_t tokens = h->tokens, keys = rows_padded(tokens), size = h->size, padded = rows_padded(size);
    for (size_t t = 0; t < keys; t += 4) {
        size_t count = t < tokens ? tokens - t : 0;
        const float *key = h->key + (count > 0 ? t : 0) * h->stride;
        float *to = h->keys + t / ROWS_LANES * ROWS_LANES * size + t % ROWS_LANES;
        for (size_t i = 0; i < size; i += 4)
            transpose(key + i, h->stride, count, to + i * ROWS_LANES);
    }
    for (size_t t = 0; t < tokens; t++) {
        const float *value = h->value + t * h->stride;
        float *to = h->values + t * padded;
        for (size_t i = 0; i < size; i += 4)
            store_four(to + i, load_four(value + i));
        for (size_t i = size; i < padded; i++)
            to[i] = 0;
    }
}

/* weights = query . key, of `height` queries with all keys. `height` is a constant where this is called. */
INLINE void score(const struct head *h, const float *query, int height) {
    size_t padded = rows_padded(h->tokens), stride = h->stride, size = h->size;
    for (size_t k = 0; k < padded; k += WIDTH * LANES) {
        const float *keys = h->keys + k / ROWS_LANES * ROWS_LANES * size + k % ROWS_LANES;
        float *out = h->weights + k;
        struct wide sums[TILE];
#pragma GCC unroll 12
        for (int r = 0; r < height; r++)
            sums[r] = (struct wide){0};
        for (size_t i = 0; i < size; i++) {
            struct wide k_i = load_wide(keys + i * ROWS_LANES);
#pragma GCC unroll 12
            for (int r = 0; r < height; r++)
                add_product(&sums[r], query[(size_t)r * stride + i], k_i);
        }
#pragma GCC unroll 12
        for (int r = 0; r < height; r++)
            store_wide(out + (size_t)r * padded, sums[r], WIDTH * LANES);
    }
}

/* Scores become e^(scale (score - the largest one)). Returns 1 / their sum. */
INLINE float soften(float *weights, size_t tokens, float scale) {
    size_t padded = rows_padded(tokens);
    vec most = SPLAT(-INFINITY), total = {0};
    for (size_t k = tokens; k < padded; k++)
        weights[k] = -INFINITY;
    for (size_t k = 0; k < padded; k += LANES)
        most = MAX(load(weights + k), most);
    float largest = most[0];
    for (int i = 1; i < LANES; i++)
        largest = most[i] > largest ? most[i] : largest;
    for (size_t k = 0; k < padded; k += LANES) {
        vec e = exp_of((load(weights + k) - largest) * scale);
        store(weights + k, e);
        total += e;
    }
    return 1 / sum(total);
}

/* out = the values, by their weights. */
INLINE void mix(const struct head *h, const float *factors, float *out, size_t out_stride, int height) {
    size_t keys = rows_padded(h->tokens), size = rows_padded(h->size), tokens = h->tokens;
    for (size_t i = 0; i < h->size; i += WIDTH * LANES) {
        const float *values = h->values + i, *weights = h->weights;
        struct wide sums[TILE];
#pragma GCC unroll 12
        for (int r = 0; r < height; r++)
            sums[r] = (struct wide){0};
        for (size_t k = 0; k < tokens; k++) {
            struct wide v = load_wide(values + k * size);
#pragma GCC unroll 12
            for (int r = 0; r < height; r++)
                add_product(&sums[r], weights[(size_t)r * keys + k], v);
        }
#pragma GCC unroll 12
        for (int r = 0; r < height; r++)
            store_wide(out + (size_t)r * out_stride + i, scaled(sums[r], factors[r]), h->size - i);
    }
}

INLINE void attend(const struct head *h, size_t first, float *out, size_t out_stride, int height) {
    float factors[TILE], scale = 1 / sqrtf((float)h->size);
    score(h, h->query + first * h->stride, height);
    for (int r = 0; r < height; r++)
        factors[r] = soften(h->weights + (size_t)r * rows_padded(h->tokens), h->tokens, scale);
    mix(h, factors, out + first * out_stride, out_stride, height);
}

#define ATTEND(height)                                                                                                 \
    static TARGET void attend_##height(const struct head *h, size_t first, float *out, size_t out_stride) {            \
        attend(h, first, out, out_stride, height);                                                                     \
    }
ATTEND(1)
ATTEND(2)
ATTEND(3)
ATTEND(4)
ATTEND(5)
ATTEND(6)
#if TILE == 12
ATTEND(7)
ATTEND(8)
ATTEND(9)
ATTEND(10)
ATTEND(11)
ATTEND(12)
#endif

static void head_attend(const struct head *h, size_t first, size_t count, float *out, size_t out_stride) {
    static void (*const tiles[])(const struct head *, size_t, float *, size_t) = {
        NULL,
        attend_1,
        attend_2,
        attend_3,
        attend_4,
        attend_5,
        attend_6,
#if TILE == 12
        attend_7,
        attend_8,
        attend_9,
        attend_10,
        attend_11,
        attend_12,
#endif
    };
    for (size_t end = first + count; first < end; first += TILE)
        tiles[end - first < TILE ? end - first : TILE](h, first, out, out_stride);
}
