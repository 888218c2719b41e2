/* rows.c: records and payloads as columns. Store thread; the front end while it opens or recovers the store, or when
 * that thread has ended.
 *
 * Two tables say which member of a record is which column: option_specs has the options (handlers/host/options.h), and
 * `columns` below has all else. The texts of statements are made from these tables, and so are the loops that bind and
 * read rows. The order is: the id, the options, the other columns.
 *
 * The numbers of types and problems differ between builds, so these are stored by name. Statuses are stored as numbers.
 */
#include "server/store/sqlite/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/host/host.h"

_Static_assert(JOB_QUEUED == 0 && JOB_RUNNING == 1 && JOB_SUCCEEDED == 2 && JOB_FAILED == 3 && JOB_CANCELLED == 4,
               "these numbers are in databases");

enum column_kind {
    COLUMN_BOOL,
    COLUMN_U32,
    COLUMN_I64,
    COLUMN_STATUS,
    COLUMN_TYPE,
    COLUMN_PROBLEM,
    COLUMN_STRING,     /* heap or NULL */
    COLUMN_MEDIA_TYPE, /* NULL: the result is JSON */
    COLUMN_BUF,
    COLUMN_LOG_SIZE, /* 0 until the job has ended: before, its log is not stored */
    COLUMN_BYTES,    /* what it counts against max_ended_bytes */
    COLUMN_RESULT
};

#define MEMBER(name, kind)                                                                                             \
    { #name, kind, offsetof(struct record, name) }

static const struct column {
    const char *name;
    enum column_kind kind;
    size_t offset;
} columns[] = {
    MEMBER(status, COLUMN_STATUS),     MEMBER(type, COLUMN_TYPE),         MEMBER(options_known, COLUMN_BOOL),
    MEMBER(map, COLUMN_BOOL),          MEMBER(items, COLUMN_U32),         MEMBER(created_ms, COLUMN_I64),
    MEMBER(started_ms, COLUMN_I64),    MEMBER(finished_ms, COLUMN_I64),   MEMBER(expires_ms, COLUMN_I64),
    MEMBER(not_before_ms, COLUMN_I64), MEMBER(chunks_done, COLUMN_U32),   MEMBER(chunks_total, COLUMN_U32),
    MEMBER(attempts, COLUMN_U32),      MEMBER(lost_count, COLUMN_U32),    MEMBER(queued_ns, COLUMN_I64),
    MEMBER(run_ns, COLUMN_I64),        MEMBER(cpu_ns, COLUMN_I64),        MEMBER(plan_ns, COLUMN_I64),
    MEMBER(merge_ns, COLUMN_I64),      MEMBER(version, COLUMN_I64),       MEMBER(trace, COLUMN_STRING),
    MEMBER(problem, COLUMN_PROBLEM),   {"bytes", COLUMN_BYTES, 0},        MEMBER(lost, COLUMN_BUF),
    MEMBER(error, COLUMN_BUF),         MEMBER(log_size, COLUMN_LOG_SIZE), {"media_type", COLUMN_MEDIA_TYPE, 0},
    MEMBER(tenant, COLUMN_STRING),     MEMBER(result, COLUMN_RESULT),
};

enum { COLUMNS = sizeof columns / sizeof columns[0] };

_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "attempts and lost_count are stored as u32");

static const struct option_spec *skip_not_stored(const struct option_spec *spec) {
    while (spec->name != NULL && spec->column == NULL)
        spec++;
    return spec;
}

#define FOR_EACH_STORED_OPTION(spec)                                                                                   \
    for (const struct option_spec *spec = skip_not_stored(option_specs); spec->name != NULL;                           \
         spec = skip_not_stored(spec + 1))

void row_write_columns(struct buf *out) {
    FOR_EACH_STORED_OPTION(spec) {
        buf_printf(out, "%s, ", spec->column);
    }
    for (int i = 0; i < COLUMNS; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : ", ", columns[i].name);
}

void row_write_values(struct buf *out) {
    for (int i = 2; i <= row_columns(); i++)
        buf_printf(out, "%s?%d", i == 2 ? "" : ", ", i);
}

