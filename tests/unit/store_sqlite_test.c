/* store_sqlite_test.c: what only the store on disk promises. Nothing is lost by a restart, a kill or a full disk; and
 * there are its files, its lock and its schema. store_test.c tests what every store promises.
 *
 * The tests can make the disk fail: this program has a pwrite, fsync and fdatasync of its own, which replace libc's. */
#include "tests/unit/store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the disk ---------------------------------------------------------------------------------------------------- */

static atomic_int write_error, sync_error, file_sync_error; /* errno, or 0 */
static atomic_int reads_left = INT_MAX;                     /* the one after these fails, with EIO */
static atomic_uint syncs, sync_takes_us;

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t at) {
    if (write_error != 0) {
        errno = write_error;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, at);
}

static ssize_t read_at(int fd, void *bytes, size_t size, off_t at) {
    if (reads_left-- == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, size, at);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t at) {
    return read_at(fd, bytes, size, at);
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t at) {
    return read_at(fd, bytes, size, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return write_at(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    return write_at(fd, bytes, size, at);
}

int fdatasync(int fd) {
    syncs++;
    if (sync_takes_us > 0)
        usleep(sync_takes_us);
    errno = sync_error;
    return sync_error != 0 ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    errno = file_sync_error;
    return file_sync_error != 0 ? -1 : (int)syscall(SYS_fsync, fd);
}

static void heal(void) {
    write_error = sync_error = file_sync_error = 0;
    sync_takes_us = 0;
    reads_left = INT_MAX;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int set_up(void **state) {
    (void)state;
    heal();
    set_up_directory();
    return 0;
}

static int open_store(void **state) {
    set_up(state);
    open_sqlite(&(struct store_limits){0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    heal();
    tear_down_directory();
    return 0;
}

static void restart(void) {
    close_store();
    open_sqlite(&(struct store_limits){0});
}

static void path_in(char path[256], const char *name) {
    snprintf(path, 256, "%s/%s", directory, name);
}

/* Runs SQL on the closed database. */
static void alter(const char *sql) {
    char path[256];
    sqlite3 *db = NULL;
    path_in(path, "jobs.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        print_error("%s\n", sqlite3_errmsg(db));
    assert_int_equal(code, SQLITE_OK);
    sqlite3_close(db);
}

static int64_t ask(const char *sql) {
    char path[256];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    path_in(path, "jobs.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return n;
}

/* The store cannot be opened, and the error has these words. */
static void assert_not_opened(const char *words) {
    struct buf error = {0};
    struct store *s = store_sqlite_open(loop, directory, &(struct store_limits){0}, &error);
    assert_null(s);
    assert_non_null(error.data);
    if (strstr(error.data, words) == NULL)
        print_error("%s\n", error.data);
    assert_non_null(strstr(error.data, words));
    assert_null(strchr(error.data, '\n'));
    buf_deinit(&error);
}

/* ---- restarts ---------------------------------------------------------------------------------------------------- */

static void ended_gone_and_keyed_jobs_survive_a_restart(void **state) {
    (void)state;
    struct record *ended = new_record(), *gone = new_record(), *keyed = new_record(), *found;
    ended->type = 0;
    ended->result = large_slice(50000, 'r');
    ended->options.ttl_ms = 3600000;
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish(ended), STORE_OK);
    assert_int_equal(submit(gone), STORE_OK);
    assert_int_equal(forget(gone), STORE_OK);
    assert_int_equal(submit_keyed(keyed, "t", "k", 'h', 3600000), STORE_OK);
    for (int i = 0; i < 3; i++) {
        restart();
        assert_int_equal(get_record(&ended->id, &found), STORE_OK);
        assert_true(found->durable);
        assert_int_equal(found->type, 0);
        assert_same_bytes(&found->result, &ended->result);
        record_unref(found);
        assert_int_equal(get(gone), STORE_GONE);
        struct answer a = find_key("t", "k");
        assert_int_equal(a.result, STORE_OK);
        assert_memory_equal(&a.job, &keyed->id, sizeof a.job);
    }
    assert_true(store->ops->gc(store, 0) > 0); /* something will expire */
    record_unref(ended);
    record_unref(gone);
    record_unref(keyed);
}

static void closing_writes_what_was_posted_and_calls_back(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct answer *answers = calloc(COUNT, sizeof *answers);
    struct record *r[COUNT];
    for (int i = 0; i < COUNT; i++) {
        r[i] = new_record();
        store->ops->submit(store, r[i], &(struct store_input){.key = NULL}, on_done, &answers[i]);
    }
    restart();
    for (int i = 0; i < COUNT; i++) {
        assert_true(answers[i].there);
        assert_int_equal(answers[i].result, STORE_OK);
        assert_int_equal(get(r[i]), STORE_OK);
        record_unref(r[i]);
    }
    free(answers);
}

/* What the child reports before it is killed. */
struct report {
    struct id id;
    bool ended;
    size_t size; /* of the request, or the result */
};

static int report_fd;

struct work {
    struct report report;
    bool busy;
};

static void on_reported(void *arg, enum store_result result) {
    struct work *w = arg;
    if (result != STORE_OK || write(report_fd, &w->report, sizeof w->report) != sizeof w->report)
        _exit(1);
    w->busy = false;
}

#define SPOOLED 50000 /* bytes */

/* Submits jobs with attachments and ends others, some of them large, until it is killed. */
static void work_until_killed(void) {
    static struct work works[16];
    open_sqlite(&(struct store_limits){0});
    for (unsigned i = 0;; i++) {
        struct work *w = &works[i % 16];
        while (w->busy)
            loop_step(loop, NS_PER_S);
        struct record *r = new_record();
        struct slice bytes = large_slice(i % 5 == 0 ? 40000 + i : 10 + i, 'w');
        w->report = (struct report){r->id, i % 3 == 0, bytes.size};
        w->busy = true;
        if (w->report.ended) {
            r->result = slice_ref(&bytes);
            end_at(r, clock_wall_ms());
            store->ops->finish(store, r, NULL, on_reported, w);
        } else {
            struct job_attachments a = {.list = NULL};
            add_attachment(&a, spooled_slice(store->ops->spool(store), SPOOLED, 's'), "image/png");
            add_attachment(&a, slice_ref(&bytes), NULL);
            struct store_input in = {.request = bytes, .attachments = &a};
            store->ops->submit(store, r, &in, on_reported, w);
            attachments_deinit(&a);
        }
        slice_deinit(&bytes);
        record_unref(r);
    }
}

/* Kills a child after so many us, counted from its start or from its first report. Returns the new count of reports. */
static unsigned kill_child(bool when_reported, unsigned after_us, struct report *reports, unsigned count,
                           unsigned room) {
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        report_fd = fds[1];
        work_until_killed();
    }
    close(fds[1]);
    if (when_reported) /* on a busy machine that takes a while */
        assert_int_equal(poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, 60000), 1);
    usleep(after_us);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (count < room && read(fds[0], &reports[count], sizeof *reports) == sizeof *reports)
        count++;
    close(fds[0]);
    return count;
}

static void assert_reported(const struct report *t, const struct recovered *v) {
    struct record *found;
    struct slice expected = large_slice(t->size, 'w');
    if (t->ended) {
        assert_int_equal(get_record(&t->id, &found), STORE_OK);
        assert_int_equal(found->status, JOB_SUCCEEDED);
        assert_same_bytes(&found->result, &expected);
        record_unref(found);
    } else {
        unsigned i = 0;
        while (i < v->job_count && memcmp(&v->jobs[i]->id, &t->id, sizeof t->id) != 0)
            i++;
        assert_true(i < v->job_count);
        assert_same_bytes(&v->requests[i], &expected);
        struct slice spooled = large_slice(SPOOLED, 's');
        assert_int_equal(v->attachments[i].count, 2);
        assert_same_bytes(&v->attachments[i].list[0].bytes, &spooled);
        assert_string_equal(v->attachments[i].list[0].media_type, "image/png");
        assert_same_bytes(&v->attachments[i].list[1].bytes, &expected);
        slice_deinit(&spooled);
    }
    slice_deinit(&expected);
}

/* Recovered attachments are open files: after a few kills, what a quick disk has stored would be more than a process
 * may have open. So all is looked at, and forgotten, after every second kill. */
static void assert_all_reported(const struct report *reports, unsigned count) {
    assert_true(count > 0);
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    for (unsigned i = 0; i < count; i++)
        assert_reported(&reports[i], v);
    for (unsigned i = 0; i < v->job_count; i++)
        assert_int_equal(forget(v->jobs[i]), STORE_OK);
    free_recovered(v);
    gc(INT64_MAX / 2); /* ended jobs; no file may be left after that */
    assert_int_equal(count_files("files", ""), 0);
}

static void acknowledged_jobs_survive_kill_9(void **state) {
    (void)state;
    enum { ROOM = 3000, ROUNDS = 4 };
    struct report *reports = calloc(ROOM, sizeof *reports);
    srand((unsigned)getpid());
    for (int i = 0; i < ROUNDS; i++) {
        unsigned count = 0;
        if (i > 0)
            close_store();
        loop_free(loop); /* the child has its own */
        for (int kills = 0; kills < 2; kills++) {
            loop = loop_new();
            count = kill_child(kills == 0, 20000 + (unsigned)rand() % 60000, reports, count, ROOM);
            loop_free(loop);
        }
        loop = loop_new();
        assert_all_reported(reports, count);
    }
    free(reports);
}

/* ---- group commit ------------------------------------------------------------------------------------------------ */

static void ops_that_arrive_during_a_commit_share_the_next_one(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    struct answer *answers = calloc(COUNT, sizeof *answers);
    unsigned before = syncs;
    sync_takes_us = 20000;
    for (int i = 0; i < COUNT; i++) {
        struct record *r = new_record();
        store->ops->submit(store, r, &(struct store_input){.key = NULL}, on_done, &answers[i]);
        record_unref(r);
    }
    await(&answers[COUNT - 1]);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(answers[i].result, STORE_OK);
    assert_in_range(syncs - before, 1, COUNT / 2);
    free(answers);
}

static void a_commit_is_synced_before_it_is_acknowledged(void **state) {
    (void)state;
    struct record *r = new_record();
    unsigned before = syncs;
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(syncs - before, 1);
    record_unref(r);
}

static void the_steps_of_a_job_that_ends_in_the_same_batch_are_superseded(void **state) {
    (void)state;
    struct record *r = new_record(), *other = new_record(), *found;
    struct slice plan = plan_slice(1, 1, 40000), part = large_slice(40000, 'p');
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(submit(other), STORE_OK);
    unsigned before = syncs;
    store->ops->plan(store, r, &plan);
    store->ops->complete(store, &r->id, 0, 0, &part);
    other->status = JOB_RUNNING;
    store->ops->update(store, other);
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(syncs - before, 1); /* no file was written for the plan and the part */
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_int_equal(found->status, JOB_SUCCEEDED);
    record_unref(found);
    assert_int_equal(get_record(&other->id, &found), STORE_OK);
    assert_int_equal(found->status, JOB_RUNNING);
    record_unref(found);
    record_unref(r);
    record_unref(other);
    slice_deinit(&plan);
    slice_deinit(&part);
}

static void one_op_that_fails_does_not_undo_the_others(void **state) {
    (void)state;
    enum { COUNT = 20 };
    struct answer answers[COUNT] = {{false}};
    close_store();
    alter("CREATE TRIGGER no BEFORE INSERT ON jobs WHEN new.priority = 5 BEGIN SELECT raise(ABORT, 'no'); END");
    open_sqlite(&(struct store_limits){0});
    sync_takes_us = 10000;
    for (int i = 0; i < COUNT; i++) {
        struct record *r = new_record();
        r->options.priority = i == 7 ? 5 : 1;
        store->ops->submit(store, r, &(struct store_input){.key = NULL}, on_done, &answers[i]);
        record_unref(r);
    }
    for (int i = 0; i < COUNT; i++) {
        await(&answers[i]);
        assert_int_equal(answers[i].result, i == 7 ? STORE_UNAVAILABLE : STORE_OK);
    }
    assert_null(store->ops->trouble(store));
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void large_payloads_are_files_as_long_as_they_are_needed(void **state) {
    (void)state;
    struct record *r = new_record();
    struct slice request = large_slice(40000, 'a'), plan = plan_slice(1, 1, 40000), part = large_slice(40000, 'b');
    r->type = 1;
    assert_int_equal(submit_with(r, &(struct store_input){.request = request}), STORE_OK);
    assert_int_equal(count_files("files", "-request-"), 1);
    store->ops->plan(store, r, &plan);
    store->ops->plan(store, r, &plan); /* replaces */
    store->ops->complete(store, &r->id, 0, 0, &part);
    store->ops->complete(store, &r->id, 0, 0, &part); /* ignored */
    assert_int_equal(submit_with(r, &(struct store_input){.request = request}), STORE_OK);
    assert_int_equal(count_files("files", ""), 3);
    r->result = slice_ref(&request);
    end_at(r, 1000);
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(count_files("files", ""), 1);
    assert_int_equal(count_files("files", "-result-"), 1);
    assert_int_equal(finish(r), STORE_FINAL);
    assert_int_equal(count_files("files", ""), 1);
    assert_int_equal(forget(r), STORE_OK);
    assert_int_equal(count_files("files", ""), 0);
    record_unref(r);
    slice_deinit(&request);
    slice_deinit(&plan);
    slice_deinit(&part);
}

static void touch(const char *name) {
    char path[256];
    path_in(path, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void files_that_no_row_names_are_removed_at_the_start(void **state) {
    (void)state;
    struct record *r = new_record(), *found;
    r->result = large_slice(40000, 'a');
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    close_store();
    touch("files/01927f0e-0000-7000-8000-000000000000-part-1");
    touch("files/01927f0e-0000-7000-8000-000000000000-result-2.draft");
    touch("files/something else");
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(count_files("files", ""), 1);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_bytes(&found->result, &r->result);
    record_unref(found);
    record_unref(r);
}

static void remove_files(const char *part) {
    char path[256];
    path_in(path, "files");
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strstr(e->d_name, part) != NULL)
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    }
    closedir(d);
}

/* An open job of two chunks, whose payloads are all files, and a webhook. */
static struct record *large_job(void) {
    struct record *r = new_record();
    struct slice request = large_slice(40000, 'a'), plan = plan_slice(1, 2, 40000), part = large_slice(40000, 'b');
    const struct delivery d = {.job = r->id, .url = "https://example.com/", .body = request};
    r->type = 1;
    r->chunks_total = 2;
    assert_int_equal(submit_with(r, &(struct store_input){.request = request, .plan = plan}), STORE_OK);
    store->ops->complete(store, &r->id, 0, 3, &part);
    store->ops->deliver(store, &d);
    slice_deinit(&request);
    slice_deinit(&plan);
    slice_deinit(&part);
    return r;
}

static void only_what_needs_a_missing_file_is_lost(void **state) {
    (void)state;
    static const char *const missing[] = {"-request-", "-plan-", "-part-", "-webhook-"};
    for (int i = 0; i < 4; i++) {
        struct record *r = large_job();
        close_store();
        remove_files(missing[i]);
        open_sqlite(&(struct store_limits){0});
        struct recovered *v = recover();
        assert_int_equal(v->job_count, 1);
        assert_int_equal(v->requests[0].size, i == 0 ? 0 : 40000);
        assert_int_equal(v->plans[0].size > 0, i != 1);
        assert_int_equal(v->jobs[0]->chunks_total, i == 1 ? 0 : 2);
        assert_int_equal(v->jobs[0]->chunks_done, i == 1 || i == 2 ? 0 : 1);
        assert_int_equal(v->chunk_count, i == 1 ? 0 : 1);
        assert_int_equal(v->chunk_count > 0 && v->chunks[0].attempt == 3, i != 1);
        assert_int_equal(v->delivery_count, i == 3 ? 0 : 1);
        free_recovered(v);
        struct slice part = text_slice("again"); /* what was dropped can be recorded once more */
        store->ops->complete(store, &r->id, 0, 3, &part);
        restart();
        v = recover();
        if (i == 2)
            assert_same_bytes(&v->chunks[0].part, &part);
        free_recovered(v);
        slice_deinit(&part);
        assert_int_equal(forget(r), STORE_OK);
        store->ops->delivered(store, &r->id);
        record_unref(r);
    }
}

static void a_job_whose_result_is_missing_is_gone(void **state) {
    (void)state;
    struct record *r = new_record();
    r->result = large_slice(40000, 'a');
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    close_store();
    remove_files("-result-");
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(get(r), STORE_GONE);
    record_unref(r);
}

/* ---- other builds ------------------------------------------------------------------------------------------------ */

static void a_plan_of_another_wire_version_is_made_again(void **state) {
    (void)state;
    record_unref(large_job());
    close_store();
    alter("UPDATE inputs SET wire = wire + 1");
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    assert_int_equal(v->plans[0].size, 0);
    assert_int_equal(v->requests[0].size, 40000);
    assert_int_equal(v->chunk_count, 0);
    assert_int_equal(v->jobs[0]->chunks_total, 0);
    free_recovered(v);
    assert_int_equal(count_files("files", "-plan-") + count_files("files", "-part-"), 0);
}

/* Make a database of the present schema one of an earlier version. */
#define TO_VERSION_5                                                                                                   \
    "DROP INDEX jobs_by_tenant; ALTER TABLE jobs DROP COLUMN tenant; ALTER TABLE tombstones DROP COLUMN tenant;"       \
    "PRAGMA user_version = 5;"
#define TO_VERSION_4                                                                                                   \
    TO_VERSION_5                                                                                                       \
    "DROP TABLE attachments; DROP TABLE summaries; ALTER TABLE jobs DROP COLUMN media_type; PRAGMA user_version = 4;"
#define TO_VERSION_3 TO_VERSION_4 "DROP TABLE logs; ALTER TABLE jobs DROP COLUMN log_size; PRAGMA user_version = 3;"
#define TO_VERSION_1                                                                                                   \
    TO_VERSION_3 "DROP INDEX jobs_by_type; ALTER TABLE chunks DROP COLUMN poison; PRAGMA user_version = 1;"

/* The schema, the row, and the wire version of the plan are those of offloadd 0.2.0. */
static void an_open_job_of_0_2_0_is_recovered_with_its_options(void **state) {
    (void)state;
    close_store();
    alter(
        TO_VERSION_1
        "INSERT INTO jobs (id, status, type, priority, fresh, options_known, map, items, created_ms, started_ms,"
        "  finished_ms, expires_ms, not_before_ms, ttl_ms, timeout_ms, queue_timeout_ms, max_attempts, wanted_chunks,"
        "  chunks_done, chunks_total, attempts, lost_count, queued_ns, run_ns, cpu_ns, plan_ns, merge_ns, version,"
        "  webhook, bytes)"
        " VALUES (x'019aa000000070008000000000000001', 0, 'echo', 6, 1, 1, 0, 0, 1000, 0, 0, 0, 1500, 60000, 7000, 800,"
        "  9, 12, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 'https://example.org/', 10);"
        "INSERT INTO inputs (job, request, wire, plan)"
        " VALUES (x'019aa000000070008000000000000001', x'7B7D', 2, zeroblob(400));"
        "INSERT INTO chunks (job, chunk, attempt, done, part)"
        " VALUES (x'019aa000000070008000000000000001', 0, 2, 0, NULL),"
        "  (x'019aa000000070008000000000000001', 1, 0, 1, x'31')");
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    const struct submission_options *o = &v->jobs[0]->options;
    assert_int_equal(o->priority, 6);
    assert_int_equal(o->isolated, 1);
    assert_int_equal(o->ttl_ms, 60000);
    assert_int_equal(o->timeout_ms, 7000);
    assert_int_equal(o->queue_timeout_ms, 800);
    assert_int_equal(o->max_attempts, 9);
    assert_int_equal(o->chunks, 12);
    assert_string_equal(o->webhook, "https://example.org/");
    assert_int_equal(v->jobs[0]->not_before_ms, 1500);
    assert_int_equal(v->plans[0].size, 0);
    assert_int_equal(v->requests[0].size, 2);
    assert_int_equal(v->chunk_count, 1); /* its plan is not used, but its loss counts */
    assert_int_equal(v->chunks[0].attempt, 2);
    free_recovered(v);
    restart();
    v = recover();
    assert_int_equal(v->chunk_count, 1);
    assert_int_equal(v->chunks[0].attempt, 2);
    free_recovered(v);
    close_store();
    assert_int_equal(ask("PRAGMA user_version"), 6);
}

static void a_migrated_database_keeps_plans_and_parts(void **state) {
    (void)state;
    struct record *r = large_job();
    uint32_t place = 5;
    struct store_chunk lost = {.chunk = 1, .attempt = 3, .poison = &place, .poison_count = 1};
    close_store();
    alter(TO_VERSION_1);
    for (int i = 0; i < 2; i++) {
        open_sqlite(&(struct store_limits){0});
        struct recovered *v = recover();
        assert_int_equal(v->job_count, 1);
        assert_true(v->plans[0].size > 0);
        assert_int_equal(v->chunk_count, 1 + i);
        assert_true(v->chunks[0].done);
        assert_int_equal(v->chunks[0].poison_count, 0);
        if (i == 1)
            assert_int_equal(v->chunks[1].poison[0], 5);
        free_recovered(v);
        store->ops->lost(store, r, &lost, NULL, NULL);
        close_store();
    }
    record_unref(r);
}

static void a_migrated_database_takes_logs(void **state) {
    (void)state;
    struct record *before = new_record(), *after = new_record(), *found;
    end_at(before, clock_wall_ms());
    assert_int_equal(finish(before), STORE_OK);
    close_store();
    alter(TO_VERSION_3);
    open_sqlite(&(struct store_limits){0});
    add_log(after, "printed\n");
    end_at(after, clock_wall_ms());
    assert_int_equal(finish(after), STORE_OK);
    close_store();
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(get_record(&before->id, &found), STORE_OK);
    assert_int_equal(found->log_size, 0);
    assert_null(found->log);
    record_unref(found);
    assert_int_equal(get_record(&after->id, &found), STORE_OK);
    assert_string_equal(found->log->text.data, "printed\n");
    record_unref(found);
    record_unref(before);
    record_unref(after);
}

/* What it has is read as before: the result of an earlier version is JSON, and its jobs have no attachments. */
static void a_migrated_database_takes_attachments_and_binary_results(void **state) {
    (void)state;
    struct record *open = new_record(), *before = new_record(), *later = new_record(), *after = new_record(), *found;
    struct slice request = text_slice("{}");
    assert_int_equal(submit_with(open, &(struct store_input){.request = request}), STORE_OK);
    before->result = large_slice(50000, 'b');
    end_at(before, clock_wall_ms());
    assert_int_equal(finish(before), STORE_OK);
    close_store();
    alter(TO_VERSION_4);
    open_sqlite(&(struct store_limits){0});
    struct job_attachments a = {.list = NULL};
    add_attachment(&a, large_slice(50000, 'a'), "image/png");
    assert_int_equal(submit_with(later, &(struct store_input){.request = request, .attachments = &a}), STORE_OK);
    set_binary(after, "image/png", "{\"width\":3}");
    after->result = large_slice(50000, 'p');
    end_at(after, clock_wall_ms());
    assert_int_equal(finish(after), STORE_OK);
    close_store();
    assert_int_equal(ask("PRAGMA user_version"), 6);
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 2);
    assert_same_bytes(&v->requests[0], &request);
    assert_int_equal(v->attachments[0].count, 0);
    assert_int_equal(v->attachments[1].count, 1);
    assert_same_bytes(&v->attachments[1].list[0].bytes, &a.list[0].bytes);
    assert_int_equal(get_record(&before->id, &found), STORE_OK);
    assert_null(found->binary);
    assert_same_bytes(&found->result, &before->result);
    record_unref(found);
    assert_int_equal(get_record(&after->id, &found), STORE_OK);
    assert_string_equal(found->binary->media_type, "image/png");
    assert_string_equal(found->binary->summary.data, "{\"width\":3}");
    assert_same_bytes(&found->result, &after->result);
    record_unref(found);
    free_recovered(v);
    attachments_deinit(&a);
    slice_deinit(&request);
    record_unref(open);
    record_unref(before);
    record_unref(later);
    record_unref(after);
}

/* A job that an earlier version has stored is nobody's: only who sees all jobs sees it. */
static void a_migrated_database_takes_tenants(void **state) {
    (void)state;
    struct record *before = new_record(), *after = new_record(), *gone = new_record();
    end_at(before, clock_wall_ms());
    assert_int_equal(finish(before), STORE_OK);
    close_store();
    alter(TO_VERSION_5);
    open_sqlite(&(struct store_limits){0});
    after->tenant = strdup("a");
    gone->tenant = strdup("a");
    assert_int_equal(submit(after), STORE_OK);
    end_at(gone, clock_wall_ms());
    assert_int_equal(finish(gone), STORE_OK);
    assert_int_equal(forget_as("b", gone), STORE_NOT_FOUND);
    assert_int_equal(forget_as("a", gone), STORE_OK);
    restart();
    assert_int_equal(get_as(NULL, before), STORE_OK);
    assert_int_equal(get_as("a", before), STORE_NOT_FOUND);
    assert_int_equal(get_as("a", gone), STORE_GONE);
    assert_int_equal(get_as("b", gone), STORE_NOT_FOUND);
    assert_int_equal(get_as(NULL, gone), STORE_GONE);
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    assert_string_equal(v->jobs[0]->tenant, "a");
    free_recovered(v);
    record_unref(before);
    record_unref(after);
    record_unref(gone);
}

static int64_t count_logs(void) {
    close_store();
    int64_t count = ask("SELECT count(*) FROM logs");
    open_sqlite(&(struct store_limits){0});
    return count;
}

static void a_log_goes_with_its_job(void **state) {
    (void)state;
    struct record *r = new_record();
    add_log(r, "printed\n");
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(count_logs(), 1);
    assert_int_equal(forget(r), STORE_OK);
    assert_int_equal(count_logs(), 0);
    record_unref(r);
}

/* A process that dies takes with it what its open jobs have printed. */
static void the_log_of_an_open_job_is_not_stored(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    add_log(r, "printed\n");
    store->ops->update(store, r);
    assert_int_equal(count_logs(), 0);
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    assert_int_equal(v->jobs[0]->log_size, 0);
    assert_null(v->jobs[0]->log);
    free_recovered(v);
    record_unref(r);
}

/* A blob that is no list of places. */
static void poison_items_that_make_no_sense_are_left_out(void **state) {
    (void)state;
    static const char *const blobs[] = {"x'0102'", "zeroblob(1000000)", "'text'", "NULL", "7.5"};
    struct record *r = large_job();
    store->ops->lost(store, r, &(struct store_chunk){.chunk = 1, .attempt = 1}, NULL, NULL);
    for (size_t i = 0; i < sizeof blobs / sizeof blobs[0]; i++) {
        char sql[100];
        snprintf(sql, sizeof sql, "UPDATE chunks SET poison = %s", blobs[i]);
        close_store();
        alter(sql);
        open_sqlite(&(struct store_limits){0});
        struct recovered *v = recover();
        assert_int_equal(v->chunk_count, 2);
        assert_int_equal(v->chunks[1].attempt, 1);
        assert_true(v->chunks[1].poison_count <= 1); /* 'text' has four bytes */
        free_recovered(v);
    }
    record_unref(r);
}

static void options_beyond_their_bounds_in_a_database_are_clamped(void **state) {
    (void)state;
    struct record *r = new_record(), *found;
    assert_int_equal(submit(r), STORE_OK);
    close_store();
    alter("UPDATE jobs SET priority = 1000000, max_attempts = -5, fresh = 7");
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_int_equal(found->options.priority, 7);
    assert_int_equal(found->options.max_attempts, 1);
    assert_int_equal(found->options.isolated, 1);
    record_unref(found);
    record_unref(r);
}

static void the_column_of_an_option_that_a_database_lacks_is_added(void **state) {
    (void)state;
    struct record *r = new_record(), *found;
    r->options.queue_timeout_ms = 5;
    r->options.max_attempts = 7;
    assert_int_equal(submit(r), STORE_OK);
    close_store();
    alter("ALTER TABLE jobs DROP COLUMN max_attempts; ALTER TABLE jobs DROP COLUMN webhook");
    for (int i = 0; i < 2; i++) {
        open_sqlite(&(struct store_limits){0});
        assert_int_equal(get_record(&r->id, &found), STORE_OK);
        assert_int_equal(found->options.queue_timeout_ms, 5);
        assert_int_equal(found->options.max_attempts, 3);
        assert_null(found->options.webhook);
        record_unref(found);
        close_store();
        assert_int_equal(ask("PRAGMA user_version"), 6);
    }
    record_unref(r);
}

static void a_type_is_found_by_its_name_and_not_by_its_index(void **state) {
    (void)state;
    char sql[128];
    uint32_t type = UINT32_MAX;
    record_unref(large_job());
    close_store();
    snprintf(sql, sizeof sql, "UPDATE jobs SET type = '%s'", host_handler(3)->name);
    alter(sql);
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    assert_int_equal(v->jobs[0]->type, 3);
    assert_int_equal(slice_read(&v->plans[0], offsetof(struct wire_plan, type), &type, sizeof type), 0);
    assert_int_equal(type, 3);
    assert_int_equal(v->chunk_count, 1);
    free_recovered(v);
}

static void a_job_of_an_unknown_type_is_recovered_with_its_request_only(void **state) {
    (void)state;
    struct record *ended = new_record(), *found;
    ended->type = 2;
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish(ended), STORE_OK);
    record_unref(large_job());
    close_store();
    alter("UPDATE jobs SET type = 'no_such_type', problem = 'no_such_problem'");
    open_sqlite(&(struct store_limits){0});
    struct recovered *v = recover();
    assert_string_equal(host_name(v->jobs[0]->type), "no_such_type"); /* it keeps its name */
    assert_null(host_handler(v->jobs[0]->type));
    assert_int_equal(v->requests[0].size, 40000);
    assert_int_equal(v->plans[0].size + v->chunk_count, 0);
    free_recovered(v);
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_string_equal(host_name(found->type), "no_such_type");
    record_unref(found);
    record_unref(ended);
}

static void an_empty_database_is_brought_to_the_present_schema(void **state) {
    (void)state;
    struct record *r = new_record();
    alter("PRAGMA user_version = 0; VACUUM");
    assert_int_equal(ask("PRAGMA user_version"), 0);
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(submit(r), STORE_OK);
    close_store();
    assert_int_equal(ask("PRAGMA user_version"), 6);
    assert_int_equal(ask("SELECT count(*) FROM jobs"), 1);
    record_unref(r);
}

static void a_newer_schema_is_rejected_and_left_alone(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    close_store();
    alter("PRAGMA user_version = 99");
    assert_not_opened("schema version 99");
    assert_int_equal(ask("PRAGMA user_version"), 99);
    assert_int_equal(ask("SELECT count(*) FROM jobs"), 1);
    assert_int_equal(count_files("", "corrupt"), 0);
    record_unref(r);
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static void the_directory_is_made_for_its_owner_alone(void **state) {
    (void)state;
    char top[64];
    struct stat st;
    strcpy(top, directory);
    strcat(directory, "/a/b");
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    close_store();
    strcpy(directory, top);
}

static void a_second_service_is_rejected_with_the_pid_of_the_first(void **state) {
    (void)state;
    int ready[2], status;
    char byte, words[64];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        open_sqlite(&(struct store_limits){0});
        if (write(ready[1], "", 1) == 1)
            pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1); /* 0: the child could not open it */
    snprintf(words, sizeof words, "is in use by another offloadd (pid %ld)", (long)pid);
    assert_not_opened(words);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    open_sqlite(&(struct store_limits){0}); /* the lock ended with the process that held it */
    close(ready[0]);
}

static void an_impossible_directory_is_named_in_the_error(void **state) {
    (void)state;
    char top[64];
    strcpy(top, directory);
    touch("file");
    strcat(directory, "/file/x");
    assert_not_opened(directory);
    strcpy(directory, top);
}

/* ---- corruption -------------------------------------------------------------------------------------------------- */

static void overwrite(const char *name, off_t from, size_t size) {
    char path[256], *junk = malloc(size);
    path_in(path, name);
    memset(junk, 0xA5, size);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(pwrite(fd, junk, size, from), size);
    close(fd);
    free(junk);
}

static void assert_set_aside(void) {
    struct record *r = new_record();
    assert_int_equal(count_files("", "jobs.db.corrupt-"), 1);
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 0);
    free_recovered(v);
    assert_int_equal(submit(r), STORE_OK);
    restart();
    assert_int_equal(get(r), STORE_OK);
    assert_int_equal(count_files("", "jobs.db.corrupt-"), 1);
    record_unref(r);
}

static void a_file_that_is_no_database_is_set_aside(void **state) {
    (void)state;
    overwrite("jobs.db", 0, 20000);
    open_sqlite(&(struct store_limits){0});
    assert_set_aside();
}

static void a_damaged_database_is_set_aside_with_its_files(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        struct record *r = new_record();
        struct slice request = large_slice(i == 0 ? 40000 : 500, 'a');
        assert_int_equal(submit_with(r, &(struct store_input){.request = request}), STORE_OK);
        slice_deinit(&request);
        record_unref(r);
    }
    close_store();
    overwrite("jobs.db", 5 * 4096, 30 * 4096);
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(count_files("", "files.corrupt-"), 1);
    assert_int_equal(count_files("files", ""), 0);
    assert_set_aside();
}

/* What cannot be read now is not corrupt. */
static void a_database_of_which_a_page_cannot_be_read_is_left_in_its_place(void **state) {
    (void)state;
    struct record *r = new_record();
    for (int i = 0; i < 100; i++) {
        struct record *other = new_record();
        assert_int_equal(submit(other), STORE_OK);
        record_unref(other);
    }
    assert_int_equal(submit(r), STORE_OK);
    close_store();
    for (int reads = 0; store == NULL; reads++) {
        struct buf error = {0};
        reads_left = reads;
        store = store_sqlite_open(loop, directory, &(struct store_limits){0}, &error);
        reads_left = INT_MAX;
        assert_true(store != NULL || strstr(error.data, "disk I/O error") != NULL);
        assert_int_equal(count_files("", "corrupt"), 0);
        buf_deinit(&error);
        assert_true(store == NULL || reads > 20); /* reads do fail */
    }
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

/* ---- a disk that fails ------------------------------------------------------------------------------------------- */

static void await_trouble(bool trouble) {
    int64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while ((store->ops->trouble(store) != NULL) != trouble && clock_monotonic_ns() < end_ns)
        loop_step(loop, 100 * NS_PER_MS);
    assert_int_equal(store->ops->trouble(store) != NULL, trouble);
}

/* While the disk fails, jobs that were submitted before end, are forgotten and are found. Then the disk works again. */
static void survive(void (*break_disk)(void), const char *reason) {
    struct record *open = new_record(), *ended = new_record(), *gone = new_record(), *late = new_record(), *found;
    const struct delivery d = {.job = ended->id, .url = "https://example.com/"};
    assert_int_equal(submit(open), STORE_OK);
    assert_int_equal(submit(ended), STORE_OK);
    assert_int_equal(submit(gone), STORE_OK);
    break_disk();
    assert_int_equal(submit(late), STORE_UNAVAILABLE);
    assert_non_null(store->ops->trouble(store));
    assert_string_equal(store->ops->trouble(store), reason);
    ended->result = text_slice("[1]");
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish_with(ended, &d), STORE_UNAVAILABLE);
    assert_int_equal(forget(gone), STORE_UNAVAILABLE);
    assert_int_equal(submit(late), STORE_UNAVAILABLE);
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_ptr_equal(found, ended);
    record_unref(found);
    assert_int_equal(get(gone), STORE_GONE);
    assert_int_equal(get(open), STORE_OK);
    assert_int_equal(get(late), STORE_NOT_FOUND);
    for (int i = 0; i < 15; i++) /* the store tries again, without success */
        loop_step(loop, 100 * NS_PER_MS);
    assert_non_null(store->ops->trouble(store));
    heal();
    await_trouble(false);
    assert_int_equal(submit(late), STORE_OK);
    restart();
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_int_equal(found->status, JOB_SUCCEEDED);
    assert_same_bytes(&found->result, &ended->result);
    record_unref(found);
    assert_int_equal(get(gone), STORE_GONE);
    assert_int_equal(get(late), STORE_OK);
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 2);
    assert_int_equal(v->delivery_count, 1);
    free_recovered(v);
    record_unref(open);
    record_unref(ended);
    record_unref(gone);
    record_unref(late);
}

