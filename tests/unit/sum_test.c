/* sum_test.c: the job type "sum", from params to result, for one chunk and for many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <gmp.h>
#include <math.h>

#include "tests/unit/job.h"

static const unsigned chunkings[] = {1, 2, 4, 7, 64};
#define CHUNKINGS (sizeof chunkings / sizeof chunkings[0])

/* A fixed sequence (splitmix64), so that a failure can be repeated. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void assert_job(const char *params, unsigned chunks, const char *expected) {
    char *json = job_run("sum", params, chunks);
    assert_string_equal(json, expected);
    free(json);
}

static void assert_any_chunking(const char *params, const char *expected) {
    for (size_t i = 0; i < CHUNKINGS; i++)
        assert_job(params, chunkings[i], expected);
    assert_job(params, 0, expected);
}

static void assert_rejected(const char *params, const char *pointer, const char *detail) {
    char *json = job_run("sum", params, 0);
    char expected[100];
    snprintf(expected, sizeof expected, "\"pointer\":\"/params%s\"", pointer);
    if (strstr(json, "invalid_params") == NULL || strstr(json, expected) == NULL || strstr(json, detail) == NULL)
        fail_msg("%s is answered by %s", params, json);
    free(json);
}

/* The sum of a job as a GMP integer. */
static void job_sum(const char *params, unsigned chunks, mpz_t sum) {
    char *json = job_run("sum", params, chunks);
    char *digits = json + strlen("{\"sum\":\"");
    char *end = strchr(digits, '"');
    assert_memory_equal(json, "{\"sum\":\"", strlen("{\"sum\":\""));
    assert_non_null(end);
    *end = '\0';
    assert_int_equal(mpz_set_str(sum, digits, 10), 0);
    free(json);
}

