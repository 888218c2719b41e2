/* items_run.c: runs the groups of a map, and merges their parts (host.h, items_format.h). If an item fails, its entry
 * says why, and the other items go on.
 *
 * As in items_plan.c, no memory is allocated for an item.
 *
 * It runs in workers. */
#include <stdlib.h>

#include <sys/mman.h>
#include <unistd.h>

#include "handlers/host/batch.h"
#include "handlers/host/execute.h"
#include "handlers/host/items_blobs.h"
#include "handlers/host/items_format.h"
#include "handlers/host/items_pack.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/registry.h"

#define MAX_DEPTH 2048 /* jansson's own; the submission was checked for the configured one */

static const char SUCCEEDED[] = "{\"status\":\"succeeded\",\"result\":";

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* A call of a batch, from when the handler takes it until it is done. */
struct under_way {
    struct runner *runner;
    uint64_t place; /* in the group */
    uint32_t index; /* in the map */
    struct place at;
    struct bytes common;
    struct host_hooks hooks;
    struct host_output output;
};

/* A part of an item that lies in a memfd, mapped. */
struct mapped {
    void *at; /* NULL: there is none */
    size_t size;
};

/* The run of a group. "The item" is the one that runs now. */
struct runner {
    const struct handler *handler;
    const struct params_table *table;
    struct call call;               /* of the item; it is made once, as it is larger than most items */
    const struct host_hooks *outer; /* of the group; may be NULL */
    struct host_hooks hooks;        /* of the item */
    struct bytes group;
    size_t offset;               /* in the group: of the next item */
    uint64_t taken;              /* the items before that one */
    uint64_t done, total;        /* items */
    struct bytes poison;         /* see host_run_items */
    uint32_t chunk, chunks;      /* of the item: which one runs, and how many there are */
    struct buf *parts;           /* of the item; their memory is used again */
    struct bytes *views;         /* of the parts */
    struct host_output *outputs; /* likewise: the memfds of those that have some */
    struct mapped *mapped;
    struct host_output result; /* of the item */
    struct blobs blobs;        /* of the group */
    uint32_t room;             /* how many parts and views there can be */
    struct place at;           /* of the item */
    struct buf *out;           /* the part of the group */
    size_t start, rows;        /* where in that it starts, and where its table is */
    uint32_t first;            /* index of the first item */
    bool by_columns;           /* the map is */
    struct buf errors;         /* then: the second text */
    struct fault *fault;       /* of the group */
    struct fault item_fault;
    int rc; /* not 0: the group ends with it, and with what is in *fault */
    struct under_way batch[BATCH_MAX];
};

static void show_progress(const struct runner *r, uint64_t steps) {
    if (r->outer != NULL && r->outer->progress != NULL)
        r->outer->progress(r->outer->arg, r->done * HOST_ITEM_STEPS + steps, r->total * HOST_ITEM_STEPS);
}

static double share_of(uint64_t done, uint64_t total) {
    return total == 0 ? 0 : done >= total ? 1 : (double)done / (double)total;
}

