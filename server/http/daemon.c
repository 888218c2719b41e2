/* daemon.c: opens, runs and closes libmicrohttpd's daemons. Front end. libmicrohttpd calls back into this file, which
 * passes what happens to connections and requests on to the other modules. Each module includes and calls only those to
 * the left of it:
 *
 *      listen, tls ◄── connection ◄── request ◄── receive, unread ◄── answer ◄── stream ◄── daemon
 *
 * A daemon of libmicrohttpd speaks TLS with all of its clients or with none. So there are two of them, if there is a
 * certificate: clients by TCP go to the secure one, those by Unix sockets to the plain one. Both run in each turn.
 *
 * libmicrohttpd runs in external mode, and connections are suspended. What it lacks then is done in this room:
 *   - After a resume MHD_run is called at once, because MHD_get_timeout does not see the resume. Resumes are gathered.
 *   - While requests are POLLED (request.c), MHD_get_timeout always says 0. We find out ourselves whether there is more
 *     to read or to send.
 *   - A watch of our own notices a client that leaves while its connection is suspended.
 *   - Timers of our own notice slow heads and bodies, which get a 408.
 *
 * For each connection libmicrohttpd calls
 *
 *      on_connection(STARTED), { on_access(head), on_access(bytes) ..., on_access(end), on_completed } ...,
 *      on_connection(CLOSED)
 *
 * When a request ends early, it leaves out some of the inner calls, but never on_completed.
 */
#include "server/http/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/hex.h"
#include "base/log.h"
#include "server/http/answer.h"
#include "server/http/receive.h"
#include "server/http/stream.h"
#include "server/http/unread.h"

#define LAST_TURNS        4    /* of libmicrohttpd, in which the last answers are sent */
#define SPARE_CONNECTIONS 128  /* beyond the limit: they get an answer that says so; further ones are closed at once */
#define CUT_CONNECTIONS   256  /* beyond those: they are cut, and libmicrohttpd closes them when it runs next */
#define SPARE_HEAD        8192 /* bytes beyond the limit: a head up to there gets an answer that says so */
#define LEAST_MEMORY      16384
#define REQUEST_BYTES     4096  /* of a connection and its request, without libmicrohttpd's memory and large bodies */
#define TLS_BYTES         40960 /* of a session of GnuTLS */

/* ---- callbacks of libmicrohttpd ---------------------------------------------------------------------------------- */

/* NULL: the connection is to be closed. */
static struct http_request *begin_request(struct http *h, struct MHD_Connection *mhd, const char *path,
                                          const char *method) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *c = info == NULL ? NULL : info->socket_context;
    if (c == NULL || c->state == CONNECTION_CUT)
        return NULL;
    if (c->begun == c->framing.heads) { /* it was read past the functions of connection.c and tls.c */
        LOG(LOG_ERROR, "head_not_checked");
        return NULL;
    }
    struct http_request *r = http_request_new(h, c, mhd, path, method);
    if (r == NULL)
        return NULL;
    http_receive_head(r);
    h->events.begin(h->events.arg, r);
    http_receive_begun(r);
    if (http_receive_no_more(r))
        http_answer_rejection(r);
    return r;
}

/* Unescapes the path, and the names and values of the query, in place (RFC 3986 section 2.1). What is no escape stays as
 * it is. So does %00, because it would end the text, and another path would be served. */
