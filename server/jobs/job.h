/* job.h: one job, and what all jobs share: the structs, the job's status, its phase and its durability, who waits for it, its
 * tasks and its time limits. The base of this room: every other file here stands on it, and it calls none of them.
 * Front end.
 *
 * Within queued and running a job is in a phase, which says what there is to send to a worker:
 *
 *     PLAN ──► CHUNKS ──► MERGE ──► DONE         PLAN → CHUNKS       [a worker has planned it, or the store has its plan]
 *       │        │          │        ▲           CHUNKS → MERGE      [all parts are there]
 *       ├────────┴──────────┴────────┤           MERGE → DONE        [merged]
 *       └────────┴──► STOPPING ──────┘           PLAN, CHUNKS → DONE [one chunk, run and merged in one go]
 *                                                any → STOPPING      [job_stop: ends as soon as its tasks are gone]
 *
 * Whether the store has it is its durability:
 *
 *     NONE ──► POSTING ──► SUBMITTING ──► STORED       NONE → POSTING             [the call of the store's submit begins]
 *      │          │             │  │         ▲         POSTING → SUBMITTING       [it returned, and nothing was answered]
 *      │          ├─────────────┼──┼─────────┤         POSTING, SUBMITTING → STORED or STORE_FAILED   [the store's answer]
 *      │          │             │  ▼         │         SUBMITTING → END_RECORDED  [a store in trouble answers in any order]
 *      │          │             │ END_RECORDED         END_RECORDED → STORED or STORE_FAILED; then its end is told
 *      │          ▼             ▼  │                   NONE → STORED              [recovered]
 *      └───────► STORE_FAILED ◄────┘                   NONE → STORE_FAILED        [job_undo_submission]
 *
 * A job that is STORE_FAILED never existed: nobody is told of it, and it is not remembered. */
#ifndef OFFLOAD_JOBS_JOB_H
#define OFFLOAD_JOBS_JOB_H

#include <uthash.h>

#include "base/attributes.h"
#include "base/log.h"
#include "server/jobs/jobs.h"
#include "server/jobs/scheduler.h"

enum job_phase { PHASE_PLAN, PHASE_CHUNKS, PHASE_MERGE, PHASE_STOPPING, PHASE_DONE, PHASES };

enum durability {
    DURABILITY_NONE,         /* not the store's */
    DURABILITY_POSTING,      /* is being handed to the store just now */
    DURABILITY_SUBMITTING,   /* the store has it, and has not said whether it is safe */
    DURABILITY_END_RECORDED, /* likewise, and its end is recorded already */
    DURABILITY_STORED,       /* safe */
    DURABILITY_STORE_FAILED, /* the store did not take it, or its submission was undone */
    DURABILITIES
};

enum task_kind { TASK_PLAN, TASK_RUN, TASK_MERGE };

/* What one worker is to do for a job: at the worker, or on its way there or back. */
struct task {
    struct job *job;
    enum task_kind kind;
    uint32_t chunk; /* TASK_RUN */
    struct worker *worker;
    uint64_t ticket;          /* the pool's number for it, on that worker */
    int64_t sent_ns;          /* monotonic */
    int64_t cost_ns;          /* counted in jobs->load_ns; 0 for long tasks */
    struct task *prev, *next; /* the job's list, or the free list */
};

struct chunk {
    struct wire_chunk plan;
    unsigned lost; /* times that a worker died at it */
    bool done;
    struct slice part; /* when done */
};

/* Tasks that were lost and are not to be tried again yet; see backoff.h. Made when a job first loses something: most never
 * do. */
struct backoffs {
    struct job *job;
    struct timer timer; /* the first that is due */
    uint32_t count;
    struct backoff {
        int64_t due_ns; /* monotonic */
        uint32_t chunk; /* NO_CHUNK: the plan or the merge */
    } list[];
};
#define NO_CHUNK UINT32_MAX

/* An item of a map at which workers died until its chunk had no attempts left; see poison.h. */
struct poison_item {
    uint32_t chunk, place; /* place: in the chunk's group */
};

struct job {
    struct jobs *js;
    struct record *record;
    UT_hash_handle hh; /* in jobs->live, by id */
    enum job_phase phase : 8;
    enum durability durability : 8;

    /* ---- who waits for it ---- */
    struct job_waiter *waiters;
    unsigned watchers;       /* of the waiters: those that want changes */
    unsigned throttles;      /* readers of its items that are too far behind */
    struct history *history; /* NULL: there is nothing to tell yet, and nobody asked */
    bool planned_told;       /* JOB_PLANNED was told */
    bool telling;            /* it is being told: whoever is told may stop the job, which has to stay */

    /* ---- turns ---- */
    struct sched_entry sched;
    int64_t queued_cost_ns;              /* of the long task for which it is in the scheduler; else 0 */
    struct timer timer;                  /* the delay, then the queue timeout, then the run timeout */
    int64_t accepted_ns, run_started_ns; /* monotonic; 0: not running */
    int64_t due_ns;                      /* monotonic: from when it may start; queue_timeout counts from here */
    bool delayed;                        /* due_ns has not come */
    bool asynchronous;                   /* is answered 202: planned first, and not run in the same go */

