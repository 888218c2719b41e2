/* bigsum_test.c: exact sums of integers, compared with GMP's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/bigsum.h"

#define MIN_WIDE (-BIGSUM_WIDE_MAX - 1)

static void wide_to_mpz(mpz_t to, bigsum_wide value) {
    bigsum_uwide m = value < 0 ? -(bigsum_uwide)value : (bigsum_uwide)value;
    mpz_set_ui(to, (uint64_t)(m >> 64));
    mpz_mul_2exp(to, to, 64);
    mpz_add_ui(to, to, (uint64_t)m);
    if (value < 0)
        mpz_neg(to, to);
}

/* All that can be read of the sum is the expected value. */
static void assert_sum(struct bigsum *s, const mpz_t expected) {
    mpz_t got, borrowed;
    uint64_t small;
    struct bigsum_limbs limbs;
    mpz_init(got);
    bigsum_mpz(s, got);
    assert_int_equal(mpz_cmp(got, expected), 0);
    if (bigsum_u64(s, &small))
        assert_int_equal(mpz_cmp_ui(expected, small), 0);
    else
        assert_true(s->has_big || !mpz_fits_ulong_p(expected));
    bigsum_read(s, &limbs);
    assert_int_equal(mpz_cmp(mpz_roinit_n(borrowed, limbs.at, limbs.count), expected), 0);
    assert_int_equal(llabs(limbs.count), mpz_size(expected));
    mpz_clear(got);
}

static const bigsum_wide values[] = {0,
                                     1,
                                     -1,
                                     INT64_MAX,
                                     INT64_MIN,
                                     UINT64_MAX,
                                     -(bigsum_wide)UINT64_MAX,
                                     (bigsum_wide)UINT64_MAX + 1,
                                     BIGSUM_WIDE_MAX,
                                     MIN_WIDE,
                                     BIGSUM_WIDE_MAX - 1,
                                     MIN_WIDE + 1};
enum { VALUES = sizeof values / sizeof values[0] };

static void three_values_of_any_size_are_added_exactly(void **state) {
    (void)state;
    mpz_t expected, value;
    mpz_inits(expected, value, NULL);
    for (int i = 0; i < VALUES * VALUES * VALUES; i++) {
        const bigsum_wide row[] = {values[i % VALUES], values[i / VALUES % VALUES], values[i / VALUES / VALUES]};
        struct bigsum s;
        bigsum_init(&s);
        mpz_set_ui(expected, 0);
        for (int k = 0; k < 3; k++) {
            bigsum_add(&s, row[k]);
            wide_to_mpz(value, row[k]);
            mpz_add(expected, expected, value);
        }
        assert_sum(&s, expected);
        bigsum_deinit(&s);
    }
    mpz_clears(expected, value, NULL);
}

static void sums_are_added_through_their_limbs(void **state) {
    (void)state;
    mpz_t expected, power;
    mpz_inits(expected, power, NULL);
    struct bigsum total;
    bigsum_init(&total);
    for (unsigned bits = 0; bits < 300; bits++) {
        struct bigsum part;
        struct bigsum_limbs limbs;
        bigsum_init(&part);
        mpz_ui_pow_ui(power, 2, bits);
        if (bits % 3 == 0)
            mpz_neg(power, power);
        bigsum_add(&part, 1);
        bigsum_add_mpz(&part, power);
        mpz_add_ui(power, power, 1);
        assert_sum(&part, power);
        bigsum_read(&part, &limbs);
        bigsum_add_limbs(&total, limbs.at, limbs.count);
        mpz_add(expected, expected, power);
        assert_sum(&total, expected);
        bigsum_deinit(&part);
    }
    bigsum_deinit(&total);
    mpz_clears(expected, power, NULL);
}

static void limbs_with_zeros_at_the_end_are_no_other_number(void **state) {
    (void)state;
    const mp_limb_t limbs[] = {7, 0, 0};
    mpz_t expected;
    mpz_init_set_si(expected, 0);
    struct bigsum s;
    bigsum_init(&s);
    for (int64_t count = -3; count <= 3; count++) {
        bigsum_add_limbs(&s, limbs, count);
        mpz_add_ui(expected, expected, count > 0 ? 7 : 0);
        mpz_sub_ui(expected, expected, count < 0 ? 7 : 0);
        assert_sum(&s, expected);
    }
    bigsum_deinit(&s);
    mpz_clear(expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_values_of_any_size_are_added_exactly),
        cmocka_unit_test(sums_are_added_through_their_limbs),
        cmocka_unit_test(limbs_with_zeros_at_the_end_are_no_other_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
