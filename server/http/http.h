/* http.h: HTTP/1.1 (RFC 9110, RFC 9112) behind a few functions: listeners, connections, request bodies, answers now or
 * later. With a certificate TCP listeners speak TLS. This room knows no route and no job, and it is the only one that knows
 * libmicrohttpd and serves by GnuTLS.
 *
 *      the head ──► begin ──► the body comes ──► handle ──► an answer ──────────────────────► done
 *                                                  │                                           ▲
 *                                                  └──► http_suspend ──► an answer, later ─────┤
 *                                                          │                                   │
 *                                                          └──► hangup ──► http_abandon ───────┘
 *
 * A rejected request (http_reject) goes from its head or body straight to its answer, without `handle`. An answer can
 * be sent bit by bit: see http_answer_stream.
 *
 * All functions are called on the event loop's thread, and so are the callbacks. libmicrohttpd works in http_turn and
 * http_close only.
 */
#ifndef OFFLOAD_HTTP_H
#define OFFLOAD_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/held.h"
#include "base/loop.h"
#include "pool/blob.h"
#include "server/model/model.h"

struct http;
struct http_request;

#define HTTP_MAX_LISTENERS 16

/* Of one address of clients (server/http/clients.h): open connections, and requests a second. 0: no limit. */
struct http_address_limits {
    uint64_t connections, requests;
};

struct http_config {
    /* "host:port", "[address]:port" or "unix:/path" with what unix_socket.h says, each once; with port 0 the system
     * chooses a free one. Read by http_open only. At most HTTP_MAX_LISTENERS; none is allowed, too. */
    const char *const *listen;
    unsigned listen_count;
    /* Files in PEM; NULL or "": none. tls_cert (a certificate, and those that lead from it to a root) and tls_key go
     * together; with them clients by TCP have to speak TLS 1.2 or 1.3. With tls_client_ca they are asked for a certificate,
     * too: one that they send must come from one of the authorities there, see http_client_subject. Read by http_open,
     * http_check_tls and http_reload_tls only. */
    const char *tls_cert, *tls_key, *tls_client_ca;
    bool any_address; /* false: only loopback addresses and Unix sockets are allowed */
    bool any_host;    /* false: on a loopback address Host must be local, see allowed_hosts. Read by http_open only */
    /* The request of a client beyond it can be answered (http_reject_over_limit); then its connection is closed. */
    uint64_t max_connections;
    struct http_address_limits loopback_limits,
        address_limits;          /* of listeners with a loopback address; of the others */
    uint64_t max_header;         /* bytes of a head with its first line; a larger one gets 431 header_too_large */
    uint64_t max_body;           /* bytes; a larger body gets 413 body_too_large */
    uint64_t max_parts;          /* data parts of a request; more of them get a 413, too */
    const char *spool_directory; /* for http_spool_to_files; NULL: there is none. Borrowed until http_close */
    /* How long a client has for its first head after it has connected, and for each further head from its first byte on.
     * Then it gets a 408, and is closed. */
    int64_t header_timeout_ns;
    /* How long a client can send nothing more of a body (then it gets a 408), send no further request, or take nothing
     * of its answer. Then its connection is closed. The time while a request is suspended does not count. */
    int64_t idle_timeout_ns;
    /* Bytes a second, at most 2^30; 0: none. A client that has sent less of a body in a window of the idle timeout gets a
     * 408, and one that has taken less of an answer is closed. Time in which there was nothing to take does not count.
     * Of an answer over a Unix socket the kernel does not tell how much was taken, so only silence counts there. */
    uint64_t min_rate;
    /* Names that Host can have on a loopback address, beside "localhost" and addresses; others get a 421. Borrowed until
     * http_configure or http_close. */
    const char *const *allowed_hosts;
    unsigned allowed_host_count;
};

/* Content codings (RFC 9110, section 8.4.1; RFC 8878) of answers. */
enum http_coding { HTTP_IDENTITY, HTTP_GZIP, HTTP_ZSTD, HTTP_CODINGS };

