/* result.c: see result.h. Front end. */
#include "server/model/result.h"

#include <string.h>

static int read_slice(void *arg, uint64_t offset, void *to, size_t size) {
    return slice_read(arg, (size_t)offset, to, size);
}

static struct host_reader reader_of(struct slice *s) {
    return (struct host_reader){read_slice, s, s->size};
}

bool result_is_mixed(const struct record *r) {
    return r->map && r->binary != NULL &&
           strncmp(r->binary->media_type, HOST_MIXED_PREFIX, strlen(HOST_MIXED_PREFIX)) == 0;
}

struct slice result_document(const struct record *r) {
    struct slice all = r->result;
    uint64_t size = 0;
    uint32_t items;
    if (!result_is_mixed(r))
        return slice_ref(&all);
    const struct host_reader reader = reader_of(&all);
    if (host_mixed_size(&reader, &size, &items) != 0 || size > all.size)
        return (struct slice){NULL, 0, 0};
    return slice_part(&all, 0, (size_t)size);
}

bool result_item(const struct record *r, uint32_t index, struct host_mixed_item *item) {
    struct slice all = r->result;
    const struct host_reader reader = reader_of(&all);
    return host_mixed_item(&reader, index, item) == 0 && item->offset <= all.size &&
           item->size <= all.size - item->offset;
}