int row_columns(void) {
    int count = 1 + COLUMNS;
    FOR_EACH_STORED_OPTION(spec) {
        count++;
    }
    return count;
}

uint64_t row_bytes(const struct record *r, size_t result_size) {
    size_t binary = r->binary == NULL ? 0 : sizeof *r->binary + r->binary->summary.size;
    return sizeof *r + r->lost.size + r->error.size + r->log_size + binary + result_size;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *q, int at, const char *text) {
    if (text == NULL || text[0] == '\0')
        sqlite3_bind_null(q, at);
    else
        sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

static void bind_column(sqlite3_stmt *q, int at, const struct column *c, const struct record *r, size_t result_size) {
    const void *member = (const char *)r + c->offset;
    const struct buf *b = member;
    switch (c->kind) {
    case COLUMN_BOOL: sqlite3_bind_int(q, at, *(const bool *)member); break;
    case COLUMN_U32: sqlite3_bind_int64(q, at, *(const uint32_t *)member); break;
    case COLUMN_I64: sqlite3_bind_int64(q, at, *(const int64_t *)member); break;
    case COLUMN_STATUS: sqlite3_bind_int(q, at, (int)r->status); break;
    case COLUMN_TYPE: bind_text(q, at, host_name(r->type)); break;
    case COLUMN_PROBLEM: bind_text(q, at, r->error.size == 0 ? NULL : problem_get(r->problem)->code); break;
    case COLUMN_STRING: bind_text(q, at, *(char *const *)member); break;
    case COLUMN_MEDIA_TYPE: bind_text(q, at, r->binary == NULL ? NULL : r->binary->media_type); break;
    case COLUMN_BUF:
        if (b->size > 0)
            sqlite3_bind_text(q, at, b->data, (int)b->size, SQLITE_STATIC);
        break;
    case COLUMN_LOG_SIZE: sqlite3_bind_int64(q, at, job_status_is_final(r->status) ? r->log_size : 0); break;
    case COLUMN_BYTES: sqlite3_bind_int64(q, at, (int64_t)row_bytes(r, result_size)); break;
    case COLUMN_RESULT: break;
    }
}

void row_bind(sqlite3_stmt *q, const struct record *r, size_t result_size) {
    int at = 1;
    sql_bind_id(q, at++, &r->id);
    FOR_EACH_STORED_OPTION(spec) {
        if (spec->kind == OPTION_STRING)
            bind_text(q, at++, option_string(&r->options, spec));
        else
            sqlite3_bind_int64(q, at++, option_number(&r->options, spec));
    }
    for (int i = 0; i < COLUMNS; i++)
        bind_column(q, at++, &columns[i], r, result_size);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A type that is not there now is known by its name all the same, so that the name stays in the store. */
static uint32_t read_type(const char *name) {
    int type = name == NULL ? -1 : host_number(name);
    return type < 0 ? UINT32_MAX : (uint32_t)type;
}

static enum problem_code read_problem(const char *name) {
    enum problem_code code = name == NULL ? 0 : problem_find(name, strlen(name));
    return code == PROBLEM_COUNT ? PROBLEM_INTERNAL_ERROR : code;
}

static bool read_column(sqlite3_stmt *q, int at, const struct column *c, struct record *r) {
    void *member = (char *)r + c->offset;
    struct buf *b = member;
    const char *text = NULL;
    int64_t n = 0;
    if (c->kind >= COLUMN_TYPE && c->kind <= COLUMN_MEDIA_TYPE)
        text = (const char *)sqlite3_column_text(q, at);
    else if (c->kind <= COLUMN_STATUS || c->kind == COLUMN_LOG_SIZE)
        n = sqlite3_column_int64(q, at);
    switch (c->kind) {
    case COLUMN_BOOL: *(bool *)member = n != 0; break;
    case COLUMN_U32: *(uint32_t *)member = (uint32_t)n; break;
    case COLUMN_I64: *(int64_t *)member = n; break;
    case COLUMN_STATUS: r->status = n < 0 || n >= JOB_STATUSES ? JOB_FAILED : (enum job_status)n; break;
    case COLUMN_TYPE: r->type = read_type(text); break;
    case COLUMN_PROBLEM: r->problem = read_problem(text); break;
    case COLUMN_STRING:
        *(char **)member = text == NULL ? NULL : strdup(text);
        return text == NULL || *(char **)member != NULL;
    case COLUMN_MEDIA_TYPE:
        r->binary = text == NULL ? NULL : calloc(1, sizeof *r->binary);
        if (r->binary != NULL)
            snprintf(r->binary->media_type, sizeof r->binary->media_type, "%s", text);
        return text == NULL || r->binary != NULL;
    case COLUMN_BUF:
        if (sqlite3_column_bytes(q, at) > 0)
            buf_append(b, sqlite3_column_blob(q, at), (size_t)sqlite3_column_bytes(q, at));
        return !b->failed;
    case COLUMN_LOG_SIZE: r->log_size = (uint32_t)n; break;
    case COLUMN_BYTES:
    case COLUMN_RESULT: break;
    }
    return true;
}

static bool read_options(sqlite3_stmt *q, int *at, struct submission_options *o) {
    bool ok = true;
    options_init(o);
    FOR_EACH_STORED_OPTION(spec) {
        if (spec->kind == OPTION_STRING)
            ok = option_set_string(o, spec, (const char *)sqlite3_column_text(q, *at)) && ok;
        else
            option_set_number(o, spec, option_clamp(spec, sqlite3_column_int64(q, *at)));
        ++*at;
    }
    return ok;
}

struct record *row_read(sqlite3_stmt *q) {
    struct record *r = record_new();
    int at = 1;
    bool ok = r != NULL && sql_read_id(q, 0, &r->id) && read_options(q, &at, &r->options);
    for (int i = 0; ok && i < COLUMNS; i++)
        ok = read_column(q, at++, &columns[i], r);
    if (!ok) {
        record_unref(r);
        return NULL;
    }
    r->durable = true;
    return r;
}

/* ---- payloads ---------------------------------------------------------------------------------------------------- */

static void bind_small(struct sql *s, sqlite3_stmt *q, int at, const struct slice *p) {
    if (p->blob->fd < 0) {
        sqlite3_bind_blob(q, at, p->blob->data + p->offset, (int)p->size, SQLITE_STATIC);
        return;
    }
    char *copy = malloc(p->size);
    if (copy == NULL || slice_read(p, 0, copy, p->size) != 0) {
        sql_fail(s, copy == NULL ? SQLITE_NOMEM : SQLITE_ERROR, errno); /* ERROR: somebody has cut off shared memory */
        free(copy);
    } else {
        sqlite3_bind_blob(q, at, copy, (int)p->size, free);
    }
}

void payload_bind(struct sql *s, sqlite3_stmt *q, int at, const struct id *job, struct payload *p) {
    if (p->number == 0) {
        if (p->slice.size > 0)
            bind_small(s, q, at, &p->slice);
        return;
    }
    sqlite3_stmt *file = sql_use(s, SQL_PUT_FILE);
    sqlite3_bind_int64(file, 1, p->number);
    sql_bind_id(file, 2, job);
    sqlite3_bind_int(file, 3, (int)p->role);
    sqlite3_bind_int64(file, 4, p->chunk);
    sql_run(s, file);
    sqlite3_bind_int64(q, at, p->number);
    p->used = true;
}

int payload_read(struct sql *s, sqlite3_stmt *q, int column, const struct id *job, enum file_role role,
                 struct stored *out) {
    *out = (struct stored){NULL, -1, 0};
    int type = sqlite3_column_type(q, column);
    if (type == SQLITE_NULL)
        return 0;
    if (type == SQLITE_INTEGER)
        return files_read(&s->files, job, role, sqlite3_column_int64(q, column), out);
    const void *bytes = sqlite3_column_blob(q, column);
    size_t size = (size_t)sqlite3_column_bytes(q, column);
    out->bytes = size == 0 || bytes == NULL ? NULL : malloc(size);
    if (out->bytes == NULL) {
        errno = ENOMEM;
        return size == 0 ? 0 : -1;
    }
    memcpy(out->bytes, bytes, size);
    out->size = size;
    return 0;
}
