/* listen.c: listening sockets. Front end. We accept connections ourselves, and do not let libmicrohttpd do it, because
 * then there can be several listeners, and a client beyond the limit of connections gets an answer. */
#include "server/http/listen.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "server/http/unix_socket.h"

#define BACKLOG         4096
#define MAX_ACCEPTS     64 /* from one listener before the loop goes on */
/* Bytes of answers that the kernel takes before they can be on their way. What a client does not read stays with us, where
 * it is counted, instead of in megabytes of the kernel's memory for each socket. */
#define MAX_UNSENT      (128 * 1024)
#define ACCEPT_RETRY_NS (100 * NS_PER_MS)

/* ---- addresses --------------------------------------------------------------------------------------------------- */

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
    } at;
    socklen_t size;
    bool is_unix;
    struct unix_socket unix_socket; /* in place of `at` */
};

/* "host:port" or "[IPv6 address]:port", in parts. */
struct host_port {
    char host[256];
    const char *port; /* of the text */
    bool is_ip6;
};

/* Decimal digits alone: getaddrinfo would take a sign, a space and a larger number. */
static bool is_port(const char *text) {
    size_t n = strspn(text, "0123456789");
    return n > 0 && n <= 5 && text[n] == '\0' && (text[0] != '0' || n == 1) && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* NULL, or what is wrong. */
static const char *split_address(const char *text, struct host_port *to) {
    const char *from = text, *end = strrchr(text, ':');
    to->is_ip6 = text[0] == '[';
    if (end == NULL)
        return "host:port, [address]:port or unix:/path is wanted";
    to->port = end + 1;
    if (to->is_ip6 && (end == text || end[-1] != ']'))
        return "an IPv6 address and its port are written as [address]:port";
    if (to->is_ip6) {
        from++;
        end--;
    }
    size_t n = (size_t)(end - from);
    if (n == 0)
        return "the host is empty";
    if (n >= sizeof to->host)
        return "the host is too long";
    memcpy(to->host, from, n);
    to->host[n] = '\0';
    if (!to->is_ip6 && strchr(to->host, ':') != NULL)
        return "an IPv6 address stands in brackets: [address]:port";
    for (size_t i = 0; i < n && !to->is_ip6; i++)
        if (!isalnum((unsigned char)to->host[i]) && strchr("-._", to->host[i]) == NULL)
            return "the host is neither a name nor an address";
    return is_port(to->port) ? NULL : "host:port is wanted, with a port from 0 to 65535 in decimal digits";
}

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr) != 0;
}

/* Writes down the address that the socket has: the system has replaced port 0 by a free one. */
static void describe(struct http_listener *l, int fd) {
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0 ||
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(l->address, sizeof l->address, a.ss_family == AF_INET6 ? "[%.80s]:%.10s" : "%.80s:%.10s", host, port);
}

static int find_tcp(struct address *a, const char *text, bool any_address, struct buf *error, bool *misconfigured) {
    struct host_port parts;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    const char *why = split_address(text, &parts);
    *misconfigured = true;
    if (why != NULL) {
        buf_printf(error, "--listen %s: %s", text, why);
        return -1;
    }
    if (parts.is_ip6) {
        hints.ai_family = AF_INET6;
        hints.ai_flags |= AI_NUMERICHOST;
    }
    int rc = getaddrinfo(parts.host, parts.port, &hints, &found);
    if (rc != 0) {
        *misconfigured = parts.is_ip6; /* a name can be known later */
        buf_printf(error, "--listen %s: %s", text,
                   parts.is_ip6 ? "there is no IPv6 address in the brackets" : gai_strerror(rc));
        return -1;
    }
    memcpy(&a->at, found->ai_addr, found->ai_addrlen);
    a->size = found->ai_addrlen;
    freeaddrinfo(found);
    if (any_address || is_loopback(&a->at.any))
        return 0;
    buf_printf(
        error,
        "--listen %s: without keys only loopback addresses and Unix sockets are allowed; others could use the "
        "service. `offload keygen NAME` makes a key for the file of --keys (OFFLOAD_KEYS); --insecure-no-auth lets "
        "everyone in who can reach it",
        text);
    return -1;
}

static int find_unix(struct address *a, const char *text, struct buf *error, bool *misconfigured) {
    *misconfigured = true;
    a->is_unix = true;
    return unix_socket_read(&a->unix_socket, text, error);
}

static bool is_same(const struct address *a, const struct address *b) {
    if (a->is_unix || b->is_unix)
        return a->is_unix && b->is_unix && strcmp(a->unix_socket.at.sun_path, b->unix_socket.at.sun_path) == 0;
    if (a->at.any.sa_family != b->at.any.sa_family)
        return false;
    switch (a->at.any.sa_family) {
    case AF_INET:
        return a->at.ip4.sin_port != 0 && a->at.ip4.sin_port == b->at.ip4.sin_port &&
               a->at.ip4.sin_addr.s_addr == b->at.ip4.sin_addr.s_addr;
    default:
        return a->at.ip6.sin6_port != 0 && a->at.ip6.sin6_port == b->at.ip6.sin6_port &&
               a->at.ip6.sin6_scope_id == b->at.ip6.sin6_scope_id &&
               memcmp(&a->at.ip6.sin6_addr, &b->at.ip6.sin6_addr, sizeof a->at.ip6.sin6_addr) == 0;
    }
}

