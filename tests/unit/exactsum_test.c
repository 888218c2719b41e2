/* exactsum_test.c: compares the superaccumulator with sums made by GMP, and its rounding with the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/exactsum.h"

/* A fixed sequence (splitmix64), so that a failure can be repeated. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Any finite double: denormals, too, and of either sign. */
static double random_double(uint64_t *state) {
    double value;
    do {
        uint64_t bits = next_random(state);
        memcpy(&value, &bits, sizeof value);
    } while (!isfinite(value));
    return value;
}

/* Computes units = value^power * 2^EXACTSUM_FRACTION_BITS, with GMP's own conversion. */
static void set_units(mpz_t units, double value, unsigned power) {
    mpq_t exact, factor;
    mpq_inits(exact, factor, NULL);
    mpq_set_d(exact, value);
    mpq_set(factor, exact);
    if (power == 2)
        mpq_mul(exact, exact, factor);
    mpq_mul_2exp(exact, exact, EXACTSUM_FRACTION_BITS);
    assert_int_equal(mpz_cmp_ui(mpq_denref(exact), 1), 0);
    mpz_set(units, mpq_numref(exact));
    mpq_clears(exact, factor, NULL);
}

/* As set_units, but an infinity becomes the next power of two, 2^1024. */
static void set_neighbour(mpz_t units, double value) {
    if (isinf(value)) {
        mpz_set_ui(units, 1);
        mpz_mul_2exp(units, units, DBL_MAX_EXP + EXACTSUM_FRACTION_BITS);
        if (value < 0)
            mpz_neg(units, units);
    } else {
        set_units(units, value, 1);
    }
}

static bool is_odd(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits % 2 == 1;
}

/* Asserts that the total is between the middles of `value` and its neighbours. It can be on a middle only if `value` is
 * even. */
static void assert_nearest(const mpz_t total, double value) {
    mpz_t twice, middle, neighbour;
    mpz_inits(twice, middle, neighbour, NULL);
    mpz_mul_2exp(twice, total, 1);
    for (int side = -1; side <= 1; side += 2) {
        set_neighbour(middle, value);
        if (!isinf(value) || value * side < 0) {
            set_neighbour(neighbour, nextafter(value, side * INFINITY));
            mpz_add(middle, middle, neighbour);
            int order = mpz_cmp(twice, middle) * side;
            assert_true(order < 0 || (order == 0 && !is_odd(value)));
        }
    }
    mpz_clears(twice, middle, neighbour, NULL);
}

static double round_sum(const double *values, size_t count, unsigned power) {
    struct exactsum s;
    mpz_t total;
    mpz_init(total);
    exactsum_init(&s);
    for (size_t i = 0; i < count; i++)
        exactsum_add(&s, values[i], power);
    exactsum_total(&s, total);
    double rounded = exactsum_round(total);
    exactsum_deinit(&s);
    mpz_clear(total);
    return rounded;
}

static void random_doubles_of_every_size_sum_exactly(void **state) {
    (void)state;
    uint64_t random = 1;
    struct exactsum s;
    mpz_t expected, total, units;
    mpz_inits(expected, total, units, NULL);
    for (unsigned power = 1; power <= 2; power++) {
        exactsum_init(&s);
        mpz_set_ui(expected, 0);
        for (int i = 0; i < 100000; i++) {
            double value = random_double(&random);
            exactsum_add(&s, value, power);
            set_units(units, value, power);
            mpz_add(expected, expected, units);
        }
        exactsum_total(&s, total);
        assert_int_equal(mpz_cmp(total, expected), 0);
        exactsum_deinit(&s);
    }
    mpz_clears(expected, total, units, NULL);
}

static void any_sum_is_rounded_to_the_nearest_double(void **state) {
    (void)state;
    uint64_t random = 2;
    mpz_t total, units;
    mpz_inits(total, units, NULL);
    for (int i = 0; i < 20000; i++) {
        /* Two or three values of nearly the same size, so that the rounding concerns what the addition itself would
         * lose. */
        double value = random_double(&random);
        set_units(total, value, 1);
        for (int k = 0; k < 2; k++) {
            double other = ldexp(value, (int)(next_random(&random) % 130) - 120) * (k == 0 ? -0.75 : 1.25);
            if (isfinite(other)) {
                set_units(units, other, 1);
                mpz_add(total, total, units);
            }
        }
        assert_nearest(total, exactsum_round(total));
    }
    mpz_clears(total, units, NULL);
}

