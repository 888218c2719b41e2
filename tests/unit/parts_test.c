/* parts_test.c: forms (multipart/form-data) and bodies that are one data part, as hostile and as sloppy clients send
 * them. See server/http/parts.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/log.h"
#pragma GCC diagnostic ignored "-Wunused-function" /* the world has more than is needed here */
#include "http_world.h"

#define TYPE  "multipart/form-data; boundary=BB"
#define JOB   "--BB\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{}\r\n"
#define DATA  "--BB\r\nContent-Disposition: form-data; name=\"data\"\r\n"
#define CLOSE "--BB--\r\n"

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static struct client *begin_form(const char *path, const char *type, size_t size) {
    struct client *c = connect_client();
    struct buf head = {0};
    buf_printf(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, size);
    send_request(c, "POST", path, head.data);
    buf_deinit(&head);
    return c;
}

/* Sends the body in pieces, with turns of the server between them. */
static struct client *post_pieces(const char *path, const char *type, const char *body, size_t size, size_t piece) {
    struct client *c = begin_form(path, type, size);
    for (size_t at = 0; at < size; at += piece) {
        (void)!offer_bytes(c, body + at, size - at < piece ? size - at : piece);
        step();
        step();
    }
    return c;
}

static struct client *post(const char *type, const char *body) {
    return post_pieces("/form", type, body, strlen(body), SIZE_MAX / 2);
}

static void expect_form(const char *type, const char *body, const char *list) {
    const struct client *c = post(type, body);
    until_received(c, "hash ");
    if (!has_received(c, list))
        fail_msg("not \"%s\" of \"%s\", but: %s", list, body, c->in.data);
}

static void expect_fault(const char *type, const char *body, const char *status, const char *detail) {
    const struct client *c = post(type, body);
    until_received(c, status);
    until_received(c, detail);
}