static char *range_params(const mpz_t start, const mpz_t stop, const mpz_t step, unsigned power, const char *method) {
    char *params = NULL;
    gmp_asprintf(&params, "{\"start\":\"%Zd\",\"stop\":\"%Zd\",\"step\":\"%Zd\",\"power\":%u,\"method\":\"%s\"}", start,
                 stop, step, power, method);
    return params;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

struct range_case {
    const char *start, *stop, *step;
    unsigned power;
    uint64_t count;
    const char *sum;
};

static void assert_range(const struct range_case *r, const char *method, unsigned chunks) {
    char params[400], expected[400];
    snprintf(params, sizeof params, "{\"start\":\"%s\",\"stop\":\"%s\",\"step\":\"%s\",\"power\":%u,\"method\":\"%s\"}",
             r->start, r->stop, r->step, r->power, method);
    snprintf(expected, sizeof expected, "{\"sum\":\"%s\",\"count\":%llu}", r->sum, (unsigned long long)r->count);
    assert_job(params, chunks, expected);
}

/* for p in range(65): print(f'"{sum(n**p for n in range(-9, 14, 4))}",') */
static const char *const sums_of_powers[] = {
    "6",
    "6",
    "286",
    "846",
    "24310",
    "115926",
    "2437006",
    "15451806",
    "263567590",
    "2008947366",
    "29716508926",
    "255859286766",
    "3434943872470",
    "32076516217206",
    "403310957409646",
    "3976074095601726",
    "47836135613930950",
    "489001714503301446",
    "5711644177471827166",
    "59819618553602860686",
    "684987548028832975030",
    "7291389024164033176086",
    "82391432494289127409486",
    "886594661962090140167646",
    "9929690759720791375916710",
    "107630502216789156829617126",
    "1198288124632403924763964606",
    "13051910159408680870324866606",
    "144733743763316065176262147990",
    "1581602388193736696466523600566",
    "17491815967433236994837796660526",
    "191562062303998957262920810141566",
    "2114812462806505108169326560340870",
    "23194258996382479919816497043702406",
    "255754881125747697640200256267225246",
    "2807740908117213426129038188822616526",
    "30935211584161009585117126350889247350",
    "339836748827716107864583073074910498646",
    "3742259274775666707048914897526223146766",
    "41128355495524465760396648810078699955486",
    "452740370877988719838267516248448934499430",
    "4977187877602220436966128141721331194965286",
    "54775672064649173363132647494630922904873086",
    "602292941159592099481709615370219811468462446",
    "6627377396753134943787600698348997128101409110",
    "72881755828541840432365581296943934742900878326",
    "801873872957294836057497951620164920291821012206",
    "8819041566091791810798317579073432156692900681406",
    "97023596507016670114569994844771130212793223768390",
    "1067132307721547122700505083506164403223051531213766",
    "11739600667288728793462940177516299177322951391532126",
    "129125299782567514909796492617659301519036469892996366",
    "1420471065511617411958647799276014586009175580048649270",
    "15624346808691706489302817156211667244217475928598547606",
    "171875329097393550246660934796307278319726299770438960846",
    "1890560992215786139028647512373200614067824759625403231326",
    "20796779564797174416610641950676479719427345415300017203750",
    "228759097357022661288627352439597766446317511002553839455846",
    "2516399371615423982449535190961289581354869622778407407586366",
    "27679949381481300181933780907838967178865433575233308588250286",
    "304483436552226035867266693643418918380094600500997528661463830",
    "3349281861866456018458889085211914361405075512410568951892914486",
    "36842423942370776188634333794510419701217398614146379043790656686",
    "405263752209293104411364891513492297795441404618901126619181557246",
    "4457927474711699894940861591029084281522077631716822062162737141510",
};

static void every_power_is_exact_by_both_methods(void **state) {
    (void)state;
    for (unsigned power = 0; power <= 64; power++) {
        struct range_case r = {"-9", "14", "4", power, 6, sums_of_powers[power]};
        assert_range(&r, "iterate", 1);
        assert_range(&r, "iterate", 3);
        assert_range(&r, "closed_form", 0);
    }
}

/* r = range(start, stop, step); print(len(r), sum(n**power for n in r)) */
static const struct range_case range_cases[] = {
    {"-9223372036854775808", "9223372036854775807", "1152921504606859321", 1, 16, "-9223372036853294408"},
    {"-9223372036854775808", "9223372036854775807", "1152921504606859321", 2, 16,
     "457254430550019030655855276979927808344"},
    {"-9223372036854775808", "9223372036854775807", "1152921504606859321", 3, 16,
     "-784637716923224824851708152174544317368532186399571979712"},
    {"9223372036854775807", "-9223372036854775808", "-2305843009213693953", 2, 8,
     "233944127258145193741750507051597955276"},
    {"9223372036854775807", "-9223372036854775808", "-9223372036854775808", 5, 2,
     "66749594872528440038659400431137192519314960677663778810642210898138927029830146832929608695806"},
    {"-9223372036854775808", "-9223372036854775807", "1", 2, 1, "85070591730234615865843651857942052864"},
    {"-9223372036854775808", "-9223372036854575808", "1", 1, 200000, "-1844674407370935161700000"},
    {"-9223372036854775808", "-9223372036854575808", "1", 2, 200000, "17014118346046554240131930590593692401100000"},
    {"9223372036854575807", "9223372036854775807", "1", 2, 200000, "17014118346046554232753232961109951755100000"},
    {"4294867296", "4295067296", "1", 2, 200000, "3689348814549583530700000"},
    {"-4295067296", "-4294867296", "3", 2, 66667, "1229789087956885402617625"},
    {"-100000", "200000", "7", 1, 42858, "2142878571"},
    {"-100000", "200000", "7", 2, 42858, "428590714464285"},
    {"200000", "-100000", "-7", 3, 42858, "53575071493928785713"},
    {"200000", "-100000", "-7", 4, 42858, "9429407162142814282798581"},
    {"10", "0", "-3", 1, 4, "22"},
    {"10", "1", "-3", 1, 3, "21"},
    {"-1", "-10", "-3", 0, 3, "3"},
    {"4398046441104", "4398046581104", "1", 3, 140000, "11909882842228787247524113030949130426880000"},
    {"-4294970296", "-4294964296", "1", 4, 6000, "2041694202478360979422524745397907982463800"},
    {"-9223372036854775808", "9223372036854775807", "1844674407371", 1, 10000000, "-9223369794935000000"},
    {"-9223372036854775808", "9223372036854775807", "1844674407371", 2, 10000000,
     "283568639100801509629616487305345889055000000"},
};

static void ranges_of_either_direction_and_up_to_64_bits_are_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof range_cases / sizeof range_cases[0]; i++) {
        for (size_t k = 0; k < CHUNKINGS; k++)
            assert_range(&range_cases[i], "iterate", chunkings[k]);
        assert_range(&range_cases[i], "closed_form", 0);
    }
}

