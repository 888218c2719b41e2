/* deferred_test.c: requests that cannot be answered at once, server/api/deferred.c and submit.c: a client that leaves,
 * a wait that expires, a key that is decided late, a drain, a stream, and a store that answers when it wants to. Each
 * arrow of the diagram in deferred.c is in a test here. */
#include "tests/unit/api_world.h"

/* Plans the raw body that was sent last: two chunks, or a map. */
static void plan(bool map) {
    struct submission s = plain();
    s.map = map;
    s.items = map ? 2 : 0;
    dispatch();
    reply_plan_of(find_sent(WIRE_PLAN, 0), 2, LONG_NS, &s);
}

/* Runs the planned job to its end. */
static void finish_job(void) {
    dispatch();
    reply_done(find_sent(WIRE_RUN, 0), "a");
    reply_done(find_sent(WIRE_RUN, 0), "b");
    dispatch();
    reply_done(find_sent(WIRE_MERGE, 0), "{}");
}

/* Cancels the job and lets the store know; nobody waits for it. */
static void discard(struct job *job) {
    job_cancel(job);
    while (find_sent(WIRE_RUN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_RUN, 0));
    while (find_sent(WIRE_PLAN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_PLAN, 0));
    while (answer_first('\0', STORE_OK))
        continue;
}

/* ---- waiting for a job ------------------------------------------------------------------------------------------- */

static void a_synchronous_request_waits_for_the_end_and_is_counted_until_then(void **state) {
    (void)state;
    struct http_request r;
    post(&r, NULL, NULL);
    assert_waits(&r);
    assert_int_equal(state_of(&r), DEFERRED_WAITING);
    assert_int_equal(server.waiting, 1);
    dispatch();
    reply_plan(LAST, 1, SHORT_NS);
    dispatch();
    reply_done(LAST, "{}");
    assert_answered(&r, 200);
    assert_int_equal(state_of(&r), DEFERRED_IDLE);
    assert_int_equal(server.waiting, 0);
    assert_string_equal(late.calls, "");
    end_request(&r);
}

static void a_202_leaves_when_the_job_is_planned_and_stored(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "respond-async", NULL);
    assert_waits(&r);
    assert_int_equal(server.waiting, 0);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    assert_int_equal(state_of(&r), DEFERRED_STORING);
    assert_waits(&r);
    answer_store(STORE_OK);
    assert_answered(&r, 202);
    assert_non_null(strstr(r.headers, "Preference-Applied: respond-async"));
    end_request(&r);
    discard(jobs->live);
}

static void a_202_becomes_503_if_the_store_fails(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "respond-async", NULL);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    answer_store(STORE_UNAVAILABLE);
    assert_answered(&r, 503);
    end_request(&r);
    while (answer_first('\0', STORE_OK))
        continue;
}

static void a_wait_that_expires_turns_into_a_202(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "wait=1", NULL);
    assert_int_equal(server.waiting, 1);
    expire(&r);
    assert_int_equal(state_of(&r), DEFERRED_STORING);
    assert_int_equal(server.waiting, 0);
    answer_store(STORE_OK);
    assert_answered(&r, 202);
    assert_non_null(strstr(r.headers, "wait=1"));
    end_request(&r);
    discard(jobs->live);
}

/* The end is not on disk yet, and the answer tells of it. */
static void a_job_that_ends_while_it_is_stored_is_answered_when_its_end_is_stored(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "wait=1", NULL);
    struct job *job = job_of(&r);
    expire(&r);
    job_cancel(job);
    answer_store_call('S', STORE_OK);
    assert_int_equal(state_of(&r), DEFERRED_STORING);
    assert_waits(&r);
    answer_store_call('F', STORE_OK);
    assert_answered(&r, 409);
    assert_string_equal(late.calls, "SF");
    end_request(&r);
}

