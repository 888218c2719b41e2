/* pending.h: a request that waits: for a job, for the store, or for its Idempotency-Key to be decided; and the answers that
 * all routes about jobs give. What to answer when its turn comes is decided by what it asked for (enum reply_kind). Shared by
 * pending.c, api_submit.c, api_jobs.c and events.c only. Front end.
 *
 *     request ──► deferred_new ──┬─► wait_for_job ──► JOB_PLANNED, JOB_ENDED, or the wait is over ──► answer
 *                               └─► ask the store ──► its callback ──► answer
 *     client gone: api_hangup, api_done. While the store has a pending it stays, without its request.
 */
#ifndef OFFLOAD_PENDING_H
#define OFFLOAD_PENDING_H

#include "server/api/idempotency.h"
#include "server/api/prefer.h"
#include "server/api/api.h"

#define JSON_TYPE "application/json"

enum reply_kind {
    REPLY_RESULT,   /* POST, synchronous */
    REPLY_ACCEPTED, /* POST, to be answered 202 once the submission is known to be good */
    REPLY_POLL,     /* GET, with or without wait */
    REPLY_FETCH,    /* GET result */
    REPLY_CANCEL,
    REPLY_DELETE,
    REPLY_LIST
};

struct list_request;

struct deferred_request {
    struct job_waiter waiter;
    struct timer timer;
    struct key_claim claim;
    struct server *server;
    struct http_request *request; /* NULL: the client is gone */
    enum reply_kind reply_kind;
    struct prefer prefer;
    int64_t granted_s;    /* the wait that is in effect; -1: none was asked for */
    bool counted;         /* among server->waiting */
    bool stream;          /* REPLY_RESULT: the items of a map job are wanted as they are finished */
    bool late;            /* the wait was over before it was known whose key it has */
    bool keyed, replayed; /* has an Idempotency-Key; its job is another request's */
    /* Its job is planned, and goes no further before it is known whose key it has; NULL: nothing to decide. */
    void (*planned)(struct deferred_request *p, struct job *job);
    bool ended;              /* the job that is to be forgotten; it need not have been remembered */
    unsigned at_store;       /* answers of the store that are to come */
    struct record *accepted; /* being stored: the 202's record */
    struct list_request *list;
};

/* Becomes the state of the request; NULL if memory ran out (then the request is answered). */
struct deferred_request *deferred_new(struct server *s, struct http_request *r, enum reply_kind reply_kind);
/* Hangs the request on the job; wait_ns < 0: as long as it takes. */
void deferred_wait(struct deferred_request *p, struct job *job, int64_t wait_ns);
void deferred_stop_waiting(struct deferred_request *p);
/* Asks for the job wherever it is, and answers by the aim. */
void deferred_ask(struct deferred_request *p, const struct id *id);
/* Forgets it, ended as it is, and answers. */
void deferred_forget(struct deferred_request *p, const struct id *id);
/* Suspends the request unless the answer is there already. */
void deferred_suspend(struct deferred_request *p);
/* Before and after a call of the store. After: false if the request is gone and the pending freed. */
void deferred_enter_store(struct deferred_request *p);
bool deferred_leave_store(struct deferred_request *p);

/* From now on the answer is the items of the planned job; no effect if that is no map. */
void deferred_begin_stream(struct deferred_request *p, struct job *job);

/* The job is planned: it is accepted, made durable, or its items begin to stream, as the request wants. */
void deferred_go_on(struct deferred_request *p, struct job *job);
/* Hands the job to the store, and answers 202 when it is there. */
void deferred_accept(struct deferred_request *p, struct job *job);

/* How long this request may wait, ns; *granted_s as Preference-Applied shows it. */
int64_t deferred_wait_time(const struct server *s, const struct prefer *prefer, int64_t *granted_s);
struct prefer deferred_read_prefer(struct http_request *r);

void answer_accepted(struct server *s, struct http_request *r, const struct record *record,
                     const struct deferred_request *p);
void answer_not_found(struct http_request *r, enum store_result result);
void answer_overloaded(struct server *s, struct http_request *r, enum problem_code code); /* with Retry-After */

/* api_jobs.c */
bool read_id(struct route_match m, struct id *id); /* false: that is not one */
void list_request_free(struct list_request *l);    /* NULL is allowed */

#endif
