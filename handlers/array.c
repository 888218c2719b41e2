/* array.c: the job type "array": sums and other values of an array of numbers, and arrays made of it. It runs in workers.
 *
 * The array is an attachment of the job, in the pages to which it was written when it came. Each chunk is some of its
 * numbers, and maps them where they are. See array_task.h for the files, and docs/arrays.md for what is rounded when. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "handlers/array_task.h"

#define NPY_TYPE "application/x-npy"

const char *const array_ops[OPS + 1] = {"sum", "mean", "min", "max", "argmin", "argmax", "var", "dot", "scale", NULL};

/* ---- plan: what the attachments are ------------------------------------------------------------------------------- */

/* Reads the shape of bytes without a header. */
static int read_shape(struct call *c, const struct params *p, uint64_t size, struct npy *a) {
    struct numbers shape;
    struct number_reader reader;
    struct number n;
    if (!param_given(p, "shape")) {
        a->dimensions = 1;
        a->shape[0] = size / npy_size(a->dtype);
        return 0;
    }
    if (!param_numbers(p, "shape", &shape) || shape.count > NPY_MAX_DIMENSIONS)
        return call_fail(c, CALL_INVALID, "/shape", "has more than %d dimensions", NPY_MAX_DIMENSIONS);
    numbers_begin(&reader, &shape);
    for (size_t i = 0; numbers_next(&reader, &n) == 1; i++) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/shape/%zu", i);
        if (n.kind != NUMBER_INTEGER || n.integer < 0)
            return call_fail(c, CALL_INVALID, pointer, "must be the length of a dimension");
        a->shape[a->dimensions++] = (uint64_t)n.integer;
    }
    return 0;
}

/* Finds the numbers of an attachment; says which dtype they have, and in which shape. */
static int find_numbers(struct call *c, const struct params *p, const char *name, struct numbers_at *at,
                        struct npy *a) {
    struct attachment file;
    char error[NPY_MAX_ERROR], pointer[16];
    size_t size;
    snprintf(pointer, sizeof pointer, "/%s", name);
    if (!param_attachment(p, name, &file))
        return call_fail(c, CALL_INVALID, "", "has no %s, which op %s needs", name, array_ops[param_choice(p, "op")]);
    const char *dtype = param_text(p, "dtype", &size);
    memset(a, 0, sizeof *a);
    if (dtype != NULL) {
        if (npy_read_dtype(dtype, size, a, error) != 0)
            return call_fail(c, CALL_INVALID, "/dtype", "%s", error);
        if (read_shape(c, p, file.size, a) != 0)
            return -1;
        if (npy_count(a, file.size, error) != 0)
            return call_fail(c, CALL_INVALID, param_given(p, "shape") ? "/shape" : pointer, "%s", error);
    } else {
        size_t have = file.size < NPY_MAX_HEADER ? (size_t)file.size : NPY_MAX_HEADER;
        const void *bytes = call_map(c, file.index, 0, have);
        if (bytes == NULL)
            return -1;
        if (!npy_is(bytes, have))
            return call_fail(c, CALL_INVALID, pointer,
                             "is no .npy file, which begins with \\x93NUMPY; give the dtype of bytes without a header");
        if (npy_read(bytes, have, file.size, a, error) != 0)
            return call_fail(c, CALL_INVALID, pointer, "%s", error);
    }
    *at = (struct numbers_at){
        .attachment = file.index, .dtype = (uint32_t)a->dtype, .swapped = a->swapped, .data = a->data};
    return 0;
}

/* ---- plan: the ops ----------------------------------------------------------------------------------------------- */

static bool is_wide_integer(enum npy_dtype dtype) {
    return block_family(dtype) != FAMILY_REAL && npy_size(dtype) == 8;
}

static int plan_dot(struct call *c, const struct params *p, struct task *t) {
    struct npy other;
    if (find_numbers(c, p, "other", &t->other, &other) != 0)
        return -1;
    if (t->array.dimensions != 1 || other.dimensions != 1)
        return call_fail(c, CALL_INVALID, t->array.dimensions != 1 ? "/array" : "/other",
                         "has %u dimensions; dot is for two arrays of one",
                         t->array.dimensions != 1 ? t->array.dimensions : other.dimensions);
    if (t->array.count != other.count)
        return call_fail(c, CALL_INVALID, "/other", "has %" PRIu64 " numbers, but the array %" PRIu64, other.count,
                         t->array.count);
    if (t->array.dtype == NPY_BOOL || other.dtype == NPY_BOOL)
        return call_fail(c, CALL_INVALID, t->array.dtype == NPY_BOOL ? "/array" : "/other",
                         "has the dtype bool, which dot does not take");
    bool real = block_family(t->array.dtype) == FAMILY_REAL, other_real = block_family(other.dtype) == FAMILY_REAL;
    if (real != other_real && (is_wide_integer(t->array.dtype) || is_wide_integer(other.dtype)))
        return call_fail(c, CALL_INVALID, "/other",
                         "has the dtype %s and the array %s: not every 64-bit integer is a float64",
                         npy_name(other.dtype), npy_name(t->array.dtype));
    return 0;
}

