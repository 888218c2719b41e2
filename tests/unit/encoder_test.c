/* encoder_test.c: the encoder of embeddings and its kernels, handlers/embed: against the same sums in double precision,
 * and against themselves, to the bit, in other company. The weights are random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/embed/encoder.c" /* so that each row of its table of kernels can be tested on one CPU */

#define MOST_NUMBERS 4096

/* ---- random numbers and memory ----------------------------------------------------------------------------------- */

static uint64_t seed = 1;

/* From -1 to 1. */
static float next(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(seed >> 32) / 2147483648.0f;
}

static void *memory_of(size_t bytes) {
    void *memory = aligned_alloc(GEMM_ALIGN, gemm_align(bytes + 1));
    assert_non_null(memory);
    return memory;
}

static float *numbers(size_t count, float scale) {
    float *n = memory_of(count * sizeof *n);
    for (size_t i = 0; i < count; i++)
        n[i] = scale * next();
    return n;
}

static struct linear random_linear(uint32_t outputs, uint32_t inputs) {
    return (struct linear){numbers((size_t)outputs * inputs, 2 / sqrtf((float)inputs)), numbers(outputs, 0.5f), outputs,
                           inputs};
}

static void free_linear(struct linear l) {
    free((void *)(uintptr_t)l.weight);
    free((void *)(uintptr_t)l.bias);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* How far a kernel can be from the true sum, as a part of the sum of the terms' sizes: with random numbers, of which the
 * errors go both ways, and at worst. For fp32 that is 2^-24 for each of 776 additions; for fx16 half a step, when the
 * largest weights of a block have 682 of them: 384 times 682 times 8191 is just below 2^31. What bf16
 * rounds is rounded in the true sum, too. */
static const struct tested {
    const struct gemm_kernel *kernel;
    double error, worst;
    bool rounds; /* the factors, to bf16 */
} tested[] = {
    {&gemm_fp32_portable, 1e-6, 776.0 / (1 << 24), false},
    {&gemm_fp32_avx2, 1e-6, 776.0 / (1 << 24), false},
    {&gemm_fx16_avx2, 2e-4, 0.5 / 682 + 1e-4, false},
    {&gemm_fx16_avx512, 2e-4, 0.5 / 682 + 1e-4, false},
    {&gemm_int8_avx2, 2e-2, 2e-2, false},
    {&gemm_bf16_avx512, 1e-6, 776.0 / (1 << 24), true},
    {&gemm_bf16_amx, 1e-6, 776.0 / (1 << 24), true},
};
enum { TESTED = sizeof tested / sizeof *tested };

/* To 8 significant bits; of two that are as near, the even one. */
static double factor(const struct tested *t, float number) {
    int exponent;
    double part = frexp(number, &exponent);
    return t->rounds ? ldexp(rint(ldexp(part, 8)), exponent - 8) : number;
}

static double product(const struct tested *t, const struct linear *l, const float *a, uint32_t output, double *size) {
    double sum = l->bias[output];
    *size = fabs(sum);
    for (uint32_t i = 0; i < l->inputs; i++) {
        double term = factor(t, a[i]) * factor(t, l->weight[(size_t)output * l->inputs + i]);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

struct packed {
    const struct gemm_kernel *kernel;
    struct gemm_matrix w;
    void *memory, *scratch;
};

static struct packed pack_parts(const struct gemm_kernel *k, const struct linear *parts, size_t count) {
    struct packed p = {.kernel = k, .w = {gemm_outputs(parts, count), parts[0].inputs, NULL, NULL}};
    assert_null(k->prepare == NULL ? NULL : k->prepare(&p.w));
    p.memory = memory_of(k->packed_size(&p.w));
    p.scratch = memory_of(k->scratch_size(p.w.outputs, p.w.inputs));
    assert_null(k->pack(&p.w, parts, count, p.memory));
    p.w.packed = p.memory;
    return p;
}

static void free_packed(struct packed p) {
    if (p.kernel->release != NULL)
        p.kernel->release(&p.w);
    free(p.memory);
    free(p.scratch);
}

static void check_product(const struct tested *t, const struct linear *l, const float *a, size_t rows, double most) {
    const struct gemm_kernel *k = t->kernel;
    struct packed p = pack_parts(k, l, 1);
    float *out = numbers(rows * l->outputs, 1);
    assert_true(k->multiply(&p.w, a, rows, out, p.scratch));
    for (size_t r = 0; r < rows; r++) {
        for (uint32_t o = 0; o < l->outputs; o++) {
            double size, right = product(t, l, a + r * l->inputs, o, &size);
            double error = fabs(out[r * l->outputs + o] - right);
            if (!(error <= most * size + 1e-30))
                fail_msg("%s: row %zu of %zu, output %u of %u, %u inputs: %g, not %g", k->name, r, rows, o, l->outputs,
                         l->inputs, out[r * l->outputs + o], right);
        }
    }
    free(out);
    free_packed(p);
}

/* The test of a kernel that cannot be had here is skipped, which is seen. */
static void must_have(const struct gemm_kernel *k) {
    if (!k->usable()) {
        print_message("%s: this CPU has no %s\n", k->name, k->needs);
        skip();
    }
    const char *missing = k->open == NULL ? NULL : k->open();
    if (missing != NULL) {
        print_message("%s: %s\n", k->name, missing);
        skip();
    }
}

static const struct tested *tested_kernel(void **state) {
    const struct tested *t = &tested[(size_t)(uintptr_t)*state];
    must_have(t->kernel);
    return t;
}

static void products_are_right_in_all_shapes(void **state) {
    static const uint32_t shapes[][2] = {{8, 8},    {16, 384},  {24, 392}, {40, 128}, {56, 776},
                                         {384, 24}, {104, 520}, {8, 1536}, {72, 256}};
    static const size_t rows[] = {GEMM_ROWS - 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    const struct tested *t = tested_kernel(state);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct linear l = random_linear(shapes[s][0], shapes[s][1]);
        float *a = numbers((size_t)GEMM_ROWS * l.inputs, 3);
        for (size_t r = s < 3 ? 0 : 1; r < sizeof rows / sizeof *rows; r++)
            check_product(t, &l, a, rows[r], t->error);
        free(a);
        free_linear(l);
    }
}

/* Sums that are as large as they can be, and rows and outputs that are zeros, tiny or huge. */
static void products_are_right_of_extreme_numbers(void **state) {
    const struct tested *t = tested_kernel(state);
    static const float scales[] = {1, 0, 1e-20f, 1e-30f, 1e15f};
    for (unsigned kind = 0; kind < 4; kind++) {
        struct linear l = {numbers(16 * 776, 1), numbers(16, 0), 16, 776};
        float *weights = (float *)(uintptr_t)l.weight, *a = numbers((size_t)13 * 776, 1);
        for (size_t i = 0; i < (size_t)16 * 776; i++)
            weights[i] = (kind == 0   ? 1
                          : kind == 1 ? -1
                          : kind == 2 ? (i % 776 == 5)
                                      : copysignf(1, weights[i]) * (1 + i % 3)) *
                         scales[i / 776 % 5];
        for (size_t i = 0; i < (size_t)13 * 776; i++)
            a[i] = (kind < 2 ? 1 : i % 2 ? -1 : 1) * scales[i / 776 % 5];
        check_product(t, &l, a, 13, t->worst);
        free(a);
        free_linear(l);
    }
}

static void several_parts_make_one_product(void **state) {
    const struct tested *t = tested_kernel(state);
    struct linear parts[] = {random_linear(24, 136), random_linear(8, 136), random_linear(40, 136)};
    float *a = numbers((size_t)7 * 136, 1), together[7 * 72], alone[7 * 40];
    struct packed p = pack_parts(t->kernel, parts, 3);
    assert_int_equal(p.w.outputs, 72);
    assert_true(t->kernel->multiply(&p.w, a, 7, together, p.scratch));
    for (size_t part = 0, first = 0; part < 3; first += parts[part++].outputs) {
        struct packed one = pack_parts(t->kernel, &parts[part], 1);
        assert_true(t->kernel->multiply(&one.w, a, 7, alone, one.scratch));
        for (size_t r = 0; r < 7; r++)
            assert_memory_equal(together + r * 72 + first, alone + r * parts[part].outputs,
                                parts[part].outputs * sizeof(float));
        free_packed(one);
        free_linear(parts[part]);
    }
    free(a);
    free_packed(p);
}

static void a_row_is_the_same_among_others(void **state) {
    const struct tested *t = tested_kernel(state);
    struct linear l = random_linear(56, 776);
    struct packed p = pack_parts(t->kernel, &l, 1);
    float *a = numbers((size_t)GEMM_ROWS * 776, 1), *all = numbers((size_t)GEMM_ROWS * 56, 1), some[11 * 56];
    assert_true(t->kernel->multiply(&p.w, a, GEMM_ROWS, all, p.scratch));
    for (size_t rows = 1; rows <= 11; rows++) {
        for (size_t first = 0; first + rows <= GEMM_ROWS; first += 5) {
            assert_true(t->kernel->multiply(&p.w, a + first * 776, rows, some, p.scratch));
            assert_memory_equal(some, all + first * 56, rows * 56 * sizeof(float));
        }
    }
    free(a);
    free(all);
    free_packed(p);
    free_linear(l);
}

static void fixed_point_has_the_same_bits_on_all_cpus(void **state) {
    (void)state;
    must_have(&gemm_fx16_avx512);
    for (uint32_t outputs = 8; outputs <= 72; outputs += 16) {
        struct linear l = random_linear(outputs, 776);
        struct packed old = pack_parts(&gemm_fx16_avx2, &l, 1), new = pack_parts(&gemm_fx16_avx512, &l, 1);
        float *a = numbers((size_t)GEMM_ROWS * 776, 2), *first = numbers((size_t)GEMM_ROWS * outputs, 1),
              *second = numbers((size_t)GEMM_ROWS * outputs, 1);
        assert_true(gemm_fx16_avx2.multiply(&old.w, a, GEMM_ROWS, first, old.scratch));
        assert_true(gemm_fx16_avx512.multiply(&new.w, a, GEMM_ROWS, second, new.scratch));
        assert_memory_equal(first, second, (size_t)GEMM_ROWS * outputs * sizeof(float));
        free(a), free(first), free(second);
        free_packed(old), free_packed(new);
        free_linear(l);
    }
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static const struct rows_kernel *tested_rows(void **state) {
    const struct rows_kernel *k = *state;
    if (!k->usable()) {
        print_message("this CPU does not have %s\n", k->name);
        skip();
    }
    return k;
}

static double gelu_of_double(double x) {
    return x * 0.5 * erfc(-x / sqrt(2));
}

static void gelu_is_right(void **state) {
    const struct rows_kernel *k = tested_rows(state);
    double most = k == &rows_portable ? 2e-6 : 1e-6;
    static float x[8000], y[8000];
    for (float start = -8; start < 8; start++) {
        for (int i = 0; i < 8000; i++)
            x[i] = y[i] = start + (float)i / 8000;
        k->gelu(y, 8000);
        for (int i = 0; i < 8000; i++) {
            double error = fabs(y[i] - gelu_of_double(x[i]));
            if (!(error <= most * (x[i] > 5 ? x[i] / 5 : 1)))
                fail_msg("%s: gelu(%.9g) is %.9g", k->name, x[i], y[i]);
        }
    }
    float far[8] = {-1e30f, -INFINITY, 1e30f, INFINITY, -50, 50, 0, -0.0f};
    k->gelu(far, 8);
    assert_true(far[0] == 0 && far[2] == 1e30f && far[3] == INFINITY && far[4] == 0 && far[5] == 50 && far[6] == 0);
}

static void layer_norms_are_right(void **state) {
    const struct rows_kernel *k = tested_rows(state);
    for (uint32_t hidden = 8; hidden <= 776; hidden += 96) {
        float *x = numbers((size_t)3 * hidden, 2), *add = numbers((size_t)3 * hidden, 1), *gain = numbers(hidden, 1),
              *shift = numbers(hidden, 1), *y = numbers((size_t)3 * hidden, 1);
        memcpy(y, x, 3 * hidden * sizeof *x);
        k->layer_norm(y, add, 3, hidden, &(struct layer_norm){gain, shift}, 1e-5f);
        for (uint32_t r = 0; r < 3; r++) {
            double mean_of = 0, squares = 0;
            for (uint32_t i = r * hidden; i < (r + 1) * hidden; i++)
                mean_of += ((double)x[i] + add[i]) / hidden;
            for (uint32_t i = r * hidden; i < (r + 1) * hidden; i++)
                squares += pow((double)x[i] + add[i] - mean_of, 2) / hidden;
            for (uint32_t i = 0; i < hidden; i++) {
                double v = (double)x[r * hidden + i] + add[r * hidden + i] - mean_of;
                assert_true(fabs(y[r * hidden + i] - (v / sqrt(squares + 1e-5) * gain[i] + shift[i])) < 2e-6);
            }
        }
        free(x), free(y), free(add), free(gain), free(shift);
    }
}

/* Attention of one query in double precision. */
static void attend_in_double(const float *projected, size_t stride, size_t hidden, size_t size, size_t tokens,
                             size_t query, double *out) {
    double *weights = calloc(tokens, sizeof *weights), most = -INFINITY, total = 0;
    assert_non_null(weights);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < size; i++)
            weights[t] += (double)projected[query * stride + i] * projected[t * stride + hidden + i];
        weights[t] /= sqrt((double)size);
        most = fmax(most, weights[t]);
    }
    for (size_t t = 0; t < tokens; t++)
        total += weights[t] = exp(weights[t] - most);
    for (size_t i = 0; i < size; i++) {
        out[i] = 0;
        for (size_t t = 0; t < tokens; t++)
            out[i] += weights[t] / total * projected[t * stride + 2 * hidden + i];
    }
    free(weights);
}

static void check_head(const struct rows_kernel *k, uint32_t size, size_t tokens, float scale) {
    size_t stride = 3 * size;
    float *projected = numbers(tokens * stride, scale), *out = numbers(tokens * size, 1);
    struct head h = {.query = projected,
                     .key = projected + size,
                     .value = projected + 2 * size,
                     .stride = stride,
                     .tokens = tokens,
                     .size = size,
                     .keys = memory_of(size * rows_padded(tokens) * sizeof(float)),
                     .values = memory_of(tokens * rows_padded(size) * sizeof(float)),
                     .weights = memory_of(ROWS_TILE * rows_padded(tokens) * sizeof(float))};
    k->head_gather(&h);
    k->head_attend(&h, 0, tokens, out, size);
    for (size_t t = 0; t < tokens; t++) {
        double right[MOST_NUMBERS];
        attend_in_double(projected, stride, size, size, tokens, t, right);
        for (uint32_t i = 0; i < size; i++)
            if (!(fabs(out[t * size + i] - right[i]) < 3e-6 * scale * fmax(1, scale * scale)))
                fail_msg("%s: head size %u, %zu tokens, token %zu, %u: %g, not %g", k->name, size, tokens, t, i,
                         out[t * size + i], right[i]);
    }
    free(projected), free(out), free(h.keys), free(h.values), free(h.weights);
}

static void attention_is_right(void **state) {
    static const uint32_t sizes[] = {4, 8, 12, 20, 32, 64, 96};
    static const size_t tokens[] = {1, 2, 5, 6, 7, 8, 11, 12, 15, 16, 17, 33, 130};
    const struct rows_kernel *k = tested_rows(state);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
            for (float scale = 0.5f; scale < 20; scale *= 6)
                check_head(k, sizes[s], tokens[t], scale);
}

/* ---- whole encoders ---------------------------------------------------------------------------------------------- */

enum { WORDS = 50, PLACES = 300 };

static struct layer_norm random_norm(uint32_t hidden) {
    float *gain = numbers(hidden, 0.5f);
    for (uint32_t i = 0; i < hidden; i++)
        gain[i] += 1;
    return (struct layer_norm){gain, numbers(hidden, 0.2f)};
}

static struct model random_model(uint32_t hidden, uint32_t layers, uint32_t heads, uint32_t intermediate) {
    struct model m = {.name = "random",
                      .hidden = hidden,
                      .layers = layers,
                      .heads = heads,
                      .intermediate = intermediate,
                      .vocabulary = WORDS,
                      .positions = PLACES,
                      .max_tokens = PLACES,
                      .epsilon = 1e-12f,
                      .pooling = MODEL_MEAN,
                      .normalize = true,
                      .prompt = ""};
    m.words = numbers((size_t)WORDS * hidden, 1);
    m.places = numbers((size_t)PLACES * hidden, 0.3f);
    m.kind = numbers(hidden, 0.3f);
    m.norm = random_norm(hidden);
    m.layer = calloc(layers, sizeof *m.layer);
    assert_non_null(m.layer);
    for (uint32_t i = 0; i < layers; i++)
        m.layer[i] = (struct model_layer){random_linear(hidden, hidden),
                                          random_linear(hidden, hidden),
                                          random_linear(hidden, hidden),
                                          random_linear(hidden, hidden),
                                          random_norm(hidden),
                                          random_linear(intermediate, hidden),
                                          random_linear(hidden, intermediate),
                                          random_norm(hidden)};
    return m;
}

static void free_norm(struct layer_norm n) {
    free((void *)(uintptr_t)n.gain);
    free((void *)(uintptr_t)n.shift);
}

static void free_layers(struct model *m) {
    for (uint32_t i = 0; i < m->layers; i++) {
        struct model_layer *l = &m->layer[i];
        free_linear(l->query), free_linear(l->key), free_linear(l->value), free_linear(l->attended);
        free_linear(l->up), free_linear(l->down), free_norm(l->attended_norm), free_norm(l->norm);
    }
    free(m->layer);
    m->layer = NULL;
}

static void free_model(struct model *m) {
    free((void *)(uintptr_t)m->words);
    free((void *)(uintptr_t)m->places);
    free((void *)(uintptr_t)m->kind);
    free_norm(m->norm);
}

/* The reference: the same encoder, in double precision and in the plainest way. */
static void linear_in_double(const struct linear *l, const double *x, double *out) {
    for (uint32_t o = 0; o < l->outputs; o++) {
        out[o] = l->bias[o];
        for (uint32_t i = 0; i < l->inputs; i++)
            out[o] += x[i] * l->weight[(size_t)o * l->inputs + i];
    }
}

static void norm_in_double(double *x, const double *add, uint32_t hidden, const struct layer_norm *n, double epsilon) {
    double mean_of = 0, squares = 0;
    for (uint32_t i = 0; i < hidden; i++)
        mean_of += (x[i] += add[i]) / hidden;
    for (uint32_t i = 0; i < hidden; i++)
        squares += (x[i] - mean_of) * (x[i] - mean_of) / hidden;
    for (uint32_t i = 0; i < hidden; i++)
        x[i] = (x[i] - mean_of) / sqrt(squares + epsilon) * n->gain[i] + n->shift[i];
}

static void mix_in_double(const double *query, const double *keys, const double *values, size_t tokens, size_t hidden,
                          size_t size, double *out) {
    double weights[PLACES] = {0}, most = -INFINITY, total = 0;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < size; i++)
            weights[t] += query[i] * keys[t * hidden + i];
        weights[t] /= sqrt((double)size);
        most = fmax(most, weights[t]);
    }
    for (size_t t = 0; t < tokens; t++)
        total += weights[t] = exp(weights[t] - most);
    for (size_t i = 0; i < size; i++) {
        out[i] = 0;
        for (size_t t = 0; t < tokens; t++)
            out[i] += weights[t] / total * values[t * hidden + i];
    }
}

