/* tasks.h: sends tasks to a worker, and stops them. Replies come as pool_events. Front end; the event loop's thread. */
#ifndef OFFLOAD_TASKS_H
#define OFFLOAD_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/blob.h"
#include "pool/pool_types.h"
#include "pool/wire.h"

/* A task as it is sent. Borrowed for the call. */
struct pool_task {
    struct wire_header header; /* the ticket is filled in */
    const void *front;         /* inline bytes before the payload; copied */
    size_t front_size;
    struct slice payload; /* copied if it lies on the heap, else a reference is taken; may be empty */
    void *owner;          /* comes back with the reply, or with `lost` */
    bool is_long;         /* it counts in worker_has_long_task */
};

/* Adds a task to the worker's next datagram and returns its ticket, from 1 up. The datagram goes out with pool_flush, or
 * earlier when it is full. Only if worker_takes_tasks. */
uint64_t pool_send_task(struct worker *w, const struct pool_task *t);
/* One part for a WIRE_MERGE. Look at worker_can_send between parts: what the socket does not take waits in memory. */
void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part);
void pool_flush(struct worker *w);
/* Asks an idle worker for a sign of life: `pong`. No effect unless worker_takes_tasks and worker_can_send. */
void pool_ping(struct worker *w);

/* Asks a task to stop: by the scoreboard; after half of cancel_grace SIGTERM, after all of it SIGKILL. True: it may
 * have begun, and a reply or `lost` will follow. False: it had not; the worker will skip it, nothing more is heard of
 * it, and the caller may forget it. */
bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason);

/* How far the task is, by the scoreboard, 0..1; 0 if it is not the one that is worked on. */
double pool_progress(const struct worker *w, uint64_t ticket);
/* The `done` of that, as its handler told it; also of a worker that has just died. */
uint64_t pool_steps(const struct worker *w, uint64_t ticket);

#endif
