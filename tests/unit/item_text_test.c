/* item_text_test.c: the items of map jobs as text for streams: server/api/item_text.c. They come from parts and from
 * results, are read in steps of every size, and are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/host/host.h"
#include "server/api/item_text.h"
#include "tests/unit/item_part.h"

struct lines {
    struct item_reader reader; /* the first member */
    unsigned succeeded, failed;
};

static void begin(struct item_reader *r, uint32_t index, bool ok) {
    struct lines *l = (struct lines *)r;
    l->succeeded += ok;
    l->failed += !ok;
    snprintf(r->head, sizeof r->head, "{\"index\":%u,", index);
}

static struct slice slice_of(const char *bytes, size_t size) {
    return slice_all(blob_copy(bytes, size));
}

static int64_t count_items(const struct slice *part, uint32_t items) {
    const unsigned char *bytes = part->size == 0 ? NULL : slice_map(part);
    int64_t count = host_count_items((struct bytes){bytes, part->size}, items);
    if (bytes != NULL)
        slice_unmap(part, bytes);
    return count;
}

static enum items_state put_result(struct item_reader *r, const struct slice *from, struct span *out) {
    const struct record record = {.result = *from};
    return items_put_result(r, &record, out);
}

typedef enum items_state put(struct item_reader *r, const struct slice *from, struct span *out);

/* All that is put, in steps of that size. NULL if the input is bad. */
static char *read_all(struct lines *l, put *next, const struct slice *from, size_t piece) {
    struct buf all = {0};
    enum items_state state = ITEMS_MORE;
    *l = (struct lines){.reader = {.begin = begin, .tail = "\n"}};
    while (state == ITEMS_MORE) {
        char *room = malloc(piece); /* so that a write beyond it is seen */
        struct span out = {room, room + piece};
        state = next(&l->reader, from, &out);
        assert_true(out.at <= out.end && (state != ITEMS_MORE || out.at == out.end));
        buf_append(&all, room, (size_t)(out.at - room));
        free(room);
    }
    buf_putc(&all, '\0');
    if (state == ITEMS_ALL)
        return buf_steal(&all, NULL);
    buf_deinit(&all);
    return NULL;
}

static void assert_lines(put *next, const struct slice *from, const char *expected, unsigned succeeded,
                         unsigned failed) {
    for (size_t piece = 1; piece < strlen(expected) + 3; piece++) {
        struct lines l;
        char *text = read_all(&l, next, from, piece);
        assert_non_null(text);
        assert_string_equal(text, expected);
        assert_int_equal(l.succeeded, succeeded);
        assert_int_equal(l.failed, failed);
        free(text);
    }
}

#define A             "{\"status\":\"succeeded\",\"result\":{\"a\":\"}]\\\"\\\\\"}}"
#define B             "{\"status\":\"failed\",\"error\":{\"errors\":[{},[]]}}"
#define A_LINE(index) "{\"index\":" index ",\"status\":\"succeeded\",\"result\":{\"a\":\"}]\\\"\\\\\"}}\n"
#define B_LINE(index) "{\"index\":" index ",\"status\":\"failed\",\"error\":{\"errors\":[{},[]]}}\n"

static void a_part_gives_a_line_for_each_entry(void **state) {
    (void)state;
    struct buf part = {0};
    part_add_item(&part, 7, true, A);
    part_add_item(&part, 0, false, B);
    part_add_item(&part, 4000000000, true, A);
    struct slice s = slice_of(part.data, part.size);
    assert_int_equal(count_items(&s, UINT32_MAX), 3);
    assert_int_equal(count_items(&s, 4000000000), -1);
    assert_lines(items_put_part, &s, A_LINE("7") B_LINE("0") A_LINE("4000000000"), 2, 1);
    slice_deinit(&s);
    buf_deinit(&part);
}

static void line_breaks_between_tokens_become_spaces(void **state) {
    (void)state;
    struct buf part = {0};
    part_add_item(&part, 0, true, "{\n\"a\":\r\n[1,\n2]\r,\"a long name\":\"a text that has none\",\n\"b\":0\r\n\r\n}");
    part_add_item(&part, 1, true, "{\r}");
    struct slice s = slice_of(part.data, part.size);
    assert_lines(items_put_part, &s,
                 "{\"index\":0, \"a\":  [1, 2] ,\"a long name\":\"a text that has none\", \"b\":0    }\n"
                 "{\"index\":1, }\n",
                 2, 0);
    slice_deinit(&s);
    buf_deinit(&part);
}

