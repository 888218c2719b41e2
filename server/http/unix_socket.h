/* unix_socket.h: Unix sockets to listen on (unix(7)): where the socket is, and who may connect to it. The right to write
 * to its file is the right to connect. For this room only. */
#ifndef OFFLOAD_HTTP_UNIX_SOCKET_H
#define OFFLOAD_HTTP_UNIX_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/attributes.h"
#include "base/buf.h"

struct unix_socket {
    struct sockaddr_un at;
    bool has_mode, has_group; /* else they are as the system makes them: by the umask, and that of the process */
    mode_t mode;
    gid_t group;
};

/* True if the value of --listen means a Unix socket. */
bool unix_socket_is_meant(const char *text);
/* Reads "unix:/path[,mode=0660][,group=NAME|NUMBER]"; no path has a comma. 0, or -1 with one line in `error`. */
MUST_CHECK int unix_socket_read(struct unix_socket *s, const char *text, struct buf *error);
/* Whether the socket can be made, as far as that can be seen; makes nothing. 0, or -1 with one line in `error`. */
MUST_CHECK int unix_socket_check(const struct unix_socket *s, struct buf *error);
/* Makes it, and listens; non-blocking and close-on-exec. Takes the place of a socket that nobody listens on. It is never
 * open to more than its mode and group allow. The descriptor; or -1 with errno, and then there is no new file. */
MUST_CHECK int unix_socket_listen(const struct unix_socket *s, int backlog);

#endif
