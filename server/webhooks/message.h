/* message.h: what a webhook says: its body, and the headers of one attempt, by Standard Webhooks
 * (github.com/standard-webhooks). Front end. */
#ifndef OFFLOAD_WEBHOOKS_MESSAGE_H
#define OFFLOAD_WEBHOOKS_MESSAGE_H

#include <stddef.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/id.h"

#define WEBHOOK_MAX_HEADERS 6

struct record;
struct webhook_secrets;

/* All of it is borrowed. */
struct webhook_message {
    struct id job;
    const char *trace; /* the job's trace as the text of trace.h, or "" */
    const void *body;
    size_t size; /* of the body, bytes */
};

/* Appends the body, which says that the job has ended: {"type": "job.succeeded", "timestamp": "...", "data": Job}. */
void webhook_body(struct buf *out, const struct record *r);

/* Writes the headers of an attempt that begins now, signed with each of the secrets, if there are any. Appends them to
 * `text`, which is empty, each as "name: value" and a NUL, and points headers[] to them; NULL follows the last. They
 * are valid as long as the text is. 0, or -1: out of memory. */
MUST_CHECK int webhook_headers(struct buf *text, const char *headers[WEBHOOK_MAX_HEADERS + 1],
                               const struct webhook_secrets *secrets, const struct webhook_message *m);

#endif
