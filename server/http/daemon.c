/* http.c: the libmicrohttpd daemon and the life of a request; see http.h. Front end.
 *
 * What libmicrohttpd does not do in external mode with suspended connections is done here: after a resume MHD_run is
 * called at once (MHD_get_timeout does not see it); resumes are gathered, because each walks all suspended connections;
 * a client that leaves while suspended is noticed by a watch of our own for EPOLLRDHUP; and so are slow heads and
 * bodies, which get a 408.
 */
#include "server/http/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/id.h"
#include "base/log.h"
#include "server/http/private.h"

#define MAX_SPARE   256
#define SPARE_BODY  4096          /* larger buffers are not kept */
#define GONE_NS     NS_PER_S      /* a client that left in the middle of a body is dropped after this */
#define LAST_TURNS  4             /* to send the answers of the end */
#define DRAIN_LIMIT (1024 * 1024) /* a refused body is read to its end if it is no longer than this */

/* ---- requests --------------------------------------------------------------------------------------------- */

static void make_random_id(char id[33]) {
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[8];
    id_random(bytes, sizeof bytes);
    for (int i = 0; i < 8; i++) {
        id[2 * i] = hex[bytes[i] >> 4];
        id[2 * i + 1] = hex[bytes[i] & 15];
    }
    id[16] = '\0';
}

static void make_request_id(struct http_request *r) {
    const char *given = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, "X-Request-Id");
    size_t n = given == NULL ? 0 : strlen(given);
    bool good = n > 0 && n < sizeof r->id &&
                strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
    if (good)
        memcpy(r->id, given, n + 1);
    else
        make_random_id(r->id);
}

/* Most requests are alike: their memory is used again. */
static struct http_request *request_new(struct http *h, const char *path) {
    struct http_request *r = h->spare;
    struct buf body = {0}, headers = {0}, kept = {0};
    if (r != NULL) {
        h->spare = r->next;
        h->spare_count--;
        body = r->body;
        headers = r->headers;
        kept = r->path;
    } else {
        r = malloc(sizeof *r);
    }
    if (r == NULL)
        return NULL;
    *r = (struct http_request){.http = h, .body = body, .headers = headers, .path = kept, .spool_fd = -1};
    buf_clear(&r->body);
    buf_clear(&r->headers);
    buf_clear(&r->path);
    buf_puts(&r->path, path);
    return r;
}

static void request_destroy(struct http_request *r) {
    buf_deinit(&r->body);
    buf_deinit(&r->headers);
    buf_deinit(&r->path);
    free(r);
}

static void request_free(struct http_request *r) {
    struct http *h = r->http;
    if (r->spool_fd >= 0)
        close(r->spool_fd);
    slice_deinit(&r->large);
    free(r->problem_members);
    if (h->spare_count == MAX_SPARE || r->body.capacity > SPARE_BODY) {
        request_destroy(r);
        return;
    }
    r->next = h->spare;
    h->spare = r;
    h->spare_count++;
}

/* ---- what handlers may know of it ------------------------------------------------------------------------------- */

const char *http_method(const struct http_request *r) {
    return r->method;
}

const char *http_path(const struct http_request *r) {
    return r->path.data;
}

const char *http_id(const struct http_request *r) {
    return r->id;
}

bool http_body_is_large(const struct http_request *r) {
    return r->large.blob != NULL;
}

const char *http_small_body(const struct http_request *r, size_t *size) {
    *size = r->body.size;
    return r->body.data == NULL ? "" : r->body.data;
}

struct slice http_body(const struct http_request *r) {
    return r->large.blob != NULL ? slice_ref(&r->large) : slice_copy(r->body.data, r->body.size);
}

int64_t http_arrived_ns(const struct http_request *r) {
    return r->arrived_ns;
}

bool http_is_answered(const struct http_request *r) {
    return r->answered;
}

unsigned http_status(const struct http_request *r) {
    return r->status;
}

const void *http_route(const struct http_request *r) {
    return r->route;
}

void http_set_route(struct http_request *r, const void *route) {
    r->route = route;
}

void *http_state(const struct http_request *r) {
    return r->state;
}

void http_set_state(struct http_request *r, void *state) {
    r->state = state;
}

void http_reject(struct http_request *r, enum problem_code code, char *members) {
    if (r->failed) {
        free(members);
        return;
    }
    r->failed = true;
    r->problem = code;
    r->problem_members = members;
    buf_clear(&r->body);
}

