/* jobs.h: the life of a job: it is accepted, planned, its chunks are run and merged, it ends and is remembered; and who waits for
 * it. The interface of this room: other rooms include nothing else of it. Front end; all from the event loop.
 *
 *     queued ──► running ──► succeeded         queued → running      [its first chunk is sent, or a short job was
 *       │           ├──────► failed                                   done in one go]
 *       └───────────┴──────► cancelled         queued → failed       [queue timeout; its plan failed or crashed]
 *                                              running → succeeded   [merged]
 *                                              running → failed      [handler, crash, timeout, memory]
 *                                              queued, running → cancelled   [by a client, or because the client that
 *                                                                     waited for it has left]
 *                                              running → queued      [the daemon ends: the next one takes it from the
 *                                                                     store]
 *
 * job_set_status changes it; an ended job is final. The way of a job through the files of this room:
 *
 *     submit ──► queue ──► dispatch (isolate) ──► send ──► a worker ──► replies ──► end ──► expiry
 *                  ▲ backoff, poison ◄───────────────────────────────────┘ │          └─► durable: what the store has of it
 *                  └─────────────── plan: more to send ◄───────────────────┘
 *
 *     recover: from one process to the next   limits: its time   log: what streams tell   query, estimate: looked at
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
    int64_t retry_delay_ns, max_retry_delay_ns; /* between attempts; retry_delay_ns 0: none */
    uint64_t max_queue, max_memory, keep_sync;
    unsigned max_json_depth;
    bool persistent; /* the store outlives the process: a drain leaves queued jobs to it */
};

/* Where the ends of jobs with options.webhook go. Whoever owns both rooms wires it to the webhooks. */
struct jobs_webhooks {
    void *arg;
    /* Whether that URL may be used. 0, or -1 with what is wrong with it in `detail`. */
    int (*check)(void *arg, const char *url, struct buf *detail);
    /* Appends what is to be sent about a job that has ended. */
    void (*write_body)(struct buf *out, const struct record *r);
    /* Sends it; it is recorded in the store by then. Copies what it keeps. */
    void (*send)(void *arg, const struct delivery *d);
};

/* What a client submits. */
struct job_request {
    const struct submission *submission; /* small bodies: checked; its params are copied */
    struct slice body;                   /* large ones: JSON, to be parsed by a worker; a reference is taken */
    int default_priority;                /* of the Priority header, or -1 */
    bool asynchronous;                   /* will be answered 202: plan first, do not run in the same go */
    const char *trace;                   /* traceparent or NULL */
    bool wants_hash;                     /* of `body`: job_request_hash is to know it when it is planned */
    const struct store_key *key;         /* that it has in the store, whoever makes it durable; or NULL. Copied;
                                          * if wants_hash, with that hash */
};

/* Someone who waits for a job. Embedded; the owner keeps it in place until `notify` said JOB_ENDED or it is
 * withdrawn by job_unwait. */
enum job_event {
    JOB_PLANNED,
    JOB_PARKED,  /* a drain leaves it to the next process. Not the place to end it */
    JOB_CHANGED, /* only if wants_changes: its status or progress. Not the place to end it or to stop waiting */
    JOB_ENDED
};
struct job_waiter {
    void (*notify)(struct job_waiter *w, struct job *job, enum job_event event);
    struct job_waiter *prev, *next;
    struct job *job; /* NULL: waits for nothing */
    bool wants_changes;
};

struct jobs *jobs_new(struct loop *loop, const struct jobs_config *config, struct metrics *metrics, struct store *store,
                      struct store *remembered); /* takes the stores; NULL if memory ran out */
void jobs_free(struct jobs *js);
void jobs_configure(struct jobs *js, const struct jobs_config *config);
void jobs_set_pool(struct jobs *js, struct pool *pool);
/* Copied. {0}: webhooks are not sent. */
void jobs_set_webhooks(struct jobs *js, const struct jobs_webhooks *webhooks);
struct pool_events jobs_pool_events(struct jobs *js); /* all that is about work; the owner adds its own */

/* Accepts a job. 0, or -1 with *why: PROBLEM_QUEUE_FULL, PROBLEM_OVER_MEMORY, PROBLEM_INTERNAL_ERROR. */
int jobs_submit(struct jobs *js, const struct job_request *request, struct job **job, enum problem_code *why);

