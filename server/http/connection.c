/* connection.c: the timeouts of a client's connection, and its FIN. Front end.
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
 *   SERVING  a request is handled or answered, or the client has sent none since the last one. Our timer has no meaning
 *            here: only libmicrohttpd ends a connection that is idle between two requests
 *   BODY     the timer is set to the idle timeout, or to GONE_NS if the client has left
 *   CUT      the socket is shut down; what libmicrohttpd still reads from it is not served
 *
 * libmicrohttpd can close a connection in any state: then it is freed.
 *
 * The client's FIN is not a state, because it can come in any state, and the state alone does not say what it means: a
 * client that has sent a whole request can close its side and still wait for the answer. So the FIN is a fact,
 * `fin_seen`. http_suspend looks at it when an answer has to wait, and `on_fin` reports it to the owner when it comes.
 * The limit of connections is a fact as well: it is decided when the connection comes, and never changes.
 */
#include "server/http/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "server/http/request_id.h"
#include "server/model/model.h"

#define GONE_NS NS_PER_S /* how long a client is served that has left in the middle of a body */

static const struct state_row states[CONNECTION_STATES] = {
    [CONNECTION_HEAD] = {"head", TO(CONNECTION_SERVING) | TO(CONNECTION_CUT)},
    [CONNECTION_SERVING] = {"serving", TO(CONNECTION_BODY)},
    [CONNECTION_BODY] = {"body", TO(CONNECTION_SERVING) | TO(CONNECTION_CUT)},
    [CONNECTION_CUT] = {"cut", 0},
};

static void move(struct http_connection *c, enum http_connection_state to) {
    state_check_move("http connection", states, c->state, to);
    c->state = to;
}

static void cut(struct http_connection *c) {
    shutdown(c->watch.fd, SHUT_RDWR);
    move(c, CONNECTION_CUT);
}

/* Sends a whole answer past libmicrohttpd, which would close the connection without one. No other answer can be on its
 * way, because no request is complete. */
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
        LOG(LOG_DEBUG, "timeout_not_sent", LOG_STR("error", strerror(errno)));
    buf_deinit(&body);
    buf_deinit(&out);
}

/* The timer is neither cleared when a body is whole nor moved when more of it comes, because that would be work for
 * each request. So when it fires, it looks whether it still has a meaning. */
static void on_timer(struct timer *t) {
    struct http_connection *c = container_of(t, struct http_connection, timer);
    int64_t due_ns = c->active_ns + c->config->idle_timeout_ns;
    if (c->state == CONNECTION_HEAD) {
        send_timeout(c);
        cut(c);
    } else if (c->state == CONNECTION_BODY && c->fin_seen) {
        cut(c); /* libmicrohttpd does not see a FIN that comes together with the last bytes */
    } else if (c->state == CONNECTION_BODY && loop_now_ns(c->loop) >= due_ns) {
        send_timeout(c);
        cut(c);
    } else if (c->state == CONNECTION_BODY) {
        loop_set_timer(c->loop, t, due_ns);
    }
}

/* We watch for the FIN because libmicrohttpd does not look at a suspended connection. */
static void on_half_close(struct watch *w, uint32_t events) {
    struct http_connection *c = container_of(w, struct http_connection, watch);
    (void)events;
    if (c->fin_seen) /* this is a reset after the FIN */
        return;
    c->fin_seen = true;
    if (c->state == CONNECTION_BODY)
        loop_set_timer(c->loop, &c->timer, loop_now_ns(c->loop) + GONE_NS);
    c->on_fin(c);
}

struct http_connection *http_connection_new(struct loop *loop, const struct http_config *config, int fd,
                                            bool over_limit, void (*on_fin)(struct http_connection *c)) {
    struct http_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->config = config;
    c->on_fin = on_fin;
    c->watch = (struct watch){fd, on_half_close};
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
