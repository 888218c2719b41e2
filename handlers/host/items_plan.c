/* items_plan.c: plans the items of a map (host.h), and divides them into groups (items_format.h):
 *
 *     packed list ──plan──► groups of planned items ──run──► parts: an entry per item ──merge──► {"items":[...]}
 *                  here                       items_run.c                     items_run.c
 *
 * The calls of a map by columns are planned in the same way; columns.h reads them.
 *
 * A map can have a million items of a microsecond each. So no memory is allocated for a plain item, and its bytes are
 * copied only once from stage to stage. params_flat.h reads the plain ones, and params.h the others.
 *
 * It runs in workers. */
#include <stdlib.h>

#include "handlers/host/columns.h"
#include "handlers/host/execute.h"
#include "handlers/host/items_format.h"
#include "handlers/host/items_pack.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/params_flat.h"
#include "handlers/host/registry.h"

#define ITEM_NS      300                            /* what an item costs beside the work of its handler */
#define MAX_ITEM_NS  (UINT64_C(10000) * 1000000000) /* HOST_MAX_ITEMS times this does not overflow */
#define MIN_GROUP_NS 2000000                        /* less is not worth a message */
#define FAIR_GROUPS  16                             /* a large map has at least so many, to keep all workers busy */

/* ---- plan: the items --------------------------------------------------------------------------------------------- */

struct planner {
    const struct params_table *table;
    const struct host_hooks *hooks;
    struct host_plan item; /* the plan of one item; its memory is used again for the next */
    struct call call;      /* of one item, too */
    struct flat flat;
    struct column_reader columns;
    struct buf params;         /* of one item */
    struct buf text;           /* of one item of columns, as an object */
    struct planned_item blank; /* what the heads of all items have in common */
    struct place at;           /* of the item */
    struct fault item_fault;
    size_t faults_bytes;
    struct buf *to;
    struct fault *fault; /* of the whole plan; borrowed */
};

/* Once the faults have so many bytes, a bad item only has its first fault. */
enum { MANY_FAULTS_BYTES = 1024 * 1024 };
#define MAX_DEPTH 2048 /* jansson's own; the submission was checked for the configured one */

static void put_bad(struct planner *p, uint32_t index, enum bad_item bad, const void *json, size_t size) {
    struct planned_item head = p->blank;
    head.index = index;
    head.size = size;
    head.cost_ns = ITEM_NS;
    head.bad = (uint8_t)bad;
    buf_append(p->to, &head, sizeof head);
    buf_append(p->to, json, size);
    items_pad(p->to, size);
}

/* Writes bytes and the zeros behind them. Returns the place behind both. */
static char *write_padded(char *at, const void *bytes, size_t size) {
    static const char zeros[8];
    if (size == 0)
        return at;
    memcpy(at, bytes, size);
    memcpy(at + size, zeros, ITEMS_PAD(size) - size);
    return at + ITEMS_PAD(size);
}

static uint32_t count_made(const struct planner *p) {
    return p->hooks == NULL || p->hooks->output == NULL ? 0 : p->hooks->output->made_count;
}

/* The attachments that its parameters name. */
static void find_attachments(const struct planner *p, struct planned_item *head) {
    struct params params;
    struct host_plan_chunk all = {0};
    params_view_own(p->table, p->params.data, &params);
    for (unsigned row = 0; row < p->table->rows; row++) {
        struct planned_item one = {.attachment_count = 1};
        if (params_attachment(&params, row, &one.attachment_first))
            items_join_attachments(&all, &one);
    }
    head->attachment_first = all.attachment_first;
    head->attachment_count = all.attachment_count;
}

/* with_all: its plan has made some attachments, so it gets all. */
static void put_planned(struct planner *p, uint32_t index, bool with_all) {
    const struct host_plan *plan = &p->item;
    size_t table = plan->count == 1 ? 0 : plan->count * sizeof *plan->chunks;
    uint64_t cost_ns = ITEM_NS;
    for (size_t i = 0; i < plan->count && cost_ns < MAX_ITEM_NS; i++)
        cost_ns += plan->chunks[i].cost_ns < MAX_ITEM_NS ? plan->chunks[i].cost_ns : MAX_ITEM_NS;
    struct planned_item head = p->blank;
    head.index = index;
    head.chunks = (uint32_t)plan->count;
    head.size = table + ITEMS_PAD(plan->common.size) + plan->bytes.size;
    head.cost_ns = cost_ns < MAX_ITEM_NS ? cost_ns : MAX_ITEM_NS;
    head.common_size = (uint16_t)plan->common.size;
    if (with_all)
        head.attachment_count = UINT32_MAX;
    else if (p->table->takes_bytes)
        find_attachments(p, &head);
    char *at = buf_reserve(p->to, sizeof head + ITEMS_PAD(head.size));
    if (at == NULL)
        return;
    memcpy(at, &head, sizeof head);
    at = write_padded(at + sizeof head, plan->chunks, table);
    at = write_padded(at, plan->common.data, plan->common.size);
    write_padded(at, plan->bytes.data, plan->bytes.size);
    p->to->size += sizeof head + ITEMS_PAD(head.size);
}

