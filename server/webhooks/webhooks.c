/* webhooks.c: see webhooks.h. Front end. It holds the webhooks, starts attempts, and decides what comes after one.
 * guard.c knows where a webhook may go, message.c what it says, sign.c how it is signed, and schedule.c when it is
 * tried again; transfer.c sends it.
 *
 *     webhooks_send ──► WAITING ──(due)──► READY ──(there is room)──► RUNNING ──► GONE
 *                          ▲                 │                           │
 *                          └─────────────────┴──────────(failed)─────────┘
 *
 *     NEW → WAITING, READY   [webhooks_send: it is due later, or now]
 *     WAITING → READY        [on_due]
 *     READY → RUNNING        [start, from a timer: a few at a time, so that the loop gets round]
 *     READY → WAITING        [start: the URL is not allowed now, or memory ran out]
 *     RUNNING → WAITING      [on_done: no answer, or not a 2xx]
 *     READY, RUNNING → GONE  [settle: delivered, or given up]
 *     NEW, WAITING → GONE    [too much is waiting, or memory ran out]
 *     any → GONE             [webhooks_free; the store still has it]
 */
#include "server/webhooks/webhooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "server/model/model.h"
#include "server/webhooks/guard.h"
#include "server/webhooks/schedule.h"
#include "server/webhooks/sign.h"
#include "server/webhooks/transfer.h"

#define STARTS_AT_A_TIME 8

enum outcome { DELIVERED, FAILED, GAVE_UP, REFUSED, OUTCOMES };
static const struct {
    const char *name, *event; /* in metrics, and in the log */
} outcomes[OUTCOMES] = {[DELIVERED] = {"delivered", "webhook_delivered"},
                        [FAILED] = {"failed", "webhook_failed"},
                        [GAVE_UP] = {"gave_up", "webhook_gave_up"},
                        [REFUSED] = {"refused", "webhook_refused"}};

enum webhook_state { WEBHOOK_NEW, WEBHOOK_WAITING, WEBHOOK_READY, WEBHOOK_RUNNING, WEBHOOK_GONE, WEBHOOK_STATES };

struct webhook {
    struct webhook *prev, *next; /* in the list of its state */
    struct webhooks *owner;
    enum webhook_state state;
    struct id job;
    char *url;
    char *trace; /* heap: the text of trace.h, or "" */
    struct slice body;
    unsigned attempt;             /* how often it was tried; does not change while WAITING */
    struct timer timer;           /* set while WAITING */
    struct webhook_target target; /* as of the last start */
    struct transfer *transfer;    /* while RUNNING */
    const unsigned char *mapped;  /* the body, while RUNNING */
};

struct webhooks {
    struct loop *loop;
    struct store *store;
    struct transfers *transfers;
    struct webhooks_config config; /* without its pointers */
    struct webhook_allow allow;
    struct webhook_secrets secrets;
    struct webhook *waiting[WEBHOOK_ATTEMPTS], *ready, *running; /* the oldest first; waiting: by attempt */
    size_t counts[WEBHOOK_STATES];                               /* of those in a list */
    uint64_t bytes, waiting_bytes;                               /* that all of them hold; that those WAITING hold */
    struct timer start_timer;
    uint64_t outcomes[OUTCOMES];
};

/* ---- states ------------------------------------------------------------------------------------------------------ */

/* NULL: such webhooks are in no list. */
static struct webhook **list_of(struct webhook *h) {
    struct webhooks *w = h->owner;
    switch (h->state) {
    case WEBHOOK_WAITING: return &w->waiting[h->attempt];
    case WEBHOOK_READY: return &w->ready;
    case WEBHOOK_RUNNING: return &w->running;
    default: return NULL;
    }
}

static size_t bytes_of(const struct webhook *h) {
    return sizeof *h + strlen(h->url) + strlen(h->trace) + h->body.size;
}

