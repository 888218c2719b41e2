/* store_apply.c: what each operation does to the tables. Each runs within a transaction, looks first at what there is,
 * and may be repeated. Store thread.
 *
 *     state_of: ABSENT ──► OPEN ──► ENDED ──► BURIED (a tombstone) ──► ABSENT
 */
#include <errno.h>
#include <stdlib.h>

#include "handlers/host/host.h"
#include "pool/wire.h"
#include "server/store/sqlite/sql.h"

#define GC_ROWS     1000 /* of each table in one go */
#define MAX_EVICTED 1000 /* jobs that one which ends pushes out at most */

enum state { ABSENT, OPEN, ENDED, BURIED };

struct job_state {
    enum state state;
    uint64_t bytes;
    int64_t ttl_ms;
};

static bool is_buried(struct sql *s, const struct id *id) {
    sqlite3_stmt *q = sql_use(s, SQL_TOMBSTONE);
    sql_bind_id(q, 1, id);
    bool there = sql_step(s, q);
    sqlite3_reset(q);
    return there;
}

static struct job_state state_of(struct sql *s, const struct id *id) {
    struct job_state js = {ABSENT, 0, 0};
    sqlite3_stmt *q = sql_use(s, SQL_JOB_STATE);
    sql_bind_id(q, 1, id);
    if (sql_step(s, q)) {
        js.state = job_status_is_final((enum job_status)sqlite3_column_int(q, 0)) ? ENDED : OPEN;
        js.bytes = (uint64_t)sqlite3_column_int64(q, 1);
        js.ttl_ms = sqlite3_column_int64(q, 2);
        sqlite3_reset(q);
    } else if (is_buried(s, id)) {
        js.state = BURIED;
    }
    return js;
}

static void run_for_job(struct sql *s, enum statement n, const struct id *job) {
    sqlite3_stmt *q = sql_use(s, n);
    sql_bind_id(q, 1, job);
    sql_run_statement(s, q);
}

static void note_due(struct op *op, int64_t due_ms) {
    if (op->due_ms == 0 || due_ms < op->due_ms)
        op->due_ms = due_ms;
}

/* The result, if there is one to be stored, is the op's first payload. */
static void put_job(struct sql *s, struct op *op, struct payload *result) {
    sqlite3_stmt *q = sql_use(s, SQL_PUT_JOB);
    row_bind(q, &op->row, result == NULL ? 0 : result->slice.size);
    if (result != NULL)
        payload_bind(s, q, row_result_parameter(), &op->id, result);
    sql_run_statement(s, q);
}

/* ---- dropping ---------------------------------------------------------------------------------------------------- */

void apply_drop_files(struct sql *s, const struct id *job, enum file_role from, enum file_role to) {
    sqlite3_stmt *q = sql_use(s, SQL_DELETE_FILES);
    sql_bind_id(q, 1, job);
    sqlite3_bind_int(q, 2, (int)from);
    sqlite3_bind_int(q, 3, (int)to);
    while (sql_step(s, q))
        files_drop(&s->files, job, (enum file_role)sqlite3_column_int(q, 0), sqlite3_column_int64(q, 1));
}

void apply_drop_plan(struct sql *s, const struct id *id) {
    run_for_job(s, SQL_PUT_PLAN, id);
    run_for_job(s, SQL_DELETE_CHUNKS, id);
    apply_drop_files(s, id, FILE_PLAN, FILE_PART);
}

static void drop_work(struct sql *s, const struct id *id) {
    run_for_job(s, SQL_DELETE_INPUT, id);
    run_for_job(s, SQL_DELETE_CHUNKS, id);
    apply_drop_files(s, id, FILE_REQUEST, FILE_PART);
}

