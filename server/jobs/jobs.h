/* jobs.h: the life of a job: it is accepted and planned, its chunks are run and merged, it ends, and it is remembered.
 * Other rooms include only this header of this room. Front end; every call comes from the thread of the event loop.
 *
 *     queued ──► running ──► succeeded      queued → running             [its first chunk is sent, or all is done]
 *       │           ├──────► failed         queued → failed              [queue timeout; its plan failed or crashed]
 *       └───────────┴──────► cancelled      running → succeeded          [merged]
 *                                           running → failed             [handler, crash, timeout, memory]
 *                                           queued, running → cancelled  [a client cancels it, or no longer waits]
 *                                           running → queued             [the daemon ends; the next one recovers it]
 *
 * job_set_status changes the status; it does not change again once the job has ended. This is the way of a job through
 * the files of this room:
 *
 *     submit ──► queue ──► dispatch (isolate) ──► send ──► a worker ──► replies ──► end ──► expiry
 *                  ▲ backoff, poison ◄──────────────────────────────────┘ │          └─► durable: into the store
 *                  └─────────────── plan: more to send ◄──────────────────┘
 *
 *     recover: from one process to the next   limits: its time   history: for streams   query, estimate: for readers
 *     output: what its processes print   attached: its binary data   regroup: the groups of a map, cut anew
 *     admission: whether it can start in time   tenants: whose jobs are live; scheduler: whose turn it is
 */
#ifndef OFFLOAD_JOBS_H
#define OFFLOAD_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "handlers/host/host.h"
#include "pool/pool.h"
#include "server/model/model.h"
#include "server/store/store.h"

struct jobs;
struct job;

struct jobs_config {
    int64_t job_timeout_ns, result_ttl_ms, express_cost_ns, max_queue_age_ns;
    int64_t retry_delay_ns, max_retry_delay_ns; /* the backoff; retry_delay_ns 0: there is none */
    uint64_t max_queue;                         /* jobs; those that are delayed do not count */
    uint64_t max_delayed;                       /* jobs that wait for their delay_ms */
    uint64_t keep_sync;                         /* jobs */
    unsigned max_json_depth;
    bool persistent; /* the store outlives the process, so a drain leaves queued jobs in it */
};

/* What the jobs call for options.webhook. main.c connects it to the room of the webhooks. */
struct jobs_webhooks {
    void *arg;
    /* Checks whether a webhook can go to that URL. 0, or -1 with what is wrong with it in `detail`. */
    int (*check)(void *arg, const char *url, struct buf *detail);
    /* Appends the body of the webhook about a job that has ended. */
    void (*write_body)(struct buf *out, const struct record *r);
    /* Sends a webhook that the store has recorded. Copies what it keeps. */
    bool (*send)(void *arg, const struct delivery *d); /* false: memory ran out */
};

/* What the jobs want to know of tenants, and tell of them. `name` is that of a key: the tenant of a job_request, or of a
 * job that an earlier process has left in the store, which this one need not know. */
struct jobs_tenants {
    void *arg;
    /* How many tasks of that tenant are served in a turn, 1 to 100, while others wait for theirs, too. Asked when it is
     * first seen, and again by jobs_configure. */
    unsigned (*weight)(void *arg, const char *name);
    /* A job of it has spent so much CPU time more, above 0: as soon as it is known, so when a task is finished or lost.
     * Of a lost one it is what its process has spent, but no more than the time since it was sent. Of one that
     * was cancelled, or whose handler has failed, it is the estimate, or for a long task the time since it was sent. Do
     * not call the jobs in here. */
    void (*charge)(void *arg, const char *name, int64_t cpu_ns);
};

/* What a client submits. */
struct job_request {
    const struct submission *submission; /* of a small body: checked. Its params are copied. NULL: see `body` */
    struct slice body;                   /* a raw body, which a worker will parse. A reference is taken */
    const struct host_range *accepted;   /* with `body`: what its Accept names, see host_choose_result. Copied */
    size_t accepted_count;
    bool body_is_params; /* of a call of `type`, and no submission; it is never stored */
    uint32_t type;
    const struct job_attachments *attachments; /* NULL: none. References are taken */
    int default_priority;                      /* of the Priority header (RFC 9218); -1: there is none */
    bool asynchronous;           /* it will be answered 202, or streamed: it is run in the same go as it is
                                          * planned only if that takes next to no time */
    bool uncounted;              /* no quota counts it, until job_count: it is only a part of the work for a job, or
                                  * its key may be that of a job which is there */
    const char *trace;           /* the text of trace.h, or NULL */
    const char *tenant;          /* the name of the key that submits it. NULL: there are no keys. Copied */
    bool wants_hash;             /* of `body`: see job_request_hash */
    const struct store_key *key; /* its Idempotency-Key in the store, or NULL. Copied */
};

