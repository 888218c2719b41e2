/* store_test.c: what every store promises (server/store/store.h). Most tests run for the store in memory and for the
 * one on disk. They call every operation in every state of a job, and repeat it. */
#include "tests/unit/store_helpers.h"

static bool on_disk;

static void open_limited(const struct store_limits *limits, bool tombstones) {
    if (on_disk)
        open_sqlite(limits);
    else
        store = store_memory_open(limits, tombstones);
    assert_non_null(store);
}

static int open_store(bool disk) {
    on_disk = disk;
    set_up_directory();
    open_limited(&(struct store_limits){0}, true);
    return 0;
}

static int open_memory(void **state) {
    (void)state;
    return open_store(false);
}

static int open_disk(void **state) {
    (void)state;
    return open_store(true);
}

static int tear_down(void **state) {
    (void)state;
    tear_down_directory();
    return 0;
}

/* Opens the store again, with other limits. */
static void limit(const struct store_limits *limits, bool tombstones) {
    close_store();
    open_limited(limits, tombstones);
}

/* Recovers after a restart if the store is on disk. The store in memory has nothing to recover. */
static struct recovered *recover_after_restart(void) {
    if (on_disk)
        limit(&(struct store_limits){0}, true);
    return recover();
}

/* ---- one job ----------------------------------------------------------------------------------------------------- */

static void an_unknown_job_is_not_found(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(get(r), STORE_NOT_FOUND);
    assert_int_equal(forget(r), STORE_NOT_FOUND);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    record_unref(r);
}

