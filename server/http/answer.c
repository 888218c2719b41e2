/* answer.c: makes answers from memory, or from a memfd or a file, which are sent by sendfile(2). Front end. */
#include "server/http/answer.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/coding.h"
#include "server/http/etag.h"
#include "server/http/range.h"
#include "server/http/unread.h"

#define SMALL_ANSWER (4 * 1024)
#define USUAL_ANSWER (64 * 1024)
#define CODED_FROM   (64 * 1024) /* a smaller answer is not compressed: that would gain little */
#define ETAG_SIZE    80

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

static bool has_header(const struct http_request *r, const char *name) {
    const char *at = r->headers.size == 0 ? "" : r->headers.data, *end = at + r->headers.size;
    while (!r->headers.failed && at < end) {
        if (strcmp(at, name) == 0)
            return true;
        at += strlen(at) + 1;
        at += strlen(at) + 1;
    }
    return false;
}

void http_keep_headers(struct http_request *r) {
    const char *at = r->headers.size == 0 ? "" : r->headers.data, *end = at + r->headers.size;
    r->kept_headers = r->headers.size;
    buf_clear(&r->connection->lines);
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        buf_printf(&r->connection->lines, "%s: %s\r\n", at, value);
        at = value + strlen(value) + 1;
    }
}

/* False: memory ran out. */
static bool add_headers(struct http_request *r, const char *media_type, struct MHD_Response *response) {
    const char *at = r->headers.size == 0 ? "" : r->headers.data, *end = at + r->headers.size;
    bool ok = !r->headers.failed;
    if (media_type != NULL)
        ok = ok && MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, media_type) == MHD_YES;
    ok = ok && MHD_add_response_header(response, "X-Request-Id", r->id) == MHD_YES;
    while (ok && at < end) {
        const char *value = at + strlen(at) + 1;
        ok = MHD_add_response_header(response, at, value) == MHD_YES;
        at = value + strlen(value) + 1;
    }
    if (r->connection->over_limit || r->http->last_answers)
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
    r->headers.size = r->kept_headers;
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
    bool failed = body->failed;
    if (!failed && !http_make_room(r, body->capacity)) {
        buf_deinit(body);
        return;
    }
    http_hold_answer(r, body->capacity);
    buf_deinit(&r->text);
    r->text = *body;
    *body = (struct buf){0};
    http_queue_answer(r, status, media_type,
                      failed ? NULL
                             : MHD_create_response_from_buffer(r->text.size, r->text.data, MHD_RESPMEM_PERSISTENT));
}

struct buf http_answer_room(struct http_request *r) {
    struct buf room = r->text;
    r->text = (struct buf){0};
    buf_clear(&room);
    return room;
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
    http_answer_problem_document(r, code, &body);
}

void http_answer_problem_document(struct http_request *r, enum problem_code code, struct buf *document) {
    const char *media_type;
    unsigned status = http_connection_write_problem(r->connection, code, document, &media_type);
    http_answer(r, status, media_type, document);
}

void http_set_problem_writer(struct http_request *r, http_problem_writer *writer) {
    r->connection->problem_writer = writer;
}

void http_answer_rejection(struct http_request *r) {
    unsigned status = problem_get(r->problem)->status;
    if (r->arrived_ns == 0)
        r->arrived_ns = clock_monotonic_ns();
    bool later = status == MHD_HTTP_SERVICE_UNAVAILABLE || status == MHD_HTTP_TOO_MANY_REQUESTS;
    /* Of the requests of an address it is true: a bucket has its next one within a second. */
    if (later && !has_header(r, MHD_HTTP_HEADER_RETRY_AFTER))
        http_set_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    http_answer_problem(r, r->problem, r->problem_detail, r->problem_members);
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

static void search_line(void *arg, const char *line) {
    etag_search_line(arg, line);
}

bool http_is_known(struct http_request *r, const char *etag) {
    struct etag_search s = {.etag = etag, .weakly = true};
    http_each_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH, search_line, &s);
    return s.found;
}

