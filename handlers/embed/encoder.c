/* encoder.c: a BERT encoder (Devlin et al. 2018) over the packed weights of a model. It is made in the zygote and runs in
 * workers.
 *
 * The texts of a call are taken in groups of about GROUP_TOKENS tokens, whatever the size of the call. So the memory of a
 * worker stays small, and most of what a layer works on stays in the second-level cache, while its weights come from the
 * third. Attention needs whole texts; what follows it needs single rows, and is done for GEMM_ROWS of them at a time. */
#include "handlers/embed/encoder.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handlers/embed/gemm.h"
#include "handlers/embed/rows.h"

#define GROUP_TOKENS 288       /* a multiple of GEMM_ROWS; only a longer text makes a larger group */
#define ASK_AFTER    100000000 /* multiplications between two calls of go_on: some ms */

const char *const precision_names[] = {"auto", "bf16", "fx16", "fp32", "int8", NULL};

/* Best first. */
static const struct kernels {
    enum precision precision;
    const struct gemm_kernel *gemm;
    const struct rows_kernel *rows;
    bool automatic; /* PRECISION_AUTO can take it */
} kernels[] = {
    {PRECISION_BF16, &gemm_bf16_amx, &rows_avx512, true},        /* by AMX */
    {PRECISION_FX16, &gemm_fx16_avx512, &rows_avx512, true},     /* nearer to fp32 than bf16 is */
    {PRECISION_FX16, &gemm_fx16_avx2, &rows_avx2, true},         /* the same on older CPUs */
    {PRECISION_FP32, &gemm_fp32_avx2, &rows_avx2, true},         /* exact */
    {PRECISION_FP32, &gemm_fp32_portable, &rows_portable, true}, /* any CPU */
    {PRECISION_BF16, &gemm_bf16_avx512, &rows_avx512, false},    /* no quicker than fx16, and ten times as far off */
    {PRECISION_INT8, &gemm_int8_avx2, &rows_avx2, false},        /* off by far */
};

struct encoder_layer {
    struct gemm_matrix project; /* query, key and value: 3 hidden outputs */
    struct gemm_matrix attended, up, down;
    struct layer_norm attended_norm, norm;
};

struct encoder {
    const struct model *model;
    const struct kernels *kernels;
    char *memory; /* anonymous pages with all packed weights, which forked processes share */
    size_t size;
    uint32_t layer_count;
    struct encoder_layer layers[];
};

/* ---- making it --------------------------------------------------------------------------------------------------- */

bool encoder_all_finite(const float *numbers, size_t count) {
    float zeros = 0; /* 0 * infinity and 0 * NaN are NaN */
    for (size_t i = 0; i < count; i++)
        zeros += 0 * numbers[i];
    return zeros == 0;
}

static bool linear_finite(const struct linear *l) {
    return encoder_all_finite(l->weight, (size_t)l->outputs * l->inputs) && encoder_all_finite(l->bias, l->outputs);
}

static bool layer_finite(const struct model_layer *l) {
    return linear_finite(&l->query) && linear_finite(&l->key) && linear_finite(&l->value) &&
           linear_finite(&l->attended) && linear_finite(&l->up) && linear_finite(&l->down);
}

/* Hands out memory piece by piece. Without memory (NULL) it only counts. */
struct shelf {
    char *memory;
    size_t used;
};

static void *take(struct shelf *s, size_t bytes) {
    void *piece = s->memory == NULL ? NULL : s->memory + s->used;
    s->used += gemm_align(bytes);
    return piece;
}

/* NULL, or what is wrong; so are those below. */
static const char *prepare(const struct gemm_kernel *k, const struct linear *parts, size_t count,
                           struct gemm_matrix *out) {
    out->inputs = parts[0].inputs;
    out->outputs = gemm_outputs(parts, count);
    return k->prepare == NULL ? NULL : k->prepare(out);
}

