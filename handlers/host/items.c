/* items.c: plans, runs and merges the items of a map (host.h).
 *
 *     packed list ──plan──► groups of planned items ──run──► parts: an entry per item ──merge──► {"items":[...]}
 *
 * A group's bytes are its items one behind the other, each a struct planned_item and what its handler planned, so that
 * running needs no parameters again:
 *
 *     | planned_item | chunk table | common ..pad | chunks' bytes ..pad | planned_item | ...       a good item
 *     | planned_item | fault as JSON ..pad | ...                                                   a bad one
 *
 * A map may have a million items of a microsecond each: per item there is no memory taken and given back, and no more
 * than one copy of its bytes from stage to stage.
 *
 * Runs in workers. */
#include "handlers/host/items.h"

#include <stdlib.h>

#include "handlers/host/execute.h"
#include "handlers/host/registry.h"

#define ITEM_NS      300                            /* what an item costs beside its handler's work */
#define MAX_ITEM_NS  (UINT64_C(10000) * 1000000000) /* HOST_MAX_ITEMS of them do not overflow */
#define MIN_GROUP_NS 2000000                        /* less is not worth a message of its own */
#define FAIR_GROUPS  16 /* a map of some size has so many groups, to keep all workers busy */

struct planned_item {
    uint32_t index;
    uint32_t chunks; /* 0: a bad item */
    uint64_t size;   /* of what follows, without the padding at the end */
    uint64_t cost_ns;
    uint32_t common_size; /* without padding */
    uint32_t reserved;
};

struct map_common {
    uint32_t magic, count;
};

/* ---- plan: the items ------------------------------------------------------------------------------- */

struct planner {
    const struct params_table *table;
    const struct host_hooks *hooks;
    struct host_plan item; /* of the item at hand; its memory is used again */
    struct call call;      /* the same */
    struct buf *to;
};

static void put_bad(struct buf *to, uint32_t index, const void *json, size_t size) {
    struct planned_item head = {.index = index, .size = size, .cost_ns = ITEM_NS};
    buf_append(to, &head, sizeof head);
    buf_append(to, json, size);
    items_pad(to, size);
}

static uint64_t item_cost_ns(const struct host_plan *plan) {
    uint64_t cost_ns = ITEM_NS;
    for (size_t i = 0; i < plan->count && cost_ns < MAX_ITEM_NS; i++)
        cost_ns += plan->chunks[i].cost_ns < MAX_ITEM_NS ? plan->chunks[i].cost_ns : MAX_ITEM_NS;
    return cost_ns < MAX_ITEM_NS ? cost_ns : MAX_ITEM_NS;
}

static void put_planned(struct planner *p, uint32_t index) {
    const struct host_plan *plan = &p->item;
    size_t table = plan->count * sizeof *plan->chunks;
    struct planned_item head = {.index = index,
                                .chunks = (uint32_t)plan->count,
                                .size = table + ITEMS_PAD(plan->common.size) + plan->bytes.size,
                                .cost_ns = item_cost_ns(plan),
                                .common_size = (uint32_t)plan->common.size};
    buf_append(p->to, &head, sizeof head);
    buf_append(p->to, plan->chunks, table);
    buf_append(p->to, plan->common.data, plan->common.size);
    items_pad(p->to, plan->common.size);
    buf_append(p->to, plan->bytes.data, plan->bytes.size);
    items_pad(p->to, plan->bytes.size);
}

/* 0 also for an item whose plan fails; or HOST_CANCELLED. */
static int plan_item(struct planner *p, uint32_t index, struct bytes packed) {
    struct fault fault = {{0}};
    const struct place at = {.up = &items_place, .index = index};
    struct call *c = &p->call;
    c->at = &at;
    c->fault = &fault;
    c->failed = false;
    p->item.count = 0;
    buf_clear(&p->item.common);
    buf_clear(&p->item.bytes);
    int rc = execute_plan(c, p->table, packed);
    if (rc == 0)
        put_planned(p, index);
    else if (rc != HOST_CANCELLED)
        put_bad(p->to, index, fault.json.data, fault.json.size);
    fault_deinit(&fault);
    return rc == HOST_CANCELLED ? rc : 0;
}

static int refuse_damaged(struct fault *fault, const char *what) {
    return fault_set(fault, "handler_failed", "the %s of the map are damaged", what);
}

static bool is_cancelled(const struct host_hooks *hooks) {
    return hooks != NULL && hooks->cancelled != NULL && hooks->cancelled(hooks->arg);
}

