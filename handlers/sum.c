/* sum.c: the job type "sum": exact sums of the powers of the terms of a range, or of given numbers. It runs in workers;
 * load runs in the zygote.
 *
 * A chunk is some consecutive terms or numbers. Its part is their exact sum, an integer, and how many they are, so
 * merge only has to add. If there are reals among the numbers, that integer counts units of 2^-2148 (exactsum.h) and
 * merge rounds it, once: so the result does not depend on the chunks. Sums travel as GMP's own limbs, and other big
 * integers as hexadecimal text, which GMP reads and writes in linear time. Most sums are small, and then GMP is not
 * needed (bigsum.h).
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/exactsum.h"
#include "handlers/handler.h"
#include "handlers/powersum.h"

#define MAX_TERMS         UINT64_C(10000000000000) /* more than these method iterate does not add */
#define MAX_EXACT_DOUBLE  (INT64_C(1) << 53)
#define FEW_NUMBERS       1000 /* to time so few takes longer than to add them */
#define FEW_NUMBERS_NS    20   /* what each of them costs, up to the power of 2 */
#define NUMBERS_PER_CHECK 1024 /* they are added between two calls of call_cancelled */

enum form { FORM_RANGE = 1, FORM_NUMBERS = 2 };

enum method { METHOD_ITERATE, METHOD_CLOSED_FORM };

/* What a chunk holds. It decides which function runs the chunk. */
enum work { WORK_ITERATE, WORK_CLOSED_FORM, WORK_NUMBERS, WORK_COUNT };

/* The plan's common bytes. */
struct common {
    uint32_t work; /* enum work */
    uint32_t power;
    uint32_t real; /* some number is a real, so the total is a double */
    uint32_t unused;
    int64_t step; /* WORK_ITERATE */
};

/* A chunk of WORK_ITERATE. A chunk of WORK_CLOSED_FORM is the first term, the step and the count as text. A chunk of
 * WORK_NUMBERS is for chunk_numbers. */
struct iterate_chunk {
    int64_t first;
    uint64_t count;
};

/* A sum under way. */
struct total {
    uint32_t power;
    bool real;
    struct bigsum sum;
    bool has_term;
    mpz_t term;            /* scratch, if has_term */
    struct exactsum reals; /* if real */
};

static void total_init(struct total *t, const struct common *common) {
    t->power = common->power;
    t->real = common->real != 0;
    t->has_term = false;
    bigsum_init(&t->sum);
    if (t->real)
        exactsum_init(&t->reals);
}

static void total_deinit(struct total *t) {
    bigsum_deinit(&t->sum);
    if (t->has_term)
        mpz_clear(t->term);
    if (t->real)
        exactsum_deinit(&t->reals);
}

static void need_term(struct total *t) {
    if (!t->has_term)
        mpz_init(t->term);
    t->has_term = true;
}

/* Adds the number in t->term, and overwrites it. */
static void total_add_term(struct total *t) {
    if (t->real) {
        exactsum_add_integer(&t->reals, t->term, t->power);
        return;
    }
    mpz_pow_ui(t->term, t->term, t->power);
    bigsum_add_mpz(&t->sum, t->term);
}

static void total_add_i64(struct total *t, int64_t value) {
    if (t->real && value >= -MAX_EXACT_DOUBLE && value <= MAX_EXACT_DOUBLE) {
        exactsum_add(&t->reals, (double)value, t->power);
    } else if (!t->real && (t->power == 1 || t->power == 2)) {
        bigsum_add(&t->sum, t->power == 1 ? value : (bigsum_wide)value * value);
    } else {
        need_term(t);
        mpz_set_si(t->term, value);
        total_add_term(t);
    }
}

/* 0, or -1 for a value that cannot come from a plan. */
static int total_add_f64(struct total *t, double value) {
    if (!t->real || !isfinite(value))
        return -1;
    exactsum_add(&t->reals, value, t->power);
    return 0;
}

static int total_add(struct total *t, const struct number *n) {
    switch (n->kind) {
    case NUMBER_INTEGER: total_add_i64(t, n->integer); return 0;
    case NUMBER_REAL: return total_add_f64(t, n->real);
    case NUMBER_LARGE: break;
    }
    need_term(t);
    if (mpz_set_str(t->term, n->digits, 10) != 0)
        return -1;
    total_add_term(t);
    return 0;
}

/* ---- plan: ranges ------------------------------------------------------------------------------------------------ */

