/* jobs_query_test.c: the bounds within which jobs are accepted; how jobs are looked up, wherever they are; and how
 * clients wait for them. See server/jobs/submit.c, query.c and job.c. */
#include "tests/unit/jobs_world.h"

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static int try_submit(enum problem_code *why) {
    struct job *job;
    struct submission s = plain();
    buf_puts(&s.params, "0123456789");
    struct job_request q = {.submission = &s, .default_priority = -1};
    int rc = jobs_submit(jobs, &q, &job, why);
    buf_deinit(&s.params);
    return rc;
}

/* New jobs get three quarters of the memory. */
static void set_limit_of_new(size_t bytes) {
    held_set_limit(bytes / 3 * 4 + 4);
}

static void jobs_beyond_the_queue_are_not_accepted(void **state) {
    (void)state;
    enum problem_code why;
    config.max_queue = 2;
    jobs_configure(jobs, &config);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(try_submit(&why), -1);
    assert_int_equal(why, PROBLEM_QUEUE_FULL);
    assert_string_equal(metrics.rejected[0].label, "queue_full");
    dispatch();
    reply_done(find_sent(WIRE_PLAN, 0), "1");
    assert_int_equal(try_submit(&why), 0);
}

/* delay_ms 0: not delayed. */
static int try_delayed(struct job **job, int64_t delay_ms, enum problem_code *why) {
    struct submission s = plain();
    s.options.delay_ms = delay_ms;
    struct job_request q = {.submission = &s, .default_priority = -1};
    return jobs_submit(jobs, &q, job, why);
}

static void delayed_jobs_have_a_bound_of_their_own(void **state) {
    (void)state;
    enum problem_code why;
    struct job *a, *b, *c, *now[2];
    config.max_queue = 2;
    config.max_delayed = 3;
    jobs_configure(jobs, &config);
    assert_int_equal(try_delayed(&a, 3000000, &why), 0);
    assert_int_equal(try_delayed(&b, 20000, &why), 0);
    assert_int_equal(try_delayed(&c, 40000, &why), 0);
    assert_int_equal(try_delayed(&now[0], 1000, &why), -1);
    assert_int_equal(why, PROBLEM_QUEUE_FULL);
    assert_in_range(jobs_delayed_retry_after_s(jobs), 19, 20);
    assert_int_equal(try_delayed(&now[0], 0, &why), 0);
    assert_int_equal(try_delayed(&now[1], 0, &why), 0);
    assert_int_equal(try_delayed(&now[1], 0, &why), -1);
    fire(&b->timer); /* it is due: it counts from now on, although the queue is full */
    assert_in_range(jobs_delayed_retry_after_s(jobs), 39, 40);
    job_cancel(c);
    assert_in_range(jobs_delayed_retry_after_s(jobs), 2998, 3000);
    job_cancel(now[0]);
    assert_int_equal(try_delayed(&now[0], 0, &why), -1); /* b and the other one */
    assert_int_equal(try_delayed(&c, 40000, &why), 0);
    assert_int_equal(try_delayed(&c, 40000, &why), 0);
    assert_int_equal(try_delayed(&c, 40000, &why), -1);
    assert_int_equal(jobs->delayed_count, 3);
    while (jobs->live != NULL)
        job_cancel(jobs->live);
    assert_int_equal(jobs->delayed_count, 0);
    assert_int_equal(jobs_delayed_retry_after_s(jobs), 1);
}

/* It is compared with a search through all jobs. */
static void the_delayed_job_that_is_due_first_is_known(void **state) {
    (void)state;
    uint32_t random = 1;
    enum problem_code why;
    for (int i = 0; i < 3000; i++) {
        struct job *job, *next;
        int64_t first_ns = 0;
        random = random * 1664525 + 1013904223;
        if (random >> 30 != 0)
            assert_int_equal(try_delayed(&job, 1 + (random >> 8) % 1000000, &why), 0);
        else if (jobs->delayed_count > 0)
            job_cancel(jobs->delayed[(random >> 8) % jobs->delayed_count]);
        if (i == 1500) /* from here on they become fewer */
            while (jobs->delayed_count > 700)
                job_cancel(jobs->delayed[jobs->delayed_count / 2]);
        HASH_ITER(hh, jobs->live, job, next) {
            first_ns = first_ns == 0 || job->due_ns < first_ns ? job->due_ns : first_ns;
        }
        assert_int_equal(jobs->delayed_count == 0 ? 0 : jobs->delayed[0]->due_ns, first_ns);
    }
    while (jobs->live != NULL)
        job_cancel(jobs->live);
}

