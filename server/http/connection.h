/* connection.h: the parts of a client's connection that libmicrohttpd does not care for: the strict check of what the
 * client sends, its FIN, slow heads and bodies, the limit of connections. Of the request that is being served it knows
 * only the pointer and the id. Event loop's thread.
 *
 * libmicrohttpd has no hook for the bytes that it reads. It reads them by recv(2), or by gnutls_record_recv if they come
 * by TLS, and the program has functions of its own with these names, which come before those of the libraries
 * (connection.c). A look at the socket beforehand (MSG_PEEK) would not do, because more can come before libmicrohttpd
 * reads. */
#ifndef OFFLOAD_HTTP_CONNECTION_H
#define OFFLOAD_HTTP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "server/http/clients.h"
#include "server/http/framing.h"
#include "server/http/http.h"
#include "server/http/linger.h"
#include "server/http/tls.h"

/* The diagram is in connection.c. */
enum http_connection_state {
    CONNECTION_HEAD,    /* a head is to come: the first one, behind the handshake, or some of a further one has come */
    CONNECTION_SERVING, /* a head has come; no bytes of a body are on their way, as far as we know */
    CONNECTION_BODY,    /* the body of the request is to come, or more of it */
    CONNECTION_CUT,     /* it is over; libmicrohttpd will notice that, and close it */
    CONNECTION_STATES
};

struct http_connection;

/* What all connections of a server share. Zeroed by its owner, who sets `loop`, `config`, the two sizes and the two
 * callbacks. */
struct http_connections {
    struct loop *loop;
    const struct http_config *config;                                   /* borrowed, and changed by http_configure */
    void (*on_fin)(struct http_connection *c);                          /* the client's FIN has come, or then a reset */
    void (*on_rejected)(struct http_connections *all, unsigned status); /* a head was answered, and never begun */
    struct lingers lingers;
    struct http_connection **by_fd; /* by socket; NULL: it is none of ours */
    size_t room;                    /* of by_fd */
    struct http_connection *spare;  /* those beyond the limit of all, oldest first */
    struct http_clients clients;    /* where they come from */
    struct label_count refused[METRICS_LABELS], slow_closed[METRICS_LABELS];
    size_t bytes_each;        /* what a plain one counts in HELD_CONNECTIONS */
    size_t tls_bytes;         /* what one with TLS counts */
    unsigned count;           /* how many are open, also those beyond the limit */
    unsigned handshakes_left; /* steps of handshakes that are done before the loop goes on */
    bool more;                /* set when a client may have sent more than was read */
};

struct http_connection {
    struct http_connections *all;
    struct watch watch;      /* for the FIN; its fd is libmicrohttpd's socket */
    struct timer timer;      /* for heads and bodies; can run longer than needed */
    int64_t active_ns;       /* when bytes of a body came last; monotonic clock */
    int64_t window_ns;       /* since when the bytes of the body are counted; likewise */
    uint64_t window_bytes;   /* how many have come since then */
    struct tls_session *tls; /* NULL: it is a plain one */
    size_t held;             /* what it counts in HELD_CONNECTIONS */
    struct framing framing;  /* of what libmicrohttpd has read */
    uint64_t begun;          /* how many of the heads in `framing` were begun by libmicrohttpd */
    struct head_fault fault; /* if is_faulty: to be answered when the requests before it are done */
    enum http_connection_state state;
    /* These are facts and not states: they can be true in any state. */
    bool fin_seen;   /* the client will send nothing more: it has left, or has closed its side only */
    bool reset;      /* the client has left: it would not read an answer */
    bool over_limit; /* there were too many connections when it came, in all or from its address */
    bool over_rate;  /* `request` came when its address had used up its requests of a second */
    bool has_shaken; /* its handshake has begun */
    bool loopback;   /* it came by a loopback address */
    bool is_faulty;
    bool fault_is_for_head;                          /* the head with the fault is for HEAD */
    bool answered;                                   /* libmicrohttpd has the answer to `request` */
    struct http_request *request;                    /* the one that is being served; NULL between requests */
    http_problem_writer *problem_writer;             /* of that request; NULL: problem documents */
    struct buf lines;                                /* of the head of that request's answer: http_keep_headers */
    const char *request_id;                          /* the id of that request; borrowed; NULL between requests */
    struct http_client *client;                      /* NULL: a Unix socket */
    struct http_connection **spare_in;               /* over_limit: the list that has it, all->spare or client->spare */
    struct http_connection *spare_prev, *spare_next; /* in it */
};

/* A connection that was accepted; tls: NULL, or its client has to speak TLS. The socket stays the caller's. NULL if memory
 * ran out, or if its address has too many connections even for an answer that says so. loopback: it came by a loopback
 * address. */
struct http_connection *http_connection_new(struct http_connections *all, int fd, const struct sockaddr *peer,
                                            bool loopback, struct tls *tls);
/* The connection of that socket; NULL: there is none. */
struct http_connection *http_connection_find(const struct http_connections *all, int fd);
/* Call it before the socket is closed. If the client may still send, the socket lives on for a moment (linger.h). */
void http_connection_free(struct http_connection *c);
/* Frees what the connections share. They must be gone. */
void http_connections_deinit(struct http_connections *all);
/* Cuts the oldest connection beyond the limit of all that serves no request. False if there is none. */
bool http_connections_cut_spare(struct http_connections *all);
/* Which limit a connection is beyond, if it is over_limit; static text, for http_connections_refuse. */
const char *http_connection_refusal(const struct http_connection *c);
/* Counts a refusal. reason: static text. */
void http_connections_refuse(struct http_connections *all, const char *reason);

/* From the first to the second call, what is read from these connections is looked at. */
void http_connections_begin_reading(struct http_connections *all);
void http_connections_end_reading(void);

/* A head has come: from now on the connection serves this request. Borrows both pointers until http_connection_end. */
void http_connection_begin(struct http_connection *c, struct http_request *r, const char *request_id);
/* So many bytes of the request's body have come, and more will come. Call it each time. */
void http_connection_take_body(struct http_connection *c, size_t size);
/* The whole body has come, or there is none. */
void http_connection_end_body(struct http_connection *c);
/* The request was answered, or will never be. */
void http_connection_end(struct http_connection *c);

/* How many bytes a client has to send or take in each window of the idle timeout; 0: it need not. */
uint64_t http_connections_least(const struct http_connections *all);
/* Makes what is sent of a problem document, as the request wants it. Returns the status, and its media type. */
unsigned http_connection_write_problem(const struct http_connection *c, enum problem_code code, struct buf *document,
                                       const char **media_type);
/* Answers past libmicrohttpd, with a problem (see problem_write), and ends the connection. No other answer can be on
 * its way. id: NULL for a new one. no_body: for HEAD. */
void http_connection_reject(struct http_connection *c, enum problem_code code, const char *detail, const char *members,
                            const char *id, bool no_body);

#endif
