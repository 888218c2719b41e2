/* held_back.h: tasks that are held back by a slow one. A worker gets several short tasks at a time, and sends their
 * replies together. If one of them is slower than was expected, those behind it do not begin, and the replies to those
 * before it can wait in the worker. The scoreboard tells which task the worker is at. If that stays the same for
 * HELD_BACK_NS or more, the worker is slow: it gets no more tasks, and the others that it has are given back to their
 * owner, who sends them again. What this worker says of them later is dropped.
 *
 *     sent ──┬──► the worker is at it ──────────────────────────────► replied              reply
 *            ├──► done before it, by the scoreboard ──┬── slow ──► given back              held_back
 *            └──► not begun ──────────────────────────┘
 *
 * Front end; the event loop's thread. */
#ifndef OFFLOAD_HELD_BACK_H
#define OFFLOAD_HELD_BACK_H

#include "pool/slot.h"

void held_back_init(struct slots *s);
void held_back_deinit(struct slots *s);
/* Looks at all workers after a while, and again as long as one has short tasks. Call it when a worker has got one. */
void held_back_watch(struct slots *s);

#endif