static void a_submitted_job_is_found_and_submitting_again_changes_nothing(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

static void an_ended_job_is_final(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(finish(r), STORE_FINAL);
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

static void a_job_that_was_never_submitted_can_be_finished(void **state) {
    (void)state;
    struct record *r = ended_record(clock_wall_ms(), 1000);
    assert_int_equal(get(r), STORE_OK);
    assert_int_equal(finish(r), STORE_FINAL);
    record_unref(r);
}

static void a_forgotten_job_stays_gone(void **state) {
    (void)state;
    for (int ended = 0; ended < 2; ended++) {
        struct record *r = new_record();
        assert_int_equal(submit(r), STORE_OK);
        end_at(r, clock_wall_ms());
        if (ended)
            assert_int_equal(finish(r), STORE_OK);
        assert_int_equal(forget(r), STORE_OK);
        assert_int_equal(forget(r), STORE_GONE);
        assert_int_equal(get(r), STORE_GONE);
        assert_int_equal(finish(r), STORE_GONE);
        assert_int_equal(submit(r), STORE_GONE);
        assert_int_equal(get(r), STORE_GONE);
        record_unref(r);
    }
}

static void an_expired_job_is_gone_for_one_more_ttl_and_then_unknown(void **state) {
    (void)state;
    struct record *r = ended_record(10000, 1000);
    assert_int_equal(gc(10999), 11000);
    assert_int_equal(get(r), STORE_OK);
    assert_int_equal(gc(11000), 12000);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(forget(r), STORE_GONE);
    assert_int_equal(gc(11000), 12000);
    assert_int_equal(gc(12000), 0);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    assert_int_equal(gc(INT64_MAX), 0);
    record_unref(r);
}

static void a_job_that_has_not_ended_never_expires(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(gc(INT64_MAX - 1), 0);
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

static void a_ttl_of_zero_expires_at_once(void **state) {
    (void)state;
    struct record *r = ended_record(10000, 0);
    assert_int_equal(gc(10000), 10001);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(gc(10001), 0);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    record_unref(r);
}

static void a_result_of_any_size_comes_back_unchanged(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 5000, 32 * 1024, 32 * 1024 + 1, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct record *r = new_record(), *found;
        if (sizes[i] > 0)
            r->result = large_slice(sizes[i], 'a');
        end_at(r, 1000);
        assert_int_equal(finish(r), STORE_OK);
        assert_int_equal(get_record(&r->id, &found), STORE_OK);
        assert_same_bytes(&found->result, &r->result);
        record_unref(found);
        record_unref(r);
    }
    gc(2000);
    assert_int_equal(blob_held_bytes, 0);
    assert_int_equal(count_files("files", ""), 0);
}

/* One result is on the heap, the other in a memfd; each is only a part of a larger blob. */
static void a_result_can_be_a_part_of_a_larger_blob(void **state) {
    (void)state;
    struct slice whole = text_slice("0123456789"), large = large_slice(100000, 'A');
    struct record *a = new_record(), *b = new_record(), *found;
    a->result = slice_part(&whole, 3, 4);
    b->result = slice_part(&large, 777, 90000);
    end_at(a, clock_wall_ms());
    end_at(b, clock_wall_ms());
    assert_int_equal(finish(a), STORE_OK);
    assert_int_equal(finish(b), STORE_OK);
    assert_int_equal(get_record(&a->id, &found), STORE_OK);
    assert_same_bytes(&found->result, &a->result);
    record_unref(found);
    assert_int_equal(get_record(&b->id, &found), STORE_OK);
    assert_same_bytes(&found->result, &b->result);
    record_unref(found);
    record_unref(a);
    record_unref(b);
    slice_deinit(&whole);
    slice_deinit(&large);
}

static void set_text(char **to, const char *text) {
    free(*to);
    *to = strdup(text);
}

/* Every member has a value that no other has. */
static struct record *full_record(void) {
    struct record *r = new_record();
    r->durable = true;
    r->type = 1;
    r->options.priority = 7;
    r->options.isolated = r->options_known = r->map = true;
    r->created_ms = 101, r->started_ms = 102, r->not_before_ms = 103;
    r->options.ttl_ms = 104, r->options.timeout_ms = 105, r->options.queue_timeout_ms = 106;
    r->options.max_attempts = 99, r->options.chunks = 4001, r->items = 4000000003;
    r->chunks_done = 4000000004, r->chunks_total = 4000000005;
    r->attempts = 107, r->lost_count = 108;
    r->queued_ns = INT64_MAX, r->run_ns = 109, r->cpu_ns = 110, r->plan_ns = 111, r->merge_ns = 112;
    r->version = 113;
    buf_puts(&r->lost, "{\"cause\":\"signal\"},{\"cause\":\"restart\"}");
    set_text(&r->options.webhook, "https://example.com/hook?a=\xc3\xa4");
    set_text(&r->trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    return r;
}

#define SAME(member) assert_true(a->member == b->member)

static void assert_same_record(const struct record *a, const struct record *b) {
    assert_memory_equal(&a->id, &b->id, sizeof a->id);
    SAME(type), SAME(status), SAME(options.priority), SAME(durable), SAME(options.isolated), SAME(options_known);
    SAME(created_ms), SAME(started_ms), SAME(finished_ms), SAME(expires_ms), SAME(not_before_ms);
    SAME(options.ttl_ms), SAME(options.timeout_ms), SAME(options.queue_timeout_ms), SAME(options.max_attempts);
    SAME(options.chunks), SAME(options.delay_ms);
    SAME(map), SAME(items), SAME(chunks_done), SAME(chunks_total), SAME(attempts), SAME(lost_count);
    SAME(queued_ns), SAME(run_ns), SAME(cpu_ns), SAME(plan_ns), SAME(merge_ns), SAME(version);
    assert_int_equal(a->trace == NULL, b->trace == NULL);
    if (a->trace != NULL)
        assert_string_equal(a->trace, b->trace);
    assert_int_equal(a->options.webhook == NULL, b->options.webhook == NULL);
    if (a->options.webhook != NULL)
        assert_string_equal(a->options.webhook, b->options.webhook);
    assert_int_equal(a->lost.size, b->lost.size);
    assert_memory_equal(a->lost.data, b->lost.data, a->lost.size);
    assert_int_equal(a->error.size, b->error.size);
    if (a->error.size > 0) {
        assert_memory_equal(a->error.data, b->error.data, a->error.size);
        SAME(problem);
    }
}

static void every_member_of_a_record_is_kept(void **state) {
    (void)state;
    struct record *r = full_record(), *found;
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_record(r, found);
    record_unref(found);
    r->status = JOB_RUNNING;
    r->attempts++;
    r->version++;
    buf_puts(&r->lost, ",{}");
    store->ops->update(store, r);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_record(r, found);
    record_unref(found);
    end_at(r, 5000);
    r->status = JOB_FAILED;
    r->problem = PROBLEM_WORKER_CRASHED;
    buf_puts(&r->error, "\"detail\":\"gave up\"");
    assert_int_equal(finish(r), STORE_OK);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_record(r, found);
    record_unref(found);
    record_unref(r);
}

static void a_log_is_kept_with_the_end_of_its_job(void **state) {
    (void)state;
    for (int submitted = 0; submitted < 2; submitted++) {
        struct record *r = new_record(), *found;
        if (submitted)
            assert_int_equal(submit(r), STORE_OK);
        add_log(r, "one\ntwo\n");
        end_at(r, clock_wall_ms());
        assert_int_equal(finish(r), STORE_OK);
        assert_int_equal(get_record(&r->id, &found), STORE_OK);
        assert_int_equal(found->log_size, 8);
        assert_string_equal(found->log->text.data, "one\ntwo\n");
        assert_int_equal(forget(r), STORE_OK);
        record_unref(found);
        record_unref(r);
    }
}

/* As a small job is: submitted when it has ended. */
static void a_log_is_kept_of_a_job_that_is_submitted_with_its_end(void **state) {
    (void)state;
    struct record *r = new_record(), *found;
    add_log(r, "printed\n");
    end_at(r, clock_wall_ms());
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_string_equal(found->log->text.data, "printed\n");
    record_unref(found);
    record_unref(r);
}

static void logs_count_against_max_ended_bytes(void **state) {
    (void)state;
    struct record *first = new_record(), *second = new_record();
    char line[4000];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    limit(&(struct store_limits){.max_ended_bytes = 6000}, true);
    add_log(first, line);
    end_at(first, clock_wall_ms());
    assert_int_equal(finish(first), STORE_OK);
    add_log(second, line);
    end_at(second, clock_wall_ms());
    assert_int_equal(finish(second), STORE_OK);
    assert_int_equal(get(first), STORE_GONE);
    assert_int_equal(get(second), STORE_OK);
    record_unref(first);
    record_unref(second);
}

static void a_result_that_is_not_json_is_kept_with_its_media_type_and_summary(void **state) {
    (void)state;
    static const char *const summaries[] = {"{\"width\":3}", ""};
    static const size_t sizes[] = {0, 10, 100000};
    char longest[HANDLER_MAX_MEDIA_TYPE + 1] = "image/";
    memset(longest + 6, 'x', sizeof longest - 7);
    for (unsigned i = 0; i < 12; i++) {
        struct record *r = new_record(), *found;
        const char *summary = summaries[i % 2], *media_type = i % 3 == 0 ? longest : "image/png";
        set_binary(r, media_type, summary);
        r->result = large_slice(sizes[i % 3], 'p');
        end_at(r, clock_wall_ms());
        assert_int_equal(i < 6 ? finish(r) : submit(r), STORE_OK);
        assert_int_equal(get_record(&r->id, &found), STORE_OK);
        assert_non_null(found->binary);
        assert_string_equal(found->binary->media_type, media_type);
        assert_int_equal(found->binary->summary.size, strlen(summary));
        assert_memory_equal(found->binary->summary.data, summary, strlen(summary));
        assert_same_bytes(&found->result, &r->result);
        record_unref(found);
        assert_int_equal(forget(r), STORE_OK);
        assert_int_equal(get(r), STORE_GONE);
        record_unref(r);
    }
}

struct media_types {
    char of[2][HANDLER_MAX_MEDIA_TYPE + 1]; /* "": JSON */
    unsigned count;
    bool there;
};

static void on_media_type(void *arg, enum store_result result, struct record *record) {
    struct media_types *m = arg;
    assert_int_equal(result, STORE_OK);
    m->there = record == NULL;
    if (record == NULL)
        return;
    assert_in_range(m->count, 0, 1);
    if (record->binary != NULL)
        strcpy(m->of[m->count], record->binary->media_type);
    m->count++;
}

static void a_list_says_which_results_are_not_json(void **state) {
    (void)state;
    struct record *json = new_record(), *binary = new_record();
    const struct record_filter f = {.status = -1, .type = -1, .limit = 10, .before = {{[0 ... 15] = 0xff}}};
    struct media_types m = {.count = 0};
    end_at(json, clock_wall_ms());
    assert_int_equal(finish(json), STORE_OK);
    set_binary(binary, "image/png", "{}");
    binary->result = text_slice("PNG");
    end_at(binary, clock_wall_ms());
    assert_int_equal(finish(binary), STORE_OK);
    store->ops->list(store, &f, on_media_type, &m);
    while (!m.there)
        loop_step(loop, NS_PER_S);
    assert_int_equal(m.count, 2);
    assert_string_equal(m.of[0], "image/png");
    assert_string_equal(m.of[1], "");
    record_unref(json);
    record_unref(binary);
}

static void summaries_count_against_max_ended_bytes(void **state) {
    (void)state;
    struct record *first = new_record(), *second = new_record();
    char summary[4000];
    memset(summary, '1', sizeof summary);
    summary[sizeof summary - 1] = '\0';
    limit(&(struct store_limits){.max_ended_bytes = 6000}, true);
    set_binary(first, "image/png", summary);
    end_at(first, clock_wall_ms());
    assert_int_equal(finish(first), STORE_OK);
    set_binary(second, "image/png", summary);
    end_at(second, clock_wall_ms());
    assert_int_equal(finish(second), STORE_OK);
    assert_int_equal(get(first), STORE_GONE);
    assert_int_equal(get(second), STORE_OK);
    record_unref(first);
    record_unref(second);
}

/* A call records the record as it was at that time, even if the live record changes soon after. */
static void a_call_records_what_it_was_given(void **state) {
    (void)state;
    struct record *r = full_record(), *found;
    struct answer a = {false};
    store->ops->submit(store, r, &(struct store_input){.key = NULL}, on_done, &a);
    for (int i = 0; i < 100; i++) {
        r->version++;
        buf_puts(&r->lost, ",{\"cause\":\"exit\"}");
        store->ops->update(store, r);
    }
    await(&a);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_record(r, found);
    record_unref(found);
    record_unref(r);
}

/* One operation for the whole life of a job. */
static void a_job_can_be_submitted_with_its_end(void **state) {
    (void)state;
    struct record *r = full_record(), *found;
    struct slice body = text_slice("{\"body\":1}");
    struct store_key k = {.tenant = "t", .key = "k", .ttl_ms = 1000};
    struct delivery d = {.job = r->id, .url = "https://example.com/", .body = body, .trace = r->trace};
    memset(k.hash, 'h', sizeof k.hash);
    r->result = large_slice(50000, 'a');
    end_at(r, clock_wall_ms());
    const struct store_input in = {.key = &k, .webhook = &d};
    assert_int_equal(submit_with(r, &in), STORE_OK);
    assert_int_equal(submit_with(r, &in), STORE_OK);
    assert_int_equal(finish(r), STORE_FINAL);
    assert_int_equal(get_record(&r->id, &found), STORE_OK);
    assert_same_record(r, found);
    assert_same_bytes(&found->result, &r->result);
    record_unref(found);
    struct answer a = find_key("t", "k");
    assert_int_equal(a.result, STORE_OK);
    assert_memory_equal(&a.job, &r->id, sizeof r->id);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count, 0);
    assert_int_equal(v->delivery_count, on_disk ? 1 : 0);
    free_recovered(v);
    if (on_disk)
        assert_int_equal(count_files("files", ""), 1);
    assert_int_equal(gc(r->expires_ms) > 0, 1);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(submit_with(r, &in), STORE_GONE);
    if (on_disk)
        assert_int_equal(count_files("files", ""), 0);
    record_unref(r);
    slice_deinit(&body);
}

static void a_job_that_is_submitted_with_its_end_cannot_have_anothers_key(void **state) {
    (void)state;
    struct record *first = new_record(), *second = new_record();
    assert_int_equal(submit_keyed(first, "t", "k", 'a', 1000), STORE_OK);
    second->result = text_slice("1");
    end_at(second, clock_wall_ms());
    assert_int_equal(submit_keyed(second, "t", "k", 'a', 1000), STORE_EXISTS);
    assert_int_equal(get(second), STORE_NOT_FOUND);
    assert_int_equal(submit(second), STORE_OK);
    assert_int_equal(get(second), STORE_OK);
    record_unref(first);
    record_unref(second);
}

/* Such jobs count against the limits like those that were finished. */
static void jobs_that_are_submitted_with_their_ends_are_evicted_in_their_order(void **state) {
    (void)state;
    struct record *r[4];
    limit(&(struct store_limits){.max_ended = 2}, true);
    for (int i = 0; i < 4; i++) {
        r[i] = new_record();
        end_at(r[i], clock_wall_ms() + i);
        assert_int_equal(i % 2 == 0 ? submit(r[i]) : finish(r[i]), STORE_OK);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(get(r[i]), i < 2 ? STORE_GONE : STORE_OK);
        record_unref(r[i]);
    }
}

/* ---- plans and parts --------------------------------------------------------------------------------------------- */

static void nothing_is_recovered_from_an_empty_store(void **state) {
    (void)state;
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count + v->chunk_count + v->delivery_count, 0);
    free_recovered(v);
}

static void open_jobs_are_recovered_in_order(void **state) {
    (void)state;
    struct record *r[20];
    struct slice request = text_slice("{\"type\":\"sum\"}");
    for (int i = 0; i < 20; i++) {
        r[i] = full_record();
        r[i]->chunks_done = r[i]->chunks_total = 0;
        r[i]->status = i % 3 == 0 ? JOB_RUNNING : JOB_QUEUED;
    }
    for (int i = 0; i < 20; i++) /* in another order */
        assert_int_equal(submit_with(r[i * 7 % 20], &(struct store_input){.request = request}), STORE_OK);
    end_at(r[3], 1000);
    assert_int_equal(finish(r[3]), STORE_OK);
    assert_int_equal(forget(r[5]), STORE_OK);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count, 18);
    for (int i = 0, n = 0; i < 20; i++) {
        if (i == 3 || i == 5)
            continue;
        assert_same_record(v->jobs[n], r[i]);
        assert_same_bytes(&v->requests[n], &request);
        assert_int_equal(v->plans[n].size, 0);
        n++;
    }
    free_recovered(v);
    for (int i = 0; i < 20; i++)
        record_unref(r[i]);
    slice_deinit(&request);
}

