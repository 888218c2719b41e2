/* answers.c: see answers.h. Front end. */
#include "server/api/answers.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"

#define TAG_BYTES 16 /* of the hash of a log, in its ETag */

/* ---- headers ----------------------------------------------------------------------------------------------------- */

/* accepted: for a 202, to which `return` applies (RFC 7240, section 4.2). */
static void set_terms(struct http_request *r, const struct answer_terms *terms, bool accepted) {
    char value[96] = "";
    size_t n = 0;
    if (terms->prefer.respond_async)
        n += (size_t)snprintf(value + n, sizeof value - n, "respond-async");
    if (terms->prefer.has_wait && terms->granted_s >= 0)
        n += (size_t)snprintf(value + n, sizeof value - n, "%swait=%lld", n > 0 ? ", " : "",
                              (long long)terms->granted_s);
    if (accepted && terms->prefer.minimal && !terms->prefer.representation)
        n += (size_t)snprintf(value + n, sizeof value - n, "%sreturn=minimal", n > 0 ? ", " : "");
    if (n > 0)
        http_set_header(r, "Preference-Applied", value);
    if (terms->replayed)
        http_set_header(r, "Idempotency-Replayed", "true");
}

void answer_set_terms(struct http_request *r, const struct answer_terms *terms) {
    set_terms(r, terms, false);
}

void answer_set_timing(struct http_request *r, const struct record *record) {
    char value[RENDER_TIMING_SIZE];
    render_server_timing(value, record);
    http_set_header(r, "Server-Timing", value);
}

/* ---- the Job ----------------------------------------------------------------------------------------------------- */

void answer_job(struct http_request *r, unsigned status, const struct record *record, const struct job *job) {
    struct job_view view = job_look(job);
    struct buf body = http_answer_room(r);
    buf_reserve(&body, 700);
    render_job(&body, record, &view, true);
    answer_set_timing(r, record);
    http_answer(r, status, JSON_TYPE, &body);
}

void answer_job_problem(struct http_request *r, const struct record *record) {
    struct buf body = {0};
    const struct problem *p = problem_get(record->problem);
    if (p->status == 503)
        http_set_header(r, "Retry-After", "1");
    answer_set_timing(r, record);
    if (record->error.size == 0) { /* there was no memory for it */
        http_answer_problem(r, record->problem, NULL, NULL);
        return;
    }
    size_t size = problem_without_traceback(&record->error); /* only the Job shows it */
    buf_append(&body, record->error.data, size);
    if (size < record->error.size)
        buf_putc(&body, '}');
    http_answer_problem_document(r, record->problem, &body);
}

/* When the client should ask again: when the job is likely to be done. 1 to 3600 s. */
static int64_t retry_after_s(const struct record *record, const struct job *job) {
    int64_t ms = 0;
    if (job != NULL)
        ms = job_estimated_work_ms(job);
    if (job != NULL && record->status == JOB_QUEUED)
        ms += job_look(job).estimated_start_ms - clock_wall_ms();
    return ms <= 1000 ? 1 : ms > 3600000 ? 3600 : (ms + 999) / 1000;
}

void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                     const struct answer_terms *terms) {
    char id[ID_TEXT_SIZE];
    const struct job *job = jobs_find(s->jobs, &record->id, NULL);
    id_format(&record->id, id);
    http_set_header_f(r, "Location", "/v1/jobs/%s", id);
    http_set_header_f(r, "Retry-After", "%lld", (long long)retry_after_s(record, job));
    if (terms != NULL)
        set_terms(r, terms, true);
    if (terms != NULL && terms->prefer.minimal && !terms->prefer.representation) {
        answer_set_timing(r, record);
        http_answer_static(r, 202, NULL, "", 0);
    } else {
        answer_job(r, 202, record, job);
    }
}

static void add_accept(void *arg, const char *line) {
    accept_parse(arg, line);
}

/* The client has named the media type of the result in its Accept, and so wants the bytes and not the Job. */
static bool wants_bytes(struct http_request *r, const struct record *record) {
    if (record->binary == NULL)
        return false;
    struct accept a = accept_of(record->binary->media_type, JSON_TYPE);
    a.by_type = true;
    http_each_header(r, "Accept", add_accept, &a);
    return accept_prefers_first(&a);
}

/* The result of a job that has succeeded, as it is. */
static void answer_bytes(struct http_request *r, const struct record *record) {
    char id[ID_TEXT_SIZE];
    struct slice document = result_document(record);
    id_format(&record->id, id);
    answer_set_timing(r, record);
    if (document.size == 0 && result_is_mixed(record)) /* a worker has made it wrong */
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    else /* it never changes, so the id can be its tag */
        http_answer_slice(r, record->binary == NULL ? JSON_TYPE : record->binary->media_type, &document, id);
    slice_deinit(&document);
}

