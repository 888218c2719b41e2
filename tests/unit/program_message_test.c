/* program_message_test.c: what a program says, taken apart: handlers/program/message.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handlers/program/message.h"

static struct message m;
static const char *why;
static char *copy; /* of the text, without a NUL, so that the sanitizer sees each byte that is read beyond it */

static int read_text(const char *text) {
    size_t size = strlen(text);
    free(copy);
    copy = malloc(size);
    memcpy(copy, text, size);
    why = NULL;
    return message_read((struct bytes){copy, size}, &m, &why);
}

static void expect_good(const char *text, enum message_kind kind) {
    assert_int_equal(read_text(text), 0);
    assert_int_equal(m.kind, kind);
}

static void expect_bad(const char *text, const char *reason) {
    assert_int_equal(read_text(text), -1);
    assert_non_null(why);
    if (strstr(why, reason) == NULL)
        fail_msg("%s: \"%s\" instead of \"%s\"", text, why, reason);
}

static void expect_span(const struct json_span *s, const char *text) {
    assert_non_null(s->at);
    assert_int_equal((size_t)(s->end - s->at), strlen(text));
    assert_memory_equal(s->at, text, strlen(text));
}

static void each_kind_is_read(void **state) {
    (void)state;
    expect_good("{\"kind\":\"hello\",\"protocol\":1}", MESSAGE_HELLO);
    assert_null(m.types.at);
    assert_false(m.fork);
    expect_good("{\"kind\":\"hello\",\"protocol\":1,\"fork\":true,\"cancel_signal\":10,\"types\":[ 1 ],\"sources\":[]}",
                MESSAGE_HELLO);
    assert_true(m.fork);
    assert_int_equal(m.cancel_signal, 10);
    assert_true(m.max_calls == UINT64_MAX);
    expect_span(&m.types, "[ 1 ]");
    expect_good("{\"kind\":\"hello\",\"protocol\":1,\"max_calls\":7}", MESSAGE_HELLO);
    assert_int_equal(m.max_calls, 7);
    expect_good(" { \"call\" : 17 , \"value\" : {\"a\":[1,\"]\"]} , \"kind\" : \"result\" } ", MESSAGE_RESULT);
    assert_int_equal(m.call, 17);
    expect_span(&m.value, "{\"a\":[1,\"]\"]}");
    assert_null(m.error.at);
    expect_good("{\"kind\":\"result\",\"call\":0,\"values\":[1,2]}", MESSAGE_RESULT);
    expect_span(&m.values, "[1,2]");
    expect_good("{\"kind\":\"result\",\"call\":9007199254740992,\"error\":{}}", MESSAGE_RESULT);
    assert_int_equal(m.call, UINT64_C(1) << 53);
    expect_good("{\"kind\":\"planned\",\"call\":7,\"chunks\":[{}]}", MESSAGE_PLANNED);
    expect_good("{\"kind\":\"progress\",\"call\":1,\"done\":3,\"total\":10}", MESSAGE_PROGRESS);
    assert_int_equal(m.done, 3);
    assert_int_equal(m.total, 10);
    expect_good("{\"kind\":\"forked\",\"pid\":4711}", MESSAGE_FORKED);
    assert_int_equal(m.pid, 4711);
    expect_good("{\"kind\":\"forked\",\"error\":\"no\"}", MESSAGE_FORKED);
    assert_int_equal(m.pid, 0);
}

static int read_bytes(const char *about, struct message_bytes *out) {
    char text[512];
    snprintf(text, sizeof text, "{\"kind\":\"result\",\"call\":0,\"binary\":%s}", about);
    expect_good(text, MESSAGE_RESULT);
    return message_read_bytes(&m.binary, out, &why);
}

