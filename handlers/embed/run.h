/* run.h: run and run_batch of the job types that embed texts. In workers. */
#ifndef OFFLOAD_EMBED_RUN_H
#define OFFLOAD_EMBED_RUN_H

#include "handlers/handler.h"

int embeddings_run(struct call *c, struct bytes common, struct bytes chunk);
void embeddings_run_batch(struct batch *b);

#endif
