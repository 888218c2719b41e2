/* session.c: calls of a program's types: plan, run, run_batch and merge of their handlers. A session sends calls to the
 * program process of this worker and waits until all are answered. It runs in workers.
 *
 *     to take ──batch_next──► taken ──frame──► sent ──result──► done          at most BATCH_MAX taken, MAX_FRAMES frames
 *                                ▲               │
 *                                └── the process died; several were sent ──┘   each is sent alone now
 *                                                │
 *                                                └── the process died, and this one alone was sent ──► lost
 *
 * The calls that were sent when a process dies are not all to blame, and which of them is cannot be known: a program
 * gathers results. So they are sent again, each alone, and only a call that dies alone has lost an attempt. */
#include <errno.h>
#include <nettle/base64.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "handlers/program/carry.h"
#include "handlers/program/program.h"
#include "handlers/program/value.h"

#define WAIT_MS         10
#define MAX_FRAMES      2                /* that are not answered */
#define FRAME_CALLS     128              /* in one frame */
#define FRAME_NS        NS_PER_MS        /* what the calls of a frame may cost together */
#define UNKNOWN_COST_NS (10 * NS_PER_MS) /* of a type of which nothing has run: no express worker takes that */
#define SENT_ALONE      64               /* calls of a type, after one that has printed something */
#define MAX_TRACEBACK   (64 * 1024)      /* of which call_fail_exception keeps the end */
#define PRESS_NS        (20 * NS_PER_MS) /* a cancelled call gets a signal so often */

enum request { REQUEST_RUN, REQUEST_PLAN, REQUEST_MERGE };

struct taken {
    struct call *call;
    struct bytes chunk; /* REQUEST_RUN: the params, as JSON */
};

struct session {
    enum request request;
    struct program_type *type;
    struct process *process;
    struct batch *batch; /* NULL: there is one call, and `returned` is how it ended */
    int returned;
    const struct bytes *parts; /* REQUEST_MERGE */
    size_t part_count;
    struct taken ring[BATCH_MAX];
    unsigned front, count;         /* calls that are taken and not done */
    unsigned sent;                 /* the first so many of them are sent */
    unsigned in_frame[MAX_FRAMES]; /* calls of each frame that are not done; the oldest frame is first */
    unsigned frames;
    unsigned alone;    /* the first so many calls are sent alone */
    uint64_t first;    /* the number of the call at the front, if it is sent */
    int64_t marked_ns; /* when the call at the front can have begun */
    /* The call at the front is cancelled. 0: not yet. */
    int64_t told_ns, pressed_ns, term_ns;
    struct carry carry; /* of the last frame */
};

/* SIGTERM has come: see programs_on_sigterm. */
static volatile sig_atomic_t in_session, got_sigterm;

bool programs_on_sigterm(void) {
    got_sigterm = 1;
    return in_session;
}