static void bury(struct sql *s, const struct id *id, const struct job_state *js, int64_t now_ms, struct op *op) {
    int64_t due_ms = now_ms + (js->ttl_ms > 0 ? js->ttl_ms : 1);
    sqlite3_stmt *q = sql_use(s, SQL_BURY);
    sql_bind_id(q, 1, id);
    sqlite3_bind_int64(q, 2, due_ms);
    sql_run_statement(s, q);
    if (js->state == ENDED) {
        s->totals.ended--;
        s->totals.bytes -= js->bytes;
    } else {
        drop_work(s, id);
    }
    apply_drop_files(s, id, FILE_RESULT, FILE_RESULT);
    run_for_job(s, SQL_DELETE_JOB, id);
    note_due(op, due_ms);
}

void apply_bury(struct sql *s, const struct id *id, int64_t now_ms, struct op *op) {
    struct job_state js = state_of(s, id);
    if (js.state == OPEN || js.state == ENDED)
        bury(s, id, &js, now_ms, op);
}

/* ---- a job's life ------------------------------------------------------------------------------------------------ */

/* The key's job; false if the key is free. */
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
    sql_run_statement(s, q);
    note_due(op, op->key_expires_ms);
}

static void put_input(struct sql *s, struct op *op) {
    sqlite3_stmt *q = sql_use(s, SQL_PUT_INPUT);
    sql_bind_id(q, 1, &op->id);
    payload_bind(s, q, 2, &op->id, &op->payloads[0]);
    sqlite3_bind_int(q, 3, WIRE_VERSION);
    payload_bind(s, q, 4, &op->id, &op->payloads[1]);
    sql_run_statement(s, q);
}

static void apply_submit(struct sql *s, struct op *op) {
    static const enum store_result known[] = {[OPEN] = STORE_OK, [ENDED] = STORE_OK, [BURIED] = STORE_GONE};
    struct job_state js = state_of(s, &op->id);
    op->result = known[js.state];
    if (js.state != ABSENT)
        return;
    if (op->key != NULL && find_key(s, op, &op->key_job)) {
        op->result = STORE_EXISTS;
        return;
    }
    if (op->key != NULL)
        put_key(s, op);
    put_job(s, op, NULL);
    put_input(s, op);
    op->result = STORE_OK;
}

static void apply_plan(struct sql *s, struct op *op) {
    if (state_of(s, &op->id).state != OPEN)
        return;
    put_job(s, op, NULL);
    apply_drop_files(s, &op->id, FILE_PLAN, FILE_PLAN);
    sqlite3_stmt *q = sql_use(s, SQL_PUT_PLAN);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_int(q, 2, WIRE_VERSION);
    payload_bind(s, q, 3, &op->id, &op->payloads[0]);
    sql_run_statement(s, q);
}

static void apply_update(struct sql *s, struct op *op) {
    if (state_of(s, &op->id).state == OPEN)
        put_job(s, op, NULL);
}

static sqlite3_stmt *use_chunk(struct sql *s, enum statement n, const struct op *op) {
    sqlite3_stmt *q = sql_use(s, n);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_int64(q, 2, op->chunk);
    return q;
}

static void apply_lost(struct sql *s, struct op *op) {
    if (state_of(s, &op->id).state != OPEN)
        return;
    put_job(s, op, NULL);
    sqlite3_stmt *q = use_chunk(s, SQL_LOSE_CHUNK, op);
    sqlite3_bind_int64(q, 3, op->attempt);
    sql_run_statement(s, q);
}

/* The fence: no part for it yet, and none that was lost since. */
static bool is_wanted(struct sql *s, const struct op *op) {
    sqlite3_stmt *q = use_chunk(s, SQL_GET_CHUNK, op);
    bool wanted = !sql_step(s, q) || (sqlite3_column_int64(q, 0) <= op->attempt && sqlite3_column_int(q, 1) == 0);
    sqlite3_reset(q);
    return wanted;
}

static void apply_complete(struct sql *s, struct op *op) {
    if (state_of(s, &op->id).state != OPEN || !is_wanted(s, op))
        return;
    sqlite3_stmt *q = use_chunk(s, SQL_PUT_CHUNK, op);
    sqlite3_bind_int64(q, 3, op->attempt);
    payload_bind(s, q, 4, &op->id, &op->payloads[0]);
    sql_run_statement(s, q);
    run_for_job(s, SQL_COUNT_CHUNK, &op->id);
}

