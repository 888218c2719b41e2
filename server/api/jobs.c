/* jobs.c: see jobs.h. Front end. */
#include "server/api/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "server/api/deferred.h"

#define DEFAULT_LIMIT 50
#define MAX_LIMIT     1000
#define LISTED_BYTES  1024 /* about what a job needs in a list: its record and its text */

/* ---- one job ----------------------------------------------------------------------------------------------------- */

/* Cancels a live job, unless a condition of the request is false. False: it is not live. */
static bool cancel_if_live(struct deferred_request *d, const struct id *id) {
    struct job *job = jobs_find(d->server->jobs, id, d->view);
    if (job == NULL)
        return false;
    if (!answer_precondition_failed(d->request, job_record(job), job)) {
        d->cancelled = true;
        deferred_wait(d, job, -1);
        job_cancel(job);
    }
    return true;
}

/* A request about one job. NULL: it is answered. */
static struct deferred_request *begin(struct server *s, struct http_request *r, struct route_match m,
                                      enum reply_kind kind, struct id *id) {
    if (route_read_id(m, id))
        return deferred_new(s, r, kind);
    answer_not_found(r, STORE_NOT_FOUND);
    return NULL;
}

void api_get_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct deferred_request *d = begin(s, r, m, REPLY_POLL, &id);
    int64_t wait_ns = 0;
    if (d == NULL)
        return;
    d->terms.prefer = deferred_read_prefer(r);
    if (d->terms.prefer.has_wait)
        wait_ns = deferred_wait_time(s, &d->terms.prefer, &d->terms.granted_s);
    struct job *job = wait_ns == 0 ? NULL : jobs_find(s->jobs, &id, d->view);
    bool denied = job != NULL && s->waiting >= s->config.max_sync;
    if (d->terms.prefer.has_wait && !denied)
        http_set_header_f(r, "Preference-Applied", "wait=%lld", (long long)d->terms.granted_s);
    if (job == NULL || denied)
        deferred_ask(d, &id);
    else
        deferred_wait(d, job, wait_ns);
    deferred_suspend(d);
}

void api_get_result(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct deferred_request *d = begin(s, r, m, REPLY_FETCH, &id);
    if (d == NULL)
        return;
    deferred_ask(d, &id);
    deferred_suspend(d);
}

void api_get_log(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct deferred_request *d = begin(s, r, m, REPLY_LOG, &id);
    if (d == NULL)
        return;
    deferred_ask(d, &id);
    deferred_suspend(d);
}

void api_cancel_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct deferred_request *d = begin(s, r, m, REPLY_CANCEL, &id);
    if (d == NULL)
        return;
    if (!cancel_if_live(d, &id))
        deferred_ask(d, &id);
    deferred_suspend(d);
}

void api_delete_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct deferred_request *d = begin(s, r, m, REPLY_DELETE, &id);
    if (d == NULL)
        return;
    if (cancel_if_live(d, &id))
        ; /* it is forgotten when it has ended */
    else if (http_has_precondition(r) || d->view != NULL)
        deferred_ask(d, &id); /* it is forgotten when its ETag is known, and whose it is */
    else
        deferred_forget(d, &id);
    deferred_suspend(d);
}

/* ---- GET /v1/jobs ------------------------------------------------------------------------------------------------ */

struct list_request {
    struct deferred_request deferred;
    struct record_filter filter;
    char bad[160]; /* what is wrong with the query, or "" */
    struct buf body;
    unsigned count, limit; /* of jobs: found, and at most shown */
    struct id last;        /* the last one that is shown */
};

static void read_limit(struct list_request *l, const char *value) {
    char *end;
    long n = strtol(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || n < 1 || n > MAX_LIMIT)
        snprintf(l->bad, sizeof l->bad, "limit must be a number from 1 to %d", MAX_LIMIT);
    else
        l->limit = (unsigned)n;
}

static void read_parameter(void *arg, const char *name, const char *value) {
    struct list_request *l = arg;
    if (strcmp(name, "limit") == 0) {
        read_limit(l, value);
    } else if (strcmp(name, "status") == 0) {
        l->filter.status = job_status_find(value);
        if (l->filter.status == JOB_STATUSES)
            snprintf(l->bad, sizeof l->bad, "status must be one of queued, running, succeeded, failed, cancelled");
    } else if (strcmp(name, "type") == 0) {
        l->filter.type = host_known(value);
        if (l->filter.type < 0)
            snprintf(l->bad, sizeof l->bad, "type: there is no such job type");
    } else if (strcmp(name, "cursor") == 0) {
        if (!id_parse(value, &l->filter.before))
            snprintf(l->bad, sizeof l->bad, "cursor must be a next_cursor of an earlier answer");
    }
}

static void finish_list(struct list_request *l) {
    char id[ID_TEXT_SIZE];
    buf_putc(&l->body, ']');
    if (l->count > l->limit) {
        id_format(&l->last, id);
        buf_printf(&l->body, ",\"next_cursor\":\"%s\"", id);
    }
    buf_putc(&l->body, '}');
    http_answer(l->deferred.request, 200, JSON_TYPE, &l->body);
}

static void on_listed(void *arg, enum store_result result, struct record *record) {
    struct list_request *l = arg;
    struct server *server = l->deferred.server;
    if (record != NULL) {
        if (l->count++ >= l->limit)
            return;
        if (l->count > 1)
            buf_putc(&l->body, ',');
        struct job_view view = job_look(jobs_find(server->jobs, &record->id, NULL));
        render_job(&l->body, record, &view, false);
        l->last = record->id;
    } else if (deferred_leave_store(&l->deferred)) {
        if (result == STORE_OK)
            finish_list(l);
        else
            answer_not_found(l->deferred.request, result);
    }
}

static void release_list(struct deferred_request *d) {
    struct list_request *l = container_of(d, struct list_request, deferred);
    buf_deinit(&l->body);
    free(l);
}

void api_list_jobs(struct server *s, struct http_request *r, struct route_match m) {
    struct list_request *l = calloc(1, sizeof *l);
    (void)m;
    if (l == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    l->limit = DEFAULT_LIMIT;
    l->filter = (struct record_filter){.status = -1, .type = -1};
    memset(&l->filter.before, 0xFF, sizeof l->filter.before);
    deferred_init(&l->deferred, s, r, REPLY_LIST, release_list);
    l->filter.tenant = l->deferred.view;
    http_each_query(r, read_parameter, l);
    if (l->bad[0] != '\0') {
        http_answer_problem(r, PROBLEM_INVALID_QUERY, l->bad, NULL);
        return;
    }
    if (!http_make_room(r, l->limit * LISTED_BYTES))
        return;
    l->filter.limit = l->limit + 1; /* with one more it is known whether there is a next page */
    buf_puts(&l->body, "{\"jobs\":[");
    deferred_enter_store(&l->deferred);
    jobs_list(s->jobs, &l->filter, on_listed, l);
    deferred_suspend(&l->deferred);
}
