/* webhooks.c: see webhooks.h. Front end. Where a webhook may go is in webhook_guard.c, how it is signed in webhook_sign.c,
 * how it gets there in webhook_transfer.c; here is what and when.
 *
 *     webhooks_send ──► WAITING ──(due)──► READY ──(a place is free)──► RUNNING ──► gone
 *                          ▲                 │                             │
 *                          └─────────────────┴──────────(failed)───────────┘
 *
 *     WAITING → READY    [on_due]
 *     READY → RUNNING    [start, from a timer: a few at a time, so that the loop gets round]
 *     READY → WAITING    [start: the URL is not allowed now, or memory ran out]
 *     RUNNING → WAITING  [on_done: no answer, or not a 2xx]
 *     RUNNING → gone     [on_done: delivered, or given up]
 *     WAITING → gone     [make_room]
 */
#include "server/webhooks/webhooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/model/model.h"
#include "server/webhooks/guard.h"
#include "server/webhooks/sign.h"
#include "server/webhooks/transfer.h"

#define DAY_MS           (INT64_C(86400) * 1000)
#define STARTS_AT_A_TIME 8

/* Seconds from a failure to the next attempt, by how many have failed. */
static const int64_t schedule_s[WEBHOOK_ATTEMPTS] = {0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};

enum outcome { DELIVERED, FAILED, GAVE_UP, REFUSED, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {"delivered", "failed", "gave_up", "refused"};

enum webhook_state { WEBHOOK_NEW, WEBHOOK_WAITING, WEBHOOK_READY, WEBHOOK_RUNNING };

struct webhook {
    struct webhook *prev, *next; /* in the list of its state */
    struct webhooks *owner;
    enum webhook_state state;
    struct id job;
    char *url;
    char trace[RECORD_TRACE_SIZE];
    struct slice body;
    unsigned attempt;             /* how often it was tried */
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
    size_t waiting_count, ready_count, running_count;
    uint64_t bytes;
    struct timer start_timer;
    uint64_t outcomes[OUTCOMES];
};

/* ---- states ---------------------------------------------------------------------------------------------------- */

static struct webhook **list_of(struct webhook *h) {
    struct webhooks *w = h->owner;
    if (h->state == WEBHOOK_WAITING)
        return &w->waiting[h->attempt];
    return h->state == WEBHOOK_READY ? &w->ready : &w->running;
}

static size_t *count_of(struct webhook *h) {
    struct webhooks *w = h->owner;
    if (h->state == WEBHOOK_WAITING)
        return &w->waiting_count;
    return h->state == WEBHOOK_READY ? &w->ready_count : &w->running_count;
}

static void leave(struct webhook *h) {
    struct webhook **list = list_of(h);
    if (h->state == WEBHOOK_NEW)
        return;
    DL_DELETE(*list, h);
    --*count_of(h);
    h->state = WEBHOOK_NEW;
}

static void move_to(struct webhook *h, enum webhook_state state) {
    leave(h);
    h->state = state;
    struct webhook **list = list_of(h);
    DL_APPEND(*list, h);
    ++*count_of(h);
}

static size_t bytes_of(const struct webhook *h) {
    return sizeof *h + strlen(h->url) + h->body.size;
}

static void end_transfer(struct webhook *h) {
    if (h->mapped != NULL)
        slice_unmap(&h->body, h->mapped);
    h->mapped = NULL;
    h->transfer = NULL;
}

static void free_webhook(struct webhook *h) {
    struct webhooks *w = h->owner;
    leave(h);
    loop_clear_timer(w->loop, &h->timer);
    if (h->transfer != NULL)
        transfer_cancel(h->transfer);
    end_transfer(h);
    w->bytes -= bytes_of(h);
    slice_deinit(&h->body);
    free(h->url);
    free(h);
}

/* ---- outcomes ---------------------------------------------------------------------------------------------------- */

/* One line for each outcome; the URL itself may hold secrets in its query. */
static void log_outcome(const struct webhook *h, enum log_level level, const char *event, unsigned status,
                        const char *error, const char *retry_at) {
    char job[ID_TEXT_SIZE];
    id_format(&h->job, job);
    LOG(level, event, LOG_STR("job", job), LOG_INT("attempt", h->attempt), LOG_INT("status", status),
        LOG_STR("host", h->target.host[0] == '\0' ? NULL : h->target.host), LOG_STR("error", error),
        LOG_STR("retry_at", retry_at));
}

static void deliver(struct webhook *h, const struct transfer_result *r) {
    struct webhooks *w = h->owner;
    w->store->ops->delivered(w->store, &h->job);
    w->outcomes[DELIVERED]++;
    log_outcome(h, LOG_INFO, "webhook_delivered", r->status, NULL, NULL);
    free_webhook(h);
}

static void give_up(struct webhook *h, unsigned status, const char *error) {
    struct webhooks *w = h->owner;
    w->store->ops->delivered(w->store, &h->job);
    w->outcomes[GAVE_UP]++;
    log_outcome(h, LOG_WARN, "webhook_gave_up", status, error, NULL);
    free_webhook(h);
}

/* By the monotonic clock from here on; a step of the wall clock moves nothing. */
static void wait_for(struct webhook *h, int64_t delay_ms) {
    move_to(h, WEBHOOK_WAITING);
    if (loop_set_timer(h->owner->loop, &h->timer, clock_monotonic_ns() + delay_ms * NS_PER_MS) == 0)
        return;
    log_outcome(h, LOG_ERROR, "webhook_put_off", 0, "out of memory: until the next start", NULL);
    free_webhook(h);
}

static void try_again(struct webhook *h, const struct transfer_result *r) {
    struct webhooks *w = h->owner;
    int64_t delay_ms = webhook_delay_ms(h->attempt, w->config.retry_ns, r->retry_after_s);
    const struct delivery d = {.job = h->job,
                               .url = h->url,
                               .body = h->body,
                               .attempt = h->attempt,
                               .due_ms = clock_wall_ms() + delay_ms,
                               .trace = h->trace};
    char retry_at[CLOCK_TEXT_SIZE];
    w->store->ops->deliver(w->store, &d);
    w->outcomes[r->refused ? REFUSED : FAILED]++;
    clock_format(d.due_ms, retry_at);
    log_outcome(h, LOG_INFO, r->refused ? "webhook_refused" : "webhook_failed", r->status, r->error, retry_at);
    wait_for(h, delay_ms);
}

static void settle(struct webhook *h, const struct transfer_result *r) {
    h->attempt++;
    if (r->status >= 200 && r->status < 300)
        deliver(h, r);
    else if (r->status == 410)
        give_up(h, r->status, "the receiver wants no more");
    else if (h->attempt >= WEBHOOK_ATTEMPTS)
        give_up(h, r->status, r->error != NULL ? r->error : "tried often enough");
    else
        try_again(h, r);
}

/* ---- attempts ------------------------------------------------------------------------------------------------------ */

static void start_soon(struct webhooks *w) {
    if (w->ready != NULL && w->running_count < w->config.max_running && w->start_timer.slot == 0)
        loop_set_timer(w->loop, &w->start_timer, clock_monotonic_ns());
}

static bool may_connect(void *arg, const struct sockaddr *address) {
    const struct webhook *h = arg;
    return webhook_guard_address(&h->owner->allow, &h->target, address);
}

static void on_done(void *arg, const struct transfer_result *r) {
    struct webhook *h = arg;
    struct webhooks *w = h->owner;
    end_transfer(h);
    leave(h);
    settle(h, r);
    start_soon(w);
}

/* Headers follow each other in a buffer, each with a NUL before it. */
static void begin_header(struct buf *out, size_t at[TRANSFER_MAX_HEADERS], const char *name) {
    size_t n = 0;
    while (at[n] != 0)
        n++;
    buf_putc(out, '\0');
    at[n] = out->size;
    buf_puts(out, name);
}

/* Those of one attempt; the offsets of the others stay 0. */
static void write_headers(const struct webhook *h, struct buf *out, size_t at[TRANSFER_MAX_HEADERS]) {
    char id[sizeof "msg_" + ID_TEXT_SIZE] = "msg_";
    int64_t now_s = clock_wall_ms() / 1000;
    id_format(&h->job, id + strlen(id));
    begin_header(out, at, "content-type: application/json");
    begin_header(out, at, "webhook-id: ");
    buf_puts(out, id);
    begin_header(out, at, "webhook-timestamp: ");
    buf_u64(out, (uint64_t)now_s);
    if (h->owner->secrets.count > 0) {
        begin_header(out, at, "webhook-signature: ");
        webhook_sign(out, &h->owner->secrets, id, now_s, h->mapped, h->body.size);
    }
    if (h->trace[0] != '\0') {
        begin_header(out, at, "traceparent: ");
        buf_puts(out, h->trace);
    }
}

static struct transfer *start_transfer(struct webhook *h) {
    struct webhooks *w = h->owner;
    struct transfer_request request = {.url = h->url,
                                       .size = h->body.size,
                                       .timeout_ns = w->config.timeout_ns,
                                       .may_connect = may_connect,
                                       .done = on_done,
                                       .arg = h};
    struct transfer *t = NULL;
    struct buf headers = {0};
    size_t at[TRANSFER_MAX_HEADERS] = {0};
    h->mapped = slice_map(&h->body);
    if (h->mapped == NULL)
        return NULL;
    request.body = h->mapped;
    write_headers(h, &headers, at);
    for (size_t i = 0; at[i] != 0 && !headers.failed; i++)
        request.headers[i] = headers.data + at[i];
    if (!headers.failed)
        t = transfer_start(w->transfers, &request);
    buf_deinit(&headers);
    return t;
}

static void start(struct webhook *h) {
    struct webhooks *w = h->owner;
    struct transfer_result failed = {.error = "out of memory", .retry_after_s = -1};
    struct buf detail = {0};
    leave(h);
    if (webhook_guard_url(&w->allow, h->url, &h->target, &detail) == 0) {
        h->transfer = start_transfer(h);
    } else if (!detail.failed) {
        failed.refused = true;
        failed.error = detail.data;
    }
    if (h->transfer != NULL) {
        move_to(h, WEBHOOK_RUNNING);
    } else {
        end_transfer(h);
        settle(h, &failed);
    }
    buf_deinit(&detail);
}

static void on_start(struct timer *t) {
    struct webhooks *w = container_of(t, struct webhooks, start_timer);
    for (int i = 0; i < STARTS_AT_A_TIME && w->ready != NULL && w->running_count < w->config.max_running; i++)
        start(w->ready);
    start_soon(w);
}

static void on_due(struct timer *t) {
    struct webhook *h = container_of(t, struct webhook, timer);
    move_to(h, WEBHOOK_READY);
    start_soon(h->owner);
}

/* ---- taking them on ------------------------------------------------------------------------------------------------- */

/* Gives up what failed most often, the oldest first, until there is room for `bytes` more. */
static bool make_room(struct webhooks *w, uint64_t bytes) {
    for (unsigned attempt = WEBHOOK_ATTEMPTS; attempt-- > 0;)
        while (w->waiting[attempt] != NULL && w->bytes + bytes > w->config.max_bytes)
            give_up(w->waiting[attempt], 0, "too much is waiting");
    return w->bytes + bytes <= w->config.max_bytes;
}

static struct webhook *new_webhook(struct webhooks *w, const struct delivery *d) {
    struct webhook *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->url = strdup(d->url);
    if (h->url == NULL) {
        free(h);
        return NULL;
    }
    *h = (struct webhook){.owner = w,
                          .job = d->job,
                          .url = h->url,
                          .body = slice_ref(&d->body),
                          .timer.fire = on_due,
                          .attempt = d->attempt < WEBHOOK_ATTEMPTS ? d->attempt : WEBHOOK_ATTEMPTS - 1};
    snprintf(h->trace, sizeof h->trace, "%s", d->trace == NULL ? "" : d->trace);
    return h;
}

void webhooks_send(struct webhooks *w, const struct delivery *d) {
    struct webhook *h = new_webhook(w, d);
    if (h == NULL) {
        LOG(LOG_ERROR, "webhook_put_off", LOG_STR("error", "out of memory: until the next start"));
        return;
    }
    bool fits = make_room(w, bytes_of(h));
    w->bytes += bytes_of(h);
    int64_t delay_ms = d->due_ms - clock_wall_ms();
    int64_t longest_ms = schedule_s[WEBHOOK_ATTEMPTS - 1] * (w->config.retry_ns / NS_PER_MS) / 5 * 11 / 10;
    longest_ms = longest_ms > DAY_MS ? longest_ms : DAY_MS; /* the wall clock may have been set back since */
    if (!fits)
        give_up(h, 0, "too much is waiting");
    else if (delay_ms > 0)
        wait_for(h, delay_ms < longest_ms ? delay_ms : longest_ms);
    else
        move_to(h, WEBHOOK_READY);
    start_soon(w);
}

int webhooks_check(const struct webhooks *w, const char *url, struct buf *detail) {
    struct webhook_target target;
    return webhook_guard_url(&w->allow, url, &target, detail);
}

void webhook_body(struct buf *out, const struct record *r) {
    char ended[CLOCK_TEXT_SIZE];
    clock_format(r->finished_ms, ended);
    buf_printf(out, "{\"type\":\"job.%s\",\"timestamp\":\"%s\",\"data\":", job_status_name(r->status), ended);
    render_job(out, r, &(struct job_view){0}, true);
    buf_putc(out, '}');
}

int64_t webhook_delay_ms(unsigned attempt, int64_t retry_ns, int64_t retry_after_s) {
    uint32_t random;
    id_random(&random, sizeof random);
    double jitter = 0.9 + 0.2 * (double)random / UINT32_MAX;
    int64_t delay_ms = (int64_t)((double)schedule_s[attempt] / 5 * (double)(retry_ns / NS_PER_MS) * jitter);
    int64_t asked_ms = retry_after_s < DAY_MS / 1000 ? retry_after_s * 1000 : DAY_MS;
    return delay_ms > asked_ms ? delay_ms : asked_ms;
}

/* ---- as a whole ------------------------------------------------------------------------------------------------------- */

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
    return w->waiting_count + w->ready_count + w->running_count;
}

size_t webhooks_active(const struct webhooks *w) {
    return w->ready_count + w->running_count;
}

static void read_outcomes(struct metric_out *to, const void *field) {
    const uint64_t *outcomes = field;
    for (int i = 0; i < OUTCOMES; i++)
        metric_add(to, outcomes[i], outcome_names[i], NULL);
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
