/* events.c: GET /v1/jobs/{id}/events: what happens to a job, as server-sent events (WHATWG HTML, "Server-sent
 * events"). Front end.
 *
 * A subscriber is little more than a place in the job's history (jobs.h). Each event is written when the client can
 * take it, so a slow client costs no memory, and one that comes later gets everything from the start. Ids are
 * "<epoch>-<number>". The number is that of the history. The epoch is made from the job and this run of the service,
 * because numbers begin anew after a restart. The end has the id "end" in any epoch. What a client gets depends on its
 * Last-Event-ID:
 *
 *     none                       everything from the start, then what comes
 *     one of this epoch          what follows it, then what comes
 *     any other                  `snapshot` with the whole Job, then what comes
 *     the job has ended before   `end` with the whole Job; or 204 if the id is "end", so that EventSource stops
 *
 * `log` has what the job's programs have printed. It is not in the history either: a subscriber has a place in the log
 * of the job, too. Once that is not its start, ids are "<epoch>-<number>-<place>", where the place counts bytes. A
 * client that is far behind misses what the log has dropped.
 *
 * Between two finished chunks there can be `progress` with a higher fraction. It is not in the history, and has the id
 * of the event before it.
 */
#include "server/api/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/api/item_text.h"
#include "server/api/answers.h"
#include "server/api/guard.h"

#define EVENT_STREAM "text/event-stream"
#define RETRY        "retry: 1000\n\n"
#define LOG_BYTES    (8 * 1024)        /* of text in one event, at most */
#define COMMENT_NS   (15 * NS_PER_S)   /* without an event; then a comment keeps proxies from closing the connection */
#define PROGRESS_NS  (500 * NS_PER_MS) /* between two looks at the progress within chunks */
#define END_ID       "end"
#define LARGE_JOB    (16 * 1024) /* bytes of a result */

struct subscriber {
    struct http_stream stream;
    struct job_waiter waiter;
    struct timer timer;
    struct server *server;
    struct http_request *request; /* NULL: the client has left while the store was asked */
    bool looking;                 /* the store was asked for a job that is not live */
    struct record *record;
    struct history *history;
    uint64_t epoch;
    uint64_t next;            /* the number of the next event */
    uint32_t entry;           /* of the history, from HISTORY_FIRST on: where that event is */
    struct item_reader items; /* of that entry */
    uint64_t log_at;          /* how many bytes of the log it has */
    bool greeted;             /* RETRY is written */
    bool snapshot_due;
    bool ended;                    /* the job has ended */
    bool over;                     /* its end is written */
    bool broken;                   /* an item cannot be read */
    unsigned shown;                /* permille of the last progress: it never goes back */
    int64_t written_ns, looked_ns; /* monotonic: when something was written, and the progress looked at */
    struct buf text;               /* an event that is not sent yet, from text_done on */
    size_t text_done;
};

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static uint64_t epoch_of(const struct id *id) {
    static uint64_t run; /* 0: not drawn yet */
    uint64_t tail;
    while (run == 0)
        id_random(&run, sizeof run);
    memcpy(&tail, id->bytes + 8, sizeof tail); /* the half that is random */
    return run ^ tail;
}

static bool has_started(const struct subscriber *s) {
    return s->record->started_ms != 0 && s->record->status != JOB_QUEUED;
}

/* The highest number that an event has. */
static uint64_t last_event(const struct subscriber *s) {
    return history_count(s->history) > 0 ? history_last_event(s->history)
           : has_started(s)              ? HISTORY_RUNNING
                                         : HISTORY_QUEUED;
}

static uint64_t log_end(const struct subscriber *s) {
    const struct job_log *log = s->record->log;
    return log == NULL ? 0 : log->dropped + log->text.size;
}

/* Reads a number of at most 18 digits that does not begin with 0. 0: there is none. */
static uint64_t read_number(const char **at) {
    size_t digits = strspn(*at, "0123456789");
    uint64_t n = digits > 18 || **at == '0' ? 0 : strtoull(*at, NULL, 10);
    *at += digits;
    return n;
}

