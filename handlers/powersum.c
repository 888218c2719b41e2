/* powersum.c: sums of powers over arithmetic progressions. It runs in workers, and in the zygote for calibration.
 *
 * Iteration cuts the progression into blocks of terms of one sign, so that the loops below only see magnitudes. It adds
 * each block with the fastest loop that is exact for its largest term:
 *
 *     linear   power 1           vectorised   both 32-bit halves of the terms summed in 64-bit lanes
 *     square   terms below 2^32  vectorised   the same with the halves of their squares
 *     wide     powers < 2^128    scalar       the powers summed in 128 bits, with a count of the carries
 *     gmp      the rest          GMP
 *
 * No sum of at most BLOCK_TERMS halves overflows, and the sums of the blocks are added up in one struct bigsum. Neither
 * halves nor carries are polynomials in the index of a term, so no compiler can replace these loops by a formula: each
 * term is really added.
 */
#include "handlers/powersum.h"

#include <time.h>

#include "handlers/vectorised.h"

#define BLOCK_TERMS     (UINT64_C(1) << 16)
#define BLOCK_TERMS_GMP (UINT64_C(1) << 12) /* they take some ms at most */
#define LOW_HALF        UINT64_C(0xffffffff)

_Static_assert(sizeof(unsigned long) == sizeof(uint64_t), "GMP's _ui functions take 64 bits");

#define COPIES "default", "avx2", "avx512f"

typedef bigsum_uwide uint128;

struct progression {
    uint64_t first, step; /* of the magnitudes; if they fall, step wraps around 2^64 */
    uint64_t count;       /* 1..BLOCK_TERMS */
    unsigned power;       /* not 0 */
};

enum kernel { KERNEL_LINEAR, KERNEL_SQUARE, KERNEL_WIDE, KERNEL_GMP };

static double kernel_ns[KERNEL_GMP] = {1, 1, 2}; /* the cost of a term; for KERNEL_WIDE that of a square */

/* The sum of a block: low + high * 2^128. */
struct block_sum {
    uint128 low;
    uint64_t high;
};

VECTORISED(COPIES) static void add_linear(struct block_sum *sum, struct progression p) {
    uint64_t low = 0, high = 0, term = p.first;
    for (uint64_t i = 0; i < p.count; i++) {
        low += term & LOW_HALF;
        high += term >> 32;
        term += p.step;
    }
    *sum = (struct block_sum){low + ((uint128)high << 32), 0};
}

VECTORISED(COPIES) static void add_squares(struct block_sum *sum, struct progression p) {
    uint64_t low = 0, high = 0;
    uint32_t term = (uint32_t)p.first, step = (uint32_t)p.step;
    for (uint64_t i = 0; i < p.count; i++) {
        uint64_t square = (uint64_t)term * term;
        low += square & LOW_HALF;
        high += square >> 32;
        term += step;
    }
    *sum = (struct block_sum){low + ((uint128)high << 32), 0};
}

/* It is inlined. Where the power is a constant, the loop of multiplications is then unrolled. */
static inline __attribute__((always_inline)) void add_wide_powers(struct block_sum *sum, struct progression p,
                                                                  unsigned power) {
    uint128 low = 0;
    uint64_t carries = 0, term = p.first;
    for (uint64_t i = 0; i < p.count; i++) {
        uint128 value = (uint128)term * term;
        for (unsigned k = 2; k < power; k++)
            value *= term;
        carries += __builtin_add_overflow(low, value, &low);
        term += p.step;
    }
    *sum = (struct block_sum){low, carries};
}

static void add_wide(struct block_sum *sum, struct progression p) {
    if (p.power == 2)
        add_wide_powers(sum, p, 2);
    else
        add_wide_powers(sum, p, p.power);
}

/* The only kernel whose sums do not fit a struct block_sum. */
static void add_gmp(mpz_t sum, struct progression p) {
    mpz_t power;
    mpz_init(power);
    for (uint64_t i = 0, term = p.first; i < p.count; i++, term += p.step) {
        mpz_ui_pow_ui(power, term, p.power);
        mpz_add(sum, sum, power);
    }
    mpz_clear(power);
}

