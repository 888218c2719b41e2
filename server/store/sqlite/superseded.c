/* store_overtaken.c: which operations of a batch need not be carried out, as their job ends in the same batch: a tiny
 * job is planned, started and finished between two commits, and nobody could ever see its steps. Store thread.
 *
 * It takes a table of the ids that end, and one look at each op: a batch may have thousands. */
#include <stdlib.h>

#include "server/store/sqlite/sql.h"

struct ends {
    const struct id **slots; /* NULL: free */
    size_t mask;
};

/* How far an open job has come; its end needs none of it. */
static bool is_step(const struct op *op) {
    return op->kind == OP_PLAN || op->kind == OP_UPDATE || op->kind == OP_LOST || op->kind == OP_COMPLETE;
}

/* One that could not be written down is no end yet. */
static bool is_end(const struct op *op) {
    return op->kind == OP_FINISH && op->trouble == NULL;
}

/* Where that id is, or would be. The last bytes of an id are random. */
static const struct id **find_slot(const struct ends *e, const struct id *id) {
    size_t at;
    memcpy(&at, id->bytes + sizeof id->bytes - sizeof at, sizeof at);
    while (e->slots[at & e->mask] != NULL && memcmp(e->slots[at & e->mask], id, sizeof *id) != 0)
        at++;
    return &e->slots[at & e->mask];
}

/* 0 also if something is read, which must see all that was before it. */
static size_t count_ends(const struct op *batch) {
    size_t count = 0, steps = 0;
    for (const struct op *op = batch; op != NULL; op = op->next) {
        if (op_reads(op->kind))
            return 0;
        count += is_end(op);
        steps += is_step(op);
    }
    return steps > 0 ? count : 0;
}

void mark_superseded(struct op *batch) {
    size_t count = count_ends(batch), room = 2;
    while (room < 2 * count)
        room *= 2;
    struct ends ends = {.slots = count == 0 ? NULL : calloc(room, sizeof *ends.slots), .mask = room - 1};
    if (ends.slots == NULL)
        return;
    for (const struct op *op = batch; op != NULL; op = op->next)
        if (is_end(op))
            *find_slot(&ends, &op->id) = &op->id;
    for (struct op *op = batch; op != NULL; op = op->next)
        op->superseded = is_step(op) && *find_slot(&ends, &op->id) != NULL;
    free(ends.slots);
}