/* Finds what all addresses mean. 0, or -1 with one line in `error`. */
static int find_all(struct address found[HTTP_MAX_LISTENERS], const struct http_config *config, struct buf *error,
                    bool *misconfigured) {
    if (config->listen_count > HTTP_MAX_LISTENERS) {
        buf_printf(error, "--listen: at most %d addresses are possible", HTTP_MAX_LISTENERS);
        *misconfigured = true;
        return -1;
    }
    for (unsigned i = 0; i < config->listen_count; i++) {
        const char *text = config->listen[i];
        found[i] = (struct address){.size = 0};
        int rc = unix_socket_is_meant(text) ? find_unix(&found[i], text, error, misconfigured)
                                            : find_tcp(&found[i], text, config->any_address, error, misconfigured);
        if (rc != 0)
            return -1;
        for (unsigned k = 0; k < i; k++) {
            if (!is_same(&found[i], &found[k]))
                continue;
            buf_printf(error, "--listen %s: %s is the same address", text, config->listen[k]);
            *misconfigured = true;
            return -1;
        }
    }
    *misconfigured = false;
    return 0;
}

int http_check_listen(const struct http_config *config, struct buf *error) {
    struct address found[HTTP_MAX_LISTENERS];
    bool misconfigured;
    if (find_all(found, config, error, &misconfigured) != 0)
        return -1;
    for (unsigned i = 0; i < config->listen_count; i++)
        if (found[i].is_unix && unix_socket_check(&found[i].unix_socket, error) != 0)
            return -1;
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int open_tcp(struct http_listener *l, const struct address *a) {
    int on = 1;
    int fd = socket(a->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, &a->at.any, a->size) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    l->loopback = is_loopback(&a->at.any);
    /* Accepted sockets inherit it. It does not slow an answer down, because it does not limit what is on its way. */
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){MAX_UNSENT}, sizeof(int));
    describe(l, fd);
    return fd;
}

static int open_unix(struct http_listener *l, const struct unix_socket *s) {
    int fd = unix_socket_listen(s, BACKLOG);
    if (fd < 0)
        return -1;
    snprintf(l->address, sizeof l->address, "unix:%s", s->at.sun_path);
    l->unlink_path = strdup(s->at.sun_path);
    return fd;
}

/* ---- accepting --------------------------------------------------------------------------------------------------- */

static void watch_listeners(struct http_listeners *l, uint32_t events) {
    for (unsigned i = 0; i < l->count; i++)
        loop_rewatch(l->loop, &l->at[i].watch, events);
}

static void on_retry_timer(struct timer *t) {
    watch_listeners(container_of(t, struct http_listeners, retry_timer), EPOLLIN);
}

static void on_listener(struct watch *w, uint32_t events) {
    struct http_listener *one = container_of(w, struct http_listener, watch);
    struct http_listeners *l = one->all;
    int on = 1;
    (void)events;
    for (int i = 0; i < MAX_ACCEPTS; i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int fd = accept4(w->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            /* A listener that cannot be served stays ready, and would keep the loop from sleeping. */
            LOG(LOG_ERROR, "accept_failed", LOG_STR("error", strerror(errno)));
            watch_listeners(l, 0);
            loop_set_timer(l->loop, &l->retry_timer, clock_monotonic_ns() + ACCEPT_RETRY_NS);
        }
        if (fd < 0)
            return;
        if (peer.ss_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        l->accepted(l, fd, (struct sockaddr *)&peer, size, one->loopback);
    }
}

/* ---- all of them ----------------------------------------------------------------------------------------- */

int http_listeners_open(struct http_listeners *l, const struct http_config *config, struct buf *error,
                        bool *misconfigured) {
    struct address found[HTTP_MAX_LISTENERS];
    l->retry_timer.fire = on_retry_timer;
    if (find_all(found, config, error, misconfigured) != 0)
        return -1;
    for (unsigned i = 0; i < config->listen_count; i++) {
        const char *text = config->listen[i];
        struct http_listener *one = &l->at[i];
        int fd = found[i].is_unix ? open_unix(one, &found[i].unix_socket) : open_tcp(one, &found[i]);
        if (fd < 0) {
            buf_printf(error, "--listen %s: %s", text, strerror(errno));
            return -1;
        }
        one->all = l;
        one->watch = (struct watch){fd, on_listener};
        l->count++;
        if (loop_watch(l->loop, &one->watch, EPOLLIN) != 0) {
            buf_printf(error, "--listen %s: %s", text, strerror(errno));
            return -1;
        }
    }
    return 0;
}

void http_listeners_close(struct http_listeners *l) {
    loop_clear_timer(l->loop, &l->retry_timer);
    for (unsigned i = 0; i < l->count; i++) {
        struct http_listener *one = &l->at[i];
        loop_unwatch(l->loop, &one->watch);
        close(one->watch.fd);
        if (one->unlink_path != NULL)
            unlink(one->unlink_path);
        free(one->unlink_path);
    }
    l->count = 0;
}
