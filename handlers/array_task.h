/* array_task.h: what the files of the job type "array" share: the task that a plan makes, and what is done with it.
 *
 *     array.c          the parameters, the plan of all, and the table
 *     array_reduce.c   one value of all numbers: sum, mean, min, max, argmin, argmax, var, dot
 *     array_axis.c     the same for each lane along an axis: an array of values
 *     array_scale.c    each number times a factor
 *     array_tally.c    exact sums, least and greatest      array_blocks.c   dtypes      npy.c   .npy files
 */
#ifndef OFFLOAD_ARRAY_TASK_H
#define OFFLOAD_ARRAY_TASK_H

#include "handlers/array_tally.h"
#include "handlers/handler.h"

enum op { OP_SUM, OP_MEAN, OP_MIN, OP_MAX, OP_ARGMIN, OP_ARGMAX, OP_VAR, OP_DOT, OP_SCALE, OPS };
extern const char *const array_ops[OPS + 1];

#define ARRAY_NONE UINT32_MAX /* no attachment */

/* The numbers of an attachment. */
struct numbers_at {
    uint32_t attachment;
    uint32_t dtype; /* enum npy_dtype */
    uint32_t swapped;
    uint32_t unused;
    uint64_t data; /* offset of the first number */
};

/* The common bytes. */
struct task {
    uint32_t op, has_axis;
    struct numbers_at in, other; /* other: only for dot */
    struct npy array;            /* what is in `in` */
    /* An array as the result: the attachment with it, which is a .npy file, and its header. */
    uint32_t result;  /* ARRAY_NONE: the result is one value */
    uint32_t journal; /* of a scale in place, else ARRAY_NONE */
    struct npy made;
    uint64_t result_size;
    /* In memory, number k of the lane (o, i) is at (o * length + k) * inner + i. */
    uint64_t outer, length, inner;
    uint64_t slices; /* of each lane, along it: more than one if the lanes are long and few */
    struct factor factor;
};
_Static_assert(sizeof(struct task) <= HANDLER_MAX_COMMON, "it is the common bytes of a plan");

/* A chunk: which numbers; or which lanes, or of them slice i % slices; number i of a plan. */
struct piece {
    uint64_t first, count, i;
};

/* Each number that a chunk takes costs about this, in 1/16 ns. */
uint64_t array_cost(const struct task *t);
enum tally_kind array_tally_kind(enum op op);
/* Writes what a tally comes to. */
void array_write_value(struct call *c, enum op op, enum npy_dtype dtype, struct tally *t);
/* The sum of integers, which is a string in any case. */
void array_write_sum(struct call *c, int64_t bits, bool is_signed);
/* A real as a JSON number, or "NaN", "Infinity", "-Infinity". */
void array_write_real(struct call *c, double value);
/* Brings the pages of a mapping in, faster than one by one. It is only advice. `fresh`: they are new ones of an output.
 * Pages that are there can be written, too, when they are brought in for reading, and that takes half of the time. */
void array_populate(const void *at, size_t size, bool fresh);
/* How `count` things are divided into chunks, each of which is a multiple of `step` of them, but for the last one;
 * `weight` numbers are in each thing. */
struct division {
    uint64_t count, step, chunks;
    uint64_t slices; /* chunks of the same things, 1 if a thing is not divided itself */
    uint64_t wanted; /* chunks there would be with steps enough */
    double cost_ns;
};
struct division array_divide(const struct call *c, const struct task *t, uint64_t count, uint64_t weight, uint64_t step,
                             uint64_t max_chunks);
/* Adds these chunks to the plan, and the task. 0, or -1 after call_fail. */
int array_plan_chunks(struct call *c, const struct task *t, const struct division *d);
/* Writes a tally as the part of a chunk. 0, or -1 after call_fail. */
int array_write_tally(struct call *c, struct tally *t);
/* Writes the header of the result, before its first number. 0, or -1 after call_fail. */
int array_write_header(struct call *c, const struct task *t);
/* Writes the members "dtype" and "shape" of the result. */
void array_write_shape(struct call *c, const struct task *t);

int array_reduce(struct call *c, const struct task *t, const struct piece *piece);
int array_reduce_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count);

int array_axis_plan(struct call *c, struct task *t, int64_t axis);
int array_axis(struct call *c, const struct task *t, const struct piece *piece);
int array_axis_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count);

int array_scale_plan(struct call *c, struct task *t, bool is_npy);
int array_scale(struct call *c, const struct task *t, const struct piece *piece);
int array_scale_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count);

#endif
