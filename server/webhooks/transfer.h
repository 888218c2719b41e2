/* transfer.h: POST requests to URLs that strangers named: libcurl's multi interface behind a start, a cancel and a
 * callback. Front end; all from the event loop. Nothing here blocks: names are resolved in threads of libcurl's own.
 *
 * A transfer follows no redirect, uses no proxy, cookie or .netrc, speaks HTTP/1.1 by http or https only, verifies
 * certificates (against SSL_CERT_FILE and SSL_CERT_DIR if these are set), shares its connection with no other, and
 * reads at most TRANSFER_MAX_ANSWER bytes of the answer, which it throws away. */
#ifndef OFFLOAD_WEBHOOKS_TRANSFER_H
#define OFFLOAD_WEBHOOKS_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/loop.h"

#define TRANSFER_MAX_ANSWER  (64 * 1024)
#define TRANSFER_MAX_HEADERS 8

struct transfers;
struct transfer;

struct transfer_result {
    unsigned status;       /* of HTTP; 0: there was no answer */
    const char *error;     /* why there was none; borrowed for the call. NULL if there was one */
    bool not_allowed;      /* may_connect said no to an address, and no other could be connected to */
    int64_t retry_after_s; /* of the answer's Retry-After (RFC 9110, section 10.2.3); -1: it has none */
};

/* All but the headers is borrowed until `done` is called or the transfer is cancelled. */
struct transfer_request {
    const char *url;
    const char *headers[TRANSFER_MAX_HEADERS]; /* "name: value"; NULL ends fewer. Copied */
    const void *body;
    size_t size;        /* of the body, bytes */
    int64_t timeout_ns; /* of all of it */
    /* Whether that address, to which a connection would be made now, is allowed. */
    bool (*may_connect)(void *arg, const struct sockaddr *address);
    /* Called once, from the event loop, never before transfer_start has returned. The transfer is freed then. */
    void (*done)(void *arg, const struct transfer_result *result);
    void *arg;
};

struct transfers *transfers_new(struct loop *loop); /* NULL: out of memory, or libcurl resolves names without threads */
void transfers_free(struct transfers *ts);          /* all transfers must have ended, or been cancelled */

struct transfer *transfer_start(struct transfers *ts, const struct transfer_request *request); /* NULL: out of memory */
void transfer_cancel(struct transfer *t); /* `done` is not called; frees the transfer */

#endif
