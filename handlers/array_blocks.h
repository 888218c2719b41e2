/* array_blocks.h: the numbers of an array, in blocks that are widened to 64 bits, so that there are three kinds of them
 * and not twelve. For the job type "array".
 *
 * The bytes of an array can be at any address. All functions are pure. */
#ifndef OFFLOAD_ARRAY_BLOCKS_H
#define OFFLOAD_ARRAY_BLOCKS_H

#include "handlers/npy.h"

#define BLOCK_NUMBERS 1024

enum family { FAMILY_SIGNED, FAMILY_UNSIGNED, FAMILY_REAL };

union value {
    int64_t integer; /* FAMILY_SIGNED; the same bits are those of FAMILY_UNSIGNED: uint64_t */
    double real;     /* FAMILY_REAL */
};

/* The numbers of a block, in the form of their family. */
union block {
    int64_t integers[BLOCK_NUMBERS];
    double reals[BLOCK_NUMBERS];
};

enum family block_family(enum npy_dtype dtype); /* a boolean is FAMILY_UNSIGNED */
/* Widens `count` numbers of an array, to integers or reals as the family says. Nothing is rounded. */
void block_load(enum npy_dtype dtype, bool swapped, const void *from, size_t count, void *to);
/* Writes one value as a number of that dtype, in this machine's order. The value must be one of the dtype's. */
void block_store(enum npy_dtype dtype, union value value, void *to);

/* The factor of a scale: it is one of the dtype's values. */
struct factor {
    union value value; /* a real is rounded to the dtype, as numpy does it */
};
/* Reads the JSON number, or the integer in a JSON string. 0; or -1 with what is wrong, as the end of a sentence, in error[NPY_MAX_ERROR]: it is no integer,
 * and the array is one of integers; or it is beyond the dtype. */
int block_read_factor(enum npy_dtype dtype, const char *json, struct factor *out, char *error);
/* Writes each number times the factor, in the same dtype and order; `to` can be `from`. Integers wrap around, and reals are
 * rounded to the dtype, as in numpy. */
void block_scale(enum npy_dtype dtype, bool swapped, const void *from, size_t count, struct factor factor, void *to);

#endif
