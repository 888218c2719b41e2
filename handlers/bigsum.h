/* bigsum.h: an exact sum of integers of any size. While it is within 128 bits, as most are, it needs no memory and no
 * GMP. It is for the job type "sum".
 *
 * A sum is used by one thread at a time. GMP aborts the process when memory runs out.
 */
#ifndef OFFLOAD_BIGSUM_H
#define OFFLOAD_BIGSUM_H

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef __int128 bigsum_wide;
__extension__ typedef unsigned __int128 bigsum_uwide;
#define BIGSUM_WIDE_MAX ((bigsum_wide)(~(bigsum_uwide)0 >> 1))

struct bigsum {
    bigsum_wide small; /* the sum is that of small and of big */
    bool has_big;
    mpz_t big; /* if has_big */
};

static inline void bigsum_init(struct bigsum *s) {
    s->small = 0;
    s->has_big = false;
}
void bigsum_deinit(struct bigsum *s);

void bigsum_add_slowly(struct bigsum *s, bigsum_wide value); /* the slow part of bigsum_add */
static inline void bigsum_add(struct bigsum *s, bigsum_wide value) {
    bigsum_wide sum;
    if (__builtin_add_overflow(s->small, value, &sum))
        bigsum_add_slowly(s, value);
    else
        s->small = sum;
}
void bigsum_add_mpz(struct bigsum *s, const mpz_t value);

/* The sum as limbs, as mpz_limbs_read gives them. Their count is negative if the sum is negative. */
struct bigsum_limbs {
    const mp_limb_t *at; /* in the sum or in here: valid until one of both is changed or moved */
    int64_t count;       /* no limb at the end is 0 */
    mp_limb_t small[2];
};
void bigsum_read(struct bigsum *s, struct bigsum_limbs *limbs);
/* Adds a number of that form, of any count of limbs. */
void bigsum_add_limbs(struct bigsum *s, const mp_limb_t *at, int64_t count);

/* True, and *value is the sum, if that fits. */
bool bigsum_u64(const struct bigsum *s, uint64_t *value);
/* Sets *value, which is initialised, to the sum. */
void bigsum_mpz(const struct bigsum *s, mpz_t value);

#endif