static void layer_in_double(const struct model *m, const struct model_layer *l, double *x, size_t tokens) {
    static double queries[PLACES * 512], keys[PLACES * 512], values[PLACES * 512];
    double mixed[512], wide[2048], narrow[512];
    size_t hidden = m->hidden, size = hidden / m->heads;
    for (size_t t = 0; t < tokens; t++) {
        linear_in_double(&l->query, x + t * hidden, queries + t * hidden);
        linear_in_double(&l->key, x + t * hidden, keys + t * hidden);
        linear_in_double(&l->value, x + t * hidden, values + t * hidden);
    }
    for (size_t t = 0; t < tokens; t++) {
        for (size_t at = 0; at < hidden; at += size)
            mix_in_double(queries + t * hidden + at, keys + at, values + at, tokens, hidden, size, mixed + at);
        linear_in_double(&l->attended, mixed, narrow);
        norm_in_double(x + t * hidden, narrow, m->hidden, &l->attended_norm, m->epsilon);
        linear_in_double(&l->up, x + t * hidden, wide);
        for (uint32_t i = 0; i < m->intermediate; i++)
            wide[i] = gelu_of_double(wide[i]);
        linear_in_double(&l->down, wide, narrow);
        norm_in_double(x + t * hidden, narrow, m->hidden, &l->norm, m->epsilon);
    }
}

