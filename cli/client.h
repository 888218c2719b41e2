/* client.h: one HTTP exchange with the service (RFC 9110). All of libcurl is behind these functions. */
#ifndef OFFLOAD_CLI_CLIENT_H
#define OFFLOAD_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"

struct client; /* a base URL and the connection that is kept between exchanges */

/* What the service is told of who asks, and whom we trust. Each can be NULL. Borrowed as long as the client lives. */
struct client_access {
    const char *key;      /* the API key, which goes into Authorization (RFC 6750); printable ASCII without spaces */
    const char *ca;       /* a file of certificates to trust, and no others; NULL: those of the system */
    const char *cert;     /* a file with our certificate */
    const char *cert_key; /* a file with its private key; NULL: it is in the same one */
};

/* Data that are sent as they are. */
struct client_part {
    FILE *file; /* a regular one, which is read from its start; borrowed */
    int64_t size;
    const char *media_type; /* NULL: not known */
};

struct client_request {
    const char *method;
    struct buf path;        /* what follows the base URL, with the query: "/v1/jobs"; freed by the caller */
    const char *prefer;     /* the Prefer field (RFC 7240), or NULL */
    const char *accept;     /* the media type of a 200; NULL: JSON, or anything if there is a sink */
    const char *key;        /* the Idempotency-Key, or NULL */
    const char *last_event; /* the Last-Event-ID, or NULL */
    const struct buf *body; /* JSON, or NULL; borrowed */
    /* With them the request is a form (RFC 7578): the body is its part "job", and each of them a part "data". */
    const struct client_part *parts;
    size_t part_count;
    int wait_s;         /* how long the service can wait before it answers */
    int64_t limit_ms;   /* for the whole exchange; 0: no limit as long as a byte comes every 30 s + wait_s */
    FILE *sink;         /* gets the body of a 200 as it arrives; NULL: it goes to the response */
    bool uninterrupted; /* a signal that interrupt.h has noted does not end the exchange */
};

struct client_response {
    int status;
    int64_t retry_after_s; /* the Retry-After field; 0: there was none */
    bool json, plain;      /* the media type is application/json; it is text/plain */
    /* It cannot be from offload: its media type is not the one that such an answer has, or it lacks a field
     * that offload always sends. The sink has got nothing of it. */
    bool foreign;
    char last;       /* the last byte that the sink has got */
    struct buf body; /* at most 16 MiB; empty if the sink has got it */
};

enum client_result {
    CLIENT_ANSWERED,
    CLIENT_FAILED, /* there was no usable answer: client_error says why */
    CLIENT_INTERRUPTED
};

/* url: http://…, https://… or unix:/path/of/socket. NULL, after a line on stderr, if it is another one or if memory ran
 * out. */
MUST_CHECK struct client *client_new(const char *url, const struct client_access *access);
void client_free(struct client *c);
const char *client_name(const struct client *c);  /* the URL without credentials; lives as long as the client */
const char *client_error(const struct client *c); /* of the last exchange that failed; valid until the next one */
bool client_is_hopeless(
    const struct client *c); /* the last exchange failed, and so will the same one: of a certificate */
bool client_has_key(const struct client *c);

/* Appends text percent-encoded (RFC 3986 section 2.1) for a path segment or a query. */
void client_escape(struct client *c, struct buf *out, const char *text);
/* Overwrites *response, whose body must be initialised: its memory is used again. The caller frees the body. */
MUST_CHECK enum client_result client_perform(struct client *c, const struct client_request *request,
                                             struct client_response *response);

#endif
