/* jobs_test.c: the life of a job, server/jobs.c, dispatch.c and jobs_query.c, over a pool without processes: every
 * transition, what is sent when, what a worker's answer, lie or death means, and that the books balance afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/jobs/backoff.h"
#include "server/jobs/end.h"
#include "server/jobs/poison.h"
#include "tests/unit/fake_pool.h"
#include "tests/unit/toy_types.h"

#define SHORT_NS (1 * NS_PER_MS)
#define LONG_NS  (40 * NS_PER_MS)
#define LAST     (&fake.sent[fake.count - 1])

/* ---- the world around the jobs ------------------------------------------------------------------------------- */

static const struct jobs_config config = {.job_timeout_ns = 60 * NS_PER_S,
                                          .result_ttl_ms = 3600000,
                                          .express_cost_ns = 5 * NS_PER_MS,
                                          .max_queue = 4096,
                                          .max_memory = 64 << 20,
                                          .keep_sync = 1000,
                                          .max_json_depth = 64};
static struct loop *loop;
static struct jobs *jobs;
static struct metrics metrics;
static struct pool_events events;

static int open_world(void **state) {
    (void)state;
    log_threshold = LOG_ERROR + 1;
    memset(&metrics, 0, sizeof metrics);
    fake_open();
    loop = loop_new();
    jobs = jobs_new(loop, &config, &metrics, store_memory_open(&(struct store_limits){0}, true),
                    store_memory_open(&(struct store_limits){.max_ended = 1000}, false));
    jobs_set_pool(jobs, &fake);
    events = jobs_pool_events(jobs);
    return 0;
}

/* Nothing is left of jobs that ended: no work on any worker's account, no bytes. */
static int close_world(void **state) {
    (void)state;
    if (jobs_live(jobs) == 0) {
        assert_int_equal(jobs->running_count, 0);
        assert_int_equal(jobs->long_backlog_ns, 0);
        for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
            assert_int_equal(jobs->queued[i], 0);
        for (unsigned i = 0; i < SCHED_CLASSES; i++)
            assert_int_equal(jobs->scheduler.count[i], 0);
        for (unsigned i = 0; i < FAKE_WORKERS; i++) {
            assert_int_equal(jobs->load_ns[i], 0);
            assert_int_equal(fake.workers[i].long_tasks, 0);
            assert_null(jobs->feeding[i]);
            assert_null(fake.workers[i].owner);
        }
    }
    jobs_free(jobs);
    loop_free(loop);
    fake_close();
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* Someone who waits, and keeps the record. */
struct client {
    struct job_waiter waiter;
    struct record *record;
    struct job *job; /* NULL once it ended */
    unsigned planned, ended;
    bool rejected;
};

static void on_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = (struct client *)w; /* the first member */
    c->planned += event == JOB_PLANNED;
    if (event != JOB_ENDED)
        return;
    c->ended++;
    c->rejected = job_is_rejected(job);
    c->job = NULL;
}

static void leave(struct client *c) {
    job_unwait(&c->waiter);
    record_unref(c->record);
}

static void follow(struct client *c, struct job *job) {
    *c = (struct client){.waiter = {.notify = on_event}, .record = record_ref(job_record(job)), .job = job};
    job_wait(job, &c->waiter);
}

static struct submission plain(void) {
    struct submission s = {.type = TOY_PLAIN};
    options_init(&s.options);
    return s;
}

/* As a worker found them in a raw body. */
static struct submission parsed_options(void) {
    struct submission s = plain();
    s.options.priority = 1;
    s.options.timeout_ms = 7000;
    s.options.max_attempts = 1;
    s.options.ttl_ms = 60000;
    return s;
}

static void submit_as(struct client *c, struct submission *s, bool asynchronous) {
    struct job *job;
    enum problem_code why;
    buf_puts(&s->params, "params");
    struct job_request q = {.submission = s, .default_priority = -1, .asynchronous = asynchronous};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    buf_deinit(&s->params);
    follow(c, job);
}

static void submit(struct client *c, bool asynchronous) {
    struct submission s = plain();
    submit_as(c, &s, asynchronous);
}

static void dispatch(void) {
    jobs->dirty = true;
    jobs_dispatch(jobs);
}

/* ---- what workers say ------------------------------------------------------------------------------------------- */

static bool answer_bulk(struct fake_sent *s, uint8_t kind, const struct buf *body, const struct slice *bulk) {
    unsigned char *exact = malloc(body->size + 1); /* so that a read beyond it is seen */
    if (body->size > 0)
        memcpy(exact, body->data, body->size);
    struct wire_frame f = {{.kind = kind, .ticket = s->header.ticket, .length = (uint32_t)body->size}, exact};
    bool good = events.reply(events.arg, s->worker, s->task, &f, bulk);
    free(exact);
    if (good) {
        s->answered = true;
        fake_answered(s);
    }
    return good;
}

static bool answer(struct fake_sent *s, uint8_t kind, const struct buf *body) {
    const struct slice nothing = {NULL, 0, 0};
    return answer_bulk(s, kind, body, &nothing);
}

static bool answer_text(struct fake_sent *s, uint8_t kind, const char *text) {
    struct buf body = {0};
    buf_puts(&body, text);
    bool good = answer(s, kind, &body);
    buf_deinit(&body);
    return good;
}

static bool done(struct fake_sent *s, const char *text) {
    struct wire_times times = {1, 2, 3, 4};
    struct buf body = {0};
    buf_append(&body, &times, sizeof times);
    buf_puts(&body, text);
    bool good = answer(s, WIRE_DONE, &body);
    buf_deinit(&body);
    return good;
}

/* A plan whose chunks hold their own numbers; of a raw body if there is a submission. */
static void write_raw_plan(struct buf *b, struct wire_plan head, const struct submission *raw, uint64_t cost_ns) {
    static const uint8_t no_hash[32];
    struct buf submission = {0};
    if (raw != NULL) {
        host_write_submission(raw, no_hash, &submission);
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

static void write_plan(struct buf *b, struct wire_plan head, uint64_t cost_ns) {
    write_raw_plan(b, head, NULL, cost_ns);
}

static const struct wire_plan two_chunks = {.type = TOY_PLAIN, .chunks = 2, .common_size = 6};
static const struct wire_plan one_chunk = {.type = TOY_PLAIN, .chunks = 1};

static bool planned(struct fake_sent *s, uint32_t chunks, uint64_t cost_ns) {
    struct wire_plan head = two_chunks;
    struct buf body = {0};
    head.chunks = chunks;
    write_plan(&body, head, cost_ns);
    bool good = answer(s, WIRE_PLANNED, &body);
    buf_deinit(&body);
    return good;
}

static void die(struct fake_sent *s, bool guilty, const char *cause) {
    const struct death d = {.cause = cause,
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

/* The n-th piece of that kind that is not answered, or NULL. */
static struct fake_sent *find_sent(uint8_t kind, unsigned n) {
    for (size_t i = 0; i < fake.count; i++)
        if (fake.sent[i].header.kind == kind && !fake.sent[i].answered && n-- == 0)
            return &fake.sent[i];
    return NULL;
}

static uint64_t chunk_of(const struct fake_sent *s) {
    uint64_t chunk;
    assert_int_equal(s->bytes.size, sizeof chunk);
    memcpy(&chunk, s->bytes.data, sizeof chunk);
    return chunk;
}

/* Submits and plans a job of so many long chunks; both main workers have one then. */
static void start_chunks(struct client *c, uint32_t chunks) {
    submit(c, true);
    dispatch();
    assert_true(planned(find_sent(WIRE_PLAN, 0), chunks, LONG_NS));
    dispatch();
}

static void start_merge(struct client *c) {
    start_chunks(c, 2);
    assert_true(done(find_sent(WIRE_RUN, 0), "a"));
    assert_true(done(find_sent(WIRE_RUN, 0), "b"));
    dispatch();
    assert_non_null(find_sent(WIRE_MERGE, 0));
}

static void assert_ended(const struct client *c, enum job_status status) {
    assert_int_equal(c->ended, 1);
    assert_string_equal(job_status_name(c->record->status), job_status_name(status));
    assert_null(jobs_find(jobs, &c->record->id));
    assert_true(c->record->finished_ms >= c->record->created_ms);
}

static void assert_problem(const struct client *c, const char *code) {
    json_t *error = json_loadb(c->record->error.data, c->record->error.size, 0, NULL);
    assert_non_null(error);
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    json_decref(error);
}

static void assert_result(const struct client *c, const char *expected) {
    const unsigned char *bytes = slice_map(&c->record->result);
    assert_int_equal(c->record->result.size, strlen(expected));
    assert_memory_equal(bytes, expected, strlen(expected));
    slice_unmap(&c->record->result, bytes);
}

/* ---- the ways through -------------------------------------------------------------------------------------------- */

static void a_short_job_is_planned_run_and_merged_in_one_go(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    assert_int_equal(fake.count, 1);
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags, WIRE_GO);
    assert_int_equal(LAST->header.budget_ns, config.express_cost_ns);
    assert_string_equal(LAST->bytes.data, "params");
    assert_int_equal(c.record->status, JOB_QUEUED);
    assert_true(done(LAST, "{}"));
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "{}");
    assert_int_equal(c.planned, 1);
    assert_int_equal(c.record->chunks_done, 1);
    assert_int_equal(c.record->chunks_total, 1);
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED], 1);
    assert_int_equal(metrics.chunks[TOY_PLAIN], 1);
    leave(&c);
}