static struct record *planned_job(uint32_t chunks) {
    struct record *r = new_record();
    struct slice request = text_slice("{}"), plan = plan_slice(1, chunks, 0);
    assert_int_equal(submit_with(r, &(struct store_input){.request = request}), STORE_OK);
    r->type = 1;
    r->chunks_total = chunks;
    store->ops->plan(store, r, &plan);
    slice_deinit(&request);
    slice_deinit(&plan);
    return r;
}

/* Counts the chunk in the record first, as the room of jobs does. */
static void complete(struct record *r, uint32_t chunk, uint32_t attempt, const char *text) {
    struct slice part = text_slice(text);
    r->chunks_done++;
    store->ops->complete(store, &r->id, chunk, attempt, &part);
    slice_deinit(&part);
}

static void lose(struct record *r, uint32_t chunk, uint32_t attempt) {
    store->ops->lost(store, r, &(struct store_chunk){.chunk = chunk, .attempt = attempt}, NULL, NULL);
}

static void assert_chunk(const struct recovered *v, unsigned i, uint32_t chunk, uint32_t attempt, const char *part) {
    assert_int_equal(v->chunks[i].chunk, chunk);
    assert_int_equal(v->chunks[i].attempt, attempt);
    assert_int_equal(v->chunks[i].done, part != NULL);
    struct slice expected = text_slice(part == NULL ? "" : part);
    assert_same_bytes(&v->chunks[i].part, &expected);
    slice_deinit(&expected);
}

