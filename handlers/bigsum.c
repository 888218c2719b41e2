/* bigsum.c: see bigsum.h. It runs in workers, and in the zygote for calibration. */
#include "handlers/bigsum.h"

_Static_assert(sizeof(mp_limb_t) == sizeof(uint64_t), "a bigsum_wide has two limbs");

void bigsum_deinit(struct bigsum *s) {
    if (s->has_big)
        mpz_clear(s->big);
    bigsum_init(s);
}

static bigsum_uwide magnitude(bigsum_wide value) {
    return value < 0 ? -(bigsum_uwide)value : (bigsum_uwide)value;
}

/* Takes a value apart. Returns how many limbs it has, as struct bigsum_limbs counts them. */
static int64_t to_limbs(bigsum_wide value, mp_limb_t limbs[2]) {
    bigsum_uwide m = magnitude(value);
    limbs[0] = (mp_limb_t)m;
    limbs[1] = (mp_limb_t)(m >> 64);
    int64_t count = limbs[1] != 0 ? 2 : limbs[0] != 0 ? 1 : 0;
    return value < 0 ? -count : count;
}

static void add_wide(mpz_t to, bigsum_wide value) {
    mp_limb_t limbs[2];
    mpz_t borrowed;
    int64_t count = to_limbs(value, limbs);
    mpz_add(to, to, mpz_roinit_n(borrowed, limbs, count));
}

static void need_big(struct bigsum *s) {
    if (!s->has_big)
        mpz_init(s->big);
    s->has_big = true;
}

void bigsum_add_slowly(struct bigsum *s, bigsum_wide value) {
    need_big(s);
    add_wide(s->big, s->small);
    s->small = value;
}

void bigsum_add_mpz(struct bigsum *s, const mpz_t value) {
    need_big(s);
    mpz_add(s->big, s->big, value);
}

void bigsum_read(struct bigsum *s, struct bigsum_limbs *limbs) {
    if (!s->has_big) {
        limbs->at = limbs->small;
        limbs->count = to_limbs(s->small, limbs->small);
        return;
    }
    add_wide(s->big, s->small);
    s->small = 0;
    limbs->at = mpz_limbs_read(s->big);
    limbs->count = mpz_sgn(s->big) * (int64_t)mpz_size(s->big);
}

void bigsum_add_limbs(struct bigsum *s, const mp_limb_t *at, int64_t count) {
    mpz_t borrowed;
    if (count == 0)
        return;
    if (count == 1)
        bigsum_add(s, (bigsum_wide)at[0]);
    else if (count == -1)
        bigsum_add(s, -(bigsum_wide)at[0]);
    else
        bigsum_add_mpz(s, mpz_roinit_n(borrowed, at, count));
}

bool bigsum_u64(const struct bigsum *s, uint64_t *value) {
    *value = (uint64_t)s->small;
    return !s->has_big && s->small >= 0 && s->small <= UINT64_MAX;
}

void bigsum_mpz(const struct bigsum *s, mpz_t value) {
    if (s->has_big)
        mpz_set(value, s->big);
    else
        mpz_set_ui(value, 0);
    add_wide(value, s->small);
}
