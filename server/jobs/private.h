/* jobs_private.h: shared by jobs.c (state), jobs_submit.c (acceptance), jobs_end.c (the end), jobs_recover.c (restart and
 * drain), jobs_query.c (looking things up), dispatch.c and replies.c (workers), job_plan.c (plans), dispatch_fresh.c (workers
 * kept for a job), backoff.c (pauses between attempts) and poison.c (items that kill their worker) only. */
#ifndef OFFLOAD_JOBS_PRIVATE_H
#define OFFLOAD_JOBS_PRIVATE_H

#include <uthash.h>

#include "base/log.h"
#include "server/jobs/log.h"
#include "server/jobs/jobs.h"
#include "server/jobs/scheduler.h"

enum job_phase { PHASE_PLAN, PHASE_CHUNKS, PHASE_MERGE, PHASE_DONE };
enum task_kind { TASK_PLAN, TASK_RUN, TASK_MERGE };

/* One task on its way to, at, or back from a worker. */
struct task {
    struct job *job;
    enum task_kind kind;
    uint32_t chunk; /* TASK_RUN */
    bool is_long;   /* counted in worker->long_tasks */
    struct worker *worker;
    uint64_t ticket;
    int64_t sent_ns;
    int64_t cost_ns;          /* counted in jobs->load_ns; 0 for long tasks */
    struct task *prev, *next; /* the job's list, or the free list */
};

struct chunk {
    struct wire_chunk plan;
    unsigned lost; /* times that a worker died at it */
    bool done;
    struct slice part; /* when done */
};

/* A task that was lost and is not to be tried again yet. */
struct backoff {
    int64_t due_ns;
    uint32_t chunk; /* NO_CHUNK: the plan or the merge */
};
#define NO_CHUNK UINT32_MAX

/* Made when a job first loses something: most never do. */
struct backoffs {
    struct job *job;
    struct timer timer; /* the first that is due */
    uint32_t count;
    struct backoff list[];
};

/* An item of a map at which workers died until its chunk had no attempts left. */
struct poison_item {
    uint32_t chunk, place; /* place: in the chunk's group */
};

struct job {
    struct jobs *js;
    struct record *record;
    struct sched_entry sched;
    int64_t queued_cost_ns; /* of the long task for which it is in the scheduler; else 0 */
    struct timer timer;     /* queue timeout, then run timeout */
    UT_hash_handle hh;
    struct job_waiter *waiters;
    unsigned watchers;   /* of the waiters: those that want changes */
    unsigned throttles;  /* readers of its items that are too far behind */
    struct job_log *log; /* NULL: nothing to tell yet, and nobody asked */

    struct slice input; /* packed params, or JSON if input_is_raw; until planned */
    enum job_phase phase : 8;
    bool input_is_raw, asynchronous, planned_told, telling, rejected;
    bool delayed;  /* record->not_before_ms has not come */
    bool refused;  /* by the store: it never existed */
    bool stopping; /* to end, as the next three say, as soon as its tasks are gone */
    enum stop_reason stop_reason : 8;
    enum job_status stop_status : 8;
    enum problem_code stop_problem : 8;
    bool at_store, posting, safe;  /* being stored; now being handed to the store; stored */
    bool end_recorded;             /* but not told: the store has not answered yet whether it has the job */
    struct submitting *submitting; /* who waits for that answer */
    int64_t due_ns;                /* monotonic: from when it may start; queue_timeout counts from here */

    unsigned char *common;    /* as WIRE_RUN and WIRE_MERGE want it: u32 size, zeros, bytes, padding */
    uint32_t common_size;     /* of all that */
    struct slice plan;        /* as the worker sent it, for the store; empty if it has but one chunk */
    struct slice chunk_bytes; /* what the chunks' offsets count from */
    struct chunk *chunks;     /* record->chunks_total of them */
    uint32_t next_chunk;      /* the first that was never sent */
    uint32_t *again;          /* chunks to be sent again; room for all, behind `chunks` in one piece */
    uint32_t again_count;
    unsigned plan_lost, merge_lost;
    uint32_t merge_fed; /* parts sent to the merging worker */
    struct backoffs *backoffs;
    struct poison_item *poison; /* of a map */
    uint32_t poison_count;
    unsigned isolated_workers; /* isolated_for to this job, those included that are only starting */

