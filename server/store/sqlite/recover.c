/* recover.c: reads the jobs that had not ended when the last process ended. Front end, at the start, before the store
 * thread has anything to do. Two statements run side by side, one for jobs and one for chunks, both in the order of the
 * jobs' ids. So each row is read once.
 *
 * What cannot be used is not reported, and then removed from the tables, so that it can be recorded again. That is
 *   - a plan of another wire version, of a type that is not there, or whose file is missing, with its parts and
 *     poison items;
 *   - a part whose file is missing.
 * A missing request is reported as an empty one: with a plan the job can go on, and without a plan it cannot. A job
 * whose attachment is missing has neither: it is reported without all three.
 */
#include "server/store/sqlite/recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "handlers/host/host.h"
#include "pool/wire.h"
#include "server/store/sqlite/lifetime.h"
#include "server/store/sqlite/rows.h"
#include "server/store/sqlite/schema.h"

#define ALL_CHUNKS (-1)

_Static_assert(offsetof(struct wire_plan, type) == 0, "the type is patched into the front of a stored plan");

/* What has to be removed from the tables when all rows were read. */
struct repair {
    struct id job;
    int64_t chunk; /* or ALL_CHUNKS: the plan and what was made of it */
};

struct recovery {
    struct sql *sql;
    const struct store_recovery *to;
    sqlite3_stmt *chunk_rows;
    bool has_chunk_row;
    struct id chunk_job;        /* the job of that row */
    struct store_chunk *chunks; /* of the job that is being read; heap */
    size_t chunk_count, chunk_room;
    struct repair *repairs;
    size_t repair_count, repair_room;
};

static void repair_later(struct recovery *v, const struct id *job, int64_t chunk) {
    if (GROW_ARRAY(&v->repairs, v->repair_count, &v->repair_room) == 0)
        v->repairs[v->repair_count++] = (struct repair){*job, chunk};
    else
        sql_fail(v->sql, SQLITE_NOMEM, ENOMEM);
}

