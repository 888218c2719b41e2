/* openai_error.c: see openai_error.h. Front end.
 *
 *     {"error":{"message":"input[3]: is empty","type":"invalid_request_error","param":"input[3]","code":"invalid_params"}}
 *
 * The strings of the document are JSON already, so they are taken over as they are written there. */
#include "server/api/openai_error.h"

#include <ctype.h>
#include <string.h>

/* OpenAI answers what is wrong with a request with 400, and knows no 507. */
static unsigned status_of(enum problem_code code) {
    unsigned status = problem_get(code)->status;
    return status == 422 ? 400 : status == 507 ? 500 : status;
}

static const char *type_of(unsigned status) {
    return status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
}

/* Appends a segment of a JSON pointer (RFC 6901) as it stands in a path of JavaScript. */
static void put_segment(struct buf *out, const char *at, size_t size, bool first) {
    size_t digits = 0;
    while (digits < size && isdigit((unsigned char)at[digits]))
        digits++;
    if (!first && size > 0 && digits == size) {
        buf_putc(out, '[');
        buf_append(out, at, size);
        buf_putc(out, ']');
        return;
    }
    if (!first)
        buf_putc(out, '.');
    for (size_t i = 0; i < size; i++) {
        bool escaped = at[i] == '~' && i + 1 < size;
        buf_putc(out, !escaped ? at[i] : at[i + 1] == '1' ? '/' : '~');
        i += escaped;
    }
}

/* "/input/3" becomes input[3]. A worker's pointers start at the params, those of the front end at the body, which is the
 * same. */
static void put_param(struct buf *out, const char *pointer, size_t size) {
    static const char front[] = "/params/";
    const char *at = pointer, *end = pointer + size;
    bool first = true;
    if (size >= sizeof front - 1 && memcmp(pointer, front, sizeof front - 1) == 0)
        at += sizeof front - 2;
    while (at < end) { /* at a slash */
        const char *next = memchr(at + 1, '/', (size_t)(end - at) - 1);
        next = next == NULL ? end : next;
        put_segment(out, at + 1, (size_t)(next - at) - 1, first);
        first = false;
        at = next;
    }
}

/* Appends a JSON string without its quotes. */
static void put_inner(struct buf *out, const struct buf *string) {
    if (string->size >= 2)
        buf_append(out, string->data + 1, string->size - 2);
}

/* What an error says. All are the inside of JSON strings. */
struct error {
    struct buf param; /* empty: it is none */
    struct buf message;
};

static void read_error(const struct buf *document, struct error *e) {
    struct buf pointer = {0}, detail = {0};
    uint64_t line, column;
    problem_first_error(document, &pointer, &detail);
    if (pointer.size > 2)
        put_param(&e->param, pointer.data + 1, pointer.size - 2);
    if (e->param.size > 0) {
        buf_append(&e->message, e->param.data, e->param.size);
        buf_puts(&e->message, ": ");
    }
    if (detail.size == 0)
        problem_copy_member(document, "detail", &detail);
    put_inner(&e->message, &detail);
    if (problem_place(document, &line, &column))
        buf_printf(&e->message, " (line %llu, column %llu)", (unsigned long long)line, (unsigned long long)column);
    e->message.failed |= pointer.failed || detail.failed || e->param.failed;
    buf_deinit(&pointer);
    buf_deinit(&detail);
}

unsigned openai_write_error(enum problem_code code, const struct buf *document, struct buf *out) {
    struct error e = {{0}, {0}};
    unsigned status = status_of(code);
    read_error(document, &e);
    bool model = code == PROBLEM_NOT_FOUND && e.param.size == 5 && memcmp(e.param.data, "model", 5) == 0;
    buf_puts(out, "{\"error\":{\"message\":\"");
    buf_append(out, e.message.data, e.message.size);
    buf_printf(out, "\",\"type\":\"%s\",\"param\":", type_of(status));
    if (e.param.size > 0) {
        buf_putc(out, '"');
        buf_append(out, e.param.data, e.param.size);
        buf_putc(out, '"');
    } else {
        buf_puts(out, "null");
    }
    const char *name = code == PROBLEM_UNAUTHORIZED ? "invalid_api_key" : problem_get(code)->code;
    buf_printf(out, ",\"code\":\"%s\"}}", model ? "model_not_found" : name);
    out->failed |= e.message.failed;
    buf_deinit(&e.param);
    buf_deinit(&e.message);
    return status;
}
