/* connection.h: a client's connection, as far as libmicrohttpd does not look after it: the client's FIN, slow heads and
 * bodies, the limit of connections. Knows the request that is being served by its pointer and its id only. */
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
    CONNECTION_CUT,     /* we have shut the socket down: libmicrohttpd is about to notice, and to close it */
    CONNECTION_STATES
};

struct http_connection {
    struct loop *loop;
    const struct http_config *config; /* for the timeouts; borrowed, and changed by http_configure */
    /* The client's FIN, or its reset, has come; once at most. Set by the owner. */
    void (*on_fin)(struct http_connection *c);
    struct watch watch; /* for the FIN; its fd is libmicrohttpd's socket */
    struct timer timer; /* for the first head, then for bodies; may run longer than it is needed */
    int64_t active_ns;  /* when bytes of a body came last; monotonic */
    enum http_connection_state state;
    /* Two facts that are no states: they hold beside any of them. */
    bool fin_seen;                /* the client will send nothing more: it has left, or closed its side only */
    bool over_limit;              /* there were too many when it came: it gets an answer that says so, and is closed */
    struct http_request *request; /* the one being served; NULL between requests */
    const char *request_id;       /* its id, for a 408; borrowed; NULL as `request` is */
};

/* NULL: no memory. The socket stays libmicrohttpd's. */
struct http_connection *http_connection_new(struct loop *loop, const struct http_config *config, int fd,
                                            bool over_limit, void (*on_fin)(struct http_connection *c));
/* Before the socket is closed. */
void http_connection_free(struct http_connection *c);

/* A head has come: from now on it serves this request. */
void http_connection_begin(struct http_connection *c, struct http_request *r, const char *request_id);
/* Bytes of the request's body have come, and more are to come: to be called for each lot. */
void http_connection_take_body(struct http_connection *c);
/* The body is whole, or there is none. */
void http_connection_end_body(struct http_connection *c);
/* The request was answered, or will not be. */
void http_connection_end(struct http_connection *c);

#endif