enum job_event {
    JOB_PLANNED,  /* the body was good; or the job ends before it was planned. The waiter can cancel the job */
    JOB_PARKED,   /* a drain leaves it in the store for the next process. If the store does not have it, the waiter can
                  * make it durable; else it stays as it is, and the drain waits for it. Do not end it in here */
    JOB_CHANGED,  /* its status or progress; only if wants_changes. Do not end it or stop to wait in here */
    JOB_ENDED,    /* the waiter waits no longer */
    JOB_ABANDONED /* likewise, because the process ends. Do not touch the job in here */
};

/* Somebody who waits for a job. Embedded in its owner, who keeps it in place until JOB_ENDED, JOB_ABANDONED or
 * job_unwait. */
struct job_waiter {
    void (*notify)(struct job_waiter *w, struct job *job, enum job_event event);
    struct job_waiter *prev, *next;
    struct job *job; /* NULL: it does not wait */
    bool wants_changes;
};

/* ---- the jobs of a process --------------------------------------------------------------------------------------- */

/* store: where durable jobs are; remembered: where the last --keep-sync other jobs are. Takes both stores if it
 * succeeds; borrows the rest until jobs_free. NULL: memory ran out. */
struct jobs *jobs_new(struct loop *loop, const struct jobs_config *config, struct metrics *metrics, struct store *store,
                      struct store *remembered);
/* Ends the process's part: running jobs are queued in the store again. Closes the stores. */
void jobs_free(struct jobs *js);
/* Takes the configuration of a reload; it holds for what comes after. */
void jobs_configure(struct jobs *js, const struct jobs_config *config);
/* What the jobs want to know of the pool. The owner adds its own events, and makes the pool with them. */
struct pool_events jobs_pool_events(struct jobs *js);
/* Borrows the pool until jobs_free. Call once, before jobs_recover. 0, or -1: memory ran out. */
MUST_CHECK int jobs_set_pool(struct jobs *js, struct pool *pool);
/* Copied. {0}: webhooks are not sent. */
void jobs_set_webhooks(struct jobs *js, const struct jobs_webhooks *webhooks);
/* Copied. {0}, as at first: all weights are 1. */
void jobs_set_tenants(struct jobs *js, const struct jobs_tenants *tenants);
/* Queues the jobs that an earlier process left in the store. Call once, before a job is submitted. 0, or -1: the store
 * could not be read. */
int jobs_recover(struct jobs *js);
/* Sends what can be sent. Call it in every turn of the loop. */
void jobs_dispatch(struct jobs *js);
/* The same, but only if enough short tasks wait that it pays to wake a worker before the turn is over. */
void jobs_dispatch_early(struct jobs *js);
/* From now on the queued jobs that the store has are parked. */
void jobs_drain(struct jobs *js);
/* True when a drain has nothing to wait for any more. */
bool jobs_are_drained(const struct jobs *js);

/* ---- a submission ------------------------------------------------------------------------------------------------ */

/* Accepts a job. 0, or -1 with *why: PROBLEM_QUEUE_FULL, PROBLEM_OVER_MEMORY, PROBLEM_INTERNAL_ERROR. The job stays
 * valid until its waiters get JOB_ENDED. */
int jobs_submit(struct jobs *js, const struct job_request *request, struct job **job, enum problem_code *why);

/* Hands the job to the store, with its key and the JSON body that it came in. From now on it can be answered by its id,
 * and it is kept for its TTL. `done` is called when it is safe; if it cannot be recorded, its submission is undone.
 * This can be called again: `done` then gets the answer of the first time. `done` can be called, and the job freed,
 * before this returns. */
void job_make_durable(struct job *job, const struct slice *body, store_done *done, void *arg);
/* A worker may have changed an attachment in place, so the job cannot be made durable any more: a request that waits for
 * it waits until it ends. */
bool job_works_in_place(const struct job *job);
/* The hash of the body, STORE_HASH_SIZE bytes, borrowed; NULL without wants_hash. A worker makes it, so it is known
 * when the job is planned. Until the job is made durable the caller can change it to the hash of the whole request. */
uint8_t *job_request_hash(struct job *job);
/* Quotas count it from now on, if they did not. */
void job_count(struct job *job);
/* Cancels it as if it had never existed. Only before it is made durable. */
void job_undo_submission(struct job *job);

/* ---- one job ----------------------------------------------------------------------------------------------------- */

void job_wait(struct job *job, struct job_waiter *w);
void job_unwait(struct job_waiter *w); /* no effect if it does not wait */

