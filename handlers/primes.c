/* primes.c: the job type "primes": the primes in a range, the n-th prime, and tests of given numbers. It runs in
 * workers; load runs in the zygote.
 *
 * A cost model says into how many chunks of equal width a range is cut. A sieve up to `stop` first needs the primes up
 * to sqrt(stop), which costs seconds near 2^64, and then some tenths of a nanosecond for each number. Chunks are so
 * wide that the preparation is only a small share. If even one sieve would cost more than to test the numbers one by
 * one (there are few, and they are large), they are tested. In wide ranges below 10^14 primesieve counts, because that
 * is quicker than to walk over the primes. A walk can be cancelled after each batch. A count is made in steps, so that
 * it can be cancelled between them.
 *
 * The n-th prime is found from an estimate. The primes below the estimate are counted in chunks, as for a range. The
 * estimate is so good that merge can go the rest of the way.
 *
 * A sieve uses only one thread, because the pool has many processes.
 */
#include <flint/flint.h>
#include <flint/fmpz.h>
#include <flint/ulong_extras.h>
#include <math.h>
#include <primesieve.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

/* Far below 2^64, so that the rest of the way, in merge, takes less than 0.1 s. */
#define NTH_MAX           "100000000000000"
/* There is no prime from here to 2^64. Ranges end here, so that the end of a range + 2 never overflows. */
#define BEYOND_LAST_PRIME (UINT64_C(18446744073709551557) + 1)
#define WALK_FROM         UINT64_C(100000000000000)

enum {
    COUNT_WIDTH = 200000,            /* from here on counting is quicker than walking */
    LIST_MAX = 10000000,             /* primes in one result */
    LIST_PART = 400000,              /* primes in one part, about: 3 MB */
    COUNT_NS = HANDLER_CHUNK_NS * 2, /* the time between two calls of call_cancelled */
    SIEVE_WIDTH = 150000000,         /* with less than 126 million numbers, primesieve 11 is 20 % slower for each */
    SETUP_SHARE = 8,                 /* a chunk sieves so many times longer than it prepares */
    PROVABLE_BITS = 352,             /* 105 digits: a proof takes up to some 70 ms; for 150 digits, three times that */
    TESTED_BATCH = 64,
    VERDICT_BITS = 2,
    VERDICTS_PER_BYTE = 8 / VERDICT_BITS,
    VERDICT_MASK = (1 << VERDICT_BITS) - 1
};

enum task { TASK_COUNT, TASK_LIST, TASK_SUM, TASK_TWINS, TASK_NTH, TASK_NUMBERS };
enum verdict { VERDICT_NOT_PRIME, VERDICT_PRIME, VERDICT_PROBABLY_PRIME };

static const char *const op_choices[] = {"count", "list", "sum", "twins", NULL}; /* as enum task */
static const char *const form_names[] = {"range", "numbers", "nth", NULL};
enum { FORM_RANGE = 1, FORM_NUMBERS = 2, FORM_NTH = 4 };

typedef unsigned __int128 u128;

/* The common bytes: what every run and the merge know. */
struct job {
    uint64_t task; /* enum task */
    uint64_t stop; /* the end of the whole range; for TASK_NTH, the estimate */
    uint64_t n;    /* for TASK_NTH */
};

struct range { /* a chunk of a range */
    uint64_t start, stop;
};

struct tally { /* a part of a range; but a part of TASK_LIST is the primes themselves */
    uint64_t count, sum_low, sum_high;
};

/* ---- costs ------------------------------------------------------------------------------------------------------- */

/* How much slower this machine is than the one where the figures below were measured; set by load. */
static double sieve_scale = 1, test_scale = 1;

/* What it costs to sieve one more number at 10^8, 10^9, ... 10^19. */
static const double sieve_decade_ns[] = {.08, .10, .14, .18, .22, .28, .33, .40, .50, .75, 1.2, 2.2};

