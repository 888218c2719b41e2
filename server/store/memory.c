/* memory.c: the store that keeps jobs in this process. Front end. It has two uses: it keeps all jobs with
 * `--data-dir none`, and it keeps the last jobs that were answered inline, because no disk needs to have those.
 *
 * Records and tombstones are in one hash table by id, and keys are in another one by tenant and key. Ended jobs,
 * tombstones and keys are each kept in the order in which they expire, and gc takes from the front. Ended jobs are also
 * in a list in the order in which they ended, and eviction takes from the front of that one; and in an index, from which
 * they are listed.
 *
 *     ABSENT ──submit──► OPEN ──finish──► ENDED ──forget, gc, evict──► BURIED (a tombstone) ──gc──► ABSENT
 *        │                └──────────────── forget ────────────────────► ▲
 *        └──finish, or submit of a job that has ended──► ENDED
 *
 * Nothing is copied: the store shares the record with the live job, so `plan`, `update` and `lost` have nothing to
 * change. Nothing is recovered either: requests, attachments, plans, parts and webhooks would be lost with the process, so
 * the store does not keep them at all.
 *
 * SQLite's :memory: would be less code. We did not take it, because evict must free memory before it returns, and
 * --max-memory must know how much memory the results need. In SQLite the results would be copies that are not counted,
 * and another thread would free them later. To submit, start and end a job takes 2 us of CPU time here, and 25 us in
 * SQLite without a disk.
 */
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/table.h"

#define MAX_TOMBSTONES 100000
#define GC_MEMBERS     5000 /* one gc drops at most so many, so that the event loop gets round */

enum timed_kind { TIMED_ENDED, TIMED_TOMBSTONE, TIMED_KEY, TIMED_KINDS };

/* Something that expires. Embedded. */
struct timed {
    union {
        struct tree_node node;
        struct {
            struct timed *prev, *next;
        };
    };
    enum timed_kind kind;
    bool in_order;  /* it is in the list, not in the tree */
    int64_t due_ms; /* 0: never, and it is in neither */
};

/* What expires, by when it does. Most come in that order, and are in the list; the others are in the tree. */
struct due {
    struct timed *list;
    struct tree tree;
};

struct entry {
    struct timed timed; /* when the ended job or the tombstone expires; an open job does not */
    struct indexed indexed;
    struct id id;
    struct record *record; /* a reference; NULL: a tombstone */
    const char *tenant;    /* whose it is, also when only the tombstone is left: `text`; NULL: nobody's */
    int64_t ttl_ms;
    size_t held; /* bytes counted for it in HELD_ENDED */
    UT_hash_handle hh;
    struct entry *ended_prev, *ended_next; /* in the list by_end */
    char text[];
};

struct key {
    struct timed timed;
    struct id job;
    uint8_t hash[STORE_HASH_SIZE];
    UT_hash_handle hh;
    size_t size;
    char text[]; /* tenant, NUL, key */
};

struct memory_store {
    struct store base;
    struct store_limits limits;
    bool bury_evicted; /* a job that is evicted because of the limits becomes a tombstone */
    uint64_t ended_count, ended_bytes, tombstones;
    struct entry *by_id;       /* hash table */
    struct entry *by_end;      /* list of the ended jobs; the one that ended first is in front */
    struct record_index index; /* of the ended jobs */
    struct key *keys;          /* hash table */
    struct due due[TIMED_KINDS];
};

static struct memory_store *self(struct store *s) {
    return container_of(s, struct memory_store, base);
}

/* ---- what expires ------------------------------------------------------------------------------------------------ */

static int by_due(const struct tree_node *a, const struct tree_node *b) {
    const struct timed *x = container_of_const(a, struct timed, node), *y = container_of_const(b, struct timed, node);
    return x->due_ms < y->due_ms ? -1 : x->due_ms > y->due_ms;
}

static void schedule(struct memory_store *m, struct timed *t, enum timed_kind kind, int64_t due_ms) {
    struct due *d = &m->due[kind];
    t->kind = kind;
    t->due_ms = due_ms;
    t->in_order = d->list == NULL || d->list->prev->due_ms <= due_ms;
    if (t->in_order)
        DL_APPEND(d->list, t);
    else
        tree_add(&d->tree, &t->node, by_due);
}

static void unschedule(struct memory_store *m, struct timed *t) {
    struct due *d = &m->due[t->kind];
    if (t->due_ms != 0 && t->in_order)
        DL_DELETE(d->list, t);
    else if (t->due_ms != 0)
        tree_remove(&d->tree, &t->node);
    t->due_ms = 0;
}

