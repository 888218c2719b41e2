/* routes.c: see api.h. Front end. The table of routes, and what all requests have in common: method, media type,
 * metrics and log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/api/api.h"
#include "server/api/compression.h"
#include "server/api/deferred.h"
#include "server/api/events.h"
#include "server/api/guard.h"
#include "server/api/item.h"
#include "server/api/jobs.h"
#include "server/api/openai.h"
#include "server/api/openai_error.h"
#include "server/api/origin.h"
#include "server/api/service.h"
#include "server/api/submit.h"

enum method { METHOD_GET, METHOD_POST, METHOD_DELETE, METHODS };
static const char *const method_names[METHODS] = {"GET", "POST", "DELETE"};

#define MAX_PARAMETERS 4  /* of a route's query */
#define METHODS_SIZE   64 /* bytes of the names of all methods, with commas */

/* A row says all about a route: metrics show its path, and Allow follows from its handlers. */
struct route {
    const char *path;                 /* with at most two {names}, which stand for one segment each that is not empty */
    route_handler *handlers[METHODS]; /* NULL: the route does not have that method */
    void (*begin)(struct server *s, struct http_request *r);  /* of a POST, from http_events.begin; may be NULL */
    void (*hangup)(struct server *s, struct http_request *r); /* NULL: http_abandon */
    void (*done)(struct server *s, struct http_request *r);   /* NULL: nothing to free */
    http_problem_writer *problems;                            /* NULL: its errors are problem documents */
    bool probe;                            /* it is answered beyond the limits of connections and requests, too */
    bool open;                             /* it needs no key */
    const char *query[MAX_PARAMETERS + 1]; /* the parameters that GET takes; NULL ends them. Other methods take none */
};

static const struct route routes[] = {
    {"/v1/jobs",
     {api_list_jobs, api_submit},
     api_submit_begin,
     deferred_on_hangup,
     deferred_on_done,
     .query = {"cursor", "limit", "status", "type"}},
    {"/v1/jobs/{id}", {api_get_job, NULL, api_delete_job}, NULL, deferred_on_hangup, deferred_on_done},
    {"/v1/jobs/{id}/result", {api_get_result}, NULL, deferred_on_hangup, deferred_on_done},
    {"/v1/jobs/{id}/result/{index}", {api_get_item}, NULL, deferred_on_hangup, deferred_on_done},
    {"/v1/jobs/{id}/log", {api_get_log}, NULL, deferred_on_hangup, deferred_on_done},
    {"/v1/jobs/{id}/events", {api_events}, NULL, NULL, api_events_done},
    {"/v1/jobs/{id}/cancel", {NULL, api_cancel_job}, NULL, deferred_on_hangup, deferred_on_done},
    {"/v1/embeddings",
     {NULL, api_embeddings},
     api_embeddings_begin,
     deferred_on_hangup,
     deferred_on_done,
     .problems = openai_write_error},
    {"/v1/models", {api_models}, .problems = openai_write_error},
    {"/v1/models/{id}", {api_model}, .problems = openai_write_error},
    {"/v1/types", {api_types}},
    {"/v1/types/{name}", {api_type}},
    {"/v1/workers", {api_workers}},
    {"/livez", {api_livez}, .probe = true, .open = true},
    {"/healthz", {api_livez}, .probe = true, .open = true},
    {"/readyz",
     {api_readyz},
     NULL,
     api_ready_hangup,
     api_ready_done,
     .probe = true,
     .open = true,
     .query = {"verbose"}},
    {"/metrics", {api_metrics}, .probe = true},
    {"/openapi.yaml", {api_openapi_yaml}, .open = true},
    {"/openapi.json", {api_openapi_json}, .open = true},
    {"/problems/{code}", {api_problem}, .open = true},
};
#define ROUTES (sizeof routes / sizeof routes[0])

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static bool match(const struct route *route, const char *path, struct route_match *m) {
    const char *pattern = route->path;
    *m = (struct route_match){0};
    for (;;) {
        while (*pattern == *path && *pattern != '\0' && *pattern != '{') {
            pattern++;
            path++;
        }
        if (*pattern != '{')
            return *pattern == *path; /* both at their end */
        size_t size = strcspn(path, "/");
        if (size == 0)
            return false;
        if (m->text == NULL)
            m->text = path, m->size = size;
        else
            m->second = path, m->second_size = size;
        path += size;
        pattern = strchr(pattern, '}') + 1;
    }
}