bool http_precondition_fails(struct http_request *r, const char *etag, size_t significant) {
    struct etag_search s = {.etag = etag, .significant = significant};
    http_each_header(r, MHD_HTTP_HEADER_IF_MATCH, search_line, &s);
    if (s.present && !s.found)
        return true;
    if (strcmp(r->method, MHD_HTTP_METHOD_GET) == 0 || http_is_head(r))
        return false;
    s = (struct etag_search){.etag = etag, .significant = significant, .weakly = true};
    http_each_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH, search_line, &s);
    return s.found;
}

bool http_has_precondition(struct http_request *r) {
    return http_header(r, MHD_HTTP_HEADER_IF_MATCH) != NULL || http_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH) != NULL;
}

/* ---- HEAD -------------------------------------------------------------------------------------------------------- */

bool http_is_head(const struct http_request *r) {
    return strcmp(r->method, MHD_HTTP_METHOD_HEAD) == 0;
}

static ssize_t read_nothing(void *cls, uint64_t pos, char *to, size_t max) {
    (void)cls, (void)pos, (void)to, (void)max;
    return MHD_CONTENT_READER_END_OF_STREAM;
}

/* Before 0.9.77 libmicrohttpd sends the last chunk of a body behind the head. */
static bool library_sends_last_chunk(void) {
    unsigned major = 0, minor = 0, patch = 0;
    sscanf(MHD_get_version(), "%u.%u.%u", &major, &minor, &patch);
    return major == 0 && (minor < 9 || (minor == 9 && patch < 77));
}

struct MHD_Response *http_head_response(void) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64, read_nothing, NULL, NULL);
    /* Without chunks the end of such an answer is the end of its connection. */
    if (response != NULL && library_sends_last_chunk())
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
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

static void add_accepted(void *arg, const char *line) {
    http_coding_read(arg, line);
}

static enum http_coding wanted_coding(struct http_request *r) {
    struct http_coding_wish wish = HTTP_CODING_NO_WISH;
    http_each_header(r, MHD_HTTP_HEADER_ACCEPT_ENCODING, add_accepted, &wish);
    return http_coding_choose(&wish);
}

/* Images and the like are compressed already. */
static bool is_text(const char *media_type) {
    return strncmp(media_type, "text/", 5) == 0 || strcmp(media_type, "application/json") == 0;
}

/* The part that the client wants. Only GET has ranges (RFC 9110, section 14.2), and only if the client has the rest of
 * the same bytes (section 13.1.5). etag: NULL: there is none, so no If-Range holds. */
static enum range wanted_range(struct http_request *r, size_t size, const char *etag, size_t *first, size_t *last) {
    const char *condition = http_header(r, MHD_HTTP_HEADER_IF_RANGE);
    struct etag_search s = {.etag = etag};
    if (strcmp(r->method, MHD_HTTP_METHOD_GET) != 0)
        return RANGE_NONE;
    if (condition != NULL && etag != NULL)
        etag_search_single(&s, condition);
    if (condition != NULL && !s.found)
        return RANGE_NONE;
    return range_parse(http_header(r, MHD_HTTP_HEADER_RANGE), size, first, last);
}

/* The entity tags of a slice: its bytes as they are, and compressed. */
struct slice_tags {
    char in[HTTP_CODINGS][ETAG_SIZE];
};

static const char *const coding_names[HTTP_CODINGS] = {[HTTP_GZIP] = "gzip", [HTTP_ZSTD] = "zstd"};

static struct slice_tags tags_of(const char *tag) {
    struct slice_tags tags;
    snprintf(tags.in[HTTP_IDENTITY], ETAG_SIZE, "\"%s\"", tag);
    for (int i = HTTP_IDENTITY + 1; i < HTTP_CODINGS; i++)
        snprintf(tags.in[i], ETAG_SIZE, "\"%s-%s\"", tag, coding_names[i]);
    return tags;
}

