/* sqlite.c: the store on disk, as the event loop sees it. Each call makes an op with a copy of what it needs, and posts
 * it. When the op is done, its `complete` calls the caller's callback. Front end, event loop's thread. queue.h has a
 * picture of the whole.
 *
 * A new operation needs a value of enum op_kind (op.h), a row in `operations`, an `apply` (apply.c), a `complete` here
 * unless complete_write will do, and the call that posts it.
 */
#include "server/store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/store/sqlite/apply.h"
#include "server/store/sqlite/directory.h"
#include "server/store/sqlite/lifetime.h"
#include "server/store/sqlite/queue.h"
#include "server/store/sqlite/recover.h"
#include "server/store/sqlite/schema.h"

#define TYPICAL_TEXTS 256      /* bytes that the texts of a record need on the heap, more or less */
#define GC_AGAIN_MS   1000     /* we do not know what expires next before the store thread has looked */
#define LOOK_NS       NS_PER_S /* at most so often somebody who asks for trouble has the store thread look for it */

struct sqlite_store {
    struct store base;
    struct queue queue;
    struct sql *sql;
    char *path;
    char *spool;
    int lock_fd;
    int64_t next_due_ms; /* something expires then (wall clock); 0: nothing does */
    bool gc_posted;      /* an OP_GC is on its way */
    int64_t looked_ns;   /* monotonic: when the last OP_LOOK was posted */
};

static struct sqlite_store *self(struct store *s) {
    return container_of(s, struct sqlite_store, base);
}

/* ---- completing ops ---------------------------------------------------------------------------------------------- */

static void complete_write(struct queue *q, struct op *op) {
    struct sqlite_store *s = container_of(q, struct sqlite_store, queue);
    if (op->due_ms != 0 && (s->next_due_ms == 0 || op->due_ms < s->next_due_ms))
        s->next_due_ms = op->due_ms;
    op_call_done(op, op->result);
}

/* Whether who asks sees what that op will do to a job. A deletion that is pending counts for the one who wants it. */
static bool is_seen(const struct op *op, const char *viewer) {
    return op->kind == OP_FINISH ? tenant_sees(viewer, op->record->tenant)
                                 : op->tenant == NULL || tenant_sees(viewer, op->tenant);
}

/* If the end of the job is still pending, its record is newer than the one on disk. */
static void complete_get(struct queue *q, struct op *op) {
    const struct op *newer = queue_find_pending(q, &op->id);
    if (newer != NULL && !is_seen(newer, op->tenant))
        newer = NULL;
    struct record *r = op->found_count == 1 ? op->found[0] : NULL;
    bool has_result = op->stored.size > 0;
    if (newer != NULL) {
        op->result = newer->kind == OP_FINISH ? STORE_OK : STORE_GONE;
        r = newer->record;
    } else if (r != NULL) {
        r->result = stored_slice(&op->stored);
        if (has_result && r->result.blob == NULL)
            op->result = STORE_UNAVAILABLE;
    }
    op->callback.found(op->arg, op->result, op->result == STORE_OK ? r : NULL);
}

static bool matches(const struct record *r, const struct record_filter *f) {
    return (f->status < 0 || (int)r->status == f->status) && (f->type < 0 || r->type == f->type) &&
           tenant_sees(f->tenant, r->tenant);
}

/* Merges what is on disk with the ends that are still pending. Both are in the order of the ids. */
static void complete_list(struct queue *q, struct op *op) {
    const struct op *newer = queue_next_pending(q, &op->filter.before);
    size_t i = 0;
    for (unsigned n = 0; op->result == STORE_OK && n < op->filter.limit && (newer != NULL || i < op->found_count);) {
        struct record *r = i < op->found_count ? op->found[i] : NULL;
        int order = r == NULL ? 1 : newer == NULL ? -1 : memcmp(&newer->id, &r->id, sizeof r->id);
        i += order <= 0;
        if (order >= 0) {
            r = newer->record; /* NULL: forgotten */
            newer = queue_next_pending(q, &newer->id);
        }
        if (r == NULL || !matches(r, &op->filter))
            continue;
        op->callback.found(op->arg, STORE_OK, r);
        n++;
    }
    op->callback.found(op->arg, op->result, NULL);
}

static void complete_find_key(struct queue *q, struct op *op) {
    (void)q;
    op->callback.key_found(op->arg, op->result, &op->key_job, op->hash);
}

