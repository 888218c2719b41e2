/* api_jobs.c: the routes under /v1/jobs. Front end. A request that has to wait is suspended and hangs on the job as a
 * waiter; what to answer when its turn comes is decided by what it asked for (enum aim). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ndjson.h"
#include "server/prefer.h"
#include "server/render.h"
#include "server/server.h"

#define ACCEPT_WAIT_NS NS_PER_S /* a 202 waits this long for its job to be checked by a worker */
#define DEFAULT_LIMIT 50
#define MAX_LIMIT 1000
#define JSON_TYPE "application/json"

/* What a suspended request waits for. */
enum aim {
    AIM_RESULT, /* POST, synchronous */
    AIM_ACCEPT, /* POST, to be answered 202 once the submission is known to be good */
    AIM_POLL,   /* GET with wait */
    AIM_CANCEL,
    AIM_DELETE
};

struct pending {
    struct job_waiter waiter;
    struct timer timer;
    struct server *server;
    struct http_request *request;
    enum aim aim;
    struct prefer prefer;
    int64_t granted_s;      /* the wait that is in effect; -1: none was asked for */
    bool counted;           /* among server->waiting */
    bool stream;            /* AIM_RESULT: the items of a map job are wanted as they are finished */
    struct record *accepted; /* being stored: the 202's record */
};

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void set_preference_applied(struct http_request *r, const struct pending *p, bool accepted) {
    char value[96] = "";
    size_t n = 0;
    if (p->prefer.respond_async)
        n += (size_t)snprintf(value + n, sizeof value - n, "respond-async");
    if (p->prefer.has_wait)
        n += (size_t)snprintf(value + n, sizeof value - n, "%swait=%lld", n > 0 ? ", " : "", (long long)p->granted_s);
    if (accepted && p->prefer.minimal && !p->prefer.representation)
        n += (size_t)snprintf(value + n, sizeof value - n, "%sreturn=minimal", n > 0 ? ", " : "");
    if (n > 0)
        http_set_header(r, "Preference-Applied", value);
}

static void set_server_timing(struct http_request *r, const struct record *record) {
    char value[RENDER_TIMING_SIZE];
    render_server_timing(value, record);
    http_set_header(r, "Server-Timing", value);
}

static void answer_job(struct http_request *r, unsigned status, const struct record *record, const struct job *job) {
    struct buf body = {0};
    buf_reserve(&body, 700);
    render_job(&body, record, job, true);
    set_server_timing(r, record);
    http_answer(r, status, JSON_TYPE, &body);
}

/* The problem that a failed or cancelled job ended with. */
static void answer_job_problem(struct http_request *r, const struct record *record) {
    struct buf body = {0};
    const struct problem *p = problem_get(record->problem);
    buf_append(&body, record->error.data, record->error.size);
    if (p->status == 503)
        http_set_header(r, "Retry-After", "1");
    set_server_timing(r, record);
    http_answer(r, p->status, "application/problem+json", &body);
}

/* When it is worth asking again: when the job may be done. */
static int64_t retry_after_s(const struct record *record, const struct job *job) {
    int64_t ms = 0;
    if (job != NULL)
        ms = job_estimated_work_ms(job);
    if (job != NULL && record->status == JOB_QUEUED)
        ms += job_estimated_start_ms(job) - clock_wall_ms();
    return ms <= 1000 ? 1 : ms > 3600000 ? 3600 : (ms + 999) / 1000;
}

static void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                            const struct pending *p) {
    char id[ID_TEXT_SIZE];
    const struct job *job = jobs_find(s->jobs, &record->id);
    id_format(&record->id, id);
    http_set_header_f(r, "Location", "/v1/jobs/%s", id);
    http_set_header_f(r, "Retry-After", "%lld", (long long)retry_after_s(record, job));
    if (p != NULL)
        set_preference_applied(r, p, true);
    if (p != NULL && p->prefer.minimal && !p->prefer.representation) {
        set_server_timing(r, record);
        http_answer_static(r, 202, NULL, "", 0);
    } else {
        answer_job(r, 202, record, job);
    }
}