static void set_tag(struct http_request *r, const char *etag) {
    http_set_header(r, MHD_HTTP_HEADER_ETAG, etag);
    http_set_header(r, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
}

static bool any_precondition_holds(struct http_request *r, const struct slice_tags *tags) {
    for (int i = 0; i < HTTP_CODINGS; i++)
        if (!http_precondition_fails(r, tags->in[i], 0))
            return true;
    return false;
}

/* True: the condition of the request has its answer, 412 or 304. What a POST has made is given whatever its conditions
 * are. */
static bool answer_condition(struct http_request *r, const struct slice_tags *tags, const char *etag) {
    if (strcmp(r->method, MHD_HTTP_METHOD_GET) != 0 && !http_is_head(r))
        return false;
    if (!any_precondition_holds(r, tags)) {
        http_answer_problem(r, PROBLEM_PRECONDITION_FAILED, NULL, NULL);
        return true;
    }
    if (!http_is_known(r, etag))
        return false;
    set_tag(r, etag);
    http_answer_static(r, MHD_HTTP_NOT_MODIFIED, NULL, "", 0);
    return true;
}

void http_answer_plain(struct http_request *r, const char *media_type, const struct slice *body, const char *tag) {
    const struct slice_tags tags = tags_of(tag);
    set_tag(r, tags.in[HTTP_IDENTITY]);
    http_set_header(r, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    http_queue_answer(r, MHD_HTTP_OK, media_type, slice_response(r, body));
}

/* response: NULL if there was no memory for it. */
static void answer_coded(struct http_request *r, const char *media_type, enum http_coding coding, const char *tag,
                         struct MHD_Response *response) {
    const struct slice_tags tags = tags_of(tag);
    set_tag(r, tags.in[coding]);
    http_set_header(r, MHD_HTTP_HEADER_CONTENT_ENCODING, coding_names[coding]);
    http_queue_answer(r, MHD_HTTP_OK, media_type, response);
}

void http_answer_coded(struct http_request *r, const char *media_type, const struct slice *body,
                       enum http_coding coding, const char *tag) {
    answer_coded(r, media_type, coding, tag, slice_response(r, body));
}

static void answer_range(struct http_request *r, const char *media_type, const struct slice *body, const char *etag,
                         size_t first, size_t last) {
    struct slice part = slice_part(body, first, last - first + 1);
    set_tag(r, etag);
    http_set_header_f(r, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes %zu-%zu/%zu", first, last, body->size);
    http_queue_answer(r, MHD_HTTP_PARTIAL_CONTENT, media_type, slice_response(r, &part));
    slice_deinit(&part);
}

void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body, const char *tag) {
    const struct slice_tags tags = tags_of(tag);
    const struct http_events *events = &r->http->events;
    size_t first = 0, last = 0;
    enum range range = wanted_range(r, body->size, tags.in[HTTP_IDENTITY], &first, &last);
    enum http_coding coding =
        range == RANGE_NONE && body->size >= CODED_FROM && is_text(media_type) && events->compress != NULL
            ? wanted_coding(r)
            : HTTP_IDENTITY;
    if (answer_condition(r, &tags, tags.in[coding]))
        return;
    if (range == RANGE_BAD) {
        set_tag(r, tags.in[HTTP_IDENTITY]);
        http_set_header_f(r, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes */%zu", body->size);
        http_answer_problem(r, PROBLEM_RANGE_NOT_SATISFIABLE, NULL, NULL);
    } else if (range == RANGE_OK) {
        answer_range(r, media_type, body, tags.in[HTTP_IDENTITY], first, last);
    } else if (coding != HTTP_IDENTITY && http_is_head(r)) {
        answer_coded(r, media_type, coding, tag, http_head_response());
    } else if (coding == HTTP_IDENTITY || !events->compress(events->arg, r, media_type, body, coding, tag)) {
        http_answer_plain(r, media_type, body, tag);
    }
}