static double sieve_number_ns(const struct job *job, uint64_t stop) {
    enum { LAST = sizeof sieve_decade_ns / sizeof *sieve_decade_ns - 1 };
    double logarithm = log((double)stop + 3);
    double decade = fmin(fmax(logarithm / M_LN10 - 8, 0), LAST);
    unsigned below = decade < LAST ? (unsigned)decade : LAST - 1;
    double ns = sieve_decade_ns[below] + (decade - below) * (sieve_decade_ns[below + 1] - sieve_decade_ns[below]);
    double prime_ns = job->task == TASK_LIST ? 5 : job->task == TASK_SUM ? 1 : 0;
    return (ns + prime_ns / logarithm) * sieve_scale;
}

static double sieve_setup_ns(uint64_t stop) {
    return (1500 + .36 * sqrt((double)stop)) * sieve_scale;
}

static double test_number_ns(void) {
    return 100 * test_scale;
}

static bool testing_is_cheaper(const struct job *job, struct range r) {
    double width = (double)(r.stop - r.start);
    return width * test_number_ns() < sieve_setup_ns(r.stop) + width * sieve_number_ns(job, r.stop);
}

static double range_ns(const struct job *job, struct range r) {
    double width = (double)(r.stop - r.start);
    if (testing_is_cheaper(job, r))
        return width * test_number_ns();
    return sieve_setup_ns(r.stop) + width * sieve_number_ns(job, r.stop);
}

/* What a test costs if the number is prime. Most large numbers that are tested are likely to be prime. */
static double number_ns(size_t digits) {
    double d = (double)digits;
    if (d <= 20)
        return 50 * d * test_scale;
    if (d * M_LN10 / M_LN2 <= PROVABLE_BITS)
        return 60 * d * d * d * test_scale;
    return 1.5 * d * d * sqrt(d) * test_scale;
}

/* CPU time, so that a busy machine does not look like a slow one. */
static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void sieve_sample(void) {
    primesieve_count_primes(1000000000, 1004000000);
}

static void test_sample(void) {
    static volatile int primes; /* volatile: the compiler must not find out that it is never read */
    for (uint64_t n = UINT64_C(1) << 60; n < (UINT64_C(1) << 60) + 2000; n++)
        primes += n_is_prime(n);
}

/* The time of the quickest of some rounds. The others were disturbed, or warmed up the caches. */
static double measure_ns(void (*sample)(void)) {
    double best = INFINITY;
    for (int round = 0; round < 3; round++) {
        double start = now_ns();
        sample();
        best = fmin(best, now_ns() - start);
    }
    return best;
}

static int primes_load(void) {
    enum { SIEVE_SAMPLE_NS = 466000, TEST_SAMPLE_NS = 180000 };
    primesieve_set_num_threads(1);
    sieve_scale = measure_ns(sieve_sample) / SIEVE_SAMPLE_NS;
    test_scale = measure_ns(test_sample) / TEST_SAMPLE_NS;
    return 0;
}

/* ---- plan: ranges ------------------------------------------------------------------------------------------------ */

/* As many chunks as the client wants. Otherwise so many that each costs about HANDLER_CHUNK_NS, but a sieve is only cut
 * where that costs it no speed. A list needs more of them if its parts would be too large. */
static unsigned range_chunks(const struct call *c, const struct job *job, struct range all) {
    double width = (double)(all.stop - all.start), chunks = plan_wanted_chunks(c);
    if (chunks == 0 && testing_is_cheaper(job, all)) {
        chunks = ceil(width * test_number_ns() / HANDLER_CHUNK_NS);
    } else if (chunks == 0) {
        double chunk_ns = fmax(HANDLER_CHUNK_NS, SETUP_SHARE * sieve_setup_ns(all.stop));
        chunks = fmin(ceil(width * sieve_number_ns(job, all.stop) / chunk_ns), floor(width / SIEVE_WIDTH));
    }
    if (job->task == TASK_LIST)
        chunks = fmax(chunks, width / log((double)all.stop + 3) / LIST_PART);
    return (unsigned)fmax(1, fmin(chunks, fmin(width, HANDLER_MAX_CHUNKS)));
}

