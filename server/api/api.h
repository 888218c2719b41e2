/* server.h: what the parts of the front end share: one struct, made by main.c, and the route handlers. */
#ifndef OFFLOAD_SERVER_H
#define OFFLOAD_SERVER_H

#include "server/config.h"
#include "server/api/health.h"
#include "server/http/http.h"
#include "server/api/idempotency.h"
#include "server/jobs/jobs.h"
#include "server/model/metrics.h"
#include "server/webhooks/webhooks.h"

struct server {
    struct config config;
    struct loop *loop;
    struct http *http;
    struct jobs *jobs;
    struct pool *pool;
    struct health *health;
    struct store *store; /* of jobs that last; belongs to `jobs` */
    struct idempotency *idempotency;
    struct webhooks *webhooks;
    struct metrics metrics;
    bool handlers_loaded; /* handlers were loaded once: jobs are taken */
    bool draining;
    int exit_status;
    int64_t waiting; /* clients suspended until a job ends: bounded by --max-sync */
    int argc;
    char **argv;
    struct watch signal_watch;
    struct timer drain_timer;
};

/* routes.c: which function answers what. */
struct http_events routes_events(struct server *s);
int routes_init(struct server *s); /* 0, or -1: out of memory */
void routes_free(struct server *s);

/* The text behind the route's prefix: the id of /v1/jobs/{id}/result. Not NUL-terminated where it ends. */
struct route_match {
    const char *text;
    size_t size;
};

typedef void route_handler(struct server *s, struct http_request *r, struct route_match m);

/* api_submit.c, api_jobs.c; pending.c */
route_handler api_submit, api_get_job, api_get_result, api_cancel_job, api_delete_job, api_list_jobs;
void api_hangup(struct server *s, struct http_request *r); /* of a suspended request */
void api_done(struct server *s, struct http_request *r);   /* frees its state */

/* events.c */
route_handler api_events;
void api_events_done(struct server *s, struct http_request *r);

/* api_service.c */
route_handler api_types, api_type, api_workers, api_livez, api_readyz, api_metrics, api_openapi_yaml, api_openapi_json,
    api_problem;
void api_ready_hangup(struct server *s, struct http_request *r);
void api_ready_done(struct server *s, struct http_request *r);

#endif