/* The delay of a raw body is known when a worker has parsed it. */
static void a_raw_body_that_is_one_delayed_job_too_many_is_not_accepted(void **state) {
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        enum problem_code why;
        struct job *delayed;
        struct client c;
        struct submission s = plain();
        s.options.delay_ms = 60000;
        config.max_delayed = 1;
        jobs_configure(jobs, &config);
        assert_int_equal(try_delayed(&delayed, 60000, &why), 0);
        submit_raw(&c, -1);
        if (durable)
            make_durable(&c); /* it was answered 202, so it is not lost */
        dispatch();
        while (find_sent(WIRE_PLAN, 1) != NULL)
            reply_plan(find_sent(WIRE_PLAN, 0), 1, SHORT_NS);
        reply_plan_of(find_sent(WIRE_PLAN, 0), 1, SHORT_NS, &s);
        assert_int_equal(c.ended, !durable);
        assert_int_equal(c.rejected, !durable);
        if (durable)
            job_cancel(c.job);
        else
            assert_problem(&c, "queue_full");
        job_cancel(delayed);
        assert_int_equal(jobs->delayed_count, 0);
        leave(&c);
    }
}

static void results_are_evicted_for_new_jobs_and_then_jobs_are_not_accepted(void **state) {
    (void)state;
    struct client c;
    enum problem_code why;
    submit(&c, false);
    dispatch();
    reply_done(LAST, "0123456789");
    struct id id = c.record->id;
    leave(&c);
    assert_int_equal(blob_held_bytes, 10);
    size_t before = held_total;
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(blob_held_bytes, 20);
    size_t one = held_total - before;
    set_limit_of_new(held_total + one - 10);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(blob_held_bytes, 20);
    assert_int_equal(try_submit(&why), -1);
    assert_int_equal(why, PROBLEM_OVER_MEMORY);
    assert_string_equal(metrics.rejected[0].label, "over_memory");
    assert_null(jobs_find(jobs, &id, NULL));
}

/* ---- memory runs out --------------------------------------------------------------------------------------------- */

static bool no_memory; /* for strdup, which this program replaces */

char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = no_memory ? NULL : malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

static void a_job_is_not_accepted_without_its_trace_or_its_webhook(void **state) {
    (void)state;
    char url[] = "https://example.com/";
    for (int i = 0; i < 2; i++) {
        enum problem_code why = PROBLEM_COUNT;
        struct job *job;
        struct submission s = plain();
        struct job_request q = {.submission = &s, .default_priority = -1};
        q.trace = i == 0 ? "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" : NULL;
        s.options.webhook = i == 1 ? url : NULL;
        no_memory = true;
        assert_int_equal(jobs_submit(jobs, &q, &job, &why), -1);
        no_memory = false;
        assert_int_equal(why, PROBLEM_INTERNAL_ERROR);
        assert_int_equal(jobs_live(jobs), 0);
    }
}

/* It finds the URL to be bad, and has no memory to say why. */
static int check_without_memory(void *arg, const char *url, struct buf *detail) {
    (void)arg, (void)url;
    detail->failed = true;
    return -1;
}

static void a_raw_body_whose_webhook_cannot_be_checked_is_not_planned(void **state) {
    (void)state;
    struct client c;
    char url[] = "https://example.com/";
    struct submission s = plain();
    s.options.webhook = url;
    jobs_set_webhooks(jobs, &(struct jobs_webhooks){.check = check_without_memory});
    submit_raw(&c, -1);
    dispatch();
    reply_plan_of(find_sent(WIRE_PLAN, 0), 1, SHORT_NS, &s); /* it is planned again */
    assert_null(c.record->options.webhook);
    assert_int_equal(c.planned, 0);
    assert_int_equal(c.record->attempts, 1);
    dispatch();
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_PLAN, 0));
    leave(&c);
}

static void a_job_counts_while_it_lives_with_its_chunks_and_what_it_has_lost(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(0, 0);
    submit(&c, true);
    size_t queued = held_bytes[HELD_JOBS];
    assert_true(queued >= sizeof(struct job) + sizeof(struct record));
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 100, LONG_NS);
    size_t planned = held_bytes[HELD_JOBS];
    assert_true(planned >= queued + 100 * sizeof(struct chunk));
    dispatch();
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_true(held_bytes[HELD_JOBS] > planned);
    restart_workers();
    job_cancel(c.job);
    while (find_sent(WIRE_RUN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_RUN, 0));
    assert_int_equal(held_bytes[HELD_JOBS], 0);
    assert_true(held_bytes[HELD_ENDED] >= sizeof(struct record));
    leave(&c);
}

