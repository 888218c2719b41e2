/* stream.c: answers that come bit by bit. Front end.
 *
 * libmicrohttpd calls read_stream when the client has taken what was sent. If there is nothing to send then,
 * read_stream suspends the connection, and libmicrohttpd calls it again only after the stream was woken. So nothing is
 * polled. The states STREAMING and STALLED are in request.c.
 *
 *     read ──bytes──► sent ──► read ...
 *      └──nothing──► STALLED ──[http_wake_stream, or the client left]──► read ...
 */
#include "server/http/stream.h"

#include <utlist.h>

#include "server/http/answer.h"

/* The size of a buffer that libmicrohttpd uses for clients of HTTP/1.0. For others it uses the connection's memory. */
#define BLOCK 4096

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max) {
    struct http_request *r = cls;
    (void)pos;
    if (r->connection->reset || (r->connection->fin_seen && r->stream->on_fin == NULL))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    ssize_t n = r->stream->read(r->stream, to, max);
    if (n > 0)
        return n;
    if (n == HTTP_STREAM_END)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == HTTP_STREAM_CUT || r->http->closing)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    http_stall_stream(r);
    return 0;
}

void http_answer_stream(struct http_request *r, unsigned status, const char *media_type, struct http_stream *s) {
    r->stream = s;
    DL_APPEND2(r->http->streams, r, stream_prev, stream_next);
    r->http->expendable += s->expendable;
    http_queue_answer(r, status, media_type,
                      http_is_head(r)
                          ? http_head_response()
                          : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, r, NULL));
}

void http_hold_stream(struct http_request *r, size_t bytes) {
    if (bytes != r->answer_held)
        http_hold_answer(r, bytes);
}

void http_wake_streams(struct http *h) {
    struct http_request *r;
    DL_FOREACH2(h->streams, r, stream_next) {
        http_wake_stream(r);
    }
}

void http_close_stream(struct http_request *r) {
    struct http_stream *s = r->stream;
    if (s == NULL)
        return;
    r->stream = NULL;
    DL_DELETE2(r->http->streams, r, stream_prev, stream_next);
    r->http->expendable -= s->expendable;
    s->close(s);
}
