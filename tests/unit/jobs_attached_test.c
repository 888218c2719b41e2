/* jobs_attached_test.c: the attachments of a job: which tasks they go with, who can write to them, what a plan adds to
 * them; and results that are not JSON. See server/jobs/attached.h, send.c and replies.c. */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/unit/jobs_world.h"
#include "tests/unit/store_late.h"

static const struct param_spec in_place[] = {{.name = "data", .kind = PARAM_BYTES, .flags = PARAM_IN_PLACE}, {0}};

/* A memfd that can be written, as http makes it of an upload. */
static struct slice upload(const char *bytes) {
    int fd = memfd_new("upload");
    assert_int_equal(memfd_write(fd, bytes, strlen(bytes)), 0);
    struct blob *b = blob_seal_size(fd, strlen(bytes));
    assert_non_null(b);
    return slice_all(b);
}

static void submit_with(struct client *c, unsigned count, bool asynchronous) {
    struct submission s = plain();
    struct job_attachments a = {0};
    for (unsigned i = 0; i < count; i++) {
        struct slice bytes = upload("0123456789");
        assert_int_equal(attachments_add(&a, &bytes, "image/png", true), 0);
        slice_deinit(&bytes);
    }
    submit_request(c, &(struct job_request){
                          .submission = &s, .attachments = &a, .default_priority = -1, .asynchronous = asynchronous});
    attachments_deinit(&a);
}

/* WIRE_PLANNED, of which chunk i has the attachments from i on, `each` of them; it says that it has made so many. */
static bool say_plan_with(struct fake_sent *s, uint32_t chunks, uint32_t each, uint32_t made) {
    struct wire_plan head = {.type = TOY_PLAIN, .chunks = chunks};
    struct buf body = {0};
    buf_append(&body, &head, sizeof head);
    for (uint32_t i = 0; i < chunks; i++)
        buf_append(&body, &(struct wire_chunk){LONG_NS, 8 * i, 8, i, each}, sizeof(struct wire_chunk));
    for (uint64_t i = 0; i < chunks; i++)
        buf_append(&body, &i, sizeof i);
    bool good = say_with(s, (struct wire_header){.kind = WIRE_PLANNED, .attachments = made}, &body);
    buf_deinit(&body);
    return good;
}

static bool say_made(struct fake_sent *s, const char *bytes) {
    struct slice made = upload(bytes);
    bool good = events.made(events.arg, s->worker, s->task, &made);
    slice_deinit(&made);
    return good;
}

/* WIRE_DONE with a result that is not JSON. */
static bool say_binary(struct fake_sent *s, struct wire_binary b, const char *media_type, const char *summary,
                       const char *bytes) {
    static const char zeros[8];
    struct wire_times times = {1, 2, 3, 4};
    struct buf body = {0};
    b.media_size = b.media_size != 0 ? b.media_size : (uint32_t)strlen(media_type);
    b.summary_size = b.summary_size != 0 ? b.summary_size : (uint32_t)strlen(summary);
    buf_append(&body, &times, sizeof times);
    buf_append(&body, &b, sizeof b);
    buf_puts(&body, media_type);
    buf_append(&body, zeros, WIRE_PAD(strlen(media_type)) - strlen(media_type));
    buf_puts(&body, summary);
    buf_append(&body, zeros, WIRE_PAD(strlen(summary)) - strlen(summary));
    buf_puts(&body, bytes);
    bool good = say_with(s, (struct wire_header){.kind = WIRE_DONE, .flags = WIRE_BINARY}, &body);
    buf_deinit(&body);
    return good;
}

/* ---- which tasks they go with ------------------------------------------------------------------------------------ */

static void they_go_with_the_plan_and_each_chunk_has_its_own(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 3, true);
    dispatch();
    assert_int_equal(LAST->attachments, 3);
    assert_int_equal(LAST->first_attachment, 0);
    assert_true(say_plan_with(LAST, 3, 1, 0));
    for (unsigned i = 0; i < 3; i++) {
        dispatch();
        struct fake_sent *run = find_sent(WIRE_RUN, 0);
        assert_int_equal(run->attachments, 1);
        assert_int_equal(run->first_attachment, chunk_of(run));
        reply_done(run, "part");
    }
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->attachments, 3);
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_range_beyond_the_last_one_is_cut(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 2, true);
    dispatch();
    assert_true(say_plan_with(LAST, 2, UINT32_MAX, 0));
    dispatch();
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(find_sent(WIRE_RUN, i)->attachments, 2 - (unsigned)chunk_of(find_sent(WIRE_RUN, i)));
    cancel_all(&c);
}

/* ---- who can write ----------------------------------------------------------------------------------------------- */

static int seals_of(const struct job *job) {
    return fcntl(job->attachments.list[0].bytes.blob->fd, F_GET_SEALS);
}