/* The worker's answer is a result in a memfd. */
static void reply_bulk(struct fake_sent *s, size_t size) {
    struct wire_times times = {1, 2, 3, 4};
    char *bytes = calloc(1, size);
    assert_non_null(s);
    struct slice bulk = slice_all(blob_copy_sealed("test", bytes, size));
    free(bytes);
    struct wire_frame f = {{.kind = WIRE_DONE, .ticket = s->header.ticket, .length = sizeof times},
                           (const unsigned char *)&times};
    f.header.flags |= WIRE_BULK;
    assert_true(events.reply(events.arg, s->worker, s->task, &f, &bulk));
    s->answered = true;
    fake_answered(s);
    slice_deinit(&bulk);
}

static void a_result_that_does_not_fit_fails_its_job_alone(void **state) {
    (void)state;
    struct client fits, does_not, small;
    submit(&fits, false);
    submit(&does_not, false);
    submit(&small, false);
    dispatch();
    held_set_limit(held_total + 300000);
    reply_bulk(find_sent(WIRE_PLAN, 0), 200000);
    assert_ended(&fits, JOB_SUCCEEDED);
    reply_bulk(find_sent(WIRE_PLAN, 0), 400000);
    assert_failed(&does_not, "memory_limit");
    reply_done(find_sent(WIRE_PLAN, 0), "1");
    assert_ended(&small, JOB_SUCCEEDED);
    leave(&fits);
    leave(&does_not);
    leave(&small);
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

struct found {
    enum store_result result;
    unsigned count;
    struct id last;
};

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct found *f = arg;
    f->result = result;
    if (record == NULL)
        return;
    assert_true(f->count == 0 || memcmp(&record->id, &f->last, sizeof f->last) < 0);
    f->count++;
    f->last = record->id;
}

static void on_done(void *arg, enum store_result result) {
    *(enum store_result *)arg = result;
}

static enum store_result look_up_as(const char *viewer, const struct id *id) {
    struct found f = {STORE_UNAVAILABLE, 0, {{0}}};
    jobs_get(jobs, id, viewer, on_found, &f);
    assert_int_equal(f.count, f.result == STORE_OK ? 1 : 0);
    return f.result;
}

static enum store_result look_up(const struct id *id) {
    return look_up_as(NULL, id);
}

static enum store_result forget_as(const char *viewer, const struct id *id) {
    enum store_result result = STORE_UNAVAILABLE;
    jobs_forget(jobs, id, viewer, on_done, &result);
    return result;
}

/* Each is older than the one before. */
static unsigned count_listed(const struct record_filter *filter) {
    struct found f = {0};
    jobs_list(jobs, filter, on_found, &f);
    return f.count;
}

static void a_job_is_found_live_then_ended_then_gone(void **state) {
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        struct client c;
        enum store_result result = STORE_UNAVAILABLE;
        submit(&c, true);
        if (durable) {
            make_durable(&c);
            make_durable(&c);
            assert_int_equal(c.answers, 2);
            assert_int_equal(c.result, STORE_OK);
        }
        assert_int_equal(look_up(&c.record->id), STORE_OK);
        job_cancel(c.job);
        assert_int_equal(look_up(&c.record->id), STORE_OK);
        jobs_forget(jobs, &c.record->id, NULL, on_done, &result);
        assert_int_equal(result, STORE_OK);
        assert_int_equal(look_up(&c.record->id), STORE_GONE);
        jobs_forget(jobs, &c.record->id, NULL, on_done, &result);
        assert_int_equal(result, STORE_GONE);
        leave(&c);
    }
    struct id unknown = id_new(clock_wall_ms());
    assert_int_equal(look_up(&unknown), STORE_NOT_FOUND);
}

/* durable: its end is the store's; else it is remembered. */
static void a_job_is_found_by_its_tenant_alone(void **state) {
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        struct client c;
        submit_of("ann", &c);
        const struct id *id = &c.record->id;
        if (durable)
            make_durable(&c);
        assert_ptr_equal(jobs_find(jobs, id, NULL), c.job);
        assert_ptr_equal(jobs_find(jobs, id, "ann"), c.job);
        assert_null(jobs_find(jobs, id, "bob"));
        for (int ended = 0; ended < 2; ended++) {
            assert_int_equal(look_up_as("ann", id), STORE_OK);
            assert_int_equal(look_up_as("bob", id), STORE_NOT_FOUND);
            assert_int_equal(look_up_as(NULL, id), STORE_OK);
            if (!ended)
                job_cancel(c.job);
        }
        assert_int_equal(forget_as("bob", id), STORE_NOT_FOUND);
        assert_int_equal(look_up_as("ann", id), STORE_OK);
        assert_int_equal(forget_as("ann", id), STORE_OK);
        assert_int_equal(look_up_as("bob", id), STORE_NOT_FOUND);
        assert_int_equal(look_up_as("ann", id), STORE_GONE);
        leave(&c);
    }
}

