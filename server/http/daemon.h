/* daemon.h: libmicrohttpd's daemon, opened, run and closed. For this room and its test; what others call is in
 * http.h. */
#ifndef OFFLOAD_HTTP_DAEMON_H
#define OFFLOAD_HTTP_DAEMON_H

#include <sys/socket.h>

#include "server/http/http.h"

/* Serves a connection. Takes the socket, which must not block, and closes it if the connection is one too many for
 * libmicrohttpd. `peer` is copied. */
void http_adopt(struct http *h, int fd, const struct sockaddr *peer, socklen_t peer_size);

#endif
