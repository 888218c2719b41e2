/* exactsum.c: a superaccumulator for doubles. It runs in workers.
 *
 * Every finite double, and every square of one, is an integer in units of 2^-2148. The accumulator is that integer: an
 * array of limbs that are 32 bits apart. Each is held in 64 bits, so that some 2^29 values can be added before there is
 * a carry from limb to limb. This is the small superaccumulator of R. M. Neal, "Fast exact summation using small and
 * large superaccumulators" (arXiv:1505.05571, 2015), after Kulisch's long accumulator. Here it is wide enough for
 * squares. Instead of propagating carries, it is emptied into a GMP integer, which also takes the integers that no
 * double holds.
 */
#include "handlers/exactsum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define LIMB_BITS     32
#define MANTISSA_BITS 53
#define EXPONENT_BIAS 1075 /* a double is mantissa * 2^(exponent - EXPONENT_BIAS), with its mantissa an integer */
#define EXPONENT_MAX  2046 /* of a finite double */
#define TINIEST_BITS  1074 /* the smallest double is 2^-TINIEST_BITS */

/* One value adds less than 2^33 to any limb, so a limb stays below 2^62. */
#define ADDITIONS_MAX (UINT32_C(1) << 29)

/* The upper half of the largest square starts here, and a shifted 64-bit word spans three limbs. */
#define POSITION_MAX (2 * (EXPONENT_MAX - EXPONENT_BIAS) + EXACTSUM_FRACTION_BITS + 64)
_Static_assert(POSITION_MAX / LIMB_BITS + 3 <= EXACTSUM_LIMBS, "the accumulator holds the square of any double");

void exactsum_init(struct exactsum *s) {
    memset(s->limbs, 0, sizeof s->limbs);
    s->additions = 0;
    mpz_init(s->total);
}

void exactsum_deinit(struct exactsum *s) {
    mpz_clear(s->total);
}

/* Empties the limbs into the total. */
static void carry(struct exactsum *s) {
    mpz_t sum;
    mpz_init(sum);
    for (size_t i = EXACTSUM_LIMBS; i-- > 0;) {
        mpz_mul_2exp(sum, sum, LIMB_BITS);
        if (s->limbs[i] < 0)
            mpz_sub_ui(sum, sum, -(uint64_t)s->limbs[i]);
        else
            mpz_add_ui(sum, sum, (uint64_t)s->limbs[i]);
        s->limbs[i] = 0;
    }
    mpz_add(s->total, s->total, sum);
    s->additions = 0;
    mpz_clear(sum);
}

/* Adds +-word * 2^position units. */
static void add_word(struct exactsum *s, uint64_t word, unsigned position, bool negative) {
    unsigned __int128 shifted = (unsigned __int128)word << (position % LIMB_BITS);
    int64_t *limb = s->limbs + position / LIMB_BITS;
    for (int i = 0; i < 3; i++) {
        int64_t bits = (uint32_t)(shifted >> (LIMB_BITS * i));
        limb[i] += negative ? -bits : bits;
    }
}

void exactsum_add(struct exactsum *s, double value, unsigned power) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t mantissa = bits & ((UINT64_C(1) << (MANTISSA_BITS - 1)) - 1);
    unsigned exponent = (unsigned)(bits >> (MANTISSA_BITS - 1)) & 0x7ff;
    if (exponent == 0)
        exponent = 1; /* a denormal has no hidden bit */
    else
        mantissa |= UINT64_C(1) << (MANTISSA_BITS - 1);
    if (power == 1) {
        add_word(s, mantissa, exponent + EXACTSUM_FRACTION_BITS - EXPONENT_BIAS, signbit(value));
    } else {
        unsigned __int128 square = (unsigned __int128)mantissa * mantissa;
        unsigned position = 2 * exponent + EXACTSUM_FRACTION_BITS - 2 * EXPONENT_BIAS;
        add_word(s, (uint64_t)square, position, false);
        add_word(s, (uint64_t)(square >> 64), position + 64, false);
    }
    s->additions++;
    if (s->additions == ADDITIONS_MAX)
        carry(s);
}

void exactsum_add_integer(struct exactsum *s, const mpz_t value, unsigned power) {
    mpz_t term;
    mpz_init(term);
    mpz_pow_ui(term, value, power);
    mpz_mul_2exp(term, term, EXACTSUM_FRACTION_BITS);
    mpz_add(s->total, s->total, term);
    mpz_clear(term);
}

void exactsum_total(struct exactsum *s, mpz_t total) {
    carry(s);
    mpz_set(total, s->total);
}

double exactsum_round(const mpz_t total) {
    if (mpz_sgn(total) == 0)
        return 0.0;
    /* How many bits are below the last one that the double can keep. In a denormal there are more of them. */
    size_t dropped = EXACTSUM_FRACTION_BITS - TINIEST_BITS;
    size_t size = mpz_sizeinbase(total, 2);
    if (size > dropped + MANTISSA_BITS)
        dropped = size - MANTISSA_BITS;
    if (dropped > INT32_MAX)
        return mpz_sgn(total) < 0 ? -INFINITY : INFINITY;

    mpz_t kept;
    mpz_init(kept);
    mpz_abs(kept, total);
    bool half = mpz_tstbit(kept, dropped - 1);
    bool more = mpz_scan1(kept, 0) < dropped - 1;
    mpz_tdiv_q_2exp(kept, kept, dropped);
    uint64_t mantissa = mpz_get_ui(kept);
    mpz_clear(kept);
    if (half && (more || mantissa % 2 == 1))
        mantissa++;
    double rounded = ldexp((double)mantissa, (int)dropped - EXACTSUM_FRACTION_BITS);
    return mpz_sgn(total) < 0 ? -rounded : rounded;
}
