/* server.h: what the routes need to know of the front end: one struct, which main.c makes and owns; and what a route
 * is. Front end. */
#ifndef OFFLOAD_API_SERVER_H
#define OFFLOAD_API_SERVER_H

#include "server/access/access.h"
#include "server/api/health.h"
#include "server/api/idempotency.h"
#include "server/config.h"
#include "server/http/http.h"
#include "server/jobs/jobs.h"
#include "server/webhooks/webhooks.h"

struct server {
    struct config config;
    struct loop *loop;
    struct http *http;
    struct access *access;
    struct jobs *jobs;
    struct pool *pool;
    struct health *health;
    struct store *store; /* of the jobs that last; it belongs to `jobs` */
    struct idempotency *idempotency;
    struct webhooks *webhooks;
    struct compressed *compressed; /* list: answers that are sent compressed (compression.c) */
    struct metrics metrics;
    struct pool_sources sources[2]; /* of the job types: those that are loaded, and those of a reload under way */
    struct arena sources_memory[2];
    struct file_watch *file_watch; /* --reload; NULL: no files are watched */
    bool reloading;                /* sources[1] is in use */
    struct buf types_fault;        /* why the last reload could not load the types; empty: it could */
    bool handlers_loaded;          /* jobs are taken from then on */
    bool draining;
    int exit_status;
    int64_t waiting; /* clients that wait for a job; --max-sync limits them */
    int argc;
    char **argv;
    struct watch signal_watch, parent_watch; /* parent_watch: --exit-with-parent; fd -1: there is none */
    struct timer drain_timer;
};

/* What stands in the path for the names of its route: the id and the index in /v1/jobs/{id}/result/{index}. No NUL ends
 * them. */
struct route_match {
    const char *text; /* the first; NULL: there is none */
    size_t size;
    const char *second; /* likewise */
    size_t second_size;
};

/* Reads the id in a path. False: it is none. */
static inline bool route_read_id(struct route_match m, struct id *id) {
    char text[ID_TEXT_SIZE] = "";
    if (m.size != sizeof text - 1)
        return false;
    memcpy(text, m.text, m.size);
    return id_parse(text, id);
}

/* Answers the request, or suspends it. */
typedef void route_handler(struct server *s, struct http_request *r, struct route_match m);

#endif