/* Another connection writes, so that the store must read its pages again. Then we fill these pages with junk. */
static void a_database_that_becomes_corrupt_in_use_is_broken_until_the_restart(void **state) {
    (void)state;
    struct record *old = new_record(), *ended = new_record(), *late = new_record(), *found;
    assert_int_equal(submit(old), STORE_OK);
    alter("UPDATE jobs SET priority = priority; PRAGMA wal_checkpoint(TRUNCATE)");
    overwrite("jobs.db", 4096, 30 * 4096);
    assert_int_equal(get(old), STORE_UNAVAILABLE);
    assert_string_equal(store->ops->trouble(store), "database is corrupt");
    assert_int_equal(submit(late), STORE_UNAVAILABLE);
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish(ended), STORE_UNAVAILABLE);
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    record_unref(found);
    for (int i = 0; i < 15; i++) /* nothing is tried again */
        loop_step(loop, 100 * NS_PER_MS);
    assert_string_equal(store->ops->trouble(store), "database is corrupt");
    restart();
    assert_null(store->ops->trouble(store));
    assert_set_aside();
    assert_int_equal(get(old), STORE_NOT_FOUND);
    record_unref(old);
    record_unref(ended);
    record_unref(late);
}

static void fill_disk(void) {
    write_error = ENOSPC;
}

