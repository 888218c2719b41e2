/* jobs_durable_test.c: what the jobs and their store say to each other, server/jobs_submit.c, jobs.c and jobs_recover.c:
 * over a store that answers late, or says that it cannot write, at every moment; and from one process to the next over
 * a store in memory, which is kept while the jobs around it are freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/jobs/backoff.h"
#include "server/jobs/end.h"
#include "server/jobs/poison.h"
#include "tests/unit/fake_pool.h"
#include "tests/unit/store_kept.h"
#include "tests/unit/toy_types.h"

#define LONG_NS (40 * NS_PER_MS)
#define LAST    (&fake.sent[fake.count - 1])

static const struct jobs_config config = {.job_timeout_ns = 60 * NS_PER_S,
                                          .result_ttl_ms = 3600000,
                                          .express_cost_ns = 5 * NS_PER_MS,
                                          .max_queue = 4096,
                                          .max_memory = 64 << 20,
                                          .keep_sync = 1000,
                                          .max_json_depth = 64,
                                          .persistent = true};
static struct loop *loop;
static struct jobs *jobs;
static struct metrics metrics;
static struct pool_events events;

/* ---- a store that answers when it is told to ----------------------------------------------------------------------- */

static struct late {
    struct store store;
    char calls[256]; /* a letter for each: S submit, F finish, X forget, D delivered, c complete, u update, p plan */
    struct {
        store_done *done;
        void *arg;
    } open[32]; /* to be answered, in the order of the calls */
    unsigned first, count;
    bool trouble; /* says STORE_UNAVAILABLE at once */
    char key[32]; /* of the submission */
} late;

static void note(char call) {
    size_t n = strlen(late.calls);
    if (n + 1 < sizeof late.calls)
        late.calls[n] = call;
}

static void answer_later(char call, store_done *done, void *arg) {
    note(call);
    if (late.trouble) {
        done(arg, STORE_UNAVAILABLE);
        return;
    }
    late.open[late.count].done = done;
    late.open[late.count++].arg = arg;
}

static void answer_store(enum store_result result) {
    assert_true(late.first < late.count);
    unsigned i = late.first++;
    late.open[i].done(late.open[i].arg, result);
}

static void late_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg) {
    (void)s, (void)r;
    snprintf(late.key, sizeof late.key, "%s", in->key == NULL ? "none" : in->key->key);
    answer_later('S', done, arg);
}

static void late_plan(struct store *s, struct record *r, const struct slice *plan) {
    (void)s, (void)r, (void)plan;
    note('p');
}

static void late_update(struct store *s, struct record *r) {
    (void)s, (void)r;
    note('u');
}

static void late_lost(struct store *s, struct record *r, uint32_t chunk, uint32_t attempt) {
    (void)s, (void)r, (void)chunk, (void)attempt;
    note('l');
}

static void late_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                          const struct slice *p) {
    (void)s, (void)id, (void)chunk, (void)attempt, (void)p;
    note('c');
}

static void late_finish(struct store *s, struct record *r, const struct delivery *d, store_done *done, void *arg) {
    (void)s, (void)r, (void)d;
    answer_later('F', done, arg);
}

static void late_forget(struct store *s, const struct id *id, store_done *done, void *arg) {
    (void)s, (void)id;
    answer_later('X', done, arg);
}

static int64_t late_gc(struct store *s, int64_t now_ms) {
    (void)s, (void)now_ms;
    return 0;
}

static void late_close(struct store *s) {
    (void)s;
    while (late.first < late.count)
        answer_store(STORE_UNAVAILABLE);
}

static const struct store_ops late_ops = {.submit = late_submit,
                                          .plan = late_plan,
                                          .update = late_update,
                                          .lost = late_lost,
                                          .complete = late_complete,
                                          .finish = late_finish,
                                          .forget = late_forget,
                                          .gc = late_gc,
                                          .close = late_close};

/* ---- the world around the jobs ------------------------------------------------------------------------------------- */

static void open_jobs(struct store *store) {
    fake_open();
    loop = loop_new();
    jobs =
        jobs_new(loop, &config, &metrics, store, store_memory_open(&(struct store_limits){.max_ended = 1000}, false));
    jobs_set_pool(jobs, &fake);
    events = jobs_pool_events(jobs);
}

