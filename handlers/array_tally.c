/* array_tally.c: exact sums, and the least and greatest, of blocks of numbers. It runs in workers.
 *
 * With the exact sum s of n numbers, and the exact sum q of their squares, the variance is (n q - s^2) / n^2: an integer
 * divided by an integer, and rounded once. There is no cancellation in exact numbers. */
#include "handlers/array_tally.h"

#include <math.h>
#include <string.h>

#include "handlers/vectorised.h"

#define COPIES "default", "arch=x86-64-v3"

_Static_assert(BLOCK_NUMBERS == EXACTSUM_BLOCK, "a block is added at once");
_Static_assert(sizeof(unsigned long) == 8 && sizeof(mp_limb_t) == 8, "GMP's _ui functions and its limbs have 64 bits");

static bool adds(const struct tally *t) {
    return t->kind != TALLY_LEAST && t->kind != TALLY_GREATEST;
}

void tally_init(struct tally *t, enum tally_kind kind, enum family family) {
    t->kind = kind;
    t->family = family;
    t->count = t->at = 0;
    t->nan = t->plus = t->minus = t->best_nan = false;
    t->integers = t->integer_squares = (struct tally_integers){0, 0};
    if (!adds(t))
        return;
    mpz_init(t->total);
    mpz_init(t->total_squares);
    if (family == FAMILY_REAL)
        exactsum_init(&t->sum);
    if (family == FAMILY_REAL && kind == TALLY_VARIANCE)
        exactsum_init(&t->squares);
}

void tally_deinit(struct tally *t) {
    if (!adds(t))
        return;
    mpz_clear(t->total);
    mpz_clear(t->total_squares);
    if (t->family == FAMILY_REAL)
        exactsum_deinit(&t->sum);
    if (t->family == FAMILY_REAL && t->kind == TALLY_VARIANCE)
        exactsum_deinit(&t->squares);
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

static void see(struct tally *t, double value) {
    if (isnan(value))
        t->nan = true;
    else if (value > 0)
        t->plus = true;
    else
        t->minus = true;
}

static void add_reals(struct tally *t, const double *values, size_t count) {
    if (exactsum_add_block(&t->sum, values, count))
        return;
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i]))
            exactsum_add(&t->sum, values[i], 1);
        else
            see(t, values[i]);
    }
}

static void add_products(struct tally *t, struct exactsum *sum, const double *a, const double *b, size_t count) {
    if (exactsum_add_products(sum, a, b, count))
        return;
    for (size_t i = 0; i < count; i++) {
        if (isfinite(a[i]) && isfinite(b[i]))
            exactsum_add_product(sum, a[i], b[i]);
        else
            see(t, a[i] * b[i]);
    }
}

/* The halves of the numbers are added apart, so that no sum overflows. */
VECTORISED(COPIES)
static void add_halves(const uint64_t *values, size_t count, uint64_t *low, uint64_t *high) {
    uint64_t l = 0, h = 0;
    for (size_t i = 0; i < count; i++) {
        l += values[i] & UINT32_MAX;
        h += values[i] >> 32;
    }
    *low = l;
    *high = h;
}

static void add_integers(struct tally *t, const int64_t *values, size_t count) {
    uint64_t block[BLOCK_NUMBERS], low, high;
    const uint64_t offset = t->family == FAMILY_SIGNED ? (uint64_t)INT64_MIN : 0; /* makes them all positive */
    for (size_t i = 0; i < count; i++)
        block[i] = (uint64_t)values[i] + offset;
    add_halves(block, count, &low, &high);
    tally_wide sum = (tally_wide)low + ((tally_wide)high << 32) - (tally_wide)offset * (tally_wide)count;
    t->integers.low += (uint64_t)sum;
    t->integers.high += sum >> 64; /* rounds down, as gcc and clang define it */
}