    struct task *tasks;
    struct job *ending_prev, *ending_next;
    struct store_key *key;               /* heap, with its texts; or NULL */
    uint8_t *request_hash;               /* heap, STORE_HASH_SIZE: wanted of a body that a worker parses; or NULL */
    struct blob *webhook;                /* what is to be sent, once the end is recorded */
    char *bad_webhook;                   /* heap: what is wrong with the URL of a large body; or NULL */
    int64_t accepted_ns, run_started_ns; /* monotonic; 0: not running */

    char *stop_detail, *stop_members; /* heap or NULL; when stopping */
};

struct jobs {
    struct loop *loop;
    struct jobs_config config;
    struct metrics *metrics;
    struct pool *pool;
    struct store *store, *remembered;
    struct webhooks *webhooks; /* NULL: none are sent */
    struct job *live;          /* hash by id, and in the order of the ids */
    struct job *ending;        /* durable ones whose end is being recorded */
    size_t live_count, running_count, transient_count, ending_count, queued[SCHEDULER_LEVELS];
    size_t recovered_count;
    bool draining;
    int64_t wall_offset_ms; /* wall clock less monotonic clock, when it was last looked at */
    struct scheduler scheduler;
    struct task *free_tasks;
    struct task **feeding;               /* by worker slot: the merge whose parts are not all sent */
    bool *short_turn;                    /* by worker slot: it did a long task last */
    int64_t *load_ns;                    /* by worker slot: what its short tasks in flight will take */
    int64_t *long_due_ns;                /* by worker slot: when its long task should be done */
    int64_t long_backlog_ns;             /* what the long tasks that wait will take */
    int64_t type_cost_ns[METRICS_TYPES]; /* what a short job of each type took lately */
    bool dirty;                          /* something may have become sendable */
    struct timer gc_timer;
    double rate; /* jobs ended per second, exponentially weighted */
    int64_t rate_ns;
};

/* ---- jobs.c ---- */
void job_enqueue(struct job *job);                 /* (back) into the scheduler, if it has a unit to send */
void job_dequeue(struct job *job);                 /* no effect if it is not in there */
void job_started(struct job *job, int64_t now_ns); /* queued → running */
void job_planned(struct job *job);      /* tells waiters that the submission is valid; then job_end_if_stopped */
void job_tell_waiters(struct job *job); /* JOB_ENDED, to all */
void job_arm_timer(struct job *job);
void job_on_timer(struct timer *t);
void job_touch(struct job *job);                          /* its document changed */
void job_set_status(struct job *job, enum job_status to); /* the one function that changes it */
void job_count_status(struct job *job, enum job_status status, int by);
void job_log_event(enum log_level level, const char *event, const struct job *job);
bool job_is_parked(const struct job *job); /* left to the next process by a drain */

/* ---- jobs_end.c ---- */
#define JOBS_RATE_WINDOW_S 10.0 /* time constant of the drain rate */
/* Ends it when all its tasks are gone; asks them to stop. detail, members: heap, taken; may be NULL. */
void job_stop(struct job *job, enum stop_reason reason, enum job_status status, enum problem_code problem, char *detail,
              char *members);
void job_succeed(struct job *job, struct slice result); /* takes the slice; frees the job */
void job_end_if_stopped(struct job *job);               /* after a task is gone; may free the job */
void job_tell_end(struct job *job);                     /* of a durable job, when it is recorded; frees it */
void job_leave_live(struct job *job); /* nobody finds it by its id any more, and it takes no room in the queue */
void job_release(struct job *job);    /* frees it */
void jobs_start_gc(struct jobs *js);  /* drops what has expired, now and whenever that is due */
void jobs_on_gc_timer(struct timer *t);
void jobs_check_clock(struct jobs *js); /* call before an expiry is computed or compared */

