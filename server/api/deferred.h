/* deferred.h: a request about jobs that cannot be answered at once. It waits for a job, for the store, or for its
 * Idempotency-Key to be decided. Its reply kind says what it is answered with then. Front end; all from the event loop.
 * The states are drawn in deferred.c. */
#ifndef OFFLOAD_API_DEFERRED_H
#define OFFLOAD_API_DEFERRED_H

#include "server/api/answers.h"
#include "server/api/idempotency.h"
#include "server/api/upload.h"

enum reply_kind {
    REPLY_RESULT,   /* POST, synchronous: the Job when it has ended */
    REPLY_BARE,     /* POST of a hidden type: its result alone, when it has ended */
    REPLY_ACCEPTED, /* POST: 202 when the submission is known to be good, and is stored */
    REPLY_POLL,     /* GET of a job, with or without wait */
    REPLY_FETCH,    /* GET of its result */
    REPLY_LOG,      /* GET of its log */
    REPLY_CANCEL,
    REPLY_DELETE,
    REPLY_LIST
};

enum deferred_state {
    DEFERRED_IDLE,       /* nothing is under way, or it is answered */
    DEFERRED_CLAIMING,   /* its key is being decided */
    DEFERRED_WAITING,    /* for the plan of a job, or for its end */
    DEFERRED_UNDECIDED,  /* the same, and its key is not decided; it is claimed when the job is planned */
    DEFERRED_EXPIRED,    /* the same, and the wait has expired; it is answered when its key is decided */
    DEFERRED_STORING,    /* its job is being stored; then it is answered 202 */
    DEFERRED_ASKING,     /* the store was asked for a job, or to forget one */
    DEFERRED_FORGETTING, /* its job has ended because of it, and is being forgotten */
    DEFERRED_STREAMING,  /* the items of its job are the answer */
    DEFERRED_LEFT,       /* UNDECIDED or EXPIRED, and its client has left: its job will be stored when it is planned */
    DEFERRED_GONE,       /* the request is over; it is freed when the store has answered */
    DEFERRED_STATES
};

/* A route that needs more embeds it; the other fields are private to deferred.c and submit.c. */
struct deferred_request {
    enum deferred_state state;
    enum reply_kind reply_kind;
    struct server *server;
    struct http_request *request; /* NULL when it is gone */
    struct answer_terms terms;
    struct caller *caller;     /* http_caller; NULL: there are no keys. All callers outlive all requests */
    const char *tenant, *view; /* of guard_tenant and guard_view */
    bool keyed;                /* it has an Idempotency-Key */
    bool cancelled;            /* it has asked its job to stop */
    bool streamed;             /* REPLY_RESULT: the client wants the items of a map as they are finished */
    struct job_waiter waiter;  /* waiter.job: the job that it waits for, or NULL */
    struct timer timer;        /* when the wait expires */
    struct key_claim claim;
    /* Called when its job is planned, to claim its key; the job must not go on until the key is decided. Ends with
     * deferred_decided, if the key is its own. NULL: its key is decided, or it has none. */
    void (*decide)(struct deferred_request *d, struct job *job);
    /* With `decide`: the client leaves, so `request` will be NULL. Appends what `decide` needs of it to `kept`. */
    void (*keep)(struct deferred_request *d);
    struct buf kept;
    struct slice body;               /* DEFERRED_LEFT: of the request */
    struct compression *compression; /* its answer is being compressed; NULL: it is not */
    void (*end_compression)(struct compression *c);
    struct upload *upload; /* of a submission: what it has beside a plain JSON body; NULL: nothing */
    void (*found)(struct deferred_request *d, enum store_result result,
                  struct record *record);        /* of deferred_look_up */
    unsigned at_store;                           /* how many answers of the store are still to come */
    struct record *accepted;                     /* of the job that is being stored: a reference */
    void (*release)(struct deferred_request *d); /* frees it, and what embeds it */
};

/* On the heap, as the state of the request (http_state). NULL if memory ran out; then the request is answered. */
struct deferred_request *deferred_new(struct server *s, struct http_request *r, enum reply_kind kind);
/* The same for one that is embedded: zeroed, and in memory on the heap that `release` frees. */
void deferred_init(struct deferred_request *d, struct server *s, struct http_request *r, enum reply_kind kind,
                   void (*release)(struct deferred_request *d));

/* Suspends the request, unless it is answered already. The last call of each route. */
void deferred_suspend(struct deferred_request *d);

/* ---- waiting for a job ---- */

/* Waits for the job, and answers by the reply kind when it ends, or when wait_ns are over. wait_ns < 0: there is no
 * limit. */
void deferred_wait(struct deferred_request *d, struct job *job, int64_t wait_ns);
void deferred_stop_waiting(struct deferred_request *d); /* no effect if it does not wait */
/* The key of the planned job, which it waits for, is its own: it goes on. May free the job, and `d` if it is
 * DEFERRED_LEFT. */
void deferred_decided(struct deferred_request *d, struct job *job);
/* Frees a DEFERRED_LEFT: its job will not be stored. */
void deferred_end_left(struct deferred_request *d);
/* Hands the job to the store, and answers 202 when it is stored. May free the job. */
void deferred_accept(struct deferred_request *d, struct job *job);
/* From now on the items of the planned job are the answer. No effect if it is no map, or memory runs out. */
void deferred_begin_stream(struct deferred_request *d, struct job *job);

/* ---- asking the store ---- */

/* To be called before its key is claimed, and when the key is decided, if it waits for no job meanwhile. */
void deferred_begin_claim(struct deferred_request *d);
void deferred_end_claim(struct deferred_request *d);
/* Looks for the job wherever it is, and answers by the reply kind. */
void deferred_ask(struct deferred_request *d, const struct id *id);
/* Looks for it, and calls `found`, now or later; not if the request is over by then. The record is borrowed for the
 * call, and NULL unless the result is STORE_OK. */
void deferred_look_up(struct deferred_request *d, const struct id *id,
                      void (*found)(struct deferred_request *d, enum store_result result, struct record *record));
/* Forgets a job that is not live, and answers. */
void deferred_forget(struct deferred_request *d, const struct id *id);
/* To be called before the caller asks the store itself, and when the store has answered. The second returns false if
 * the request is over; then `d` may be freed. */
void deferred_enter_store(struct deferred_request *d);
bool deferred_leave_store(struct deferred_request *d);

/* ---- for the table of routes: what http_events says ---- */

/* Whether it takes the client's FIN for a hang-up: a submission whose result nobody else can get. */
bool deferred_ends_with_fin(const struct http_request *r);
void deferred_on_hangup(struct server *s, struct http_request *r);
void deferred_on_done(struct server *s, struct http_request *r);

/* ---- Prefer ---- */

struct prefer deferred_read_prefer(struct http_request *r);
/* How long the request can wait, ns. *granted_s is set to what Preference-Applied shows, if the client asked for a
 * wait. */
int64_t deferred_wait_time(const struct server *s, const struct prefer *prefer, int64_t *granted_s);

#endif