static void encode_in_double(const struct model *m, const uint32_t *ids, size_t tokens, double *out) {
    static double x[PLACES * 512];
    size_t hidden = m->hidden, pooled = m->pooling == MODEL_CLS ? 1 : tokens;
    double add[512];
    for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < hidden; i++) {
            x[t * hidden + i] = m->words[ids[t] * hidden + i];
            add[i] = (double)m->kind[i] + m->places[t * hidden + i];
        }
        norm_in_double(x + t * hidden, add, m->hidden, &m->norm, m->epsilon);
    }
    for (uint32_t l = 0; l < m->layers; l++)
        layer_in_double(m, &m->layer[l], x, tokens);
    for (size_t i = 0; i < hidden; i++) {
        out[i] = 0;
        for (size_t t = 0; t < pooled; t++)
            out[i] += x[t * hidden + i] / (double)pooled;
    }
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static bool always(void *arg) {
    (void)arg;
    return true;
}

/* The texts of the tests: some lengths on each side of the tiles, and of a group. */
static const uint32_t lengths[] = {1,  2, 3,   5,  6,  7, 8,  9,  12, 13, 17, 31, 64, 97, 130, 290,
                                   33, 4, 280, 11, 10, 3, 50, 90, 96, 95, 1,  1,  2,  16, 48,  7};
