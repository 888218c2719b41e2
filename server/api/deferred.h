/* deferred.h: a request about jobs that cannot be answered at once: it waits for a job, for the store, or until it is known
 * whose its Idempotency-Key is. What to answer when its turn comes is decided by what it asked for (enum reply_kind).
 * Front end. The states are drawn in deferred.c. */
#ifndef OFFLOAD_API_DEFERRED_H
#define OFFLOAD_API_DEFERRED_H

#include "server/api/answers.h"
#include "server/api/idempotency.h"

enum reply_kind {
    REPLY_RESULT,   /* POST, synchronous: the Job when it has ended */
    REPLY_ACCEPTED, /* POST: 202 once the submission is known to be good, and is safe */
    REPLY_POLL,     /* GET, with or without wait */
    REPLY_FETCH,    /* GET result */
    REPLY_CANCEL,
    REPLY_DELETE,
    REPLY_LIST
};

enum deferred_state {
    DEFERRED_IDLE,       /* nothing is under way, or it is answered */
    DEFERRED_CLAIMING,   /* its key is being decided */
    DEFERRED_WAITING,    /* waits for a job: for its plan, or its end */
    DEFERRED_UNDECIDED,  /* likewise, and what follows depends on whose its key is, which is asked when it is planned */
    DEFERRED_EXPIRED,    /* likewise, and the wait has expired meanwhile */
    DEFERRED_STORING,    /* its job is being stored: then 202 */
    DEFERRED_ASKING,     /* the store was asked */
    DEFERRED_FORGETTING, /* its job has ended, and is being forgotten */
    DEFERRED_STREAMING,  /* the items of its job are the answer */
    DEFERRED_GONE,       /* the request is over: freed when the store has answered */
    DEFERRED_STATES
};

/* Embedded by its owner, if that needs more. */
struct deferred_request {
    enum deferred_state state;
    enum reply_kind reply_kind;
    struct server *server;
    struct http_request *request; /* NULL when it is gone */
    struct answer_terms terms;
    bool keyed;               /* it has an Idempotency-Key */
    bool streamed;            /* REPLY_RESULT: the items of a map are wanted as they are finished */
    struct job_waiter waiter; /* waiter.job: the job that it waits for, or NULL */
    struct timer timer;       /* when the wait expires */
    struct key_claim claim;
    /* Its job is planned, and goes no further before it is known whose key it has: asks for that, and calls
     * deferred_decided. NULL: there is nothing to decide. */
    void (*decide)(struct deferred_request *d, struct job *job);
    unsigned at_store;                           /* answers of the store that are to come */
    struct record *accepted;                     /* while STORING: a reference */
    void (*release)(struct deferred_request *d); /* frees it, and what its owner has */
};

/* On the heap. NULL if memory ran out; then the request is answered. */
struct deferred_request *deferred_new(struct server *s, struct http_request *r, enum reply_kind kind);
/* The same in memory of the owner's, zeroed and on the heap; `release` frees it. It is the state of the request now. */
void deferred_init(struct deferred_request *d, struct server *s, struct http_request *r, enum reply_kind kind,
                   void (*release)(struct deferred_request *d));

/* Suspends the request, unless it is answered already. To be called at last by the route. */
void deferred_suspend(struct deferred_request *d);

/* ---- waiting for a job ---- */

/* wait_ns < 0: as long as it takes. */
void deferred_wait(struct deferred_request *d, struct job *job, int64_t wait_ns);
void deferred_stop_waiting(struct deferred_request *d);
/* The key of the planned job is this request's own: it goes on. */
void deferred_decided(struct deferred_request *d, struct job *job);
/* Hands the planned job to the store, and answers 202 when it is safe. */
void deferred_accept(struct deferred_request *d, struct job *job);
/* From now on the answer is the items of the planned job; no effect if that is no map. */
void deferred_begin_stream(struct deferred_request *d, struct job *job);

/* ---- asking the store ---- */

/* Its key is being claimed; and has been decided. */
void deferred_begin_claim(struct deferred_request *d);
void deferred_end_claim(struct deferred_request *d);
/* Asks for the job wherever it is, and answers by the reply kind. */
void deferred_ask(struct deferred_request *d, const struct id *id);
/* Forgets a job that has ended, and answers. */
void deferred_forget(struct deferred_request *d, const struct id *id);
/* Before and after a call of the store that the caller makes. After: false if the request is gone; then `d` may be
 * freed. */
void deferred_enter_store(struct deferred_request *d);
bool deferred_leave_store(struct deferred_request *d);

/* ---- the routes' part ---- */

void deferred_on_hangup(struct server *s, struct http_request *r);
void deferred_on_done(struct server *s, struct http_request *r);

/* How long this request may wait, ns, by its Prefer; *granted_s as Preference-Applied shows it. */
int64_t deferred_wait_time(const struct server *s, const struct prefer *prefer, int64_t *granted_s);
struct prefer deferred_read_prefer(struct http_request *r);

#endif
