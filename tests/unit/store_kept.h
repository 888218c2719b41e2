/* store_kept.h: a store for the tests of jobs. It stays while the jobs that use it are freed, and then recovers the
 * open ones, as the store on disk does after a restart. It is the store in memory, with a list of what open jobs need.
 * It shares records with the live jobs, so a test that kills a process must itself undo what would not have been
 * written. */
#ifndef OFFLOAD_TEST_STORE_KEPT_H
#define OFFLOAD_TEST_STORE_KEPT_H

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "server/store/store.h"

#define KEPT_CHUNKS 64

struct kept_job {
    struct record *record;
    struct slice request, plan;
    struct job_attachments attachments;
    struct store_chunk chunks[KEPT_CHUNKS]; /* by index */
    bool known[KEPT_CHUNKS];                /* lost or done */
    uint32_t poison[KEPT_CHUNKS][4];        /* the places of poison items */
    uint32_t plan_lost, merge_lost;
    struct kept_job *prev, *next;
};

static struct store_ops kept_ops, kept_memory_ops;
static struct kept_job *kept_jobs; /* in the order of their ids, which is the order of submission */

static struct kept_job *kept_find(const struct id *id) {
    struct kept_job *k;
    DL_FOREACH(kept_jobs, k) {
        if (memcmp(&k->record->id, id, sizeof *id) == 0)
            return k;
    }
    return NULL;
}

static void kept_drop(struct kept_job *k) {
    if (k == NULL)
        return;
    DL_DELETE(kept_jobs, k);
    for (unsigned i = 0; i < KEPT_CHUNKS; i++)
        slice_deinit(&k->chunks[i].part);
    slice_deinit(&k->request);
    slice_deinit(&k->plan);
    attachments_deinit(&k->attachments);
    record_unref(k->record);
    free(k);
}

static void kept_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg) {
    if (kept_find(&r->id) == NULL && !job_status_is_final(r->status)) {
        struct kept_job *k = calloc(1, sizeof *k);
        k->record = record_ref(r);
        k->request = slice_ref(&in->request);
        k->plan = slice_ref(&in->plan);
        for (uint32_t i = 0; in->attachments != NULL && i < in->attachments->count; i++) {
            const struct job_attachment *a = &in->attachments->list[i];
            if (attachments_add(&k->attachments, &a->bytes, a->media_type, false) != 0)
                abort();
        }
        DL_APPEND(kept_jobs, k);
    }
    kept_memory_ops.submit(s, r, in, done, arg);
}

static void kept_plan(struct store *s, struct record *r, const struct slice *plan) {
    struct kept_job *k = kept_find(&r->id);
    (void)s;
    if (k == NULL)
        return;
    slice_deinit(&k->plan);
    k->plan = slice_ref(plan);
}

static struct store_chunk *kept_chunk(const struct id *id, uint32_t chunk) {
    struct kept_job *k = kept_find(id);
    if (k == NULL || chunk >= KEPT_CHUNKS)
        return NULL;
    k->known[chunk] = true;
    k->chunks[chunk].chunk = chunk;
    return &k->chunks[chunk];
}

static void kept_lost(struct store *s, struct record *r, const struct store_chunk *lost, store_done *done, void *arg) {
    struct kept_job *k = kept_find(&r->id);
    struct store_chunk *c = kept_chunk(&r->id, lost->chunk);
    (void)s;
    if (k != NULL && lost->chunk == STORE_PLAN)
        k->plan_lost = lost->attempt;
    if (k != NULL && lost->chunk == STORE_MERGE)
        k->merge_lost = lost->attempt;
    if (c != NULL && c->attempt < lost->attempt)
        c->attempt = lost->attempt;
    for (uint32_t i = 0; c != NULL && i < lost->poison_count && i < 4; i++)
        k->poison[lost->chunk][i] = lost->poison[i];
    if (c != NULL) {
        c->poison = k->poison[lost->chunk];
        c->poison_count = lost->poison_count;
    }
    if (done != NULL)
        done(arg, STORE_OK);
}

static void kept_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                          const struct slice *part) {
    struct store_chunk *c = kept_chunk(id, chunk);
    (void)s;
    if (c == NULL || c->done || c->attempt > attempt)
        return;
    *c = (struct store_chunk){.chunk = chunk, .attempt = attempt, .done = true, .part = slice_ref(part)};
}

static void kept_finish(struct store *s, struct record *r, const struct delivery *webhook, store_done *done,
                        void *arg) {
    kept_drop(kept_find(&r->id));
    kept_memory_ops.finish(s, r, webhook, done, arg);
}

static void kept_forget(struct store *s, const struct id *id, const char *tenant, store_done *done, void *arg) {
    kept_drop(kept_find(id));
    kept_memory_ops.forget(s, id, tenant, done, arg);
}

static int kept_recover(struct store *s, const struct store_recovery *to) {
    struct kept_job *k, *next;
    (void)s;
    DL_FOREACH_SAFE(kept_jobs, k, next) {
        struct store_input in = {.request = k->request, .plan = k->plan};
        if (k->attachments.count > 0)
            in.attachments = &k->attachments;
        to->job(to->arg, k->record, &in);
        for (unsigned i = 0; i < KEPT_CHUNKS; i++) {
            if (k->known[i])
                to->chunk(to->arg, &k->record->id, &k->chunks[i]);
        }
        struct store_chunk plan = {.chunk = STORE_PLAN, .attempt = k->plan_lost};
        struct store_chunk merge = {.chunk = STORE_MERGE, .attempt = k->merge_lost};
        if (k->plan_lost > 0)
            to->chunk(to->arg, &k->record->id, &plan);
        if (k->merge_lost > 0)
            to->chunk(to->arg, &k->record->id, &merge);
    }
    return 0;
}

/* The `close` for jobs that end: the store stays. */
static void kept_stay(struct store *s) {
    (void)s;
}

/* The caller calls kept_close. */
static struct store *kept_open(void) {
    struct store *s = store_memory_open(&(struct store_limits){0}, true);
    kept_memory_ops = kept_ops = *s->ops;
    kept_ops.submit = kept_submit;
    kept_ops.plan = kept_plan;
    kept_ops.lost = kept_lost;
    kept_ops.complete = kept_complete;
    kept_ops.finish = kept_finish;
    kept_ops.forget = kept_forget;
    kept_ops.recover = kept_recover;
    kept_ops.close = kept_stay;
    s->ops = &kept_ops;
    return s;
}

static void kept_close(struct store *s) {
    while (kept_jobs != NULL)
        kept_drop(kept_jobs);
    kept_memory_ops.close(s);
}

#endif