static void an_asynchronous_job_is_planned_before_it_runs(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    dispatch();
    assert_int_equal(LAST->header.flags, 0);
    assert_true(planned(LAST, 1, SHORT_NS));
    assert_int_equal(c.planned, 1);
    assert_int_equal(c.record->status, JOB_QUEUED);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_RUN);
    assert_int_equal(LAST->header.flags, WIRE_GO);
    assert_int_equal(c.record->status, JOB_RUNNING);
    assert_true(done(LAST, "[1]"));
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "[1]");
    leave(&c);
}

static void chunks_are_merged_in_order_once_all_parts_are_there(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 3);
    assert_true(done(find_sent(WIRE_RUN, 1), "part 1"));
    dispatch();
    assert_true(done(find_sent(WIRE_RUN, 1), "part 2"));
    dispatch();
    assert_null(find_sent(WIRE_MERGE, 0));
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 0);
    assert_true(done(find_sent(WIRE_RUN, 0), "part 0"));
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        const struct fake_sent *part = &fake.sent[fake.count - 3 + i];
        assert_int_equal(part->header.kind, WIRE_PART);
        assert_int_equal(part->bytes.data[5], '0' + (int)i);
    }
    assert_true(done(find_sent(WIRE_MERGE, 0), "merged"));
    assert_ended(&c, JOB_SUCCEEDED);
    assert_result(&c, "merged");
    leave(&c);
}

static void a_long_chunk_never_goes_to_the_express_lane_nor_behind_another(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 5);
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, 1));
    assert_null(find_sent(WIRE_RUN, 2));
    assert_int_equal(fake.workers[FAKE_MAIN].count, 0);
    job_cancel(c.job);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    leave(&c);
}

static void the_more_urgent_job_is_sent_first(void **state) {
    (void)state;
    struct client calm, urgent;
    struct submission s = plain();
    submit(&calm, false);
    s.options.priority = 0;
    submit_as(&urgent, &s, false);
    dispatch();
    assert_ptr_equal(((struct task *)fake.sent[0].task)->job, urgent.job);
    assert_true(done(&fake.sent[0], "1"));
    assert_true(done(&fake.sent[1], "2"));
    leave(&calm);
    leave(&urgent);
}

static void a_large_body_is_parsed_by_a_worker_and_its_options_obeyed(void **state) {
    (void)state;
    struct client c;
    struct job *job;
    struct buf plan = {0};
    enum problem_code why;
    struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .default_priority = 5};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    slice_deinit(&q.body);
    follow(&c, job);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_RAW);
    assert_int_equal(LAST->header.count, config.max_json_depth);
    assert_int_equal(c.record->type, UINT32_MAX);
    struct submission s = parsed_options();
    write_raw_plan(&plan, one_chunk, &s, LONG_NS);
    assert_true(answer(LAST, WIRE_PLANNED, &plan));
    buf_deinit(&plan);
    assert_int_equal(c.record->type, TOY_PLAIN);
    assert_int_equal(c.record->options.priority, 1);
    assert_int_equal(c.record->options.ttl_ms, 60000);
    assert_int_equal(c.record->options.timeout_ms, 7000);
    assert_int_equal(jobs->queued[1], 1);
    dispatch();
    assert_true(done(LAST, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

/* A part with one item. */
static bool item_done(struct fake_sent *s, uint32_t index) {
    static const char text[24] = "{\"status\":\"succeeded\"}";
    struct wire_times times = {.cpu_ns = 1000};
    struct item_entry entry = {.index = index, .size = 22, .ok = 1};
    struct buf b = {0};
    buf_append(&b, &times, sizeof times);
    buf_append(&b, &entry, sizeof entry);
    buf_append(&b, text, sizeof text);
    bool taken = answer(s, WIRE_DONE, &b);
    buf_deinit(&b);
    return taken;
}

static void a_map_is_planned_run_and_merged_as_one(void **state) {
    (void)state;
    struct client c;
    struct job *job;
    enum problem_code why;
    struct submission s = plain();
    s.map = true;
    s.items = 2;
    struct job_request q = {.submission = &s, .default_priority = -1, .asynchronous = true};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    follow(&c, job);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_ITEMS);
    assert_true(planned(LAST, 2, LONG_NS));
    dispatch();
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(find_sent(WIRE_RUN, 0)->header.flags, WIRE_ITEMS);
        assert_true(item_done(find_sent(WIRE_RUN, 0), i));
    }
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.flags, WIRE_ITEMS);
    assert_true(done(find_sent(WIRE_MERGE, 0), "{}"));
    assert_true(c.record->map);
    assert_int_equal(c.record->items, 2);
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_large_body_may_turn_out_to_be_a_map(void **state) {
    (void)state;
    struct client c;
    struct job *job;
    struct buf plan = {0};
    enum problem_code why;
    struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .default_priority = -1};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    slice_deinit(&q.body);
    follow(&c, job);
    dispatch();
    char webhook[] = "https://";
    struct submission s = plain();
    s.map = true;
    s.items = 70;
    s.options.webhook = webhook;
    write_raw_plan(&plan, one_chunk, &s, LONG_NS);
    assert_true(answer(LAST, WIRE_PLANNED, &plan));
    buf_deinit(&plan);
    assert_true(c.record->map);
    assert_int_equal(c.record->items, 70);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_ITEMS); /* not at once: the items are wanted one by one */
    assert_true(item_done(LAST, 69));
    dispatch();
    assert_true(done(find_sent(WIRE_MERGE, 0), "{}"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void start_map(struct client *c, unsigned items) {
    struct job *job;
    enum problem_code why;
    struct submission s = plain();
    s.map = true;
    s.items = items;
    s.options.max_attempts = 2;
    struct job_request q = {.submission = &s, .default_priority = -1};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    follow(c, job);
    dispatch();
    assert_int_equal(LAST->header.flags, WIRE_ITEMS); /* never in one go: who dies must be known */
    assert_true(planned(LAST, 1, LONG_NS));
    dispatch();
}

/* The worker dies at the group's item with that place. */
static void die_at(uint64_t place) {
    fake.steps = place * HOST_ITEM_STEPS + 7;
    die(find_sent(WIRE_RUN, 0), true, "signal");
    dispatch();
}

static void an_item_that_kills_its_worker_is_given_up_and_the_others_run(void **state) {
    (void)state;
    struct client c;
    start_map(&c, 3);
    die_at(1);
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 0);
    die_at(1);
    assert_int_equal(find_sent(WIRE_RUN, 0)->poison, 1);
    die_at(2); /* as many attempts again for the others */
    assert_int_equal(job_count_poison(c.job, 0), 1);
    die_at(2);
    assert_int_equal(job_count_poison(c.job, 0), 2);
    assert_true(item_done(find_sent(WIRE_RUN, 0), 0));
    dispatch();
    assert_true(done(find_sent(WIRE_MERGE, 0), "{}"));
    assert_int_equal(c.record->attempts, 5);
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_map_fails_if_no_item_can_be_blamed(void **state) {
    (void)state;
    static const uint64_t places[] = {3, UINT64_C(1) << 40, 1}; /* none, none, and one that is not run any more */
    for (size_t i = 0; i < 3; i++) {
        struct client c;
        start_map(&c, 3);
        for (int k = 0; k < 2; k++)
            die_at(places[i]);
        for (int k = 0; k < 2 && i == 2; k++)
            die_at(places[i]);
        assert_ended(&c, JOB_FAILED);
        assert_problem(&c, "worker_crashed");
        leave(&c);
    }
}

/* ---- failures of the handler ---------------------------------------------------------------------------------------- */

static void wrong_params_reject_the_submission_and_leave_no_job(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    assert_true(answer_text(LAST, WIRE_FAILED,
                            "{\"code\":\"invalid_params\",\"detail\":\"no\",\"errors\":[{\"pointer\":\"/params/x\","
                            "\"detail\":\"no\"}]}"));
    assert_ended(&c, JOB_FAILED);
    assert_true(c.rejected);
    assert_problem(&c, "invalid_params");
    assert_int_equal(metrics.jobs[TOY_PLAIN][JOB_FAILED], 0);
    leave(&c);
}

static void a_job_that_was_answered_202_fails_and_is_not_rejected(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    c.job->record->durable = true;
    dispatch();
    assert_true(answer_text(LAST, WIRE_FAILED, "{\"code\":\"invalid_params\",\"detail\":\"no\"}"));
    assert_ended(&c, JOB_FAILED);
    assert_false(c.rejected);
    leave(&c);
}

static void a_failed_chunk_stops_the_others_and_then_fails_the_job(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    assert_true(
        answer_text(find_sent(WIRE_RUN, 0), WIRE_FAILED, "{\"code\":\"handler_failed\",\"detail\":\"bad luck\"}"));
    assert_int_equal(c.ended, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_CANCEL);
    assert_true(done(find_sent(WIRE_RUN, 0), "too late"));
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "handler_failed");
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
    leave(&c);
}

static void a_failed_merge_fails_the_job(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    assert_true(answer_text(find_sent(WIRE_MERGE, 0), WIRE_FAILED, "{\"code\":\"memory_limit\",\"detail\":\"\"}"));
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "memory_limit");
    leave(&c);
}

