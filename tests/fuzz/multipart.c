/* multipart.c: fuzzes forms and raw data parts (server/http/parts.h), over a socket pair and with the real libmicrohttpd.
 * The same body is sent in one piece, and cut into pieces. Both must have the same answer: the problem, or the text, the
 * parts, their media types and their hash. Nothing may be left of them.
 *
 *     1 byte     how the body is taken: see `ways`
 *     4 bytes    how long the pieces are, in turn
 *     the rest   the body; 0xff stands for 33 KiB, which is more than a part has on the heap */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/daemon.h"
#include "tests/fuzz/input.h"

#define MOST_LARGE  2 /* of 33 KiB each */
#define LARGE       (33 * 1024)
#define PATIENCE_NS (20 * NS_PER_S)

static const struct way {
    const char *path, *type;
} ways[] = {
    {"/form", "multipart/form-data; boundary=BB"},
    {"/form/files", "multipart/form-data; boundary=\"B B\"; charset=utf-8"},
    {"/form", "multipart/form-data; boundary=--"},
    {"/data", "image/PNG"},
    {"/data/files", "x"},
    {"/form", NULL}, /* the first line of the body is the Content-Type */
};

static struct loop *loop;
static struct http *http;
static struct buf seen; /* of the last request */
static uint64_t seen_bytes;
static int first_free; /* the lowest descriptor that is free */

static int lowest_free(void) {
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

static void on_begin(void *arg, struct http_request *r) {
    (void)arg;
    http_take_body(r, http_path(r)[1] == 'f' ? HTTP_BODY_FORM : HTTP_BODY_DATA);
    http_hash_data(r);
    if (strstr(http_path(r), "/files") != NULL)
        http_spool_to_files(r);
}

/* All that is known of a request becomes its answer. */
static void on_handle(void *arg, struct http_request *r) {
    struct buf answer = {0};
    struct slice text = http_body(r);
    char *bytes = exact_copy("", 0);
    (void)arg;
    seen_bytes = text.size;
    for (uint32_t i = 0; i <= http_part_count(r); i++) {
        const struct slice *s = i == 0 ? &text : &http_part(r, i - 1)->bytes;
        bytes = realloc(bytes, s->size + 1);
        MUST(bytes != NULL && slice_read(s, 0, bytes, s->size) == 0);
        if (i > 0) {
            const struct http_part *p = http_part(r, i - 1);
            MUST(strlen(p->media_type) <= HANDLER_MAX_MEDIA_TYPE);
            MUST(slice_is_bulk(s) == (s->size > 32 * 1024));
            MUST(!p->own || slice_is_bulk(s));
            buf_printf(&answer, "\n%s %d ", p->media_type, p->own);
            seen_bytes += s->size;
        }
        buf_printf(&answer, "%zu ", s->size);
        buf_append(&answer, bytes, s->size);
    }
    buf_append(&answer, http_data_hash(r), 32);
    free(bytes);
    slice_deinit(&text);
    http_answer(r, 200, "text/plain", &answer);
}

static void on_hangup(void *arg, struct http_request *r) {
    (void)arg;
    http_abandon(r);
}

static void on_done(void *arg, struct http_request *r) {
    (void)arg, (void)r;
}

static void on_rejected(void *arg, unsigned status) {
    (void)arg, (void)status;
}

static void step(int fd) {
    char bytes[65536];
    ssize_t n;
    (void)http_turn(http);
    loop_step(loop, 0);
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        buf_append(&seen, bytes, (size_t)n);
}

/* False: the server has closed the connection. */
static bool send_all(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return false;
        if (n > 0)
            bytes += n, size -= (size_t)n;
        else
            step(fd);
    }
    return true;
}

/* The status line and the body of the answer. */
static bool is_answered(void) {
    const char *end = seen.data == NULL ? NULL : memmem(seen.data, seen.size, "\r\n\r\n", 4), *length;
    if (end == NULL || (length = memmem(seen.data, seen.size, "Content-Length: ", 16)) == NULL)
        return false;
    return seen.size - (size_t)(end + 4 - seen.data) >= strtoul(length + 16, NULL, 10);
}

