/* request.h: the life of a request, and the two structs that all of this room shares: the server and its requests. For
 * this room only; others include http.h. Event loop's thread. */
#ifndef OFFLOAD_HTTP_REQUEST_H
#define OFFLOAD_HTTP_REQUEST_H

#include <microhttpd.h>

#include "server/http/connection.h"
#include "server/http/http.h"
#include "server/http/listen.h"
#include "server/http/request_id.h"

/* The diagram is in request.c. */
enum http_request_state {
    REQUEST_RECEIVING, /* its head has come, and perhaps some of its body */
    REQUEST_REJECTED,  /* `problem` will be the answer; the rest of the body is thrown away */
    REQUEST_HANDLING,  /* the whole request has come, and http_events.handle runs */
    REQUEST_POLLED,    /* it waits for its answer, and libmicrohttpd asks for it whenever it runs */
    REQUEST_SUSPENDED, /* it waits for its answer, and libmicrohttpd leaves its connection alone */
    REQUEST_ANSWERED,  /* libmicrohttpd has the answer, and sends it */
    REQUEST_STREAMING, /* the same, but libmicrohttpd reads the answer from `stream` */
    REQUEST_STALLED,   /* the stream has nothing to read, and libmicrohttpd leaves the connection alone */
    REQUEST_DROPPED,   /* it gets no answer: libmicrohttpd closes the connection */
    REQUEST_STATES
};

/* unread.c's part of a request. */
struct http_unread {
    struct http_request *prev, *next; /* in http->unread, once it is answered; prev NULL: it is not */
    int64_t moved_ns;                 /* monotonic: when its client was seen to take something last */
    uint64_t taken;                   /* what unread.c measured then */
    bool measured;                    /* it was measured once */
    /* The same for --min-rate, over windows of the idle timeout. */
    struct http_request *window_prev, *window_next; /* in http->windows, in the order of window_ns */
    int64_t window_ns;
    uint64_t window_taken; /* bytes that were taken before the window, on this connection; by Unix: see measure */
    bool counted;          /* window_taken is known: not in the first window, so that quick answers cost nothing */
    bool waited;           /* in this window there was nothing to take for a while */
};

struct http_request {
    struct http *http;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    enum http_request_state state; /* moved by request.c only */

    const char *method;
    struct buf path;          /* decoded, without the query */
    struct buf body;          /* a small body */
    int spool_fd;             /* the memfd of a large body while it comes; -1: none */
    struct slice large;       /* a large body when it is whole; then `body` is empty */
    struct http_parts *parts; /* heap: its data parts; NULL: the body is one text */
    uint64_t counted;         /* bytes of it that memory was asked for */
    uint64_t text_size;       /* bytes of the text, which is not all of the body if there are data parts */
    size_t body_held;         /* bytes counted for a body that comes, in HELD_BODIES */
    uint64_t announced;       /* Content-Length; 0: there is none */
    uint64_t body_size;       /* how many bytes have come, also those that were thrown away */
    int64_t arrived_ns; /* when the whole request had come, or was answered before that; monotonic clock; 0: not yet */
    char id[HTTP_ID_SIZE];

    enum problem_code problem;  /* REQUEST_REJECTED: the answer */
    char *problem_members;      /* heap, or NULL */
    const char *problem_detail; /* static, or NULL: that of the code */

    struct buf headers;         /* of the answer: name NUL value NUL ... */
    size_t kept_headers;        /* so many bytes of them stay, see http_keep_headers */
    struct buf text;            /* the answer, if it is in one piece on the heap: libmicrohttpd sends it from here */
    unsigned status;            /* of the answer; 0: none yet */
    struct http_stream *stream; /* the answer, if it comes bit by bit; NULL when it was closed */

    size_t answer_held;  /* bytes counted for the answer in HELD_ANSWERS */
    struct slice answer; /* what libmicrohttpd sends without a copy; or empty */
    struct http_unread unread;

    const void *route; /* the owner's three pointers, see http_route */
    void *caller;
    void *owner_state;

    int64_t polled_ns; /* since when it is or was POLLED; the loop's clock */

    struct http_request *next;                  /* in the list to_resume, ended or spare */
    struct http_request *wait_prev, *wait_next; /* in the list polled or suspended */
    struct http_request *stream_prev, *stream_next;
};

