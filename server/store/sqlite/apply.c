/* apply.c: what each operation does to the tables. Store thread, within a transaction; the front end when that thread
 * has ended. Each operation first looks at the stage of its job (see lifetime.c), so that it can be repeated. */
#include "server/store/sqlite/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/host/host.h"
#include "pool/wire.h"
#include "server/store/sqlite/lifetime.h"
#include "server/store/sqlite/rows.h"

#define GC_ROWS     1000 /* one gc drops at most so many rows of each table */
#define MAX_EVICTED 1000 /* the end of one job evicts at most so many others */

static void note_due(struct op *op, int64_t due_ms) {
    if (due_ms != 0 && (op->due_ms == 0 || due_ms < op->due_ms))
        op->due_ms = due_ms;
}

/* Writes the op's row. `result` is its result, or NULL: the job has none yet. */
static void put_job(struct sql *s, struct op *op, struct payload *result) {
    sqlite3_stmt *q = sql_use(s, SQL_PUT_JOB);
    row_bind(q, &op->row, result == NULL ? 0 : result->slice.size);
    if (result != NULL)
        payload_bind(s, q, row_columns(), &op->id, result);
    sql_run(s, q);
}

/* ---- a job's life ------------------------------------------------------------------------------------------------ */

/* Sets *job to the job that has the key, and op->hash to the hash of its request. False if no job has the key. */
static bool find_key(struct sql *s, struct op *op, struct id *job) {
    sqlite3_stmt *q = sql_use(s, SQL_FIND_KEY);
    sqlite3_bind_text(q, 1, op->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, op->time_ms);
    bool found = sql_step(s, q) && sql_read_id(q, 0, job) && sqlite3_column_bytes(q, 1) == STORE_HASH_SIZE;
    if (found)
        memcpy(op->hash, sqlite3_column_blob(q, 1), STORE_HASH_SIZE);
    sqlite3_reset(q);
    return found;
}

static void put_key(struct sql *s, struct op *op) {
    sqlite3_stmt *q = sql_use(s, SQL_PUT_KEY);
    sqlite3_bind_text(q, 1, op->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, op->key_expires_ms);
    sql_bind_id(q, 4, &op->id);
    sqlite3_bind_blob(q, 5, op->hash, STORE_HASH_SIZE, SQLITE_STATIC);
    sql_run(s, q);
    note_due(op, op->key_expires_ms);
}

void apply_plan(struct sql *s, struct op *op) {
    if (lifetime_read(s, &op->id).stage != STAGE_OPEN)
        return;
    put_job(s, op, NULL);
    lifetime_drop_files(s, &op->id, FILE_PLAN, FILE_PLAN);
    sqlite3_stmt *q = sql_use(s, SQL_PUT_PLAN);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_int(q, 2, WIRE_VERSION);
    payload_bind(s, q, 3, &op->id, &op->payloads[0]);
    sql_run(s, q);
}

void apply_update(struct sql *s, struct op *op) {
    if (lifetime_read(s, &op->id).stage == STAGE_OPEN)
        put_job(s, op, NULL);
}

static sqlite3_stmt *use_chunk(struct sql *s, enum statement n, const struct op *op) {
    sqlite3_stmt *q = sql_use(s, n);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_int64(q, 2, op->chunk);
    return q;
}

void apply_lost(struct sql *s, struct op *op) {
    if (lifetime_read(s, &op->id).stage != STAGE_OPEN)
        return;
    put_job(s, op, NULL);
    sqlite3_stmt *q = use_chunk(s, SQL_LOSE_CHUNK, op);
    sqlite3_bind_int64(q, 3, op->attempt);
    if (op->poison_bytes > 0)
        sqlite3_bind_blob(q, 4, op->poison, (int)op->poison_bytes, SQLITE_STATIC);
    sql_run(s, q);
}

