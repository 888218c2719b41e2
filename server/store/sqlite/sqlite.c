/* store_sqlite.c: the store on disk, as the event loop sees it: each call becomes an op with a copy of what it needs,
 * and is posted. Front end; see store_private.h for the rest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/store/sqlite/private.h"

#define GC_AGAIN_MS 1000 /* what expires next is not known until the store thread has been at it */

static struct sqlite_store *self(struct store *s) {
    return (struct sqlite_store *)s;
}

/* ---- ops --------------------------------------------------------------------------------------------------------- */

/* With room for texts of that size in all. NULL: no memory. */
static struct op *new_op(enum op_kind kind, const struct id *id, size_t text_size) {
    struct op *op = calloc(1, sizeof *op + text_size);
    if (op == NULL)
        return NULL;
    op->kind = kind;
    op->stored.fd = -1;
    op->time_ms = clock_wall_ms();
    if (id != NULL)
        op->id = *id;
    return op;
}

static char *put_text(char **at, const char *text, size_t size) {
    char *start = *at;
    memcpy(start, text, size);
    start[size] = '\0';
    *at += size + 1;
    return start;
}

static size_t text_size(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

static size_t row_text_size(const struct record *r) {
    return r->lost.size + r->error.size + options_text_size(&r->options) + text_size(r->trace) + 2;
}

static struct buf copy_buf(const struct buf *from, char **at) {
    if (from->size == 0)
        return (struct buf){0};
    return (struct buf){.data = put_text(at, from->data, from->size), .size = from->size};
}

/* The record as it is now: the live one goes on changing. */
static void copy_row(struct op *op, const struct record *r, char **at) {
    op->row = *r;
    op->row.lost = copy_buf(&r->lost, at);
    op->row.error = copy_buf(&r->error, at);
    *at = options_place_texts(&op->row.options, *at);
    op->row.trace = r->trace == NULL ? NULL : put_text(at, r->trace, strlen(r->trace));
    op->row.result = (struct slice){NULL, 0, 0};
}

static void add_payload(struct op *op, enum file_role role, uint32_t chunk, const struct slice *slice) {
    op->payloads[op->payload_count++] = (struct payload){.role = role, .chunk = chunk, .slice = slice_ref(slice)};
}

static void set_webhook(struct op *op, const struct delivery *d, char **at) {
    op->url = put_text(at, d->url, strlen(d->url));
    op->tries = d->attempt;
    op->webhook_due_ms = d->due_ms;
    op->row.trace = d->trace == NULL ? NULL : put_text(at, d->trace, strlen(d->trace));
    add_payload(op, FILE_WEBHOOK, 0, &d->body);
}

static void set_key(struct op *op, const char *tenant, const char *key, char **at) {
    op->tenant = put_text(at, tenant, strlen(tenant));
    op->key = put_text(at, key, strlen(key));
}

static struct op *new_row_op(enum op_kind kind, const struct record *r) {
    struct op *op = new_op(kind, &r->id, row_text_size(r));
    char *at = op == NULL ? NULL : op->text;
    if (op != NULL)
        copy_row(op, r, &at);
    return op;
}

/* One that nobody is told of: without memory it is as if the disk had failed. */
static void post(struct store *s, struct op *op) {
    if (op == NULL)
        LOG(LOG_ERROR, "store_refused", LOG_STR("error", "out of memory"));
    else
        queue_post(self(s), op);
}

static void post_done(struct store *s, struct op *op, store_done *done, void *arg) {
    if (op == NULL) {
        done(arg, STORE_UNAVAILABLE);
        return;
    }
    op->tell.done = done;
    op->arg = arg;
    queue_post(self(s), op);
}

static void post_found(struct store *s, struct op *op, store_found *found, void *arg) {
    if (op == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL);
        return;
    }
    op->tell.found = found;
    op->arg = arg;
    queue_post(self(s), op);
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

static void sqlite_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done,
                          void *arg) {
    const struct store_key *k = in->key;
    size_t key_size = k == NULL ? 0 : text_size(k->tenant) + text_size(k->key);
    struct op *op = new_op(OP_SUBMIT, &r->id, row_text_size(r) + key_size);
    if (op != NULL) {
        char *at = op->text;
        copy_row(op, r, &at);
        add_payload(op, FILE_REQUEST, 0, &in->request);
        add_payload(op, FILE_PLAN, 0, &in->plan);
        if (k != NULL) {
            set_key(op, k->tenant, k->key, &at);
            memcpy(op->hash, k->hash, sizeof op->hash);
            op->key_expires_ms = op->time_ms + k->ttl_ms;
        }
    }
    post_done(s, op, done, arg);
}

static void sqlite_plan(struct store *s, struct record *r, const struct slice *plan) {
    struct op *op = new_row_op(OP_PLAN, r);
    if (op != NULL)
        add_payload(op, FILE_PLAN, 0, plan);
    post(s, op);
}

static void sqlite_update(struct store *s, struct record *r) {
    post(s, new_row_op(OP_UPDATE, r));
}

