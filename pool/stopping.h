/* stopping.h: makes a task stop that was asked to: ask, insist, kill. Front end; the event loop's thread.
 *
 *     asked by the scoreboard ──► after half of cancel_grace: SIGTERM ──► after all of it: SIGKILL
 *
 * Only the oldest task in flight is pressed: it is the one that is worked on. The worker skips the others when it gets
 * to them. SIGTERM ends a worker only while its current task is cancelled, see worker.c.
 */
#ifndef OFFLOAD_STOPPING_H
#define OFFLOAD_STOPPING_H

#include "pool/slot.h"

void stopping_init(struct worker *w);
/* The oldest task is another one, or was just asked to stop: starts the clock for it, or stops it if it need not
 * stop. */
void stopping_press(struct worker *w);
void stopping_end(struct worker *w); /* the process is gone */

#endif
