/* answer.c: makes answers from memory, from a memfd (which is sent by sendfile), or compressed while they are sent.
 * Front end. */
#include "server/http/answer.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/gzip.h"
#include "server/http/unread.h"

#define SMALL_ANSWER (4 * 1024)
#define USUAL_ANSWER (64 * 1024)
#define GZIP_FROM    (64 * 1024) /* a smaller answer is not compressed: that would gain little */

void http_set_header(struct http_request *r, const char *name, const char *value) {
    buf_append(&r->headers, name, strlen(name) + 1);
    buf_append(&r->headers, value, strlen(value) + 1);
}

void http_set_header_f(struct http_request *r, const char *name, const char *format, ...) {
    char value[512];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    http_set_header(r, name, value);
}

/* False: memory ran out. */
static bool add_headers(struct http_request *r, const char *media_type, struct MHD_Response *response) {
    const char *at = r->headers.data, *end = at + r->headers.size;
    bool ok = !r->headers.failed;
    if (media_type != NULL)
        ok = ok && MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, media_type) == MHD_YES;
    ok = ok && MHD_add_response_header(response, "X-Request-Id", r->id) == MHD_YES;
    while (ok && at < end) {
        const char *value = at + strlen(at) + 1;
        ok = MHD_add_response_header(response, at, value) == MHD_YES;
        at = value + strlen(value) + 1;
    }
    if (r->connection->over_limit)
        ok = ok && MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;
    return ok;
}

void http_queue_answer(struct http_request *r, unsigned status, const char *media_type, struct MHD_Response *response) {
    if (response != NULL && !add_headers(r, media_type, response)) {
        MHD_destroy_response(response);
        response = NULL;
    }
    if (response == NULL)
        LOG(LOG_ERROR, "answer_failed", LOG_STR("request", r->id));
    http_queue(r, status, response);
    http_unread_add(r);
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

/* A small answer is always given: it is about as large as the problem that would take its place. Those of a usual
 * size, such as /metrics, can take what large ones must leave. */
bool http_make_room(struct http_request *r, size_t bytes) {
    slice_deinit(&r->large); /* the body has done its work */
    if (bytes <= SMALL_ANSWER || held_make_room(HELD_FOR_ANSWER, bytes))
        return true;
    if (bytes <= USUAL_ANSWER && bytes <= held_limit() && held_total <= held_limit() - bytes)
        return true;
    buf_clear(&r->headers);
    http_set_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    http_answer_problem(r, PROBLEM_OVER_MEMORY, "there is no memory for so large an answer now; ask again later", NULL);
    return false;
}

/* It says nothing of the request, because it is made before there is one. */
struct MHD_Response *http_no_memory_response(void) {
    struct buf body = {0};
    size_t size;
    problem_write(&body, PROBLEM_INTERNAL_ERROR, "there is no memory for the answer", NULL, NULL);
    bool failed = body.failed;
    char *bytes = buf_steal(&body, &size);
    struct MHD_Response *response = failed ? NULL : MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(bytes);
        return NULL;
    }
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/problem+json") == MHD_YES)
        return response;
    MHD_destroy_response(response);
    return NULL;
}

void http_answer(struct http_request *r, unsigned status, const char *media_type, struct buf *body) {
    size_t size;
    bool failed = body->failed;
    if (!failed && !http_make_room(r, body->capacity)) {
        buf_deinit(body);
        return;
    }
    http_hold_answer(r, body->capacity);
    char *bytes = buf_steal(body, &size);
    struct MHD_Response *response = failed ? NULL : MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(bytes);
    http_queue_answer(r, status, media_type, response);
}

void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body,
                        size_t size) {
    union {
        const void *in;
        void *out;
    } bytes = {body};
    http_queue_answer(r, status, media_type, MHD_create_response_from_buffer(size, bytes.out, MHD_RESPMEM_PERSISTENT));
}

void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members) {
    struct buf body = {0};
    problem_write(&body, code, detail, members, r->path.data);
    http_answer(r, problem_get(code)->status, "application/problem+json", &body);
}