void api_answer_not_found(struct http_request *r, enum store_result result) {
    if (result == STORE_GONE) {
        http_answer_problem(r, PROBLEM_GONE, NULL, NULL);
    } else if (result == STORE_UNAVAILABLE) {
        http_set_header(r, "Retry-After", "1");
        http_answer_problem(r, PROBLEM_STORE_UNAVAILABLE, NULL, NULL);
    } else {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "no such job, or it is no longer remembered", NULL);
    }
}

static void answer_cached(struct http_request *r, const struct record *record, const struct job *job) {
    char tag[48];
    render_etag(tag, sizeof tag, record, job);
    http_set_header(r, "ETag", tag);
    const char *known = http_header(r, "If-None-Match");
    /* Weak comparison, RFC 9110 section 13.1.2; a list is searched for our tag. */
    if (known != NULL && (strcmp(known, "*") == 0 || strstr(known, tag + 2) != NULL)) {
        http_answer_static(r, 304, NULL, "", 0);
        return;
    }
    answer_job(r, 200, record, job);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void stop_waiting(struct pending *p) {
    job_unwait(&p->waiter);
    loop_clear_timer(p->server->loop, &p->timer);
    if (p->counted)
        p->server->waiting--;
    p->counted = false;
}

static void on_forgotten(void *arg, enum store_result result) {
    struct http_request *r = arg;
    if (result == STORE_OK)
        http_answer_static(r, 204, NULL, "", 0);
    else
        api_answer_not_found(r, result);
}

static void answer_submitted(struct pending *p, const struct record *record) {
    set_preference_applied(p->request, p, false);
    if (record->status == JOB_SUCCEEDED)
        answer_job(p->request, 200, record, NULL);
    else
        answer_job_problem(p->request, record);
}

static void answer_ended(struct pending *p, struct job *job) {
    struct record *record = job_record(job);
    switch (p->aim) {
    case AIM_RESULT: answer_submitted(p, record); break;
    case AIM_ACCEPT:
        if (job_is_rejected(job))
            answer_job_problem(p->request, record);
        else
            answer_accepted(p->server, p->request, record, p);
        break;
    case AIM_POLL: answer_cached(p->request, record, NULL); break;
    case AIM_CANCEL: answer_job(p->request, 200, record, NULL); break;
    case AIM_DELETE: jobs_forget(p->server->jobs, &record->id, on_forgotten, p->request); break;
    }
}

/* The job is safe: its 202 may leave. */
static void on_stored(void *arg, enum store_result result) {
    struct pending *p = arg;
    struct record *record = p->accepted;
    p->accepted = NULL;
    if (p->request == NULL) { /* the client left meanwhile */
        free(p);
    } else if (result == STORE_OK) {
        answer_accepted(p->server, p->request, record, p);
    } else {
        api_answer_not_found(p->request, STORE_UNAVAILABLE);
    }
    record_unref(record);
}

static void accept_job(struct pending *p, struct job *job) {
    stop_waiting(p);
    p->accepted = record_ref(job_record(job));
    job_make_durable(job, on_stored, p);
}

/* The submission is good, so from now on the answer is its items. */
static void begin_stream(struct pending *p, struct job *job) {
    p->stream = false;
    if (!job_record(job)->map)
        return; /* answered as usual */
    set_preference_applied(p->request, p, false);
    if (!ndjson_from_job(p->server, p->request, job, p->prefer.respond_async))
        return;
    job_unwait(&p->waiter);
    loop_clear_timer(p->server->loop, &p->timer);
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct pending *p = (struct pending *)((char *)w - offsetof(struct pending, waiter));
    if (event == JOB_ENDED) {
        stop_waiting(p);
        answer_ended(p, job);
    } else if (p->aim == AIM_ACCEPT) {
        accept_job(p, job);
    } else if (p->stream) {
        begin_stream(p, job);
    }
}

/* The wait is over and the job is not. */
static void on_wait_over(struct timer *t) {
    struct pending *p = (struct pending *)((char *)t - offsetof(struct pending, timer));
    struct job *job = p->waiter.job;
    if (p->aim != AIM_POLL) {
        accept_job(p, job);
        return;
    }
    stop_waiting(p);
    answer_cached(p->request, job_record(job), job);
}

static struct pending *pending_new(struct server *s, struct http_request *r, enum aim aim) {
    struct pending *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->server = s;
    p->request = r;
    p->aim = aim;
    p->granted_s = -1;
    p->waiter.notify = on_job_event;
    p->timer.fire = on_wait_over;
    r->state = p;
    return p;
}

/* Hangs the request on the job; wait_ns < 0: as long as it takes. */
static void wait_for_job(struct pending *p, struct job *job, int64_t wait_ns) {
    job_wait(job, &p->waiter);
    if (wait_ns >= 0)
        loop_set_timer(p->server->loop, &p->timer, clock_monotonic_ns() + wait_ns);
    if (p->aim == AIM_RESULT || p->aim == AIM_POLL) {
        p->counted = true;
        p->server->waiting++;
    }
}

/* Suspends unless the answer is there already. */
static void suspend_if_open(struct http_request *r) {
    if (!r->answered)
        http_suspend(r);
}

void api_hangup(struct server *s, struct http_request *r) {
    struct pending *p = r->state;
    (void)s;
    if (p != NULL) {
        struct job *job = p->waiter.job;
        /* Nobody waits for the CPU that the job would burn, unless it was to be answered by id. */
        bool abandon = job != NULL && p->aim == AIM_RESULT && !p->prefer.respond_async;
        stop_waiting(p);
        if (abandon)
            job_cancel(job);
    }
    http_abandon(r);
}

void api_done(struct server *s, struct http_request *r) {
    struct pending *p = r->state;
    (void)s;
    if (p == NULL)
        return;
    stop_waiting(p);
    r->state = NULL;
    if (p->accepted != NULL)
        p->request = NULL; /* freed when the store answers */
    else
        free(p);
}

/* ---- POST /v1/jobs -------------------------------------------------------------------------------------------------- */

static void add_prefer(void *arg, const char *line) {
    prefer_parse(arg, line);
}

static struct prefer read_prefer(struct http_request *r) {
    struct prefer p = {0};
    http_each_header(r, "Prefer", add_prefer, &p);
    return p;
}

/* How long this request may wait, ns; *granted_s as Preference-Applied shows it. */
static int64_t wait_time(const struct server *s, const struct prefer *p, int64_t *granted_s) {
    if (!p->has_wait)
        return p->respond_async ? 0 : s->config.sync_wait_ns;
    int64_t max_s = s->config.max_wait_ns / NS_PER_S;
    *granted_s = p->wait_s < max_s ? p->wait_s : max_s;
    return *granted_s * NS_PER_S;
}

static void refuse(struct server *s, struct http_request *r, enum problem_code code) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)jobs_retry_after_s(s->jobs));
    http_answer_problem(r, code, NULL, NULL);
}

