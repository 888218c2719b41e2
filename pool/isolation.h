/* isolation.h: workers that work for one owner (a job) alone. A worker of the main lane is isolated for an owner: a
 * forked process that has done nothing yet, or one that was executed anew and loads a single handler by itself. It does
 * that owner's tasks only, and then leaves; the slot gets an unowned, forked process again. The states are drawn in
 * slot.h. Front end; the event loop's thread. */
#ifndef OFFLOAD_ISOLATION_H
#define OFFLOAD_ISOLATION_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/pool_types.h"

/* Isolates a worker that is ready, idle and unowned. start_type: START_FORKED, or the handler that its process loads by
 * itself. True: the process that is there is unused and of this start type, and takes tasks now. False: it is replaced
 * by one that is, and `changed` is called when that one is ready. `owner` is borrowed: it is compared and passed to
 * `isolation_ended`, and the pool never looks into it. */
bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type);
/* The owner does not need the worker any more; `isolation_ended` will not be called. The process leaves when it has
 * answered its tasks, unless it is a forked one that is still unused. */
void pool_release_worker(struct worker *w);

/* ---- within pool/ ------------------------------------------------------------------------------------------------ */

/* A process was adopted. Kills it if it loads a handler for an owner that has released it meanwhile. */
void isolation_process_adopted(struct worker *w);
/* The process is dead. If it was isolated, the slot is unowned now, and `isolation_ended` is called. If it was being
 * replaced for an owner, the next process is isolated for that owner. */
void isolation_process_ended(struct worker *w, const struct death *d);

#endif