/* One of libmicrohttpd's daemons. daemon.c's own. */
struct http_daemon {
    struct http *http;
    struct MHD_Daemon *library; /* NULL: it is not there */
    struct watch watch;         /* its epoll descriptor */
};

struct http {
    struct loop *loop;
    struct http_config config; /* its addresses are gone after http_open */
    struct http_events events;
    struct http_connections connections;
    unsigned requests;           /* how many have begun and are not done */
    unsigned expendable;         /* how many of the requests have an expendable stream */
    struct http_request *polled; /* POLLED, the oldest first */
    unsigned polled_count;
    struct http_request *suspended; /* SUSPENDED or STALLED; the list must be empty when libmicrohttpd is stopped */
    struct http_request *to_resume; /* we have resumed them, and libmicrohttpd will do it in the next turn */
    struct http_request *queueing;  /* libmicrohttpd takes its answer just now; NULL: none */
    struct http_request *ended;     /* libmicrohttpd has completed them while it took their answers */
    struct http_request *streams;   /* requests that have a stream */
    struct http_request *unread;    /* that are answered and not done; unread.c orders the list */
    struct http_request *windows;   /* the same ones, for --min-rate */
    struct timer unread_timer, window_timer;
    /* libmicrohttpd's idle timeout. One second more than ours: our own timer answers a body that stops coming before
     * libmicrohttpd closes it. */
    unsigned library_idle_s;
    uint64_t unread_closed;     /* how many connections were closed because their clients took nothing */
    struct http_request *spare; /* freed requests with the memory of their buffers */
    unsigned spare_count;
    bool closing;      /* http_close runs */
    bool last_answers; /* each answer closes its connection */

    /* daemon.c's own */
    struct http_daemon plain, secure; /* libmicrohttpd's daemons either speak TLS with all clients or with none */
    struct tls *tls;                  /* NULL: there is no TLS */
    struct http_listeners listeners;
    unsigned runs_due;              /* so often libmicrohttpd has to run, whatever MHD_get_timeout says */
    struct MHD_Response *no_memory; /* the answer where there is no memory for another one */
};

/* A request whose head has come on this connection. Copies `path`, and borrows `method` until the request is freed.
 * NULL if memory ran out. */
struct http_request *http_request_new(struct http *h, struct http_connection *c, struct MHD_Connection *mhd,
                                      const char *path, const char *method);
/* The request can be in any state except POLLED, SUSPENDED and STALLED. Its stream must have been closed. */
void http_request_free(struct http_request *r);
/* Counts so many bytes for its answer in HELD_ANSWERS, in place of those that were counted before. */
void http_hold_answer(struct http_request *r, size_t bytes);
/* Frees the memory of freed requests, which would have been used for further ones. */
void http_free_spare_requests(struct http *h);

/* The whole request has come: calls http_events.handle. If that neither answers nor suspends the request, the request
 * is dropped. */
void http_request_handle(struct http_request *r);
/* The client's FIN has come, or a reset. Calls http_events.hangup for a request that waits, or on_fin of a stream, which
 * is read again. In other states it has an effect only if the answer has to wait later. */
void http_request_hangup(struct http_request *r);
/* libmicrohttpd asks for the answer of a POLLED request. One that has waited for long is suspended. */
void http_request_polled(struct http_request *r);
/* libmicrohttpd gives up the connection of a POLLED request: its client has left. */
void http_request_lose(struct http_request *r);
/* Answers the request, and takes `response`. If that is NULL, because memory ran out, the answer is a 500 that says so.
 * If libmicrohttpd does not accept the answer, the request is dropped. The answer to a dropped request is thrown
 * away. */
void http_queue(struct http_request *r, unsigned status, struct MHD_Response *response);

/* STREAMING → STALLED. Call it only while libmicrohttpd reads the stream. */
void http_stall_stream(struct http_request *r);
/* Resumes the connections of all requests in the list to_resume. True if there were any: then MHD_run is due. */
bool http_resume_requests(struct http *h);
/* In how many ns the oldest POLLED request has to be suspended, which needs an MHD_run; 0: now. -1: there is none. */
int64_t http_polled_left_ns(const struct http *h);

#endif
