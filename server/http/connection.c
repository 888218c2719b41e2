/* connection.c: what a client sends is checked here; and the timeouts of its connection, and its FIN. Front end.
 *
 *     plain   socket ──► recv ──────────────────────────────────────────────────┐
 *                                                                               ├──► framing ──► libmicrohttpd
 *     TLS     socket ──► tls.c: handshake, then GnuTLS ──► gnutls_record_recv ──┘
 *
 *        accepted
 *           │               a head                a body is to come
 *           ▼       ┌──────────────────► SERVING ─────────────────► BODY
 *         HEAD ─────┘                     │ │  ▲                      │ │
 *           ▲  some of a further head     │ │  └── the body is whole ─┘ │ a fault, the idle timeout,
 *           └─────────────────────────────┘ │ a fault, or the client     │ a body that is too slow,
 *           │ a fault,                      │ has left                   │ or the client has left
 *           │ the header timeout            ▼                            │
 *           └─────────────────────────────►CUT ◄─────────────────────────┘
 *
 *   HEAD     the timer is set to the header timeout; the first time, the handshake of TLS comes before the head
 *   SERVING  a request is handled or answered, or the client has sent none since the last one. Our timer has no meaning
 *            here: libmicrohttpd ends a connection that is idle between two requests
 *   BODY     the timer is set to the idle timeout, or to the end of the window in which the body's bytes are counted.
 *            Only the body's own bytes count: those of its framing hold nothing open
 *   CUT      the socket is shut down, or nothing more is read from it
 *
 * libmicrohttpd can close a connection in any state: then it is freed.
 *
 * libmicrohttpd reads ahead: the heads that `framing` has seen can be more than those that were begun. So a fault is
 * answered only when the requests before it are done.
 *
 * The client's FIN is not a state, because it can come in any state, and the state alone does not say what it means: a
 * client that has sent a whole request can close its side and still wait for the answer. So the FIN is a fact,
 * `fin_seen`. If it comes before a request is whole, the connection is cut. Else http_suspend looks at it when an
 * answer has to wait, and `on_fin` reports it to the owner when it comes. The limit of connections is a fact as well:
 * it is decided when the connection comes, and never changes.
 */
#undef _FORTIFY_SOURCE /* its recv would be in the way of ours */
#include "server/http/connection.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "server/http/request_id.h"
#include "server/model/model.h"

#define SPARE_OF_ADDRESS 16 /* connections of an address beyond its limit; further ones take the place of idle ones */
#define MAX_HANDSHAKES   8  /* steps of handshakes, of up to two milliseconds each, before the loop goes on */

static const struct state_row states[CONNECTION_STATES] = {
    [CONNECTION_HEAD] = {"head", TO(CONNECTION_SERVING) | TO(CONNECTION_CUT)},
    [CONNECTION_SERVING] = {"serving", TO(CONNECTION_HEAD) | TO(CONNECTION_BODY) | TO(CONNECTION_CUT)},
    [CONNECTION_BODY] = {"body", TO(CONNECTION_SERVING) | TO(CONNECTION_CUT)},
    [CONNECTION_CUT] = {"cut", 0},
};