static void parts_are_recovered_with_their_plan_in_order(void **state) {
    (void)state;
    struct record *a = planned_job(4), *b = planned_job(2);
    struct slice plan = plan_slice(1, 4, 0);
    complete(b, 1, 0, "b1");
    complete(a, 3, 0, "a3");
    lose(a, 2, 1);
    complete(a, 0, 0, "a0");
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count, 2);
    assert_same_bytes(&v->plans[0], &plan);
    assert_int_equal(v->jobs[0]->chunks_total, 4);
    assert_int_equal(v->jobs[0]->chunks_done, 2);
    assert_int_equal(v->chunk_count, 4);
    assert_chunk(v, 0, 0, 0, "a0");
    assert_chunk(v, 1, 2, 1, NULL);
    assert_chunk(v, 2, 3, 0, "a3");
    assert_chunk(v, 3, 1, 0, "b1");
    free_recovered(v);
    slice_deinit(&plan);
    record_unref(a);
    record_unref(b);
}

static void a_part_of_an_earlier_attempt_is_ignored_and_so_is_a_second_one(void **state) {
    (void)state;
    struct record *r = planned_job(3);
    lose(r, 0, 1);
    lose(r, 0, 2);
    lose(r, 0, 2);
    complete(r, 0, 1, "late");
    complete(r, 1, 0, "first");
    complete(r, 1, 0, "again");
    complete(r, 1, 1, "another");
    complete(r, 2, 5, "ahead");
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->chunk_count, 3);
    assert_chunk(v, 0, 0, 2, NULL);
    assert_chunk(v, 1, 1, 0, "first");
    assert_chunk(v, 2, 2, 5, "ahead");
    free_recovered(v);
    complete(r, 0, 2, "in time");
    v = recover_after_restart();
    assert_chunk(v, 0, 0, 2, "in time");
    free_recovered(v);
    record_unref(r);
}

static enum store_result lose_and_wait(struct record *r, const struct store_chunk *c) {
    struct answer a = {false};
    store->ops->lost(store, r, c, on_done, &a);
    await(&a);
    return a.result;
}

static void losses_and_poison_items_are_recovered(void **state) {
    (void)state;
    uint32_t places[] = {7, 2, 1000};
    struct record *r = planned_job(3), *unplanned = new_record();
    r->attempts = 6;
    assert_int_equal(submit(unplanned), STORE_OK);
    assert_int_equal(lose_and_wait(r, &(struct store_chunk){.chunk = 1, .attempt = 2}), STORE_OK);
    assert_int_equal(
        lose_and_wait(r, &(struct store_chunk){.chunk = 1, .attempt = 3, .poison = places, .poison_count = 1}),
        STORE_OK);
    assert_int_equal(
        lose_and_wait(r, &(struct store_chunk){.chunk = 1, .attempt = 4, .poison = places, .poison_count = 3}),
        STORE_OK);
    assert_int_equal(lose_and_wait(r, &(struct store_chunk){.chunk = 1, .attempt = 5}), STORE_OK);
    lose(r, STORE_MERGE, 1);
    lose(r, STORE_PLAN, 2);
    lose(unplanned, 0, 2);
    lose(unplanned, STORE_PLAN, 1);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count, 2);
    assert_int_equal(v->jobs[0]->attempts, 6);
    assert_int_equal(v->chunk_count, 5);
    assert_chunk(v, 0, 1, 5, NULL);
    assert_chunk(v, 1, STORE_PLAN, 2, NULL);
    assert_chunk(v, 2, STORE_MERGE, 1, NULL);
    assert_chunk(v, 3, 0, 2, NULL);
    assert_chunk(v, 4, STORE_PLAN, 1, NULL);
    assert_int_equal(v->chunks[0].poison_count, 3);
    assert_memory_equal(v->chunks[0].poison, places, sizeof places);
    assert_int_equal(v->chunks[1].poison_count, 0);
    free_recovered(v);
    record_unref(r);
    record_unref(unplanned);
}

static void calls_for_a_job_that_is_not_open_change_nothing(void **state) {
    (void)state;
    struct record *ended = planned_job(2), *forgotten = planned_job(2), *unknown = new_record();
    struct record *all[] = {ended, forgotten, unknown}, *found;
    struct slice plan = plan_slice(1, 1, 0);
    complete(ended, 0, 0, "x");
    end_at(ended, 1000);
    assert_int_equal(finish(ended), STORE_OK);
    assert_int_equal(forget(forgotten), STORE_OK);
    struct slice copy = text_slice("x");
    for (int i = 0; i < 3; i++) {
        store->ops->plan(store, all[i], &plan);
        store->ops->update(store, all[i]);
        lose(all[i], 0, 1);
        store->ops->complete(store, &all[i]->id, 1, 0, &copy);
    }
    assert_int_equal(get_record(&ended->id, &found), STORE_OK);
    assert_int_equal(found->status, JOB_SUCCEEDED);
    record_unref(found);
    assert_int_equal(get(forgotten), STORE_GONE);
    assert_int_equal(get(unknown), STORE_NOT_FOUND);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->job_count + v->chunk_count, 0);
    free_recovered(v);
    for (int i = 0; i < 3; i++)
        record_unref(all[i]);
    slice_deinit(&plan);
    slice_deinit(&copy);
    assert_int_equal(blob_held_bytes, 0);
}

