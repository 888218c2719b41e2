/* tasks.h: sends tasks to a worker, and stops them. Replies come as pool_events. Front end; the event loop's thread. */
#ifndef OFFLOAD_TASKS_H
#define OFFLOAD_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/blob.h"
#include "pool/pool_types.h"
#include "pool/wire.h"

struct pool;

/* Binary data that goes with a task. */
struct pool_attachment {
    uint32_t index;         /* which of the job's attachments it is */
    struct slice bytes;     /* a reference is taken, or they are copied if they lie on the heap */
    const char *media_type; /* at most HANDLER_MAX_MEDIA_TYPE bytes; NULL: it is not known */
    bool own;               /* the worker can write to it; the blob is BLOB_SIZED */
};

/* A task as it is sent. Borrowed for the call. */
struct pool_task {
    struct wire_header header; /* the ticket is filled in */
    const void *front;         /* inline bytes before the payload; copied */
    size_t front_size;
    struct slice payload; /* copied if it lies on the heap, else a reference is taken; can be empty */
    void *owner;          /* borrowed; passed to `reply` or `lost` as `task` */
    bool is_long;         /* it counts in worker_has_long_task */
    const struct pool_attachment *attachments; /* consecutive ones */
    uint32_t attachment_count;
};

/* Adds a task to the worker's next datagram and returns its ticket, from 1 up. The datagram is sent by pool_flush_all or
 * pool_flush, or earlier when it is full. Only if worker_takes_tasks. */
uint64_t pool_send_task(struct worker *w, const struct pool_task *t);
/* Adds one part for a WIRE_MERGE. Look at worker_can_send between parts: parts that the socket does not take wait in
 * memory. */
void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part);
void pool_flush(struct worker *w); /* no effect on an empty datagram */
void pool_flush_all(struct pool *p);
/* Asks an idle worker for a sign of life: `pong`. No effect unless worker_takes_tasks and worker_can_send. */
void pool_ping(struct worker *w);

/* Asks a task to stop: by the scoreboard, after half of cancel_grace by SIGTERM, after all of it by SIGKILL. True: it
 * can have begun, and `reply` or `lost` will follow. False: it had not begun, and the worker will skip it; or it is
 * done, and its reply will be dropped. No event follows, and the caller can forget it. */
bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason);
/* True if the worker is at another task: it has not begun this one, or has done it and not replied. So this one does not
 * hang. A hint from the scoreboard, so the caller must not trust it for ever. */
bool pool_task_is_held_back(struct worker *w, uint64_t ticket);

/* The progress of the task by the scoreboard, 0..1. 0 if the worker works on another one. */
double pool_progress(const struct worker *w, uint64_t ticket);
/* ---- within pool/ ------------------------------------------------------------------------------------------------ */

struct slots;
void tasks_flush_all(struct slots *s);
/* The steps that the task's handler has reported as done, by the scoreboard. 0 if the worker works on another task. */
uint64_t pool_steps(const struct worker *w, uint64_t ticket);

#endif