/* ---- time limits ---------------------------------------------------------------------------------------------------- */

static void fire(struct timer *t) {
    assert_true(t->slot != 0);
    loop_clear_timer(loop, t);
    t->fire(t);
}

static void a_job_not_started_in_time_fails(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.queue_timeout_ms = 250;
    submit_as(&c, &s, true);
    assert_int_equal(c.job->timer.due_ns, c.job->accepted_ns + 250 * NS_PER_MS);
    fire(&c.job->timer);
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "queue_timeout");
    dispatch();
    assert_int_equal(fake.count, 0);
    leave(&c);
}

static void a_timeout_of_centuries_is_kept_and_not_taken_for_none(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.timeout_ms = INT64_C(9007199254740991);
    s.options.queue_timeout_ms = INT64_C(9007199254740991);
    submit_as(&c, &s, true);
    assert_true(job_limit_ns(c.record->options.timeout_ms) > INT64_C(100) * 365 * 86400 * NS_PER_S);
    assert_int_equal(c.record->options.queue_timeout_ms, INT64_C(9007199254740991));
    assert_true(c.job->timer.due_ns > c.job->accepted_ns);
    job_cancel(c.job);
    leave(&c);
}

static void planning_does_not_use_up_the_queue_timeout(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.queue_timeout_ms = 250;
    submit_as(&c, &s, true);
    dispatch();
    assert_int_equal(c.job->timer.due_ns, c.job->run_started_ns + config.job_timeout_ns);
    assert_true(planned(LAST, 1, LONG_NS));
    assert_int_equal(c.job->timer.due_ns, c.job->accepted_ns + 250 * NS_PER_MS);
    dispatch();
    assert_int_equal(c.job->timer.due_ns, c.job->run_started_ns + config.job_timeout_ns);
    assert_true(done(LAST, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_job_that_runs_too_long_fails_once_all_its_workers_have_stopped(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    fire(&c.job->timer);
    assert_int_equal(find_sent(WIRE_RUN, 0)->stopped, STOP_TIMEOUT);
    assert_int_equal(find_sent(WIRE_RUN, 1)->stopped, STOP_TIMEOUT);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    assert_int_equal(c.ended, 0);
    die(find_sent(WIRE_RUN, 0), true, "timeout");
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "job_timeout");
    assert_int_equal(c.record->lost_count, 2);
    assert_non_null(strstr(c.record->lost.data, "\"cause\":\"timeout\""));
    leave(&c);
}

static void a_plan_that_runs_too_long_fails_the_job(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    fire(&c.job->timer);
    die(LAST, true, "timeout");
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "job_timeout");
    leave(&c);
}

/* ---- cancelling --------------------------------------------------------------------------------------------------------- */

static void cancelling_a_job_that_waits_ends_it_at_once(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    job_cancel(c.job);
    assert_ended(&c, JOB_CANCELLED);
    assert_problem(&c, "cancelled");
    dispatch();
    assert_int_equal(fake.count, 0);
    leave(&c);
}

static void cancelling_waits_for_the_worker(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    job_cancel(c.job);
    job_cancel(c.job);
    assert_int_equal(c.ended, 0);
    assert_int_equal(LAST->stopped, STOP_CANCEL);
    assert_true(answer_text(LAST, WIRE_CANCELLED, ""));
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->lost_count, 0);
    leave(&c);
}

static void a_job_cancelled_before_it_ran_shows_how_long_it_was_queued(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    dispatch();
    job_cancel(c.job);
    assert_true(answer_text(LAST, WIRE_CANCELLED, ""));
    assert_int_equal(c.record->started_ms, 0);
    assert_true(c.record->queued_ns > 0);
    assert_int_equal(c.record->run_ns, 0);
    leave(&c);
}

static void cancelling_what_no_worker_has_begun_ends_it_at_once(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    fake.not_begun = true;
    job_cancel(c.job);
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void cancelling_a_running_job_waits_for_all_its_workers(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 4);
    job_cancel(c.job);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    assert_int_equal(c.ended, 0);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->attempts, 1);
    leave(&c);
}

static void a_result_that_comes_after_cancelling_changes_nothing(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    job_cancel(c.job);
    assert_true(done(find_sent(WIRE_MERGE, 0), "merged"));
    assert_ended(&c, JOB_CANCELLED);
    assert_int_equal(c.record->result.size, 0);
    leave(&c);
}

/* The worker waits for the parts it was promised, so they must come before it can be told to stop. */
static void a_merge_cancelled_while_it_is_fed_is_stopped_when_it_has_all_parts(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_true(done(find_sent(WIRE_RUN, 0), "a"));
    assert_true(done(find_sent(WIRE_RUN, 0), "b"));
    fake.parts_taken = 1;
    dispatch();
    struct fake_sent *merge = find_sent(WIRE_MERGE, 0);
    assert_int_equal(LAST->header.kind, WIRE_PART);
    job_cancel(c.job);
    assert_int_equal(merge->stopped, STOP_NONE);
    fake.parts_taken = UINT32_MAX;
    events.can_send(events.arg, merge->worker);
    assert_int_equal(LAST->bytes.data[0], 'b');
    assert_int_equal(merge->stopped, STOP_CANCEL);
    assert_int_equal(c.ended, 0);
    assert_true(answer_text(merge, WIRE_CANCELLED, ""));
    assert_ended(&c, JOB_CANCELLED);
    leave(&c);
}

static void a_merge_that_is_being_fed_gets_nothing_between_its_parts(void **state) {
    (void)state;
    struct client c, other;
    start_chunks(&c, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(done(find_sent(WIRE_RUN, 0), "x"));
        dispatch();
        fake.parts_taken = i == 1 ? 1 : fake.parts_taken;
    }
    struct worker *w = find_sent(WIRE_MERGE, 0)->worker;
    submit(&other, false);
    fake.parts_taken = UINT32_MAX;
    dispatch();
    assert_ptr_not_equal(find_sent(WIRE_PLAN, 0)->worker, w);
    events.can_send(events.arg, w);
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_true(done(find_sent(WIRE_PLAN, 0), "2"));
    leave(&c);
    leave(&other);
}

/* ---- lost workers -------------------------------------------------------------------------------------------------------- */

static void a_lost_chunk_runs_again_and_its_death_is_kept(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    die(find_sent(WIRE_RUN, 1), true, "oom");
    dispatch();
    struct fake_sent *again = find_sent(WIRE_RUN, 1);
    assert_int_equal(chunk_of(again), 1);
    assert_int_equal(again->header.attempt, 1);
    assert_int_equal(c.record->attempts, 2);
    assert_string_equal(c.record->lost.data,
                        "{\"chunk\":1,\"cause\":\"oom\",\"signal\":\"SIGKILL\",\"max_rss_bytes\":1048576,\"cpu_ms\":12,"
                        "\"stderr_tail\":\"last \\\"words\\\"\\n\"}");
    assert_string_equal(metrics.chunk_retries[0].label, "oom");
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(find_sent(WIRE_MERGE, 0)->header.count, 2);
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_chunk_that_had_not_begun_when_its_worker_died_is_no_attempt(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    for (int i = 0; i < 10; i++) {
        die(find_sent(WIRE_RUN, 0), false, "signal");
        dispatch();
    }
    assert_int_equal(c.record->attempts, 1);
    assert_int_equal(c.record->lost_count, 0);
    assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, 0);
    job_cancel(c.job);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    leave(&c);
}

