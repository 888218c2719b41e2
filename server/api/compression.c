/* compression.c: see compression.h. Front end.
 *
 *     the answers that want the same bytes in the same coding ──► one job ──► one result, which all of them send
 *
 * It is kept as long as one of them is under way, so however many clients do not read their answers, it is there once. */
#include "server/api/compression.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"

#define MAX_WAIT_NS (5 * NS_PER_S) /* the client gets the bytes as they are then */
#define BUSY_MS     50             /* tasks have waited so long: this one would wait, too */
#define TAG_ROOM    80

/* What is made of some bytes. */
struct compressed {
    struct compressed *prev, *next; /* in server->compressed */
    struct server *server;
    enum http_coding coding;
    char tag[TAG_ROOM], media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    struct slice body; /* as it is */
    struct job_waiter waiter;
    struct slice coded; /* empty: it is not known yet */
    size_t held;
    struct compression *users;
};

/* An answer that uses it. */
struct compression {
    struct compression *prev, *next; /* in compressed->users */
    struct compressed *of;
    struct deferred_request *deferred;
    struct timer timer;
    bool answered;
};

static void drop(struct compressed *x) {
    struct job *job = x->waiter.job;
    DL_DELETE(x->server->compressed, x);
    job_unwait(&x->waiter);
    if (job != NULL)
        job_cancel(job);
    held_replace(HELD_ANSWERS, &x->held, 0);
    slice_deinit(&x->body);
    slice_deinit(&x->coded);
    free(x);
}

static void leave(struct compression *c) {
    struct compressed *x = c->of;
    loop_clear_timer(x->server->loop, &c->timer);
    DL_DELETE(x->users, c);
    free(c);
    if (x->users == NULL)
        drop(x);
}

static void answer(struct compression *c) {
    const struct compressed *x = c->of;
    if (c->answered)
        return;
    c->answered = true;
    loop_clear_timer(x->server->loop, &c->timer);
    if (x->coded.size > 0)
        http_answer_coded(c->deferred->request, x->media_type, &x->coded, x->coding, x->tag);
    else
        http_answer_plain(c->deferred->request, x->media_type, &x->body, x->tag);
}

static void on_too_late(struct timer *t) {
    answer(container_of(t, struct compression, timer));
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct compressed *x = container_of(w, struct compressed, waiter);
    const struct record *record = job_record(job);
    struct compression *c;
    if (event != JOB_ENDED)
        return;
    if (record->status == JOB_SUCCEEDED && record->binary != NULL)
        x->coded = slice_ref(&record->result);
    held_replace(HELD_ANSWERS, &x->held, x->coded.size);
    DL_FOREACH(x->users, c) {
        answer(c);
    }
}

/* NULL: it is refused, or memory ran out. */
static struct job *submit(struct server *s, const struct slice *body, enum http_coding coding) {
    struct submission submission;
    struct job_attachments data = {0};
    const struct job_request q = {.submission = &submission, .attachments = &data, .default_priority = -1};
    enum problem_code why;
    struct job *job = NULL;
    const char *params = coding == HTTP_ZSTD ? "{\"data\":{\"part\":0},\"coding\":\"zstd\"}"
                                             : "{\"data\":{\"part\":0},\"coding\":\"gzip\"}";
    if (submission_of_hidden("result-deflate", params, &submission) != 0 ||
        attachments_add(&data, body, NULL, false) != 0 || jobs_submit(s->jobs, &q, &job, &why) != 0)
        job = NULL;
    attachments_deinit(&data);
    submission_deinit(&submission);
    return job;
}

/* NULL: the workers are busy, it is refused, or memory ran out. */
static struct compressed *begin(struct server *s, const char *media_type, const struct slice *body,
                                enum http_coding coding, const char *tag) {
    if (!s->handlers_loaded || jobs_oldest_wait_ms(s->jobs) > BUSY_MS || !held_make_room(HELD_FOR_ANSWER, body->size))
        return NULL;
    struct compressed *x = calloc(1, sizeof *x);
    struct job *job = x == NULL ? NULL : submit(s, body, coding);
    if (job == NULL) {
        free(x);
        return NULL;
    }
    x->server = s;
    x->coding = coding;
    x->body = slice_ref(body);
    memcpy(x->media_type, media_type, strlen(media_type) + 1);
    memcpy(x->tag, tag, strlen(tag) + 1);
    held_replace(HELD_ANSWERS, &x->held, body->size); /* about that; what it really is counts as a payload, too */
    x->waiter.notify = on_job_event;
    DL_APPEND(s->compressed, x);
    job_wait(job, &x->waiter);
    jobs_dispatch_early(s->jobs);
    return x;
}

static struct compressed *find(struct server *s, enum http_coding coding, const char *tag) {
    struct compressed *x;
    DL_FOREACH(s->compressed, x) {
        if (x->coding == coding && strcmp(x->tag, tag) == 0 && (x->waiter.job != NULL || x->coded.size > 0))
            return x;
    }
    return NULL;
}

bool compression_begin(void *arg, struct http_request *r, const char *media_type, const struct slice *body,
                       enum http_coding coding, const char *tag) {
    struct server *s = arg;
    struct deferred_request *d = http_state(r);
    if (d->compression != NULL || strlen(tag) >= TAG_ROOM || strlen(media_type) > HANDLER_MAX_MEDIA_TYPE)
        return false;
    struct compression *c = calloc(1, sizeof *c);
    struct compressed *x = c == NULL ? NULL : find(s, coding, tag);
    if (c != NULL && x == NULL)
        x = begin(s, media_type, body, coding, tag);
    if (x == NULL) {
        free(c);
        return false;
    }
    c->of = x;
    c->deferred = d;
    c->timer.fire = on_too_late;
    d->compression = c;
    d->end_compression = leave;
    DL_APPEND(x->users, c);
    if (x->waiter.job == NULL)
        answer(c);
    else
        loop_set_timer(s->loop, &c->timer, clock_monotonic_ns() + MAX_WAIT_NS);
    return true;
}
