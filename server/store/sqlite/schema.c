/* schema.c: the tables of the database and the texts of its statements; opens, migrates and checks the database. Front
 * end, at the start.
 *
 * To change the schema, append a script to `migrations` that makes the new version from the last one, and add a test
 * that migrates. Never edit a script that was released: databases exist that were made by it. The column of an option
 * (handlers/host/options.h) needs no migration: it is added to a database that lacks it. An older service can still use
 * such a database, and leaves the column at its default.
 */
#include "server/store/sqlite/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "server/store/sqlite/directory.h"
#include "server/store/sqlite/rows.h"
#include "server/store/sqlite/sweep.h"

#define QUICK_CHECK_BYTES (INT64_C(256) * 1024 * 1024) /* a larger database is not checked at the start */
#define BUSY_MS           5000                         /* how long we wait for another program, such as a backup */

/* migrations[n] makes version n + 1 from version n; a new database goes through all of them. `inputs` has the jobs that
 * were submitted and have not ended. A `request`, `plan`, `part`, `result` or `body` is NULL if it is empty, a BLOB if
 * it is small, and otherwise the number of a file; `files` has that number, too. Ids are UUIDv7 (RFC 9562, section
 * 5.7), so their order is the order of submission. A row of `chunks` can also stand for the plan or the merge of a job,
 * if that was lost (STORE_PLAN, STORE_MERGE). `logs` has what the programs of ended jobs have printed. `poison`: the
 * places of items that are given up, u32 each. `attachments` has the data that came with jobs that have not ended:
 * `bytes` as a payload, and `size` is theirs. A result with a `media_type` is not JSON; `summaries` has its summary. `tenant` is the
 * name of the key that has submitted a job; NULL: there were no keys. */
static const char *const migrations[] = {
    "CREATE TABLE jobs (id BLOB PRIMARY KEY, status INTEGER NOT NULL, type TEXT, priority INTEGER NOT NULL,"
    "  fresh INTEGER NOT NULL, options_known INTEGER NOT NULL, map INTEGER NOT NULL, items INTEGER NOT NULL,"
    "  created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL, not_before_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL,"
    "  timeout_ms INTEGER NOT NULL, queue_timeout_ms INTEGER NOT NULL, max_attempts INTEGER NOT NULL,"
    "  wanted_chunks INTEGER NOT NULL, chunks_done INTEGER NOT NULL, chunks_total INTEGER NOT NULL,"
    "  attempts INTEGER NOT NULL, lost_count INTEGER NOT NULL, queued_ns INTEGER NOT NULL, run_ns INTEGER NOT NULL,"
    "  cpu_ns INTEGER NOT NULL, plan_ns INTEGER NOT NULL, merge_ns INTEGER NOT NULL, version INTEGER NOT NULL,"
    "  trace TEXT, webhook TEXT, problem TEXT, bytes INTEGER NOT NULL, lost TEXT, error TEXT, result) WITHOUT ROWID;"
    "CREATE INDEX jobs_by_end ON jobs (finished_ms, id, bytes) WHERE status >= 2;"
    "CREATE INDEX jobs_by_expiry ON jobs (expires_ms) WHERE status >= 2;"
    "CREATE INDEX jobs_by_status ON jobs (status, id) WHERE status >= 2;"
    "CREATE TABLE inputs (job BLOB PRIMARY KEY, request, wire INTEGER, plan) WITHOUT ROWID;"
    "CREATE TABLE chunks (job BLOB NOT NULL, chunk INTEGER NOT NULL, attempt INTEGER NOT NULL, done INTEGER NOT NULL,"
    "  part, PRIMARY KEY (job, chunk)) WITHOUT ROWID;"
    "CREATE TABLE tombstones (id BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX tombstones_by_expiry ON tombstones (expires_ms);"
    "CREATE TABLE keys (tenant TEXT NOT NULL, key TEXT NOT NULL, job BLOB NOT NULL, hash BLOB NOT NULL,"
    "  expires_ms INTEGER NOT NULL, PRIMARY KEY (tenant, key)) WITHOUT ROWID;"
    "CREATE INDEX keys_by_expiry ON keys (expires_ms);"
    "CREATE TABLE deliveries (job BLOB PRIMARY KEY, url TEXT NOT NULL, attempt INTEGER NOT NULL,"
    "  due_ms INTEGER NOT NULL, trace TEXT, body) WITHOUT ROWID;"
    "CREATE TABLE files (number INTEGER PRIMARY KEY, job BLOB NOT NULL, role INTEGER NOT NULL, chunk INTEGER NOT NULL);"
    "CREATE INDEX files_by_job ON files (job, role);",
    "ALTER TABLE chunks ADD COLUMN poison;",
    "CREATE INDEX jobs_by_type ON jobs (type, status, id) WHERE status >= 2;",
    "ALTER TABLE jobs ADD COLUMN log_size INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE logs (job BLOB PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID;",
    "ALTER TABLE jobs ADD COLUMN media_type TEXT;"
    "CREATE TABLE summaries (job BLOB PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE attachments (job BLOB NOT NULL, number INTEGER NOT NULL, media_type TEXT, size INTEGER NOT NULL,"
    "  bytes, PRIMARY KEY (job, number)) WITHOUT ROWID;",
    "ALTER TABLE jobs ADD COLUMN tenant TEXT;"
    "ALTER TABLE tombstones ADD COLUMN tenant TEXT;"
    "CREATE INDEX jobs_by_tenant ON jobs (tenant, status, id) WHERE status >= 2 AND tenant IS NOT NULL;",
};