static void the_list_has_each_job_once_newest_first(void **state) {
    (void)state;
    struct client c[6];
    struct record_filter filter = {.status = -1, .type = -1, .limit = 10};
    memset(&filter.before, 0xFF, sizeof filter.before);
    for (int i = 0; i < 6; i++) {
        submit(&c[i], true);
        if (i % 2 == 0)
            make_durable(&c[i]);
        if (i < 3)
            job_cancel(c[i].job);
    }
    assert_int_equal(count_listed(&filter), 6);
    filter.status = JOB_CANCELLED;
    assert_int_equal(count_listed(&filter), 3);
    filter.status = -1;
    filter.limit = 4;
    assert_int_equal(count_listed(&filter), 4);
    filter.before = c[2].record->id;
    assert_int_equal(count_listed(&filter), 2);
    for (int i = 0; i < 6; i++) {
        if (c[i].job != NULL)
            job_cancel(c[i].job);
        leave(&c[i]);
    }
}

/* Live, remembered and stored. */
static void the_list_for_a_tenant_has_its_own_jobs_alone(void **state) {
    (void)state;
    enum { JOBS = 200 };
    static struct client c[JOBS];
    struct record_filter filter = {.status = -1, .type = -1, .limit = 1000};
    memset(&filter.before, 0xFF, sizeof filter.before);
    for (int i = 0; i < JOBS; i++) {
        submit_of(i % 20 == 0 ? "bob" : "ann", &c[i]);
        if (i % 3 == 0)
            make_durable(&c[i]);
        if (i % 2 == 0)
            job_cancel(c[i].job);
    }
    assert_int_equal(count_listed(&filter), JOBS);
    filter.tenant = "ann";
    assert_int_equal(count_listed(&filter), JOBS - JOBS / 20);
    filter.tenant = "bob";
    assert_int_equal(count_listed(&filter), JOBS / 20);
    filter.before = c[100].record->id;
    assert_int_equal(count_listed(&filter), 5);
    filter.status = JOB_QUEUED;
    assert_int_equal(count_listed(&filter), 0);
    filter.tenant = "";
    assert_int_equal(count_listed(&filter), 0);
    for (int i = 0; i < JOBS; i++) {
        if (c[i].job != NULL)
            job_cancel(c[i].job);
        leave(&c[i]);
    }
}

static unsigned count_of(int status, int64_t type, const struct id *before) {
    struct record_filter filter = {.status = status, .type = type, .before = *before, .limit = 10};
    return count_listed(&filter);
}

