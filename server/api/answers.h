/* answers.h: the answers that all routes about jobs give. Each answers the request. Front end. */
#ifndef OFFLOAD_API_ANSWERS_H
#define OFFLOAD_API_ANSWERS_H

#include "server/api/prefer.h"
#include "server/api/server.h"

#define JSON_TYPE "application/json"

/* What the client asked of the answer to its submission, and what became of it. */
struct answer_terms {
    struct prefer prefer;
    int64_t granted_s; /* the wait that is in effect, s; -1: none was asked for */
    bool replayed;     /* the job is another request's with the same Idempotency-Key */
};

/* 202 and the Job. terms: NULL for a request that submitted nothing. */
void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                     const struct answer_terms *terms);
/* The end of the job that the request submitted: the Job, or the problem that it ended with. */
void answer_submitted(struct http_request *r, const struct record *record, const struct answer_terms *terms);
/* Preference-Applied and Idempotency-Replayed, for an answer that the caller gives. */
void answer_set_terms(struct http_request *r, const struct answer_terms *terms);
/* 200 and the Job, or 304. job: the live one, or NULL. */
void answer_polled(struct http_request *r, const struct record *record, const struct job *job);
void answer_job(struct http_request *r, unsigned status, const struct record *record, const struct job *job);
/* The bare result, or 202 if the job has not ended, or the problem that it ended with. */
void answer_result(struct server *s, struct http_request *r, const struct record *record);
void answer_job_problem(struct http_request *r, const struct record *record);
/* The job is not to be had: 404, 410 or 503. */
void answer_not_found(struct http_request *r, enum store_result result);
/* Nothing was accepted: 429 or 503, with Retry-After. */
void answer_overloaded(struct server *s, struct http_request *r, enum problem_code code);

#endif