static void a_sum_of_squares_beyond_64_bits_is_the_same_in_any_number_of_chunks(void **state) {
    (void)state;
    assert_any_chunking("{\"start\":0,\"stop\":20000000,\"power\":2}",
                        "{\"sum\":\"2666666466666670000000\",\"count\":20000000}");
}

static void an_empty_range_sums_to_zero(void **state) {
    (void)state;
    static const char *const bounds[] = {"\"start\":5,\"stop\":5", "\"start\":5,\"stop\":4",
                                         "\"start\":4,\"stop\":5,\"step\":-1"};
    for (size_t i = 0; i < 3; i++) {
        for (unsigned power = 0; power < 3; power++) {
            char params[100];
            snprintf(params, sizeof params, "{%s,\"power\":%u}", bounds[i], power);
            assert_job(params, 7, "{\"sum\":\"0\",\"count\":0}");
            snprintf(params, sizeof params, "{%s,\"power\":%u,\"method\":\"closed_form\"}", bounds[i], power);
            assert_job(params, 7, "{\"sum\":\"0\",\"count\":0}");
        }
    }
}

static void zero_to_the_power_of_zero_is_one(void **state) {
    (void)state;
    assert_job("{\"start\":0,\"stop\":1,\"power\":0}", 1, "{\"sum\":\"1\",\"count\":1}");
    assert_job("{\"start\":0,\"stop\":1,\"power\":0,\"method\":\"closed_form\"}", 1, "{\"sum\":\"1\",\"count\":1}");
    assert_job("{\"numbers\":[0,0],\"power\":0}", 1, "{\"sum\":\"2\",\"count\":2}");
}

static void a_count_beyond_53_bits_is_a_string(void **state) {
    (void)state;
    assert_job("{\"start\":0,\"stop\":9007199254740991,\"power\":0,\"method\":\"closed_form\"}", 0,
               "{\"sum\":\"9007199254740991\",\"count\":9007199254740991}");
    assert_job("{\"start\":0,\"stop\":\"9007199254740992\",\"power\":0,\"method\":\"closed_form\"}", 0,
               "{\"sum\":\"9007199254740992\",\"count\":\"9007199254740992\"}");
    assert_job("{\"start\":0,\"stop\":\"100000000000000000000\",\"method\":\"closed_form\"}", 0,
               "{\"sum\":\"4999999999999999999950000000000000000000\",\"count\":\"100000000000000000000\"}");
}

static void params_that_cannot_be_summed_are_rejected_by_name(void **state) {
    (void)state;
    assert_rejected("{\"start\":0,\"stop\":9,\"step\":0}", "/step", "must not be 0");
    assert_rejected("{\"start\":0,\"stop\":9,\"step\":0,\"method\":\"closed_form\"}", "/step", "must not be 0");
    assert_rejected("{\"start\":\"-9223372036854775809\",\"stop\":0}", "/start", "closed_form");
    assert_rejected("{\"start\":0,\"stop\":\"9223372036854775808\"}", "/stop", "closed_form");
    assert_rejected("{\"start\":0,\"stop\":9,\"step\":\"9223372036854775808\"}", "/step", "closed_form");
    assert_rejected("{\"start\":0,\"stop\":10000000000001}", "/stop", "closed_form");
    assert_rejected("{\"start\":0,\"stop\":9,\"power\":65}", "/power", "64");
    assert_rejected("{\"start\":0,\"stop\":9,\"power\":-1}", "/power", "0");
    assert_rejected("{\"numbers\":[0.5],\"power\":3}", "/power", "1 or 2");
    assert_rejected("{\"numbers\":[1.0],\"power\":0}", "/power", "1 or 2");
}

