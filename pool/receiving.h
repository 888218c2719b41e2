/* receiving.h: the socket to a worker, and the replies from it. Front end; the event loop's thread. */
#ifndef OFFLOAD_RECEIVING_H
#define OFFLOAD_RECEIVING_H

#include "base/attributes.h"
#include "pool/slot.h"

/* Takes the socket of a process that was just adopted, and watches it. 0, or -1 with errno: it is not watched. Close it
 * with receiving_close in both cases. */
MUST_CHECK int receiving_open(struct worker *w, int socket);
/* Handles the replies that have arrived, at most 64 datagrams. Kills a worker that breaks the protocol or has closed
 * its socket. */
void receiving_take_replies(struct worker *w);
/* The process is dead: the same for all that it has sent. */
void receiving_take_last_replies(struct worker *w);
void receiving_close(struct worker *w); /* no effect if it is closed */

#endif