/* The callbacks of the owner. For each request: `begin`, then `handle` unless it was rejected, and always `done`. If
 * the client leaves, `done` can follow directly on `begin` or `handle`. */
struct http_events {
    void *arg; /* the first argument of all callbacks; borrowed until http_close returns */
    /* The head has come, the body has not. Can call http_set_route, http_set_state and http_reject, but must not
     * answer. */
    void (*begin)(void *arg, struct http_request *r);
    /* So many more bytes have come of a body whose length is not announced. Can call http_reject. NULL: there is no need
     * to know. */
    void (*more)(void *arg, struct http_request *r, size_t size);
    /* The whole request has come. Must answer it or call http_suspend; otherwise its connection is closed. */
    void (*handle)(void *arg, struct http_request *r);
    /* The client of a suspended request has closed its side: it will send nothing more, but it may still want the
     * answer. Called again if it has left for certain (http_client_has_left): then the owner must call http_abandon, now
     * or later, or answer, although nobody will read the answer. Called by http_suspend for what came before. */
    void (*hangup)(void *arg, struct http_request *r);
    /* The request was answered, or its connection has ended. This is the last call for the request, and its http_stream
     * was closed before. The request is freed after it, so the owner must forget it. */
    void (*done)(void *arg, struct http_request *r);
    /* A request was answered with that status, and nothing else is called for it: its head was malformed, too large or
     * too late. */
    void (*rejected)(void *arg, unsigned status);
    /* Called by http_answer_slice, with what it was given: the client wants these bytes compressed. Copies what it needs,
     * and gives the answer later, with http_answer_coded or http_answer_plain. False: it will not, so the bytes are sent
     * as they are. NULL: nothing is compressed. */
    bool (*compress)(void *arg, struct http_request *r, const char *media_type, const struct slice *body,
                     enum http_coding coding, const char *tag);
};

/* ---- the server -------------------------------------------------------------------------------------------------- */

/* Whether http_open could open the listeners, as far as that can be known without opening, making or removing anything:
 * a port that is taken is not found. 0, or -1 with one line in `error`. Needs no struct http. */
MUST_CHECK int http_check_listen(const struct http_config *config, struct buf *error);

/* Whether the files of TLS are good. 0, or -1 with one line in `error`, which is empty if memory ran out. Needs no struct
 * http. */
MUST_CHECK int http_check_tls(const struct http_config *config, struct buf *error);

/* Opens the listeners, and serves them from the first http_turn on. Copies `config` and `events`; borrows `loop` until
 * http_close. The process must ignore SIGPIPE, because sendfile(2) can raise it. NULL with one line in `error`. Then *misconfigured is true if an address has no known form or is not
 * allowed, or a file of TLS is bad, and false if an address could not be opened. */
MUST_CHECK struct http *http_open(struct loop *loop, const struct http_config *config, const struct http_events *events,
                                  struct buf *error, bool *misconfigured);
/* Reads the files of TLS again. Connections that are open keep what they have begun with. 0; or -1 as for http_check_tls,
 * also if TLS would be turned on or off, or clients would no longer be asked: then nothing changes. */
MUST_CHECK int http_reload_tls(struct http *h, const struct http_config *config, struct buf *error);
/* Changes max_body, max_parts, allowed_hosts, the limits of an address, min_rate and the timeouts, and ignores the rest of `config`. The timeout of clients that send no further
 * request or take nothing of an answer stays as it was in http_open, because it is libmicrohttpd's. */
void http_configure(struct http *h, const struct http_config *config);
/* Closes the listeners, answers suspended requests with 503 draining, and ends streams. Sends what the clients take at
 * once, closes all connections, and frees the server. Calls `done` for each request that is left. */
void http_close(struct http *h);

/* From now on every answer ends its connection. For a drain: clients come back on a new connection, which another
 * process may accept. */
void http_close_after_answer(struct http *h);

/* Lets libmicrohttpd work. Call it in every turn of the loop. Returns how long the loop can sleep, in ns; -1: until
 * something happens. */
int64_t http_turn(struct http *h);