/* The sum by GMP, term by term. */
static void add_terms(mpz_t sum, const mpz_t start, const mpz_t stop, const mpz_t step, unsigned power) {
    mpz_t term, value;
    mpz_init(value);
    mpz_init_set(term, start);
    mpz_set_ui(sum, 0);
    while (mpz_sgn(step) > 0 ? mpz_cmp(term, stop) < 0 : mpz_cmp(term, stop) > 0) {
        mpz_pow_ui(value, term, power);
        mpz_add(sum, sum, value);
        mpz_add(term, term, step);
    }
    mpz_clears(term, value, NULL);
}

/* Makes a range of at most some 1500 terms, in either direction, with bounds of 1 to 62 bits. */
static void random_range(uint64_t *random, mpz_t start, mpz_t stop, mpz_t step) {
    unsigned bits = 1 + (unsigned)(next_random(random) % 62);
    int64_t first = (int64_t)next_random(random) >> (63 - bits);
    int64_t last = (int64_t)next_random(random) >> (63 - bits);
    int64_t distance = last / 2 - first / 2, least = distance / 1500, sign = distance < 0 ? -1 : 1;
    mpz_set_si(start, first / 2);
    mpz_set_si(stop, last / 2);
    mpz_set_si(step, least + sign * (1 + (int64_t)(next_random(random) % 5)));
}

static void both_methods_agree_with_gmp_on_random_ranges(void **state) {
    (void)state;
    uint64_t random = 3;
    mpz_t start, stop, step, expected, sum;
    mpz_inits(start, stop, step, expected, sum, NULL);
    for (int i = 0; i < 300; i++) {
        unsigned power = (unsigned)(next_random(&random) % (i % 2 == 0 ? 5 : 65));
        random_range(&random, start, stop, step);
        add_terms(expected, start, stop, step, power);
        char *iterate = range_params(start, stop, step, power, "iterate");
        char *closed_form = range_params(start, stop, step, power, "closed_form");
        job_sum(iterate, chunkings[(size_t)i % CHUNKINGS], sum);
        if (mpz_cmp(sum, expected) != 0)
            fail_msg("%s", iterate);
        job_sum(closed_form, 0, sum);
        if (mpz_cmp(sum, expected) != 0)
            fail_msg("%s", closed_form);
        free(iterate);
        free(closed_form);
    }
    mpz_clears(start, stop, step, expected, sum, NULL);
}

static void closed_form_takes_bounds_of_4096_digits(void **state) {
    (void)state;
    mpz_t start, stop, step, expected, sum;
    mpz_inits(start, stop, step, expected, sum, NULL);
    mpz_ui_pow_ui(stop, 10, 4096);
    mpz_sub_ui(stop, stop, 1);
    mpz_neg(start, stop);
    mpz_tdiv_q_ui(step, stop, 40);
    for (unsigned power = 1; power <= 64; power += 9) {
        char *params = range_params(start, stop, step, power, "closed_form");
        add_terms(expected, start, stop, step, power);
        job_sum(params, 0, sum);
        assert_int_equal(mpz_cmp(sum, expected), 0);
        free(params);
    }
    mpz_clears(start, stop, step, expected, sum, NULL);
}

