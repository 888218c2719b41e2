/* job.h: one job, and what all jobs share: the structs, a job's status, phase and durability, its waiters, its tasks
 * and its time limits. It is the base of this room: all other files here include it, and it calls none of them. Front
 * end.
 *
 * While a job is queued or running it is in a phase, which says what it has to send to a worker:
 *
 *     PLAN ──► CHUNKS ──► MERGE ──► DONE       PLAN → CHUNKS         [a worker has planned it, or the store has a plan]
 *       │        │          │        ▲         CHUNKS → MERGE        [all parts are there]
 *       ├────────┴──────────┴────────┤         MERGE → DONE          [merged]
 *       └────────┴──► STOPPING ──────┘         PLAN, CHUNKS → DONE   [one chunk, run and merged in one go]
 *                                              any → STOPPING        [job_stop: it ends when its tasks are gone]
 *
 * Its durability says whether the store has it:
 *
 *     NONE ──► POSTING ──► SUBMITTING ──► STORED     NONE → POSTING            [the store's submit is called]
 *      │        ▲ │ │           │  │         ▲       POSTING → SUBMITTING      [it has returned without an answer]
 *      ├► ENDING┘ ├─┼───────────┼──┼─────────┤       POSTING, SUBMITTING → STORED, STORE_FAILED [the store's answer]
 *      │          │ │           │  ▼         │       SUBMITTING → END_RECORDED [a store in trouble answers at any time]
 *      │          │ └───────────│►END_RECORDED       END_RECORDED → STORED, STORE_FAILED; then the waiters are notified
 *      │          ▼             ▼  │                 NONE → STORED             [recovered]
 *      └───────► STORE_FAILED ◄────┘                 NONE → STORE_FAILED       [job_undo_submission]
 *                                                    NONE → ENDING             [it is wanted when its end is known]
 *                                                    ENDING → POSTING          [it has ended, and is submitted so]
 *                                                    POSTING → END_RECORDED    [that has returned without an answer]
 *
 * A job that is STORE_FAILED counts as if it had never existed: it is not remembered, and its webhook is not sent. */
#ifndef OFFLOAD_JOBS_JOB_H
#define OFFLOAD_JOBS_JOB_H

#include "base/log.h"
#include "base/table.h"
#include "server/jobs/jobs.h"
#include "server/jobs/scheduler.h"
#include "server/jobs/tenants.h"

enum job_phase { PHASE_PLAN, PHASE_CHUNKS, PHASE_MERGE, PHASE_STOPPING, PHASE_DONE, PHASES };

enum durability {
    DURABILITY_NONE,         /* the store does not know it */
    DURABILITY_ENDING,       /* the same; it is about to end, and will be submitted together with its end */
    DURABILITY_POSTING,      /* the call of the store's submit has not returned */
    DURABILITY_SUBMITTING,   /* the store has it, and has not yet said whether it is safe */
    DURABILITY_END_RECORDED, /* the same, and its end is recorded already */
    DURABILITY_STORED,       /* it is safe */
    DURABILITY_STORE_FAILED, /* the store could not record it, or its submission was undone */
    DURABILITIES
};

enum task_kind { TASK_PLAN, TASK_RUN, TASK_MERGE };

/* Who waits for the store's answer to a submission. */
struct submitting {
    struct submitting *next;
    store_done *done;
    void *arg;
};

/* What one worker does for a job. It exists from when it is sent until it is answered or lost. */
struct task {
    struct job *job;
    enum task_kind kind;
    uint32_t chunk; /* of TASK_RUN */
    struct worker *worker;
    uint64_t ticket;          /* the pool's number for it, on that worker */
    int64_t sent_ns;          /* monotonic */
    int64_t cost_ns;          /* its share of jobs->load_ns; 0 for a long task */
    struct task *prev, *next; /* in the job's list, or in the free list */
};

struct chunk {
    struct wire_chunk plan;
    unsigned lost; /* how often a worker died at it */
    bool done;
    struct slice part; /* once it is done */
};

/* The lost tasks of a job that wait before they are tried again; see backoff.h. Most jobs never lose a task, so this is
 * only made at the first loss. */