static const char *pack(struct shelf *s, const struct gemm_kernel *k, const struct linear *parts, size_t count,
                        struct gemm_matrix *out) {
    const char *wrong = s->memory == NULL ? prepare(k, parts, count, out) : NULL;
    if (wrong != NULL)
        return wrong;
    void *packed = take(s, k->packed_size(out));
    out->packed = packed;
    return packed == NULL ? NULL : k->pack(out, parts, count, packed);
}

static void copy_norm(struct shelf *s, const struct layer_norm *from, uint32_t hidden, struct layer_norm *out) {
    size_t bytes = hidden * sizeof(float);
    float *gain = take(s, bytes), *shift = take(s, bytes);
    *out = (struct layer_norm){gain, shift};
    if (gain == NULL)
        return;
    memcpy(gain, from->gain, bytes);
    memcpy(shift, from->shift, bytes);
}

static const char *pack_layer(struct shelf *s, const struct encoder *e, const struct model_layer *from,
                              struct encoder_layer *out) {
    const struct gemm_kernel *k = e->kernels->gemm;
    const struct linear project[] = {from->query, from->key, from->value};
    const char *wrong = pack(s, k, project, 3, &out->project);
    if (wrong == NULL)
        wrong = pack(s, k, &from->attended, 1, &out->attended);
    if (wrong == NULL)
        wrong = pack(s, k, &from->up, 1, &out->up);
    if (wrong == NULL)
        wrong = pack(s, k, &from->down, 1, &out->down);
    copy_norm(s, &from->attended_norm, e->model->hidden, &out->attended_norm);
    copy_norm(s, &from->norm, e->model->hidden, &out->norm);
    return wrong;
}

/* Without memory (of the shelf) it prepares the matrices, and counts the bytes that they take. */
static const char *pack_layers(struct shelf *s, struct encoder *e) {
    const char *wrong = NULL;
    for (uint32_t i = 0; wrong == NULL && i < e->model->layers; i++)
        wrong = pack_layer(s, e, &e->model->layer[i], &e->layers[i]);
    return wrong;
}

/* Huge pages spare the search for the address of each page; without them it works as well. */
static const char *map(struct encoder *e, size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return "no memory";
    madvise(memory, size, MADV_HUGEPAGE);
    e->memory = memory;
    e->size = size;
    return NULL;
}

static struct encoder *make(const struct model *m, const struct kernels *k, char why[MODEL_WHY]) {
    struct encoder *e = calloc(1, sizeof *e + m->layers * sizeof e->layers[0]);
    struct shelf count = {NULL, 0};
    const char *wrong = "no memory";
    if (e == NULL)
        goto failed;
    e->model = m;
    e->kernels = k;
    e->layer_count = m->layers;
    wrong = pack_layers(&count, e);
    if (wrong == NULL)
        wrong = map(e, count.used);
    if (wrong == NULL)
        wrong = pack_layers(&(struct shelf){e->memory, 0}, e);
    if (wrong != NULL)
        goto failed;
    mprotect(e->memory, e->size, PROT_READ);
    return e;

failed:
    encoder_free(e);
    snprintf(why, MODEL_WHY, "%s: its weights cannot be packed for %s: %s", m->name, k->gemm->name, wrong);
    return NULL;
}

static bool usable(const struct kernels *k) {
    return k->gemm->usable() && k->rows->usable();
}

static struct encoder *try(const struct model *m, const struct kernels *k, char why[MODEL_WHY]) {
    const char *missing = usable(k) && k->gemm->open != NULL ? k->gemm->open() : NULL;
    if (usable(k) && missing == NULL)
        return make(m, k, why);
    snprintf(why, MODEL_WHY, "%s cannot be had: %s%s", precision_names[k->precision],
             usable(k) ? missing : "this CPU has no ", usable(k) ? "" : k->gemm->needs);
    return NULL;
}

