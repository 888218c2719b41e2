/* life.h: the processes of a slot, one after the other: asked for, adopted, dead, replaced. The states are drawn in
 * slot.h. Front end; the event loop's thread. */
#ifndef OFFLOAD_LIFE_H
#define OFFLOAD_LIFE_H

#include <sys/types.h>

#include "pool/slot.h"

void life_init(struct worker *w);
/* Asks the current zygote for a process. No effect unless the slot is empty and that zygote has loaded. */
void life_begin(struct worker *w);
/* The zygote has forked the process. Takes both descriptors; -1: they did not arrive, and the process is killed. Only
 * if the slot is STARTING and has no pid. */
void life_adopt(struct worker *w, pid_t pid, int socket, int stderr_fd);
/* The zygote could not fork it: tries again a little later. Only if the slot is STARTING and has no pid. */
void life_not_begun(struct worker *w, int error);
/* The zygote is lost, and the process with it. The front end will reap it. */
void life_lose_zygote(struct worker *w);

/* The process is reaped. status: as waitpid(2) gives it. Its tasks are reported lost, and the slot gets its next
 * process: at once, or after a delay if several in a row died as soon as they had started. Only if the slot has a
 * process. */
void life_end(struct worker *w, int status, bool oom, uint64_t max_rss_bytes, uint64_t cpu_ms);

/* Frees what the slot holds. Does nothing to the worker's process. */
void life_deinit(struct worker *w);

#endif
