/* store_sql.c: a batch of operations in one transaction, so that one sync of the disk stands for all of them. Store
 * thread (and the front end in recovery and after the thread has ended).
 *
 *     large payloads to files ──► BEGIN, each op, COMMIT ──ok──► files that no row names any more are removed
 *                                         └─failed──► ROLLBACK ─┬─ the disk's fault: nothing was written; reads once more
 *                                                               └─ else: each op in a transaction of its own
 *
 * What went wrong sticks: from then on statements do nothing, and the end of the transaction looks once.
 */
#include "server/store/sqlite/sql.h"

#include <errno.h>
#include <stdlib.h>

/* ---- statements -------------------------------------------------------------------------------------------------- */

void sql_fail(struct sql *s, int code, int system_errno) {
    if (s->code == SQLITE_OK) {
        s->code = code;
        s->system_errno = system_errno;
    }
}

sqlite3_stmt *sql_use(struct sql *s, enum statement n) {
    sqlite3_stmt *q = s->statements[n];
    sqlite3_clear_bindings(q);
    return q;
}

/* Of the log: whatever is written goes there first. sqlite3_system_errno is overwritten by the roll-back. */
static int last_errno(struct sql *s) {
    sqlite3_file *log = NULL;
    int error = 0;
    if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log != NULL &&
        log->pMethods != NULL)
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error != 0 ? error : sqlite3_system_errno(s->db);
}

bool sql_step(struct sql *s, sqlite3_stmt *q) {
    int code = s->code == SQLITE_OK ? sqlite3_step(q) : SQLITE_DONE;
    if (code == SQLITE_ROW)
        return true;
    if (code != SQLITE_DONE)
        sql_fail(s, code, last_errno(s));
    sqlite3_reset(q);
    return false;
}

void sql_run_statement(struct sql *s, sqlite3_stmt *q) {
    while (sql_step(s, q)) {
    }
}

void sql_bind_id(sqlite3_stmt *q, int at, const struct id *id) {
    sqlite3_bind_blob(q, at, id->bytes, sizeof id->bytes, SQLITE_STATIC);
}

bool sql_read_id(sqlite3_stmt *q, int column, struct id *id) {
    const void *bytes = sqlite3_column_blob(q, column);
    if (bytes == NULL || sqlite3_column_bytes(q, column) != (int)sizeof id->bytes)
        return false;
    memcpy(id->bytes, bytes, sizeof id->bytes);
    return true;
}

static const char *trouble_of_errno(int system_errno) {
    switch (system_errno) {
    case ENOSPC:
    case EDQUOT: return "disk full";
    case EFBIG: return "file size limit reached";
    case EROFS: return "read-only file system";
    case EMFILE:
    case ENFILE: return "too many open files";
    default: return "input/output error";
    }
}

const char *sql_trouble(int code, int system_errno) {
    switch (code & 0xFF) {
    case SQLITE_FULL: return "disk full";
    case SQLITE_READONLY: return "read-only file system";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return "database is corrupt";
    case SQLITE_NOMEM: return "out of memory";
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return "database is held by another program";
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return trouble_of_errno(system_errno);
    case SQLITE_PERM:
    case SQLITE_AUTH: return "permission denied";
    default: return NULL;
    }
}

int64_t sql_next_due_ms(struct sql *s) {
    int64_t due_ms = 0;
    sqlite3_stmt *q = sql_use(s, SQL_NEXT_DUE);
    if (sql_step(s, q))
        due_ms = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return due_ms;
}

/* ---- one transaction --------------------------------------------------------------------------------------------- */

static void forget_outcome(struct op *op) {
    for (size_t i = 0; i < op->found_count; i++)
        record_unref(op->found[i]);
    free(op->found);
    stored_deinit(&op->stored);
    op->found = NULL;
    op->found_count = 0;
    op->more = false;
    op->refused = false;
    op->due_ms = 0;
    for (unsigned i = 0; i < op->payload_count; i++)
        op->payloads[i].used = false;
}

static bool any_writes(const struct op *from, const struct op *until) {
    while (from != until && op_reads(from->kind))
        from = from->next;
    return from != until;
}

