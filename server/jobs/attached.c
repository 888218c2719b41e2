/* attached.c: see attached.h. Front end. */
#include "server/jobs/attached.h"

#include <stdlib.h>

bool attached_take(struct job *job, const struct job_attachments *from) {
    for (uint32_t i = 0; from != NULL && i < from->count; i++) {
        const struct job_attachment *a = &from->list[i];
        if (attachments_add(&job->attachments, &a->bytes, a->media_type, a->own) != 0)
            return false;
    }
    job->attachments_given = job->attachments_known = job->attachments.count;
    job_hold(job, job->attachments.room * (sizeof *from->list + HANDLER_MAX_MEDIA_TYPE));
    return true;
}

static bool is_own(const struct job_attachment *a) {
    return a->own && slice_is_bulk(&a->bytes) &&
           (a->bytes.blob->seals == BLOB_SIZED || a->bytes.blob->seals == BLOB_SHARED);
}

static void keep(struct job_attachment *a, bool own) {
    a->own = own;
    if (!own && slice_is_bulk(&a->bytes))
        blob_freeze(a->bytes.blob);
}

void attached_settle(struct job *job) {
    bool in_place =
        host_works_in_place(job->record->type) && !job->record->durable && !job->asynchronous && !job->record->map;
    for (uint32_t i = 0; i < job->attachments_given; i++)
        keep(&job->attachments.list[i], in_place && is_own(&job->attachments.list[i]));
}

bool attached_has_own(const struct job *job) {
    for (uint32_t i = 0; i < job->attachments_given; i++)
        if (job->attachments.list[i].own)
            return true;
    return false;
}

bool job_works_in_place(const struct job *job) {
    return job->writes_in_place;
}

void attached_freeze(struct job *job) {
    for (uint32_t i = 0; i < job->attachments_given; i++)
        keep(&job->attachments.list[i], false);
}

bool attached_add_made(struct job *job, const struct slice *bytes) {
    return attachments_add(&job->attachments, bytes, NULL, slice_is_bulk(bytes)) == 0;
}

void attached_drop_made(struct job *job) {
    attachments_truncate(&job->attachments, job->attachments_known);
}