/* A job that a worker has run at once is in the store together with its end before the 202 leaves. */
static void a_202_of_a_job_that_was_run_at_once_tells_its_end(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "respond-async", NULL);
    struct job *job = job_of(&r);
    struct id id = job_record(job)->id;
    dispatch();
    reply_done(LAST, "{}");
    assert_int_equal(state_of(&r), DEFERRED_STORING);
    assert_null(jobs_find(jobs, &id, NULL));
    assert_waits(&r);
    assert_string_equal(late.calls, "S");
    answer_store(STORE_OK);
    assert_answered(&r, 202);
    assert_non_null(strstr(r.headers, "Location: /v1/jobs/"));
    assert_non_null(strstr(r.text, "\"status\":\"succeeded\""));
    assert_string_equal(late.calls, "S");
    end_request(&r);
}

static void a_202_of_a_job_that_was_run_at_once_becomes_503_if_the_store_fails(void **state) {
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        struct http_request r;
        post(&r, "respond-async", NULL);
        dispatch();
        late.trouble = at_once;
        reply_done(LAST, "{}");
        late.trouble = false;
        if (!at_once)
            answer_store(STORE_UNAVAILABLE);
        assert_answered(&r, 503);
        end_request(&r);
        while (answer_first('\0', STORE_OK))
            continue;
        assert_true(jobs_are_drained(jobs));
    }
    assert_string_equal(late.calls, "SXS"); /* the first can have reached the disk */
}

static void a_202_of_a_job_that_fails_at_once_is_in_the_store(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "respond-async", NULL);
    dispatch();
    reply_failed(LAST, "{\"code\":\"handler_failed\",\"detail\":\"x\"}");
    assert_waits(&r);
    answer_store(STORE_OK);
    assert_answered(&r, 202);
    assert_non_null(strstr(r.text, "\"status\":\"failed\""));
    assert_string_equal(late.calls, "S");
    end_request(&r);
}

static void a_poll_that_expires_is_answered_with_the_job_as_it_is(void **state) {
    (void)state;
    struct http_request r, poll;
    post(&r, NULL, NULL);
    ask(&poll, api_get_job, &job_record(job_of(&r))->id, "wait=5");
    assert_int_equal(server.waiting, 2);
    expire(&poll);
    assert_answered(&poll, 200);
    assert_non_null(strstr(poll.text, "queued"));
    end_request(&poll);
    assert_int_equal(server.waiting, 1);
    hang_up(&r);
}

/* As a route does whose job nobody else can get. */
static void post_bare(struct http_request *r) {
    struct submission s = plain();
    struct job *job;
    enum problem_code why;
    *r = (struct http_request){.body = ""};
    struct deferred_request *d = deferred_new(&server, r, REPLY_BARE);
    assert_non_null(d);
    assert_int_equal(jobs_submit(jobs, &(struct job_request){.submission = &s, .default_priority = -1}, &job, &why), 0);
    deferred_wait(d, job, -1);
    deferred_suspend(d);
    assert_waits(r);
    assert_int_equal(server.waiting, 1);
}

static void finish_bare(struct http_request *r) {
    finish_job();
    assert_answered(r, 200);
    assert_string_equal(r->text, "{}");
    assert_int_equal(server.waiting, 0);
    assert_string_equal(late.calls, "");
    end_request(r);
}

static void a_bare_result_is_awaited_without_a_limit_and_never_stored(void **state) {
    (void)state;
    struct http_request r;
    post_bare(&r);
    assert_false(deferred_of(&r)->timer.is_set);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    finish_bare(&r);
}