/* The job is answered by its id from now on: hands it to the store with the JSON body it came in and its key, and keeps
 * it for its TTL. `done` when it is safe; if that fails the job is dropped as if it had never been. May be repeated, also
 * by others: `done` then waits for the first time. Either may come before this returns, and the job be freed. */
void job_make_durable(struct job *job, const struct slice *body, store_done *done, void *arg);

/* Queues what the store has of an earlier run. Call once, before anything is submitted. 0, or -1: could not be read. */
int jobs_recover(struct jobs *js);
/* From now on no queued job is started that the store will have after a restart. */
void jobs_drain(struct jobs *js);
/* True when a drain need not wait any more. */
bool jobs_are_drained(const struct jobs *js);

void job_wait(struct job *job, struct job_waiter *w);
void job_unwait(struct job_waiter *w); /* no effect if it waits for nothing */

/* What a worker found to be the hash of the body; only if it was wanted, and when it is planned. May be changed until the
 * job is made durable: to that of the whole request. */
uint8_t *job_request_hash(struct job *job);
/* Cancels it as if it had never been. Only before it is made durable. */
void job_undo_submission(struct job *job);

/* Stops the job and ends it as cancelled once its processes have stopped. No effect on one that is stopping. */
void job_cancel(struct job *job);

/* No further chunk of it is sent to a worker while someone throttles it; what was sent is finished. Its time limits run on.
 * To be undone as often as it was done, unless the job ended. */
void job_throttle(struct job *job);
void job_unthrottle(struct job *job);

struct record *job_record(struct job *job);      /* borrowed */
bool job_is_rejected(const struct job *job);     /* ended because its submission was wrong: it never existed */
bool job_is_store_failed(const struct job *job); /* ended because the store did not take it: likewise */
bool job_is_ending(const struct job *job);       /* its end is being recorded: JOB_ENDED comes by itself */
bool job_is_planned(const struct job *job);      /* JOB_PLANNED was told */
/* What a live job is at, for its document; {0} for NULL. */
struct job_view job_look(const struct job *job);
/* How long its remaining work takes once it runs alone, ms: by what the handlers estimated. */
int64_t job_estimated_work_ms(const struct job *job);

/* The live job with that id, or NULL. */
struct job *jobs_find(struct jobs *js, const struct id *id);
/* The record of any job, live, remembered or stored. */
void jobs_get(struct jobs *js, const struct id *id, store_found *found, void *arg);
/* Forgets an ended job (a live one is to be cancelled first). */
void jobs_forget(struct jobs *js, const struct id *id, store_done *done, void *arg);
/* Newest first, live and ended, as store_ops.list. */
void jobs_list(struct jobs *js, const struct store_filter *f, store_found *found, void *arg);

/* Sends what can be sent; call in every turn of the loop. */
void jobs_dispatch(struct jobs *js);
/* The same, if enough short work has come together that a worker had better start on it while the front end is still
 * busy with the requests behind it. */
void jobs_dispatch_early(struct jobs *js);

size_t jobs_live(const struct jobs *js); /* queued and running */
size_t jobs_running(const struct jobs *js);
uint64_t jobs_retry_after_s(const struct jobs *js); /* when a slot may be free, by the measured drain rate; 1..3600 */
void jobs_write_metrics(const struct jobs *js, struct buf *out);
/* How long the oldest task has waited for a worker, ms; 0: nothing waits. */
int64_t jobs_oldest_wait_ms(const struct jobs *js);

/* ---- the history of a job: history.c -------------------------------------------------------------------------------------
 *
 * The chunks of a job that are finished, in the order in which they were. All streams about a job are made from this and
 * its record while they are read; nothing is rendered in advance. Shared by counted reference: a reader may be
 * behind when the job has ended.
 *
 * What a stream of events tells has numbers, the same for every reader:
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
/* The part that a chunk gave, borrowed; empty if it is not kept. */
struct slice history_part(const struct history *h, uint32_t entry);
/* The reader is done with it. If it is the last one the memory is freed, once the job has ended. */
void history_drop_part(struct history *h, uint32_t entry);

#endif
