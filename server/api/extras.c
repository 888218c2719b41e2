/* extras.c: see extras.h. Front end. */
#include "server/api/extras.h"

#include <string.h>

#include "server/api/shm.h"

#define NO_JOB "there is no such job, or it is no longer remembered"

/* An extra is wrong, or cannot be had. */
static void answer_extra(struct deferred_request *d, const struct host_extra *e, const char *detail) {
    struct buf members = {0}, whole = {0};
    problem_put_error(&members, e->where, detail);
    buf_printf(&whole, "%s: %s", e->where, detail);
    idempotency_withdraw(&d->claim);
    if (members.failed || whole.failed)
        http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    else
        http_answer_problem(d->request, PROBLEM_INVALID_PARAMS, whole.data, members.data);
    buf_deinit(&members);
    buf_deinit(&whole);
}

static void answer_no_memory(struct deferred_request *d) {
    idempotency_withdraw(&d->claim);
    http_answer_problem(d->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
}

/* False: memory ran out, and the request is answered. */
static bool add_extra(struct deferred_request *d, const struct slice *bytes, const char *media_type, bool own) {
    struct upload *u = d->upload;
    u->taken++;
    if (bytes->blob != NULL && attachments_add(&u->data, bytes, media_type, own) == 0)
        return true;
    answer_no_memory(d);
    return false;
}

static bool take_bytes(struct deferred_request *d, struct host_extra *e) {
    struct slice bytes = {NULL, 0, 0};
    if (e->fd < 0) {
        bytes = slice_copy(e->bytes.size == 0 ? "" : e->bytes.data, e->bytes.size);
    } else {
        struct blob *b = blob_seal(e->fd, (size_t)e->size);
        e->fd = -1;
        if (b != NULL)
            bytes = slice_all(b);
    }
    bool good = add_extra(d, &bytes, NULL, false);
    slice_deinit(&bytes);
    return good;
}

static void take_extras(struct deferred_request *d);

/* The record of the job that the next extra names. */
static void on_looked_up(struct deferred_request *d, enum store_result result, struct record *record) {
    struct upload *u = d->upload;
    const struct host_extra *e = &u->submission.extras[u->taken];
    if (result == STORE_UNAVAILABLE) {
        idempotency_withdraw(&d->claim);
        answer_not_found(d->request, result);
    } else if (result != STORE_OK) {
        answer_extra(d, e, NO_JOB);
    } else if (!job_status_is_final(record->status)) {
        answer_extra(d, e, "the job has not ended");
    } else if (record->status != JOB_SUCCEEDED) {
        answer_extra(d, e, "the job has not succeeded, so it has no result");
    } else {
        struct slice document = result_document(record);
        bool good = add_extra(d, &document, record->binary == NULL ? JSON_TYPE : record->binary->media_type, false);
        slice_deinit(&document);
        if (good && !u->looking)
            take_extras(d);
    }
}

/* False: it is wrong, or it is not known yet. */
static bool take_job(struct deferred_request *d, const struct host_extra *e) {
    struct upload *u = d->upload;
    struct id id;
    uint32_t before = u->taken;
    if (strlen(e->name) != ID_TEXT_SIZE - 1 || !id_parse(e->name, &id)) {
        answer_extra(d, e, NO_JOB);
        return false;
    }
    u->looking = true;
    deferred_look_up(d, &id, on_looked_up);
    u->looking = false;
    return u->taken > before && !http_is_answered(d->request);
}

/* False: it is wrong. */
static bool take_shared(struct deferred_request *d, const struct host_extra *e) {
    struct slice bytes = {NULL, 0, 0};
    bool own = host_works_in_place(d->upload->submission.type);
    const char *why = d->server->config.allow_shm
                          ? shm_take(d->request, e, &bytes, &own)
                          : "shared memory is not taken: the service has to be started with --allow-shm";
    if (why != NULL) {
        answer_extra(d, e, why);
        return false;
    }
    bool good = add_extra(d, &bytes, NULL, own);
    slice_deinit(&bytes);
    return good;
}

/* Goes on with the next extra. Those that are jobs are looked up one after the other. */
static void take_extras(struct deferred_request *d) {
    struct upload *u = d->upload;
    bool good = true;
    while (good && u->taken < u->submission.extra_count) {
        struct host_extra *e = &u->submission.extras[u->taken];
        good = e->kind == HOST_EXTRA_JOB   ? take_job(d, e)
               : e->kind == HOST_EXTRA_SHM ? take_shared(d, e)
                                           : take_bytes(d, e);
    }
    if (good)
        u->ready(d);
}

void extras_take(struct deferred_request *d, struct submission *submission, void (*ready)(struct deferred_request *d)) {
    struct upload *u = NULL;
    if (upload_set_text(d->request, &d->upload, &submission->text))
        u = upload_make(d->request, &d->upload);
    if (u == NULL) {
        idempotency_withdraw(&d->claim);
        return;
    }
    u->submission = *submission;
    *submission = (struct submission){0};
    u->ready = ready;
    take_extras(d);
}