static void add_integer_products(struct tally_integers *to, const int64_t *a, bool a_signed, const int64_t *b,
                                 bool b_signed, size_t count) {
    tally_uwide low = 0;
    tally_wide high = 0;
    if (!a_signed && !b_signed) {
        for (size_t i = 0; i < count; i++) {
            tally_uwide product = (tally_uwide)(uint64_t)a[i] * (uint64_t)b[i];
            low += (uint64_t)product;
            high += (tally_wide)(product >> 64);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            tally_wide x = a_signed ? (tally_wide)a[i] : (tally_wide)(uint64_t)a[i];
            tally_wide product = x * (b_signed ? (tally_wide)b[i] : (tally_wide)(uint64_t)b[i]);
            low += (uint64_t)product;
            high += product >> 64;
        }
    }
    to->low += low;
    to->high += high;
}

void tally_add(struct tally *t, const void *block, size_t count) {
    t->count += count;
    if (t->family == FAMILY_REAL) {
        add_reals(t, block, count);
        if (t->kind == TALLY_VARIANCE)
            add_products(t, &t->squares, block, block, count);
        return;
    }
    bool is_signed = t->family == FAMILY_SIGNED;
    add_integers(t, block, count);
    if (t->kind == TALLY_VARIANCE)
        add_integer_products(&t->integer_squares, block, is_signed, block, is_signed, count);
}

void tally_multiply(struct tally *t, const void *a, enum family a_family, const void *b, enum family b_family,
                    size_t count) {
    t->count += count;
    if (t->family == FAMILY_REAL)
        add_products(t, &t->sum, a, b, count);
    else
        add_integer_products(&t->integers, a, a_family == FAMILY_SIGNED, b, b_family == FAMILY_SIGNED, count);
}

/* ---- the least and the greatest ---------------------------------------------------------------------------------- */

/* Both are found as the least: of integers with their order turned around, and of reals with the other comparison. */
VECTORISED(COPIES)
static int64_t least_integer(const int64_t *values, size_t count, int64_t turn) {
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        int64_t value = values[i] ^ turn;
        least = value < least ? value : least;
    }
    return least ^ turn;
}

enum { LANES = 8 };

VECTORISED(COPIES)
static double best_real(const double *values, size_t count, bool greatest, bool *nan) {
    double best[LANES];
    int64_t unordered[LANES] = {0};
    size_t i = 0;
    for (int j = 0; j < LANES; j++)
        best[j] = greatest ? -INFINITY : INFINITY;
    if (greatest) {
        for (; i + LANES <= count; i += LANES)
            for (int j = 0; j < LANES; j++) {
                best[j] = values[i + j] > best[j] ? values[i + j] : best[j];
                unordered[j] |= values[i + j] != values[i + j] ? -1 : 0;
            }
    } else {
        for (; i + LANES <= count; i += LANES)
            for (int j = 0; j < LANES; j++) {
                best[j] = values[i + j] < best[j] ? values[i + j] : best[j];
                unordered[j] |= values[i + j] != values[i + j] ? -1 : 0;
            }
    }
    *nan = false;
    for (; i < count; i++) {
        best[0] = (greatest ? values[i] > best[0] : values[i] < best[0]) ? values[i] : best[0];
        *nan |= values[i] != values[i];
    }
    for (int j = 0; j < LANES; j++) {
        best[0] = (greatest ? best[j] > best[0] : best[j] < best[0]) ? best[j] : best[0];
        *nan |= unordered[j] != 0;
    }
    return best[0];
}

/* 1: a is better than b; 0: they are equal; -1. */
static int compare(const struct tally *t, union value a, bool a_nan, union value b, bool b_nan) {
    if (a_nan || b_nan)
        return (int)a_nan - (int)b_nan;
    int order;
    if (t->family == FAMILY_REAL)
        order = (a.real > b.real) - (a.real < b.real);
    else if (t->family == FAMILY_SIGNED)
        order = (a.integer > b.integer) - (a.integer < b.integer);
    else
        order = ((uint64_t)a.integer > (uint64_t)b.integer) - ((uint64_t)a.integer < (uint64_t)b.integer);
    return t->kind == TALLY_GREATEST ? order : -order;
}