static void an_empty_part_has_no_items(void **state) {
    (void)state;
    struct slice s = slice_of("", 0);
    assert_int_equal(count_items(&s, 1), 0);
    assert_lines(items_put_part, &s, "", 0, 0);
    slice_deinit(&s);
}

static void a_part_is_read_on_from_any_item(void **state) {
    (void)state;
    struct buf part = {0};
    for (uint32_t i = 0; i < 5; i++)
        part_add_item(&part, i, true, "{\"status\":\"succeeded\",\"result\":1}");
    struct slice s = slice_of(part.data, part.size);
    for (unsigned skip = 0; skip <= 6; skip++) {
        char text[1024];
        struct span out = {text, text + sizeof text};
        struct lines l = {.reader = {.begin = begin, .tail = "\n"}};
        items_skip(&l.reader, &s, skip);
        assert_int_equal(items_put_part(&l.reader, &s, &out), ITEMS_ALL);
        assert_int_equal(l.succeeded, skip > 5 ? 0 : 5 - skip);
    }
    slice_deinit(&s);
    buf_deinit(&part);
}

static void assert_count(const char *bytes, size_t size, uint32_t items, int64_t expected) {
    struct slice s = slice_of(bytes, size);
    assert_int_equal(count_items(&s, items), expected);
    slice_deinit(&s);
}

static void a_part_that_is_cut_anywhere_is_rejected(void **state) {
    (void)state;
    struct buf part = {0};
    part_add_item(&part, 0, true, A);
    part_add_item(&part, 1, true, A);
    for (size_t size = 0; size < part.size; size++)
        assert_count(part.data, size, 2, size == 0 ? 0 : -1);
    assert_count(part.data, part.size, 2, 2);
    buf_putc(&part, '}');
    assert_count(part.data, part.size, 2, -1);
    buf_deinit(&part);
}

static void wrong_counts_are_rejected(void **state) {
    (void)state;
    static const struct part_head heads[] = {
        {0, 0}, {1, 0}, {3, 0}, {0x20000000, 0}, {4, 0}, {UINT32_MAX, 0}, {UINT32_MAX / 8, 0}, {2, 1}};
    struct buf part = {0};
    part_add_item(&part, 0, true, A);
    part_add_item(&part, 1, true, A);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        memcpy(part.data, &heads[i], sizeof heads[i]);
        assert_count(part.data, part.size, 2, -1);
    }
    buf_deinit(&part);
}

static void wrong_sizes_and_entries_that_are_no_objects_are_rejected(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 17, 1 << 20, PART_MAX_JSON - 6, PART_MAX_JSON};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct buf part = {0};
        struct part_entry row;
        part_add_item(&part, 0, true, "{      }........");
        memcpy(&row, part.data + sizeof(struct part_head), sizeof row);
        row.size = sizes[i] & PART_MAX_JSON;
        memcpy(part.data + sizeof(struct part_head), &row, sizeof row);
        assert_count(part.data, part.size, 1, -1);
        buf_deinit(&part);
    }
    struct buf part = {0};
    part_add_item(&part, 0, true, "[{}]");
    assert_count(part.data, part.size, 1, -1);
    buf_deinit(&part);
}

static void items_without_a_comma_between_them_are_rejected(void **state) {
    (void)state;
    struct buf part = {0};
    part_add_item(&part, 0, true, "{ }");
    part_add_item(&part, 1, true, "{ }");
    assert_count(part.data, part.size, 2, 2);
    part.data[part.size - 4] = ' ';
    assert_count(part.data, part.size, 2, -1);
    buf_deinit(&part);
}

static void a_result_gives_the_same_lines(void **state) {
    (void)state;
    static const char json[] = "{\"items\":[" A "," B "," A "]}";
    struct slice s = slice_of(json, sizeof json - 1);
    assert_lines(put_result, &s, A_LINE("0") B_LINE("1") A_LINE("2"), 2, 1);
    slice_deinit(&s);
    s = slice_of("{\"items\":[]}", 12);
    assert_lines(put_result, &s, "", 0, 0);
    slice_deinit(&s);
}

static void a_malformed_result_is_bad(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "{}",
                                        "{\"items\":{}}",
                                        "{\"items\":[1]}",
                                        "{\"items\":[{}",
                                        "{\"items\":[{",
                                        "{\"items\":[{\"",
                                        "{\"items\":[{\"\\",
                                        "{\"items\":[{},",
                                        "{\"items\":["};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct slice s = slice_of(wrong[i], strlen(wrong[i]));
        struct lines l;
        for (size_t piece = 1; piece < 40; piece++)
            assert_null(read_all(&l, put_result, &s, piece));
        slice_deinit(&s);
    }
}

