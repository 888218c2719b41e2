/* render.h: the Job document of the HTTP contract, from a record. */
#ifndef OFFLOAD_RENDER_H
#define OFFLOAD_RENDER_H

#include <stdbool.h>

#include "base/buf.h"
#include "server/jobs/jobs.h"

#define RENDER_MAX_INLINE (256 * 1024) /* a larger result is not in the Job, only behind links.result */

/* Appends the Job. `job`: the live one, or NULL if it has ended. */
void render_job(struct buf *out, const struct record *r, const struct job *job, bool with_result);
/* A tag that changes with the document: W/"..." */
void render_etag(char *to, size_t size, const struct record *r, const struct job *job);
/* queue;dur=0.2, plan;dur=..., in ms (Server-Timing, W3C). */
#define RENDER_TIMING_SIZE 160
void render_server_timing(char to[RENDER_TIMING_SIZE], const struct record *r);

#endif
