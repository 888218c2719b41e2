/* clients.c: see clients.h. Front end.
 *
 * No timer frees an address: whenever one loses its last connection, or is new, a few old ones are looked at. A bucket
 * holds one second's requests, so it is full a second after the last one, and the list of those that wait for that is in
 * the order in which they become free, but for a second. */
#include "server/http/clients.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "base/clock.h"

#define PREFIX_BYTES 8 /* of an IPv6 address */

/* False: the client has no address. */
static bool read_address(const struct sockaddr *peer, unsigned char key[16]) {
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96 */
    memset(key, 0, 16);
    if (peer->sa_family == AF_INET) {
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + sizeof mapped, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
        return true;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    memcpy(key, a, IN6_IS_ADDR_V4MAPPED(a) ? sizeof *a : PREFIX_BYTES);
    return true;
}

static void mix_secret(struct http_clients *all, unsigned char key[16]) {
    if (!all->has_secret && getrandom(all->secret, sizeof all->secret, 0) != (ssize_t)sizeof all->secret)
        abort(); /* cannot happen: see base/id.c */
    all->has_secret = true;
    for (size_t i = 0; i < sizeof all->secret; i++)
        key[i] ^= all->secret[i];
}

static void forget(struct http_clients *all, struct http_client *c) {
    DL_DELETE(all->idle, c);
    all->idle_count--;
    all->count--;
    HASH_DEL(all->table, c);
    free(c);
}

static void forget_old(struct http_clients *all, int64_t now_ns) {
    while (all->idle != NULL && ((all->idle->full_ns <= now_ns && all->idle->handshakes_full_ns <= now_ns) ||
                                 all->idle_count > HTTP_MAX_IDLE_CLIENTS))
        forget(all, all->idle);
}

static struct http_client *add(struct http_clients *all, const unsigned char key[16]) {
    struct http_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    memcpy(c->key, key, sizeof c->key);
    HASH_ADD(hh, all->table, key, sizeof c->key, c);
    if (!HASH_HOLDS(c)) {
        free(c);
        return NULL;
    }
    all->count++;
    return c;
}

bool http_clients_enter(struct http_clients *all, const struct sockaddr *peer, int64_t now_ns,
                        struct http_client **client) {
    unsigned char key[16];
    struct http_client *c;
    *client = NULL;
    if (!read_address(peer, key))
        return true;
    mix_secret(all, key);
    HASH_FIND(hh, all->table, key, sizeof key, c);
    if (c == NULL) {
        forget_old(all, now_ns);
        c = add(all, key);
    } else if (c->connections == 0) {
        DL_DELETE(all->idle, c);
        all->idle_count--;
    }
    if (c == NULL)
        return false;
    c->connections++;
    *client = c;
    return true;
}

void http_clients_leave(struct http_clients *all, struct http_client *client, int64_t now_ns) {
    if (client == NULL || --client->connections > 0)
        return;
    DL_APPEND(all->idle, client);
    all->idle_count++;
    forget_old(all, now_ns);
}

static bool take(int64_t *full_ns, uint64_t per_second, int64_t now_ns) {
    int64_t from_ns = *full_ns > now_ns ? *full_ns : now_ns;
    int64_t then_ns = from_ns + NS_PER_S / (int64_t)per_second;
    if (then_ns - now_ns > NS_PER_S)
        return false;
    *full_ns = then_ns;
    return true;
}

bool http_client_take(struct http_client *client, uint64_t per_second, int64_t now_ns) {
    return take(&client->full_ns, per_second, now_ns);
}

bool http_client_take_handshake(struct http_client *client, uint64_t per_second, int64_t now_ns) {
    return take(&client->handshakes_full_ns, per_second < 10 ? 1 : per_second / 10, now_ns);
}

void http_clients_deinit(struct http_clients *all) {
    while (all->idle != NULL)
        forget(all, all->idle);
}