/* Tries those of that precision, or all automatic ones, in their order. */
static struct encoder *make_best(const struct model *m, const struct kernels *list, size_t count, enum precision wanted,
                                 char why[MODEL_WHY]) {
    struct encoder *e = NULL;
    for (const struct kernels *k = list; e == NULL && k < list + count; k++)
        if (wanted == PRECISION_AUTO ? k->automatic && usable(k) : wanted == k->precision)
            e = try(m, k, why);
    if (e != NULL && wanted != PRECISION_AUTO)
        why[0] = '\0';
    return e;
}

struct encoder *encoder_new(const struct model *m, enum precision wanted, char why[MODEL_WHY]) {
    why[0] = '\0';
    for (uint32_t i = 0; i < m->layers; i++) {
        if (layer_finite(&m->layer[i]))
            continue;
        snprintf(why, MODEL_WHY, "%s: layer %u has weights that are infinite or not numbers", m->name, i);
        return NULL;
    }
    return make_best(m, kernels, sizeof kernels / sizeof *kernels, wanted, why);
}

static void release(const struct encoder *e, struct encoder_layer *l) {
    struct gemm_matrix *matrices[] = {&l->project, &l->attended, &l->up, &l->down};
    for (size_t i = 0; e->kernels->gemm->release != NULL && i < sizeof matrices / sizeof *matrices; i++)
        e->kernels->gemm->release(matrices[i]);
}

void encoder_free(struct encoder *e) {
    if (e == NULL)
        return;
    for (uint32_t i = 0; i < e->layer_count; i++)
        release(e, &e->layers[i]);
    if (e->memory != NULL)
        munmap(e->memory, e->size);
    free(e);
}

enum precision encoder_precision(const struct encoder *e) {
    return e->kernels->precision;
}

const char *encoder_kernel(const struct encoder *e) {
    return e->kernels->gemm->name;
}

/* ---- scratch ----------------------------------------------------------------------------------------------------- */

struct encoder_scratch {
    char *memory; /* aligned to GEMM_ALIGN */
    size_t size;
    float *x;         /* tokens * hidden: the residual stream */
    float *projected; /* tokens * 3 hidden: query, key and value of each token */
    float *attended;  /* tokens * hidden */
    float *wide;      /* GEMM_ROWS * intermediate */
    float *narrow;    /* GEMM_ROWS * hidden */
    void *gemm;
    struct head head; /* its memory alone */
};

struct encoder_scratch *encoder_scratch_new(void) {
    return calloc(1, sizeof(struct encoder_scratch));
}

void encoder_scratch_free(struct encoder_scratch *s) {
    if (s != NULL)
        free(s->memory);
    free(s);
}

