/* clients.h: the addresses that clients come from: how many connections each has open, and how often each asks. An
 * address is all of IPv4's, also within IPv6 (::ffff:192.0.2.1), and the first 64 bits of IPv6's, because the rest is for
 * a client to choose (RFC 4291, section 2.5.1). Clients of Unix sockets have none. For this room only. Event loop's
 * thread.
 *
 *     entered ──► has connections ──► the last one is gone ──► its bucket is full again ──► forgotten
 *                        ▲                                 │
 *                        └────────── entered ──────────────┘
 */
#ifndef OFFLOAD_HTTP_CLIENTS_H
#define OFFLOAD_HTTP_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attributes.h"
#include "base/table.h"

#define HTTP_MAX_IDLE_CLIENTS 4096 /* addresses without a connection; beyond it the oldest is forgotten early */

struct http_connection;

struct http_client {
    unsigned char key[16]; /* its address, mixed with the secret */
    UT_hash_handle hh;
    unsigned connections;
    /* The bucket of a second's requests is full from this time on; monotonic. Each request moves it by its share of a
     * second, so the bucket is empty when this is a second ahead. */
    int64_t full_ns;
    int64_t handshakes_full_ns;      /* the same for handshakes of TLS */
    struct http_connection *spare;   /* connection.c's list: those beyond its limit, oldest first */
    struct http_client *prev, *next; /* in all->idle, if it has no connection */
};

/* Zeroed by its owner. */
struct http_clients {
    struct http_client *table;
    struct http_client *idle; /* in the order in which their last connections went */
    unsigned count, idle_count;
    unsigned char secret[16]; /* so that nobody can choose addresses that meet in the table */
    bool has_secret;
};

/* A client has connected. Sets *client to its address, which stays until http_clients_leave; NULL: it has none. False:
 * memory ran out. */
MUST_CHECK bool http_clients_enter(struct http_clients *all, const struct sockaddr *peer, int64_t now_ns,
                                   struct http_client **client);
/* A connection of the client is gone. NULL is allowed. */
void http_clients_leave(struct http_clients *all, struct http_client *client, int64_t now_ns);
/* Takes one request from its bucket, of so many a second, 1 to 10^9. False: it is empty. */
MUST_CHECK bool http_client_take(struct http_client *client, uint64_t per_second, int64_t now_ns);
/* The same for a handshake, which costs as much as ten short requests: a tenth as many, and at least one a second. */
MUST_CHECK bool http_client_take_handshake(struct http_client *client, uint64_t per_second, int64_t now_ns);
/* Forgets those without a connection. There must be no other. */
void http_clients_deinit(struct http_clients *all);

#endif