static bool is_it(const struct tally *t, const void *block, size_t i, union value value, bool nan) {
    if (t->family != FAMILY_REAL)
        return ((const int64_t *)block)[i] == value.integer;
    double real = ((const double *)block)[i];
    return nan ? isnan(real) : real == value.real;
}

void tally_compare(struct tally *t, const void *block, size_t count, uint64_t first,
                   uint64_t (*place)(const void *arg, uint64_t i), const void *arg) {
    union value best;
    bool nan = false;
    if (count == 0)
        return;
    if (t->family == FAMILY_REAL) {
        best.real = best_real(block, count, t->kind == TALLY_GREATEST, &nan);
    } else {
        uint64_t turn =
            (t->family == FAMILY_UNSIGNED ? UINT64_C(1) << 63 : 0) ^ (t->kind == TALLY_GREATEST ? UINT64_MAX : 0);
        best.integer = least_integer(block, count, (int64_t)turn);
    }
    int order = t->count == 0 ? 1 : compare(t, best, nan, t->best, t->best_nan);
    t->count += count;
    if (order < 0 || (order == 0 && place == NULL))
        return;
    if (order > 0)
        t->at = UINT64_MAX;
    t->best = best;
    t->best_nan = nan;
    for (size_t i = 0; i < count; i++) {
        if (!is_it(t, block, i, best, nan))
            continue;
        uint64_t at = place == NULL ? first + i : place(arg, first + i);
        t->at = at < t->at ? at : t->at;
        if (place == NULL)
            break;
    }
    if (nan)
        t->best.real = NAN;
}

/* ---- as bytes ---------------------------------------------------------------------------------------------------- */

/* Behind it come the limbs of both totals, the least significant one first. */
struct written {
    uint64_t count, at, seen; /* seen: 1 NaN, 2 infinity, 4 -infinity, 8 the best one is a NaN */
    union value best;
    int64_t limbs, square_limbs; /* negative if the number is negative */
};

/* Moves all that was added to the totals. */
static void gather(struct tally *t) {
    if (!adds(t))
        return;
    mpz_t more;
    mpz_init(more);
    if (t->family == FAMILY_REAL) {
        exactsum_total(&t->sum, more);
        mpz_add(t->total, t->total, more);
        exactsum_deinit(&t->sum);
        exactsum_init(&t->sum);
        if (t->kind == TALLY_VARIANCE) {
            exactsum_total(&t->squares, more);
            mpz_add(t->total_squares, t->total_squares, more);
            exactsum_deinit(&t->squares);
            exactsum_init(&t->squares);
        }
    }
    struct tally_integers *from[] = {&t->integers, &t->integer_squares};
    for (int i = 0; i < 2; i++) {
        /* high * 2^64 + low, in steps of 64 bits */
        mpz_set_si(more, (int64_t)(from[i]->high >> 64));
        mpz_mul_2exp(more, more, 64);
        mpz_add_ui(more, more, (uint64_t)from[i]->high);
        mpz_mul_2exp(more, more, 64);
        mpz_add_ui(more, more, (uint64_t)from[i]->low);
        mpz_ptr total = i == 0 ? t->total : t->total_squares;
        mpz_add(total, total, more);
        mpz_set_ui(more, (uint64_t)(from[i]->low >> 64));
        mpz_mul_2exp(more, more, 64);
        mpz_add(total, total, more);
        *from[i] = (struct tally_integers){0, 0};
    }
    mpz_clear(more);
}

size_t tally_size(struct tally *t) {
    gather(t);
    return sizeof(struct written) + (adds(t) ? (mpz_size(t->total) + mpz_size(t->total_squares)) * 8 : 0);
}

static int64_t write_limbs(char **to, const mpz_t value) {
    size_t count = mpz_size(value);
    if (count > 0)
        memcpy(*to, mpz_limbs_read(value), count * sizeof(mp_limb_t));
    *to += count * sizeof(mp_limb_t);
    return mpz_sgn(value) < 0 ? -(int64_t)count : (int64_t)count;
}

