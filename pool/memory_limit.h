/* memory_limit.h: kills workers that use more than max_job_memory while they work. Front end; the event loop's
 * thread. */
#ifndef OFFLOAD_MEMORY_LIMIT_H
#define OFFLOAD_MEMORY_LIMIT_H

#include "pool/slot.h"

void memory_limit_init(struct slots *s);
/* Checks every 20 ms all workers that work, from now on and as long as there is one. No effect without a limit. */
void memory_limit_watch(struct slots *s);

#endif
