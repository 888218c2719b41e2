/* record.h: what is known of a job, live or ended: what a store keeps of it, and what the Job document shows. Records
 * are shared by counted references, which are not atomic. Front end, the thread of the event loop; but the store's
 * thread makes the records that it reads from the disk, and hands each over before anybody else has it.
 *
 * The record of a live job belongs to server/jobs, which alone changes it, and not after the job has ended; the store
 * in memory shares it, and the store on disk makes copies. Only a store moves the expires_ms of an ended job, when
 * somebody sets the wall clock. */
#ifndef OFFLOAD_RECORD_H
#define OFFLOAD_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/id.h"
#include "handlers/host/host.h"
#include "handlers/host/options.h"
#include "pool/blob.h"
#include "server/model/job_log.h"
#include "server/model/problem.h"

enum job_status { JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED, JOB_STATUSES };

static inline bool job_status_is_final(enum job_status s) {
    return s >= JOB_SUCCEEDED;
}
const char *job_status_name(enum job_status s);
enum job_status job_status_find(const char *name); /* JOB_STATUSES if there is none */

/* What a result is that is not JSON. */
struct record_binary {
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    struct buf summary; /* JSON that the Job shows as its `result`; or nothing */
};

#define RECORD_MAX_LOST 32 /* how many entries `lost` has at most */

struct record {
    int refs;
    struct id id;
    uint32_t type; /* UINT32_MAX: not known, because the body is raw */
    /* Small fields stand side by side: hundreds of thousands of records can be in memory. */
    enum job_status status;
    enum problem_code problem;
    bool map;           /* the handler is called once for each of `items` */
    bool durable;       /* the store has it: it was answered 202, or has an Idempotency-Key */
    bool options_known; /* false: the body is raw */
    uint32_t items;
    int64_t created_ms, started_ms, finished_ms, expires_ms; /* wall clock; 0: not yet */
    int64_t not_before_ms;                                   /* wall clock; 0: may start at once */
    struct submission_options options;                       /* none is OPTION_UNSET; delay_ms is not stored */
    uint32_t chunks_done, chunks_total;                      /* total 0: not planned yet */
    unsigned attempts;                                       /* 1 + how often a task was lost */
    unsigned lost_count;
    struct buf lost;              /* elements of the JSON array, with commas */
    struct slice result;          /* if it succeeded: JSON; or bytes, if there is `binary` */
    struct record_binary *binary; /* heap; NULL: the result is JSON */
    struct buf error;             /* the problem document, if it failed or was cancelled */
    int64_t queued_ns, run_ns, cpu_ns, plan_ns, merge_ns;
    double shown_fraction; /* the largest progress that somebody was shown in this process; not stored */
    uint64_t version;      /* grows with every change; the ETag is made of it */
    char *trace;           /* heap or NULL: the text of trace.h */
    char *tenant;          /* heap or NULL: the name of the key that has submitted it; NULL: there were no keys */
    /* What its programs have printed. NULL: nothing; or the record was read for a list. Of a job that has not ended it
     * is not stored. */
    struct job_log *log;
    uint32_t log_size; /* bytes of the part of it that is kept */
};

void binary_free(struct record_binary *b); /* NULL is allowed */

struct record *record_new(void); /* one reference; NULL if memory ran out */
struct record *record_ref(struct record *r);
void record_unref(struct record *r); /* NULL is allowed */

/* Whether a job of `tenant` (NULL: it was submitted without a key) is to be seen by `viewer`; NULL sees all jobs. */
bool tenant_sees(const char *viewer, const char *tenant);

/* About how many bytes a record holds in memory. */
size_t record_bytes(const struct record *r);

#endif