/* The number in an event's id, or 0: it is of another epoch, or there was no such event. Sets the place in the log. */
static uint64_t parse_id(struct subscriber *s, const char *text) {
    char epoch[32];
    uint64_t place = 0;
    snprintf(epoch, sizeof epoch, "%016" PRIx64 "-", s->epoch);
    size_t n = strlen(epoch);
    if (strncmp(text, epoch, n) != 0)
        return 0;
    text += n;
    uint64_t number = read_number(&text);
    bool good = number > 0 && number <= last_event(s);
    if (*text == '-') {
        text++;
        place = read_number(&text);
        good = good && place > 0 && place <= log_end(s);
    }
    if (!good || *text != '\0')
        return 0;
    s->log_at = place;
    return number;
}

/* ---- where a subscriber is in the history ------------------------------------------------------------------------ */

/* The items of the entry where it is; empty if the job is no map. */
static struct slice part_of(const struct subscriber *s) {
    static const struct slice none;
    return s->record->map ? history_part(s->history, s->entry) : none;
}

static void go_to(struct subscriber *s, uint64_t next) {
    uint32_t low = 0, high = history_count(s->history); /* finds the first entry that begins after `next` */
    s->next = next;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (history_event(s->history, middle) <= next)
            low = middle + 1;
        else
            high = middle;
    }
    s->entry = low == 0 ? 0 : low - 1;
    if (next > last_event(s)) {
        s->entry = history_count(s->history);
    } else if (low > 0) {
        struct slice part = part_of(s);
        items_skip(&s->items, &part, next - history_event(s->history, s->entry));
    }
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

#define ID_SIZE 60

/* Writes the id of the event with that number. */
static void write_id(char id[ID_SIZE], const struct subscriber *s, uint64_t number) {
    int n = snprintf(id, ID_SIZE, "%016" PRIx64 "-%" PRIu64, s->epoch, number);
    if (s->log_at > 0)
        snprintf(id + n, ID_SIZE - (size_t)n, "-%" PRIu64, s->log_at);
}

static void put_event(struct subscriber *s, const char *event, uint64_t number) {
    char id[ID_SIZE];
    write_id(id, s, number);
    buf_printf(&s->text, "id: %s\nevent: %s\ndata: ", id, event);
}

static void put_job(struct buf *out, const struct record *record, const struct job *job) {
    size_t from = out->size;
    struct job_view view = job_look(job);
    render_job(out, record, &view, true);
    json_flatten(out, from);
    buf_puts(out, "\n\n");
}

static void put_end(struct buf *out, const struct record *record) {
    buf_puts(out, "id: " END_ID "\nevent: end\ndata: ");
    put_job(out, record, NULL);
}

static void put_status(struct subscriber *s, enum job_status status, int64_t wall_ms) {
    char time[CLOCK_TEXT_SIZE];
    clock_format(wall_ms, time);
    put_event(s, "status", s->next++);
    buf_printf(&s->text, "{\"status\":\"%s\",\"time\":\"%s\"}\n\n", job_status_name(status), time);
}

static void put_progress(struct subscriber *s, uint64_t number, uint32_t done, unsigned permille) {
    s->shown = permille > s->shown ? permille : s->shown;
    put_event(s, "progress", number);
    buf_printf(&s->text, "{\"done\":%u,\"total\":%u,\"fraction\":%.3f}\n\n", done, s->record->chunks_total,
               (double)s->shown / 1000);
}

static void begin_item(struct item_reader *r, uint32_t index, bool ok) {
    struct subscriber *s = container_of(r, struct subscriber, items);
    char id[ID_SIZE];
    (void)ok;
    write_id(id, s, s->next++);
    snprintf(r->head, sizeof r->head, "id: %s\nevent: item\ndata: {\"index\":%u,", id, index);
}

