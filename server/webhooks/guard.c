/* guard.c: see guard.h. Front end. Every address has 16 bytes, and IPv4 addresses are mapped into IPv6 (RFC 4291,
 * section 2.5.5.2), so one comparison of prefixes does for both. URLs are taken apart by libcurl, which will also use
 * them. */
#include "server/webhooks/guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAPPED_BITS 96 /* the prefix ::ffff:0:0/96 */

struct prefix {
    const char *network;
    unsigned bits;
};

/* What is not globally reachable, by the IANA special-purpose address registries (RFC 6890 and its updates), and
 * multicast and reserved addresses. A range with only a few reachable addresses in it counts as not reachable. */
static const struct prefix ipv4_not_public[] = {
    {"0.0.0.0", 8},       /* this network */
    {"10.0.0.0", 8},      /* private (RFC 1918) */
    {"100.64.0.0", 10},   /* shared by carriers (RFC 6598) */
    {"127.0.0.0", 8},     /* loopback */
    {"169.254.0.0", 16},  /* link local; metadata of clouds */
    {"172.16.0.0", 12},   /* private */
    {"192.0.0.0", 24},    /* IETF protocols */
    {"192.0.2.0", 24},    /* documentation */
    {"192.88.99.0", 24},  /* 6to4 relays, deprecated (RFC 7526) */
    {"192.168.0.0", 16},  /* private */
    {"198.18.0.0", 15},   /* benchmarks (RFC 2544) */
    {"198.51.100.0", 24}, /* documentation */
    {"203.0.113.0", 24},  /* documentation */
    {"224.0.0.0", 4},     /* multicast */
    {"240.0.0.0", 4},     /* reserved, and broadcast */
};
/* Of IPv6 only 2000::/3 is given out for global unicast (RFC 4291); these are the exceptions in it. */
static const struct prefix ipv6_not_public[] = {
    {"2001::", 23},     /* IETF protocols: Teredo, benchmarks, ORCHID */
    {"2001:db8::", 32}, /* documentation */
    {"3fff::", 20},     /* documentation (RFC 9637) */
};
/* Addresses that stand for the IPv4 address within them. */
static const struct {
    struct prefix prefix;
    size_t at;
} ipv4_within[] = {
    {{"64:ff9b::", 96}, 12}, /* NAT64 (RFC 6052) */
    {{"2002::", 16}, 2},     /* 6to4 (RFC 3056) */
};

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static void map_ipv4(uint8_t to[16], const void *ipv4) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memcpy(to, mapped, sizeof mapped);
    memcpy(to + sizeof mapped, ipv4, 4);
}

/* "127.0.0.1" or "::1". */
static bool parse_address(const char *text, uint8_t to[16]) {
    struct in_addr ipv4;
    if (inet_pton(AF_INET, text, &ipv4) != 1)
        return inet_pton(AF_INET6, text, to) == 1;
    map_ipv4(to, &ipv4);
    return true;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits) {
    unsigned rest = bits % 8;
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

static bool is_ipv4(const uint8_t address[16]) {
    uint8_t zero[16];
    map_ipv4(zero, (const uint8_t[4]){0});
    return same_prefix(address, zero, MAPPED_BITS);
}

static bool is_within(const uint8_t address[16], const struct prefix *p) {
    uint8_t network[16];
    parse_address(p->network, network);
    return same_prefix(address, network, p->bits + (is_ipv4(network) ? MAPPED_BITS : 0));
}

static bool is_in_table(const uint8_t address[16], const struct prefix *table, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (is_within(address, &table[i]))
            return true;
    return false;
}

static bool is_public_ipv4(const uint8_t address[16]) {
    return !is_in_table(address, ipv4_not_public, sizeof ipv4_not_public / sizeof ipv4_not_public[0]);
}

static bool is_public(const uint8_t address[16]) {
    static const struct prefix global = {"2000::", 3};
    uint8_t inner[16];
    if (is_ipv4(address))
        return is_public_ipv4(address);
    for (size_t i = 0; i < sizeof ipv4_within / sizeof ipv4_within[0]; i++) {
        if (is_within(address, &ipv4_within[i].prefix)) {
            map_ipv4(inner, address + ipv4_within[i].at);
            return is_public_ipv4(inner);
        }
    }
    return is_within(address, &global) &&
           !is_in_table(address, ipv6_not_public, sizeof ipv6_not_public / sizeof ipv6_not_public[0]);
}

static bool network_allowed(const struct webhook_allow *allow, const uint8_t address[16], unsigned port) {
    for (unsigned i = 0; i < allow->count; i++) {
        const struct webhook_allowed *a = &allow->at[i];
        bool same_family = is_ipv4(a->network) == is_ipv4(address); /* ::/0 is about IPv6 */
        if (a->host[0] == '\0' && (a->port == 0 || a->port == port) && same_family &&
            same_prefix(address, a->network, a->bits))
            return true;
    }
    return false;
}

/* A name can be submitted with http if there is any network in which its address may turn out to be. */
static bool any_network_allowed(const struct webhook_allow *allow, unsigned port) {
    for (unsigned i = 0; i < allow->count; i++)
        if (allow->at[i].host[0] == '\0' && (allow->at[i].port == 0 || allow->at[i].port == port))
            return true;
    return false;
}

static bool host_allowed(const struct webhook_allow *allow, const char *host, unsigned port) {
    for (unsigned i = 0; i < allow->count; i++) {
        const struct webhook_allowed *a = &allow->at[i];
        if (a->host[0] != '\0' && (a->port == 0 || a->port == port) && strcasecmp(a->host, host) == 0)
            return true;
    }
    return false;
}

static bool address_allowed(const struct webhook_allow *allow, const struct webhook_target *t,
                            const uint8_t address[16], unsigned port) {
    return t->named || (t->https && is_public(address)) || network_allowed(allow, address, port);
}

bool webhook_guard_address(const struct webhook_allow *allow, const struct webhook_target *target,
                           const struct sockaddr *address) {
    const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)(const void *)address;
    uint8_t bytes[16];
    if (address->sa_family == AF_INET) {
        map_ipv4(bytes, &ipv4->sin_addr);
        return address_allowed(allow, target, bytes, ntohs(ipv4->sin_port));
    }
    return address->sa_family == AF_INET6 &&
           address_allowed(allow, target, ipv6->sin6_addr.s6_addr, ntohs(ipv6->sin6_port));
}

