/* memory_limit.h: ends workers that use more than max_job_memory while they work. Front end, the loop's thread. */
#ifndef OFFLOAD_MEMORY_LIMIT_H
#define OFFLOAD_MEMORY_LIMIT_H

#include "pool/slot.h"

void memory_limit_init(struct slots *s);
/* From now on, and as long as a worker works, all that work are looked at every 20 ms. No effect without a limit. */
void memory_limit_watch(struct slots *s);

#endif