static int plan_chunks(struct call *c, const struct job *job, struct range all) {
    unsigned chunks = range_chunks(c, job, all);
    uint64_t width = all.stop - all.start;
    if (plan_common(c, job, sizeof *job) != 0)
        return -1;
    for (unsigned i = 0; i < chunks; i++) {
        struct range r = {all.start + (uint64_t)((u128)width * i / chunks),
                          all.start + (uint64_t)((u128)width * (i + 1) / chunks)};
        if (plan_chunk(c, &r, sizeof r, (uint64_t)range_ns(job, r)) != 0)
            return -1;
    }
    return 0;
}

/* A range does not hold more primes than this. */
static double primes_at_most(struct range r) {
    double start = (double)r.start, stop = (double)r.stop, width = (double)(r.stop - r.start);
    /* Bounds of pi(x): P. Dusart, "Estimates of some functions over primes without R.H." (2010), theorem 6.9. */
    double pi_of_stop = stop > 1 ? stop / log(stop) * (1 + 1.2762 / log(stop)) : 0;    /* at most */
    double pi_of_start = start >= 599 ? start / log(start) * (1 + 1 / log(start)) : 0; /* at least */
    double most = fmin(width, pi_of_stop - pi_of_start);
    /* In an interval of N > 1 integers there are at most 2N/ln(N) primes, wherever it lies: H. L. Montgomery and
     * R. C. Vaughan, "The large sieve", Mathematika 20 (1973). */
    return width > 2 ? fmin(most, 2 * width / log(width)) : most;
}

/* A bound of the range as the sieve takes it. What is below 0 becomes 0, and what is beyond the last prime becomes the
 * number behind that. */
static uint64_t bound(const char *digits) {
    if (digits[0] == '-')
        return 0;
    uint64_t value = strtoull(digits, NULL, 10); /* ULLONG_MAX if it is too large */
    return value < BEYOND_LAST_PRIME ? value : BEYOND_LAST_PRIME;
}

static int plan_range(struct call *c, const struct params *p) {
    struct range all = {bound(param_digits(p, "start")), bound(param_digits(p, "stop"))};
    if (all.start > all.stop)
        all.start = all.stop;
    struct job job = {.task = (uint64_t)param_choice(p, "op"), .stop = all.stop};
    if (job.task == TASK_LIST && primes_at_most(all) > LIST_MAX)
        return call_fail(c, CALL_INVALID, "/stop", "up to %.0f primes may be in this range; a list holds at most %d",
                         primes_at_most(all), LIST_MAX);
    return plan_chunks(c, &job, all);
}

/* ---- plan: the n-th prime ---------------------------------------------------------------------------------------- */

/* The logarithmic integral of a real x > 1, computed by its series. */
static long double li(long double x) {
    long double logarithm = logl(x), term = 1, sum = 0.57721566490153286061L + logl(logarithm);
    for (int k = 1; k == 1 || term / k > sum * 1e-20L; k++) {
        term *= logarithm / k;
        sum += term / k;
    }
    return sum;
}

/* The first terms of Riemann's R(x), which differs from pi(x) by about sqrt(x)/ln(x): H. Riesel and G. Goehl, "Some
 * calculations related to Riemann's prime number formula", Math. Comp. 24 (1970). The other terms add less than ten. */
static long double riemann_r(long double x) {
    return li(x) - li(sqrtl(x)) / 2 - li(cbrtl(x)) / 3 - li(powl(x, 1 / 5.0L)) / 5 + li(powl(x, 1 / 6.0L)) / 6 -
           li(powl(x, 1 / 7.0L)) / 7;
}

/* Solves R(x) = n by Newton's method, as R'(x) is about 1/ln(x). */
static uint64_t estimate_nth(uint64_t n) {
    if (n < 100)
        return 2;
    long double target = (long double)n, x = target * (logl(target) + logl(logl(target)) - 1), step = INFINITY;
    for (int i = 0; i < 50 && fabsl(step) > 1; i++) {
        step = (target - riemann_r(x)) * logl(x);
        x += step;
    }
    return (uint64_t)x;
}

static int plan_nth(struct call *c, const struct params *p) {
    struct job job = {.task = TASK_NTH};
    param_u64(p, "nth", &job.n);
    job.stop = estimate_nth(job.n);
    return plan_chunks(c, &job, (struct range){0, job.stop});
}

