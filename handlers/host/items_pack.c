/* items_pack.c: see items.h. Each item is packed as the parameters of a job are, in a buffer that is used again.
 *
 * A bad item may have a fault of some kilobytes where the client sent a few bytes. So the faults are short when there
 * are many.
 *
 * Runs in the front end (small submissions) and in workers (large ones). */
#include "handlers/host/items.h"

#include "handlers/host/jsontext.h"

enum {
    MANY_FAULTS_BYTES = 1024 * 1024 /* beyond which a bad item is told of its first fault only */
};

const struct place items_place = {.name = "items"};

struct list {
    const struct params_table *table;
    struct buf *to;
    struct buf params; /* of the item at hand */
    size_t faults_bytes;
};

void items_pad(struct buf *to, size_t size) {
    static const char zeros[8];
    buf_append(to, zeros, ITEMS_PAD(size) - size);
}

static void put_item(struct buf *to, bool ok, const struct buf *value) {
    struct packed_item head = {(uint32_t)value->size, ok};
    buf_append(to, &head, sizeof head);
    buf_append(to, value->data, value->size);
    items_pad(to, value->size);
    to->failed |= value->failed || value->size > UINT32_MAX;
}

static void pack_item(struct list *l, json_t *item, const struct place *at) {
    struct faults faults = {.code = "invalid_params", .limit = l->faults_bytes > MANY_FAULTS_BYTES ? 1 : 0};
    struct fault fault = {{0}};
    buf_clear(&l->params);
    params_pack(l->table, item, at, &l->params, &faults);
    if (faults_finish(&faults, &fault) == 0) {
        put_item(l->to, true, &l->params);
    } else {
        put_item(l->to, false, &fault.json);
        l->faults_bytes += fault.json.size;
    }
    fault_deinit(&fault);
}

uint32_t items_pack(const struct params_table *t, const json_t *items, struct buf *packed, struct faults *faults) {
    struct items_head head = {ITEMS_MAGIC, (uint32_t)json_array_size(items), 0};
    struct list list = {.table = t, .to = packed};
    struct place at = {.up = &items_place};
    if (!json_is_array(items)) {
        faults_add(faults, &items_place, "must be an array of objects, not %s", jsontext_kind(items));
        return 0;
    }
    if (json_array_size(items) > HOST_MAX_ITEMS) {
        faults_add(faults, &items_place, "has %zu items; a job has at most %d", json_array_size(items), HOST_MAX_ITEMS);
        return 0;
    }
    buf_append(packed, &head, sizeof head);
    for (; at.index < head.count && !packed->failed; at.index++)
        pack_item(&list, json_array_get(items, at.index), &at);
    head.size = packed->size;
    if (!packed->failed)
        memcpy(packed->data, &head, sizeof head);
    buf_deinit(&list.params);
    return head.count;
}