static size_t count_chunks(const struct call *c, uint64_t cost_ns, uint64_t terms) {
    uint64_t chunks = plan_wanted_chunks(c);
    if (chunks == 1)
        return 1;
    if (chunks == 0)
        chunks = cost_ns / HANDLER_CHUNK_NS + 1;
    if (chunks > HANDLER_MAX_CHUNKS)
        chunks = HANDLER_MAX_CHUNKS;
    if (chunks > terms)
        chunks = terms;
    return chunks > 0 ? (size_t)chunks : 1;
}

/* Where chunk i of `chunks` begins among `terms`. */
static uint64_t chunk_begin(uint64_t terms, size_t i, size_t chunks) {
    if (chunks == 1)
        return i == 0 ? 0 : terms;
    uint64_t rest = terms % chunks;
    return terms / chunks * i + (i < rest ? i : rest);
}

static uint64_t range_count(int64_t start, int64_t stop, int64_t step) {
    if (step > 0)
        return stop > start ? ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1 : 0;
    return stop < start ? ((uint64_t)start - (uint64_t)stop - 1) / -(uint64_t)step + 1 : 0;
}

static int plan_iterate_chunks(struct call *c, const struct terms *t) {
    uint64_t cost_ns = powersum_cost_ns(t);
    size_t chunks = count_chunks(c, cost_ns, t->count);
    for (size_t i = 0; i < chunks; i++) {
        uint64_t begin = chunk_begin(t->count, i, chunks), end = chunk_begin(t->count, i + 1, chunks);
        struct iterate_chunk chunk = {.first = (int64_t)((uint64_t)t->first + begin * (uint64_t)t->step),
                                      .count = end - begin};
        if (plan_chunk(c, &chunk, sizeof chunk, cost_ns / chunks + 1) != 0)
            return -1;
    }
    return 0;
}

static int plan_iterate(struct call *c, const struct params *p, struct common common) {
    static const char *const names[] = {"start", "stop", "step"};
    static const char *const pointers[] = {"/start", "/stop", "/step"};
    int64_t bounds[3];
    for (int i = 0; i < 3; i++) {
        if (!param_i64(p, names[i], &bounds[i]))
            return call_fail(c, CALL_INVALID, pointers[i], "is beyond 64 bits, which only method closed_form takes");
    }
    struct terms t = {.first = bounds[0], .step = bounds[2], .power = common.power};
    t.count = range_count(bounds[0], bounds[1], bounds[2]);
    if (t.count > MAX_TERMS)
        return call_fail(c, CALL_INVALID, "/stop",
                         "makes %" PRIu64 " terms, and method iterate adds at most %" PRIu64 "; use method closed_form",
                         t.count, MAX_TERMS);
    common.work = WORK_ITERATE;
    common.step = t.step;
    if (plan_common(c, &common, sizeof common) != 0)
        return -1;
    return plan_iterate_chunks(c, &t);
}

static int plan_closed_form(struct call *c, const struct params *p, struct common common) {
    mpz_t start, stop, step, count;
    char *chunk = NULL;
    int rc = -1;
    mpz_init_set_str(start, param_digits(p, "start"), 10);
    mpz_init_set_str(stop, param_digits(p, "stop"), 10);
    mpz_init_set_str(step, param_digits(p, "step"), 10);
    mpz_init(count);
    mpz_sub(count, stop, start); /* as in range_count, for bounds of any size */
    mpz_cdiv_q(count, count, step);
    if (mpz_sgn(count) < 0)
        mpz_set_ui(count, 0);
    int size = gmp_asprintf(&chunk, "%Zx %Zx %Zx", start, step, count);
    common.work = WORK_CLOSED_FORM;
    if (plan_common(c, &common, sizeof common) == 0)
        rc = plan_chunk(c, chunk, (size_t)size + 1, powersum_closed_cost_ns(start, step, count, common.power));
    free(chunk);
    mpz_clears(start, stop, step, count, NULL);
    return rc;
}

static int plan_range(struct call *c, const struct params *p, struct common common) {
    if (strcmp(param_digits(p, "step"), "0") == 0)
        return call_fail(c, CALL_INVALID, "/step", "must not be 0");
    if (param_choice(p, "method") == METHOD_CLOSED_FORM)
        return plan_closed_form(c, p, common);
    return plan_iterate(c, p, common);
}

/* ---- plan: numbers ----------------------------------------------------------------------------------------------- */

