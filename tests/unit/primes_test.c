/* primes_test.c: whole jobs of type "primes". Their results are compared with a plain sieve below, with published
 * values (OEIS A006880, A007508, A006988, A046731) and, for ranges of large numbers, with values from another program.
 * Every result must be the same however the job is divided. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/job.h"

enum { NAIVE_END = 300000 };

static bool composite[NAIVE_END];

static const unsigned cuts[] = {0, 1, 2, 7, 64};
enum { CUTS = sizeof cuts / sizeof *cuts };

static int make_naive_sieve(void **state) {
    (void)state;
    composite[0] = composite[1] = true;
    for (size_t p = 2; p * p < NAIVE_END; p++)
        for (size_t multiple = p * p; !composite[p] && multiple < NAIVE_END; multiple += p)
            composite[multiple] = true;
    return 0;
}

static void expect(const char *params, unsigned chunks, const char *result) {
    char *json = job_run("primes", params, chunks);
    if (strcmp(json, result) != 0)
        print_error("primes %s in %u chunks\n", params, chunks);
    assert_string_equal(json, result);
    free(json);
}

static void expect_for_all_cuts(const char *params, const char *result) {
    for (size_t i = 0; i < CUTS; i++)
        expect(params, cuts[i], result);
}

static void expect_rejected(const char *params, const char *pointer) {
    char *json = job_run("primes", params, 0);
    assert_non_null(strstr(json, "\"code\":\"invalid_params\""));
    if (strstr(json, pointer) == NULL)
        print_error("primes %s: %s\n", params, json);
    assert_non_null(strstr(json, pointer));
    free(json);
}

static void range_text(struct buf *to, uint64_t start, uint64_t stop, const char *op) {
    buf_clear(to);
    buf_printf(to, "{\"start\":\"%" PRIu64 "\",\"stop\":\"%" PRIu64 "\",\"op\":\"%s\"}", start, stop, op);
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static void counts_are_those_of_the_prime_counting_function(void **state) {
    (void)state;
    static const char *const pi[] = {"4", "25", "168", "1229", "9592", "78498", "664579", "5761455", "50847534"};
    struct buf params = {0}, result = {0};
    uint64_t stop = 1;
    for (size_t k = 0; k < sizeof pi / sizeof *pi; k++) {
        stop *= 10;
        range_text(&params, 0, stop, "count");
        buf_clear(&result);
        buf_printf(&result, "{\"count\":%s}", pi[k]);
        expect(params.data, k % 2 == 0 ? 1 : 3, result.data);
    }
    expect("{\"start\":100000,\"stop\":200000}", 0, "{\"count\":8392}");
    buf_deinit(&params);
    buf_deinit(&result);
}

static void count_to_ten_billion_is_the_same_in_many_chunks(void **state) {
    (void)state;
    expect("{\"start\":0,\"stop\":1e10}", 61, "{\"count\":455052511}");
}

static void ends_are_half_open(void **state) {
    (void)state;
    expect("{\"start\":2,\"stop\":3}", 0, "{\"count\":1}");
    expect("{\"start\":3,\"stop\":3}", 0, "{\"count\":0}");
    expect("{\"start\":3,\"stop\":4,\"op\":\"list\"}", 0, "{\"count\":1,\"primes\":[3]}");
    expect("{\"start\":0,\"stop\":2,\"op\":\"list\"}", 0, "{\"count\":0,\"primes\":[]}");
    expect("{\"start\":1000003,\"stop\":1000003}", 2, "{\"count\":0}");
    expect("{\"start\":999983,\"stop\":1000003}", 0, "{\"count\":1}");
    expect("{\"start\":999984,\"stop\":1000004}", 0, "{\"count\":1}");
}

static void empty_reversed_and_negative_ranges_are_no_errors(void **state) {
    (void)state;
    expect("{\"start\":10,\"stop\":10}", 5, "{\"count\":0}");
    expect("{\"start\":100,\"stop\":10}", 0, "{\"count\":0}");
    expect("{\"start\":100,\"stop\":-10,\"op\":\"sum\"}", 0, "{\"count\":0,\"sum\":\"0\"}");
    expect("{\"start\":100,\"stop\":10,\"op\":\"list\"}", 3, "{\"count\":0,\"primes\":[]}");
    expect("{\"start\":100,\"stop\":10,\"op\":\"twins\"}", 0, "{\"count\":0}");
    expect("{\"start\":-50,\"stop\":10}", 4, "{\"count\":4}");
    expect("{\"start\":\"-99999999999999999999999999\",\"stop\":10,\"op\":\"sum\"}", 0, "{\"count\":4,\"sum\":\"17\"}");
    expect("{\"start\":\"99999999999999999999999999\",\"stop\":10}", 0, "{\"count\":0}");
}

static void sums_are_exact(void **state) {
    (void)state;
    expect_for_all_cuts("{\"start\":0,\"stop\":10,\"op\":\"sum\"}", "{\"count\":4,\"sum\":\"17\"}");
    expect_for_all_cuts("{\"start\":0,\"stop\":2000000,\"op\":\"sum\"}", "{\"count\":148933,\"sum\":\"142913828922\"}");
    expect("{\"start\":0,\"stop\":10000000,\"op\":\"sum\"}", 13, "{\"count\":664579,\"sum\":\"3203324994356\"}");
}

static void twins_across_borders_are_counted_once(void **state) {
    (void)state;
    expect_for_all_cuts("{\"start\":0,\"stop\":1000000,\"op\":\"twins\"}", "{\"count\":8169}");
    expect("{\"start\":0,\"stop\":10000000,\"op\":\"twins\"}", 0, "{\"count\":58980}");
    expect("{\"start\":0,\"stop\":1000000000,\"op\":\"twins\"}", 1, "{\"count\":3424506}");
    /* Two chunks of [0, 2n) meet at n. It is before, between and behind 11 and 13, and 3, 5, 7. */
    expect("{\"start\":0,\"stop\":22,\"op\":\"twins\"}", 2, "{\"count\":4}");
    expect("{\"start\":0,\"stop\":24,\"op\":\"twins\"}", 2, "{\"count\":4}");
    expect("{\"start\":0,\"stop\":26,\"op\":\"twins\"}", 2, "{\"count\":4}");
    expect("{\"start\":0,\"stop\":8,\"op\":\"twins\"}", 8, "{\"count\":2}");
    /* Both must be in the range. */
    expect("{\"start\":11,\"stop\":13,\"op\":\"twins\"}", 0, "{\"count\":0}");
    expect("{\"start\":11,\"stop\":14,\"op\":\"twins\"}", 0, "{\"count\":1}");
    expect("{\"start\":12,\"stop\":14,\"op\":\"twins\"}", 0, "{\"count\":0}");
}