/* What expires first; NULL if nothing of that kind does. */
static struct timed *first_due(const struct memory_store *m, enum timed_kind kind) {
    const struct due *d = &m->due[kind];
    struct timed *first = d->tree.first == NULL ? NULL : container_of(d->tree.first, struct timed, node);
    return first == NULL || (d->list != NULL && d->list->due_ms <= first->due_ms) ? d->list : first;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static struct entry *find(struct memory_store *m, const struct id *id) {
    struct entry *e;
    HASH_FIND(hh, m->by_id, id, sizeof *id, e);
    return e;
}

/* As `find`, but only what `tenant` is to see. */
static struct entry *find_seen(struct memory_store *m, const struct id *id, const char *tenant) {
    struct entry *e = find(m, id);
    return e != NULL && tenant_sees(tenant, e->tenant) ? e : NULL;
}

static bool is_open(const struct entry *e) {
    return e->timed.due_ms == 0;
}

static size_t entry_bytes(const struct entry *e) {
    return sizeof *e + (e->tenant == NULL ? 0 : strlen(e->tenant) + 1);
}

static struct entry *add(struct memory_store *m, struct record *r) {
    size_t size = r->tenant == NULL ? 0 : strlen(r->tenant) + 1;
    struct entry *e = calloc(1, sizeof *e + size);
    if (e == NULL)
        return NULL;
    if (size > 0)
        e->tenant = memcpy(e->text, r->tenant, size);
    e->id = r->id;
    e->record = record_ref(r);
    e->ttl_ms = r->options.ttl_ms;
    HASH_ADD(hh, m->by_id, id, sizeof e->id, e);
    if (HASH_HOLDS(e)) {
        held_replace(HELD_ENDED, &e->held, entry_bytes(e));
        return e;
    }
    record_unref(e->record);
    free(e);
    return NULL;
}

static void drop_record(struct memory_store *m, struct entry *e) {
    if (!is_open(e)) {
        DL_DELETE2(m->by_end, e, ended_prev, ended_next);
        record_index_remove(&m->index, &e->indexed);
        m->ended_count--;
        m->ended_bytes -= record_bytes(e->record);
    }
    record_unref(e->record);
    e->record = NULL;
    held_replace(HELD_ENDED, &e->held, entry_bytes(e));
}

static void drop_entry(struct memory_store *m, struct entry *e) {
    if (e->record == NULL)
        m->tombstones--;
    else
        drop_record(m, e);
    unschedule(m, &e->timed);
    HASH_DEL(m->by_id, e);
    held_sub(HELD_ENDED, e->held);
    free(e);
}

/* The job was deleted, evicted, or has expired. Its tombstone stays for one more TTL, unless there are too many. */
static void bury(struct memory_store *m, struct entry *e, int64_t now_ms) {
    drop_record(m, e);
    unschedule(m, &e->timed);
    m->tombstones++;
    schedule(m, &e->timed, TIMED_TOMBSTONE, now_ms + (e->ttl_ms > 0 ? e->ttl_ms : 1));
    if (m->tombstones > MAX_TOMBSTONES)
        drop_entry(m, container_of(first_due(m, TIMED_TOMBSTONE), struct entry, timed));
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static struct key *new_key(const char *tenant, const char *key) {
    size_t tenant_size = strlen(tenant) + 1, key_size = strlen(key) + 1;
    struct key *k = calloc(1, sizeof *k + tenant_size + key_size);
    if (k == NULL)
        return NULL;
    k->size = tenant_size + key_size;
    memcpy(k->text, tenant, tenant_size);
    memcpy(k->text + tenant_size, key, key_size);
    return k;
}

static void drop_key(struct memory_store *m, struct key *k) {
    unschedule(m, &k->timed);
    HASH_DEL(m->keys, k);
    held_sub(HELD_ENDED, sizeof *k + k->size);
    free(k);
}

/* The recorded key that is equal to `wanted`; NULL if there is none, or it has expired. */
static struct key *find_key(struct memory_store *m, const struct key *wanted) {
    struct key *k;
    HASH_FIND(hh, m->keys, wanted->text, wanted->size, k);
    if (k != NULL && k->timed.due_ms <= clock_wall_ms()) {
        drop_key(m, k);
        k = NULL;
    }
    return k;
}

/* STORE_OK: the key belongs to the job now. */
static enum store_result claim_key(struct memory_store *m, const struct id *job, const struct store_key *key) {
    struct key *k = new_key(key->tenant, key->key);
    if (k == NULL)
        return STORE_UNAVAILABLE;
    if (find_key(m, k) != NULL) {
        free(k);
        return STORE_EXISTS;
    }
    k->job = *job;
    memcpy(k->hash, key->hash, sizeof k->hash);
    HASH_ADD_KEYPTR(hh, m->keys, k->text, k->size, k);
    if (!HASH_HOLDS(k)) {
        free(k);
        return STORE_UNAVAILABLE;
    }
    held_add(HELD_ENDED, sizeof *k + k->size);
    schedule(m, &k->timed, TIMED_KEY, clock_wall_ms() + key->ttl_ms);
    return STORE_OK;
}

static void memory_find_key(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg) {
    struct key *wanted = new_key(tenant, key);
    if (wanted == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL, NULL);
        return;
    }
    struct key *k = find_key(self(s), wanted);
    free(wanted);
    if (k == NULL)
        found(arg, STORE_NOT_FOUND, NULL, NULL);
    else
        found(arg, STORE_OK, &k->job, k->hash);
}

/* ---- a job's life ------------------------------------------------------------------------------------------------ */

static void prefetch(const void *at, size_t size) {
    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch((const char *)at + i, 1);
}

/* With a full store each end evicts the oldest job, which nobody has touched for long: a dozen misses of the cache, one
 * after the other. So the cache is told early what will be needed: the result of the oldest job, the record of the
 * second, and the entry of the third. */
static void prefetch_next(const struct memory_store *m) {
    const struct entry *e = m->by_end == NULL ? NULL : m->by_end->ended_next;
    if (e == NULL || e->ended_next == NULL)
        return;
    prefetch(e->record, sizeof *e->record);
    prefetch(e->ended_next, sizeof *e);
    if (m->by_end->record->result.blob != NULL)
        prefetch(m->by_end->record->result.blob, sizeof(struct blob));
}

/* The job that ended just now is never evicted, even if it is too large: its owner must be able to see it. */
static void evict_ended(struct memory_store *m) {
    const struct store_limits *l = &m->limits;
    while (m->ended_count > 1 && ((l->max_ended > 0 && m->ended_count > l->max_ended) ||
                                  (l->max_ended_bytes > 0 && m->ended_bytes > l->max_ended_bytes))) {
        if (m->bury_evicted)
            bury(m, m->by_end, clock_wall_ms());
        else
            drop_entry(m, m->by_end);
        prefetch_next(m);
    }
}

/* The open job has ended, as its record says. */
static void end_entry(struct memory_store *m, struct entry *e) {
    const struct record *r = e->record;
    e->ttl_ms = r->options.ttl_ms;
    DL_APPEND2(m->by_end, e, ended_prev, ended_next);
    record_index_put(&m->index, &e->indexed, e->record);
    m->ended_count++;
    m->ended_bytes += record_bytes(r);
    held_replace(HELD_ENDED, &e->held, entry_bytes(e) + record_bytes(r) - r->result.size); /* a blob counts itself */
    schedule(m, &e->timed, TIMED_ENDED, r->expires_ms > 0 ? r->expires_ms : 1);
    evict_ended(m);
}

static void memory_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done,
                          void *arg) {
    struct memory_store *m = self(s);
    struct entry *e = find(m, &r->id);
    enum store_result result = e == NULL || e->record != NULL ? STORE_OK : STORE_GONE;
    if (e == NULL) {
        e = add(m, r);
        result = e == NULL ? STORE_UNAVAILABLE : in->key == NULL ? STORE_OK : claim_key(m, &r->id, in->key);
        if (e != NULL && result != STORE_OK)
            drop_entry(m, e);
        else if (e != NULL && job_status_is_final(r->status))
            end_entry(m, e);
    }
    done(arg, result);
}

