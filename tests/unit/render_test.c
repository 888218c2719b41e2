/* render_test.c: records, and the documents that are made from them. See server/model/record.c and render.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "server/model/render.h"
#include "tests/unit/fake_pool.h"
#include "tests/unit/toy_types.h"

static json_t *render(const struct record *r, bool with_result) {
    struct buf b = {0};
    render_job(&b, r, &(struct job_view){0}, with_result);
    json_t *o = json_loadb(b.data, b.size, JSON_REJECT_DUPLICATES, NULL);
    if (o == NULL)
        fail_msg("%s", b.data);
    buf_deinit(&b);
    return o;
}

static struct record *ended(enum job_status status) {
    struct record *r = record_new();
    assert_true(id_parse("01927f0e-abcd-7abc-8def-0123456789ab", &r->id));
    r->type = TOY_PLAIN;
    r->status = status;
    r->options.priority = 3;
    r->created_ms = 1000;
    r->started_ms = 1002;
    r->finished_ms = 2000;
    r->expires_ms = 3000;
    r->chunks_done = r->chunks_total = 2;
    r->queued_ns = 2000999;
    r->run_ns = 998000000;
    r->cpu_ns = 1;
    return r;
}

static void a_job_that_succeeded_has_its_result(void **state) {
    (void)state;
    struct record *r = ended(JOB_SUCCEEDED);
    r->result = slice_all(blob_copy("{\"n\":1}", 7));
    json_t *o = render(r, true),
           *expected = json_loads(
               "{\"id\":\"01927f0e-abcd-7abc-8def-0123456789ab\",\"type\":\"plain\",\"status\":\"succeeded\","
               "\"created_at\":\"1970-01-01T00:00:01.000Z\",\"started_at\":\"1970-01-01T00:00:01.002Z\","
               "\"finished_at\":\"1970-01-01T00:00:02.000Z\",\"expires_at\":\"1970-01-01T00:00:03.000Z\","
               "\"progress\":{\"done\":2,\"total\":2},\"attempts\":1,\"priority\":3,\"result\":{\"n\":1},"
               "\"timings\":{\"queued_ms\":2.000,\"run_ms\":998.000,\"cpu_ms\":0.000},"
               "\"links\":{\"self\":\"/v1/jobs/01927f0e-abcd-7abc-8def-0123456789ab\","
               "\"result\":\"/v1/jobs/01927f0e-abcd-7abc-8def-0123456789ab/result\","
               "\"events\":\"/v1/jobs/01927f0e-abcd-7abc-8def-0123456789ab/events\"}}",
               0, NULL);
    assert_true(json_equal(o, expected));
    json_decref(expected);
    json_decref(o);
    o = render(r, false);
    assert_null(json_object_get(o, "result"));
    json_decref(o);
    record_unref(r);
}

static void a_result_that_is_too_large_is_behind_its_link_only(void **state) {
    (void)state;
    struct record *r = ended(JOB_SUCCEEDED);
    char *digits = malloc(RENDER_MAX_INLINE + 1);
    memset(digits, '1', RENDER_MAX_INLINE + 1);
    digits[0] = digits[RENDER_MAX_INLINE - 1] = '"';
    r->result = slice_all(blob_copy(digits, RENDER_MAX_INLINE));
    json_t *o = render(r, true);
    assert_int_equal(json_string_length(json_object_get(o, "result")), RENDER_MAX_INLINE - 2);
    json_decref(o);
    slice_deinit(&r->result);
    r->result = slice_all(blob_copy(digits, RENDER_MAX_INLINE + 1));
    o = render(r, true);
    assert_null(json_object_get(o, "result"));
    json_decref(o);
    free(digits);
    record_unref(r);
}

static void a_job_that_failed_has_its_error_and_its_losses(void **state) {
    (void)state;
    struct record *r = ended(JOB_FAILED);
    buf_puts(&r->error, "{\"code\":\"worker_crashed\"}");
    buf_puts(&r->lost, "{\"cause\":\"signal\"},{\"cause\":\"exit\"}");
    r->lost_count = 2;
    r->attempts = 3;
    json_t *o = render(r, true);
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "error"), "code")), "worker_crashed");
    assert_int_equal(json_array_size(json_object_get(o, "lost")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "attempts")), 3);
    json_decref(o);
    record_unref(r);
}

static void what_is_not_known_yet_is_left_out(void **state) {
    (void)state;
    static const char *const absent[] = {"type",     "started_at", "finished_at", "expires_at",
                                         "progress", "result",     "error",       "lost"};
    struct record *r = record_new();
    r->created_ms = 1;
    json_t *o = render(r, true);
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_null(json_object_get(o, absent[i]));
    assert_null(json_object_get(json_object_get(o, "timings"), "run_ms"));
    json_decref(o);
    record_unref(r);
}

static void the_tag_changes_with_the_document(void **state) {
    (void)state;
    char before[RENDER_ETAG_SIZE], after[RENDER_ETAG_SIZE];
    struct record *r = ended(JOB_SUCCEEDED);
    render_etag(before, r, &(struct job_view){0});
    render_etag(after, r, &(struct job_view){0});
    assert_string_equal(before, after);
    r->version++;
    render_etag(after, r, &(struct job_view){0});
    assert_string_not_equal(before, after);
    assert_int_equal(after[0], '"'); /* If-Match takes strong ones only */
    record_unref(r);
}