static void sqlite_lost(struct store *s, struct record *r, uint32_t chunk, uint32_t attempt) {
    struct op *op = new_row_op(OP_LOST, r);
    if (op != NULL) {
        op->chunk = chunk;
        op->attempt = attempt;
    }
    post(s, op);
}

static void sqlite_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                            const struct slice *part) {
    struct op *op = new_op(OP_COMPLETE, id, 0);
    if (op != NULL) {
        op->chunk = chunk;
        op->attempt = attempt;
        add_payload(op, FILE_PART, chunk, part);
    }
    post(s, op);
}

static void sqlite_finish(struct store *s, struct record *r, const struct delivery *webhook, store_done *done,
                          void *arg) {
    size_t url_size = webhook == NULL ? 0 : text_size(webhook->url) + text_size(webhook->trace);
    struct op *op = new_op(OP_FINISH, &r->id, row_text_size(r) + url_size);
    if (op != NULL) {
        char *at = op->text;
        copy_row(op, r, &at);
        op->record = record_ref(r);
        add_payload(op, FILE_RESULT, 0, &r->result);
        if (webhook != NULL)
            set_webhook(op, webhook, &at);
    }
    post_done(s, op, done, arg);
}

static void sqlite_forget(struct store *s, const struct id *id, store_done *done, void *arg) {
    post_done(s, new_op(OP_FORGET, id, 0), done, arg);
}

static void sqlite_get(struct store *s, const struct id *id, store_found *found, void *arg) {
    post_found(s, new_op(OP_GET, id, 0), found, arg);
}

static void sqlite_list(struct store *s, const struct store_filter *f, store_found *found, void *arg) {
    struct op *op = new_op(OP_LIST, NULL, 0);
    if (op != NULL)
        op->filter = *f;
    post_found(s, op, found, arg);
}

static void sqlite_find_key(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg) {
    struct op *op = new_op(OP_FIND_KEY, NULL, text_size(tenant) + text_size(key));
    if (op == NULL) {
        found(arg, STORE_UNAVAILABLE, NULL, NULL);
        return;
    }
    char *at = op->text;
    set_key(op, tenant, key, &at);
    op->tell.key_found = found;
    op->arg = arg;
    queue_post(self(s), op);
}

static void sqlite_deliver(struct store *s, const struct delivery *d) {
    struct op *op = new_op(OP_DELIVER, &d->job, text_size(d->url) + text_size(d->trace));
    char *at = op == NULL ? NULL : op->text;
    if (op != NULL)
        set_webhook(op, d, &at);
    post(s, op);
}

static void sqlite_delivered(struct store *s, const struct id *job) {
    post(s, new_op(OP_DELIVERED, job, 0));
}

static int64_t sqlite_gc(struct store *s, int64_t now_ms) {
    struct sqlite_store *q = self(s);
    if (q->next_due_ms == 0 || q->next_due_ms > now_ms)
        return q->next_due_ms;
    struct op *op = q->gc_posted || q->trouble != NULL ? NULL : new_op(OP_GC, NULL, 0);
    if (op != NULL) {
        op->time_ms = now_ms;
        q->gc_posted = true;
        queue_post(q, op);
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

static const char *sqlite_trouble(struct store *s) {
    return self(s)->trouble;
}

static int sqlite_recover(struct store *s, const struct store_recovery *to) {
    struct sqlite_store *q = self(s);
    queue_suspend(q, true);
    int status = sql_recover(q->sql, to);
    q->next_due_ms = sql_next_due_ms(q->sql);
    queue_suspend(q, false);
    return status;
}

static void sqlite_close(struct store *s) {
    struct sqlite_store *q = self(s);
    queue_stop(q);
    sql_close(q->sql);
    close(q->lock_fd);
    free(q->path);
    free(q);
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
    .recover = sqlite_recover,
    .close = sqlite_close,
};

void store_sqlite_set_max_batch(struct store *s, unsigned ops) {
    struct sqlite_store *q = self(s);
    pthread_mutex_lock(&q->lock);
    q->max_batch = ops;
    pthread_mutex_unlock(&q->lock);
}

struct store *store_sqlite_open(struct loop *loop, const char *directory, const struct store_limits *limits,
                                struct buf *error) {
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        buf_puts(error, "out of memory");
        return NULL;
    }
    s->base.ops = &sqlite_ops;
    s->loop = loop;
    s->lock_fd = store_directory_lock(directory, error);
    if (s->lock_fd >= 0)
        s->path = realpath(directory, NULL); /* whatever the working directory is later */
    if (s->path != NULL)
        s->sql = sql_open(s->path, limits, error);
    if (s->sql != NULL)
        s->next_due_ms = sql_next_due_ms(s->sql);
    if (s->sql != NULL && queue_start(s) == 0)
        return &s->base;
    if (error->size == 0)
        buf_printf(error, "cannot use the data directory %s: %s", directory, strerror(errno));
    if (s->sql != NULL)
        sql_close(s->sql);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
    return NULL;
}
