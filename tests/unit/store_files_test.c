/* store_files_test.c: the attachments of jobs in the store on disk, and which files are written for them: one that http
 * has spooled is not written again, and no file stays longer than it is needed.
 *
 * The tests can make the disk fail: this program has an fdatasync of its own, which replaces libc's. */
#include "tests/unit/store_helpers.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define LARGE 50000 /* bytes */

static atomic_int sync_error;       /* errno, or 0 */
static _Atomic(ino_t) synced_inode; /* of the file that was synced last, other than the database's log */
static ino_t awaited_inode;

int fdatasync(int fd) {
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == awaited_inode)
        synced_inode = st.st_ino;
    errno = sync_error;
    return sync_error != 0 ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int open_store(void **state) {
    (void)state;
    sync_error = 0;
    set_up_directory();
    open_sqlite(&(struct store_limits){0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    sync_error = 0;
    tear_down_directory();
    return 0;
}

static void restart(void) {
    close_store();
    open_sqlite(&(struct store_limits){0});
}

static struct slice spooled(char seed) {
    return spooled_slice(store->ops->spool(store), LARGE, seed);
}

static ino_t inode_of(const struct slice *s) {
    struct stat st;
    assert_int_equal(fstat(s->blob->fd, &st), 0);
    return st.st_ino;
}

/* The inode of the one file that has `part` in its name; with a path: its name, too. */
static ino_t inode_of_file(const char *part, char path[512]) {
    char name[256];
    struct stat st = {0};
    unsigned n = 0;
    snprintf(name, sizeof name, "%s/files", directory);
    DIR *d = opendir(name);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strstr(e->d_name, part) == NULL)
            continue;
        assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
        if (path != NULL)
            snprintf(path, 512, "%s/%s", name, e->d_name);
        n++;
    }
    closedir(d);
    assert_int_equal(n, 1);
    return st.st_ino;
}

static enum store_result submit_attached(struct record *r, const struct job_attachments *a) {
    struct slice request = text_slice("{}");
    enum store_result result = submit_with(r, &(struct store_input){.request = request, .attachments = a});
    slice_deinit(&request);
    return result;
}

static void assert_recovered(const struct job_attachments *a) {
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    assert_int_equal(v->requests[0].size, 2);
    assert_int_equal(v->attachments[0].count, a->count);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct job_attachment *is = &v->attachments[0].list[i];
        assert_same_bytes(&is->bytes, &a->list[i].bytes);
        assert_int_equal(is->media_type == NULL, a->list[i].media_type == NULL);
        if (is->media_type != NULL)
            assert_string_equal(is->media_type, a->list[i].media_type);
        assert_false(is->own);
        assert_int_equal(slice_is_bulk(&is->bytes), is->bytes.size > 32 * 1024);
    }
    free_recovered(v);
}

/* ---- attachments ------------------------------------------------------------------------------------------------- */

/* Of every kind: empty, small, small in a memfd, large in a memfd, a part of that, in a file, a part of that. */
static struct job_attachments all_kinds(void) {
    struct job_attachments a = {.list = NULL};
    struct slice large = large_slice(3 * LARGE, 'a'), file = spooled('f');
    add_attachment(&a, (struct slice){NULL, 0, 0}, "text/plain");
    add_attachment(&a, text_slice("small"), NULL);
    add_attachment(&a, slice_part(&large, 5000, 100), "a/b");
    add_attachment(&a, slice_part(&large, 5000, LARGE), "image/png");
    add_attachment(&a, large, NULL);
    add_attachment(&a, slice_part(&file, 7, 20), "c/d");
    add_attachment(&a, slice_part(&file, 7, LARGE - 7), NULL);
    add_attachment(&a, file, "image/jpeg");
    return a;
}

static void attachments_are_kept_until_their_job_has_ended(void **state) {
    (void)state;
    for (int deleted = 0; deleted < 2; deleted++) {
        struct record *r = new_record();
        struct job_attachments a = all_kinds();
        assert_int_equal(submit_attached(r, &a), STORE_OK);
        assert_int_equal(submit_attached(r, &a), STORE_OK); /* changes nothing */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(count_files("files", ""), 4);
            assert_int_equal(count_files("files", "-attachment-"), 4);
            restart();
            assert_recovered(&a);
        }
        end_at(r, clock_wall_ms());
        assert_int_equal(deleted ? forget(r) : finish(r), STORE_OK);
        assert_int_equal(count_files("files", ""), 0);
        restart();
        struct recovered *v = recover();
        assert_int_equal(v->job_count, 0);
        free_recovered(v);
        attachments_deinit(&a);
        record_unref(r);
    }
}

static void each_of_many_attachments_comes_back_in_its_place(void **state) {
    (void)state;
    struct record *r = new_record();
    struct job_attachments a = {.list = NULL};
    for (int i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof text, "data %d", i);
        add_attachment(&a, text_slice(text), i % 3 == 0 ? NULL : text);
    }
    assert_int_equal(submit_attached(r, &a), STORE_OK);
    restart();
    assert_recovered(&a);
    attachments_deinit(&a);
    record_unref(r);
}