static void make_read_only(void) {
    write_error = EROFS;
}

static void break_syncs(void) {
    sync_error = EIO;
}

struct listed {
    struct id ids[8];
    unsigned count;
    bool there;
};

static void on_listed(void *arg, enum store_result result, struct record *record) {
    struct listed *l = arg;
    assert_int_equal(result, STORE_OK);
    if (record == NULL)
        l->there = true;
    else
        l->ids[l->count++] = record->id;
}

static struct listed list(int status, int64_t type, unsigned limit) {
    struct record_filter f = {.status = status, .type = type, .limit = limit};
    struct listed l = {.count = 0};
    memset(&f.before, 0xFF, sizeof f.before);
    store->ops->list(store, &f, on_listed, &l);
    while (!l.there)
        loop_step(loop, NS_PER_S);
    return l;
}

static void assert_lists(const struct listed *l, unsigned count, struct record *const *r) {
    assert_int_equal(l->count, count);
    for (unsigned i = 0; i < count; i++)
        assert_memory_equal(&l->ids[i], &r[i]->id, sizeof r[i]->id);
}

/* Jobs that have ended before it are on disk, and those that end now are not; one of each is forgotten. */
static void while_the_disk_fails_lists_have_what_is_not_written_yet(void **state) {
    (void)state;
    struct record *r[6]; /* the newest first */
    for (int i = 6; i-- > 0;) {
        r[i] = new_record();
        r[i]->type = (uint32_t)i % 2;
        assert_int_equal(submit(r[i]), STORE_OK);
        end_at(r[i], clock_wall_ms());
        if (i % 3 > 0)
            assert_int_equal(finish(r[i]), STORE_OK);
    }
    break_syncs();
    for (int i = 0; i < 6; i++) {
        if (i % 3 == 0)
            assert_int_equal(finish(r[i]), STORE_UNAVAILABLE);
        if (i >= 4 || i == 0)
            assert_int_equal(forget(r[i]), STORE_UNAVAILABLE);
    }
    assert_int_equal(get(r[0]), STORE_GONE);
    assert_int_equal(get(r[3]), STORE_OK);
    struct listed all = list(-1, -1, 6), even = list(JOB_SUCCEEDED, 0, 6), failed = list(JOB_FAILED, -1, 6);
    assert_lists(&all, 3, (struct record *[]){r[1], r[2], r[3]});
    assert_lists(&even, 1, (struct record *[]){r[2]});
    assert_lists(&failed, 0, NULL);
    struct listed page = list(-1, 1, 1);
    assert_lists(&page, 1, (struct record *[]){r[1]});
    heal();
    await_trouble(false);
    assert_int_equal(get(r[0]), STORE_GONE);
    all = list(-1, -1, 6);
    assert_lists(&all, 3, (struct record *[]){r[1], r[2], r[3]});
    for (int i = 0; i < 6; i++)
        record_unref(r[i]);
}