/* The four answers for [start, stop), from the naive sieve. */
static void naive_answers(uint64_t start, uint64_t stop, struct buf answers[4]) {
    uint64_t count = 0, twins = 0, sum = 0;
    struct buf list = {0};
    for (uint64_t n = start; n < stop; n++) {
        if (composite[n])
            continue;
        buf_printf(&list, "%s%" PRIu64, count > 0 ? "," : "", n);
        count++;
        sum += n;
        twins += n + 2 < stop && !composite[n + 2];
    }
    buf_printf(&answers[0], "{\"count\":%" PRIu64 "}", count);
    buf_printf(&answers[1], "{\"count\":%" PRIu64 ",\"primes\":[%s]}", count, count > 0 ? list.data : "");
    buf_printf(&answers[2], "{\"count\":%" PRIu64 ",\"sum\":\"%" PRIu64 "\"}", count, sum);
    buf_printf(&answers[3], "{\"count\":%" PRIu64 "}", twins);
    buf_deinit(&list);
}

static void any_range_in_any_cut_agrees_with_a_naive_sieve(void **state) {
    (void)state;
    static const char *const ops[] = {"count", "list", "sum", "twins"};
    struct buf params = {0};
    unsigned seed = 1;
    for (int round = 0; round < 60; round++) {
        struct buf answers[4] = {0};
        uint64_t width = round < 30 ? 200 : 100000;
        uint64_t start = (uint64_t)rand_r(&seed) % (round % 3 == 0 ? 50 : NAIVE_END - width);
        uint64_t stop = start + (uint64_t)rand_r(&seed) % width;
        naive_answers(start, stop, answers);
        for (int op = 0; op < 4; op++) {
            range_text(&params, start, stop, ops[op]);
            expect(params.data, (unsigned)rand_r(&seed) % 100, answers[op].data);
            buf_deinit(&answers[op]);
        }
    }
    buf_deinit(&params);
}

