/* receiving.h: the socket to a worker, and the replies from it. Front end; the event loop's thread. */
#ifndef OFFLOAD_RECEIVING_H
#define OFFLOAD_RECEIVING_H

#include "base/attributes.h"
#include "pool/slot.h"

/* Watches the socket of a process that was just adopted, and takes it. 0, or -1 with errno: it is not watched. */
MUST_CHECK int receiving_open(struct worker *w, int socket);
/* Handles what has arrived, at most 64 datagrams. A worker that breaks the protocol or has closed its socket is
 * killed. */
void receiving_take_replies(struct worker *w);
void receiving_close(struct worker *w); /* no effect if it is closed */

#endif