/* How much of a text goes into one event: whole lines if possible, else whole characters. */
static size_t log_piece(const char *text, size_t size) {
    if (size <= LOG_BYTES)
        return size;
    const char *line = memrchr(text, '\n', LOG_BYTES);
    if (line != NULL)
        return (size_t)(line + 1 - text);
    size_t n = LOG_BYTES;
    while (((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* The next lines that were printed. What the log has dropped is passed over. */
static void put_log(struct subscriber *s) {
    const struct job_log *log = s->record->log;
    s->log_at = s->log_at < log->dropped ? log->dropped : s->log_at;
    const char *text = log->text.data + (s->log_at - log->dropped);
    size_t size = log_piece(text, (size_t)(log_end(s) - s->log_at));
    s->log_at += size;
    put_event(s, "log", s->next - 1);
    buf_puts(&s->text, "{\"text\":");
    buf_json_string(&s->text, text, size);
    buf_puts(&s->text, "}\n\n");
}

/* The events of a finished chunk, or as many as there is room for. */
static void put_entry(struct subscriber *s, struct span *out) {
    const struct record *r = s->record;
    struct slice part = part_of(s);
    enum items_state state = items_put_part(&s->items, &part, out);
    s->broken = state == ITEMS_BAD;
    if (state != ITEMS_ALL)
        return;
    item_reader_rewind(&s->items);
    s->entry++;
    put_progress(s, s->next++, s->entry, (unsigned)(1000 * (uint64_t)s->entry / r->chunks_total));
}

static unsigned permille_now(const struct subscriber *s) {
    return (unsigned)(job_look(s->waiter.job).fraction * 1000);
}

/* Writes what is not in the history, if it is time for it: progress within chunks, or a comment. False: it is not. */
static bool put_between(struct subscriber *s) {
    int64_t now_ns = clock_monotonic_ns();
    unsigned permille = now_ns - s->looked_ns < PROGRESS_NS ? 0 : permille_now(s);
    if (permille > s->shown) {
        s->looked_ns = now_ns;
        put_progress(s, s->next - 1, s->record->chunks_done, permille);
    } else if (now_ns - s->written_ns >= COMMENT_NS) {
        buf_puts(&s->text, ": keep-alive\n\n");
    }
    return s->text.size > 0;
}

/* A Job with a large result is not written while there is no room for it: the client is cut off, and comes back. */
static bool job_fits(struct subscriber *s) {
    size_t bytes = render_result_size(s->record);
    s->broken =
        bytes > LARGE_JOB && !held_make_room(HELD_FOR_ANSWER, 2 * bytes); /* twice: the text doubles when it grows */
    return !s->broken;
}

/* Writes the next event. False: there is none now. */
static bool put_next(struct subscriber *s, struct span *out) {
    const struct record *r = s->record;
    if (!s->greeted) {
        buf_puts(&s->text, RETRY);
    } else if (s->snapshot_due && job_fits(s)) {
        s->snapshot_due = false;
        put_event(s, "snapshot", s->next - 1);
        put_job(&s->text, r, s->waiter.job);
    } else if (s->next == HISTORY_QUEUED) {
        put_status(s, JOB_QUEUED, r->created_ms);
    } else if (s->next == HISTORY_RUNNING && has_started(s)) {
        put_status(s, JOB_RUNNING, r->started_ms);
    } else if (s->next >= HISTORY_FIRST && s->entry < history_count(s->history)) {
        put_entry(s, out);
    } else if (s->log_at < log_end(s)) {
        put_log(s);
    } else if (s->ended && !s->over && job_fits(s)) {
        s->over = true;
        put_end(&s->text, r);
    } else {
        return !s->ended && put_between(s);
    }
    s->greeted = true;
    return !s->broken;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

static void set_timer(struct subscriber *s) {
    int64_t due_ns = s->written_ns + COMMENT_NS;
    bool running = !s->ended && s->record->status == JOB_RUNNING;
    if (running && s->looked_ns + PROGRESS_NS < due_ns)
        due_ns = s->looked_ns + PROGRESS_NS;
    loop_set_timer(s->server->loop, &s->timer, due_ns);
}

static void on_timer(struct timer *t) {
    struct subscriber *s = container_of(t, struct subscriber, timer);
    int64_t now_ns = clock_monotonic_ns();
    if (permille_now(s) > s->shown || now_ns - s->written_ns >= COMMENT_NS) {
        http_wake_stream(s->request);
        return;
    }
    s->looked_ns = now_ns;
    set_timer(s);
}

/* Sends what was written before. False: there is nothing left of it. */
static bool send_text(struct subscriber *s, struct span *out) {
    if (s->text.size == 0)
        return false;
    if (span_put(out, s->text.data, s->text.size, &s->text_done)) {
        buf_deinit(&s->text);
        s->text_done = 0;
    }
    return true;
}

static ssize_t on_read(struct http_stream *stream, char *to, size_t max) {
    struct subscriber *s = container_of(stream, struct subscriber, stream);
    struct span out = {to, to + max};
    while (out.at < out.end && (send_text(s, &out) || put_next(s, &out)))
        ;
    if (s->text.failed || s->broken || history_is_broken(s->history))
        return HTTP_STREAM_CUT;
    s->stream.pinned = s->ended ? history_bytes(s->history) : 0;
    http_hold_stream(s->request, s->text.capacity);
    if (out.at > to) {
        s->written_ns = clock_monotonic_ns();
        return out.at - to;
    }
    /* In a drain the client comes back until it meets the next run of the service. */
    if (s->over || s->server->draining)
        return HTTP_STREAM_END;
    set_timer(s);
    return 0;
}

static void subscriber_free(struct subscriber *s) {
    job_unwait(&s->waiter);
    loop_clear_timer(s->server->loop, &s->timer);
    history_close(s->history);
    record_unref(s->record);
    buf_deinit(&s->text);
    free(s);
}

/* The client may have left. A comment is written, and the answer to it shows that. */
static void on_fin(struct http_stream *stream) {
    container_of(stream, struct subscriber, stream)->written_ns = clock_monotonic_ns() - COMMENT_NS;
}

static void on_close(struct http_stream *stream) {
    struct subscriber *s = container_of(stream, struct subscriber, stream);
    http_set_state(s->request, NULL);
    subscriber_free(s);
}

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct subscriber *s = container_of(w, struct subscriber, waiter);
    (void)job;
    s->ended = event == JOB_ENDED;
    http_wake_stream(s->request);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void set_headers(struct http_request *r) {
    http_set_header(r, "Cache-Control", "no-cache");
    http_set_header(r, "X-Accel-Buffering", "no");
}

static void subscribe(struct subscriber *s, struct job *job) {
    s->history = history_open(job);
    if (s->history == NULL) {
        http_answer_problem(s->request, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    s->record = record_ref(job_record(job));
    s->epoch = epoch_of(&s->record->id);
    const char *last_id = http_header(s->request, "Last-Event-ID");
    uint64_t seen = last_id == NULL ? 0 : parse_id(s, last_id);
    s->snapshot_due = last_id != NULL && seen == 0;
    go_to(s, s->snapshot_due ? last_event(s) + 1 : seen + 1);
    job_wait(job, &s->waiter);
    s->written_ns = s->looked_ns = clock_monotonic_ns();
    set_headers(s->request);
    http_answer_stream(s->request, 200, EVENT_STREAM, &s->stream);
}

static void answer_ended(struct http_request *r, const struct record *record) {
    const char *last_id = http_header(r, "Last-Event-ID");
    struct buf body = {0};
    set_headers(r);
    if (last_id != NULL && strcmp(last_id, END_ID) == 0) {
        http_answer_static(r, 204, NULL, "", 0);
        return;
    }
    buf_puts(&body, RETRY);
    put_end(&body, record);
    http_answer(r, 200, EVENT_STREAM, &body);
}

static void on_found(void *arg, enum store_result result, struct record *record) {
    struct subscriber *s = arg;
    s->looking = false;
    if (s->request == NULL)
        subscriber_free(s);
    else if (result == STORE_OK)
        answer_ended(s->request, record);
    else
        answer_not_found(s->request, result);
}

static struct subscriber *subscriber_new(struct server *server, struct http_request *r) {
    struct subscriber *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->stream = (struct http_stream){.read = on_read, .close = on_close, .expendable = true, .on_fin = on_fin};
    s->waiter = (struct job_waiter){.notify = on_job_event, .wants_changes = true};
    s->timer.fire = on_timer;
    s->server = server;
    s->request = r;
    s->items.begin = begin_item;
    s->items.tail = "\n\n";
    http_set_state(r, s);
    return s;
}

void api_events(struct server *server, struct http_request *r, struct route_match m) {
    struct id id;
    if (!route_read_id(m, &id)) {
        answer_not_found(r, STORE_NOT_FOUND);
        return;
    }
    struct subscriber *s = subscriber_new(server, r);
    struct job *job = jobs_find(server->jobs, &id, guard_view(r));
    if (s == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    } else if (job != NULL) {
        subscribe(s, job);
    } else {
        s->looking = true;
        jobs_get(server->jobs, &id, guard_view(r), on_found, s);
        if (!http_is_answered(r))
            http_suspend(r);
    }
}

void api_events_done(struct server *server, struct http_request *r) {
    struct subscriber *s = http_state(r);
    (void)server;
    http_set_state(r, NULL);
    if (s != NULL && s->looking)
        s->request = NULL; /* freed when the store answers */
    else if (s != NULL)
        subscriber_free(s);
}