static void move(struct http_connection *c, enum http_connection_state to) {
    state_check_move("http connection", states, c->state, to);
    c->state = to;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Without an answer. */
static void cut(struct http_connection *c) {
    if (c->state == CONNECTION_CUT)
        return;
    move(c, CONNECTION_CUT);
    shutdown(c->watch.fd, SHUT_RDWR);
}

/* Nothing more is sent or read; a client that still sends can read what was sent before. */
static void cut_gently(struct http_connection *c) {
    move(c, CONNECTION_CUT);
    linger_begin(&c->all->lingers, c->watch.fd);
}

/* How many bytes were sent; -1 with errno. To a client that does not speak TLS where it should: in plain text. */
static ssize_t send_past_library(struct http_connection *c, const struct buf *bytes) {
    if (c->tls == NULL || tls_is_plain(c->tls))
        return sendto(c->watch.fd, bytes->data, bytes->size, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    ssize_t n = tls_write(c->tls, bytes->data, bytes->size);
    tls_end_writing(c->tls);
    return n;
}

unsigned http_connection_write_problem(const struct http_connection *c, enum problem_code code, struct buf *document,
                                       const char **media_type) {
    struct buf other = {0};
    *media_type = "application/problem+json";
    if (c->problem_writer == NULL)
        return problem_get(code)->status;
    *media_type = "application/json";
    unsigned status = c->problem_writer(code, document, &other);
    other.failed |= document->failed;
    buf_deinit(document);
    *document = other;
    return status;
}

void http_connection_reject(struct http_connection *c, enum problem_code code, const char *detail, const char *members,
                            const char *id, bool no_body) {
    struct buf body = {0}, out = {0};
    char made[HTTP_ID_SIZE], date[40];
    time_t now = clock_wall_ms() / 1000;
    struct tm utc;
    const char *media_type;
    if (c->state == CONNECTION_CUT)
        return;
    if (id == NULL) {
        http_id_make(made, NULL);
        id = made;
    }
    problem_write(&body, code, detail, members, NULL);
    unsigned status = http_connection_write_problem(c, code, &body, &media_type);
    const char *lines = c->request == NULL || c->lines.size == 0 ? "" : c->lines.data;
    bool can_wait = (status == 429 || status == 503) && strstr(lines, "Retry-After: ") == NULL;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc)); /* the locale is "C" */
    buf_printf(&out,
               "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
               "X-Request-Id: %s\r\n%s%sConnection: close\r\n\r\n",
               status, MHD_get_reason_phrase_for(status), date, media_type, body.size, id,
               can_wait ? "Retry-After: 1\r\n" : "", lines);
    if (!no_body)
        buf_append(&out, body.data, body.size);
    if (!out.failed && send_past_library(c, &out) < 0)
        LOG(LOG_DEBUG, "answer_not_sent", LOG_STR("error", strerror(errno)));
    LOG(LOG_DEBUG, "request_rejected", LOG_STR("request", id), LOG_INT("status", status),
        LOG_STR("code", problem_get(code)->code), LOG_STR("detail", detail));
    buf_deinit(&body);
    buf_deinit(&out);
    cut_gently(c);
}

/* Answers the fault of a head or of a body's framing. head: what there is of the head, or NULL. */
static void reject_fault(struct http_connection *c, const char *head, size_t size) {
    const struct head_fault *f = &c->fault;
    struct buf members = {0};
    char given[HTTP_ID_SIZE] = "", id[HTTP_ID_SIZE];
    const char *value = NULL;
    if (f->code == PROBLEM_COUNT) {
        LOG(LOG_INFO, "tls_on_plain_port");
        cut(c);
        return;
    }
    size_t n = head == NULL ? 0 : head_find(head, size, "X-Request-Id", &value);
    if (n < sizeof given)
        memcpy(given, n == 0 ? "" : value, n);
    http_id_make(id, given);
    if (f->field != NULL)
        buf_printf(&members, "\"field\":\"%s\"", f->field);
    else if (f->limit != 0)
        buf_printf(&members, "\"limit_bytes\":%llu", (unsigned long long)f->limit);
    char detail[160];
    if (f->field != NULL && f->detail != NULL)
        snprintf(detail, sizeof detail, "%s: %s", f->field, f->detail);
    else
        snprintf(detail, sizeof detail, "%s", f->detail == NULL ? "" : f->detail);
    http_connection_reject(c, f->code, detail[0] == '\0' ? NULL : detail, members.data, id, c->fault_is_for_head);
    buf_deinit(&members);
    if (c->request == NULL)
        c->all->on_rejected(c->all, problem_get(f->code)->status);
}

/* ---- what comes -------------------------------------------------------------------------------------------------- */

/* True if the client will send nothing more, and all that it has sent was read. With TLS the last that it sends can be a
 * close_notify: then this is found out by reading it. */
static bool is_at_end(const struct http_connection *c) {
    char byte;
    return c->fin_seen && (c->tls == NULL || tls_pending(c->tls) == 0) &&
           recvfrom(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) == 0;
}

static bool is_in_body(const struct http_connection *c) {
    return c->framing.state != FRAMING_IDLE && c->framing.state != FRAMING_HEAD;
}

/* The client has left in the middle of a request: nobody will read an answer. If an earlier request is being served,
 * this is looked at again when that is done. */
static void cut_if_left(struct http_connection *c) {
    bool unfinished = c->framing.heads == c->begun && (c->request == NULL || is_in_body(c));
    if (unfinished && is_at_end(c))
        cut(c);
}