static void move_to(struct webhook *h, enum webhook_state to) {
    static const struct state_row states[WEBHOOK_STATES] = {
        [WEBHOOK_NEW] = {"new", TO(WEBHOOK_WAITING) | TO(WEBHOOK_READY) | TO(WEBHOOK_GONE)},
        [WEBHOOK_WAITING] = {"waiting", TO(WEBHOOK_READY) | TO(WEBHOOK_GONE)},
        [WEBHOOK_READY] = {"ready", TO(WEBHOOK_WAITING) | TO(WEBHOOK_RUNNING) | TO(WEBHOOK_GONE)},
        [WEBHOOK_RUNNING] = {"running", TO(WEBHOOK_WAITING) | TO(WEBHOOK_GONE)},
        [WEBHOOK_GONE] = {"gone", 0},
    };
    struct webhook **list = list_of(h);
    state_check_move("webhook", states, h->state, to);
    if (list != NULL) {
        DL_DELETE(*list, h);
        h->owner->counts[h->state]--;
        h->owner->waiting_bytes -= h->state == WEBHOOK_WAITING ? bytes_of(h) : 0;
    }
    h->state = to;
    list = list_of(h);
    if (list != NULL) {
        DL_APPEND(*list, h);
        h->owner->counts[to]++;
        h->owner->waiting_bytes += to == WEBHOOK_WAITING ? bytes_of(h) : 0;
    }
}

static void unmap_body(struct webhook *h) {
    if (h->mapped != NULL)
        slice_unmap(&h->body, h->mapped);
    h->mapped = NULL;
}

static void free_webhook(struct webhook *h) {
    struct webhooks *w = h->owner;
    move_to(h, WEBHOOK_GONE);
    loop_clear_timer(w->loop, &h->timer);
    if (h->transfer != NULL)
        transfer_cancel(h->transfer);
    unmap_body(h);
    w->bytes -= bytes_of(h);
    held_sub(HELD_WEBHOOKS, bytes_of(h) - h->body.size);
    slice_deinit(&h->body);
    free(h->url);
    free(h->trace);
    free(h);
}

/* ---- after an attempt -------------------------------------------------------------------------------------------- */

/* One line for each outcome, without the URL, which may hold secrets in its query. */
static void log_outcome(const struct webhook *h, enum log_level level, const char *event, unsigned status,
                        const char *error, const char *retry_at) {
    char job[ID_TEXT_SIZE];
    id_format(&h->job, job);
    LOG(level, event, LOG_STR("job", job), LOG_INT("attempt", h->attempt), LOG_INT("status", status),
        LOG_STR("host", h->target.host[0] == '\0' ? NULL : h->target.host), LOG_STR("error", error),
        LOG_STR("retry_at", retry_at));
}

/* DELIVERED or GAVE_UP: the store forgets it. */
static void end(struct webhook *h, enum outcome outcome, unsigned status, const char *error) {
    struct webhooks *w = h->owner;
    w->store->ops->delivered(w->store, &h->job);
    w->outcomes[outcome]++;
    log_outcome(h, outcome == DELIVERED ? LOG_INFO : LOG_WARN, outcomes[outcome].event, status, error, NULL);
    free_webhook(h);
}

/* By the monotonic clock from here on, so that a wall clock that is set meanwhile does not matter. */
static void wait_for(struct webhook *h, int64_t delay_ms) {
    move_to(h, WEBHOOK_WAITING);
    loop_set_timer(h->owner->loop, &h->timer, clock_monotonic_ns() + delay_ms * NS_PER_MS);
}

static void try_again(struct webhook *h, const struct transfer_result *r) {
    struct webhooks *w = h->owner;
    enum outcome outcome = r->not_allowed ? REFUSED : FAILED;
    int64_t delay_ms = webhook_delay_ms(h->attempt, w->config.retry_ns, r->retry_after_s);
    const struct delivery d = {.job = h->job,
                               .url = h->url,
                               .body = h->body,
                               .attempt = h->attempt,
                               .due_ms = clock_wall_ms() + delay_ms,
                               .trace = h->trace};
    char retry_at[CLOCK_TEXT_SIZE];
    w->store->ops->deliver(w->store, &d);
    w->outcomes[outcome]++;
    clock_format(d.due_ms, retry_at);
    log_outcome(h, LOG_INFO, outcomes[outcome].event, r->status, r->error, retry_at);
    wait_for(h, delay_ms);
}

/* An attempt is over. May free the webhook. */
static void settle(struct webhook *h, const struct transfer_result *r) {
    h->attempt++;
    if (r->status >= 200 && r->status < 300)
        end(h, DELIVERED, r->status, NULL);
    else if (r->status == 410)
        end(h, GAVE_UP, r->status, "the receiver wants no more");
    else if (h->attempt >= WEBHOOK_ATTEMPTS)
        end(h, GAVE_UP, r->status, r->error != NULL ? r->error : "tried often enough");
    else
        try_again(h, r);
}

/* ---- attempts ---------------------------------------------------------------------------------------------------- */