/* What is left to drop is dropped by further ops, so that other ops can be carried out in between. */
static void complete_gc(struct queue *q, struct op *op) {
    struct sqlite_store *s = container_of(q, struct sqlite_store, queue);
    struct op *again = NULL;
    if (op->outcome == OP_DONE || op->outcome == OP_MORE)
        s->next_due_ms = op->due_ms;
    if (op->outcome == OP_MORE)
        again = op_new(OP_GC, op->operation, NULL, 0);
    s->gc_posted = again != NULL;
    if (again != NULL) {
        again->time_ms = op->time_ms;
        queue_post(q, again);
    }
}

/* What it has found is in the state of the queue. */
static void complete_look(struct queue *q, struct op *op) {
    (void)q, (void)op;
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

/* `apply` runs on the store thread, and `complete` on the event loop's thread. */
static const struct operation operations[OP_KINDS] = {
    [OP_SUBMIT] = {apply_submit, complete_write},
    [OP_PLAN] = {apply_plan, complete_write, .is_step = true},
    [OP_UPDATE] = {apply_update, complete_write, .is_step = true},
    [OP_LOST] = {apply_lost, complete_write, .must_last = true, .is_step = true},
    [OP_COMPLETE] = {apply_complete, complete_write, .is_step = true},
    [OP_FINISH] = {apply_finish, complete_write, .must_last = true},
    [OP_FORGET] = {apply_forget, complete_write, .must_last = true},
    [OP_GET] = {apply_get, complete_get, .reads = true},
    [OP_LIST] = {apply_list, complete_list, .reads = true},
    [OP_FIND_KEY] = {apply_find_key, complete_find_key, .reads = true},
    [OP_DELIVER] = {apply_deliver, complete_write, .must_last = true},
    [OP_DELIVERED] = {apply_delivered, complete_write, .must_last = true},
    [OP_GC] = {apply_gc, complete_gc},
    [OP_ADJUST_CLOCK] = {apply_adjust_clock, complete_write, .must_last = true},
    [OP_LOOK] = {apply_look, complete_look, .reads = true},
    [OP_PROBE] = {apply_probe, queue_complete_probe},
};

static struct op *new_op(enum op_kind kind, const struct id *id, size_t text_bytes) {
    return op_new(kind, &operations[kind], id, text_bytes);
}

/* An op with a copy of the record, and room for more strings. */
static struct op *new_row_op(enum op_kind kind, const struct record *r, size_t more_text_bytes) {
    struct op *op = new_op(kind, &r->id, op_row_bytes(r) + more_text_bytes);
    if (op != NULL)
        op_set_row(op, r);
    return op;
}

/* Posts an op without a callback. If memory ran out, the op is lost, as it would be if the disk failed. */
static void post(struct store *s, struct op *op) {
    if (op == NULL)
        LOG(LOG_ERROR, "store_operation_failed", LOG_STR("error", "out of memory"));
    else
        queue_post(&self(s)->queue, op);
}

static void post_done(struct store *s, struct op *op, store_done *done, void *arg) {
    if (op == NULL) {
        done(arg, STORE_UNAVAILABLE);
        return;
    }
    op->callback.done = done;
    op->arg = arg;
    queue_post(&self(s)->queue, op);
}

static void post_found(struct store *s, struct op *op, store_found *found, void *arg) {
    if (op == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL);
        return;
    }
    op->callback.found = found;
    op->arg = arg;
    queue_post(&self(s)->queue, op);
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

/* The payloads of a job that has ended. */
static void add_end(struct op *op, const struct record *r, const struct delivery *webhook) {
    op_add_payload(op, FILE_RESULT, 0, &r->result);
    if (webhook != NULL)
        op_set_webhook(op, webhook);
}

static size_t attachments_text_bytes(const struct job_attachments *a) {
    size_t bytes = 0;
    for (uint32_t i = 0; a != NULL && i < a->count; i++)
        bytes += op_text_bytes(a->list[i].media_type);
    return bytes;
}

static void sqlite_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done,
                          void *arg) {
    const struct store_key *k = in->key;
    const struct delivery *webhook = in->webhook;
    size_t more = k == NULL ? 0 : op_text_bytes(k->tenant) + op_text_bytes(k->key);
    more += webhook == NULL ? 0 : op_text_bytes(webhook->url) + op_text_bytes(webhook->trace);
    bool ended = job_status_is_final(r->status);
    const struct job_attachments *a = ended ? NULL : in->attachments;
    struct op *op = new_row_op(OP_SUBMIT, r, more + attachments_text_bytes(a));
    if (op != NULL && a != NULL && !op_reserve_payloads(op, 2 + (size_t)a->count)) {
        op_free(op);
        op = NULL;
    }
    if (op != NULL && ended) {
        add_end(op, r, webhook);
    } else if (op != NULL) {
        op_add_payload(op, FILE_REQUEST, 0, &in->request);
        op_add_payload(op, FILE_PLAN, 0, &in->plan);
        for (uint32_t i = 0; a != NULL && i < a->count; i++)
            op_add_attachment(op, i, &a->list[i]);
    }
    if (op != NULL && k != NULL) {
        op_set_key(op, k->tenant, k->key);
        memcpy(op->hash, k->hash, sizeof op->hash);
        op->key_expires_ms = op->time_ms + k->ttl_ms;
    }
    post_done(s, op, done, arg);
}

