/* collatz.c: the job type "collatz": which number below a bound takes the most steps to 1, if an even n becomes n / 2
 * and an odd n becomes 3n + 1? It is a test type, and the second handler to read. echo.c shows how a job passes through
 * a handler. This file shows a job that is worth dividing.
 *
 *     collatz {"below": 1000000}  ->  {"start": 837799, "steps": 524}
 *
 *     load    measures how long a number takes on this machine
 *     plan    1..999999           -> ranges of numbers, each worth a chunk
 *     run     a range             -> its best number
 *     merge   the best of each    -> the best of all
 *
 * It runs in workers; load runs in the zygote. */
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

/* A chunk is the bytes of this struct. This program made them, on this machine, so they need no portable form. But they
 * can be damaged, or come from a process that is out of control, so run checks their size before it reads them. */
struct range {
    uint64_t from, to; /* to: the one after the last */
};

/* A part is the bytes of this struct. */
struct best {
    uint64_t start, steps;
};

/* The parameter table. The bound keeps all numbers on the way to 1 within 64 bits: below 1000000000 none is above
 * 2^61. */
static const struct param_spec collatz_params[] = {
    {"below", PARAM_INTEGER, PARAM_REQUIRED, .min = "2", .max = "1000000000", .help = "the number after the last one"},
    {0},
};

/* ---- the work itself: these functions know nothing of jobs ------------------------------------------------------- */

static uint64_t count_steps(uint64_t n) {
    uint64_t steps = 0;
    for (; n != 1; steps++)
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
    return steps;
}

/* If several numbers have the most steps, it finds the first, so that the result is the same however the job is
 * divided. */
static void find_best(struct range r, struct best *best) {
    for (uint64_t n = r.from; n < r.to; n++) {
        uint64_t steps = count_steps(n);
        if (best->start == 0 || steps > best->steps)
            *best = (struct best){n, steps};
    }
}

/* ---- load: once, before there are any workers -------------------------------------------------------------------- */

/* Is set by load. All workers are forked after that, so all of them have it. Do not keep anything else in a variable
 * like this: the next function runs in another process. */
static double number_ns;

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* CPU time, so that the work costs the same on a busy machine */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Measures some milliseconds of the real work. The cost of a chunk should be right within a factor of two or so. */
static int collatz_load(void) {
    const struct range sample = {500000, 505000};
    struct best best = {0, 0};
    double start_ns = now_ns();
    find_best(sample, &best);
    number_ns = (now_ns() - start_ns) / (double)(sample.to - sample.from);
    return best.start != 0 ? 0 : -1; /* the result must be used, or the compiler leaves the work out */
}

/* ---- plan: parameters -> chunks ---------------------------------------------------------------------------------- */

static int collatz_plan(struct call *c, const struct params *p) {
    uint64_t below = 0;
    if (!param_u64(p, "below", &below)) /* cannot happen with the table above, in which it is required */
        return call_fail(c, CALL_INVALID, "/below", "must be given");
    uint64_t numbers = below - 1;

    /* How many chunks? As many as the client wants. If it does not say, so many that each costs about HANDLER_CHUNK_NS:
     * shorter chunks would cost more in messages, and longer ones would hold up the jobs behind them. */
    uint64_t chunks = plan_wanted_chunks(c);
    if (chunks == 0)
        chunks = (uint64_t)((double)numbers * number_ns / HANDLER_CHUNK_NS) + 1;
    if (chunks > HANDLER_MAX_CHUNKS)
        chunks = HANDLER_MAX_CHUNKS;
    if (chunks > numbers)
        chunks = numbers; /* so that no chunk is empty */

    for (uint64_t i = 0; i < chunks; i++) {
        struct range r = {1 + numbers * i / chunks, 1 + numbers * (i + 1) / chunks};
        if (plan_chunk(c, &r, sizeof r, (uint64_t)((double)(r.to - r.from) * number_ns)) != 0)
            return -1; /* plan_chunk has said why */
    }
    return 0;
}

/* ---- run: one chunk -> one part ---------------------------------------------------------------------------------- */

/* Several workers run chunks of one job at the same time. If a worker dies, its chunk is run again. So a run must
 * depend on nothing but its bytes, and leave nothing behind but its part. */
static int collatz_run(struct call *c, struct bytes common, struct bytes chunk) {
    enum { STEP = 4096 }; /* numbers between two calls of call_cancelled: about a millisecond */
    struct range r;
    struct best best = {0, 0};
    (void)common; /* plan_common sets what all chunks have in common; this type does not call it */
    if (chunk.size != sizeof r)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&r, chunk.data, sizeof r);
    if (r.from == 0 || r.to < r.from) /* 0 never becomes 1 */
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    uint64_t size = r.to - r.from;
    for (uint64_t done = 0; done < size; done += STEP) {
        if (call_cancelled(c)) /* the client does not want it any more, or its time is up */
            return -1;
        call_progress(c, done, size); /* the service adds up what the chunks say */
        uint64_t left = size - done;
        find_best((struct range){r.from + done, r.from + done + (left < STEP ? left : STEP)}, &best);
    }
    return part_write(c, &best, sizeof best);
}

/* ---- merge: all parts -> the result ------------------------------------------------------------------------------ */

/* parts[i] is the part of the i-th chunk of the plan, in whatever order the chunks were finished. */
static int collatz_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct best best = {0, 0};
    (void)common;
    for (size_t i = 0; i < count; i++) {
        struct best one;
        if (parts[i].size != sizeof one)
            return call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
        memcpy(&one, parts[i].data, sizeof one);
        if (i == 0 || one.steps > best.steps)
            best = one;
    }
    json_begin_object(c);
    json_name(c, "start");
    json_u64(c, best.start);
    json_name(c, "steps");
    json_u64(c, best.steps);
    json_end_object(c);
    return 0;
}

const struct handler handler_collatz = {
    .abi = HANDLER_ABI,
    .name = "collatz",
    .summary = "Which number takes the most steps of 3n + 1 to 1",
    .flags = HANDLER_TEST,
    .params = collatz_params,
    .load = collatz_load,
    .plan = collatz_plan,
    .run = collatz_run,
    .merge = collatz_merge,
};
