/* execute.h: one call of a handler that is known, on bytes that are in place: what execute.c does for a job, and
 * items_plan.c and items_run.c for each item of a map. Private to handlers/host. */
#ifndef OFFLOAD_HOST_EXECUTE_H
#define OFFLOAD_HOST_EXECUTE_H

#include "handlers/host/call.h"
#include "handlers/host/params.h"

/* The bytes where handlers expect them, at a multiple of 8 and never NULL: in place, or as a copy that the caller
 * frees from *copy. False if memory ran out. */
MUST_CHECK bool execute_align(struct bytes *b, void **copy);

/* Each returns what host_plan, host_run and host_merge do; all bytes are aligned, and *c is filled in. */
MUST_CHECK int execute_plan(struct call *c, const struct params_table *table, struct bytes packed);
MUST_CHECK int execute_run(struct call *c, const struct handler *handler, struct bytes common, struct bytes chunk);
MUST_CHECK int execute_merge(struct call *c, const struct handler *handler, struct bytes common,
                             const struct bytes *parts, size_t count);

bool execute_is_cancelled(const struct host_hooks *hooks); /* NULL: no */
int execute_no_memory(struct fault *fault);                /* returns -1 */
int execute_no_type(size_t type, struct fault *fault);

#endif
