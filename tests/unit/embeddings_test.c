/* embeddings_test.c: the job type "embeddings" and its model. hash384_vectors.h holds what another implementation
 * of docs/hash-384.md, in Python, made of the same texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>

#include "handlers/hash384.h"
#include "tests/unit/job.h"

struct vector_case {
    const char *text;
    size_t size, times, dimensions;
    bool normalize;
    uint32_t tokens;
    uint64_t digest;
};

static const struct vector_case vector_cases[] = {
#include "tests/unit/hash384_vectors.h"
};

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

/* The FNV-1a hash of the little-endian bytes of the floats. */
static uint64_t digest_of(const float *vector, size_t dimensions) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < dimensions; i++) {
        uint32_t bits;
        memcpy(&bits, &vector[i], sizeof bits);
        for (unsigned shift = 0; shift < 32; shift += 8)
            h = (h ^ (bits >> shift & 0xff)) * UINT64_C(0x100000001b3);
    }
    return h;
}

static struct hash384_extent embed(const char *text, size_t size, float *vector) {
    struct hash384_extent extent;
    struct hash384 *model = hash384_new();
    assert_non_null(model);
    assert_int_equal(hash384_read(model, text, size, &extent), 0);
    hash384_embed(model, HASH384_DIMENSIONS, true, vector);
    hash384_free(model);
    return extent;
}