static void results_can_be_bytes(void **state) {
    static const char *const bad[] = {"{}",
                                      "{\"media_type\":7}",
                                      "{\"media_type\":\"png\"}",
                                      "{\"media_type\":\"image/PNG\"}",
                                      "{\"media_type\":\"image/png; q=1\"}",
                                      "{\"media_type\":\"image/png\\r\\nX: y\"}",
                                      "{\"media_type\":\"/png\"}",
                                      "{\"media_type\":\"image/\"}",
                                      "{\"media_type\":\"image/png\",\"fd\":1}",
                                      "{\"media_type\":\"image/png\",\"fd\":true}",
                                      "{\"media_type\":\"image/png\",\"fd\":true,\"size\":-1}"};
    char long_type[HANDLER_MAX_MEDIA_TYPE + 2];
    struct message_bytes b;
    (void)state;
    assert_int_equal(read_bytes("{\"media_type\":\"image/svg+xml\"}", &b), 0);
    assert_string_equal(b.media_type, "image/svg+xml");
    assert_false(b.has_fd);
    assert_int_equal(read_bytes("{\"media_type\":\"a/b\",\"fd\":true,\"size\":70000}", &b), 0);
    assert_true(b.has_fd);
    assert_int_equal(b.size, 70000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_bytes(bad[i], &b), -1);
        assert_non_null(why);
    }
    memset(long_type, 'a', sizeof long_type);
    long_type[1] = '/';
    long_type[HANDLER_MAX_MEDIA_TYPE] = '\0';
    assert_true(message_is_media_type(long_type));
    long_type[HANDLER_MAX_MEDIA_TYPE] = 'a';
    long_type[HANDLER_MAX_MEDIA_TYPE + 1] = '\0';
    assert_false(message_is_media_type(long_type));
    expect_bad("{\"kind\":\"result\",\"call\":0,\"binary\":[]}", "\"binary\" is not an object");
    expect_bad("{\"kind\":\"result\",\"call\":0,\"binary\":{},\"value\":1}", "one of");
    expect_good("{\"kind\":\"hello\",\"protocol\":1,\"binary\":true}", MESSAGE_HELLO);
    assert_true(m.takes_binary && !m.takes_fds);
    expect_good("{\"kind\":\"hello\",\"protocol\":1,\"fds\":true}", MESSAGE_HELLO);
    assert_true(m.takes_binary && m.takes_fds);
    expect_bad("{\"kind\":\"hello\",\"protocol\":1,\"binary\":1}", "true or false");
}

static void unknown_members_are_ignored_and_names_can_be_escaped(void **state) {
    (void)state;
    expect_good("{\"kind\":\"\\u0072esult\",\"c\\u0061ll\":1,\"value\":null,\"later\":{\"kind\":\"x\"}}",
                MESSAGE_RESULT);
    expect_span(&m.value, "null");
}