enum { TEXTS = sizeof lengths / sizeof *lengths };

struct texts {
    uint32_t ids[8192], starts[TEXTS + 1];
};

static void make_texts(struct texts *t) {
    t->starts[0] = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        t->starts[i + 1] = t->starts[i] + lengths[i];
        for (uint32_t at = t->starts[i]; at < t->starts[i + 1]; at++)
            t->ids[at] = (uint32_t)((next() + 1) / 2.0001f * WORDS);
    }
}

static struct encoder *encoder_with(const struct model *m, const struct kernels *k) {
    char why[MODEL_WHY] = "";
    struct encoder *e = make(m, k, why);
    assert_string_equal(why, "");
    assert_non_null(e);
    return e;
}

static void run(const struct encoder *e, const uint32_t *ids, const uint32_t *starts, size_t count, float *out) {
    struct encoder_scratch *s = encoder_scratch_new();
    assert_non_null(s);
    assert_int_equal(encoder_run(e, s, ids, starts, count, out, always, NULL), 0);
    encoder_scratch_free(s);
}

static const struct kernels *tested_kernels(void **state) {
    const struct kernels *k = &kernels[(size_t)(uintptr_t)*state];
    must_have(k->gemm);
    tested_rows((void *[]){(void *)(uintptr_t)k->rows});
    return k;
}