/* Sends the request on a connection of its own. The caller frees the answer: the status and the body. */
static struct buf ask(const struct way *way, const char *type, const struct buf *body, const uint8_t *pieces) {
    const struct sockaddr_un peer = {.sun_family = AF_UNIX};
    struct buf head = {0}, answer = {0};
    int pair[2];
    buf_clear(&seen);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    http_adopt(http, pair[1], (const struct sockaddr *)&peer, sizeof peer.sun_family, false);
    buf_printf(&head, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", way->path, type,
               body->size);
    bool open = send_all(pair[0], head.data, head.size);
    for (size_t at = 0, n, i = 0; open && at < body->size; at += n) {
        size_t left = body->size - at;
        n = pieces == NULL ? left : left > 4096 ? 4096 + (size_t)pieces[i++ % 4] * 8 : 1 + (size_t)pieces[i++ % 4];
        n = n < left ? n : left;
        open = send_all(pair[0], body->data + at, n);
        step(pair[0]);
    }
    for (int64_t end_ns = clock_monotonic_ns() + PATIENCE_NS; !is_answered();) {
        MUST(clock_monotonic_ns() < end_ns);
        step(pair[0]);
    }
    close(pair[0]);
    while (http_connections(http) > 0)
        step(-1);
    buf_append(&answer, seen.data, 12);
    const char *end = memmem(seen.data, seen.size, "\r\n\r\n", 4);
    buf_append(&answer, end, seen.size - (size_t)(end - seen.data));
    buf_deinit(&head);
    return answer;
}

static void check_nothing_is_left(void) {
    step(-1);
    MUST(held_bytes[HELD_BODIES] == 0 && held_bytes[HELD_PAYLOADS] == 0 && held_bytes[HELD_ANSWERS] == 0);
    MUST(lowest_free() == first_free);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const struct http_config config = {.max_connections = 4,
                                       .max_header = 8192,
                                       .max_body = 1 << 20,
                                       .max_parts = 20,
                                       .spool_directory = "/tmp",
                                       .header_timeout_ns = 600 * NS_PER_S,
                                       .idle_timeout_ns = 600 * NS_PER_S};
    const struct http_events events = {NULL, on_begin, NULL, on_handle, on_hangup, on_done, on_rejected};
    struct buf error = {0};
    bool misconfigured;
    (void)argc, (void)argv;
    signal(SIGPIPE, SIG_IGN); /* see http_open */
    loop = loop_new();
    MUST(loop != NULL);
    http = http_open(loop, &config, &events, &error, &misconfigured);
    MUST(http != NULL);
    step(-1);
    return 0;
}

/* The first line, if it can be a field of a head. */
static bool take_type(struct input *in, char *type, size_t max) {
    size_t n = 0;
    for (uint8_t c; (c = take_u8(in)) != '\n' && n + 1 < max && c >= ' ' && c < 0x7f;)
        type[n++] = (char)c;
    type[n] = '\0';
    return n > 0 && type[0] != ' ' && type[n - 1] != ' ';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    const struct way *way = &ways[take_u8(&in) % (sizeof ways / sizeof ways[0])];
    uint8_t pieces[4];
    char type[256];
    struct buf body = {0};
    for (unsigned i = 0; i < 4; i++)
        pieces[i] = take_u8(&in);
    snprintf(type, sizeof type, "%s", way->type == NULL ? "" : way->type);
    if (way->type == NULL && !take_type(&in, type, sizeof type))
        return 0;
    for (unsigned large = 0; in.size > 0;) {
        uint8_t c = take_u8(&in);
        buf_append(&body, &c, 1);
        for (unsigned i = 0; c == 0xff && large < MOST_LARGE && i < LARGE / 8; i++)
            buf_puts(&body, "\r\n--\xff...");
        large += c == 0xff;
    }
    MUST(!body.failed);
    if (first_free == 0) { /* what is opened once is open */
        struct buf answer = ask(way, type, &body, NULL);
        buf_deinit(&answer);
        first_free = lowest_free();
    }
    seen_bytes = 0;
    struct buf whole = ask(way, type, &body, NULL);
    MUST(seen_bytes <= body.size);
    check_nothing_is_left();
    struct buf cut = ask(way, type, &body, pieces);
    check_nothing_is_left();
    /* libmicrohttpd takes the boundary of a form within a form as empty if it is not there. Then the pieces count. */
    if (memmem(body.data == NULL ? "" : body.data, body.size, "/mixed", 6) == NULL)
        MUST(whole.size == cut.size && memcmp(whole.data, cut.data, whole.size) == 0);
    buf_deinit(&whole);
    buf_deinit(&cut);
    buf_deinit(&body);
    return 0;
}