static void on_item_progress(void *arg, uint64_t done, uint64_t total) {
    const struct runner *r = arg;
    show_progress(r, (uint64_t)((r->chunk + share_of(done, total)) / r->chunks * HOST_ITEM_STEPS));
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

static void on_item_died(void *arg, const struct host_loss *how) {
    const struct runner *r = arg;
    if (r->outer != NULL && r->outer->died != NULL)
        r->outer->died(r->outer->arg, how);
}

/* The group ends with rc, which host_run_items returns. Takes *fault. */
static void end_group(struct runner *r, int rc, struct fault *fault) {
    if (r->rc != 0)
        return;
    r->rc = rc;
    *r->fault = *fault;
    memset(fault, 0, sizeof *fault);
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
    struct host_output *outputs = reallocarray(r->outputs, chunks, sizeof *outputs);
    if (outputs == NULL)
        return false;
    memset(outputs + r->room, 0, (chunks - r->room) * sizeof *outputs);
    r->outputs = outputs;
    struct mapped *mapped = reallocarray(r->mapped, chunks, sizeof *mapped);
    if (mapped == NULL)
        return false;
    memset(mapped + r->room, 0, (chunks - r->room) * sizeof *mapped);
    r->mapped = mapped;
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

static bool may_make_bytes(const struct runner *r) {
    return r->outer != NULL && r->outer->output != NULL;
}

/* Maps a part that lies in a memfd. False: there is no memory. */
static bool map_output(const struct host_output *o, struct mapped *m, struct bytes *view) {
    size_t lead = (size_t)(o->offset & ((uint64_t)sysconf(_SC_PAGESIZE) - 1));
    *view = (struct bytes){"", 0};
    if (o->size == 0)
        return true;
    m->size = lead + (size_t)o->size;
    void *at = mmap(NULL, m->size, PROT_READ, MAP_SHARED, o->fd, (off_t)(o->offset - lead));
    m->at = at == MAP_FAILED ? NULL : at;
    *view = (struct bytes){(const char *)m->at + lead, (size_t)o->size};
    return m->at != NULL;
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
    r->call.out_start = 0;
    r->hooks.output = may_make_bytes(r) ? &r->outputs[r->chunk] : NULL;
    int rc = execute_run(&r->call, r->handler, item->common, chunk);
    r->views[r->chunk] = (struct bytes){part->size > 0 ? part->data : item->table, part->size};
    if (rc == 0 && r->outputs[r->chunk].has_fd &&
        !map_output(&r->outputs[r->chunk], &r->mapped[r->chunk], &r->views[r->chunk]))
        rc = execute_no_memory(r->call.fault);
    return rc;
}

/* The parts of the item have done their work. */
static void drop_outputs(struct runner *r) {
    for (uint32_t i = 0; i < r->chunks && i < r->room; i++) {
        if (r->mapped[i].at != NULL)
            munmap(r->mapped[i].at, r->mapped[i].size);
        r->mapped[i].at = NULL;
        if (r->outputs[i].has_fd)
            host_output_deinit(&r->outputs[i]);
    }
}

/* Merges the parts to the end of r->out. r->call is filled in, but for what a merge needs. */
static int merge_item(struct runner *r, struct bytes common, const struct bytes *parts, size_t count) {
    struct call *c = &r->call;
    c->stage = CALL_STAGE_MERGE;
    c->out = r->out;
    r->hooks.output = may_make_bytes(r) ? &r->result : NULL;
    c->json_depth = 0;
    c->json_states[0] = JSON_DOCUMENT_START;
    return execute_merge(c, r->handler, common, parts, count);
}

/* Runs all chunks, and merges their parts. */
static int run_and_merge(struct runner *r, const struct item *item, struct fault *fault) {
    struct call *c = &r->call;
    r->at.index = item->head.index;
    r->at.lists = item->head.lists;
    c->at = &r->at;
    r->chunks = item->head.chunks;
    if (!has_room(r, r->chunks))
        return execute_no_memory(fault);
    c->stage = CALL_STAGE_RUN;
    c->fault = fault;
    c->failed = false;
    for (r->chunk = 0; r->chunk < r->chunks; r->chunk++) {
        int rc = run_chunk(r, item);
        if (rc != 0)
            return rc;
    }
    return merge_item(r, item->common, r->views, r->chunks);
}

/* ---- the part ---------------------------------------------------------------------------------------------------- */

/* Makes room for the head and the table of the part. False: there is none. */
static bool begin_part(struct runner *r) {
    size_t head = r->by_columns ? sizeof(struct columns_head) : sizeof(struct part_head);
    size_t row = r->by_columns ? sizeof(struct columns_entry) : sizeof(struct part_entry), size = head + r->total * row;
    char *at = buf_reserve(r->out, size);
    if (at == NULL)
        return false;
    memset(at, 0, size);
    r->start = r->out->size;
    r->rows = r->start + head;
    r->out->size += size;
    return true;
}

/* Fills in the head, when all entries are there. */
static void end_part(struct runner *r) {
    struct columns_head head = {.part = {(uint32_t)r->total, PART_OF_ITEMS}, .first = r->first};
    size_t size = sizeof head.part;
    if (r->by_columns) {
        size = sizeof head;
        head.part.form = PART_OF_COLUMNS;
        head.text = r->out->size - r->rows - r->total * sizeof(struct columns_entry);
        r->out->failed |= r->errors.failed;
        buf_append(r->out, r->errors.data, r->errors.size);
    }
    if (!r->out->failed)
        memcpy(r->out->data + r->start, &head, size);
}

/* Where an entry begins. What is wrong with it can be undone. */
struct entry {
    size_t before, start; /* of its comma, and of its text */
};

static struct entry begin_entry(struct runner *r, const char *json) {
    struct entry e = {.before = r->out->size};
    if (r->done > 0)
        buf_putc(r->out, ',');
    e.start = r->out->size;
    if (!r->by_columns)
        buf_puts(r->out, json);
    return e;
}

/* Fills in the row of an entry whose text, of that size, has been written. */
static void end_entry(struct runner *r, size_t size, uint32_t index, bool failed) {
    r->out->failed |= size > PART_MAX_JSON;
    if (r->out->failed)
        return;
    char *rows = r->out->data + r->rows;
    if (r->by_columns) {
        const struct columns_entry row = {.failed = failed, .size = (uint32_t)size & PART_MAX_JSON};
        memcpy(rows + r->done * sizeof row, &row, sizeof row);
    } else {
        const struct part_entry row = {.index = index, .failed = failed, .size = (uint32_t)size & PART_MAX_JSON};
        memcpy(rows + r->done * sizeof row, &row, sizeof row);
    }
}

/* Ends the entry of an item whose result was written. */
static void put_success(struct runner *r, struct entry e, uint32_t index) {
    static const char null[] = "null";
    if (!r->by_columns)
        buf_putc(r->out, '}');
    else if (r->out->size - e.start == sizeof null - 1 && memcmp(r->out->data + e.start, null, sizeof null - 1) == 0) {
        r->out->size = e.start;
        buf_puts(r->out, " null"); /* items_format.h */
    }
    end_entry(r, r->out->size - e.start, index, false);
}

static void put_failure(struct runner *r, uint32_t index, const struct fault *fault) {
    struct entry e = begin_entry(r, "{\"status\":\"failed\",\"error\":");
    if (!r->by_columns) {
        fault_write_problem(r->out, fault);
        buf_putc(r->out, '}');
        end_entry(r, r->out->size - e.start, index, true);
        return;
    }
    buf_puts(r->out, "null");
    if (r->errors.size > 0)
        buf_putc(&r->errors, ',');
    size_t start = r->errors.size;
    buf_puts(&r->errors, "{\"index\":");
    buf_u64(&r->errors, index);
    buf_puts(&r->errors, ",\"error\":");
    fault_write_problem(&r->errors, fault);
    buf_putc(&r->errors, '}');
    r->out->failed |= r->errors.failed;
    end_entry(r, r->errors.size - start, index, true);
}

/* Ends an entry with what the host functions return. Its result, if there is one, is written. */
static void put_outcome(struct runner *r, struct entry e, uint32_t index, int rc, struct fault *fault) {
    if (rc == 0) {
        put_success(r, e, index);
    } else if (rc == -1) {
        r->out->size = e.before;
        r->out->failed = false; /* if memory ran out for the result, there can still be enough for the fault */
        put_failure(r, index, fault);
    } else {
        end_group(r, rc, fault);
    }
}

/* The bytes of a result that is not JSON go to the blobs. */
static bool add_blob(struct runner *r, uint32_t index, const struct bytes *parts) {
    const struct host_output *o = &r->result;
    if (o->source == HOST_SOURCE_PART)
        return blobs_add(&r->blobs, index, o->media_type, parts[o->index].data, -1, o->offset, o->size);
    if (o->source == HOST_SOURCE_BYTES)
        return blobs_add(&r->blobs, index, o->media_type, o->bytes.data, o->has_fd ? o->fd : -1,
                         o->has_fd ? o->offset : 0, o->has_fd ? o->size : o->bytes.size);
    const struct host_attachment *a = host_attachment(r->hooks.attachments, o->index);
    return a != NULL && blobs_add(&r->blobs, index, o->media_type, a->bytes, a->fd,
                                  (a->fd >= 0 ? a->offset : 0) + o->offset, o->size);
}

/* Replaces the text of the entry, which has the summary of the result, if there is one. */
static void put_binary_entry(struct runner *r, struct entry e, size_t front) {
    const struct host_output *o = &r->result;
    struct buf summary = {0};
    uint64_t size = o->source == HOST_SOURCE_BYTES && !o->has_fd ? o->bytes.size : o->size;
    buf_append(&summary, r->out->data + e.start + front, r->out->size - e.start - front);
    r->out->size = e.start;
    buf_puts(r->out, r->by_columns ? "{" : "{\"status\":\"succeeded\",");
    buf_puts(r->out, "\"result_media_type\":");
    buf_json_string(r->out, o->media_type, strlen(o->media_type));
    buf_puts(r->out, ",\"result_size\":");
    buf_u64(r->out, size);
    if (summary.size > 0)
        buf_puts(r->out, ",\"result\":");
    buf_append(r->out, summary.data, summary.size);
    buf_puts(r->out, r->by_columns ? "}" : "");
    r->out->failed |= summary.failed;
    buf_deinit(&summary);
}

/* The item has a result. If it is not JSON, its bytes and its entry are written. Returns rc, or -1 with *fault. */
static int take_result(struct runner *r, struct entry e, uint32_t index, const struct bytes *parts, int rc,
                       struct fault *fault) {
    size_t front = r->by_columns ? 0 : sizeof SUCCEEDED - 1;
    if (rc == 0 && r->result.source != HOST_SOURCE_JSON && !r->out->failed) {
        if (add_blob(r, index, parts))
            put_binary_entry(r, e, front);
        else
            rc = execute_no_memory(fault);
    }
    if (r->result.has_fd || r->result.bytes.data != NULL)
        host_output_deinit(&r->result);
    r->result.source = HOST_SOURCE_JSON;
    return rc;
}

/* Runs the item and writes its entry, whether it fails or not. */
static void run_item(struct runner *r, const struct item *item) {
    struct entry e = begin_entry(r, SUCCEEDED);
    int rc = run_and_merge(r, item, &r->item_fault);
    rc = take_result(r, e, item->head.index, r->views, rc, &r->item_fault);
    drop_outputs(r);
    put_outcome(r, e, item->head.index, rc, &r->item_fault);
    if (rc != 0)
        fault_deinit(&r->item_fault);
}

/* ---- items that are not run -------------------------------------------------------------------------------------- */

/* Is the item at that place poison? Then it also finds out whether it used too much memory. */
static bool is_poison(const struct runner *r, uint64_t item, bool *by_memory) {
    for (size_t at = 0; at + sizeof(uint32_t) <= r->poison.size; at += sizeof(uint32_t)) {
        uint32_t place;
        memcpy(&place, (const char *)r->poison.data + at, sizeof place);
        *by_memory = (place & HOST_POISON_MEMORY) != 0;
        if ((place & ~HOST_POISON_MEMORY) == item)
            return true;
    }
    return false;
}

/* Makes the fault of a bad item again, from the item. It does not rely on what the plan says. */
static void find_fault(const struct runner *r, const struct item *item, struct fault *fault) {
    const char *at = item->bytes.data, *end = at + item->bytes.size;
    struct json_span text = {at, scan_whole_value(at, end)};
    const struct place place = items_place_of(r->handler, &item->head);
    struct buf params = {0};
    if (text.end != end || jsontext_check(at, item->bytes.size, MAX_DEPTH, fault) != 0 ||
        items_pack_one(r->table, &text, &place, item->head.bad == BAD_ITEM_BRIEF, &params, fault) == 0)
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

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* At the item that runs, the progress is that of its place: so it shows at which one a worker died. */
static void on_batch_progress(void *arg, uint64_t done, uint64_t total) {
    const struct under_way *u = arg;
    if (u->place == u->runner->done)
        show_progress(u->runner, (uint64_t)(share_of(done, total) * HOST_ITEM_STEPS));
}

static bool on_batch_cancelled(void *arg) {
    const struct under_way *u = arg;
    return on_item_cancelled(u->runner);
}

static void on_batch_log(void *arg, const char *text, size_t size) {
    const struct under_way *u = arg;
    on_item_log(u->runner, text, size);
}

static void on_batch_died(void *arg, const struct host_loss *how) {
    const struct under_way *u = arg;
    on_item_died(u->runner, how);
}

/* Can the item be a call of a batch? The others are done one by one. */
static bool is_batchable(const struct runner *r, const struct item *item) {
    bool by_memory;
    return r->handler->run_batch != NULL && item->head.chunks == 1 && !is_poison(r, r->taken, &by_memory);
}

static bool feed_next(void *arg, struct host_batch_call *call) {
    struct runner *r = arg;
    struct item item;
    size_t offset = r->offset;
    if (r->rc != 0 || r->out->failed || offset >= r->group.size || execute_is_cancelled(r->outer) ||
        !read_item(r->group, &offset, &item) || !is_batchable(r, &item))
        return false;
    struct under_way *u = &r->batch[r->taken % BATCH_MAX];
    *u = (struct under_way){.runner = r,
                            .place = r->taken++,
                            .index = item.head.index,
                            .at = items_place_of(r->handler, &item.head),
                            .common = item.common,
                            .hooks = {u, on_batch_progress, on_batch_cancelled, on_batch_log, r->hooks.deadline_ns,
                                      r->hooks.attachments, NULL, on_batch_died}};
    u->hooks.output = may_make_bytes(r) ? &u->output : NULL;
    *call = (struct host_batch_call){.owner = u,
                                     .attempt = r->call.attempt,
                                     .common = item.common,
                                     .chunk = item.bytes,
                                     .hooks = &u->hooks,
                                     .at = &u->at,
                                     .tracebacks = &r->call.traceback_left};
    r->offset = offset;
    return true;
}

/* Merges the part of a call, and writes its entry. */
static void feed_done(void *arg, void *owner, int rc, struct buf *part, struct fault *fault) {
    struct runner *r = arg;
    struct under_way *u = owner;
    struct bytes view = {part->size > 0 ? part->data : u->common.data, part->size};
    struct mapped mapped = {NULL, 0};
    if (r->rc != 0) {
        host_output_deinit(&u->output);
        return;
    }
    struct entry e = begin_entry(r, SUCCEEDED);
    if (rc == 0 && u->output.has_fd && !map_output(&u->output, &mapped, &view))
        rc = execute_no_memory(fault);
    if (rc == 0) {
        r->call.at = &u->at;
        r->call.fault = fault;
        r->call.failed = false;
        rc = merge_item(r, u->common, &view, 1);
    }
    rc = take_result(r, e, u->index, &view, rc, fault);
    if (mapped.at != NULL)
        munmap(mapped.at, mapped.size);
    if (u->output.has_fd)
        host_output_deinit(&u->output);
    put_outcome(r, e, u->index, rc, fault);
    if (r->rc != 0)
        return; /* the progress stays at this item: the process that worked for it may have died */
    r->done++;
    show_progress(r, 0);
}

/* ---- the group --------------------------------------------------------------------------------------------------- */

/* Checks the heads of all items. False: they are no group. */
static bool read_heads(struct runner *r) {
    struct item item;
    for (size_t offset = 0; offset < r->group.size; r->total++) {
        if (!read_item(r->group, &offset, &item))
            return false;
        if (r->total == 0) {
            r->first = item.head.index;
            r->by_columns = item.head.by_columns != 0;
            r->at = items_place_of(r->handler, &item.head);
        }
        if (item.head.index != r->first + r->total || item.head.by_columns != r->by_columns)
            return false;
    }
    return true;
}

/* Does the next item by itself, or as many as can be done in a batch. */
static void do_next(struct runner *r) {
    struct item item;
    size_t offset = r->offset;
    bool by_memory = false;
    show_progress(r, 0);
    if (execute_is_cancelled(r->outer)) {
        r->rc = HOST_CANCELLED;
        return;
    }
    (void)read_item(r->group, &offset, &item);
    if (is_batchable(r, &item)) {
        batch_run_handler(r->handler, &(struct host_batch){r, feed_next, feed_done});
        return;
    }
    r->offset = offset;
    if (item.head.chunks == 0 || is_poison(r, r->taken, &by_memory))
        put_item_not_run(r, &item, by_memory);
    else
        run_item(r, &item);
    r->taken++;
    r->done++;
}

static int run_group(struct runner *r) {
    if (!read_heads(r))
        return items_report_damage(r->fault, "plans");
    if (r->total == 0)
        return 0;
    if (!begin_part(r))
        return execute_no_memory(r->fault);
    while (r->offset < r->group.size && r->rc == 0 && !r->out->failed)
        do_next(r);
    if (r->rc != 0)
        return r->rc;
    end_part(r);
    if (r->out->failed)
        return execute_no_memory(r->fault);
    if (!r->blobs.open)
        return 0;
    struct buf text = {.data = r->out->data + r->start, .size = r->out->size - r->start};
    if (!blobs_finish(&r->blobs, &text, r->outer->output))
        return execute_no_memory(r->fault);
    r->out->size = r->start; /* it is in the memfd now */
    return 0;
}

int host_run_items(size_t type, unsigned attempt, struct bytes poison, struct bytes group,
                   const struct host_hooks *hooks, struct buf *part, struct fault *fault) {
    struct runner r; /* not cleared as a whole: the batch is large, and most maps have none */
    memset(&r, 0, offsetof(struct runner, batch));
    r.handler = host_handler(type);
    r.table = registry_table(type);
    r.outer = hooks;
    r.poison = poison;
    r.out = part;
    r.fault = fault;
    if (r.handler == NULL || r.table == NULL)
        return execute_no_type(type, fault);
    r.hooks = (struct host_hooks){&r,
                                  on_item_progress,
                                  on_item_cancelled,
                                  on_item_log,
                                  hooks == NULL ? 0 : hooks->deadline_ns,
                                  hooks == NULL ? NULL : hooks->attachments,
                                  NULL,
                                  on_item_died};
    r.call = (struct call){
        .handler = r.handler, .hooks = &r.hooks, .traceback_left = GROUP_TRACEBACKS_MAX, .attempt = attempt};
    void *copy = NULL;
    int rc = execute_align(&group, &copy) ? 0 : execute_no_memory(fault);
    r.group = group;
    if (rc == 0)
        rc = run_group(&r);
    for (uint32_t i = 0; i < r.room; i++)
        buf_deinit(&r.parts[i]);
    free(r.parts);
    free(r.views);
    drop_outputs(&r);
    free(r.outputs);
    free(r.mapped);
    blobs_deinit(&r.blobs);
    buf_deinit(&r.errors);
    free(copy);
    return rc;
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

/* What a merge has made so far. */
struct merger {
    uint32_t count; /* items */
    bool has_blobs;
    struct buf *json;
    struct buf errors; /* of a map by columns */
};

static void append_text(struct buf *to, bool more, const char *text, size_t size) {
    if (size > 0 && more)
        buf_putc(to, ',');
    buf_append(to, text, size);
}

/* Appends the texts of a part. Its entries must be the next ones of the map. */
static bool merge_part(struct merger *m, bool by_columns, struct bytes part) {
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    struct blobs_view v;
    if (part.size == 0)
        return true;
    if (!blobs_view(part, &v))
        return false;
    m->has_blobs |= v.rows != NULL;
    part = v.text;
    int got = host_next_item(part, &at, &entry, &json);
    while (got == 1 && entry.index == m->count + at.next - 1 && entry.bare == by_columns)
        got = host_next_item(part, &at, &entry, &json);
    if (got != 0)
        return false;
    const char *text = (const char *)part.data + part.size - at.errors - at.text;
    append_text(m->json, m->count > 0, text, at.text);
    append_text(&m->errors, m->errors.size > 0, text + at.text, at.errors);
    m->count += at.next;
    return true;
}

static int merge_parts(struct merger *m, bool by_columns, const struct bytes *parts, size_t count,
                       const struct host_hooks *hooks) {
    size_t room = 32;
    for (size_t i = 0; i < count; i++)
        room += parts[i].size;
    buf_reserve(m->json, room);
    buf_puts(m->json, by_columns ? "{\"results\":[" : "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (execute_is_cancelled(hooks))
            return HOST_CANCELLED;
        if (!merge_part(m, by_columns, parts[i]))
            return -1;
    }
    if (by_columns) {
        buf_puts(m->json, "],\"errors\":[");
        buf_append(m->json, m->errors.data, m->errors.size);
    }
    buf_puts(m->json, "]}");
    m->json->failed |= m->errors.failed;
    return 0;
}

int host_merge_items(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                     const struct host_hooks *hooks, struct buf *json, struct fault *fault) {
    struct items_common map = {0, 0};
    struct merger m = {.json = json};
    (void)type;
    if (common.size == sizeof map)
        memcpy(&map, common.data, sizeof map);
    bool known = map.magic == ITEMS_MAGIC || map.magic == COLUMNS_MAGIC;
    int rc = known ? merge_parts(&m, map.magic == COLUMNS_MAGIC, parts, count, hooks) : -1;
    buf_deinit(&m.errors);
    if (rc == HOST_CANCELLED)
        return rc;
    if (rc != 0 || m.count != map.count)
        return items_report_damage(fault, "parts");
    if (json->failed)
        return execute_no_memory(fault);
    return m.has_blobs && hooks != NULL && hooks->output != NULL ? blobs_merge(parts, count, hooks->output, fault) : 0;
}
