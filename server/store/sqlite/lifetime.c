/* lifetime.c: the stage of a job, as the tables show it, and how a job leaves the tables. Store thread; the front end
 * while it opens or recovers the store, or when that thread has ended.
 *
 *     ABSENT ──submit──► OPEN ──finish──► ENDED ──forget, gc, evict──► BURIED ──gc──► ABSENT
 *        │                └──────────────── forget ────────────────────► ▲
 *        └──finish, or submit of a job that has ended──► ENDED
 *
 *     OPEN     a row of `jobs`, one of `inputs`, its `attachments` and `chunks`
 *     ENDED    a row of `jobs`, one of `logs` if its programs have printed something, and one of `summaries` if it has
 *              one
 *     BURIED   a row of `tombstones`
 *
 * The stage is not stored: it follows from the rows that exist. Each operation looks at it first, and does nothing if
 * the diagram has no such move. So every operation can be repeated.
 */
#include "server/store/sqlite/lifetime.h"

#include "server/model/model.h"

bool lifetime_is_buried(struct sql *s, const struct id *job) {
    sqlite3_stmt *q = sql_use(s, SQL_TOMBSTONE);
    sql_bind_id(q, 1, job);
    bool there = sql_step(s, q);
    sqlite3_reset(q);
    return there;
}

bool lifetime_is_seen(struct sql *s, const struct id *job, const char *tenant) {
    if (tenant == NULL)
        return true;
    sqlite3_stmt *q = sql_use(s, SQL_IS_OF_TENANT);
    sql_bind_id(q, 1, job);
    sqlite3_bind_text(q, 2, tenant, -1, SQLITE_STATIC);
    bool seen = sql_step(s, q);
    sqlite3_reset(q);
    return seen;
}

struct lifetime lifetime_read(struct sql *s, const struct id *job) {
    struct lifetime l = {STAGE_ABSENT, 0, 0, false};
    sqlite3_stmt *q = sql_use(s, SQL_JOB_STATE);
    sql_bind_id(q, 1, job);
    if (sql_step(s, q)) {
        bool ended = job_status_is_final((enum job_status)sqlite3_column_int(q, 0));
        l.stage = ended ? STAGE_ENDED : STAGE_OPEN;
        l.bytes = (uint64_t)sqlite3_column_int64(q, 1);
        l.ttl_ms = sqlite3_column_int64(q, 2);
        l.binary = sqlite3_column_int(q, 3) != 0;
        sqlite3_reset(q);
    } else if (lifetime_is_buried(s, job)) {
        l.stage = STAGE_BURIED;
    }
    return l;
}

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

void lifetime_drop_files(struct sql *s, const struct id *job, enum file_role from, enum file_role to) {
    sqlite3_stmt *q = sql_use(s, SQL_DELETE_FILES);
    sql_bind_id(q, 1, job);
    sqlite3_bind_int(q, 2, (int)from);
    sqlite3_bind_int(q, 3, (int)to);
    while (sql_step(s, q))
        files_drop(&s->files, job, (enum file_role)sqlite3_column_int(q, 0), sqlite3_column_int64(q, 1));
}

void lifetime_drop_plan(struct sql *s, const struct id *job) {
    sql_run_for_job(s, SQL_PUT_PLAN, job);
    sql_run_for_job(s, SQL_DELETE_PARTS, job);
    sql_run_for_job(s, SQL_DROP_POISON, job);
    lifetime_drop_files(s, job, FILE_PLAN, FILE_PART);
}

void lifetime_drop_work(struct sql *s, const struct id *job) {
    sql_run_for_job(s, SQL_DELETE_INPUT, job);
    sql_run_for_job(s, SQL_DELETE_CHUNKS, job);
    lifetime_drop_files(s, job, FILE_REQUEST, FILE_PART);
    sql_run_for_job(s, SQL_DELETE_ATTACHMENTS, job);
    if (sqlite3_changes(s->db) > 0)
        lifetime_drop_files(s, job, FILE_ATTACHMENT, FILE_ATTACHMENT);
}

int64_t lifetime_bury(struct sql *s, const struct id *job, int64_t now_ms) {
    struct lifetime l = lifetime_read(s, job);
    if (l.stage != STAGE_OPEN && l.stage != STAGE_ENDED)
        return 0;
    int64_t due_ms = now_ms + (l.ttl_ms > 0 ? l.ttl_ms : 1);
    sqlite3_stmt *q = sql_use(s, SQL_BURY);
    sql_bind_id(q, 1, job);
    sqlite3_bind_int64(q, 2, due_ms);
    sql_run(s, q);
    if (l.stage == STAGE_ENDED) {
        s->totals.ended--;
        s->totals.bytes -= l.bytes;
    } else {
        lifetime_drop_work(s, job);
    }
    lifetime_drop_files(s, job, FILE_RESULT, FILE_RESULT);
    sql_run_for_job(s, SQL_DELETE_LOG, job);
    if (l.binary)
        sql_run_for_job(s, SQL_DELETE_SUMMARY, job);
    sql_run_for_job(s, SQL_DELETE_JOB, job);
    return due_ms;
}

int64_t lifetime_next_due_ms(struct sql *s) {
    int64_t due_ms = 0;
    sqlite3_stmt *q = sql_use(s, SQL_NEXT_DUE);
    if (sql_step(s, q))
        due_ms = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return due_ms;
}