    /* ---- what there is to do ---- */
    struct slice input; /* packed params, or the raw body if input_is_raw; until it is planned */
    bool input_is_raw;
    unsigned char *common;    /* as WIRE_RUN and WIRE_MERGE want it: u32 size, zeros, bytes, padding */
    uint32_t common_size;     /* of all that */
    struct slice plan;        /* as the worker sent it, for the store; empty if it has but one chunk */
    struct slice chunk_bytes; /* what the chunks' offsets count from */
    struct chunk *chunks;     /* record->chunks_total of them */
    uint32_t next_chunk;      /* the first that was never sent */
    uint32_t *again;          /* chunks to be sent again; room for all, behind `chunks` in one block */
    uint32_t again_count;
    uint32_t merge_fed; /* parts sent to the merging worker */
    struct task *tasks;
    unsigned isolated_workers; /* that work for this job alone, those included that are only starting */
    unsigned plan_lost, merge_lost;
    struct backoffs *backoffs;  /* NULL: nothing was lost yet */
    struct poison_item *poison; /* of a map */
    uint32_t poison_count;

    /* ---- its way into the store ---- */
    struct submitting *submitting; /* who waits for the store's answer */
    struct store_key *key;         /* heap, with its texts; or NULL */
    uint8_t *request_hash;         /* heap, STORE_HASH_SIZE: wanted of a raw body; or NULL */
    char *bad_webhook;             /* heap: what is wrong with the URL of a raw body; or NULL */

    /* ---- its end ---- */
    bool rejected;                    /* its submission was wrong: it never existed */
    enum stop_reason stop_reason : 8; /* these say how it ends, while it is stopping */
    enum job_status stop_status : 8;
    enum problem_code stop_problem : 8;
    char *stop_detail, *stop_members;      /* heap or NULL */
    struct blob *webhook;                  /* what is to be sent, once the end is recorded */
    struct job *ending_prev, *ending_next; /* in jobs->ending */
};

struct jobs {
    struct loop *loop;
    struct jobs_config config;
    struct metrics *metrics;
    struct pool *pool;
    struct store *store, *remembered;
    struct jobs_webhooks webhooks;
    void (*on_job_timer)(struct timer *t); /* a job's time limit has come */
    struct job *live;                      /* hash by id, and in the order of the ids */
    struct job *ending;                    /* durable ones whose end is being recorded */
    size_t live_count, running_count, ending_count, recovered_count, queued[SCHEDULER_LEVELS];
    size_t transient_count; /* live and not the store's */
    bool draining;
    bool dirty; /* something may have become sendable */

    struct scheduler scheduler;
    struct task *free_tasks;
    struct task **feeding;               /* by worker slot: the merge whose parts are not all sent */
    bool *short_turn;                    /* by worker slot: it did a long task last */
    int64_t *load_ns;                    /* by worker slot: what its short tasks in flight will take */
    int64_t *long_due_ns;                /* by worker slot, monotonic: when its long task should be done */
    int64_t long_backlog_ns;             /* what the long tasks that wait will take */
    int64_t type_cost_ns[METRICS_TYPES]; /* what a short job of each type took lately */

    struct timer expiry_timer;
    int64_t wall_offset_ms; /* wall clock less monotonic clock, when it was last looked at */
    double rate;            /* jobs ended per second, exponentially weighted over JOBS_RATE_WINDOW_S */
    int64_t rate_ns;        /* monotonic: when that was last updated */
};

#define JOBS_RATE_WINDOW_S 10.0

/* Into the live table; takes the record. NULL if memory ran out. */
struct job *job_new(struct jobs *js, struct record *r);
/* Nobody finds it by its id any more, and it takes no room in the queue. It must be in no turn and have no backoffs. */
void job_leave_live(struct job *job);

/* ---- states: each has one function that moves it; see the diagrams above and in jobs.h ---- */

void job_set_status(struct job *job, enum job_status to);
void job_count_status(struct job *job, enum job_status status, int by); /* by: 1 or -1 */
void job_enter_phase(struct job *job, enum job_phase to);
void job_set_durability(struct job *job, enum durability to);
static inline bool job_is_stopping(const struct job *job) {
    return job->phase == PHASE_STOPPING;
}
static inline bool job_is_backing_off(const struct job *job) {
    return job->backoffs != NULL && job->backoffs->count > 0;
}
bool job_is_parked(const struct job *job);         /* left to the next process by a drain */
void job_started(struct job *job, int64_t now_ns); /* queued → running; no effect if it is running */
/* A task was sent: the clock of the run begins with the first. */
void job_task_sent(struct job *job, const struct task *t);

/* ---- who waits ---- */

void job_touch(struct job *job);        /* its document changed */
void job_tell_planned(struct job *job); /* once; whoever is told may stop the job */
void job_tell_parked(struct job *job);
void job_tell_ended(struct job *job); /* nobody waits any more */

/* ---- tasks ---- */

struct task *task_new(struct job *job, enum task_kind kind); /* NULL if memory ran out */
void task_free(struct task *t);                              /* it is over, or its worker will ignore it */
bool task_is_feeding(const struct task *t);                  /* a merge whose parts are not all sent */
bool job_merges_at_once(const struct job *job);              /* its only chunk is run and merged in one go */

/* ---- time ---- */

/* Sets the timer to what comes next: the end of the delay, of the time in the queue, or of the run. */
void job_arm_timer(struct job *job);
int64_t job_limit_ns(int64_t ms); /* in ns; at most half of what fits, so that it can be added to a clock */

void job_log_event(enum log_level level, const char *event, const struct job *job);

#endif