static void the_store_survives_a_full_disk(void **state) {
    (void)state;
    survive(fill_disk, "disk full");
}

static void the_store_survives_a_read_only_disk(void **state) {
    (void)state;
    survive(make_read_only, "read-only file system");
}

static void the_store_survives_syncs_that_fail(void **state) {
    (void)state;
    survive(break_syncs, "input/output error");
}

/* ---- the files are taken away ------------------------------------------------------------------------------------ */

static void move(const char *from, const char *to) {
    char a[256], b[256];
    path_in(a, from);
    path_in(b, to);
    assert_int_equal(rename(a, b), 0);
}

static void copy_file(const char *from, const char *to) {
    char command[600];
    snprintf(command, sizeof command, "cp -rp %s/%s %s/%s", directory, from, directory, to);
    assert_int_equal(system(command), 0);
}

static const char *const store_files[] = {"lock", "jobs.db", "jobs.db-wal", "jobs.db-shm", "files"};
#define STORE_FILES (sizeof store_files / sizeof store_files[0])

/* Nothing is acknowledged and nothing is denied. */
static void assert_away(const struct record *stored, const char *file) {
    struct record *late = new_record(), *unknown = new_record(), *ended = new_record(), *found;
    struct slice large = large_slice(100000, 'a');
    struct record_filter filter = {.status = -1, .type = -1, .limit = 10};
    struct answer a = {false};
    assert_int_equal(submit(late), STORE_UNAVAILABLE);
    assert_non_null(store->ops->trouble(store));
    assert_non_null(strstr(store->ops->trouble(store), file));
    assert_int_equal(submit_with(late, &(struct store_input){.request = large}), STORE_UNAVAILABLE);
    assert_int_equal(get(stored), STORE_UNAVAILABLE);
    assert_int_equal(get(unknown), STORE_UNAVAILABLE);
    assert_int_equal(find_key("t", "k").result, STORE_UNAVAILABLE);
    memset(&filter.before, 0xFF, sizeof filter.before);
    store->ops->list(store, &filter, on_found, &a);
    await(&a);
    assert_int_equal(a.result, STORE_UNAVAILABLE);
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish(ended), STORE_UNAVAILABLE);
    assert_int_equal(get_record(&ended->id, &found), STORE_OK); /* from memory */
    record_unref(found);
    slice_deinit(&large);
    record_unref(late);
    record_unref(unknown);
    record_unref(ended);
}