/* One number, which is added again and again to learn what it costs. */
struct sample {
    struct total total;
    struct number number;
    struct number_reader reader; /* has the number's digits */
};

static void add_sample(void *arg) {
    struct sample *s = arg;
    total_add(&s->total, &s->number);
}

/* Does a cost more to add than b, or about as much? */
static bool is_dearer(const struct number *a, const struct number *b) {
    if (a->kind == NUMBER_LARGE || b->kind == NUMBER_LARGE)
        return a->kind == NUMBER_LARGE && (b->kind != NUMBER_LARGE || a->size > b->size);
    return a->kind == NUMBER_INTEGER && (b->kind != NUMBER_INTEGER || llabs(a->integer / 2) > llabs(b->integer / 2));
}

/* Finds the number that costs most to add, or one that costs about as much. There is at least one. */
static void find_dearest(const struct numbers *n, struct sample *s) {
    struct number_reader reader;
    struct number number;
    size_t dearest = 0;
    numbers_begin(&reader, n);
    numbers_next(&reader, &s->number);
    for (size_t i = 1; numbers_next(&reader, &number) > 0; i++) {
        if (!is_dearer(&number, &s->number))
            continue;
        s->number = number;
        dearest = i;
    }
    numbers_begin(&s->reader, n);
    numbers_skip(&s->reader, dearest);
    numbers_next(&s->reader, &s->number);
}

static uint64_t number_cost_ns(const struct numbers *n, const struct common *common) {
    if (n->count == 0)
        return 1;
    if (!n->any_large && n->count <= FEW_NUMBERS && common->power <= 2)
        return FEW_NUMBERS_NS;
    struct sample sample;
    find_dearest(n, &sample);
    total_init(&sample.total, common);
    uint64_t cost_ns = powersum_time_ns(add_sample, &sample);
    total_deinit(&sample.total);
    return cost_ns;
}

static int plan_numbers(struct call *c, const struct params *p, struct common common) {
    struct numbers n;
    if (!param_numbers(p, "numbers", &n))
        return call_fail(c, CALL_INVALID, "/numbers", "must be an array of numbers");
    if (n.any_real && common.power != 1 && common.power != 2)
        return call_fail(c, CALL_INVALID, "/power", "must be 1 or 2 where some of the numbers are not integers");
    common.work = WORK_NUMBERS;
    common.real = n.any_real;
    if (plan_common(c, &common, sizeof common) != 0)
        return -1;
    uint64_t cost_ns = number_cost_ns(&n, &common);
    size_t chunks = count_chunks(c, cost_ns * n.count, n.count);
    struct number_reader reader;
    numbers_begin(&reader, &n);
    for (size_t i = 0; i < chunks; i++) {
        size_t count = chunk_begin(n.count, i + 1, chunks) - chunk_begin(n.count, i, chunks);
        if (plan_number_chunk(c, &reader, count, cost_ns * count + 1) != 0)
            return -1;
    }
    return 0;
}

