/* items_run.c: runs the groups of a map, and merges their parts (host.h, items_format.h). If an item fails, its entry
 * says why, and the other items go on.
 *
 * As in items_plan.c, no memory is allocated for an item.
 *
 * It runs in workers. */
#include <stdlib.h>

#include "handlers/host/execute.h"
#include "handlers/host/items_format.h"
#include "handlers/host/items_pack.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"

#define MAX_DEPTH 2048 /* jansson's own; the submission was checked for the configured one */

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* The run of a group. "The item" is the one that runs now. */
struct runner {
    const struct handler *handler;
    const struct params_table *table;
    struct call call;               /* of the item; it is made once, as it is larger than most items */
    const struct host_hooks *outer; /* of the group; may be NULL */
    struct host_hooks hooks;        /* of the item */
    uint64_t done, total;           /* items */
    struct bytes poison;            /* see host_run_items */
    uint32_t chunk, chunks;         /* of the item: which one runs, and how many there are */
    struct buf *parts;              /* of the item; their memory is used again */
    struct bytes *views;            /* of the parts */
    uint32_t room;                  /* how many parts and views there can be */
    struct buf *out;                /* the part of the group */
    size_t rows;                    /* where in the part its table is */
};

static void show_progress(const struct runner *r, uint64_t steps) {
    if (r->outer != NULL && r->outer->progress != NULL)
        r->outer->progress(r->outer->arg, r->done * HOST_ITEM_STEPS + steps, r->total * HOST_ITEM_STEPS);
}

static void on_item_progress(void *arg, uint64_t done, uint64_t total) {
    const struct runner *r = arg;
    double of_chunk = total == 0 ? 0 : done >= total ? 1 : (double)done / (double)total;
    show_progress(r, (uint64_t)((r->chunk + of_chunk) / r->chunks * HOST_ITEM_STEPS));
}

static bool on_item_cancelled(void *arg) {
    const struct runner *r = arg;
    return execute_is_cancelled(r->outer);
}

static void on_item_log(void *arg, const char *text, size_t size) {
    const struct runner *r = arg;
    if (r->outer != NULL && r->outer->log != NULL)
        r->outer->log(r->outer->arg, text, size);
}

static bool has_room(struct runner *r, uint32_t chunks) {
    if (chunks <= r->room)
        return true;
    struct buf *parts = reallocarray(r->parts, chunks, sizeof *parts);
    if (parts == NULL)
        return false;
    memset(parts + r->room, 0, (chunks - r->room) * sizeof *parts);
    r->parts = parts;
    struct bytes *views = reallocarray(r->views, chunks, sizeof *views);
    if (views == NULL)
        return false;
    r->views = views;
    r->room = chunks;
    return true;
}

/* One item of a group, taken apart. Its sizes are checked. */
struct item {
    struct planned_item head;
    const char *table; /* of its chunks, if there are several */
    struct bytes common, bytes;
};

/* Takes the item at *offset apart, and moves *offset behind it. False if its sizes are wrong. */
static bool read_item(struct bytes group, size_t *offset, struct item *item) {
    const char *from = (const char *)group.data + *offset;
    size_t room = group.size - *offset;
    if (room < sizeof item->head)
        return false;
    memcpy(&item->head, from, sizeof item->head);
    const struct planned_item *head = &item->head;
    size_t table = head->chunks > 1 ? head->chunks * sizeof(struct host_plan_chunk) : 0;
    size_t front = table + ITEMS_PAD(head->common_size);
    room -= sizeof *head;
    if (head->chunks > HANDLER_MAX_CHUNKS || head->common_size > HANDLER_MAX_COMMON || head->size > room ||
        ITEMS_PAD(head->size) > room || front > head->size)
        return false;
    item->table = from + sizeof *head;
    item->common = (struct bytes){item->table + table, head->common_size};
    item->bytes = (struct bytes){item->table + front, head->size - front};
    *offset += sizeof *head + ITEMS_PAD(head->size);
    return true;
}

static int run_chunk(struct runner *r, const struct item *item) {
    struct buf *part = &r->parts[r->chunk];
    struct host_plan_chunk row = {.size = item->bytes.size};
    if (item->head.chunks > 1)
        memcpy(&row, item->table + r->chunk * sizeof row, sizeof row);
    if (row.offset % 8 != 0 || row.offset > item->bytes.size || row.size > item->bytes.size - row.offset)
        return items_report_damage(r->call.fault, "plans");
    struct bytes chunk = {(const char *)item->bytes.data + row.offset, row.size};
    buf_clear(part);
    r->call.out = part;
    int rc = execute_run(&r->call, r->handler, item->common, chunk);
    r->views[r->chunk] = (struct bytes){part->size > 0 ? part->data : item->table, part->size};
    return rc;
}

