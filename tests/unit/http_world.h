/* http_world.h: a server of server/http over socket pairs, for tests. It has the real library, clients that send raw
 * bytes, and a handler that does what the path says. All runs in one thread: the server works only in step(). The
 * until_...() functions call step() until what they wait for has come, and fail after PATIENCE_NS.
 *
 * A test can change `world.config`. It makes clients, and looks at what they have received and at the trace. The trace
 * has one entry for each callback of the server: "begin /wait; handle /wait; hangup /wait; done /wait 0; ".
 *
 *     /hello   is answered at once            /wait    is suspended: the test answers `world.waiting`
 *     /echo    is answered with its body      /stream  is answered by `world.stream`
 *     /slice   is answered with world.slice   /reject  is rejected in `begin`
 *     /forget  is neither answered nor suspended
 *     /failed  is answered with a body for which there was no memory
 *     /form    takes a form, and is answered with a list of what has come (parts_test.c); /form/files does so with
 *              world.config.spool_directory, and /data takes the body as one data part
 */
#ifndef OFFLOAD_HTTP_WORLD_H
#define OFFLOAD_HTTP_WORLD_H

#include <errno.h>
#include <signal.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "server/http/daemon.h"
#include "tests/unit/descriptors.h"

#define PATIENCE_NS (20 * NS_PER_S)
#define MAX_CLIENTS 80
#define MANY_STEPS  50 /* enough for everything that needs no time to happen */

struct client {
    int fd; /* -1: it has left */
    struct buf in;
    bool ended; /* the server has closed the connection */
};

/* A stream that gives `text` from `at` on, and then `after`. */
struct text_stream {
    struct http_stream stream;
    const char *text;
    size_t at;
    ssize_t after; /* 0: nothing now; HTTP_STREAM_END, HTTP_STREAM_CUT */
    unsigned reads, closes;
};

static struct {
    struct loop *loop;
    struct http *http; /* opened by the first client */
    struct http_config config;
    struct buf trace;
    struct client clients[MAX_CLIENTS];
    unsigned client_count, descriptors;
    struct text_stream stream;
    struct slice slice;
    enum { COMPRESS_NOW, COMPRESS_LATER, COMPRESS_NOT } compress;
    struct http_request *waiting; /* the last one that waits; NULL again when it is done */
    struct http_request *all_waiting[MAX_CLIENTS];
    unsigned waits; /* how many have waited */
    struct http_request *streamed;
    bool keeps_after_hangup;    /* on_hangup does not call http_abandon */
    bool answers_after_abandon; /* on_hangup answers what it has abandoned */
} world;

/* ---- the owner of the server ------------------------------------------------------------------------------------- */

static void trace(const char *event, struct http_request *r) {
    buf_printf(&world.trace, "%s %s; ", event, http_path(r));
}

static ssize_t read_text(struct http_stream *s, char *to, size_t max) {
    struct text_stream *t = container_of(s, struct text_stream, stream);
    size_t n = strlen(t->text) - t->at;
    t->reads++;
    if (n == 0)
        return t->after;
    n = n < max ? n : max;
    memcpy(to, t->text + t->at, n);
    t->at += n;
    return (ssize_t)n;
}

static void close_text(struct http_stream *s) {
    container_of(s, struct text_stream, stream)->closes++;
    buf_puts(&world.trace, "close; ");
}

static void on_begin(void *arg, struct http_request *r) {
    assert_ptr_equal(arg, &world);
    trace("begin", r);
    http_set_route(r, &world);
    if (http_reject_over_limit(r))
        return;
    if (strcmp(http_path(r), "/reject") == 0)
        http_reject(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE, NULL);
    else if (strncmp(http_path(r), "/form", 5) == 0 || strcmp(http_path(r), "/data") == 0) {
        http_take_body(r, http_path(r)[1] == 'f' ? HTTP_BODY_FORM : HTTP_BODY_DATA);
        http_hash_data(r);
        if (strcmp(http_path(r), "/form/files") == 0)
            http_spool_to_files(r);
    }
}

/* "text 2 {}; part 3 image/png 616263; hash 5e88..." Of a long text or part there are the first bytes only. */
static void list_parts(struct http_request *r) {
    struct buf list = {0};
    struct slice text = http_body(r);
    unsigned char first[64];
    size_t n = text.size < 64 ? text.size : 64;
    assert_int_equal(slice_read(&text, 0, first, n), 0);
    buf_printf(&list, "text %zu %.*s; ", text.size, (int)n, (const char *)first);
    slice_deinit(&text);
    for (uint32_t i = 0; i < http_part_count(r); i++) {
        const struct http_part *p = http_part(r, i);
        n = p->bytes.size < 64 ? p->bytes.size : 64;
        assert_int_equal(slice_read(&p->bytes, 0, first, n), 0);
        buf_printf(&list, "part %zu %s %s%.*s; ", p->bytes.size, p->media_type, p->own ? "own " : "", (int)n,
                   (const char *)first);
    }
    buf_puts(&list, "hash ");
    for (unsigned i = 0; i < 32; i++)
        buf_printf(&list, "%02x", http_data_hash(r)[i]);
    http_answer(r, 200, "text/plain", &list);
}

