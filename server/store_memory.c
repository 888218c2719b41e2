/* store_memory.c: the store that keeps everything in this process. Front end.
 *
 * Records and tombstones are in one hash table by id. Ended ones are also in a list ordered by when they expire next
 * (all tombstones and records of one TTL are appended in order; others are inserted from the back), from whose
 * front gc takes, and in a list by when they ended, from whose front evict takes.
 */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "base/clock.h"
#include "server/store.h"

#define MAX_TOMBSTONES 100000

struct entry {
    struct id id;
    struct record *record; /* NULL: a tombstone */
    int64_t due_ms;        /* ended: expires; tombstone: forgotten; 0: has not ended */
    int64_t ttl_ms;
    UT_hash_handle hh;
    struct entry *prev, *next;           /* by due_ms */
    struct entry *ended_prev, *ended_next; /* by end */
};

struct memory_store {
    struct store base;
    struct store_limits limits;
    bool bury_pushed_out;
    uint64_t ended_count, tombstones;
    struct entry *by_id, *by_due, *by_end;
};

static struct entry *find(struct memory_store *m, const struct id *id) {
    struct entry *e;
    HASH_FIND(hh, m->by_id, id, sizeof *id, e);
    return e;
}

static struct entry *add(struct memory_store *m, const struct id *id) {
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->id = *id;
    HASH_ADD(hh, m->by_id, id, sizeof e->id, e);
    return e;
}

/* Into by_due, keeping its order; usually the last place is right. */
static void schedule(struct memory_store *m, struct entry *e, int64_t due_ms) {
    e->due_ms = due_ms;
    struct entry *last = m->by_due == NULL ? NULL : m->by_due->prev;
    while (last != NULL && last->due_ms > due_ms)
        last = last == m->by_due ? NULL : last->prev;
    if (last == NULL)
        DL_PREPEND(m->by_due, e);
    else
        DL_APPEND_ELEM(m->by_due, last, e);
}

static void drop_record(struct memory_store *m, struct entry *e) {
    if (e->due_ms != 0) {
        DL_DELETE(m->by_due, e);
        DL_DELETE2(m->by_end, e, ended_prev, ended_next);
        m->ended_count--;
        e->due_ms = 0;
    }
    record_unref(e->record);
    e->record = NULL;
}

static void drop_entry(struct memory_store *m, struct entry *e) {
    if (e->record != NULL) {
        drop_record(m, e);
    } else {
        DL_DELETE(m->by_due, e);
        m->tombstones--;
    }
    HASH_DEL(m->by_id, e);
    free(e);
}

/* Deleted, expired or given up: remembered as gone for one more TTL. */
static void bury(struct memory_store *m, struct entry *e, int64_t now_ms) {
    drop_record(m, e);
    m->tombstones++;
    schedule(m, e, now_ms + (e->ttl_ms > 0 ? e->ttl_ms : 1));
    struct entry *oldest = m->by_due;
    while (m->tombstones > MAX_TOMBSTONES && oldest != NULL) {
        struct entry *next = oldest->next;
        if (oldest->record == NULL)
            drop_entry(m, oldest);
        oldest = next;
    }
}

static void memory_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg) {
    struct memory_store *m = (struct memory_store *)s;
    struct entry *e = find(m, &r->id);
    (void)in; /* the live job holds it; it ends with this process, as we do */
    if (e == NULL) {
        e = add(m, &r->id);
        if (e != NULL) {
            e->record = record_ref(r);
            e->ttl_ms = r->ttl_ms;
        }
    }
    done(arg, e == NULL ? STORE_UNAVAILABLE : e->record == NULL ? STORE_GONE : STORE_OK);
}

static void memory_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                            const struct slice *part) {
    (void)s, (void)id, (void)chunk, (void)attempt, (void)part; /* parts live in the live job */
}

static void memory_finish(struct store *s, struct record *r, const struct delivery *webhook, store_done *done,
                          void *arg) {
    struct memory_store *m = (struct memory_store *)s;
    struct entry *e = find(m, &r->id);
    enum store_result result = STORE_OK;
    (void)webhook;
    if (e == NULL)
        e = add(m, &r->id);
    if (e == NULL) {
        result = STORE_UNAVAILABLE;
    } else if (e->due_ms != 0) {
        result = e->record == NULL ? STORE_GONE : STORE_FINAL;
    } else {
        struct record *before = e->record;
        e->record = record_ref(r);
        record_unref(before);
        e->ttl_ms = r->ttl_ms;
        DL_APPEND2(m->by_end, e, ended_prev, ended_next);
        m->ended_count++;
        schedule(m, e, r->expires_ms > 0 ? r->expires_ms : 1);
        if (m->limits.max_ended > 0 && m->ended_count > m->limits.max_ended)
            drop_entry(m, m->by_end);
    }
    done(arg, result);
}

