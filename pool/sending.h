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

/* The slow part of sending_put: makes room, and adds the frame. */
void sending_put_after_flush(struct worker *w, const struct wire_header *h, const void *front, size_t front_size,
                             const struct slice *payload);

/* Adds a frame to the datagram, see wire_put. If the frame does not fit in, the datagram is sent first. The payload
 * travels inline if it lies on the heap and is not large, else as a descriptor. If memory runs out the worker is
 * killed, so that its tasks are reported lost. */
static inline void sending_put(struct worker *w, const struct wire_header *h, const void *front, size_t front_size,
                               const struct slice *payload) {
    if (slice_is_bulk(payload) || payload->size > WIRE_MAX_INLINE ||
        wire_put(&w->writer, h, front, front_size, slice_heap(payload), payload->size, NULL) != 0)
        sending_put_after_flush(w, h, front, front_size, payload);
}

#endif