static void a_client_that_waits_for_a_bare_result_and_leaves_cancels_the_job(void **state) {
    (void)state;
    struct http_request r;
    post_bare(&r);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    dispatch();
    assert_true(deferred_ends_with_fin(&r));
    hang_up(&r);
    while (find_sent(WIRE_RUN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_null(jobs->live);
    assert_string_equal(late.calls, "");
}

static void a_drain_waits_for_a_bare_result(void **state) {
    (void)state;
    struct http_request r;
    post_bare(&r);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    server.draining = true;
    jobs_drain(jobs);
    assert_waits(&r);
    assert_false(jobs_are_drained(jobs));
    finish_bare(&r);
    assert_true(jobs_are_drained(jobs));
}

static void beyond_max_sync_nobody_waits(void **state) {
    (void)state;
    struct http_request first, second;
    server.config.max_sync = 1;
    post(&first, NULL, NULL);
    post(&second, NULL, NULL);
    assert_int_equal(deferred_of(&second)->reply_kind, REPLY_ACCEPTED);
    assert_int_equal(server.waiting, 1);
    hang_up(&second);
    hang_up(&first);
    discard(jobs->live);
}

static void a_deleted_job_that_was_not_remembered_is_gone_all_the_same(void **state) {
    (void)state;
    struct http_request r, delete;
    config.keep_sync = 0;
    jobs_configure(jobs, &config);
    post(&r, NULL, NULL);
    ask(&delete, api_delete_job, &job_record(job_of(&r))->id, NULL);
    assert_answered(&r, 409);
    assert_int_equal(state_of(&delete), DEFERRED_FORGETTING);
    answer_store(STORE_NOT_FOUND);
    assert_answered(&delete, 204);
    end_request(&delete);
    end_request(&r);
}

static void one_that_never_was_cannot_be_deleted(void **state) {
    (void)state;
    struct http_request delete;
    const struct id id = {{1}};
    ask(&delete, api_delete_job, &id, NULL);
    assert_int_equal(state_of(&delete), DEFERRED_ASKING);
    answer_store(STORE_NOT_FOUND);
    assert_answered(&delete, 404);
    end_request(&delete);
}

/* ---- clients that leave ------------------------------------------------------------------------------------------ */

static void a_client_that_leaves_cancels_its_job(void **state) {
    (void)state;
    struct http_request r;
    post(&r, NULL, NULL);
    hang_up(&r);
    assert_int_equal(jobs_live(jobs), 0);
    assert_int_equal(server.waiting, 0);
}

static void a_client_with_a_key_leaves_its_job_to_whoever_repeats_the_request(void **state) {
    (void)state;
    struct http_request r, again;
    post(&r, NULL, "k");
    struct job *job = job_of(&r);
    hang_up(&r);
    assert_string_equal(late.calls, "S");
    assert_string_equal(late.key, "k");
    post(&again, NULL, "k"); /* the key is on its way into the store */
    assert_ptr_equal(job_of(&again), job);
    assert_true(deferred_of(&again)->terms.replayed);
    answer_store(STORE_OK);
    hang_up(&again);
    assert_int_equal(jobs_live(jobs), 1);
    discard(job);
}

static void what_the_store_answers_after_the_client_has_left_reaches_nobody(void **state) {
    (void)state;
    struct http_request stored, deleted;
    const struct id id = {{1}};
    post(&stored, "respond-async", NULL);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    ask(&deleted, api_delete_job, &id, NULL);
    hang_up(&stored);
    hang_up(&deleted);
    answer_store(STORE_OK);
    answer_store(STORE_OK);
    discard(jobs->live);
}

static void a_client_that_leaves_while_its_key_is_looked_up_makes_no_job(void **state) {
    (void)state;
    struct http_request r, next;
    lookup.later = true;
    post(&r, NULL, "k");
    assert_int_equal(state_of(&r), DEFERRED_CLAIMING);
    post(&next, NULL, "k");
    hang_up(&r);
    assert_int_equal(jobs_live(jobs), 0);
    answer_key(STORE_NOT_FOUND, NULL);
    assert_int_equal(state_of(&next), DEFERRED_WAITING);
    assert_int_equal(jobs_live(jobs), 1);
    hang_up(&next);
    discard(jobs->live);
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void a_synchronous_job_with_a_key_is_stored_while_it_is_waited_for(void **state) {
    (void)state;
    struct http_request r;
    post(&r, NULL, "k");
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    assert_string_equal(late.calls, "S");
    assert_true(idempotency_owns(&deferred_of(&r)->claim));
    answer_store(STORE_OK);
    assert_false(idempotency_owns(&deferred_of(&r)->claim));
    assert_waits(&r);
    finish_job();
    assert_waits(&r);
    answer_store_call('F', STORE_OK);
    assert_answered(&r, 200);
    end_request(&r);
}

static void a_wait_that_expires_while_the_key_is_stored_is_answered_after_that(void **state) {
    (void)state;
    struct http_request r;
    post(&r, "wait=1", "k");
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    expire(&r);
    assert_int_equal(state_of(&r), DEFERRED_STORING);
    assert_string_equal(late.calls, "S");
    answer_store(STORE_OK);
    assert_answered(&r, 202);
    end_request(&r);
    discard(jobs->live);
}

static void a_large_body_with_a_key_goes_on_when_the_key_is_its_own(void **state) {
    (void)state;
    struct http_request r;
    lookup.later = true;
    post_large(&r, NULL, "k");
    assert_int_equal(state_of(&r), DEFERRED_UNDECIDED);
    plan(false);
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0)); /* until the key is decided */
    answer_key(STORE_NOT_FOUND, NULL);
    assert_int_equal(state_of(&r), DEFERRED_WAITING);
    answer_store(STORE_OK);
    finish_job();
    answer_store_call('F', STORE_OK);
    assert_answered(&r, 200);
    end_request(&r);
}

static void a_wait_that_expires_before_the_key_is_decided_is_answered_when_it_is(void **state) {
    (void)state;
    for (int planned_first = 0; planned_first < 2; planned_first++) {
        struct http_request r;
        lookup.later = true;
        post_large(&r, "wait=1", "k");
        if (planned_first)
            plan(false);
        expire(&r);
        assert_int_equal(state_of(&r), DEFERRED_EXPIRED);
        assert_waits(&r);
        assert_int_equal(server.waiting, 1);
        if (!planned_first)
            plan(false);
        answer_key(STORE_NOT_FOUND, NULL);
        assert_int_equal(state_of(&r), DEFERRED_STORING);
        assert_int_equal(server.waiting, 0);
        answer_store(STORE_OK);
        assert_answered(&r, 202);
        end_request(&r);
        discard(jobs->live);
    }
}

static void a_large_body_whose_key_is_anothers_is_dropped_for_that_job(void **state) {
    (void)state;
    for (int expired = 0; expired < 2; expired++) {
        struct http_request first, second;
        post(&first, NULL, NULL); /* any job will do */
        struct job *job = job_of(&first);
        lookup.later = true;
        post_large(&second, NULL, "k");
        if (expired)
            expire(&second);
        dispatch();
        reply_plan(find_sent(WIRE_PLAN, 1), 2, LONG_NS);
        answer_key(STORE_OK, &job_record(job)->id);
        assert_int_equal(jobs_live(jobs), 1);
        assert_ptr_equal(job_of(&second), job);
        assert_int_equal(state_of(&second), DEFERRED_WAITING);
        assert_int_equal(server.waiting, 2);
        job_cancel(job);
        reply_cancelled(find_sent(WIRE_PLAN, 0));
        assert_answered(&first, 409);
        assert_answered(&second, 409);
        assert_non_null(strstr(second.headers, "Idempotency-Replayed: true"));
        end_request(&first);
        end_request(&second);
    }
}

/* The client of a large body with a key leaves: at once, when the job is planned, or when the wait has expired. */
static void leave_undecided(struct http_request *r, int when) {
    lookup.later = true;
    post_large(r, NULL, "k");
    if (when == 2)
        expire(r);
    if (when >= 1)
        plan(false);
    hang_up(r);
    assert_int_equal(server.waiting, 0);
    if (when == 0)
        plan(false);
    assert_int_equal(jobs_live(jobs), 1);
    assert_string_equal(late.calls, "");
}

static void a_job_whose_client_left_before_its_key_was_decided_is_stored_and_runs(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct http_request r;
        leave_undecided(&r, when);
        answer_key(STORE_NOT_FOUND, NULL);
        assert_string_equal(late.calls, "S");
        assert_string_equal(late.key, "k");
        answer_store(STORE_OK);
        assert_int_equal(jobs->live->durability, DURABILITY_STORED);
        finish_job();
        answer_store(STORE_OK);
        assert_int_equal(jobs_live(jobs), 0);
        assert_null(strchr(late.calls, 'X'));
        memset(late.calls, 0, sizeof late.calls);
    }
}

