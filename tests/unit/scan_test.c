/* scan_test.c: where tokens and values end: handlers/host/scan.h. Each text is in memory of exactly its size, so that a
 * read behind its end is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handlers/host/scan.h"

/* How many bytes the value at the start of a text of `size` bytes has. -1 if there is none. */
static int value_size_in(const char *text, size_t size) {
    char *copy = malloc(size + 1);
    memcpy(copy + 1, text, size);
    const char *end = scan_whole_value(copy + 1, copy + 1 + size);
    int found = end == NULL ? -1 : (int)(end - copy - 1);
    free(copy);
    return found;
}

static int value_size(const char *text) {
    return value_size_in(text, strlen(text));
}

static void a_value_ends_where_json_says(void **state) {
    (void)state;
    assert_int_equal(value_size("12,"), 2);
    assert_int_equal(value_size("-1.5e3 ,"), 6);
    assert_int_equal(value_size("true}"), 4);
    assert_int_equal(value_size("null"), 4);
    assert_int_equal(value_size("\"a\\\"b\",\"c\""), 6);
    assert_int_equal(value_size("\"\\\\\"x"), 4);
    assert_int_equal(value_size("[]]"), 2);
    assert_int_equal(value_size("[[1,\"]\"],{\"a\":[\"}\"]}],"), 21);
    assert_int_equal(value_size("{\"a\":{\"b\":\"\\\"}\"}} "), 17);
}

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Every pair of bytes stands somewhere in a text, for texts of several sizes. */
static void a_plain_text_ends_at_the_first_byte_that_is_not_plain(void **state) {
    (void)state;
    enum { SIZE = 20 };
    for (size_t size = 2; size <= SIZE; size += 3) {
        char *text = malloc(size);
        for (unsigned pair = 0; pair < 65536; pair++) {
            size_t place = pair % (size - 1);
            unsigned char first = (unsigned char)(pair >> 8), second = (unsigned char)pair;
            memset(text, 'a', size);
            text[place] = (char)first;
            text[place + 1] = (char)second;
            size_t expected = !is_plain(first) ? place : !is_plain(second) ? place + 1 : size;
            assert_ptr_equal(scan_plain(text, text + size), text + expected);
            bool ends = expected < size && text[expected] == '"';
            assert_ptr_equal(scan_plain_text(text, text + size), ends ? text + expected : NULL);
        }
        free(text);
    }
}

static void what_has_no_end_or_no_beginning_is_no_value(void **state) {
    (void)state;
    static const char *const none[] = {"", ",", "]", "}", ":", " 1", "[", "{\"a\":1", "\"a", "\"a\\\"", "[\"]"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(value_size(none[i]), -1);
}

static void a_value_can_be_followed_in_pieces_of_any_size(void **state) {
    (void)state;
    static const char text[] = "{\"a\\\\\":[1,{\"b\\\"]\":\"}\"},\"\\u005d\"],\"c\":null}, {}";
    int whole = value_size(text);
    assert_int_equal(whole, sizeof text - 1 - 4);
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct value_scan s = {0};
        const char *at = text;
        while (!s.ended) {
            const char *room = at + piece < text + sizeof text - 1 ? at + piece : text + sizeof text - 1;
            const char *stop = scan_value(&s, at, room);
            assert_true(stop == room || s.ended);
            at = stop;
        }
        assert_int_equal(at - text, whole);
        assert_ptr_equal(scan_value(&s, at, text + sizeof text - 1), at); /* it has ended */
    }
}

static void plain_tokens_are_recognised(void **state) {
    (void)state;
    static const char *const integers[] = {"0", "-7", "123456789012345678"};
    static const char *const others[] = {"", "-", "00", "-0", "007", "1234567890123456789", "x"};
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        assert_ptr_equal(scan_plain_integer(integers[i], integers[i] + strlen(integers[i]), 18),
                         integers[i] + strlen(integers[i]));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_null(scan_plain_integer(others[i], others[i] + strlen(others[i]), 18));
    const char *text = "abc\"", *escaped = "a\\n\"", *accent = "\xc3\xa4\"", *open = "abc";
    assert_ptr_equal(scan_plain_text(text, text + 4), text + 3);
    assert_null(scan_plain_text(escaped, escaped + 4));
    assert_null(scan_plain_text(accent, accent + 3));
    assert_null(scan_plain_text(open, open + 3));
    const char *word = "true,", *almost = "truth,";
    assert_ptr_equal(scan_plain_word(word, word + 5), word + 4);
    assert_null(scan_plain_word(almost, almost + 6));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_ends_where_json_says),
        cmocka_unit_test(a_plain_text_ends_at_the_first_byte_that_is_not_plain),
        cmocka_unit_test(what_has_no_end_or_no_beginning_is_no_value),
        cmocka_unit_test(a_value_can_be_followed_in_pieces_of_any_size),
        cmocka_unit_test(plain_tokens_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