static struct taken *at(struct session *s, unsigned i) {
    return &s->ring[(s->front + i) % BATCH_MAX];
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static void learn_cost(const struct session *s, unsigned calls, int64_t now_ns) {
    if (s->request != REQUEST_RUN)
        return;
    int64_t took_ns = (now_ns - s->marked_ns) / (calls > 0 ? calls : 1);
    uint64_t cost_ns = atomic_load_explicit(s->type->cost_ns, memory_order_relaxed);
    took_ns = took_ns > 0 ? took_ns : 1;
    int64_t next_ns = cost_ns == 0 ? took_ns : (int64_t)cost_ns + (took_ns - (int64_t)cost_ns) / 4;
    atomic_store_explicit(s->type->cost_ns, (uint64_t)(next_ns > 0 ? next_ns : 1), memory_order_relaxed);
}

/* The call at the front is done. */
static void finish(struct session *s, int returned) {
    struct taken *t = at(s, 0);
    process_end_call(s->process, t->call);
    s->front = (s->front + 1) % BATCH_MAX;
    s->count--;
    s->first++;
    s->alone -= s->alone > 0;
    s->type->prints -= s->type->prints > 0;
    if (s->process->printed)
        s->type->prints = SENT_ALONE;
    s->process->printed = false;
    s->told_ns = s->pressed_ns = s->term_ns = 0;
    if (s->sent > 0) {
        s->sent--;
        if (--s->in_frame[0] == 0) {
            s->frames--;
            s->in_frame[0] = s->in_frame[1];
        }
    }
    if (s->batch != NULL)
        batch_done(s->batch, returned);
    else
        s->returned = returned;
}

static bool take_one(struct session *s) {
    struct bytes common;
    if (s->batch == NULL || s->count == BATCH_MAX)
        return false;
    struct taken *t = at(s, s->count);
    t->call = batch_next(s->batch, &common, &t->chunk);
    s->count += t->call != NULL;
    return t->call != NULL;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void put_head(struct buf *to, const struct session *s, const char *kind, uint64_t call) {
    buf_printf(to, "{\"kind\":\"%s\",\"type\":\"%s\",\"call\":%llu", kind, s->type->handler.name,
               (unsigned long long)call);
}

/* Returns how many calls there was room for; 0: the first one has failed. */
static unsigned put_run(struct buf *to, struct session *s, unsigned from, unsigned count, uint64_t call) {
    const struct call *first = at(s, from)->call;
    unsigned i = 0;
    put_head(to, s, "run", call);
    buf_puts(to, ",\"calls\":[");
    for (; i < count; i++) {
        const struct taken *t = at(s, from + i);
        size_t before = to->size;
        if (i > 0)
            buf_putc(to, ',');
        if (carry_params(&s->carry, t->call, s->type, t->chunk) == CARRY_OK)
            continue;
        to->size = before; /* it is the first one of a later frame */
        break;
    }
    buf_printf(to, "],\"attempt\":%u", call_attempt(first));
    int64_t deadline_ns = call_deadline(first);
    if (deadline_ns > 0)
        buf_printf(to, ",\"deadline\":%.3f", (double)deadline_ns / (double)NS_PER_S);
    return i;
}

static bool put_plan(struct buf *to, struct session *s, uint64_t call) {
    const struct taken *t = at(s, 0);
    put_head(to, s, "plan", call);
    buf_puts(to, ",\"params\":");
    bool good = carry_params(&s->carry, t->call, s->type, t->chunk) == CARRY_OK;
    buf_printf(to, ",\"chunks\":%u", plan_wanted_chunks(t->call));
    return good;
}

static bool put_merge(struct buf *to, struct session *s, uint64_t call) {
    bool good = true;
    put_head(to, s, "merge", call);
    buf_puts(to, ",\"parts\":[");
    for (size_t i = 0; i < s->part_count && good; i++) {
        char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
        struct bytes part = s->parts[i];
        if (i > 0)
            buf_putc(to, ',');
        if (value_is_binary(&part, media_type)) {
            buf_puts(to, "null");
            good = carry_part(&s->carry, at(s, 0)->call, (uint32_t)i, media_type, part) == CARRY_OK;
        } else {
            buf_append(to, part.data, part.size);
        }
    }
    buf_putc(to, ']');
    return good;
}

/* Sends the next `count` calls that are not sent, or as many of them as there is room for. False: the next one has
 * failed, or there is no memory for the frame. */
static bool send_frame(struct session *s, unsigned count) {
    size_t start;
    uint64_t call = s->process->next_call;
    struct frames *frames = &s->process->frames;
    struct buf *to = frames_begin(frames, &start);
    s->carry.frames = frames;
    s->carry.start = start;
    s->carry.count = s->carry.fds = 0;
    s->carry.inlined = 0;
    switch (s->request) {
    case REQUEST_RUN: count = put_run(to, s, s->sent, count, call); break;
    case REQUEST_PLAN: count = put_plan(to, s, call); break;
    case REQUEST_MERGE: count = put_merge(to, s, call); break;
    }
    carry_put_list(&s->carry);
    buf_putc(to, '}');
    carry_put_bytes(&s->carry);
    if (count == 0)
        frames_drop(frames, start);
    if (count == 0 || !frames_end(frames, start))
        return false;
    if (s->sent == 0) {
        s->first = call;
        s->marked_ns = clock_monotonic_ns();
    }
    s->process->next_call += count;
    s->sent += count;
    s->in_frame[s->frames++] = count;
    (void)!frames_send(frames); /* if the process is gone, the next wait sees it */
    return true;
}

/* How many calls the next frame may have. */
static unsigned frame_limit(const struct session *s) {
    uint64_t cost_ns = atomic_load_explicit(s->type->cost_ns, memory_order_relaxed);
    uint64_t calls = 1, left = s->process->last_call - s->process->next_call + 1;
    if (s->alone == 0 && s->type->prints == 0 && cost_ns > 0 && cost_ns < FRAME_NS)
        calls = FRAME_NS / cost_ns < FRAME_CALLS ? FRAME_NS / cost_ns : FRAME_CALLS;
    return (unsigned)(calls < left ? calls : left);
}

/* Are these two sent together? A later attempt is sent alone: the frame has one number of attempts. */
static bool go_together(struct session *s, unsigned i) {
    return call_attempt(at(s, i)->call) == 0 && call_attempt(at(s, s->sent)->call) == 0;
}

/* Sends as much as the program may have. */
static void send_more(struct session *s) {
    while (s->frames < MAX_FRAMES && !(s->frames > 0 && (s->alone > 0 || s->type->prints > 0))) {
        unsigned limit = frame_limit(s), n = 0;
        while (n < limit && (s->sent + n < s->count || take_one(s)) && (n == 0 || go_together(s, s->sent + n)))
            n++;
        if (n == 0)
            return;
        if (send_frame(s, n))
            continue;
        if (s->sent > 0)
            return; /* again, when those before it are done */
        call_fail(at(s, 0)->call, CALL_MEMORY, NULL, "there is no memory for a call of a program");
        finish(s, -1);
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static int write_value(struct session *s, struct call *c, const struct json_span *value) {
    size_t size = (size_t)(value->end - value->at);
    if (s->request != REQUEST_MERGE)
        return part_write(c, value->at, size);
    json_verbatim(c, value->at, size);
    return 0;
}

static int write_error(struct call *c, const struct json_span *error) {
    char code[32], detail[2048], pointer[1024], exception[256], traceback[MAX_TRACEBACK];
    const struct json_span members[] = {message_member(error, "code"), message_member(error, "detail"),
                                        message_member(error, "pointer"), message_member(error, "exception"),
                                        message_member(error, "traceback")};
    bool has_code = message_text(&members[0], code, sizeof code);
    message_text(&members[1], detail, sizeof detail);
    message_text(&members[2], pointer, sizeof pointer);
    bool has_exception = message_text(&members[3], exception, sizeof exception);
    bool has_traceback = message_text(&members[4], traceback, sizeof traceback);
    if (detail[0] == '\0')
        snprintf(detail, sizeof detail, "%s", exception[0] != '\0' ? exception : "the program gives no reason");
    if (has_code && strcmp(code, "invalid_params") == 0)
        return call_fail(c, CALL_INVALID, pointer, "%s", detail);
    if (has_code && strcmp(code, "memory_limit") == 0)
        return call_fail(c, CALL_MEMORY, NULL, "%s", detail);
    if (has_code && strcmp(code, "cancelled") == 0)
        return call_cancelled(c) ? -1 : call_fail(c, CALL_FAILED, NULL, "the program says that the call was cancelled");
    return call_fail_exception(c, has_exception ? exception : NULL, detail, has_traceback ? traceback : NULL);
}

static bool breaks(struct session *s, const char *why) {
    s->process->broken = why;
    return false;
}

/* A result that came as bytes. False: it broke the protocol. */
static bool take_binary(struct session *s, const struct json_span *binary) {
    struct frames *frames = &s->process->frames;
    struct call *c = at(s, 0)->call;
    struct message_bytes m;
    const char *why;
    if (message_read_bytes(binary, &m, &why) != 0)
        return breaks(s, why);
    int fd = m.has_fd ? frames_take_fd(frames) : -1;
    if (m.has_fd && fd < 0)
        return breaks(s, "it named a descriptor that did not come");
    if (m.has_fd && (why = value_check_fd(fd, m.size)) != NULL) {
        close(fd);
        return breaks(s, why);
    }
    bool merged = s->request == REQUEST_MERGE;
    int rc = m.has_fd ? (merged ? value_result_fd : value_part_fd)(c, m.media_type, fd, m.size)
                      : (merged ? value_result : value_part)(c, m.media_type, frames->binary);
    finish(s, rc);
    return true;
}

static bool on_result(struct session *s, const struct message *m) {
    if (s->sent == 0 || m->call != s->first)
        return breaks(s, "it answered a call that is not the next one");
    if (s->request == REQUEST_PLAN && m->error.at == NULL)
        return breaks(s, "it answered plan with a value");
    if (s->process->frames.binary.size > 0 && m->binary.at == NULL)
        return breaks(s, "it sent a binary part with a message that has none");
    process_read_output(s->process, at(s, 0)->call); /* what it printed before the answer */
    int64_t now_ns = clock_monotonic_ns();
    unsigned done = 0;
    struct json_span value;
    const char *next = m->values.at == NULL ? NULL : m->values.at + 1;
    if (m->error.at != NULL) {
        learn_cost(s, 1, now_ns);
        finish(s, write_error(at(s, 0)->call, &m->error));
    } else if (m->value.at != NULL) {
        learn_cost(s, 1, now_ns);
        finish(s, write_value(s, at(s, 0)->call, &m->value));
    } else if (m->binary.at != NULL) {
        learn_cost(s, 1, now_ns);
        if (!take_binary(s, &m->binary))
            return false;
    }
    for (; next != NULL && scan_next_element(&next, m->values.end, &value); done++) {
        if (s->sent == 0)
            return breaks(s, "it answered more calls than it was sent");
        finish(s, write_value(s, at(s, 0)->call, &value));
    }
    if (done > 0)
        learn_cost(s, done, now_ns);
    s->marked_ns = now_ns;
    return true;
}

static int take_chunk(struct session *s, const struct json_span *chunk, uint64_t cost_ns) {
    struct buf restored = {0};
    struct call *c = at(s, 0)->call;
    if (!s->type->takes_bytes)
        return plan_chunk(c, chunk->at, (size_t)(chunk->end - chunk->at), cost_ns);
    carry_restore(&s->carry, s->type, chunk, &restored);
    int rc = restored.failed ? call_fail(c, CALL_MEMORY, NULL, "there is no memory for the plan")
                             : plan_chunk(c, restored.data, restored.size, cost_ns);
    buf_deinit(&restored);
    return rc;
}

static bool on_planned(struct session *s, const struct message *m) {
    struct json_span chunk;
    const char *next = m->chunks.at + 1;
    uint64_t cost_ns = atomic_load_explicit(s->type->cost_ns, memory_order_relaxed);
    int rc = 0, count = 0;
    if (s->request != REQUEST_PLAN || s->sent == 0 || m->call != s->first)
        return breaks(s, "it sent planned, and there was no such plan");
    for (; rc == 0 && scan_next_element(&next, m->chunks.end, &chunk); count++) {
        if (*chunk.at != '{')
            return breaks(s, "a planned chunk is not an object");
        rc = take_chunk(s, &chunk, cost_ns == 0 ? UNKNOWN_COST_NS : cost_ns);
    }
    if (count == 0)
        rc = call_fail(at(s, 0)->call, CALL_FAILED, NULL, "split of %s made no chunks", s->type->handler.name);
    finish(s, rc);
    return true;
}

static bool on_message(struct session *s, const struct message *m) {
    switch (m->kind) {
    case MESSAGE_RESULT: return on_result(s, m);
    case MESSAGE_PLANNED: return on_planned(s, m);
    case MESSAGE_PROGRESS:
        if (s->sent > 0 && m->call == s->first)
            call_progress(at(s, 0)->call, m->done, m->total);
        return true;
    default: return breaks(s, "it sent a message that has no place here");
    }
}

/* Takes the messages that have come. False: it broke the protocol. */
static bool take_messages(struct session *s) {
    struct bytes json;
    struct message m;
    int got;
    while ((got = frames_next(&s->process->frames, &json)) == 1) {
        const char *why;
        if (message_read(json, &m, &why) != 0)
            return breaks(s, why);
        if (!on_message(s, &m))
            return false;
    }
    return got == 0 || breaks(s, "it sent bytes that are no frame");
}

/* ---- the process dies -------------------------------------------------------------------------------------------- */

/* The calls that were sent are not sent any more. */
static void take_back(struct session *s) {
    s->alone = s->sent > s->alone ? s->sent : s->alone;
    s->sent = s->frames = 0;
}

/* The call at the front has lost its attempt. */
static void lose(struct session *s, const struct call_loss *loss) {
    struct call *c = at(s, 0)->call;
    finish(s, call_cancelled(c) ? -1 : call_lost(c, loss));
}

static void on_death(struct session *s) {
    struct call_loss loss;
    bool alone = s->sent == 1;
    process_bury(s->process, s->sent > 0 ? at(s, 0)->call : NULL, &loss);
    if (s->sent > 1)
        call_process_died(at(s, 0)->call, &loss);
    take_back(s);
    if (alone)
        lose(s, &loss);
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

static void tell(struct session *s, int64_t now_ns) {
    size_t start;
    struct buf *to = frames_begin(&s->process->frames, &start);
    buf_printf(to, "{\"kind\":\"cancel\",\"call\":%llu}", (unsigned long long)s->first);
    if (frames_end(&s->process->frames, start))
        (void)!frames_send(&s->process->frames); /* as above */
    s->told_ns = now_ns;
    got_sigterm = 0;
}

/* The call at the front is cancelled. First the program is told. The front end sends us SIGTERM after half of
 * --cancel-grace, which the program gets, too. Before the front end kills us, we kill the program, and live on. */
static void press(struct session *s) {
    int64_t now_ns = clock_monotonic_ns();
    if (s->told_ns == 0)
        tell(s, now_ns);
    if (s->type->program->cancel_signal != 0 && now_ns - s->pressed_ns >= PRESS_NS) {
        process_signal(s->process, s->type->program->cancel_signal);
        s->pressed_ns = now_ns;
    }
    if (got_sigterm && s->term_ns == 0) {
        process_signal(s->process, SIGTERM);
        s->term_ns = now_ns;
    }
    if (s->term_ns == 0 || now_ns - s->term_ns < (s->term_ns - s->told_ns) / 4 * 3)
        return;
    process_kill(s->process);
    take_back(s);
    finish(s, -1);
}

/* ---- the session ------------------------------------------------------------------------------------------------- */

/* Starts the process, if there is none. False: the call at the front is done, without it. */
static bool start_process(struct session *s) {
    struct call_loss loss;
    if (process_is_sound(s->process))
        return true;
    int rc = process_start(s->process, at(s, 0)->call, &loss);
    if (rc == -2)
        lose(s, &loss);
    else if (rc == -1)
        finish(s, -1);
    return rc == 0;
}

static void hold(struct session *s) {
    while (s->count > 0 || take_one(s)) {
        if (s->sent == 0 && !start_process(s))
            continue;
        send_more(s);
        if (s->sent == 0)
            continue;
        bool goes_on = process_wait(s->process, at(s, 0)->call, WAIT_MS);
        if (!take_messages(s) || !goes_on)
            on_death(s);
        else if (s->sent > 0 && call_cancelled(at(s, 0)->call))
            press(s);
        else if (s->sent == 0)
            process_end_if_spent(s->process);
    }
}

static int hold_session(struct session *s, const struct call *c) {
    s->type = (struct program_type *)(uintptr_t)call_data(c);
    s->process = s->type->program->process;
    got_sigterm = 0;
    in_session = 1;
    hold(s);
    in_session = 0;
    return s->returned;
}

/* ---- the handlers ------------------------------------------------------------------------------------------------ */

static uint64_t cost_of(const struct program_type *type) {
    uint64_t cost_ns = atomic_load_explicit(type->cost_ns, memory_order_relaxed);
    return cost_ns == 0 ? UNKNOWN_COST_NS : cost_ns;
}

int program_plan(struct call *c, const struct params *p) {
    const struct program_type *type = call_data(c);
    struct session s = {.request = REQUEST_PLAN, .count = 1};
    struct bytes params = {NULL, 0};
    params.data = params_json(p, &params.size);
    if (!type->splits)
        return plan_chunk(c, params.data, params.size, cost_of(type));
    s.ring[0] = (struct taken){c, params};
    return hold_session(&s, c);
}

int program_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct session s = {.request = REQUEST_RUN, .count = 1, .ring = {{c, chunk}}};
    (void)common;
    return hold_session(&s, c);
}

void program_run_batch(struct batch *b) {
    struct session s = {.request = REQUEST_RUN, .batch = b};
    struct bytes common;
    s.ring[0].call = batch_next(b, &common, &s.ring[0].chunk);
    s.count = s.ring[0].call != NULL;
    if (s.count > 0)
        (void)!hold_session(&s, s.ring[0].call);
}

/* The value of a chunk within the array that is the result. */
static int put_part(struct call *c, struct bytes part) {
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    if (!value_is_binary(&part, media_type)) {
        json_verbatim(c, part.data, part.size);
        return 0;
    }
    size_t size = BASE64_ENCODE_RAW_LENGTH(part.size);
    char *text = malloc(size + 1);
    if (text == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory for the result");
    base64_encode_raw(text, part.size, part.data);
    json_text(c, text, size);
    free(text);
    return 0;
}

int program_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    const struct program_type *type = call_data(c);
    struct session s = {
        .request = REQUEST_MERGE, .count = 1, .ring = {{c, {NULL, 0}}}, .parts = parts, .part_count = count};
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    struct bytes part = parts[0];
    (void)common;
    if (type->merges)
        return hold_session(&s, c);
    if (!type->splits) {
        if (value_is_binary(&part, media_type))
            return result_part(c, media_type, 0, 0, part.size);
        json_verbatim(c, part.data, part.size);
        return 0;
    }
    json_begin_array(c);
    for (size_t i = 0; i < count; i++)
        if (put_part(c, parts[i]) != 0)
            return -1;
    json_end_array(c);
    return 0;
}
