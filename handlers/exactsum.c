/* exactsum.c: a superaccumulator for doubles. It runs in workers.
 *
 * Every finite double, and every square of one, is an integer in units of 2^-2148. The accumulator is that integer: an
 * array of limbs that are 32 bits apart. Each is held in 64 bits, so that some 2^29 values can be added before there is
 * a carry from limb to limb. This is the small superaccumulator of R. M. Neal, "Fast exact summation using small and
 * large superaccumulators" (arXiv:1505.05571, 2015), after Kulisch's long accumulator. Here it is wide enough for
 * squares and products. Instead of propagating carries, it is emptied into a GMP integer, which also takes the integers
 * that no double holds.
 *
 * Most values come in blocks, and are first made fewer. With sigma = 2^11 * 2^k, where 2^k is above all of a block,
 * q = (sigma + x) - sigma is x cut to the multiples of sigma * 2^-53, x - q is exact, and 1024 such q add up to a double
 * without rounding: algorithm ExtractVector of S. M. Rump, T. Ogita and S. Oishi, "Accurate floating-point summation
 * part I" (SIAM J. Sci. Comput. 31, 2008). What is left of each x is below sigma * 2^-53, and so on, until nothing is
 * left: mostly after two steps. So a block costs two additions to the accumulator, and the steps are of the kind that
 * compilers vectorise.
 */
#include "handlers/exactsum.h"

#include <math.h>
#include <string.h>

#include "handlers/vectorised.h"

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
    uint32_t digits[EXACTSUM_LIMBS];
    int64_t over = 0; /* a limb stays below 2^62 */
    for (size_t i = 0; i < EXACTSUM_LIMBS; i++) {
        over += s->limbs[i];
        digits[i] = (uint32_t)over;
        over >>= LIMB_BITS; /* rounds down, as gcc and clang define it */
        s->limbs[i] = 0;
    }
    mpz_t sum;
    mpz_init(sum);
    mpz_set_si(sum, over);
    mpz_mul_2exp(sum, sum, (mp_bitcnt_t)LIMB_BITS * EXACTSUM_LIMBS);
    mpz_add(s->total, s->total, sum);
    mpz_import(sum, EXACTSUM_LIMBS, -1, sizeof digits[0], 0, 0, digits);
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

/* Takes a double to pieces: it is +-mantissa * 2^(exponent - EXPONENT_BIAS). */
static uint64_t split(double value, unsigned *exponent) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t mantissa = bits & ((UINT64_C(1) << (MANTISSA_BITS - 1)) - 1);
    *exponent = (unsigned)(bits >> (MANTISSA_BITS - 1)) & 0x7ff;
    if (*exponent == 0)
        *exponent = 1; /* a denormal has no hidden bit */
    else
        mantissa |= UINT64_C(1) << (MANTISSA_BITS - 1);
    return mantissa;
}

static void count_addition(struct exactsum *s) {
    if (++s->additions == ADDITIONS_MAX)
        carry(s);
}

void exactsum_add_product(struct exactsum *s, double a, double b) {
    unsigned exponent_a, exponent_b;
    unsigned __int128 product = (unsigned __int128)split(a, &exponent_a) * split(b, &exponent_b);
    unsigned position = exponent_a + exponent_b + EXACTSUM_FRACTION_BITS - 2 * EXPONENT_BIAS;
    bool negative = signbit(a) != signbit(b);
    add_word(s, (uint64_t)product, position, negative);
    add_word(s, (uint64_t)(product >> 64), position + 64, negative);
    count_addition(s);
}

void exactsum_add(struct exactsum *s, double value, unsigned power) {
    if (power == 2) {
        exactsum_add_product(s, value, value);
        return;
    }
    unsigned exponent;
    uint64_t mantissa = split(value, &exponent);
    add_word(s, mantissa, exponent + EXACTSUM_FRACTION_BITS - EXPONENT_BIAS, signbit(value));
    count_addition(s);
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

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

#define COPIES     "default", "arch=x86-64-v3"
#define BLOCK_BITS 11   /* 2^11 >= EXACTSUM_BLOCK + 2 */
#define STEP_BITS  42   /* by which sigma falls: MANTISSA_BITS - BLOCK_BITS */
#define MAX_STEPS  8    /* what is left then is added value by value */
#define LARGEST    1000 /* sums of a block of values below 2^1000 do not overflow */
#define SMALLEST   -900 /* products from 2^-900 on have an error that is a double */
#define EXPONENT_1 1023 /* the exponent field of 1.0 */
#define VALUE_BITS INT64_C(0x7fffffffffffffff)
_Static_assert(1 << BLOCK_BITS >= EXACTSUM_BLOCK + 2, "ExtractVector needs it");

typedef int64_t __attribute__((may_alias)) double_bits;
enum { LANES = 4, GROUP = 2 * LANES };
typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));
typedef int64_t lanes_mask __attribute__((vector_size(LANES * sizeof(double))));
_Static_assert(EXACTSUM_BLOCK % GROUP == 0, "a block is whole groups");