/* As http_events.compress: later, if the test has it so; or at once, or not at all. */
static bool on_compress(void *arg, struct http_request *r, const char *media_type, const struct slice *body,
                        enum http_coding coding, const char *tag) {
    struct slice coded = slice_copy("coded", 5);
    assert_ptr_equal(arg, &world);
    assert_string_equal(media_type, "text/plain");
    assert_string_equal(tag, "slice");
    assert_ptr_equal(body->blob, world.slice.blob);
    if (world.compress == COMPRESS_NOW)
        http_answer_coded(r, media_type, &coded, coding, tag);
    slice_deinit(&coded);
    if (world.compress == COMPRESS_LATER)
        world.waiting = r;
    return world.compress != COMPRESS_NOT;
}

static void echo(struct http_request *r) {
    struct slice body = http_body(r);
    http_set_header(r, "X-Body", http_body_is_large(r) ? "large" : "small");
    http_answer_slice(r, "text/plain", &body, "echo");
    slice_deinit(&body);
}

static void on_handle(void *arg, struct http_request *r) {
    const char *path = http_path(r);
    (void)arg;
    trace("handle", r);
    assert_ptr_equal(http_route(r), &world);
    assert_true(http_arrived_ns(r) > 0);
    assert_false(http_is_answered(r));
    if (strcmp(path, "/hello") == 0) {
        http_answer_static(r, 200, "text/plain", "hello", 5);
        assert_true(http_is_answered(r));
    } else if (strcmp(path, "/echo") == 0) {
        echo(r);
    } else if (strcmp(path, "/slice") == 0) {
        http_answer_slice(r, "text/plain", &world.slice, "slice");
        if (!http_is_answered(r))
            http_suspend(r);
    } else if (strcmp(path, "/stream") == 0) {
        world.streamed = r;
        http_answer_stream(r, 200, "text/plain", &world.stream.stream);
    } else if (strcmp(path, "/wait") == 0) {
        world.waiting = r;
        if (world.waits < MAX_CLIENTS)
            world.all_waiting[world.waits++] = r;
        http_suspend(r);
    } else if (strncmp(path, "/form", 5) == 0 || strcmp(path, "/data") == 0) {
        list_parts(r);
    } else if (strcmp(path, "/failed") == 0) {
        struct buf body = {.failed = true};
        http_answer(r, 200, "text/plain", &body);
        assert_true(http_is_answered(r)); /* so that nobody suspends it */
    } else {
        assert_int_equal(strncmp(path, "/forget", 7), 0);
    }
}

static void on_hangup(void *arg, struct http_request *r) {
    (void)arg;
    trace("hangup", r);
    if (world.keeps_after_hangup)
        return;
    http_abandon(r);
    if (world.answers_after_abandon)
        http_answer_static(r, 200, "text/plain", "late", 4);
}

static void on_done(void *arg, struct http_request *r) {
    (void)arg;
    buf_printf(&world.trace, "done %s %u; ", http_path(r), http_status(r));
    world.waiting = world.waiting == r ? NULL : world.waiting;
    world.streamed = world.streamed == r ? NULL : world.streamed;
}

