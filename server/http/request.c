/* request.c: the states of a request, and what its handler can read of it. Front end.
 *
 *               the head
 *                  │
 *                  ▼        http_reject
 *              RECEIVING ────────────────► REJECTED ──────────────────────────┐
 *                  │ the body is whole                                        │ the problem
 *                  ▼              an answer                                   ▼
 *              HANDLING ─────────────────────────────────────────────────► ANSWERED
 *                │  │ │           a stream                                    ▲
 *                │  │ └─────────────────────────► STREAMING ◄───┐             │
 *                │  │ http_suspend                 ▲   │ nothing│to read      │
 *                │  ▼                              │   ▼        │             │
 *                │ POLLED ─────── a stream ────────┤ STALLED ───┘             │
 *                │  │  │ │                         │         http_wake_stream │
 *                │  │  │ └────────── an answer ─────│───────────────────────────┤
 *                │  │  │ 1 ms later                │                           │
 *                │  ▼  ▼                           │                           │
 *                │ SUSPENDED ──── a stream ────────┘                           │
 *        neither │     │ └──────── an answer ──────────────────────────────────┘
 *        of them │     │ http_abandon, also of POLLED
 *                ▼     ▼
 *              DROPPED ◄── also from REJECTED, HANDLING, POLLED and SUSPENDED, if libmicrohttpd takes no answer
 *
 * Most answers come within a fraction of a millisecond, so a request that waits is POLLED at first: libmicrohttpd keeps
 * its connection among those that are ready, and asks us again whenever it runs. To suspend and resume a connection
 * costs two epoll_ctl(2), one recv(2) that finds nothing, and a walk over all suspended ones. After POLL_NS, or if
 * MAX_POLLED others are polled, or if the client has closed its side, it is suspended.
 *
 * In SUSPENDED and STALLED libmicrohttpd does not look at the connection, and the request is in the list `suspended`.
 * When it leaves these states, it goes to the list `to_resume`. Resumes are gathered there, because after a resume
 * libmicrohttpd walks through all suspended connections. From then on, as in all other states, libmicrohttpd can end
 * the request at any time, because the client has left or is too slow. Then the request is freed (on_completed in
 * daemon.c). ANSWERED, STREAMING and DROPPED end only in this way.
 *
 * A client can close its side, or leave, in any state. That is a fact of the connection, `fin_seen` or `reset`, and not
 * a state of the request: it makes a difference only if an answer has to wait.
 */
#include "server/http/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/closing.h"
#include "base/state.h"
#include "server/http/parts_state.h"

#define MAX_POLLED      64
#define POLL_NS         NS_PER_MS
#define MAX_SPARE       256
#define SPARE_BODY      4096 /* requests with larger buffers are not kept */
/* In one MHD_run libmicrohttpd sends the head and a small body, and in the next one it notices that this was all. */
#define RUNS_PER_ANSWER 2

/* ---- states ------------------------------------------------------------------------------------------------------ */

static const struct state_row states[REQUEST_STATES] = {
    [REQUEST_RECEIVING] = {"receiving", TO(REQUEST_REJECTED) | TO(REQUEST_HANDLING)},
    [REQUEST_REJECTED] = {"rejected", TO(REQUEST_ANSWERED) | TO(REQUEST_DROPPED)},
    [REQUEST_HANDLING] = {"handling", TO(REQUEST_POLLED) | TO(REQUEST_SUSPENDED) | TO(REQUEST_ANSWERED) |
                                          TO(REQUEST_STREAMING) | TO(REQUEST_DROPPED)},
    [REQUEST_POLLED] = {"polled",
                        TO(REQUEST_SUSPENDED) | TO(REQUEST_ANSWERED) | TO(REQUEST_STREAMING) | TO(REQUEST_DROPPED)},
    [REQUEST_SUSPENDED] = {"suspended", TO(REQUEST_ANSWERED) | TO(REQUEST_STREAMING) | TO(REQUEST_DROPPED)},
    [REQUEST_ANSWERED] = {"answered", 0},
    [REQUEST_STREAMING] = {"streaming", TO(REQUEST_STALLED)},
    [REQUEST_STALLED] = {"stalled", TO(REQUEST_STREAMING)},
    [REQUEST_DROPPED] = {"dropped", 0},
};

