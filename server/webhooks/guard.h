/* guard.h: where webhooks may go. Front end. A client names the URL, so without a guard it could make the service talk
 * to what only the service can reach: itself, its neighbours, the cloud's metadata (server-side request forgery,
 * OWASP).
 *
 * The rule: https to addresses that are globally reachable by the special-purpose address registries (RFC 6890), and
 * whatever --webhook-allow names, by http too. The URL is checked when it is submitted, the address when it is
 * connected to: names are resolved in between, and the answer may have changed. */
#ifndef OFFLOAD_WEBHOOKS_GUARD_H
#define OFFLOAD_WEBHOOKS_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attributes.h"
#include "base/buf.h"

#define WEBHOOK_MAX_URL     2048
#define WEBHOOK_HOST_SIZE   256 /* a host name and a NUL */
#define WEBHOOK_MAX_ALLOWED 16

/* What one --webhook-allow names: a host by its name, or a network. */
struct webhook_allowed {
    char host[WEBHOOK_HOST_SIZE]; /* "" for a network */
    uint8_t network[16];          /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;                /* of the network that count: 0..128 */
    uint16_t port;                /* 0: any */
};

struct webhook_allow {
    struct webhook_allowed at[WEBHOOK_MAX_ALLOWED];
    unsigned count;
};

/* What the guard has to know of a URL when it comes to connecting. */
struct webhook_target {
    char host[WEBHOOK_HOST_SIZE]; /* as it is in the URL, without brackets */
    bool https;
    bool named; /* --webhook-allow names the host: any address of it will do */
};

/* Adds what one --webhook-allow says: "hooks.internal", "hooks.internal:8080", "10.1.2.3", "10.1.2.3:80",
 * "[fd00::1]:80", "fd00::1", "10.0.0.0/8", "fd00::/8". 0, or -1 with one line in `error` that names the value. */
MUST_CHECK int webhook_allow_add(struct webhook_allow *allow, const char *text, struct buf *error);

/* Checks a URL as a client wrote it, and fills in the target. 0, or -1 with what is wrong in `detail`: the predicate
 * of a sentence, such as "must begin with https://". */
MUST_CHECK int webhook_guard_url(const struct webhook_allow *allow, const char *url, struct webhook_target *target,
                                 struct buf *detail);

/* True if a connection for that target may be made to that address, which is IPv4 or IPv6, with its port. */
bool webhook_guard_address(const struct webhook_allow *allow, const struct webhook_target *target,
                           const struct sockaddr *address);

#endif
