/* daemon.h: opens, runs and closes libmicrohttpd's daemon. For this room and its test; others call what http.h has.
 * Event loop's thread. */
#ifndef OFFLOAD_HTTP_DAEMON_H
#define OFFLOAD_HTTP_DAEMON_H

#include <sys/socket.h>

#include "server/http/http.h"

/* Serves a connection. Takes the socket, which must be non-blocking, and closes it if there are too many connections.
 * Copies `peer`. loopback: it came by a loopback address. */
void http_adopt(struct http *h, int fd, const struct sockaddr *peer, socklen_t peer_size, bool loopback);

#endif