static void a_line_break_between_tokens_does_not_end_the_line(void **state) {
    (void)state;
    static const char json[] = "{\"status\":\"succeeded\",\r\n\"result\":1}";
    struct buf part = {0}, whole = {0};
    part_add_item(&part, 3, true, json);
    struct slice s = slice_of(part.data, part.size);
    assert_lines(items_put_part, &s, "{\"index\":3,\"status\":\"succeeded\",  \"result\":1}\n", 1, 0);
    slice_deinit(&s);
    buf_printf(&whole, "data: \n%s", json);
    json_flatten(&whole, 7);
    assert_string_equal(whole.data, "data: \n{\"status\":\"succeeded\",  \"result\":1}");
    buf_deinit(&part);
    buf_deinit(&whole);
}

/* ---- maps by columns --------------------------------------------------------------------------------------------- */

#define GOOD_LINE(index, value) "{\"index\":" index ",\"status\":\"succeeded\",\"result\":" value "}\n"
#define FAILED_LINE(index)      "{\"index\":" index ",\"status\":\"failed\",\"error\":{\"code\":\"x\"}}\n"

static void a_part_of_columns_gives_the_lines_of_items(void **state) {
    (void)state;
    static const char *const values[] = {"1", NULL, " null", "[{\"a\":\n\"]}\\\"\"}]", NULL, "\"x\""};
    struct buf part = {0};
    part_of_columns(&part, 99, values, 6);
    struct slice s = slice_of(part.data, part.size);
    assert_int_equal(count_items(&s, 105), 6);
    assert_int_equal(count_items(&s, 104), -1);
    assert_lines(items_put_part, &s,
                 GOOD_LINE("99", "1") FAILED_LINE("100") GOOD_LINE("101", "null")
                     GOOD_LINE("102", "[{\"a\": \"]}\\\"\"}]") FAILED_LINE("103") GOOD_LINE("104", "\"x\""),
                 4, 2);
    slice_deinit(&s);
    for (size_t size = 1; size < part.size; size++)
        assert_count(part.data, size, 1000, -1);
    buf_putc(&part, ' ');
    assert_count(part.data, part.size, 1000, -1);
    buf_deinit(&part);
}

static void a_part_of_columns_is_read_on_from_any_item(void **state) {
    (void)state;
    static const char *const values[] = {NULL, "1", NULL, "2", NULL};
    struct buf part = {0};
    part_of_columns(&part, 0, values, 5);
    struct slice s = slice_of(part.data, part.size);
    for (unsigned skip = 0; skip <= 6; skip++) {
        char text[1024];
        struct span out = {text, text + sizeof text};
        struct lines l = {.reader = {.begin = begin, .tail = "\n"}};
        items_skip(&l.reader, &s, skip);
        assert_int_equal(items_put_part(&l.reader, &s, &out), ITEMS_ALL);
        assert_int_equal(l.succeeded, skip < 2 ? 2 : skip < 4 ? 1 : 0);
        assert_int_equal(l.failed, skip < 1 ? 3 : skip < 3 ? 2 : skip < 5 ? 1 : 0);
    }
    slice_deinit(&s);
    buf_deinit(&part);
}

static void wrong_parts_of_columns_are_rejected(void **state) {
    (void)state;
    static const char *const values[] = {"12", NULL};
    struct buf part = {0};
    part_of_columns(&part, 7, values, 2);
    struct columns_head head, good;
    memcpy(&good, part.data, sizeof good);
    const struct columns_head heads[] = {
        {{2, PART_OF_ITEMS}, 7, 0, good.text},
        {{2, 2}, 7, 0, good.text},
        {{1, PART_OF_COLUMNS}, 7, 0, good.text},
        {{3, PART_OF_COLUMNS}, 7, 0, good.text},
        {{0, PART_OF_COLUMNS}, 7, 0, good.text},
        {{UINT32_MAX, PART_OF_COLUMNS}, 7, 0, good.text},
        {{2, PART_OF_COLUMNS}, 6, 0, good.text},
        {{2, PART_OF_COLUMNS}, UINT32_MAX, 0, good.text},
        {{2, PART_OF_COLUMNS}, 7, 1, good.text},
        {{2, PART_OF_COLUMNS}, 7, 0, good.text + 1},
        {{2, PART_OF_COLUMNS}, 7, 0, good.text - 1},
        {{2, PART_OF_COLUMNS}, 7, 0, UINT64_MAX},
        {{2, PART_OF_COLUMNS}, 7, 0, 0},
    };
    assert_count(part.data, part.size, 1000, 2);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        head = heads[i];
        memcpy(part.data, &head, sizeof head);
        assert_count(part.data, part.size, 1000, -1);
    }
    memcpy(part.data, &good, sizeof good);
    char *text = part.data + sizeof good + 2 * sizeof(struct columns_entry);
    for (size_t i = 2; i < good.text; i++) { /* the comma, and the null of a call that has failed */
        text[i] ^= 1;
        assert_count(part.data, part.size, 1000, -1);
        text[i] ^= 1;
    }
    buf_deinit(&part);
}