static void memory_finish(struct store *s, struct record *r, const struct delivery *webhook, store_done *done,
                          void *arg) {
    (void)webhook;
    struct memory_store *m = self(s);
    struct entry *e = find(m, &r->id);
    if (e == NULL)
        e = add(m, r);
    if (e == NULL || !is_open(e)) {
        done(arg, e == NULL ? STORE_UNAVAILABLE : e->record == NULL ? STORE_GONE : STORE_FINAL);
        return;
    }
    struct record *before = e->record;
    e->record = record_ref(r);
    record_unref(before);
    end_entry(m, e);
    done(arg, STORE_OK);
}

static void memory_forget(struct store *s, const struct id *id, const char *tenant, store_done *done, void *arg) {
    struct memory_store *m = self(s);
    struct entry *e = find_seen(m, id, tenant);
    bool there = e != NULL && e->record != NULL;
    if (there)
        bury(m, e, clock_wall_ms());
    done(arg, e == NULL ? STORE_NOT_FOUND : there ? STORE_OK : STORE_GONE);
}

static void memory_get(struct store *s, const struct id *id, const char *tenant, store_found *found, void *arg) {
    struct entry *e = find_seen(self(s), id, tenant);
    if (e == NULL)
        found(arg, STORE_NOT_FOUND, NULL);
    else if (e->record == NULL)
        found(arg, STORE_GONE, NULL);
    else
        found(arg, STORE_OK, e->record);
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

struct reading {
    store_found *found;
    void *arg;
};

static void on_read(void *arg, struct record *record) {
    const struct reading *r = arg;
    r->found(r->arg, STORE_OK, record);
}

static void memory_list(struct store *s, const struct record_filter *f, store_found *found, void *arg) {
    struct reading r = {found, arg};
    record_index_read(&self(s)->index, f, on_read, &r);
    found(arg, STORE_OK, NULL);
}

/* ---- time and room ----------------------------------------------------------------------------------------------- */

static void expire(struct memory_store *m, struct timed *t, int64_t now_ms) {
    switch (t->kind) {
    case TIMED_ENDED: bury(m, container_of(t, struct entry, timed), now_ms); break;
    case TIMED_TOMBSTONE: drop_entry(m, container_of(t, struct entry, timed)); break;
    default: drop_key(m, container_of(t, struct key, timed));
    }
}

static int64_t memory_gc(struct store *s, int64_t now_ms) {
    struct memory_store *m = self(s);
    int64_t due_ms = 0;
    for (int kind = 0; kind < TIMED_KINDS; kind++) {
        struct timed *t = first_due(m, (enum timed_kind)kind);
        for (int i = 0; i < GC_MEMBERS && t != NULL && t->due_ms <= now_ms; i++) {
            expire(m, t, now_ms);
            t = first_due(m, (enum timed_kind)kind);
        }
    }
    for (int kind = 0; kind < TIMED_KINDS; kind++) { /* again, because jobs have become tombstones */
        const struct timed *t = first_due(m, (enum timed_kind)kind);
        if (t != NULL && (due_ms == 0 || t->due_ms < due_ms))
            due_ms = t->due_ms;
    }
    return due_ms;
}

/* All times move by as much, so the order stays. */
static void memory_adjust_clock(struct store *s, int64_t by_ms) {
    struct memory_store *m = self(s);
    struct entry *e, *next_entry;
    struct key *k, *next_key;
    HASH_ITER(hh, m->keys, k, next_key) {
        k->timed.due_ms += by_ms;
    }
    HASH_ITER(hh, m->by_id, e, next_entry) {
        if (is_open(e))
            continue;
        e->timed.due_ms += by_ms;
        if (e->record != NULL)
            e->record->expires_ms += by_ms;
    }
}

static uint64_t memory_evict(struct store *s, uint64_t bytes) {
    struct memory_store *m = self(s);
    uint64_t freed = 0;
    int64_t now_ms = clock_wall_ms();
    while (freed < bytes && m->by_end != NULL) {
        freed += record_bytes(m->by_end->record);
        bury(m, m->by_end, now_ms);
    }
    return freed;
}

static const char *memory_trouble(struct store *s) {
    (void)s;
    return NULL;
}

static const char *memory_spool(struct store *s) {
    (void)s;
    return NULL;
}

/* ---- only for stores that outlive their process ------------------------------------------------------------------ */

static void memory_plan(struct store *s, struct record *r, const struct slice *plan) {
    (void)s, (void)r, (void)plan;
}

static void memory_update(struct store *s, struct record *r) {
    (void)s, (void)r;
}

static void memory_lost(struct store *s, struct record *r, const struct store_chunk *c, store_done *done, void *arg) {
    (void)s, (void)r, (void)c;
    if (done != NULL)
        done(arg, STORE_OK);
}

static void memory_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                            const struct slice *part) {
    (void)s, (void)id, (void)chunk, (void)attempt, (void)part;
}