static void halfway_cases_go_to_the_even_double(void **state) {
    (void)state;
    const double half_ulp = DBL_EPSILON / 2;
    assert_true(round_sum((double[]){1, half_ulp}, 2, 1) == 1);
    assert_true(round_sum((double[]){1, half_ulp, DBL_TRUE_MIN}, 3, 1) == 1 + DBL_EPSILON);
    assert_true(round_sum((double[]){1, half_ulp, -DBL_TRUE_MIN}, 3, 1) == 1);
    assert_true(round_sum((double[]){1 + DBL_EPSILON, half_ulp}, 2, 1) == 1 + 2 * DBL_EPSILON);
    assert_true(round_sum((double[]){-1 - DBL_EPSILON, -half_ulp}, 2, 1) == -1 - 2 * DBL_EPSILON);
    assert_true(round_sum((double[]){2 - DBL_EPSILON, half_ulp}, 2, 1) == 2);
}

static void denormals_are_rounded_once(void **state) {
    (void)state;
    assert_true(round_sum((double[]){DBL_MIN, -DBL_TRUE_MIN}, 2, 1) == DBL_MIN - DBL_TRUE_MIN);
    assert_true(round_sum((double[]){DBL_TRUE_MIN, DBL_TRUE_MIN}, 2, 1) == 2 * DBL_TRUE_MIN);
    /* Squares of about 2^-537.5: below half of the smallest double, above it, and equal to it (a tie, which goes to the
     * even zero). */
    double tie[] = {ldexp(1, -538), ldexp(1, -538)};
    assert_true(round_sum(tie, 2, 2) == 0);
    assert_true(round_sum((double[]){tie[0], tie[1], DBL_TRUE_MIN}, 3, 2) == DBL_TRUE_MIN);
    assert_true(round_sum(tie, 1, 2) == 0);
    assert_true(round_sum((double[]){DBL_TRUE_MIN}, 1, 2) == 0);
    assert_true(round_sum((double[]){ldexp(1.5, -537)}, 1, 2) == 2 * DBL_TRUE_MIN);
}

static void sums_beyond_the_doubles_are_infinite(void **state) {
    (void)state;
    const double half_ulp = ldexp(1, DBL_MAX_EXP - DBL_MANT_DIG - 1);
    assert_true(round_sum((double[]){DBL_MAX, DBL_MAX, -DBL_MAX}, 3, 1) == DBL_MAX);
    assert_true(round_sum((double[]){DBL_MAX, half_ulp, -DBL_TRUE_MIN}, 3, 1) == DBL_MAX);
    assert_true(round_sum((double[]){DBL_MAX, half_ulp}, 2, 1) == INFINITY);
    assert_true(round_sum((double[]){-DBL_MAX, -half_ulp}, 2, 1) == -INFINITY);
    assert_true(round_sum((double[]){-DBL_MAX}, 1, 2) == INFINITY);
}

static void no_sum_is_a_negative_zero(void **state) {
    (void)state;
    double sums[] = {round_sum(NULL, 0, 1), round_sum((double[]){-0.0, -0.0}, 2, 1),
                     round_sum((double[]){1, -1}, 2, 1)};
    for (size_t i = 0; i < 3; i++)
        assert_true(sums[i] == 0 && !signbit(sums[i]));
}

static void full_limbs_are_emptied_in_time(void **state) {
    (void)state;
    struct exactsum s;
    mpz_t total, expected;
    mpz_inits(total, expected, NULL);
    exactsum_init(&s);
    s.additions = (UINT32_C(1) << 29) - 10; /* as if so many zeros had been added */
    for (int i = 0; i < 20; i++)
        exactsum_add(&s, i % 2 == 0 ? -DBL_MAX : 0.1, 1);
    assert_int_equal(s.additions, 10);
    exactsum_total(&s, total);
    set_units(expected, 0.1, 1);
    set_units(s.total, DBL_MAX, 1);
    mpz_sub(expected, expected, s.total);
    mpz_mul_ui(expected, expected, 10);
    assert_int_equal(mpz_cmp(total, expected), 0);
    exactsum_deinit(&s);
    mpz_clears(total, expected, NULL);
}