static double cosine(const float *a, const double *b, uint32_t count) {
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < count; i++) {
        ab += a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

static void check_texts(const struct encoder *e, double least) {
    const struct model *m = e->model;
    static struct texts texts;
    static float vectors[TEXTS * 512];
    make_texts(&texts);
    run(e, texts.ids, texts.starts, TEXTS, vectors);
    for (size_t i = 0; i < TEXTS; i++) {
        double right[512];
        if (lengths[i] > 100 && m->hidden != 32)
            continue; /* the reference is slow */
        encode_in_double(m, texts.ids + texts.starts[i], lengths[i], right);
        double c = cosine(vectors + i * m->hidden, right, m->hidden);
        if (!(c >= least))
            fail_msg("%s: hidden %u, text %zu: the cosine is %.8f", encoder_kernel(e), m->hidden, i, c);
    }
}

static void vectors_are_right_for_all_shapes_of_models(void **state) {
    static const uint32_t shapes[][4] = {{32, 2, 2, 64}, {24, 1, 6, 8}, {40, 2, 2, 104}, {72, 3, 1, 24}};
    static const double least[] = {
        [PRECISION_BF16] = 0.9999, [PRECISION_FX16] = 0.99999, [PRECISION_FP32] = 0.9999999, [PRECISION_INT8] = 0.99};
    const struct kernels *k = tested_kernels(state);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int pooling = MODEL_MEAN; pooling <= MODEL_CLS; pooling++) {
            struct model m = random_model(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]);
            m.pooling = (enum model_pooling)pooling;
            struct encoder *e = encoder_with(&m, k);
            check_texts(e, least[k->precision]);
            encoder_free(e);
            free_layers(&m);
            free_model(&m);
        }
    }
}

