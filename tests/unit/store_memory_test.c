/* store_memory_test.c: where jobs are remembered, server/store_memory.c: every operation in every state of a job, and
 * repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "server/store.h"

static struct store *store;

static int open_store(void **state) {
    (void)state;
    store = store_memory_open(&(struct store_limits){0}, true);
    return store == NULL ? -1 : 0;
}

static int close_store(void **state) {
    (void)state;
    store->ops->close(store);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* ---- the operations, as functions that return -------------------------------------------------------------------- */

static void on_done(void *arg, enum store_result result) {
    *(enum store_result *)arg = result;
}

static enum store_result submit(struct record *r) {
    enum store_result result = STORE_UNAVAILABLE;
    const struct store_input input = {.key = NULL};
    store->ops->submit(store, r, &input, on_done, &result);
    return result;
}

static enum store_result finish(struct record *r) {
    enum store_result result = STORE_UNAVAILABLE;
    store->ops->finish(store, r, NULL, on_done, &result);
    return result;
}

static enum store_result forget(const struct record *r) {
    enum store_result result = STORE_UNAVAILABLE;
    store->ops->forget(store, &r->id, on_done, &result);
    return result;
}

struct found {
    enum store_result result;
    struct record *record;
};

static void on_found(void *arg, enum store_result result, struct record *record) {
    *(struct found *)arg = (struct found){result, record};
}

static enum store_result get(const struct record *r) {
    struct found f = {STORE_UNAVAILABLE, NULL};
    store->ops->get(store, &r->id, on_found, &f);
    assert_true((f.result == STORE_OK) == (f.record != NULL));
    return f.result;
}

static struct record *new_record(void) {
    struct record *r = record_new();
    r->id = id_new(clock_wall_ms());
    r->ttl_ms = 1000;
    return r;
}

/* It ends at that time. */
static void end_at(struct record *r, int64_t now_ms) {
    r->status = JOB_SUCCEEDED;
    r->finished_ms = now_ms;
    r->expires_ms = now_ms + r->ttl_ms;
}

static struct record *ended_record(int64_t now_ms, int64_t ttl_ms) {
    struct record *r = new_record();
    r->ttl_ms = ttl_ms;
    end_at(r, now_ms);
    assert_int_equal(finish(r), STORE_OK);
    return r;
}

/* ---- one job ------------------------------------------------------------------------------------------------------- */

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
    assert_int_equal(r->refs, 2);
    assert_int_equal(get(r), STORE_OK);
    store->ops->complete(store, &r->id, 0, 0, &(struct slice){NULL, 0, 0});
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
    assert_int_equal(r->refs, 2);
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

static void a_forgotten_job_is_gone_whatever_comes_later(void **state) {
    (void)state;
    for (int ended = 0; ended < 2; ended++) {
        struct record *r = new_record();
        assert_int_equal(submit(r), STORE_OK);
        end_at(r, clock_wall_ms());
        if (ended)
            assert_int_equal(finish(r), STORE_OK);
        assert_int_equal(forget(r), STORE_OK);
        assert_int_equal(r->refs, 1);
        assert_int_equal(forget(r), STORE_GONE);
        assert_int_equal(get(r), STORE_GONE);
        assert_int_equal(finish(r), STORE_GONE);
        assert_int_equal(submit(r), STORE_GONE);
        assert_int_equal(get(r), STORE_GONE);
        assert_int_equal(r->refs, 1);
        record_unref(r);
    }
}

static void an_expired_job_is_gone_for_one_more_ttl_and_then_unknown(void **state) {
    (void)state;
    struct record *r = ended_record(10000, 1000);
    assert_int_equal(store->ops->gc(store, 10999), 11000);
    assert_int_equal(get(r), STORE_OK);
    assert_int_equal(store->ops->gc(store, 11000), 12000);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(forget(r), STORE_GONE);
    assert_int_equal(store->ops->gc(store, 11000), 12000);
    assert_int_equal(store->ops->gc(store, 12000), 0);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    assert_int_equal(store->ops->gc(store, INT64_MAX), 0);
    record_unref(r);
}

static void a_job_that_has_not_ended_never_expires(void **state) {
    (void)state;
    struct record *r = new_record();
    assert_int_equal(submit(r), STORE_OK);
    assert_int_equal(store->ops->gc(store, INT64_MAX - 1), 0);
    assert_int_equal(get(r), STORE_OK);
    record_unref(r);
}

static void a_ttl_of_zero_expires_at_once(void **state) {
    (void)state;
    struct record *r = ended_record(10000, 0);
    assert_int_equal(store->ops->gc(store, 10000), 10001);
    assert_int_equal(get(r), STORE_GONE);
    assert_int_equal(store->ops->gc(store, 10001), 0);
    assert_int_equal(get(r), STORE_NOT_FOUND);
    record_unref(r);
}

static void a_result_lives_as_long_as_its_record(void **state) {
    (void)state;
    struct record *r = new_record();
    r->result = slice_all(blob_copy("12345", 5));
    end_at(r, 1000);
    assert_int_equal(finish(r), STORE_OK);
    record_unref(r);
    assert_int_equal(blob_held_bytes, 5);
    store->ops->gc(store, 2000);
    assert_int_equal(blob_held_bytes, 0);
}

