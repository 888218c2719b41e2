/* listen.c: listening sockets. Front end. We accept connections ourselves, and do not let libmicrohttpd do it, because
 * then there can be several listeners, and a client beyond the limit of connections gets an answer. */
#include "server/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"

#define BACKLOG         4096
#define MAX_ACCEPTS     64 /* from one listener before the loop goes on */
#define ACCEPT_RETRY_NS (100 * NS_PER_MS)

/* ---- addresses --------------------------------------------------------------------------------------------------- */

/* "host:port" or "[host]:port". */
static int split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0')
        return -1;
    const char *from = text;
    size_t n = (size_t)(colon - text);
    if (n >= 2 && from[0] == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    }
    /* getaddrinfo would accept a larger number, and cut it off. */
    if (n == 0 || n >= host_size || strlen(colon + 1) >= port_size || strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return -1;
    memcpy(host, from, n);
    host[n] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return 0;
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

static int open_tcp(struct http_listener *l, const char *text, bool any_address, struct buf *error,
                    bool *misconfigured) {
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    int on = 1;
    if (split_address(text, host, sizeof host, port, sizeof port) != 0) {
        buf_printf(error, "--listen %s: host:port, [address]:port or unix:/path is wanted", text);
        *misconfigured = true;
        return -1;
    }
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        buf_printf(error, "--listen %s: %s", text, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    l->loopback = is_loopback(found->ai_addr);
    if (!any_address && !l->loopback) {
        buf_printf(error,
                   "--listen %s: without keys only loopback addresses are allowed; others could use the service. "
                   "--insecure-no-auth allows it",
                   text);
        *misconfigured = true;
    } else {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
            bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
            buf_printf(error, "--listen %s: %s", text, strerror(errno));
            if (fd >= 0)
                close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0)
        describe(l, fd);
    return fd;
}

/* True if the file of a socket exists and nobody listens on it: a crash has left it. */
static bool is_stale(const struct sockaddr_un *a) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    bool stale = fd >= 0 && stat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
                 connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

static int open_unix(struct http_listener *l, const char *path, struct buf *error, bool *misconfigured) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (path[0] != '/' || strlen(path) >= sizeof a.sun_path) {
        buf_printf(error, "--listen unix:%s: an absolute path of less than %zu bytes is wanted", path,
                   sizeof a.sun_path);
        *misconfigured = true;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (is_stale(&a))
        unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, BACKLOG) != 0) {
        buf_printf(error, "--listen unix:%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    snprintf(l->address, sizeof l->address, "unix:%s", path);
    l->unlink_path = strdup(path);
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

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

int http_listeners_open(struct http_listeners *l, const struct http_config *config, struct buf *error,
                        bool *misconfigured) {
    l->retry_timer.fire = on_retry_timer;
    if (config->listen_count > HTTP_MAX_LISTENERS) {
        buf_printf(error, "--listen: at most %d addresses are possible", HTTP_MAX_LISTENERS);
        *misconfigured = true;
        return -1;
    }
    for (unsigned i = 0; i < config->listen_count; i++) {
        const char *text = config->listen[i];
        struct http_listener *one = &l->at[i];
        int fd = strncmp(text, "unix:", 5) == 0 ? open_unix(one, text + 5, error, misconfigured)
                                                : open_tcp(one, text, config->any_address, error, misconfigured);
        if (fd < 0)
            return -1;
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
