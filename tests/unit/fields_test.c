/* fields_test.c: what header fields have in common: base/field.c; and those that http reads: entity tags and
 * Accept-Encoding, server/http/etag.c and coding.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/field.h"
#include "server/http/etag.h"
#include "server/http/coding.h"

static struct field_part part_of(const char *text) {
    return (struct field_part){text, strlen(text)};
}

static void a_list_has_members_between_commas(void **state) {
    (void)state;
    static const char *const expected[] = {"a", "b c", "\"d, e\\\", f\"", "g=\"h;i,j\";k", "\"open, and so on"};
    struct field_part rest = part_of(", a ,\tb c,,\"d, e\\\", f\", g=\"h;i,j\";k ,\"open, and so on"), part;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(field_next(&rest, ',', &part));
        assert_int_equal(part.size, strlen(expected[i]));
        assert_memory_equal(part.at, expected[i], part.size);
    }
    assert_false(field_next(&rest, ',', &part));
    rest = part_of("");
    assert_false(field_next(&rest, ',', &part));
    rest = part_of("\"\\");
    assert_true(field_next(&rest, ',', &part));
}

static void a_weight_has_three_digits_at_most(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int weight;
    } rows[] = {{"", 1000},        {"q=1", 1000},       {"q=0", 0},    {"q=0.5", 500},  {"Q=0.125", 125},
                {"q=1.000", 1000}, {"x=1; q=0.7", 700}, {"q=0.", 0},   {"q=1.001", -1}, {"q=2", -1},
                {"q=0.1234", -1},  {"q=", -1},          {"q", -1},     {"q=-1", -1},    {"q=.5", -1},
                {"q=1e1", -1},     {"q=0x1", -1},       {"q=0,5", -1}, {"qq=0", 1000},  {"x=\";q=0\"", 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (field_read_weight(part_of(rows[i].text)) != rows[i].weight)
            fail_msg("%s has the weight %d", rows[i].text, field_read_weight(part_of(rows[i].text)));
}

static void a_number_that_is_too_large_counts_as_the_most(void **state) {
    (void)state;
    uint64_t n;
    struct field_part p = part_of("18446744073709551615");
    assert_true(field_read_number(&p, UINT64_MAX, &n) && n == UINT64_MAX);
    p = part_of("18446744073709551616");
    assert_true(field_read_number(&p, UINT64_MAX, &n) && n == UINT64_MAX);
    p = part_of("000000000000000000000000000000000000007");
    assert_true(field_read_number(&p, 300, &n) && n == 7);
    p = part_of("301");
    assert_true(field_read_number(&p, 300, &n) && n == 300);
    p = part_of("9");
    assert_true(field_read_number(&p, 5, &n) && n == 5);
    static const char *const none[] = {"", "-1", "+1", "1.0", " 1", "0x1", "1a"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        p = part_of(none[i]);
        assert_false(field_read_number(&p, 300, &n));
    }
}

/* ---- entity tags ------------------------------------------------------------------------------------------------- */

static bool names(const char *etag, bool weakly, const char *line) {
    struct etag_search s = {.etag = etag, .weakly = weakly};
    etag_search_line(&s, line);
    assert_true(s.present);
    return s.found;
}

static void a_tag_is_compared_whole(void **state) {
    (void)state;
    static const char *const yes[] = {
        "\"3-0\"",         "*", " * ", "\"a\", \"3-0\"", "\"3-0\",\"a\"", ",, \"3-0\" ,", "\"x,y\",\t\"3-0\"",
        "\"a\\\", \"3-0\""};
    static const char *const no[] = {"",          "3-0",          "\"3-0",         "3-0\"",    "\"13-0\"",
                                     "\"3-01\"",  "\"a3-0a\"",    "\"x \"3-0\"\"", "\"3-0\"x", "'3-0'",
                                     "w/\"3-0\"", "W/ \"3-0\"",   "\"a\" \"3-0\"", "\"*\"",    "*, \"a\"",
                                     "\"\"",      "\"a, \"3-0\"", "x, \"3-0\"",    "\"3-0 \"", "\" 3-0\""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (!names("\"3-0\"", true, yes[i]) || !names("\"3-0\"", false, yes[i]))
            fail_msg("not found in %s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (names("\"3-0\"", true, no[i]) || names("\"3-0\"", false, no[i]))
            fail_msg("found in %s", no[i]);
}

static void a_weak_tag_matches_only_weakly(void **state) {
    (void)state;
    assert_true(names("\"a\"", true, "W/\"a\""));
    assert_false(names("\"a\"", false, "W/\"a\""));
    assert_true(names("W/\"a\"", true, "\"a\""));
    assert_false(names("W/\"a\"", false, "\"a\""));
    assert_false(names("W/\"a\"", false, "W/\"a\""));
    assert_true(names("\"a\"", false, "W/\"a\", \"a\""));
}