static void a_submission_that_is_not_accepted_leaves_no_file(void **state) {
    (void)state;
    struct record *first = new_record(), *second = new_record();
    struct store_key key = {.tenant = "t", .key = "k", .ttl_ms = 3600000};
    struct job_attachments a = all_kinds();
    struct store_input in = {.key = &key, .attachments = &a};
    assert_int_equal(submit_keyed(first, "t", "k", 0, 3600000), STORE_OK);
    assert_int_equal(submit_with(second, &in), STORE_EXISTS);
    assert_int_equal(count_files("files", ""), 0);
    restart();
    struct recovered *v = recover();
    assert_int_equal(v->job_count, 1);
    assert_int_equal(v->attachments[0].count, 0);
    free_recovered(v);
    attachments_deinit(&a);
    record_unref(first);
    record_unref(second);
}

/* What is left of such a job cannot run, and its owner has to hear so. */
static void a_job_whose_attachment_is_missing_or_cut_off_comes_without_its_request(void **state) {
    (void)state;
    for (int cut_off = 0; cut_off < 2; cut_off++) {
        struct record *r = new_record(), *other = new_record();
        struct slice request = large_slice(40000, 'r'), plan = plan_slice(1, 2, 0), part = text_slice("part");
        struct job_attachments a = {.list = NULL}, b = {.list = NULL};
        char path[512];
        add_attachment(&a, large_slice(LARGE, 'a'), NULL);
        add_attachment(&b, text_slice("small"), NULL);
        r->type = 1;
        r->chunks_total = 2;
        struct store_input in = {.request = request, .plan = plan, .attachments = &a};
        assert_int_equal(submit_with(r, &in), STORE_OK);
        store->ops->complete(store, &r->id, 0, 0, &part);
        assert_int_equal(submit_attached(other, &b), STORE_OK);
        close_store();
        inode_of_file("-attachment-", path);
        if (cut_off)
            assert_int_equal(truncate(path, LARGE - 1), 0);
        else
            assert_int_equal(unlink(path), 0);
        open_sqlite(&(struct store_limits){0});
        struct recovered *v = recover();
        assert_int_equal(v->job_count, 2);
        assert_int_equal(v->requests[0].size, 0);
        assert_int_equal(v->plans[0].size, 0);
        assert_int_equal(v->attachments[0].count, 0);
        assert_int_equal(v->chunk_count, 0);
        assert_int_equal(v->attachments[1].count, 1);
        free_recovered(v);
        assert_int_equal(forget(r), STORE_OK);
        assert_int_equal(forget(other), STORE_OK);
        assert_int_equal(count_files("files", ""), 0);
        slice_deinit(&request);
        slice_deinit(&plan);
        slice_deinit(&part);
        attachments_deinit(&a);
        attachments_deinit(&b);
        record_unref(r);
        record_unref(other);
    }
}

/* ---- files that need not be written ------------------------------------------------------------------------------ */

static void a_spooled_file_is_taken_over_and_synced_before_the_acknowledgement(void **state) {
    (void)state;
    struct record *r = new_record();
    struct job_attachments a = {.list = NULL};
    add_attachment(&a, spooled('s'), "image/png");
    const struct slice *bytes = &a.list[0].bytes;
    awaited_inode = inode_of(bytes);
    synced_inode = 0;
    assert_int_equal(count_files("files", ""), 0);
    assert_int_equal(submit_attached(r, &a), STORE_OK);
    assert_true(synced_inode == awaited_inode);
    assert_true(inode_of_file("-attachment-", NULL) == inode_of(bytes));
    restart();
    assert_recovered(&a);
    attachments_deinit(&a);
    record_unref(r);
}

static void a_file_of_another_directory_and_a_part_of_a_file_are_copied(void **state) {
    (void)state;
    for (int part = 0; part < 2; part++) {
        struct record *r = new_record();
        struct job_attachments a = {.list = NULL};
        struct slice file = part ? spooled('s') : spooled_slice(directory, LARGE, 's');
        add_attachment(&a, slice_part(&file, 0, LARGE - (size_t)part), NULL);
        assert_int_equal(submit_attached(r, &a), STORE_OK);
        assert_true(inode_of_file("-attachment-", NULL) != inode_of(&file));
        restart();
        assert_recovered(&a);
        assert_int_equal(forget(r), STORE_OK);
        slice_deinit(&file);
        attachments_deinit(&a);
        record_unref(r);
    }
}

/* A job that gives back what it was given. */
static void a_result_that_is_a_spooled_file_is_not_written_again(void **state) {
    (void)state;
    struct record *r = new_record(), *found;
    struct job_attachments a = {.list = NULL};
    add_attachment(&a, spooled('s'), "image/png");
    assert_int_equal(submit_attached(r, &a), STORE_OK);
    set_binary(r, "image/png", "{}");
    r->result = slice_ref(&a.list[0].bytes);
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(count_files("files", ""), 1);
    assert_true(inode_of_file("-result-", NULL) == inode_of(&r->result));
    restart();
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_bytes(&found->result, &r->result);
    assert_true(slice_is_bulk(&found->result) && found->result.blob->seals == BLOB_FILE);
    record_unref(found);
    attachments_deinit(&a);
    record_unref(r);
}

