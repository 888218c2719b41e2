/* powersum.h: the exact sum of (first + k*step)^power over 0 <= k < count, term by term or by formula. 0^0 is 1.
 *
 * It is the arithmetic of ranges in the job type "sum", for its load, plan and run. One thread of a process may call
 * these functions. GMP aborts the process when memory runs out.
 */
#ifndef OFFLOAD_POWERSUM_H
#define OFFLOAD_POWERSUM_H

#include <gmp.h>
#include <stdint.h>

#include "handlers/bigsum.h"
#include "handlers/handler.h"

#define POWERSUM_MAX_POWER 64

struct terms {
    int64_t first, step; /* step is not 0, and every term is an int64 */
    uint64_t count;
    unsigned power; /* at most POWERSUM_MAX_POWER */
};

/* Measures what a term costs, for powersum_cost_ns. It takes a few milliseconds, once, in load. */
void powersum_calibrate(void);

/* Adds every single term to the sum, and reports its progress. 0, or -1 once the call is cancelled. */
int powersum_iterate(struct call *c, struct bigsum *sum, struct terms t);
/* How long that takes on this machine, roughly. */
uint64_t powersum_cost_ns(const struct terms *t);

/* Adds all terms to the sum by Newton's formula, for numbers of any size. 0, or -1 once the call is cancelled. */
int powersum_closed(struct call *c, mpz_t sum, const mpz_t first, const mpz_t step, const mpz_t count, unsigned power);
/* How long that takes on this machine, roughly. */
uint64_t powersum_closed_cost_ns(const mpz_t first, const mpz_t step, const mpz_t count, unsigned power);

/* How long work(arg) takes, roughly. The measurement takes some 20 us or two calls, whichever is longer. */
uint64_t powersum_time_ns(void (*work)(void *arg), void *arg);

#endif
