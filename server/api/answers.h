/* answers.h: the answers that the routes about jobs have in common. Each function answers the request, but for
 * answer_set_terms. Front end. */
#ifndef OFFLOAD_API_ANSWERS_H
#define OFFLOAD_API_ANSWERS_H

#include "server/api/prefer.h"
#include "server/api/server.h"

#define JSON_TYPE "application/json"

/* What the client wants of the answer to its submission, and what the answer says about that. */
struct answer_terms {
    struct prefer prefer;
    int64_t granted_s; /* the wait that is granted, s; -1: none, or the client asked for none */
    bool replayed;     /* another request with the same Idempotency-Key has made the job */
};

/* 202 and the Job. terms: NULL for a request that submitted nothing. */
void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                     const struct answer_terms *terms);
/* The end of the job that the request submitted: the Job, or the bytes of its result if Accept names their media type, or
 * the problem that it ended with. */
void answer_submitted(struct http_request *r, const struct record *record, const struct answer_terms *terms);
/* The bare result of a job that has ended, or its problem. */
void answer_bare(struct http_request *r, const struct record *record);
/* Sets Preference-Applied (RFC 7240, section 3) and Idempotency-Replayed, for an answer that the caller gives. */
void answer_set_terms(struct http_request *r, const struct answer_terms *terms);
/* Sets Server-Timing, for an answer that the caller gives. */
void answer_set_timing(struct http_request *r, const struct record *record);
/* 200 and the Job, or 304 if the client has it already (RFC 9110, section 13.1.2). job: the live one, or NULL. */
void answer_polled(struct http_request *r, const struct record *record, const struct job *job);
/* If a condition of the request is false for the job (RFC 9110, section 13.1.1), answers 412 and returns true. A tag of
 * another progress stands for a running job as well. */
bool answer_precondition_failed(struct http_request *r, const struct record *record, const struct job *job);
void answer_job(struct http_request *r, unsigned status, const struct record *record, const struct job *job);
/* The bare result, or 202 if the job has not ended, or the problem that it ended with. */
void answer_result(struct server *s, struct http_request *r, const struct record *record);
/* The log of the job as it is now; empty if there is none. */
void answer_log(struct http_request *r, const struct record *record);
void answer_job_problem(struct http_request *r, const struct record *record);
/* What the host or a worker has found wrong with a submission. */
void answer_fault(struct http_request *r, const struct fault *fault);
/* 404, 410 or 503, by what the store said. */
void answer_not_found(struct http_request *r, enum store_result result);
/* Nothing was accepted: the problem, 429 or 503, with Retry-After. */
void answer_overloaded(struct server *s, struct http_request *r, enum problem_code code);
/* 429: --max-delayed is reached. Retry-After says when the first of these jobs is due. */
void answer_too_many_delayed(struct server *s, struct http_request *r);
/* 503: the job was refused because it cannot start within its queue_timeout_ms. Retry-After says when it could. */
void answer_too_late(struct http_request *r, const struct job *job);

#endif
