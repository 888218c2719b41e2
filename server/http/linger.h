/* linger.h: closes connections whose clients may still send. If a socket is closed with bytes that nobody has read, the
 * client gets a reset, and the reset can destroy the answer before the client has read it (RFC 9112 section 9.6). So
 * what still comes is read and dropped for a short time. Event loop's thread. */
#ifndef OFFLOAD_HTTP_LINGER_H
#define OFFLOAD_HTTP_LINGER_H

#include "base/loop.h"

struct lingering;

/* Zeroed by its owner, who sets `loop`. */
struct lingers {
    struct loop *loop;
    struct lingering *all;
    unsigned count;
};

/* Sends a FIN, and then reads and drops what comes, until the client closes its side, a second is over, or 16 MiB
 * have come. Works on a copy of the descriptor: the caller closes its own. If there are too many already, or memory runs
 * out, only the FIN is sent. */
void linger_begin(struct lingers *all, int fd);
/* Closes all of them now. */
void linger_end_all(struct lingers *all);

#endif
