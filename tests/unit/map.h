/* map.h: a whole map inside a test, without processes: the submission, its plan, its parts, and their merge. */
#ifndef OFFLOAD_TESTS_MAP_H
#define OFFLOAD_TESTS_MAP_H

#include "handlers/host/fault.h"
#include "tests/unit/job.h"

struct map {
    struct submission submission;
    struct host_plan plan;
    struct buf *parts;
    struct buf json;
    struct fault fault;
};

static inline struct bytes view(const struct buf *b) {
    return (struct bytes){b->data, b->size};
}

static inline struct bytes group_of(const struct map *m, size_t i) {
    return (struct bytes){m->plan.bytes.data + m->plan.chunks[i].offset, m->plan.chunks[i].size};
}

/* Parses a body that is good. */
static inline void map_parse_body(struct map *m, const char *body) {
    memset(m, 0, sizeof *m);
    if (submission_parse(body, strlen(body), 64, 0, &m->submission, &m->fault) != 0)
        fail_msg("%s: %s", body, m->fault.json.data);
    assert_true(m->submission.map);
}

static inline void map_plan(struct map *m, unsigned chunks) {
    const struct submission *s = &m->submission;
    int rc = host_plan_items(s->type, s->params.data, s->params.size, chunks, NULL, &m->plan, &m->fault);
    assert_int_equal(rc, 0);
    m->parts = calloc(m->plan.count, sizeof *m->parts);
    assert_non_null(m->parts);
}

static inline int map_run(struct map *m, size_t i, unsigned attempt, const struct host_hooks *hooks) {
    buf_clear(&m->parts[i]);
    return host_run_items(m->submission.type, attempt, view(&m->plan.common), group_of(m, i), hooks, &m->parts[i],
                          &m->fault);
}

static inline int map_merge(struct map *m) {
    struct bytes *views = calloc(m->plan.count, sizeof *views);
    for (size_t i = 0; i < m->plan.count; i++)
        views[i] = view(&m->parts[i]);
    int rc =
        host_merge_items(m->submission.type, view(&m->plan.common), views, m->plan.count, NULL, &m->json, &m->fault);
    free(views);
    return rc;
}

static inline void map_deinit(struct map *m) {
    for (size_t i = 0; i < m->plan.count; i++)
        buf_deinit(&m->parts[i]);
    free(m->parts);
    host_plan_deinit(&m->plan);
    submission_deinit(&m->submission);
    fault_deinit(&m->fault);
    buf_deinit(&m->json);
}

/* Runs all groups and merges their parts, all of which succeeds. Returns the result, which the caller frees. */
static inline char *map_finish(struct map *m) {
    for (size_t i = 0; i < m->plan.count; i++)
        assert_int_equal(map_run(m, i, 0, NULL), 0);
    assert_int_equal(map_merge(m), 0);
    return buf_steal(&m->json, NULL);
}

#endif
