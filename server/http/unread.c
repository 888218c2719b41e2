/* unread.c: see unread.h. Front end.
 *
 * libmicrohttpd does not tell how much of an answer it has sent, so the kernel is asked how much the client has taken.
 * That is done every LOOK_NS, but only while more than half of the memory is used. The list is in the order of
 * `moved_ns`: in front is the one whose client has taken nothing for the longest time.
 *
 * When memory is short, the connections in front are closed, as many as needed. But a client that has taken something
 * within PATIENCE_NS is never closed: it may just be slow. Nor is one whose stream has nothing to send, or one that
 * holds no memory of its own.
 *
 * Apart from that a client has to take --min-rate, and something at all, on the average of each window of the idle timeout.
 * Of the windows there is a list in the order in which they end, and only those that end are looked at. The first one of
 * an answer is not judged: it only finds out from where to count, because that is a system call, and most answers are gone
 * by then.
 *
 * libmicrohttpd has an idle timeout of its own. It only sees when the socket takes more, which is in steps of a third of
 * the socket's buffer: a slow client that takes its answer all the time would look idle. So that timeout begins anew with
 * each window.
 */
#include "server/http/unread.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"

#define LOOK_NS     (250 * NS_PER_MS)
#define PATIENCE_NS NS_PER_S
#define MAX_POLL    32 /* sockets that are looked at in one go */

/* A number that stays the same while the client takes nothing. TCP counts the bytes that were acknowledged. A Unix socket
 * only knows how many wait. */
static uint64_t measure(const struct http_request *r, bool *is_tcp) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int waiting = 0;
    memset(&info, 0, sizeof info);
    *is_tcp = getsockopt(r->connection->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
    if (*is_tcp)
        return info.tcpi_bytes_acked;
    if (ioctl(r->connection->watch.fd, SIOCOUTQ, &waiting) != 0)
        return 0;
    return (uint64_t)waiting;
}

/* libmicrohttpd has something to send to that client. */
static bool is_sending(const struct http_request *r) {
    return r->state == REQUEST_ANSWERED || r->state == REQUEST_STREAMING;
}

/* Its client has moved, or waits for us: it goes to the end of the list. */
static void set_moved(struct http_request *r, int64_t now_ns) {
    r->unread.moved_ns = now_ns;
    DL_DELETE2(r->http->unread, r, unread.prev, unread.next);
    DL_APPEND2(r->http->unread, r, unread.prev, unread.next);
}

/* True: its client has taken nothing since the last look. */
static bool look(struct http_request *r, int64_t now_ns) {
    bool is_tcp;
    uint64_t taken = measure(r, &is_tcp);
    bool stuck = is_sending(r) && r->unread.measured && taken == r->unread.taken;
    r->unread.taken = taken;
    r->unread.measured = true;
    if (!stuck)
        set_moved(r, now_ns);
    return stuck;
}

static bool is_short(void) {
    return held_total > held_limit() / 2;
}

static void set_timer(struct http *h) {
    if (h->unread != NULL && !h->unread_timer.is_set && is_short())
        loop_set_timer(h->loop, &h->unread_timer, loop_now_ns(h->loop) + LOOK_NS);
}

static void on_timer(struct timer *t) {
    struct http *h = container_of(t, struct http, unread_timer);
    int64_t now_ns = clock_monotonic_ns();
    struct http_request *last = h->unread == NULL ? NULL : h->unread->unread.prev, *r = h->unread;
    while (r != NULL) {
        struct http_request *next = r == last ? NULL : r->unread.next;
        look(r, now_ns);
        r = next;
    }
    set_timer(h);
}

static size_t owned_bytes(const struct slice *s) {
    return s->blob != NULL && s->blob->refs == 1 ? s->blob->held : 0;
}

/* What closing its connection would free: its answer, and payloads that nobody else has. */
static size_t weight(const struct http_request *r) {
    return r->answer_held + owned_bytes(&r->answer) + (r->stream == NULL ? 0 : r->stream->pinned);
}

/* libmicrohttpd notices it in its next turn, and ends the request. What the kernel still has of the answer is dropped with
 * a reset: nobody reads that either. */
