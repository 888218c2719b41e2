/* memory_limit.h: kills workers that use more than max_job_memory while they work. Front end; the event loop's
 * thread. */
#ifndef OFFLOAD_MEMORY_LIMIT_H
#define OFFLOAD_MEMORY_LIMIT_H

#include "pool/slot.h"

void memory_limit_init(struct slots *s);
/* Looks at all workers that work, from now on and as long as there is one: after 20 ms, and then as often as the fastest
 * of them could reach the limit, from every 20 ms to once a second. No effect without a limit. */
void memory_limit_watch(struct slots *s);

#endif