static void close_jobs(void) {
    if (jobs_live(jobs) == 0) {
        assert_int_equal(jobs->running_count, 0);
        assert_int_equal(jobs->transient_count, 0);
        for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
            assert_int_equal(jobs->queued[i], 0);
        for (unsigned i = 0; i < SCHED_CLASSES; i++)
            assert_int_equal(jobs->scheduler.count[i], 0);
    }
    jobs_free(jobs);
    loop_free(loop);
    fake_close();
}

static int open_late(void **state) {
    (void)state;
    log_threshold = LOG_ERROR + 1;
    late = (struct late){.store = {&late_ops}};
    open_jobs(&late.store);
    return 0;
}

static int close_late(void **state) {
    (void)state;
    close_jobs();
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

struct client {
    struct job_waiter waiter;
    struct record *record;
    struct job *job; /* NULL once it ended */
    unsigned parked, ended;
    bool refused;
    unsigned answers; /* of the store */
    enum store_result result;
};

static void on_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = (struct client *)w; /* the first member */
    c->parked += event == JOB_PARKED;
    if (event != JOB_ENDED)
        return;
    c->ended++;
    c->refused = job_is_store_failed(job);
    c->job = NULL;
}

static void on_done(void *arg, enum store_result result) {
    struct client *c = arg;
    c->answers++;
    c->result = result;
}

static void follow(struct client *c, struct job *job) {
    *c = (struct client){.waiter = {.notify = on_event}, .record = record_ref(job_record(job)), .job = job};
    job_wait(job, &c->waiter);
}

static void leave(struct client *c) {
    job_unwait(&c->waiter);
    record_unref(c->record);
}

static void submit_as(struct client *c, const char *key, bool fresh) {
    struct submission s = {.type = TOY_PLAIN};
    options_init(&s.options);
    s.options.isolated = fresh;
    struct store_key k = {.tenant = "", .key = key, .ttl_ms = 1000};
    struct job_request q = {
        .submission = &s, .default_priority = -1, .asynchronous = true, .key = key == NULL ? NULL : &k};
    struct job *job;
    enum problem_code why;
    buf_puts(&s.params, "params");
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    buf_deinit(&s.params);
    follow(c, job);
}

static void submit(struct client *c) {
    submit_as(c, NULL, false);
}

static void make_durable(struct client *c) {
    struct slice body = slice_all(blob_copy("{}", 2));
    job_make_durable(c->job, &body, on_done, c);
    slice_deinit(&body);
}

static void dispatch(void) {
    jobs->dirty = true;
    jobs_dispatch(jobs);
}

static void answer(struct fake_sent *s, uint8_t kind, const struct buf *body) {
    const struct slice nothing = {NULL, 0, 0};
    struct wire_frame f = {{.kind = kind, .ticket = s->header.ticket, .length = (uint32_t)body->size},
                           (unsigned char *)body->data};
    assert_true(events.reply(events.arg, s->worker, s->task, &f, &nothing));
    s->answered = true;
    fake_answered(s);
}

static void done(struct fake_sent *s, const char *text) {
    struct wire_times times = {1, 2, 3, 4};
    struct buf body = {0};
    buf_append(&body, &times, sizeof times);
    buf_puts(&body, text);
    answer(s, WIRE_DONE, &body);
    buf_deinit(&body);
}

static void planned(struct fake_sent *s, uint32_t chunks) {
    static const uint8_t no_hash[32];
    struct submission raw = {.type = TOY_PLAIN};
    struct buf b = {0}, submission = {0};
    options_init(&raw.options);
    if ((s->header.flags & WIRE_RAW) != 0)
        host_write_submission(&raw, no_hash, &submission);
    struct wire_plan head = {.type = TOY_PLAIN, .chunks = chunks, .submission_size = (uint32_t)submission.size};
    buf_append(&b, &head, sizeof head);
    for (uint64_t i = 0; i < chunks; i++)
        buf_append(&b, &(struct wire_chunk){LONG_NS, 8 * i, 8}, sizeof(struct wire_chunk));
    buf_append(&b, submission.data, submission.size);
    for (uint64_t i = 0; i < chunks; i++)
        buf_append(&b, &i, sizeof i);
    answer(s, WIRE_PLANNED, &b);
    buf_deinit(&submission);
    buf_deinit(&b);
}