/* If-Match takes a tag of another progress, but not of another state. */
static void the_front_of_the_tag_stays_while_the_job_runs(void **state) {
    (void)state;
    char before[RENDER_ETAG_SIZE], after[RENDER_ETAG_SIZE];
    struct record *r = record_new();
    r->status = JOB_RUNNING;
    r->version = 41;
    size_t front = render_etag(before, r, &(struct job_view){.live = true, .fraction = 0.25});
    assert_int_equal(render_etag(after, r, &(struct job_view){.live = true, .fraction = 0.5}), front);
    assert_string_not_equal(before, after);
    assert_memory_equal(before, after, front);
    r->version++;
    assert_int_equal(render_etag(after, r, &(struct job_view){.live = true, .fraction = 0.25}), front);
    assert_memory_not_equal(before, after, front);
    record_unref(r);
}

static void server_timing_has_the_phases(void **state) {
    (void)state;
    char text[RENDER_TIMING_SIZE];
    struct record *r = ended(JOB_SUCCEEDED);
    r->plan_ns = 8000000;
    r->merge_ns = 90000000;
    render_server_timing(text, r);
    assert_string_equal(text, "queue;dur=2.000, plan;dur=8.000, run;dur=900.000, merge;dur=90.000");
    record_unref(r);
}

static void statuses_have_names(void **state) {
    (void)state;
    for (int s = 0; s < JOB_STATUSES; s++)
        assert_int_equal(job_status_find(job_status_name((enum job_status)s)), s);
    assert_int_equal(job_status_find("done"), JOB_STATUSES);
    assert_int_equal(job_status_find(""), JOB_STATUSES);
    assert_false(job_status_is_final(JOB_QUEUED) || job_status_is_final(JOB_RUNNING));
    assert_true(job_status_is_final(JOB_SUCCEEDED) && job_status_is_final(JOB_FAILED) &&
                job_status_is_final(JOB_CANCELLED));
}

static void a_record_lives_until_its_last_owner_lets_go(void **state) {
    (void)state;
    struct record *r = ended(JOB_SUCCEEDED);
    size_t empty = record_bytes(r);
    r->result = slice_all(blob_copy("12345", 5));
    assert_int_equal(record_bytes(r), empty + 5);
    assert_ptr_equal(record_ref(r), r);
    record_unref(r);
    assert_int_equal(blob_held_bytes, 5);
    record_unref(r);
    assert_int_equal(blob_held_bytes, 0);
    record_unref(NULL);
}

static void a_binary_result_shows_its_summary_and_never_its_bytes(void **state) {
    (void)state;
    struct record *r = ended(JOB_SUCCEEDED);
    r->result = slice_all(blob_copy("\x89PNG", 4));
    r->binary = calloc(1, sizeof *r->binary);
    assert_non_null(r->binary);
    strcpy(r->binary->media_type, "multipart/mixed; boundary=\"x\"");
    json_t *o = render(r, true);
    assert_null(json_object_get(o, "result"));
    assert_string_equal(json_string_value(json_object_get(o, "result_media_type")), "multipart/mixed; boundary=\"x\"");
    assert_int_equal(json_integer_value(json_object_get(o, "result_size")), 4);
    json_decref(o);
    buf_puts(&r->binary->summary, "{\"width\":3}");
    o = render(r, true);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "result"), "width")), 3);
    json_decref(o);
    o = render(r, false);
    assert_null(json_object_get(o, "result"));
    json_decref(o);
    assert_int_equal(render_result_size(r), r->binary->summary.size);
    record_unref(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_that_succeeded_has_its_result),
        cmocka_unit_test(a_binary_result_shows_its_summary_and_never_its_bytes),
        cmocka_unit_test(a_result_that_is_too_large_is_behind_its_link_only),
        cmocka_unit_test(a_job_that_failed_has_its_error_and_its_losses),
        cmocka_unit_test(what_is_not_known_yet_is_left_out),
        cmocka_unit_test(the_tag_changes_with_the_document),
        cmocka_unit_test(the_front_of_the_tag_stays_while_the_job_runs),
        cmocka_unit_test(server_timing_has_the_phases),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(a_record_lives_until_its_last_owner_lets_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
