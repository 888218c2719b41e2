/* batch.h: feeds many calls to the run_batch of a handler (handler.h). Private to handlers/host, in workers. The worker
 * feeds the short jobs of its datagrams by host_run_batch (host.h); items_run.c feeds the items of a map. */
#ifndef OFFLOAD_HOST_BATCH_H
#define OFFLOAD_HOST_BATCH_H

#include "handlers/host/call.h"

/* As host_run_batch, for a handler that has run_batch. */
void batch_run_handler(const struct handler *handler, const struct host_batch *feed);

#endif
