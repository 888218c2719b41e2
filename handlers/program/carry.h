/* carry.h: the binary data that a frame to a program brings (docs/programs.md): those that the parameters of its calls
 * name, or the parts of a merge. In the text of the parameters, which the host has made,
 *
 *     {"image": {"part": 5}}     becomes     {"image": {"attachment": 0}}
 *
 * with the number of a member of "attachments" of the frame. Private to handlers/program, in workers. */
#ifndef OFFLOAD_PROGRAM_CARRY_H
#define OFFLOAD_PROGRAM_CARRY_H

#include "base/attributes.h"
#include "handlers/program/program.h"

#define CARRY_MAX FRAME_MAX_FDS

struct carried {
    const struct host_attachment *from; /* NULL: a part of a merge */
    uint32_t number;                    /* of the job's attachment, or of the part */
    struct bytes bytes;                 /* that go into the binary part */
    int fd;                /* which of the frame's descriptors they are; -1: they go into the binary part */
    uint64_t offset, size; /* offset: in the descriptor, or in the binary part */
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
};

/* Of one frame. Begins as zeros, with `frames` and `start` set. */
struct carry {
    struct frames *frames;
    size_t start;
    struct carried list[CARRY_MAX];
    unsigned count, fds;
    uint64_t inlined; /* bytes of the binary part */
};

enum carry_outcome {
    CARRY_OK,
    CARRY_FULL,  /* the frame has no room for what this call names; what it holds already is right */
    CARRY_FAILED /* after call_fail */
};

/* Appends the params of a call to the frame. */
MUST_CHECK enum carry_outcome carry_params(struct carry *k, struct call *c, const struct program_type *t,
                                           struct bytes params);
/* Adds a part of a merge. */
MUST_CHECK enum carry_outcome carry_part(struct carry *k, struct call *c, uint32_t number, const char *media_type,
                                         struct bytes bytes);
/* Appends the member "attachments" with a comma before it, if there are some. */
void carry_put_list(const struct carry *k);
/* Appends the binary part, behind the JSON. */
void carry_put_bytes(const struct carry *k);

/* The other way round: writes the params of a chunk that `split` has made of those of the job. */
void carry_restore(const struct carry *k, const struct program_type *t, const struct json_span *chunk, struct buf *to);

#endif
