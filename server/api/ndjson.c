/* ndjson.c: see ndjson.h. Front end.
 *
 *     items of the history's entries, or of the merged result ──► last line ──► end
 *            ▲       │
 *            └───────┘  suspended until the job has finished more
 */
#include "server/api/ndjson.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/api/item_text.h"
#include "base/container.h"

struct ndjson {
    struct http_stream stream;
    struct job_waiter waiter;
    struct server *server;
    struct http_request *request;
    struct record *record;
    struct history *history;  /* NULL: the items are taken from record->result */
    uint32_t entry;           /* of the history */
    uint64_t passed_bytes;    /* of the parts before that entry */
    struct item_reader items; /* of that entry, or of the result */
    uint32_t succeeded, failed;
    bool keep;       /* the job goes on without this reader */
    bool throttling; /* the job is throttled for this reader */
    bool ended;      /* the job has ended */
    bool parked;     /* a drain has left the job to the next process */
    bool over;       /* the last line is written */
    bool broken;     /* an item cannot be read */
    struct buf text; /* the last line, if it is not sent yet, from text_done on */
    size_t text_done;
};

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void begin_line(struct item_reader *r, uint32_t index, bool ok) {
    struct ndjson *n = container_of(r, struct ndjson, items);
    n->succeeded += ok;
    n->failed += !ok;
    static const char name[] = "{\"index\":";
    memcpy(r->head, name, sizeof name); /* snprintf would take as long as all else that is done for a short line */
    memcpy(digits_write(r->head + sizeof name - 1, index), ",", 2);
}

static void put_error(struct buf *out, const char *problem, size_t size) {
    buf_puts(out, "{\"error\":");
    buf_append(out, problem, size);
    json_flatten(out, 0);
    buf_puts(out, "}\n");
}

static void put_last_line(struct ndjson *n) {
    const struct record *r = n->record;
    n->over = true;
    if (r->status == JOB_SUCCEEDED)
        buf_printf(&n->text, "{\"summary\":{\"total\":%u,\"succeeded\":%u,\"failed\":%u}}\n", n->succeeded + n->failed,
                   n->succeeded, n->failed);
    else
        put_error(&n->text, r->error.data, r->error.size);
}

/* The last line if the service ends before the job. */
static void put_farewell(struct ndjson *n) {
    struct buf problem = {0};
    n->over = true;
    problem_write(&problem, PROBLEM_DRAINING, NULL, NULL, http_path(n->request));
    put_error(&n->text, problem.data, problem.size);
    n->text.failed = n->text.failed || problem.failed;
    buf_deinit(&problem);
}

static void put_entry(struct ndjson *n, struct span *out) {
    struct slice part = history_part(n->history, n->entry);
    enum items_state state = items_put_part(&n->items, &part, out);
    n->broken = state == ITEMS_BAD;
    if (state != ITEMS_ALL)
        return;
    n->passed_bytes += part.size;
    history_drop_part(n->history, n->entry++);
    item_reader_rewind(&n->items);
}

static void put_result(struct ndjson *n, struct span *out) {
    enum items_state state = items_put_result(&n->items, n->record, out);
    n->broken = state == ITEMS_BAD;
    if (state == ITEMS_ALL)
        put_last_line(n);
}

