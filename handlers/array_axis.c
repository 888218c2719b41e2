/* array_axis.c: one value for each lane of an array along an axis. It runs in workers.
 *
 * In memory an array is `outer` times `length` times `inner` numbers, where `length` is that of the axis: of Fortran order
 * the dimensions are counted from the last one. A chunk is some lanes, consecutive in the order of the results, which it
 * writes to its own piece of an output of the plan. Its part is empty.
 *
 * If the lanes are so few that there would be too few chunks, a chunk is a slice of some lanes, and the next chunk is the
 * next slice of the same ones. Its part has their tallies, each behind its size; merge adds them up and writes the results.
 *
 * If inner is 1, a lane is consecutive in memory. Otherwise LANES of them are read at once, row by row, and turned, so that
 * each cache line is read once. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/array_task.h"

#define LANES           64
#define ROWS            256  /* LANES * ROWS numbers of 8 bytes are 128 KiB */
#define MAX_SHOWN       1000 /* values that the summary has */
#define NUMBERS_A_CHECK (1024 * 1024)
#define SLICE_NUMBERS   4096 /* of each lane, at least: its tally is much smaller */

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static enum npy_dtype result_dtype(enum op op, enum npy_dtype dtype) {
    switch (op) {
    case OP_MIN:
    case OP_MAX: return dtype;
    case OP_ARGMIN:
    case OP_ARGMAX: return NPY_I64;
    case OP_SUM:
        if (block_family(dtype) != FAMILY_REAL)
            return block_family(dtype) == FAMILY_SIGNED || dtype == NPY_BOOL ? NPY_I64 : NPY_U64;
        return NPY_F64;
    default: return NPY_F64;
    }
}

