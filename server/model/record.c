/* record.c: see record.h. Front end. */
#include "server/model/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/spare.h"

static const char *const names[JOB_STATUSES] = {"queued", "running", "succeeded", "failed", "cancelled"};

const char *job_status_name(enum job_status s) {
    return names[s];
}

enum job_status job_status_find(const char *name) {
    int s = 0;
    while (s < JOB_STATUSES && strcmp(names[s], name) != 0)
        s++;
    return (enum job_status)s;
}

static _Thread_local struct spare spare; /* the store's thread frees records, too */

void binary_free(struct record_binary *b) {
    if (b != NULL)
        buf_deinit(&b->summary);
    free(b);
}

struct record *record_new(void) {
    struct record *r = spare_take(&spare, sizeof *r);
    if (r != NULL) {
        r->refs = 1;
        r->attempts = 1;
        r->type = UINT32_MAX;
    }
    return r;
}

struct record *record_ref(struct record *r) {
    r->refs++;
    return r;
}

void record_unref(struct record *r) {
    if (r == NULL || --r->refs > 0)
        return;
    slice_deinit(&r->result);
    binary_free(r->binary);
    buf_deinit(&r->lost);
    buf_deinit(&r->error);
    options_deinit(&r->options);
    free(r->trace);
    free(r->tenant);
    job_log_free(r->log);
    spare_give(&spare, r);
}

bool tenant_sees(const char *viewer, const char *tenant) {
    return viewer == NULL || (tenant != NULL && strcmp(viewer, tenant) == 0);
}

size_t record_bytes(const struct record *r) {
    return sizeof *r + (r->binary == NULL ? 0 : sizeof *r->binary + r->binary->summary.capacity) + r->lost.capacity +
           r->error.capacity + r->result.size + (r->trace == NULL ? 0 : strlen(r->trace)) +
           (r->tenant == NULL ? 0 : strlen(r->tenant)) + (r->log == NULL ? 0 : sizeof *r->log + r->log->text.capacity);
}