static bool may_start(const struct webhooks *w) {
    return w->ready != NULL && w->counts[WEBHOOK_RUNNING] < w->config.max_running;
}

static void start_soon(struct webhooks *w) {
    if (may_start(w) && !w->start_timer.is_set)
        loop_set_timer(w->loop, &w->start_timer, clock_monotonic_ns());
}

static bool may_connect(void *arg, const struct sockaddr *address) {
    const struct webhook *h = arg;
    return webhook_guard_address(&h->owner->allow, &h->target, address);
}

static void on_done(void *arg, const struct transfer_result *r) {
    struct webhook *h = arg;
    struct webhooks *w = h->owner;
    h->transfer = NULL;
    unmap_body(h);
    settle(h, r);
    start_soon(w);
}

/* NULL: out of memory. */
static struct transfer *start_transfer(struct webhook *h) {
    _Static_assert(WEBHOOK_MAX_HEADERS < TRANSFER_MAX_HEADERS, "there is room for all headers");
    struct webhooks *w = h->owner;
    struct transfer *t = NULL;
    struct buf headers = {0};
    h->mapped = slice_map(&h->body);
    struct webhook_message message = {.job = h->job, .trace = h->trace, .body = h->mapped, .size = h->body.size};
    struct transfer_request request = {.url = h->url,
                                       .body = h->mapped,
                                       .size = h->body.size,
                                       .timeout_ns = w->config.timeout_ns,
                                       .may_connect = may_connect,
                                       .done = on_done,
                                       .arg = h};
    if (h->mapped != NULL && webhook_headers(&headers, request.headers, &w->secrets, &message) == 0)
        t = transfer_start(w->transfers, &request);
    buf_deinit(&headers);
    if (t == NULL)
        unmap_body(h);
    return t;
}

static void start(struct webhook *h) {
    struct transfer_result failed = {.error = "out of memory", .retry_after_s = -1};
    struct buf detail = {0};
    if (webhook_guard_url(&h->owner->allow, h->url, &h->target, &detail) == 0) {
        h->transfer = start_transfer(h);
    } else if (!detail.failed) {
        failed.not_allowed = true;
        failed.error = detail.data;
    }
    if (h->transfer != NULL)
        move_to(h, WEBHOOK_RUNNING);
    else
        settle(h, &failed);
    buf_deinit(&detail);
}

static void on_start(struct timer *t) {
    struct webhooks *w = container_of(t, struct webhooks, start_timer);
    for (int i = 0; i < STARTS_AT_A_TIME && may_start(w); i++)
        start(w->ready);
    start_soon(w);
}

static void on_due(struct timer *t) {
    struct webhook *h = container_of(t, struct webhook, timer);
    move_to(h, WEBHOOK_READY);
    start_soon(h->owner);
}

/* ---- new ones ---------------------------------------------------------------------------------------------------- */

/* Gives up those that wait and failed most often, the oldest first, until there is room for `bytes` more. False: there
 * would be none even without all of them, so they stay. */
static bool make_room(struct webhooks *w, uint64_t bytes) {
    if (w->bytes - w->waiting_bytes + bytes > w->config.max_bytes)
        return false;
    for (unsigned attempt = WEBHOOK_ATTEMPTS; attempt-- > 0;)
        while (w->waiting[attempt] != NULL && w->bytes + bytes > w->config.max_bytes)
            end(w->waiting[attempt], GAVE_UP, 0, "too much is waiting");
    return true;
}

static struct webhook *new_webhook(struct webhooks *w, const struct delivery *d) {
    struct webhook *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->url = strdup(d->url);
    h->trace = strdup(d->trace == NULL ? "" : d->trace);
    if (h->url == NULL || h->trace == NULL) {
        free(h->url);
        free(h->trace);
        free(h);
        return NULL;
    }
    *h = (struct webhook){.owner = w,
                          .job = d->job,
                          .url = h->url,
                          .trace = h->trace,
                          .body = slice_ref(&d->body),
                          .timer.fire = on_due,
                          .attempt = d->attempt < WEBHOOK_ATTEMPTS ? d->attempt : WEBHOOK_ATTEMPTS - 1};
    return h;
}

