/* exactsum.h: the exact sum of doubles, of their squares, and of integers of any size among them.
 *
 * Nothing is rounded before exactsum_round, so the order of the additions, and how they were shared out among
 * chunks, cannot be seen in the result. Totals of several sums are added with mpz_add.
 *
 * Not thread-safe. GMP aborts the process when memory runs out.
 */
#ifndef OFFLOAD_EXACTSUM_H
#define OFFLOAD_EXACTSUM_H

#include <gmp.h>
#include <stdint.h>

/* A total counts units of 2^-2148, the square of the smallest double. */
#define EXACTSUM_FRACTION_BITS 2148
#define EXACTSUM_LIMBS         132

struct exactsum {
    int64_t
        limbs[EXACTSUM_LIMBS]; /* limb i counts units of 2^(32i - EXACTSUM_FRACTION_BITS); signed, with carries saved */
    uint32_t pending;          /* additions since the limbs were last emptied into total */
    mpz_t total;
};

void exactsum_init(struct exactsum *s);
void exactsum_deinit(struct exactsum *s);
/* value must be finite, power 1 or 2. */
void exactsum_add(struct exactsum *s, double value, unsigned power);
void exactsum_add_integer(struct exactsum *s, const mpz_t value, unsigned power);
/* Sets total to all that was added so far, in units of 2^-EXACTSUM_FRACTION_BITS. */
void exactsum_total(struct exactsum *s, mpz_t total);
/* The double nearest to a total, ties to even; an infinity if that lies beyond the doubles. Zero is +0.0,
 * even as the sum of nothing but -0.0. */
double exactsum_round(const mpz_t total);

#endif