/* The largest magnitude, as bits: they are in the order of the values, and those of infinities and NaNs are above. */
VECTORISED(COPIES)
static int64_t find_largest(const double *values, size_t count) {
    const double_bits *bits = (const void *)values;
    int64_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t magnitude = bits[i] & VALUE_BITS;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

/* Two steps of ExtractVector: adds up what is above the two sigmas, and writes what is left to `rest`, which can be the
 * values themselves. Is anything left? */
VECTORISED(COPIES)
static bool extract(const double *values, size_t groups, const double sigma[2], double sums[2], double *rest) {
    lanes sum[4] = {{0}, {0}, {0}, {0}};
    lanes_mask left = {0};
    const lanes *from = (const lanes *)values;
    lanes *to = (lanes *)rest;
    for (size_t i = 0; i < 2 * groups; i += 2) {
        lanes x0 = from[i], x1 = from[i + 1];
        lanes q0 = (x0 + sigma[0]) - sigma[0], q1 = (x1 + sigma[0]) - sigma[0];
        sum[0] += q0;
        sum[1] += q1;
        x0 -= q0;
        x1 -= q1;
        q0 = (x0 + sigma[1]) - sigma[1];
        q1 = (x1 + sigma[1]) - sigma[1];
        sum[2] += q0;
        sum[3] += q1;
        x0 -= q0;
        x1 -= q1;
        left |= (lanes_mask)(x0 != 0) | (lanes_mask)(x1 != 0);
        to[i] = x0;
        to[i + 1] = x1;
    }
    int64_t any = 0;
    sums[0] = sums[1] = 0;
    for (int i = 0; i < LANES; i++) { /* all of these are exact, too */
        sums[0] += sum[0][i] + sum[1][i];
        sums[1] += sum[2][i] + sum[3][i];
        any |= left[i];
    }
    return any != 0;
}

/* Whole groups of values: those that are given, or a copy with zeros at the end. */
static const double *whole_groups(const double *values, size_t *count, double *copy) {
    if (*count % GROUP == 0)
        return values;
    memcpy(copy, values, *count * sizeof *values);
    while (*count % GROUP != 0)
        copy[(*count)++] = 0;
    return copy;
}

/* The first two sigmas for a block. False: its values are too large. */
static bool first_sigmas(int64_t largest, double sigma[2]) {
    int exponent = (int)(largest >> (MANTISSA_BITS - 1)) - EXPONENT_1 + 1; /* 2^exponent is above all values */
    if (exponent > LARGEST)
        return false;
    sigma[0] = ldexp(1, exponent + BLOCK_BITS);
    sigma[1] = ldexp(1, exponent + BLOCK_BITS - STEP_BITS);
    return true;
}

bool exactsum_add_block(struct exactsum *s, const double *values, size_t count) {
    double rest[EXACTSUM_BLOCK], sigma[2], sums[2];
    values = whole_groups(values, &count, rest);
    if (!first_sigmas(find_largest(values, count), sigma))
        return false;
    bool left = true;
    for (int step = 0; left && step < MAX_STEPS; step += 2) {
        left = extract(values, count / GROUP, sigma, sums, rest);
        exactsum_add(s, sums[0], 1);
        exactsum_add(s, sums[1], 1);
        values = rest;
        sigma[0] = ldexp(sigma[1], -STEP_BITS);
        sigma[1] = ldexp(sigma[0], -STEP_BITS);
    }
    for (size_t i = 0; left && i < count; i++)
        exactsum_add(s, rest[i], 1);
    return true;
}

bool exactsum_short(const double *values, size_t count, double *high, double *low) {
    double rest[EXACTSUM_BLOCK], sigma[2], sums[2];
    values = whole_groups(values, &count, rest);
    if (!first_sigmas(find_largest(values, count), sigma) || extract(values, count / GROUP, sigma, sums, rest))
        return false;
    *high = sums[0];
    *low = sums[1];
    return true;
}

/* a * b = high + low, without an error, if the smallest product is not too small: the bits of the smallest one of two
 * factors that are not 0 are returned. */
VECTORISED(COPIES)
static int64_t multiply(const double *a, const double *b, size_t count, double *high, double *low) {
    const double_bits *a_bits = (const void *)a, *b_bits = (const void *)b;
    const double_bits *bits = (const void *)high;
    int64_t smallest = VALUE_BITS;
    for (size_t i = 0; i < count; i++) {
        high[i] = a[i] * b[i];
        low[i] = fma(a[i], b[i], -high[i]);
    }
    for (size_t i = 0; i < count; i++) {
        bool zero = (a_bits[i] & VALUE_BITS) == 0 || (b_bits[i] & VALUE_BITS) == 0;
        int64_t magnitude = zero ? VALUE_BITS : bits[i] & VALUE_BITS;
        smallest = magnitude < smallest ? magnitude : smallest;
    }
    return smallest;
}

bool exactsum_add_products(struct exactsum *s, const double *a, const double *b, size_t count) {
    double high[EXACTSUM_BLOCK], low[EXACTSUM_BLOCK];
    int64_t smallest = multiply(a, b, count, high, low);
    /* If the high halves can be added, the low ones can, for they are smaller; and NaNs are in both. */
    if (smallest < (int64_t)(EXPONENT_1 + SMALLEST) << (MANTISSA_BITS - 1) || !exactsum_add_block(s, high, count))
        return false;
    return exactsum_add_block(s, low, count);
}

/* ---- rounding ---------------------------------------------------------------------------------------------------- */

/* The double nearest to value * 2^-fraction_bits, for at least TINIEST_BITS of them. */
static double round_units(const mpz_t value, size_t fraction_bits) {
    if (mpz_sgn(value) == 0)
        return 0.0;
    /* How many bits are below the last one that the double can keep. In a denormal there are more of them. */
    size_t dropped = fraction_bits - TINIEST_BITS;
    size_t size = mpz_sizeinbase(value, 2);
    if (size > dropped + MANTISSA_BITS)
        dropped = size - MANTISSA_BITS;
    if (dropped > INT32_MAX)
        return mpz_sgn(value) < 0 ? -INFINITY : INFINITY;

    mpz_t kept;
    mpz_init(kept);
    mpz_abs(kept, value);
    bool half = dropped > 0 && mpz_tstbit(kept, dropped - 1);
    bool more = half && mpz_scan1(kept, 0) < dropped - 1;
    mpz_tdiv_q_2exp(kept, kept, dropped);
    uint64_t mantissa = mpz_get_ui(kept);
    mpz_clear(kept);
    if (half && (more || mantissa % 2 == 1))
        mantissa++;
    double rounded = ldexp((double)mantissa, (int)((int64_t)dropped - (int64_t)fraction_bits));
    return mpz_sgn(value) < 0 ? -rounded : rounded;
}

double exactsum_round(const mpz_t total) {
    return round_units(total, EXACTSUM_FRACTION_BITS);
}

double exactsum_divide(const mpz_t numerator, const mpz_t denominator, unsigned fraction_bits) {
    /* As many bits of the quotient as decide how it is rounded; and one more, which says if there is a remainder. */
    size_t top = mpz_sizeinbase(numerator, 2), bottom = mpz_sizeinbase(denominator, 2);
    size_t shift = bottom + MANTISSA_BITS + 3 > top ? bottom + MANTISSA_BITS + 3 - top : 0;
    if (fraction_bits + shift < TINIEST_BITS)
        shift = TINIEST_BITS - fraction_bits;
    mpz_t quotient, remainder;
    mpz_inits(quotient, remainder, NULL);
    mpz_mul_2exp(quotient, numerator, shift);
    mpz_tdiv_qr(quotient, remainder, quotient, denominator);
    bool rest = mpz_sgn(remainder) != 0;
    mpz_mul_2exp(quotient, quotient, 1);
    if (rest && mpz_sgn(numerator) < 0)
        mpz_sub_ui(quotient, quotient, 1);
    else if (rest)
        mpz_add_ui(quotient, quotient, 1);
    double rounded = round_units(quotient, fraction_bits + shift + 1);
    mpz_clears(quotient, remainder, NULL);
    return rounded;
}
