/* http.h: libmicrohttpd behind a few functions: listeners, connections, request bodies, answers now or later. Knows no
 * route and no job. One event-loop thread; libmicrohttpd runs inside its turn (external epoll mode).
 *
 * A request's way:   head ──► begin() ──► body gathered (heap, or a memfd when large) ──► handle() ──► answer
 *                                                                                            └─► suspended ──► answer
 * An answer may come bit by bit, see http_answer_stream.
 */
#ifndef OFFLOAD_HTTP_H
#define OFFLOAD_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/loop.h"
#include "pool/blob.h"
#include "server/model/problem.h"

struct http;

#define HTTP_SMALL_BODY (32 * 1024) /* larger ones go into a memfd as they arrive */

#define HTTP_MAX_LISTENERS 16

struct http_config {
    const char *const *listen; /* at most HTTP_MAX_LISTENERS */
    unsigned listen_count;
    bool any_address; /* not only loopback and Unix sockets */
    uint64_t max_body, max_connections, max_header;
    int64_t header_timeout_ns, idle_timeout_ns;
};

struct http_request;

struct http_events {
    void *arg;
    /* The head is here, the body is not. May call http_reject. */
    void (*begin)(void *arg, struct http_request *r);
    /* Whole and welcome: answer, or http_suspend. */
    void (*handle)(void *arg, struct http_request *r);
    /* The client hung up while suspended. The request is finished with by http_abandon, now or later. */
    void (*hangup)(void *arg, struct http_request *r);
    /* Answered, or cut off: the last call about this request. */
    void (*done)(void *arg, struct http_request *r);
};

/* Opens the listeners. NULL with one clear line in `error`; *misconfigured: no address of that form, or one that is not
 * allowed, rather than one that could not be had. */
struct http *http_open(struct loop *loop, const struct http_config *config, const struct http_events *events,
                       struct buf *error, bool *misconfigured);
void http_configure(struct http *h, const struct http_config *config); /* limits and timeouts, not listeners */
void http_close(struct http *h);
/* The addresses as bound, as a JSON array: ["127.0.0.1:40321"] */
void http_addresses(const struct http *h, struct buf *out);
unsigned http_connections(const struct http *h);
/* Lets libmicrohttpd work; call in every turn. Returns how long it may sleep, ns; -1: until something happens. */
int64_t http_turn(struct http *h);
/* True while answers are on their way that are worth waiting for. */
bool http_busy(const struct http *h);
/* True in http_close: what is not sent now never will be. */
bool http_is_closing(const struct http *h);
/* Every stream is read again, as if by http_wake_stream. */
void http_wake_streams(struct http *h);

/* ---- for handlers: the request ---- */

const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r);                     /* decoded, without the query */
const char *http_id(const struct http_request *r);                       /* X-Request-Id */
bool http_body_is_large(const struct http_request *r);                   /* it lies in a memfd */
const char *http_small_body(const struct http_request *r, size_t *size); /* borrowed; of no bytes if it is large */
struct slice http_body(const struct http_request *r);  /* small or large: a reference or a copy; empty: no memory */
int64_t http_arrived_ns(const struct http_request *r); /* monotonic: when it was complete; 0: not yet */
bool http_is_answered(const struct http_request *r);
unsigned http_status(const struct http_request *r); /* of the answer; 0: none yet */

/* Two pointers of the owner's: what it found in `begin`, and its state, to be freed in `done`. */
const void *http_route(const struct http_request *r);
void http_set_route(struct http_request *r, const void *route);
void *http_state(const struct http_request *r);
void http_set_state(struct http_request *r, void *state);

const char *http_header(struct http_request *r, const char *name); /* NULL if absent; several lines: the first */
/* Calls back for each line of that header. */
void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg);
const char *http_query(struct http_request *r, const char *name); /* NULL if absent, "" without a value */
void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg);

/* Answer with a problem as soon as possible, and throw the body away. members as for problem_write; taken. */
void http_reject(struct http_request *r, enum problem_code code, char *members);

void http_set_header(struct http_request *r, const char *name, const char *value);
void http_set_header_f(struct http_request *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each answers the request, suspended or not. */
void http_answer(struct http_request *r, unsigned status, const char *media_type,
                 struct buf *body); /* takes the bytes */
void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body, size_t size);
/* A slice, whole or by the client's Range, compressed if it likes that and it is large JSON. */
void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body);
void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members);

/* ---- a body that comes bit by bit ---- */

#define HTTP_STREAM_END (-1) /* that was all */
#define HTTP_STREAM_CUT (-2) /* something is missing: the client is to see that */

/* Embedded by its owner. `read` is called when the client can take more, so nothing need be buffered for a slow one. */
struct http_stream {
    /* Writes 1..max bytes and returns how many; 0: there is nothing now, to be called again by http_wake_stream; or
     * HTTP_STREAM_END, HTTP_STREAM_CUT. May wake other streams, must answer nobody. */
    ssize_t (*read)(struct http_stream *s, char *to, size_t max);
    /* Sent, or cut off: the last call, before `done` of the request. The owner frees it. */
    void (*close)(struct http_stream *s);
    bool expendable; /* http_busy does not count it: the client comes back if it is cut off */
};

/* Answers the request, suspended or not, with what the stream gives. A client that leaves, or takes nothing for the idle
 * timeout, closes it. */
void http_answer_stream(struct http_request *r, unsigned status, const char *media_type, struct http_stream *s);
/* There is something to read again. No effect while the client has not taken what was read before, or has no stream. */
void http_wake_stream(struct http_request *r);

/* Called from `handle`: the answer comes later. */
void http_suspend(struct http_request *r);
/* A suspended request whose client is gone: closes it. */
void http_abandon(struct http_request *r);

#endif