static void a_type_that_does_not_write_gets_them_sealed(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 1, false);
    dispatch();
    assert_false(LAST->own);
    assert_true((seals_of(c.job) & F_SEAL_WRITE) != 0);
    assert_int_equal(LAST->header.flags, WIRE_GO);
    reply_done(LAST, "{}");
    leave(&c);
}

static void a_job_in_place_is_not_run_in_one_go_and_not_stored_once_it_runs(void **state) {
    (void)state;
    struct client c;
    toy_plain.params = in_place;
    submit_with(&c, 1, false);
    dispatch();
    assert_true(LAST->own);
    assert_int_equal(LAST->header.flags, 0);
    assert_false(job_works_in_place(c.job));
    assert_true(say_plan_with(LAST, 1, UINT32_MAX, 0));
    dispatch();
    assert_true(find_sent(WIRE_RUN, 0)->own);
    assert_true(job_works_in_place(c.job));
    reply_done(find_sent(WIRE_RUN, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
    toy_plain.params = NULL;
}

static void a_job_that_is_stored_or_asynchronous_never_works_in_place(void **state) {
    (void)state;
    struct client c, other;
    toy_plain.params = in_place;
    submit_with(&c, 1, false);
    make_durable(&c);
    assert_true((seals_of(c.job) & F_SEAL_WRITE) != 0);
    dispatch();
    assert_false(LAST->own);
    submit_with(&other, 1, true);
    dispatch();
    assert_false(LAST->own);
    assert_true((seals_of(other.job) & F_SEAL_WRITE) != 0);
    job_cancel(c.job);
    job_cancel(other.job);
    reply_cancelled(find_sent(WIRE_PLAN, 0));
    reply_cancelled(find_sent(WIRE_PLAN, 0));
    leave(&c);
    leave(&other);
    toy_plain.params = NULL;
}

static void a_map_never_works_in_place_because_its_calls_can_share_data(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    struct job_attachments a = {0};
    struct slice bytes = upload("0123456789");
    toy_plain.params = in_place;
    s.map = true;
    s.items = 2;
    assert_int_equal(attachments_add(&a, &bytes, NULL, true), 0);
    submit_request(&c, &(struct job_request){.submission = &s, .attachments = &a, .default_priority = -1});
    dispatch();
    assert_false(LAST->own);
    assert_true((seals_of(c.job) & F_SEAL_WRITE) != 0);
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_PLAN, 0));
    leave(&c);
    slice_deinit(&bytes);
    attachments_deinit(&a);
    toy_plain.params = NULL;
}

/* ---- what a plan makes ------------------------------------------------------------------------------------------- */

static void what_a_plan_makes_goes_with_the_chunks(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 1, true);
    dispatch();
    assert_true(say_made(LAST, "journal"));
    assert_true(say_plan_with(LAST, 1, UINT32_MAX, 1));
    dispatch();
    assert_int_equal(find_sent(WIRE_RUN, 0)->attachments, 2);
    reply_done(find_sent(WIRE_RUN, 0), "{}");
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_plan_that_is_lost_leaves_nothing_behind(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 1, true);
    dispatch();
    assert_true(say_made(LAST, "journal"));
    die(LAST, true, "signal");
    dispatch();
    assert_int_equal(LAST->attachments, 1);
    assert_true(say_made(LAST, "journal"));
    assert_false(say_plan_with(LAST, 1, 1, 2)); /* it has said one only */
    assert_true(say_plan_with(LAST, 1, UINT32_MAX, 1));
    dispatch();
    assert_int_equal(find_sent(WIRE_RUN, 0)->attachments, 2);
    cancel_all(&c);
}

static void a_lost_plan_that_backs_off_leaves_nothing_behind(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit_with(&c, 1, true);
    dispatch();
    assert_true(say_made(LAST, "journal"));
    die(LAST, true, "signal");
    assert_int_equal(c.job->attachments.count, 1);
    end_backoffs(c.job);
    dispatch();
    assert_int_equal(LAST->attachments, 1);
    cancel_all(&c);
}

static void a_run_cannot_make_any(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_false(say_made(find_sent(WIRE_RUN, 0), "x"));
    cancel_all(&c);
}

static void a_plan_that_has_made_some_is_not_stored_nor_are_its_parts(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 1, true);
    dispatch();
    assert_true(say_made(LAST, "journal"));
    assert_true(say_plan_with(LAST, 2, UINT32_MAX, 1));
    make_durable(&c);
    answer_store(STORE_OK);
    dispatch();
    reply_done(find_sent(WIRE_RUN, 0), "a");
    assert_string_equal(late.calls, "Su"); /* neither p nor c */
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    answer_store(STORE_OK);
    leave(&c);
}

/* ---- results that are not JSON ----------------------------------------------------------------------------------- */

static void assert_binary(const struct client *c, const char *media_type, const char *summary, const char *bytes) {
    assert_ended(c, JOB_SUCCEEDED);
    assert_non_null(c->record->binary);
    assert_string_equal(c->record->binary->media_type, media_type);
    assert_int_equal(c->record->binary->summary.size, strlen(summary));
    assert_memory_equal(c->record->binary->summary.data, summary, strlen(summary));
    assert_result(c, bytes);
}

