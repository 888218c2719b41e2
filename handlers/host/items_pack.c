/* items_pack.c: packs the items of a map (items_pack.h). Each of them is packed as the parameters of a job are. The
 * buffer for that is used again and again.
 *
 * To build and free a tree of ten thousand tiny objects takes longer than all the rest. So a list is read from its
 * text, item by item: params_flat.h reads the plain ones, and jsontext.h each of the others. The text between them must
 * be a comma, with or without space. So the list is JSON if its items are JSON.
 *
 * The fault of a bad item can have some kilobytes where the client sent a few bytes. So faults are short if there are
 * many.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/items_pack.h"

#include "handlers/host/items_format.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/params_flat.h"
#include "handlers/host/scan.h"

/* Once the faults have so many bytes, a bad item only has its first fault. */
enum { MANY_FAULTS_BYTES = 1024 * 1024 };

struct list {
    const struct params_table *table;
    struct buf *to;
    struct buf params; /* of one item; used again for the next */
    size_t faults_bytes;
};

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

/* ---- from a tree ------------------------------------------------------------------------------------------------- */

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

/* ---- from the text ----------------------------------------------------------------------------------------------- */

/* Passes over the member at `at`, and finds its value. Returns where the next token begins, or NULL if this is no
 * member. */
static const char *skip_member(const char *at, const char *end, bool *is_items, struct items_span *value) {
    static const char name[] = "\"items\"";
    if (at == end || *at != '"')
        return NULL;
    const char *stop = scan_whole_value(at, end);
    if (stop == NULL)
        return NULL;
    *is_items = stop - at == sizeof name - 1 && memcmp(at, name, sizeof name - 1) == 0;
    at = scan_space(stop, end);
    if (at == end || *at != ':')
        return NULL;
    value->text = scan_space(at + 1, end);
    stop = scan_whole_value(value->text, end);
    if (stop == NULL)
        return NULL;
    value->size = (size_t)(stop - value->text);
    return scan_space(stop, end);
}

bool items_find(const char *body, size_t size, struct items_span *span) {
    const char *end = body + size, *at = scan_space(body, end);
    struct items_span value;
    bool is_items = false;
    unsigned found = 0;
    if (at == end || *at != '{')
        return false;
    do {
        at = skip_member(scan_space(at + 1, end), end, &is_items, &value);
        if (at == NULL)
            return false;
        if (is_items) {
            *span = value;
            found++;
        }
    } while (at < end && *at == ',');
    return found == 1 && span->text[0] == '[';
}

/* Packs the item at `at`. Returns its end, or NULL if it is not JSON. */
static const char *pack_text(struct list *l, struct flat *flat, const char *at, const char *end, unsigned max_depth,
                             const struct place *place) {
    struct packed_item head = {.ok = 1};
    struct fault ignored = {{0}};
    size_t start = l->to->size;
    buf_append(l->to, &head, sizeof head);
    const char *stop = *at == '{' ? flat_pack(flat, at, end, l->to) : NULL;
    if (stop != NULL) {
        head.size = (uint32_t)(l->to->size - start - sizeof head); /* a multiple of 8 */
        memcpy(l->to->data + start, &head, sizeof head);
        return stop;
    }
    l->to->size = start;
    stop = scan_whole_value(at, end);
    json_t *item = stop == NULL ? NULL : jsontext_parse(at, (size_t)(stop - at), max_depth, &ignored);
    if (item != NULL)
        pack_item(l, item, place);
    json_decref(item);
    fault_deinit(&ignored);
    return item != NULL ? stop : NULL;
}

/* Packs what is between the brackets. False if it is not a list of values. */
static bool pack_texts(struct list *l, struct flat *flat, const struct items_span *span, unsigned max_depth,
                       struct place *at) {
    const char *end = span->text + span->size, *p = scan_space(span->text + 1, end);
    if (p < end && *p == ']')
        return p + 1 == end;
    for (;; at->index++, p = scan_space(p + 1, end)) {
        if (p == end || at->index == HOST_MAX_ITEMS)
            return false;
        p = pack_text(l, flat, p, end, max_depth, at);
        p = p == NULL ? end : scan_space(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return false;
        if (*p == ']') {
            at->index++;
            return p + 1 == end;
        }
    }
}

bool items_pack_text(const struct params_table *t, const struct items_span *span, unsigned max_depth,
                     struct buf *packed, uint32_t *count) {
    struct items_head head = {ITEMS_MAGIC, 0, 0};
    struct list list = {.table = t, .to = packed};
    struct place at = {.up = &items_place};
    struct flat flat;
    flat_init(&flat, t);
    buf_append(packed, &head, sizeof head);
    bool good = pack_texts(&list, &flat, span, max_depth, &at) && !packed->failed;
    head.count = *count = (uint32_t)at.index;
    head.size = packed->size;
    if (good)
        memcpy(packed->data, &head, sizeof head);
    flat_deinit(&flat);
    buf_deinit(&list.params);
    return good;
}
