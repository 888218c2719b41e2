/* items_pack.c: packs the items of a map (items_pack.h, items_format.h). They stay as the client has written them: packed
 * parameters would have ten times as many bytes. The plan of the map reads them.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/items_pack.h"

#include "handlers/host/items_format.h"
#include "handlers/host/jsontext.h"

uint32_t items_pack(const struct json_span *items, size_t count, struct buf *packed, struct faults *faults) {
    size_t size = (size_t)(items->end - items->at);
    if (*items->at != '[') {
        json_t *value = jsontext_shallow(items);
        faults_add(faults, &items_place, "must be an array of objects, not %s",
                   value == NULL ? "this" : jsontext_kind(value));
        json_decref(value);
        return 0;
    }
    if (count > HOST_MAX_ITEMS) {
        faults_add(faults, &items_place, "has %zu items; a job has at most %d", count, HOST_MAX_ITEMS);
        return 0;
    }
    struct items_head head = {ITEMS_MAGIC, (uint32_t)count, sizeof head + size};
    buf_reserve(packed, (size_t)head.size);
    buf_append(packed, &head, sizeof head);
    buf_append(packed, items->at, size);
    return head.count;
}

int items_pack_one(const struct params_table *t, const struct json_span *item, const struct place *at, bool brief,
                   struct buf *params, struct fault *fault) {
    struct faults faults = {.code = "invalid_params", .limit = brief ? 1 : 0};
    params_pack(t, item, at, params, &faults);
    if (faults_finish(&faults, fault) != 0)
        return -1;
    return params->failed ? fault_set(fault, "memory_limit", "there is no memory for the parameters") : 0;
}
