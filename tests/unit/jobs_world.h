/* jobs_world.h: the world around the jobs, for the tests of server/jobs: an event loop, the jobs, a pool without
 * processes (fake_pool.h), a handler type (toy_types.h), a store, and clients that submit jobs and wait for them.
 * Everything is in one thread and nothing happens by itself: a test calls dispatch() to have tasks sent, answers what
 * was sent as a worker would, and fires timers by hand. A test file includes this header, which includes cmocka.h and
 * what that needs.
 *
 *     static void a_short_job_succeeds(void **state) {
 *         (void)state;
 *         struct client c;
 *         submit(&c, false);
 *         dispatch();
 *         reply_done(LAST, "{}");              // the worker's answer to what was sent last
 *         assert_ended(&c, JOB_SUCCEEDED);
 *         leave(&c);
 *     }
 *
 *     int main(void) {
 *         const struct CMUnitTest tests[] = {JOBS_TEST(a_short_job_succeeds)};
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * The store is the test's choice:
 *
 *     JOBS_TEST     a new one in memory, which answers at once and ends with the jobs
 *     store_late.h  one that answers when the test says so, or says that it cannot write: JOBS_TEST_LATE
 *     store_kept.h  one in memory that, like a disk, stays while the jobs around it are freed: see jobs_recover_test.c
 *
 * At the end of each test the books must balance: if no job is live, nothing waits for a turn, and no worker has a task
 * or an owner. No bytes are held then. */
#ifndef OFFLOAD_TESTS_JOBS_WORLD_H
#define OFFLOAD_TESTS_JOBS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/jobs/backoff.h"
#include "server/jobs/job.h"
#include "tests/unit/fake_pool.h"
#include "tests/unit/item_part.h"
#include "tests/unit/toy_types.h"

#define SHORT_NS (1 * NS_PER_MS)  /* of a chunk that may go to the express lane */
#define LONG_NS  (40 * NS_PER_MS) /* of a chunk that takes a main worker for itself */

static struct loop *loop;
static struct jobs *jobs;
static struct jobs_config config; /* to change it: change this, then jobs_configure(jobs, &config) */
static struct metrics metrics;
static struct pool_events events;

/* ---- setting up -------------------------------------------------------------------------------------------------- */

/* Starts the jobs over that store, which they take. persistent: the store outlives the process, so a drain parks what
 * it has. */
static inline void open_jobs(struct store *store, bool persistent) {
    log_threshold = LOG_ERROR + 1;
    config = (struct jobs_config){.job_timeout_ns = 60 * NS_PER_S,
                                  .result_ttl_ms = 3600000,
                                  .express_cost_ns = 5 * NS_PER_MS,
                                  .max_queue = 4096,
                                  .max_delayed = 4096,
                                  .keep_sync = 1000,
                                  .max_json_depth = 64,
                                  .persistent = persistent};
    fake_open();
    loop = loop_new();
    jobs =
        jobs_new(loop, &config, &metrics, store, store_memory_open(&(struct store_limits){.max_ended = 1000}, false));
    assert_int_equal(jobs_set_pool(jobs, &fake), 0);
    events = jobs_pool_events(jobs);
}

static inline void assert_books_balance(void) {
    assert_int_equal(jobs->running_count, 0);
    assert_int_equal(jobs->transient_count, 0);
    assert_int_equal(jobs->long_backlog_ns, 0);
    assert_int_equal(jobs->tenants.idle, HASH_COUNT(jobs->tenants.by_name));
    assert_int_equal(jobs->scheduler.tenants, 0);
    for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
        assert_int_equal(jobs->known_work[i].ns, 0);
    for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
        assert_int_equal(jobs->queued[i], 0);
    for (size_t i = 0; i < sizeof jobs->index.trees / sizeof jobs->index.trees[0]; i++)
        assert_true(jobs->index.trees[i].root == NULL && jobs->index.of_tenants[i].root == NULL);
    for (unsigned i = 0; i < SCHED_CLASSES; i++)
        assert_int_equal(jobs->scheduler.count[i], 0);
    for (unsigned i = 0; i < FAKE_WORKERS; i++) {
        assert_int_equal(jobs->load_ns[i], 0);
        assert_int_equal(jobs->long_due_ns[i], 0);
        assert_int_equal(jobs->known_due_ns[i], 0);
        assert_int_equal(fake.workers[i].long_tasks, 0);
        assert_null(jobs->feeding[i]);
        assert_null(fake.workers[i].owner);
    }
}

