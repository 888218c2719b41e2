/* http_private.h: shared by http.c (daemon, requests), http_answer.c (answers) and
 * http_stream.c (answers that come bit by bit) only. */
#ifndef OFFLOAD_HTTP_PRIVATE_H
#define OFFLOAD_HTTP_PRIVATE_H

#include <microhttpd.h>

#include "server/http/http.h"
#include "server/http/listen.h"

/* One request. Fields are read-only for handlers unless said. */
struct http_request {
    struct http *http;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    const char *method;
    struct buf path;    /* decoded, without the query */
    struct buf body;    /* a small body */
    struct slice large; /* a large one; then `body` is empty */
    int spool_fd;
    uint64_t body_size;
    int64_t arrived_ns; /* when the request was complete */
    char id[33];        /* X-Request-Id */
    const void *route;  /* for the owner: set in begin */
    void *state;        /* for the owner: freed by `done` */
    bool failed;        /* `problem` is the answer whatever follows: the body is thrown away */
    enum problem_code problem;
    char *problem_members; /* heap or NULL */
    bool suspended, answered;
    struct http_stream *stream; /* the answer, if it comes bit by bit */
    unsigned status;            /* of the answer */
    struct buf headers;         /* of the answer: name NUL value NUL ... */
    struct http_request *next;  /* to be resumed; or spare */
    struct http_request *suspended_prev, *suspended_next, *stream_prev, *stream_next;
};

struct http_connection {
    struct http *http;
    struct watch watch; /* the client's FIN: libmicrohttpd does not look at a suspended connection */
    struct timer timer; /* first head, then bodies */
    int64_t active_ns;  /* last bytes of a body */
    bool head_seen, in_body, gone, over_limit;
    struct http_request *request; /* the one being served */
};

struct http {
    struct loop *loop;
    struct http_config config;
    struct http_events events;
    struct MHD_Daemon *daemon;
    struct watch watch; /* libmicrohttpd's epoll descriptor */
    struct http_listeners listeners;
    unsigned connections, requests;
    unsigned expendable;            /* of the requests: http_stream.expendable */
    struct http_request *suspended; /* all of them: none may be left when libmicrohttpd is stopped */
    struct http_request *spare;     /* freed ones, with the memory of their buffers */
    unsigned spare_count;
    struct http_request *resume;  /* answered while suspended; resumed together in http_turn */
    struct http_request *streams; /* all that are being answered bit by bit */
    bool run_due, closing;
};

/* http.c */
enum MHD_Result http_queue(struct http_request *r, unsigned status, struct MHD_Response *response);
void http_suspend_connection(struct http_request *r); /* suspends its connection */
void http_resume(struct http_request *r);             /* in the next turn */

/* http_answer.c: adds the request's headers, and queues. NULL: out of memory, the connection is closed. */
void http_queue_answer(struct http_request *r, unsigned status, const char *media_type, struct MHD_Response *response);

/* http_stream.c */
void http_close_stream(struct http_request *r); /* no effect if it has none */

#endif