void tally_write(struct tally *t, void *to) {
    struct written w = {.count = t->count,
                        .at = t->at,
                        .seen = t->nan | (unsigned)t->plus << 1 | (unsigned)t->minus << 2 | (unsigned)t->best_nan << 3};
    char *limbs = (char *)to + sizeof w;
    gather(t);
    if (adds(t)) {
        w.limbs = write_limbs(&limbs, t->total);
        w.square_limbs = write_limbs(&limbs, t->total_squares);
    } else if (t->count > 0) {
        w.best = t->best;
    }
    memcpy(to, &w, sizeof w);
}

static void add_limbs(mpz_t total, const void *limbs, int64_t count) {
    mpz_t value;
    mpz_init(value);
    mpz_import(value, (size_t)(count < 0 ? -count : count), -1, sizeof(mp_limb_t), 0, 0, limbs);
    if (count < 0)
        mpz_sub(total, total, value);
    else
        mpz_add(total, total, value);
    mpz_clear(value);
}

bool tally_merge(struct tally *t, const void *bytes, size_t size) {
    struct written w;
    if (size < sizeof w)
        return false;
    memcpy(&w, bytes, sizeof w);
    uint64_t room = (size - sizeof w) / sizeof(mp_limb_t), limbs = (uint64_t)(w.limbs < 0 ? -w.limbs : w.limbs);
    uint64_t squares = (uint64_t)(w.square_limbs < 0 ? -w.square_limbs : w.square_limbs);
    if (size % sizeof(mp_limb_t) != 0 || limbs > room || squares != room - limbs || (!adds(t) && room > 0))
        return false;
    t->nan |= (w.seen & 1) != 0;
    t->plus |= (w.seen & 2) != 0;
    t->minus |= (w.seen & 4) != 0;
    bool nan = (w.seen & 8) != 0;
    if (adds(t)) {
        const char *at = (const char *)bytes + sizeof w;
        add_limbs(t->total, at, w.limbs);
        add_limbs(t->total_squares, at + limbs * sizeof(mp_limb_t), w.square_limbs);
    } else if (w.count > 0) {
        int order = t->count == 0 ? 1 : compare(t, w.best, nan, t->best, t->best_nan);
        if (order > 0 || (order == 0 && w.at < t->at)) {
            t->best = w.best;
            t->best_nan = nan;
            t->at = w.at;
        }
    }
    t->count += w.count;
    return true;
}

/* ---- what it comes to -------------------------------------------------------------------------------------------- */

void tally_integer_sum(struct tally *t, mpz_t sum) {
    gather(t);
    mpz_set(sum, t->total);
}

/* What the numbers that are not finite make of a sum; 0: there were none. */
static double not_finite(const struct tally *t) {
    if (t->nan || (t->plus && t->minus))
        return NAN;
    return t->plus ? INFINITY : t->minus ? -INFINITY : 0;
}

double tally_real_sum(struct tally *t) {
    double other = not_finite(t);
    gather(t);
    return other != 0 ? other : exactsum_round(t->total);
}

double tally_mean(struct tally *t) {
    double other = not_finite(t);
    if (t->count == 0 || other != 0)
        return t->count == 0 ? NAN : other;
    mpz_t count;
    mpz_init_set_ui(count, t->count);
    gather(t);
    double mean = exactsum_divide(t->total, count, t->family == FAMILY_REAL ? EXACTSUM_FRACTION_BITS : 0);
    mpz_clear(count);
    return mean;
}

double tally_variance(struct tally *t) {
    if (t->count == 0 || not_finite(t) != 0)
        return NAN;
    mpz_t top, bottom;
    mpz_inits(top, bottom, NULL);
    gather(t);
    mpz_mul_ui(top, t->total_squares, t->count);
    if (t->family == FAMILY_REAL)
        mpz_mul_2exp(top, top, EXACTSUM_FRACTION_BITS);
    mpz_submul(top, t->total, t->total);
    mpz_set_ui(bottom, t->count);
    mpz_mul(bottom, bottom, bottom);
    double variance = exactsum_divide(top, bottom, t->family == FAMILY_REAL ? 2 * EXACTSUM_FRACTION_BITS : 0);
    mpz_clears(top, bottom, NULL);
    return variance;
}