static char *limit_member(uint64_t limit) {
    char text[48];
    snprintf(text, sizeof text, "\"limit_bytes\":%llu", (unsigned long long)limit);
    return strdup(text);
}

static void check_head(struct http_request *r) {
    struct http *h = r->http;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (r->connection->over_limit)
        http_reject(r, PROBLEM_TOO_MANY_CONNECTIONS, NULL);
    if (info != NULL && info->header_size > h->config.max_header)
        http_reject(r, PROBLEM_HEADER_TOO_LARGE, limit_member(h->config.max_header));
    const char *length = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (length != NULL && strtoull(length, NULL, 10) > h->config.max_body)
        http_reject(r, PROBLEM_BODY_TOO_LARGE, limit_member(h->config.max_body));
}

static struct http_request *request_begin(struct http *h, struct MHD_Connection *mhd, const char *url,
                                          const char *method) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_request *r = info == NULL || info->socket_context == NULL ? NULL : request_new(h, url);
    if (r == NULL || r->path.failed) {
        if (r != NULL)
            request_free(r);
        return NULL;
    }
    r->connection = info->socket_context;
    r->connection->request = r;
    if (!r->connection->head_seen)
        loop_clear_timer(h->loop, &r->connection->timer);
    r->connection->head_seen = true;
    r->mhd = mhd;
    r->method = method;
    h->requests++;
    make_request_id(r);
    check_head(r);
    h->events.begin(h->events.arg, r);
    return r;
}

/* A refused body is better read to its end, so that the client sees the answer and the connection lives; unless it is
 * long, or the client waits for "100 Continue" before it sends any. */
static bool reject_at_once(struct http_request *r) {
    if (!r->failed)
        return false;
    if (MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) != NULL)
        return true;
    const char *length = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length != NULL && strtoull(length, NULL, 10) > DRAIN_LIMIT;
}

/* ---- bodies ------------------------------------------------------------------------------------------------- */

static bool spool(struct http_request *r, const char *bytes, size_t size) {
    if (r->spool_fd < 0) {
        r->spool_fd = memfd_new("offload-body");
        if (r->spool_fd < 0 || memfd_write(r->spool_fd, r->body.data, r->body.size) != 0)
            return false;
        buf_deinit(&r->body);
    }
    return memfd_write(r->spool_fd, bytes, size) == 0;
}

static void take_body(struct http_request *r, const char *bytes, size_t size) {
    r->body_size += size;
    if (r->failed)
        return;
    if (r->body_size > r->http->config.max_body) {
        http_reject(r, PROBLEM_BODY_TOO_LARGE, limit_member(r->http->config.max_body));
        return;
    }
    if (r->spool_fd < 0 && r->body.size + size <= HTTP_SMALL_BODY)
        buf_append(&r->body, bytes, size);
    else if (!spool(r, bytes, size))
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
}

static void watch_body(struct http_connection *c) {
    c->active_ns = loop_now_ns(c->http->loop);
    if (!c->in_body && c->timer.slot == 0)
        loop_set_timer(c->http->loop, &c->timer, c->active_ns + (c->gone ? GONE_NS : c->http->config.idle_timeout_ns));
    c->in_body = true;
}

static void finish_body(struct http_request *r) {
    r->connection->in_body = false;
    r->arrived_ns = clock_monotonic_ns();
    if (r->spool_fd < 0 || r->failed)
        return;
    struct blob *b = blob_seal(r->spool_fd, (size_t)r->body_size);
    r->spool_fd = -1;
    if (b == NULL)
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
    else
        r->large = slice_all(b);
}

/* ---- callbacks of libmicrohttpd ----------------------------------------------------------------------------------- */

static void answer_rejection(struct http_request *r) {
    if (r->arrived_ns == 0)
        r->arrived_ns = clock_monotonic_ns();
    if (problem_get(r->problem)->status == 503 || problem_get(r->problem)->status == 429)
        http_set_header(r, "Retry-After", "1");
    http_answer_problem(r, r->problem, NULL, r->problem_members);
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **context) {
    struct http *h = cls;
    struct http_request *r = *context;
    (void)version;
    if (r == NULL) {
        r = request_begin(h, mhd, url, method);
        *context = r;
        if (r == NULL)
            return MHD_NO;
        if (reject_at_once(r))
            answer_rejection(r);
        return MHD_YES;
    }
    if (*upload_size > 0) {
        watch_body(r->connection);
        take_body(r, upload, *upload_size);
        *upload_size = 0;
        return r->body_size > 2 * h->config.max_body + DRAIN_LIMIT ? MHD_NO : MHD_YES;
    }
    if (r->answered)
        return MHD_YES;
    if (r->arrived_ns != 0)
        return MHD_NO; /* resumed without an answer: the client is gone */
    finish_body(r);
    if (r->failed)
        answer_rejection(r);
    else
        h->events.handle(h->events.arg, r);
    return r->answered || r->suspended ? MHD_YES : MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why) {
    struct http *h = cls;
    struct http_request *r = *context;
    (void)mhd, (void)why;
    if (r == NULL)
        return;
    *context = NULL;
    http_close_stream(r);
    h->events.done(h->events.arg, r);
    if (r->connection != NULL)
        r->connection->request = NULL;
    h->requests--;
    request_free(r);
}

