/* unread.c: see unread.h. Front end.
 *
 * libmicrohttpd does not tell how much of an answer it has sent, so the kernel is asked how much the client has taken.
 * That is done every LOOK_NS, but only while more than half of the memory is used. The list is in the order of
 * `moved_ns`: in front is the one whose client has taken nothing for the longest time.
 *
 * When memory is short, the connections in front are closed, as many as needed. But a client that has taken something
 * within PATIENCE_NS is never closed: it may just be slow. Nor is one whose stream has nothing to send, or one that
 * holds no memory of its own.
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

/* A number that stays the same while the client takes nothing. TCP counts the bytes that were acknowledged. A Unix
 * socket only knows how many wait. */
static uint64_t measure(const struct http_request *r) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int fd = r->connection->watch.fd, waiting = 0;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_bytes_acked;
    if (ioctl(fd, SIOCOUTQ, &waiting) != 0)
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
    uint64_t taken = measure(r);
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

/* libmicrohttpd notices it in its next turn, and ends the request. */
static void close_unread(struct http_request *r, int64_t now_ns) {
    LOG(LOG_WARN, "unread_closed", LOG_STR("request", r->id), LOG_STR("path", r->path.data),
        LOG_INT("bytes", weight(r)), LOG_INT("waited_ms", (now_ns - r->unread.moved_ns) / NS_PER_MS));
    r->http->unread_closed++;
    http_hold_answer(r, 0);
    http_unread_remove(r);
    shutdown(r->connection->watch.fd, SHUT_RDWR);
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

void http_unread_init(struct http *h) {
    h->unread_timer.fire = on_timer;
    held_set_reclaimer(HELD_FROM_UNREAD, reclaim, h);
}

void http_unread_deinit(struct http *h) {
    held_set_reclaimer(HELD_FROM_UNREAD, NULL, NULL);
    loop_clear_timer(h->loop, &h->unread_timer);
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
    r->unread.moved_ns = loop_now_ns(r->http->loop);
    DL_APPEND2(r->http->unread, r, unread.prev, unread.next);
    set_timer(r->http);
}

void http_unread_remove(struct http_request *r) {
    if (r->unread.prev == NULL)
        return;
    DL_DELETE2(r->http->unread, r, unread.prev, unread.next);
    r->unread.prev = NULL;
}