/* At 10^14 a chunk changes from counting to walking. A narrow range of large numbers is tested number by number. */
static void all_ways_to_find_primes_agree_far_out(void **state) {
    (void)state;
    static const unsigned few[] = {0, 1, 4};
    for (size_t i = 0; i < 3; i++) {
        expect("{\"start\":99999998000000,\"stop\":100000002000000}", few[i], "{\"count\":123946}");
        expect("{\"start\":99999998000000,\"stop\":100000002000000,\"op\":\"twins\"}", few[i], "{\"count\":5103}");
        expect("{\"start\":99999998000000,\"stop\":100000002000000,\"op\":\"sum\"}", few[i],
               "{\"count\":123946,\"sum\":\"12394599999727426854\"}");
    }
    expect("{\"start\":10000000000000,\"stop\":10000003000000}", 1, "{\"count\":100339}");
    expect("{\"start\":10000000000000,\"stop\":10000003000000}", 1000, "{\"count\":100339}");
    expect("{\"start\":10000000000000,\"stop\":10000003000000,\"op\":\"twins\"}", 1000, "{\"count\":4294}");
    expect("{\"start\":10000000000000,\"stop\":10000003000000,\"op\":\"sum\"}", 1,
           "{\"count\":100339,\"sum\":\"1003390150335053757\"}");
}

static void ranges_reach_the_last_64_bit_prime(void **state) {
    (void)state;
    expect("{\"start\":\"18446744073709551556\",\"stop\":\"18446744073709551615\",\"op\":\"list\"}", 0,
           "{\"count\":1,\"primes\":[\"18446744073709551557\"]}");
    expect("{\"start\":\"18446744073709551556\",\"stop\":\"18446744073709551557\"}", 0, "{\"count\":0}");
    expect("{\"start\":\"18446744073709551558\",\"stop\":\"18446744073709551615\",\"op\":\"sum\"}", 3,
           "{\"count\":0,\"sum\":\"0\"}");
    expect_for_all_cuts("{\"start\":\"18446744073709531616\",\"stop\":\"18446744073709551615\",\"op\":\"sum\"}",
                        "{\"count\":445,\"sum\":\"8208801112800746001179\"}");
    expect_for_all_cuts("{\"start\":\"18446744073709531616\",\"stop\":\"18446744073709551615\",\"op\":\"twins\"}",
                        "{\"count\":15}");
}

static void a_list_is_all_numbers_or_all_strings(void **state) {
    (void)state;
    expect("{\"start\":9007199254740840,\"stop\":9007199254740990,\"op\":\"list\"}", 0,
           "{\"count\":2,\"primes\":[9007199254740847,9007199254740881]}");
    expect("{\"start\":9007199254740850,\"stop\":\"9007199254741000\",\"op\":\"list\"}", 10,
           "{\"count\":2,\"primes\":[\"9007199254740881\",\"9007199254740997\"]}");
}