static void payloads_of_any_size_are_recovered_for_workers(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 32 * 1024, 32 * 1024 + 1, 2500000};
    struct recovered *v;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct record *r = new_record();
        r->type = 1;
        r->chunks_total = 1;
        struct slice request = large_slice(sizes[i], 'a'), plan = plan_slice(1, 1, sizes[i]);
        struct slice part = large_slice(sizes[i], 'b');
        assert_int_equal(submit_with(r, &(struct store_input){.request = request, .plan = plan}), STORE_OK);
        store->ops->complete(store, &r->id, 0, 0, &part);
        get(r);
        v = recover_after_restart();
        assert_int_equal(v->job_count, 1);
        assert_same_bytes(&v->requests[0], &request);
        assert_same_bytes(&v->plans[0], &plan);
        assert_same_bytes(&v->chunks[0].part, &part);
        free_recovered(v);
        end_at(r, 1000);
        assert_int_equal(finish(r), STORE_OK);
        assert_int_equal(count_files("files", ""), 0);
        slice_deinit(&request);
        slice_deinit(&plan);
        slice_deinit(&part);
        record_unref(r);
    }
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void a_key_leads_to_its_job_and_admits_no_other(void **state) {
    (void)state;
    struct record *a = new_record(), *b = new_record();
    assert_int_equal(find_key("", "k").result, STORE_NOT_FOUND);
    assert_int_equal(submit_keyed(a, "", "k", 'h', 60000), STORE_OK);
    assert_int_equal(submit_keyed(a, "", "k", 'h', 60000), STORE_OK);
    assert_int_equal(submit_keyed(b, "", "k", 'i', 60000), STORE_EXISTS);
    assert_int_equal(get(b), STORE_NOT_FOUND);
    struct answer found = find_key("", "k");
    assert_int_equal(found.result, STORE_OK);
    assert_memory_equal(&found.job, &a->id, sizeof a->id);
    assert_int_equal(found.hash[0], 'h');
    assert_int_equal(found.hash[STORE_HASH_SIZE - 1], 'h');
    assert_int_equal(find_key("", "K").result, STORE_NOT_FOUND);
    assert_int_equal(find_key("k", "").result, STORE_NOT_FOUND);
    record_unref(a);
    record_unref(b);
}

static void equal_keys_of_different_tenants_are_different_keys(void **state) {
    (void)state;
    struct record *r[3];
    static const char *const names[][2] = {{"ab", "c"}, {"a", "bc"}, {"", "abc"}};
    for (int i = 0; i < 3; i++) {
        r[i] = new_record();
        assert_int_equal(submit_keyed(r[i], names[i][0], names[i][1], 'h', 60000), STORE_OK);
    }
    for (int i = 0; i < 3; i++) {
        struct answer a = find_key(names[i][0], names[i][1]);
        assert_memory_equal(&a.job, &r[i]->id, sizeof a.job);
        record_unref(r[i]);
    }
}

static void a_key_outlives_its_job_and_then_expires(void **state) {
    (void)state;
    struct record *a = new_record(), *b = new_record();
    int64_t now_ms = clock_wall_ms();
    assert_int_equal(submit_keyed(a, "", "k", 'h', 3600000), STORE_OK);
    end_at(a, now_ms);
    assert_int_equal(finish(a), STORE_OK);
    assert_int_equal(forget(a), STORE_OK);
    assert_int_equal(find_key("", "k").result, STORE_OK);
    assert_int_equal(submit_keyed(b, "", "k", 'h', 3600000), STORE_EXISTS);
    int64_t due_ms = gc(now_ms + 60000);
    assert_true(due_ms >= now_ms + 3600000 && due_ms <= clock_wall_ms() + 3600000);
    assert_int_equal(gc(due_ms), 0);
    assert_int_equal(find_key("", "k").result, STORE_NOT_FOUND);
    assert_int_equal(submit_keyed(b, "", "k", 'h', 0), STORE_OK); /* over at once */
    assert_int_equal(find_key("", "k").result, STORE_NOT_FOUND);
    record_unref(a);
    record_unref(b);
}

/* ---- webhooks ---------------------------------------------------------------------------------------------------- */

static void a_webhook_is_recorded_with_the_end_of_its_job(void **state) {
    (void)state;
    struct record *r = new_record();
    struct slice body = text_slice("{\"id\":1}");
    struct delivery d = {.job = r->id, .url = "https://example.com/a", .body = body, .attempt = 0, .due_ms = 5};
    end_at(r, clock_wall_ms());
    assert_int_equal(finish_with(r, &d), STORE_OK);
    d.url = "https://example.com/b";
    assert_int_equal(finish_with(r, &d), STORE_FINAL);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->delivery_count, 1);
    assert_string_equal(v->urls[0], "https://example.com/a");
    assert_same_bytes(&v->deliveries[0].body, &body);
    assert_int_equal(v->deliveries[0].due_ms, 5);
    free_recovered(v);
    slice_deinit(&body);
    record_unref(r);
}

static void a_webhook_is_replaced_until_it_is_delivered(void **state) {
    (void)state;
    struct record *r = new_record();
    struct delivery d = {.job = r->id, .url = "https://example.com/a"};
    for (unsigned i = 0; i < 4; i++) {
        d.attempt = i;
        d.due_ms = 1000 + i;
        d.body = large_slice(i % 2 == 0 ? 100000 : 10, (char)('a' + i));
        store->ops->deliver(store, &d);
        struct recovered *v;
        get(r);
        v = recover_after_restart();
        assert_int_equal(v->delivery_count, 1);
        assert_int_equal(v->deliveries[0].attempt, i);
        assert_int_equal(v->deliveries[0].due_ms, 1000 + i);
        assert_same_bytes(&v->deliveries[0].body, &d.body);
        free_recovered(v);
        slice_deinit(&d.body);
    }
    store->ops->delivered(store, &r->id);
    store->ops->delivered(store, &r->id);
    get(r);
    struct recovered *v = recover_after_restart();
    assert_int_equal(v->delivery_count, 0);
    free_recovered(v);
    assert_int_equal(count_files("files", ""), 0);
    record_unref(r);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void adjusting_the_clock_moves_the_times_of_expiry(void **state) {
    (void)state;
    struct record *r = ended_record(10000, 1000), *found;
    for (int sign = -1; sign <= 1; sign += 2) {
        store->ops->adjust_clock(store, sign * 5000);
        assert_int_equal(get_record(&r->id, &found), STORE_OK);
        assert_int_equal(found->expires_ms, sign < 0 ? 6000 : 11000);
        record_unref(found);
    }
    store->ops->adjust_clock(store, 5000);
    assert_int_equal(gc(15999), 16000);
    assert_int_equal(get(r), STORE_OK);
    assert_int_equal(gc(16000), 17000);
    store->ops->adjust_clock(store, 1000000);
    assert_int_equal(gc(1016999), 1017000);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(gc(1017000), 0);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    record_unref(r);
}

static void thousands_expire_in_one_call(void **state) {
    (void)state;
    enum { COUNT = 3500 };
    struct answer *answers = calloc(COUNT, sizeof *answers);
    struct id last;
    for (int i = 0; i < COUNT; i++) {
        struct record *r = new_record();
        end_at(r, 1000);
        last = r->id;
        store->ops->finish(store, r, NULL, on_done, &answers[i]);
        record_unref(r);
    }
    await(&answers[COUNT - 1]);
    free(answers);
    assert_int_equal(gc(2000), 3000);
    struct record *found;
    assert_int_equal(get_record(&last, &found), STORE_GONE);
    assert_int_equal(gc(3000), 0);
    assert_int_equal(get_record(&last, &found), STORE_NOT_FOUND);
}

/* ---- many -------------------------------------------------------------------------------------------------------- */

static void jobs_expire_at_their_own_times_in_whatever_order_they_ended(void **state) {
    (void)state;
    static const int64_t ttls[] = {500, 100, 900, 300, 700, 1, 500};
    enum { COUNT = sizeof ttls / sizeof ttls[0] };
    struct record *r[COUNT];
    for (int i = 0; i < COUNT; i++)
        r[i] = ended_record(1000, ttls[i]);
    for (int64_t now_ms = 1000; now_ms <= 1000 + 900; now_ms += 100) {
        gc(now_ms);
        for (int i = 0; i < COUNT; i++) {
            int64_t gone_ms = 1000 + ttls[i];
            assert_int_equal(get(r[i]) == STORE_OK, now_ms < gone_ms);
        }
    }
    assert_int_equal(gc(1000 + 4 * 900), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(get(r[i]), STORE_NOT_FOUND);
        record_unref(r[i]);
    }
}

static void the_oldest_jobs_are_gone_beyond_max_ended(void **state) {
    (void)state;
    struct record *r[5];
    limit(&(struct store_limits){.max_ended = 3}, true);
    for (int i = 0; i < 5; i++)
        r[i] = ended_record(1000 + i, 1000);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(r[i]), i < 2 ? STORE_GONE : STORE_OK);
        record_unref(r[i]);
    }
}