static void a_vector_is_the_same_in_any_company(void **state) {
    const struct kernels *k = tested_kernels(state);
    struct model m = random_model(48, 2, 4, 96);
    struct encoder *e = encoder_with(&m, k);
    free_layers(&m); /* they are packed */
    static struct texts texts;
    static float all[TEXTS * 48], vector[48], reversed[TEXTS * 48];
    make_texts(&texts);
    run(e, texts.ids, texts.starts, TEXTS, all);
    for (size_t i = 0; i < TEXTS; i++) {
        uint32_t starts[] = {0, lengths[i]};
        run(e, texts.ids + texts.starts[i], starts, 1, vector);
        assert_memory_equal(vector, all + i * 48, sizeof vector);
    }
    static struct texts back;
    for (size_t i = 0; i < TEXTS; i++) {
        size_t from = TEXTS - 1 - i;
        back.starts[i + 1] = back.starts[i] + lengths[from];
        memcpy(back.ids + back.starts[i], texts.ids + texts.starts[from], lengths[from] * sizeof(uint32_t));
    }
    run(e, back.ids, back.starts, TEXTS, reversed);
    for (size_t i = 0; i < TEXTS; i++)
        assert_memory_equal(reversed + i * 48, all + (TEXTS - 1 - i) * 48, sizeof vector);
    encoder_free(e);
    free_model(&m);
}

static void a_vector_is_scaled_to_length_1(void **state) {
    (void)state;
    for (uint32_t size = 1; size < 40; size += 6) {
        float *plain = numbers(size, 30), *unit = memory_of(size * sizeof *unit), zeros[40] = {0};
        double squares = 0, length = 0;
        memcpy(unit, plain, size * sizeof *unit);
        encoder_normalize(unit, size);
        for (uint32_t i = 0; i < size; i++) {
            squares += (double)unit[i] * unit[i];
            length += (double)plain[i] * plain[i];
        }
        assert_true(fabs(squares - 1) < 1e-6);
        for (float scale = 1e-40f; scale < 1e38f; scale *= 1e19f) { /* from denormal numbers to nearly the largest */
            float *other = memory_of(size * sizeof *other);
            for (uint32_t i = 0; i < size; i++)
                other[i] = (i % 2 ? 3 : -3) * scale;
            encoder_normalize(other, size);
            for (uint32_t i = 0; i < size; i++)
                assert_true(fabs(fabs(other[i]) * sqrt(size) - 1) < 1e-4);
            free(other);
        }
        for (uint32_t i = 0; i < size; i++)
            assert_true(fabs(unit[i] * sqrt(length) - plain[i]) < 1e-5);
        encoder_normalize(zeros, size);
        for (uint32_t i = 0; i < size; i++)
            assert_true(zeros[i] == 0);
        free(plain), free(unit);
    }
}

static bool not_the_third_time(void *arg) {
    int *asked = arg;
    return ++*asked < 3;
}