static void params_out_of_reach_are_rejected_by_name(void **state) {
    (void)state;
    expect_rejected("{\"start\":0,\"stop\":1e11,\"op\":\"list\"}", "/params/stop");
    expect_rejected("{\"start\":0,\"stop\":\"18446744073709551616\"}", "/params/stop");
    expect_rejected("{\"start\":0,\"stop\":100,\"op\":\"median\"}", "/params/op");
    expect_rejected("{\"start\":0}", "\"pointer\"");
    expect_rejected("{\"nth\":0}", "/params/nth");
    expect_rejected("{\"nth\":\"100000000000001\"}", "/params/nth");
    expect_rejected("{\"numbers\":[0.5]}", "/params/numbers");
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static void small_numbers_are_judged_with_certainty(void **state) {
    (void)state;
    expect_for_all_cuts("{\"numbers\":[-7,-2,0,1,2,3,4,5,9,97,91]}",
                        "{\"is_prime\":[false,false,false,false,true,true,false,true,false,true,false],"
                        "\"count\":4,\"certainty\":\"proven\"}");
    expect("{\"numbers\":[]}", 0, "{\"is_prime\":[],\"count\":0,\"certainty\":\"proven\"}");
    expect("{\"numbers\":[]}", 9, "{\"is_prime\":[],\"count\":0,\"certainty\":\"proven\"}");
}

static void numbers_and_strings_may_be_mixed(void **state) {
    (void)state;
    expect_for_all_cuts(
        "{\"numbers\":[7,\"11\",\"18446744073709551557\",1e1,\"-18446744073709551557\","
        "\"18446744073709551629\",\"170141183460469231731687303715884105727\",8]}",
        "{\"is_prime\":[true,true,true,false,false,true,true,false],\"count\":5,\"certainty\":\"proven\"}");
}

/* Carmichael numbers; strong pseudoprimes to the first 4, 9, 12 and 13 prime bases. */
static void pseudoprimes_are_recognised(void **state) {
    (void)state;
    expect("{\"numbers\":[561,1105,6601,825265,321197185,\"9746347772161\"]}", 0,
           "{\"is_prime\":[false,false,false,false,false,false],\"count\":0,\"certainty\":\"proven\"}");
    expect("{\"numbers\":[3215031751,\"3825123056546413051\"]}", 0,
           "{\"is_prime\":[false,false],\"count\":0,\"certainty\":\"proven\"}");
    expect("{\"numbers\":[\"318665857834031151167461\",\"3317044064679887385961981\"]}", 0,
           "{\"is_prime\":[false,false],\"count\":0,\"certainty\":\"proven\"}");
}

/* A job of numbers: base^exponent + addend, as decimal digits. */
static void add_power(struct buf *to, unsigned base, unsigned exponent, long addend) {
    char *digits = calloc(HANDLER_MAX_DIGITS, 1);
    assert_non_null(digits);
    size_t count = 1;
    digits[0] = 1; /* least digit first */
    for (unsigned i = 0; i < exponent; i++) {
        unsigned carry = 0;
        for (size_t k = 0; k < count || carry > 0; k++) {
            carry += (unsigned)digits[k] * base;
            digits[k] = (char)(carry % 10);
            carry /= 10;
            count = k < count ? count : k + 1;
        }
    }
    for (size_t k = 0; addend != 0; k++) {
        long sum = digits[k] + addend, digit = (sum % 10 + 10) % 10;
        digits[k] = (char)digit;
        addend = (sum - digit) / 10;
    }
    buf_puts(to, to->size > 0 ? ",\"" : "{\"numbers\":[\"");
    while (count > 0)
        buf_putc(to, (char)('0' + digits[--count]));
    buf_putc(to, '"');
    free(digits);
}

static void primes_are_proven_up_to_a_hundred_digits(void **state) {
    (void)state;
    struct buf params = {0};
    add_power(&params, 10, 50, 151);
    add_power(&params, 10, 99, 289);
    add_power(&params, 10, 105, 3);
    add_power(&params, 10, 105, 5);
    buf_puts(&params, "]}");
    expect(params.data, 3, "{\"is_prime\":[true,true,true,false],\"count\":3,\"certainty\":\"proven\"}");
    buf_deinit(&params);
}

static void larger_primes_are_probable(void **state) {
    (void)state;
    struct buf params = {0};
    add_power(&params, 10, 106, 79);
    add_power(&params, 2, 521, -1);
    add_power(&params, 2, 1279, -1);
    buf_puts(&params, ",7]}");
    expect(params.data, 0, "{\"is_prime\":[true,true,true,true],\"count\":4,\"certainty\":\"probable\"}");
    buf_deinit(&params);
}

static void composites_are_proven_at_any_size(void **state) {
    (void)state;
    struct buf params = {0};
    add_power(&params, 2, 523, -1); /* the exponents are prime, these are not */
    add_power(&params, 2, 1277, -1);
    add_power(&params, 2, 1000, 0);
    add_power(&params, 2, 512, 1); /* a Fermat number: passes Fermat's test to base 2 */
    add_power(&params, 7, 4000, 0);
    buf_puts(&params, "]}");
    expect_for_all_cuts(params.data,
                        "{\"is_prime\":[false,false,false,false,false],\"count\":0,\"certainty\":\"proven\"}");
    buf_deinit(&params);
}

static void a_hundred_thousand_numbers_agree_with_the_range(void **state) {
    (void)state;
    struct buf params = {0}, result = {0};
    for (int n = 100000; n < 200000; n++) {
        buf_printf(&params, "%s%d", n == 100000 ? "{\"numbers\":[" : ",", n);
        buf_printf(&result, "%s%s", n == 100000 ? "{\"is_prime\":[" : ",", composite[n] ? "false" : "true");
    }
    buf_puts(&params, "]}");
    buf_puts(&result, "],\"count\":8392,\"certainty\":\"proven\"}");
    expect(params.data, 0, result.data);
    expect(params.data, 100, result.data);
    buf_deinit(&params);
    buf_deinit(&result);
}

/* ---- the n-th prime ---------------------------------------------------------------------------------------------- */

static void the_first_primes_are_numbered_from_one(void **state) {
    (void)state;
    struct buf params = {0}, result = {0};
    for (uint64_t n = 0, k = 0; n < 2000; n++) {
        if (composite[n])
            continue;
        buf_clear(&params);
        buf_clear(&result);
        buf_printf(&params, "{\"nth\":%" PRIu64 "}", ++k);
        buf_printf(&result, "{\"prime\":%" PRIu64 "}", n);
        expect(params.data, (unsigned)k % 4, result.data);
    }
    buf_deinit(&params);
    buf_deinit(&result);
}

static void nth_primes_are_the_published_ones(void **state) {
    (void)state;
    expect("{\"nth\":1000}", 0, "{\"prime\":7919}");
    expect_for_all_cuts("{\"nth\":1000000}", "{\"prime\":15485863}");
    expect("{\"nth\":10000000}", 5, "{\"prime\":179424673}");
    expect("{\"nth\":100000000}", 0, "{\"prime\":2038074743}");
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

struct planned {
    struct submission submission;
    struct host_plan plan;
    struct fault fault;
};

static void planned_init(struct planned *p, const char *params, unsigned chunks) {
    struct buf body = {0};
    job_init();
    buf_printf(&body, "{\"type\":\"primes\",\"params\":%s}", params);
    *p = (struct planned){0};
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &p->submission, &p->fault), 0);
    buf_deinit(&body);
    assert_int_equal(host_plan(p->submission.type, p->submission.params.data, p->submission.params.size, chunks, NULL,
                               &p->plan, &p->fault),
                     0);
}

