/* retiring.h: asks processes to leave: after a reload, at a limit, or because the next one is to be another kind of
 * worker. Front end; the event loop's thread. */
#ifndef OFFLOAD_RETIRING_H
#define OFFLOAD_RETIRING_H

#include "pool/slot.h"

/* No new tasks for this process: it gets WIRE_EXIT when it has answered those that it has. No effect unless it is
 * ready. */
void retiring_begin(struct worker *w);
/* It has answered: sends WIRE_EXIT to a retiring process that is idle, and retires a ready one that is at a limit
 * (tasks, memory). Only if it is up. */
void retiring_continue(struct worker *w);
/* SIGKILL for a process that loads a handler which nobody needs any more. */
void retiring_abandon_start(struct worker *w);

#endif