static float *take_floats(struct shelf *s, size_t rows, size_t columns) {
    return take(s, rows * columns * sizeof(float));
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* Lays the buffers out for a group of `tokens`, of which a text has at most `longest`. Returns the bytes. */
static size_t lay_out(struct encoder_scratch *s, const struct encoder *e, char *memory, size_t tokens, size_t longest) {
    const struct model *m = e->model;
    struct shelf shelf = {memory, 0};
    uint32_t size = m->hidden / m->heads, inputs = larger(m->intermediate, m->hidden);
    s->x = take_floats(&shelf, tokens, m->hidden);
    s->projected = take_floats(&shelf, tokens, 3 * (size_t)m->hidden);
    s->attended = take_floats(&shelf, tokens, m->hidden);
    s->wide = take_floats(&shelf, GEMM_ROWS, m->intermediate);
    s->narrow = take_floats(&shelf, GEMM_ROWS, m->hidden);
    s->head.keys = take_floats(&shelf, size, rows_padded(longest));
    s->head.values = take_floats(&shelf, longest, rows_padded(size));
    s->head.weights = take_floats(&shelf, ROWS_TILE, rows_padded(longest));
    s->gemm = take(&shelf, e->kernels->gemm->scratch_size(larger(m->intermediate, 3 * m->hidden), inputs));
    return shelf.used;
}

static int reserve(struct encoder_scratch *s, const struct encoder *e, size_t tokens, size_t longest) {
    size_t size = lay_out(s, e, NULL, tokens, longest);
    if (size > s->size) {
        free(s->memory);
        s->size = 0;
        s->memory = aligned_alloc(GEMM_ALIGN, size);
        if (s->memory == NULL)
            return -1;
        s->size = size;
    }
    lay_out(s, e, s->memory, tokens, longest);
    return 0;
}

/* ---- running it -------------------------------------------------------------------------------------------------- */

struct group {
    const struct encoder *e;
    struct encoder_scratch *s;
    const uint32_t *ids, *starts; /* of the group's first text; starts[0] need not be 0 */
    size_t count;                 /* texts */
    bool (*go_on)(void *arg);
    void *arg;
    uint64_t work; /* multiplications since go_on was asked */
    int error;     /* errno of the call, once a function has returned false */
};

static size_t group_tokens(const struct group *g) {
    return g->starts[g->count] - g->starts[0];
}

/* False: the call is to end. */
static bool work(struct group *g, uint64_t multiplications) {
    g->work += multiplications;
    if (g->work < ASK_AFTER)
        return true;
    g->work = 0;
    g->error = ECANCELED;
    return g->go_on(g->arg);
}

static bool multiply(struct group *g, const struct gemm_matrix *w, const float *a, size_t rows, float *out) {
    g->error = ENOMEM;
    return g->e->kernels->gemm->multiply(w, a, rows, out, g->s->gemm) &&
           work(g, (uint64_t)rows * w->outputs * w->inputs);
}

/* The vector of a token at the start: those of its word, its place and its kind, normed. */
static void embed_token(const struct encoder *e, uint32_t id, size_t place, float *x) {
    const struct model *m = e->model;
    const float *word = m->words + (size_t)id * m->hidden;
    for (uint32_t i = 0; i < m->hidden; i++)
        x[i] = word[i] + m->kind[i];
    e->kernels->rows->layer_norm(x, m->places + place * m->hidden, 1, m->hidden, &m->norm, m->epsilon);
}

static void embed_tokens(struct group *g) {
    float *x = g->s->x;
    for (size_t text = 0; text < g->count; text++)
        for (uint32_t at = g->starts[text]; at < g->starts[text + 1]; at++, x += g->e->model->hidden)
            embed_token(g->e, g->ids[at], at - g->starts[text], x);
}

static bool project(struct group *g, const struct encoder_layer *l) {
    size_t tokens = group_tokens(g), hidden = g->e->model->hidden;
    for (size_t row = 0; row < tokens; row += GEMM_ROWS) {
        size_t rows = tokens - row < GEMM_ROWS ? tokens - row : GEMM_ROWS;
        if (!multiply(g, &l->project, g->s->x + row * hidden, rows, g->s->projected + row * 3 * hidden))
            return false;
    }
    return true;
}

/* One head over one text, the first token of which is the group's token `first`. */
static bool attend_head(struct group *g, size_t first, size_t tokens, size_t number) {
    const struct rows_kernel *rows = g->e->kernels->rows;
    struct head *h = &g->s->head;
    size_t hidden = g->e->model->hidden;
    h->stride = 3 * hidden;
    h->size = (uint32_t)hidden / g->e->model->heads;
    h->tokens = tokens;
    h->query = g->s->projected + first * h->stride + number * h->size;
    h->key = h->query + hidden;
    h->value = h->key + hidden;
    rows->head_gather(h);
    float *out = g->s->attended + first * hidden + number * h->size;
    for (size_t query = 0; query < tokens; query += GEMM_ROWS) {
        size_t count = tokens - query < GEMM_ROWS ? tokens - query : GEMM_ROWS;
        rows->head_attend(h, query, count, out, hidden);
        if (!work(g, 3 * (uint64_t)count * tokens * h->size))
            return false;
    }
    return true;
}

static bool attend(struct group *g) {
    for (size_t text = 0; text < g->count; text++)
        for (size_t head = 0; head < g->e->model->heads; head++)
            if (!attend_head(g, g->starts[text] - g->starts[0], g->starts[text + 1] - g->starts[text], head))
                return false;
    return true;
}

/* What comes after attention in a layer, for some rows. */
static bool finish_rows(struct group *g, const struct encoder_layer *l, size_t row, size_t rows) {
    const struct model *m = g->e->model;
    const struct rows_kernel *k = g->e->kernels->rows;
    struct encoder_scratch *s = g->s;
    float *x = s->x + row * m->hidden;
    if (!multiply(g, &l->attended, s->attended + row * m->hidden, rows, s->narrow))
        return false;
    k->layer_norm(x, s->narrow, rows, m->hidden, &l->attended_norm, m->epsilon);
    if (!multiply(g, &l->up, x, rows, s->wide))
        return false;
    k->gelu(s->wide, rows * m->intermediate);
    if (!multiply(g, &l->down, s->wide, rows, s->narrow))
        return false;
    k->layer_norm(x, s->narrow, rows, m->hidden, &l->norm, m->epsilon);
    return true;
}

static bool finish(struct group *g, const struct encoder_layer *l) {
    size_t tokens = group_tokens(g);
    for (size_t row = 0; row < tokens; row += GEMM_ROWS)
        if (!finish_rows(g, l, row, tokens - row < GEMM_ROWS ? tokens - row : GEMM_ROWS))
            return false;
    return true;
}

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

static void mean(const float *x, size_t tokens, uint32_t hidden, float *out) {
    memcpy(out, x, hidden * sizeof *out);
    for (size_t t = 1; t < tokens; t++)
        for (uint32_t i = 0; i < hidden; i++)
            out[i] += x[t * hidden + i];
    for (uint32_t i = 0; i < hidden; i++)
        out[i] /= (float)tokens;
}

static void pool(const struct group *g, float *vectors) {
    const struct model *m = g->e->model;
    for (size_t text = 0; text < g->count; text++, vectors += m->hidden) {
        const float *x = g->s->x + (size_t)(g->starts[text] - g->starts[0]) * m->hidden;
        mean(x, m->pooling == MODEL_CLS ? 1 : g->starts[text + 1] - g->starts[text], m->hidden, vectors);
    }
}

static bool run_group(struct group *g, float *vectors) {
    embed_tokens(g);
    for (uint32_t i = 0; i < g->e->model->layers; i++)
        if (!project(g, &g->e->layers[i]) || !attend(g) || !finish(g, &g->e->layers[i]))
            return false;
    pool(g, vectors);
    return true;
}

/* How many of the texts make the next group, and the tokens of its longest text. */
static size_t next_group(const uint32_t *starts, size_t count, size_t *longest) {
    size_t n = 0;
    *longest = 0;
    while (n < count && (n == 0 || starts[n + 1] - starts[0] <= GROUP_TOKENS)) {
        size_t tokens = starts[n + 1] - starts[n];
        *longest = tokens > *longest ? tokens : *longest;
        n++;
    }
    return n;
}

int encoder_run(const struct encoder *e, struct encoder_scratch *s, const uint32_t *ids, const uint32_t *starts,
                size_t count, float *vectors, bool (*go_on)(void *arg), void *arg) {
    struct group g = {.e = e, .s = s, .ids = ids, .go_on = go_on, .arg = arg};
    for (size_t done = 0; done < count; done += g.count) {
        size_t longest;
        g.starts = starts + done;
        g.count = next_group(g.starts, count - done, &longest);
        if (reserve(s, e, group_tokens(&g), longest) != 0) {
            errno = ENOMEM;
            return -1;
        }
        if (!run_group(&g, vectors + done * e->model->hidden)) {
            errno = g.error;
            return -1;
        }
    }
    return 0;
}

/* The numbers are added up in their order, so the bits depend on the vector alone. */
void encoder_normalize(float *vector, uint32_t dimensions) {
    double sum = 0;
    for (uint32_t i = 0; i < dimensions; i++)
        sum += (double)vector[i] * vector[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0; /* of a tiny vector it is no float */
    for (uint32_t i = 0; i < dimensions; i++)
        vector[i] = (float)(vector[i] * scale);
}