/* ---- what --webhook-allow says ----------------------------------------------------------------------------------- */

/* Digits alone, from..to. */
static bool parse_digits(const char *text, unsigned from, unsigned to, unsigned *value) {
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 5 || text[n] != '\0')
        return false;
    *value = (unsigned)strtoul(text, NULL, 10);
    return *value >= from && *value <= to;
}

/* Labels of letters, digits, - and _. The last label must not be a number: that would be a mistyped address. */
static bool is_host_name(const char *text) {
    const char *last = strrchr(text, '.');
    last = last == NULL ? text : last + 1;
    if (text[0] == '.' || text[0] == '-' || strstr(text, "..") != NULL || *last == '\0')
        return false;
    for (const char *c = text; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-_.", *c) == NULL)
            return false;
    return last[strspn(last, "0123456789")] != '\0';
}

static bool parse_network(char *text, struct webhook_allowed *a) {
    char *slash = strchr(text, '/');
    uint8_t all[16] = {0};
    *slash = '\0';
    if (!parse_address(text, a->network) || !parse_digits(slash + 1, 0, is_ipv4(a->network) ? 32 : 128, &a->bits))
        return false;
    a->bits += is_ipv4(a->network) ? MAPPED_BITS : 0;
    /* Bits behind the prefix are more likely a mistake than a wish to allow the whole network. */
    memcpy(all, a->network, (a->bits + 7) / 8);
    if (a->bits % 8 != 0)
        all[a->bits / 8] &= (uint8_t)(0xff << (8 - a->bits % 8));
    return memcmp(all, a->network, sizeof all) == 0;
}

/* An address or a host name without a port. */
static bool parse_host(const char *text, struct webhook_allowed *a) {
    a->bits = 128;
    if (parse_address(text, a->network))
        return true;
    if (!is_host_name(text))
        return false;
    memcpy(a->host, text, strlen(text) + 1);
    return true;
}

static bool parse_allowed(char *text, struct webhook_allowed *a) {
    unsigned port = 0;
    char *colon = strrchr(text, ':');
    if (strchr(text, '/') != NULL)
        return parse_network(text, a);
    if (parse_host(text, a))
        return true;
    if (colon == NULL || !parse_digits(colon + 1, 1, UINT16_MAX, &port)) {
        colon = text + strlen(text);
        port = 0;
    }
    *colon = '\0';
    a->port = (uint16_t)port;
    if (text[0] != '[')
        return port != 0 && strchr(text, ':') == NULL && parse_host(text, a);
    if (colon[-1] != ']')
        return false;
    colon[-1] = '\0';
    return parse_host(text + 1, a) && a->host[0] == '\0' && !is_ipv4(a->network);
}

int webhook_allow_add(struct webhook_allow *allow, const char *text, struct buf *error) {
    struct webhook_allowed a = {0};
    char copy[WEBHOOK_HOST_SIZE];
    if (allow->count == WEBHOOK_MAX_ALLOWED) {
        buf_printf(error, "--webhook-allow: at most %d values", WEBHOOK_MAX_ALLOWED);
        return -1;
    }
    int n = snprintf(copy, sizeof copy, "%s", text);
    if (n >= (int)sizeof copy || !parse_allowed(copy, &a)) {
        buf_printf(error, "--webhook-allow: a host, an address or a network like 10.0.0.0/8 is wanted, not \"%.300s\"",
                   text);
        return -1;
    }
    allow->at[allow->count++] = a;
    return 0;
}

/* ---- URLs -------------------------------------------------------------------------------------------------------- */

static int reject(struct buf *detail, const char *why) {
    buf_puts(detail, why);
    return -1;
}

/* Bytes that no URL has (RFC 3986). */
static int check_text(const char *url, struct buf *detail) {
    size_t n = strlen(url);
    if (n > WEBHOOK_MAX_URL) {
        buf_printf(detail, "must have at most %d bytes", WEBHOOK_MAX_URL);
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return reject(detail, "has characters that belong percent-encoded, or a host that belongs in punycode");
    return 0;
}

/* The URL can be a good one. */
static int lack_memory(struct buf *detail) {
    detail->failed = true;
    return -1;
}

static char *get_part(CURLU *u, CURLUPart what, unsigned flags, struct buf *detail) {
    char *text = NULL;
    if (curl_url_get(u, what, &text, flags) == CURLUE_OUT_OF_MEMORY)
        lack_memory(detail);
    return text;
}

static int parse_url(CURLU *u, const char *url, struct buf *detail) {
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    if (rc == CURLUE_OK)
        return 0;
    if (rc == CURLUE_OUT_OF_MEMORY)
        return lack_memory(detail);
    if (rc == CURLUE_USER_NOT_ALLOWED)
        return reject(detail, "must not hold a user name or a password");
    if (rc == CURLUE_BAD_SCHEME || rc == CURLUE_UNSUPPORTED_SCHEME)
        return reject(detail, "must begin with https://");
    buf_printf(detail, "is no URL: %s", curl_url_strerror(rc));
    return -1;
}

/* "[::1]" without its brackets, "example.com." without its last dot. */
static int copy_host(char to[WEBHOOK_HOST_SIZE], const char *host, struct buf *detail) {
    size_t n = strlen(host);
    if (n >= 2 && host[0] == '[') {
        host++;
        n -= 2;
    } else if (n > 0 && host[n - 1] == '.') {
        n--;
    }
    if (n == 0)
        return reject(detail, "has no host");
    if (n >= WEBHOOK_HOST_SIZE)
        return reject(detail, "has too long a host name");
    memcpy(to, host, n);
    to[n] = '\0';
    return 0;
}

static int check_target(const struct webhook_allow *allow, const char *scheme, unsigned port, struct webhook_target *t,
                        struct buf *detail) {
    uint8_t address[16];
    t->https = strcmp(scheme, "https") == 0;
    t->named = host_allowed(allow, t->host, port);
    bool literal = parse_address(t->host, address);
    if (!t->https && !t->named && !(literal ? network_allowed(allow, address, port) : any_network_allowed(allow, port)))
        return reject(detail, "must begin with https:// (http is for hosts that --webhook-allow names)");
    if (!literal || address_allowed(allow, t, address, port))
        return 0;
    buf_printf(detail, "must not go to %s, which is no public address and not named by --webhook-allow", t->host);
    return -1;
}

int webhook_guard_url(const struct webhook_allow *allow, const char *url, struct webhook_target *target,
                      struct buf *detail) {
    char *scheme = NULL, *host = NULL, *port = NULL;
    unsigned number = 0;
    int rc = -1;
    memset(target, 0, sizeof *target);
    if (check_text(url, detail) != 0)
        return -1;
    CURLU *u = curl_url();
    if (u == NULL)
        return lack_memory(detail);
    if (parse_url(u, url, detail) != 0)
        goto out;
    scheme = get_part(u, CURLUPART_SCHEME, 0, detail);
    host = get_part(u, CURLUPART_HOST, 0, detail);
    port = get_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, detail);
    if (detail->failed)
        goto out;
    if (scheme == NULL || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        reject(detail, "must begin with https://");
    else if (host == NULL)
        reject(detail, "has no host");
    else if (port == NULL || !parse_digits(port, 1, UINT16_MAX, &number))
        reject(detail, "has no possible port");
    else if (copy_host(target->host, host, detail) == 0)
        rc = check_target(allow, scheme, number, target, detail);
out:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return rc;
}
