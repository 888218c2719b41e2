/* listen.h: opens listening sockets, TCP and Unix, and accepts from them. Knows nothing of HTTP: it gives each accepted
 * socket to its owner. Event loop's thread. */
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
    char address[128]; /* with the port that the system has chosen: "127.0.0.1:40321", "unix:/run/offload" */
    bool loopback;     /* the address is a loopback address, and no Unix socket */
    char *unlink_path; /* the file of a Unix socket, which is removed when the listener closes; heap, or NULL */
};

/* Embedded by its owner, who zeroes it, and sets `loop` and `accepted` before it calls http_listeners_open. */
struct http_listeners {
    struct loop *loop;
    /* A client has connected. The owner takes the socket, which is non-blocking and close-on-exec. Borrows `peer` for
     * the call. loopback: the listener has a loopback address. */
    void (*accepted)(struct http_listeners *l, int fd, const struct sockaddr *peer, socklen_t peer_size, bool loopback);
    struct http_listener at[HTTP_MAX_LISTENERS];
    unsigned count;
    struct timer retry_timer; /* runs while we do not accept, because descriptors or memory ran out */
};

/* Opens a listener for each address. 0, or -1 with one line in `error`; *misconfigured is set as for http_open.
 * Listeners that were opened before the failure stay open, so call http_listeners_close in both cases. */
MUST_CHECK int http_listeners_open(struct http_listeners *l, const struct http_config *config, struct buf *error,
                                   bool *misconfigured);
/* Closes all listeners, and removes the files of Unix sockets. */
void http_listeners_close(struct http_listeners *l);

#endif