static void the_oldest_jobs_are_gone_beyond_max_ended_bytes_but_never_the_last(void **state) {
    (void)state;
    struct record *r[6];
    limit(&(struct store_limits){.max_ended_bytes = 350000}, true);
    for (int i = 0; i < 6; i++) {
        r[i] = new_record();
        r[i]->result = large_slice(i == 5 ? 1000000 : 100000, 'a');
        end_at(r[i], 1000 + i);
        assert_int_equal(finish(r[i]), STORE_OK);
        for (int k = 0; k <= i; k++)
            assert_int_equal(get(r[k]), i == 5 ? (k < 5 ? STORE_GONE : STORE_OK) : k + 3 <= i ? STORE_GONE : STORE_OK);
    }
    for (int i = 0; i < 6; i++)
        record_unref(r[i]);
}

static void a_forgotten_job_makes_room(void **state) {
    (void)state;
    limit(&(struct store_limits){.max_ended = 2}, true);
    struct record *a = ended_record(1000, 1000), *b = ended_record(1001, 1000);
    assert_int_equal(forget(b), STORE_OK);
    struct record *c = ended_record(1002, 1000);
    assert_int_equal(get(a), STORE_OK);
    assert_int_equal(get(c), STORE_OK);
    record_unref(a);
    record_unref(b);
    record_unref(c);
}

static void open_jobs_do_not_count_as_ended(void **state) {
    (void)state;
    struct record *live[5];
    limit(&(struct store_limits){.max_ended = 1}, true);
    for (int i = 0; i < 5; i++) {
        live[i] = new_record();
        assert_int_equal(submit(live[i]), STORE_OK);
    }
    struct record *r = ended_record(1000, 1000);
    assert_int_equal(get(r), STORE_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(live[i]), STORE_OK);
        record_unref(live[i]);
    }
    record_unref(r);
}

/* ---- in memory only ---------------------------------------------------------------------------------------------- */

/* The store in memory could not run the job again after a restart, so it holds nothing for that. */
static void only_the_record_of_an_open_job_is_held_and_nothing_is_recovered(void **state) {
    (void)state;
    struct record *r = planned_job(2);
    const struct delivery d = {.job = r->id, .url = "https://example.com/", .body = text_slice("{}")};
    complete(r, 0, 0, "part");
    store->ops->deliver(store, &d);
    blob_unref(d.body.blob);
    assert_int_equal(blob_held_bytes, 0);
    assert_int_equal(get(r), STORE_OK);
    struct recovered *v = recover();
    assert_int_equal(v->job_count + v->chunk_count + v->delivery_count, 0);
    free_recovered(v);
    record_unref(r);
}

static void a_result_lives_as_long_as_its_record(void **state) {
    (void)state;
    struct record *r = new_record();
    r->result = text_slice("12345");
    end_at(r, 1000);
    assert_int_equal(finish(r), STORE_OK);
    record_unref(r);
    assert_int_equal(blob_held_bytes, 5);
    gc(2000);
    assert_int_equal(blob_held_bytes, 0);
}

static void an_evicted_job_is_unknown_without_tombstones(void **state) {
    (void)state;
    struct record *r[5];
    limit(&(struct store_limits){.max_ended = 3}, false);
    for (int i = 0; i < 5; i++)
        r[i] = ended_record(1000, 1000);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(r[i]), i < 2 ? STORE_NOT_FOUND : STORE_OK);
        record_unref(r[i]);
    }
}

/* What a tenant, another one and those who see all jobs are told of it. */
static void assert_seen(const struct record *r, enum store_result by_owner) {
    assert_int_equal(get_as("ann", r), by_owner);
    assert_int_equal(get_as("bob", r), STORE_NOT_FOUND);
    assert_int_equal(get_as("", r), STORE_NOT_FOUND);
    assert_int_equal(get_as(NULL, r), by_owner);
}

static struct record *record_of(const char *tenant) {
    struct record *r = new_record();
    r->tenant = strdup(tenant);
    return r;
}

static void a_tenant_sees_its_own_jobs_alone_and_so_their_tombstones(void **state) {
    (void)state;
    struct record *r = record_of("ann");
    assert_int_equal(submit(r), STORE_OK);
    assert_seen(r, STORE_OK);
    assert_int_equal(forget_as("bob", r), STORE_NOT_FOUND);
    end_at(r, clock_wall_ms());
    assert_int_equal(finish(r), STORE_OK);
    assert_seen(r, STORE_OK);
    assert_int_equal(forget_as("bob", r), STORE_NOT_FOUND);
    assert_seen(r, STORE_OK);
    assert_int_equal(forget_as("ann", r), STORE_OK);
    assert_seen(r, STORE_GONE);
    assert_int_equal(forget_as("bob", r), STORE_NOT_FOUND);
    assert_int_equal(forget_as("ann", r), STORE_GONE);
    assert_int_equal(forget_as(NULL, r), STORE_GONE);
    record_unref(r);
}

