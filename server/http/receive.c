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
#include "server/http/body.h"
#include "server/http/parts.h"

#define DRAIN_LIMIT (1024 * 1024) /* a rejected body of at most so many bytes is read to its end */

static void reject_for_size(struct http_request *r, enum problem_code code, uint64_t limit) {
    char text[48];
    snprintf(text, sizeof text, "\"limit_bytes\":%llu", (unsigned long long)limit);
    http_reject(r, code, strdup(text));
}

void http_receive_head(struct http_request *r) {
    const struct http_config *config = &r->http->config;
    const char *length = http_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    r->announced = length == NULL ? 0 : strtoull(length, NULL, 10);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL && info->header_size > config->max_header)
        reject_for_size(r, PROBLEM_HEADER_TOO_LARGE, config->max_header);
    if (r->announced > config->max_body)
        reject_for_size(r, PROBLEM_BODY_TOO_LARGE, config->max_body);
}

void http_receive_begun(struct http_request *r) {
    if (r->state != REQUEST_RECEIVING || http_parts_go_to_files(r))
        return;
    /* Before the body is read. What it really takes is counted while it comes. */
    if (r->announced > HTTP_SMALL_BODY && !held_make_room(HELD_FOR_NEW, (size_t)r->announced))
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
}

/* If we read a rejected body to its end, the client sees the answer and the connection lives on. We do not if the body
 * is long, or if the client waits for "100 Continue" before it sends any of it (RFC 9110, section 10.1.1). */
bool http_receive_no_more(struct http_request *r) {
    if (r->state != REQUEST_REJECTED)
        return false;
    return http_header(r, MHD_HTTP_HEADER_EXPECT) != NULL || r->announced > DRAIN_LIMIT;
}

static void reject_for(struct http_request *r, struct parts_fault fault) {
    if (fault.code == PROBLEM_COUNT || r->state == REQUEST_REJECTED)
        return;
    r->problem_detail = fault.detail;
    http_reject(r, fault.code, NULL);
}

static void take_parts(struct http_request *r, const char *bytes, size_t size) {
    reject_for(r, http_parts_take(r, bytes, size));
}

/* Rejects the request if it is too much. */
static void take(struct http_request *r, const char *bytes, size_t size) {
    uint64_t max = r->http->config.max_body;
    const struct http_events *events = &r->http->events;
    if (r->announced == 0 && events->more != NULL)
        events->more(events->arg, r, size);
    if (r->state == REQUEST_REJECTED)
        return;
    if (r->body_size > max)
        reject_for_size(r, PROBLEM_BODY_TOO_LARGE, max);
    else if (r->parts != NULL)
        take_parts(r, bytes, size);
    else if (!http_body_hold(r, size))
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
    else if (!http_body_keep(r, bytes, size))
        reject_for(r, (struct parts_fault){PROBLEM_OVER_MEMORY, http_body_trouble()});
}

bool http_receive_body(struct http_request *r, const char *bytes, size_t size) {
    http_connection_take_body(r->connection, size);
    r->body_size += size;
    if (r->state != REQUEST_RECEIVING)
        return r->body_size <= DRAIN_LIMIT;
    take(r, bytes, size);
    if (r->state != REQUEST_REJECTED)
        return true;
    /* libmicrohttpd takes no answer in the middle of a body, so this one goes past it. */
    r->status = problem_get(r->problem)->status;
    http_connection_reject(r->connection, r->problem, r->problem_detail, r->problem_members, r->id, false);
    return false;
}

void http_receive_end(struct http_request *r) {
    http_connection_end_body(r->connection);
    r->arrived_ns = clock_monotonic_ns();
    if (r->parts != NULL && r->state == REQUEST_RECEIVING)
        reject_for(r, http_parts_end(r));
    if (r->spool_fd < 0 || r->state != REQUEST_RECEIVING)
        return;
    http_body_hand_over(r, (size_t)r->text_size); /* the blob counts itself */
    struct blob *b = blob_seal(r->spool_fd, (size_t)r->text_size);
    r->spool_fd = -1;
    if (b == NULL)
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
    else
        r->large = slice_all(b);
}