static void memory_deliver(struct store *s, const struct delivery *d) {
    (void)s, (void)d;
}

static void memory_delivered(struct store *s, const struct id *job) {
    (void)s, (void)job;
}

static int memory_recover(struct store *s, const struct store_recovery *to) {
    (void)s, (void)to;
    return 0;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void memory_close(struct store *s) {
    struct memory_store *m = self(s);
    while (m->by_id != NULL)
        drop_entry(m, m->by_id);
    while (m->keys != NULL)
        drop_key(m, m->keys);
    free(m);
}

static const struct store_ops memory_ops = {
    .submit = memory_submit,
    .plan = memory_plan,
    .update = memory_update,
    .lost = memory_lost,
    .complete = memory_complete,
    .finish = memory_finish,
    .forget = memory_forget,
    .get = memory_get,
    .list = memory_list,
    .find_key = memory_find_key,
    .deliver = memory_deliver,
    .delivered = memory_delivered,
    .gc = memory_gc,
    .adjust_clock = memory_adjust_clock,
    .evict = memory_evict,
    .trouble = memory_trouble,
    .spool = memory_spool,
    .recover = memory_recover,
    .close = memory_close,
};

struct store *store_memory_open(const struct store_limits *limits, bool tombstones) {
    struct memory_store *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->base.ops = &memory_ops;
    m->limits = *limits;
    m->bury_evicted = tombstones;
    return &m->base;
}