static void answer_fault(struct http_request *r, const struct fault *fault) {
    struct problem_fault f;
    if (problem_read_fault(fault->json.data == NULL ? "" : fault->json.data, fault->json.size, &f) == 0)
        http_answer_problem(r, f.code, f.detail, f.members);
    else
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    problem_fault_deinit(&f);
}

static void submit_request(struct server *s, struct http_request *r, struct job_request *q) {
    struct pending *p = pending_new(s, r, AIM_RESULT);
    struct job *job;
    enum problem_code why;
    if (p == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    p->prefer = read_prefer(r);
    int64_t wait_ns = wait_time(s, &p->prefer, &p->granted_s);
    if (wait_ns == 0 || s->waiting >= s->config.max_sync) {
        p->aim = AIM_ACCEPT;
        wait_ns = ACCEPT_WAIT_NS;
    }
    const char *trace = http_header(r, "traceparent");
    p->stream = p->aim == AIM_RESULT && ndjson_is_wanted(r);
    q->asynchronous = p->aim == AIM_ACCEPT || p->stream;
    q->default_priority = priority_parse(http_header(r, "Priority"));
    q->trace = traceparent_is_valid(trace) ? trace : NULL;
    if (jobs_submit(s->jobs, q, &job, &why) != 0) {
        refuse(s, r, why);
        return;
    }
    wait_for_job(p, job, wait_ns);
    suspend_if_open(r);
    jobs_dispatch_early(s->jobs);
}

void api_submit(struct server *s, struct http_request *r, struct route_match m) {
    struct submission submission = {0};
    struct fault fault = {{0}};
    struct job_request q = {.body = r->large};
    (void)m;
    if (s->draining) {
        refuse(s, r, PROBLEM_DRAINING);
        return;
    }
    if (!s->ready_logged) {
        refuse(s, r, PROBLEM_STARTING);
        return;
    }
    if (r->large.blob != NULL) {
        submit_request(s, r, &q);
        return;
    }
    const char *body = r->body.data == NULL ? "" : r->body.data;
    if (submission_parse(body, r->body.size, (unsigned)s->config.max_json_depth, &submission, &fault) != 0) {
        answer_fault(r, &fault);
    } else {
        q.submission = &submission;
        submit_request(s, r, &q);
    }
    submission_deinit(&submission);
    fault_deinit(&fault);
}

/* ---- GET, DELETE, cancel ------------------------------------------------------------------------------------------------ */

bool api_read_id(struct route_match m, struct id *id) {
    char text[ID_TEXT_SIZE];
    if (m.size != sizeof text - 1)
        return false;
    memcpy(text, m.text, m.size);
    text[m.size] = '\0';
    return id_parse(text, id);
}

/* Waits for a live job with that aim; false if there is none, or no room to wait. */
static bool wait_if_live(struct server *s, struct http_request *r, const struct id *id, enum aim aim, int64_t wait_ns,
                         struct pending **out) {
    struct job *job = jobs_find(s->jobs, id);
    if (job == NULL)
        return false;
    struct pending *p = pending_new(s, r, aim);
    if (p == NULL)
        return false;
    *out = p;
    wait_for_job(p, job, wait_ns);
    return true;
}

static void on_got_job(void *arg, enum store_result result, struct record *record) {
    if (result == STORE_OK)
        answer_cached(arg, record, NULL);
    else
        api_answer_not_found(arg, result);
}

void api_get_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct prefer prefer = read_prefer(r);
    struct pending *p;
    int64_t granted_s = 0;
    if (!api_read_id(m, &id)) {
        api_answer_not_found(r, STORE_NOT_FOUND);
        return;
    }
    int64_t wait_ns = prefer.has_wait ? wait_time(s, &prefer, &granted_s) : 0;
    if (prefer.has_wait)
        http_set_header_f(r, "Preference-Applied", "wait=%lld", (long long)granted_s);
    if (wait_ns > 0 && s->waiting < s->config.max_sync && wait_if_live(s, r, &id, AIM_POLL, wait_ns, &p)) {
        suspend_if_open(r);
        return;
    }
    struct job *job = jobs_find(s->jobs, &id);
    if (job != NULL)
        answer_cached(r, job_record(job), job);
    else
        jobs_get(s->jobs, &id, on_got_job, r);
}