static void a_file_of_the_store_that_is_replaced_is_noticed_before_the_next_acknowledgement(void **state) {
    (void)state;
    for (size_t i = 0; i < STORE_FILES; i++) {
        struct record *stored = new_record(), *after = new_record();
        assert_int_equal(submit(stored), STORE_OK);
        move(store_files[i], "away");
        assert_away(stored, store_files[i]);
        move("away", store_files[i]);
        await_trouble(false); /* the same file is back, so nothing is lost */
        assert_int_equal(get(stored), STORE_OK);
        assert_int_equal(submit(after), STORE_OK);
        move(store_files[i], "away");
        copy_file("away", store_files[i]);
        assert_away(stored, store_files[i]);
        for (int k = 0; k < 15; k++) /* another file is not ours, whatever it contains */
            loop_step(loop, 100 * NS_PER_MS);
        assert_non_null(store->ops->trouble(store));
        char path[256];
        path_in(path, store_files[i]);
        remove_tree(path);
        unlink(path);
        move("away", store_files[i]);
        await_trouble(false);
        record_unref(stored);
        record_unref(after);
    }
}

static void a_directory_that_is_moved_is_noticed_and_goes_on_when_it_is_back(void **state) {
    (void)state;
    char away[80];
    struct record *stored = new_record(), *after = new_record();
    snprintf(away, sizeof away, "%s-away", directory);
    assert_int_equal(submit(stored), STORE_OK);
    assert_int_equal(rename(directory, away), 0);
    assert_away(stored, "lock");
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_away(stored, "lock");
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(rename(away, directory), 0);
    await_trouble(false);
    assert_int_equal(submit(after), STORE_OK);
    restart();
    assert_int_equal(get(stored), STORE_OK);
    assert_int_equal(get(after), STORE_OK);
    record_unref(stored);
    record_unref(after);
}