/* ---- connections ---------------------------------------------------------------------------------------------------- */

static void on_fin(struct watch *w, uint32_t events) {
    struct http_connection *c = container_of(w, struct http_connection, watch);
    (void)events;
    c->gone = true;
    if (c->request != NULL && c->request->stream != NULL)
        http_wake_stream(c->request); /* reading it tells libmicrohttpd */
    else if (c->request != NULL && c->request->suspended)
        c->http->events.hangup(c->http->events.arg, c->request);
    else if (c->in_body)
        loop_set_timer(c->http->loop, &c->timer, loop_now_ns(c->http->loop) + GONE_NS);
}

/* Nothing of an answer has been written yet, so we may write one ourselves and let libmicrohttpd see the end. */
static void send_timeout(struct http_connection *c) {
    struct buf body = {0}, out = {0};
    char id[33];
    make_random_id(id);
    problem_write(&body, PROBLEM_REQUEST_TIMEOUT, NULL, NULL, NULL);
    buf_printf(&out,
               "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
               "X-Request-Id: %s\r\nConnection: close\r\n\r\n",
               body.size, c->request == NULL ? id : c->request->id);
    buf_append(&out, body.data, body.size);
    if (!out.failed && send(c->watch.fd, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        LOG(LOG_DEBUG, "timeout_not_told", LOG_STR("error", strerror(errno)));
    shutdown(c->watch.fd, SHUT_RDWR);
    buf_deinit(&body);
    buf_deinit(&out);
}

static void on_connection_timer(struct timer *t) {
    struct http_connection *c = container_of(t, struct http_connection, timer);
    int64_t due_ns = c->active_ns + c->http->config.idle_timeout_ns;
    if (!c->head_seen)
        send_timeout(c);
    else if (c->in_body && c->gone) /* libmicrohttpd misses a FIN that comes together with the last bytes */
        shutdown(c->watch.fd, SHUT_RDWR);
    else if (c->in_body && loop_now_ns(c->http->loop) >= due_ns)
        send_timeout(c);
    else if (c->in_body)
        loop_set_timer(c->http->loop, t, due_ns);
}

static void connection_open(struct http *h, struct MHD_Connection *mhd, void **context) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *c = calloc(1, sizeof *c);
    *context = c;
    if (c == NULL || info == NULL)
        return;
    c->http = h;
    c->watch = (struct watch){info->connect_fd, on_fin};
    c->timer.fire = on_connection_timer;
    c->over_limit = ++h->connections > h->config.max_connections;
    loop_watch(h->loop, &c->watch, EPOLLRDHUP | EPOLLET);
    loop_set_timer(h->loop, &c->timer, clock_monotonic_ns() + h->config.header_timeout_ns);
}

static void connection_close(struct http_connection *c) {
    if (c == NULL)
        return;
    loop_unwatch(c->http->loop, &c->watch);
    loop_clear_timer(c->http->loop, &c->timer);
    c->http->connections--;
    if (c->request != NULL)
        c->request->connection = NULL;
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_open(cls, mhd, context);
    else
        connection_close(*context);
}

static void on_mhd_log(void *cls, const char *format, va_list args) {
    char line[512];
    (void)cls;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    LOG(LOG_DEBUG, "http_library", LOG_STR("message", line));
}

/* ---- suspending ------------------------------------------------------------------------------------------------------- */

void http_suspend(struct http_request *r) {
    /* The FIN may have come before the request was even looked at: then on_access closes the connection. */
    if (r->connection->gone) {
        r->http->events.hangup(r->http->events.arg, r);
        return;
    }
    http_suspend_connection(r);
}

void http_suspend_connection(struct http_request *r) {
    r->suspended = true;
    DL_APPEND2(r->http->suspended, r, suspended_prev, suspended_next);
    MHD_suspend_connection(r->mhd);
}

void http_resume(struct http_request *r) {
    r->suspended = false;
    DL_DELETE2(r->http->suspended, r, suspended_prev, suspended_next);
    r->next = r->http->resume;
    r->http->resume = r;
}

void http_abandon(struct http_request *r) {
    if (r->suspended)
        http_resume(r);
}

enum MHD_Result http_queue(struct http_request *r, unsigned status, struct MHD_Response *response) {
    enum MHD_Result ok = response == NULL ? MHD_NO : MHD_queue_response(r->mhd, status, response);
    if (response != NULL)
        MHD_destroy_response(response);
    r->status = status;
    r->answered = ok == MHD_YES;
    if (r->suspended)
        http_resume(r);
    return ok;
}

/* ---- the daemon ---------------------------------------------------------------------------------------------------------- */

int64_t http_turn(struct http *h) {
    MHD_UNSIGNED_LONG_LONG ms;
    bool due = h->run_due || h->resume != NULL;
    while (h->resume != NULL) {
        struct http_request *r = h->resume;
        h->resume = r->next;
        MHD_resume_connection(r->mhd);
    }
    h->run_due = false;
    if (due || (MHD_get_timeout(h->daemon, &ms) == MHD_YES && ms == 0))
        MHD_run(h->daemon);
    if (h->resume != NULL)
        return 0;
    return MHD_get_timeout(h->daemon, &ms) == MHD_YES ? (int64_t)ms * NS_PER_MS : -1;
}

static void on_daemon_ready(struct watch *w, uint32_t events) {
    (void)events;
    (container_of(w, struct http, watch))->run_due = true;
}

bool http_busy(const struct http *h) {
    return h->requests > h->expendable;
}

bool http_is_closing(const struct http *h) {
    return h->closing;
}

unsigned http_connections(const struct http *h) {
    return h->connections;
}

/* A second more: a body that stops coming is answered by our own timer first. */
static unsigned idle_seconds(const struct http_config *c) {
    return (unsigned)((c->idle_timeout_ns + NS_PER_S - 1) / NS_PER_S) + 1;
}

static int start_daemon(struct http *h) {
    /* Room for heads somewhat above the limit, so that it is we who answer 431. Not more: libmicrohttpd zeroes all of
     * it after each request (128 KiB were a fifth of the front end's time). */
    size_t memory = (size_t)h->config.max_header + 8192;
    memory = memory < 16384 ? 16384 : memory;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, h, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)h->config.max_connections + 128, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds(&h->config), MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (h->daemon == NULL)
        return -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    h->watch = (struct watch){info->epoll_fd, on_daemon_ready};
    return loop_watch(h->loop, &h->watch, EPOLLIN);
}

