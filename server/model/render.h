/* render.h: makes the Job document of the HTTP contract (schema Job in openapi.yaml) from a record. Front end. */
#ifndef OFFLOAD_RENDER_H
#define OFFLOAD_RENDER_H

#include <stdbool.h>

#include "base/buf.h"
#include "server/model/record.h"

#define RENDER_MAX_INLINE (256 * 1024) /* bytes; a larger result is not in the Job, only at links.result */

/* What the record of a live job does not say. {0}: the job is not live. */
struct job_view {
    bool live;
    double fraction;            /* while running: 0 to 1, with what running chunks have reported */
    bool delayed;               /* while queued: it waits for a time, not for a worker */
    int64_t estimated_start_ms; /* while queued: wall clock */
};

/* How many bytes of a result or its summary the Job shows. */
size_t render_result_size(const struct record *r);
/* Appends the Job document. Of a result that is not JSON it has the summary, and never the bytes. */
void render_job(struct buf *out, const struct record *r, const struct job_view *view, bool with_result);
/* Writes the ETag (RFC 9110, section 8.8.3), which changes with the document; but estimated_start does not count. It is
 * a strong one, because If-Match takes no other. Returns how many characters it has in front that change only with the
 * job itself, and not with the progress within its chunks. */
#define RENDER_ETAG_SIZE 48
size_t render_etag(char to[RENDER_ETAG_SIZE], const struct record *r, const struct job_view *view);
/* The value of Server-Timing (W3C): "queue;dur=0.2, plan;dur=...", in ms. */
#define RENDER_TIMING_SIZE 224
void render_server_timing(char to[RENDER_TIMING_SIZE], const struct record *r);

#endif