/* Some of a further head has come: from now on its time is limited. */
static void expect_head(struct http_connection *c) {
    if (c->state != CONNECTION_SERVING || c->request != NULL || c->framing.heads != c->begun ||
        (c->framing.state != FRAMING_HEAD && c->framing.blanks == 0))
        return;
    move(c, CONNECTION_HEAD);
    loop_set_timer(c->all->loop, &c->timer, loop_now_ns(c->all->loop) + c->all->config->header_timeout_ns);
}

/* Follows what was read. Returns how much of it libmicrohttpd may have; -1 with errno: nothing. */
static ssize_t take(struct http_connection *c, char *bytes, size_t size) {
    const struct http_config *config = c->all->config;
    const struct head_rules rules = {config->max_header, c->loopback && !config->any_host, config->allowed_hosts,
                                     config->allowed_host_count};
    const char *head;
    size_t head_size;
    bool begins_in_body = is_in_body(c);
    int rc = framing_follow(&c->framing, &rules, bytes, &size, &c->fault, &head, &head_size);
    if (rc != 0) {
        c->is_faulty = true;
        c->fault_is_for_head = head_is_for_head(head, head_size);
        bool of_this_body = begins_in_body && size == 0 && !c->answered;
        if (size == 0 && c->framing.heads == c->begun && (c->request == NULL || of_this_body)) {
            reject_fault(c, head_size == 0 ? NULL : head, head_size);
            errno = ECONNRESET;
            return -1;
        }
    } else if (c->fin_seen) {
        cut_if_left(c);
    }
    expect_head(c);
    errno = EAGAIN;
    return size == 0 ? -1 : (ssize_t)size;
}

static const struct http_address_limits *limits_of(const struct http_connection *c) {
    return c->loopback ? &c->all->config->loopback_limits : &c->all->config->address_limits;
}

/* How many requests a second its address can send; 0: there is no limit. */
static uint64_t request_rate(const struct http_connection *c) {
    return c->client == NULL ? 0 : limits_of(c)->requests;
}

/* False: its address makes more handshakes than it may, and the connection is cut. */
static bool may_shake(struct http_connection *c) {
    uint64_t rate = request_rate(c);
    bool begins = !c->has_shaken;
    c->has_shaken = true;
    if (!begins || rate == 0 || http_client_take_handshake(c->client, rate, loop_now_ns(c->all->loop)))
        return true;
    http_connections_refuse(c->all, "address_handshakes");
    cut(c);
    errno = ECONNRESET;
    return false;
}

/* Like recv(2), after the handshake. A client that is at fault gets no further. */
static ssize_t receive_by_tls(struct http_connection *c, void *to, size_t size) {
    bool shakes = !tls_is_open(c->tls);
    if (shakes && c->all->handshakes_left == 0) {
        c->all->more = true;
        errno = EINTR;
        return -1;
    }
    if (shakes && !may_shake(c))
        return -1;
    c->all->handshakes_left -= shakes;
    ssize_t n = tls_read(c->tls, to, size);
    int why = errno;
    if (n < 0 && why == EPROTO) {
        LOG(LOG_INFO, "plain_http_on_tls_port");
        c->fault = (struct head_fault){.code = PROBLEM_BAD_REQUEST, .detail = "this port speaks TLS: use https"};
        reject_fault(c, NULL, 0);
    } else if (n < 0 && why != EAGAIN && why != EINTR) {
        cut_gently(c);
    } else if (n < 0 && tls_wants_to_write(c->tls)) {
        loop_rewatch(c->all->loop, &c->watch, EPOLLRDHUP | EPOLLOUT | EPOLLET);
    }
    c->all->more |= n > 0 || (n < 0 && why == EINTR);
    errno = why;
    return n;
}

static ssize_t receive_plainly(struct http_connection *c, void *to, size_t size, int flags) {
    ssize_t n = recvfrom(c->watch.fd, to, size, flags, NULL, NULL);
    c->all->more |= n > 0 && (size_t)n == size;
    return n;
}

/* The body of a request has a fault whose head is among the `got` bytes that libmicrohttpd does not have yet. So it gets
 * none of that request. Returns how many bytes it may have. */
