/* item_part.h: makes the part of a group of items (handlers/host/items_format.h), item by item, for tests. */
#ifndef OFFLOAD_TEST_ITEM_PART_H
#define OFFLOAD_TEST_ITEM_PART_H

#include "handlers/host/items_format.h"

static inline void part_add_item(struct buf *part, uint32_t index, bool ok, const char *json) {
    struct part_head head = {0, 0};
    struct part_entry row = {.index = index, .failed = !ok, .size = (uint32_t)strlen(json) & PART_MAX_JSON};
    if (part->size == 0)
        buf_append(part, &head, sizeof head);
    memcpy(&head, part->data, sizeof head);
    size_t table = sizeof head + head.count * sizeof row;
    if (head.count++ > 0)
        buf_putc(part, ',');
    buf_puts(part, json);
    buf_append(part, &row, sizeof row); /* room for the row, which is moved behind the others */
    memmove(part->data + table + sizeof row, part->data + table, part->size - table - sizeof row);
    memcpy(part->data + table, &row, sizeof row);
    memcpy(part->data, &head, sizeof head);
}

#endif
