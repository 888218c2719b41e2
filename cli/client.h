/* client.h: one HTTP exchange with the service. All of libcurl is behind these functions. */
#ifndef OFFLOAD_CLI_CLIENT_H
#define OFFLOAD_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"

struct client; /* a base URL and the connection that is kept between exchanges */

struct client_request {
    const char *method;
    struct buf path;        /* from the base URL on, query included: "/v1/jobs"; freed by the caller */
    const char *prefer;     /* the Prefer field, or NULL */
    const char *accept;     /* the media type wanted; NULL: JSON, or anything if there is a sink */
    const char *key;        /* the Idempotency-Key, or NULL */
    const char *last_event; /* the Last-Event-ID, or NULL */
    const struct buf *body; /* JSON, or NULL; borrowed */
    int wait_s;             /* how long the service was asked to hold its answer back */
    int64_t limit_ms;       /* for the whole exchange; 0: as long as something moves every 30 s */
    FILE *sink;             /* takes the body of a 200 as it arrives, if not NULL */
    bool uninterrupted;     /* a signal that interrupt.h notes does not end it */
};

struct client_response {
    int status;
    int64_t retry_after_s; /* 0: not sent */
    bool json;             /* the media type is application/json */
    char last;             /* the last byte that went to the sink */
    struct buf body;       /* bounded; empty if it went to the sink */
};

enum client_result {
    CLIENT_ANSWERED,
    CLIENT_FAILED, /* no answer, or none that can be used: client_error says why */
    CLIENT_INTERRUPTED
};

/* http://…, https://… or unix:/path/of/socket. NULL, with a line on stderr, if it is no such URL. */
MUST_CHECK struct client *client_new(const char *url);
void client_free(struct client *c);
const char *client_name(const struct client *c); /* the URL without credentials */
const char *client_error(const struct client *c);

/* Appends text percent-escaped for a path segment or a query. */
void client_escape(struct client *c, struct buf *out, const char *text);
/* Overwrites *response, whose body must be initialised; caller frees the body. */
MUST_CHECK enum client_result client_perform(struct client *c, const struct client_request *request,
                                             struct client_response *response);

#endif
