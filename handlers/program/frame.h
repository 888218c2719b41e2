/* frame.h: frames over a Unix stream socket, as docs/programs.md states them: two little endian u32 sizes, JSON, and a
 * binary part, and perhaps descriptors. Neither the zygote nor a worker waits for the socket: what it does not take is
 * kept. */
#ifndef OFFLOAD_PROGRAM_FRAME_H
#define OFFLOAD_PROGRAM_FRAME_H

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"

#define FRAME_HEAD       8
#define FRAME_MAX_JSON   (UINT32_C(256) << 20) /* bytes */
#define FRAME_MAX_BINARY (UINT32_C(256) << 20) /* bytes */
#define FRAME_MAX_FDS    64                    /* that a frame of ours brings; the kernel takes 253 */
#define FRAME_MAX_HELD   8                     /* descriptors that have come, and that no message has claimed yet */
#define FRAME_ALIGN      64                    /* of the pieces of a binary part, counted from its start */

/* One end of a conversation. Begin with frames_open. */
struct frames {
    int fd; /* -1: closed */
    struct buf out, in;
    size_t sent, taken; /* bytes of out that were sent, and of in that are used up */
    size_t json_end;    /* of the frame that is begun: where its binary part begins; 0: it has none */
    /* Descriptors that leave with the byte `at` of out. The last one is that of the frame that is begun. */
    struct frame_fds {
        size_t at;
        unsigned count;
        int fds[FRAME_MAX_FDS];
    } * waiting;
    size_t waiting_count, waiting_room;
    bool takes_binary;        /* what comes can have binary parts; set by the owner */
    bool takes_fds;           /* and descriptors; otherwise the kernel closes those that come */
    int held[FRAME_MAX_HELD]; /* in the order in which they came */
    unsigned held_count;
    bool flooded;        /* more have come */
    struct bytes binary; /* of the frame that frames_next has given; valid as long as its JSON */
};
void frames_open(struct frames *f, int fd); /* takes the descriptor, which it makes non-blocking */
void frames_close(struct frames *f);

/* Begins a frame behind what waits to be sent: append its JSON to the buffer, and end it. */
struct buf *frames_begin(struct frames *f, size_t *start);
/* What is appended from here on is the binary part of the frame. */
void frames_begin_binary(struct frames *f);
/* The descriptor leaves with the frame that begins at `start`, and is closed then; it is taken in any case. False: there
 * is no memory, or it has FRAME_MAX_FDS already. */
MUST_CHECK bool frames_attach(struct frames *f, size_t start, int fd);
/* Takes back a frame that was begun, with its descriptors. */
void frames_drop(struct frames *f, size_t start);
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
/* Takes the descriptor that came first; the caller closes it. -1: there is none. */
int frames_take_fd(struct frames *f);

#endif