/* Nothing is posted; somebody only asks whether all is well, as /readyz does. */
static void an_idle_store_notices_that_its_files_are_gone(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    move("jobs.db", "away");
    await_trouble(true);
    record_unref(r);
}

/* SQLite removes its log by name when it closes a database. */
static void a_store_whose_files_were_replaced_leaves_those_of_the_next_one_alone(void **state) {
    (void)state;
    struct record *r = new_record(), *next = new_record();
    assert_int_equal(submit(r), STORE_OK);
    for (size_t i = 0; i < STORE_FILES; i++) {
        char path[256];
        path_in(path, store_files[i]);
        remove_tree(path);
        unlink(path);
    }
    struct store *first = store;
    open_sqlite(&(struct store_limits){0});
    assert_int_equal(submit(next), STORE_OK);
    first->ops->close(first);
    assert_int_equal(count_files(".", "jobs.db"), 3);
    assert_int_equal(get(next), STORE_OK);
    assert_null(store->ops->trouble(store));
    restart();
    assert_int_equal(get(next), STORE_OK);
    record_unref(r);
    record_unref(next);
}

/* The disk is slow, and the database is taken away while the commit is being synced. */
static void a_store_that_is_taken_away_during_a_commit_does_not_acknowledge_it(void **state) {
    (void)state;
    struct record *r = new_record();
    struct answer a = {false};
    sync_takes_us = 300000;
    unsigned before = syncs;
    store->ops->submit(store, r, &(struct store_input){.key = NULL}, on_done, &a);
    while (syncs == before)
        loop_step(loop, NS_PER_MS);
    assert_false(a.there);
    move("jobs.db", "away");
    await(&a);
    assert_int_equal(a.result, STORE_UNAVAILABLE);
    record_unref(r);
}

