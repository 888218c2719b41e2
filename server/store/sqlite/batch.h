/* batch.h: a batch of operations in one transaction. Store thread; the front end when that thread has ended. */
#ifndef OFFLOAD_STORE_BATCH_H
#define OFFLOAD_STORE_BATCH_H

#include "server/store/sqlite/op.h"

/* Carries out a list of ops, which are linked by `next`, and sets the outcome, result, trouble and code of each. When
 * it returns, all changes of the ops that are OP_DONE are on disk. The ops stay the caller's. */
void batch_run(struct sql *s, struct op *batch);

#endif
