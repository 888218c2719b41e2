/* render.h: the Job document of the HTTP contract, from a record. */
#ifndef OFFLOAD_RENDER_H
#define OFFLOAD_RENDER_H

#include <stdbool.h>

#include "base/buf.h"
#include "server/model/record.h"

#define RENDER_MAX_INLINE (256 * 1024) /* a larger result is not in the Job, only behind links.result */

/* What a live job is at, beside its record. {0}: it is not live. */
struct job_view {
    bool live;
    double fraction;            /* 0..1, while running: with what running chunks have reported */
    bool delayed;               /* while queued: it waits for a time, not for a worker */
    int64_t estimated_start_ms; /* while queued: wall clock */
};

/* Appends the Job. */
void render_job(struct buf *out, const struct record *r, const struct job_view *view, bool with_result);
/* A tag that changes with the document: W/"..." */
void render_etag(char *to, size_t size, const struct record *r, const struct job_view *view);
/* queue;dur=0.2, plan;dur=..., in ms (Server-Timing, W3C). */
#define RENDER_TIMING_SIZE 160
void render_server_timing(char to[RENDER_TIMING_SIZE], const struct record *r);

#endif