/* ---- plan: numbers ----------------------------------------------------------------------------------------------- */

/* A chunk of TASK_NUMBERS is for chunk_numbers. Its part is the uint64 count of the numbers, and then VERDICT_BITS for
 * each of them. */

static size_t number_digits(const struct number *n) {
    if (n->kind == NUMBER_LARGE)
        return n->size;
    return n->integer <= 1 ? 1 : (size_t)(64 - __builtin_clzll((unsigned long long)n->integer)) * 3 / 10 + 1;
}

/* Takes the next number and returns what it costs, or 0 at the end. */
static double next_number_ns(struct number_reader *reader) {
    struct number n;
    return numbers_next(reader, &n) > 0 ? number_ns(number_digits(&n)) : 0;
}

static double all_numbers_ns(const struct numbers *n) {
    struct number_reader reader;
    double all_ns = 0;
    numbers_begin(&reader, n);
    for (size_t i = 0; i < n->count; i++)
        all_ns += next_number_ns(&reader);
    return all_ns;
}

static int plan_numbers(struct call *c, const struct params *p) {
    struct numbers n;
    struct number_reader behind, ahead;
    struct job job = {.task = TASK_NUMBERS};
    param_numbers(p, "numbers", &n);
    double left_ns = all_numbers_ns(&n), wanted = plan_wanted_chunks(c);
    double most = fmin((double)n.count, HANDLER_MAX_CHUNKS);
    size_t chunks = (size_t)fmax(1, fmin(wanted > 0 ? wanted : ceil(left_ns / HANDLER_CHUNK_NS), most));
    size_t left = n.count;
    if (plan_common(c, &job, sizeof job) != 0)
        return -1;
    numbers_begin(&behind, &n);
    numbers_begin(&ahead, &n);
    /* Each chunk takes its share of the cost that is left, and leaves at least one number for each chunk behind it. */
    for (; chunks > 0; chunks--) {
        double ns = 0, share_ns = left_ns / (double)chunks;
        size_t count = 0;
        for (; left - count >= chunks && (ns < share_ns || chunks == 1); count++)
            ns += next_number_ns(&ahead);
        if (plan_number_chunk(c, &behind, count, (uint64_t)ns) != 0)
            return -1;
        left -= count;
        left_ns -= ns;
    }
    return 0;
}

static int primes_plan(struct call *c, const struct params *p) {
    if (param_given(p, "numbers"))
        return plan_numbers(c, p);
    return param_given(p, "nth") ? plan_nth(c, p) : plan_range(c, p);
}

/* ---- walk: all primes of a range, a batch at a time -------------------------------------------------------------- */

struct walk {
    uint64_t at, stop;      /* the walk has still to go through [at, stop) */
    const uint64_t *primes; /* the batch */
    size_t count;
    bool testing;
    uint64_t tested[TESTED_BATCH];
    primesieve_iterator sieve;
};

static void walk_init(struct walk *w, struct range r, bool testing) {
    *w = (struct walk){.at = r.start, .stop = r.stop, .testing = testing};
    if (testing)
        return;
    primesieve_init(&w->sieve);
    primesieve_jump_to(&w->sieve, r.start, r.stop);
}

static void walk_deinit(struct walk *w) {
    if (!w->testing)
        primesieve_free_iterator(&w->sieve);
}

/* Makes the next batch, which may be empty: 0, or -1 if the sieve failed. Not to be called once at == stop. The sieve
 * prepares itself in the first call, which takes as long as that takes; no other call takes more than COUNT_NS. */
static int walk_next(struct walk *w) {
    w->count = 0;
    if (w->testing) {
        w->primes = w->tested;
        for (; w->at < w->stop && w->count < TESTED_BATCH; w->at++)
            if (n_is_prime(w->at))
                w->tested[w->count++] = w->at;
        return 0;
    }
    /* The sieve runs past the end, so the last batch is cut there. It must not be asked for primes beyond the last one
     * below 2^64: that is why the range ends just behind it. */
    primesieve_generate_next_primes(&w->sieve);
    if (w->sieve.is_error)
        return -1;
    w->primes = w->sieve.primes;
    w->count = w->sieve.size;
    w->at = w->primes[w->count - 1] + 1;
    if (w->at < w->stop)
        return 0;
    w->at = w->stop;
    while (w->count > 0 && w->primes[w->count - 1] >= w->stop)
        w->count--;
    return 0;
}