/* Runs all chunks, and merges their parts to the end of r->out. */
static int run_and_merge(struct runner *r, const struct item *item, struct fault *fault) {
    const struct place at = {.up = &items_place, .index = item->head.index};
    struct call *c = &r->call;
    r->chunks = item->head.chunks;
    if (!has_room(r, r->chunks))
        return execute_no_memory(fault);
    c->stage = CALL_STAGE_RUN;
    c->at = &at;
    c->fault = fault;
    c->failed = false;
    for (r->chunk = 0; r->chunk < r->chunks; r->chunk++) {
        int rc = run_chunk(r, item);
        if (rc != 0)
            return rc;
    }
    c->stage = CALL_STAGE_MERGE;
    c->out = r->out;
    c->json_depth = 0;
    c->json_states[0] = JSON_DOCUMENT_START;
    return execute_merge(c, r->handler, item->common, r->views, r->chunks);
}

/* Makes room for the table of the part. False: there is none. */
static bool begin_part(struct runner *r) {
    struct part_head head = {.count = (uint32_t)r->total};
    size_t table = r->total * sizeof(struct part_entry);
    if (r->total == 0)
        return true;
    buf_append(r->out, &head, sizeof head);
    r->rows = r->out->size;
    if (buf_reserve(r->out, table) == NULL)
        return false;
    r->out->size += table;
    return true;
}

/* Begins an entry with this JSON. Returns where its text starts, for end_entry. */
static size_t begin_entry(struct runner *r, const char *json) {
    if (r->done > 0)
        buf_putc(r->out, ',');
    size_t start = r->out->size;
    buf_puts(r->out, json);
    return start;
}

/* Fills in the row of an entry whose JSON has been written. */
static void end_entry(struct runner *r, size_t start, uint32_t index, bool failed) {
    struct buf *out = r->out;
    size_t size = out->size - start;
    out->failed |= size > PART_MAX_JSON;
    struct part_entry row = {.index = index, .failed = failed, .size = (uint32_t)size & PART_MAX_JSON};
    if (!out->failed)
        memcpy(out->data + r->rows + r->done * sizeof row, &row, sizeof row);
}

static void put_failure(struct runner *r, uint32_t index, const struct fault *fault) {
    size_t start = begin_entry(r, "{\"status\":\"failed\",\"error\":");
    fault_write_problem(r->out, fault);
    buf_putc(r->out, '}');
    end_entry(r, start, index, true);
}

/* Runs the item and writes its entry, whether it fails or not. 0, or HOST_CANCELLED, or HOST_LOST with *lost filled. */
static int run_item(struct runner *r, const struct item *item, struct fault *lost) {
    struct fault fault = {0};
    const size_t before = r->out->size;
    size_t start = begin_entry(r, "{\"status\":\"succeeded\",\"result\":");
    int rc = run_and_merge(r, item, &fault);
    if (rc == HOST_LOST) {
        *lost = fault;
        return rc;
    }
    if (rc == 0) {
        buf_putc(r->out, '}');
        end_entry(r, start, item->head.index, false);
    } else if (rc != HOST_CANCELLED) {
        r->out->size = before;
        r->out->failed = false; /* if memory ran out for the result, there can still be enough for the fault */
        put_failure(r, item->head.index, &fault);
    }
    fault_deinit(&fault);
    return rc == HOST_CANCELLED ? rc : 0;
}

/* Is the item poison? Then it also finds out whether it used too much memory. */
static bool is_poison(const struct runner *r, bool *by_memory) {
    for (size_t at = 0; at + sizeof(uint32_t) <= r->poison.size; at += sizeof(uint32_t)) {
        uint32_t place;
        memcpy(&place, (const char *)r->poison.data + at, sizeof place);
        *by_memory = (place & HOST_POISON_MEMORY) != 0;
        if ((place & ~HOST_POISON_MEMORY) == r->done)
            return true;
    }
    return false;
}