int array_axis_plan(struct call *c, struct task *t, int64_t axis) {
    const struct npy *a = &t->array;
    t->outer = t->inner = 1;
    for (unsigned i = 0; i < a->dimensions; i++) {
        uint64_t *to = (int64_t)i < axis ? (a->fortran ? &t->inner : &t->outer) : (a->fortran ? &t->outer : &t->inner);
        if ((int64_t)i != axis && __builtin_mul_overflow(*to, a->shape[i], to))
            return call_fail(c, CALL_INVALID, "/array", "has more lanes along axis %" PRId64 " than 2^64", axis);
        if ((int64_t)i != axis)
            t->made.shape[t->made.dimensions++] = a->shape[i];
    }
    t->length = a->shape[axis];
    if (t->length == 0 && (t->op == OP_MIN || t->op == OP_MAX || t->op == OP_ARGMIN || t->op == OP_ARGMAX))
        return call_fail(c, CALL_INVALID, "/axis", "has the length 0, and its lanes have no %s", array_ops[t->op]);
    t->made.dtype = result_dtype((enum op)t->op, a->dtype);
    t->made.fortran = a->fortran;
    uint64_t item = npy_size(t->made.dtype), bytes;
    /* Lanes of length 0 are as many as the client says, though it has sent nothing. */
    if (__builtin_mul_overflow(t->outer, t->inner, &t->made.count) ||
        __builtin_mul_overflow(t->made.count, item, &bytes) || bytes > INT64_MAX - NPY_MAX_WRITTEN ||
        (t->length == 0 && t->made.count > MAX_SHOWN))
        return call_fail(c, CALL_INVALID, "/array", "has too many lanes along axis %" PRId64, axis);
    char header[NPY_MAX_WRITTEN];
    npy_write(&t->made, header); /* run writes it again, to the result */
    t->result_size = t->made.data + bytes;
    if (plan_output(c, t->result_size, &t->result) != 0)
        return -1;
    /* A lane costs something itself, which is about that of 100 numbers. */
    struct division d =
        array_divide(c, t, t->made.count, t->length + 100, t->inner == 1 ? 1 : LANES, HANDLER_MAX_CHUNKS);
    uint64_t most = t->length / SLICE_NUMBERS;
    if (d.wanted > d.chunks && most > 1 && t->made.count > 0)
        d.slices = d.wanted / d.chunks < most ? d.wanted / d.chunks : most;
    t->slices = d.slices;
    return array_plan_chunks(c, t, &d);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* Writes what a lane comes to. 0, or -1 after call_fail. */
static int put(struct call *c, const struct task *t, struct tally *lane, char *to) {
    union value value = {0};
    switch (t->op) {
    case OP_MIN:
    case OP_MAX: value = lane->best; break;
    case OP_ARGMIN:
    case OP_ARGMAX: value.integer = (int64_t)lane->at; break;
    case OP_MEAN: value.real = tally_mean(lane); break;
    case OP_VAR: value.real = tally_variance(lane); break;
    default:
        if (lane->family == FAMILY_REAL) {
            value.real = tally_real_sum(lane);
            break;
        }
        mpz_t sum;
        mpz_init(sum);
        tally_integer_sum(lane, sum);
        bool fits = t->made.dtype == NPY_I64 ? mpz_fits_slong_p(sum) != 0 : mpz_fits_ulong_p(sum) != 0;
        value.integer = t->made.dtype == NPY_I64 ? mpz_get_si(sum) : (int64_t)mpz_get_ui(sum);
        mpz_clear(sum);
        if (!fits)
            return call_fail(c, CALL_INVALID, "/axis", "has a lane whose sum is beyond %s", npy_name(t->made.dtype));
    }
    block_store(t->made.dtype, value, to);
    return 0;
}

/* Which numbers of its lanes a chunk takes: from `begin` to before `end`. */
struct slice {
    uint64_t begin, end;
};

static struct slice slice_of(const struct task *t, const struct piece *piece) {
    uint64_t i = piece->i % t->slices, size = t->length / t->slices, more = t->length % t->slices;
    struct slice s = {i * size + (i < more ? i : more), 0};
    s.end = s.begin + size + (i < more ? 1 : 0);
    return s;
}

/* A lane is at its end, or at that of its slice. 0, or -1 after call_fail. */
static int finish(struct call *c, const struct task *t, struct tally *lane, char *to) {
    if (t->slices == 1)
        return put(c, t, lane, to);
    uint64_t size = tally_size(lane);
    return part_write(c, &size, sizeof size) == 0 ? array_write_tally(c, lane) : -1;
}

static void add(struct tally *lane, const void *block, size_t count, uint64_t first) {
    if (lane->kind == TALLY_LEAST || lane->kind == TALLY_GREATEST)
        tally_compare(lane, block, count, first, NULL, NULL);
    else
        tally_add(lane, block, count);
}

/* A short lane of reals, whose sum needs no long accumulator. */
static bool put_short(const struct task *t, const double *lane, char *to) {
    double high, low;
    if ((t->op != OP_SUM && t->op != OP_MEAN) || block_family(t->array.dtype) != FAMILY_REAL ||
        !exactsum_short(lane, (size_t)t->length, &high, &low))
        return false;
    union value value = {.real = high + low};
    if (t->op == OP_MEAN && (low != 0 || t->length == 0))
        return false;
    if (t->op == OP_MEAN)
        value.real /= (double)t->length;
    block_store(NPY_F64, value, to);
    return true;
}

/* Lanes that are consecutive in memory. */
static int run_rows(struct call *c, const struct task *t, const struct piece *piece, const char *lanes, char *to) {
    const struct slice slice = slice_of(t, piece);
    size_t item = npy_size(t->array.dtype), made = npy_size(t->made.dtype);
    uint64_t unchecked = NUMBERS_A_CHECK;
    struct tally lane;
    union block block;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < piece->count; i++, to += made) {
        const char *from = lanes + (i * t->length + slice.begin) * item;
        bool is_short = t->length <= BLOCK_NUMBERS;
        tally_init(&lane, array_tally_kind((enum op)t->op), block_family(t->array.dtype));
        for (uint64_t k = slice.begin; rc == 0 && k < slice.end; k += BLOCK_NUMBERS) {
            size_t count = slice.end - k < BLOCK_NUMBERS ? (size_t)(slice.end - k) : BLOCK_NUMBERS;
            if ((unchecked += count) >= NUMBERS_A_CHECK) {
                unchecked = 0;
                rc = call_cancelled(c) ? -1 : 0;
                call_progress(c, i, piece->count);
            }
            block_load(t->array.dtype, t->array.swapped, from, count, &block);
            from += count * item;
            if (!is_short || !(is_short = put_short(t, block.reals, to)))
                add(&lane, &block, count, k);
        }
        if (rc == 0 && (!is_short || t->length == 0))
            rc = finish(c, t, &lane, to);
        tally_deinit(&lane);
    }
    return rc;
}

