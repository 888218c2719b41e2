/* array_reduce.c: one value of all numbers of an array. A chunk is some of them, consecutive in memory; its part is their
 * tally. It runs in workers. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handlers/array_task.h"

#define CHUNK_NS          20000000 /* what a chunk costs; less than HANDLER_CHUNK_NS, so that cores end together */
#define NUMBERS_PER_CHECK (256 * BLOCK_NUMBERS) /* between two calls of call_cancelled: some ms */

/* ---- what all files need ----------------------------------------------------------------------------------------- */

enum tally_kind array_tally_kind(enum op op) {
    switch (op) {
    case OP_MIN:
    case OP_ARGMIN: return TALLY_LEAST;
    case OP_MAX:
    case OP_ARGMAX: return TALLY_GREATEST;
    case OP_VAR: return TALLY_VARIANCE;
    case OP_DOT: return TALLY_PRODUCTS;
    default: return TALLY_SUM;
    }
}

uint64_t array_cost(const struct task *t) {
    bool real = block_family((enum npy_dtype)t->in.dtype) == FAMILY_REAL;
    switch (t->op) {
    case OP_VAR: return real ? 96 : 40;
    case OP_DOT: return real ? 96 : 40;
    case OP_SCALE: return 40;
    case OP_SUM:
    case OP_MEAN: return real ? 20 : 16;
    default: return 16;
    }
}