static void die(struct fake_sent *s) {
    const struct death d = {.cause = "signal", .signal = 9, .exit_code = -1, .stderr_tail = ""};
    s->answered = true;
    fake_answered(s);
    events.lost(events.arg, s->worker, s->task, true, &d);
    fake_exit(s->worker, &events, NULL);
}

static struct fake_sent *find_sent(uint8_t kind) {
    for (size_t i = 0; i < fake.count; i++)
        if (fake.sent[i].header.kind == kind && !fake.sent[i].answered)
            return &fake.sent[i];
    return NULL;
}

static void run_to_end(void) {
    while (jobs_live(jobs) > 0) {
        struct fake_sent *s;
        dispatch();
        if ((s = find_sent(WIRE_PLAN)) != NULL)
            planned(s, 2);
        else if ((s = find_sent(WIRE_RUN)) != NULL)
            done(s, "1");
        else if ((s = find_sent(WIRE_MERGE)) != NULL)
            done(s, "2");
        else
            fail_msg("nothing to do for a job that lives");
    }
}

/* ---- into the store ---------------------------------------------------------------------------------------------- */

static void who_is_refused_at_once_leaves_nothing_in_the_store(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    late.trouble = true;
    make_durable(&c);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(c.ended, 1);
    assert_true(c.refused);
    assert_string_equal(late.calls, "S"); /* else a store in trouble would collect the ends of jobs that never were */
    assert_true(jobs_are_drained(jobs));
    leave(&c);
}

static void who_is_refused_later_is_forgotten_in_case_it_was_written(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    answer_store(STORE_UNAVAILABLE);
    assert_int_equal(c.result, STORE_UNAVAILABLE);
    assert_int_equal(c.ended, 0);
    answer_store(STORE_OK);
    assert_int_equal(c.ended, 1);
    assert_true(c.refused);
    assert_string_equal(late.calls, "SFX");
    leave(&c);
}

static void a_repeat_waits_for_the_first_and_shares_its_fate(void **state) {
    (void)state;
    for (int good = 0; good < 2; good++) {
        struct client c;
        submit(&c);
        make_durable(&c);
        late.trouble = true;
        make_durable(&c);
        assert_int_equal(c.answers, 0);
        assert_int_equal(c.ended, 0);
        late.trouble = false;
        answer_store(good ? STORE_OK : STORE_UNAVAILABLE);
        assert_int_equal(c.answers, 2);
        assert_int_equal(c.result, good ? STORE_OK : STORE_UNAVAILABLE);
        if (good)
            job_cancel(c.job);
        answer_store(STORE_OK); /* its end */
        assert_int_equal(c.ended, 1);
        assert_int_equal(c.refused, !good);
        if (!good)
            answer_store(STORE_OK); /* forgotten */
        leave(&c);
    }
}

static void what_the_store_has_is_not_refused_when_it_is_in_trouble(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    answer_store(STORE_OK);
    late.trouble = true;
    make_durable(&c);
    assert_int_equal(c.answers, 2);
    assert_int_equal(c.result, STORE_OK);
    run_to_end();
    assert_int_equal(c.ended, 1);
    assert_false(c.refused);
    assert_int_equal(c.record->status, JOB_SUCCEEDED);
    leave(&c);
}

/* The submission is still on its way to the disk when the store, in trouble, says at once that it cannot record the end. */
static void an_end_that_overtakes_the_submission_waits_for_it(void **state) {
    (void)state;
    for (int good = 0; good < 2; good++) {
        struct client c;
        submit(&c);
        make_durable(&c);
        late.trouble = true;
        job_cancel(c.job);
        assert_int_equal(c.ended, 0);
        assert_false(jobs_are_drained(jobs));
        late.trouble = false;
        answer_store(good ? STORE_OK : STORE_UNAVAILABLE);
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.ended, 1);
        assert_int_equal(c.refused, !good);
        assert_true(jobs_are_drained(jobs));
        if (!good)
            answer_store(STORE_OK); /* forgotten */
        leave(&c);
    }
    assert_string_equal(late.calls, "SFXSF");
}

static void the_key_goes_along_whoever_makes_the_job_durable(void **state) {
    (void)state;
    struct client c;
    char key[] = "a key";
    submit_as(&c, key, false);
    memset(key, 'x', sizeof key - 1); /* its owner may be gone */
    make_durable(&c);
    assert_string_equal(late.key, "a key");
    answer_store(STORE_OK);
    job_cancel(c.job);
    answer_store(STORE_OK);
    leave(&c);
}