static void memory_forget(struct store *s, const struct id *id, store_done *done, void *arg) {
    struct memory_store *m = (struct memory_store *)s;
    struct entry *e = find(m, id);
    if (e == NULL) {
        done(arg, STORE_NOT_FOUND);
    } else if (e->record == NULL) {
        done(arg, STORE_GONE);
    } else {
        bury(m, e, clock_wall_ms());
        done(arg, STORE_OK);
    }
}

static void memory_get(struct store *s, const struct id *id, store_found *found, void *arg) {
    struct entry *e = find((struct memory_store *)s, id);
    if (e == NULL)
        found(arg, STORE_NOT_FOUND, NULL);
    else if (e->record == NULL)
        found(arg, STORE_GONE, NULL);
    else
        found(arg, STORE_OK, e->record);
}

static bool matches(const struct entry *e, const struct store_filter *f) {
    return e->record != NULL && (f->status < 0 || (int)e->record->status == f->status) &&
           (f->type < 0 || e->record->type == f->type) && memcmp(&e->id, &f->before, sizeof e->id) < 0;
}

static int newest_first(const void *a, const void *b) {
    const struct record *const *x = a, *const *y = b;
    return memcmp(&(*y)->id, &(*x)->id, sizeof(*x)->id);
}

/* Ids are ordered by time, the table is not: keep the `limit` newest of all in a sorted array twice that size. */
static void memory_list(struct store *s, const struct store_filter *f, store_found *found, void *arg) {
    struct memory_store *m = (struct memory_store *)s;
    size_t room = 2 * (size_t)f->limit, n = 0;
    struct record **best = calloc(room, sizeof *best);
    struct entry *e, *next;
    if (best == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL);
        return;
    }
    HASH_ITER(hh, m->by_id, e, next) {
        if (!matches(e, f))
            continue;
        best[n++] = e->record;
        if (n == room) {
            qsort(best, n, sizeof *best, newest_first);
            n = f->limit;
        }
    }
    qsort(best, n, sizeof *best, newest_first);
    for (size_t i = 0; i < n && i < f->limit; i++)
        found(arg, STORE_OK, best[i]);
    free(best);
    found(arg, STORE_OK, NULL);
}

static int64_t memory_gc(struct store *s, int64_t now_ms) {
    struct memory_store *m = (struct memory_store *)s;
    while (m->by_due != NULL && m->by_due->due_ms <= now_ms) {
        if (m->by_due->record != NULL)
            bury(m, m->by_due, now_ms);
        else
            drop_entry(m, m->by_due);
    }
    return m->by_due == NULL ? 0 : m->by_due->due_ms;
}

static uint64_t memory_evict(struct store *s, uint64_t bytes) {
    struct memory_store *m = (struct memory_store *)s;
    uint64_t freed = 0;
    int64_t now_ms = clock_wall_ms();
    while (freed < bytes && m->by_end != NULL) {
        freed += record_bytes(m->by_end->record);
        bury(m, m->by_end, now_ms);
    }
    return freed;
}

static void memory_close(struct store *s) {
    struct memory_store *m = (struct memory_store *)s;
    struct entry *e, *next;
    HASH_ITER(hh, m->by_id, e, next) {
        HASH_DEL(m->by_id, e);
        record_unref(e->record);
        free(e);
    }
    free(m);
}

static const struct store_ops memory_ops = {
    .submit = memory_submit,
    .complete = memory_complete,
    .finish = memory_finish,
    .forget = memory_forget,
    .get = memory_get,
    .list = memory_list,
    .gc = memory_gc,
    .evict = memory_evict,
    .close = memory_close,
};

struct store *store_memory_open(const struct store_limits *limits, bool tombstones) {
    struct memory_store *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->base.ops = &memory_ops;
    m->limits = *limits;
    m->bury_pushed_out = tombstones;
    return &m->base;
}
