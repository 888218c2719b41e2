/* http.h: libmicrohttpd behind a few functions: listeners, connections, request bodies, answers now or later. Knows no
 * route and no job. One event-loop thread; libmicrohttpd runs inside its turn (external epoll mode).
 *
 * A request's way:   head ──► begin() ──► body gathered (heap, or a memfd when large) ──► handle() ──► answer
 *                                                                                            └─► suspended ──► answer
 */
#ifndef OFFLOAD_HTTP_H
#define OFFLOAD_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/loop.h"
#include "pool/blob.h"
#include "server/problem.h"

struct http;
struct MHD_Connection;

#define HTTP_SMALL_BODY (32 * 1024) /* larger ones go into a memfd as they arrive */

struct http_config {
    const char *const *listen;
    unsigned listen_count;
    bool any_address;               /* not only loopback and Unix sockets */
    uint64_t max_body, max_connections, max_header;
    int64_t header_timeout_ns, idle_timeout_ns;
};

struct http_connection;

/* One request. Fields are read-only for handlers unless said. */
struct http_request {
    struct http *http;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    const char *method;
    struct buf path;         /* decoded, without the query */
    struct buf body;         /* a small body */
    struct slice large;      /* a large one; then `body` is empty */
    int spool_fd;
    uint64_t body_size;
    int64_t arrived_ns;      /* when the request was complete */
    char id[33];             /* X-Request-Id */
    const void *route;       /* for the owner: set in begin */
    void *state;             /* for the owner: freed by `done` */
    bool failed;             /* `problem` is the answer whatever follows: the body is thrown away */
    enum problem_code problem;
    char *problem_members;   /* heap or NULL */
    bool suspended, answered;
    unsigned status;         /* of the answer */
    struct buf headers;      /* of the answer: name NUL value NUL ... */
    struct http_request *next; /* to be resumed; or spare */
    struct http_request *suspended_prev, *suspended_next;
};

struct http_events {
    void *arg;
    /* The head is here, the body is not. May call http_refuse. */
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
/* True while answers are on their way. */
bool http_busy(const struct http *h);

/* ---- for handlers ---- */

const char *http_header(struct http_request *r, const char *name); /* NULL if absent; several lines: the first */
/* Calls back for each line of that header. */
void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg);
const char *http_query(struct http_request *r, const char *name); /* NULL if absent, "" without a value */
void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg);

/* Answer with a problem as soon as possible, and throw the body away. members as for problem_write; taken. */
void http_refuse(struct http_request *r, enum problem_code code, char *members);

void http_set_header(struct http_request *r, const char *name, const char *value);
void http_set_header_f(struct http_request *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each answers the request, suspended or not. */
void http_answer(struct http_request *r, unsigned status, const char *media_type, struct buf *body); /* takes the bytes */
void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body, size_t size);
/* A slice, whole or by the client's Range, compressed if it likes that and it is large JSON. */
void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body);
void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members);

/* Called from `handle`: the answer comes later. */
void http_suspend(struct http_request *r);
/* A suspended request whose client is gone: closes it. */
void http_abandon(struct http_request *r);

#endif