static void a_chunk_that_always_kills_its_worker_fails_the_job_after_max_attempts(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_true(done(find_sent(WIRE_RUN, 1), "1"));
    for (int attempt = 0; attempt < 3; attempt++) {
        assert_int_equal(c.ended, 0);
        assert_int_equal(find_sent(WIRE_RUN, 0)->header.attempt, attempt);
        die(find_sent(WIRE_RUN, 0), true, "signal");
        dispatch();
    }
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "worker_crashed");
    assert_non_null(strstr(c.record->error.data, "SIGKILL"));
    assert_int_equal(c.record->lost_count, 3);
    leave(&c);
}

static void attempts_are_counted_per_chunk(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    for (int i = 0; i < 2; i++) {
        die(find_sent(WIRE_RUN, 0), true, "signal");
        die(find_sent(WIRE_RUN, 0), true, "signal");
        dispatch();
    }
    assert_int_equal(c.ended, 0);
    assert_int_equal(c.record->attempts, 5);
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_short_job_whose_worker_died_is_planned_apart_the_next_time(void **state) {
    (void)state;
    struct client c;
    submit(&c, false);
    dispatch();
    die(LAST, true, "signal");
    assert_int_equal(c.record->status, JOB_QUEUED);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags, 0);
    assert_true(planned(LAST, 1, SHORT_NS));
    dispatch();
    assert_int_equal(LAST->header.attempt, 1);
    die(LAST, true, "signal");
    dispatch();
    die(LAST, true, "signal");
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.record->lost_count, 3);
    leave(&c);
}

static void a_lost_merge_begins_again_with_the_first_part(void **state) {
    (void)state;
    struct client c;
    start_merge(&c);
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    dispatch();
    assert_int_equal(fake.sent[fake.count - 3].header.kind, WIRE_MERGE);
    assert_int_equal(fake.sent[fake.count - 2].bytes.data[0], 'a');
    assert_int_equal(fake.sent[fake.count - 1].bytes.data[0], 'b');
    for (int i = 0; i < 2; i++) {
        die(find_sent(WIRE_MERGE, 0), true, "signal");
        dispatch();
    }
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "worker_crashed");
    leave(&c);
}

static void the_death_of_a_worker_being_fed_does_not_stop_the_merge(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 2);
    assert_true(done(find_sent(WIRE_RUN, 0), "a"));
    assert_true(done(find_sent(WIRE_RUN, 0), "b"));
    fake.parts_taken = 1;
    dispatch();
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    fake.parts_taken = UINT32_MAX;
    dispatch();
    assert_int_equal(LAST->bytes.data[0], 'b');
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void too_much_memory_fails_the_job_without_another_try(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 1);
    die(find_sent(WIRE_RUN, 0), true, "memory");
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "memory_limit");
    assert_int_equal(c.record->lost_count, 1);
    leave(&c);
}

static void no_more_deaths_are_kept_than_there_is_room_for(void **state) {
    (void)state;
    struct client c;
    struct submission s = plain();
    s.options.max_attempts = 100;
    submit_as(&c, &s, true);
    for (int i = 0; i < 100; i++) {
        dispatch();
        die(find_sent(WIRE_PLAN, 0), true, "signal");
    }
    assert_ended(&c, JOB_FAILED);
    assert_int_equal(c.record->lost_count, RECORD_MAX_LOST);
    assert_int_equal(c.record->attempts, 101);
    leave(&c);
}

/* ---- workers that lie ------------------------------------------------------------------------------------------------------ */

/* An answer that is refused leaves the job as it was: the worker is killed, and the work done elsewhere. */
static void assert_goes_on(struct client *c, struct fake_sent *s) {
    die(s, true, "protocol");
    dispatch();
    assert_true(planned(find_sent(WIRE_PLAN, 0), 1, SHORT_NS));
    dispatch();
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    assert_ended(c, JOB_SUCCEEDED);
    leave(c);
}

static void assert_plan_refused(const struct buf *plan) {
    struct client c;
    submit(&c, true);
    dispatch();
    struct fake_sent *s = LAST;
    assert_false(answer(s, WIRE_PLANNED, plan));
    assert_null(c.job->chunks);
    assert_null(c.job->common);
    assert_goes_on(&c, s);
}

static void assert_head_refused(struct wire_plan head) {
    struct buf plan = {0};
    uint32_t claimed = head.chunks;
    head.chunks = claimed > 8 ? 8 : claimed;
    write_plan(&plan, head, LONG_NS);
    memcpy(plan.data + offsetof(struct wire_plan, chunks), &claimed, sizeof claimed);
    assert_plan_refused(&plan);
    buf_deinit(&plan);
}

static void plans_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct wire_plan head = two_chunks;
    head.chunks = 0;
    assert_head_refused(head);
    head.chunks = HANDLER_MAX_CHUNKS + 1;
    assert_head_refused(head);
    head.chunks = UINT32_MAX;
    assert_head_refused(head);
    head.chunks = 1000; /* the table is not there */
    assert_head_refused(head);
    head = two_chunks;
    head.type = TOY_SHAPE;
    assert_head_refused(head);
    head.type = TOY_TYPES;
    assert_head_refused(head);
    head = two_chunks;
    head.common_size = HANDLER_MAX_COMMON + 1;
    assert_head_refused(head);
    head.common_size = HANDLER_MAX_COMMON;
    assert_head_refused(head);
    head.common_size = UINT32_MAX;
    assert_head_refused(head);
    head = two_chunks;
    head.submission_size = 8; /* of a submission that the front end parsed */
    assert_head_refused(head);
}

static void plans_that_are_cut_short_are_refused(void **state) {
    (void)state;
    struct buf plan = {0};
    write_plan(&plan, two_chunks, LONG_NS);
    size_t front = sizeof two_chunks + 2 * sizeof(struct wire_chunk) + 8;
    for (size_t size = 0; size < front; size += size < 16 ? 1 : 7) {
        struct buf cut = {0};
        buf_append(&cut, plan.data, size);
        assert_plan_refused(&cut);
        buf_deinit(&cut);
    }
    buf_deinit(&plan);
}

static void chunks_outside_the_plan_are_refused(void **state) {
    (void)state;
    static const struct wire_chunk rows[] = {{0, 0, 17},
                                             {0, 16, 1},
                                             {0, 24, 0},
                                             {0, 4, 4},
                                             {0, UINT64_MAX, 8},
                                             {0, 8, UINT64_MAX},
                                             {0, 8, 9},
                                             {0, (uint64_t)1 << 63, (uint64_t)1 << 63},
                                             {0, UINT64_MAX - 7, 8}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf plan = {0};
        write_plan(&plan, two_chunks, LONG_NS);
        memcpy(plan.data + sizeof two_chunks + sizeof rows[0], &rows[i], sizeof rows[0]);
        assert_plan_refused(&plan);
        buf_deinit(&plan);
    }
}

static void absurd_costs_do_no_harm(void **state) {
    (void)state;
    struct client c[3];
    for (int i = 0; i < 3; i++) {
        submit(&c[i], true);
        dispatch();
        assert_true(planned(find_sent(WIRE_PLAN, 0), HANDLER_MAX_CHUNKS, UINT64_MAX));
        assert_true(job_estimated_work_ms(c[i].job) > 0);
    }
    assert_true(job_look(c[2].job).estimated_start_ms > clock_wall_ms());
    dispatch();
    for (int i = 0; i < 3; i++)
        job_cancel(c[i].job);
    while (find_sent(WIRE_RUN, 0) != NULL)
        assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    for (int i = 0; i < 3; i++) {
        assert_ended(&c[i], JOB_CANCELLED);
        leave(&c[i]);
    }
}

static void answers_that_do_not_fit_the_question_are_refused(void **state) {
    (void)state;
    static const uint8_t kinds[] = {WIRE_CANCELLED, WIRE_FAILED, WIRE_DONE, WIRE_PONG, WIRE_READY, WIRE_RUN, 0, 255};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct client c;
        submit(&c, true);
        dispatch();
        struct fake_sent *s = LAST;
        assert_false(answer_text(s, kinds[i], ""));
        assert_goes_on(&c, s);
    }
}