void apply_complete(struct sql *s, struct op *op) {
    if (lifetime_read(s, &op->id).stage != STAGE_OPEN)
        return;
    /* The part is wanted if the chunk has none yet, and was not lost since this attempt began. */
    sqlite3_stmt *q = use_chunk(s, SQL_GET_CHUNK, op);
    bool wanted = !sql_step(s, q) || (sqlite3_column_int64(q, 0) <= op->attempt && sqlite3_column_int(q, 1) == 0);
    sqlite3_reset(q);
    if (!wanted)
        return;
    q = use_chunk(s, SQL_PUT_CHUNK, op);
    sqlite3_bind_int64(q, 3, op->attempt);
    payload_bind(s, q, 4, &op->id, &op->payloads[0]);
    sql_run(s, q);
    sql_run_for_job(s, SQL_COUNT_CHUNK, &op->id);
}

/* ---- webhooks ---------------------------------------------------------------------------------------------------- */

static void put_delivery(struct sql *s, struct op *op, struct payload *body) {
    lifetime_drop_files(s, &op->id, FILE_WEBHOOK, FILE_WEBHOOK);
    sqlite3_stmt *q = sql_use(s, SQL_PUT_DELIVERY);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_text(q, 2, op->url, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, op->tries);
    sqlite3_bind_int64(q, 4, op->webhook_due_ms);
    sqlite3_bind_text(q, 5, op->row.trace, -1, SQLITE_STATIC); /* NULL: none */
    payload_bind(s, q, 6, &op->id, body);
    sql_run(s, q);
}

void apply_deliver(struct sql *s, struct op *op) {
    put_delivery(s, op, &op->payloads[0]);
}

void apply_delivered(struct sql *s, struct op *op) {
    lifetime_drop_files(s, &op->id, FILE_WEBHOOK, FILE_WEBHOOK);
    sql_run_for_job(s, SQL_DELETE_DELIVERY, &op->id);
}

/* ---- submission and end ------------------------------------------------------------------------------------- */

/* The job that ended just now is never evicted, even if it is too large: its owner must be able to see it. */
static void evict_ended(struct sql *s, struct op *op) {
    const struct store_limits *l = &s->limits;
    const struct totals *t = &s->totals;
    for (int i = 0; i < MAX_EVICTED && t->ended > 1; i++) {
        bool too_many = l->max_ended > 0 && t->ended > l->max_ended;
        bool too_large = l->max_ended_bytes > 0 && t->bytes > l->max_ended_bytes;
        if (!too_many && !too_large)
            return;
        struct id oldest;
        sqlite3_stmt *q = sql_use(s, SQL_OLDEST_ENDED);
        bool found = sql_step(s, q) && sql_read_id(q, 0, &oldest);
        sqlite3_reset(q);
        if (!found || memcmp(&oldest, &op->id, sizeof oldest) == 0)
            return;
        note_due(op, lifetime_bury(s, &oldest, op->time_ms));
    }
}

/* The row of a job that has ended, and its webhook. */
static void put_end(struct sql *s, struct op *op) {
    put_job(s, op, &op->payloads[0]);
    if (op->url != NULL)
        put_delivery(s, op, &op->payloads[1]);
    if (op->log != NULL) {
        sqlite3_stmt *q = sql_use(s, SQL_PUT_LOG);
        sql_bind_id(q, 1, &op->id);
        sqlite3_bind_blob(q, 2, op->log, (int)op->row.log_size, SQLITE_STATIC);
        sql_run(s, q);
    }
    if (op->row.binary != NULL && op->binary.summary.size > 0) {
        sqlite3_stmt *q = sql_use(s, SQL_PUT_SUMMARY);
        sql_bind_id(q, 1, &op->id);
        sqlite3_bind_blob64(q, 2, op->binary.summary.data, op->binary.summary.size, SQLITE_STATIC);
        sql_run(s, q);
    }
    s->totals.ended++;
    s->totals.bytes += row_bytes(&op->row, op->payloads[0].slice.size);
    note_due(op, op->row.expires_ms > 0 ? op->row.expires_ms : 1);
    evict_ended(s, op);
}

static void put_attachment(struct sql *s, struct op *op, struct payload *p) {
    sqlite3_stmt *q = sql_use(s, SQL_PUT_ATTACHMENT);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_int64(q, 2, p->chunk);
    sqlite3_bind_text(q, 3, p->media_type, -1, SQLITE_STATIC); /* NULL: not known */
    sqlite3_bind_int64(q, 4, (int64_t)p->slice.size);
    payload_bind(s, q, 5, &op->id, p);
    sql_run(s, q);
}