static void a_result_comes_with_its_media_type_and_summary(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    assert_true(
        say_binary(LAST, (struct wire_binary){.source = WIRE_FROM_BODY, .size = 5}, "image/png", "{\"a\":1}", "bytes"));
    assert_binary(&c, "image/png", "{\"a\":1}", "bytes");
    leave(&c);
}

static void a_result_is_a_piece_of_a_part(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    struct fake_sent *merge = find_sent(WIRE_MERGE, 0);
    struct wire_binary b = {.source = WIRE_FROM_PART, .index = 2, .size = 1};
    assert_false(say_binary(merge, b, "a/b", "", "")); /* there are two parts */
    b = (struct wire_binary){.source = WIRE_FROM_PART, .index = 1, .offset = 1, .size = 1};
    assert_false(say_binary(merge, b, "a/b", "", "")); /* of one byte */
    b = (struct wire_binary){.source = WIRE_FROM_PART, .index = 1, .offset = 0, .size = 1};
    assert_true(say_binary(merge, b, "a/b", "", ""));
    assert_binary(&c, "a/b", "", "b");
    leave(&c);
}

static void a_result_is_a_piece_of_an_attachment(void **state) {
    (void)state;
    struct client c;
    submit_with(&c, 1, false);
    dispatch();
    struct wire_binary b = {.source = WIRE_FROM_ATTACHMENT, .index = 1, .size = 1};
    assert_false(say_binary(LAST, b, "a/b", "", ""));
    b = (struct wire_binary){.source = WIRE_FROM_ATTACHMENT, .offset = 4, .size = 7};
    assert_false(say_binary(LAST, b, "a/b", "", ""));
    b = (struct wire_binary){.source = WIRE_FROM_ATTACHMENT, .offset = UINT64_MAX, .size = 2};
    assert_false(say_binary(LAST, b, "a/b", "", ""));
    b = (struct wire_binary){.source = WIRE_FROM_ATTACHMENT, .offset = 4, .size = 6};
    assert_true(say_binary(LAST, b, "a/b", "", ""));
    assert_binary(&c, "a/b", "", "456789");
    leave(&c);
}

static void results_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct client c;
    const struct wire_binary good = {.source = WIRE_FROM_BODY, .size = 1};
    struct wire_binary bad = good;
    submit(&c, false);
    dispatch();
    assert_false(say_binary(LAST, good, "a/b\r\nX: y", "", "x")); /* it would be another header field */
    assert_false(say_binary(LAST, good, "text", "", "x"));
    assert_false(say_binary(LAST, good, "", "", "x"));
    bad.size = 2;
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    bad = good;
    bad.source = 9;
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    bad.source = WIRE_FROM_PART; /* this is no merge */
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    bad = good;
    bad.media_size = 100;
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    bad.media_size = UINT32_MAX;
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    bad = good;
    bad.summary_size = UINT32_MAX - 6;
    assert_false(say_binary(LAST, bad, "a/b", "", "x"));
    struct buf brief = {0};
    buf_append(&brief, &(struct wire_times){0}, sizeof(struct wire_times));
    assert_false(say_with(LAST, (struct wire_header){.kind = WIRE_DONE, .flags = WIRE_BINARY}, &brief));
    buf_deinit(&brief);
    reply_done(LAST, "{}");
    leave(&c);
}

static void a_part_cannot_be_a_result(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    const struct wire_binary b = {.source = WIRE_FROM_BODY, .size = 1};
    assert_false(say_binary(find_sent(WIRE_RUN, 0), b, "a/b", "", "x"));
    cancel_all(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(they_go_with_the_plan_and_each_chunk_has_its_own),
        JOBS_TEST(a_range_beyond_the_last_one_is_cut),
        JOBS_TEST(a_type_that_does_not_write_gets_them_sealed),
        JOBS_TEST(a_job_in_place_is_not_run_in_one_go_and_not_stored_once_it_runs),
        JOBS_TEST(a_job_that_is_stored_or_asynchronous_never_works_in_place),
        JOBS_TEST(a_map_never_works_in_place_because_its_calls_can_share_data),
        JOBS_TEST(what_a_plan_makes_goes_with_the_chunks),
        JOBS_TEST(a_plan_that_is_lost_leaves_nothing_behind),
        JOBS_TEST(a_lost_plan_that_backs_off_leaves_nothing_behind),
        JOBS_TEST(a_run_cannot_make_any),
        JOBS_TEST_LATE(a_plan_that_has_made_some_is_not_stored_nor_are_its_parts),
        JOBS_TEST(a_result_comes_with_its_media_type_and_summary),
        JOBS_TEST(a_result_is_a_piece_of_a_part),
        JOBS_TEST(a_result_is_a_piece_of_an_attachment),
        JOBS_TEST(results_that_make_no_sense_are_refused),
        JOBS_TEST(a_part_cannot_be_a_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