static void integers_of_any_size_are_added_exactly(void **state) {
    (void)state;
    struct exactsum s;
    mpz_t big, total;
    mpz_inits(big, total, NULL);
    exactsum_init(&s);
    mpz_ui_pow_ui(big, 10, 4096);
    exactsum_add_integer(&s, big, 2);
    exactsum_add(&s, 0.5, 2);
    exactsum_total(&s, total);
    assert_true(exactsum_round(total) == INFINITY);
    mpz_pow_ui(big, big, 2);
    mpz_neg(big, big);
    exactsum_add_integer(&s, big, 1);
    exactsum_total(&s, total);
    assert_true(exactsum_round(total) == 0.25);
    exactsum_deinit(&s);
    mpz_clears(big, total, NULL);
}

/* Values of similar size, then ever more different ones; and of any size. */
static double random_of_kind(uint64_t *state, unsigned kind) {
    double value = ldexp((double)(int64_t)next_random(state), -63);
    if (kind < 5)
        return ldexp(value, (int)(next_random(state) % (1 + 50 * kind)) - 30);
    do
        value = random_double(state);
    while (fabs(value) >= 0x1p1000);
    return value;
}

static void blocks_add_what_their_values_add(void **state) {
    (void)state;
    uint64_t seed = 17;
    double a[EXACTSUM_BLOCK], b[EXACTSUM_BLOCK];
    mpz_t expected, found;
    mpz_inits(expected, found, NULL);
    for (unsigned round = 0; round < 300; round++) {
        size_t count = round < 20 ? round : next_random(&seed) % (EXACTSUM_BLOCK + 1);
        struct exactsum s, one, by_one;
        exactsum_init(&s);
        exactsum_init(&one);
        exactsum_init(&by_one);
        for (size_t i = 0; i < count; i++) {
            a[i] = random_of_kind(&seed, round % 6);
            b[i] = i % 7 == 0 ? 0.0 : random_of_kind(&seed, round % 5);
            exactsum_add(&one, a[i], 1);
            exactsum_add_product(&by_one, a[i], b[i]);
        }
        assert_true(exactsum_add_block(&s, a, count));
        exactsum_total(&s, found);
        exactsum_total(&one, expected);
        assert_int_equal(mpz_cmp(found, expected), 0);
        double high, low;
        if (exactsum_short(a, count, &high, &low))
            assert_true(high + low == exactsum_round(expected));
        exactsum_total(&by_one, expected);
        if (exactsum_add_products(&s, a, b, count))
            mpz_add(expected, expected, found);
        else
            mpz_set(expected, found);
        exactsum_total(&s, found);
        assert_int_equal(mpz_cmp(found, expected), 0);
        exactsum_deinit(&s);
        exactsum_deinit(&one);
        exactsum_deinit(&by_one);
    }
    mpz_clears(expected, found, NULL);
}

static void products_are_exact(void **state) {
    (void)state;
    uint64_t seed = 23;
    mpz_t found;
    mpq_t expected, factor;
    mpz_init(found);
    mpq_inits(expected, factor, NULL);
    for (unsigned round = 0; round < 1000; round++) {
        double a = random_double(&seed), b = random_double(&seed);
        struct exactsum s;
        exactsum_init(&s);
        exactsum_add_product(&s, a, b);
        exactsum_total(&s, found);
        mpq_set_d(expected, a);
        mpq_set_d(factor, b);
        mpq_mul(expected, expected, factor);
        mpq_mul_2exp(expected, expected, EXACTSUM_FRACTION_BITS);
        assert_int_equal(mpz_cmp(found, mpq_numref(expected)), 0);
        exactsum_deinit(&s);
    }
    mpq_clears(expected, factor, NULL);
    mpz_clear(found);
}

