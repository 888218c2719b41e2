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

int host_next_item(struct bytes part, size_t *offset, struct item_entry *entry, const char **json) {
    if (*offset >= part.size)
        return *offset == part.size ? 0 : -1;
    size_t room = part.size - *offset;
    const char *from = (const char *)part.data + *offset;
    if (room < sizeof *entry)
        return -1;
    memcpy(entry, from, sizeof *entry);
    if (entry->size < 2 || ITEMS_PAD(entry->size) > room - sizeof *entry)
        return -1;
    *json = from + sizeof *entry;
    *offset += sizeof *entry + ITEMS_PAD(entry->size);
    return 1;
}

int64_t host_count_items(struct bytes part, uint32_t items) {
    struct item_entry entry;
    const char *json;
    int64_t count = 0;
    size_t offset = 0;
    int got = host_next_item(part, &offset, &entry, &json);
    for (; got == 1 && entry.index < items && json[0] == '{'; got = host_next_item(part, &offset, &entry, &json))
        count++;
    return got == 0 ? count : -1;
}