static double dot(const float *a, const float *b, size_t dimensions) {
    double sum = 0;
    for (size_t i = 0; i < dimensions; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void assert_same_vector(const char *a, const char *b) {
    float va[HASH384_DIMENSIONS], vb[HASH384_DIMENSIONS];
    embed(a, strlen(a), va);
    embed(b, strlen(b), vb);
    if (memcmp(va, vb, sizeof va) != 0)
        fail_msg("\"%s\" and \"%s\" differ", a, b);
}

static char *repeat(const char *text, size_t size, size_t times) {
    char *whole = malloc(size * times + 1);
    assert_non_null(whole);
    for (size_t i = 0; i < times; i++)
        memcpy(whole + i * size, text, size);
    whole[size * times] = '\0';
    return whole;
}

/* Runs a job and parses its result. The caller frees with json_decref. */
static json_t *run(const char *params, unsigned chunks) {
    char *text = job_run("embeddings", params, chunks);
    json_t *json = json_loads(text, 0, NULL);
    if (!json || !json_object_get(json, "embeddings"))
        fail_msg("no embeddings: %.300s", text);
    free(text);
    return json;
}

static size_t read_vector(const json_t *json, size_t index, float *vector) {
    const json_t *row = json_array_get(json_object_get(json, "embeddings"), index);
    for (size_t i = 0; i < json_array_size(row); i++)
        vector[i] = (float)json_number_value(json_array_get(row, i));
    return json_array_size(row);
}

static json_int_t tokens_of(const json_t *json, const char *name) {
    return json_integer_value(json_object_get(json_object_get(json, "usage"), name));
}

static void assert_rejected(const char *params, const char *pointer) {
    char *text = job_run("embeddings", params, 0);
    json_t *json = json_loads(text, 0, NULL);
    json_t *error = json_array_get(json_object_get(json, "errors"), 0);
    const char *code = json_string_value(json_object_get(json, "code"));
    const char *found = json_string_value(json_object_get(error, "pointer"));
    if (!code || !found || strcmp(code, "invalid_params") != 0 || strcmp(found, pointer) != 0)
        fail_msg("expected invalid_params at %s, not %.300s", pointer, text);
    json_decref(json);
    free(text);
}

/* {"input": ["TEXT","TEXT",...]}, each text with its number. */
static char *numbered_params(const char *text, size_t count) {
    struct buf params = {0};
    buf_puts(&params, "{\"input\":[");
    for (size_t i = 0; i < count; i++)
        buf_printf(&params, "%s\"%s %zu\"", i > 0 ? "," : "", text, i);
    buf_puts(&params, "]}");
    return buf_steal(&params, NULL);
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static void vectors_equal_those_of_the_reference(void **state) {
    (void)state;
    struct hash384 *model = hash384_new();
    assert_non_null(model);
    for (size_t i = 0; i < sizeof vector_cases / sizeof *vector_cases; i++) {
        const struct vector_case *v = &vector_cases[i];
        float vector[HASH384_DIMENSIONS];
        struct hash384_extent extent;
        char *text = repeat(v->text, v->size, v->times);
        assert_int_equal(hash384_read(model, text, v->size * v->times, &extent), 0);
        hash384_embed(model, v->dimensions, v->normalize, vector);
        if (extent.tokens != v->tokens || digest_of(vector, v->dimensions) != v->digest)
            fail_msg("case %zu, \"%s\": %u tokens, vector %#jx", i, v->text, extent.tokens,
                     (uintmax_t)digest_of(vector, v->dimensions));
        free(text);
    }
    hash384_free(model);
}

static void case_width_and_composition_make_no_difference(void **state) {
    (void)state;
    assert_same_vector("HELLO World", "hello, wORLD!");
    assert_same_vector("Straße", "STRASSE");
    assert_same_vector("ＡＢＣ １２３", "abc 123");
    assert_same_vector("caf\u00e9", "cafe\u0301");
    assert_same_vector("q\u0307\u0323", "q\u0323\u0307");
    assert_same_vector("\ufb01ne", "fine");
    assert_same_vector("ΟΔΟΣ", "οδος");
    assert_same_vector("ｶﾞｷﾞ", "ガギ");
    assert_same_vector("\u1112\u1161\u11ab", "한");
    assert_same_vector("soft\u00adhyphen", "softhyphen");
    assert_same_vector("\u2764\ufe0f", "\u2764");
}

static void a_text_without_words_has_a_vector_of_its_own(void **state) {
    (void)state;
    static const char *const texts[] = {"!!!", "???", "...", "   ", "\u00ad", "<>", "+", "👍", "👎"};
    enum { COUNT = sizeof texts / sizeof *texts };
    static float vectors[COUNT][HASH384_DIMENSIONS];
    for (size_t i = 0; i < COUNT; i++) {
        struct hash384_extent extent = embed(texts[i], strlen(texts[i]), vectors[i]);
        assert_int_equal(extent.tokens, 1);
        assert_true(fabs(dot(vectors[i], vectors[i], HASH384_DIMENSIONS) - 1) < 1e-6);
        for (size_t j = 0; j < i; j++)
            assert_true(dot(vectors[i], vectors[j], HASH384_DIMENSIONS) < 0.5);
    }
}

/* The partners differ by edits, typos, word order or inflection. Each text must be clearly nearer to its partner than
 * to any other text. */
static void similar_texts_score_higher_than_unrelated_ones(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"How do I reset my password?", "How can I reset my password"},
        {"The server is not responding to requests", "The sever is not respnding to reqests"},
        {"Invoice 2024-113 is overdue by ten days; please pay now.",
         "Please pay now: invoice 2024-113 is overdue by ten days"},
        {"The quick brown fox jumps over the lazy dog.", "A quick brown fox jumped over the lazy dogs"},
        {"Der schnelle braune Fuchs springt über den faulen Hund.",
         "Der schnelle braune Fuchs sprang ueber den faulen Hund"},
        {"Die Lieferung verzögert sich um zwei Wochen.", "Um zwei Wochen verzögert sich die Lieferung"},
        {"Le chat dort sur le canapé du salon.", "le chat dormait sur le canape du salon"},
        {"Москва является столицей России", "Столицей России является Москва"},
        {"私は毎朝コーヒーを飲みます。", "わたしは毎朝コーヒーを飲む。"},
        {"我们明天下午三点在办公室开会。", "明天下午三点我们在办公室开会"},
        {"서울은 대한민국의 수도이다", "대한민국의 수도는 서울이다"},
        {"مرحبا بكم في موقعنا الجديد على الإنترنت", "مرحبا بك في موقعنا الجديد على الانترنت"},
    };
    enum { COUNT = 2 * sizeof texts / sizeof *texts };
    static float vectors[COUNT][HASH384_DIMENSIONS];
    for (size_t i = 0; i < COUNT; i++)
        embed(texts[i / 2][i % 2], strlen(texts[i / 2][i % 2]), vectors[i]);
    for (size_t i = 0; i < COUNT; i++) {
        double partner = dot(vectors[i], vectors[i ^ 1], HASH384_DIMENSIONS);
        for (size_t j = 0; j < COUNT; j++) {
            double other = dot(vectors[i], vectors[j], HASH384_DIMENSIONS);
            if (i / 2 != j / 2 && other + 0.2 > partner)
                fail_msg("\"%s\": %f to its partner, %f to \"%s\"", texts[i / 2][i % 2], partner, other,
                         texts[j / 2][j % 2]);
        }
    }
}

static void the_limits_of_a_text_are_exact(void **state) {
    (void)state;
    float at_limit[HASH384_DIMENSIONS], beyond[HASH384_DIMENSIONS];
    char *text = repeat("ab ", 3, HASH384_MAX_TOKENS + 1);
    assert_false(embed(text, 3 * HASH384_MAX_TOKENS, at_limit).truncated);
    struct hash384_extent extent = embed(text, 3 * HASH384_MAX_TOKENS + 3, beyond);
    assert_true(extent.truncated);
    assert_int_equal(extent.tokens, HASH384_MAX_TOKENS);
    assert_memory_equal(at_limit, beyond, sizeof beyond);
    free(text);
    text = repeat("\u00e9", 2, HASH384_MAX_BYTES / 2 + 1);
    assert_false(embed(text, HASH384_MAX_BYTES, at_limit).truncated);
    assert_true(embed(text, HASH384_MAX_BYTES + 1, beyond).truncated);
    assert_memory_equal(at_limit, beyond, sizeof beyond);
    assert_true(embed(text, HASH384_MAX_BYTES + 2, beyond).truncated);
    text[0] = '-'; /* the last character within the limit is now cut in two */
    memmove(text + 1, text + 2, HASH384_MAX_BYTES);
    assert_true(embed(text, HASH384_MAX_BYTES + 1, beyond).truncated);
    free(text);
}

/* HASH384_SURELY_SHORT depends on this. U+3316 reaches the limit. */
static void no_character_has_more_than_two_tokens_a_byte(void **state) {
    (void)state;
    struct hash384 *model = hash384_new();
    assert_non_null(model);
    for (uint32_t c = 0x80; c < 0x110000; c = c == 0xd7ff ? 0xe000 : c + 1) {
        struct hash384_extent extent;
        size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        char text[4];
        for (size_t i = size - 1; i > 0; i--)
            text[i] = (char)(0x80 | (c >> 6 * (size - 1 - i) & 0x3f));
        text[0] = (char)((0xf00 >> size & 0xff) | c >> 6 * (size - 1));
        assert_int_equal(hash384_read(model, text, size, &extent), 0);
        assert_true(extent.tokens <= 2 * size);
    }
    hash384_free(model);
}

static void what_is_not_utf8_is_rejected(void **state) {
    (void)state;
    static const char *const texts[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
    struct hash384_extent extent;
    struct hash384 *model = hash384_new();
    assert_non_null(model);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(hash384_read(model, texts[i], strlen(texts[i]), &extent), -1);
    hash384_free(model);
}

/* ---- the job ----------------------------------------------------------------------------------------------------- */

static void a_job_answers_with_unit_vectors_and_usage(void **state) {
    (void)state;
    json_t *json = run("{\"input\":[\"Document 0\",\"Document 1 again\"]}", 0);
    float vector[HASH384_DIMENSIONS], expected[HASH384_DIMENSIONS];
    assert_string_equal(json_string_value(json_object_get(json, "model")), "hash-384");
    assert_int_equal(json_integer_value(json_object_get(json, "dimensions")), 384);
    assert_int_equal(json_array_size(json_object_get(json, "embeddings")), 2);
    assert_int_equal(read_vector(json, 0, vector), 384);
    embed("Document 0", 10, expected);
    assert_memory_equal(vector, expected, sizeof vector);
    assert_true(fabs(dot(vector, vector, 384) - 1) < 1e-6);
    assert_int_equal(tokens_of(json, "prompt_tokens"), 5);
    assert_int_equal(tokens_of(json, "total_tokens"), 5);
    json_decref(json);
}

static void one_text_may_come_without_a_list(void **state) {
    (void)state;
    char *alone = job_run("embeddings", "{\"input\":\"some text\"}", 0);
    char *listed = job_run("embeddings", "{\"input\":[\"some text\"]}", 0);
    assert_non_null(strstr(alone, "\"embeddings\":[["));
    assert_string_equal(alone, listed);
    free(alone);
    free(listed);
}

static void fewer_dimensions_are_a_prefix_normalised_again(void **state) {
    (void)state;
    float whole[HASH384_DIMENSIONS], part[HASH384_DIMENSIONS];
    json_t *full = run("{\"input\":\"cut me short, please\"}", 0);
    json_t *cut = run("{\"input\":\"cut me short, please\",\"dimensions\":100}", 0);
    read_vector(full, 0, whole);
    assert_int_equal(read_vector(cut, 0, part), 100);
    assert_int_equal(json_integer_value(json_object_get(cut, "dimensions")), 100);
    double length = sqrt(dot(whole, whole, 100));
    assert_true(length < 0.99);
    for (size_t i = 0; i < 100; i++)
        assert_true(fabs((double)whole[i] / length - (double)part[i]) < 1e-6);
    json_decref(full);
    json_decref(cut);
}

static void without_normalize_the_sums_are_plain(void **state) {
    (void)state;
    float sums[HASH384_DIMENSIONS], unit[HASH384_DIMENSIONS];
    json_t *plain = run("{\"input\":\"plain sums\",\"normalize\":false}", 0);
    json_t *scaled = run("{\"input\":\"plain sums\"}", 0);
    read_vector(plain, 0, sums);
    read_vector(scaled, 0, unit);
    double length = sqrt(dot(sums, sums, 384));
    assert_true(length > 5);
    for (size_t i = 0; i < 384; i++) {
        assert_true(sums[i] == floorf(sums[i])); /* no feature occurs twice, so no root is taken */
        assert_true(fabs((double)sums[i] / length - (double)unit[i]) < 1e-6);
    }
    json_decref(plain);
    json_decref(scaled);
}

static uint32_t base64_value(char c) {
    const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = strchr(alphabet, c);
    assert_true(c != '\0' && found != NULL);
    return (uint32_t)(found - alphabet);
}

/* Decodes little-endian floats from base64. Returns how many. */
static size_t decode_floats(const char *text, float *vector) {
    size_t size = 0, padding = strcspn(text, "=");
    uint32_t bits = 0, word = 0;
    assert_int_equal(strlen(text) % 4, 0);
    for (size_t i = 0; i < padding; i++) {
        bits = bits << 6 | base64_value(text[i]);
        if (i % 4 == 0)
            continue;
        uint32_t byte = bits >> (6 - 2 * (i % 4)) & 0xff;
        word = word >> 8 | byte << 24;
        size++;
        if (size % 4 == 0)
            memcpy(&vector[size / 4 - 1], &word, sizeof word);
    }
    assert_int_equal(size % 4, 0);
    return size / 4;
}

static void base64_holds_the_same_bits_as_float(void **state) {
    (void)state;
    for (int dimensions = 382; dimensions <= 384; dimensions++) { /* each needs a different padding */
        char floats_params[100], base64_params[100];
        float floats[HASH384_DIMENSIONS], decoded[HASH384_DIMENSIONS];
        snprintf(floats_params, sizeof floats_params, "{\"input\":[\"a\",\"b c d e\"],\"dimensions\":%d}", dimensions);
        snprintf(base64_params, sizeof base64_params,
                 "{\"input\":[\"a\",\"b c d e\"],\"dimensions\":%d,\"encoding_format\":\"base64\"}", dimensions);
        json_t *plain = run(floats_params, 0), *encoded = run(base64_params, 0);
        for (size_t i = 0; i < 2; i++) {
            const char *text = json_string_value(json_array_get(json_object_get(encoded, "embeddings"), i));
            assert_int_equal(read_vector(plain, i, floats), dimensions);
            assert_int_equal(decode_floats(text, decoded), dimensions);
            assert_memory_equal(floats, decoded, (size_t)dimensions * sizeof(float));
        }
        json_decref(plain);
        json_decref(encoded);
    }
}

static void any_chunking_gives_the_same_bytes(void **state) {
    (void)state;
    static const unsigned chunks[] = {1, 2, 3, 7, 64, 299, 300, 301, 4096};
    char *params = numbered_params("Document", 300);
    char *expected = job_run("embeddings", params, 0);
    assert_non_null(strstr(expected, "\"total_tokens\":600"));
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        char *json = job_run("embeddings", params, chunks[i]);
        assert_string_equal(json, expected);
        free(json);
    }
    free(expected);
    free(params);
}

static void plan_of(const char *params, unsigned chunks, struct host_plan *plan) {
    struct submission s = {0};
    struct fault fault = {0};
    struct buf body = {0};
    job_init();
    buf_printf(&body, "{\"type\":\"embeddings\",\"params\":%s}", params);
    assert_int_equal(submission_parse(body.data, body.size, 64, 0, &s, &fault), 0);
    assert_int_equal(host_plan(s.type, s.params.data, s.params.size, chunks, NULL, plan, &fault), 0);
    submission_deinit(&s);
    buf_deinit(&body);
}

static void as_many_chunks_as_wanted_whatever_the_texts_sizes(void **state) {
    (void)state;
    char *large = repeat("large ", 6, 2000);
    struct buf first = {0}, last = {0};
    buf_printf(&first, "{\"input\":[\"%s\",\"b\",\"c\",\"d\"]}", large);
    buf_printf(&last, "{\"input\":[\"a\",\"b\",\"c\",\"%s\"]}", large);
    for (unsigned chunks = 1; chunks <= 4; chunks++) {
        struct host_plan plan = {0};
        plan_of(first.data, chunks, &plan);
        assert_int_equal(plan.count, chunks);
        host_plan_deinit(&plan);
        plan_of(last.data, chunks, &plan);
        assert_int_equal(plan.count, chunks);
        host_plan_deinit(&plan);
    }
    buf_deinit(&first);
    buf_deinit(&last);
    free(large);
}

static void much_work_is_split_and_little_is_not(void **state) {
    (void)state;
    struct host_plan plan = {0};
    char *little = numbered_params("Document", 100), *text = repeat("some words ", 11, 100);
    char *much = numbered_params(text, 20000);
    plan_of(little, 0, &plan);
    assert_int_equal(plan.count, 1);
    host_plan_deinit(&plan);
    plan_of(much, 0, &plan);
    assert_true(plan.count > 1);
    for (size_t i = 0; i < plan.count; i++)
        assert_in_range(plan.chunks[i].cost_ns, 1, 2 * HANDLER_CHUNK_NS);
    host_plan_deinit(&plan);
    free(little);
    free(much);
    free(text);
}

static void what_cannot_be_embedded_is_rejected_by_its_index(void **state) {
    (void)state;
    assert_rejected("{\"input\":\"\"}", "/params/input");
    assert_rejected("{\"input\":[]}", "/params/input");
    assert_rejected("{\"input\":[\"a\",\"b\",\"c\",\"\"]}", "/params/input/3");
    assert_rejected("{\"input\":[\"a\",7]}", "/params/input/1");
    assert_rejected("{\"input\":\"a\",\"dimensions\":0}", "/params/dimensions");
    assert_rejected("{\"input\":\"a\",\"dimensions\":385}", "/params/dimensions");
    assert_rejected("{\"input\":\"a\",\"model\":\"hash-385\"}", "/params/model");
    assert_rejected("{\"input\":\"a\",\"encoding_format\":\"hex\"}", "/params/encoding_format");
    assert_rejected("{}", "/params");
}

static void more_than_100000_texts_are_rejected(void **state) {
    (void)state;
    char *params = numbered_params("t", 100001);
    assert_rejected(params, "/params/input");
    free(params);
}

static void a_long_text_is_rejected_or_truncated(void **state) {
    (void)state;
    char *text = repeat("word ", 5, HASH384_MAX_TOKENS + 1);
    struct buf rejected = {0}, truncated = {0};
    float vector[HASH384_DIMENSIONS], expected[HASH384_DIMENSIONS];
    buf_printf(&rejected, "{\"input\":[\"short\",\"%s\"]}", text);
    buf_printf(&truncated, "{\"input\":[\"short\",\"%s\"],\"truncate\":true}", text);
    assert_rejected(rejected.data, "/params/input/1");
    json_t *json = run(truncated.data, 0);
    assert_int_equal(tokens_of(json, "prompt_tokens"), 1 + HASH384_MAX_TOKENS);
    read_vector(json, 1, vector);
    embed(text, 5 * HASH384_MAX_TOKENS, expected);
    assert_memory_equal(vector, expected, sizeof vector);
    json_decref(json);
    buf_deinit(&rejected);
    buf_deinit(&truncated);
    free(text);
}

static bool yes(void *arg) {
    (void)arg;
    return true;
}

static void a_cancelled_chunk_stops(void **state) {
    (void)state;
    struct host_plan plan = {0};
    struct host_hooks hooks = {.cancelled = yes};
    struct fault fault = {0};
    struct buf part = {0};
    plan_of("{\"input\":[\"a\",\"b\"]}", 1, &plan);
    struct bytes common = {plan.common.data, plan.common.size}, chunk = {plan.bytes.data, plan.bytes.size};
    assert_int_equal(host_run((size_t)host_find("embeddings"), 0, common, chunk, &hooks, &part, &fault),
                     HOST_CANCELLED);
    buf_deinit(&part);
    fault_deinit(&fault);
    host_plan_deinit(&plan);
}

/* A chunk and the common bytes are cut at every byte, within texts and between them. The result is a fault or a shorter
 * part, and never a crash. */
static void damaged_chunks_fail_without_harm(void **state) {
    (void)state;
    struct host_plan plan = {0};
    plan_of("{\"input\":[\"abc\",\"defgh\"]}", 1, &plan);
    size_t type = (size_t)host_find("embeddings"), faults = 0;
    for (size_t size = 0; size <= plan.bytes.size; size++) {
        struct fault fault = {0};
        struct buf part = {0};
        struct bytes common = {plan.common.data, plan.common.size}, chunk = {plan.bytes.data, size};
        faults += host_run(type, 0, common, chunk, NULL, &part, &fault) != 0;
        common.size = size < common.size ? size : common.size - 1;
        assert_int_equal(host_run(type, 0, common, chunk, NULL, &part, &fault), -1);
        buf_deinit(&part);
        fault_deinit(&fault);
    }
    assert_int_equal(faults, plan.bytes.size + 1 - 3); /* three cuts leave whole texts: none, one, both */
    host_plan_deinit(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_equal_those_of_the_reference),
        cmocka_unit_test(case_width_and_composition_make_no_difference),
        cmocka_unit_test(a_text_without_words_has_a_vector_of_its_own),
        cmocka_unit_test(similar_texts_score_higher_than_unrelated_ones),
        cmocka_unit_test(the_limits_of_a_text_are_exact),
        cmocka_unit_test(no_character_has_more_than_two_tokens_a_byte),
        cmocka_unit_test(what_is_not_utf8_is_rejected),
        cmocka_unit_test(a_job_answers_with_unit_vectors_and_usage),
        cmocka_unit_test(one_text_may_come_without_a_list),
        cmocka_unit_test(fewer_dimensions_are_a_prefix_normalised_again),
        cmocka_unit_test(without_normalize_the_sums_are_plain),
        cmocka_unit_test(base64_holds_the_same_bits_as_float),
        cmocka_unit_test(any_chunking_gives_the_same_bytes),
        cmocka_unit_test(as_many_chunks_as_wanted_whatever_the_texts_sizes),
        cmocka_unit_test(much_work_is_split_and_little_is_not),
        cmocka_unit_test(what_cannot_be_embedded_is_rejected_by_its_index),
        cmocka_unit_test(more_than_100000_texts_are_rejected),
        cmocka_unit_test(a_long_text_is_rejected_or_truncated),
        cmocka_unit_test(a_cancelled_chunk_stops),
        cmocka_unit_test(damaged_chunks_fail_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