void apply_submit(struct sql *s, struct op *op) {
    enum stage stage = lifetime_read(s, &op->id).stage;
    op->result = stage == STAGE_BURIED ? STORE_GONE : STORE_OK;
    if (stage != STAGE_ABSENT)
        return;
    if (op->key != NULL && find_key(s, op, &op->key_job)) {
        op->result = STORE_EXISTS;
        return;
    }
    if (op->key != NULL)
        put_key(s, op);
    if (job_status_is_final(op->row.status)) {
        put_end(s, op);
        return;
    }
    put_job(s, op, NULL);
    sqlite3_stmt *q = sql_use(s, SQL_PUT_INPUT);
    sql_bind_id(q, 1, &op->id);
    payload_bind(s, q, 2, &op->id, &op->payloads[0]);
    sqlite3_bind_int(q, 3, WIRE_VERSION);
    payload_bind(s, q, 4, &op->id, &op->payloads[1]);
    sql_run(s, q);
    for (unsigned i = 2; i < op->payload_count; i++)
        put_attachment(s, op, &op->payloads[i]);
}

void apply_finish(struct sql *s, struct op *op) {
    enum stage stage = lifetime_read(s, &op->id).stage;
    op->result = stage == STAGE_BURIED ? STORE_GONE : stage == STAGE_ENDED ? STORE_FINAL : STORE_OK;
    if (stage == STAGE_ENDED) /* perhaps by this op, in a batch that failed only after its commit */
        note_due(op, op->row.expires_ms);
    if (op->result != STORE_OK)
        return;
    if (stage == STAGE_OPEN)
        lifetime_drop_work(s, &op->id);
    put_end(s, op);
}

void apply_forget(struct sql *s, struct op *op) {
    op->result = STORE_NOT_FOUND;
    if (!lifetime_is_seen(s, &op->id, op->tenant))
        return;
    int64_t due_ms = lifetime_bury(s, &op->id, op->time_ms);
    note_due(op, due_ms);
    if (due_ms != 0)
        op->result = STORE_OK;
    else
        op->result = lifetime_is_buried(s, &op->id) ? STORE_GONE : STORE_NOT_FOUND;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool collect(struct sql *s, struct op *op, size_t room, sqlite3_stmt *q) {
    struct record *r = row_read(q);
    if (op->found == NULL)
        op->found = calloc(room, sizeof *op->found);
    if (r == NULL || op->found == NULL || op->found_count == room) {
        sql_fail(s, SQLITE_NOMEM, ENOMEM);
        record_unref(r);
        return false;
    }
    op->found[op->found_count++] = r;
    return true;
}

/* The log of a job that was just read. */
static void get_log(struct sql *s, struct op *op, struct record *r) {
    sqlite3_stmt *q = sql_use(s, SQL_GET_LOG);
    sql_bind_id(q, 1, &op->id);
    r->log = job_log_new();
    if (r->log == NULL)
        sql_fail(s, SQLITE_NOMEM, ENOMEM);
    else if (sql_step(s, q))
        buf_append(&r->log->text, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0));
    if (r->log != NULL && r->log->text.failed)
        sql_fail(s, SQLITE_NOMEM, ENOMEM);
    r->log_size = r->log == NULL ? 0 : (uint32_t)r->log->text.size;
    sqlite3_reset(q);
}

/* The summary of a job that was just read, whose result is not JSON. */
static void get_summary(struct sql *s, struct op *op, struct record_binary *b) {
    sqlite3_stmt *q = sql_use(s, SQL_GET_SUMMARY);
    sql_bind_id(q, 1, &op->id);
    if (sql_step(s, q))
        buf_append(&b->summary, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0));
    if (b->summary.failed)
        sql_fail(s, SQLITE_NOMEM, ENOMEM);
    sqlite3_reset(q);
}

