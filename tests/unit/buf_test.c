/* buf_test.c: the growable buffer and its JSON strings, base/buf.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"

static void an_unused_buffer_is_empty_and_can_be_released(void **state) {
    (void)state;
    struct buf b = {0};
    size_t size = 1;
    buf_clear(&b);
    assert_null(buf_steal(&b, &size));
    assert_int_equal(size, 0);
    buf_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buf_deinit(&b);
    buf_deinit(&b);
    assert_int_equal(b.size, 0);
}

static void all_that_is_appended_is_there_and_ends_with_nul(void **state) {
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, "abc", 3);
        buf_putc(&b, '\0');
        assert_int_equal(b.data[b.size], '\0');
    }
    assert_int_equal(b.size, 40000);
    for (int i = 0; i < 10000; i++)
        assert_memory_equal(b.data + 4 * i, "abc", 4);
    buf_clear(&b);
    assert_int_equal(b.size, 0);
    assert_string_equal(b.data, "");
    buf_deinit(&b);
}

static void printf_takes_text_of_any_length(void **state) {
    (void)state;
    char text[400];
    for (int n = 100; n < 400; n++) {
        struct buf b = {0};
        memset(text, 'x', (size_t)n);
        text[n] = '\0';
        buf_printf(&b, "<%s>", text);
        assert_int_equal(b.size, n + 2);
        assert_int_equal(strlen(b.data), n + 2);
        assert_int_equal(b.data[n + 1], '>');
        buf_deinit(&b);
    }
}

static void whole_numbers_are_written_in_full(void **state) {
    (void)state;
    struct buf b = {0};
    buf_u64(&b, 0);
    buf_putc(&b, ' ');
    buf_u64(&b, 1234567890);
    buf_putc(&b, ' ');
    buf_u64(&b, UINT64_MAX);
    assert_string_equal(b.data, "0 1234567890 18446744073709551615");
    buf_deinit(&b);
}

static void too_much_fails_and_keeps_what_there_was(void **state) {
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "kept");
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    buf_puts(&b, "ignored");
    buf_printf(&b, "%d", 1);
    buf_json_string(&b, "x", 1);
    assert_string_equal(b.data, "kept");
    buf_clear(&b);
    assert_false(b.failed);
    buf_puts(&b, "again");
    assert_string_equal(b.data, "again");
    buf_deinit(&b);
}

static void stolen_bytes_belong_to_the_thief(void **state) {
    (void)state;
    struct buf b = {0};
    size_t size;
    buf_puts(&b, "loot");
    char *loot = buf_steal(&b, &size);
    buf_puts(&b, "new");
    assert_string_equal(loot, "loot");
    assert_int_equal(size, 4);
    assert_string_equal(b.data, "new");
    free(loot);
    buf_deinit(&b);
}

/* ---- JSON strings ------------------------------------------------------------------------------------------------ */

static void assert_json(const char *text, size_t size, const char *expected) {
    struct buf b = {0};
    buf_json_string(&b, text, size);
    assert_string_equal(b.data, expected);
    buf_deinit(&b);
}

static void what_json_reserves_is_escaped(void **state) {
    (void)state;
    assert_json("", 0, "\"\"");
    assert_json("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    assert_json("\n\t\r\x01\x1f\x7f", 6, "\"\\n\\u0009\\u000d\\u0001\\u001f\x7f\"");
    assert_json("\0x\0", 3, "\"\\u0000x\\u0000\"");
    assert_json("h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10, "\"h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
}

static void bytes_that_are_not_utf_8_are_replaced(void **state) {
    (void)state;
#define REPLACED "\xEF\xBF\xBD"
    assert_json("\x80", 1, "\"" REPLACED "\"");
    assert_json("a\xFFz", 3, "\"a" REPLACED "z\"");
    assert_json("\xC0\xAF", 2, "\"" REPLACED REPLACED "\"");              /* overlong */
    assert_json("\xE0\x80\x80", 3, "\"" REPLACED REPLACED REPLACED "\""); /* overlong */
    assert_json("\xED\xA0\x80", 3, "\"" REPLACED REPLACED REPLACED "\""); /* a surrogate */
    assert_json("\xF4\x90\x80\x80", 4, "\"" REPLACED REPLACED REPLACED REPLACED "\"");
    assert_json("\xE2\x82", 2, "\"" REPLACED REPLACED "\""); /* cut */
    assert_json("\xC3", 1, "\"" REPLACED "\"");
}

static void any_bytes_make_a_json_string(void **state) {
    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        struct buf b = {0};
        size_t size = (size_t)random() % sizeof text;
        for (size_t i = 0; i < size; i++)
            text[i] = (char)random();
        buf_json_string(&b, text, size);
        json_t *string = json_loadb(b.data, b.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_true(json_is_string(string));
        json_decref(string);
        buf_deinit(&b);
    }
}

static void what_is_no_control_character_can_be_printed(void **state) {
    static const char *const good[] = {"", "a", " ~", "\xC2\xA0", "\xC3\xB6\xE4\xB8\xAD\xF0\x9F\x98\x80"};
    static const char *const bad[] = {"a\n",  "\x1F", "\x7F",     "\xC2\x80",    "x\xC2\x9F",
                                      "\xC2", "\x80", "\xC0\x80", "\xED\xA0\x80"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(utf8_is_printable(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(utf8_is_printable(bad[i], strlen(bad[i])));
    assert_false(utf8_is_printable("a\0b", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_control_character_can_be_printed),
        cmocka_unit_test(an_unused_buffer_is_empty_and_can_be_released),
        cmocka_unit_test(all_that_is_appended_is_there_and_ends_with_nul),
        cmocka_unit_test(printf_takes_text_of_any_length),
        cmocka_unit_test(whole_numbers_are_written_in_full),
        cmocka_unit_test(too_much_fails_and_keeps_what_there_was),
        cmocka_unit_test(stolen_bytes_belong_to_the_thief),
        cmocka_unit_test(what_json_reserves_is_escaped),
        cmocka_unit_test(bytes_that_are_not_utf_8_are_replaced),
        cmocka_unit_test(any_bytes_make_a_json_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