enum { VERSION = sizeof migrations / sizeof migrations[0] };

/* The newest ended jobs: the newest of each status, and of these the newest. So no more rows are read than three pages
 * have, whatever the filter. */
#define NEWEST(index, status, only)                                                                                    \
    "SELECT * FROM (SELECT id FROM jobs INDEXED BY " index " WHERE status >= 2 AND status = " status only              \
    " AND (?4 IS NULL OR ?4 = " status ") AND id < ?1 ORDER BY id DESC LIMIT ?3)"
#define LIST(index, only)                                                                                              \
    "SELECT id, @ FROM jobs WHERE id IN (" NEWEST(index, "2", only) " UNION ALL " NEWEST(                              \
        index, "3", only) " UNION ALL " NEWEST(index, "4", only) " ORDER BY id DESC LIMIT ?3) ORDER BY id DESC"

/* @ stands for the columns of a record except its id, # for their parameters, and $ for the version of the schema. */
static const char *const texts[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_WRITING] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_PROBE] = "PRAGMA user_version = $",
    [SQL_JOB_STATE] = "SELECT status, bytes, ttl_ms, media_type IS NOT NULL FROM jobs WHERE id = ?1",
    [SQL_TOMBSTONE] = "SELECT 1 FROM tombstones WHERE id = ?1",
    [SQL_IS_OF_TENANT] = "SELECT 1 FROM jobs WHERE id = ?1 AND tenant = ?2"
                         " UNION ALL SELECT 1 FROM tombstones WHERE id = ?1 AND tenant = ?2",
    [SQL_PUT_JOB] = "REPLACE INTO jobs (id, @) VALUES (?1, #)",
    [SQL_GET_JOB] = "SELECT id, @ FROM jobs WHERE id = ?1",
    [SQL_DELETE_JOB] = "DELETE FROM jobs WHERE id = ?1",
    [SQL_PUT_LOG] = "REPLACE INTO logs (job, text) VALUES (?1, ?2)",
    [SQL_GET_LOG] = "SELECT text FROM logs WHERE job = ?1",
    [SQL_DELETE_LOG] = "DELETE FROM logs WHERE job = ?1",
    [SQL_PUT_SUMMARY] = "REPLACE INTO summaries (job, text) VALUES (?1, ?2)",
    [SQL_GET_SUMMARY] = "SELECT text FROM summaries WHERE job = ?1",
    [SQL_DELETE_SUMMARY] = "DELETE FROM summaries WHERE job = ?1",
    [SQL_COUNT_CHUNK] = "UPDATE jobs SET chunks_done = chunks_done + 1 WHERE id = ?1",
    [SQL_LIST] = LIST("jobs_by_status", ""),
    [SQL_LIST_TENANT] = LIST("jobs_by_tenant", " AND tenant = ?5 AND (?2 IS NULL OR type = ?2)"),
    [SQL_LIST_TYPE] = LIST("jobs_by_type", " AND type = ?2"),
    [SQL_PUT_INPUT] = "REPLACE INTO inputs (job, request, wire, plan) VALUES (?1, ?2, ?3, ?4)",
    [SQL_PUT_PLAN] = "UPDATE inputs SET wire = ?2, plan = ?3 WHERE job = ?1",
    [SQL_DELETE_INPUT] = "DELETE FROM inputs WHERE job = ?1",
    [SQL_PUT_ATTACHMENT] = "REPLACE INTO attachments (job, number, media_type, size, bytes)"
                           " VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_GET_ATTACHMENTS] = "SELECT number, media_type, size, bytes FROM attachments WHERE job = ?1 ORDER BY number",
    [SQL_DELETE_ATTACHMENTS] = "DELETE FROM attachments WHERE job = ?1",
    [SQL_GET_CHUNK] = "SELECT attempt, done FROM chunks WHERE job = ?1 AND chunk = ?2",
    [SQL_PUT_CHUNK] = "REPLACE INTO chunks (job, chunk, attempt, done, part) VALUES (?1, ?2, ?3, 1, ?4)",
    [SQL_LOSE_CHUNK] = "INSERT INTO chunks (job, chunk, attempt, done, poison) VALUES (?1, ?2, ?3, 0, ?4)"
                       " ON CONFLICT DO UPDATE SET attempt = max(attempt, excluded.attempt), "
                       " poison = coalesce(excluded.poison, poison)",
    [SQL_UNDO_CHUNK] = "UPDATE chunks SET done = 0, part = NULL WHERE job = ?1 AND chunk = ?2",
    [SQL_DELETE_PARTS] = "DELETE FROM chunks WHERE job = ?1 AND done",
    [SQL_DROP_POISON] = "UPDATE chunks SET poison = NULL WHERE job = ?1",
    [SQL_DELETE_CHUNKS] = "DELETE FROM chunks WHERE job = ?1",
    [SQL_BURY] = "REPLACE INTO tombstones (id, expires_ms, tenant)"
                 " VALUES (?1, ?2, (SELECT tenant FROM jobs WHERE id = ?1))",
    [SQL_FIND_KEY] = "SELECT job, hash FROM keys WHERE tenant = ?1 AND key = ?2 AND expires_ms > ?3",
    [SQL_PUT_KEY] = "REPLACE INTO keys (tenant, key, expires_ms, job, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_PUT_DELIVERY] = "REPLACE INTO deliveries (job, url, attempt, due_ms, trace, body)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_DELETE_DELIVERY] = "DELETE FROM deliveries WHERE job = ?1",
    [SQL_PUT_FILE] = "INSERT INTO files (number, job, role, chunk) VALUES (?1, ?2, ?3, ?4)",
    [SQL_DELETE_FILES] = "DELETE FROM files WHERE job = ?1 AND role BETWEEN ?2 AND ?3 RETURNING role, number",
    [SQL_FILES] = "SELECT number, job, role FROM files ORDER BY number",
    [SQL_OLDEST_ENDED] = "SELECT id FROM jobs INDEXED BY jobs_by_end WHERE status >= 2 ORDER BY finished_ms, id"
                         " LIMIT 1",
    [SQL_TOTALS] = "SELECT count(*), coalesce(sum(bytes), 0) FROM jobs INDEXED BY jobs_by_end WHERE status >= 2",
    [SQL_EXPIRED_JOBS] = "SELECT id FROM jobs INDEXED BY jobs_by_expiry WHERE status >= 2 AND expires_ms <= ?1"
                         " ORDER BY expires_ms LIMIT ?2",
    [SQL_DELETE_TOMBSTONES] = "DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones WHERE expires_ms <= ?1"
                              " ORDER BY expires_ms LIMIT ?2)",
    [SQL_DELETE_KEYS] = "DELETE FROM keys WHERE (tenant, key) IN (SELECT tenant, key FROM keys WHERE expires_ms <= ?1"
                        " ORDER BY expires_ms LIMIT ?2)",
    [SQL_NEXT_DUE] = "SELECT min(due) FROM (SELECT min(expires_ms) AS due FROM jobs INDEXED BY jobs_by_expiry"
                     " WHERE status >= 2 UNION ALL SELECT min(expires_ms) FROM tombstones"
                     " UNION ALL SELECT min(expires_ms) FROM keys)",
    [SQL_ADJUST_JOBS] = "UPDATE jobs SET expires_ms = expires_ms + ?1 WHERE status >= 2",
    [SQL_ADJUST_TOMBSTONES] = "UPDATE tombstones SET expires_ms = expires_ms + ?1",
    [SQL_ADJUST_KEYS] = "UPDATE keys SET expires_ms = expires_ms + ?1",
    [SQL_RECOVER_JOBS] = "SELECT id, @, request, wire, plan FROM inputs CROSS JOIN jobs ON id = job ORDER BY job",
    [SQL_RECOVER_CHUNKS] = "SELECT job, chunk, attempt, done, part, poison FROM chunks ORDER BY job, chunk",
    [SQL_RECOVER_DELIVERIES] = "SELECT job, url, attempt, due_ms, trace, body FROM deliveries ORDER BY job",
};