static bool is_suspended(const struct http_request *r) {
    return r->state == REQUEST_SUSPENDED || r->state == REQUEST_STALLED;
}

/* It has an owner who will answer it later. */
static bool is_waiting(const struct http_request *r) {
    return r->state == REQUEST_POLLED || r->state == REQUEST_SUSPENDED;
}

static void leave_polled(struct http_request *r) {
    struct http *h = r->http;
    DL_DELETE2(h->polled, r, wait_prev, wait_next);
    h->polled_count--;
    h->runs_due = RUNS_PER_ANSWER;
}

/* Moves the request. Suspends its connection, or puts it into the list to_resume, if the move asks for that. */
static void move(struct http_request *r, enum http_request_state to) {
    struct http *h = r->http;
    state_check_move("http request", states, r->state, to);
    bool before = is_suspended(r);
    if (r->state == REQUEST_POLLED)
        leave_polled(r);
    r->state = to;
    bool after = is_suspended(r);
    if (to == REQUEST_POLLED) {
        DL_APPEND2(h->polled, r, wait_prev, wait_next);
        h->polled_count++;
        r->polled_ns = loop_now_ns(h->loop);
    } else if (after && !before) {
        DL_APPEND2(h->suspended, r, wait_prev, wait_next);
        MHD_suspend_connection(r->mhd);
    } else if (before && !after) {
        DL_DELETE2(h->suspended, r, wait_prev, wait_next);
        r->next = h->to_resume;
        h->to_resume = r;
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void destroy(struct http_request *r) {
    buf_deinit(&r->body);
    buf_deinit(&r->headers);
    buf_deinit(&r->path);
    buf_deinit(&r->text);
    free(r);
}

/* Most requests need as much memory as the one before, so we use it again. */
struct http_request *http_request_new(struct http *h, struct http_connection *c, struct MHD_Connection *mhd,
                                      const char *path, const char *method) {
    struct http_request *r = h->spare;
    struct buf body = {0}, headers = {0}, path_room = {0}, text = {0};
    if (r != NULL) {
        h->spare = r->next;
        h->spare_count--;
        body = r->body;
        headers = r->headers;
        path_room = r->path;
        text = r->text;
    } else {
        r = malloc(sizeof *r);
    }
    if (r == NULL)
        return NULL;
    *r = (struct http_request){.http = h,
                               .connection = c,
                               .mhd = mhd,
                               .method = method,
                               .body = body,
                               .headers = headers,
                               .path = path_room,
                               .text = text,
                               .spool_fd = -1};
    buf_clear(&r->body);
    buf_clear(&r->headers);
    buf_clear(&r->path);
    buf_puts(&r->path, path);
    if (r->path.failed) {
        destroy(r);
        return NULL;
    }
    http_id_make(r->id, http_header(r, "X-Request-Id"));
    http_connection_begin(c, r, r->id);
    h->requests++;
    return r;
}

/* What has come of its body. */
static void drop_body(struct http_request *r) {
    if (r->spool_fd >= 0)
        closing_close(r->spool_fd, (size_t)r->text_size);
    r->spool_fd = -1;
    held_replace(HELD_BODIES, &r->body_held, 0);
    http_parts_free(r->parts);
    r->parts = NULL;
}

void http_hold_answer(struct http_request *r, size_t bytes) {
    held_replace(HELD_ANSWERS, &r->answer_held, bytes);
}

void http_request_free(struct http_request *r) {
    struct http *h = r->http;
    if (is_suspended(r)) {
        state_illegal_move("http request", states[r->state].name, "freed");
        DL_DELETE2(h->suspended, r, wait_prev, wait_next);
    }
    http_connection_end(r->connection);
    h->requests--;
    drop_body(r);
    http_hold_answer(r, 0);
    slice_deinit(&r->answer);
    slice_deinit(&r->large);
    free(r->problem_members);
    if (r->text.capacity > SPARE_BODY)
        buf_deinit(&r->text);
    if (h->spare_count == MAX_SPARE || r->body.capacity > SPARE_BODY) {
        destroy(r);
        return;
    }
    r->next = h->spare;
    h->spare = r;
    h->spare_count++;
}

void http_free_spare_requests(struct http *h) {
    while (h->spare != NULL) {
        struct http_request *r = h->spare;
        h->spare = r->next;
        destroy(r);
    }
    h->spare_count = 0;
}

void http_reject(struct http_request *r, enum problem_code code, char *members) {
    if (r->state == REQUEST_REJECTED) {
        free(members);
        return;
    }
    move(r, REQUEST_REJECTED);
    r->problem = code;
    r->problem_members = members;
    buf_deinit(&r->body);
    drop_body(r);
}

bool http_reject_over_limit(struct http_request *r) {
    struct http_connection *c = r->connection;
    if (!c->over_limit && !c->over_rate)
        return false;
    http_connections_refuse(c->all, c->over_limit ? http_connection_refusal(c) : "address_requests");
    if (c->over_limit && c->spare_in == &c->all->spare)
        http_reject(r, PROBLEM_TOO_MANY_CONNECTIONS, NULL);
    else if (c->over_limit)
        http_reject_because(r, PROBLEM_TOO_MANY_CONNECTIONS,
                            "as many connections are open from your address as --max-connections-per-address allows");
    else
        http_reject_with(r, PROBLEM_OVER_QUOTA,
                         "your address has sent as many requests in a second as --max-requests-per-address allows",
                         strdup("\"violated-policies\":[\"address\"]"));
    return true;
}

void http_reject_with(struct http_request *r, enum problem_code code, const char *detail, char *members) {
    if (r->state != REQUEST_REJECTED)
        r->problem_detail = detail;
    http_reject(r, code, members);
}

void http_reject_because(struct http_request *r, enum problem_code code, const char *detail) {
    http_reject_with(r, code, detail, NULL);
}

void http_request_handle(struct http_request *r) {
    move(r, REQUEST_HANDLING);
    r->http->events.handle(r->http->events.arg, r);
    if (r->state == REQUEST_HANDLING)
        move(r, REQUEST_DROPPED);
}

void http_suspend(struct http_request *r) {
    /* The FIN can come before the request is handled. It is reported before the connection is suspended: libmicrohttpd
     * must not close a suspended connection, and it closes the one of a dropped request at once. */
    if (r->connection->fin_seen)
        r->http->events.hangup(r->http->events.arg, r);
    bool polled = r->http->polled_count < MAX_POLLED && !r->connection->fin_seen;
    if (r->state == REQUEST_HANDLING)
        move(r, polled ? REQUEST_POLLED : REQUEST_SUSPENDED);
}

int64_t http_polled_left_ns(const struct http *h) {
    if (h->polled == NULL)
        return -1;
    int64_t left_ns = h->polled->polled_ns + POLL_NS - loop_now_ns(h->loop);
    return left_ns < 0 ? 0 : left_ns;
}

void http_request_polled(struct http_request *r) {
    if (loop_now_ns(r->http->loop) - r->polled_ns >= POLL_NS)
        move(r, REQUEST_SUSPENDED);
}

void http_request_lose(struct http_request *r) {
    r->connection->reset = true;
    r->http->events.hangup(r->http->events.arg, r);
    http_abandon(r);
}

void http_request_hangup(struct http_request *r) {
    /* libmicrohttpd would close the connection of a client that is gone, although the owner may go on with it. */
    if (r->state == REQUEST_POLLED)
        move(r, REQUEST_SUSPENDED);
    if (r->state == REQUEST_SUSPENDED)
        r->http->events.hangup(r->http->events.arg, r);
    if (r->stream != NULL && r->stream->on_fin != NULL && !r->connection->reset)
        r->stream->on_fin(r->stream);
    http_wake_stream(r);
}

void http_abandon(struct http_request *r) {
    if (is_waiting(r) || r->state == REQUEST_HANDLING)
        move(r, REQUEST_DROPPED);
}

void http_queue(struct http_request *r, unsigned status, struct MHD_Response *response) {
    if (r->state == REQUEST_DROPPED) { /* the client has left, and the answer came in the same turn */
        if (response != NULL)
            MHD_destroy_response(response);
        return;
    }
    bool made = response != NULL;
    r->status = made ? status : MHD_HTTP_INTERNAL_SERVER_ERROR;
    r->http->queueing = r; /* libmicrohttpd can complete it in this call */
    bool queued = MHD_queue_response(r->mhd, r->status, made ? response : r->http->no_memory) == MHD_YES;
    r->http->queueing = NULL;
    if (made)
        MHD_destroy_response(response);
    r->connection->answered = queued;
    if (!queued)
        move(r, REQUEST_DROPPED);
    else
        move(r, made && r->stream != NULL ? REQUEST_STREAMING : REQUEST_ANSWERED);
}

void http_stall_stream(struct http_request *r) {
    r->unread.waited = true;
    move(r, REQUEST_STALLED);
}

void http_wake_stream(struct http_request *r) {
    if (r->state == REQUEST_STALLED)
        move(r, REQUEST_STREAMING);
}

bool http_resume_requests(struct http *h) {
    bool any = h->to_resume != NULL;
    while (h->to_resume != NULL) {
        struct http_request *r = h->to_resume;
        h->to_resume = r->next;
        MHD_resume_connection(r->mhd);
    }
    return any;
}

/* ---- what handlers read ------------------------------------------------------------------------------------------ */

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

bool http_peer(const struct http_request *r, uid_t *uid, gid_t *gid) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    int domain = 0;
    socklen_t size = sizeof domain, room = sizeof peer;
    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX ||
        getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &room) != 0)
        return false;
    *uid = peer.uid;
    *gid = peer.gid;
    return true;
}

