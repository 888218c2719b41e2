/* request.h: the life of a request, and what all of this room shares: the server and its requests. For this room only:
 * others see http.h. */
#ifndef OFFLOAD_HTTP_REQUEST_H
#define OFFLOAD_HTTP_REQUEST_H

#include <microhttpd.h>

#include "server/http/connection.h"
#include "server/http/http.h"
#include "server/http/listen.h"
#include "server/http/request_id.h"

/* The diagram is in request.c. */
enum http_request_state {
    REQUEST_RECEIVING, /* its head has come, its body may be on its way */
    REQUEST_REJECTED,  /* `problem` will be the answer; the rest of the body is thrown away */
    REQUEST_HANDLING,  /* it is whole, and in http_events.handle */
    REQUEST_SUSPENDED, /* it waits for its answer, and libmicrohttpd leaves its connection alone */
    REQUEST_ANSWERED,  /* libmicrohttpd has the answer, and sends it */
    REQUEST_STREAMING, /* the same, but libmicrohttpd reads the answer from `stream` */
    REQUEST_STALLED,   /* the stream has nothing to read, and libmicrohttpd leaves the connection alone */
    REQUEST_DROPPED,   /* it gets no answer: libmicrohttpd closes the connection */
    REQUEST_STATES
};

struct http_request {
    struct http *http;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    enum http_request_state state; /* moved by request.c only */

    const char *method;
    struct buf path;    /* decoded, without the query */
    struct buf body;    /* a small body */
    int spool_fd;       /* the memfd of a large body while it comes; -1: none */
    struct slice large; /* a large body when it is whole; then `body` is empty */
    uint64_t body_size; /* bytes that have come, those thrown away included */
    int64_t arrived_ns; /* when it was whole, or was answered before that; monotonic; 0: not yet */
    char id[HTTP_ID_SIZE];

    enum problem_code problem; /* of a rejected one */
    char *problem_members;     /* heap, or NULL */

    struct buf headers;         /* of the answer: name NUL value NUL ... */
    unsigned status;            /* of the answer; 0: none yet */
    struct http_stream *stream; /* the answer, if it comes bit by bit; NULL when it was closed */

    const void *route; /* the handler's two pointers, see http_route */
    void *owner_state;

    struct http_request *next; /* in the list to_resume, or spare */
    struct http_request *suspended_prev, *suspended_next, *stream_prev, *stream_next;
};

struct http {
    struct loop *loop;
    struct http_config config; /* the addresses in it are gone after http_open */
    struct http_events events;
    unsigned connections;           /* that are open; with those above the limit */
    unsigned requests;              /* that have begun and are not done */
    unsigned expendable;            /* of the requests: those with an expendable stream */
    struct http_request *suspended; /* SUSPENDED and STALLED ones; none may be left when libmicrohttpd is stopped */
    struct http_request *to_resume; /* no longer suspended for us; libmicrohttpd is told in the next turn */
    struct http_request *streams;   /* that have a stream */
    struct http_request *spare;     /* freed ones, with the memory of their buffers */
    unsigned spare_count;
    bool closing; /* in http_close */

    /* daemon.c's own */
    struct MHD_Daemon *daemon;
    struct watch watch; /* libmicrohttpd's epoll descriptor */
    struct http_listeners listeners;
    bool run_due; /* libmicrohttpd has something to do */
};

/* A request whose head has come on this connection. NULL: no memory. */
struct http_request *http_request_new(struct http *h, struct http_connection *c, struct MHD_Connection *mhd,
                                      const char *path, const char *method);
/* It may be in any state but SUSPENDED and STALLED, and its stream is closed. */
void http_request_free(struct http_request *r);
/* Frees the memory that is kept for further requests. */
void http_free_spare_requests(struct http *h);

/* It is whole: calls http_events.handle. A request that the handler neither answers nor suspends is dropped. */
void http_request_handle(struct http_request *r);
/* The client's FIN has come: calls http_events.hangup for a suspended request, and has a stalled stream read again,
 * which tells libmicrohttpd. In other states it is noticed when the answer has to wait. */
void http_request_hangup(struct http_request *r);
/* Answers it: `response` is taken. NULL, or one that libmicrohttpd does not want: the request is dropped. The answer
 * to a dropped request is thrown away. */
void http_queue(struct http_request *r, unsigned status, struct MHD_Response *response);

/* STREAMING → STALLED, from within libmicrohttpd's question for more. */
void http_stall_stream(struct http_request *r);
/* Tells libmicrohttpd which connections are no longer suspended. True if there were any: MHD_run is due. */
bool http_resume_requests(struct http *h);

#endif