static void blocks_are_left_to_the_caller_if_they_are_too_large(void **state) {
    (void)state;
    static const double some[] = {0x1p1000, -0x1p1023, INFINITY, -INFINITY, NAN};
    static const double tiny[] = {1e-300, 0x1p-600, 5e-324};
    double a[20] = {1, 2, 3}, b[20] = {1, 1, 1};
    struct exactsum s;
    mpz_t total;
    mpz_init(total);
    exactsum_init(&s);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        a[i + 5] = some[i];
        b[i + 5] = 1;
        assert_false(exactsum_add_block(&s, a, 20));
        assert_false(exactsum_add_products(&s, a, b, 20));
        double high, low;
        assert_false(exactsum_short(a, 20, &high, &low));
        a[i + 5] = 0;
    }
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) {
        a[9] = b[9] = tiny[i];
        assert_false(exactsum_add_products(&s, a, b, 20));
    }
    exactsum_total(&s, total);
    assert_int_equal(mpz_sgn(total), 0);
    exactsum_deinit(&s);
    mpz_clear(total);
}

static void quotients_are_rounded_once(void **state) {
    (void)state;
    uint64_t seed = 29;
    mpz_t top, bottom, scaled, rest;
    mpz_inits(top, bottom, scaled, rest, NULL);
    for (unsigned round = 0; round < 2000; round++) {
        unsigned bits = round % 3 == 0 ? 0 : round % 3 == 1 ? EXACTSUM_FRACTION_BITS : 2 * EXACTSUM_FRACTION_BITS;
        mpz_set_ui(top, next_random(&seed) >> next_random(&seed) % 63);
        mpz_mul_2exp(top, top, next_random(&seed) % (bits + 100));
        mpz_add_ui(top, top, next_random(&seed));
        if (round % 2 == 1)
            mpz_neg(top, top);
        mpz_set_ui(bottom, 1 + (next_random(&seed) >> next_random(&seed) % 63));
        if (round % 5 == 0) { /* a quotient without a remainder, or just between two doubles */
            mpz_set_ui(scaled, (next_random(&seed) >> 10) | 1);
            mpz_mul(top, bottom, scaled);
            mpz_mul_2exp(top, top, bits);
        }
        double found = exactsum_divide(top, bottom, bits);
        mpz_mul_2exp(scaled, top, EXACTSUM_FRACTION_BITS);
        mpz_mul_2exp(rest, bottom, bits);
        mpz_tdiv_qr(scaled, rest, scaled, rest);
        if (mpz_sgn(rest) != 0) { /* the units are much finer than doubles: the last one stands for all that is below */
            mpz_abs(scaled, scaled);
            mpz_setbit(scaled, 0);
            if (mpz_sgn(top) < 0)
                mpz_neg(scaled, scaled);
        }
        assert_nearest(scaled, found);
    }
    mpz_set_si(top, -1);
    mpz_set_ui(bottom, 3);
    assert_true(exactsum_divide(top, bottom, 0) == -1.0 / 3);
    mpz_set_ui(top, 2);
    assert_true(exactsum_divide(top, bottom, 1075) == 0);
    mpz_set_ui(top, 3);
    assert_true(exactsum_divide(top, bottom, 1075) == 0);
    mpz_set_ui(top, 4);
    assert_true(exactsum_divide(top, bottom, 1075) == 0x1p-1074);
    mpz_clears(top, bottom, scaled, rest, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_doubles_of_every_size_sum_exactly),
        cmocka_unit_test(any_sum_is_rounded_to_the_nearest_double),
        cmocka_unit_test(halfway_cases_go_to_the_even_double),
        cmocka_unit_test(denormals_are_rounded_once),
        cmocka_unit_test(sums_beyond_the_doubles_are_infinite),
        cmocka_unit_test(no_sum_is_a_negative_zero),
        cmocka_unit_test(full_limbs_are_emptied_in_time),
        cmocka_unit_test(integers_of_any_size_are_added_exactly),
        cmocka_unit_test(blocks_add_what_their_values_add),
        cmocka_unit_test(products_are_exact),
        cmocka_unit_test(blocks_are_left_to_the_caller_if_they_are_too_large),
        cmocka_unit_test(quotients_are_rounded_once),
    };
    return cmocka_run_group_tests_name("exactsum", tests, NULL, NULL);
}