static void sqlite_plan(struct store *s, struct record *r, const struct slice *plan) {
    struct op *op = new_row_op(OP_PLAN, r, 0);
    if (op != NULL)
        op_add_payload(op, FILE_PLAN, 0, plan);
    post(s, op);
}

static void sqlite_update(struct store *s, struct record *r) {
    post(s, new_row_op(OP_UPDATE, r, 0));
}

static void sqlite_lost(struct store *s, struct record *r, const struct store_chunk *c, store_done *done, void *arg) {
    struct op *op = new_row_op(OP_LOST, r, c->poison_count * sizeof *c->poison);
    if (op != NULL)
        op_set_loss(op, c);
    if (done == NULL)
        post(s, op);
    else
        post_done(s, op, done, arg);
}

static void sqlite_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                            const struct slice *part) {
    struct op *op = new_op(OP_COMPLETE, id, 0);
    if (op != NULL) {
        op->chunk = chunk;
        op->attempt = attempt;
        op_add_payload(op, FILE_PART, chunk, part);
    }
    post(s, op);
}

static void sqlite_finish(struct store *s, struct record *r, const struct delivery *webhook, store_done *done,
                          void *arg) {
    size_t webhook_bytes = webhook == NULL ? 0 : op_text_bytes(webhook->url) + op_text_bytes(webhook->trace);
    struct op *op = new_row_op(OP_FINISH, r, webhook_bytes);
    if (op != NULL) {
        op->record = record_ref(r);
        op_hold(op, record_bytes(r) - r->result.size);
        add_end(op, r, webhook);
    }
    if (op == NULL)
        done(arg, STORE_NO_MEMORY);
    else
        post_done(s, op, done, arg);
}

static struct op *new_viewer_op(enum op_kind kind, const struct id *id, const char *tenant) {
    struct op *op = new_op(kind, id, op_text_bytes(tenant));
    if (op != NULL)
        op_set_viewer(op, tenant);
    return op;
}

static void sqlite_forget(struct store *s, const struct id *id, const char *tenant, store_done *done, void *arg) {
    post_done(s, new_viewer_op(OP_FORGET, id, tenant), done, arg);
}

static void sqlite_get(struct store *s, const struct id *id, const char *tenant, store_found *found, void *arg) {
    post_found(s, new_viewer_op(OP_GET, id, tenant), found, arg);
}

static void sqlite_list(struct store *s, const struct record_filter *f, store_found *found, void *arg) {
    struct op *op = new_op(OP_LIST, NULL, op_text_bytes(f->tenant));
    if (op != NULL) {
        op->filter = *f;
        op_set_viewer(op, f->tenant);
        op_hold(op, f->limit * (sizeof(struct record) + TYPICAL_TEXTS));
    }
    post_found(s, op, found, arg);
}

static void sqlite_find_key(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg) {
    struct op *op = new_op(OP_FIND_KEY, NULL, op_text_bytes(tenant) + op_text_bytes(key));
    if (op == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL, NULL);
        return;
    }
    op_set_key(op, tenant, key);
    op->callback.key_found = found;
    op->arg = arg;
    queue_post(&self(s)->queue, op);
}

static void sqlite_deliver(struct store *s, const struct delivery *d) {
    struct op *op = new_op(OP_DELIVER, &d->job, op_text_bytes(d->url) + op_text_bytes(d->trace));
    if (op != NULL)
        op_set_webhook(op, d);
    post(s, op);
}

static void sqlite_delivered(struct store *s, const struct id *job) {
    post(s, new_op(OP_DELIVERED, job, 0));
}

