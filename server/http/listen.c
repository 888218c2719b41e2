/* http_listen.c: the listening sockets, TCP and Unix, and accepting from them; see http.h. Front end. Connections are
 * accepted here and handed to libmicrohttpd, so that there can be several listeners and a connection limit of our own. */
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
#include "server/http/private.h"

#define BACKLOG         4096
#define MAX_ACCEPTS     64 /* from one listener in one go */
#define ACCEPT_RETRY_NS (100 * NS_PER_MS)

/* ---- addresses ------------------------------------------------------------------------------------------------ */

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
    /* getaddrinfo would take any number, and cut it off. */
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

static void describe(int fd, struct http_listener *l) {
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0 ||
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(l->address, sizeof l->address, a.ss_family == AF_INET6 ? "[%.80s]:%.10s" : "%.80s:%.10s", host, port);
}

static int open_tcp(struct http *h, const char *text, struct http_listener *l, struct buf *error) {
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    int on = 1;
    if (split_address(text, host, sizeof host, port, sizeof port) != 0) {
        buf_printf(error, "--listen %s: host:port, [address]:port or unix:/path is wanted", text);
        h->misconfigured = true;
        return -1;
    }
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        buf_printf(error, "--listen %s: %s", text, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    h->misconfigured = !h->config.any_address && !is_loopback(found->ai_addr);
    if (h->misconfigured)
        buf_printf(error,
                   "--listen %s: without keys only loopback addresses are allowed; others could use the service. "
                   "--insecure-no-auth allows it",
                   text);
    else
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
            buf_printf(error, "--listen %s: %s", text, strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0)
        describe(fd, l);
    return fd;
}

/* True if a socket file is there and nobody listens on it: left behind by a crash. */
static bool is_stale(const struct sockaddr_un *a) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    bool stale = fd >= 0 && stat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
                 connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

static int open_unix(struct http *h, const char *path, struct http_listener *l, struct buf *error) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (path[0] != '/' || strlen(path) >= sizeof a.sun_path) {
        buf_printf(error, "--listen unix:%s: an absolute path of less than %zu bytes is wanted", path,
                   sizeof a.sun_path);
        h->misconfigured = true;
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

static void suspend_accepting(struct http *h) {
    for (unsigned i = 0; i < h->listener_count; i++)
        loop_rewatch(h->loop, &h->listeners[i].watch, 0);
    loop_set_timer(h->loop, &h->accept_timer, clock_monotonic_ns() + ACCEPT_RETRY_NS);
}

static void on_accept_timer(struct timer *t) {
    struct http *h = container_of(t, struct http, accept_timer);
    for (unsigned i = 0; i < h->listener_count; i++)
        loop_rewatch(h->loop, &h->listeners[i].watch, EPOLLIN);
}

static void on_listener(struct watch *w, uint32_t events) {
    struct http_listener *l = container_of(w, struct http_listener, watch);
    struct http *h = l->http;
    int on = 1;
    (void)events;
    for (int i = 0; i < MAX_ACCEPTS; i++) {
        struct sockaddr_storage a;
        socklen_t size = sizeof a;
        int fd = accept4(w->fd, (struct sockaddr *)&a, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            LOG(LOG_ERROR, "accept_failed", LOG_STR("error", strerror(errno)));
            suspend_accepting(h);
        }
        if (fd < 0)
            return;
        if (a.ss_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        /* It closes the descriptor if it fails, as it does beyond its own limit. */
        MHD_add_connection(h->daemon, fd, (struct sockaddr *)&a, size);
        h->run_due = true;
    }
}

int http_open_listeners(struct http *h, struct buf *error) {
    h->accept_timer.fire = on_accept_timer;
    for (unsigned i = 0; i < h->config.listen_count; i++) {
        const char *text = h->config.listen[i];
        struct http_listener *l = &h->listeners[i];
        bool local = strncmp(text, "unix:", 5) == 0;
        int fd = local ? open_unix(h, text + 5, l, error) : open_tcp(h, text, l, error);
        if (fd < 0)
            return -1;
        l->http = h;
        l->watch = (struct watch){fd, on_listener};
        h->listener_count++;
        if (loop_watch(h->loop, &l->watch, EPOLLIN) != 0)
            return -1;
    }
    return 0;
}

void http_close_listeners(struct http *h) {
    loop_clear_timer(h->loop, &h->accept_timer);
    for (unsigned i = 0; i < h->listener_count; i++) {
        struct http_listener *l = &h->listeners[i];
        loop_unwatch(h->loop, &l->watch);
        close(l->watch.fd);
        if (l->unlink_path != NULL)
            unlink(l->unlink_path);
        free(l->unlink_path);
    }
    h->listener_count = 0;
}