static void a_job_whose_client_left_is_dropped_if_it_cannot_have_the_key(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++) {
        static const enum store_result results[] = {STORE_OK, STORE_UNAVAILABLE};
        for (int k = 0; k < 2; k++) {
            struct http_request r;
            const struct id other = id_new(1);
            leave_undecided(&r, when);
            answer_key(results[k], &other);
            assert_int_equal(jobs_live(jobs), 0);
            assert_string_equal(late.calls, "");
        }
    }
}

static void a_job_whose_client_left_can_end_before_its_key_is_decided(void **state) {
    (void)state;
    struct http_request r;
    leave_undecided(&r, 1);
    job_cancel(jobs->live);
    assert_int_equal(jobs_live(jobs), 0);
    answer_key(STORE_NOT_FOUND, NULL);
    assert_string_equal(late.calls, "");
}

/* Nobody is left to hear of it when the process ends. */
static void a_job_whose_client_left_can_be_abandoned(void **state) {
    (void)state;
    struct http_request r;
    lookup.later = true;
    post_large(&r, NULL, "k");
    hang_up(&r);
    assert_int_equal(jobs_live(jobs), 1);
}

static void a_job_that_ends_before_its_key_is_decided_is_the_answer(void **state) {
    (void)state;
    struct http_request r;
    lookup.later = true;
    post_large(&r, NULL, "k");
    plan(false);
    job_cancel(job_of(&r));
    assert_answered(&r, 409);
    end_request(&r);
    answer_key(STORE_NOT_FOUND, NULL);
}