/* ---- run: ranges ------------------------------------------------------------------------------------------------- */

static int sieve_failed(struct call *c) {
    return call_fail(c, CALL_FAILED, NULL, "the sieve failed, most likely for want of memory");
}

static uint64_t count_twins(const struct walk *w, uint64_t *previous) {
    uint64_t twins = 0, before = *previous;
    for (size_t i = 0; i < w->count; i++) {
        twins += w->primes[i] - before == 2;
        before = w->primes[i];
    }
    *previous = before;
    return twins;
}

static void add_primes(const struct walk *w, struct tally *t) {
    u128 sum = (u128)t->sum_high << 64 | t->sum_low;
    for (size_t i = 0; i < w->count; i++)
        sum += w->primes[i];
    t->sum_low = (uint64_t)sum;
    t->sum_high = (uint64_t)(sum >> 64);
}

static int take_batch(struct call *c, const struct job *job, const struct walk *w, struct tally *t,
                      uint64_t *previous) {
    if (job->task == TASK_LIST)
        return part_write(c, w->primes, w->count * sizeof *w->primes);
    if (job->task == TASK_SUM)
        add_primes(w, t);
    t->count += job->task == TASK_TWINS ? count_twins(w, previous) : w->count;
    return 0;
}

static int run_walk(struct call *c, const struct job *job, struct range r, bool testing, struct tally *t) {
    struct walk w;
    uint64_t previous = UINT64_MAX; /* p - previous is 2 for p = 1 only, which is not a prime */
    int rc = 0;
    walk_init(&w, r, testing);
    while (rc == 0 && w.at < w.stop) {
        rc = call_cancelled(c) ? -1 : 0;
        if (rc == 0 && walk_next(&w) != 0)
            rc = sieve_failed(c);
        if (rc == 0)
            rc = take_batch(c, job, &w, t, &previous);
        call_progress(c, w.at - r.start, r.stop - r.start);
    }
    walk_deinit(&w);
    return rc;
}

/* Where the walk or the count for a range must end. A pair of twins belongs to the range that has the smaller one, so
 * for twins it must go 2 further. */
static uint64_t range_reach(const struct job *job, uint64_t stop) {
    uint64_t more = job->stop - stop < 2 ? job->stop - stop : 2;
    return job->task == TASK_TWINS ? stop + more : stop;
}

static int run_count(struct call *c, const struct job *job, struct range r, struct tally *t) {
    uint64_t step = (uint64_t)(COUNT_NS / sieve_number_ns(job, r.stop));
    for (uint64_t at = r.start, end; at < r.stop; at = end) {
        if (call_cancelled(c))
            return -1;
        end = r.stop - at > step + step / 2 ? at + step : r.stop;
        uint64_t last = range_reach(job, end) - 1; /* the intervals of primesieve are closed */
        uint64_t count = job->task == TASK_TWINS ? primesieve_count_twins(at, last) : primesieve_count_primes(at, last);
        if (count == PRIMESIEVE_ERROR)
            return sieve_failed(c);
        t->count += count;
        call_progress(c, end - r.start, r.stop - r.start);
    }
    return 0;
}

static int run_tally(struct call *c, const struct job *job, struct range r, struct tally *t) {
    bool testing = testing_is_cheaper(job, r);
    bool only_counts = job->task != TASK_SUM && job->task != TASK_LIST;
    if (!testing && only_counts && r.start < WALK_FROM && r.stop - r.start >= COUNT_WIDTH) {
        struct range near = {r.start, r.stop < WALK_FROM ? r.stop : WALK_FROM};
        if (run_count(c, job, near, t) != 0)
            return -1;
        r.start = near.stop;
    }
    if (r.start == r.stop)
        return 0;
    r.stop = range_reach(job, r.stop);
    return run_walk(c, job, r, testing, t);
}