static void a_plan_in_answer_to_a_chunk_is_refused(void **state) {
    (void)state;
    struct client c;
    start_chunks(&c, 1);
    struct fake_sent *s = LAST;
    assert_false(planned(s, 1, LONG_NS));
    assert_false(answer_text(s, WIRE_FAILED, "{\"code\":\"no_such_code\",\"detail\":\"\"}"));
    assert_false(answer_text(s, WIRE_FAILED, "{\"code\":7,\"detail\":\"\"}"));
    assert_false(answer_text(s, WIRE_FAILED, "[]"));
    assert_true(done(s, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void assert_raw_plan_refused(const struct buf *plan) {
    struct job *job;
    enum problem_code why;
    struct job_request q = {.body = slice_all(blob_copy("{}", 2)), .default_priority = -1};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    slice_deinit(&q.body);
    dispatch();
    assert_false(answer(LAST, WIRE_PLANNED, plan));
    assert_null(job->chunks);
    job_cancel(job);
    assert_true(answer_text(LAST, WIRE_CANCELLED, ""));
}

static void assert_options_refused(const struct submission *s) {
    struct buf plan = {0};
    write_raw_plan(&plan, two_chunks, s, LONG_NS);
    assert_raw_plan_refused(&plan);
    buf_deinit(&plan);
}

static void options_that_no_parser_would_accept_are_refused(void **state) {
    (void)state;
    const struct submission good = plain();
    struct submission s = good;
    s.options.priority = SCHEDULER_LEVELS;
    assert_options_refused(&s);
    s.options.priority = -2;
    assert_options_refused(&s);
    s = good;
    s.options.max_attempts = 0;
    assert_options_refused(&s);
    s.options.max_attempts = (int64_t)1 << 32;
    assert_options_refused(&s);
    s = good;
    s.options.ttl_ms = INT64_MAX;
    assert_options_refused(&s);
    s.options.ttl_ms = INT64_MAX / 2000;
    assert_options_refused(&s);
    s = good;
    s.options.timeout_ms = -2;
    assert_options_refused(&s);
    s = good;
    s.options.queue_timeout_ms = -1;
    assert_options_refused(&s);
    s = good;
    s.options.chunks = -1;
    assert_options_refused(&s);
    s = good;
    s.options.delay_ms = -1;
    assert_options_refused(&s);
    s.options.delay_ms = (int64_t)366 * 24 * 3600 * 1000;
    assert_options_refused(&s);
    s = good;
    s.options.isolated = 2;
    assert_options_refused(&s);
    s = good;
    s.items = 1; /* of what is no map */
    assert_options_refused(&s);
    s.map = true;
    s.items = HOST_MAX_ITEMS + 1;
    assert_options_refused(&s);
    s = good;
    char webhook[OPTIONS_MAX_WEBHOOK + 2];
    memset(webhook, 'w', sizeof webhook - 1);
    webhook[sizeof webhook - 1] = '\0';
    s.options.webhook = webhook;
    assert_options_refused(&s);
}

static void submissions_of_another_size_are_refused(void **state) {
    (void)state;
    static const uint32_t more[] = {(uint32_t)-8, 8, HOST_MAX_SUBMISSION + 1, UINT32_MAX / 2};
    const struct submission good = plain();
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        struct buf plan = {0};
        uint32_t size;
        write_raw_plan(&plan, two_chunks, &good, LONG_NS);
        char *at = plan.data + offsetof(struct wire_plan, submission_size);
        memcpy(&size, at, sizeof size);
        size += more[i];
        memcpy(at, &size, sizeof size);
        assert_raw_plan_refused(&plan);
        buf_deinit(&plan);
    }
}

static void a_worker_cannot_finish_a_job_whose_type_is_not_known(void **state) {
    (void)state;
    struct job *job;
    enum problem_code why;
    struct job_request q = {.body = slice_all(blob_copy("{}", 2)), .default_priority = -1};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    slice_deinit(&q.body);
    dispatch();
    assert_false(done(LAST, "{}"));
    job_cancel(job);
    assert_true(answer_text(LAST, WIRE_CANCELLED, ""));
}

/* ---- bounds ------------------------------------------------------------------------------------------------------------------- */

static int try_submit(enum problem_code *why) {
    struct job *job;
    struct submission s = plain();
    buf_puts(&s.params, "0123456789");
    struct job_request q = {.submission = &s, .default_priority = -1};
    int rc = jobs_submit(jobs, &q, &job, why);
    buf_deinit(&s.params);
    return rc;
}

static void jobs_beyond_the_queue_are_refused(void **state) {
    (void)state;
    enum problem_code why;
    struct jobs_config small = config;
    small.max_queue = 2;
    jobs_configure(jobs, &small);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(try_submit(&why), -1);
    assert_int_equal(why, PROBLEM_QUEUE_FULL);
    assert_string_equal(metrics.rejected[0].label, "queue_full");
    dispatch();
    assert_true(done(find_sent(WIRE_PLAN, 0), "1"));
    assert_int_equal(try_submit(&why), 0);
}

static void results_give_way_to_new_work_and_then_work_is_refused(void **state) {
    (void)state;
    struct client c;
    enum problem_code why;
    struct jobs_config small = config;
    small.max_memory = 24;
    submit(&c, false);
    dispatch();
    assert_true(done(LAST, "0123456789"));
    struct id id = c.record->id;
    leave(&c);
    assert_int_equal(blob_held_bytes, 10);
    jobs_configure(jobs, &small);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(blob_held_bytes, 20);
    assert_int_equal(try_submit(&why), 0);
    assert_int_equal(blob_held_bytes, 20);
    assert_int_equal(try_submit(&why), -1);
    assert_int_equal(why, PROBLEM_OVER_MEMORY);
    assert_null(jobs_find(jobs, &id));
}

/* ---- looking up ------------------------------------------------------------------------------------------------------------------ */

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

static enum store_result look_up(const struct id *id) {
    struct found f = {STORE_UNAVAILABLE, 0, {{0}}};
    jobs_get(jobs, id, on_found, &f);
    assert_int_equal(f.count, f.result == STORE_OK ? 1 : 0);
    return f.result;
}

static void a_job_is_found_live_then_ended_then_gone(void **state) {
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        struct client c;
        enum store_result result = STORE_UNAVAILABLE;
        submit(&c, true);
        if (durable) {
            job_make_durable(c.job, &c.job->input, on_done, &result);
            assert_int_equal(result, STORE_OK);
            job_make_durable(c.job, &c.job->input, on_done, &result);
            assert_int_equal(result, STORE_OK);
        }
        assert_int_equal(look_up(&c.record->id), STORE_OK);
        job_cancel(c.job);
        assert_int_equal(look_up(&c.record->id), STORE_OK);
        jobs_forget(jobs, &c.record->id, on_done, &result);
        assert_int_equal(result, STORE_OK);
        assert_int_equal(look_up(&c.record->id), STORE_GONE);
        jobs_forget(jobs, &c.record->id, on_done, &result);
        assert_int_equal(result, STORE_GONE);
        leave(&c);
    }
    struct id unknown = id_new(clock_wall_ms());
    assert_int_equal(look_up(&unknown), STORE_NOT_FOUND);
}

static void the_list_has_each_job_once_newest_first(void **state) {
    (void)state;
    struct client c[6];
    enum store_result result;
    struct store_filter filter = {.status = -1, .type = -1, .limit = 10};
    memset(&filter.before, 0xFF, sizeof filter.before);
    for (int i = 0; i < 6; i++) {
        submit(&c[i], true);
        if (i % 2 == 0)
            job_make_durable(c[i].job, &c[i].job->input, on_done, &result);
        if (i < 3)
            job_cancel(c[i].job);
    }
    struct found f = {0};
    jobs_list(jobs, &filter, on_found, &f);
    assert_int_equal(f.count, 6);
    f = (struct found){0};
    filter.status = JOB_CANCELLED;
    jobs_list(jobs, &filter, on_found, &f);
    assert_int_equal(f.count, 3);
    f = (struct found){0};
    filter.status = -1;
    filter.limit = 4;
    jobs_list(jobs, &filter, on_found, &f);
    assert_int_equal(f.count, 4);
    f = (struct found){0};
    filter.before = c[2].record->id;
    jobs_list(jobs, &filter, on_found, &f);
    assert_int_equal(f.count, 2);
    for (int i = 0; i < 6; i++) {
        if (c[i].job != NULL)
            job_cancel(c[i].job);
        leave(&c[i]);
    }
}

static void everyone_who_waits_hears_of_the_end_and_who_left_does_not(void **state) {
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
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    assert_true(job_look(c.job).fraction > 0.37 && job_look(c.job).fraction < 0.38);
    job_cancel(c.job);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    leave(&c);
}

/* ---- workers of its own -------------------------------------------------------------------------------------------- */

static void submit_fresh(struct client *c, int priority) {
    struct submission s = plain();
    s.options.isolated = 1;
    s.options.priority = priority;
    submit_as(c, &s, true);
}

static unsigned count_state(enum fake_state state) {
    unsigned n = 0;
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        n += fake.workers[i].state == state;
    return n;
}

/* Every worker has done something. */
static void use_workers(void) {
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        fake.workers[i].type = TOY_SHAPE;
}

static void restart(void) {
    fake_restart(&events);
    dispatch();
}

/* It waits no more: all it has sent is stopped. */
static void cancel_all(struct client *c) {
    job_cancel(c->job);
    while (c->job != NULL && find_sent(WIRE_RUN, 0) != NULL)
        assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    leave(c);
}

static void a_fresh_job_does_all_its_work_on_workers_of_its_own(void **state) {
    (void)state;
    struct client c;
    submit_fresh(&c, 3);
    dispatch();
    struct worker *w = LAST->worker;
    assert_ptr_equal(w->owner, c.job);
    assert_int_equal(w->lane, LANE_MAIN);
    assert_true(planned(LAST, 2, SHORT_NS));
    dispatch();
    assert_ptr_equal(find_sent(WIRE_RUN, 0)->worker, w);
    assert_ptr_equal(find_sent(WIRE_RUN, 1)->worker->owner, c.job);
    assert_true(done(find_sent(WIRE_RUN, 1), "b"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* nothing to do until the merge */
    assert_true(done(find_sent(WIRE_RUN, 0), "a"));
    dispatch();
    assert_ptr_equal(find_sent(WIRE_MERGE, 0)->worker, w);
    assert_true(done(find_sent(WIRE_MERGE, 0), "ab"));
    assert_ended(&c, JOB_SUCCEEDED);
    assert_int_equal(count_state(FAKE_RETIRING), 2);
    assert_int_equal(fake_restart(&events), 2);
    leave(&c);
}

static void a_used_worker_is_replaced_before_a_fresh_job_gets_it(void **state) {
    (void)state;
    struct client c;
    use_workers();
    submit_fresh(&c, 3);
    dispatch();
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* one piece, one worker */
    restart();
    assert_int_equal(fake.count, 1);
    assert_ptr_equal(LAST->worker->owner, c.job);
    assert_true(done(LAST, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void an_unused_worker_is_taken_rather_than_another_replaced(void **state) {
    (void)state;
    struct client c;
    fake.workers[0].type = TOY_SHAPE;
    submit_fresh(&c, 3);
    dispatch();
    assert_ptr_equal(LAST->worker, &fake.workers[1]);
    assert_int_equal(count_state(FAKE_RETIRING), 0);
    assert_true(done(LAST, "1"));
    leave(&c);
}

static void nobody_else_gets_a_worker_that_is_kept(void **state) {
    (void)state;
    struct client fresh[FAKE_MAIN], other;
    use_workers();
    for (int i = 0; i < FAKE_MAIN; i++)
        submit_fresh(&fresh[i], 3);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), FAKE_MAIN);
    fake_restart(&events);
    submit(&other, true);
    dispatch();
    for (size_t i = 0; i < fake.count; i++)
        assert_true((fake.sent[i].worker->owner != NULL) == (fake.sent[i].task != LAST->task));
    assert_int_equal(LAST->worker->lane, LANE_EXPRESS);
    assert_true(planned(LAST, 1, LONG_NS));
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0)); /* all of the main lane is kept */
    for (int i = 0; i < FAKE_MAIN; i++) {
        assert_true(done(find_sent(WIRE_PLAN, 0), "1"));
        leave(&fresh[i]);
    }
    restart();
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    leave(&other);
}

static void a_fresh_job_waits_its_turn_and_no_longer(void **state) {
    (void)state;
    struct client ordinary, fresh;
    start_chunks(&ordinary, 100);
    submit_fresh(&fresh, 3);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0); /* no worker is idle */
    ordinary.job->sched.since_ns = fresh.job->sched.since_ns - 1;
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0); /* the other has waited longer */
    ordinary.job->sched.since_ns = fresh.job->sched.since_ns + 1;
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* and the other one goes on */
    restart();
    assert_true(done(find_sent(WIRE_PLAN, 0), "1"));
    assert_ended(&fresh, JOB_SUCCEEDED);
    leave(&fresh);
    restart();
    assert_non_null(find_sent(WIRE_RUN, 1));
    cancel_all(&ordinary);
}

