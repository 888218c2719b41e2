/* item.c: see item.h. Front end.
 *
 * A JSON result is searched in steps, because the items in it have no index. Others have one (result.h). */
#include "server/api/item.h"

#include <stdlib.h>

#include "base/container.h"
#include "server/api/deferred.h"
#include "server/api/item_find.h"

#define STEP_BYTES  (256 * 1024) /* looked at in one go: a fraction of a millisecond */
#define MAX_PROBLEM (64 * 1024)

struct item_request {
    struct deferred_request deferred;
    struct record *record; /* of the job: a reference, while its result is searched */
    struct item_search search;
    struct timer timer; /* when the search goes on: in the next turn of the loop */
};

static void answer_no_item(struct item_request *q) {
    http_answer_problem(q->deferred.request, PROBLEM_NOT_FOUND, "the result of the job has no such item", NULL);
}

static void answer_found(struct item_request *q, const char *media_type, size_t at, size_t size) {
    char id[ID_TEXT_SIZE], tag[ID_TEXT_SIZE + 12];
    struct slice item = slice_part(&q->record->result, at, size);
    id_format(&q->record->id, id);
    answer_set_timing(q->deferred.request, q->record);
    snprintf(tag, sizeof tag, "%s-%u", id, q->search.index);
    http_answer_slice(q->deferred.request, media_type, &item, tag);
    slice_deinit(&item);
}

/* The problem of an item that has failed, with its status. */
static void answer_failed(struct http_request *r, const char *problem, size_t size) {
    struct problem_fault fault;
    struct buf body = {0};
    if (problem_read_fault(problem, size, &fault) == 0) {
        buf_append(&body, problem, size);
        http_answer(r, problem_get(fault.code)->status, "application/problem+json", &body);
    } else {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    }
    problem_fault_deinit(&fault);
}

static void search(struct item_request *q) {
    struct http_request *r = q->deferred.request;
    const struct slice *result = &q->record->result;
    const unsigned char *text = result->size == 0 ? NULL : slice_map(result);
    enum item_found found =
        text == NULL ? ITEM_BAD : item_search_step(&q->search, (const char *)text, result->size, STEP_BYTES);
    if (found == ITEM_UNDECIDED)
        loop_set_timer(q->deferred.server->loop, &q->timer, loop_now_ns(q->deferred.server->loop));
    else if (found == ITEM_RESULT)
        answer_found(q, JSON_TYPE, q->search.at, q->search.size);
    else if (found == ITEM_ERROR)
        answer_failed(r, (const char *)text + q->search.at, q->search.size);
    else
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    if (text != NULL)
        slice_unmap(result, text);
}

/* An item of a result that has an index. */
static void answer_mixed(struct item_request *q) {
    struct http_request *r = q->deferred.request;
    struct host_mixed_item item;
    struct buf problem = {0};
    if (!result_item(q->record, q->search.index, &item)) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    if (!item.failed) {
        answer_found(q, item.media_type, (size_t)item.offset, (size_t)item.size);
        return;
    }
    char *to = item.size > MAX_PROBLEM ? NULL : buf_reserve(&problem, (size_t)item.size);
    if (to != NULL && slice_read(&q->record->result, (size_t)item.offset, to, (size_t)item.size) == 0)
        answer_failed(r, to, (size_t)item.size);
    else
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    buf_deinit(&problem);
}

static void on_timer(struct timer *t) {
    search(container_of(t, struct item_request, timer));
}

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct item_request *q = arg;
    struct deferred_request *d = &q->deferred;
    if (!deferred_leave_store(d))
        return;
    if (result != STORE_OK) {
        answer_not_found(d->request, result);
    } else if (record->status != JOB_SUCCEEDED) {
        answer_result(d->server, d->request, record);
    } else if (!record->map || q->search.index >= record->items) {
        answer_no_item(q);
    } else {
        q->record = record_ref(record);
        if (result_is_mixed(record))
            answer_mixed(q);
        else
            search(q);
    }
}

static void release(struct deferred_request *d) {
    struct item_request *q = container_of(d, struct item_request, deferred);
    loop_clear_timer(d->server->loop, &q->timer);
    record_unref(q->record);
    free(q);
}

/* A number as it is written in the path, without leading zeros. */
static bool read_index(const struct route_match *m, uint32_t *index) {
    uint64_t n = 0;
    bool good = m->second_size > 0 && m->second_size <= 10 && (m->second[0] != '0' || m->second_size == 1);
    for (size_t i = 0; good && i < m->second_size; i++) {
        good = m->second[i] >= '0' && m->second[i] <= '9';
        n = n * 10 + (uint64_t)(m->second[i] - '0');
    }
    *index = (uint32_t)n;
    return good && n <= UINT32_MAX;
}

void api_get_item(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    uint32_t index;
    if (!route_read_id(m, &id)) {
        answer_not_found(r, STORE_NOT_FOUND);
        return;
    }
    if (!read_index(&m, &index)) {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "an item is named by its number, from 0 up", NULL);
        return;
    }
    struct item_request *q = calloc(1, sizeof *q);
    if (q == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    q->search.index = index;
    q->timer.fire = on_timer;
    deferred_init(&q->deferred, s, r, REPLY_FETCH, release);
    deferred_enter_store(&q->deferred);
    jobs_get(s->jobs, &id, q->deferred.view, on_found, q);
    deferred_suspend(&q->deferred);
}