static void a_result_by_columns_gives_its_lines_with_the_failed_last(void **state) {
    (void)state;
    static const char good[] = "{\"results\":[1,null, null,[\"],\\\"errors\\\":[\",\n{}],\"x\",null],\"errors\":["
                               "{\"index\":1,\"error\":{\"code\":\"x\"}},{\"index\":5,\"error\":{\"code\":\"x\"}}]}";
    struct slice s = slice_of(good, sizeof good - 1);
    assert_lines(put_result, &s,
                 GOOD_LINE("0", "1") GOOD_LINE("2", "null") GOOD_LINE("3", "[\"],\\\"errors\\\":[\", {}]")
                     GOOD_LINE("4", "\"x\"") FAILED_LINE("1") FAILED_LINE("5"),
                 4, 2);
    slice_deinit(&s);
    s = slice_of("{\"results\":[],\"errors\":[]}", 26);
    assert_lines(put_result, &s, "", 0, 0);
    slice_deinit(&s);
    s = slice_of("{\"results\":[null,nullx],\"errors\":[]}", 36);
    assert_lines(put_result, &s, GOOD_LINE("1", "nullx"), 1, 0);
    slice_deinit(&s);
}

static void a_malformed_result_by_columns_is_bad(void **state) {
    (void)state;
    static const char *const wrong[] = {"{\"results\":",
                                        "{\"results\":[",
                                        "{\"results\":[1",
                                        "{\"results\":[1,",
                                        "{\"results\":[1]}",
                                        "{\"results\":[1],\"errors\":",
                                        "{\"results\":[1],\"errors\":[",
                                        "{\"results\":[1],\"errors\":[{}]}",
                                        "{\"results\":[1],\"errors\":[7]}",
                                        "{\"results\":[1],\"errors\":[{\"index\":4294967296,\"error\":{}}]}",
                                        "{\"results\":[1],\"errors\":[{\"index\":1,\"error\":{}",
                                        "{\"results\":[}",
                                        "{\"results\":[1}",
                                        "{\"results\":[:",
                                        "{\"results\":[  1]",
                                        "{\"results\":[,,1]",
                                        "{\"results\":[\"",
                                        "{\"results\":[null"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct slice s = slice_of(wrong[i], strlen(wrong[i]));
        struct lines l;
        for (size_t piece = 1; piece < 120; piece += 7)
            assert_null(read_all(&l, put_result, &s, piece));
        slice_deinit(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_gives_a_line_for_each_entry),
        cmocka_unit_test(line_breaks_between_tokens_become_spaces),
        cmocka_unit_test(an_empty_part_has_no_items),
        cmocka_unit_test(a_part_is_read_on_from_any_item),
        cmocka_unit_test(a_part_that_is_cut_anywhere_is_rejected),
        cmocka_unit_test(wrong_counts_are_rejected),
        cmocka_unit_test(items_without_a_comma_between_them_are_rejected),
        cmocka_unit_test(wrong_sizes_and_entries_that_are_no_objects_are_rejected),
        cmocka_unit_test(a_result_gives_the_same_lines),
        cmocka_unit_test(a_malformed_result_is_bad),
        cmocka_unit_test(a_line_break_between_tokens_does_not_end_the_line),
        cmocka_unit_test(a_part_of_columns_gives_the_lines_of_items),
        cmocka_unit_test(a_part_of_columns_is_read_on_from_any_item),
        cmocka_unit_test(wrong_parts_of_columns_are_rejected),
        cmocka_unit_test(a_result_by_columns_gives_its_lines_with_the_failed_last),
        cmocka_unit_test(a_malformed_result_by_columns_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