static void planned_deinit(struct planned *p) {
    submission_deinit(&p->submission);
    host_plan_deinit(&p->plan);
    fault_deinit(&p->fault);
}

static size_t chunk_count(const char *params, unsigned chunks) {
    struct planned p;
    planned_init(&p, params, chunks);
    size_t count = p.plan.count;
    planned_deinit(&p);
    return count;
}

static void wanted_chunks_are_made_if_there_is_work_for_them(void **state) {
    (void)state;
    assert_int_equal(chunk_count("{\"start\":0,\"stop\":1000}", 0), 1);
    assert_int_equal(chunk_count("{\"start\":0,\"stop\":1000}", 7), 7);
    assert_int_equal(chunk_count("{\"start\":0,\"stop\":5}", 100), 5);
    assert_int_equal(chunk_count("{\"start\":5,\"stop\":5}", 100), 1);
    assert_int_equal(chunk_count("{\"start\":0,\"stop\":1e12}", 1), 1);
    assert_int_equal(chunk_count("{\"start\":0,\"stop\":\"18446744073709551615\"}", 0), HANDLER_MAX_CHUNKS);
    assert_int_equal(chunk_count("{\"numbers\":[1,2,3,4,5,6,7]}", 0), 1);
    assert_int_equal(chunk_count("{\"numbers\":[1,2,3,4,5,6,7]}", 3), 3);
    assert_int_equal(chunk_count("{\"numbers\":[1,\"340282366920938463463374607431768211507\",3]}", 3), 3);
    assert_int_equal(chunk_count("{\"numbers\":[1,2,3]}", 50), 3);
    assert_int_equal(chunk_count("{\"nth\":1000000}", 11), 11);
    /* The parts of a list are small, even if few chunks are wanted. */
    assert_true(chunk_count("{\"start\":0,\"stop\":100000000,\"op\":\"list\"}", 1) > 10);
}