/* Has all main workers busy with a fresh job of many chunks, and another job waiting. */
static void start_fresh_and_other(struct client *fresh, struct client *other, int priority) {
    struct submission s = plain();
    submit_fresh(fresh, 3);
    dispatch();
    assert_true(planned(LAST, 100, LONG_NS));
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, FAKE_MAIN - 1));
    s.options.priority = priority;
    submit_as(other, &s, true);
    dispatch();
    assert_true(planned(LAST, 1, LONG_NS));
    dispatch();
}

static void a_kept_worker_gives_way_to_a_more_urgent_job(void **state) {
    (void)state;
    struct client fresh, other;
    start_fresh_and_other(&fresh, &other, 2);
    fake.workers[0].ready_ns = fake.workers[0].asked_ns = INT64_MAX / 4; /* its turn has just begun */
    fake.workers[1].ready_ns = fake.workers[1].asked_ns = INT64_MAX / 4;
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* one is enough */
    restart();
    assert_true(find_sent(WIRE_RUN, 0)->worker->owner == NULL || find_sent(WIRE_RUN, 1)->worker->owner == NULL);
    cancel_all(&fresh);
    while (other.job != NULL) {
        restart();
        assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    }
    leave(&other);
}

static void a_kept_worker_gives_way_to_an_equal_when_its_turn_is_over(void **state) {
    (void)state;
    struct client fresh, other;
    start_fresh_and_other(&fresh, &other, 3);
    int64_t now_ns = clock_monotonic_ns();
    for (int i = 0; i < FAKE_MAIN; i++) {
        fake.workers[i].asked_ns = now_ns;
        fake.workers[i].ready_ns = now_ns + NS_PER_S;
    }
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 0);
    fake.workers[0].ready_ns = fake.workers[0].asked_ns = now_ns - NS_PER_S;
    fake.workers[1].ready_ns = fake.workers[1].asked_ns = now_ns - NS_PER_S;
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    job_cancel(other.job);
    leave(&other);
    cancel_all(&fresh);
    fake_restart(&events);
}

static void a_cancelled_fresh_job_leaves_no_worker_kept(void **state) {
    (void)state;
    struct client starting, running;
    submit_fresh(&running, 3);
    dispatch();
    assert_true(planned(LAST, 1, LONG_NS));
    dispatch();
    use_workers();
    submit_fresh(&starting, 3);
    dispatch();
    assert_int_equal(count_state(FAKE_RETIRING), 1);
    job_cancel(starting.job);
    assert_ended(&starting, JOB_CANCELLED);
    job_cancel(running.job);
    assert_int_equal(running.ended, 0);
    assert_true(answer_text(find_sent(WIRE_RUN, 0), WIRE_CANCELLED, ""));
    assert_ended(&running, JOB_CANCELLED);
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_null(fake.workers[i].owner);
    leave(&starting);
    leave(&running);
}

static void each_attempt_of_a_fresh_job_has_a_new_process(void **state) {
    (void)state;
    struct client c;
    submit_fresh(&c, 3);
    dispatch();
    assert_true(planned(LAST, 1, LONG_NS));
    for (int attempt = 0; attempt < 3; attempt++) {
        restart();
        assert_int_equal(LAST->header.attempt, attempt);
        unsigned before = fake.exits;
        die(LAST, true, "signal");
        assert_int_equal(fake.exits, before + 1);
    }
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "worker_crashed");
    leave(&c);
}