static int run_range(struct call *c, const struct job *job, struct bytes chunk) {
    struct range r;
    struct tally t = {0};
    if (chunk.size != sizeof r)
        return call_fail(c, CALL_FAILED, NULL, "a chunk of %zu bytes is no range", chunk.size);
    memcpy(&r, chunk.data, sizeof r);
    if (r.start > r.stop || r.stop > job->stop || job->stop > BEYOND_LAST_PRIME)
        return call_fail(c, CALL_FAILED, NULL, "a chunk is outside its job's range");
    if (run_tally(c, job, r, &t) != 0)
        return -1;
    return job->task == TASK_LIST ? 0 : part_write(c, &t, sizeof t);
}

/* ---- run: numbers ------------------------------------------------------------------------------------------------ */

/* FLINT divides by small primes first, in both tests. Its proof is by factors of n-1 and n+1, or APR-CL; the other test
 * is Baillie-PSW, and no composite number is known that passes it. */
static int judge_text(struct call *c, const char *digits, enum verdict *verdict) {
    fmpz_t n;
    *verdict = VERDICT_NOT_PRIME;
    if (digits[0] == '-')
        return 0;
    fmpz_init(n);
    int rc = fmpz_set_str(n, digits, 10);
    if (rc == 0 && fmpz_bits(n) <= PROVABLE_BITS)
        *verdict = fmpz_is_prime(n) ? VERDICT_PRIME : VERDICT_NOT_PRIME;
    else if (rc == 0)
        *verdict = fmpz_is_probabprime(n) ? VERDICT_PROBABLY_PRIME : VERDICT_NOT_PRIME;
    fmpz_clear(n);
    return rc == 0 ? 0 : call_fail(c, CALL_FAILED, NULL, "a chunk holds something that is no number");
}

static int judge(struct call *c, const struct number *n, enum verdict *verdict) {
    if (n->kind == NUMBER_LARGE)
        return judge_text(c, n->digits, verdict);
    *verdict = n->integer > 1 && n_is_prime((ulong)n->integer) ? VERDICT_PRIME : VERDICT_NOT_PRIME;
    return 0;
}

/* Adds a verdict to a part of TASK_NUMBERS, and writes each byte that is full. */
static int write_verdict(struct call *c, enum verdict verdict, uint64_t i, uint64_t count, uint8_t *byte) {
    *byte = (uint8_t)(*byte | verdict << (i % VERDICTS_PER_BYTE * VERDICT_BITS));
    call_progress(c, i + 1, count);
    if (call_cancelled(c))
        return -1;
    if (i % VERDICTS_PER_BYTE != VERDICTS_PER_BYTE - 1 && i != count - 1)
        return 0;
    int rc = part_write(c, byte, 1);
    *byte = 0;
    return rc;
}

static int run_numbers(struct call *c, struct bytes chunk) {
    struct numbers numbers;
    struct number_reader reader;
    struct number n;
    uint8_t byte = 0;
    if (!chunk_numbers(chunk, &numbers))
        return call_fail(c, CALL_FAILED, NULL, "a chunk of %zu bytes is no list of numbers", chunk.size);
    uint64_t count = numbers.count;
    if (part_write(c, &count, sizeof count) != 0)
        return -1;
    numbers_begin(&reader, &numbers);
    int rc = numbers_next(&reader, &n);
    for (uint64_t i = 0; rc > 0; i++, rc = numbers_next(&reader, &n)) {
        enum verdict verdict;
        if (n.kind == NUMBER_REAL)
            return call_fail(c, CALL_FAILED, NULL, "a chunk holds something that is no integer");
        if (judge(c, &n, &verdict) != 0 || write_verdict(c, verdict, i, count, &byte) != 0)
            return -1;
    }
    return rc == 0 ? 0 : call_fail(c, CALL_FAILED, NULL, "a chunk of %zu bytes ends within a number", chunk.size);
}

static int read_job(struct call *c, struct bytes common, struct job *job) {
    if (common.size != sizeof *job)
        return call_fail(c, CALL_FAILED, NULL, "%zu bytes are no plan of primes", common.size);
    memcpy(job, common.data, sizeof *job);
    return 0;
}