/* Stops the job, and ends it as cancelled once its workers have stopped. No effect if it is stopping or has ended. Can
 * free the job. */
void job_cancel(struct job *job);
/* While somebody throttles a job, no further chunk of it is sent; chunks that were sent are finished, and its time
 * limits go on. Each call needs one job_unthrottle, unless the job ends. */
void job_throttle(struct job *job);
void job_unthrottle(struct job *job);

struct record *job_record(struct job *job);      /* borrowed until the job ends: take a reference to keep it */
bool job_is_rejected(const struct job *job);     /* its submission was wrong, or too much: as if it had never existed */
bool job_is_store_failed(const struct job *job); /* it ends because the store could not record it: likewise */
bool job_is_ending(const struct job *job);       /* its end is being recorded: JOB_ENDED will come */
bool job_is_planned(const struct job *job);      /* JOB_PLANNED was sent */
/* The progress of a live job, or how it waits, for its document. The progress never falls from call to call. {0} if job
 * is NULL. */
struct job_view job_look(const struct job *job);
/* Of a job that was rejected with PROBLEM_QUEUE_TIMEOUT: in how many seconds, 1 to 3600, it could start in time. */
uint64_t job_retry_after_s(const struct job *job);
/* How long what is left of it would take if it ran alone, in ms, as its handler has estimated the chunks. */
int64_t job_estimated_work_ms(const struct job *job);

/* ---- all jobs ---------------------------------------------------------------------------------------------------- */

/* viewer: the tenant that asks (borrowed for the call), who does not see the jobs of others; NULL sees all jobs.
 *
 * The live job with that id, or NULL. Borrowed until it ends. */
struct job *jobs_find(struct jobs *js, const struct id *id, const char *viewer);
/* The record of a job that is live, remembered or stored. `found` can be called before this returns. */
void jobs_get(struct jobs *js, const struct id *id, const char *viewer, store_found *found, void *arg);
/* Forgets a job that has ended; cancel a live one first. `done` can be called before this returns. */
void jobs_forget(struct jobs *js, const struct id *id, const char *viewer, store_done *done, void *arg);
/* Lists live and ended jobs, the newest first, as store_ops.list does. */
void jobs_list(struct jobs *js, const struct record_filter *f, store_found *found, void *arg);

size_t jobs_live(const struct jobs *js); /* queued and running */
/* The same, of one tenant; those that are delayed are queued. */
uint64_t jobs_of_tenant(const struct jobs *js, const char *name);
size_t jobs_running(const struct jobs *js);
/* How long the oldest task has waited for a worker, in ms; 0: nothing waits. */
int64_t jobs_oldest_wait_ms(const struct jobs *js);
/* In how many seconds, 1 to 3600, there is probably room in the queue, by the rate at which jobs end. */
uint64_t jobs_retry_after_s(const struct jobs *js);
/* The same, in which the next job of the tenant ends, by its own that have ended; if none has, the same as for all. */
uint64_t jobs_tenant_retry_after_s(const struct jobs *js, const char *name);
/* In how many seconds, 1 to 3600, the first of the delayed jobs is due. */
uint64_t jobs_delayed_retry_after_s(const struct jobs *js);
void jobs_write_metrics(const struct jobs *js, struct buf *out);

/* ---- the history of a job -------------------------------------------------------------------------------------------
 *
 * The finished chunks of a job, in the order in which they were finished. All streams about a job are made from its
 * history and its record while they are read; nothing is rendered in advance. Readers share the history by counted
 * references, so a reader can still be behind when the job has ended.
 *
 * The events of a stream have numbers, which are the same for every reader:
 *
 *     1 queued   2 running   3.. for each finished chunk: its items, if the job is a map, then the progress
 */
struct history;
enum { HISTORY_QUEUED = 1, HISTORY_RUNNING, HISTORY_FIRST };

/* A reference. NULL if memory ran out. */
struct history *history_open(struct job *job);
void history_close(struct history *h);                           /* NULL is allowed */
uint32_t history_count(const struct history *h);                 /* of entries: finished chunks */
uint64_t history_event(const struct history *h, uint32_t entry); /* the number of its first event */
uint64_t history_last_event(const struct history *h);            /* the highest number given */
uint64_t history_bytes(const struct history *h);                 /* of the parts of all entries */
bool history_is_broken(const struct history *h);                 /* memory ran out: entries are missing */
/* The part of a finished chunk, borrowed; empty if it is not kept. */
struct slice history_part(const struct history *h, uint32_t entry);
/* The reader needs that part no longer. The memory is freed if no other reader is left and the job has ended. */
void history_drop_part(struct history *h, uint32_t entry);

#endif