void apply_get(struct sql *s, struct op *op) {
    op->result = STORE_NOT_FOUND;
    if (!lifetime_is_seen(s, &op->id, op->tenant))
        return;
    sqlite3_stmt *q = sql_use(s, SQL_GET_JOB);
    sql_bind_id(q, 1, &op->id);
    if (!sql_step(s, q)) {
        op->result = lifetime_is_buried(s, &op->id) ? STORE_GONE : STORE_NOT_FOUND;
        return;
    }
    op->result = STORE_OK;
    if (collect(s, op, 1, q) && payload_read(s, q, row_columns() - 1, &op->id, FILE_RESULT, &op->stored) != 0) {
        op->result = STORE_UNAVAILABLE;
        op->code = errno;
        op->outcome = OP_FAILED;
    }
    sqlite3_reset(q);
    if (op->found_count == 1 && op->found[0]->log_size > 0)
        get_log(s, op, op->found[0]);
    if (op->found_count == 1 && op->found[0]->binary != NULL)
        get_summary(s, op, op->found[0]->binary);
}

void apply_list(struct sql *s, struct op *op) {
    const struct record_filter *f = &op->filter;
    const char *type = f->type < 0 ? NULL : host_name((size_t)f->type);
    op->result = STORE_OK;
    if (f->type >= 0 && type == NULL)
        return;
    sqlite3_stmt *q = sql_use(s, f->tenant != NULL ? SQL_LIST_TENANT : type == NULL ? SQL_LIST : SQL_LIST_TYPE);
    sql_bind_id(q, 1, &f->before);
    if (type != NULL)
        sqlite3_bind_text(q, 2, type, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, f->limit);
    if (f->status >= 0)
        sqlite3_bind_int(q, 4, f->status);
    if (f->tenant != NULL)
        sqlite3_bind_text(q, 5, f->tenant, -1, SQLITE_STATIC);
    while (sql_step(s, q) && collect(s, op, f->limit, q)) {
    }
    sqlite3_reset(q);
}

void apply_find_key(struct sql *s, struct op *op) {
    op->result = find_key(s, op, &op->key_job) ? STORE_OK : STORE_NOT_FOUND;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static sqlite3_stmt *use_expired(struct sql *s, enum statement n, const struct op *op) {
    sqlite3_stmt *q = sql_use(s, n);
    sqlite3_bind_int64(q, 1, op->time_ms);
    sqlite3_bind_int(q, 2, GC_ROWS);
    return q;
}

/* A statement that reaches its limit of rows has probably left some: then there is more to do. */
void apply_gc(struct sql *s, struct op *op) {
    static const enum statement deletes[] = {SQL_DELETE_TOMBSTONES, SQL_DELETE_KEYS};
    struct id ids[GC_ROWS];
    size_t n = 0;
    sqlite3_stmt *q = use_expired(s, SQL_EXPIRED_JOBS, op);
    while (sql_step(s, q))
        n += n < GC_ROWS && sql_read_id(q, 0, &ids[n]);
    for (size_t i = 0; i < n; i++)
        lifetime_bury(s, &ids[i], op->time_ms);
    bool more = n == GC_ROWS;
    for (size_t i = 0; i < sizeof deletes / sizeof deletes[0]; i++) {
        sql_run(s, use_expired(s, deletes[i], op));
        more |= sqlite3_changes(s->db) == GC_ROWS;
    }
    op->due_ms = lifetime_next_due_ms(s);
    op->outcome = more ? OP_MORE : OP_DONE;
}

void apply_adjust_clock(struct sql *s, struct op *op) {
    static const enum statement statements[] = {SQL_ADJUST_JOBS, SQL_ADJUST_TOMBSTONES, SQL_ADJUST_KEYS};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        sqlite3_stmt *q = sql_use(s, statements[i]);
        sqlite3_bind_int64(q, 1, op->time_ms);
        sql_run(s, q);
    }
}

void apply_look(struct sql *s, struct op *op) {
    (void)s, (void)op; /* batch.c has looked */
}

void apply_probe(struct sql *s, struct op *op) {
    (void)op;
    sql_run(s, sql_use(s, SQL_PROBE));
}