static int primes_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct job job;
    if (read_job(c, common, &job) != 0)
        return -1;
    return job.task == TASK_NUMBERS ? run_numbers(c, chunk) : run_range(c, &job, chunk);
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

static int add_parts(struct call *c, const struct bytes *parts, size_t count, struct tally *total) {
    u128 sum = 0;
    *total = (struct tally){0};
    for (size_t i = 0; i < count; i++) {
        struct tally t;
        if (parts[i].size != sizeof t)
            return call_fail(c, CALL_FAILED, NULL, "part %zu has %zu bytes", i, parts[i].size);
        memcpy(&t, parts[i].data, sizeof t);
        total->count += t.count;
        sum += (u128)t.sum_high << 64 | t.sum_low; /* all primes below 2^64 add up to less than 2^122 */
    }
    total->sum_low = (uint64_t)sum;
    total->sum_high = (uint64_t)(sum >> 64);
    return 0;
}

/* Writes the digits to the end of `room`, and returns where they begin. */
static const char *decimal(u128 value, char room[static 40]) {
    char *at = room + 39;
    *at = '\0';
    do {
        *--at = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value > 0);
    return at;
}

static int merge_tally(struct call *c, const struct job *job, const struct bytes *parts, size_t count) {
    struct tally total;
    char room[40];
    if (add_parts(c, parts, count, &total) != 0)
        return -1;
    json_begin_object(c);
    json_name(c, "count");
    json_u64(c, total.count);
    if (job->task == TASK_SUM) {
        json_name(c, "sum");
        json_digits(c, decimal((u128)total.sum_high << 64 | total.sum_low, room));
    }
    json_end_object(c);
    return 0;
}

/* Goes the rest of the way from the estimate: primesieve_nth_prime(n, start) is the n-th prime above start or, for n <
 * 0, the |n|-th prime below it. */
static int merge_nth(struct call *c, const struct job *job, const struct bytes *parts, size_t count) {
    struct tally below;
    if (add_parts(c, parts, count, &below) != 0)
        return -1;
    /* The estimate is never so far away, and primesieve, which cannot be cancelled, would go all the way. */
    uint64_t away = below.count < job->n ? job->n - below.count : below.count - job->n;
    if (job->stop < 2 || (double)away > sqrt((double)job->stop) / 8 + 100)
        return call_fail(c, CALL_FAILED, NULL, "the parts count %llu primes, which cannot be",
                         (unsigned long long)below.count);
    uint64_t prime = below.count < job->n ? primesieve_nth_prime((int64_t)(job->n - below.count), job->stop - 1)
                                          : primesieve_nth_prime(-(int64_t)(below.count - job->n + 1), job->stop);
    if (prime == PRIMESIEVE_ERROR)
        return sieve_failed(c);
    json_begin_object(c);
    json_name(c, "prime");
    json_u64(c, prime);
    json_end_object(c);
    return 0;
}

/* An array has only numbers or only strings, so the largest prime decides for all. */
static void put_primes(struct call *c, const struct bytes *parts, size_t count) {
    const uint64_t exact_end = UINT64_C(1) << 53;
    uint64_t largest = 0;
    char room[40];
    for (size_t i = 0; i < count; i++)
        if (parts[i].size > 0)
            largest = ((const uint64_t *)parts[i].data)[parts[i].size / sizeof largest - 1];
    json_begin_array(c);
    for (size_t i = 0; i < count; i++) {
        const uint64_t *primes = parts[i].data;
        for (size_t k = 0; k < parts[i].size / sizeof *primes; k++)
            if (largest < exact_end)
                json_u64(c, primes[k]);
            else
                json_digits(c, decimal(primes[k], room));
    }
    json_end_array(c);
}

static int merge_list(struct call *c, const struct bytes *parts, size_t count) {
    uint64_t primes = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size % sizeof primes != 0)
            return call_fail(c, CALL_FAILED, NULL, "part %zu has %zu bytes", i, parts[i].size);
        primes += parts[i].size / sizeof primes;
    }
    json_begin_object(c);
    json_name(c, "count");
    json_u64(c, primes);
    json_name(c, "primes");
    put_primes(c, parts, count);
    json_end_object(c);
    return 0;
}