static void an_expired_and_an_evicted_job_are_gone_for_their_tenant_alone(void **state) {
    (void)state;
    struct record *expired = record_of("ann"), *evicted = record_of("ann");
    end_at(expired, 1000);
    end_at(evicted, 1000);
    expired->expires_ms = 2000;
    evicted->expires_ms = INT64_MAX / 2;
    assert_int_equal(finish(expired), STORE_OK);
    assert_int_equal(finish(evicted), STORE_OK);
    store->ops->gc(store, 2000);
    assert_seen(expired, STORE_GONE);
    assert_seen(evicted, STORE_OK);
    assert_true(store->ops->evict(store, 1) > 0);
    assert_seen(evicted, STORE_GONE);
    record_unref(expired);
    record_unref(evicted);
    gc(INT64_MAX);
    assert_int_equal(held_bytes[HELD_ENDED], 0);
}

static void a_job_without_a_tenant_is_seen_by_no_tenant(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(get_as("ann", r), STORE_NOT_FOUND);
    assert_int_equal(get_as("", r), STORE_NOT_FOUND);
    assert_int_equal(get_as(NULL, r), STORE_OK);
    assert_int_equal(forget_as("ann", r), STORE_NOT_FOUND);
    assert_int_equal(forget_as(NULL, r), STORE_OK);
    assert_int_equal(get_as("ann", r), STORE_NOT_FOUND);
    record_unref(r);
}

struct counting {
    struct answer end;
    unsigned count;
};

static void on_counted(void *arg, enum store_result result, struct record *record) {
    struct counting *c = arg;
    assert_int_equal(result, STORE_OK);
    c->count += record != NULL;
    c->end.there = record == NULL;
}

/* More than the index keeps among the recent ones, so some are filed. */
static void a_list_for_a_tenant_has_its_own_jobs_alone(void **state) {
    (void)state;
    struct record_filter f = {.status = -1, .type = -1, .limit = 1000};
    memset(&f.before, 0xFF, sizeof f.before);
    for (int i = 0; i < 300; i++) {
        struct record *r = i % 3 == 0 ? new_record() : record_of(i % 3 == 1 ? "ann" : "bob");
        end_at(r, clock_wall_ms());
        assert_int_equal(finish(r), STORE_OK);
        record_unref(r);
    }
    static const struct {
        const char *tenant;
        unsigned count;
    } lists[] = {{NULL, 300}, {"ann", 100}, {"bob", 100}, {"", 0}, {"bo", 0}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct counting c = {{false}, 0};
        f.tenant = lists[i].tenant;
        store->ops->list(store, &f, on_counted, &c);
        await(&c.end);
        assert_int_equal(c.count, lists[i].count);
    }
}

static void evict_drops_the_jobs_that_ended_first_and_never_an_open_one(void **state) {
    (void)state;
    struct record *r[4], *live = new_record();
    assert_int_equal(submit(live), STORE_OK);
    for (int i = 0; i < 4; i++) {
        r[i] = new_record();
        r[i]->result = slice_all(blob_copy("0123456789", 10));
        end_at(r[i], clock_wall_ms());
        assert_int_equal(finish(r[i]), STORE_OK);
    }
    uint64_t one = record_bytes(r[0]);
    assert_int_equal(store->ops->evict(store, 0), 0);
    assert_int_equal(store->ops->evict(store, one + 1), 2 * one);
    for (int i = 0; i < 4; i++)
        assert_int_equal(get(r[i]), i < 2 ? STORE_GONE : STORE_OK);
    assert_int_equal(store->ops->evict(store, UINT64_MAX), 2 * one);
    assert_int_equal(store->ops->evict(store, UINT64_MAX), 0);
    assert_int_equal(get(live), STORE_OK);
    for (int i = 0; i < 4; i++)
        record_unref(r[i]);
    record_unref(live);
}

/* They expire in the order that their TTLs make, and a few thousands in one call, so that the event loop gets round. */
static void very_many_expire_in_several_calls(void **state) {
    (void)state;
    enum { COUNT = 12000 };
    struct id *ids = calloc(COUNT, sizeof *ids);
    for (int i = 0; i < COUNT; i++) {
        struct record *r = ended_record(1000, 1 + i * 7919 % COUNT); /* all different */
        ids[i] = r->id;
        record_unref(r);
    }
    int64_t now_ms = 1000 + COUNT, due_ms = store->ops->gc(store, now_ms);
    unsigned calls = 1;
    assert_in_range(due_ms, 1001, now_ms); /* it wants to be called again */
    for (; due_ms != 0 && due_ms <= now_ms; calls++)
        due_ms = store->ops->gc(store, now_ms);
    assert_in_range(calls, 3, 12);
    for (int i = 0; i < COUNT; i++) {
        struct record *found;
        assert_int_equal(get_record(&ids[i], &found), STORE_GONE);
    }
    gc(now_ms + COUNT);
    assert_int_equal(held_bytes[HELD_ENDED], 0);
    free(ids);
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

struct listing {
    struct id ids[64];
    unsigned count, ends;
};

static void on_listed(void *arg, enum store_result result, struct record *record) {
    struct listing *l = arg;
    assert_int_equal(result, STORE_OK);
    assert_int_equal(l->ends, 0);
    if (record == NULL)
        l->ends++;
    else
        l->ids[l->count++] = record->id;
}

static struct listing list(int status, int64_t type, const struct id *before, unsigned max) {
    struct record_filter f = {.status = status, .type = type, .limit = max};
    struct listing l = {.count = 0};
    struct answer a = {false};
    memset(&f.before, 0xFF, sizeof f.before);
    if (before != NULL)
        f.before = *before;
    store->ops->list(store, &f, on_listed, &l);
    store->ops->get(store, &(struct id){{0}}, NULL, on_found, &a); /* answered after it */
    await(&a);
    assert_int_equal(l.ends, 1);
    return l;
}

static void an_empty_store_lists_nothing(void **state) {
    (void)state;
    assert_int_equal(list(-1, -1, NULL, 10).count, 0);
}

/* Sixty jobs: job i has type i % 4, and 3 is no type of this build. It ends with the status i % 5; those that would end
 * as queued or running stay open. Every seventh is forgotten. They end in another order than they came in. */
enum { LISTED = 60 };

static bool is_listed(const struct record *const *r, int i, int status, int64_t type, const struct id *before) {
    return i % 5 >= JOB_SUCCEEDED && i % 7 != 0 && (status < 0 || i % 5 == status) &&
           (type < 0 || (i % 4 != 3 && i % 4 == type)) &&
           (before == NULL || memcmp(&r[i]->id, before, sizeof *before) < 0);
}

/* The jobs that the list must have, found by looking at each. */
static struct listing expect(const struct record *const *r, int status, int64_t type, const struct id *before,
                             unsigned max) {
    struct listing l = {.count = 0};
    for (int i = LISTED; i-- > 0 && l.count < max;)
        if (is_listed(r, i, status, type, before))
            l.ids[l.count++] = r[i]->id;
    return l;
}

static void the_list_has_the_ended_jobs_that_match_the_newest_first(void **state) {
    (void)state;
    struct record *r[LISTED];
    for (int i = 0; i < LISTED; i++) {
        r[i] = new_record();
        r[i]->type = i % 4 == 3 ? UINT32_MAX : (uint32_t)i % 4;
        r[i]->status = i % 2 == 0 ? JOB_QUEUED : JOB_RUNNING;
        if (i % 3 > 0)
            assert_int_equal(submit(r[i]), STORE_OK);
    }
    for (int k = 0; k < LISTED; k++) {
        int i = k * 7 % LISTED;
        if (i % 5 >= JOB_SUCCEEDED) {
            end_at(r[i], clock_wall_ms());
            r[i]->status = (enum job_status)(i % 5);
            assert_int_equal(finish(r[i]), STORE_OK);
        }
        if (i % 7 == 0 && (i % 3 > 0 || i % 5 >= JOB_SUCCEEDED))
            assert_int_equal(forget(r[i]), STORE_OK);
    }
    static const int64_t types[] = {-1, 0, 1, 2, 7, 70000};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int status = -1; status < JOB_STATUSES; status++) {
            for (unsigned n = 0; n < 4 * 9; n++) {
                static const unsigned sizes[] = {1, 2, 7, 60};
                const struct id *before = n / 4 == 0 ? NULL : &r[7 * (n / 4 - 1)]->id;
                struct listing l = list(status, types[t], before, sizes[n % 4]);
                struct listing wanted = expect((const struct record *const *)r, status, types[t], before, sizes[n % 4]);
                assert_int_equal(l.count, wanted.count);
                assert_memory_equal(l.ids, wanted.ids, l.count * sizeof l.ids[0]);
            }
        }
    }
    assert_int_equal(list(-1, -1, NULL, 60).count, 31);
    for (int i = 0; i < LISTED; i++)
        record_unref(r[i]);
}

