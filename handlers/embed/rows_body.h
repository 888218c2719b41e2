/* rows_body.h: the functions of rows.h, by vectors of LANES numbers. rows_avx2.c and rows_portable.c include it after they
 * have said what a vector is: LANES, FMA(a, b, c), which is a * b + c, MAX(a, b), and TARGET, the attribute of each
 * function. They run in workers. */
#include <math.h>
#include <string.h>

#include "handlers/embed/rows.h"

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

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

/* Keys become panels of ROWS_LANES of them: their first numbers, their second numbers and so on, with zeros for keys that
 * are not there. Values become rows that lie end to end, and are filled up with zeros. So both are read in the order in
 * which they lie, and not at steps of a power of two, which would use few sets of the first-level cache. */
static TARGET void head_gather(const struct head *h) {
    size_t tokens = h->tokens, keys = rows_padded(tokens), size = h->size, padded = rows_padded(size);
    for (size_t t = 0; t < keys; t++) {
        const float *key = h->key + t * h->stride;
        float *to = h->keys + t / ROWS_LANES * ROWS_LANES * size + t % ROWS_LANES;
        for (size_t i = 0; i < size; i++)
            to[i * ROWS_LANES] = t < tokens ? key[i] : 0;
    }
    for (size_t t = 0; t < tokens; t++) {
        const float *value = h->value + t * h->stride;
        float *to = h->values + t * padded;
        for (size_t i = 0; i < size; i += 4)
            memcpy(to + i, value + i, 4 * sizeof *to);
        for (size_t i = size; i < padded; i++)
            to[i] = 0;
    }
}

/* weights = query . key, of `height` queries with all keys. `height` is a constant where this is called. */
INLINE void score(const struct head *h, const float *query, int height) {
    size_t padded = rows_padded(h->tokens), stride = h->stride, size = h->size;
    for (size_t k = 0; k < padded; k += 2 * LANES) {
        const float *keys = h->keys + k / ROWS_LANES * ROWS_LANES * size + k % ROWS_LANES;
        float *out = h->weights + k;
        vec sums[ROWS_TILE][2];
#pragma GCC unroll 6
        for (int r = 0; r < height; r++)
            sums[r][0] = sums[r][1] = (vec){0};
        for (size_t i = 0; i < size; i++) {
            vec k0 = load(keys + i * ROWS_LANES), k1 = load(keys + i * ROWS_LANES + LANES);
#pragma GCC unroll 6
            for (int r = 0; r < height; r++) {
                vec q = SPLAT(query[(size_t)r * stride + i]);
                sums[r][0] = FMA(q, k0, sums[r][0]);
                sums[r][1] = FMA(q, k1, sums[r][1]);
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < height; r++) {
            store(out + (size_t)r * padded, sums[r][0]);
            store(out + (size_t)r * padded + LANES, sums[r][1]);
        }
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

/* Stores two vectors, by a factor: as many of their numbers as are left. */
INLINE void put(float *out, const vec sums[2], float factor, size_t left) {
    vec results[2] = {sums[0] * factor, sums[1] * factor};
    if (left < 2 * LANES) {
        memcpy(out, results, left * sizeof *out);
        return;
    }
    store(out, results[0]);
    store(out + LANES, results[1]);
}

/* out = the values, by their weights. */
INLINE void mix(const struct head *h, const float *factors, float *out, size_t out_stride, int height) {
    size_t keys = rows_padded(h->tokens), size = rows_padded(h->size), tokens = h->tokens;
    for (size_t i = 0; i < h->size; i += 2 * LANES) {
        const float *values = h->values + i, *weights = h->weights;
        vec sums[ROWS_TILE][2];
#pragma GCC unroll 6
        for (int r = 0; r < height; r++)
            sums[r][0] = sums[r][1] = (vec){0};
        for (size_t k = 0; k < tokens; k++) {
            vec v0 = load(values + k * size), v1 = load(values + k * size + LANES);
#pragma GCC unroll 6
            for (int r = 0; r < height; r++) {
                vec w = SPLAT(weights[(size_t)r * keys + k]);
                sums[r][0] = FMA(w, v0, sums[r][0]);
                sums[r][1] = FMA(w, v1, sums[r][1]);
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < height; r++)
            put(out + (size_t)r * out_stride + i, sums[r], factors[r], h->size - i);
    }
}

INLINE void attend(const struct head *h, size_t first, float *out, size_t out_stride, int height) {
    float factors[ROWS_TILE], scale = 1 / sqrtf((float)h->size);
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

static void head_attend(const struct head *h, size_t first, size_t count, float *out, size_t out_stride) {
    static void (*const tiles[])(const struct head *, size_t, float *,
                                 size_t) = {NULL, attend_1, attend_2, attend_3, attend_4, attend_5, attend_6};
    for (size_t end = first + count; first < end; first += ROWS_TILE)
        tiles[end - first < ROWS_TILE ? end - first : ROWS_TILE](h, first, out, out_stride);
}
