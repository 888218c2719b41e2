/* items_format.c: the layout of items (items_format.h), and the reading of parts (host.h). It runs in the front end and
 * in workers. */
#include "handlers/host/items_format.h"

const struct place items_place = {.name = "items"};

void items_pad(struct buf *to, size_t size) {
    static const char zeros[8];
    buf_append(to, zeros, ITEMS_PAD(size) - size);
}

int items_report_damage(struct fault *fault, const char *what) {
    return fault_set(fault, "handler_failed", "the %s of the map are damaged", what);
}

int host_next_item(struct bytes part, struct item_cursor *at, struct item_entry *entry, const char **json) {
    const char *bytes = part.data;
    struct part_head head = {0, 0};
    struct part_entry row;
    if (part.size == 0)
        return 0;
    if (part.size < sizeof head)
        return -1;
    memcpy(&head, bytes, sizeof head);
    if (head.count > (part.size - sizeof head) / sizeof row || head.zero != 0)
        return -1;
    const size_t front = sizeof head + head.count * sizeof row, size = part.size - front;
    if (at->next >= head.count)
        return at->next == head.count && at->text == size ? 0 : -1;
    memcpy(&row, bytes + sizeof head + at->next * sizeof row, sizeof row);
    size_t start = at->text + (at->next > 0); /* a comma stands between two */
    if (row.size < 2 || start > size || row.size > size - start || (start > at->text && bytes[front + at->text] != ','))
        return -1;
    *entry = (struct item_entry){.index = row.index, .size = row.size, .ok = row.failed == 0};
    *json = bytes + front + start;
    at->text = start + row.size;
    at->next++;
    return 1;
}

int64_t host_count_items(struct bytes part, uint32_t items) {
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    int got = host_next_item(part, &at, &entry, &json);
    while (got == 1 && entry.index < items && json[0] == '{')
        got = host_next_item(part, &at, &entry, &json);
    return got == 0 ? (int64_t)at.next : -1;
}