static int sum_plan(struct call *c, const struct params *p) {
    int64_t power = 1;
    param_i64(p, "power", &power);
    struct common common = {.power = (uint32_t)power};
    return param_given(p, "numbers") ? plan_numbers(c, p, common) : plan_range(c, p, common);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* The functions of enum work. Each adds a chunk to *t and counts its numbers. 0, or -1 if the chunk is bad or the call
 * was cancelled. */

static bool ends_with_nul(struct bytes b) {
    return b.size > 0 && ((const char *)b.data)[b.size - 1] == '\0';
}

static int run_iterate(struct call *c, const struct common *common, struct bytes chunk, struct total *t,
                       struct bigsum *count) {
    struct iterate_chunk range;
    if (chunk.size != sizeof range || common->step == 0)
        return -1;
    memcpy(&range, chunk.data, sizeof range);
    bigsum_add(count, (bigsum_wide)range.count);
    struct terms terms = {.first = range.first, .step = common->step, .count = range.count, .power = common->power};
    return powersum_iterate(c, &t->sum, terms);
}

static int run_closed(struct call *c, const struct common *common, struct bytes chunk, struct total *t,
                      struct bigsum *count) {
    mpz_t first, step, terms, sum;
    int rc = -1;
    mpz_inits(first, step, terms, sum, NULL);
    if (ends_with_nul(chunk) && gmp_sscanf(chunk.data, "%Zx %Zx %Zx", first, step, terms) == 3 && mpz_sgn(terms) >= 0)
        rc = powersum_closed(c, sum, first, step, terms, common->power);
    bigsum_add_mpz(&t->sum, sum);
    bigsum_add_mpz(count, terms);
    mpz_clears(first, step, terms, sum, NULL);
    return rc;
}

/* Reports the progress. True if the work must end. */
static bool must_end(struct call *c, uint64_t done, uint64_t total) {
    call_progress(c, done, total);
    return call_cancelled(c);
}

static int run_numbers(struct call *c, const struct common *common, struct bytes chunk, struct total *t,
                       struct bigsum *count) {
    (void)common;
    struct numbers numbers;
    struct number_reader reader;
    struct number number = {.kind = NUMBER_INTEGER};
    int rc = 1;
    if (!chunk_numbers(chunk, &numbers))
        return -1;
    numbers_begin(&reader, &numbers);
    for (size_t i = 0; rc > 0; i++) {
        /* A power of thousands of digits takes a millisecond, so check at every large number. */
        if ((i % NUMBERS_PER_CHECK == 0 || number.kind == NUMBER_LARGE) && must_end(c, i, numbers.count))
            return -1;
        rc = numbers_next(&reader, &number);
        if (rc > 0 && total_add(t, &number) != 0)
            return -1;
    }
    bigsum_add(count, (bigsum_wide)numbers.count);
    return rc;
}

static int (*const runs[WORK_COUNT])(struct call *c, const struct common *common, struct bytes chunk, struct total *t,
                                     struct bigsum *count) = {
    [WORK_ITERATE] = run_iterate,
    [WORK_CLOSED_FORM] = run_closed,
    [WORK_NUMBERS] = run_numbers,
};

/* The front of a part. Behind it come GMP's limbs of the sum and of the count, the least significant limb first. */
struct part_head {
    int64_t sum_limbs; /* negative if the sum is negative */
    uint64_t count_limbs;
};

static int write_limbs(struct call *c, const struct bigsum_limbs *limbs) {
    return part_write(c, limbs->at, (size_t)llabs(limbs->count) * sizeof(mp_limb_t));
}

/* Moves the sum of the reals into t->sum. */
static void add_reals(struct total *t) {
    need_term(t);
    exactsum_total(&t->reals, t->term);
    bigsum_add_mpz(&t->sum, t->term);
}

static int write_part(struct call *c, struct total *t, struct bigsum *count) {
    struct bigsum_limbs sum_limbs, count_limbs;
    if (t->real)
        add_reals(t);
    bigsum_read(&t->sum, &sum_limbs);
    bigsum_read(count, &count_limbs);
    struct part_head head = {.sum_limbs = sum_limbs.count, .count_limbs = (uint64_t)count_limbs.count};
    if (part_write(c, &head, sizeof head) != 0 || write_limbs(c, &sum_limbs) != 0)
        return -1;
    return write_limbs(c, &count_limbs);
}

static bool common_read(struct bytes bytes, struct common *common) {
    if (bytes.size != sizeof *common)
        return false;
    memcpy(common, bytes.data, sizeof *common);
    bool real_power = common->power == 1 || common->power == 2;
    return common->work < WORK_COUNT && common->power <= POWERSUM_MAX_POWER && (common->real == 0 || real_power);
}

static int sum_run(struct call *c, struct bytes common_bytes, struct bytes chunk) {
    struct common common;
    if (!common_read(common_bytes, &common))
        return call_fail(c, CALL_FAILED, NULL, "the plan's common bytes are not a sum's");
    struct total total;
    struct bigsum count;
    total_init(&total, &common);
    bigsum_init(&count);
    int rc = runs[common.work](c, &common, chunk, &total, &count);
    if (rc == 0)
        rc = write_part(c, &total, &count);
    else if (!call_cancelled(c))
        call_fail(c, CALL_FAILED, NULL, "a chunk of %zu bytes is malformed", chunk.size);
    bigsum_deinit(&count);
    total_deinit(&total);
    return rc;
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

static int add_part(struct call *c, struct bytes part, struct bigsum *sum, struct bigsum *count) {
    struct part_head head = {0, 0};
    uint64_t limbs = part.size < sizeof head ? 0 : (part.size - sizeof head) / sizeof(mp_limb_t);
    if (part.size >= sizeof head)
        memcpy(&head, part.data, sizeof head);
    uint64_t sum_limbs = head.sum_limbs < 0 ? -(uint64_t)head.sum_limbs : (uint64_t)head.sum_limbs;
    if (part.size != sizeof head + limbs * sizeof(mp_limb_t) || sum_limbs > limbs ||
        head.count_limbs != limbs - sum_limbs)
        return call_fail(c, CALL_FAILED, NULL, "a part of %zu bytes is malformed", part.size);
    const mp_limb_t *at = (const void *)((const char *)part.data + sizeof head);
    bigsum_add_limbs(sum, at, head.sum_limbs);
    bigsum_add_limbs(count, at + sum_limbs, (int64_t)head.count_limbs);
    return 0;
}

/* Writes the digits of a number, with a NUL, to the end of the room. Returns where they begin. */
static const char *to_digits(char room[24], uint64_t value) {
    char *at = room + 23;
    *at = '\0';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return at;
}

static void write_digits(struct call *c, const struct bigsum *sum) {
    char few[24];
    uint64_t small;
    mpz_t value;
    if (bigsum_u64(sum, &small)) {
        json_digits(c, to_digits(few, small));
        return;
    }
    mpz_init(value);
    bigsum_mpz(sum, value);
    char *digits = mpz_get_str(NULL, 10, value);
    json_digits(c, digits);
    free(digits);
    mpz_clear(value);
}

static void write_rounded(struct call *c, const struct bigsum *sum) {
    mpz_t value;
    mpz_init(value);
    bigsum_mpz(sum, value);
    json_double(c, exactsum_round(value));
    mpz_clear(value);
}

static void write_result(struct call *c, bool real, const struct bigsum *sum, const struct bigsum *count) {
    uint64_t few;
    json_begin_object(c);
    json_name(c, "sum");
    if (real)
        write_rounded(c, sum);
    else
        write_digits(c, sum);
    json_name(c, "count");
    if (bigsum_u64(count, &few))
        json_u64(c, few);
    else
        write_digits(c, count);
    json_end_object(c);
}

static int sum_merge(struct call *c, struct bytes common_bytes, const struct bytes *parts, size_t parts_count) {
    struct common common;
    if (!common_read(common_bytes, &common))
        return call_fail(c, CALL_FAILED, NULL, "the plan's common bytes are not a sum's");
    struct bigsum sum, count;
    bigsum_init(&sum);
    bigsum_init(&count);
    int rc = 0;
    for (size_t i = 0; i < parts_count && rc == 0; i++)
        rc = add_part(c, parts[i], &sum, &count);
    if (rc == 0)
        write_result(c, common.real != 0, &sum, &count);
    bigsum_deinit(&sum);
    bigsum_deinit(&count);
    return rc;
}

/* ---- the handler ------------------------------------------------------------------------------------------------- */

static int sum_load(void) {
    powersum_calibrate();
    return 0;
}

static const char *const sum_forms[] = {"range", "numbers", NULL};

static const char *const sum_methods[] = {[METHOD_ITERATE] = "iterate", [METHOD_CLOSED_FORM] = "closed_form", NULL};

static const struct param_spec sum_params[] = {
    {.name = "start", .kind = PARAM_INTEGER, .flags = PARAM_REQUIRED, .forms = FORM_RANGE, .help = "first term"},
    {.name = "stop", .kind = PARAM_INTEGER, .flags = PARAM_REQUIRED, .forms = FORM_RANGE, .help = "end, excluded"},
    {.name = "step", .kind = PARAM_INTEGER, .forms = FORM_RANGE, .fallback = "1", .help = "from term to term, not 0"},
    {.name = "method",
     .kind = PARAM_ENUM,
     .forms = FORM_RANGE,
     .fallback = "\"iterate\"",
     .choices = sum_methods,
     .help = "iterate adds every one of at most 10^13 terms within 64 bits; closed_form has no such bounds"},
    {.name = "numbers",
     .kind = PARAM_NUMBERS,
     .flags = PARAM_REQUIRED | PARAM_REALS,
     .forms = FORM_NUMBERS,
     .help = "numbers to add; with a real among them the exact sum is rounded once, to a double"},
    {.name = "power",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "64",
     .fallback = "1",
     .help = "each term is raised to it, 0^0 is 1; 1 or 2 where numbers are real"},
    {0},
};

const struct handler handler_sum = {
    .abi = HANDLER_ABI,
    .name = "sum",
    .summary = "Exact sum of the powers of a range's terms or of given numbers",
    .forms = sum_forms,
    .params = sum_params,
    .load = sum_load,
    .plan = sum_plan,
    .run = sum_run,
    .merge = sum_merge,
};