static void a_call_can_be_ended(void **state) {
    const struct kernels *k = tested_kernels(state);
    struct model m = random_model(384, 2, 12, 1536);
    struct encoder *e = encoder_with(&m, k);
    struct encoder_scratch *s = encoder_scratch_new();
    static uint32_t ids[600], starts[] = {0, 200, 400, 600};
    float vectors[3 * 384], again[3 * 384];
    int asked = 0;
    assert_non_null(s);
    assert_int_equal(encoder_run(e, s, ids, starts, 3, vectors, not_the_third_time, &asked), -1);
    assert_int_equal(errno, ECANCELED);
    assert_int_equal(asked, 3);
    assert_int_equal(encoder_run(e, s, ids, starts, 3, vectors, always, NULL), 0);
    run(e, ids, starts, 3, again);
    assert_memory_equal(vectors, again, sizeof vectors);
    encoder_scratch_free(s);
    encoder_free(e);
    free_layers(&m);
    free_model(&m);
}

static void the_best_precision_of_the_cpu_is_taken(void **state) {
    (void)state;
    char why[MODEL_WHY] = "";
    struct model m = random_model(32, 1, 2, 64);
    bool bf16 = gemm_bf16_amx.usable() && gemm_bf16_amx.open() == NULL, fx16 = gemm_fx16_avx2.usable();
    bool vnni = gemm_fx16_avx512.usable() && rows_avx512.usable();
    struct encoder *e = encoder_new(&m, PRECISION_AUTO, why);
    assert_non_null(e);
    assert_int_equal(encoder_precision(e), bf16 ? PRECISION_BF16 : fx16 ? PRECISION_FX16 : PRECISION_FP32);
    assert_string_equal(encoder_kernel(e), bf16   ? "bf16 amx"
                                           : vnni ? "fx16 avx512"
                                           : fx16 ? "fx16 avx2"
                                                  : "fp32 portable");
    encoder_free(e);
    e = encoder_new(&m, PRECISION_FP32, why);
    assert_non_null(e);
    assert_int_equal(encoder_precision(e), PRECISION_FP32);
    encoder_free(e);
    free_layers(&m);
    free_model(&m);
}

/* ---- kernels that fail ------------------------------------------------------------------------------------------- */

static int prepared, left_to_prepare;

static bool there_is(void) {
    return true;
}

static bool there_is_none(void) {
    return false;
}

static const char *opens(void) {
    return NULL;
}

static const char *does_not_open(void) {
    return "its library is not installed here";
}

static const char *prepare_some(struct gemm_matrix *w) {
    if (left_to_prepare-- == 0)
        return "no memory";
    w->prepared = &prepared;
    prepared++;
    return NULL;
}

static void release_it(struct gemm_matrix *w) {
    prepared -= w->prepared != NULL;
}

static const char *does_not_pack(const struct gemm_matrix *w, const struct linear *parts, size_t count, void *packed) {
    (void)w, (void)parts, (void)count, (void)packed;
    return "no memory";
}

static bool has_no_memory(const struct gemm_matrix *w, const float *a, size_t rows, float *out, void *scratch) {
    (void)w, (void)a, (void)rows, (void)out, (void)scratch;
    return false;
}

/* Like the portable one, but for what a test changes. */
static struct gemm_kernel other_kernel(void) {
    struct gemm_kernel k = gemm_fp32_portable;
    k.name = "bf16 other";
    k.needs = "wings";
    k.usable = there_is;
    k.open = opens;
    k.prepare = prepare_some;
    k.release = release_it;
    prepared = 0;
    left_to_prepare = 1000;
    return k;
}

static void what_cannot_be_had_is_said(void **state) {
    (void)state;
    char why[MODEL_WHY] = "";
    struct model m = random_model(32, 2, 2, 64);
    struct gemm_kernel other = other_kernel();
    const struct kernels list[] = {{PRECISION_BF16, &other, &rows_portable, true},
                                   {PRECISION_FP32, &gemm_fp32_portable, &rows_portable, true}};
    other.usable = there_is_none;
    assert_null(make_best(&m, list, 2, PRECISION_BF16, why));
    assert_string_equal(why, "bf16 cannot be had: this CPU has no wings");
    other.usable = there_is;
    other.open = does_not_open;
    assert_null(make_best(&m, list, 2, PRECISION_BF16, why));
    assert_string_equal(why, "bf16 cannot be had: its library is not installed here");
    other.open = opens;
    left_to_prepare = 6;
    assert_null(make_best(&m, list, 2, PRECISION_BF16, why));
    assert_string_equal(why, "random: its weights cannot be packed for bf16 other: no memory");
    assert_int_equal(prepared, 0);
    other.pack = does_not_pack;
    left_to_prepare = 1000;
    assert_null(make_best(&m, list, 2, PRECISION_BF16, why));
    assert_string_equal(why, "random: its weights cannot be packed for bf16 other: no memory");
    assert_int_equal(prepared, 0);
    free_layers(&m);
    free_model(&m);
}