/* ---- webhooks ---------------------------------------------------------------------------------------------------- */

static void put_delivery(struct sql *s, struct op *op, struct payload *body) {
    apply_drop_files(s, &op->id, FILE_WEBHOOK, FILE_WEBHOOK);
    sqlite3_stmt *q = sql_use(s, SQL_PUT_DELIVERY);
    sql_bind_id(q, 1, &op->id);
    sqlite3_bind_text(q, 2, op->url, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, op->tries);
    sqlite3_bind_int64(q, 4, op->webhook_due_ms);
    sqlite3_bind_text(q, 5, op->row.trace, -1, SQLITE_STATIC); /* NULL: none */
    payload_bind(s, q, 6, &op->id, body);
    sql_run_statement(s, q);
}

static void apply_deliver(struct sql *s, struct op *op) {
    put_delivery(s, op, &op->payloads[0]);
}

static void apply_delivered(struct sql *s, struct op *op) {
    apply_drop_files(s, &op->id, FILE_WEBHOOK, FILE_WEBHOOK);
    run_for_job(s, SQL_DELETE_DELIVERY, &op->id);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static bool is_over_limit(const struct sql *s) {
    const struct store_limits *l = &s->limits;
    return (l->max_ended > 0 && s->totals.ended > l->max_ended) ||
           (l->max_ended_bytes > 0 && s->totals.bytes > l->max_ended_bytes);
}

static bool oldest_ended(struct sql *s, struct id *id) {
    sqlite3_stmt *q = sql_use(s, SQL_OLDEST_ENDED);
    bool found = sql_step(s, q) && sql_read_id(q, 0, id);
    sqlite3_reset(q);
    return found;
}

/* Not the job that ended just now: however large it is, its owner shall see it. */
static void evict_ended(struct sql *s, struct op *op) {
    struct id oldest;
    for (int i = 0; i < MAX_EVICTED && is_over_limit(s) && s->totals.ended > 1; i++) {
        if (!oldest_ended(s, &oldest) || memcmp(&oldest, &op->id, sizeof oldest) == 0)
            return;
        apply_bury(s, &oldest, op->time_ms, op);
    }
}

static void apply_finish(struct sql *s, struct op *op) {
    struct job_state js = state_of(s, &op->id);
    op->result = js.state == BURIED ? STORE_GONE : js.state == ENDED ? STORE_FINAL : STORE_OK;
    if (op->result != STORE_OK)
        return;
    if (js.state == OPEN)
        drop_work(s, &op->id);
    put_job(s, op, &op->payloads[0]);
    if (op->url != NULL)
        put_delivery(s, op, &op->payloads[1]);
    s->totals.ended++;
    s->totals.bytes += row_bytes(&op->row, op->payloads[0].slice.size);
    note_due(op, op->row.expires_ms > 0 ? op->row.expires_ms : 1);
    evict_ended(s, op);
}

static void apply_forget(struct sql *s, struct op *op) {
    struct job_state js = state_of(s, &op->id);
    op->result = js.state == BURIED ? STORE_GONE : js.state == ABSENT ? STORE_NOT_FOUND : STORE_OK;
    if (op->result == STORE_OK)
        bury(s, &op->id, &js, op->time_ms, op);
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

static void apply_get(struct sql *s, struct op *op) {
    sqlite3_stmt *q = sql_use(s, SQL_GET_JOB);
    sql_bind_id(q, 1, &op->id);
    if (!sql_step(s, q)) {
        op->result = is_buried(s, &op->id) ? STORE_GONE : STORE_NOT_FOUND;
        return;
    }
    op->result = STORE_OK;
    if (collect(s, op, 1, q) && payload_read(s, q, row_columns() - 1, &op->id, FILE_RESULT, &op->stored) != 0) {
        op->result = STORE_UNAVAILABLE;
        op->code = errno;
        op->refused = true;
    }
    sqlite3_reset(q);
}

static void apply_list(struct sql *s, struct op *op) {
    const struct store_filter *f = &op->filter;
    const struct handler *h = f->type < 0 ? NULL : host_handler((size_t)f->type);
    op->result = STORE_OK;
    if (f->type >= 0 && h == NULL)
        return;
    sqlite3_stmt *q = sql_use(s, f->status < 0 ? SQL_LIST : f->status < JOB_SUCCEEDED ? SQL_LIST_OPEN : SQL_LIST_ENDED);
    sql_bind_id(q, 1, &f->before);
    if (h != NULL)
        sqlite3_bind_text(q, 2, h->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, f->limit);
    if (f->status >= 0)
        sqlite3_bind_int(q, 4, f->status);
    while (sql_step(s, q) && collect(s, op, f->limit, q)) {
    }
    sqlite3_reset(q);
}

static void apply_find_key(struct sql *s, struct op *op) {
    op->result = find_key(s, op, &op->key_job) ? STORE_OK : STORE_NOT_FOUND;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static size_t expired(struct sql *s, int64_t now_ms, struct id ids[GC_ROWS]) {
    size_t n = 0;
    sqlite3_stmt *q = sql_use(s, SQL_EXPIRED_JOBS);
    sqlite3_bind_int64(q, 1, now_ms);
    sqlite3_bind_int(q, 2, GC_ROWS);
    while (sql_step(s, q))
        n += n < GC_ROWS && sql_read_id(q, 0, &ids[n]);
    return n;
}

/* True if there may be more. */
static bool delete_expired(struct sql *s, enum statement n, int64_t now_ms) {
    sqlite3_stmt *q = sql_use(s, n);
    sqlite3_bind_int64(q, 1, now_ms);
    sqlite3_bind_int(q, 2, GC_ROWS);
    sql_run_statement(s, q);
    return sqlite3_changes(s->db) == GC_ROWS;
}

static void apply_gc(struct sql *s, struct op *op) {
    struct id ids[GC_ROWS];
    size_t n = expired(s, op->time_ms, ids);
    for (size_t i = 0; i < n; i++)
        apply_bury(s, &ids[i], op->time_ms, op);
    op->more = n == GC_ROWS;
    op->more |= delete_expired(s, SQL_DELETE_TOMBSTONES, op->time_ms);
    op->more |= delete_expired(s, SQL_DELETE_KEYS, op->time_ms);
    op->due_ms = sql_next_due_ms(s);
}

static void apply_adjust_clock(struct sql *s, struct op *op) {
    static const enum statement statements[] = {SQL_ADJUST_JOBS, SQL_ADJUST_TOMBSTONES, SQL_ADJUST_KEYS};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        sqlite3_stmt *q = sql_use(s, statements[i]);
        sqlite3_bind_int64(q, 1, op->time_ms);
        sql_run_statement(s, q);
    }
}

static void apply_probe(struct sql *s, struct op *op) {
    (void)op;
    sql_run_statement(s, sql_use(s, SQL_PROBE));
}

static void (*const kinds[OP_KINDS])(struct sql *s, struct op *op) = {
    [OP_SUBMIT] = apply_submit,
    [OP_PLAN] = apply_plan,
    [OP_UPDATE] = apply_update,
    [OP_LOST] = apply_lost,
    [OP_COMPLETE] = apply_complete,
    [OP_FINISH] = apply_finish,
    [OP_FORGET] = apply_forget,
    [OP_GET] = apply_get,
    [OP_LIST] = apply_list,
    [OP_FIND_KEY] = apply_find_key,
    [OP_DELIVER] = apply_deliver,
    [OP_DELIVERED] = apply_delivered,
    [OP_GC] = apply_gc,
    [OP_ADJUST_CLOCK] = apply_adjust_clock,
    [OP_PROBE] = apply_probe,
};

void apply(struct sql *s, struct op *op) {
    kinds[op->kind](s, op);
}