/* Numbers of lanes side by side: each lane of them is consecutive. */
struct turned {
    int64_t lanes[LANES][ROWS]; /* doubles, if they are reals: the bits are moved, not read */
};

/* Reads `rows` rows of `count` numbers each. */
static void turn(const struct task *t, const char *from, size_t count, size_t rows, struct turned *to) {
    size_t item = npy_size(t->array.dtype);
    int64_t row[LANES];
    for (size_t k = 0; k < rows; k++) {
        block_load(t->array.dtype, t->array.swapped, from + k * t->inner * item, count, row);
        for (size_t i = 0; i < count; i++)
            to->lanes[i][k] = row[i];
    }
}

/* Up to LANES lanes side by side, whose first numbers are at `from`. */
static int run_lanes(struct call *c, const struct task *t, struct slice slice, const char *from, size_t count,
                     struct turned *turned, struct tally *lanes, char *to) {
    size_t item = npy_size(t->array.dtype), made = npy_size(t->made.dtype);
    bool done[LANES] = {false};
    uint64_t unchecked = NUMBERS_A_CHECK;
    int rc = 0;
    for (size_t i = 0; i < count; i++)
        tally_init(&lanes[i], array_tally_kind((enum op)t->op), block_family(t->array.dtype));
    for (uint64_t k = slice.begin; rc == 0 && k < slice.end; k += ROWS) {
        size_t rows = slice.end - k < ROWS ? (size_t)(slice.end - k) : ROWS;
        if ((unchecked += count * rows) >= NUMBERS_A_CHECK) {
            unchecked = 0;
            rc = call_cancelled(c) ? -1 : 0;
        }
        turn(t, from + k * t->inner * item, count, rows, turned);
        for (size_t i = 0; i < count; i++) {
            done[i] = t->length <= ROWS && put_short(t, (const void *)turned->lanes[i], to + i * made);
            if (!done[i])
                add(&lanes[i], turned->lanes[i], rows, k);
        }
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!done[i])
            rc = finish(c, t, &lanes[i], to + i * made);
    for (size_t i = 0; i < count; i++)
        tally_deinit(&lanes[i]);
    return rc;
}

/* Lane number n is the one of (n / inner, n % inner). */
static int run_columns(struct call *c, const struct task *t, const struct piece *piece, const char *array, char *to) {
    size_t item = npy_size(t->array.dtype), made = npy_size(t->made.dtype);
    struct turned *turned = malloc(sizeof *turned);
    struct tally *lanes = malloc(LANES * sizeof *lanes);
    int rc = turned != NULL && lanes != NULL ? 0 : call_fail(c, CALL_MEMORY, NULL, "there is no memory for the lanes");
    for (uint64_t i = 0; rc == 0 && i < piece->count;) {
        uint64_t n = piece->first + i, o = n / t->inner, column = n % t->inner, count = t->inner - column;
        count = count > piece->count - i ? piece->count - i : count;
        count = count > LANES ? LANES : count;
        const char *from = array + (o * t->length * t->inner + column) * item;
        rc = run_lanes(c, t, slice_of(t, piece), from, (size_t)count, turned, lanes, to + i * made);
        call_progress(c, i, piece->count);
        i += count;
    }
    free(turned);
    free(lanes);
    return rc;
}