/* Writes the verdicts of a part, and counts them by their kind. */
static int put_verdicts(struct call *c, struct bytes part, uint64_t *seen) {
    uint64_t count = 0;
    if (part.size >= sizeof count)
        memcpy(&count, part.data, sizeof count);
    uint64_t size = count / VERDICTS_PER_BYTE + (count % VERDICTS_PER_BYTE != 0);
    if (part.size < sizeof count || part.size - sizeof count != size)
        return call_fail(c, CALL_FAILED, NULL, "a part of %zu bytes is malformed", part.size);
    const uint8_t *bytes = (const uint8_t *)part.data + sizeof count;
    for (uint64_t i = 0; i < count; i++) {
        unsigned verdict = bytes[i / VERDICTS_PER_BYTE] >> (i % VERDICTS_PER_BYTE * VERDICT_BITS) & VERDICT_MASK;
        if (verdict > VERDICT_PROBABLY_PRIME)
            return call_fail(c, CALL_FAILED, NULL, "a part holds a verdict of %u", verdict);
        seen[verdict]++;
        json_bool(c, verdict != VERDICT_NOT_PRIME);
    }
    return 0;
}

static int merge_numbers(struct call *c, const struct bytes *parts, size_t count) {
    uint64_t seen[VERDICT_PROBABLY_PRIME + 1] = {0};
    json_begin_object(c);
    json_name(c, "is_prime");
    json_begin_array(c);
    for (size_t i = 0; i < count; i++)
        if (put_verdicts(c, parts[i], seen) != 0)
            return -1;
    json_end_array(c);
    json_name(c, "count");
    json_u64(c, seen[VERDICT_PRIME] + seen[VERDICT_PROBABLY_PRIME]);
    json_name(c, "certainty");
    const char *certainty = seen[VERDICT_PROBABLY_PRIME] > 0 ? "probable" : "proven";
    json_text(c, certainty, strlen(certainty));
    json_end_object(c);
    return 0;
}

static int primes_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct job job;
    if (read_job(c, common, &job) != 0)
        return -1;
    switch (job.task) {
    case TASK_LIST: return merge_list(c, parts, count);
    case TASK_NTH: return merge_nth(c, &job, parts, count);
    case TASK_NUMBERS: return merge_numbers(c, parts, count);
    default: return merge_tally(c, &job, parts, count);
    }
}

/* ---- the handler ------------------------------------------------------------------------------------------------- */

static const struct param_spec params[] = {
    {.name = "start",
     .kind = PARAM_INTEGER,
     .flags = PARAM_REQUIRED,
     .forms = FORM_RANGE,
     .help = "first number of the range; a negative one counts as 0"},
    {.name = "stop",
     .kind = PARAM_INTEGER,
     .flags = PARAM_REQUIRED,
     .forms = FORM_RANGE,
     .max = "18446744073709551615",
     .help = "end of the range, itself not in it"},
    {.name = "op",
     .kind = PARAM_ENUM,
     .forms = FORM_RANGE,
     .fallback = "\"count\"",
     .choices = op_choices,
     .help = "what to do with the primes: twins counts the pairs p, p+2 with both in the range"},
    {.name = "numbers",
     .kind = PARAM_NUMBERS,
     .flags = PARAM_REQUIRED,
     .forms = FORM_NUMBERS,
     .help = "integers to test for primality"},
    {.name = "nth",
     .kind = PARAM_INTEGER,
     .flags = PARAM_REQUIRED,
     .forms = FORM_NTH,
     .min = "1",
     .max = NTH_MAX,
     .help = "which prime: 1 gives 2"},
    {0},
};

const struct handler handler_primes = {
    .abi = HANDLER_ABI,
    .name = "primes",
    .summary = "Primes in a range (count, list, sum, twins), tests of given integers, the n-th prime",
    .forms = form_names,
    .params = params,
    .load = primes_load,
    .plan = primes_plan,
    .run = primes_run,
    .merge = primes_merge,
};