static void a_payload_that_cannot_be_written_fails_its_job_alone(void **state) {
    (void)state;
    struct record *large = new_record(), *ended = new_record(), *found;
    struct slice request = large_slice(100000, 'a');
    file_sync_error = ENOSPC;
    assert_int_equal(submit_with(large, &(struct store_input){.request = request}), STORE_UNAVAILABLE);
    assert_string_equal(store->ops->trouble(store), "disk full");
    assert_int_equal(count_files("files", ""), 0);
    ended->result = slice_ref(&request);
    end_at(ended, clock_wall_ms());
    assert_int_equal(finish(ended), STORE_UNAVAILABLE);
    for (int i = 0; i < 15; i++)
        loop_step(loop, 100 * NS_PER_MS);
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_non_null(store->ops->trouble(store));
    heal();
    await_trouble(false);
    record_unref(found);
    restart();
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_same_bytes(&found->result, &request);
    assert_int_equal(get(large), STORE_NOT_FOUND);
    record_unref(found);
    record_unref(large);
    record_unref(ended);
    slice_deinit(&request);
}

/* It was not acknowledged, so it never existed; the end of a job that was acknowledged would be kept. */
static void a_submission_with_its_end_is_not_kept_if_it_cannot_be_written(void **state) {
    (void)state;
    struct record *small = new_record(), *large = new_record();
    large->result = large_slice(100000, 'a');
    end_at(small, clock_wall_ms());
    end_at(large, clock_wall_ms());
    sync_error = file_sync_error = EIO;
    assert_int_equal(submit(large), STORE_UNAVAILABLE);
    assert_int_equal(submit(small), STORE_UNAVAILABLE);
    heal();
    await_trouble(false);
    assert_int_equal(get(small), STORE_NOT_FOUND);
    assert_int_equal(get(large), STORE_NOT_FOUND);
    assert_int_equal(count_files("files", ""), 0);
    assert_int_equal(submit(large), STORE_OK);
    restart();
    assert_int_equal(get(large), STORE_OK);
    assert_int_equal(get(small), STORE_NOT_FOUND);
    record_unref(small);
    record_unref(large);
}

