/* extras_test.c: data that a submission has in its JSON, or names there: server/api/extras.c. Jobs that are named are
 * looked up in a store that answers when the test says so, and the client may have left by then. */
#include "server/api/extras.h"
#include "tests/unit/api_world.h"

static int ready_count;
static bool with_part; /* a data part came with the request */

static void on_ready(struct deferred_request *d) {
    ready_count++;
    http_answer_static(d->request, 200, NULL, "ready", 5);
}

static struct host_extra extra(int kind) {
    struct host_extra e = {.fd = -1, .where = strdup("/params/x")};
    assert_non_null(e.where);
    e.kind = kind;
    return e;
}

static struct host_extra of_job(const char *name) {
    struct host_extra e = extra(HOST_EXTRA_JOB);
    e.name = strdup(name);
    assert_non_null(e.name);
    return e;
}

static struct host_extra of_text(const char *text) {
    struct host_extra e = extra(HOST_EXTRA_BYTES);
    buf_puts(&e.bytes, text);
    e.size = e.bytes.size;
    return e;
}

#define LOWERED "{\"lowered\":1}"

static void assert_text(const struct http_request *r, const char *expected) {
    size_t size;
    const char *text = upload_small_text(r, deferred_of(r)->upload, &size);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(text, expected, size);
}

/* Begins a request with these extras. It takes them. */
static void take(struct http_request *r, const struct host_extra *extras, uint32_t count) {
    struct submission s = plain();
    *r = (struct http_request){.body = "{...}"};
    struct deferred_request *d = deferred_new(&server, r, REPLY_RESULT);
    assert_non_null(d);
    s.extras = calloc(count, sizeof *extras);
    assert_non_null(s.extras);
    memcpy(s.extras, extras, count * sizeof *extras);
    s.extra_count = count;
    buf_puts(&s.text, LOWERED);
    ready_count = 0;
    if (with_part) {
        struct slice part = slice_copy("part", 4);
        assert_non_null(upload_make(r, &d->upload));
        assert_int_equal(attachments_add(&d->upload->data, &part, "text/plain", false), 0);
        slice_deinit(&part);
    }
    extras_take(d, &s, on_ready);
    assert_int_equal(s.extra_count, 0);
    assert_text(r, LOWERED);
    deferred_suspend(d);
    submission_deinit(&s);
}

static void assert_attached(const struct http_request *r, uint32_t i, const char *bytes, const char *media_type) {
    const struct job_attachments *a = upload_data(deferred_of(r)->upload);
    assert_non_null(a);
    assert_true(i < a->count && !a->list[i].own);
    const unsigned char *mapped = slice_map(&a->list[i].bytes);
    assert_int_equal(a->list[i].bytes.size, strlen(bytes));
    assert_memory_equal(mapped, bytes, strlen(bytes));
    slice_unmap(&a->list[i].bytes, mapped);
    if (media_type == NULL)
        assert_null(a->list[i].media_type);
    else
        assert_string_equal(a->list[i].media_type, media_type);
}

static struct record *ended_job(enum job_status status, const char *result, const char *media_type) {
    struct record *r = record_new();
    assert_non_null(r);
    r->status = status;
    r->result = slice_copy(result, strlen(result));
    if (media_type != NULL) {
        r->binary = calloc(1, sizeof *r->binary);
        assert_non_null(r->binary);
        strcpy(r->binary->media_type, media_type);
    }
    return r;
}

#define SOME_ID "01927f0e-abcd-7abc-8def-0123456789ab"

static void text_and_memory_become_attachments_behind_the_parts(void **state) {
    (void)state;
    struct http_request r;
    struct host_extra extras[] = {of_text("one"), extra(HOST_EXTRA_BYTES)};
    extras[1].fd = memfd_new("test");
    assert_int_equal(memfd_write(extras[1].fd, "memory", 6), 0);
    extras[1].size = 6;
    with_part = true;
    take(&r, extras, 2);
    with_part = false;
    assert_answered(&r, 200);
    assert_attached(&r, 0, "part", "text/plain");
    assert_attached(&r, 1, "one", NULL);
    assert_attached(&r, 2, "memory", NULL);
    end_request(&r);
}

static void the_result_of_a_job_is_attached_when_the_store_has_found_it(void **state) {
    (void)state;
    struct http_request r;
    struct record *png = ended_job(JOB_SUCCEEDED, "bytes", "image/png"), *json = ended_job(JOB_SUCCEEDED, "{}", NULL);
    take(&r, (struct host_extra[]){of_job(SOME_ID), of_job(SOME_ID)}, 2);
    assert_waits(&r);
    assert_int_equal(state_of(&r), DEFERRED_ASKING);
    answer_get(png);
    assert_waits(&r);
    answer_get(json);
    assert_answered(&r, 200);
    assert_int_equal(ready_count, 1);
    assert_attached(&r, 0, "bytes", "image/png");
    assert_attached(&r, 1, "{}", "application/json");
    assert_ptr_equal(upload_data(deferred_of(&r)->upload)->list[0].bytes.blob, png->result.blob); /* no copy */
    end_request(&r);
    record_unref(png);
    record_unref(json);
}

static void a_job_that_has_no_result_is_422(void **state) {
    (void)state;
    static const enum job_status statuses[] = {JOB_QUEUED, JOB_RUNNING, JOB_FAILED, JOB_CANCELLED};
    struct http_request r;
    for (size_t i = 0; i <= sizeof statuses / sizeof statuses[0]; i++) {
        struct record *record = i < 4 ? ended_job(statuses[i], "", NULL) : NULL;
        take(&r, (struct host_extra[]){of_job(SOME_ID)}, 1);
        assert_waits(&r);
        answer_get(record);
        assert_answered(&r, 422);
        assert_string_equal(r.text, "invalid_params");
        assert_int_equal(ready_count, 0);
        end_request(&r);
        record_unref(record);
    }
    static const char *const names[] = {"", "x", SOME_ID "0", "01927f0e-abcd-7abc-8def-0123456789a"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        take(&r, (struct host_extra[]){of_job(names[i])}, 1);
        assert_answered(&r, 422);
        assert_null(get.found);
        end_request(&r);
    }
}

static void a_client_that_leaves_meanwhile_leaves_nothing_behind(void **state) {
    (void)state;
    struct http_request r;
    struct record *record = ended_job(JOB_SUCCEEDED, "{}", NULL);
    take(&r, (struct host_extra[]){of_job(SOME_ID)}, 1);
    hang_up(&r);
    answer_get(record);
    assert_int_equal(ready_count, 0);
    assert_int_equal(jobs_live(jobs), 0);
    record_unref(record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        API_TEST(text_and_memory_become_attachments_behind_the_parts),
        API_TEST(the_result_of_a_job_is_attached_when_the_store_has_found_it),
        API_TEST(a_job_that_has_no_result_is_422),
        API_TEST(a_client_that_leaves_meanwhile_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