/* Appends the addresses of the listeners as a JSON array, with the ports that the system has chosen:
 * ["127.0.0.1:40321","unix:/run/offload"] */
void http_addresses(const struct http *h, struct buf *out);
unsigned http_connections(const struct http *h); /* how many are open */
/* How many bytes are counted for each of them in HELD_CONNECTIONS: libmicrohttpd's memory, and a request's own. */
size_t http_connection_bytes(uint64_t max_header, bool tls);
/* How many connections were closed because memory was short and their clients had taken nothing for a while. */
uint64_t http_unread_closed(const struct http *h);
/* How many requests were rejected, and connections closed, because of a limit: by reason. METRICS_LABELS of them. */
const struct label_count *http_refused(const struct http *h);
/* How many connections were closed because of min_rate: by what was slow, "body" or "answer". METRICS_LABELS of them. */
const struct label_count *http_slow_closed(const struct http *h);
int64_t http_tls_expires_s(const struct http *h); /* when the certificate expires, Unix time; 0: there is no TLS */
/* How many handshakes have begun and were never done. */
uint64_t http_tls_failed(const struct http *h);
/* True while there are requests that a drain waits for: all except those with an expendable stream. */
bool http_busy(const struct http *h);
/* True during http_close. What is not sent now will never be sent. */
bool http_is_closing(const struct http *h);

/* ---- a request --------------------------------------------------------------------------------------------------- */

/* Strings and bytes of a request are borrowed until `done`; a large body, until it is answered. */
const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r); /* decoded, without the query */
const char *http_id(const struct http_request *r);   /* X-Request-Id: the client's or ours */

/* The client has left: it has reset the connection, and will not read an answer. */
bool http_client_has_left(const struct http_request *r);

/* Who is at the other end of a Unix socket (SO_PEERCRED, see unix(7)). False: it has come by TCP. */
MUST_CHECK bool http_peer(const struct http_request *r, uid_t *uid, gid_t *gid);

/* How many bytes of the body have come until now, also of those that were thrown away. */
uint64_t http_body_received(const struct http_request *r);
/* What the client has announced in Content-Length; 0: it has not. */
uint64_t http_body_announced(const struct http_request *r);
/* It has come by TLS. */
bool http_is_tls(const struct http_request *r);
/* The common name of the subject of the client's certificate, which one of the authorities of tls_client_ca has signed for
 * clients: UTF-8, at most 64 characters, none of them a control character. NULL if there is no certificate, or if it has
 * no such name or several, or has expired since the connection was made. Borrowed until `done`. */
const char *http_client_subject(const struct http_request *r);

/* NULL if the request has no such header. If the header has several lines: the first. */
const char *http_header(struct http_request *r, const char *name);
/* Calls f for each line of that header. */
void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg);
/* The decoded value of a parameter of the query. NULL if it is absent, "" if it has no value. */
const char *http_query(struct http_request *r, const char *name);
/* Calls f for each parameter of the query. An empty pair, as in "?a=1&&b=2", has the name "" and the value "". */
void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg);

/* The body, from `handle` on. A small body is on the heap, a large one in a sealed memfd. */
bool http_body_is_large(const struct http_request *r);
const char *http_small_body(const struct http_request *r, size_t *size); /* *size is 0 if the body is large */
/* A copy of a small body, or a reference to a large one; the caller calls slice_deinit. Empty if the body is empty or
 * memory ran out. */
struct slice http_body(const struct http_request *r);

/* How a body is taken. */
enum http_body_kind {
    HTTP_BODY_TEXT, /* as one text */
    HTTP_BODY_DATA, /* as one data part */
    HTTP_BODY_FORM  /* multipart/form-data (RFC 7578): the field "job" is the text, each field "data" a data part. A
                     * form that is broken, cut off, or has other fields is rejected */
};
/* From `begin`; without a call it is HTTP_BODY_TEXT. */
void http_take_body(struct http_request *r, enum http_body_kind kind);
/* From `begin`, after http_take_body: data parts that are not small become files in the spool directory. */
void http_spool_to_files(struct http_request *r);
/* Likewise: makes http_data_hash. */
void http_hash_data(struct http_request *r);