static void pending_ops_are_tried_once_more_when_the_store_closes(void **state) {
    (void)state;
    struct record *r = new_record();
    fill_disk();
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_UNAVAILABLE);
    heal();
    restart();
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

/* The kernel sets the limit: no file of this process can grow beyond 200 kB. */
static void the_store_survives_a_limit_of_file_sizes(void **state) {
    (void)state;
    struct rlimit before, small;
    struct record *r[300];
    unsigned acknowledged = 0;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){200000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct slice request = large_slice(3000, 'a');
    for (; acknowledged < 300; acknowledged++) {
        r[acknowledged] = new_record();
        if (submit_with(r[acknowledged], &(struct store_input){.request = request}) != STORE_OK)
            break;
    }
    assert_in_range(acknowledged, 1, 299);
    assert_string_equal(store->ops->trouble(store), "file size limit reached");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    await_trouble(false);
    restart();
    struct recovered *v = recover();
    assert_int_equal(v->job_count, acknowledged);
    free_recovered(v);
    for (unsigned i = 0; i <= acknowledged; i++) {
        assert_int_equal(get(r[i]), i < acknowledged ? STORE_OK : STORE_NOT_FOUND);
        record_unref(r[i]);
    }
    slice_deinit(&request);
}

#define OPENED(name) cmocka_unit_test_setup_teardown(name, open_store, tear_down)
#define CLOSED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* As the service does it: each part of a job that is recovered can take a descriptor. */
static void raise_descriptors(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OPENED(ended_gone_and_keyed_jobs_survive_a_restart),
        OPENED(closing_writes_what_was_posted_and_calls_back),
        CLOSED(acknowledged_jobs_survive_kill_9),
        OPENED(ops_that_arrive_during_a_commit_share_the_next_one),
        OPENED(a_commit_is_synced_before_it_is_acknowledged),
        OPENED(the_steps_of_a_job_that_ends_in_the_same_batch_are_superseded),
        OPENED(one_op_that_fails_does_not_undo_the_others),
        OPENED(large_payloads_are_files_as_long_as_they_are_needed),
        OPENED(files_that_no_row_names_are_removed_at_the_start),
        OPENED(only_what_needs_a_missing_file_is_lost),
        OPENED(a_job_whose_result_is_missing_is_gone),
        OPENED(a_plan_of_another_wire_version_is_made_again),
        OPENED(an_open_job_of_0_2_0_is_recovered_with_its_options),
        OPENED(a_migrated_database_keeps_plans_and_parts),
        OPENED(a_migrated_database_takes_logs),
        OPENED(a_migrated_database_takes_attachments_and_binary_results),
        OPENED(a_migrated_database_takes_tenants),
        OPENED(a_log_goes_with_its_job),
        OPENED(the_log_of_an_open_job_is_not_stored),
        OPENED(poison_items_that_make_no_sense_are_left_out),
        OPENED(options_beyond_their_bounds_in_a_database_are_clamped),
        OPENED(the_column_of_an_option_that_a_database_lacks_is_added),
        OPENED(a_type_is_found_by_its_name_and_not_by_its_index),
        OPENED(a_job_of_an_unknown_type_is_recovered_with_its_request_only),
        CLOSED(an_empty_database_is_brought_to_the_present_schema),
        OPENED(a_newer_schema_is_rejected_and_left_alone),
        CLOSED(the_directory_is_made_for_its_owner_alone),
        CLOSED(a_second_service_is_rejected_with_the_pid_of_the_first),
        CLOSED(an_impossible_directory_is_named_in_the_error),
        CLOSED(a_file_that_is_no_database_is_set_aside),
        OPENED(a_damaged_database_is_set_aside_with_its_files),
        OPENED(a_database_of_which_a_page_cannot_be_read_is_left_in_its_place),
        OPENED(a_database_that_becomes_corrupt_in_use_is_broken_until_the_restart),
        OPENED(while_the_disk_fails_lists_have_what_is_not_written_yet),
        OPENED(the_store_survives_a_full_disk),
        OPENED(the_store_survives_a_read_only_disk),
        OPENED(the_store_survives_syncs_that_fail),
        OPENED(a_file_of_the_store_that_is_replaced_is_noticed_before_the_next_acknowledgement),
        OPENED(a_directory_that_is_moved_is_noticed_and_goes_on_when_it_is_back),
        OPENED(an_idle_store_notices_that_its_files_are_gone),
        OPENED(a_store_whose_files_were_replaced_leaves_those_of_the_next_one_alone),
        OPENED(a_store_that_is_taken_away_during_a_commit_does_not_acknowledge_it),
        OPENED(a_payload_that_cannot_be_written_fails_its_job_alone),
        OPENED(a_submission_with_its_end_is_not_kept_if_it_cannot_be_written),
        OPENED(pending_ops_are_tried_once_more_when_the_store_closes),
        OPENED(the_store_survives_a_limit_of_file_sizes),
    };
    host_init(true);
    raise_descriptors();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