/* True: the payload was read, or is NULL. False: it is missing (this is logged), or sql->code says what went wrong. */
static bool read_payload(struct recovery *v, sqlite3_stmt *q, int column, const struct id *job, enum file_role role,
                         const void *front, size_t front_size, struct slice *out) {
    struct stored stored;
    char text[ID_TEXT_SIZE];
    *out = (struct slice){NULL, 0, 0};
    if (payload_read(v->sql, q, column, job, role, &stored) != 0) {
        id_format(job, text);
        LOG(LOG_ERROR, "stored_file_missing", LOG_STR("job", text), LOG_INT("role", role),
            LOG_STR("error", strerror(errno)));
        if (errno != ENOENT)
            sql_fail(v->sql, SQLITE_IOERR, errno);
        return false;
    }
    bool too_small = stored.size > 0 && stored.size < front_size;
    if (!too_small && stored_copy(&stored, front, front_size, out) != 0)
        sql_fail(v->sql, SQLITE_NOMEM, errno);
    stored_deinit(&stored);
    return !too_small && v->sql->code == SQLITE_OK;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

static void next_chunk_row(struct recovery *v) {
    v->has_chunk_row = sql_step(v->sql, v->chunk_rows);
    if (v->has_chunk_row && !sql_read_id(v->chunk_rows, 0, &v->chunk_job))
        sql_fail(v->sql, SQLITE_CORRUPT, 0);
}

static void drop_chunk(struct store_chunk *c) {
    slice_deinit(&c->part);
    free(c->poison);
}

static void drop_chunks(struct recovery *v) {
    for (size_t i = 0; i < v->chunk_count; i++)
        drop_chunk(&v->chunks[i]);
    v->chunk_count = 0;
}

static void read_poison(struct recovery *v, sqlite3_stmt *q, struct store_chunk *c) {
    size_t size = (size_t)sqlite3_column_bytes(q, 5);
    const void *bytes = sqlite3_column_blob(q, 5);
    if (size == 0 || bytes == NULL || size % sizeof(uint32_t) != 0 || size / sizeof(uint32_t) > HOST_MAX_POISON)
        return;
    uint32_t *places = malloc(size);
    if (places == NULL) {
        sql_fail(v->sql, SQLITE_NOMEM, ENOMEM);
        return;
    }
    memcpy(places, bytes, size);
    c->poison = places;
    c->poison_count = (uint32_t)(size / sizeof(uint32_t));
}

/* planned: the plan is known. Otherwise only the losses of the chunk mean something. */
static void read_chunk(struct recovery *v, bool planned) {
    sqlite3_stmt *q = v->chunk_rows;
    if (!planned && (sqlite3_column_int64(q, 2) == 0 || sqlite3_column_int(q, 3) != 0))
        return; /* it was not lost, or has succeeded in the end */
    if (GROW_ARRAY(&v->chunks, v->chunk_count, &v->chunk_room) != 0) {
        sql_fail(v->sql, SQLITE_NOMEM, ENOMEM);
        return;
    }
    struct store_chunk *c = &v->chunks[v->chunk_count++];
    *c = (struct store_chunk){.chunk = (uint32_t)sqlite3_column_int64(q, 1),
                              .attempt = (uint32_t)sqlite3_column_int64(q, 2),
                              .done = sqlite3_column_int(q, 3) != 0};
    if (planned)
        read_poison(v, q, c);
    if (c->done && !read_payload(v, q, 4, &v->chunk_job, FILE_PART, NULL, 0, &c->part)) {
        c->done = false;
        repair_later(v, &v->chunk_job, c->chunk);
    }
}

/* Reads the chunks of that job. Rows with earlier ids belong to no open job. */
static void read_chunks(struct recovery *v, const struct id *job, bool planned) {
    while (v->has_chunk_row && v->sql->code == SQLITE_OK) {
        int order = memcmp(&v->chunk_job, job, sizeof *job);
        if (order > 0)
            return;
        if (order == 0)
            read_chunk(v, planned);
        next_chunk_row(v);
    }
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static bool read_plan(struct recovery *v, sqlite3_stmt *q, const struct record *r, struct slice *plan) {
    int column = row_columns() + 2;
    bool there = sqlite3_column_type(q, column) != SQLITE_NULL;
    bool usable = there && host_handler(r->type) != NULL && sqlite3_column_int(q, column - 1) == WIRE_VERSION &&
                  read_payload(v, q, column, &r->id, FILE_PLAN, &r->type, sizeof r->type, plan);
    if (there && !usable)
        repair_later(v, &r->id, ALL_CHUNKS);
    return usable;
}

static void report_job(struct recovery *v, struct record *r, const struct store_input *in) {
    r->chunks_done = 0;
    for (size_t i = 0; i < v->chunk_count; i++)
        r->chunks_done += v->chunks[i].done;
    v->to->job(v->to->arg, r, in);
    for (size_t i = 0; i < v->chunk_count; i++)
        v->to->chunk(v->to->arg, &r->id, &v->chunks[i]);
}

/* The attachment in the present row. False: it is missing (this is logged), or sql->code says what went wrong. */
static bool read_attachment(struct recovery *v, sqlite3_stmt *q, const struct id *job, struct job_attachments *out) {
    struct stored stored;
    char text[ID_TEXT_SIZE];
    int status = payload_read(v->sql, q, 3, job, FILE_ATTACHMENT, &stored);
    if (status != 0 && errno != ENOENT) {
        sql_fail(v->sql, SQLITE_IOERR, errno);
        return false;
    }
    if (status != 0 || stored.size != (size_t)sqlite3_column_int64(q, 2) || sqlite3_column_int64(q, 0) != out->count) {
        id_format(job, text);
        LOG(LOG_ERROR, "stored_file_missing", LOG_STR("job", text), LOG_INT("role", FILE_ATTACHMENT),
            LOG_INT("attachment", sqlite3_column_int64(q, 0)));
        stored_deinit(&stored);
        return false;
    }
    struct slice bytes = stored_slice(&stored);
    if (bytes.size != (size_t)sqlite3_column_int64(q, 2) ||
        attachments_add(out, &bytes, (const char *)sqlite3_column_text(q, 1), false) != 0)
        sql_fail(v->sql, SQLITE_NOMEM, ENOMEM);
    slice_deinit(&bytes);
    return v->sql->code == SQLITE_OK;
}

/* False: one is missing, so all are left out. */
static bool read_attachments(struct recovery *v, const struct id *job, struct job_attachments *out) {
    sqlite3_stmt *q = sql_use(v->sql, SQL_GET_ATTACHMENTS);
    bool all = true;
    sql_bind_id(q, 1, job);
    while (all && sql_step(v->sql, q))
        all = read_attachment(v, q, job, out);
    sqlite3_reset(q);
    if (!all)
        attachments_truncate(out, 0);
    return all;
}

static void recover_job(struct recovery *v, sqlite3_stmt *q) {
    struct job_attachments attachments = {.list = NULL};
    struct store_input in = {.key = NULL};
    struct record *r = row_read(q);
    if (r == NULL) {
        sql_fail(v->sql, SQLITE_NOMEM, ENOMEM);
        return;
    }
    bool complete = read_attachments(v, &r->id, &attachments);
    if (complete)
        read_payload(v, q, row_columns(), &r->id, FILE_REQUEST, NULL, 0, &in.request);
    bool planned = complete && read_plan(v, q, r, &in.plan);
    if (attachments.count > 0)
        in.attachments = &attachments;
    if (!planned)
        r->chunks_total = 0;
    read_chunks(v, &r->id, planned);
    if (v->sql->code == SQLITE_OK)
        report_job(v, r, &in);
    drop_chunks(v);
    slice_deinit(&in.request);
    slice_deinit(&in.plan);
    attachments_deinit(&attachments);
    record_unref(r);
}

static void recover_jobs(struct recovery *v) {
    sqlite3_stmt *q = sql_use(v->sql, SQL_RECOVER_JOBS);
    v->chunk_rows = sql_use(v->sql, SQL_RECOVER_CHUNKS);
    next_chunk_row(v);
    while (sql_step(v->sql, q))
        recover_job(v, q);
    sqlite3_reset(q);
    sqlite3_reset(v->chunk_rows);
}

static void recover_deliveries(struct recovery *v) {
    sqlite3_stmt *q = sql_use(v->sql, SQL_RECOVER_DELIVERIES);
    while (sql_step(v->sql, q)) {
        struct delivery d = {.url = (const char *)sqlite3_column_text(q, 1),
                             .attempt = (unsigned)sqlite3_column_int64(q, 2),
                             .due_ms = sqlite3_column_int64(q, 3),
                             .trace = (const char *)sqlite3_column_text(q, 4)};
        if (d.url != NULL && sql_read_id(q, 0, &d.job) && read_payload(v, q, 5, &d.job, FILE_WEBHOOK, NULL, 0, &d.body))
            v->to->delivery(v->to->arg, &d);
        slice_deinit(&d.body);
    }
    sqlite3_reset(q);
}

static void repair(struct recovery *v) {
    struct sql *s = v->sql;
    if (v->repair_count > 0)
        sql_run(s, sql_use(s, SQL_BEGIN_WRITING));
    for (size_t i = 0; i < v->repair_count; i++) {
        const struct repair *r = &v->repairs[i];
        if (r->chunk == ALL_CHUNKS) {
            lifetime_drop_plan(s, &r->job);
            continue;
        }
        sqlite3_stmt *q = sql_use(s, SQL_UNDO_CHUNK);
        sql_bind_id(q, 1, &r->job);
        sqlite3_bind_int64(q, 2, r->chunk);
        sql_run(s, q);
    }
    if (v->repair_count > 0)
        sql_run(s, sql_use(s, SQL_COMMIT));
    if (s->code == SQLITE_OK)
        files_committed(&s->files);
}

int recover_all(struct sql *s, const struct store_recovery *to) {
    struct recovery v = {.sql = s, .to = to};
    s->code = SQLITE_OK;
    recover_jobs(&v);
    recover_deliveries(&v);
    repair(&v);
    drop_chunks(&v);
    free(v.chunks);
    free(v.repairs);
    if (s->code == SQLITE_OK)
        return 0;
    LOG(LOG_ERROR, "store_not_recovered", LOG_STR("error", sqlite3_errstr(s->code)), LOG_INT("code", s->code),
        LOG_STR("system_error", s->system_errno != 0 ? strerror(s->system_errno) : NULL));
    return sql_is_corrupt(s->code) ? sql_reopen(s) : -1;
}