void answer_submitted(struct http_request *r, const struct record *record, const struct answer_terms *terms) {
    answer_set_terms(r, terms);
    if (record->status != JOB_SUCCEEDED) {
        answer_job_problem(r, record);
    } else if (wants_bytes(r, record)) {
        char id[ID_TEXT_SIZE];
        id_format(&record->id, id);
        http_set_header_f(r, "Content-Location", "/v1/jobs/%s/result", id); /* RFC 9110, section 8.7 */
        answer_bytes(r, record);
    } else {
        answer_job(r, 200, record, NULL);
    }
}

/* OpenAI's clients send a request again after a 500 or a 504, unless they are told not to. The service has tried it as
 * often as it is of use. */
void answer_bare(struct http_request *r, const struct record *record) {
    if (record->status == JOB_SUCCEEDED) {
        answer_bytes(r, record);
        return;
    }
    if (problem_get(record->problem)->status >= 500)
        http_set_header(r, "x-should-retry", "false");
    answer_job_problem(r, record);
}

bool answer_precondition_failed(struct http_request *r, const struct record *record, const struct job *job) {
    char tag[RENDER_ETAG_SIZE];
    struct job_view view = job_look(job);
    if (!http_has_precondition(r))
        return false;
    size_t significant = render_etag(tag, record, &view);
    if (!http_precondition_fails(r, tag, record->status == JOB_RUNNING ? significant : 0))
        return false;
    http_set_header(r, "ETag", tag);
    http_answer_problem(r, PROBLEM_PRECONDITION_FAILED, NULL, NULL);
    return true;
}

void answer_polled(struct http_request *r, const struct record *record, const struct job *job) {
    char tag[RENDER_ETAG_SIZE];
    struct job_view view = job_look(job);
    render_etag(tag, record, &view);
    if (answer_precondition_failed(r, record, job))
        return;
    http_set_header(r, "ETag", tag);
    if (http_is_known(r, tag))
        http_answer_static(r, 304, NULL, "", 0);
    else
        answer_job(r, 200, record, job);
}

void answer_result(struct server *s, struct http_request *r, const struct record *record) {
    if (!job_status_is_final(record->status)) {
        answer_accepted(s, r, record, NULL);
    } else if (record->status == JOB_SUCCEEDED) {
        answer_bytes(r, record);
    } else {
        answer_job_problem(r, record);
    }
}

/* The text of a live job goes on, so the tag is made of the text. */
void answer_log(struct http_request *r, const struct record *record) {
    const struct job_log *log = record->log;
    size_t start = log == NULL ? 0 : job_log_start(log), size = log == NULL ? 0 : log->text.size - start;
    uint8_t hash[HASH_SIZE] = {0};
    char tag[2 * TAG_BYTES + 1] = "";
    if (!http_make_room(r, size))
        return;
    struct slice text = slice_copy(size == 0 ? "" : log->text.data + start, size);
    if (text.blob == NULL || hash_sha256(text.blob->data, size, hash) != 0) {
        slice_deinit(&text);
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    for (int i = 0; i < TAG_BYTES; i++)
        snprintf(tag + 2 * i, 3, "%02x", hash[i]);
    http_set_header(r, "X-Content-Type-Options", "nosniff"); /* a program can print what looks like HTML */
    http_answer_slice(r, "text/plain; charset=utf-8", &text, tag);
    slice_deinit(&text);
}

/* ---- no Job ------------------------------------------------------------------------------------------------------ */

void answer_fault(struct http_request *r, const struct fault *fault) {
    struct problem_fault f;
    bool known = problem_read_fault(fault->json.data == NULL ? "" : fault->json.data, fault->json.size, &f) == 0;
    if (known && f.code != PROBLEM_MEMORY_LIMIT) /* there is no job yet that could have run out of memory */
        http_answer_problem(r, f.code, f.detail, f.members);
    else
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    problem_fault_deinit(&f);
}

void answer_not_found(struct http_request *r, enum store_result result) {
    if (result == STORE_GONE) {
        http_answer_problem(r, PROBLEM_GONE, NULL, NULL);
    } else if (result == STORE_UNAVAILABLE) {
        http_set_header(r, "Retry-After", "1");
        http_answer_problem(r, PROBLEM_STORE_UNAVAILABLE, NULL, NULL);
    } else {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "no such job, or it is no longer remembered", NULL);
    }
}

void answer_overloaded(struct server *s, struct http_request *r, enum problem_code code) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)jobs_retry_after_s(s->jobs));
    http_answer_problem(r, code, NULL, NULL);
}

void answer_too_many_delayed(struct server *s, struct http_request *r) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)jobs_delayed_retry_after_s(s->jobs));
    http_answer_problem(r, PROBLEM_QUEUE_FULL, "as many jobs wait for their time as --max-delayed allows", NULL);
}

void answer_too_late(struct http_request *r, const struct job *job) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)job_retry_after_s(job));
    http_answer_problem(r, PROBLEM_QUEUE_TIMEOUT,
                        "the job cannot start within its queue_timeout_ms, so it was not accepted", NULL);
}