static void on_rejected(void *arg, unsigned status) {
    (void)arg;
    buf_printf(&world.trace, "rejected %u; ", status);
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static int open_world(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    signal(SIGPIPE, SIG_IGN); /* see http_open */
    world.descriptors = count_descriptors();
    world.loop = loop_new();
    world.config = (struct http_config){.max_connections = 100,
                                        .max_header = 8192,
                                        .max_body = 1 << 20,
                                        .max_parts = 10,
                                        .header_timeout_ns = 600 * NS_PER_S,
                                        .idle_timeout_ns = 600 * NS_PER_S};
    world.stream = (struct text_stream){.stream = {read_text, close_text, false}, .text = ""};
    return world.loop == NULL ? -1 : 0;
}

/* True if the server could be opened; otherwise `error` says why. */
static bool open_server(struct buf *error, bool *misconfigured) {
    const struct http_events events = {&world, on_begin, NULL, on_handle, on_hangup, on_done, on_rejected, on_compress};
    world.http = http_open(world.loop, &world.config, &events, error, misconfigured);
    return world.http != NULL;
}

static void read_clients(void) {
    char bytes[65536];
    for (unsigned i = 0; i < world.client_count; i++) {
        struct client *c = &world.clients[i];
        ssize_t n = 1;
        while (c->fd >= 0 && !c->ended && n > 0) {
            n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
            if (n > 0)
                buf_append(&c->in, bytes, (size_t)n);
            c->ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        }
    }
}

static void step(void) {
    int64_t sleep_ns = http_turn(world.http);
    loop_step(world.loop, sleep_ns < 0 || sleep_ns > NS_PER_MS ? NS_PER_MS : sleep_ns);
    read_clients();
}

/* After this everything has happened that needs no time. For tests of what must not happen. */
static void settle(void) {
    for (int i = 0; i < MANY_STEPS; i++)
        step();
}

static void close_server(void) {
    if (world.http != NULL)
        http_close(world.http);
    world.http = NULL;
    read_clients();
}

/* Checks, after each test, that every request that was begun is done, every stream is closed, and nothing is left. */
static int close_world(void **state) {
    unsigned begun = 0, done = 0;
    (void)state;
    close_server();
    for (const char *at = world.trace.data; at != NULL && (at = strstr(at, "begin ")) != NULL; at++)
        begun++;
    for (const char *at = world.trace.data; at != NULL && (at = strstr(at, "done ")) != NULL; at++)
        done++;
    assert_int_equal(begun, done);
    assert_true(world.stream.closes <= 1);
    for (unsigned i = 0; i < world.client_count; i++) {
        if (world.clients[i].fd >= 0)
            close(world.clients[i].fd);
        buf_deinit(&world.clients[i].in);
    }
    slice_deinit(&world.slice);
    buf_deinit(&world.trace);
    loop_free(world.loop);
    assert_int_equal(count_descriptors(), world.descriptors);
    held_set_limit(UINT64_MAX);
    assert_int_equal(held_total, 0);
    return 0;
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static struct client *add_client(int fd) {
    assert_true(world.client_count < MAX_CLIENTS);
    struct client *c = &world.clients[world.client_count++];
    c->fd = fd;
    return c;
}

/* Connects by a socket pair. The server sees the client, and what it sends, only in the next step. */
static struct client *connect_client(void) {
    const struct sockaddr_un peer = {.sun_family = AF_UNIX};
    struct buf error = {0};
    bool misconfigured;
    int pair[2];
    if (world.http == NULL)
        assert_true(open_server(&error, &misconfigured));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    http_adopt(world.http, pair[1], (const struct sockaddr *)&peer, sizeof peer.sun_family, false);
    return add_client(pair[0]);
}

/* Sends all bytes, or what the server takes until it closes the connection. Returns how many it has taken. */
static size_t offer_bytes(struct client *c, const char *bytes, size_t size) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    size_t at = 0;
    while (at < size) {
        ssize_t n = send(c->fd, bytes + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            break;
        assert_true(n > 0 || errno == EAGAIN);
        assert_true(clock_monotonic_ns() < end_ns);
        if (n < 0)
            step();
        else
            at += (size_t)n;
    }
    return at;
}

static void send_bytes(struct client *c, const char *bytes, size_t size) {
    assert_int_equal(offer_bytes(c, bytes, size), size);
}

static void send_text(struct client *c, const char *text) {
    send_bytes(c, text, strlen(text));
}

/* A request with these headers ("A: b\r\n", or ""), and no body. */
static void send_request(struct client *c, const char *method, const char *path, const char *headers) {
    struct buf text = {0};
    buf_printf(&text, "%s %s HTTP/1.1\r\nHost: h\r\n%s\r\n", method, path, headers);
    send_bytes(c, text.data, text.size);
    buf_deinit(&text);
}

static void send_post(struct client *c, const char *path, const char *body, size_t size) {
    char length[64];
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", size);
    send_request(c, "POST", path, length);
    send_bytes(c, body, size);
}

/* Sends a FIN: the client will send nothing more, but still reads. */
static void close_side(struct client *c) {
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
}

static void leave(struct client *c) {
    close(c->fd);
    c->fd = -1;
}

static bool has_received(const struct client *c, const char *text) {
    return c->in.data != NULL && memmem(c->in.data, c->in.size, text, strlen(text)) != NULL;
}

/* Forgets what the client has received, before the next answer on the same connection. */
static void forget(struct client *c) {
    buf_clear(&c->in);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void until_traced(const char *text) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (world.trace.data == NULL || strstr(world.trace.data, text) == NULL) {
        if (clock_monotonic_ns() > end_ns)
            fail_msg("never happened: \"%s\", but: %s", text, world.trace.data);
        step();
    }
}

static void until_received(const struct client *c, const char *text) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!has_received(c, text)) {
        if (clock_monotonic_ns() > end_ns || c->ended)
            fail_msg("never received: \"%s\", but: %s", text, c->in.data);
        step();
    }
}

static void until_ended(const struct client *c) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!c->ended) {
        if (clock_monotonic_ns() > end_ns)
            fail_msg("the connection was not closed; received: %s", c->in.data);
        step();
    }
}

/* Waits for `size` bytes behind the head, and returns them. */
static const char *until_body(const struct client *c, size_t size) {
    int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    for (;;) {
        const char *head_end = c->in.data == NULL ? NULL : memmem(c->in.data, c->in.size, "\r\n\r\n", 4);
        if (head_end != NULL && (size_t)(c->in.data + c->in.size - head_end) >= size + 4)
            return head_end + 4;
        if (clock_monotonic_ns() > end_ns || c->ended)
            fail_msg("never received a body of %zu bytes, but: %s", size, c->in.data);
        step();
    }
}

static void expect_trace(const char *text) {
    assert_string_equal(world.trace.data == NULL ? "" : world.trace.data, text);
}

#endif
