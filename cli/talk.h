/* talk.h: the host's end of the conversation with a program (docs/programs.md, "Frames"). It is written for
 * `check-program` alone, without the code of the daemon, so that a mistake in one of them shows in the other. All calls
 * wait, and print meanwhile what the programs print. */
#ifndef OFFLOAD_CLI_TALK_H
#define OFFLOAD_CLI_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/attributes.h"
#include "base/buf.h"

#define TALK_MESSAGE_MAX (UINT32_C(256) << 20) /* bytes of JSON in a frame */

struct talk {
    int fd;          /* non-blocking; -1: closed */
    struct buf in;   /* what was received and not taken */
    bool ended;      /* the program has closed its end */
    bool descriptor; /* it has sent one */
};

enum talk_result {
    TALK_MESSAGE, /* *message is the caller's */
    TALK_END,     /* the stream is at its end */
    TALK_LATE,    /* nothing has come until the deadline */
    TALK_WRONG    /* *why says what is wrong with the frame */
};

void talk_open(struct talk *t, int fd); /* takes the descriptor */
void talk_close(struct talk *t);

/* A message as the bytes of its frame. It takes the reference. *bytes is the caller's, and not initialised before. */
void talk_frame(json_t *message, struct buf *bytes);
/* Sends all of the bytes. 0; or -1 with errno: EPIPE: the program has closed its end; ETIMEDOUT: it has not read until the
 * deadline. */
MUST_CHECK int talk_send(struct talk *t, const char *bytes, size_t size, int64_t deadline_ns);
/* The same for a message, whose reference it takes. */
MUST_CHECK int talk_send_message(struct talk *t, json_t *message, int64_t deadline_ns);
/* The same, with two descriptors, which stay the caller's. */
MUST_CHECK int talk_send_with(struct talk *t, json_t *message, const int fds[2], int64_t deadline_ns);
enum talk_result talk_receive(struct talk *t, int64_t deadline_ns, json_t **message, struct buf *why);

#endif