struct backoffs {
    struct job *job;
    struct timer timer; /* set for the first that is due */
    uint32_t count;
    struct backoff {
        int64_t due_ns; /* monotonic */
        uint32_t chunk; /* NO_CHUNK: the plan or the merge */
        bool
            unrecorded; /* the store has not recorded the loss yet: until then it backs off, however long ago it was due */
    } list[];
};
#define NO_CHUNK UINT32_MAX

/* An item of a map that is not run any more, because workers died at it; see poison.h. */
struct poison_item {
    uint32_t chunk, place; /* place: its index among the items of that chunk */
    bool by_memory;        /* its worker exceeded --max-job-memory */
};

struct job {
    struct jobs *js;
    struct record *record;
    struct tenant *tenant; /* NULL: it has none, or has left the live table */
    UT_hash_handle hh;     /* in jobs->live, by id */
    struct indexed indexed;
    enum job_phase phase : 8;
    enum durability durability : 8;
    /* They stand side by side because hundreds of thousands of jobs can wait, and a hole in the struct costs memory. */
    bool planned_told; /* JOB_PLANNED was sent, or the job was recovered */
    bool telling;      /* its waiters are being told something: one can stop the job, but it must not be freed yet */
    bool delayed;      /* due_ns has not come */
    bool asynchronous; /* it is answered 202: it is run in the same go as it is planned only if that takes no time */
    bool uncounted;    /* see struct job_request; its tenant counts it */
    bool end_is_known; /* before JOB_PLANNED was sent: who wants it durable gets it submitted together with its end */
    bool input_is_raw;
    bool planned_apart; /* its plan was a turn of its own, before run_started_ns */
    unsigned char
        *accepted; /* heap; with input_is_raw: the media ranges of the client, in the form of `common`; or NULL */
    uint32_t accepted_size; /* of all of that */
    bool input_is_params;   /* of the record's type; with input_is_raw */
    bool rejected;          /* its submission was wrong, or too much: the job counts as if it had never existed */
    bool plan_is_stale;     /* `plan` does not have the groups that were cut anew */
    bool writes_in_place; /* a worker was given an attachment that it can write to, so it cannot begin anew elsewhere */
    bool is_too_many;     /* it is delayed, and was parsed when --max-delayed was reached */
    uint32_t delayed_place; /* in jobs->delayed, from 1; 0: it is not there */

    /* ---- who waits for it ---- */
    struct job_waiter *waiters;
    size_t held;             /* bytes counted for it in HELD_JOBS */
    unsigned watchers;       /* how many of the waiters want changes */
    unsigned throttles;      /* how many readers of its items are too far behind */
    struct history *history; /* NULL: it is empty, and nobody has opened it */

    /* ---- turns ---- */
    struct sched_entry sched;
    int64_t queued_cost_ns;  /* of the long task for which it waits in the scheduler; else 0 */
    int64_t queued_known_ns; /* what is known of that (admission.h) */
    struct timer timer;      /* the delay, then the queue timeout, then the run timeout */
    int64_t accepted_ns;     /* monotonic */
    int64_t run_started_ns;  /* monotonic; 0: it is not running */
    int64_t due_ns;          /* monotonic: when it may start; the queue timeout counts from here */
    int64_t late_ns;         /* it was refused: by how much it would miss its queue timeout */