static void one_more_term_adds_its_power_to_a_closed_form_of_10_to_the_4095_terms(void **state) {
    (void)state;
    mpz_t start, stop, step, less, more;
    mpz_inits(start, stop, step, less, more, NULL);
    mpz_set_si(start, -12345);
    mpz_set_ui(step, 1);
    mpz_ui_pow_ui(stop, 10, 4095);
    char *params = range_params(start, stop, step, 64, "closed_form");
    job_sum(params, 0, less);
    free(params);
    mpz_add_ui(stop, stop, 1);
    params = range_params(start, stop, step, 64, "closed_form");
    job_sum(params, 0, more);
    free(params);
    mpz_sub_ui(stop, stop, 1);
    mpz_pow_ui(stop, stop, 64);
    mpz_sub(more, more, less);
    assert_int_equal(mpz_cmp(more, stop), 0);
    mpz_clears(start, stop, step, less, more, NULL);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static void integers_of_any_size_sum_to_a_string(void **state) {
    (void)state;
    assert_any_chunking("{\"numbers\":[]}", "{\"sum\":\"0\",\"count\":0}");
    assert_any_chunking("{\"numbers\":[1,-2,3,\"-9007199254740993\"]}", "{\"sum\":\"-9007199254740991\",\"count\":4}");
    assert_any_chunking("{\"numbers\":[-3,2],\"power\":3}", "{\"sum\":\"-19\",\"count\":2}");
    assert_any_chunking("{\"numbers\":[\"-9223372036854775808\",\"-9223372036854775808\"],\"power\":2}",
                        "{\"sum\":\"170141183460469231731687303715884105728\",\"count\":2}");
    assert_any_chunking("{\"numbers\":[\"100000000000000000000000000000\",\"-7\",\"-99999999999999999999999999999\"]}",
                        "{\"sum\":\"-6\",\"count\":3}");
    assert_any_chunking("{\"numbers\":[\"-100000000000000000000\",\"10\"],\"power\":3}",
                        "{\"sum\":\"-999999999999999999999999999999999999999999999999999999999000\",\"count\":2}");
}

static void reals_are_rounded_once(void **state) {
    (void)state;
    assert_any_chunking("{\"numbers\":[0.1,0.2,0.3]}", "{\"sum\":0.6,\"count\":3}");
    assert_any_chunking("{\"numbers\":[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]}", "{\"sum\":1.0,\"count\":10}");
    assert_any_chunking("{\"numbers\":[1e16,1.0,-1e16]}", "{\"sum\":1.0,\"count\":3}");
    assert_any_chunking("{\"numbers\":[1e16,1,-1e16]}", "{\"sum\":1.0,\"count\":3}");
    assert_any_chunking("{\"numbers\":[1.5,-2,0.25],\"power\":2}", "{\"sum\":6.3125,\"count\":3}");
    assert_any_chunking("{\"numbers\":[2.2250738585072014e-308,-5e-324]}",
                        "{\"sum\":2.225073858507201e-308,\"count\":2}");
}

static void partial_sums_do_not_overflow_and_a_sum_that_does_is_an_infinity(void **state) {
    (void)state;
    assert_any_chunking("{\"numbers\":[1e308,1e308,-1e308]}", "{\"sum\":1e+308,\"count\":3}");
    assert_any_chunking("{\"numbers\":[1e308,1e308]}", "{\"sum\":\"Infinity\",\"count\":2}");
    assert_any_chunking("{\"numbers\":[-1e308,-1e308]}", "{\"sum\":\"-Infinity\",\"count\":2}");
    assert_any_chunking("{\"numbers\":[-1e155,0.5],\"power\":2}", "{\"sum\":\"Infinity\",\"count\":2}");
}

static void reals_among_integers_that_no_double_holds_are_exact(void **state) {
    (void)state;
    assert_any_chunking("{\"numbers\":[\"9007199254740993\",0.5]}", "{\"sum\":9007199254740994.0,\"count\":2}");
    assert_any_chunking("{\"numbers\":[\"9007199254740993\",-0.5]}", "{\"sum\":9007199254740992.0,\"count\":2}");
    assert_any_chunking("{\"numbers\":[\"100000000000000000000000000000\",0.5,\"-100000000000000000000000000000\"]}",
                        "{\"sum\":0.5,\"count\":3}");
    assert_any_chunking("{\"numbers\":[\"9223372036854775807\",1.0,\"-9223372036854775807\"],\"power\":1}",
                        "{\"sum\":1.0,\"count\":3}");
}

static void a_sum_of_negative_zeros_is_zero(void **state) {
    (void)state;
    assert_any_chunking("{\"numbers\":[-0.0,-0.0]}", "{\"sum\":0.0,\"count\":2}");
}

static void many_random_reals_have_the_same_bits_in_any_number_of_chunks(void **state) {
    (void)state;
    uint64_t random = 5;
    struct buf params = {0};
    buf_puts(&params, "{\"numbers\":[0.5");
    for (int i = 1; i < 100000; i++)
        buf_printf(&params, ",%.17g",
                   ldexp((double)(int64_t)next_random(&random), (int)(next_random(&random) % 120) - 120));
    buf_puts(&params, "]}");
    char *expected = job_run("sum", params.data, 1);
    assert_non_null(strstr(expected, "\"count\":100000}"));
    assert_any_chunking(params.data, expected);
    free(expected);
    buf_deinit(&params);
}

/* ---- run and merge by themselves --------------------------------------------------------------------------------- */

/* Plans a job. The caller frees the plan with host_plan_deinit. */
static size_t plan_job(const char *params, unsigned chunks, struct host_plan *plan) {
    job_init();
    struct buf body = {0};
    struct submission s = {0};
    struct fault fault = {0};
    buf_printf(&body, "{\"type\":\"sum\",\"params\":%s}", params);
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), 0);
    assert_int_equal(host_plan(s.type, s.params.data, s.params.size, chunks, NULL, plan, &fault), 0);
    size_t type = s.type;
    submission_deinit(&s);
    buf_deinit(&body);
    return type;
}