static int plan_scale(struct call *c, const struct params *p, struct task *t) {
    char error[NPY_MAX_ERROR];
    size_t size;
    const char *factor = param_json(p, "factor", &size);
    if (factor == NULL)
        return call_fail(c, CALL_INVALID, "", "has no factor, which op scale needs");
    if (block_read_factor(t->array.dtype, factor, &t->factor, error) != 0)
        return call_fail(c, CALL_INVALID, "/factor", "%s", error);
    return array_scale_plan(c, t, !param_given(p, "dtype"));
}

/* Names a parameter that another op has. */
static int refuse_others(struct call *c, const struct params *p, enum op op) {
    const struct {
        const char *name;
        bool fits;
    } some[] = {{"axis", op < OP_DOT}, {"factor", op == OP_SCALE}, {"other", op == OP_DOT}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        char pointer[16];
        snprintf(pointer, sizeof pointer, "/%s", some[i].name);
        if (!some[i].fits && param_given(p, some[i].name))
            return call_fail(c, CALL_INVALID, pointer, "is not for op %s", array_ops[op]);
    }
    if (param_given(p, "shape") && !param_given(p, "dtype"))
        return call_fail(c, CALL_INVALID, "/shape", "is for bytes without a header, and needs their dtype");
    return 0;
}

static bool needs_one(enum op op) {
    return op == OP_MIN || op == OP_MAX || op == OP_ARGMIN || op == OP_ARGMAX;
}

static int array_plan(struct call *c, const struct params *p) {
    struct task t;
    int64_t axis = 0;
    memset(&t, 0, sizeof t);
    t.op = (uint32_t)param_choice(p, "op");
    t.result = t.journal = ARRAY_NONE;
    if (refuse_others(c, p, (enum op)t.op) != 0 || find_numbers(c, p, "array", &t.in, &t.array) != 0)
        return -1;
    t.other = t.in;
    if (param_i64(p, "axis", &axis)) {
        int64_t dimensions = t.array.dimensions;
        if (axis < -dimensions || axis >= dimensions)
            return call_fail(c, CALL_INVALID, "/axis", "is not an axis of an array with %u dimensions",
                             t.array.dimensions);
        axis = axis < 0 ? axis + dimensions : axis;
        t.has_axis = t.array.dimensions > 1; /* one value is left of an array with one dimension */
    }
    if (t.has_axis)
        return array_axis_plan(c, &t, axis);
    if (needs_one((enum op)t.op) && t.array.count == 0)
        return call_fail(c, CALL_INVALID, "/array", "is empty, and has no %s", array_ops[t.op]);
    if (t.op == OP_SCALE)
        return plan_scale(c, p, &t);
    if (t.op == OP_DOT && plan_dot(c, p, &t) != 0)
        return -1;
    struct division d = array_divide(c, &t, t.array.count, 1, BLOCK_NUMBERS, HANDLER_MAX_CHUNKS);
    return array_plan_chunks(c, &t, &d);
}

/* ---- run and merge ------------------------------------------------------------------------------------------------ */

static int array_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct task t;
    struct piece piece;
    if (common.size != sizeof t || chunk.size != sizeof piece)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&t, common.data, sizeof t);
    memcpy(&piece, chunk.data, sizeof piece);
    if (t.op == OP_SCALE)
        return array_scale(c, &t, &piece);
    return t.has_axis ? array_axis(c, &t, &piece) : array_reduce(c, &t, &piece);
}

static int array_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct task t;
    if (common.size != sizeof t)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(&t, common.data, sizeof t);
    if (t.op != OP_SCALE && !t.has_axis)
        return array_reduce_merge(c, &t, parts, count);
    int rc = t.op == OP_SCALE ? array_scale_merge(c, &t, parts, count) : array_axis_merge(c, &t, parts, count);
    return rc != 0 ? rc : result_attachment(c, NPY_TYPE, t.result, 0, t.result_size);
}

static const char *const array_results[] = {NPY_TYPE, NULL};

static const struct param_spec array_params[] = {
    {.name = "array",
     .kind = PARAM_BYTES,
     .flags = PARAM_REQUIRED | PARAM_IN_PLACE,
     .help = "a .npy file of real numbers; or their bytes alone, with dtype"},
    {.name = "op", .kind = PARAM_ENUM, .fallback = "\"sum\"", .choices = array_ops, .help = "what is made of it"},
    {.name = "axis",
     .kind = PARAM_INTEGER,
     .min = "-32",
     .max = "31",
     .help = "one value for each lane along this axis: the result is an array; -1 is the last axis"},
    {.name = "factor",
     .kind = PARAM_JSON,
     .flags = PARAM_NUMBER | PARAM_STRING,
     .help = "for scale: a number; an integer can be a string of digits"},
    {.name = "other", .kind = PARAM_BYTES, .help = "for dot: the second array"},
    {.name = "dtype", .kind = PARAM_TEXT, .help = "of bytes without a header: \"float64\", \"<f8\", \">i4\", ..."},
    {.name = "shape", .kind = PARAM_NUMBERS, .help = "of bytes without a header; one dimension if it is not given"},
    {0}};

const struct handler handler_array = {.abi = HANDLER_ABI,
                                      .name = "array",
                                      .summary = "Exact sums and other values of an array of numbers",
                                      .params = array_params,
                                      .results = array_results,
                                      .plan = array_plan,
                                      .run = array_run,
                                      .merge = array_merge};