static const struct route *find_route(const char *path, struct route_match *m) {
    for (size_t i = 0; i < ROUTES; i++)
        if (match(&routes[i], path, m))
            return &routes[i];
    return NULL;
}

static route_handler *find_handler(const struct route *route, const char *method) {
    if (strcmp(method, "HEAD") == 0) /* http then sends no body */
        method = "GET";
    for (int i = 0; i < METHODS; i++)
        if (strcmp(method_names[i], method) == 0)
            return route->handlers[i];
    return NULL;
}

/* Writes "DELETE, GET, HEAD, OPTIONS, POST", without the methods that the route does not have. NULL stands for the whole
 * service. */
static void list_methods(const struct route *route, char allow[METHODS_SIZE]) {
    static const char *const methods[] = {"DELETE", "GET", "HEAD", "OPTIONS", "POST"};
    size_t size = 0;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (route == NULL || strcmp(methods[i], "OPTIONS") == 0 || find_handler(route, methods[i]) != NULL)
            size += (size_t)snprintf(allow + size, METHODS_SIZE - size, "%s%s", size > 0 ? ", " : "", methods[i]);
}

/* ---- the query --------------------------------------------------------------------------------------------------- */

struct query_check {
    const char *const *known; /* NULL ends them */
    unsigned seen;            /* a bit for each of them */
    char bad[120];            /* what is wrong, or "" */
};

static void check_parameter(void *arg, const char *name, const char *value) {
    struct query_check *c = arg;
    unsigned i = 0;
    if (c->bad[0] != '\0' || (name[0] == '\0' && value[0] == '\0'))
        return;
    while (c->known[i] != NULL && strcmp(c->known[i], name) != 0)
        i++;
    if (c->known[i] == NULL)
        snprintf(c->bad, sizeof c->bad, "unknown query parameter \"%.60s\"", name);
    else if ((c->seen & 1U << i) != 0)
        snprintf(c->bad, sizeof c->bad, "the query parameter \"%.60s\" is there more than once", name);
    c->seen |= 1U << i;
}

/* The values are left to the handler; http has seen to it that they have no NUL. False: the query is wrong, and the request is answered. */
static bool check_query(const struct route *route, struct http_request *r) {
    static const char *const none[] = {NULL};
    bool gets = strcmp(http_method(r), "GET") == 0 || strcmp(http_method(r), "HEAD") == 0;
    struct query_check c = {.known = gets ? route->query : none};
    http_each_query(r, check_parameter, &c);
    if (c.bad[0] == '\0')
        return true;
    http_answer_problem(r, PROBLEM_INVALID_QUERY, c.bad, NULL);
    return false;
}

/* Its query can be the submission itself, so it is checked elsewhere. */
static bool is_submission(const struct route *route, struct http_request *r) {
    return route != NULL && route->handlers[METHOD_POST] == api_submit && strcmp(http_method(r), "POST") == 0;
}

/* ---- events of http ---------------------------------------------------------------------------------------------- */

/* What a request changes needs `submit`, all else `read`. What no route answers tells nobody anything. */
static bool is_let_in(struct server *s, struct http_request *r, const struct route *route) {
    if (route == NULL || route->open || find_handler(route, http_method(r)) == NULL)
        return true;
    bool changes = strcmp(http_method(r), "POST") == 0 || strcmp(http_method(r), "DELETE") == 0;
    return guard_begin(s, r, changes ? ACCESS_SUBMIT : ACCESS_READ, route->begin != NULL && changes);
}