static int64_t sqlite_gc(struct store *base, int64_t now_ms) {
    struct sqlite_store *s = self(base);
    if (s->next_due_ms == 0 || s->next_due_ms > now_ms)
        return s->next_due_ms;
    bool can_post = !s->gc_posted && s->queue.state == QUEUE_WORKING;
    struct op *op = can_post ? new_op(OP_GC, NULL, 0) : NULL;
    if (op != NULL) {
        op->time_ms = now_ms;
        s->gc_posted = true;
        queue_post(&s->queue, op);
    }
    return now_ms + GC_AGAIN_MS;
}

static void sqlite_adjust_clock(struct store *s, int64_t by_ms) {
    struct op *op = new_op(OP_ADJUST_CLOCK, NULL, 0);
    if (op != NULL)
        op->time_ms = by_ms;
    if (self(s)->next_due_ms != 0)
        self(s)->next_due_ms += by_ms;
    post(s, op);
}

static uint64_t sqlite_evict(struct store *s, uint64_t bytes) {
    (void)s, (void)bytes;
    return 0;
}

/* A store without anything to do does not notice that its files are gone. So it looks now, and the next one who asks
 * hears of it. */
static const char *sqlite_trouble(struct store *base) {
    struct sqlite_store *s = self(base);
    int64_t now_ns = clock_monotonic_ns();
    bool due = s->queue.state == QUEUE_WORKING && now_ns - s->looked_ns >= LOOK_NS;
    struct op *op = due ? new_op(OP_LOOK, NULL, 0) : NULL;
    if (op != NULL) {
        s->looked_ns = now_ns;
        queue_post(&s->queue, op);
    }
    return s->queue.trouble;
}

static const char *sqlite_spool(struct store *s) {
    return self(s)->spool;
}

static int sqlite_recover(struct store *base, const struct store_recovery *to) {
    struct sqlite_store *s = self(base);
    queue_suspend(&s->queue, true);
    int status = recover_all(s->sql, to);
    s->next_due_ms = lifetime_next_due_ms(s->sql);
    queue_suspend(&s->queue, false);
    return status;
}

static void sqlite_close(struct store *base) {
    struct sqlite_store *s = self(base);
    queue_stop(&s->queue);
    sql_close(s->sql);
    close(s->lock_fd);
    free(s->spool);
    free(s->path);
    free(s);
}

static const struct store_ops sqlite_ops = {
    .submit = sqlite_submit,
    .plan = sqlite_plan,
    .update = sqlite_update,
    .lost = sqlite_lost,
    .complete = sqlite_complete,
    .finish = sqlite_finish,
    .forget = sqlite_forget,
    .get = sqlite_get,
    .list = sqlite_list,
    .find_key = sqlite_find_key,
    .deliver = sqlite_deliver,
    .delivered = sqlite_delivered,
    .gc = sqlite_gc,
    .adjust_clock = sqlite_adjust_clock,
    .evict = sqlite_evict,
    .trouble = sqlite_trouble,
    .spool = sqlite_spool,
    .recover = sqlite_recover,
    .close = sqlite_close,
};

int store_sqlite_check(const char *directory, struct buf *error) {
    return directory_check(directory, error);
}

static char *spool_path(const char *directory) {
    struct buf b = {0};
    buf_printf(&b, "%s/files", directory);
    return buf_steal(&b, NULL);
}

struct store *store_sqlite_open(struct loop *loop, const char *directory, const struct store_limits *limits,
                                struct buf *error) {
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        buf_puts(error, "out of memory");
        return NULL;
    }
    s->base.ops = &sqlite_ops;
    s->lock_fd = directory_lock(directory, error);
    if (s->lock_fd >= 0)
        s->path = realpath(directory, NULL); /* the working directory can change later */
    if (s->path != NULL)
        s->spool = spool_path(s->path);
    if (s->spool != NULL)
        s->sql = sql_open(s->path, limits, error);
    if (s->sql != NULL)
        s->next_due_ms = lifetime_next_due_ms(s->sql);
    if (s->sql != NULL && queue_start(&s->queue, loop, s->sql, &operations[OP_PROBE]) == 0)
        return &s->base;
    if (error->size == 0)
        buf_printf(error, "cannot use the data directory %s: %s", directory, strerror(errno));
    if (s->sql != NULL)
        sql_close(s->sql);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->spool);
    free(s->path);
    free(s);
    return NULL;
}