/* As with {"job": "ID"}. The file stays as long as either of the jobs needs it. */
static void a_result_can_be_the_attachment_of_other_jobs_without_a_copy(void **state) {
    (void)state;
    struct record *first = new_record(), *second = new_record(), *third = new_record(), *found;
    struct job_attachments a = {.list = NULL};
    first->result = large_slice(LARGE, 'r');
    end_at(first, clock_wall_ms());
    assert_int_equal(finish(first), STORE_OK);
    assert_int_equal(get_record(&first->id, &found), STORE_OK);
    assert_int_equal(attachments_add(&a, &found->result, NULL, false), 0);
    assert_int_equal(submit_attached(second, &a), STORE_OK);
    assert_true(inode_of_file("-attachment-", NULL) == inode_of_file("-result-", NULL));
    assert_int_equal(forget(first), STORE_OK);
    restart();
    assert_recovered(&a);
    assert_int_equal(forget(second), STORE_OK);
    assert_int_equal(count_files("files", ""), 0);
    assert_int_equal(submit_attached(third, &a), STORE_OK); /* the file has no name any more: it is copied */
    assert_true(inode_of_file("-attachment-", NULL) != inode_of(&found->result));
    restart();
    assert_recovered(&a);
    attachments_deinit(&a);
    record_unref(found);
    record_unref(first);
    record_unref(second);
    record_unref(third);
}

/* ---- trouble ----------------------------------------------------------------------------------------------------- */

static void a_spooled_file_that_cannot_be_synced_is_not_acknowledged(void **state) {
    (void)state;
    struct record *r = new_record();
    struct job_attachments a = {.list = NULL};
    add_attachment(&a, spooled('s'), NULL);
    sync_error = ENOSPC;
    assert_int_equal(submit_attached(r, &a), STORE_UNAVAILABLE);
    assert_string_equal(store->ops->trouble(store), "disk full");
    assert_int_equal(count_files("files", ""), 0);
    sync_error = 0;
    restart();
    assert_int_equal(get(r), STORE_NOT_FOUND);
    assert_int_equal(submit_attached(r, &a), STORE_OK); /* what was spooled is as good as before */
    restart();
    assert_recovered(&a);
    attachments_deinit(&a);
    record_unref(r);
}

/* A local client can make the memory smaller that it shares. That is its own job's trouble, and nobody else's. */
static void shared_memory_that_is_cut_off_fails_its_job_alone(void **state) {
    (void)state;
    static const size_t sizes[] = {LARGE, 1000};
    for (int i = 0; i < 2; i++) {
        struct record *r = new_record(), *other = new_record();
        struct job_attachments a = {.list = NULL}, b = {.list = NULL};
        struct answer answers[2] = {{false}, {false}};
        int fd = memfd_create("shared", MFD_CLOEXEC);
        assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
        add_attachment(&a, slice_all(blob_file(fd, sizes[i])), NULL);
        add_attachment(&b, spooled('s'), NULL);
        assert_int_equal(ftruncate(fd, 10), 0);
        store->ops->submit(store, r, &(struct store_input){.attachments = &a}, on_done, &answers[0]);
        store->ops->submit(store, other, &(struct store_input){.attachments = &b}, on_done, &answers[1]);
        await(&answers[0]);
        await(&answers[1]);
        assert_int_equal(answers[0].result, STORE_UNAVAILABLE);
        assert_int_equal(answers[1].result, STORE_OK);
        assert_null(store->ops->trouble(store));
        assert_int_equal(count_files("files", ""), 1);
        assert_int_equal(get(r), STORE_NOT_FOUND);
        assert_int_equal(forget(other), STORE_OK);
        attachments_deinit(&a);
        attachments_deinit(&b);
        record_unref(r);
        record_unref(other);
    }
}

static void the_directory_for_files_without_names_is_the_stores(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/files", directory);
    assert_string_equal(store->ops->spool(store), path);
    struct store *memory = store_memory_open(&(struct store_limits){0}, true);
    assert_null(memory->ops->spool(memory));
    memory->ops->close(memory);
}

#define OPENED(name) cmocka_unit_test_setup_teardown(name, open_store, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        OPENED(attachments_are_kept_until_their_job_has_ended),
        OPENED(each_of_many_attachments_comes_back_in_its_place),
        OPENED(a_submission_that_is_not_accepted_leaves_no_file),
        OPENED(a_job_whose_attachment_is_missing_or_cut_off_comes_without_its_request),
        OPENED(a_spooled_file_is_taken_over_and_synced_before_the_acknowledgement),
        OPENED(a_file_of_another_directory_and_a_part_of_a_file_are_copied),
        OPENED(a_result_that_is_a_spooled_file_is_not_written_again),
        OPENED(a_result_can_be_the_attachment_of_other_jobs_without_a_copy),
        OPENED(a_spooled_file_that_cannot_be_synced_is_not_acknowledged),
        OPENED(shared_memory_that_is_cut_off_fails_its_job_alone),
        OPENED(the_directory_for_files_without_names_is_the_stores),
    };
    host_init(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
