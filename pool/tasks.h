/* tasks.h: sends tasks to a worker, and stops them. Replies come as pool_events. Front end; the event loop's thread. */
#ifndef OFFLOAD_TASKS_H
#define OFFLOAD_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/pool_types.h"

/* Adds a task to the worker's next datagram (h->ticket is filled in) and returns its ticket, from 1 up. `first` and
 * `second` are its inline bytes, one behind the other, which are copied; of `bulk`, NULL or a memfd slice, a reference
 * is taken. `task`: comes back with the reply, or with `lost`. is_long: it counts in worker_has_long_task. The datagram
 * goes out with pool_flush, or earlier when it is full. Only if worker_takes_tasks. */
uint64_t pool_send_task(struct worker *w, const struct wire_header *h, const void *first, size_t first_size,
                        const void *second, size_t second_size, const struct slice *bulk, void *task, bool is_long);
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