static int plan_list(struct planner *p, struct bytes list, uint32_t count, struct fault *fault) {
    const char *bytes = list.data;
    size_t offset = sizeof(struct items_head);
    for (uint32_t i = 0; i < count; i++) {
        struct packed_item item;
        if (list.size - offset < sizeof item)
            return refuse_damaged(fault, "items");
        memcpy(&item, bytes + offset, sizeof item);
        offset += sizeof item;
        if (list.size - offset < ITEMS_PAD(item.size))
            return refuse_damaged(fault, "items");
        if (item.ok == 0)
            put_bad(p->to, i, bytes + offset, item.size);
        else if (plan_item(p, i, (struct bytes){bytes + offset, item.size}) != 0)
            return HOST_CANCELLED;
        offset += ITEMS_PAD(item.size);
        if (is_cancelled(p->hooks))
            return HOST_CANCELLED;
    }
    return offset == list.size ? 0 : refuse_damaged(fault, "items");
}

/* ---- plan: the groups ------------------------------------------------------------------------------ */

/* The items that are not in a group yet. */
struct rest {
    const char *bytes;
    size_t offset;
    uint32_t count;
    uint64_t cost_ns;
};

static uint64_t count_cost_ns(const struct buf *items) {
    uint64_t cost_ns = 0;
    for (size_t offset = 0; offset < items->size;) {
        struct planned_item head;
        memcpy(&head, items->data + offset, sizeof head);
        cost_ns += head.cost_ns;
        offset += sizeof head + ITEMS_PAD(head.size);
    }
    return cost_ns;
}

/* Items up to about the target, at least one if there is any, all but `keep` of them at most. */
static struct host_plan_chunk take_group(struct rest *r, uint64_t target_ns, uint32_t keep) {
    struct host_plan_chunk group = {.offset = r->offset};
    while (r->count > keep) {
        struct planned_item head;
        memcpy(&head, r->bytes + r->offset, sizeof head);
        if (group.size > 0 && group.cost_ns + head.cost_ns / 2 > target_ns)
            break;
        group.cost_ns += head.cost_ns;
        r->offset += sizeof head + ITEMS_PAD(head.size);
        group.size = r->offset - group.offset;
        r->count--;
    }
    r->cost_ns -= group.cost_ns;
    return group;
}

/* What a group should cost. With a thousand groups at least half as dear, there is room for odd ones in between. */
static uint64_t group_cost_ns(uint64_t total_ns) {
    uint64_t cost_ns = total_ns / FAIR_GROUPS;
    cost_ns = cost_ns < MIN_GROUP_NS ? MIN_GROUP_NS : cost_ns > HANDLER_CHUNK_NS ? HANDLER_CHUNK_NS : cost_ns;
    return cost_ns > total_ns / (HANDLER_MAX_CHUNKS / 4) ? cost_ns : total_ns / (HANDLER_MAX_CHUNKS / 4);
}

/* Cuts the planned items into groups: as many as are wanted and possible, or such of a good size. */
static int make_groups(struct host_plan *plan, uint32_t items, unsigned wanted) {
    struct rest rest = {.bytes = plan->bytes.data, .count = items, .cost_ns = count_cost_ns(&plan->bytes)};
    uint64_t fair_ns = group_cost_ns(rest.cost_ns);
    wanted = wanted < items ? wanted : items;
    plan->chunks = calloc(wanted > 0 ? wanted : HANDLER_MAX_CHUNKS, sizeof *plan->chunks);
    if (plan->chunks == NULL)
        return -1;
    do {
        uint64_t left = wanted > 0 ? wanted - plan->count : rest.cost_ns / fair_ns + 1;
        if (plan->count == HANDLER_MAX_CHUNKS - 1)
            left = 1;
        plan->chunks[plan->count++] = take_group(&rest, rest.cost_ns / left, wanted > 0 ? (uint32_t)left - 1 : 0);
    } while (rest.count > 0);
    return 0;
}

static bool read_head(struct bytes list, struct items_head *head) {
    if (list.size < sizeof *head)
        return false;
    memcpy(head, list.data, sizeof *head);
    return head->magic == ITEMS_MAGIC && head->count <= HOST_MAX_ITEMS && head->size == list.size;
}

static int plan_aligned(struct planner *p, struct bytes list, unsigned wanted_chunks, struct host_plan *plan,
                        struct fault *fault) {
    struct items_head head;
    if (!read_head(list, &head))
        return refuse_damaged(fault, "items");
    struct map_common common = {ITEMS_MAGIC, head.count};
    buf_append(&plan->common, &common, sizeof common);
    int rc = plan_list(p, list, head.count, fault);
    if (rc != 0)
        return rc;
    if (plan->common.failed || plan->bytes.failed || make_groups(plan, head.count, wanted_chunks) != 0)
        return execute_no_memory(fault);
    return 0;
}