static void the_end_of_a_tag_can_be_without_significance(void **state) {
    (void)state;
    struct etag_search s = {.etag = "\"12-500\"", .significant = 4};
    etag_search_line(&s, "\"1-500\", \"2-500\", \"123-1\", W/\"12-500\", \"12\", \"12-");
    assert_false(s.found);
    etag_search_line(&s, "\"12-7\"");
    assert_true(s.found);
}

static void if_range_has_one_strong_tag(void **state) {
    (void)state;
    static const char *const no[] = {
        "*", "W/\"a\"", "\"a\", \"a\"", "\"b\"", "a", "\"a\" x", "Thu, 26 Nov 2026 00:00:00 GMT", ""};
    struct etag_search s = {.etag = "\"a\""};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        etag_search_single(&s, no[i]);
        assert_false(s.found);
    }
    etag_search_single(&s, " \"a\"\t");
    assert_true(s.found);
}

/* ---- Accept-Encoding --------------------------------------------------------------------------------------------- */

static enum http_coding coding_of(const char *first, const char *second) {
    struct http_coding_wish w = HTTP_CODING_NO_WISH;
    http_coding_read(&w, first);
    http_coding_read(&w, second);
    return http_coding_choose(&w);
}

static bool gzip_is_accepted(const char *first, const char *second) {
    return coding_of(first, second) == HTTP_GZIP;
}

static void the_coding_with_the_greater_weight_is_chosen(void **state) {
    (void)state;
    static const char *const zstd[] = {"zstd",
                                       "gzip, zstd",
                                       "gzip, deflate, br, zstd",
                                       "gzip;q=0.5, zstd;q=0.6",
                                       "*;q=0.5, zstd",
                                       "gzip;q=0, ZSTD;q=0.001"};
    static const char *const gzip[] = {"gzip, zstd;q=0.9", "zstd;q=0, gzip", "zstd;q=0.1, *", "zstd;q=0, *"};
    for (size_t i = 0; i < sizeof zstd / sizeof zstd[0]; i++)
        if (coding_of(zstd[i], "") != HTTP_ZSTD)
            fail_msg("%s: not zstd", zstd[i]);
    for (size_t i = 0; i < sizeof gzip / sizeof gzip[0]; i++)
        if (coding_of(gzip[i], "") != HTTP_GZIP)
            fail_msg("%s: not gzip", gzip[i]);
    assert_int_equal(coding_of("zstd;q=0.5, identity", ""), HTTP_IDENTITY);
    assert_int_equal(coding_of("zstd;q=0", "gzip;q=0"), HTTP_IDENTITY);
}

static void gzip_is_accepted_by_its_whole_name(void **state) {
    (void)state;
    static const char *const yes[] = {"gzip",
                                      "GZIP",
                                      "x-gzip",
                                      "br, gzip;q=0.001",
                                      "*",
                                      "deflate, *;q=0.5",
                                      "gzip;q=1, *;q=0",
                                      "identity;q=0.5, gzip",
                                      "gzip ; x=1 ; q=1",
                                      "gzip;q=0.5,identity;q=0.5"};
    static const char *const no[] = {"",
                                     "xgzip",
                                     "gzipx",
                                     "not-gzip",
                                     "gzip;q=0",
                                     "gzip;q=0.000",
                                     "*;q=0",
                                     "*, gzip;q=0",
                                     "identity",
                                     "gzip;q=0.5, identity",
                                     "br;x=\"gzip\"",
                                     "gzip;q=",
                                     "gzip;q=2",
                                     "br;gzip"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (!gzip_is_accepted(yes[i], ""))
            fail_msg("%s does not accept gzip", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (gzip_is_accepted(no[i], ""))
            fail_msg("%s accepts gzip", no[i]);
    assert_true(gzip_is_accepted("br", "gzip"));
    assert_false(gzip_is_accepted("*", "gzip;q=0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_members_between_commas),
        cmocka_unit_test(a_weight_has_three_digits_at_most),
        cmocka_unit_test(a_number_that_is_too_large_counts_as_the_most),
        cmocka_unit_test(a_tag_is_compared_whole),
        cmocka_unit_test(a_weak_tag_matches_only_weakly),
        cmocka_unit_test(the_end_of_a_tag_can_be_without_significance),
        cmocka_unit_test(if_range_has_one_strong_tag),
        cmocka_unit_test(gzip_is_accepted_by_its_whole_name),
        cmocka_unit_test(the_coding_with_the_greater_weight_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
