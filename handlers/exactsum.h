/* exactsum.h: the exact sum of doubles, of their squares and products, and of integers of any size among them.
 *
 * Nothing is rounded before exactsum_round. So the result does not depend on the order of the additions, or on how they
 * were divided into chunks. The totals of several sums are added with mpz_add.
 *
 * A sum is used by one thread at a time. GMP aborts the process when memory runs out.
 */
#ifndef OFFLOAD_EXACTSUM_H
#define OFFLOAD_EXACTSUM_H

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A total counts units of 2^-2148, the square of the smallest double. */
#define EXACTSUM_FRACTION_BITS 2148
#define EXACTSUM_LIMBS         132
#define EXACTSUM_BLOCK         1024 /* doubles that are added at once */

struct exactsum {
    /* Limb i counts units of 2^(32i - EXACTSUM_FRACTION_BITS). It has a sign, and more bits than 32, so that carries
     * can wait. */
    int64_t limbs[EXACTSUM_LIMBS];
    uint32_t additions; /* since the limbs were last emptied into total */
    mpz_t total;
};

void exactsum_init(struct exactsum *s);
void exactsum_deinit(struct exactsum *s);
/* Adds value^power. The value must be finite, and the power 1 or 2. */
void exactsum_add(struct exactsum *s, double value, unsigned power);
/* Adds a * b. Both must be finite. */
void exactsum_add_product(struct exactsum *s, double a, double b);
/* Adds up to EXACTSUM_BLOCK values at the speed of the memory. False, and nothing is added, if one of them is not finite,
 * or beyond 2^1000. */
bool exactsum_add_block(struct exactsum *s, const double *values, size_t count);
/* Likewise a[i] * b[i]. False, and nothing is added, also if one of the products is too small to be divided in two
 * doubles. */
bool exactsum_add_products(struct exactsum *s, const double *a, const double *b, size_t count);
/* The sum of up to EXACTSUM_BLOCK values, rounded once, if it is that of two doubles, as it is for values of similar size:
 * *high + *low. Else false. This is for many short sums. */
bool exactsum_short(const double *values, size_t count, double *high, double *low);
/* Adds value^power, for any power. */
void exactsum_add_integer(struct exactsum *s, const mpz_t value, unsigned power);
/* Sets *total to the sum of all that was added so far, in units of 2^-EXACTSUM_FRACTION_BITS. */
void exactsum_total(struct exactsum *s, mpz_t total);
/* The double nearest to a total, ties to even (IEEE 754); an infinity if the total is beyond the doubles. Zero is
 * always +0.0, also as the sum of nothing but -0.0. */
double exactsum_round(const mpz_t total);
/* Likewise the double nearest to numerator / denominator * 2^-fraction_bits. The denominator is above 0. */
double exactsum_divide(const mpz_t numerator, const mpz_t denominator, unsigned fraction_bits);

#endif