/* ---- many ------------------------------------------------------------------------------------------------------------ */

static void jobs_expire_in_the_order_of_their_time_however_they_ended(void **state) {
    (void)state;
    static const int64_t ttls[] = {500, 100, 900, 300, 700, 1, 500};
    enum { COUNT = sizeof ttls / sizeof ttls[0] };
    struct record *r[COUNT];
    for (int i = 0; i < COUNT; i++)
        r[i] = ended_record(1000, ttls[i]);
    for (int64_t now_ms = 1000; now_ms <= 1000 + 900; now_ms += 100) {
        store->ops->gc(store, now_ms);
        for (int i = 0; i < COUNT; i++) {
            int64_t gone_ms = 1000 + ttls[i];
            assert_int_equal(get(r[i]) == STORE_OK, now_ms < gone_ms);
        }
    }
    assert_int_equal(store->ops->gc(store, 1000 + 4 * 900), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(get(r[i]), STORE_NOT_FOUND);
        record_unref(r[i]);
    }
}

static void beyond_max_ended_the_oldest_is_forgotten_without_a_trace(void **state) {
    (void)state;
    struct record *r[5];
    store->ops->close(store);
    store = store_memory_open(&(struct store_limits){.max_ended = 3}, false);
    for (int i = 0; i < 5; i++)
        r[i] = ended_record(1000, 1000);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(r[i]), i < 2 ? STORE_NOT_FOUND : STORE_OK);
        record_unref(r[i]);
    }
}

static void jobs_that_go_on_do_not_count_as_ended(void **state) {
    (void)state;
    struct record *live[5];
    store->ops->close(store);
    store = store_memory_open(&(struct store_limits){.max_ended = 1}, false);
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

static void evicting_gives_up_the_oldest_that_ended_and_never_a_live_one(void **state) {
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

/* ---- list ------------------------------------------------------------------------------------------------------------- */

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

static struct listing list(int status, int64_t type, const struct id *before, unsigned limit) {
    struct store_filter f = {.status = status, .type = type, .limit = limit};
    struct listing l = {.count = 0};
    memset(&f.before, 0xFF, sizeof f.before);
    if (before != NULL)
        f.before = *before;
    store->ops->list(store, &f, on_listed, &l);
    assert_int_equal(l.ends, 1);
    return l;
}

static void an_empty_store_lists_nothing(void **state) {
    (void)state;
    assert_int_equal(list(-1, -1, NULL, 10).count, 0);
}

/* Thirty jobs: type i % 3; every fifth has ended, and every tenth of all is forgotten. */
static void the_list_is_filtered_and_newest_first(void **state) {
    (void)state;
    struct record *r[30];
    for (int i = 0; i < 30; i++) {
        r[i] = new_record();
        r[i]->type = (uint32_t)i % 3;
        assert_int_equal(submit(r[i]), STORE_OK);
        if (i % 5 == 0) {
            end_at(r[i], clock_wall_ms());
            assert_int_equal(finish(r[i]), STORE_OK);
        }
        if (i % 10 == 0)
            assert_int_equal(forget(r[i]), STORE_OK);
    }
    struct listing l = list(-1, -1, NULL, 60);
    assert_int_equal(l.count, 27);
    for (unsigned i = 1; i < l.count; i++)
        assert_true(memcmp(&l.ids[i], &l.ids[i - 1], sizeof l.ids[i]) < 0);
    assert_int_equal(list(JOB_SUCCEEDED, -1, NULL, 60).count, 3);
    assert_int_equal(list(JOB_QUEUED, -1, NULL, 60).count, 24);
    assert_int_equal(list(JOB_FAILED, -1, NULL, 60).count, 0);
    assert_int_equal(list(-1, 2, NULL, 60).count, 9);
    assert_int_equal(list(-1, 7, NULL, 60).count, 0);
    for (unsigned limit = 1; limit < 27; limit++) {
        struct listing page = list(-1, -1, NULL, limit);
        assert_int_equal(page.count, limit);
        assert_memory_equal(page.ids, l.ids, limit * sizeof l.ids[0]);
    }
    for (int i = 0; i < 30; i++)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_job_is_not_found),
        TEST(a_submitted_job_is_found_and_submitting_again_changes_nothing),
        TEST(an_ended_job_is_final),
        TEST(a_job_that_was_never_submitted_can_be_finished),
        TEST(a_forgotten_job_is_gone_whatever_comes_later),
        TEST(an_expired_job_is_gone_for_one_more_ttl_and_then_unknown),
        TEST(a_job_that_has_not_ended_never_expires),
        TEST(a_ttl_of_zero_expires_at_once),
        TEST(a_result_lives_as_long_as_its_record),
        TEST(jobs_expire_in_the_order_of_their_time_however_they_ended),
        TEST(beyond_max_ended_the_oldest_is_forgotten_without_a_trace),
        TEST(jobs_that_go_on_do_not_count_as_ended),
        TEST(evicting_gives_up_the_oldest_that_ended_and_never_a_live_one),
        TEST(an_empty_store_lists_nothing),
        TEST(the_list_is_filtered_and_newest_first),
        TEST(pages_join_without_gap_or_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
