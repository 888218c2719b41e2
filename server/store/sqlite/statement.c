/* statement.c: binds and runs prepared statements, and keeps the first error. Their texts are in schema.c. Store
 * thread; the front end while it opens or recovers the store, or when that thread has ended. */
#include "server/store/sqlite/statement.h"

#include <string.h>

void sql_fail(struct sql *s, int code, int system_errno) {
    if (s->code == SQLITE_OK) {
        s->code = code;
        s->system_errno = system_errno;
    }
}

bool sql_is_corrupt(int code) {
    return (code & 0xFF) == SQLITE_CORRUPT || (code & 0xFF) == SQLITE_NOTADB;
}

sqlite3_stmt *sql_use(struct sql *s, enum statement n) {
    sqlite3_stmt *q = s->statements[n];
    sqlite3_clear_bindings(q);
    return q;
}

/* The last errno of the log file, because all writes go there first. The roll-back overwrites sqlite3_system_errno. */
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

void sql_run(struct sql *s, sqlite3_stmt *q) {
    while (sql_step(s, q)) {
    }
}

void sql_bind_id(sqlite3_stmt *q, int at, const struct id *id) {
    sqlite3_bind_blob(q, at, id->bytes, sizeof id->bytes, SQLITE_STATIC);
}

void sql_run_for_job(struct sql *s, enum statement n, const struct id *job) {
    sqlite3_stmt *q = sql_use(s, n);
    sql_bind_id(q, 1, job);
    sql_run(s, q);
}

bool sql_read_id(sqlite3_stmt *q, int column, struct id *id) {
    const void *bytes = sqlite3_column_blob(q, column);
    if (bytes == NULL || sqlite3_column_bytes(q, column) != (int)sizeof id->bytes)
        return false;
    memcpy(id->bytes, bytes, sizeof id->bytes);
    return true;
}
