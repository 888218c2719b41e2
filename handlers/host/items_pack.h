/* items_pack.h: packs the member "items" of a submission (items_format.h). Private to handlers/host. Only one thread of a
 * process may call these functions. */
#ifndef OFFLOAD_HOST_ITEMS_PACK_H
#define OFFLOAD_HOST_ITEMS_PACK_H

#include "handlers/host/params.h"

/* Appends the packed form of the items, a value of JSON that was checked, to the empty buffer *packed. `count`: how many
 * they are, if it is an array. Returns how many were packed. Only what is wrong with the list itself is added to *faults; a bad item is found when the map is planned. */
uint32_t items_pack(const struct json_span *items, size_t count, struct buf *packed, struct faults *faults);

/* Packs the parameters of an item into *params, which is empty. The item is JSON that was checked, and `at` is its place
 * in the submission. 0, or -1 with *fault filled. `brief`: the fault only has the first thing that is wrong. */
MUST_CHECK int items_pack_one(const struct params_table *t, const struct json_span *item, const struct place *at,
                              bool brief, struct buf *params, struct fault *fault);

#endif
