/* coding.c: see coding.h. Front end. */
#include "server/api/coding.h"

#include <stdio.h>
#include <string.h>

#include "base/container.h"

#define WORD_ROOM 16 /* bytes of what body-inflate says of a body that is wrong, with its quotes */

/* ---- the body is wrong ------------------------------------------------------------------------------------------- */

static void answer_too_large(struct deferred_request *d, const char *detail) {
    char members[48];
    snprintf(members, sizeof members, "\"limit_bytes\":%lld", (long long)d->server->config.max_body);
    http_answer_problem(d->request, PROBLEM_BODY_TOO_LARGE, detail, members);
}

/* What the worker says is wrong with the body. */
static void answer_wrong(struct deferred_request *d, const struct record *record) {
    char word[WORD_ROOM + 1] = "";
    size_t size = record->result.size < WORD_ROOM ? record->result.size : WORD_ROOM;
    if (slice_read(&record->result, 0, word, size) != 0)
        word[0] = '\0';
    if (strcmp(word, "\"damaged\"") == 0)
        http_answer_problem(d->request, PROBLEM_BAD_REQUEST,
                            "the body is not what its Content-Encoding says, or its end is missing", NULL);
    else if (strcmp(word, "\"window\"") == 0)
        http_answer_problem(d->request, PROBLEM_BAD_REQUEST,
                            "the body needs a window of more than 8 MiB, which RFC 9659 does not allow", NULL);
    else if (strcmp(word, "\"large\"") == 0)
        answer_too_large(d, "the body exceeds limit_bytes (--max-body) when it is inflated");
    else if (strcmp(word, "\"ratio\"") == 0)
        answer_too_large(d, "the body becomes larger than --max-inflate-ratio allows when it is inflated");
    else
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
}

/* ---- the job that inflates it ------------------------------------------------------------------------------------ */

static void on_inflated(struct job_waiter *w, struct job *job, enum job_event event) {
    struct upload *u = container_of(w, struct upload, inflating);
    struct deferred_request *d = u->owner;
    struct record *record = job_record(job);
    if (event != JOB_ENDED)
        return;
    if (record->status != JOB_SUCCEEDED) {
        http_answer_problem(d->request, record->problem, "the body could not be inflated", NULL);
    } else if (record->binary == NULL) {
        answer_wrong(d, record);
    } else {
        u->inflated = slice_ref(&record->result);
        u->is_inflated = true;
        u->ready(d);
    }
}

/* The parameters of body-inflate. */
static void write_params(const struct deferred_request *d, enum coding coding, char *to, size_t room) {
    static const char *const names[] = {[CODING_GZIP] = "gzip", [CODING_DEFLATE] = "deflate", [CODING_ZSTD] = "zstd"};
    const struct config *c = &d->server->config;
    snprintf(to, room, "{\"data\":{\"part\":0},\"coding\":\"%s\",\"limit\":%lld,\"ratio\":%lld}", names[coding],
             (long long)c->max_body, (long long)c->max_inflate_ratio);
}

static void submit(struct deferred_request *d, const struct submission *submission,
                   const struct job_attachments *body) {
    const struct job_request q = {.submission = submission,
                                  .tenant = d->tenant,
                                  .uncounted = true,
                                  .attachments = body,
                                  .default_priority = priority_parse(http_header(d->request, "Priority"))};
    struct job *job;
    enum problem_code why;
    if (jobs_submit(d->server->jobs, &q, &job, &why) != 0) {
        answer_overloaded(d->server, d->request, why);
        return;
    }
    d->upload->inflating.notify = on_inflated;
    job_wait(job, &d->upload->inflating);
    jobs_dispatch_early(d->server->jobs);
}

void coding_inflate(struct deferred_request *d, enum coding coding, void (*ready)(struct deferred_request *d)) {
    char params[128];
    struct submission submission = {0};
    struct job_attachments body = {0};
    const struct http_part *part = http_part_count(d->request) == 0 ? NULL : http_part(d->request, 0);
    struct slice nothing = slice_copy("", 0);
    struct upload *u = upload_make(d->request, &d->upload);
    write_params(d, coding, params, sizeof params);
    if (u != NULL) {
        u->owner = d;
        u->ready = ready;
        if (nothing.blob != NULL && submission_of_hidden("body-inflate", params, &submission) == 0 &&
            attachments_add(&body, part == NULL ? &nothing : &part->bytes, NULL, false) == 0)
            submit(d, &submission, &body);
        else
            http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    }
    slice_deinit(&nothing);
    attachments_deinit(&body);
    submission_deinit(&submission);
}
