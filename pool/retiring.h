/* retiring.h: asks processes to leave: after a reload, at a limit, or because an owner needs another kind of process in
 * the slot. Front end; the event loop's thread. */
#ifndef OFFLOAD_RETIRING_H
#define OFFLOAD_RETIRING_H

#include "pool/slot.h"

/* From now on the process gets no new tasks, and it gets WIRE_EXIT when it has answered those that it has. No effect
 * unless it is ready. */
void retiring_begin(struct worker *w);
/* Call after replies. Sends WIRE_EXIT to a retiring process that is idle, and begins to retire a ready one that has
 * reached a limit (tasks, memory). Only if worker_is_up. */
void retiring_continue(struct worker *w);
/* Kills a process that is still loading its handler, because its owner does not need it any more. */
void retiring_abandon_start(struct worker *w);

#endif
