/* poison.h: items of a map that kill their worker each time. Front end.
 *
 * A chunk of a map is a group of items. When it was lost as often as max_attempts allows, the item at which the worker
 * died is poison: it fails, and the others of the group are tried again without it. Its last progress says which item
 * that was. An item at which the worker exceeded --max-job-memory is poison at once: another attempt would need as much. The
 * store records poison items together with the loss (lost.h), so the next process does not try them again. */
#ifndef OFFLOAD_JOBS_POISON_H
#define OFFLOAD_JOBS_POISON_H

#include "server/jobs/job.h"

/* The task's chunk cannot be tried again as it is: its attempts are used up or, with by_memory, it used too much memory.
 * steps: that it had done, of struct death. True: an item of it is poison now, so the others can be tried again. */
bool job_add_poison(struct job *job, const struct task *t, uint64_t steps, bool by_memory);
uint32_t job_count_poison(const struct job *job, uint32_t chunk); /* the poison items of that chunk */
/* How often the chunk can be lost: max_attempts, and as many again for each of its poison items. */
uint64_t job_allowed_losses(const struct job *job, uint32_t chunk);
/* Writes their places, in no order and as host_run_items takes them, to `places`. Returns how many there are. */
uint32_t job_poison_places(const struct job *job, uint32_t chunk, uint32_t places[HOST_MAX_POISON]);
/* Takes over a poison item of an earlier process. False: the map has no such item, or memory ran out. */
bool job_restore_poison(struct job *job, uint32_t chunk, uint32_t place);
/* Appends the poison items of a chunk as WIRE_RUN has them in place of common: u32 size, zeros, the places (u32 each),
 * padding. */
void job_put_poison(const struct job *job, uint32_t chunk, struct buf *out);

#endif
