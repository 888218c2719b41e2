/* items_pack.h: checks and packs the member "items" of a submission (items_format.h). Private to handlers/host. Only
 * one thread of a process may call these functions. */
#ifndef OFFLOAD_HOST_ITEMS_PACK_H
#define OFFLOAD_HOST_ITEMS_PACK_H

#include "handlers/host/params.h"

/* Appends the packed form of the array `items` to the empty buffer *packed and returns how many there are. If an item
 * is wrong, its fault is packed in its place. Only what is wrong with the list itself is added to *faults. */
uint32_t items_pack(const struct params_table *t, const json_t *items, struct buf *packed, struct faults *faults);

/* Where the value of the member "items" stands in the text of a submission, which is borrowed. */
struct items_span {
    const char *text;
    size_t size;
};
/* True if there is one such member and its value looks like an array. It does not check anything else. */
MUST_CHECK bool items_find(const char *body, size_t size, struct items_span *span);
/* As items_pack, but from the text of the array, without a tree of it. False if the text is not an array of at most
 * HOST_MAX_ITEMS JSON values, each at most max_depth deep, or if memory ran out. Then read the submission as a whole to
 * learn what is wrong. */
MUST_CHECK bool items_pack_text(const struct params_table *t, const struct items_span *span, unsigned max_depth,
                                struct buf *packed, uint32_t *count);

#endif