static void on_begin(void *arg, struct http_request *r) {
    struct route_match m;
    const struct route *route = find_route(http_path(r), &m);
    http_set_route(r, route);
    if (route != NULL)
        http_set_problem_writer(r, route->problems);
    bool is_probe = route != NULL && route->probe;
    if (!origin_begin(arg, r) || (!is_probe && http_reject_over_limit(r)) || !is_let_in(arg, r, route))
        return;
    if (route != NULL && route->begin != NULL && strcmp(http_method(r), "POST") == 0)
        route->begin(arg, r);
}

static void on_handle(void *arg, struct http_request *r) {
    struct route_match m = {0};
    const struct route *route = http_route(r); /* found in on_begin; only what stands for {name} is needed again */
    if (route != NULL)
        match(route, http_path(r), &m);
    if (route == NULL && strcmp(http_path(r), "*") != 0) {
        http_answer_problem(r, PROBLEM_NOT_FOUND, NULL, NULL);
        return;
    }
    route_handler *handler = route == NULL ? NULL : find_handler(route, http_method(r));
    if (handler != NULL) {
        if (is_submission(route, r) || check_query(route, r))
            handler(arg, r, m);
        return;
    }
    char allow[METHODS_SIZE];
    list_methods(route, allow);
    http_set_header(r, "Allow", allow); /* RFC 9110, section 10.2.1 */
    if (strcmp(http_method(r), "OPTIONS") == 0) {
        origin_set_preflight(arg, r, allow);
        http_answer_static(r, 204, NULL, "", 0);
    } else {
        http_answer_problem(r, PROBLEM_METHOD_NOT_ALLOWED, NULL, NULL);
    }
}

static void on_hangup(void *arg, struct http_request *r) {
    const struct route *route = http_route(r);
    bool ends = route != NULL && route->hangup == deferred_on_hangup && deferred_ends_with_fin(r);
    if (!ends && !http_client_has_left(r))
        return; /* the client has only closed its side, and reads the answer */
    if (route != NULL && route->hangup != NULL)
        route->hangup(arg, r);
    else
        http_abandon(r);
}

static void on_more(void *arg, struct http_request *r, size_t size) {
    guard_more(arg, r, size);
}

static void on_done(void *arg, struct http_request *r) {
    struct server *s = arg;
    const struct route *route = http_route(r);
    int64_t arrived_ns = http_arrived_ns(r);
    int64_t ns = arrived_ns == 0 ? 0 : clock_monotonic_ns() - arrived_ns;
    if (route != NULL && route->done != NULL)
        route->done(s, r);
    guard_done(r);
    const char *tenant = guard_tenant(r);
    size_t row = route == NULL ? ROUTES : (size_t)(route - routes);
    metrics_count_request(&s->metrics.routes[row], http_status(r), ns);
    LOG(LOG_DEBUG, "request", LOG_STR("request", http_id(r)), LOG_STR("method", http_method(r)),
        LOG_STR("path", http_path(r)), LOG_INT("status", http_status(r)), LOG_REAL("ms", (double)ns / 1e6),
        LOG_STR("key", tenant));
}

static void on_rejected(void *arg, unsigned status) {
    struct server *s = arg;
    metrics_count_request(&s->metrics.routes[ROUTES], status, 0);
}

struct http_events routes_events(struct server *s) {
    return (struct http_events){s, on_begin, on_more, on_handle, on_hangup, on_done, on_rejected, compression_begin};
}

int routes_init(struct server *s) {
    s->metrics.routes = calloc(ROUTES + 1, sizeof *s->metrics.routes);
    if (s->metrics.routes == NULL)
        return -1;
    s->metrics.route_count = ROUTES + 1;
    for (size_t i = 0; i < ROUTES; i++)
        s->metrics.routes[i].route = routes[i].path;
    s->metrics.routes[ROUTES].route = "other";
    return 0;
}

void routes_free(struct server *s) {
    free(s->metrics.routes);
}
