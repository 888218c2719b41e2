/* items.h: the items of a map, packed: what submission.c makes of "items" and items.c plans. Private to handlers/host.
 *
 * In this machine's byte order, at an address that is a multiple of 8:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  magic    ITEMS_MAGIC; raised with every change of what follows
 *          4     4  count
 *          8     8  size     of all
 *         16        for each item, in order: struct packed_item, then `size` bytes, padded with zeros to a multiple
 *                   of 8: its parameters (params.h) or, if it is bad, its fault (host.h)
 */
#ifndef OFFLOAD_HOST_ITEMS_H
#define OFFLOAD_HOST_ITEMS_H

#include "handlers/host/params.h"

#define ITEMS_MAGIC  UINT32_C(0x4F494C01)
#define ITEMS_PAD(n) (((size_t)(n) + 7) & ~(size_t)7)

struct items_head {
    uint32_t magic, count;
    uint64_t size;
};

struct packed_item {
    uint32_t size;
    uint32_t ok; /* 0: a fault */
};

extern const struct place items_place; /* /items */

/* Appends the packed form of the array `items` to the empty buffer *packed and returns how many there are. What is
 * wrong with an item is packed in its place; added to faults is only what is wrong with the list itself. */
uint32_t items_pack(const struct params_table *t, const json_t *items, struct buf *packed, struct faults *faults);

/* Where the value of the member "items" stands in the text of a submission. */
struct items_span {
    const char *text;
    size_t size;
};
/* True if there is one such member and its value looks like an array. Nothing has been checked yet. */
bool items_find(const char *body, size_t size, struct items_span *span);
/* As items_pack, from the text of the array, without a tree of it. False if it is not an array of at most
 * HOST_MAX_ITEMS values of JSON, nested at most max_depth deep each, or memory ran out: read it as a whole to learn
 * what is wrong. */
bool items_pack_text(const struct params_table *t, const struct items_span *span, unsigned max_depth,
                     struct buf *packed, uint32_t *count);

/* Appends the zeros that a value of that size is followed by. */
void items_pad(struct buf *to, size_t size);

#endif