static void a_type_that_must_not_be_forked_gets_processes_that_load_it(void **state) {
    (void)state;
    struct client c;
    toy_plain.flags |= HANDLER_SPAWN;
    submit(&c, true);
    dispatch();
    assert_int_equal(fake.count, 0);
    assert_int_equal(count_state(FAKE_RETIRING), 1); /* the unused ones are forked */
    restart();
    assert_int_equal(LAST->worker->start_type, TOY_PLAIN);
    assert_true(done(LAST, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    fake_restart(&events);
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_int_equal(fake.workers[i].start_type, START_FORKED);
    toy_plain.flags &= ~(unsigned)HANDLER_SPAWN;
    leave(&c);
}

static void a_load_that_fails_is_a_lost_attempt(void **state) {
    (void)state;
    struct client c;
    const struct death d = {.cause = "exit", .exit_code = 1, .stderr_tail = "no such file\n"};
    toy_plain.flags |= HANDLER_SPAWN;
    submit(&c, true);
    for (int attempt = 1; attempt <= 3; attempt++) {
        dispatch();
        assert_ptr_equal(fake.workers[0].owner, c.job);
        fake.workers[0].replacing = false; /* the next process was started, and died */
        fake_exit(&fake.workers[0], &events, &d);
        assert_int_equal(c.record->attempts, attempt + 1);
    }
    assert_ended(&c, JOB_FAILED);
    assert_problem(&c, "worker_crashed");
    assert_non_null(strstr(c.record->lost.data, "no such file"));
    assert_int_equal(fake.count, 0);
    toy_plain.flags &= ~(unsigned)HANDLER_SPAWN;
    leave(&c);
}

static void submit_large(struct client *c) {
    struct job *job;
    enum problem_code why;
    struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .default_priority = 5};
    assert_int_equal(jobs_submit(jobs, &q, &job, &why), 0);
    slice_deinit(&q.body);
    follow(c, job);
    dispatch();
}

static const struct wire_plan no_chunks = {.type = TOY_PLAIN};

static struct submission parsed_isolated(void) {
    struct submission s = parsed_options();
    s.options.isolated = 1;
    return s;
}

static bool parsed_as(struct fake_sent *s, struct wire_plan head, struct submission raw, const char *params) {
    struct buf body = {0};
    uint32_t chunks = head.chunks;
    head.chunks = 0;
    write_raw_plan(&body, head, &raw, 0);
    memcpy(body.data + offsetof(struct wire_plan, chunks), &chunks, sizeof chunks);
    buf_puts(&body, params);
    bool good = answer(s, WIRE_PARSED, &body);
    buf_deinit(&body);
    return good;
}

static bool parsed(struct fake_sent *s, const char *params) {
    return parsed_as(s, no_chunks, parsed_isolated(), params);
}

static void a_large_body_of_a_fresh_job_is_parsed_here_and_planned_there(void **state) {
    (void)state;
    struct client c;
    submit_large(&c);
    struct worker *parser = LAST->worker;
    assert_null(parser->owner);
    assert_true(parsed(LAST, "packed"));
    assert_int_equal(c.planned, 0);
    assert_int_equal(c.record->options.priority, 1);
    dispatch();
    assert_int_equal(LAST->header.kind, WIRE_PLAN);
    assert_int_equal(LAST->header.flags & WIRE_RAW, 0);
    assert_int_equal(LAST->header.type, TOY_PLAIN);
    assert_string_equal(LAST->bytes.data, "packed");
    assert_ptr_not_equal(LAST->worker, parser);
    assert_ptr_equal(LAST->worker->owner, c.job);
    assert_false(parsed(LAST, "packed")); /* once is enough */
    assert_true(done(LAST, "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_parsed_submission_that_makes_no_sense_is_refused(void **state) {
    (void)state;
    struct client c;
    struct buf cut = {0};
    submit_large(&c);
    struct submission good = parsed_isolated(), of_no_type = good, of_other_type = good, no_attempts = good;
    of_no_type.type = TOY_TYPES;
    of_other_type.type = TOY_SHAPE;
    no_attempts.options.max_attempts = 0;
    assert_false(parsed_as(LAST, one_chunk, good, ""));
    assert_false(parsed_as(LAST, (struct wire_plan){.type = TOY_TYPES}, of_no_type, ""));
    assert_false(parsed_as(LAST, no_chunks, of_other_type, ""));
    assert_false(parsed_as(LAST, no_chunks, no_attempts, ""));
    buf_append(&cut, &no_chunks, sizeof no_chunks - 1);
    assert_false(answer(LAST, WIRE_PARSED, &cut));
    buf_append(&cut, &no_chunks, 1); /* without a submission */
    assert_false(answer(LAST, WIRE_PARSED, &cut));
    buf_deinit(&cut);
    assert_true(parsed(LAST, ""));
    job_cancel(c.job);
    leave(&c);
}

/* ---- pauses between attempts ------------------------------------------------------------------------------------------ */

static void set_retry_delay(int64_t first_ns, int64_t longest_ns) {
    struct jobs_config with_delay = config;
    with_delay.retry_delay_ns = first_ns;
    with_delay.max_retry_delay_ns = longest_ns;
    jobs_configure(jobs, &with_delay);
}

static void end_pause(struct job *job) {
    for (uint32_t i = 0; i < job->backoffs->count; i++)
        job->backoffs->list[i].due_ns = 1;
    fire(&job->backoffs->timer);
}

static void the_pause_doubles_with_each_loss_up_to_a_limit(void **state) {
    (void)state;
    static const int64_t longest_ms[] = {100, 200, 400, 500, 500};
    struct client c;
    struct submission s = plain();
    s.options.max_attempts = 100;
    set_retry_delay(100 * NS_PER_MS, 500 * NS_PER_MS);
    submit_as(&c, &s, true);
    dispatch();
    assert_true(planned(LAST, 1, LONG_NS));
    for (int i = 0; i < 5; i++) {
        dispatch();
        int64_t before_ns = clock_monotonic_ns();
        die(find_sent(WIRE_RUN, 0), true, "signal");
        int64_t after_ns = clock_monotonic_ns(), longest_ns = longest_ms[i] * NS_PER_MS;
        dispatch();
        assert_null(find_sent(WIRE_RUN, 0));
        assert_int_equal(c.job->backoffs->timer.due_ns, c.job->backoffs->list[0].due_ns);
        assert_true(c.job->backoffs->list[0].due_ns >= before_ns + longest_ns / 2);
        assert_true(c.job->backoffs->list[0].due_ns <= after_ns + longest_ns);
        end_pause(c.job);
    }
    job_cancel(c.job);
    leave(&c);
}

static void other_chunks_go_on_while_one_pauses(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&c, 3);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 1);
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 1)), 2);
    assert_int_not_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    die(find_sent(WIRE_RUN, 1), true, "signal");
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    assert_null(find_sent(WIRE_RUN, 0));
    assert_int_equal(c.job->backoffs->count, 2);
    assert_int_equal(job_backoff_until_ns(c.job), c.job->backoffs->timer.due_ns);
    c.job->backoffs->list[1].due_ns = 1;
    fire(&c.job->backoffs->timer);
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 0)), 2);
    assert_null(find_sent(WIRE_RUN, 1));
    end_pause(c.job);
    dispatch();
    assert_int_equal(chunk_of(find_sent(WIRE_RUN, 1)), 0);
    assert_true(done(find_sent(WIRE_RUN, 0), "2"));
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    dispatch();
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void a_lost_plan_and_a_lost_merge_pause_too(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit(&c, true);
    dispatch();
    die(LAST, true, "signal");
    dispatch();
    assert_null(find_sent(WIRE_PLAN, 0));
    assert_int_equal(c.record->status, JOB_QUEUED);
    assert_int_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    end_pause(c.job);
    assert_int_not_equal(job_not_runnable(c.job), NOT_RUNNABLE_BACKING_OFF);
    dispatch();
    assert_true(planned(find_sent(WIRE_PLAN, 0), 2, LONG_NS));
    dispatch();
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    assert_true(done(find_sent(WIRE_RUN, 0), "1"));
    dispatch();
    die(find_sent(WIRE_MERGE, 0), true, "signal");
    dispatch();
    assert_null(find_sent(WIRE_MERGE, 0));
    end_pause(c.job);
    dispatch();
    assert_true(done(find_sent(WIRE_MERGE, 0), "1"));
    assert_ended(&c, JOB_SUCCEEDED);
    leave(&c);
}

static void what_had_not_begun_does_not_pause(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&c, 2);
    die(find_sent(WIRE_RUN, 0), false, "signal");
    dispatch();
    assert_non_null(find_sent(WIRE_RUN, 1));
    assert_false(job_is_backing_off(c.job));
    cancel_all(&c);
}

static void a_job_that_pauses_can_be_cancelled_and_runs_out_of_time(void **state) {
    (void)state;
    struct client cancelled, late;
    set_retry_delay(NS_PER_S, NS_PER_S);
    start_chunks(&cancelled, 1);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    job_cancel(cancelled.job);
    assert_ended(&cancelled, JOB_CANCELLED);
    start_chunks(&late, 1);
    die(find_sent(WIRE_RUN, 0), true, "signal");
    fire(&late.job->timer);
    assert_ended(&late, JOB_FAILED);
    assert_problem(&late, "job_timeout");
    leave(&cancelled);
    leave(&late);
}