static size_t on_unescape(void *cls, struct MHD_Connection *mhd, char *text) {
    char *to = text;
    (void)cls, (void)mhd;
    for (const char *at = text; *at != '\0'; at++) {
        int high = *at == '%' ? hex_value(at[1]) : -1, low = high < 0 ? -1 : hex_value(at[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            *to++ = *at;
        } else {
            *to++ = (char)(high * 16 + low);
            at += 2;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* The path of a target in absolute form, "http://host/path" (RFC 9112 section 3.2.2), or the path itself. */
static const char *path_of(const char *target) {
    const char *authority = target[0] == '/' ? NULL : strstr(target, "://");
    if (authority == NULL)
        return target;
    const char *path = strchr(authority + 3, '/');
    return path == NULL ? "/" : path;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *path, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **context) {
    struct http_request *r = *context;
    (void)version;
    if (r == NULL) {
        *context = begin_request(cls, mhd, path_of(path), method);
        return *context == NULL ? MHD_NO : MHD_YES;
    }
    if (r->connection->state == CONNECTION_CUT)
        return MHD_NO;
    if (*upload_size > 0) {
        bool go_on = http_receive_body(r, upload, *upload_size);
        *upload_size = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (r->state == REQUEST_RECEIVING || r->state == REQUEST_REJECTED) { /* the whole body has come */
        http_receive_end(r);
        if (r->state == REQUEST_REJECTED)
            http_answer_rejection(r);
        else
            http_request_handle(r);
    } else if (r->state == REQUEST_POLLED) {
        http_request_polled(r);
    }
    /* libmicrohttpd calls once more for a request that was dropped while it waited. */
    return r->state == REQUEST_DROPPED ? MHD_NO : MHD_YES;
}

static void end_request(struct http_request *r) {
    struct http *h = r->http;
    http_unread_remove(r);
    http_close_stream(r);
    h->events.done(h->events.arg, r);
    http_request_free(r);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why) {
    struct http *h = cls;
    struct http_request *r = *context;
    (void)mhd, (void)why;
    if (r == NULL)
        return;
    *context = NULL;
    if (r->state == REQUEST_POLLED && r != h->queueing)
        http_request_lose(r);
    if (r != h->queueing) {
        end_request(r);
        return;
    }
    r->next = h->ended; /* who answers it just now is not finished with it */
    h->ended = r;
}

static void end_completed_requests(struct http *h) {
    while (h->ended != NULL) {
        struct http_request *r = h->ended;
        h->ended = r->next;
        end_request(r);
    }
}

static void on_rejected(struct http_connections *all, unsigned status) {
    struct http *h = container_of(all, struct http, connections);
    h->events.rejected(h->events.arg, status);
}

static void on_fin(struct http_connection *c) {
    if (c->request != NULL)
        http_request_hangup(c->request);
}

static struct http_connection *begin_connection(struct http *h, struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *c = info == NULL ? NULL : http_connection_find(&h->connections, info->connect_fd);
    const union MHD_ConnectionInfo *secret =
        c == NULL || c->tls == NULL ? NULL : MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (secret != NULL)
        tls_session_begin(c->tls, secret->tls_session);
    return c;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http_daemon *d = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *context = begin_connection(d->http, mhd);
    else if (*context != NULL)
        http_connection_free(*context);
}

static void on_library_log(void *cls, const char *format, va_list args) {
    char line[512];
    (void)cls;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    LOG(LOG_DEBUG, "http_library", LOG_STR("message", line));
}

/* ---- letting it work --------------------------------------------------------------------------------------------- */

static void set_run_due(struct http *h) {
    if (h->runs_due == 0)
        h->runs_due = 1;
}

static void on_daemon_ready(struct watch *w, uint32_t events) {
    (void)events;
    set_run_due(container_of(w, struct http_daemon, watch)->http);
}

static int64_t timeout_of(const struct http_daemon *d) {
    MHD_UNSIGNED_LONG_LONG ms;
    return d->library != NULL && MHD_get_timeout(d->library, &ms) == MHD_YES ? (int64_t)ms * NS_PER_MS : -1;
}

/* In how many ns libmicrohttpd has to run, although nothing happens; -1: it has not. */
static int64_t timeout_ns(const struct http *h) {
    int64_t plain_ns = timeout_of(&h->plain), secure_ns = timeout_of(&h->secure);
    return plain_ns < 0 || (secure_ns >= 0 && secure_ns < plain_ns) ? secure_ns : plain_ns;
}

/* True: libmicrohttpd can go on, because a client has sent more than was read, or takes more of its answer. */
static bool has_more(struct http *h) {
    return h->connections.more || http_unread_is_writable(h);
}

static bool is_run_due(struct http *h) {
    bool due = http_resume_requests(h) || h->runs_due > 0;
    int64_t polled_left_ns = http_polled_left_ns(h);
    return due || polled_left_ns == 0 || (polled_left_ns < 0 && timeout_ns(h) == 0);
}

static void run_daemons(struct http *h) {
    h->connections.more = false;
    http_connections_begin_reading(&h->connections);
    MHD_run(h->plain.library);
    if (h->secure.library != NULL)
        MHD_run(h->secure.library);
    http_connections_end_reading();
    if (h->tls != NULL)
        tls_sweep(h->tls);
}

int64_t http_turn(struct http *h) {
    end_completed_requests(h);
    if (is_run_due(h)) {
        h->runs_due -= h->runs_due > 0;
        run_daemons(h);
        if (h->polled != NULL && h->runs_due == 0 && has_more(h))
            h->runs_due = 1;
    }
    if (h->to_resume != NULL || h->runs_due > 0)
        return 0;
    return h->polled != NULL ? http_polled_left_ns(h) : timeout_ns(h);
}

void http_adopt(struct http *h, int fd, const struct sockaddr *peer, socklen_t peer_size, bool loopback) {
    unsigned most = (unsigned)h->config.max_connections + SPARE_CONNECTIONS;
    bool has_room =
        h->connections.count < most - 1 || http_connections_cut_spare(&h->connections) || h->connections.count < most;
    struct http_daemon *d = h->tls != NULL && peer->sa_family != AF_UNIX ? &h->secure : &h->plain;
    struct tls *tls = d == &h->secure ? h->tls : NULL;
    struct http_connection *c = has_room ? http_connection_new(&h->connections, fd, peer, loopback, tls) : NULL;
    if (!has_room)
        http_connections_refuse(&h->connections, "connections");
    if (c == NULL) {
        close(fd);
        return;
    }
    /* If it fails, it has closed the socket, and it may have told on_connection. */
    if (MHD_add_connection(d->library, fd, peer, peer_size) != MHD_YES &&
        http_connection_find(&h->connections, fd) == c)
        http_connection_free(c);
    set_run_due(h);
}

static void on_accepted(struct http_listeners *l, int fd, const struct sockaddr *peer, socklen_t peer_size,
                        bool loopback) {
    http_adopt(container_of(l, struct http, listeners), fd, peer, peer_size, loopback);
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

/* libmicrohttpd's, for each connection. No more than needed: it zeroes all of it after each request. With 128 KiB this
 * took a fifth of the front end's time. */
static size_t connection_memory(uint64_t max_header) {
    size_t memory = (size_t)max_header + SPARE_HEAD;
    return memory < LEAST_MEMORY ? LEAST_MEMORY : memory;
}

size_t http_connection_bytes(uint64_t max_header, bool tls) {
    return connection_memory(max_header) + REQUEST_BYTES + (tls ? TLS_BYTES : 0);
}

static int start_daemon(struct http *h, struct http_daemon *d) {
    size_t memory = connection_memory(h->config.max_header);
    h->library_idle_s = (unsigned)((h->config.idle_timeout_ns + NS_PER_S - 1) / NS_PER_S) + 1;
    bool secure = d == &h->secure;
    d->http = h;
    d->library = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
            (secure ? MHD_USE_TLS : 0),
        0, NULL, NULL, on_access, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)h->config.max_connections + SPARE_CONNECTIONS + CUT_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        memory, MHD_OPTION_CONNECTION_TIMEOUT, h->library_idle_s, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, d, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
        1, /* else it does not use sendfile(2), which can raise SIGPIPE */
        secure ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, tls_priorities, MHD_OPTION_HTTPS_CERT_CALLBACK,
        tls_no_certificate, MHD_OPTION_END);
    if (d->library == NULL)
        return -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->library, MHD_DAEMON_INFO_EPOLL_FD);
    d->watch = (struct watch){info->epoll_fd, on_daemon_ready};
    return loop_watch(h->loop, &d->watch, EPOLLIN);
}

static struct tls_files files_of(const struct http_config *c) {
    return (struct tls_files){c->tls_cert, c->tls_key, c->tls_client_ca};
}

/* libmicrohttpd can be built without TLS. */
static int check_library(struct buf *error) {
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) == MHD_YES)
        return 0;
    buf_printf(error, "--tls-cert: libmicrohttpd %s has no TLS here", MHD_get_version());
    return -1;
}

int http_check_tls(const struct http_config *config, struct buf *error) {
    const struct tls_files files = files_of(config);
    if (!tls_is_wanted(&files))
        return 0;
    return check_library(error) != 0 ? -1 : tls_check(&files, error);
}

/* 0, or -1 with one line in `error`, which is empty if memory ran out. */
static int start_tls(struct http *h, const struct http_config *config, struct buf *error, bool *misconfigured) {
    const struct tls_files files = files_of(config);
    if (!tls_is_wanted(&files))
        return 0;
    h->tls = check_library(error) != 0 ? NULL : tls_open(&files, error);
    *misconfigured = h->tls == NULL && error->size > 0;
    return h->tls == NULL ? -1 : start_daemon(h, &h->secure);
}

struct http *http_open(struct loop *loop, const struct http_config *config, const struct http_events *events,
                       struct buf *error, bool *misconfigured) {
    struct http *h = calloc(1, sizeof *h);
    *misconfigured = false;
    if (h == NULL) {
        buf_puts(error, "the HTTP server could not be started");
        return NULL;
    }
    h->loop = loop;
    h->config = *config;
    h->events = *events;
    h->connections = (struct http_connections){.loop = loop,
                                               .config = &h->config,
                                               .on_fin = on_fin,
                                               .on_rejected = on_rejected,
                                               .lingers = {.loop = loop},
                                               .bytes_each = http_connection_bytes(config->max_header, false),
                                               .tls_bytes = http_connection_bytes(config->max_header, true)};
    h->listeners.loop = loop;
    h->listeners.accepted = on_accepted;
    http_unread_init(h);
    h->no_memory = http_no_memory_response();
    if (h->no_memory != NULL && start_daemon(h, &h->plain) == 0 && start_tls(h, config, error, misconfigured) == 0 &&
        http_listeners_open(&h->listeners, config, error, misconfigured) == 0)
        return h;
    if (error->size == 0)
        buf_puts(error, "the HTTP server could not be started");
    http_close(h);
    return NULL;
}

void http_configure(struct http *h, const struct http_config *config) {
    h->config.max_body = config->max_body;
    h->config.max_parts = config->max_parts;
    h->config.allowed_hosts = config->allowed_hosts;
    h->config.allowed_host_count = config->allowed_host_count;
    h->config.loopback_limits = config->loopback_limits;
    h->config.address_limits = config->address_limits;
    h->config.header_timeout_ns = config->header_timeout_ns;
    h->config.idle_timeout_ns = config->idle_timeout_ns;
    h->config.min_rate = config->min_rate;
}

int http_reload_tls(struct http *h, const struct http_config *config, struct buf *error) {
    const struct tls_files files = files_of(config);
    if (tls_is_wanted(&files) == (h->tls != NULL))
        return h->tls == NULL ? 0 : tls_reload(h->tls, &files, error);
    buf_printf(error, "--tls-cert: TLS is turned %s by a restart only", h->tls == NULL ? "on" : "off");
    return -1;
}

static struct http_request *first_waiting(const struct http *h) {
    return h->polled != NULL ? h->polled : h->suspended;
}

static void stop_daemon(struct http_daemon *d) {
    if (d->library == NULL)
        return;
    loop_unwatch(d->http->loop, &d->watch);
    MHD_stop_daemon(d->library);
}

/* Clients that still wait get an answer, and libmicrohttpd must not be stopped while connections are suspended. A
 * client can send several requests at a time, and then an answer lets in its next one. So we answer several times. */
static void stop_daemons(struct http *h) {
    h->closing = true;
    http_wake_streams(h);
    for (int i = 0; i < LAST_TURNS; i++) {
        while (first_waiting(h) != NULL) {
            struct http_request *r = first_waiting(h);
            http_set_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
            http_answer_problem(r, PROBLEM_DRAINING, NULL, NULL);
        }
        http_turn(h);
    }
    while (first_waiting(h) != NULL)
        http_abandon(first_waiting(h));
    http_resume_requests(h);
    end_completed_requests(h);
    stop_daemon(&h->plain);
    stop_daemon(&h->secure);
}

void http_close(struct http *h) {
    http_listeners_close(&h->listeners);
    stop_daemons(h);
    tls_close(h->tls);
    if (h->no_memory != NULL)
        MHD_destroy_response(h->no_memory);
    http_unread_deinit(h);
    http_free_spare_requests(h);
    http_connections_deinit(&h->connections);
    free(h);
}

/* ---- what others read -------------------------------------------------------------------------------------------- */

bool http_busy(const struct http *h) {
    return h->requests > h->expendable;
}

uint64_t http_unread_closed(const struct http *h) {
    return h->unread_closed;
}

const struct label_count *http_refused(const struct http *h) {
    return h->connections.refused;
}

const struct label_count *http_slow_closed(const struct http *h) {
    return h->connections.slow_closed;
}

int64_t http_tls_expires_s(const struct http *h) {
    return h->tls == NULL ? 0 : tls_expires_s(h->tls);
}

uint64_t http_tls_failed(const struct http *h) {
    return h->tls == NULL ? 0 : tls_failed(h->tls);
}

void http_close_after_answer(struct http *h) {
    h->last_answers = true;
}

bool http_is_closing(const struct http *h) {
    return h->closing;
}

unsigned http_connections(const struct http *h) {
    return h->connections.count;
}

void http_addresses(const struct http *h, struct buf *out) {
    buf_putc(out, '[');
    for (unsigned i = 0; i < h->listeners.count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_json_string(out, h->listeners.at[i].address, strlen(h->listeners.at[i].address));
    }
    buf_putc(out, ']');
}
