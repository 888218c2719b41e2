/* record_index_test.c: pages of records, compared with a search through all of them. See server/model/record_index.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/model/model.h"

enum { RECORDS = 150, MOST = RECORDS };

static struct record_index record_index;
static struct record *records[RECORDS];
static struct indexed places[RECORDS];

struct page {
    const struct record *records[MOST];
    unsigned count;
};

static void on_found(void *arg, struct record *record) {
    struct page *p = arg;
    assert_true(p->count < MOST);
    p->records[p->count++] = record;
}

static bool is_wanted(int i, const struct record_filter *f) {
    const struct record *r = records[i];
    return places[i].record != NULL && (f->status < 0 || (int)r->status == f->status) &&
           (f->type < 0 || r->type == f->type) &&
           (f->tenant == NULL || (r->tenant != NULL && strcmp(r->tenant, f->tenant) == 0)) &&
           memcmp(&r->id, &f->before, sizeof r->id) < 0;
}

static void check_page(const struct record_filter *f) {
    struct page got = {.count = 0}, wanted = {.count = 0};
    record_index_read(&record_index, f, on_found, &got);
    for (int i = RECORDS; i-- > 0 && wanted.count < f->limit;)
        if (is_wanted(i, f))
            wanted.records[wanted.count++] = records[i];
    assert_int_equal(got.count, wanted.count);
    assert_memory_equal(got.records, wanted.records, got.count * sizeof got.records[0]);
}

static void check_pages(void) {
    static const int64_t types[] = {-1, 0, 1, METRICS_TYPES - 1, METRICS_TYPES, UINT32_MAX - (int64_t)1};
    static const unsigned limits[] = {1, 7, MOST};
    static const char *const tenants[] = {NULL,  "ann", "bo",
                                          "bob", "",    "zoe"}; /* NULL: any; the last two have no job */
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int status = -1; status < JOB_STATUSES; status++) {
            struct record_filter f = {
                .status = status, .type = types[t], .tenant = tenants[rand() % 6], .limit = limits[rand() % 3]};
            memset(&f.before, 0xFF, sizeof f.before);
            check_page(&f);
            f.before = records[rand() % RECORDS]->id; /* it may have left since: a cursor stays good */
            check_page(&f);
        }
    }
}

static void each_page_has_what_matches_the_newest_first(void **state) {
    (void)state;
    static const uint32_t types[] = {0, 1, METRICS_TYPES - 1, UINT32_MAX};
    static const char *const tenants[] = {NULL, "ann", "bo", "bob"};
    srand(1);
    for (int i = 0; i < RECORDS; i++) {
        records[i] = record_new();
        records[i]->id = id_new(1000000);
        records[i]->tenant = i % 4 == 0 ? NULL : strdup(tenants[i % 4]);
    }
    for (int i = 0; i < 3000; i++) {
        int k = i < RECORDS ? i : rand() % RECORDS;
        struct record *r = records[k];
        if (i > RECORDS && rand() % 3 == 0) {
            record_index_remove(&record_index, &places[k]);
        } else {
            r->type = types[rand() % 4];
            r->status = (enum job_status)(rand() % JOB_STATUSES);
            record_index_put(&record_index, &places[k], r);
        }
        if (i % 30 == 0)
            check_pages();
    }
    for (int i = 0; i < RECORDS; i++) {
        record_index_remove(&record_index, &places[i]);
        record_unref(records[i]);
    }
    struct page none = {.count = 0};
    struct record_filter all = {.status = -1, .type = -1, .limit = MOST};
    memset(&all.before, 0xFF, sizeof all.before);
    record_index_read(&record_index, &all, on_found, &none);
    assert_int_equal(none.count, 0);
    for (size_t i = 0; i < sizeof record_index.of_tenants / sizeof record_index.of_tenants[0]; i++)
        assert_null(record_index.of_tenants[i].root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_page_has_what_matches_the_newest_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
