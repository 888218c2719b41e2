/* record.h: what is known of a job, live or ended: the part that a store keeps and the Job document shows. Shared by
 * counted reference; only jobs.c changes one, and never after it ended (but a store moves expires_ms when the clock is
 * stepped). Front end. */
#ifndef OFFLOAD_RECORD_H
#define OFFLOAD_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/id.h"
#include "handlers/host/options.h"
#include "pool/blob.h"
#include "server/model/problem.h"

enum job_status { JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED, JOB_STATUSES };

static inline bool job_status_is_final(enum job_status s) {
    return s >= JOB_SUCCEEDED;
}
const char *job_status_name(enum job_status s);
enum job_status job_status_find(const char *name); /* JOB_STATUSES if there is none */

#define RECORD_MAX_LOST   32 /* death certificates kept */
#define RECORD_TRACE_SIZE 56 /* traceparent and a NUL */

struct record {
    int refs;
    struct id id;
    uint32_t type; /* UINT32_MAX: not known yet (a large body that is not parsed yet) */
    enum job_status status;
    bool durable;       /* belongs to the store: it was answered 202, or has an Idempotency-Key */
    bool options_known; /* false: a large body that is not parsed yet */
    int64_t created_ms, started_ms, finished_ms, expires_ms; /* wall clock; 0: not yet */
    int64_t not_before_ms;                                   /* wall clock; 0: may start at once */
    struct submission_options options;                       /* none is OPTION_UNSET; delay_ms is not stored */
    bool map;                                                /* one call for each of `items` */
    uint32_t items;
    uint32_t chunks_done, chunks_total; /* total 0: not planned yet */
    unsigned attempts;                  /* 1 + times that work was lost */
    unsigned lost_count;
    struct buf lost;     /* elements of the JSON array, with commas */
    struct slice result; /* JSON; when succeeded */
    struct buf error;    /* when failed or cancelled: the problem's own members, see record_write_error */
    enum problem_code problem;
    int64_t queued_ns, run_ns, cpu_ns, plan_ns, merge_ns;
    uint64_t version; /* grows with every change: the ETag */
    char *trace;      /* heap or NULL: shorter than RECORD_TRACE_SIZE */
};

struct record *record_new(void); /* one reference; NULL if memory ran out */
struct record *record_ref(struct record *r);
void record_unref(struct record *r); /* NULL is allowed */

/* The bytes that a record holds in memory, roughly. */
size_t record_bytes(const struct record *r);

#endif