static void (*const kernels[])(struct block_sum *sum, struct progression p) = {
    [KERNEL_LINEAR] = add_linear,
    [KERNEL_SQUARE] = add_squares,
    [KERNEL_WIDE] = add_wide,
};

static enum kernel choose_kernel(uint64_t largest, unsigned power) {
    if (power == 1)
        return KERNEL_LINEAR;
    if (power == 2 && largest <= UINT32_MAX)
        return KERNEL_SQUARE;
    unsigned bits = largest == 0 ? 0 : 64 - (unsigned)__builtin_clzll(largest);
    return power * bits <= 128 ? KERNEL_WIDE : KERNEL_GMP;
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* How many of the next terms are on the same side of zero as the first one. Zero itself is on both sides. */
static uint64_t count_before_zero(const struct terms *t) {
    bool leaves_zero = (t->first < 0) == (t->step < 0);
    return leaves_zero ? t->count : smaller(t->count, magnitude(t->first) / magnitude(t->step) + 1);
}

static void add_block_of_gmp(struct bigsum *sum, struct progression p, bool subtract) {
    mpz_t block;
    mpz_init(block);
    add_gmp(block, p);
    if (subtract)
        mpz_neg(block, block);
    bigsum_add_mpz(sum, block);
    mpz_clear(block);
}

static void add_block_sum(struct bigsum *sum, const struct block_sum *block, bool subtract) {
    if (block->high == 0 && block->low <= (uint128)BIGSUM_WIDE_MAX) {
        bigsum_add(sum, subtract ? -(bigsum_wide)block->low : (bigsum_wide)block->low);
        return;
    }
    mp_limb_t limbs[3] = {(uint64_t)block->low, (uint64_t)(block->low >> 64), block->high};
    int64_t count = block->high != 0 ? 3 : 2;
    bigsum_add_limbs(sum, limbs, subtract ? -count : count);
}

/* Adds the next block of terms to the sum and removes them from *t. */
static void add_block(struct bigsum *sum, struct terms *t) {
    bool negative = t->first < 0;
    uint64_t step = (uint64_t)t->step;
    struct progression p = {.first = magnitude(t->first), .step = negative ? -step : step, .power = t->power};
    p.count = smaller(count_before_zero(t), BLOCK_TERMS);
    enum kernel kernel = choose_kernel(larger(p.first, p.first + (p.count - 1) * p.step), t->power);
    bool subtract = negative && t->power % 2 == 1;
    if (kernel == KERNEL_GMP) {
        p.count = smaller(p.count, BLOCK_TERMS_GMP);
        add_block_of_gmp(sum, p, subtract);
    } else {
        struct block_sum block;
        kernels[kernel](&block, p);
        add_block_sum(sum, &block, subtract);
    }
    t->first = (int64_t)((uint64_t)t->first + p.count * step);
    t->count -= p.count;
}

int powersum_iterate(struct call *c, struct bigsum *sum, struct terms t) {
    const uint64_t total = t.count;
    if (t.power == 0) {
        bigsum_add(sum, (bigsum_wide)t.count);
        return 0;
    }
    while (t.count > 0 && !call_cancelled(c)) {
        add_block(sum, &t);
        call_progress(c, total - t.count, total);
    }
    return t.count > 0 ? -1 : 0;
}

int powersum_closed(struct call *c, mpz_t sum, const mpz_t first, const mpz_t step, const mpz_t count, unsigned power) {
    /* A polynomial f of degree `power` has sum f(k) over k < n = sum of D^j f(0) * C(n, j+1) over j <= power,
     * where D is the forward difference. values[i] starts as f(i); after j rounds it is D^j f(i). */
    mpz_t values[POWERSUM_MAX_POWER + 1], binomial, factor;
    unsigned rounds = mpz_cmp_ui(count, power) > 0 ? power + 1 : (unsigned)mpz_get_ui(count);
    unsigned done = 0;
    mpz_init_set_ui(binomial, 1);
    mpz_init_set(factor, first);
    for (unsigned i = 0; i < rounds; i++) {
        mpz_init(values[i]);
        if (!call_cancelled(c))
            mpz_pow_ui(values[i], factor, power);
        mpz_add(factor, factor, step);
    }
    for (; done < rounds && !call_cancelled(c); done++) {
        mpz_sub_ui(factor, count, done);
        mpz_mul(binomial, binomial, factor);
        mpz_divexact_ui(binomial, binomial, done + 1);
        mpz_addmul(sum, values[0], binomial);
        for (unsigned i = 0; i + 1 < rounds - done; i++)
            mpz_sub(values[i], values[i + 1], values[i]);
        call_progress(c, done + 1, rounds);
    }
    for (unsigned i = 0; i < rounds; i++)
        mpz_clear(values[i]);
    mpz_clears(binomial, factor, NULL);
    return done < rounds ? -1 : 0;
}

/* ---- costs ------------------------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t powersum_time_ns(void (*work)(void *arg), void *arg) {
    work(arg); /* the first time takes longer */
    for (uint64_t rounds = 1;; rounds *= 4) {
        uint64_t start = now_ns();
        for (uint64_t i = 0; i < rounds; i++)
            work(arg);
        uint64_t elapsed = now_ns() - start;
        if (elapsed >= 10000)
            return elapsed / rounds + 1;
    }
}