static inline void close_jobs(void) {
    if (jobs_live(jobs) == 0)
        assert_books_balance();
    jobs_free(jobs);
    loop_free(loop);
    fake_close();
}

static inline int open_world(void **state) {
    (void)state;
    memset(&metrics, 0, sizeof metrics);
    open_jobs(store_memory_open(&(struct store_limits){0}, true), false);
    return 0;
}

static inline int close_world(void **state) {
    (void)state;
    close_jobs();
    held_set_limit(UINT64_MAX);
    assert_int_equal(held_total, 0);
    return 0;
}

#define JOBS_TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

/* ---- clients ----------------------------------------------------------------------------------------------------- */

/* A client who has submitted a job, or waits for one. Until leave() it must stay in place, and it holds the record. */
struct client {
    struct job_waiter waiter;
    struct record *record;
    struct job *job;                 /* NULL when the job has ended */
    unsigned planned, parked, ended; /* how often it was notified of that */
    bool rejected, store_failed;     /* how it ended */
    uint64_t retry_after_s;          /* likewise: of a job that was refused because it would start too late */
    unsigned answers;                /* of make_durable */
    enum store_result result;        /* the last of them */
};

static inline void on_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = container_of(w, struct client, waiter);
    c->planned += event == JOB_PLANNED;
    c->parked += event == JOB_PARKED;
    if (event != JOB_ENDED)
        return;
    c->ended++;
    c->rejected = job_is_rejected(job);
    c->retry_after_s = job_retry_after_s(job);
    c->store_failed = job_is_store_failed(job);
    c->job = NULL;
}

static inline void follow(struct client *c, struct job *job) {
    *c = (struct client){.waiter = {.notify = on_event}, .record = record_ref(job_record(job)), .job = job};
    job_wait(job, &c->waiter);
}

static inline void leave(struct client *c) {
    job_unwait(&c->waiter);
    record_unref(c->record);
}

/* A submission without any wishes. Tests change its options. */
static inline struct submission plain(void) {
    struct submission s = {.type = TOY_PLAIN};
    options_init(&s.options);
    return s;
}

static inline void submit_request(struct client *c, const struct job_request *q) {
    struct job *job;
    enum problem_code why;
    assert_int_equal(jobs_submit(jobs, q, &job, &why), 0);
    follow(c, job);
}

/* With the key of that tenant. asynchronous: the job is answered 202, so it is planned before it runs. */
static inline void submit_for(struct client *c, const char *tenant, const struct submission *s, bool asynchronous) {
    struct submission with_params = *s;
    struct job_request q = {
        .submission = &with_params, .default_priority = -1, .asynchronous = asynchronous, .tenant = tenant};
    if (!s->map) /* a map has empty params, which occur, too */
        buf_puts(&with_params.params, "params");
    submit_request(c, &q);
    buf_deinit(&with_params.params);
}

static inline void submit_as(struct client *c, const struct submission *s, bool asynchronous) {
    submit_for(c, NULL, s, asynchronous);
}

static inline void submit(struct client *c, bool asynchronous) {
    struct submission s = plain();
    submit_as(c, &s, asynchronous);
}

/* With the key of that tenant. */
static inline void submit_of(const char *tenant, struct client *c) {
    struct submission s = plain();
    submit_for(c, tenant, &s, true);
}