/* A data part of a request, from `handle` on; borrowed until it is answered. */
struct http_part {
    struct slice bytes;     /* on the heap if it is small; or a memfd, or a file */
    const char *media_type; /* in lower case, without parameters; "": it is not known */
    bool own;               /* it is a memfd that can be written, and nobody else has it */
};
uint32_t http_part_count(const struct http_request *r);
const struct http_part *http_part(const struct http_request *r, uint32_t i);
/* The SHA-256 of the media types, bytes and sizes of all of them; 32 bytes. */
const uint8_t *http_data_hash(const struct http_request *r);

/* Three pointers of the owner: the route and the caller, which it sets in `begin`, and its state, which it frees in
 * `done` at the latest. */
const void *http_route(const struct http_request *r);
void http_set_route(struct http_request *r, const void *route);
void *http_caller(const struct http_request *r);
void http_set_caller(struct http_request *r, void *caller);
void *http_state(const struct http_request *r);
void http_set_state(struct http_request *r, void *state);

/* When the whole request had come, or was answered before that. Monotonic clock; 0: not yet. */
int64_t http_arrived_ns(const struct http_request *r);
/* True: it has its answer, or it will never have one, because there was no memory for it or it was given up. */
bool http_is_answered(const struct http_request *r);
unsigned http_status(const struct http_request *r); /* of the answer; 0: none yet */

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Makes another JSON text of a problem document. Returns the status of the answer. */
typedef unsigned http_problem_writer(enum problem_code code, const struct buf *document, struct buf *out);
/* From `begin`, before http_reject: the problems of this request are answered so, as application/json. NULL: as problem
 * documents. */
void http_set_problem_writer(struct http_request *r, http_problem_writer *writer);

/* From `begin`: the request will be answered with this problem, and its body is thrown away. `members` is as for
 * problem_write, on the heap or NULL; http_reject takes it. No effect if the request was rejected before. */
void http_reject(struct http_request *r, enum problem_code code, char *members);
/* From `begin`: rejects the request if there are too many connections, in all or from its address, or if its address asks
 * too often. Probes should be answered all the same. True: it was rejected. */
bool http_reject_over_limit(struct http_request *r);
/* The same as http_reject with a detail, which is borrowed for ever. */
void http_reject_because(struct http_request *r, enum problem_code code, const char *detail);
/* With both. */
void http_reject_with(struct http_request *r, enum problem_code code, const char *detail, char *members);

/* Sets a header of the answer; must be called before the answer is given. Name and value are copied. A formatted value
 * is cut at 511 bytes. */
void http_set_header(struct http_request *r, const char *name, const char *value);
void http_set_header_f(struct http_request *r, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From `begin` or `more`: the headers that were set until now stay, even if another answer takes the place of the one
 * that was wanted. Their values must have no control characters. */
void http_keep_headers(struct http_request *r);

/* Before an answer of about so many bytes is made. False: there is no room for it within --max-memory, and the request
 * was answered 429 over_memory. http_answer asks this by itself. Small answers always fit. */
MUST_CHECK bool http_make_room(struct http_request *r, size_t bytes);

/* Each of these answers the request, once, from `handle` or later, suspended or not. If memory runs out, the connection
 * is closed instead. The answer to an abandoned request is thrown away. media_type is NULL if there is no body. */
void http_answer(struct http_request *r, unsigned status, const char *media_type,
                 struct buf *body); /* takes the bytes of `body` */
/* An empty buffer for http_answer, with memory of an earlier answer if there is some. The caller's. */
struct buf http_answer_room(struct http_request *r);
void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body,
                        size_t size); /* borrows `body` for ever */
/* Answers with a slice, and takes a reference to it. 200 with the whole slice; or later, if it is large text or JSON, the
 * client accepts it compressed (RFC 9110, section 12.5.3), and http_events.compress does that; or 206 with the client's Range (section 14); or 416. `tag`, at most
 * 64 characters, stands for these bytes for ever: the strong ETag is made of it, and the client's conditions can be
 * answered with 304 or 412. */
