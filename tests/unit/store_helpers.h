/* store_helpers.h: for the tests of the stores. Each test has an event loop, a directory and a store of its own. Each
 * operation is a function here, which runs the event loop until the callback was called, and returns what it said. */
#ifndef OFFLOAD_TEST_STORE_HELPERS_H
#define OFFLOAD_TEST_STORE_HELPERS_H

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "handlers/host/host.h"
#include "pool/wire.h"
#include "server/store/store.h"

#define UNUSED __attribute__((unused))

static struct loop *loop;
static struct store *store;
static char directory[64];

/* ---- setting up -------------------------------------------------------------------------------------------------- */

UNUSED static void remove_tree(const char *path) {
    DIR *d = opendir(path);
    chmod(path, 0700);
    d = d == NULL ? opendir(path) : d;
    for (struct dirent *e = d == NULL ? NULL : readdir(d); e != NULL; e = readdir(d)) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0)
            remove_tree(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

/* Makes an event loop and an empty directory, but no store yet. */
UNUSED static void set_up_directory(void) {
    loop = loop_new();
    store = NULL;
    strcpy(directory, "/tmp/offload-store-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

UNUSED static void close_store(void) {
    store->ops->close(store);
    store = NULL;
}

/* Closes the store, and checks that nothing of it is left in memory. */
UNUSED static void tear_down_directory(void) {
    if (store != NULL)
        close_store();
    loop_free(loop);
    remove_tree(directory);
    assert_int_equal(blob_held_bytes, 0);
}

/* How many entries of directory/name have `part` in their name. */
UNUSED static unsigned count_files(const char *name, const char *part) {
    char path[256];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    DIR *d = opendir(path);
    for (struct dirent *e = d == NULL ? NULL : readdir(d); e != NULL; e = readdir(d))
        n += e->d_name[0] != '.' && strstr(e->d_name, part) != NULL;
    if (d != NULL)
        closedir(d);
    return n;
}

UNUSED static void open_sqlite(const struct store_limits *limits) {
    struct buf error = {0};
    store = store_sqlite_open(loop, directory, limits, &error);
    if (store == NULL)
        print_error("%s\n", error.data);
    assert_non_null(store);
    buf_deinit(&error);
}

/* ---- the operations, as functions that return -------------------------------------------------------------------- */

struct answer {
    bool there;
    enum store_result result;
    struct record *record; /* a reference */
    struct id job;
    uint8_t hash[STORE_HASH_SIZE];
};

UNUSED static void await(const struct answer *a) {
    int64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while (!a->there && clock_monotonic_ns() < end_ns)
        loop_step(loop, 100 * NS_PER_MS);
    assert_true(a->there);
}

static void on_done(void *arg, enum store_result result) {
    struct answer *a = arg;
    assert_false(a->there);
    a->there = true;
    a->result = result;
}

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct answer *a = arg;
    assert_true((result == STORE_OK) == (record != NULL));
    a->record = record == NULL ? NULL : record_ref(record);
    on_done(arg, result);
}

static void on_key_found(void *arg, enum store_result result, const struct id *job,
                         const uint8_t hash[STORE_HASH_SIZE]) {
    struct answer *a = arg;
    if (result == STORE_OK) {
        a->job = *job;
        memcpy(a->hash, hash, STORE_HASH_SIZE);
    }
    on_done(arg, result);
}

UNUSED static enum store_result submit_with(struct record *r, const struct store_input *input) {
    struct answer a = {false};
    store->ops->submit(store, r, input, on_done, &a);
    await(&a);
    return a.result;
}

UNUSED static enum store_result submit(struct record *r) {
    return submit_with(r, &(struct store_input){.key = NULL});
}

UNUSED static enum store_result submit_keyed(struct record *r, const char *tenant, const char *key, char hash,
                                             int64_t ttl_ms) {
    struct store_key k = {.tenant = tenant, .key = key, .ttl_ms = ttl_ms};
    memset(k.hash, hash, sizeof k.hash);
    return submit_with(r, &(struct store_input){.key = &k});
}

UNUSED static enum store_result finish_with(struct record *r, const struct delivery *webhook) {
    struct answer a = {false};
    store->ops->finish(store, r, webhook, on_done, &a);
    await(&a);
    return a.result;
}

UNUSED static enum store_result finish(struct record *r) {
    return finish_with(r, NULL);
}

UNUSED static enum store_result forget_as(const char *tenant, const struct record *r) {
    struct answer a = {false};
    store->ops->forget(store, &r->id, tenant, on_done, &a);
    await(&a);
    return a.result;
}

UNUSED static enum store_result forget(const struct record *r) {
    return forget_as(NULL, r);
}

/* Sets *record to a new reference, or NULL. */
UNUSED static enum store_result get_record(const struct id *id, struct record **record) {
    struct answer a = {false};
    store->ops->get(store, id, NULL, on_found, &a);
    await(&a);
    *record = a.record;
    return a.result;
}

UNUSED static enum store_result get_as(const char *tenant, const struct record *r) {
    struct answer a = {false};
    store->ops->get(store, &r->id, tenant, on_found, &a);
    await(&a);
    record_unref(a.record);
    return a.result;
}

UNUSED static enum store_result get(const struct record *r) {
    struct record *found;
    enum store_result result = get_record(&r->id, &found);
    record_unref(found);
    return result;
}

UNUSED static struct answer find_key(const char *tenant, const char *key) {
    struct answer a = {false};
    store->ops->find_key(store, tenant, key, on_key_found, &a);
    await(&a);
    return a;
}

/* Calls gc until nothing is left to drop, and returns what it says then. */
UNUSED static int64_t gc(int64_t now_ms) {
    const struct id none = {{0}};
    struct record *r;
    int64_t due_ms = store->ops->gc(store, now_ms);
    for (int i = 0; i < 50; i++) {
        get_record(&none, &r); /* when this is answered, the store has dropped a part */
        due_ms = store->ops->gc(store, now_ms);
    }
    return due_ms;
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

UNUSED static struct slice text_slice(const char *text) {
    return slice_all(blob_copy(text, strlen(text)));
}

UNUSED static struct slice large_slice(size_t size, char seed) {
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(seed + i % 61);
    int fd = memfd_new("large");
    assert_int_equal(memfd_write(fd, bytes, size), 0);
    free(bytes);
    return slice_all(blob_seal(fd, size));
}

/* In a file without a name, as http spools what is large. */
UNUSED static struct slice spooled_slice(const char *spool, size_t size, char seed) {
    struct slice bytes = large_slice(size, seed);
    const unsigned char *mapped = slice_map(&bytes);
    int fd = open(spool, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(memfd_write(fd, mapped, size), 0);
    slice_unmap(&bytes, mapped);
    slice_deinit(&bytes);
    return slice_all(blob_file(fd, size));
}

/* Adds one, and takes the slice. */
UNUSED static void add_attachment(struct job_attachments *a, struct slice bytes, const char *media_type) {
    assert_int_equal(attachments_add(a, &bytes, media_type, false), 0);
    slice_deinit(&bytes);
}

UNUSED static void assert_same_bytes(const struct slice *a, const struct slice *b) {
    assert_int_equal(a->size, b->size);
    const unsigned char *x = slice_map(a), *y = slice_map(b);
    assert_non_null(x);
    assert_non_null(y);
    assert_memory_equal(x, y, a->size);
    slice_unmap(a, x);
    slice_unmap(b, y);
}

UNUSED static struct record *new_record(void) {
    struct record *r = record_new();
    r->id = id_new(clock_wall_ms());
    r->options.ttl_ms = 1000;
    r->created_ms = clock_wall_ms();
    return r;
}

/* The job ends at that time. */
UNUSED static void end_at(struct record *r, int64_t now_ms) {
    r->status = JOB_SUCCEEDED;
    r->finished_ms = now_ms;
    r->expires_ms = now_ms + r->options.ttl_ms;
}

/* Its programs have printed that. */
UNUSED static void add_log(struct record *r, const char *text) {
    if (r->log == NULL)
        r->log = job_log_new();
    assert_true(job_log_add(r->log, text, strlen(text)));
    r->log_size = (uint32_t)r->log->text.size;
}

/* Its result is not JSON. */
UNUSED static void set_binary(struct record *r, const char *media_type, const char *summary) {
    r->binary = calloc(1, sizeof *r->binary);
    assert_non_null(r->binary);
    snprintf(r->binary->media_type, sizeof r->binary->media_type, "%s", media_type);
    buf_puts(&r->binary->summary, summary);
}

UNUSED static struct record *ended_record(int64_t now_ms, int64_t ttl_ms) {
    struct record *r = new_record();
    r->options.ttl_ms = ttl_ms;
    end_at(r, now_ms);
    assert_int_equal(finish(r), STORE_OK);
    return r;
}

/* A plan as it comes over the wire. Its chunks have no bytes. */
UNUSED static struct slice plan_slice(uint32_t type, uint32_t chunks, size_t padding) {
    struct buf b = {0};
    struct wire_plan head = {.type = type, .chunks = chunks};
    size_t rest = chunks * sizeof(struct wire_chunk) + padding;
    buf_append(&b, &head, sizeof head);
    memset(buf_reserve(&b, rest), 0, rest);
    b.size += rest;
    int fd = memfd_new("plan");
    assert_int_equal(memfd_write(fd, b.data, b.size), 0);
    struct slice s = slice_all(blob_seal(fd, b.size));
    buf_deinit(&b);
    return s;
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

#define RECOVERED_MAX 4096

struct recovered {
    struct record *jobs[RECOVERED_MAX];
    struct slice requests[RECOVERED_MAX], plans[RECOVERED_MAX];
    struct job_attachments attachments[RECOVERED_MAX];
    unsigned job_count;
    struct id chunk_jobs[RECOVERED_MAX];
    struct store_chunk chunks[RECOVERED_MAX];
    unsigned chunk_count;
    struct delivery deliveries[16];
    char urls[16][64];
    unsigned delivery_count;
};

static void copy_attachments(struct job_attachments *to, const struct job_attachments *from) {
    for (uint32_t i = 0; from != NULL && i < from->count; i++) {
        const struct job_attachment *a = &from->list[i];
        assert_int_equal(attachments_add(to, &a->bytes, a->media_type, a->own), 0);
    }
}

static void on_job(void *arg, struct record *r, const struct store_input *in) {
    struct recovered *v = arg;
    assert_true(v->job_count < RECOVERED_MAX);
    v->jobs[v->job_count] = record_ref(r);
    v->requests[v->job_count] = slice_ref(&in->request);
    v->plans[v->job_count] = slice_ref(&in->plan);
    copy_attachments(&v->attachments[v->job_count], in->attachments);
    v->job_count++;
}

static void on_chunk(void *arg, const struct id *job, const struct store_chunk *c) {
    struct recovered *v = arg;
    assert_true(v->job_count > 0);
    assert_memory_equal(job, &v->jobs[v->job_count - 1]->id, sizeof *job); /* right behind its job */
    v->chunk_jobs[v->chunk_count] = *job;
    v->chunks[v->chunk_count] = *c;
    v->chunks[v->chunk_count].poison = malloc(c->poison_count * sizeof *c->poison + 1);
    for (uint32_t i = 0; i < c->poison_count; i++)
        v->chunks[v->chunk_count].poison[i] = c->poison[i];
    v->chunks[v->chunk_count++].part = slice_ref(&c->part);
}

static void on_delivery(void *arg, const struct delivery *d) {
    struct recovered *v = arg;
    snprintf(v->urls[v->delivery_count], sizeof v->urls[0], "%s", d->url);
    v->deliveries[v->delivery_count] = *d;
    v->deliveries[v->delivery_count++].body = slice_ref(&d->body);
}

/* The caller calls free_recovered. */
UNUSED static struct recovered *recover(void) {
    struct recovered *v = calloc(1, sizeof *v);
    const struct store_recovery to = {v, on_job, on_chunk, on_delivery};
    assert_int_equal(store->ops->recover(store, &to), 0);
    return v;
}

UNUSED static void free_recovered(struct recovered *v) {
    for (unsigned i = 0; i < v->job_count; i++) {
        record_unref(v->jobs[i]);
        slice_deinit(&v->requests[i]);
        slice_deinit(&v->plans[i]);
        attachments_deinit(&v->attachments[i]);
    }
    for (unsigned i = 0; i < v->chunk_count; i++) {
        slice_deinit(&v->chunks[i].part);
        free(v->chunks[i].poison);
    }
    for (unsigned i = 0; i < v->delivery_count; i++)
        slice_deinit(&v->deliveries[i].body);
    free(v);
}

#endif