void array_populate(const void *at, size_t size, bool fresh) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)at & ~(page - 1);
    madvise((void *)begin, (uintptr_t)at + size - begin, fresh ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

struct division array_divide(const struct call *c, const struct task *t, uint64_t count, uint64_t weight, uint64_t step,
                             uint64_t max_chunks) {
    struct division d = {.count = count,
                         .step = step,
                         .slices = 1,
                         .wanted = plan_wanted_chunks(c),
                         .cost_ns = (double)count * (double)weight * (double)array_cost(t) / 16};
    uint64_t steps = count / step + (count % step != 0);
    if (d.wanted == 0)
        d.wanted = d.cost_ns < 1e15 ? (uint64_t)(d.cost_ns / CHUNK_NS) + 1 : max_chunks;
    d.wanted = d.wanted > max_chunks ? max_chunks : d.wanted;
    d.chunks = d.wanted > steps ? steps : d.wanted;
    d.chunks = d.chunks == 0 ? 1 : d.chunks;
    return d;
}

/* Where chunk i begins. */
static uint64_t begin_of(const struct division *d, uint64_t i) {
    uint64_t steps = d->count / d->step + (d->count % d->step != 0);
    uint64_t begin = steps / d->chunks * i + steps % d->chunks * i / d->chunks;
    return begin < steps ? begin * d->step : d->count;
}

int array_plan_chunks(struct call *c, const struct task *t, const struct division *d) {
    if (plan_common(c, t, sizeof *t) != 0)
        return -1;
    uint64_t chunks = d->chunks * d->slices;
    for (uint64_t i = 0; i < chunks; i++) {
        uint64_t first = begin_of(d, i / d->slices);
        struct piece piece = {first, begin_of(d, i / d->slices + 1) - first, i};
        if (plan_chunk(c, &piece, sizeof piece, (uint64_t)(d->cost_ns / (double)chunks) + 1000) != 0)
            return -1;
    }
    return 0;
}

int array_write_tally(struct call *c, struct tally *t) {
    size_t size = tally_size(t);
    void *bytes = malloc(size);
    if (bytes == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory for a sum");
    tally_write(t, bytes);
    int rc = part_write(c, bytes, size);
    free(bytes);
    return rc;
}

int array_write_header(struct call *c, const struct task *t) {
    char header[NPY_MAX_WRITTEN];
    struct npy made = t->made;
    npy_write(&made, header);
    char *to = call_map_own(c, t->result, 0, (size_t)made.data);
    if (to == NULL)
        return call_fail(c, CALL_FAILED, NULL, "the result cannot be written");
    memcpy(to, header, (size_t)made.data);
    return 0;
}

void array_write_shape(struct call *c, const struct task *t) {
    const char *name = npy_name(t->made.dtype);
    json_name(c, "dtype");
    json_text(c, name, strlen(name));
    json_name(c, "shape");
    json_begin_array(c);
    for (unsigned i = 0; i < t->made.dimensions; i++)
        json_u64(c, t->made.shape[i]);
    json_end_array(c);
}

void array_write_real(struct call *c, double value) {
    if (isnan(value))
        json_text(c, "NaN", 3);
    else
        json_double(c, value);
}

void array_write_sum(struct call *c, int64_t bits, bool is_signed) {
    char digits[24];
    if (is_signed)
        snprintf(digits, sizeof digits, "%" PRId64, bits);
    else
        snprintf(digits, sizeof digits, "%" PRIu64, (uint64_t)bits);
    json_digits(c, digits);
}

static void write_integer_sum(struct call *c, struct tally *t) {
    mpz_t sum;
    mpz_init(sum);
    tally_integer_sum(t, sum);
    char *digits = mpz_get_str(NULL, 10, sum);
    json_digits(c, digits);
    free(digits);
    mpz_clear(sum);
}

void array_write_value(struct call *c, enum op op, enum npy_dtype dtype, struct tally *t) {
    switch (op) {
    case OP_MEAN: array_write_real(c, tally_mean(t)); return;
    case OP_VAR: array_write_real(c, tally_variance(t)); return;
    case OP_ARGMIN:
    case OP_ARGMAX: json_u64(c, t->at); return;
    case OP_MIN:
    case OP_MAX: break;
    default:
        if (t->family == FAMILY_REAL)
            array_write_real(c, tally_real_sum(t));
        else
            write_integer_sum(c, t);
        return;
    }
    if (t->family == FAMILY_REAL)
        array_write_real(c, t->best.real);
    else if (dtype == NPY_BOOL)
        json_bool(c, t->best.integer != 0);
    else if (t->family == FAMILY_SIGNED)
        json_i64(c, t->best.integer);
    else
        json_u64(c, (uint64_t)t->best.integer);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* Where number i in memory is in C order, of an array in Fortran order. */
static uint64_t c_place(const void *arg, uint64_t i) {
    const struct npy *a = arg;
    uint64_t place = 0, stride = 1, index[NPY_MAX_DIMENSIONS];
    for (unsigned d = 0; d < a->dimensions; d++) {
        index[d] = i % a->shape[d];
        i /= a->shape[d];
    }
    for (unsigned d = a->dimensions; d-- > 0;) {
        place += index[d] * stride;
        stride *= a->shape[d];
    }
    return place;
}

/* The numbers of a block, widened; or as they are, if they are aligned doubles. */
static const void *load(const struct numbers_at *n, const char *at, size_t count, bool real, union block *room) {
    bool is_real = block_family((enum npy_dtype)n->dtype) == FAMILY_REAL;
    if (n->dtype == NPY_F64 && n->swapped == 0 && (uintptr_t)at % sizeof(double) == 0)
        return at;
    block_load((enum npy_dtype)n->dtype, n->swapped != 0, at, count, room);
    if (real && !is_real) { /* integers of at most 32 bits among reals: see array.c */
        bool is_signed = block_family((enum npy_dtype)n->dtype) == FAMILY_SIGNED;
        for (size_t i = 0; i < count; i++) {
            int64_t integer = room->integers[i];
            room->reals[i] = is_signed ? (double)integer : (double)(uint64_t)integer;
        }
    }
    return room;
}

static const char *map(struct call *c, const struct numbers_at *n, const struct piece *piece) {
    size_t size = npy_size((enum npy_dtype)n->dtype);
    return call_map(c, n->attachment, n->data + piece->first * size, (size_t)piece->count * size);
}

static int add_piece(struct call *c, const struct task *t, const struct piece *piece, enum family family,
                     struct tally *tally) {
    const char *from = map(c, &t->in, piece), *other = t->op == OP_DOT ? map(c, &t->other, piece) : "";
    size_t size = npy_size((enum npy_dtype)t->in.dtype), other_size = npy_size((enum npy_dtype)t->other.dtype);
    bool turned = t->array.fortran && t->array.dimensions > 1, real = family == FAMILY_REAL;
    union block a, b;
    if (from == NULL || other == NULL)
        return -1;
    for (uint64_t i = 0; i < piece->count; i += BLOCK_NUMBERS) {
        if (i % NUMBERS_PER_CHECK == 0) {
            uint64_t next = piece->count - i < NUMBERS_PER_CHECK ? piece->count - i : NUMBERS_PER_CHECK;
            if (call_cancelled(c))
                return -1;
            call_progress(c, i, piece->count);
            array_populate(from + i * size, (size_t)next * size, false);
            if (t->op == OP_DOT)
                array_populate(other + i * other_size, (size_t)next * other_size, false);
        }
        size_t count = piece->count - i < BLOCK_NUMBERS ? (size_t)(piece->count - i) : BLOCK_NUMBERS;
        const void *numbers = load(&t->in, from + i * size, count, real, &a);
        if (t->op == OP_DOT)
            tally_multiply(tally, numbers, block_family((enum npy_dtype)t->in.dtype),
                           load(&t->other, other + i * other_size, count, real, &b),
                           block_family((enum npy_dtype)t->other.dtype), count);
        else if (tally->kind == TALLY_LEAST || tally->kind == TALLY_GREATEST)
            tally_compare(tally, numbers, count, piece->first + i, turned ? c_place : NULL, &t->array);
        else
            tally_add(tally, numbers, count);
    }
    return 0;
}

/* The family of what is added up. */
static enum family total_family(const struct task *t) {
    enum family a = block_family((enum npy_dtype)t->in.dtype), b = block_family((enum npy_dtype)t->other.dtype);
    return t->op != OP_DOT || a == b ? a : a == FAMILY_REAL || b == FAMILY_REAL ? FAMILY_REAL : FAMILY_SIGNED;
}

int array_reduce(struct call *c, const struct task *t, const struct piece *piece) {
    struct tally tally;
    tally_init(&tally, array_tally_kind((enum op)t->op), total_family(t));
    int rc = add_piece(c, t, piece, tally.family, &tally);
    if (rc == 0)
        rc = array_write_tally(c, &tally);
    tally_deinit(&tally);
    return rc;
}

int array_reduce_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count) {
    struct tally tally;
    int rc = 0;
    tally_init(&tally, array_tally_kind((enum op)t->op), total_family(t));
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!tally_merge(&tally, parts[i].data, parts[i].size))
            rc = call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
    if (rc == 0) {
        json_begin_object(c);
        json_name(c, array_ops[t->op]);
        array_write_value(c, (enum op)t->op, (enum npy_dtype)t->in.dtype, &tally);
        json_end_object(c);
    }
    tally_deinit(&tally);
    return rc;
}