/* The best precision is taken that can be had; a reason is left only if something better is missing on this CPU. */
static void auto_does_without_what_cannot_be_had(void **state) {
    (void)state;
    char why[MODEL_WHY] = "";
    struct model m = random_model(32, 1, 2, 64);
    struct gemm_kernel other = other_kernel();
    const struct kernels list[] = {{PRECISION_BF16, &other, &rows_portable, true},
                                   {PRECISION_FP32, &gemm_fp32_portable, &rows_portable, true},
                                   {PRECISION_INT8, &other, &rows_portable, false}};
    struct encoder *e = make_best(&m, list, 3, PRECISION_AUTO, why);
    assert_string_equal(encoder_kernel(e), "bf16 other");
    assert_int_equal(prepared, 4);
    assert_string_equal(why, "");
    encoder_free(e);
    assert_int_equal(prepared, 0);
    other.open = does_not_open;
    e = make_best(&m, list, 3, PRECISION_AUTO, why);
    assert_string_equal(encoder_kernel(e), "fp32 portable");
    assert_string_equal(why, "bf16 cannot be had: its library is not installed here");
    encoder_free(e);
    other.open = opens;
    other.usable = there_is_none;
    why[0] = '\0';
    e = make_best(&m, list, 3, PRECISION_AUTO, why);
    assert_string_equal(encoder_kernel(e), "fp32 portable");
    assert_string_equal(why, "");
    encoder_free(e);
    assert_null(make_best(&m, list + 2, 1, PRECISION_AUTO, why)); /* it is not automatic */
    free_layers(&m);
    free_model(&m);
}

static void a_product_without_memory_ends_the_call(void **state) {
    (void)state;
    struct model m = random_model(32, 1, 2, 64);
    struct gemm_kernel other = other_kernel();
    const struct kernels k = {PRECISION_BF16, &other, &rows_portable, true};
    struct encoder *e = encoder_with(&m, &k);
    struct encoder_scratch *s = encoder_scratch_new();
    float vector[32];
    other.multiply = has_no_memory;
    assert_int_equal(encoder_run(e, s, (uint32_t[]){1, 2}, (uint32_t[]){0, 2}, 1, vector, always, NULL), -1);
    assert_int_equal(errno, ENOMEM);
    encoder_scratch_free(s);
    encoder_free(e);
    free_layers(&m);
    free_model(&m);
}

static void weights_that_are_no_numbers_are_refused(void **state) {
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 6; i++) {
        char why[MODEL_WHY] = "";
        struct model m = random_model(32, 2, 2, 64);
        struct linear *l = i % 2 ? &m.layer[1].value : &m.layer[1].down;
        ((float *)(uintptr_t)(i < 3 ? l->weight : l->bias))[7] = bad[i % 3];
        assert_null(encoder_new(&m, PRECISION_AUTO, why));
        assert_string_equal(why, "random: layer 1 has weights that are infinite or not numbers");
        free_layers(&m);
        free_model(&m);
    }
}

#define OF(test, what)                                                                                                 \
    { #test " (" #what ")", test, NULL, NULL, (void *)(uintptr_t)(what) }
#define FOR_EACH(test) OF(test, 0), OF(test, 1), OF(test, 2), OF(test, 3), OF(test, 4), OF(test, 5), OF(test, 6)
#define ROWS(test)     OF(test, &rows_portable), OF(test, &rows_avx2), OF(test, &rows_avx512)

_Static_assert(sizeof tested / sizeof *tested == 7 && sizeof kernels / sizeof *kernels == 7, "FOR_EACH has them all");

int main(void) {
    const struct CMUnitTest tests[] = {
        FOR_EACH(products_are_right_in_all_shapes),
        FOR_EACH(products_are_right_of_extreme_numbers),
        FOR_EACH(several_parts_make_one_product),
        FOR_EACH(a_row_is_the_same_among_others),
        cmocka_unit_test(fixed_point_has_the_same_bits_on_all_cpus),
        ROWS(gelu_is_right),
        ROWS(layer_norms_are_right),
        ROWS(attention_is_right),
        FOR_EACH(vectors_are_right_for_all_shapes_of_models),
        FOR_EACH(a_vector_is_the_same_in_any_company),
        cmocka_unit_test(a_vector_is_scaled_to_length_1),
        FOR_EACH(a_call_can_be_ended),
        cmocka_unit_test(the_best_precision_of_the_cpu_is_taken),
        cmocka_unit_test(what_cannot_be_had_is_said),
        cmocka_unit_test(auto_does_without_what_cannot_be_had),
        cmocka_unit_test(a_product_without_memory_ends_the_call),
        cmocka_unit_test(weights_that_are_no_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