static struct bytes chunk_of(const struct host_plan *plan, size_t i) {
    return (struct bytes){plan->bytes.data + plan->chunks[i].offset, plan->chunks[i].size};
}

static void assert_run_fails(size_t type, struct bytes common, struct bytes chunk) {
    struct buf part = {0};
    struct fault fault = {0};
    assert_int_equal(host_run(type, 0, common, chunk, NULL, &part, &fault), -1);
    assert_non_null(strstr(fault.json.data, "handler_failed"));
    fault_deinit(&fault);
    buf_deinit(&part);
}

static void chunks_that_are_cut_short_fail_the_job(void **state) {
    (void)state;
    static const char *const jobs[] = {
        "{\"start\":0,\"stop\":9}", "{\"start\":0,\"stop\":9,\"method\":\"closed_form\"}", "{\"numbers\":[1,2,3]}",
        "{\"numbers\":[0.5,2.5]}",  "{\"numbers\":[\"99999999999999999999\",0.5]}",
    };
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        struct host_plan plan = {0};
        size_t type = plan_job(jobs[i], 1, &plan);
        struct bytes chunk = chunk_of(&plan, 0), common = {plan.common.data, plan.common.size};
        assert_run_fails(type, common, (struct bytes){chunk.data, chunk.size - 1});
        assert_run_fails(type, (struct bytes){common.data, common.size - 1}, chunk);
        assert_run_fails(type, (struct bytes){common.data, 0}, chunk);
        host_plan_deinit(&plan);
    }
}

