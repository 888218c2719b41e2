/* item_part.h: makes the part of a group of items (handlers/host/items_format.h), item by item, for tests. */
#ifndef OFFLOAD_TEST_ITEM_PART_H
#define OFFLOAD_TEST_ITEM_PART_H

#include <stdio.h>

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

/* Makes the part of a map by columns. values[i]: of call first + i; NULL: it has failed with {"code":"x"}. */
static inline void part_of_columns(struct buf *part, uint32_t first, const char *const *values, uint32_t count) {
    struct columns_head head = {.part = {count, PART_OF_COLUMNS}, .first = first};
    struct buf text = {0}, errors = {0};
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(&text, "%s%s", i > 0 ? "," : "", values[i] != NULL ? values[i] : "null");
        if (values[i] == NULL)
            buf_printf(&errors, "%s{\"index\":%u,\"error\":{\"code\":\"x\"}}", errors.size > 0 ? "," : "", first + i);
    }
    head.text = text.size;
    buf_append(part, &head, sizeof head);
    for (uint32_t i = 0; i < count; i++) {
        int failure = snprintf(NULL, 0, "{\"index\":%u,\"error\":{\"code\":\"x\"}}", first + i);
        size_t size = values[i] != NULL ? strlen(values[i]) : (size_t)failure;
        struct columns_entry row = {.failed = values[i] == NULL, .size = (uint32_t)size & PART_MAX_JSON};
        buf_append(part, &row, sizeof row);
    }
    buf_append(part, text.data, text.size);
    buf_append(part, errors.data, errors.size);
    buf_deinit(&text);
    buf_deinit(&errors);
}

#endif