    /* ---- what there is to do ---- */
    struct slice input;                 /* until it is planned: packed params, or the raw body if input_is_raw */
    struct job_attachments attachments; /* those of the submission, and then those that its plan has made */
    uint32_t attachments_given;         /* how many it was submitted with; these are stored with it */
    uint32_t attachments_known; /* how many there are before its plan: a raw body can have some more in itself */
    unsigned char *common;      /* as WIRE_RUN and WIRE_MERGE want it: u32 size, zeros, bytes, padding */
    uint32_t common_size;       /* of all of that */
    unsigned excuses;           /* how often that its tasks were held back did not count (job_excuse) */
    struct slice plan;          /* as the worker sent it, for the store; can be empty if the job has only one chunk */
    struct slice chunk_bytes;   /* the chunks' offsets count from its start */
    struct chunk *chunks;       /* record->chunks_total of them */
    uint32_t regrouped;         /* of a map: the first group that was not cut by the measured rate (regroup.h) */
    double estimated_ns, measured_ns; /* of its chunks that are done, since the last cut */
    double cut_rate; /* by which the costs of the chunks from cut_from on were multiplied; 0: none was */
    uint32_t cut_from;
    uint32_t next_chunk; /* the first that was never sent */
    uint32_t again_count;
    uint32_t *again;           /* chunks to be sent again; it has room for all, in the block of `chunks` */
    uint32_t merge_fed;        /* how many parts were sent to the worker that merges */
    unsigned isolated_workers; /* how many work for this job alone; workers that are starting count, too */
    struct task *tasks;
    unsigned plan_lost, merge_lost; /* how often a worker died at it */
    struct backoffs *backoffs;      /* NULL: nothing was lost yet */
    struct poison_item *poison;     /* of a map */
    uint32_t poison_count;

    /* ---- its way into the store ---- */
    struct submitting *submitting; /* who waits for the store's answer; job_tell_submitted */
    struct store_key *key;         /* heap, one block with its texts; NULL: it has none */
    uint8_t *request_hash;         /* heap, STORE_HASH_SIZE bytes: of a raw body; NULL: it is not wanted */
    char *bad_webhook;             /* heap: what is wrong with the webhook's URL in a raw body; NULL: nothing */

    /* ---- its end ---- */
    /* How it ends; set when it begins to stop. */
    enum stop_reason stop_reason : 8;
    enum job_status stop_status : 8;
    enum problem_code stop_problem : 8;
    char *stop_detail, *stop_members;      /* heap or NULL */
    struct blob *webhook;                  /* the body that is sent once the end is recorded; or NULL */
    struct job *ending_prev, *ending_next; /* in jobs->ending */
};

/* See admission.h. */
struct measured_type {
    double lowest;  /* the lowest of the last factors by which a chunk took longer than was estimated */
    unsigned count; /* of chunks, as long as they are few */
};

struct jobs {
    struct loop *loop;
    struct jobs_config config;
    struct metrics *metrics;
    struct pool *pool;
    struct store *store, *remembered;
    struct jobs_webhooks webhooks;
    struct tenants tenants;
    struct pool_attachment *sent; /* send.c's own: heap, room for sent_room */
    uint32_t sent_room;
    struct buf poison_bytes; /* send.c's own: empty between two tasks; kept, so that no task lacks the memory for it */
    void (*on_job_timer)(struct timer *t); /* limits_on_timer: job.c must not include what stands on it */
    struct job *live;                      /* hash by id; its list is in the order of the ids */
    struct record_index index;             /* the live jobs, for lists of them */
    struct job *ending;                    /* durable jobs whose end is being recorded */
    size_t live_count, running_count, ending_count, recovered_count;
    size_t queued[SCHEDULER_LEVELS]; /* by priority */
    struct job **delayed;            /* see delayed.h */
    size_t delayed_count, delayed_room;
    size_t transient_count; /* live jobs that are not durable */
    bool draining;
    bool dirty; /* jobs_dispatch has to look whether it can send something */

    struct scheduler scheduler;
    struct task *free_tasks;
    struct task **feeding;   /* by worker slot: the merge whose parts are not all sent, or NULL */
    bool *short_turn;        /* by worker slot: its last turn was a long task */
    int64_t *load_ns;        /* by worker slot: how long its short tasks in flight will take */
    int64_t *long_due_ns;    /* by worker slot, monotonic: when its long task will be done; 0: it has none */
    unsigned main_workers;   /* slots of the main lane */
    int64_t long_backlog_ns; /* how long the long tasks that wait will take */
    int64_t *known_due_ns;   /* by worker slot: as long_due_ns, but what is known (admission.h); else 0 */
    struct known_work known_work[SCHEDULER_LEVELS]; /* of the long tasks without a tenant that wait, by urgency */
    struct measured_type measured[METRICS_TYPES + 1];
    int64_t type_cost_ns[METRICS_TYPES + 1]; /* how long a short job of each type took lately */