void http_answer_rejection(struct http_request *r) {
    unsigned status = problem_get(r->problem)->status;
    if (r->arrived_ns == 0)
        r->arrived_ns = clock_monotonic_ns();
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE || status == MHD_HTTP_TOO_MANY_REQUESTS)
        http_set_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    http_answer_problem(r, r->problem, NULL, r->problem_members);
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

/* The request keeps a reference to the slice until it is done, so nothing is copied. */
static struct MHD_Response *slice_response(struct http_request *r, const struct slice *body) {
    r->answer = slice_ref(body);
    if (body->blob == NULL || body->size == 0)
        return MHD_create_response_from_buffer(0, (char[]){""}, MHD_RESPMEM_MUST_COPY);
    if (body->blob->fd < 0) {
        union {
            const unsigned char *in;
            void *out;
        } bytes = {slice_map(body)};
        return MHD_create_response_from_buffer(body->size, bytes.out, MHD_RESPMEM_PERSISTENT);
    }
    int fd = fcntl(body->blob->fd, F_DUPFD_CLOEXEC, 3); /* libmicrohttpd closes it */
    if (fd < 0)
        return NULL;
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(body->size, fd, body->offset);
    if (response == NULL)
        close(fd);
    return response;
}

enum range { RANGE_NONE, RANGE_OK, RANGE_BAD };

static bool is_digit(char c) { /* needed because sscanf accepts signs and spaces */
    return c >= '0' && c <= '9';
}

/* Understands one byte range (RFC 9110, section 14.1.2). Several ranges, and other units, are ignored, as section 14.2
 * allows. */
static enum range parse_range(const char *text, size_t size, size_t *first, size_t *last) {
    unsigned long long a, b;
    int end = 0;
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL)
        return RANGE_NONE;
    text += 6;
    if (sscanf(text, "-%llu%n", &b, &end) == 1 && is_digit(text[1]) && text[end] == '\0') {
        if (b == 0)
            return RANGE_BAD;
        *first = b >= size ? 0 : size - (size_t)b;
        *last = size - 1;
        return size == 0 ? RANGE_BAD : RANGE_OK;
    }
    if (!is_digit(text[0]) || sscanf(text, "%llu-%n", &a, &end) != 1 || end == 0)
        return RANGE_NONE;
    b = size - 1;
    if (text[end] != '\0') {
        int more = 0;
        if (!is_digit(text[end]) || sscanf(text + end, "%llu%n", &b, &more) != 1 || text[end + more] != '\0' || b < a)
            return RANGE_NONE;
    }
    if (a >= size)
        return RANGE_BAD;
    *first = (size_t)a;
    *last = b >= size ? size - 1 : (size_t)b;
    return RANGE_OK;
}

void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body) {
    size_t first = 0, last = 0;
    enum range range = parse_range(http_header(r, MHD_HTTP_HEADER_RANGE), body->size, &first, &last);
    if (range == RANGE_BAD) {
        http_set_header_f(r, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes */%zu", body->size);
        http_answer_problem(r, PROBLEM_RANGE_NOT_SATISFIABLE, NULL, NULL);
        return;
    }
    http_set_header(r, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    if (range == RANGE_OK) {
        struct slice part = slice_part(body, first, last - first + 1);
        http_set_header_f(r, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes %zu-%zu/%zu", first, last, body->size);
        http_queue_answer(r, MHD_HTTP_PARTIAL_CONTENT, media_type, slice_response(r, &part));
        slice_deinit(&part);
        return;
    }
    /* What compresses an answer is larger than many answers. If it does not fit, the answer is not compressed. */
    if (body->size >= GZIP_FROM && http_gzip_is_accepted(http_header(r, MHD_HTTP_HEADER_ACCEPT_ENCODING)) &&
        held_make_room(HELD_FOR_ANSWER, http_gzip_bytes)) {
        http_hold_answer(r, http_gzip_bytes);
        http_set_header(r, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
        http_queue_answer(r, MHD_HTTP_OK, media_type, http_gzip_response(body));
        return;
    }
    http_set_header(r, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    http_queue_answer(r, MHD_HTTP_OK, media_type, slice_response(r, body));
}