static char *filled(size_t size) {
    char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = "0123456\r\n-"[i * 7 % 10];
    bytes[size] = '\0';
    return bytes;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void a_form_is_taken_apart(void **state) {
    (void)state;
    expect_form(TYPE, JOB DATA "Content-Type: Image/PNG; x=y\r\n\r\nab\r\n--B\r\n" DATA "\r\nc\r\n" CLOSE,
                "\r\n\r\ntext 2 {}; part 7 image/png ab\r\n--B; part 1  c; hash ");
}

static void a_boundary_is_read_as_RFC_2046_says(void **state) {
    static const char *const good[] = {
        "multipart/form-data; boundary=\"BB\"",           "multipart/form-data; charset=utf-8; boundary=BB",
        "multipart/form-data; boundary=BB; charset=x",    "multipart/form-data;boundary=BB;charset=x",
        "multipart/form-data; boundary=\"BB\"; x=\"y;\"", "multipart/form-data; Boundary=BB",
        "Multipart/Form-Data; BOUNDARY=\"BB\" ; a=b",
    };
    static const char *const bad[] = {
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"",
        "multipart/form-data; boundary=\"BB",
        "multipart/form-data; boundary=\"B\\B\"",
        "multipart/form-data; boundary=\"BB \"",
        "multipart/form-data; boundary = BB",
        "multipart/form-data; boundary=B", /* libmicrohttpd takes none of one character */
        "multipart/form-data; boundary=B@B",
        "multipart/form-data; x=\"boundary=CC\"; boundary=BB", /* libmicrohttpd would take the first one */
        "multipart/form-data; BOUNDARY=BB; boundary=CC; xboundary=BB=\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        expect_form(good[i], JOB DATA "\r\nabc\r\n" CLOSE, "text 2 {}; part 3  abc; hash");
    expect_form("multipart/form-data; boundary=\"a b\"; c=d",
                "--a b\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n[]\r\n--a b--", "text 2 []; hash");
    for (size_t i = 0; i + 1 < sizeof bad / sizeof bad[0]; i++)
        expect_fault(bad[i], JOB CLOSE, " 400 ", "has no boundary");
    expect_form(bad[sizeof bad / sizeof bad[0] - 1], JOB CLOSE, "text 2 {}; hash"); /* cut behind the first one */
    expect_fault("multipart/form-data; boundary=CC", JOB CLOSE, " 400 ", "no field \\\"job\\\"");
}

static void a_name_cannot_pretend_to_be_more_of_the_field_before(void **state) {
    static const char *const names[] = {"\"\001ata\"", "\"\"ata\"", "\"\"\"",   "\"\"",
                                        "data",        "",          "\"datA\"", "\"job2\""};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (unsigned empty = 0; empty < 2; empty++) {
            struct buf body = {0};
            buf_printf(&body,
                       JOB DATA "\r\n%s\r\n--BB\r\nContent-Disposition: form-data; name=%s\r\n\r\nsmuggled\r\n" CLOSE,
                       empty ? "" : "a", names[i]);
            expect_fault(TYPE, body.data, " 400 ", "with another name");
            buf_deinit(&body);
        }
}

static void empty_fields_are_fields(void **state) {
    (void)state;
    expect_form(TYPE, JOB DATA "\r\n\r\n" DATA "Content-Type: text/x\r\n\r\n\r\n" DATA "\r\nb\r\n" CLOSE,
                "text 2 {}; part 0  ; part 0 text/x ; part 1  b; hash");
    expect_form(TYPE, "--BB\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n\r\n" CLOSE, "text 0 ; hash");
    expect_fault(TYPE, JOB JOB CLOSE, " 400 ", "twice");
}

static void what_is_no_form_is_400(void **state) {
    static const char *const broken[][2] = {
        {"", "is empty"},
        {"no form at all, but long enough for one", "no field \\\"job\\\""},
        {JOB DATA "\r\nabc", "no end"},
        {JOB DATA "\r\nabc\r\n--BB", "no end"},
        {JOB DATA "\r\nabc\r\n--BB-", "no end"},
        {JOB DATA "\r\nabc\r\n--BBx", "is broken"},
        {JOB CLOSE "an epilogue", "is broken"},
        {CLOSE, "no field \\\"job\\\""},
        {DATA "\r\nabc\r\n" CLOSE, "no field \\\"job\\\""},
        {JOB "--BB\r\nContent-Disposition: form-data; filename*=utf-8''x\r\n\r\na\r\n" CLOSE, "with another name"},
        {JOB "--BB\r\n\r\na\r\n" CLOSE, "with another name"},
        {JOB DATA "Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n" CLOSE, "Content-Transfer-Encoding"},
        {JOB DATA "Content-Type: multipart/mixed; boundary=N\r\n\r\n--N\r\n\r\na\r\n--N\r\n\r\nb\r\n--N--\r\n" CLOSE,
         "multipart/mixed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        expect_fault(TYPE, broken[i][0], " 400 ", broken[i][1]);
}

static void what_surrounds_a_name_does_not_matter(void **state) {
    (void)state;
    expect_form(TYPE, "a preamble\r\n--B-\r\n\r\n" JOB CLOSE, "text 2 {}; hash");
    expect_form(
        TYPE,
        JOB "--BB\r\nContent-Disposition: form-data; name=\"data\"; filename=\"x; name=job\"; filename*=utf-8''y\r\n"
            "X-Other: \001\r\n\r\na\r\n" CLOSE,
        "text 2 {}; part 1  a; hash");
}

static void the_pieces_of_a_form_make_no_difference(void **state) {
    enum { SIZE = 70000 };
    static const size_t pieces[] = {1, 3, 7, 64};
    char *bytes = filled(SIZE);
    struct buf body = {0};
    (void)state;
    for (unsigned large = 0; large < 2; large++) {
        buf_clear(&body);
        buf_printf(&body, JOB DATA "Content-Type: a/b\r\n\r\n%s\r\n" DATA "\r\n\r\n" DATA "\r\n\r\n--BC\r\n" CLOSE,
                   large ? bytes : "\r\r\n\r\n-\r\n--\r\n--B");
        const struct client *whole = post_pieces("/form", TYPE, body.data, body.size, body.size), *c;
        until_received(whole, "hash ");
        for (unsigned i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            c = post_pieces("/form", TYPE, body.data, body.size, pieces[i] * (large ? 1001 : 1));
            until_received(c, "hash ");
            assert_string_equal(strstr(c->in.data, "\r\n\r\n"), strstr(whole->in.data, "\r\n\r\n"));
        }
    }
    assert_true(has_received(&world.clients[world.client_count - 1], "part 70000 a/b own "));
    buf_deinit(&body);
    free(bytes);
}

static void the_hash_tells_parts_apart(void **state) {
    static const char *const forms[] = {
        JOB CLOSE,
        JOB DATA "\r\n\r\n" CLOSE,
        JOB DATA "\r\nab\r\n" CLOSE,
        JOB DATA "\r\na\r\n" DATA "\r\nb\r\n" CLOSE,
        JOB DATA "\r\nab\r\n" DATA "\r\n\r\n" CLOSE,
        JOB DATA "\r\n\r\n" DATA "\r\nab\r\n" CLOSE,
        JOB DATA "Content-Type: a/b\r\n\r\nab\r\n" CLOSE,
    };
    enum { FORMS = sizeof forms / sizeof forms[0] };
    (void)state;
    for (unsigned i = 0; i < FORMS; i++) {
        const struct client *c = post(TYPE, forms[i]);
        until_received(c, "hash ");
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(strstr(c->in.data, "hash "), strstr(world.clients[j].in.data, "hash "));
    }
}

static void more_parts_than_allowed_are_413(void **state) {
    struct buf body = {0};
    (void)state;
    buf_puts(&body, JOB);
    for (unsigned i = 0; i < 10; i++)
        buf_puts(&body, DATA "\r\n\r\n");
    size_t most = body.size;
    buf_puts(&body, CLOSE);
    expect_form(TYPE, body.data, "part 0  ; hash ");
    body.size = most;
    buf_puts(&body, DATA "\r\n\r\n" CLOSE);
    expect_fault(TYPE, body.data, " 413 ", "--max-parts");
    buf_deinit(&body);
}

static void endless_heads_are_400(void **state) {
    struct buf body = {0};
    (void)state;
    buf_puts(&body, JOB DATA);
    for (unsigned i = 0; i < 100000; i++)
        buf_puts(&body, "a\r\n");
    buf_puts(&body, "\r\na\r\n" CLOSE);
    expect_fault(TYPE, body.data, " 400 ", "heads");
    buf_clear(&body);
    buf_puts(&body, JOB DATA "X: ");
    for (unsigned i = 0; i < 100000; i++)
        buf_puts(&body, "a");
    buf_puts(&body, "\r\n\r\na\r\n" CLOSE);
    expect_fault(TYPE, body.data, " 400 ", "is broken");
    buf_deinit(&body);
}

static void parts_count_once_while_others_come(void **state) {
    enum { SIZE = 300000 };
    char *bytes = filled(SIZE);
    struct buf body = {0};
    (void)state;
    world.config.max_body = 4 * SIZE;
    buf_printf(&body, JOB DATA "\r\n%s\r\n" DATA "\r\n%s\r\n" DATA "\r\nabcdefgh", bytes, bytes);
    const struct client *c = begin_form("/form", TYPE, body.size + 2 + strlen(CLOSE));
    send_bytes(world.clients, body.data, body.size);
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (held_bytes[HELD_PAYLOADS] < 2 * SIZE && clock_monotonic_ns() < end_ns)
        step();
    assert_in_range(held_bytes[HELD_PAYLOADS], 2 * SIZE, 2 * SIZE + 10000);
    assert_in_range(held_bytes[HELD_BODIES], 0, 10000);
    send_text(world.clients, "\r\n" CLOSE);
    until_received(c, "part 300000  own ");
    until_received(c, "hash ");
    buf_deinit(&body);
    free(bytes);
}

static void a_form_that_goes_to_files_can_be_larger_than_memory(void **state) {
    enum { SIZE = 600000 };
    char *bytes = filled(SIZE);
    struct buf body = {0};
    (void)state;
    world.config.spool_directory = "/tmp";
    buf_printf(&body, JOB DATA "\r\n%s\r\n" CLOSE, bytes);
    held_set_limit(500000); /* its connections count, too */
    until_received(post_pieces("/form", TYPE, body.data, body.size, body.size), " 429 ");
    until_received(post_pieces("/form/files", TYPE, body.data, body.size, body.size), "part 600000  ");
    buf_deinit(&body);
    free(bytes);
}

static void a_form_that_ends_in_the_middle_leaves_nothing(void **state) {
    enum { SIZE = 100000 };
    char *bytes = filled(SIZE);
    struct buf body = {0};
    (void)state;
    world.config.spool_directory = "/tmp";
    buf_printf(&body, JOB DATA "\r\n%s\r\n" DATA "\r\na\r\n" DATA "\r\n%s", bytes, bytes);
    for (unsigned files = 0; files < 2; files++) {
        const char *path = files ? "/form/files" : "/form";
        struct client *gone = begin_form(path, TYPE, 2 * body.size);
        send_bytes(gone, body.data, body.size);
        settle();
        leave(gone);
        struct client *faulty = begin_form(path, TYPE, 2 * body.size);
        send_bytes(faulty, body.data, body.size);
        (void)!offer_bytes(faulty, "\r\n--BBx", 7);
        until_received(faulty, " 400 ");
        leave(faulty);
        struct client *held = begin_form(path, TYPE, 2 * body.size); /* http_close finds it */
        send_bytes(held, body.data, body.size);
        settle();
    }
    buf_deinit(&body);
    free(bytes);
}

static void a_body_that_is_one_data_part(void **state) {
    char *bytes = filled(40000);
    (void)state;
    const struct client *a = post_pieces("/data", "Image/PNG; a=b", "abc", 3, 1), *b, *c, *d;
    until_received(a, "text 0 ; part 3 image/png abc; hash ");
    b = post_pieces("/data", "image/png", "abc", 3, 3);
    until_received(b, "hash ");
    assert_string_equal(strstr(a->in.data, "hash "), strstr(b->in.data, "hash "));
    c = post_pieces("/data", "image/png", "", 0, 1);
    until_received(c, "text 0 ; hash ");
    d = post_pieces("/data", "application/x-www-form-urlencoded", bytes, 40000, 30000);
    until_received(d, "text 0 ; part 40000  own ");
    until_received(d, "hash ");
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_form_is_taken_apart),
        TEST(a_boundary_is_read_as_RFC_2046_says),
        TEST(a_name_cannot_pretend_to_be_more_of_the_field_before),
        TEST(empty_fields_are_fields),
        TEST(what_is_no_form_is_400),
        TEST(what_surrounds_a_name_does_not_matter),
        TEST(the_pieces_of_a_form_make_no_difference),
        TEST(the_hash_tells_parts_apart),
        TEST(more_parts_than_allowed_are_413),
        TEST(endless_heads_are_400),
        TEST(parts_count_once_while_others_come),
        TEST(a_form_that_goes_to_files_can_be_larger_than_memory),
        TEST(a_form_that_ends_in_the_middle_leaves_nothing),
        TEST(a_body_that_is_one_data_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