static void parts_that_are_no_sums_fail_the_job(void **state) {
    (void)state;
    static const struct bytes parts[] = {{"", 0},
                                         {"1", 2},
                                         {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15},
                                         {"\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16},
                                         {"\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 16},
                                         {"\0\0\0\0\0\0\0\200\0\0\0\0\0\0\0", 16},
                                         {"\1\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377........", 24}};
    struct host_plan plan = {0};
    size_t type = plan_job("{\"start\":0,\"stop\":9}", 1, &plan);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct buf json = {0};
        struct fault fault = {0};
        struct bytes common = {plan.common.data, plan.common.size};
        assert_int_equal(host_merge(type, common, &parts[i], 1, NULL, &json, &fault), -1);
        assert_non_null(strstr(fault.json.data, "handler_failed"));
        fault_deinit(&fault);
        buf_deinit(&json);
    }
    host_plan_deinit(&plan);
}

static bool say_cancelled(void *arg) {
    (void)arg;
    return true;
}

static void work_that_is_cancelled_stops(void **state) {
    (void)state;
    static const char *const jobs[] = {
        "{\"start\":0,\"stop\":10000000000000}",
        "{\"start\":0,\"stop\":10000000000000,\"power\":64}",
        "{\"start\":0,\"stop\":10000000000000,\"method\":\"closed_form\"}",
        "{\"numbers\":[1,2]}",
        "{\"numbers\":[0.5,0.25]}",
        "{\"numbers\":[\"99999999999999999999\",\"0\"]}",
    };
    struct host_hooks hooks = {.cancelled = say_cancelled};
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        struct host_plan plan = {0};
        struct buf part = {0};
        struct fault fault = {0};
        size_t type = plan_job(jobs[i], 1, &plan);
        struct bytes common = {plan.common.data, plan.common.size};
        assert_int_equal(host_run(type, 0, common, chunk_of(&plan, 0), &hooks, &part, &fault), HOST_CANCELLED);
        buf_deinit(&part);
        fault_deinit(&fault);
        host_plan_deinit(&plan);
    }
}

static void the_number_of_chunks_is_as_wanted_but_no_more_than_the_terms(void **state) {
    (void)state;
    static const struct {
        const char *params;
        unsigned wanted;
        size_t chunks;
    } cases[] = {
        {"{\"start\":0,\"stop\":1000}", 7, 7},
        {"{\"start\":0,\"stop\":5}", 64, 5},
        {"{\"start\":0,\"stop\":1000}", 0, 1},
        {"{\"start\":0,\"stop\":10000000000000}", 0, HANDLER_MAX_CHUNKS},
        {"{\"start\":0,\"stop\":1000,\"method\":\"closed_form\"}", 7, 1},
        {"{\"start\":0,\"stop\":0}", 7, 1},
        {"{\"numbers\":[1,2,3]}", 2, 2},
        {"{\"numbers\":[0.5,2,3]}", 64, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct host_plan plan = {0};
        plan_job(cases[i].params, cases[i].wanted, &plan);
        assert_int_equal(plan.count, cases[i].chunks);
        host_plan_deinit(&plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_power_is_exact_by_both_methods),
        cmocka_unit_test(ranges_of_either_direction_and_up_to_64_bits_are_exact),
        cmocka_unit_test(a_sum_of_squares_beyond_64_bits_is_the_same_in_any_number_of_chunks),
        cmocka_unit_test(an_empty_range_sums_to_zero),
        cmocka_unit_test(zero_to_the_power_of_zero_is_one),
        cmocka_unit_test(a_count_beyond_53_bits_is_a_string),
        cmocka_unit_test(params_that_cannot_be_summed_are_rejected_by_name),
        cmocka_unit_test(both_methods_agree_with_gmp_on_random_ranges),
        cmocka_unit_test(closed_form_takes_bounds_of_4096_digits),
        cmocka_unit_test(one_more_term_adds_its_power_to_a_closed_form_of_10_to_the_4095_terms),
        cmocka_unit_test(integers_of_any_size_sum_to_a_string),
        cmocka_unit_test(reals_are_rounded_once),
        cmocka_unit_test(partial_sums_do_not_overflow_and_a_sum_that_does_is_an_infinity),
        cmocka_unit_test(reals_among_integers_that_no_double_holds_are_exact),
        cmocka_unit_test(a_sum_of_negative_zeros_is_zero),
        cmocka_unit_test(many_random_reals_have_the_same_bits_in_any_number_of_chunks),
        cmocka_unit_test(chunks_that_are_cut_short_fail_the_job),
        cmocka_unit_test(parts_that_are_no_sums_fail_the_job),
        cmocka_unit_test(work_that_is_cancelled_stops),
        cmocka_unit_test(the_number_of_chunks_is_as_wanted_but_no_more_than_the_terms),
    };
    return cmocka_run_group_tests_name("sum", tests, NULL, NULL);
}