void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body, const char *tag);
/* After http_events.compress: 200 with the slice in that coding, or with the one as it was. */
void http_answer_coded(struct http_request *r, const char *media_type, const struct slice *body,
                       enum http_coding coding, const char *tag);
void http_answer_plain(struct http_request *r, const char *media_type, const struct slice *body, const char *tag);
/* Answers with a problem document (RFC 9457). `detail` and `members` are as for problem_write. */
void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members);
/* The same with a document that problem_write has written; takes its bytes. */
void http_answer_problem_document(struct http_request *r, enum problem_code code, struct buf *document);

/* ---- conditions (RFC 9110, section 13) --------------------------------------------------------------------------- */

/* `etag` is the entity tag that the resource has now, with its quotes. Our answers have no Last-Modified, so conditions
 * with dates are ignored. */

/* True: the request has If-Match, and it names the tag neither by strong comparison nor by "*"; or If-None-Match of a
 * method other than GET and HEAD names it. Then nothing may be done, and the answer is 412. significant: a tag that
 * begins with so many of its characters names it; 0: all must be the same. */
bool http_precondition_fails(struct http_request *r, const char *etag, size_t significant);
/* True: If-None-Match names the tag by weak comparison, or is "*". GET and HEAD are answered with 304. */
bool http_is_known(struct http_request *r, const char *etag);
/* True: the request has If-Match or If-None-Match. */
bool http_has_precondition(struct http_request *r);

/* ---- an answer that comes bit by bit ----------------------------------------------------------------------------- */

#define HTTP_STREAM_END (-1) /* all was read */
#define HTTP_STREAM_CUT (-2) /* something is missing, and the client must notice: the connection is cut */

/* Embedded by its owner, who keeps it in place until `close`. A slow client needs no buffer: `read` is called only when
 * the client can take more. */
struct http_stream {
    /* Writes 1 to max bytes and returns how many. 0: there is nothing now, and the owner will call http_wake_stream.
     * Or HTTP_STREAM_END, HTTP_STREAM_CUT. During http_close, 0 counts as HTTP_STREAM_CUT. Runs in http_turn; can wake
     * other streams, but must not answer any request. */
    ssize_t (*read)(struct http_stream *s, char *to, size_t max);
    /* The last call: all was sent, the client has left, it has taken nothing for the idle timeout, or the answer could
     * not be begun. `done` of the request follows. The owner frees the stream. */
    void (*close)(struct http_stream *s);
    bool expendable; /* http_busy does not count it: its client comes back if it is cut off */
    /* The client has closed its side. It may still read; `read` is called after this, and what it writes shows whether
     * the client has left. NULL: the client's FIN ends the stream. */
    void (*on_fin)(struct http_stream *s);
    size_t pinned; /* about how many bytes of payloads are held for it alone; can change at any time */
};

/* Answers the request, suspended or not, with what `read` of the stream gives. Borrows the stream until its `close`.
 * HEAD reads nothing: `close` follows. */
void http_answer_stream(struct http_request *r, unsigned status, const char *media_type, struct http_stream *s);
/* There is something to read again. No effect on a request whose stream does not wait for that, or that has none. */
void http_wake_stream(struct http_request *r);
/* How many bytes the owner of the stream holds for it now. They count in HELD_ANSWERS until the request is done. */
void http_hold_stream(struct http_request *r, size_t bytes);
/* Calls http_wake_stream for all requests. */
void http_wake_streams(struct http *h);

/* ---- an answer that comes later ---------------------------------------------------------------------------------- */

/* From `handle`, if the request is not answered: the answer comes later. If the client has closed its side already, it
 * calls `hangup` before it returns. */
void http_suspend(struct http_request *r);
/* Gives up the answer of a request that is suspended, or that http_suspend has called `hangup` for: its connection is
 * closed in the next turn, and `done` is called then. No effect on other requests. */
void http_abandon(struct http_request *r);

#endif
