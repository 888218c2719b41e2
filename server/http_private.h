/* http_private.h: shared by http.c (daemon, requests), http_listen.c (sockets) and http_answer.c (answers) only. */
#ifndef OFFLOAD_HTTP_PRIVATE_H
#define OFFLOAD_HTTP_PRIVATE_H

#include <microhttpd.h>

#include "server/config.h"
#include "server/http.h"

struct http_listener {
    struct http *http;
    struct watch watch;
    char address[128]; /* as bound */
    char *unlink_path; /* of a Unix socket; heap or NULL */
};

struct http_connection {
    struct http *http;
    struct watch watch;  /* the client's FIN: libmicrohttpd does not look at a suspended connection */
    struct timer timer;  /* first head, then bodies */
    int64_t active_ns;   /* last bytes of a body */
    bool head_seen, in_body, gone, over_limit;
    struct http_request *request; /* the one being served */
};

struct http {
    struct loop *loop;
    struct http_config config;
    struct http_events events;
    struct MHD_Daemon *daemon;
    struct watch watch; /* libmicrohttpd's epoll descriptor */
    struct http_listener listeners[CONFIG_MAX_LIST];
    unsigned listener_count, connections, requests;
    struct timer accept_timer; /* out of descriptors: try again */
    struct http_request *suspended; /* all of them: none may be left when libmicrohttpd is stopped */
    struct http_request *spare;     /* freed ones, with the memory of their buffers */
    unsigned spare_count;
    struct http_request *resume; /* answered while suspended; resumed together in http_turn */
    bool run_due, misconfigured;
};

/* http_listen.c */
int http_open_listeners(struct http *h, struct buf *error);
void http_close_listeners(struct http *h);

/* http_answer.c */
enum MHD_Result http_queue(struct http_request *r, unsigned status, struct MHD_Response *response);

#endif