int host_plan_items(size_t type, const void *list, size_t size, unsigned wanted_chunks, const struct host_hooks *hooks,
                    struct host_plan *plan, struct fault *fault) {
    memset(plan, 0, sizeof *plan);
    struct planner p = {.table = registry_table(type), .hooks = hooks, .to = &plan->bytes};
    if (p.table == NULL)
        return execute_no_type(type, fault);
    p.call = (struct call){.stage = CALL_STAGE_PLAN,
                           .type = p.table->handler->name,
                           .hooks = hooks,
                           .wanted_chunks = 1, /* it is not divided */
                           .plan = &p.item};
    struct bytes packed = {list, size};
    void *copy = NULL;
    unsigned wanted = wanted_chunks < HANDLER_MAX_CHUNKS ? wanted_chunks : HANDLER_MAX_CHUNKS;
    bool aligned = execute_align(&packed, &copy);
    int rc = aligned ? plan_aligned(&p, packed, wanted, plan, fault) : execute_no_memory(fault);
    host_plan_deinit(&p.item);
    free(copy);
    return rc;
}

/* ---- run ------------------------------------------------------------------------------------------- */

/* A group that is being run. */
struct runner {
    const struct handler *handler;
    struct call call;               /* of the item at hand; made once, as it is larger than most items */
    const struct host_hooks *outer; /* of the group; may be NULL */
    struct host_hooks hooks;        /* of an item */
    uint64_t done, total;           /* items */
    struct bytes poison;            /* see host_run_items */
    uint32_t chunk, chunks;         /* of the item at hand */
    struct buf *parts;              /* of the item at hand; their memory is used again */
    struct bytes *views;            /* of the parts */
    uint32_t room;                  /* for so many parts */
    struct buf *out;
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
    return is_cancelled(r->outer);
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

/* One item of a group, taken apart; the sizes are right. */
struct item {
    struct planned_item head;
    const char *table;
    struct bytes common, bytes;
};

/* Takes the item at *offset apart and moves *offset behind it. False if its sizes make no sense. */
static bool read_item(struct bytes group, size_t *offset, struct item *item) {
    const char *from = (const char *)group.data + *offset;
    size_t room = group.size - *offset;
    if (room < sizeof item->head)
        return false;
    memcpy(&item->head, from, sizeof item->head);
    const struct planned_item *head = &item->head;
    size_t front = head->chunks * sizeof(struct host_plan_chunk) + ITEMS_PAD(head->common_size);
    room -= sizeof *head;
    if (head->chunks > HANDLER_MAX_CHUNKS || head->common_size > HANDLER_MAX_COMMON || head->size > room ||
        ITEMS_PAD(head->size) > room || front > head->size)
        return false;
    item->table = from + sizeof *head;
    item->common = (struct bytes){item->table + head->chunks * sizeof(struct host_plan_chunk), head->common_size};
    item->bytes = (struct bytes){item->table + front, head->size - front};
    *offset += sizeof *head + ITEMS_PAD(head->size);
    return true;
}

static bool read_chunk(const struct item *item, uint32_t i, struct bytes *chunk) {
    struct host_plan_chunk row;
    memcpy(&row, item->table + i * sizeof row, sizeof row);
    if (row.offset % 8 != 0 || row.offset > item->bytes.size || row.size > item->bytes.size - row.offset)
        return false;
    *chunk = (struct bytes){(const char *)item->bytes.data + row.offset, row.size};
    return true;
}

static int run_chunk(struct runner *r, const struct item *item) {
    struct buf *part = &r->parts[r->chunk];
    struct bytes chunk;
    if (!read_chunk(item, r->chunk, &chunk))
        return refuse_damaged(r->call.fault, "plans");
    buf_clear(part);
    r->call.out = part;
    int rc = execute_run(&r->call, r->handler, item->common, chunk);
    r->views[r->chunk] = (struct bytes){part->size > 0 ? part->data : item->table, part->size};
    return rc;
}

/* All chunks, and the merge of their parts to the end of r->out. */
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

/* Returns where the entry starts, for end_entry. */
static size_t begin_entry(struct runner *r, const char *json) {
    static const struct item_entry blank;
    size_t start = r->out->size;
    buf_append(r->out, &blank, sizeof blank);
    buf_puts(r->out, json);
    return start;
}

/* Fills in the front of the entry whose JSON has been written, and pads it. */
static void end_entry(struct runner *r, size_t start, uint32_t index, bool ok) {
    struct buf *out = r->out;
    size_t size = out->size - start - sizeof(struct item_entry);
    out->failed |= size > UINT32_MAX;
    struct item_entry entry = {.index = index, .size = (uint32_t)size, .ok = ok};
    items_pad(out, size);
    if (!out->failed)
        memcpy(out->data + start, &entry, sizeof entry);
}

static void put_failure(struct runner *r, uint32_t index, const struct fault *fault) {
    size_t start = begin_entry(r, "{\"status\":\"failed\",\"error\":");
    fault_write_problem(r->out, fault);
    buf_putc(r->out, '}');
    end_entry(r, start, index, false);
}

/* Writes the item's entry, whatever becomes of the item. 0, or HOST_CANCELLED. */
static int run_item(struct runner *r, const struct item *item) {
    struct fault fault = {{0}};
    size_t start = begin_entry(r, "{\"status\":\"succeeded\",\"result\":");
    int rc = run_and_merge(r, item, &fault);
    if (rc == 0) {
        buf_putc(r->out, '}');
        end_entry(r, start, item->head.index, true);
    } else if (rc != HOST_CANCELLED) {
        r->out->size = start;
        r->out->failed = false; /* if that was the fault, the fault itself still fits in */
        put_failure(r, item->head.index, &fault);
    }
    fault_deinit(&fault);
    return rc == HOST_CANCELLED ? rc : 0;
}

static void put_bad_item(struct runner *r, const struct item *item) {
    struct fault fault = {{0}};
    buf_append(&fault.json, item->bytes.data, item->bytes.size);
    put_failure(r, item->head.index, &fault);
    r->out->failed |= fault.json.failed;
    fault_deinit(&fault);
}

static bool is_deadly(const struct runner *r) {
    for (size_t at = 0; at + sizeof(uint32_t) <= r->poison.size; at += sizeof(uint32_t)) {
        uint32_t place;
        memcpy(&place, (const char *)r->poison.data + at, sizeof place);
        if (place == r->done)
            return true;
    }
    return false;
}

static void put_deadly_item(struct runner *r, const struct item *item) {
    struct fault fault = {{0}};
    fault_set(&fault, "worker_crashed", "the worker that ran this item died, each time it was tried");
    put_failure(r, item->head.index, &fault);
    r->out->failed |= fault.json.failed;
    fault_deinit(&fault);
}

static int run_group(struct runner *r, struct bytes group, struct fault *fault) {
    struct item item;
    for (size_t offset = 0; offset < group.size; r->total++)
        if (!read_item(group, &offset, &item))
            return refuse_damaged(fault, "plans");
    for (size_t offset = 0; offset < group.size && read_item(group, &offset, &item); r->done++) {
        show_progress(r, 0);
        if (is_cancelled(r->outer))
            return HOST_CANCELLED;
        if (item.head.chunks == 0)
            put_bad_item(r, &item);
        else if (is_deadly(r))
            put_deadly_item(r, &item);
        else if (run_item(r, &item) != 0)
            return HOST_CANCELLED;
    }
    return r->out->failed ? execute_no_memory(fault) : 0;
}

int host_run_items(size_t type, unsigned attempt, struct bytes poison, struct bytes group,
                   const struct host_hooks *hooks, struct buf *part, struct fault *fault) {
    struct runner r = {.handler = host_handler(type), .outer = hooks, .poison = poison, .out = part};
    if (r.handler == NULL)
        return execute_no_type(type, fault);
    r.hooks = (struct host_hooks){&r, on_item_progress, on_item_cancelled};
    r.call = (struct call){.type = r.handler->name, .hooks = &r.hooks, .attempt = attempt};
    void *copy = NULL;
    int rc = execute_align(&group, &copy) ? run_group(&r, group, fault) : execute_no_memory(fault);
    for (uint32_t i = 0; i < r.room; i++)
        buf_deinit(&r.parts[i]);
    free(r.parts);
    free(r.views);
    free(copy);
    return rc;
}

/* ---- merge ----------------------------------------------------------------------------------------- */

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

/* Appends the entries of a part, which follow the first `*count` of the map. */
static bool merge_part(struct bytes part, uint32_t *count, struct buf *json) {
    struct item_entry entry;
    const char *text;
    size_t offset = 0;
    int got = host_next_item(part, &offset, &entry, &text);
    for (; got == 1 && entry.index == *count; got = host_next_item(part, &offset, &entry, &text)) {
        if ((*count)++ > 0)
            buf_putc(json, ',');
        buf_append(json, text, entry.size);
    }
    return got == 0;
}

int host_merge_items(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                     const struct host_hooks *hooks, struct buf *json, struct fault *fault) {
    struct map_common map = {0, 0};
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
        if (is_cancelled(hooks))
            return HOST_CANCELLED;
        if (!merge_part(parts[i], &merged, json))
            return refuse_damaged(fault, "parts");
    }
    buf_puts(json, "]}");
    if (map.magic != ITEMS_MAGIC || merged != map.count)
        return refuse_damaged(fault, "parts");
    return json->failed ? execute_no_memory(fault) : 0;
}
