/* webhook_transfer.h: POST requests to URLs that strangers named, on the event loop: libcurl's multi interface behind a
 * start, a cancel and a callback. Nothing here blocks: names are resolved in threads of libcurl's own.
 *
 * A transfer follows no redirect, uses no proxy, cookie or .netrc, speaks HTTP/1.1 by http or https alone, verifies
 * certificates (against SSL_CERT_FILE and SSL_CERT_DIR if these are set), shares its connection with no other, and
 * reads at most TRANSFER_MAX_ANSWER bytes of the answer, which it throws away. */
#ifndef OFFLOAD_WEBHOOK_TRANSFER_H
#define OFFLOAD_WEBHOOK_TRANSFER_H

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
    bool refused;          /* an address was refused by may_connect, and no other could be connected to */
    int64_t retry_after_s; /* what the answer's Retry-After says; -1: nothing */
};

/* Everything is borrowed until `done` is called or the transfer is cancelled. */
struct transfer_request {
    const char *url;
    const char *headers[TRANSFER_MAX_HEADERS]; /* "name: value"; NULL ends them. Copied */
    const void *body;
    size_t size;
    int64_t timeout_ns;
    /* Asked for the very address that is to be connected to. */
    bool (*may_connect)(void *arg, const struct sockaddr *address);
    /* Called once, from the event loop, never before transfer_start has returned. The transfer is gone then. */
    void (*done)(void *arg, const struct transfer_result *result);
    void *arg;
};

struct transfers *transfers_new(struct loop *loop); /* NULL: out of memory, or a libcurl without its own threads */
void transfers_free(struct transfers *ts);          /* all transfers must have ended or been cancelled */

struct transfer *transfer_start(struct transfers *ts, const struct transfer_request *request); /* NULL: out of memory */
void transfer_cancel(struct transfer *t); /* `done` will not be called */

#endif
