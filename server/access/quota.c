/* quota.c: see quota.h. Front end. Levels are doubles: they hold whole units up to 2^53, and parts of them between. */
#include "server/access/quota.h"

#include <math.h>

#include "base/clock.h"

#define ROUNDING 1e-9 /* units; so much of one that is missing is a fault of the arithmetic */

static bool is_limited(const struct bucket *b) {
    return b->rate.amount > 0;
}

static void fill(struct bucket *b, int64_t now_ns) {
    if (now_ns > b->at_ns)
        b->level += b->rate.amount * (double)(now_ns - b->at_ns) / ((double)b->rate.window_s * (double)NS_PER_S);
    b->level = fmin(b->level, b->rate.amount);
    b->at_ns = now_ns;
}

void bucket_set(struct bucket *b, struct quota_rate rate, int64_t now_ns) {
    double share = 1;
    if (is_limited(b)) {
        fill(b, now_ns);
        share = b->level / b->rate.amount;
    }
    *b = (struct bucket){rate, share * rate.amount, now_ns};
}

bool bucket_has(struct bucket *b, double units, int64_t now_ns) {
    if (!is_limited(b))
        return true;
    fill(b, now_ns);
    return units > 0 ? b->level >= fmin(units, b->rate.amount) - ROUNDING : b->level > 0;
}

void bucket_charge(struct bucket *b, double units, int64_t now_ns) {
    if (!is_limited(b))
        return;
    fill(b, now_ns);
    b->level = fmax(fmin(b->level - units, b->rate.amount), -b->rate.amount);
}

bool bucket_take(struct bucket *b, double units, int64_t now_ns) {
    if (!bucket_has(b, units, now_ns))
        return false;
    bucket_charge(b, units, now_ns);
    return true;
}

/* How long the bucket needs from its level to that one. */
static uint64_t seconds_to(const struct bucket *b, double level) {
    double s = (level - b->level) * (double)b->rate.window_s / b->rate.amount;
    return s <= 0 ? 0 : (uint64_t)ceil(s - ROUNDING);
}

uint64_t bucket_wait_s(struct bucket *b, double units, int64_t now_ns) {
    if (bucket_has(b, units, now_ns))
        return 0;
    uint64_t s = seconds_to(b, fmin(units, b->rate.amount));
    return s == 0 ? 1 : s;
}

void bucket_look(struct bucket *b, bool in_parts, int64_t now_ns, uint64_t *left, uint64_t *more_s) {
    *left = *more_s = 0;
    if (!is_limited(b))
        return;
    fill(b, now_ns);
    *left = b->level <= 0 ? 0 : (uint64_t)(b->level + ROUNDING);
    double next = in_parts && b->level <= 0 ? 0 : (double)*left + 1;
    if (b->level < b->rate.amount)
        *more_s = (uint64_t)fmax(1, (double)seconds_to(b, fmin(next, b->rate.amount)));
}
