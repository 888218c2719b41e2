/* execute.h: calls a handler once, on bytes that are aligned. execute.c does that for a job, items_plan.c and
 * items_run.c do it for each item of a map. Private to handlers/host, in workers. */
#ifndef OFFLOAD_HOST_EXECUTE_H
#define OFFLOAD_HOST_EXECUTE_H

#include "handlers/host/call.h"
#include "handlers/host/params.h"

/* Makes *b the bytes as handlers expect them: at an address that is a multiple of 8, and never NULL. If they are not
 * there yet, *copy becomes a copy that the caller frees. False if memory ran out. */
MUST_CHECK bool execute_align(struct bytes *b, void **copy);

/* They return what host_plan, host_run and host_merge return. All bytes are aligned, and *c is filled in. */
MUST_CHECK int execute_plan(struct call *c, const struct params_table *table, struct bytes packed);
/* As execute_plan, for params that this process has just packed: they are not checked again. */
MUST_CHECK int execute_plan_own(struct call *c, const struct params_table *table, const void *packed);
MUST_CHECK int execute_run(struct call *c, const struct handler *handler, struct bytes common, struct bytes chunk);
MUST_CHECK int execute_merge(struct call *c, const struct handler *handler, struct bytes common,
                             const struct bytes *parts, size_t count);

/* Makes what a handler returned, and the reason it may have given, into what host.h promises. */
MUST_CHECK int execute_conclude(struct call *c, int returned);

bool execute_is_cancelled(const struct host_hooks *hooks); /* NULL: false */
/* They fill *fault and return -1. */
int execute_no_memory(struct fault *fault);
int execute_no_type(size_t type, struct fault *fault);

#endif