/* Submits a raw body, which a worker has to parse. default_priority: -1 for none. */
static inline void submit_raw(struct client *c, int default_priority) {
    struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .default_priority = default_priority};
    submit_request(c, &q);
    slice_deinit(&q.body);
}

/* With "isolation": "fresh". */
static inline void submit_isolated(struct client *c) {
    struct submission s = plain();
    s.options.isolated = 1;
    submit_as(c, &s, true);
}

static inline void on_durable(void *arg, enum store_result result) {
    struct client *c = arg;
    c->answers++;
    c->result = result;
}

static inline void make_durable(struct client *c) {
    struct slice body = slice_all(blob_copy("{}", 2));
    job_make_durable(c->job, &body, on_durable, c);
    slice_deinit(&body);
}

/* ---- what was sent to workers ------------------------------------------------------------------------------------ */

#define LAST (&fake.sent[fake.count - 1])

/* Sends what can be sent. */
static inline void dispatch(void) {
    jobs->dirty = true;
    jobs_dispatch(jobs);
}

/* The n-th message of that kind that was sent and is not answered, from 0; NULL: there is none. */
static inline struct fake_sent *find_sent(uint8_t kind, unsigned n) {
    for (size_t i = 0; i < fake.count; i++)
        if (fake.sent[i].header.kind == kind && !fake.sent[i].answered && n-- == 0)
            return &fake.sent[i];
    return NULL;
}

/* The index of the chunk in a WIRE_RUN, if write_plan wrote the plan. */
static inline uint64_t chunk_of(const struct fake_sent *s) {
    uint64_t chunk;
    assert_non_null(s);
    assert_int_equal(s->bytes.size, sizeof chunk);
    memcpy(&chunk, s->bytes.data, sizeof chunk);
    return chunk;
}

/* ---- what workers say -------------------------------------------------------------------------------------------- */

/* An answer to what was sent. False: the jobs rejected it, and what was sent is still to be answered. */
static inline bool say_with(struct fake_sent *s, struct wire_header h, const struct buf *body) {
    assert_non_null(s);
    const struct slice nothing = {NULL, 0, 0};
    unsigned char *exact = malloc(body->size + 1); /* so that a read beyond it is seen */
    if (body->size > 0)
        memcpy(exact, body->data, body->size);
    h.ticket = s->header.ticket;
    h.length = (uint32_t)body->size;
    struct wire_frame f = {h, exact};
    bool good = events.reply(events.arg, s->worker, s->task, &f, &nothing);
    free(exact);
    if (good) {
        s->answered = true;
        fake_answered(s);
    }
    return good;
}

static inline bool say(struct fake_sent *s, uint8_t kind, const struct buf *body) {
    return say_with(s, (struct wire_header){.kind = kind}, body);
}

static inline bool say_text(struct fake_sent *s, uint8_t kind, const char *text) {
    struct buf body = {0};
    buf_puts(&body, text);
    bool good = say(s, kind, &body);
    buf_deinit(&body);
    return good;
}

/* WIRE_DONE with that part or result. */
static inline bool say_done(struct fake_sent *s, const char *text) {
    struct wire_times times = {1, 2, 3, 4};
    struct buf body = {0};
    buf_append(&body, &times, sizeof times);
    buf_puts(&body, text);
    bool good = say(s, WIRE_DONE, &body);
    buf_deinit(&body);
    return good;
}

/* A plan whose chunks hold their own numbers. found: what the worker found in a raw body, or NULL. */
static inline void write_plan(struct buf *b, struct wire_plan head, uint64_t cost_ns, const struct submission *found) {
    static const uint8_t no_hash[32];
    struct buf submission = {0};
    if (found != NULL) {
        host_write_submission(found, no_hash, &submission);
        head.submission_size = (uint32_t)submission.size;
    }
    buf_append(b, &head, sizeof head);
    for (uint64_t i = 0; i < head.chunks; i++)
        buf_append(b, &(struct wire_chunk){cost_ns, 8 * i, 8}, sizeof(struct wire_chunk));
    buf_append(b, "common..", head.common_size == 0 ? 0 : 8);
    buf_append(b, submission.data, submission.size);
    for (uint64_t i = 0; i < head.chunks; i++)
        buf_append(b, &i, sizeof i);
    buf_deinit(&submission);
}

