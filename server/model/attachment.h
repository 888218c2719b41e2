/* attachment.h: the binary data that came with a job. Front end, the thread of the event loop.
 *
 * An attachment is a data part of the request, base64 text of it, the result of another job, or memory that a local
 * client shares. Attachments have numbers, from 0 up, by which parameters and chunks name them (handlers/handler.h). */
#ifndef OFFLOAD_ATTACHMENT_H
#define OFFLOAD_ATTACHMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "pool/blob.h"

struct job_attachment {
    struct slice bytes;
    char *media_type; /* heap; NULL: the client has not said it */
    bool own;         /* no other job has the data, and they are in memory: a worker can write to them */
};

/* Begins as zeros. */
struct job_attachments {
    struct job_attachment *list; /* heap */
    uint32_t count, room;
};

/* Adds one at the end, with a reference to the bytes and a copy of the media type. 0, or -1: memory ran out. */
MUST_CHECK int attachments_add(struct job_attachments *a, const struct slice *bytes, const char *media_type, bool own);
void attachments_truncate(struct job_attachments *a, uint32_t count); /* drops those from number `count` on */
void attachments_deinit(struct job_attachments *a);

#endif
