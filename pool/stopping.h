/* stopping.h: makes sure that a task stops: ask, insist, kill. Front end; the event loop's thread.
 *
 *     asked by the scoreboard ──► after half of cancel_grace: SIGTERM ──► after all of it: SIGKILL
 *
 * Only the task that the worker works on is pressed (slot_front_task). It skips the others when it gets to them. SIGTERM ends a worker only while its current task is cancelled, see worker.c.
 */
#ifndef OFFLOAD_STOPPING_H
#define OFFLOAD_STOPPING_H

#include "pool/slot.h"

void stopping_init(struct worker *w);
/* Call when a task is answered, or when the one that the worker works on was asked to stop. Starts the time limit for that task if it
 * must stop, and clears the limit if not. */
void stopping_press(struct worker *w);
void stopping_end(struct worker *w); /* the process is gone */

#endif