int array_axis(struct call *c, const struct task *t, const struct piece *piece) {
    size_t item = npy_size(t->array.dtype), made = npy_size(t->made.dtype);
    if (piece->i == 0 && array_write_header(c, t) != 0)
        return -1;
    if (piece->count == 0)
        return 0;
    char *to = call_map_own(c, t->result, t->made.data + piece->first * made, (size_t)piece->count * made);
    if (to == NULL)
        return call_fail(c, CALL_FAILED, NULL, "the result cannot be written");
    uint64_t first = t->inner == 1 ? piece->first * t->length : 0;
    uint64_t count = t->inner == 1 ? piece->count * t->length : t->array.count;
    const char *from = call_map(c, t->in.attachment, t->in.data + first * item, (size_t)count * item);
    if (from == NULL)
        return -1;
    return t->inner == 1 ? run_rows(c, t, piece, from, to) : run_columns(c, t, piece, from, to);
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

static void write_number(struct call *c, const struct task *t, const char *at) {
    union {
        int64_t integer;
        double real;
    } value;
    enum family family = block_family(t->made.dtype);
    block_load(t->made.dtype, false, at, 1, &value);
    if (family == FAMILY_REAL)
        array_write_real(c, value.real);
    else if (t->made.dtype == NPY_BOOL)
        json_bool(c, value.integer != 0);
    else if (t->op == OP_SUM)
        array_write_sum(c, value.integer, family == FAMILY_SIGNED);
    else if (family == FAMILY_SIGNED)
        json_i64(c, value.integer);
    else
        json_u64(c, (uint64_t)value.integer);
}

/* The values of dimension d, of which the first is number `first` in memory, as lists in lists. */
static void write_lists(struct call *c, const struct task *t, const char *values, unsigned d, uint64_t first) {
    size_t item = npy_size(t->made.dtype);
    if (d == t->made.dimensions) {
        write_number(c, t, values + first * item);
        return;
    }
    uint64_t stride = 1;
    for (unsigned i = 0; i < t->made.dimensions; i++)
        if (t->made.fortran ? i < d : i > d)
            stride *= t->made.shape[i];
    json_begin_array(c);
    for (uint64_t i = 0; i < t->made.shape[d]; i++)
        write_lists(c, t, values, d + 1, first + i * stride);
    json_end_array(c);
}

/* Adds up the slices of some lanes, and writes what these come to. *to moves on. 0, or -1 after call_fail. */
static int merge_slices(struct call *c, const struct task *t, const struct bytes *parts, size_t *read, char **to,
                        const char *end) {
    size_t made = npy_size(t->made.dtype);
    int rc = 0;
    memset(read, 0, t->slices * sizeof *read);
    while (rc == 0 && read[0] < parts[0].size) {
        struct tally lane;
        tally_init(&lane, array_tally_kind((enum op)t->op), block_family(t->array.dtype));
        for (size_t i = 0; rc == 0 && i < t->slices; i++) {
            const char *at = (const char *)parts[i].data + read[i];
            size_t left = parts[i].size - read[i];
            uint64_t size = 0;
            if (left >= sizeof size)
                memcpy(&size, at, sizeof size);
            if (left < sizeof size || size > left - sizeof size || !tally_merge(&lane, at + sizeof size, (size_t)size))
                rc = call_fail(c, CALL_FAILED, NULL, "slice %zu is damaged", i);
            read[i] += sizeof size + (size_t)size;
        }
        if (rc == 0 && (size_t)(end - *to) < made)
            rc = call_fail(c, CALL_FAILED, NULL, "there are too many slices");
        if (rc == 0)
            rc = put(c, t, &lane, *to);
        *to += made;
        tally_deinit(&lane);
    }
    return rc;
}

static int merge_all_slices(struct call *c, const struct task *t, const struct bytes *parts, size_t count) {
    size_t size = (size_t)(t->made.count * npy_size(t->made.dtype));
    char *to = call_map_own(c, t->result, t->made.data, size);
    size_t *read = calloc(t->slices, sizeof *read); /* bytes of each slice */
    int rc = to == NULL ? call_fail(c, CALL_FAILED, NULL, "the result cannot be written") : 0;
    if (read == NULL)
        rc = call_fail(c, CALL_MEMORY, NULL, "there is no memory for the lanes");
    const char *end = to == NULL ? NULL : to + size;
    if (count % t->slices != 0)
        rc = call_fail(c, CALL_FAILED, NULL, "a slice is missing");
    for (size_t i = 0; rc == 0 && i < count; i += t->slices)
        rc = merge_slices(c, t, parts + i, read, &to, end);
    if (rc == 0 && to != end)
        rc = call_fail(c, CALL_FAILED, NULL, "a lane is missing");
    free(read);
    return rc;
}

int array_axis_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count) {
    if (t->slices > 1 && merge_all_slices(c, t, parts, count) != 0)
        return -1;
    json_begin_object(c);
    if (t->made.count > 0 && t->made.count <= MAX_SHOWN) {
        size_t size = (size_t)(t->made.count * npy_size(t->made.dtype));
        const char *values = call_map(c, t->result, t->made.data, size);
        if (values == NULL)
            return -1;
        json_name(c, array_ops[t->op]);
        write_lists(c, t, values, 0, 0);
    }
    array_write_shape(c, t);
    json_end_object(c);
    return 0;
}
