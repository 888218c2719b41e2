/* service.c: the routes about the service itself. Front end. */
#include "server/api/service.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "handlers/host/host.h"
#include "server/api/assets.h"
#include "server/api/guard.h"

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; charset=utf-8"

void api_types(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    (void)s, (void)m;
    buf_puts(&body, "{\"types\":[");
    const char *before = "";
    for (size_t i = 0; i < host_count(); i++) {
        if (host_type(i) == NULL || host_is_hidden(i))
            continue;
        buf_puts(&body, before);
        host_describe(i, &body);
        before = ",";
    }
    buf_puts(&body, "]}");
    http_answer(r, 200, JSON_TYPE, &body);
}

void api_type(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    char name[HOST_MAX_NAME + 1] = "";
    (void)s;
    if (m.size < sizeof name)
        memcpy(name, m.text, m.size);
    int type = host_find(name);
    if (type < 0) {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "there is no such job type", NULL);
        return;
    }
    host_describe((size_t)type, &body);
    http_answer(r, 200, JSON_TYPE, &body);
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

static void put_worker(struct buf *out, const struct worker *w, const struct worker_view *v) {
    char started[CLOCK_TEXT_SIZE];
    const char *type = host_name(v->type);
    clock_format(v->started_wall_ms, started);
    buf_printf(out, "{\"pid\":%d,\"lane\":\"%s\",\"state\":\"%s\"", (int)v->pid, lane_name(v->lane),
               worker_activity_name(v->activity));
    if (type != NULL)
        buf_printf(out, ",\"type\":\"%s\"", type);
    buf_printf(out, ",\"jobs\":%llu,\"rss_bytes\":%llu,\"started_at\":\"%s\"}", (unsigned long long)v->tasks,
               (unsigned long long)worker_rss(w), started);
}

void api_workers(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    unsigned shown = 0;
    (void)m;
    buf_puts(&body, "{\"workers\":[");
    for (size_t i = 0; i < pool_size(s->pool); i++) {
        const struct worker *w = pool_worker(s->pool, i);
        struct worker_view v = worker_look(w);
        if (v.pid <= 0)
            continue;
        if (shown++ > 0)
            buf_putc(&body, ',');
        put_worker(&body, w, &v);
    }
    buf_puts(&body, "]}");
    http_answer(r, 200, JSON_TYPE, &body);
}

/* ---- health ------------------------------------------------------------------------------------------------------ */

void api_livez(struct server *s, struct http_request *r, struct route_match m) {
    (void)s, (void)m;
    http_answer_static(r, 200, TEXT_TYPE, "ok\n", 3);
}

/* The state of a request for /readyz. */
struct ready_request {
    struct health_waiter waiter;
    struct server *server;
    struct http_request *request;
};

static void answer_ready(struct server *s, struct http_request *r) {
    struct buf body = {0};
    bool workers = health_verdict(s->health, &body);
    buf_puts(&body, s->draining ? "[-]drain failed: shutting down\n" : "[+]drain ok\n");
    const char *trouble = s->store->ops->trouble(s->store);
    if (trouble != NULL)
        buf_printf(&body, "[-]store failed: %s\n", trouble);
    else
        buf_printf(&body, "[+]store ok: %s\n", config_is_in_memory(&s->config) ? "in memory" : "on disk");
    if (s->types_fault.size > 0)
        buf_printf(&body, "[-]types failed: %s; those before are still there\n", s->types_fault.data);
    else
        buf_puts(&body, "[+]types ok\n");
    bool good = workers && s->handlers_loaded && !s->draining && trouble == NULL;
    if (http_query(r, "verbose") == NULL)
        buf_clear(&body);
    buf_puts(&body, good ? "ready\n" : "not ready\n");
    if (!good)
        http_set_header(r, "Retry-After", "1");
    http_answer(r, good ? 200 : 503, TEXT_TYPE, &body);
}

static void on_verdict(struct health_waiter *w) {
    struct ready_request *q = container_of(w, struct ready_request, waiter);
    answer_ready(q->server, q->request);
}

void api_readyz(struct server *s, struct http_request *r, struct route_match m) {
    struct ready_request *q = calloc(1, sizeof *q);
    (void)m;
    if (q == NULL) {
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
        return;
    }
    *q = (struct ready_request){.waiter = {.notify = on_verdict}, .server = s, .request = r};
    http_set_state(r, q);
    if (health_check(s->health, &q->waiter))
        answer_ready(s, r);
    else
        http_suspend(r);
}

void api_ready_hangup(struct server *s, struct http_request *r) {
    struct ready_request *q = http_state(r);
    if (q != NULL)
        health_forget(s->health, &q->waiter);
    http_abandon(r);
}