/* Plans an item with these parameters, and appends it. 0, also if its plan fails; or HOST_CANCELLED, or HOST_LOST
 * with p->fault filled. */
static int plan_params(struct planner *p, uint32_t index) {
    struct fault *fault = &p->item_fault;
    struct call *c = &p->call;
    p->at.index = index;
    c->failed = false;
    p->item.count = 0;
    buf_clear(&p->item.common);
    buf_clear(&p->item.bytes);
    uint32_t made = count_made(p);
    int rc = execute_plan_own(c, p->table, p->params.data);
    if (rc == 0) {
        put_planned(p, index, made != count_made(p));
        return 0;
    }
    if (rc == HOST_LOST) {
        *p->fault = *fault;
        memset(fault, 0, sizeof *fault);
    } else if (rc != HOST_CANCELLED) {
        put_bad(p, index, BAD_FAULT, fault->json.data, fault->json.size);
        p->to->failed |= fault->json.failed;
        rc = 0;
    }
    fault_deinit(fault);
    return rc;
}

/* The item is not plain, or bad. Packs its parameters. False if it is bad, and appended as such. */
static bool pack_params(struct planner *p, uint32_t index, const struct json_span *item) {
    struct fault fault = {{0}};
    bool brief = p->faults_bytes > MANY_FAULTS_BYTES;
    size_t size = (size_t)(item->end - item->at);
    p->at.index = index;
    bool good = items_pack_one(p->table, item, &p->at, brief, &p->params, &fault) == 0;
    if (!good) {
        p->faults_bytes += fault.json.size;
        if (size < fault.json.size && !p->params.failed)
            put_bad(p, index, brief ? BAD_ITEM_BRIEF : BAD_ITEM, item->at, size);
        else
            put_bad(p, index, BAD_FAULT, fault.json.data, fault.json.size);
    }
    p->to->failed |= fault.json.failed;
    fault_deinit(&fault);
    return good;
}

/* Plans an item that is not plain. 0, also if it is bad; or HOST_CANCELLED or HOST_LOST; or -1: it is no
 * JSON. */
static int plan_object(struct planner *p, uint32_t index, const struct json_span *item) {
    struct fault ignored = {{0}};
    bool good = jsontext_check(item->at, (size_t)(item->end - item->at), MAX_DEPTH, &ignored) == 0;
    fault_deinit(&ignored);
    if (!good)
        return -1;
    return pack_params(p, index, item) ? plan_params(p, index) : 0;
}

/* Plans the item at `at`, and returns its end. NULL if it is no JSON, or if the call was cancelled or lost:
 * *rc says which. */
static const char *plan_text(struct planner *p, uint32_t index, const char *at, const char *end, int *rc) {
    buf_clear(&p->params);
    *rc = -1;
    const char *stop = *at == '{' ? flat_pack(&p->flat, at, end, &p->params) : NULL;
    if (stop != NULL) {
        *rc = plan_params(p, index);
        return *rc == 0 ? stop : NULL;
    }
    struct json_span item = {at, scan_whole_value(at, end)};
    *rc = item.end == NULL ? -1 : plan_object(p, index, &item);
    return *rc == 0 ? item.end : NULL;
}

/* Goes through the array. Nothing of it is trusted: it can come from a process that is out of control. */
static int plan_texts(struct planner *p, const char *text, const char *end, uint32_t count, struct fault *fault) {
    const char *at = scan_space(text + 1, end);
    for (uint32_t index = 0; index < count; index++) {
        int rc = -1;
        at = at == end ? NULL : plan_text(p, index, at, end, &rc);
        if (rc == HOST_LOST)
            return rc;
        if (rc == HOST_CANCELLED || execute_is_cancelled(p->hooks))
            return HOST_CANCELLED;
        at = at == NULL ? end : scan_space(at, end);
        if (at == end || *at != (index + 1 < count ? ',' : ']'))
            return items_report_damage(fault, "items");
        if (*at == ',')
            at = scan_space(at + 1, end);
    }
    return at + 1 == end && *at == ']' ? 0 : items_report_damage(fault, "items");
}

static int plan_list(struct planner *p, struct bytes list, uint32_t count, struct fault *fault) {
    const char *text = (const char *)list.data + sizeof(struct items_head), *end = (const char *)list.data + list.size;
    if (text == end || *text != '[')
        return items_report_damage(fault, "items");
    flat_init(&p->flat, p->table);
    int rc = plan_texts(p, text, end, count, fault);
    flat_deinit(&p->flat);
    return rc;
}

/* Plans the next call of the columns. */
static int plan_column_call(struct planner *p, uint32_t index, bool last) {
    buf_clear(&p->params);
    buf_clear(&p->text);
    enum columns_call call = columns_next(&p->columns, last, &p->params, &p->text);
    if (call == COLUMNS_PACKED)
        return plan_params(p, index);
    p->to->failed |= p->text.failed;
    if (call == COLUMNS_DAMAGED)
        return -1;
    if (p->text.failed)
        return 0;
    const struct json_span item = {p->text.data, p->text.data + p->text.size};
    return plan_object(p, index, &item);
}