static void wide_ranges_and_long_numbers_are_cut(void **state) {
    (void)state;
    assert_true(chunk_count("{\"start\":0,\"stop\":100000000000}", 0) > 10);
    assert_true(chunk_count("{\"nth\":\"10000000000\"}", 0) > 10);
    struct buf params = {0};
    for (unsigned i = 0; i < 8; i++)
        add_power(&params, 10, 3000, (long)i);
    buf_puts(&params, "]}");
    assert_int_equal(chunk_count(params.data, 0), 8);
    buf_deinit(&params);
}

struct watcher {
    unsigned looks_left;
    uint64_t done;
    bool progress_wrong;
};

static void watch_progress(void *arg, uint64_t done, uint64_t total) {
    struct watcher *w = arg;
    w->progress_wrong |= done < w->done || done > total;
    w->done = done;
}

static bool watch_cancelled(void *arg) {
    struct watcher *w = arg;
    if (w->looks_left > 0)
        w->looks_left--;
    return w->looks_left == 0;
}

/* Runs the first chunk of a job that would take years, and cancels it at the second check. */
static void expect_cancelled(const char *params) {
    struct planned p;
    struct buf part = {0};
    struct watcher watcher = {.looks_left = 3};
    struct host_hooks hooks = {&watcher, watch_progress, watch_cancelled};
    planned_init(&p, params, 1);
    int rc = host_run(p.submission.type, 0, (struct bytes){p.plan.common.data, p.plan.common.size},
                      (struct bytes){p.plan.bytes.data, p.plan.chunks[0].size}, &hooks, &part, &p.fault);
    assert_int_equal(rc, HOST_CANCELLED);
    assert_true(watcher.done > 0);
    assert_false(watcher.progress_wrong);
    buf_deinit(&part);
    planned_deinit(&p);
}

static void long_work_can_be_cancelled(void **state) {
    (void)state;
    expect_cancelled("{\"start\":0,\"stop\":\"18446744073709551615\"}");
    expect_cancelled("{\"start\":0,\"stop\":\"18446744073709551615\",\"op\":\"twins\"}");
    expect_cancelled("{\"start\":0,\"stop\":\"18446744073709551615\",\"op\":\"sum\"}");
    expect_cancelled("{\"start\":\"1000000000000000\",\"stop\":\"18446744073709551615\"}");
    expect_cancelled("{\"start\":\"18446744073709000000\",\"stop\":\"18446744073709551615\"}");
    expect_cancelled("{\"numbers\":[2,3,5,7,11,13]}");
    expect_cancelled("{\"numbers\":[2,3,5,7,11,13,\"18446744073709551557\"]}");
}

static void expect_failed_run(const struct planned *p, struct bytes common, struct bytes chunk) {
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(host_run(p->submission.type, 0, common, chunk, NULL, &part, &fault), -1);
    assert_non_null(strstr(fault.json.data, "handler_failed"));
    fault_deinit(&fault);
    buf_deinit(&part);
}

static void bytes_of_a_wrong_size_fail_the_call(void **state) {
    (void)state;
    static const char *const jobs[] = {"{\"start\":0,\"stop\":1000}", "{\"start\":0,\"stop\":1000,\"op\":\"list\"}",
                                       "{\"nth\":500}", "{\"numbers\":[2,3]}",
                                       "{\"numbers\":[2,\"18446744073709551557\"]}"};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        struct planned p;
        planned_init(&p, jobs[i], 1);
        struct bytes common = {p.plan.common.data, p.plan.common.size};
        struct bytes chunk = {p.plan.bytes.data, p.plan.chunks[0].size};
        expect_failed_run(&p, common, (struct bytes){chunk.data, chunk.size - 1});
        expect_failed_run(&p, (struct bytes){common.data, common.size - 1}, chunk);
        expect_failed_run(&p, (struct bytes){NULL, 0}, chunk);
        planned_deinit(&p);
    }
}