/* The second client's 202 needs the first one's job in the store. The store fails at once, so the job is gone before
 * the first client goes on with it. */
static void a_job_may_be_gone_when_others_have_heard_of_it(void **state) {
    (void)state;
    struct http_request first, second;
    lookup.later = true;
    post_large(&first, NULL, "k");
    post_large(&second, "respond-async", "k");
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    reply_plan(find_sent(WIRE_PLAN, 0), 2, LONG_NS);
    late.trouble = true;
    answer_key(STORE_NOT_FOUND, NULL);
    assert_answered(&first, 503);
    assert_answered(&second, 503);
    assert_int_equal(jobs_live(jobs), 0);
    end_request(&first);
    end_request(&second);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void post_map(struct http_request *r, const char *key) {
    *r = (struct http_request){.large = blob_copy("{...}", 5)};
    add_header(r, "Accept", "application/x-ndjson");
    if (key != NULL)
        add_header(r, "Idempotency-Key", key);
    submit_http(r);
}

static void a_stream_is_counted_until_it_is_over(void **state) {
    (void)state;
    struct http_request r;
    post_map(&r, NULL);
    plan(true);
    assert_answered(&r, 200);
    assert_int_equal(state_of(&r), DEFERRED_STREAMING);
    assert_int_equal(server.waiting, 1);
    dispatch();
    reply_item(find_sent(WIRE_RUN, 0), 0);
    assert_true(r.woken);
    assert_false(read_stream(&r));
    assert_string_equal(r.text, "{\"index\":0,\"status\":\"succeeded\"}\n");
    end_request(&r); /* the client leaves */
    reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_int_equal(jobs_live(jobs), 0);
}

static void a_stream_with_a_key_begins_when_the_key_is_stored(void **state) {
    (void)state;
    struct http_request r;
    post_map(&r, "k");
    plan(true);
    assert_int_equal(state_of(&r), DEFERRED_WAITING);
    answer_store(STORE_OK);
    assert_int_equal(state_of(&r), DEFERRED_STREAMING);
    end_request(&r);
    assert_int_equal(jobs_live(jobs), 1); /* it is to be had by its key */
    discard(jobs->live);
}

/* ---- a drain, and the end of the service ------------------------------------------------------------------------- */

static void a_job_that_a_drain_parks_is_answered_as_it_is(void **state) {
    (void)state;
    struct http_request waits, poll;
    post(&waits, NULL, "k");
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    answer_store(STORE_OK);
    ask(&poll, api_get_job, &job_record(job_of(&waits))->id, "wait=5");
    assert_int_equal(server.waiting, 2);
    server.draining = true;
    jobs_drain(jobs);
    assert_answered(&waits, 202);
    assert_answered(&poll, 200);
    end_request(&waits);
    end_request(&poll);
}

/* As http_close does: it answers 503 itself, and the routes only hear that the request is over. */
static void requests_that_wait_at_the_end_of_the_service_are_freed(void **state) {
    (void)state;
    struct http_request waits, undecided, claiming, storing;
    post(&storing, "respond-async", NULL);
    dispatch();
    reply_plan(LAST, 2, LONG_NS);
    post(&waits, NULL, NULL);
    lookup.later = true;
    post_large(&undecided, NULL, "k");
    post(&claiming, NULL, "l");
    end_request(&waits);
    end_request(&undecided);
    end_request(&claiming);
    end_request(&storing);
    answer_key(STORE_NOT_FOUND, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        API_TEST(a_synchronous_request_waits_for_the_end_and_is_counted_until_then),
        API_TEST(a_202_leaves_when_the_job_is_planned_and_stored),
        API_TEST(a_202_becomes_503_if_the_store_fails),
        API_TEST(a_wait_that_expires_turns_into_a_202),
        API_TEST(a_job_that_ends_while_it_is_stored_is_answered_when_its_end_is_stored),
        API_TEST(a_202_of_a_job_that_was_run_at_once_tells_its_end),
        API_TEST(a_202_of_a_job_that_was_run_at_once_becomes_503_if_the_store_fails),
        API_TEST(a_202_of_a_job_that_fails_at_once_is_in_the_store),
        API_TEST(a_poll_that_expires_is_answered_with_the_job_as_it_is),
        API_TEST(a_bare_result_is_awaited_without_a_limit_and_never_stored),
        API_TEST(a_client_that_waits_for_a_bare_result_and_leaves_cancels_the_job),
        API_TEST(a_drain_waits_for_a_bare_result),
        API_TEST(beyond_max_sync_nobody_waits),
        API_TEST(a_deleted_job_that_was_not_remembered_is_gone_all_the_same),
        API_TEST(one_that_never_was_cannot_be_deleted),
        API_TEST(a_client_that_leaves_cancels_its_job),
        API_TEST(a_client_with_a_key_leaves_its_job_to_whoever_repeats_the_request),
        API_TEST(what_the_store_answers_after_the_client_has_left_reaches_nobody),
        API_TEST(a_client_that_leaves_while_its_key_is_looked_up_makes_no_job),
        API_TEST(a_synchronous_job_with_a_key_is_stored_while_it_is_waited_for),
        API_TEST(a_wait_that_expires_while_the_key_is_stored_is_answered_after_that),
        API_TEST(a_large_body_with_a_key_goes_on_when_the_key_is_its_own),
        API_TEST(a_wait_that_expires_before_the_key_is_decided_is_answered_when_it_is),
        API_TEST(a_large_body_whose_key_is_anothers_is_dropped_for_that_job),
        API_TEST(a_job_whose_client_left_before_its_key_was_decided_is_stored_and_runs),
        API_TEST(a_job_whose_client_left_is_dropped_if_it_cannot_have_the_key),
        API_TEST(a_job_whose_client_left_can_end_before_its_key_is_decided),
        API_TEST(a_job_whose_client_left_can_be_abandoned),
        API_TEST(a_job_that_ends_before_its_key_is_decided_is_the_answer),
        API_TEST(a_job_may_be_gone_when_others_have_heard_of_it),
        API_TEST(a_stream_is_counted_until_it_is_over),
        API_TEST(a_stream_with_a_key_begins_when_the_key_is_stored),
        API_TEST(a_job_that_a_drain_parks_is_answered_as_it_is),
        API_TEST(requests_that_wait_at_the_end_of_the_service_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