static void on_accepted(struct http_listeners *l, int fd, const struct sockaddr *peer, socklen_t peer_size) {
    struct http *h = container_of(l, struct http, listeners);
    MHD_add_connection(h->daemon, fd, peer, peer_size); /* if it fails it has closed the socket */
    h->run_due = true;
}

struct http *http_open(struct loop *loop, const struct http_config *config, const struct http_events *events,
                       struct buf *error, bool *misconfigured) {
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->loop = loop;
    h->config = *config;
    h->events = *events;
    h->listeners.loop = loop;
    h->listeners.accepted = on_accepted;
    if (start_daemon(h) != 0) {
        buf_puts(error, "the HTTP server could not be started");
        http_close(h);
        return NULL;
    }
    if (http_listeners_open(&h->listeners, config, error, misconfigured) == 0)
        return h;
    http_close(h);
    return NULL;
}

void http_configure(struct http *h, const struct http_config *config) {
    h->config.max_body = config->max_body;
    h->config.header_timeout_ns = config->header_timeout_ns;
    h->config.idle_timeout_ns = config->idle_timeout_ns;
}

void http_close(struct http *h) {
    http_listeners_close(&h->listeners);
    /* Stopping libmicrohttpd with suspended connections is not allowed; and who still waits deserves an answer. */
    h->closing = true;
    http_wake_streams(h);
    while (h->suspended != NULL) {
        http_set_header(h->suspended, "Retry-After", "1");
        http_answer_problem(h->suspended, PROBLEM_DRAINING, NULL, NULL);
    }
    for (int i = 0; h->daemon != NULL && i < LAST_TURNS; i++)
        http_turn(h);
    if (h->daemon != NULL)
        MHD_stop_daemon(h->daemon);
    while (h->spare != NULL) {
        struct http_request *r = h->spare;
        h->spare = r->next;
        request_destroy(r);
    }
    free(h);
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