bool http_is_tls(const struct http_request *r) {
    return r->connection->tls != NULL;
}

const char *http_client_subject(const struct http_request *r) {
    return r->connection->tls == NULL ? NULL : tls_client_name(r->connection->tls);
}

bool http_client_has_left(const struct http_request *r) {
    return r->connection->reset;
}

int64_t http_arrived_ns(const struct http_request *r) {
    return r->arrived_ns;
}

bool http_is_answered(const struct http_request *r) {
    return r->state != REQUEST_RECEIVING && r->state != REQUEST_REJECTED && r->state != REQUEST_HANDLING &&
           !is_waiting(r);
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

void *http_caller(const struct http_request *r) {
    return r->caller;
}

void http_set_caller(struct http_request *r, void *caller) {
    r->caller = caller;
}

uint64_t http_body_received(const struct http_request *r) {
    return r->body_size;
}

uint64_t http_body_announced(const struct http_request *r) {
    return r->announced;
}

void *http_state(const struct http_request *r) {
    return r->owner_state;
}

void http_set_state(struct http_request *r, void *state) {
    r->owner_state = state;
}

const char *http_header(struct http_request *r, const char *name) {
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

const char *http_query(struct http_request *r, const char *name) {
    const char *value = NULL;
    size_t size;
    if (MHD_lookup_connection_value_n(r->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, &size) != MHD_YES)
        return NULL;
    return value == NULL ? "" : value;
}

struct header_visit {
    const char *name;
    void (*f)(void *arg, const char *value);
    void *arg;
};

static enum MHD_Result visit_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value) {
    struct header_visit *v = cls;
    (void)kind;
    if (value != NULL && strcasecmp(key, v->name) == 0)
        v->f(v->arg, value);
    return MHD_YES;
}

void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg) {
    struct header_visit v = {name, f, arg};
    MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, visit_header, &v);
}

struct query_visit {
    void (*f)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result visit_query(void *cls, enum MHD_ValueKind kind, const char *key, const char *value) {
    struct query_visit *v = cls;
    (void)kind;
    v->f(v->arg, key, value == NULL ? "" : value);
    return MHD_YES;
}

void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg) {
    struct query_visit v = {f, arg};
    MHD_get_connection_values(r->mhd, MHD_GET_ARGUMENT_KIND, visit_query, &v);
}
