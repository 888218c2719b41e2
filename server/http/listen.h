/* listen.h: the listening sockets, TCP and Unix, and accepting from them. Knows nothing of HTTP: a socket that was
 * accepted is handed to its owner. */
#ifndef OFFLOAD_HTTP_LISTEN_H
#define OFFLOAD_HTTP_LISTEN_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/loop.h"
#include "server/http/http.h"

struct http_listener {
    struct http_listeners *all;
    struct watch watch;
    char address[128]; /* as bound, for people and clients: "127.0.0.1:40321", "unix:/run/offload" */
    char *unlink_path; /* of a Unix socket: its file is removed when the listener closes; heap, or NULL */
};

/* Embedded by its owner, who zeroes it, and sets `loop` and `accepted` before it opens them. */
struct http_listeners {
    struct loop *loop;
    /* A client has connected. The callee takes the socket, which does not block and is closed on exec. */
    void (*accepted)(struct http_listeners *l, int fd, const struct sockaddr *peer, socklen_t peer_size);
    struct http_listener at[HTTP_MAX_LISTENERS];
    unsigned count;
    struct timer retry_timer; /* runs while accepting is suspended, because descriptors or memory ran out */
};

/* Opens a listener for each address. 0, or -1 with one line in `error`; *misconfigured as for http_open. Those that
 * were opened before the failure stay open: call http_listeners_close in both cases. */
MUST_CHECK int http_listeners_open(struct http_listeners *l, const struct http_config *config, struct buf *error,
                                   bool *misconfigured);
void http_listeners_close(struct http_listeners *l);

#endif