/* What is known of a live job changes, and so do the lists that have it. */
static void a_live_job_is_listed_by_what_it_is_now(void **state) {
    (void)state;
    struct client raw, ended;
    struct submission s = plain();
    struct id first;
    memset(&first, 0xFF, sizeof first);
    submit_raw(&raw, -1);
    assert_int_equal(count_of(-1, -1, &first), 1);
    assert_int_equal(count_of(JOB_QUEUED, -1, &first), 1);
    assert_int_equal(count_of(-1, TOY_PLAIN, &first), 0);
    dispatch();
    reply_plan_of(find_sent(WIRE_PLAN, 0), 4, LONG_NS, &s); /* from now on its type is known */
    assert_int_equal(count_of(JOB_QUEUED, TOY_PLAIN, &first), 1);
    assert_int_equal(count_of(JOB_QUEUED, TOY_SHAPE, &first), 0);
    assert_int_equal(count_of(JOB_RUNNING, TOY_PLAIN, &first), 0);
    dispatch();
    assert_int_equal(count_of(JOB_QUEUED, TOY_PLAIN, &first), 0);
    assert_int_equal(count_of(JOB_RUNNING, TOY_PLAIN, &first), 1);
    submit(&ended, true);
    struct id cursor = ended.record->id;
    assert_int_equal(count_of(JOB_QUEUED, TOY_PLAIN, &first), 1);
    assert_int_equal(count_of(-1, TOY_PLAIN, &first), 2);
    job_cancel(ended.job);
    assert_int_equal(count_of(JOB_QUEUED, TOY_PLAIN, &first), 0);
    assert_int_equal(count_of(JOB_CANCELLED, TOY_PLAIN, &first), 1);
    assert_int_equal(count_of(-1, TOY_PLAIN, &cursor), 1); /* the job of a cursor can have ended */
    assert_int_equal(count_of(-1, -1, &raw.record->id), 0);
    cancel_all(&raw);
    leave(&ended);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void all_who_wait_are_notified_of_the_end_and_nobody_else(void **state) {
    (void)state;
    struct client a, b, left;
    submit(&a, false);
    follow(&b, a.job);
    follow(&left, a.job);
    job_unwait(&left.waiter);
    job_unwait(&left.waiter);
    job_cancel(a.job);
    assert_int_equal(a.ended, 1);
    assert_int_equal(b.ended, 1);
    assert_int_equal(left.ended, 0);
    leave(&a);
    leave(&b);
    leave(&left);
}

static void progress_counts_chunks_done_and_what_running_ones_report(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    reply_done(find_sent(WIRE_RUN, 0), "0");
    assert_true(job_look(c.job).fraction > 0.37 && job_look(c.job).fraction < 0.38);
    job_cancel(c.job);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    leave(&c);
}

static void progress_that_was_shown_does_not_fall(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    fake.progress = 0.5;
    reply_done(find_sent(WIRE_RUN, 0), "0");
    dispatch(); /* one done and two at workers */
    double shown = job_look(c.job).fraction;
    assert_true(shown > 0.49 && shown < 0.51);
    fake.progress = 0.1; /* a handler that goes back */
    assert_true(job_look(c.job).fraction == shown);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_true(job_look(c.job).fraction == shown);
    dispatch();
    fake.progress = 0.6;
    assert_true(job_look(c.job).fraction > shown);
    assert_int_equal(c.record->chunks_done, 1);
    cancel_all(&c);
}

/* In ms from now. */
static int64_t estimated_wait_ms(const struct client *c) {
    return job_look(c->job).estimated_start_ms - clock_wall_ms();
}

static void the_estimated_start_is_made_of_what_workers_still_have_to_do(void **state) {
    (void)state;
    struct client first, waits;
    start_chunks(&first, FAKE_MAIN);
    for (unsigned i = 0; i < FAKE_MAIN; i++)
        jobs->long_due_ns[i] = clock_monotonic_ns() + 3600 * NS_PER_S;
    submit(&waits, true);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), 1, LONG_NS);
    assert_in_range(estimated_wait_ms(&waits), 3590000, 3600000); /* two hours, for two workers */
    reply_done(find_sent(WIRE_RUN, 0), "0");                      /* from now on one worker is idle */
    assert_in_range(estimated_wait_ms(&waits) + 1000, 0, 1010);
    cancel_all(&waits);
    job_cancel(first.job);
    reply_cancelled(find_sent(WIRE_RUN, 0));
    leave(&first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(jobs_beyond_the_queue_are_not_accepted),
        JOBS_TEST(delayed_jobs_have_a_bound_of_their_own),
        JOBS_TEST(the_delayed_job_that_is_due_first_is_known),
        JOBS_TEST(a_raw_body_that_is_one_delayed_job_too_many_is_not_accepted),
        JOBS_TEST(a_job_is_not_accepted_without_its_trace_or_its_webhook),
        JOBS_TEST(a_raw_body_whose_webhook_cannot_be_checked_is_not_planned),
        JOBS_TEST(results_are_evicted_for_new_jobs_and_then_jobs_are_not_accepted),
        JOBS_TEST(a_job_counts_while_it_lives_with_its_chunks_and_what_it_has_lost),
        JOBS_TEST(a_result_that_does_not_fit_fails_its_job_alone),
        JOBS_TEST(a_job_is_found_live_then_ended_then_gone),
        JOBS_TEST(a_job_is_found_by_its_tenant_alone),
        JOBS_TEST(the_list_has_each_job_once_newest_first),
        JOBS_TEST(the_list_for_a_tenant_has_its_own_jobs_alone),
        JOBS_TEST(a_live_job_is_listed_by_what_it_is_now),
        JOBS_TEST(all_who_wait_are_notified_of_the_end_and_nobody_else),
        JOBS_TEST(progress_counts_chunks_done_and_what_running_ones_report),
        JOBS_TEST(progress_that_was_shown_does_not_fall),
        JOBS_TEST(the_estimated_start_is_made_of_what_workers_still_have_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