/* Writes what comes next. False: there is nothing now. */
static bool put_next(struct ndjson *n, struct span *out) {
    if (n->over)
        return false;
    if (n->history == NULL && n->record->status == JOB_SUCCEEDED)
        put_result(n, out);
    else if (n->history != NULL && n->entry < history_count(n->history))
        put_entry(n, out);
    else if (n->ended)
        put_last_line(n);
    else if (n->parked || http_is_closing(n->server->http))
        put_farewell(n);
    else
        return false;
    return !n->broken;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

/* Throttles the job, or lets it go on, by how far the reader is behind it. */
static void steer(struct ndjson *n) {
    struct job *job = n->waiter.job;
    if (job == NULL)
        return;
    uint64_t behind = history_bytes(n->history) - n->passed_bytes - n->items.at;
    uint64_t limit = (uint64_t)n->server->config.stream_buffer;
    if (!n->throttling && behind > limit) {
        n->throttling = true;
        job_throttle(job);
    } else if (n->throttling && behind <= limit / 2) {
        n->throttling = false;
        job_unthrottle(job);
    }
}

/* Sends what was written before. False: there is nothing left of it. */
static bool send_text(struct ndjson *n, struct span *out) {
    if (n->text.size == 0)
        return false;
    if (span_put(out, n->text.data, n->text.size, &n->text_done)) {
        buf_deinit(&n->text);
        n->text_done = 0;
    }
    return true;
}

static ssize_t on_read(struct http_stream *stream, char *to, size_t max) {
    struct ndjson *n = container_of(stream, struct ndjson, stream);
    struct span out = {to, to + max};
    while (out.at < out.end && (send_text(n, &out) || put_next(n, &out)))
        ;
    if (n->text.failed || n->broken || (n->history != NULL && history_is_broken(n->history)))
        return HTTP_STREAM_CUT;
    steer(n);
    n->stream.pinned = n->history == NULL ? n->record->result.size : history_bytes(n->history) - n->passed_bytes;
    http_hold_stream(n->request, n->text.capacity);
    if (out.at > to)
        return out.at - to;
    return n->over ? HTTP_STREAM_END : 0;
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct ndjson *n = container_of(w, struct ndjson, waiter);
    n->ended = event == JOB_ENDED;
    n->parked |= event == JOB_PARKED && job_record(job)->durable;
    steer(n);
    http_wake_stream(n->request);
}

/* Others can get the job by its id or its key, so it goes on; and its client may still read. */
static void on_fin(struct http_stream *stream) {
    (void)stream;
}

static void on_close(struct http_stream *stream) {
    struct ndjson *n = container_of(stream, struct ndjson, stream);
    struct job *job = n->waiter.job;
    job_unwait(&n->waiter);
    if (job != NULL && n->throttling)
        job_unthrottle(job);
    history_close(n->history);
    record_unref(n->record);
    buf_deinit(&n->text);
    /* The client has left: the job would burn CPU for nothing. */
    if (job != NULL && !n->keep && !http_is_closing(n->server->http))
        job_cancel(job);
    free(n);
}

static struct ndjson *ndjson_new(struct server *s, struct http_request *r, struct record *record) {
    struct ndjson *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->stream = (struct http_stream){.read = on_read, .close = on_close};
    n->waiter = (struct job_waiter){.notify = on_job_event, .wants_changes = true};
    n->server = s;
    n->request = r;
    n->record = record_ref(record);
    n->items.begin = begin_line;
    n->items.tail = "\n";
    return n;
}

static void answer(struct ndjson *n, const struct answer_terms *terms) {
    char id[ID_TEXT_SIZE];
    /* It neither ends with the wait nor is a 202: no preference is honoured. */
    const struct answer_terms shown = {.granted_s = -1, .replayed = terms->replayed};
    id_format(&n->record->id, id);
    answer_set_terms(n->request, &shown);
    http_set_header_f(n->request, "Location", "/v1/jobs/%s", id);
    http_answer_stream(n->request, 200, NDJSON_TYPE, &n->stream);
}

bool ndjson_from_job(struct server *s, struct http_request *r, struct job *job, const struct answer_terms *terms,
                     bool keep) {
    struct history *history = history_open(job);
    struct ndjson *n = history == NULL ? NULL : ndjson_new(s, r, job_record(job));
    if (n == NULL) {
        history_close(history);
        return false;
    }
    n->history = history;
    n->keep = keep;
    n->stream.on_fin = keep ? on_fin : NULL;
    job_wait(job, &n->waiter);
    answer(n, terms);
    return true;
}

bool ndjson_from_record(struct server *s, struct http_request *r, struct record *record,
                        const struct answer_terms *terms) {
    struct ndjson *n = ndjson_new(s, r, record);
    if (n == NULL)
        return false;
    n->ended = true;
    answer(n, terms);
    return true;
}

/* ---- what the client accepts ------------------------------------------------------------------------------------- */

static void add_accept(void *arg, const char *line) {
    accept_parse(arg, line);
}

bool ndjson_is_wanted(struct http_request *r) {
    struct accept a = accept_of(NDJSON_TYPE, "application/json");
    http_each_header(r, "Accept", add_accept, &a);
    return accept_prefers_first(&a);
}