static double measure_kernel_ns(enum kernel kernel, struct progression p) {
    static volatile uint64_t sink; /* so that no compiler leaves the work out */
    struct block_sum sum;
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 10; i++) {
        uint64_t start = now_ns();
        kernels[kernel](&sum, p);
        sink = (uint64_t)sum.low;
        best = smaller(best, now_ns() - start);
    }
    (void)sink;
    return (double)best / (double)p.count;
}

void powersum_calibrate(void) {
    struct progression p = {.first = 12345, .step = 3, .count = BLOCK_TERMS};
    kernel_ns[KERNEL_LINEAR] = measure_kernel_ns(KERNEL_LINEAR, p);
    p.power = 2;
    kernel_ns[KERNEL_SQUARE] = measure_kernel_ns(KERNEL_SQUARE, p);
    kernel_ns[KERNEL_WIDE] = measure_kernel_ns(KERNEL_WIDE, p);
}

struct power_work {
    mpz_t base, result, sum;
    unsigned power;
};

static void raise_power(void *arg) {
    struct power_work *w = arg;
    mpz_pow_ui(w->result, w->base, w->power);
    mpz_add(w->sum, w->sum, w->result);
}

static uint64_t power_cost_ns(const mpz_t base, unsigned power) {
    struct power_work w = {.power = power};
    mpz_init_set(w.base, base);
    mpz_setbit(w.base, 0); /* GMP is quick with powers of two */
    mpz_inits(w.result, w.sum, NULL);
    uint64_t cost_ns = powersum_time_ns(raise_power, &w);
    mpz_clears(w.base, w.result, w.sum, NULL);
    return cost_ns;
}

uint64_t powersum_cost_ns(const struct terms *t) {
    if (t->power == 0 || t->count == 0)
        return 1;
    int64_t last = (int64_t)((uint64_t)t->first + (t->count - 1) * (uint64_t)t->step);
    uint64_t largest = larger(magnitude(t->first), magnitude(last));
    enum kernel kernel = choose_kernel(largest, t->power);
    double term_ns;
    if (kernel == KERNEL_GMP) {
        mpz_t base;
        mpz_init_set_ui(base, largest);
        term_ns = (double)power_cost_ns(base, t->power);
        mpz_clear(base);
    } else {
        /* The first multiplication of wide is by 64 bits, the others are by 128: twice the work. */
        term_ns = kernel_ns[kernel] * (kernel == KERNEL_WIDE ? 2 * t->power - 3 : 1);
    }
    return (uint64_t)(term_ns * (double)t->count) + 1;
}

uint64_t powersum_closed_cost_ns(const mpz_t first, const mpz_t step, const mpz_t count, unsigned power) {
    mpz_t end;
    mpz_init_set(end, first);
    mpz_addmul(end, step, count);
    bool grows = mpz_cmpabs(end, first) > 0;
    /* A round is a power, and a product of about its size. */
    uint64_t cost_ns = 2 * (power + UINT64_C(1)) * power_cost_ns(grows ? end : first, power);
    mpz_clear(end);
    return cost_ns;
}
