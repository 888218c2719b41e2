/* quota.h: what a key may use in a time: arithmetic alone, with the clock of the caller. Front end.
 *
 * A bucket holds `capacity` units, and is filled up again in `window_s` seconds (a token bucket). What is known beforehand
 * is taken if it is there; what is known only afterwards, such as CPU time, is charged, and can leave the bucket below
 * zero. Then nothing more is begun until it is above zero again. */
#ifndef OFFLOAD_ACCESS_QUOTA_H
#define OFFLOAD_ACCESS_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

/* So much in so many seconds. amount 0: there is no limit. */
struct quota_rate {
    double amount;
    unsigned window_s;
};

/* Zeros are a bucket without a limit. */
struct bucket {
    struct quota_rate rate;
    double level;  /* units that are left; at most rate.amount, and at least its negative */
    int64_t at_ns; /* when that was so; monotonic clock */
};

/* Sets the rate. A bucket that had none is full; of another one the share that was left is left. */
void bucket_set(struct bucket *b, struct quota_rate rate, int64_t now_ns);
/* Takes so many units if they are there. Without a limit always true. */
bool bucket_take(struct bucket *b, double units, int64_t now_ns);
/* True if there are so many units, or the bucket is full, since there will never be more. units 0: anything at all. */
bool bucket_has(struct bucket *b, double units, int64_t now_ns);
/* Takes them, even if they are not there. units < 0: gives them back. */
void bucket_charge(struct bucket *b, double units, int64_t now_ns);
/* In how many whole seconds bucket_has is true, if nothing is taken until then; 0: now. */
uint64_t bucket_wait_s(struct bucket *b, double units, int64_t now_ns);
/* How many whole units are left, and in how many whole seconds there is one more, if nothing is taken until then; 0: never,
 * because the bucket is full. If none is left, and parts of one are of use, it is when there is any part of one. Without a
 * limit both are 0. */
void bucket_look(struct bucket *b, bool in_parts, int64_t now_ns, uint64_t *left, uint64_t *more_s);

#endif