/* ---- jobs_submit.c ---- */
void job_apply_parsed_options(struct job *job, const struct submission_options *o); /* of a large body */
int64_t job_limit_ns(int64_t ms); /* half of what fits, so that it can be added to a clock */
/* Into the live table; takes the record. NULL if memory ran out. */
struct job *job_new(struct jobs *js, struct record *r);

/* ---- jobs_recover.c ---- */
void jobs_park_all(struct jobs *js); /* at the end: what still runs is queued in the store again */

/* ---- dispatch.c, for jobs.c ---- */
bool job_has_task(const struct job *job, enum sched_class *class);
uint32_t job_count_tasks(const struct job *job); /* pieces that could be sent to as many workers */
bool job_merges_at_once(const struct job *job);  /* its only chunk is run and merged in one go */
int64_t job_next_cost_ns(const struct job *job); /* of its next chunk; 0 if that is not what it has to send */
void task_free(struct task *t);
bool task_is_feeding(const struct task *t);

/* ---- job_plan.c ---- */
/* Takes over a worker's plan, or one of an earlier run, not believing it. False: it makes no sense. */
bool job_take_plan(struct job *job, const struct slice *plan);
/* The same, from a WIRE_PLANNED or a WIRE_PARSED; the store is told. */
bool plan_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);
bool submission_arrived(struct job *job, const struct wire_frame *f, const struct slice *bulk);

/* ---- poison.c ---- */
/* The chunk's attempts are used up. True: it was a map's, and the item at which the worker died fails alone. */
bool job_gives_up_item(struct job *job, const struct task *t);
uint32_t job_count_poison(const struct job *job, uint32_t chunk); /* items of that chunk */
/* As WIRE_RUN wants it in place of common: u32 size, zeros, the places, padding. */
void job_put_poison(const struct job *job, uint32_t chunk, struct buf *out);

/* ---- replies.c ---- */
void job_add_lost(struct job *job, const struct task *t, const char *cause, const struct death *d); /* t, d: or NULL */

/* ---- dispatch.c, for replies.c and dispatch_fresh.c ---- */
/* A task for the job's next unit, on that worker, not sent yet. NULL: memory ran out. */
struct task *dispatch_take_task(struct job *job, struct worker *w);
bool dispatch_feed_merge(struct job *job,
                         struct task *t); /* sends parts while the socket takes them; true: all are sent */
bool dispatch_can_send(const struct jobs *js, const struct worker *w);    /* whoever it is kept for */
bool dispatch_send_task(struct job *job, struct worker *w, bool is_long); /* false: memory ran out */
/* The job whose turn it is on the main lane, long or fresh; as sched_peek. */
struct sched_entry *dispatch_peek_main(const struct jobs *js, int64_t now_ns, int *urgency);

/* ---- dispatch_fresh.c ---- */
bool job_is_isolated(const struct job *job);               /* does all its work in processes of its own */
unsigned job_free_isolated_workers(const struct job *job); /* of those kept for it: without a task, or starting */
bool isolate_serve(struct jobs *js, struct worker *w,
                   struct job *job);                      /* an idle main worker is the job's; false: no memory */
void isolate_send_tasks(struct jobs *js, int64_t now_ns); /* to workers that are kept for a job */
void job_release_workers(struct job *job);                /* all of them */

/* ---- backoff.c ---- */
/* A piece was lost for the lost-th time: true if it has to wait; it becomes sendable by itself. */
bool job_back_off(struct job *job, uint32_t chunk, unsigned lost);
void job_clear_backoffs(struct job *job);
bool job_is_backing_off(const struct job *job);

#endif
