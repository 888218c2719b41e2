/* connection.c: see connection.h. Front end.
 *
 *        accepted
 *           │
 *           ▼          a head               bytes of a body
 *         HEAD ─────────────────► SERVING ─────────────────► BODY
 *           │                        ▲                        │ │
 *           │                        └──── the body is whole ─┘ │
 *           │ the header timeout                                │ the idle timeout, or the client has left
 *           └──────────────────────► CUT ◄──────────────────────┘
 *
 *   HEAD     the timer is set to the header timeout
 *   SERVING  a request is handled or answered, or the client has sent none since the last; no timer of ours counts.
 *            The time between two requests belongs to it: libmicrohttpd alone ends a connection that is idle
 *   BODY     the timer is set to the idle timeout, or, if the client has left, to GONE_NS
 *   CUT      the socket is shut down; whatever libmicrohttpd still reads from it is not served
 *
 * libmicrohttpd may close a connection in any state: then it is freed.
 *
 * The client's FIN is not a state. It may come in any of them, and what it means depends on more than the state: with
 * the whole request before it, it may be a client that has closed its side and waits for the answer. So it is a fact,
 * `fin_seen`, that is looked at where an answer has to wait (http_suspend), and told to the owner when it comes. The
 * limit of connections is a fact as well: it is decided when the connection comes and never changes.
 */
#include "server/http/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "server/http/request_id.h"
#include "server/model/model.h"

#define GONE_NS NS_PER_S /* a client that has left in the middle of a body is cut off after this */

#define TO(state) (1U << CONNECTION_##state)
static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} states[CONNECTION_STATES] = {
    [CONNECTION_HEAD] = {"head", TO(SERVING) | TO(CUT)},
    [CONNECTION_SERVING] = {"serving", TO(BODY)},
    [CONNECTION_BODY] = {"body", TO(SERVING) | TO(CUT)},
    [CONNECTION_CUT] = {"cut", 0},
};

static void move(struct http_connection *c, enum http_connection_state to) {
    if ((states[c->state].next & 1U << to) == 0)
        state_illegal_move("http connection", states[c->state].name, states[to].name);
    c->state = to;
}

static void cut(struct http_connection *c) {
    shutdown(c->watch.fd, SHUT_RDWR);
    move(c, CONNECTION_CUT);
}

/* A whole answer, from here: libmicrohttpd would close the connection without a word. Nothing else of an answer can be
 * on its way, because no request is complete. */
static void send_timeout(struct http_connection *c) {
    struct buf body = {0}, out = {0};
    char id[HTTP_ID_SIZE];
    http_id_make(id, c->request_id);
    problem_write(&body, PROBLEM_REQUEST_TIMEOUT, NULL, NULL, NULL);
    buf_printf(&out,
               "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
               "X-Request-Id: %s\r\nConnection: close\r\n\r\n",
               body.size, id);
    buf_append(&out, body.data, body.size);
    if (!out.failed && send(c->watch.fd, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        LOG(LOG_DEBUG, "timeout_not_told", LOG_STR("error", strerror(errno)));
    buf_deinit(&body);
    buf_deinit(&out);
}

/* The timer is not cleared when a body is whole, nor moved when more of it comes: that would be work for each request.
 * So it looks, when it fires, whether it is still wanted. */
static void on_timer(struct timer *t) {
    struct http_connection *c = container_of(t, struct http_connection, timer);
    int64_t due_ns = c->active_ns + c->config->idle_timeout_ns;
    if (c->state == CONNECTION_HEAD) {
        send_timeout(c);
        cut(c);
    } else if (c->state == CONNECTION_BODY && c->fin_seen) {
        cut(c); /* libmicrohttpd misses a FIN that comes together with the last bytes */
    } else if (c->state == CONNECTION_BODY && loop_now_ns(c->loop) >= due_ns) {
        send_timeout(c);
        cut(c);
    } else if (c->state == CONNECTION_BODY) {
        loop_set_timer(c->loop, t, due_ns);
    }
}

/* libmicrohttpd does not look at a suspended connection, so we do. */
static void on_fin(struct watch *w, uint32_t events) {
    struct http_connection *c = container_of(w, struct http_connection, watch);
    (void)events;
    if (c->fin_seen) /* a reset after it */
        return;
    c->fin_seen = true;
    if (c->state == CONNECTION_BODY)
        loop_set_timer(c->loop, &c->timer, loop_now_ns(c->loop) + GONE_NS);
    c->on_fin(c);
}

struct http_connection *http_connection_new(struct loop *loop, const struct http_config *config, int fd,
                                            bool over_limit, void (*told)(struct http_connection *c)) {
    struct http_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->config = config;
    c->on_fin = told;
    c->watch = (struct watch){fd, on_fin};
    c->timer.fire = on_timer;
    c->over_limit = over_limit;
    loop_watch(loop, &c->watch, EPOLLRDHUP | EPOLLET);
    loop_set_timer(loop, &c->timer, clock_monotonic_ns() + config->header_timeout_ns);
    return c;
}

void http_connection_free(struct http_connection *c) {
    loop_unwatch(c->loop, &c->watch);
    loop_clear_timer(c->loop, &c->timer);
    free(c);
}

void http_connection_begin(struct http_connection *c, struct http_request *r, const char *request_id) {
    if (c->state == CONNECTION_HEAD) {
        loop_clear_timer(c->loop, &c->timer);
        move(c, CONNECTION_SERVING);
    }
    c->request = r;
    c->request_id = request_id;
}

void http_connection_take_body(struct http_connection *c) {
    c->active_ns = loop_now_ns(c->loop);
    if (c->state == CONNECTION_BODY)
        return;
    move(c, CONNECTION_BODY);
    if (c->timer.slot == 0)
        loop_set_timer(c->loop, &c->timer, c->active_ns + (c->fin_seen ? GONE_NS : c->config->idle_timeout_ns));
}

void http_connection_end_body(struct http_connection *c) {
    if (c->state == CONNECTION_BODY)
        move(c, CONNECTION_SERVING);
}

void http_connection_end(struct http_connection *c) {
    c->request = NULL;
    c->request_id = NULL;
}