/* ---- statements -------------------------------------------------------------------------------------------------- */

static int prepare_all(struct sql *s) {
    int code = SQLITE_OK;
    for (int n = 0; code == SQLITE_OK && n < SQL_COUNT; n++) {
        struct buf b = {0};
        for (const char *c = texts[n]; *c != '\0'; c++) {
            if (*c == '@')
                row_write_columns(&b);
            else if (*c == '#')
                row_write_values(&b);
            else if (*c == '$')
                buf_u64(&b, VERSION);
            else
                buf_putc(&b, *c);
        }
        code = b.failed
                   ? SQLITE_NOMEM
                   : sqlite3_prepare_v3(s->db, b.data, (int)b.size, SQLITE_PREPARE_PERSISTENT, &s->statements[n], NULL);
        buf_deinit(&b);
    }
    return code;
}

static void close_database(struct sql *s) {
    for (int n = 0; n < SQL_COUNT; n++) {
        sqlite3_finalize(s->statements[n]);
        s->statements[n] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
    presence_deinit(&s->presence);
    files_close(&s->files);
    s->files = (struct files){.directory = -1};
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Reads the first column of the first row: as a text if `text` is not NULL, otherwise as a number. */
static int ask(struct sql *s, const char *question, int64_t *number, struct buf *text) {
    sqlite3_stmt *q = NULL;
    int code = sqlite3_prepare_v2(s->db, question, -1, &q, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(q);
    if (code == SQLITE_ROW) {
        const char *value = text != NULL ? (const char *)sqlite3_column_text(q, 0) : NULL;
        code = text != NULL && value == NULL ? SQLITE_NOMEM : SQLITE_OK;
        if (value != NULL)
            buf_puts(text, value);
        else if (text == NULL)
            *number = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return code;
}

/* The log keeps its size once it has grown, because a sync is cheaper after overwriting than after appending. */
static int configure(struct sql *s) {
    struct buf mode = {0};
    sqlite3_busy_timeout(s->db, BUSY_MS);
    int code = ask(s, "PRAGMA journal_mode = WAL", NULL, &mode);
    if (code == SQLITE_OK && (mode.failed || strcmp(mode.data, "wal") != 0))
        code = SQLITE_CANTOPEN;
    buf_deinit(&mode);
    if (code == SQLITE_OK)
        code = sqlite3_exec(s->db,
                            "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;"
                            "PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864",
                            NULL, NULL, NULL);
    return code;
}

/* A check that cannot read a page does not fail: it says so, with a code, as it says what is wrong (SQLite, btree.c). */
static int reading_failed(const char *found) {
    static const char words[] = "unable to get the page. error code=";
    const char *at = strstr(found, words);
    int code = at == NULL ? SQLITE_OK : (int)strtol(at + strlen(words), NULL, 10);
    return sql_is_corrupt(code) ? SQLITE_OK : code;
}

/* SQLITE_OK: `found` is "ok", or says what is wrong. */
static int quick_check(struct sql *s, struct buf *found) {
    buf_clear(found);
    int code = ask(s, "PRAGMA quick_check(1)", NULL, found);
    if (code == SQLITE_OK)
        code = found->failed ? SQLITE_NOMEM : reading_failed(found->data);
    return code;
}

static int check(struct sql *s) {
    struct buf b = {0};
    struct stat st;
    buf_printf(&b, "%s/jobs.db", s->path);
    bool small = !b.failed && stat(b.data, &st) == 0 && st.st_size < QUICK_CHECK_BYTES;
    int code = small ? quick_check(s, &b) : SQLITE_OK;
    if (code == SQLITE_OK && small && strcmp(b.data, "ok") != 0) {
        LOG(LOG_ERROR, "store_check_failed", LOG_STR("found", b.data));
        code = SQLITE_CORRUPT;
    }
    buf_deinit(&b);
    return code;
}

static int migrate(struct sql *s, int64_t from) {
    int code = SQLITE_OK;
    for (int64_t n = from; code == SQLITE_OK && n < VERSION; n++) {
        struct buf b = {0};
        buf_printf(&b, "BEGIN IMMEDIATE; %s PRAGMA user_version = %lld; COMMIT", migrations[n], (long long)n + 1);
        code = b.failed ? SQLITE_NOMEM : sqlite3_exec(s->db, b.data, NULL, NULL, NULL);
        buf_deinit(&b);
        if (code == SQLITE_OK && from > 0)
            LOG(LOG_INFO, "store_migrated", LOG_INT("version", n + 1));
    }
    if (code != SQLITE_OK && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int add_column(struct sql *s, const struct option_spec *spec) {
    struct buf b = {0};
    if (spec->kind == OPTION_STRING)
        buf_printf(&b, "ALTER TABLE jobs ADD COLUMN %s TEXT", spec->column);
    else
        buf_printf(&b, "ALTER TABLE jobs ADD COLUMN %s INTEGER NOT NULL DEFAULT %lld", spec->column,
                   (long long)spec->fallback);
    int code = b.failed ? SQLITE_NOMEM : sqlite3_exec(s->db, b.data, NULL, NULL, NULL);
    buf_deinit(&b);
    if (code == SQLITE_OK)
        LOG(LOG_INFO, "store_column_added", LOG_STR("column", spec->column));
    return code;
}

/* Adds the columns of options that are newer than the database. */
static int add_missing_columns(struct sql *s) {
    int code = SQLITE_OK;
    for (const struct option_spec *spec = option_specs; code == SQLITE_OK && spec->name != NULL; spec++) {
        if (spec->column != NULL &&
            sqlite3_table_column_metadata(s->db, NULL, "jobs", spec->column, NULL, NULL, NULL, NULL, NULL) != SQLITE_OK)
            code = add_column(s, spec);
    }
    return code;
}

static int read_totals(struct sql *s) {
    sqlite3_stmt *q = sql_use(s, SQL_TOTALS);
    if (sql_step(s, q)) {
        s->totals.ended = (uint64_t)sqlite3_column_int64(q, 0);
        s->totals.bytes = (uint64_t)sqlite3_column_int64(q, 1);
    }
    sqlite3_reset(q);
    return s->code;
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

static int open_database(struct sql *s) {
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    struct buf name = {0};
    buf_printf(&name, "%s/jobs.db", s->path);
    /* Only the owner may read jobs, even if others may read the directory. SQLite gives its other files this mode. */
    int fd = name.failed ? -1 : open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    /* SQLite's statistics of memory cost a mutex for each allocation. The call does nothing once SQLite is in use. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int code = name.failed ? SQLITE_NOMEM : sqlite3_open_v2(name.data, &s->db, flags, NULL);
    buf_deinit(&name);
    if (code == SQLITE_OK && files_open(&s->files, s->path) != 0)
        code = SQLITE_CANTOPEN;
    return code == SQLITE_OK ? configure(s) : code;
}

/* SQLITE_OK, or the code of what went wrong, with one line in `error`. */
static int open_all(struct sql *s, struct buf *error) {
    int64_t version = 0;
    s->code = SQLITE_OK;
    s->totals = (struct totals){0, 0};
    int code = open_database(s);
    if (code == SQLITE_OK)
        code = ask(s, "PRAGMA user_version", &version, NULL);
    if (code == SQLITE_OK && version > VERSION) {
        buf_printf(error,
                   "the database %s/jobs.db has schema version %lld, and this offloadd knows only up to %d:"
                   " it was written by a newer one",
                   s->path, (long long)version, VERSION);
        return SQLITE_ERROR;
    }
    if (code == SQLITE_OK)
        code = check(s);
    if (code == SQLITE_OK)
        code = migrate(s, version);
    if (code == SQLITE_OK)
        code = add_missing_columns(s);
    if (code == SQLITE_OK)
        code = prepare_all(s);
    if (code == SQLITE_OK)
        code = read_totals(s);
    if (code == SQLITE_OK)
        code = sweep_files(s);
    if (code == SQLITE_OK && presence_note(&s->presence, s->path, s->files.directory) != 0)
        code = errno == ENOMEM ? SQLITE_NOMEM : SQLITE_CANTOPEN;
    if (code != SQLITE_OK)
        buf_printf(error, "cannot open the database %s/jobs.db: %s", s->path,
                   s->db != NULL && sqlite3_errcode(s->db) != SQLITE_OK ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
    return code;
}

int sql_reopen(struct sql *s) {
    struct buf error = {0};
    close_database(s);
    int status = directory_set_aside(s->path, "the database is corrupt");
    if (status == 0 && open_all(s, &error) != SQLITE_OK) {
        LOG(LOG_ERROR, "store_unavailable", LOG_STR("reason", error.data));
        status = -1;
    }
    buf_deinit(&error);
    return status;
}

struct sql *sql_open(const char *path, const struct store_limits *limits, struct buf *error) {
    struct sql *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->limits = *limits;
    s->files.directory = -1;
    s->path = strdup(path);
    int code = s->path == NULL ? SQLITE_NOMEM : open_all(s, error);
    if (sql_is_corrupt(code)) {
        close_database(s);
        buf_clear(error);
        code = directory_set_aside(path, "the database is corrupt") == 0 ? open_all(s, error) : SQLITE_CANTOPEN;
        if (code != SQLITE_OK && error->size == 0)
            buf_printf(error, "cannot set the corrupt database %s/jobs.db aside", path);
    }
    if (code == SQLITE_OK)
        return s;
    sql_close(s);
    return NULL;
}

/* SQLite removes its log by name when it is closed. If our files are not in their place, that would be the log of
 * another database. */
void sql_close(struct sql *s) {
    bool noted = s->presence.files[PRESENCE_DATABASE].path != NULL;
    if (s->db != NULL && noted && presence_missing(&s->presence) != NULL)
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    else if (s->db != NULL)
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    close_database(s);
    free(s->path);
    free(s);
}