static void pages_join_without_gap_or_overlap(void **state) {
    (void)state;
    unsigned seen = 0;
    struct id before;
    memset(&before, 0xFF, sizeof before);
    for (int i = 0; i < 30; i++)
        record_unref(ended_record(clock_wall_ms(), 1000));
    for (struct listing l = list(-1, -1, &before, 7); l.count > 0; l = list(-1, -1, &before, 7)) {
        assert_true(memcmp(&l.ids[0], &before, sizeof before) < 0);
        before = l.ids[l.count - 1];
        seen += l.count;
    }
    assert_int_equal(seen, 30);
}

/* A test for one kind of store, or for both. */
#define IN_MEMORY(name) cmocka_unit_test_setup_teardown(name, open_memory, tear_down)
#define ON_DISK(name)                                                                                                  \
    { #name " (on disk)", name, open_disk, tear_down, NULL }
#define BOTH(name) IN_MEMORY(name), ON_DISK(name)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(an_unknown_job_is_not_found),
        BOTH(a_submitted_job_is_found_and_submitting_again_changes_nothing),
        BOTH(an_ended_job_is_final),
        BOTH(a_job_that_was_never_submitted_can_be_finished),
        BOTH(a_forgotten_job_stays_gone),
        BOTH(a_job_can_be_submitted_with_its_end),
        BOTH(a_job_that_is_submitted_with_its_end_cannot_have_anothers_key),
        BOTH(jobs_that_are_submitted_with_their_ends_are_evicted_in_their_order),
        BOTH(an_expired_job_is_gone_for_one_more_ttl_and_then_unknown),
        BOTH(a_job_that_has_not_ended_never_expires),
        BOTH(a_ttl_of_zero_expires_at_once),
        BOTH(a_result_of_any_size_comes_back_unchanged),
        BOTH(a_result_can_be_a_part_of_a_larger_blob),
        BOTH(every_member_of_a_record_is_kept),
        BOTH(a_log_is_kept_with_the_end_of_its_job),
        BOTH(a_log_is_kept_of_a_job_that_is_submitted_with_its_end),
        BOTH(logs_count_against_max_ended_bytes),
        BOTH(a_result_that_is_not_json_is_kept_with_its_media_type_and_summary),
        BOTH(a_list_says_which_results_are_not_json),
        BOTH(summaries_count_against_max_ended_bytes),
        BOTH(a_call_records_what_it_was_given),
        BOTH(nothing_is_recovered_from_an_empty_store),
        ON_DISK(open_jobs_are_recovered_in_order),
        ON_DISK(parts_are_recovered_with_their_plan_in_order),
        ON_DISK(losses_and_poison_items_are_recovered),
        ON_DISK(a_part_of_an_earlier_attempt_is_ignored_and_so_is_a_second_one),
        BOTH(calls_for_a_job_that_is_not_open_change_nothing),
        ON_DISK(payloads_of_any_size_are_recovered_for_workers),
        BOTH(a_key_leads_to_its_job_and_admits_no_other),
        BOTH(equal_keys_of_different_tenants_are_different_keys),
        BOTH(a_key_outlives_its_job_and_then_expires),
        ON_DISK(a_webhook_is_recorded_with_the_end_of_its_job),
        ON_DISK(a_webhook_is_replaced_until_it_is_delivered),
        BOTH(adjusting_the_clock_moves_the_times_of_expiry),
        BOTH(thousands_expire_in_one_call),
        BOTH(jobs_expire_at_their_own_times_in_whatever_order_they_ended),
        BOTH(the_oldest_jobs_are_gone_beyond_max_ended),
        BOTH(the_oldest_jobs_are_gone_beyond_max_ended_bytes_but_never_the_last),
        BOTH(a_forgotten_job_makes_room),
        BOTH(open_jobs_do_not_count_as_ended),
        BOTH(an_empty_store_lists_nothing),
        BOTH(the_list_has_the_ended_jobs_that_match_the_newest_first),
        BOTH(pages_join_without_gap_or_overlap),
        IN_MEMORY(only_the_record_of_an_open_job_is_held_and_nothing_is_recovered),
        IN_MEMORY(a_result_lives_as_long_as_its_record),
        IN_MEMORY(an_evicted_job_is_unknown_without_tombstones),
        BOTH(a_tenant_sees_its_own_jobs_alone_and_so_their_tombstones),
        IN_MEMORY(an_expired_and_an_evicted_job_are_gone_for_their_tenant_alone),
        BOTH(a_job_without_a_tenant_is_seen_by_no_tenant),
        BOTH(a_list_for_a_tenant_has_its_own_jobs_alone),
        IN_MEMORY(very_many_expire_in_several_calls),
        IN_MEMORY(evict_drops_the_jobs_that_ended_first_and_never_an_open_one),
    };
    host_init(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