/* WIRE_PLANNED: that many chunks of that cost. found: as above; for a raw body NULL means plain(). */
static inline bool say_plan(struct fake_sent *s, uint32_t chunks, uint64_t cost_ns, const struct submission *found) {
    assert_non_null(s);
    bool raw = (s->header.flags & WIRE_RAW) != 0;
    struct wire_plan head = {.type = TOY_PLAIN, .chunks = chunks, .common_size = raw ? 0 : 6}; /* both occur */
    struct submission usual = plain();
    struct buf body = {0};
    if (found == NULL && raw)
        found = &usual;
    write_plan(&body, head, cost_ns, found);
    bool good = say(s, WIRE_PLANNED, &body);
    buf_deinit(&body);
    return good;
}

/* WIRE_PARSED: what the worker found in a raw body that must be planned elsewhere. An honest worker sets head.chunks to
 * 0. */
static inline bool say_parsed(struct fake_sent *s, struct wire_plan head, const struct submission *found,
                              const char *params) {
    struct buf body = {0};
    uint32_t chunks = head.chunks;
    head.chunks = 0;
    write_plan(&body, head, 0, found);
    memcpy(body.data + offsetof(struct wire_plan, chunks), &chunks, sizeof chunks);
    buf_puts(&body, params);
    bool good = say(s, WIRE_PARSED, &body);
    buf_deinit(&body);
    return good;
}

/* The answers of honest workers: the jobs must take them. */
static inline void reply_done(struct fake_sent *s, const char *text) {
    assert_true(say_done(s, text));
}

static inline void reply_plan(struct fake_sent *s, uint32_t chunks, uint64_t cost_ns) {
    assert_true(say_plan(s, chunks, cost_ns, NULL));
}

static inline void reply_plan_of(struct fake_sent *s, uint32_t chunks, uint64_t cost_ns,
                                 const struct submission *found) {
    assert_true(say_plan(s, chunks, cost_ns, found));
}

static inline void reply_failed(struct fake_sent *s, const char *fault_json) {
    assert_true(say_text(s, WIRE_FAILED, fault_json));
}

/* The worker stopped because it was asked to. */
static inline void reply_cancelled(struct fake_sent *s) {
    assert_true(say_text(s, WIRE_CANCELLED, ""));
}

/* A chunk of a map is done: its part has one item, which has that index. */
static inline void reply_item(struct fake_sent *s, uint32_t index) {
    struct wire_times times = {.cpu_ns = 1000};
    struct buf b = {0}, part = {0};
    part_add_item(&part, index, true, "{\"status\":\"succeeded\"}");
    buf_append(&b, &times, sizeof times);
    buf_append(&b, part.data, part.size);
    assert_true(say(s, WIRE_DONE, &b));
    buf_deinit(&part);
    buf_deinit(&b);
}

/* The worker's process is lost. guilty: it had begun what was sent, so this counts as an attempt. */
static inline void die(struct fake_sent *s, bool guilty, const char *cause) {
    assert_non_null(s);
    const struct death d = {.cause = cause,
                            .steps = fake.steps,
                            .signal = 9,
                            .exit_code = -1,
                            .max_rss_bytes = 1 << 20,
                            .cpu_ms = 12,
                            .stderr_tail = "last \"words\"\n"};
    s->answered = true;
    fake_answered(s);
    events.lost(events.arg, s->worker, s->task, guilty, &d);
    fake_exit(s->worker, &events, NULL);
}

/* The handler has called call_lost: the attempt is lost, and the worker lives. */
static inline void lose(struct fake_sent *s, struct death d) {
    assert_non_null(s);
    d.steps = fake.steps;
    d.worker_lives = true;
    s->answered = true;
    fake_answered(s);
    events.lost(events.arg, s->worker, s->task, true, &d);
}