/* Makes the fault of a bad item again, from the item. It does not rely on what the plan says. */
static void find_fault(const struct runner *r, const struct item *item, struct fault *fault) {
    const char *at = item->bytes.data, *end = at + item->bytes.size;
    struct json_span text = {at, scan_whole_value(at, end)};
    struct buf params = {0};
    if (text.end != end || jsontext_check(at, item->bytes.size, MAX_DEPTH, fault) != 0 ||
        items_pack_one(r->table, &text, item->head.index, item->head.bad == BAD_ITEM_BRIEF, &params, fault) == 0)
        items_report_damage(fault, "plans");
    buf_deinit(&params);
}

/* Writes the entry of an item that is not run, because it is bad or poison. */
static void put_item_not_run(struct runner *r, const struct item *item, bool by_memory) {
    struct fault fault = {{0}};
    if (item->head.chunks == 0 && item->head.bad != BAD_FAULT)
        find_fault(r, item, &fault);
    else if (item->head.chunks == 0)
        buf_append(&fault.json, item->bytes.data, item->bytes.size);
    else if (by_memory)
        fault_set(&fault, "memory_limit", "the process that ran this item used more memory than a job may use");
    else
        fault_set(&fault, "worker_crashed", "the process that ran this item died, each time it was tried");
    put_failure(r, item->head.index, &fault);
    r->out->failed |= fault.json.failed;
    fault_deinit(&fault);
}

static int run_group(struct runner *r, struct bytes group, struct fault *fault) {
    struct item item;
    bool by_memory = false;
    int rc = 0;
    for (size_t offset = 0; offset < group.size; r->total++)
        if (!read_item(group, &offset, &item))
            return items_report_damage(fault, "plans");
    if (!begin_part(r))
        return execute_no_memory(fault);
    for (size_t offset = 0; offset < group.size && read_item(group, &offset, &item); r->done++) {
        show_progress(r, 0);
        if (execute_is_cancelled(r->outer))
            return HOST_CANCELLED;
        if (item.head.chunks == 0 || is_poison(r, &by_memory))
            put_item_not_run(r, &item, by_memory);
        else
            rc = run_item(r, &item, fault);
        if (rc != 0)
            return rc;
        if (r->out->failed)
            return execute_no_memory(fault);
    }
    return 0;
}

int host_run_items(size_t type, unsigned attempt, struct bytes poison, struct bytes group,
                   const struct host_hooks *hooks, struct buf *part, struct fault *fault) {
    struct runner r = {
        .handler = host_handler(type), .table = registry_table(type), .outer = hooks, .poison = poison, .out = part};
    if (r.handler == NULL || r.table == NULL)
        return execute_no_type(type, fault);
    r.hooks = (struct host_hooks){&r, on_item_progress, on_item_cancelled, on_item_log,
                                  hooks == NULL ? 0 : hooks->deadline_ns};
    r.call = (struct call){
        .handler = r.handler, .hooks = &r.hooks, .traceback_left = GROUP_TRACEBACKS_MAX, .attempt = attempt};
    void *copy = NULL;
    int rc = execute_align(&group, &copy) ? run_group(&r, group, fault) : execute_no_memory(fault);
    for (uint32_t i = 0; i < r.room; i++)
        buf_deinit(&r.parts[i]);
    free(r.parts);
    free(r.views);
    free(copy);
    return rc;
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

/* Appends the text of a part. Its entries must be the next ones behind the first *count of the map. */
static bool merge_part(struct bytes part, uint32_t *count, struct buf *json) {
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *text, *first = NULL;
    int got = host_next_item(part, &at, &entry, &text);
    for (; got == 1 && entry.index == *count + at.next - 1; got = host_next_item(part, &at, &entry, &text))
        first = first == NULL ? text : first;
    if (got != 0)
        return false;
    if (first != NULL && *count > 0)
        buf_putc(json, ',');
    if (first != NULL)
        buf_append(json, first, at.text);
    *count += at.next;
    return true;
}

int host_merge_items(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                     const struct host_hooks *hooks, struct buf *json, struct fault *fault) {
    struct items_common map = {0, 0};
    uint32_t merged = 0;
    size_t room = 32;
    (void)type;
    if (common.size == sizeof map)
        memcpy(&map, common.data, sizeof map);
    for (size_t i = 0; i < count; i++)
        room += parts[i].size;
    buf_reserve(json, room);
    buf_puts(json, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (execute_is_cancelled(hooks))
            return HOST_CANCELLED;
        if (!merge_part(parts[i], &merged, json))
            return items_report_damage(fault, "parts");
    }
    buf_puts(json, "]}");
    if (map.magic != ITEMS_MAGIC || merged != map.count)
        return items_report_damage(fault, "parts");
    return json->failed ? execute_no_memory(fault) : 0;
}
