/* frame.h: frames over a Unix stream socket, as docs/programs.md states them: two little endian u32 sizes, JSON, and a
 * binary part, which is empty. Neither the zygote nor a worker waits for the socket: what it does not take is kept. */
#ifndef OFFLOAD_PROGRAM_FRAME_H
#define OFFLOAD_PROGRAM_FRAME_H

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"

#define FRAME_HEAD     8
#define FRAME_MAX_JSON (UINT32_C(256) << 20) /* bytes */

/* One end of a conversation. Begin with frames_open. */
struct frames {
    int fd; /* -1: closed */
    struct buf out, in;
    size_t sent, taken; /* bytes of out that were sent, and of in that are used up */
};
void frames_open(struct frames *f, int fd); /* takes the descriptor, which it makes non-blocking */
void frames_close(struct frames *f);

/* Begins a frame behind what waits to be sent: append its JSON to the buffer, and end it. */
struct buf *frames_begin(struct frames *f, size_t *start);
/* False: memory ran out, or the frame is too large. Then it is taken back, and the others are as they were. */
MUST_CHECK bool frames_end(struct frames *f, size_t start);
bool frames_wait_to_send(const struct frames *f);

/* Sends what the socket takes. 0, or -1: the peer is gone. */
MUST_CHECK int frames_send(struct frames *f);
/* The same, for a frame with two descriptors, when nothing waits to be sent. 0, or -1 with errno: it was not sent. */
MUST_CHECK int frames_send_with(struct frames *f, const int fds[2]);
/* Reads what has come. 0, or -1: there will be no more, or memory ran out. */
MUST_CHECK int frames_receive(struct frames *f);
/* Takes the next whole frame. *json is valid until frames_receive. 1; 0: there is none yet; -1: it breaks the rules. */
MUST_CHECK int frames_next(struct frames *f, struct bytes *json);

#endif
