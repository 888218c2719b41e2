/* batch.h: a batch of operations in one transaction. Store thread; and the front end when that thread has ended. */
#ifndef OFFLOAD_STORE_BATCH_H
#define OFFLOAD_STORE_BATCH_H

#include "server/store/sqlite/op.h"

/* Carries out a list of ops, linked by `next`, and fills in what came of each: outcome, result, trouble and code. What
 * is done is on disk when it returns. */
void batch_run(struct sql *s, struct op *batch);

#endif