static ssize_t withhold(struct http_connection *c, size_t got) {
    got -= c->framing.under_way < got ? c->framing.under_way : got;
    c->framing.heads = c->framing.whole;
    errno = EAGAIN;
    if (got > 0)
        return (ssize_t)got;
    if (c->framing.heads == c->begun && c->request == NULL) {
        reject_fault(c, NULL, 0);
        errno = ECONNRESET;
    }
    return -1;
}

/* If libmicrohttpd gets less than it has room for, it does not read again until more comes. So what was taken out is
 * replaced by what waits. It ends, because framing.c takes out little. A socket that has given less than there was room
 * for has no more; of TLS that is not known, because it comes in records. */
static ssize_t fill(struct http_connection *c, char *to, size_t size, int flags) {
    size_t got = 0;
    while (got < size) {
        bool begins_in_body = is_in_body(c);
        size_t room = size - got;
        ssize_t n = c->tls == NULL ? receive_plainly(c, to + got, room, flags) : receive_by_tls(c, to + got, room);
        if (n <= 0)
            return got > 0 ? (ssize_t)got : n;
        ssize_t taken = take(c, to + got, (size_t)n);
        if (c->state == CONNECTION_CUT) {
            errno = ECONNRESET;
            return -1;
        }
        if (c->is_faulty && taken < 0 && begins_in_body && c->framing.heads != c->begun)
            return withhold(c, got);
        got += taken > 0 ? (size_t)taken : 0;
        if ((c->tls == NULL && (size_t)n < room) || c->is_faulty)
            break;
    }
    errno = EAGAIN;
    return got > 0 ? (ssize_t)got : -1;
}

static ssize_t receive(struct http_connection *c, void *to, size_t size, int flags) {
    if (c->state == CONNECTION_CUT) {
        errno = ECONNRESET;
        return -1;
    }
    if (c->is_faulty) {
        errno = EAGAIN;
        return -1;
    }
    return fill(c, to, size, flags);
}

static _Thread_local struct http_connections *reading;

/* libmicrohttpd reads from a connection with TLS. */
static ssize_t read_by_tls(int fd, void *to, size_t size) {
    struct http_connection *c = http_connection_find(reading, fd);
    errno = ECONNRESET;
    return c == NULL || c->tls == NULL ? -1 : receive(c, to, size, 0);
}

void http_connections_begin_reading(struct http_connections *all) {
    reading = all;
    all->handshakes_left = MAX_HANDSHAKES;
    tls_begin_reading(read_by_tls);
}

void http_connections_end_reading(void) {
    reading = NULL;
    tls_end_reading();
}

/* The recv of the whole program and of its libraries, see connection.h. */
ssize_t recv(int fd, void *to, size_t size, int flags) {
    struct http_connection *c = reading == NULL ? NULL : http_connection_find(reading, fd);
    return c == NULL || c->tls != NULL ? recvfrom(fd, to, size, flags, NULL, NULL) : receive(c, to, size, flags);
}

/* ---- timeouts and the FIN ---------------------------------------------------------------------------------------- */

uint64_t http_connections_least(const struct http_connections *all) {
    return all->config->min_rate * (uint64_t)(all->config->idle_timeout_ns / NS_PER_MS) / 1000;
}

static void begin_window(struct http_connection *c) {
    c->window_ns = loop_now_ns(c->all->loop);
    c->window_bytes = 0;
}

static void set_body_timer(struct http_connection *c) {
    int64_t from_ns = c->active_ns < c->window_ns ? c->active_ns : c->window_ns;
    loop_set_timer(c->all->loop, &c->timer, from_ns + c->all->config->idle_timeout_ns);
}

/* True: in this whole window less of the body has come than has to. Begins another one if it is over. */
static bool is_slow(struct http_connection *c) {
    if (loop_now_ns(c->all->loop) < c->window_ns + c->all->config->idle_timeout_ns)
        return false;
    bool slow = c->window_bytes < http_connections_least(c->all);
    begin_window(c);
    return slow;
}

/* The client takes too long with what it sends. detail: NULL for the usual one. */
static void end_late(struct http_connection *c, const char *detail) {
    if (c->answered || (c->tls != NULL && !tls_is_open(c->tls)))
        cut(c);
    else
        http_connection_reject(c, PROBLEM_REQUEST_TIMEOUT, detail, NULL, c->request_id, false);
}

/* The timer is neither cleared when a body is whole nor moved when more of it comes, because that would be work for
 * each request. So when it fires, it looks whether it still has a meaning. */
