/* sending.h: datagrams to a worker. Frames are gathered into one datagram. Datagrams that the socket does not take wait
 * in the backlog. Front end; the event loop's thread. */
#ifndef OFFLOAD_SENDING_H
#define OFFLOAD_SENDING_H

#include <stddef.h>

#include "base/attributes.h"
#include "pool/slot.h"

/* For a process that was just adopted. 0, or -1: out of memory. */
MUST_CHECK int sending_open(struct worker *w);
/* Drops the frames that were not sent. No effect if it is closed. */
void sending_close(struct worker *w);

/* Sends the datagram, or puts it behind the backlog. If neither is possible, kills the worker, so that its tasks are
 * reported lost. Only if the datagram has a frame. */
void sending_flush(struct worker *w);
/* The socket has room: sends the backlog, and calls `can_send` of the pool's events when all of it is sent. */
void sending_resume(struct worker *w);

static const struct slice no_payload = {NULL, 0, 0};

/* Adds a frame to the datagram, see wire_put. If the frame does not fit in, the datagram is sent first. The payload
 * travels inline if it lies on the heap, else as a descriptor. */
static inline void sending_put(struct worker *w, const struct wire_header *h, const void *front, size_t front_size,
                               const struct slice *payload) {
    bool bulk = slice_is_bulk(payload);
    size_t size = bulk ? 0 : payload->size;
    if (!wire_fits(&w->writer, front_size + size, bulk))
        sending_flush(w);
    wire_put(&w->writer, h, front, front_size, bulk ? NULL : slice_heap(payload), size, bulk ? payload : NULL);
}

#endif