static void close_connection(struct http_request *r) {
    const struct linger reset = {.l_onoff = 1};
    http_hold_answer(r, 0);
    http_unread_remove(r);
    setsockopt(r->connection->watch.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    shutdown(r->connection->watch.fd, SHUT_RDWR);
}

static void close_unread(struct http_request *r, int64_t now_ns) {
    LOG(LOG_WARN, "unread_closed", LOG_STR("request", r->id), LOG_STR("path", r->path.data),
        LOG_INT("bytes", weight(r)), LOG_INT("waited_ms", (now_ns - r->unread.moved_ns) / NS_PER_MS));
    r->http->unread_closed++;
    close_connection(r);
}

static void reclaim(void *arg, size_t bytes) {
    struct http *h = arg;
    int64_t now_ns = clock_monotonic_ns();
    struct http_request *r = h->unread, *next;
    for (size_t freed = 0; r != NULL && freed < bytes && now_ns - r->unread.moved_ns >= PATIENCE_NS; r = next) {
        size_t more = weight(r);
        next = r->unread.next;
        if (more == 0 || !look(r, now_ns))
            continue;
        freed += more;
        close_unread(r, now_ns);
    }
    set_timer(h);
}

/* ---- --min-rate -------------------------------------------------------------------------------------------------- */

static void set_window_timer(struct http *h) {
    if (h->windows != NULL && !h->window_timer.is_set)
        loop_set_timer(h->loop, &h->window_timer, h->windows->unread.window_ns + h->config.idle_timeout_ns);
}

/* Whether the client took enough since its last window. A Unix socket does not tell how much it was. */
static bool has_taken(const struct http_request *r, uint64_t taken, bool is_tcp) {
    uint64_t least = http_connections_least(&r->http->connections);
    if (!is_tcp)
        return taken != r->unread.window_taken;
    return taken - r->unread.window_taken >= (least == 0 ? 1 : least);
}

/* From 0 to a time: then libmicrohttpd's timeout begins now. */
static void begin_timeout(const struct http_request *r) {
    MHD_set_connection_option(r->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    MHD_set_connection_option(r->mhd, MHD_CONNECTION_OPTION_TIMEOUT, r->http->library_idle_s);
}

/* The window of a request is over. False: its client was too slow. */
static bool end_window(struct http_request *r) {
    struct http_unread *u = &r->unread;
    bool is_tcp;
    uint64_t taken = measure(r, &is_tcp);
    bool slow = u->counted && is_sending(r) && !u->waited && !has_taken(r, taken, is_tcp);
    u->window_ns = loop_now_ns(r->http->loop);
    u->window_taken = taken;
    u->counted = true;
    u->waited = r->state == REQUEST_STALLED;
    if (!slow && is_sending(r))
        begin_timeout(r);
    DL_DELETE2(r->http->windows, r, unread.window_prev, unread.window_next);
    DL_APPEND2(r->http->windows, r, unread.window_prev, unread.window_next);
    return !slow;
}

static void on_window_timer(struct timer *t) {
    struct http *h = container_of(t, struct http, window_timer);
    int64_t over_ns = loop_now_ns(h->loop) - h->config.idle_timeout_ns;
    while (h->windows != NULL && h->windows->unread.window_ns <= over_ns) {
        struct http_request *r = h->windows;
        if (end_window(r))
            continue;
        LOG(LOG_WARN, "slow_reader_closed", LOG_STR("request", r->id), LOG_STR("path", r->path.data));
        metrics_count(h->connections.slow_closed, "answer");
        close_connection(r);
    }
    set_window_timer(h);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

void http_unread_init(struct http *h) {
    h->unread_timer.fire = on_timer;
    h->window_timer.fire = on_window_timer;
    held_set_reclaimer(HELD_FROM_UNREAD, reclaim, h);
}

void http_unread_deinit(struct http *h) {
    held_set_reclaimer(HELD_FROM_UNREAD, NULL, NULL);
    loop_clear_timer(h->loop, &h->unread_timer);
    loop_clear_timer(h->loop, &h->window_timer);
}

bool http_unread_is_writable(const struct http *h) {
    struct pollfd sockets[MAX_POLL];
    nfds_t count = 0;
    const struct http_request *last = h->unread == NULL ? NULL : h->unread->unread.prev, *r = last;
    for (; r != NULL && count < MAX_POLL; r = r == h->unread ? NULL : r->unread.prev)
        if (is_sending(r))
            sockets[count++] = (struct pollfd){.fd = r->connection->watch.fd, .events = POLLOUT};
    return count > 0 && poll(sockets, count, 0) > 0;
}

void http_unread_add(struct http_request *r) {
    if (!is_sending(r) || r->unread.prev != NULL)
        return;
    r->unread.moved_ns = r->unread.window_ns = loop_now_ns(r->http->loop);
    DL_APPEND2(r->http->unread, r, unread.prev, unread.next);
    DL_APPEND2(r->http->windows, r, unread.window_prev, unread.window_next);
    set_timer(r->http);
    set_window_timer(r->http);
}

void http_unread_remove(struct http_request *r) {
    if (r->unread.prev == NULL)
        return;
    DL_DELETE2(r->http->unread, r, unread.prev, unread.next);
    DL_DELETE2(r->http->windows, r, unread.window_prev, unread.window_next);
    r->unread.prev = NULL;
}