/* The worker's socket was full, and has room again. */
static inline void socket_has_room(struct worker *w) {
    fake.parts_taken = UINT32_MAX;
    events.can_send(events.arg, w);
}

/* The worker processes that were asked to leave are replaced, and what can be sent is sent. */
static inline void restart_workers(void) {
    fake_restart(&events);
    dispatch();
}

/* ---- courses of events ------------------------------------------------------------------------------------------- */

/* Submits and plans a job of that many long chunks. Then each of the two main workers has one. */
static inline void start_chunks(struct client *c, uint32_t chunks) {
    submit(c, true);
    dispatch();
    reply_plan(find_sent(WIRE_PLAN, 0), chunks, LONG_NS);
    dispatch();
}

/* Runs a job of two chunks, whose parts are "a" and "b", up to its merge. fake.parts_taken says how many parts are
 * sent. */
static inline void start_merge(struct client *c) {
    start_chunks(c, 2);
    reply_done(find_sent(WIRE_RUN, 0), "a");
    reply_done(find_sent(WIRE_RUN, 0), "b");
    dispatch();
    assert_non_null(find_sent(WIRE_MERGE, 0));
}

/* Answers everything until no job is live; each plan has two chunks. */
static inline void run_to_end(void) {
    while (jobs_live(jobs) > 0) {
        struct fake_sent *s;
        dispatch();
        if ((s = find_sent(WIRE_PLAN, 0)) != NULL)
            reply_plan(s, 2, LONG_NS);
        else if ((s = find_sent(WIRE_RUN, 0)) != NULL)
            reply_done(s, "1");
        else if ((s = find_sent(WIRE_MERGE, 0)) != NULL)
            reply_done(s, "2");
        else
            fail_msg("nothing to do for a job that lives");
    }
}

/* Cancels the job, and has all workers stop that run a chunk of it. The client leaves. */
static inline void cancel_all(struct client *c) {
    job_cancel(c->job);
    while (c->job != NULL && find_sent(WIRE_RUN, 0) != NULL)
        reply_cancelled(find_sent(WIRE_RUN, 0));
    leave(c);
}

/* The time of a timer has come. It has to be set. */
static inline void fire(struct timer *t) {
    assert_true(t->is_set);
    loop_clear_timer(loop, t);
    t->fire(t);
}

static inline void set_retry_delay(int64_t first_ns, int64_t longest_ns) {
    config.retry_delay_ns = first_ns;
    config.max_retry_delay_ns = longest_ns;
    jobs_configure(jobs, &config);
}

/* All tasks of the job that back off are due. */
static inline void end_backoffs(struct job *job) {
    for (uint32_t i = 0; i < job->backoffs->count; i++)
        job->backoffs->list[i].due_ns = 1;
    fire(&job->backoffs->timer);
}

/* ---- assertions -------------------------------------------------------------------------------------------------- */

static inline void assert_ended(const struct client *c, enum job_status status) {
    assert_int_equal(c->ended, 1);
    assert_string_equal(job_status_name(c->record->status), job_status_name(status));
    assert_null(jobs_find(jobs, &c->record->id, NULL));
    assert_true(c->record->finished_ms >= c->record->created_ms);
}

static inline void assert_problem(const struct client *c, const char *code) {
    json_t *error = json_loadb(c->record->error.data, c->record->error.size, 0, NULL);
    assert_non_null(error);
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    json_decref(error);
}

static inline void assert_result(const struct client *c, const char *expected) {
    const unsigned char *bytes = slice_map(&c->record->result);
    assert_int_equal(c->record->result.size, strlen(expected));
    assert_memory_equal(bytes, expected, strlen(expected));
    slice_unmap(&c->record->result, bytes);
}

static inline void assert_failed(const struct client *c, const char *code) {
    assert_ended(c, JOB_FAILED);
    assert_problem(c, code);
}

#endif