struct result_request {
    struct server *server;
    struct http_request *request;
};

static void answer_result(struct server *s, struct http_request *r, const struct record *record) {
    if (!job_status_is_final(record->status)) {
        answer_accepted(s, r, record, NULL);
    } else if (record->status == JOB_SUCCEEDED) {
        set_server_timing(r, record);
        http_answer_slice(r, JSON_TYPE, &record->result);
    } else {
        answer_job_problem(r, record);
    }
}

static void on_got_result(void *arg, enum store_result result, struct record *record) {
    struct result_request *q = arg;
    if (result == STORE_OK)
        answer_result(q->server, q->request, record);
    else
        api_answer_not_found(q->request, result);
}

void api_get_result(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct result_request q = {s, r};
    if (api_read_id(m, &id))
        jobs_get(s->jobs, &id, on_got_result, &q);
    else
        api_answer_not_found(r, STORE_NOT_FOUND);
}

static void on_got_cancelled(void *arg, enum store_result result, struct record *record) {
    if (result == STORE_OK)
        answer_job(arg, 200, record, NULL);
    else
        api_answer_not_found(arg, result);
}

void api_cancel_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct pending *p;
    if (!api_read_id(m, &id)) {
        api_answer_not_found(r, STORE_NOT_FOUND);
    } else if (wait_if_live(s, r, &id, AIM_CANCEL, -1, &p)) {
        job_cancel(p->waiter.job);
        suspend_if_open(r);
    } else {
        jobs_get(s->jobs, &id, on_got_cancelled, r);
    }
}

