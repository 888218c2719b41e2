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
 * by one that is; `changed` tells when that one is ready. `owner` is compared and handed back, and not looked at. */
bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type);
/* The owner needs the worker no more, and `isolation_ended` will not be told. The process leaves when it has answered,
 * unless it is a forked one that is still unused. */
void pool_release_worker(struct worker *w);

/* ---- within pool/ ------------------------------------------------------------------------------------------------ */

/* A process was adopted: kills it if its owner has released it meanwhile and it loads a handler. */
void isolation_process_adopted(struct worker *w);
/* The process is dead. The slot is unowned, and its owner is told; or, if it was replaced, the next process is the
 * owner's. */
void isolation_process_ended(struct worker *w, const struct death *d);

#endif
