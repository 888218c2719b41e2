/* receive.c: receives heads and bodies. Front end.
 *
 * A small body is gathered on the heap. A body that grows beyond SMALL_BODY moves into a memfd. The memfd is sealed
 * when the body is whole, so that a worker can map it without a copy.
 */
#include "server/http/receive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SMALL_BODY  (32 * 1024)
#define UNCOUNTED   1024          /* so much of a body is counted with its connection */
#define DRAIN_LIMIT (1024 * 1024) /* a rejected body of at most so many bytes is read to its end */

static void reject_for_size(struct http_request *r, enum problem_code code, uint64_t limit) {
    char text[48];
    snprintf(text, sizeof text, "\"limit_bytes\":%llu", (unsigned long long)limit);
    http_reject(r, code, strdup(text));
}

/* What the client has announced; 0 if it has not. */
static uint64_t content_length(struct http_request *r) {
    const char *length = http_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length == NULL ? 0 : strtoull(length, NULL, 10);
}

void http_receive_head(struct http_request *r) {
    const struct http_config *config = &r->http->config;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL && info->header_size > config->max_header)
        reject_for_size(r, PROBLEM_HEADER_TOO_LARGE, config->max_header);
    if (content_length(r) > config->max_body)
        reject_for_size(r, PROBLEM_BODY_TOO_LARGE, config->max_body);
    if (content_length(r) > held_limit())
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
}

/* If we read a rejected body to its end, the client sees the answer and the connection lives on. We do not if the body
 * is long, or if the client waits for "100 Continue" before it sends any of it (RFC 9110, section 10.1.1). */
bool http_receive_no_more(struct http_request *r) {
    if (r->state != REQUEST_REJECTED)
        return false;
    return http_header(r, MHD_HTTP_HEADER_EXPECT) != NULL || content_length(r) > DRAIN_LIMIT;
}

/* The body grows by `size` bytes. False: they do not fit within --max-memory. */
static bool hold(struct http_request *r, size_t size) {
    if (r->body_size <= UNCOUNTED)
        return true;
    size += r->body_held == 0 ? (size_t)r->body_size - size : 0; /* what was not counted until now */
    if (!held_make_room(HELD_FOR_NEW, size))
        return false;
    held_add(HELD_BODIES, size);
    r->body_held += size;
    return true;
}

/* False: out of memory. */
static bool keep(struct http_request *r, const char *bytes, size_t size) {
    if (r->spool_fd < 0 && r->body.size + size <= SMALL_BODY) {
        buf_append(&r->body, bytes, size);
        return !r->body.failed;
    }
    if (r->spool_fd < 0) {
        r->spool_fd = memfd_new("offload-body");
        if (r->spool_fd < 0 || memfd_write(r->spool_fd, r->body.data, r->body.size) != 0)
            return false;
        buf_deinit(&r->body);
    }
    return memfd_write(r->spool_fd, bytes, size) == 0;
}

bool http_receive_body(struct http_request *r, const char *bytes, size_t size) {
    uint64_t max = r->http->config.max_body;
    http_connection_take_body(r->connection);
    r->body_size += size;
    if (r->state != REQUEST_RECEIVING)
        return r->body_size <= DRAIN_LIMIT;
    if (r->body_size > max)
        reject_for_size(r, PROBLEM_BODY_TOO_LARGE, max);
    else if (!hold(r, size) || !keep(r, bytes, size))
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
    if (r->state != REQUEST_REJECTED)
        return true;
    /* libmicrohttpd takes no answer in the middle of a body, so this one goes past it. */
    r->status = problem_get(r->problem)->status;
    http_connection_reject(r->connection, r->problem, NULL, r->problem_members, r->id, false);
    return false;
}

void http_receive_end(struct http_request *r) {
    http_connection_end_body(r->connection);
    r->arrived_ns = clock_monotonic_ns();
    if (r->spool_fd < 0 || r->state != REQUEST_RECEIVING)
        return;
    held_replace(HELD_BODIES, &r->body_held, 0); /* the blob counts itself */
    struct blob *b = blob_seal(r->spool_fd, (size_t)r->body_size);
    r->spool_fd = -1;
    if (b == NULL)
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
    else
        r->large = slice_all(b);
}
