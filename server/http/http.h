/* http.h: HTTP/1.1 behind a few functions: listeners, connections, request bodies, answers now or later. This room
 * knows no route and no job, and it is the only one that knows libmicrohttpd.
 *
 *      the head ──► begin ──► the body comes ──► handle ──► an answer ──────────────────────► done
 *                                                  │                                           ▲
 *                                                  └──► http_suspend ──► an answer, later ─────┤
 *                                                          │                                   │
 *                                                          └──► hangup ──► http_abandon ───────┘
 *
 * A request that http_reject was called for goes from its head or body to its answer, without handle. An answer may
 * come bit by bit, see http_answer_stream.
 *
 * All of it runs in the thread of the event loop, and so do the callbacks. libmicrohttpd works within http_turn only.
 */
#ifndef OFFLOAD_HTTP_H
#define OFFLOAD_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/loop.h"
#include "pool/blob.h"
#include "server/model/model.h"

struct http;
struct http_request;

#define HTTP_MAX_LISTENERS 16

struct http_config {
    /* "host:port", "[address]:port" or "unix:/path"; port 0: any that is free. Read by http_open only; at most
     * HTTP_MAX_LISTENERS, and 0 is allowed. */
    const char *const *listen;
    unsigned listen_count;
    bool any_address;         /* false: only loopback addresses and Unix sockets may be listened on */
    uint64_t max_connections; /* a client above it gets 503 too_many_connections for its request, and is closed */
    uint64_t max_header;      /* bytes of a head, with its first line; above: 431 header_too_large */
    uint64_t max_body;        /* bytes; above: 413 body_too_large */
    /* From the connection's first moment until its first head has come; then it gets a 408, and is closed. */
    int64_t header_timeout_ns;
    /* For a client that sends nothing more of a body (408), that sends no further request, or that takes nothing of its
     * answer: then its connection is closed. Does not count while a request is suspended. */
    int64_t idle_timeout_ns;
};

/* What the owner does with requests. For each request: begin, then handle unless it was rejected, then done, always.
 * Any of these may be followed by `done` without the others, because the client has left. */
struct http_events {
    void *arg; /* the first argument of all of them; outlives the server */
    /* The head is here, the body is not. May call http_set_route, http_set_state and http_reject, but not answer. */
    void (*begin)(void *arg, struct http_request *r);
    /* The request is whole. Has to answer it or to call http_suspend; else its connection is closed. */
    void (*handle)(void *arg, struct http_request *r);
    /* The client of a suspended request has left. Called once at most, from http_suspend if it had left before that.
     * The owner has to call http_abandon, now or later; an answer does as well, though nobody reads it. */
    void (*hangup)(void *arg, struct http_request *r);
    /* The request was answered, or its connection has ended: the last call for it. Its http_stream was closed before.
     * The request is freed after this, so the owner forgets it. */
    void (*done)(void *arg, struct http_request *r);
};

/* ---- the server ---- */

/* Opens the listeners, and serves them from the first http_turn on. Copies `config` and `events`. NULL with one clear
 * line in `error`; *misconfigured says whether an address is of no known form or is not allowed, rather than not to
 * be had. */
MUST_CHECK struct http *http_open(struct loop *loop, const struct http_config *config, const struct http_events *events,
                                  struct buf *error, bool *misconfigured);
/* Changes max_body and the timeouts; the rest of `config` is not looked at. libmicrohttpd's own timeout stays: that of
 * clients that send no further request or take nothing. */
void http_configure(struct http *h, const struct http_config *config);
/* Closes the listeners; answers what is suspended with 503 draining, and ends streams; sends what the clients take at
 * once; closes all connections, and frees the server. Calls `done` for each request that is left. */
void http_close(struct http *h);

/* Lets libmicrohttpd work: to be called in every turn of the loop. Returns how long the loop may sleep, in ns; -1:
 * until something happens. */
int64_t http_turn(struct http *h);

/* Appends the addresses as bound, as a JSON array: ["127.0.0.1:40321","unix:/run/offload"] */
void http_addresses(const struct http *h, struct buf *out);
unsigned http_connections(const struct http *h); /* that are open */
/* True while requests are served that are worth waiting for: all but those with an expendable stream. */
bool http_busy(const struct http *h);
/* True in http_close: what is not sent now never will be. */
bool http_is_closing(const struct http *h);

