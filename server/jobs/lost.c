/* lost.c: see lost.h. Front end. */
#include "server/jobs/lost.h"

#include <stdlib.h>
#include <string.h>

#include "server/jobs/backoff.h"
#include "server/jobs/poison.h"

#define MAX_STDERR_SHOWN 1024 /* bytes */

void lost_add(struct job *job, const struct task *t, const char *cause, const struct death *d) {
    struct record *r = job->record;
    if (r->lost_count == RECORD_MAX_LOST)
        return;
    size_t before = r->lost.capacity;
    struct buf one = {0};
    buf_puts(&one, r->lost_count == 0 ? "{" : ",{");
    if (t != NULL && t->kind == TASK_RUN)
        buf_printf(&one, "\"chunk\":%u,", t->chunk);
    buf_printf(&one, "\"cause\":\"%s\"", cause);
    if (d != NULL && signal_name(d->signal) != NULL)
        buf_printf(&one, ",\"signal\":\"%s\"", signal_name(d->signal));
    if (d != NULL && d->exit_code >= 0)
        buf_printf(&one, ",\"exit_code\":%d", d->exit_code);
    if (d != NULL)
        buf_printf(&one, ",\"max_rss_bytes\":%llu,\"cpu_ms\":%llu", (unsigned long long)d->max_rss_bytes,
                   (unsigned long long)d->cpu_ms);
    if (d != NULL && d->stderr_tail[0] != '\0') {
        size_t n = strlen(d->stderr_tail), skip = n > MAX_STDERR_SHOWN ? n - MAX_STDERR_SHOWN : 0;
        buf_puts(&one, ",\"stderr_tail\":");
        buf_json_string(&one, d->stderr_tail + skip, n - skip);
    }
    buf_putc(&one, '}');
    if (!one.failed)
        buf_append(&r->lost, one.data, one.size);
    if (!one.failed && !r->lost.failed)
        r->lost_count++;
    r->lost.failed = false; /* an entry for which there is no memory is left out; the others stay as they are */
    buf_deinit(&one);
    job_hold(job, r->lost.capacity - before);
}

/* ---- in the store ------------------------------------------------------------------------------------------------ */

/* The store records a loss. The job can end meanwhile. */
struct recording {
    struct jobs *js;
    struct id id;
    uint32_t chunk;
};

static void on_recorded(void *arg, enum store_result result) {
    struct recording *g = arg;
    struct job *job = jobs_find(g->js, &g->id, NULL);
    (void)result; /* a store in trouble writes it later: the job does not wait for that */
    if (job != NULL)
        job_backoff_recorded(job, g->chunk);
    free(g);
}

void lost_record(struct job *job, uint32_t chunk, bool backs_off) {
    struct store *s = job->js->store;
    uint32_t places[HOST_MAX_POISON];
    bool is_chunk = chunk != STORE_PLAN && chunk != STORE_MERGE;
    struct store_chunk c = {.chunk = chunk, .poison = places};
    c.attempt = chunk == STORE_PLAN ? job->plan_lost : is_chunk ? job->chunks[chunk].lost : job->merge_lost;
    c.poison_count = is_chunk ? job_poison_places(job, chunk, places) : 0;
    struct recording *g = backs_off ? malloc(sizeof *g) : NULL;
    if (g != NULL)
        *g = (struct recording){job->js, job->record->id, is_chunk ? chunk : NO_CHUNK};
    s->ops->lost(s, job->record, &c, g == NULL ? NULL : on_recorded, g);
    if (backs_off && g == NULL)
        job_backoff_recorded(job, is_chunk ? chunk : NO_CHUNK);
}

void lost_record_all(struct job *job) {
    const struct record *r = job->record;
    for (uint32_t i = 0; job->chunks != NULL && i < r->chunks_total; i++)
        if (job->chunks[i].lost > 0 && !job->chunks[i].done)
            lost_record(job, i, false);
    if (job->plan_lost > 0)
        lost_record(job, STORE_PLAN, false);
    if (job->merge_lost > 0)
        lost_record(job, STORE_MERGE, false);
}