static void a_chunk_outside_its_job_fails(void **state) {
    (void)state;
    static const uint64_t outside[][2] = {{5, 4}, {0, 2000}, {UINT64_MAX - 1, UINT64_MAX}};
    struct planned p;
    planned_init(&p, "{\"start\":0,\"stop\":1000,\"op\":\"twins\"}", 1);
    for (size_t i = 0; i < 3; i++)
        expect_failed_run(&p, (struct bytes){p.plan.common.data, p.plan.common.size},
                          (struct bytes){outside[i], sizeof outside[i]});
    planned_deinit(&p);
}

static void expect_failed_merge(const char *params, const void *part, size_t size) {
    struct planned p;
    struct buf json = {0};
    planned_init(&p, params, 1);
    struct bytes view = {part, size};
    assert_int_equal(host_merge(p.submission.type, (struct bytes){p.plan.common.data, p.plan.common.size}, &view, 1,
                                NULL, &json, &p.fault),
                     -1);
    buf_deinit(&json);
    planned_deinit(&p);
}

static void parts_that_make_no_sense_fail_the_merge(void **state) {
    (void)state;
    static const uint64_t words[4] = {3, 3, 3, 3};
    expect_failed_merge("{\"start\":0,\"stop\":1000}", words, 23);
    expect_failed_merge("{\"start\":0,\"stop\":1000,\"op\":\"sum\"}", words, 32);
    expect_failed_merge("{\"start\":0,\"stop\":1000,\"op\":\"list\"}", words, 31);
    expect_failed_merge("{\"nth\":500}", words, 0);
    uint64_t far_away[3] = {0};
    expect_failed_merge("{\"nth\":100000000000000}", far_away, sizeof far_away); /* the search would take hours */
    far_away[0] = 1000;
    expect_failed_merge("{\"nth\":500}", far_away, sizeof far_away);
    expect_failed_merge("{\"numbers\":[2]}", words, 1);
    expect_failed_merge("{\"numbers\":[2]}", words, 8);
    expect_failed_merge("{\"numbers\":[2]}", words, 10);
    static const uint64_t verdicts[2] = {1, 3}; /* there is no verdict 3 */
    expect_failed_merge("{\"numbers\":[2]}", verdicts, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_the_prime_counting_function),
        cmocka_unit_test(count_to_ten_billion_is_the_same_in_many_chunks),
        cmocka_unit_test(ends_are_half_open),
        cmocka_unit_test(empty_reversed_and_negative_ranges_are_no_errors),
        cmocka_unit_test(sums_are_exact),
        cmocka_unit_test(twins_across_borders_are_counted_once),
        cmocka_unit_test(any_range_in_any_cut_agrees_with_a_naive_sieve),
        cmocka_unit_test(all_ways_to_find_primes_agree_far_out),
        cmocka_unit_test(ranges_reach_the_last_64_bit_prime),
        cmocka_unit_test(a_list_is_all_numbers_or_all_strings),
        cmocka_unit_test(params_out_of_reach_are_rejected_by_name),
        cmocka_unit_test(small_numbers_are_judged_with_certainty),
        cmocka_unit_test(numbers_and_strings_may_be_mixed),
        cmocka_unit_test(pseudoprimes_are_recognised),
        cmocka_unit_test(primes_are_proven_up_to_a_hundred_digits),
        cmocka_unit_test(larger_primes_are_probable),
        cmocka_unit_test(composites_are_proven_at_any_size),
        cmocka_unit_test(a_hundred_thousand_numbers_agree_with_the_range),
        cmocka_unit_test(the_first_primes_are_numbered_from_one),
        cmocka_unit_test(nth_primes_are_the_published_ones),
        cmocka_unit_test(wanted_chunks_are_made_if_there_is_work_for_them),
        cmocka_unit_test(wide_ranges_and_long_numbers_are_cut),
        cmocka_unit_test(long_work_can_be_cancelled),
        cmocka_unit_test(bytes_of_a_wrong_size_fail_the_call),
        cmocka_unit_test(a_chunk_outside_its_job_fails),
        cmocka_unit_test(parts_that_make_no_sense_fail_the_merge),
    };
    return cmocka_run_group_tests_name("primes", tests, make_naive_sieve, NULL);
}