/* ---- a request ---- */

/* What is borrowed from a request stays until `done`. */
const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r); /* decoded, without the query */
const char *http_id(const struct http_request *r);   /* X-Request-Id: the client's or ours */

const char *http_header(struct http_request *r, const char *name); /* NULL if absent; several lines: the first */
/* Calls back for each line of that header. */
void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg);
const char *http_query(struct http_request *r, const char *name); /* decoded; NULL if absent, "" without a value */
void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg);

/* The body, from `handle` on. A small one lies on the heap, a large one in a sealed memfd. */
bool http_body_is_large(const struct http_request *r);
const char *http_small_body(const struct http_request *r, size_t *size); /* borrowed; of no bytes if it is large */
/* Small or large: a copy or a reference, which the caller deinits. Empty if memory ran out, or the body is empty. */
struct slice http_body(const struct http_request *r);

/* Two pointers of the owner's: what it found in `begin`, and its state, which it frees in `done` at the latest. */
const void *http_route(const struct http_request *r);
void http_set_route(struct http_request *r, const void *route);
void *http_state(const struct http_request *r);
void http_set_state(struct http_request *r, void *state);

/* When the request was whole, or was answered before that: ns, monotonic. 0: not yet. */
int64_t http_arrived_ns(const struct http_request *r);
bool http_is_answered(const struct http_request *r);
unsigned http_status(const struct http_request *r); /* of the answer; 0: none yet */

/* ---- answers ---- */

/* From `begin`: the answer will be this problem, and the body is thrown away. `members` as for problem_write, on the
 * heap or NULL; taken. No effect if the request was rejected before. */
void http_reject(struct http_request *r, enum problem_code code, char *members);

/* A header of the answer, to be set before the answer is given. Copied; the formatted value is cut at 511 bytes. */
void http_set_header(struct http_request *r, const char *name, const char *value);
void http_set_header_f(struct http_request *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each of these answers the request, once, from `handle` or later, suspended or not. If memory runs out the
 * connection is closed instead. The answer to a request that was abandoned is thrown away. media_type: NULL if there
 * is no body. */
void http_answer(struct http_request *r, unsigned status, const char *media_type,
                 struct buf *body); /* takes the bytes */
void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body,
                        size_t size); /* `body` is never freed */
/* 200 with a slice, of which a reference is held: whole or, with 206, the client's Range; compressed if the client
 * takes that and it is large. */
void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body);
void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members);

/* ---- an answer that comes bit by bit ---- */

#define HTTP_STREAM_END (-1) /* that was all */
#define HTTP_STREAM_CUT (-2) /* something is missing: the client is to see that */

/* Embedded by its owner, who keeps it in place until `close`. Nothing need be buffered for a slow client: `read` is
 * called when the client can take more. */
struct http_stream {
    /* Writes 1..max bytes and returns how many; or 0: there is nothing now, and http_wake_stream will be called; or
     * HTTP_STREAM_END, HTTP_STREAM_CUT. In http_close, 0 counts as HTTP_STREAM_CUT. Runs in http_turn; may wake other
     * streams, must answer nobody. */
    ssize_t (*read)(struct http_stream *s, char *to, size_t max);
    /* The last call: all was sent, or the client has left or has taken nothing for the idle timeout, or the answer
     * could not be begun. `done` of the request follows. The owner frees the stream. */
    void (*close)(struct http_stream *s);
    bool expendable; /* http_busy does not count it: its client comes back if it is cut off */
};

/* Answers the request, suspended or not, with what the stream gives. */
void http_answer_stream(struct http_request *r, unsigned status, const char *media_type, struct http_stream *s);
/* There is something to read again. No effect on a request whose stream is not waiting for that, or that has none. */
void http_wake_stream(struct http_request *r);
/* http_wake_stream for all requests. */
void http_wake_streams(struct http *h);

/* ---- an answer that comes later ---- */

/* From `handle`: the answer comes later. Calls `hangup` at once if the client has left already. */
void http_suspend(struct http_request *r);
/* A suspended request gets no answer: its connection is closed in the next turn, and `done` is called then. No effect
 * on a request that is not suspended. */
void http_abandon(struct http_request *r);

#endif