    struct timer expiry_timer;
    int64_t wall_offset_ms; /* wall clock minus monotonic clock, when expiry.c last compared them */
    double rate;            /* jobs that end per second, weighted exponentially over JOBS_RATE_WINDOW_S */
    int64_t rate_ns;        /* monotonic: when the rate was last updated */
};

#define JOBS_RATE_WINDOW_S 10.0

/* A job in the live table, with the tenant that its record names. Takes the caller's reference to the record. NULL:
 * memory ran out, and nothing was taken. */
struct job *job_new(struct jobs *js, struct record *r);
/* Frees the struct alone: the last step of its end. */
void job_release(struct job *job);
/* Counts more bytes in HELD_JOBS, until the job is freed. Payloads are blobs, which count themselves. */
void job_hold(struct job *job, size_t bytes);
/* What a job needs without its payloads when it is made. */
#define JOB_BYTES (sizeof(struct job) + sizeof(struct record))
/* Files it in the index under its present type and status. Call it when its type has become known. */
void job_index(struct job *job);
/* Takes it out of the live table, so that it is not found and takes no room in the queue, and releases its tenant and its
 * isolated workers. It must not be in the scheduler, and must have no backoffs. */
void job_leave_live(struct job *job);

/* ---- states ---------------------------------------------------------------------------------------------------------
 *
 * One function moves each along its diagram, above or in jobs.h. Any other move is reported (base/state.h). */

void job_set_status(struct job *job, enum job_status to);
/* Adds `by` (1 or -1) to what is counted of jobs with that status and this job's priority. */
void job_count_status(struct job *job, enum job_status status, int by);
void job_enter_phase(struct job *job, enum job_phase to);
void job_set_durability(struct job *job, enum durability to);
static inline bool job_is_stopping(const struct job *job) {
    return job->phase == PHASE_STOPPING;
}
static inline bool job_is_backing_off(const struct job *job) {
    return job->backoffs != NULL && job->backoffs->count > 0;
}
bool job_is_parked(const struct job *job); /* a drain leaves it in the store for the next process */
/* queued → running, at that monotonic time. No effect if it is running. */
void job_started(struct job *job, int64_t now_ns);
/* A task was sent: the clock of the run begins with the first. */
void job_task_sent(struct job *job, const struct task *t);

/* ---- who waits --------------------------------------------------------------------------------------------------- */

void job_touch(struct job *job);        /* its document has changed: a new version, and JOB_CHANGED */
void job_tell_changed(struct job *job); /* JOB_CHANGED: there is something new beside its document */
void job_tell_planned(struct job *job); /* JOB_PLANNED, once. A waiter can stop the job; it is not freed in here */
void job_tell_parked(struct job *job);  /* JOB_PARKED */
/* Whether the store has the job: to those who have made it durable, once. */
void job_tell_submitted(struct job *job);
void job_tell_last(struct job *job, enum job_event event); /* JOB_ENDED or JOB_ABANDONED; it has no waiters then */

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

struct task *task_new(struct job *job, enum task_kind kind); /* NULL if memory ran out */
void task_free(struct task *t);                              /* it is over, or its worker will never begin it */
bool task_is_feeding(const struct task *t);                  /* it is a merge whose parts are not all sent */
void job_charge(struct job *job, int64_t cpu_ns);            /* to its tenant, if it has one: jobs_tenants.charge */
bool job_merges_at_once(const struct job *job);              /* its only chunk is run and merged in one go */

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* Sets the job's timer to the end of what it is in: its delay, its time in the queue, or its run. */
void job_arm_timer(struct job *job);
/* The tasks of this job are held back by others: true if that is not to count against the job. A few times only, because
 * it is the worker that says so. */
MUST_CHECK bool job_excuse(struct job *job);
/* A limit in ns. It is at most half of the largest int64_t, so that it can be added to a clock. */
int64_t job_limit_ns(int64_t ms);

/* Writes a line to the log with what is known of the job. */
void job_log_event(enum log_level level, const char *event, const struct job *job);

#endif
