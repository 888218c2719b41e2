/* connection.h: the parts of a client's connection that libmicrohttpd does not care for: the client's FIN, slow heads
 * and bodies, the limit of connections. Of the request that is being served it knows only the pointer and the id. Event
 * loop's thread. */
#ifndef OFFLOAD_HTTP_CONNECTION_H
#define OFFLOAD_HTTP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "server/http/http.h"

/* The diagram is in connection.c. */
enum http_connection_state {
    CONNECTION_HEAD,    /* the first head has not come yet */
    CONNECTION_SERVING, /* a head has come; no bytes of a body are on their way, as far as we know */
    CONNECTION_BODY,    /* bytes of a body have come, and more are to come */
    CONNECTION_CUT,     /* we have shut the socket down; libmicrohttpd will notice that, and close it */
    CONNECTION_STATES
};

struct http_connection {
    struct loop *loop;
    const struct http_config *config;          /* for the timeouts; borrowed, and changed by http_configure */
    void (*on_fin)(struct http_connection *c); /* the client's FIN or reset has come; called once at most */
    struct watch watch;                        /* for the FIN; its fd is libmicrohttpd's socket */
    struct timer timer;                        /* for the first head, then for bodies; can run longer than needed */
    int64_t active_ns;                         /* when bytes of a body came last; monotonic clock */
    enum http_connection_state state;
    /* The next two are facts and not states: they can be true in any state. */
    bool fin_seen;   /* the client will send nothing more: it has left, or has closed its side only */
    bool over_limit; /* there were too many connections when it came; it gets an answer that says so, and is closed */
    struct http_request *request; /* the one that is being served; NULL between requests */
    const char *request_id;       /* the id of that request, for a 408; borrowed; NULL between requests */
};

/* A connection that was accepted. Borrows `config` until http_connection_free. The socket stays libmicrohttpd's. NULL
 * if memory ran out. */
struct http_connection *http_connection_new(struct loop *loop, const struct http_config *config, int fd,
                                            bool over_limit, void (*on_fin)(struct http_connection *c));
/* Call it before the socket is closed. */
void http_connection_free(struct http_connection *c);

/* A head has come: from now on the connection serves this request. Borrows both pointers until http_connection_end. */
void http_connection_begin(struct http_connection *c, struct http_request *r, const char *request_id);
/* Bytes of the request's body have come, and more will come. Call it each time. */
void http_connection_take_body(struct http_connection *c);
/* The whole body has come, or there is none. */
void http_connection_end_body(struct http_connection *c);
/* The request was answered, or will never be. */
void http_connection_end(struct http_connection *c);

#endif