static int plan_columns(struct planner *p, struct bytes columns, uint32_t count, struct fault *fault) {
    int rc = columns_open(&p->columns, p->table, columns.data, columns.size, fault);
    p->blank.by_columns = 1;
    p->blank.lists = p->columns.lists;
    p->at = items_place_of(p->table->handler, &p->blank);
    for (uint32_t index = 0; index < count && rc == 0 && !p->to->failed; index++) {
        rc = plan_column_call(p, index, index + 1 == count);
        if (rc == -1)
            items_report_damage(fault, "columns");
        else if (rc == 0 && execute_is_cancelled(p->hooks))
            rc = HOST_CANCELLED;
    }
    columns_close(&p->columns);
    return rc;
}

/* ---- plan: the groups -------------------------------------------------------------------------------------------- */

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

/* Takes items that cost about the target: at least one, if there is one, but not the last `keep` of them. */
static struct host_plan_chunk take_group(struct rest *r, uint64_t target_ns, uint32_t keep) {
    struct host_plan_chunk group = {.offset = r->offset};
    while (r->count > keep) {
        struct planned_item head;
        memcpy(&head, r->bytes + r->offset, sizeof head);
        if (group.size > 0 && group.cost_ns + head.cost_ns / 2 > target_ns)
            break;
        group.cost_ns += head.cost_ns;
        items_join_attachments(&group, &head);
        r->offset += sizeof head + ITEMS_PAD(head.size);
        group.size = r->offset - group.offset;
        r->count--;
    }
    r->cost_ns -= group.cost_ns;
    return group;
}

/* What a group should cost. A group costs half of that at least, unless the next item is expensive. So a quarter of
 * HANDLER_MAX_CHUNKS leaves enough room. */
static uint64_t group_cost_ns(uint64_t total_ns) {
    uint64_t cost_ns = total_ns / FAIR_GROUPS;
    cost_ns = cost_ns < MIN_GROUP_NS ? MIN_GROUP_NS : cost_ns > HANDLER_CHUNK_NS ? HANDLER_CHUNK_NS : cost_ns;
    return cost_ns > total_ns / (HANDLER_MAX_CHUNKS / 4) ? cost_ns : total_ns / (HANDLER_MAX_CHUNKS / 4);
}

/* Divides the planned items into groups: as many as are wanted and possible or, if none are wanted, groups of a good
 * size. */
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

static int plan_aligned(struct planner *p, struct bytes list, unsigned wanted_chunks, struct host_plan *plan,
                        struct fault *fault) {
    struct items_head head;
    if (list.size < sizeof head)
        return items_report_damage(fault, "items");
    memcpy(&head, list.data, sizeof head);
    bool by_columns = head.magic == COLUMNS_MAGIC;
    if ((head.magic != ITEMS_MAGIC && !by_columns) || head.count > HOST_MAX_ITEMS || head.size != list.size)
        return items_report_damage(fault, "items");
    struct items_common common = {head.magic, head.count};
    buf_append(&plan->common, &common, sizeof common);
    int rc = (by_columns ? plan_columns : plan_list)(p, list, head.count, fault);
    if (rc != 0)
        return rc;
    if (plan->common.failed || plan->bytes.failed || make_groups(plan, head.count, wanted_chunks) != 0)
        return execute_no_memory(fault);
    return 0;
}

int host_plan_items(size_t type, const void *list, size_t size, unsigned wanted_chunks, const struct host_hooks *hooks,
                    struct host_plan *plan, struct fault *fault) {
    memset(plan, 0, sizeof *plan);
    struct planner p = {.table = registry_table(type), .hooks = hooks, .to = &plan->bytes, .fault = fault};
    if (p.table == NULL)
        return execute_no_type(type, fault);
    p.call = (struct call){.stage = CALL_STAGE_PLAN,
                           .handler = p.table->handler,
                           .hooks = hooks,
                           .at = &p.at,
                           .fault = &p.item_fault,
                           .traceback_left = GROUP_TRACEBACKS_MAX,
                           .wanted_chunks = 1, /* an item is not divided */
                           .plan = &p.item};
    p.at = items_place_of(p.table->handler, &p.blank);
    struct bytes packed = {list, size};
    void *copy = NULL;
    unsigned wanted = wanted_chunks < HANDLER_MAX_CHUNKS ? wanted_chunks : HANDLER_MAX_CHUNKS;
    bool aligned = execute_align(&packed, &copy);
    int rc = aligned ? plan_aligned(&p, packed, wanted, plan, fault) : execute_no_memory(fault);
    host_plan_deinit(&p.item);
    buf_deinit(&p.params);
    buf_deinit(&p.text);
    free(copy);
    return rc;
}
