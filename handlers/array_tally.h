/* array_tally.h: what numbers come to: their sum, the sum of their squares or products, their least or greatest. For the
 * job type "array".
 *
 * Sums are exact until they are read. Tallies of pieces are written as bytes, and merged in any order to the tally of
 * the whole. A tally is used by one thread at a time. GMP aborts the process when memory runs out.
 */
#ifndef OFFLOAD_ARRAY_TALLY_H
#define OFFLOAD_ARRAY_TALLY_H

#include <gmp.h>

#include "handlers/array_blocks.h"
#include "handlers/exactsum.h"

enum tally_kind {
    TALLY_SUM,
    TALLY_VARIANCE, /* the sum, and that of the squares */
    TALLY_PRODUCTS, /* of two arrays: dot */
    TALLY_LEAST,
    TALLY_GREATEST
};

/* A sum of 128-bit products: high * 2^64 + low. */
__extension__ typedef __int128 tally_wide;
__extension__ typedef unsigned __int128 tally_uwide;
struct tally_integers {
    tally_uwide low;
    tally_wide high;
};

struct tally {
    enum tally_kind kind;
    enum family family; /* of what is added up; FAMILY_SIGNED also for products of signed and unsigned numbers */
    uint64_t count;     /* of the numbers */
    /* FAMILY_REAL: what it has seen beside finite numbers. They decide the sum alone. */
    bool nan, plus, minus;
    struct exactsum sum, squares; /* FAMILY_REAL; only those that the kind needs are initialised */
    struct tally_integers integers, integer_squares;
    mpz_t total, total_squares; /* of tallies that were merged into this one; units of 2^-2148 if real */
    /* TALLY_LEAST and TALLY_GREATEST; best is valid if count > 0. A NaN is better than every number, as in numpy. */
    union value best;
    bool best_nan;
    uint64_t at; /* where it is; of several the first place */
};

void tally_init(struct tally *t, enum tally_kind kind, enum family family);
void tally_deinit(struct tally *t);

/* Adds up to BLOCK_NUMBERS numbers of the tally's family. */
void tally_add(struct tally *t, const void *block, size_t count);
/* Likewise for TALLY_LEAST and TALLY_GREATEST. place(arg, i) is where number i of the block is. NULL: at first + i. */
void tally_compare(struct tally *t, const void *block, size_t count, uint64_t first,
                   uint64_t (*place)(const void *arg, uint64_t i), const void *arg);
/* TALLY_PRODUCTS: adds a[i] * b[i]. The families are those of the blocks; they are both FAMILY_REAL, or none is. */
void tally_multiply(struct tally *t, const void *a, enum family a_family, const void *b, enum family b_family,
                    size_t count);

/* The size of what tally_write writes; and the bytes, at `to`. */
size_t tally_size(struct tally *t);
void tally_write(struct tally *t, void *to);
/* Merges a tally of the same kind and family that was written. False: the bytes are no tally. */
bool tally_merge(struct tally *t, const void *bytes, size_t size);

/* The exact sum of integers, or of products of integers. */
void tally_integer_sum(struct tally *t, mpz_t sum);
/* These are the exact value rounded once, or NaN or an infinity. The mean and the variance of nothing are NaN. */
double tally_real_sum(struct tally *t); /* FAMILY_REAL */
double tally_mean(struct tally *t);
double tally_variance(struct tally *t); /* sum((x - mean)^2) / count */

#endif