static void who_is_cancelled_while_its_end_is_recorded_has_ended_before(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    answer_store(STORE_OK);
    struct id id = c.record->id;
    run_to_end();
    assert_null(jobs_find(jobs, &id)); /* the store is asked, behind the end */
    assert_int_equal(c.ended, 0);
    assert_false(jobs_are_drained(jobs));
    job_cancel(c.job);
    assert_int_equal(c.record->status, JOB_SUCCEEDED);
    answer_store(STORE_OK);
    assert_int_equal(c.ended, 1);
    leave(&c);
}

/* ---- a drain ------------------------------------------------------------------------------------------------------ */

static void a_drain_leaves_queued_jobs_that_are_safe_and_waits_for_all_others(void **state) {
    (void)state;
    struct client parked, running, transient;
    submit(&running);
    make_durable(&running);
    answer_store(STORE_OK);
    dispatch();
    planned(LAST, 1);
    dispatch();
    assert_int_equal(running.record->status, JOB_RUNNING);
    submit(&parked);
    make_durable(&parked);
    answer_store(STORE_OK);
    submit(&transient);
    jobs_drain(jobs);
    assert_false(jobs_are_drained(jobs));
    assert_int_equal(parked.parked, 1);
    assert_int_equal(running.parked + transient.parked, 0);
    done(find_sent(WIRE_RUN), "1");
    answer_store(STORE_OK);
    assert_int_equal(running.ended, 1);
    assert_false(jobs_are_drained(jobs));
    dispatch();
    assert_ptr_equal(LAST->task, transient.job->tasks);
    job_cancel(transient.job);
    answer(LAST, WIRE_CANCELLED, &(struct buf){0});
    assert_int_equal(transient.ended, 1);
    assert_true(jobs_are_drained(jobs));
    assert_int_equal(parked.record->status, JOB_QUEUED);
    leave(&parked);
    leave(&running);
    leave(&transient);
}

static void a_worker_that_was_started_for_a_parked_job_gets_nothing_to_do(void **state) {
    (void)state;
    struct client c;
    submit_as(&c, NULL, true);
    make_durable(&c);
    answer_store(STORE_OK);
    for (unsigned i = 0; i < FAKE_MAIN; i++)
        fake.workers[i].type = TOY_PLAIN; /* used: to be replaced first */
    dispatch();
    assert_int_equal(c.job->isolated_workers, 1);
    jobs_drain(jobs);
    assert_int_equal(fake_restart(&events), 1);
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(c.job->isolated_workers, 0);
    assert_true(jobs_are_drained(jobs));
    leave(&c);
}

/* ---- from one process to the next ------------------------------------------------------------------------------------ */

static struct store *kept;

static int open_kept(void **state) {
    (void)state;
    log_threshold = LOG_ERROR + 1;
    kept = kept_open();
    open_jobs(kept);
    return 0;
}