static void on_timer(struct timer *t) {
    struct http_connection *c = container_of(t, struct http_connection, timer);
    bool in_time = loop_now_ns(c->all->loop) < c->active_ns + c->all->config->idle_timeout_ns;
    if (c->state == CONNECTION_BODY && in_time && is_slow(c)) {
        metrics_count(c->all->slow_closed, "body");
        end_late(c, "the body comes more slowly than --min-rate allows");
    } else if (c->state == CONNECTION_BODY && in_time) {
        set_body_timer(c);
    } else if (c->state == CONNECTION_HEAD || c->state == CONNECTION_BODY) {
        end_late(c, NULL);
    }
}

static void begin_body(struct http_connection *c) {
    move(c, CONNECTION_BODY);
    c->active_ns = loop_now_ns(c->all->loop);
    begin_window(c);
    if (!c->timer.is_set)
        set_body_timer(c);
}

/* The handshake could not send all that it wanted: a long chain of certificates, to a slow client. */
static void go_on_with_handshake(struct http_connection *c) {
    int rc = tls_shake(c->tls);
    if (rc != 0 && errno != EAGAIN && errno != EINTR)
        cut_gently(c);
    else if (!tls_wants_to_write(c->tls))
        loop_rewatch(c->all->loop, &c->watch, EPOLLRDHUP | EPOLLET);
}

/* We watch for the FIN because libmicrohttpd does not look at a suspended connection, and misses a FIN that comes
 * together with bytes. */
static void on_socket_event(struct watch *w, uint32_t events) {
    struct http_connection *c = container_of(w, struct http_connection, watch);
    bool was_reset = c->reset;
    if (c->state != CONNECTION_CUT && (events & EPOLLOUT) != 0 && c->tls != NULL && tls_wants_to_write(c->tls))
        go_on_with_handshake(c);
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) == 0)
        return;
    if (c->state == CONNECTION_CUT || (c->fin_seen && (events & (EPOLLERR | EPOLLHUP)) == 0))
        return;
    c->fin_seen = true;
    c->reset = (events & (EPOLLERR | EPOLLHUP)) != 0;
    cut_if_left(c);
    if (c->state != CONNECTION_CUT && !was_reset)
        c->all->on_fin(c);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int make_room(struct http_connections *all, size_t fd) {
    if (fd < all->room)
        return 0;
    size_t room = all->room < 64 ? 64 : all->room;
    while (room <= fd)
        room *= 2;
    struct http_connection **by_fd = realloc(all->by_fd, room * sizeof *by_fd);
    if (by_fd == NULL)
        return -1;
    memset(by_fd + all->room, 0, (room - all->room) * sizeof *by_fd);
    all->by_fd = by_fd;
    all->room = room;
    return 0;
}

struct http_connection *http_connection_find(const struct http_connections *all, int fd) {
    return fd >= 0 && (size_t)fd < all->room ? all->by_fd[fd] : NULL;
}

const char *http_connection_refusal(const struct http_connection *c) {
    return c->spare_in == &c->all->spare ? "connections" : "address_connections";
}

static bool cut_first(struct http_connection *list) {
    struct http_connection *c;
    DL_FOREACH2(list, c, spare_next) {
        if (c->request == NULL && c->state != CONNECTION_CUT) {
            http_connections_refuse(c->all, http_connection_refusal(c));
            cut(c);
            return true;
        }
    }
    return false;
}

/* Counts it for its address, and finds out whether it is beyond a limit. The address keeps a few beyond its own limit,
 * because they can be probes. False: it cannot be let in. */
static bool enter(struct http_connection *c, const struct sockaddr *peer) {
    struct http_connections *all = c->all;
    if (!http_clients_enter(&all->clients, peer, clock_monotonic_ns(), &c->client))
        return false;
    uint64_t most = c->client == NULL ? 0 : limits_of(c)->connections;
    bool over_own = most > 0 && c->client->connections > most;
    if (all->count >= all->config->max_connections)
        c->spare_in = &all->spare;
    else if (over_own)
        c->spare_in = &c->client->spare;
    c->over_limit = c->spare_in != NULL;
    if (over_own && c->client->connections > most + SPARE_OF_ADDRESS && !cut_first(c->client->spare)) {
        http_connections_refuse(all, "address_connections");
        http_clients_leave(&all->clients, c->client, clock_monotonic_ns());
        return false;
    }
    return true;
}

