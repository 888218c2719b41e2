/* apply.h: what each operation does to the tables. These functions are the `apply` of the table in sqlite.c; see struct
 * operation (op.h). Store thread, within a transaction; the front end when that thread has ended. */
#ifndef OFFLOAD_STORE_APPLY_H
#define OFFLOAD_STORE_APPLY_H

#include "server/store/sqlite/op.h"

void apply_submit(struct sql *s, struct op *op);
void apply_plan(struct sql *s, struct op *op);
void apply_update(struct sql *s, struct op *op);
void apply_lost(struct sql *s, struct op *op);
void apply_complete(struct sql *s, struct op *op);
void apply_finish(struct sql *s, struct op *op);
void apply_forget(struct sql *s, struct op *op);
void apply_get(struct sql *s, struct op *op);
void apply_list(struct sql *s, struct op *op);
void apply_find_key(struct sql *s, struct op *op);
void apply_deliver(struct sql *s, struct op *op);
void apply_delivered(struct sql *s, struct op *op);
void apply_gc(struct sql *s, struct op *op);
void apply_adjust_clock(struct sql *s, struct op *op);
void apply_look(struct sql *s, struct op *op);
void apply_probe(struct sql *s, struct op *op);

#endif