bool webhooks_send(struct webhooks *w, const struct delivery *d) {
    struct webhook *h = new_webhook(w, d);
    if (h == NULL)
        return false;
    bool fits = make_room(w, bytes_of(h));
    w->bytes += bytes_of(h);
    held_add(HELD_WEBHOOKS, bytes_of(h) - h->body.size); /* the body is a blob, which counts itself */
    int64_t delay_ms = d->due_ms - clock_wall_ms();
    int64_t longest_ms = webhook_longest_delay_ms(w->config.retry_ns); /* a wall clock that was set back meanwhile */
    if (!fits)
        end(h, GAVE_UP, 0, "too much is waiting");
    else if (delay_ms > 0)
        wait_for(h, delay_ms < longest_ms ? delay_ms : longest_ms);
    else
        move_to(h, WEBHOOK_READY);
    start_soon(w);
    return true;
}

int webhooks_check(const struct webhooks *w, const char *url, struct buf *detail) {
    struct webhook_target target;
    return webhook_guard_url(&w->allow, url, &target, detail);
}

/* ---- as a whole -------------------------------------------------------------------------------------------------- */

/* 0, or -1 with one line in `error`, and no secrets to wipe. */
static int read_config(const struct webhooks_config *config, struct webhook_allow *allow,
                       struct webhook_secrets *secrets, struct buf *error) {
    for (unsigned i = 0; i < config->allow_count; i++)
        if (webhook_allow_add(allow, config->allow[i], error) != 0)
            return -1;
    return config->secret_file == NULL ? 0 : webhook_secrets_read(secrets, config->secret_file, error);
}

int webhooks_check_config(const struct webhooks_config *config, struct buf *error) {
    struct webhook_allow allow = {0};
    struct webhook_secrets secrets = {0};
    int rc = read_config(config, &allow, &secrets, error);
    webhook_secrets_wipe(&secrets);
    return rc;
}

int webhooks_configure(struct webhooks *w, const struct webhooks_config *config, struct buf *error) {
    struct webhook_allow allow = {0};
    struct webhook_secrets secrets = {0};
    if (read_config(config, &allow, &secrets, error) != 0)
        return -1;
    w->allow = allow;
    w->secrets = secrets;
    webhook_secrets_wipe(&secrets);
    w->config = *config;
    w->config.secret_file = NULL;
    w->config.allow = NULL;
    start_soon(w);
    return 0;
}

struct webhooks *webhooks_new(struct loop *loop, const struct webhooks_config *config, struct store *store,
                              struct buf *error) {
    struct webhooks *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->loop = loop;
    w->store = store;
    w->start_timer.fire = on_start;
    if (webhooks_configure(w, config, error) != 0)
        goto fail;
    w->transfers = transfers_new(loop);
    if (w->transfers != NULL)
        return w;
    buf_puts(error, "webhooks: libcurl cannot be used (out of memory, or built to resolve names without threads)");
fail:
    webhook_secrets_wipe(&w->secrets);
    free(w);
    return NULL;
}

void webhooks_free(struct webhooks *w) {
    while (w->running != NULL)
        free_webhook(w->running);
    while (w->ready != NULL)
        free_webhook(w->ready);
    for (unsigned i = 0; i < WEBHOOK_ATTEMPTS; i++)
        while (w->waiting[i] != NULL)
            free_webhook(w->waiting[i]);
    loop_clear_timer(w->loop, &w->start_timer);
    transfers_free(w->transfers);
    webhook_secrets_wipe(&w->secrets);
    free(w);
}

size_t webhooks_pending(const struct webhooks *w) {
    return w->counts[WEBHOOK_WAITING] + w->counts[WEBHOOK_READY] + w->counts[WEBHOOK_RUNNING];
}

size_t webhooks_active(const struct webhooks *w) {
    return w->counts[WEBHOOK_READY] + w->counts[WEBHOOK_RUNNING];
}

static void read_outcomes(struct metric_out *to, const void *field) {
    const uint64_t *counts = field;
    for (int i = 0; i < OUTCOMES; i++)
        metric_add(to, counts[i], outcomes[i].name, NULL);
}

static void read_pending(struct metric_out *to, const void *field) {
    metric_add(to, webhooks_pending(field), NULL, NULL);
}

static const struct metric webhook_metrics[] = {
    {"offload_webhooks_total", METRIC_COUNTER, read_outcomes, offsetof(struct webhooks, outcomes), .label = "outcome",
     .help = "Attempts to deliver a webhook, by how they ended; gave_up: webhooks, not attempts."},
    {"offload_webhooks_pending", METRIC_GAUGE, read_pending,
     .help = "Webhooks that are neither delivered nor given up."},
};

void webhooks_write_metrics(const struct webhooks *w, struct buf *out) {
    METRICS_WRITE_TABLE(out, webhook_metrics, w);
}
