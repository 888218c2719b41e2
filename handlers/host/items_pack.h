/* items_pack.h: the member "items" of a submission, checked and packed (items_format.h). Private to handlers/host. */
#ifndef OFFLOAD_HOST_ITEMS_PACK_H
#define OFFLOAD_HOST_ITEMS_PACK_H

#include "handlers/host/params.h"

/* Appends the packed form of the array `items` to the empty buffer *packed and returns how many there are. What is
 * wrong with an item is packed in its place; added to faults is only what is wrong with the list itself. */
uint32_t items_pack(const struct params_table *t, const json_t *items, struct buf *packed, struct faults *faults);

/* Where the value of the member "items" stands in the text of a submission. */
struct items_span {
    const char *text;
    size_t size;
};
/* True if there is one such member and its value looks like an array. Nothing has been checked yet. */
MUST_CHECK bool items_find(const char *body, size_t size, struct items_span *span);
/* As items_pack, from the text of the array, without a tree of it. False if it is not an array of at most
 * HOST_MAX_ITEMS values of JSON, nested at most max_depth deep each, or memory ran out: read it as a whole to learn
 * what is wrong. */
MUST_CHECK bool items_pack_text(const struct params_table *t, const struct items_span *span, unsigned max_depth,
                                struct buf *packed, uint32_t *count);

#endif
