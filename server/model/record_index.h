/* record_index.h: records in the order of their ids, by type and status, and by tenant, too, so that a page of
 * GET /v1/jobs costs as much as it has jobs, whatever its filter and however many jobs there are, also of other tenants.
 * Front end; one thread.
 *
 * The records that were put in last are not filed yet: most jobs are short, and leave before they would be. A page looks
 * at all of these few. */
#ifndef OFFLOAD_RECORD_INDEX_H
#define OFFLOAD_RECORD_INDEX_H

#include "base/tree.h"
#include "server/model/metrics.h"
#include "server/model/record.h"

/* What a page of jobs has. */
struct record_filter {
    int status;         /* enum job_status, or -1: any */
    int64_t type;       /* the index of a type, or -1: any */
    const char *tenant; /* only those that this tenant is to see (tenant_sees); NULL: any. Borrowed for the call */
    struct id before;   /* only ids below this one; all bits set: start with the newest job */
    unsigned limit;     /* how many jobs at most; 1 or more */
};

/* The place of a record in an index. Embedded by its owner, who keeps it in place while the record is in there. Zero it
 * before its first use. */
struct indexed {
    union {
        struct tree_node node; /* its tag: the tree that it is in, or that it is among the recent ones */
        struct {
            struct indexed *prev, *next; /* of these */
        };
    };
    struct tree_node of_tenant; /* in the second tree, if it is filed and its job has a tenant */
    struct record *record;      /* borrowed; NULL: it is in no index */
};

/* Zeros are an empty index. */
struct record_index {
    struct tree trees[(METRICS_TYPES + 1) * JOB_STATUSES];
    struct tree of_tenants[(METRICS_TYPES + 1) * JOB_STATUSES]; /* of the jobs that have a tenant, by that first */
    struct indexed *recent;                                     /* list; the one that was put in first is in front */
    unsigned recent_count;
};

/* Puts the record in. Call it again whenever its type or status has changed; its tenant never does. It needs no
 * memory. */
void record_index_put(struct record_index *x, struct indexed *e, struct record *r);
void record_index_remove(struct record_index *x, struct indexed *e); /* no effect if it is in no index */
/* Calls `found` for each record that matches, the newest first. `found` must not change the index. */
void record_index_read(const struct record_index *x, const struct record_filter *f,
                       void (*found)(void *arg, struct record *record), void *arg);

#endif