static int close_kept(void **state) {
    (void)state;
    close_jobs();
    kept_close(kept);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* `killed`: the store has it as it was. */
static void restart(struct client *c, bool killed) {
    struct record *r = c->record, before = *r;
    job_unwait(&c->waiter);
    close_jobs();
    if (killed) {
        r->status = before.status;
        r->attempts = before.attempts;
        r->lost_count = before.lost_count;
        r->lost.size = before.lost.size;
    }
    open_jobs(kept);
    assert_int_equal(jobs_recover(jobs), 0);
    struct job *job = jobs_find(jobs, &c->record->id);
    if (job != NULL) {
        c->job = job;
        job_wait(job, &c->waiter);
    }
}

static void start(struct client *c, uint32_t chunks) {
    submit(c);
    make_durable(c);
    dispatch();
    planned(LAST, chunks);
    dispatch();
}

static void assert_succeeds(struct client *c, unsigned attempts) {
    run_to_end();
    assert_int_equal(c->ended, 1);
    assert_int_equal(c->record->status, JOB_SUCCEEDED);
    assert_int_equal(c->record->attempts, attempts);
    leave(c);
}

static void a_job_that_was_not_planned_is_planned_again(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    restart(&c, true);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_true(LAST->header.flags & WIRE_RAW);
    planned(LAST, 2);
    assert_succeeds(&c, 1);
}

static void chunks_that_were_done_are_not_run_again(void **state) {
    (void)state;
    for (uint32_t n = 0; n <= 3; n++) {
        struct client c;
        start(&c, 3);
        for (uint32_t i = 0; i < n; i++) {
            done(find_sent(WIRE_RUN), "1");
            dispatch();
        }
        restart(&c, n % 2 == 0);
        assert_int_equal(c.record->status, JOB_QUEUED);
        assert_int_equal(c.record->chunks_done, n);
        run_to_end();
        unsigned runs = 0, parts = 0;
        for (size_t i = 0; i < fake.count; i++) {
            runs += fake.sent[i].header.kind == WIRE_RUN;
            parts += fake.sent[i].header.kind == WIRE_PART;
        }
        assert_int_equal(runs, 3 - n);
        assert_int_equal(parts, 3);
        assert_int_equal(c.record->status, JOB_SUCCEEDED);
        assert_int_equal(c.record->attempts, 2);
        assert_int_equal(c.record->lost_count, 1);
        leave(&c);
    }
}

static void what_a_drain_left_queued_has_lost_nothing(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    jobs_drain(jobs);
    restart(&c, false);
    assert_succeeds(&c, 1);
}

static void a_job_whose_request_is_gone_fails(void **state) {
    (void)state;
    for (int running = 0; running < 2; running++) {
        struct client c;
        submit(&c);
        job_make_durable(c.job, &(struct slice){NULL, 0, 0}, on_done, &c);
        assert_int_equal(c.result, STORE_OK);
        if (running) {
            dispatch();
            planned(LAST, 1);
            dispatch();
            assert_int_equal(c.record->status, JOB_RUNNING);
            kept->ops->plan(kept, c.record, &(struct slice){NULL, 0, 0});
        }
        restart(&c, true);
        assert_int_equal(jobs_live(jobs), 0);
        assert_int_equal(c.record->status, JOB_FAILED);
        assert_int_equal(c.record->run_ns, 0);
        assert_int_equal(c.record->started_ms, 0);
        record_unref(c.record);
    }
}

static void a_part_is_counted_once_though_its_worker_dies_right_after(void **state) {
    (void)state;
    struct client c;
    start(&c, 3);
    struct fake_sent *first = find_sent(WIRE_RUN);
    struct worker *w = first->worker;
    done(first, "1");
    assert_int_equal(c.record->chunks_done, 1);
    dispatch();
    struct fake_sent *next = LAST;
    assert_ptr_equal(next->worker, w);
    die(next);
    assert_int_equal(c.record->chunks_done, 1);
    assert_succeeds(&c, 2);
}

static void a_recovered_job_is_safe_already(void **state) {
    (void)state;
    struct client c;
    submit(&c);
    make_durable(&c);
    restart(&c, true);
    make_durable(&c);
    assert_int_equal(c.result, STORE_OK);
    assert_int_equal(c.answers, 2);
    assert_succeeds(&c, 1);
}

#define LATE(name) cmocka_unit_test_setup_teardown(name, open_late, close_late)
#define KEPT(name) cmocka_unit_test_setup_teardown(name, open_kept, close_kept)

int main(void) {
    const struct CMUnitTest tests[] = {
        LATE(who_is_refused_at_once_leaves_nothing_in_the_store),
        LATE(who_is_refused_later_is_forgotten_in_case_it_was_written),
        LATE(a_repeat_waits_for_the_first_and_shares_its_fate),
        LATE(what_the_store_has_is_not_refused_when_it_is_in_trouble),
        LATE(an_end_that_overtakes_the_submission_waits_for_it),
        LATE(the_key_goes_along_whoever_makes_the_job_durable),
        LATE(who_is_cancelled_while_its_end_is_recorded_has_ended_before),
        LATE(a_drain_leaves_queued_jobs_that_are_safe_and_waits_for_all_others),
        LATE(a_worker_that_was_started_for_a_parked_job_gets_nothing_to_do),
        KEPT(a_job_that_was_not_planned_is_planned_again),
        KEPT(chunks_that_were_done_are_not_run_again),
        KEPT(what_a_drain_left_queued_has_lost_nothing),
        KEPT(a_job_whose_request_is_gone_fails),
        KEPT(a_part_is_counted_once_though_its_worker_dies_right_after),
        KEPT(a_recovered_job_is_safe_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