static void each_fault_has_its_reason(void **state) {
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "not JSON"},
        {"{", "not JSON"},
        {"{}x", "not JSON"},
        {"{\"kind\":\"result\",\"call\":1,\"value\":nul}", "not JSON"},
        {"{\"kind\":\"result\",\"call\":1,\"value\":NaN}", "not JSON"},
        {"{\"kind\":\"result\",\"call\":1,\"value\":\"\xff\"}", "not JSON"},
        {"[]", "not an object"},
        {"7", "not an object"},
        {"{}", "\"kind\""},
        {"{\"kind\":1}", "\"kind\""},
        {"{\"kind\":\"run\"}", "cannot send"},
        {"{\"kind\":\"results and much more than a name can have\"}", "cannot send"},
        {"{\"kind\":\"hello\"}", "\"protocol\""},
        {"{\"kind\":\"hello\",\"protocol\":1.0}", "\"protocol\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"fork\":null}", "\"fork\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"cancel_signal\":0}", "\"cancel_signal\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"cancel_signal\":65}", "\"cancel_signal\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"cancel_signal\":-1}", "\"cancel_signal\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"max_calls\":0}", "\"max_calls\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"types\":{}}", "\"types\""},
        {"{\"kind\":\"hello\",\"protocol\":1,\"sources\":\"a\"}", "\"sources\""},
        {"{\"kind\":\"result\",\"value\":1}", "\"call\""},
        {"{\"kind\":\"result\",\"call\":-1,\"value\":1}", "\"call\""},
        {"{\"kind\":\"result\",\"call\":\"1\",\"value\":1}", "\"call\""},
        {"{\"kind\":\"result\",\"call\":9007199254740993,\"value\":1}", "\"call\""},
        {"{\"kind\":\"result\",\"call\":99999999999999999999999999,\"value\":1}", "\"call\""},
        {"{\"kind\":\"result\",\"call\":1}", "one of"},
        {"{\"kind\":\"result\",\"call\":1,\"value\":1,\"error\":{}}", "one of"},
        {"{\"kind\":\"result\",\"call\":1,\"values\":1}", "\"values\""},
        {"{\"kind\":\"result\",\"call\":1,\"error\":\"x\"}", "\"error\""},
        {"{\"kind\":\"planned\",\"chunks\":[]}", "\"call\""},
        {"{\"kind\":\"planned\",\"call\":1}", "\"chunks\""},
        {"{\"kind\":\"progress\",\"call\":1,\"done\":1}", "numbers"},
        {"{\"kind\":\"progress\",\"call\":1,\"done\":-1,\"total\":1}", "numbers"},
        {"{\"kind\":\"forked\"}", "\"pid\""},
        {"{\"kind\":\"forked\",\"pid\":0}", "\"pid\""},
        {"{\"kind\":\"forked\",\"pid\":1}", "\"pid\""},
        {"{\"kind\":\"forked\",\"pid\":-5}", "\"pid\""},
        {"{\"kind\":\"forked\",\"pid\":4294967298}", "\"pid\""},
        {"{\"kind\":\"forked\",\"error\":1}", "\"pid\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_bad(bad[i].text, bad[i].reason);
}

static void the_depth_is_limited(void **state) {
    char text[2048];
    (void)state;
    for (unsigned depth = MESSAGE_MAX_DEPTH - 2; depth <= MESSAGE_MAX_DEPTH + 1; depth++) {
        int n = snprintf(text, sizeof text, "{\"kind\":\"result\",\"call\":1,\"value\":");
        memset(text + n, '[', depth);
        memset(text + n + depth, ']', depth);
        strcpy(text + n + 2 * depth, "}");
        if (depth + 1 <= MESSAGE_MAX_DEPTH)
            expect_good(text, MESSAGE_RESULT);
        else
            expect_bad(text, "not JSON");
    }
}

static void members_texts_and_numbers_of_a_value(void **state) {
    char text[8];
    uint64_t number;
    (void)state;
    expect_good("{\"kind\":\"result\",\"call\":1,\"error\":{\"code\":\"a\\u00e4\",\"detail\":\"0123456789\",\"n\":12}}",
                MESSAGE_RESULT);
    struct json_span code = message_member(&m.error, "code"), detail = message_member(&m.error, "detail"),
                     n = message_member(&m.error, "n"), none = message_member(&m.error, "none");
    assert_true(message_text(&code, text, sizeof text));
    assert_string_equal(text, "a\xc3\xa4");
    assert_true(message_text(&detail, text, sizeof text));
    assert_string_equal(text, "0123456");
    assert_false(message_text(&n, text, sizeof text));
    assert_string_equal(text, "");
    assert_true(message_u64(&n, &number));
    assert_int_equal(number, 12);
    assert_null(none.at);
    assert_false(message_text(&none, text, sizeof text));
    assert_false(message_u64(&none, &number));
    assert_null(message_member(&n, "x").at);
}

static int free_copy(void **state) {
    (void)state;
    free(copy);
    copy = NULL;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_is_read),
        cmocka_unit_test(results_can_be_bytes),
        cmocka_unit_test(unknown_members_are_ignored_and_names_can_be_escaped),
        cmocka_unit_test(each_fault_has_its_reason),
        cmocka_unit_test(the_depth_is_limited),
        cmocka_unit_test(members_texts_and_numbers_of_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, free_copy);
}