static void a_fresh_job_keeps_no_worker_while_it_pauses(void **state) {
    (void)state;
    struct client c;
    set_retry_delay(NS_PER_S, NS_PER_S);
    submit_fresh(&c, 3);
    dispatch();
    assert_true(planned(LAST, 2, LONG_NS));
    dispatch();
    die(find_sent(WIRE_RUN, 1), true, "signal");
    assert_true(done(find_sent(WIRE_RUN, 0), "0"));
    restart();
    for (int i = 0; i < FAKE_WORKERS; i++)
        assert_null(fake.workers[i].owner);
    assert_int_equal(c.job->isolated_workers, 0);
    end_pause(c.job);
    restart();
    assert_ptr_equal(find_sent(WIRE_RUN, 0)->worker->owner, c.job);
    cancel_all(&c);
}

/* ---- everything at once ------------------------------------------------------------------------------------------------------------ */

static unsigned long long random_state = 88172645463325252ull;

static unsigned dice(unsigned sides) {
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % sides;
}

static void answer_somehow(struct fake_sent *s) {
    bool was_stopped = s->stopped != STOP_NONE;
    switch (dice(8)) {
    case 0: die(s, dice(2) == 0, "signal"); break;
    case 1:
        if (!answer_text(s, WIRE_FAILED, dice(2) == 0 ? "{\"code\":\"handler_failed\",\"detail\":\"\"}" : "?"))
            die(s, true, "protocol");
        break;
    case 2:
        if (!answer_text(s, WIRE_CANCELLED, ""))
            die(s, !was_stopped, "protocol");
        break;
    default:
        if (s->header.kind != WIRE_PLAN || s->header.flags == WIRE_GO)
            assert_true(done(s, "1"));
        else
            assert_true(planned(s, 1 + dice(6), dice(2) == 0 ? SHORT_NS : LONG_NS));
    }
}

static void any_course_of_events_ends_every_job_and_the_books_balance(void **state) {
    (void)state;
    enum { MANY = 300 };
    static struct client clients[MANY];
    unsigned statuses[JOB_STATUSES] = {0};
    set_retry_delay(2, 2);
    for (int i = 0; i < MANY; i++) {
        struct submission s = plain();
        s.options.isolated = dice(4) == 0;
        submit_as(&clients[i], &s, dice(2) == 0);
    }
    while (jobs_live(jobs) > 0) {
        if (dice(3) == 0)
            fake_restart(&events);
        fake.not_begun = dice(4) == 0;
        dispatch();
        struct client *c = &clients[dice(MANY)];
        if (dice(40) == 0 && c->job != NULL)
            job_cancel(c->job);
        if (dice(40) == 0 && c->job != NULL && c->job->timer.slot != 0)
            fire(&c->job->timer);
        for (int i = 0; i < MANY; i++)
            if (clients[i].job != NULL && job_is_backing_off(clients[i].job))
                fire(&clients[i].job->backoffs->timer);
        struct fake_sent *s = NULL;
        for (uint8_t kind = WIRE_PLAN; kind <= WIRE_MERGE && (s == NULL || dice(3) == 0); kind++)
            s = find_sent(kind, dice(3)) != NULL ? find_sent(kind, 0) : s;
        s = s == NULL ? find_sent(WIRE_PLAN, 0) : s;
        s = s == NULL ? find_sent(WIRE_RUN, 0) : s;
        s = s == NULL ? find_sent(WIRE_MERGE, 0) : s;
        if (s != NULL)
            answer_somehow(s);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(clients[i].ended, 1);
        statuses[clients[i].record->status]++;
        leave(&clients[i]);
    }
    assert_true(statuses[JOB_SUCCEEDED] > 0 && statuses[JOB_FAILED] > 0 && statuses[JOB_CANCELLED] > 0);
    assert_int_equal(statuses[JOB_SUCCEEDED], metrics.jobs[TOY_PLAIN][JOB_SUCCEEDED]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_short_job_is_planned_run_and_merged_in_one_go),
        TEST(an_asynchronous_job_is_planned_before_it_runs),
        TEST(chunks_are_merged_in_order_once_all_parts_are_there),
        TEST(a_long_chunk_never_goes_to_the_express_lane_nor_behind_another),
        TEST(the_more_urgent_job_is_sent_first),
        TEST(a_large_body_is_parsed_by_a_worker_and_its_options_obeyed),
        TEST(wrong_params_reject_the_submission_and_leave_no_job),
        TEST(a_job_that_was_answered_202_fails_and_is_not_rejected),
        TEST(a_failed_chunk_stops_the_others_and_then_fails_the_job),
        TEST(a_failed_merge_fails_the_job),
        TEST(a_job_not_started_in_time_fails),
        TEST(a_timeout_of_centuries_is_kept_and_not_taken_for_none),
        TEST(planning_does_not_use_up_the_queue_timeout),
        TEST(a_job_that_runs_too_long_fails_once_all_its_workers_have_stopped),
        TEST(a_plan_that_runs_too_long_fails_the_job),
        TEST(cancelling_a_job_that_waits_ends_it_at_once),
        TEST(cancelling_waits_for_the_worker),
        TEST(a_job_cancelled_before_it_ran_shows_how_long_it_was_queued),
        TEST(cancelling_what_no_worker_has_begun_ends_it_at_once),
        TEST(cancelling_a_running_job_waits_for_all_its_workers),
        TEST(a_result_that_comes_after_cancelling_changes_nothing),
        TEST(a_merge_cancelled_while_it_is_fed_is_stopped_when_it_has_all_parts),
        TEST(a_merge_that_is_being_fed_gets_nothing_between_its_parts),
        TEST(a_lost_chunk_runs_again_and_its_death_is_kept),
        TEST(a_chunk_that_had_not_begun_when_its_worker_died_is_no_attempt),
        TEST(a_chunk_that_always_kills_its_worker_fails_the_job_after_max_attempts),
        TEST(attempts_are_counted_per_chunk),
        TEST(a_short_job_whose_worker_died_is_planned_apart_the_next_time),
        TEST(a_lost_merge_begins_again_with_the_first_part),
        TEST(the_death_of_a_worker_being_fed_does_not_stop_the_merge),
        TEST(too_much_memory_fails_the_job_without_another_try),
        TEST(no_more_deaths_are_kept_than_there_is_room_for),
        TEST(a_map_is_planned_run_and_merged_as_one),
        TEST(a_large_body_may_turn_out_to_be_a_map),
        TEST(an_item_that_kills_its_worker_is_given_up_and_the_others_run),
        TEST(a_map_fails_if_no_item_can_be_blamed),
        TEST(plans_that_make_no_sense_are_refused),
        TEST(plans_that_are_cut_short_are_refused),
        TEST(chunks_outside_the_plan_are_refused),
        TEST(absurd_costs_do_no_harm),
        TEST(answers_that_do_not_fit_the_question_are_refused),
        TEST(a_plan_in_answer_to_a_chunk_is_refused),
        TEST(options_that_no_parser_would_accept_are_refused),
        TEST(submissions_of_another_size_are_refused),
        TEST(a_worker_cannot_finish_a_job_whose_type_is_not_known),
        TEST(jobs_beyond_the_queue_are_refused),
        TEST(results_give_way_to_new_work_and_then_work_is_refused),
        TEST(a_job_is_found_live_then_ended_then_gone),
        TEST(the_list_has_each_job_once_newest_first),
        TEST(everyone_who_waits_hears_of_the_end_and_who_left_does_not),
        TEST(progress_counts_chunks_done_and_what_running_ones_report),
        TEST(a_fresh_job_does_all_its_work_on_workers_of_its_own),
        TEST(a_used_worker_is_replaced_before_a_fresh_job_gets_it),
        TEST(an_unused_worker_is_taken_rather_than_another_replaced),
        TEST(nobody_else_gets_a_worker_that_is_kept),
        TEST(a_fresh_job_waits_its_turn_and_no_longer),
        TEST(a_kept_worker_gives_way_to_a_more_urgent_job),
        TEST(a_kept_worker_gives_way_to_an_equal_when_its_turn_is_over),
        TEST(a_cancelled_fresh_job_leaves_no_worker_kept),
        TEST(each_attempt_of_a_fresh_job_has_a_new_process),
        TEST(a_type_that_must_not_be_forked_gets_processes_that_load_it),
        TEST(a_load_that_fails_is_a_lost_attempt),
        TEST(a_large_body_of_a_fresh_job_is_parsed_here_and_planned_there),
        TEST(a_parsed_submission_that_makes_no_sense_is_refused),
        TEST(the_pause_doubles_with_each_loss_up_to_a_limit),
        TEST(other_chunks_go_on_while_one_pauses),
        TEST(a_lost_plan_and_a_lost_merge_pause_too),
        TEST(what_had_not_begun_does_not_pause),
        TEST(a_job_that_pauses_can_be_cancelled_and_runs_out_of_time),
        TEST(a_fresh_job_keeps_no_worker_while_it_pauses),
        TEST(any_course_of_events_ends_every_job_and_the_books_balance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