static void destroy(struct http_connection *c) {
    if (c->tls != NULL)
        tls_session_end(c->tls);
    buf_deinit(&c->lines);
    free(c);
}

struct http_connection *http_connection_new(struct http_connections *all, int fd, const struct sockaddr *peer,
                                            bool loopback, struct tls *tls) {
    struct http_connection *c = make_room(all, (size_t)fd) != 0 ? NULL : calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->all = all;
    c->tls = tls == NULL ? NULL : tls_session_new(tls, fd);
    if (tls != NULL && c->tls == NULL) {
        free(c);
        return NULL;
    }
    c->held = tls == NULL ? all->bytes_each : all->tls_bytes;
    c->watch = (struct watch){fd, on_socket_event};
    c->timer.fire = on_timer;
    c->loopback = loopback;
    if (!enter(c, peer)) {
        destroy(c);
        return NULL;
    }
    if (loop_watch(all->loop, &c->watch, EPOLLRDHUP | EPOLLET) != 0) {
        http_clients_leave(&all->clients, c->client, clock_monotonic_ns());
        destroy(c);
        return NULL;
    }
    loop_set_timer(all->loop, &c->timer, clock_monotonic_ns() + all->config->header_timeout_ns);
    if (c->over_limit)
        DL_APPEND2(*c->spare_in, c, spare_prev, spare_next);
    all->count++;
    held_add(HELD_CONNECTIONS, c->held);
    all->by_fd[fd] = c;
    return c;
}

void http_connection_free(struct http_connection *c) {
    struct http_connections *all = c->all;
    int unread = 0;
    if (c->state != CONNECTION_CUT && !c->fin_seen &&
        (is_in_body(c) || (ioctl(c->watch.fd, FIONREAD, &unread) == 0 && unread > 0)))
        linger_begin(&all->lingers, c->watch.fd);
    if (c->over_limit)
        DL_DELETE2(*c->spare_in, c, spare_prev, spare_next);
    http_clients_leave(&all->clients, c->client, loop_now_ns(all->loop));
    all->by_fd[c->watch.fd] = NULL;
    all->count--;
    held_sub(HELD_CONNECTIONS, c->held);
    loop_unwatch(all->loop, &c->watch);
    loop_clear_timer(all->loop, &c->timer);
    framing_deinit(&c->framing);
    destroy(c);
}

void http_connections_deinit(struct http_connections *all) {
    linger_end_all(&all->lingers);
    http_clients_deinit(&all->clients);
    free(all->by_fd);
}

bool http_connections_cut_spare(struct http_connections *all) {
    return cut_first(all->spare);
}

void http_connections_refuse(struct http_connections *all, const char *reason) {
    metrics_count(all->refused, reason);
}

void http_connection_begin(struct http_connection *c, struct http_request *r, const char *request_id) {
    if (c->state == CONNECTION_HEAD) {
        loop_clear_timer(c->all->loop, &c->timer);
        move(c, CONNECTION_SERVING);
    }
    c->begun++;
    buf_clear(&c->lines);
    c->request = r;
    c->request_id = request_id;
    c->answered = false;
    uint64_t rate = request_rate(c);
    c->over_rate = rate > 0 && !http_client_take(c->client, rate, loop_now_ns(c->all->loop));
    if (c->state == CONNECTION_SERVING && c->framing.heads == c->begun && is_in_body(c))
        begin_body(c);
    if (c->fin_seen)
        cut_if_left(c);
}

void http_connection_take_body(struct http_connection *c, size_t size) {
    if (c->state != CONNECTION_BODY)
        begin_body(c);
    c->active_ns = loop_now_ns(c->all->loop);
    c->window_bytes += size;
}

void http_connection_end_body(struct http_connection *c) {
    if (c->state == CONNECTION_BODY)
        move(c, CONNECTION_SERVING);
}

void http_connection_end(struct http_connection *c) {
    c->request = NULL;
    c->request_id = NULL;
    c->problem_writer = NULL;
    c->answered = false;
    if (c->state == CONNECTION_CUT || c->framing.heads != c->begun)
        return;
    if (c->is_faulty)
        reject_fault(c, NULL, 0);
    else if (is_at_end(c))
        cut(c);
    else
        expect_head(c);
}