static void roll_back(struct sql *s, const struct totals *before) {
    if (!sqlite3_get_autocommit(s->db)) {
        sqlite3_step(s->statements[SQL_ROLLBACK]);
        sqlite3_reset(s->statements[SQL_ROLLBACK]);
    }
    files_rolled_back(&s->files);
    s->totals = *before;
}

/* The ops in [from, until). False: none of them took effect, s->code says why. */
static bool transaction(struct sql *s, struct op *from, const struct op *until) {
    struct totals before = s->totals;
    s->code = SQLITE_OK;
    sql_run_statement(s, sql_use(s, any_writes(from, until) ? SQL_BEGIN_WRITING : SQL_BEGIN));
    for (struct op *op = from; op != until && s->code == SQLITE_OK; op = op->next) {
        forget_outcome(op);
        if (op->trouble == NULL && !op->superseded)
            apply(s, op);
    }
    if (s->code == SQLITE_OK && files_sync(&s->files) != 0)
        sql_fail(s, SQLITE_IOERR, errno);
    if (s->code == SQLITE_OK)
        sql_run_statement(s, sql_use(s, SQL_COMMIT));
    if (s->code != SQLITE_OK) {
        roll_back(s, &before);
        return false;
    }
    files_committed(&s->files);
    return true;
}

/* ---- what could not be done -------------------------------------------------------------------------------------- */

static void refuse(struct sql *s, struct op *op) {
    forget_outcome(op);
    op->result = STORE_UNAVAILABLE;
    op->code = s->code;
    op->trouble = sql_trouble(s->code, s->system_errno);
    op->refused = op->trouble == NULL;
}

static void run_singly(struct sql *s, struct op *batch) {
    for (struct op *op = batch; op != NULL; op = op->next) {
        if (op->trouble == NULL && !transaction(s, op, op->next))
            refuse(s, op);
    }
}

/* The disk fails: nothing is written, but what is there may be readable. */
static void run_reads(struct sql *s, struct op *batch) {
    for (struct op *op = batch; op != NULL; op = op->next) {
        if (op->trouble == NULL && !op_reads(op->kind))
            refuse(s, op);
    }
    for (struct op *op = batch; op != NULL; op = op->next) {
        if (op_reads(op->kind) && !transaction(s, op, op->next))
            refuse(s, op);
    }
}

/* ---- large payloads ---------------------------------------------------------------------------------------------- */

/* Before the transaction, so that one payload which cannot be written does not undo what others do. */
static void write_payloads(struct sql *s, struct op *op) {
    op->trouble = NULL;
    op->refused = false;
    for (unsigned i = 0; i < op->payload_count; i++) {
        struct payload *p = &op->payloads[i];
        if (p->slice.size <= STORE_INLINE_BYTES || op->trouble != NULL)
            continue;
        if (files_write(&s->files, &op->id, p) != 0) {
            op->code = errno;
            op->trouble = errno == ENOMEM ? "out of memory" : trouble_of_errno(errno);
            op->result = STORE_UNAVAILABLE;
        }
    }
}

static void remove_unused(struct sql *s, struct op *op) {
    for (unsigned i = 0; i < op->payload_count; i++) {
        struct payload *p = &op->payloads[i];
        if (p->number != 0 && !p->used)
            files_remove(&s->files, &op->id, p->role, p->number);
        p->number = 0;
    }
}

/* Those of ends first: the parts of a job whose end is written need no files. */
static void write_all_payloads(struct sql *s, struct op *batch) {
    for (struct op *op = batch; op != NULL; op = op->next)
        if (op->kind == OP_FINISH)
            write_payloads(s, op);
    mark_superseded(batch);
    for (struct op *op = batch; op != NULL; op = op->next)
        if (op->kind != OP_FINISH && !op->superseded)
            write_payloads(s, op);
}

void sql_run(struct sql *s, struct op *batch) {
    write_all_payloads(s, batch);
    if (!transaction(s, batch, NULL)) {
        if (sql_trouble(s->code, s->system_errno) == NULL)
            run_singly(s, batch);
        else
            run_reads(s, batch);
    }
    for (struct op *op = batch; op != NULL; op = op->next)
        remove_unused(s, op);
}
