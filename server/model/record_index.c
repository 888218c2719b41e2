/* record_index.c: see record_index.h. Front end. Each status of each type has a tree by id, and one by tenant and id, in
 * which the records of a tenant stand side by side: so a tenant needs no tree of its own. A page is merged from those
 * trees that match, and from the recent records. The last row is of types that are not known, because the body is raw,
 * or this build lacks them. */
#include "server/model/record_index.h"

#include <string.h>
#include <utlist.h>

#include "base/container.h"

#define TREES       ((METRICS_TYPES + 1) * JOB_STATUSES)
#define RECENT      TREES /* the tag of a recent record */
#define MOST_RECENT 64

static int compare_ids(const struct record *a, const struct record *b) {
    return memcmp(&a->id, &b->id, sizeof a->id);
}

static int by_id(const struct tree_node *a, const struct tree_node *b) {
    return compare_ids(container_of_const(a, struct indexed, node)->record,
                       container_of_const(b, struct indexed, node)->record);
}

static int by_tenant(const struct tree_node *a, const struct tree_node *b) {
    const struct record *x = container_of_const(a, struct indexed, of_tenant)->record;
    const struct record *y = container_of_const(b, struct indexed, of_tenant)->record;
    int order = strcmp(x->tenant, y->tenant);
    return order != 0 ? order : compare_ids(x, y);
}

static uint32_t tag_of(const struct record *r) {
    return (uint32_t)(metrics_row(r->type) * JOB_STATUSES + r->status);
}

static void file(struct record_index *x, struct indexed *e) {
    uint32_t tag = tag_of(e->record);
    tree_add(&x->trees[tag], &e->node, by_id);
    e->node.tag = tag;
    if (e->record->tenant != NULL)
        tree_add(&x->of_tenants[tag], &e->of_tenant, by_tenant);
}

static void leave(struct record_index *x, struct indexed *e) {
    if (e->node.tag == RECENT) {
        DL_DELETE(x->recent, e);
        x->recent_count--;
    } else {
        tree_remove(&x->trees[e->node.tag], &e->node);
        if (e->record->tenant != NULL)
            tree_remove(&x->of_tenants[e->node.tag], &e->of_tenant);
    }
}

void record_index_put(struct record_index *x, struct indexed *e, struct record *r) {
    if (e->record == NULL) {
        e->record = r;
        e->node.tag = RECENT;
        DL_APPEND(x->recent, e);
        x->recent_count++;
        if (x->recent_count <= MOST_RECENT)
            return;
        e = x->recent;
    } else if (e->node.tag == RECENT || e->node.tag == tag_of(r)) {
        return;
    }
    leave(x, e);
    file(x, e);
}

void record_index_remove(struct record_index *x, struct indexed *e) {
    if (e->record == NULL)
        return;
    leave(x, e);
    e->record = NULL;
}

static bool matches(const struct record_filter *f, uint32_t tag) {
    int64_t row = tag / JOB_STATUSES;
    return (f->status < 0 || f->status == (int)(tag % JOB_STATUSES)) &&
           (f->type < 0 || (f->type == row && row < METRICS_TYPES));
}

/* The recent records that match, the newest last. Returns how many there are. They come nearly in the order of their
 * ids, so each finds its place near the end. */
static size_t find_recent(const struct record_index *x, const struct record_filter *f,
                          struct record *found[MOST_RECENT]) {
    struct indexed *e;
    size_t count = 0;
    DL_FOREACH(x->recent, e) {
        struct record *r = e->record;
        if (!matches(f, tag_of(r)) || !tenant_sees(f->tenant, r->tenant) ||
            memcmp(&r->id, &f->before, sizeof r->id) >= 0)
            continue;
        size_t place = count++;
        for (; place > 0 && compare_ids(found[place - 1], r) > 0; place--)
            found[place] = found[place - 1];
        found[place] = r;
    }
    return count;
}

/* Whose node it is. NULL: there is none, or the records of another tenant begin here. */
static struct indexed *indexed_at(const struct record_filter *f, struct tree_node *n) {
    if (n == NULL)
        return NULL;
    if (f->tenant == NULL)
        return container_of(n, struct indexed, node);
    struct indexed *e = container_of(n, struct indexed, of_tenant);
    return strcmp(e->record->tenant, f->tenant) == 0 ? e : NULL;
}

/* The record before `e` in the tree from which the page is made; NULL: there is none. */
static struct indexed *older(const struct record_filter *f, struct indexed *e) {
    return indexed_at(f, tree_before(f->tenant == NULL ? &e->node : &e->of_tenant));
}

/* The newest record of each tree that matches. Returns how many there are. */
static size_t find_heads(const struct record_index *x, const struct record_filter *f, struct indexed *heads[TREES]) {
    struct record before = {.id = f->before};
    struct indexed probe = {.record = &before};
    size_t count = 0;
    memcpy(&before.tenant, &f->tenant, sizeof before.tenant); /* it is only compared */
    for (uint32_t tag = 0; tag < TREES; tag++) {
        if (!matches(f, tag))
            continue;
        heads[count] =
            indexed_at(f, f->tenant == NULL ? tree_last_before(&x->trees[tag], &probe.node, by_id)
                                            : tree_last_before(&x->of_tenants[tag], &probe.of_tenant, by_tenant));
        count += heads[count] != NULL;
    }
    return count;
}

/* Which of the heads is the newest; 0 if there is none. */
static size_t newest_head(struct indexed *const *heads, size_t count) {
    size_t newest = 0;
    for (size_t i = 1; i < count; i++)
        newest = compare_ids(heads[i]->record, heads[newest]->record) > 0 ? i : newest;
    return newest;
}

void record_index_read(const struct record_index *x, const struct record_filter *f,
                       void (*found)(void *arg, struct record *record), void *arg) {
    struct indexed *heads[TREES];
    struct record *recent[MOST_RECENT]; /* the newest is the last one */
    size_t count = find_heads(x, f, heads), recent_count = find_recent(x, f, recent);
    for (unsigned n = 0; n < f->limit && count + recent_count > 0; n++) {
        size_t i = newest_head(heads, count);
        struct record *r = count == 0 ? NULL : heads[i]->record;
        if (r == NULL || (recent_count > 0 && compare_ids(recent[recent_count - 1], r) > 0)) {
            found(arg, recent[--recent_count]);
            continue;
        }
        heads[i] = older(f, heads[i]);
        if (heads[i] == NULL)
            heads[i] = heads[--count];
        found(arg, r);
    }
}