void api_delete_job(struct server *s, struct http_request *r, struct route_match m) {
    struct id id;
    struct pending *p;
    if (!api_read_id(m, &id)) {
        api_answer_not_found(r, STORE_NOT_FOUND);
    } else if (wait_if_live(s, r, &id, AIM_DELETE, -1, &p)) {
        job_cancel(p->waiter.job);
        suspend_if_open(r);
    } else {
        jobs_forget(s->jobs, &id, on_forgotten, r);
    }
}

/* ---- GET /v1/jobs -------------------------------------------------------------------------------------------------------- */

struct list_request {
    struct server *server;
    struct http_request *request;
    struct store_filter filter;
    char bad[160]; /* what is wrong with the query, or "" */
    struct buf body;
    unsigned count, limit;
    struct id last;
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
        l->filter.type = host_find(value);
        if (l->filter.type < 0)
            snprintf(l->bad, sizeof l->bad, "type: there is no such job type");
    } else if (strcmp(name, "cursor") == 0) {
        if (!id_parse(value, &l->filter.before))
            snprintf(l->bad, sizeof l->bad, "cursor must be a next_cursor of an earlier answer");
    } else {
        snprintf(l->bad, sizeof l->bad, "unknown query parameter \"%.60s\"", name);
    }
}

static void finish_list(struct list_request *l, bool more) {
    char id[ID_TEXT_SIZE];
    buf_putc(&l->body, ']');
    if (more) {
        id_format(&l->last, id);
        buf_printf(&l->body, ",\"next_cursor\":\"%s\"", id);
    }
    buf_putc(&l->body, '}');
    http_answer(l->request, 200, JSON_TYPE, &l->body);
    free(l);
}

static void on_listed(void *arg, enum store_result result, struct record *record) {
    struct list_request *l = arg;
    if (record == NULL && result == STORE_OK) {
        finish_list(l, l->count > l->limit);
    } else if (record == NULL) {
        api_answer_not_found(l->request, result);
        buf_deinit(&l->body);
        free(l);
    } else if (l->count++ < l->limit) {
        if (l->count > 1)
            buf_putc(&l->body, ',');
        render_job(&l->body, record, jobs_find(l->server->jobs, &record->id), false);
        l->last = record->id;
    }
}

void api_list_jobs(struct server *s, struct http_request *r, struct route_match m) {
    struct list_request *l = calloc(1, sizeof *l);
    (void)m;
    if (l == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    *l = (struct list_request){.server = s, .request = r, .limit = DEFAULT_LIMIT, .filter = {.status = -1, .type = -1}};
    memset(&l->filter.before, 0xFF, sizeof l->filter.before);
    http_each_query(r, read_parameter, l);
    if (l->bad[0] != '\0') {
        http_answer_problem(r, PROBLEM_INVALID_QUERY, l->bad, NULL);
        free(l);
        return;
    }
    l->filter.limit = l->limit + 1; /* one more tells whether there is a next page */
    buf_puts(&l->body, "{\"jobs\":[");
    jobs_list(s->jobs, &l->filter, on_listed, l);
}