void api_ready_done(struct server *s, struct http_request *r) {
    struct ready_request *q = http_state(r);
    if (q != NULL)
        health_forget(s->health, &q->waiter);
    free(q);
    http_set_state(r, NULL);
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

static void read_connections(struct metric_out *to, const void *field) {
    metric_add(to, http_connections(((const struct server *)field)->http), NULL, NULL);
}

static void read_refused(struct metric_out *to, const void *field) {
    metric_read_label_counts(to, http_refused(((const struct server *)field)->http));
}

static void read_slow_closed(struct metric_out *to, const void *field) {
    metric_read_label_counts(to, http_slow_closed(((const struct server *)field)->http));
}

static void read_unread_closed(struct metric_out *to, const void *field) {
    metric_add(to, http_unread_closed(((const struct server *)field)->http), NULL, NULL);
}

static void read_tls_expires(struct metric_out *to, const void *field) {
    int64_t expires_s = http_tls_expires_s(((const struct server *)field)->http);
    if (expires_s > 0)
        metric_add(to, (uint64_t)expires_s, NULL, NULL);
}

static void read_tls_failed(struct metric_out *to, const void *field) {
    metric_add(to, http_tls_failed(((const struct server *)field)->http), NULL, NULL);
}

static void read_waiting(struct metric_out *to, const void *field) {
    metric_add(to, (uint64_t)((const struct server *)field)->waiting, NULL, NULL);
}

static const struct metric client_metrics[] = {
    {"offload_http_connections", METRIC_GAUGE, read_connections, .help = "Open connections."},
    {"offload_http_refused_total", METRIC_COUNTER, read_refused, .label = "reason",
     .help = "Requests rejected and connections closed by a limit of connections or requests."},
    {"offload_http_slow_closed_total", METRIC_COUNTER, read_slow_closed, .label = "what",
     .help = "Connections closed because a body came, or an answer was taken, more slowly than --min-rate."},
    {"offload_http_unread_closed_total", METRIC_COUNTER, read_unread_closed,
     .help = "Connections closed because memory was short and their clients did not read their answers."},
    {"offload_tls_certificate_expires_seconds", METRIC_GAUGE, read_tls_expires,
     .help = "When the certificate of --tls-cert expires, in Unix time; not there without it."},
    {"offload_tls_handshakes_failed_total", METRIC_COUNTER, read_tls_failed,
     .help = "TLS handshakes that have begun and were never done."},
    {"offload_http_waiting", METRIC_GAUGE, read_waiting, .help = "Clients waiting for a job, bounded by --max-sync."},
};

static void write_handler_counters(struct server *s, struct buf *out) {
    const struct handler_counter *c;
    for (size_t i = 0; (c = host_counter(i)) != NULL; i++)
        buf_printf(out, "# HELP offload_%s %s\n# TYPE offload_%s counter\noffload_%s %llu\n", c->name, c->help, c->name,
                   c->name, (unsigned long long)pool_counted(s->pool, i));
}

void api_metrics(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    (void)m;
    metrics_write(&s->metrics, &body);
    jobs_write_metrics(s->jobs, &body);
    guard_write_metrics(s, &body);
    webhooks_write_metrics(s->webhooks, &body);
    METRICS_WRITE_TABLE(&body, client_metrics, s);
    write_handler_counters(s, &body);
    metrics_write_process(&body);
    http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

void api_openapi_yaml(struct server *s, struct http_request *r, struct route_match m) {
    (void)s, (void)m;
    http_answer_static(r, 200, "application/yaml", asset_openapi_yaml,
                       asset_size(asset_openapi_yaml, asset_openapi_yaml_end));
}

void api_openapi_json(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0}, types = {0};
    (void)s, (void)m;
    for (size_t i = 0; i < host_count(); i++)
        host_describe_submission(i, &types);
    if (types.size == 0 && !types.failed) {
        http_answer_static(r, 200, JSON_TYPE, asset_openapi_json,
                           asset_size(asset_openapi_json, asset_openapi_json_end));
        return;
    }
    body.failed = types.failed;
    buf_append(&body, asset_openapi_json, asset_size(asset_openapi_json, asset_openapi_json_rest));
    buf_append(&body, types.data, types.size);
    buf_append(&body, asset_openapi_json_rest, asset_size(asset_openapi_json_rest, asset_openapi_json_end));
    buf_deinit(&types);
    http_answer(r, 200, JSON_TYPE, &body);
}

void api_problem(struct server *s, struct http_request *r, struct route_match m) {
    struct buf body = {0};
    enum problem_code code = problem_find(m.text, m.size);
    (void)s;
    if (code == PROBLEM_COUNT) {
        http_answer_problem(r, PROBLEM_NOT_FOUND, "there is no such problem type", NULL);
        return;
    }
    const struct problem *p = problem_get(code);
    buf_printf(&body, "%s\nHTTP status %u: %s\n\n%s\n", p->code, p->status, p->title, p->help);
    http_answer(r, 200, TEXT_TYPE, &body);
}
