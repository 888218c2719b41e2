/* message.h: what a program says (docs/programs.md): one frame's JSON, taken apart. A program is not trusted: all is
 * checked. Any process that talks with programs; one thread of it. */
#ifndef OFFLOAD_PROGRAM_MESSAGE_H
#define OFFLOAD_PROGRAM_MESSAGE_H

#include "base/attributes.h"
#include "handlers/handler.h"
#include "handlers/host/scan.h"

#define MESSAGE_MAX_DEPTH 512 /* of the JSON of a frame */
#define MESSAGE_PROTOCOL  1

enum message_kind { MESSAGE_HELLO, MESSAGE_RESULT, MESSAGE_PLANNED, MESSAGE_PROGRESS, MESSAGE_FORKED };

/* All spans lie in the JSON of the frame. Those of members that are missing have `at` NULL. */
struct message {
    enum message_kind kind;
    uint64_t call;                   /* result, planned, progress */
    struct json_span value, values;  /* result: one of these four; values is an array that is not empty */
    struct json_span error;          /* an object */
    struct json_span binary;         /* an object: the value is bytes, which came beside the JSON */
    struct json_span chunks;         /* planned: an array */
    uint64_t done, total;            /* progress */
    int64_t pid;                     /* forked; 0: it could not fork */
    struct json_span forked_error;   /* forked: a string */
    struct json_span types, sources; /* hello: arrays */
    bool fork;                       /* hello */
    bool takes_binary, takes_fds;    /* hello; takes_fds: then takes_binary, too */
    struct json_span fork_reason;    /* hello: a string; why it cannot be forked */
    int cancel_signal;               /* hello; 0: none */
    uint64_t max_calls;              /* hello; UINT64_MAX: any number */
};

/* 0; or -1 with the reason in *why, a text in static memory: the frame breaks the protocol. */
MUST_CHECK int message_read(struct bytes json, struct message *m, const char **why);

/* What "binary" of a result says. */
struct message_bytes {
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    bool has_fd;   /* they are the memfd that came along, which has `size` bytes; else the frame's binary part */
    uint64_t size; /* if has_fd */
};
/* 0; or -1 with the reason, as above. */
MUST_CHECK int message_read_bytes(const struct json_span *binary, struct message_bytes *out, const char **why);
/* Is it a media type (RFC 6838, section 4.2), in lower case and without parameters, of at most HANDLER_MAX_MEDIA_TYPE
 * bytes? */
bool message_is_media_type(const char *text);

/* ---- values of a message ----------------------------------------------------------------------------------------- */

/* A member of an object; `at` is NULL if it is not there. */
struct json_span message_member(const struct json_span *object, const char *name);
/* Reads a string, cut to the room, with a NUL at its end. False if it is none. */
bool message_text(const struct json_span *value, char *to, size_t room);
/* Reads an integer that is not negative and at most 2^53. False if it is none. */
bool message_u64(const struct json_span *value, uint64_t *number);
/* Reads a number from 0 to 10^12, of at most 31 bytes. False if it is none. */
bool message_number(const struct json_span *value, double *number);

#endif
