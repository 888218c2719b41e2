/* load.c: a small HTTP client that measures how long answers take. A program of its own, with one thread and one epoll.
 *
 *     load [--connections N] [--rate R] [--seconds S] PORT PATH [BODY]    for S seconds
 *     load --count N [--connections N] PORT PATH [BODY]                   until N requests are answered
 *     load --hold [--connections N] PORT PATH [BODY]                      see below
 *
 * It sends to 127.0.0.1: a POST if there is a body, otherwise a GET. --header "Name: value" adds a header. Connections
 * are kept alive, and each has one request at a time. Without --rate the next request leaves when the answer has come.
 * With it, all connections together send R requests a second, at fixed times; if a late answer delays a request, the
 * delay counts as a part of that request's time. At the end it prints one line of JSON: requests, failures, and
 * quantiles of the time in microseconds.
 *
 * --hold sends one request on each connection, prints how many have been answered, and keeps the connections open until
 * its standard input ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define HEAD_LIMIT 4096
#define BATCH      64
#define NS_PER_US  1000
#define NEVER      INT64_MAX
#define SETTLE_NS  (500 * NS_PER_MS) /* --hold: after the last request, for the answers that come at once */

struct connection {
    int fd;
    int64_t due_ns; /* when the next request leaves; NEVER: none will */
    /* When the request that is on its way was due or left. 0: none is on its way. -1: none is, and the next one is
     * already late. */
    int64_t sent_ns;
    char head[HEAD_LIMIT + 1];
    size_t head_size;
    int64_t body_left; /* -1: the head is not complete */
    unsigned status;
};

struct load {
    unsigned connections;
    double rate; /* requests a second, of all connections; 0: as fast as they are answered */
    double seconds;
    size_t count;       /* requests to send; 0: as many as fit */
    const char *header; /* one more, or NULL */
    bool hold;
    uint16_t port;
    struct buf request;
    struct connection *all;
    int epoll_fd;
    int64_t end_ns;
    int64_t *times_ns;
    size_t answered, capacity, sent;
    size_t failed;   /* not 2xx, or no answer at all */
    size_t accepted; /* 202 */
};

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void watch(const struct load *l, int fd, struct connection *c) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll_ctl");
}

static void open_all(struct load *l) {
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(l->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int64_t start_ns = clock_monotonic_ns();
    l->all = calloc(l->connections, sizeof *l->all);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->all == NULL || l->epoll_fd < 0)
        die("start");
    for (unsigned i = 0; i < l->connections; i++) {
        struct connection *c = &l->all[i];
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&a, sizeof a) != 0)
            die("connect");
        c->body_left = -1;
        c->due_ns = l->rate > 0 ? start_ns + (int64_t)(i * 1e9 / l->rate) : start_ns;
        watch(l, c->fd, c);
    }
}

static void connection_failed(struct load *l, struct connection *c) {
    l->failed++;
    close(c->fd);
    c->fd = -1;
    c->sent_ns = 0;
    c->due_ns = NEVER;
}

/* ---- requests and answers ---------------------------------------------------------------------------------------- */

static void send_request(struct load *l, struct connection *c, int64_t now_ns) {
    bool was_busy = c->sent_ns < 0; /* the last answer came after this request was due */
    c->sent_ns = was_busy ? c->due_ns : now_ns;
    c->due_ns = l->hold || l->rate <= 0 ? NEVER : c->due_ns + (int64_t)(l->connections * 1e9 / l->rate);
    l->sent++;
    if (send(c->fd, l->request.data, l->request.size, MSG_NOSIGNAL) != (ssize_t)l->request.size)
        connection_failed(l, c);
}

static void note_time(struct load *l, int64_t time_ns) {
    if (l->answered == l->capacity) {
        l->capacity = l->capacity == 0 ? 4096 : 2 * l->capacity;
        l->times_ns = realloc(l->times_ns, l->capacity * sizeof *l->times_ns);
        if (l->times_ns == NULL)
            die("realloc");
    }
    l->times_ns[l->answered++] = time_ns;
}

static void end_answer(struct load *l, struct connection *c) {
    int64_t now_ns = clock_monotonic_ns();
    note_time(l, now_ns - c->sent_ns);
    l->failed += c->status / 100 != 2;
    l->accepted += c->status == 202;
    c->body_left = -1;
    c->head_size = 0;
    if (!l->hold && l->rate <= 0)
        c->due_ns = now_ns;
    c->sent_ns = l->rate > 0 && c->due_ns <= now_ns ? -1 : 0;
}

/* 0, or -1 if this is no answer with a Content-Length, or its head is too long. */
static int take_head(struct connection *c, ssize_t n) {
    c->head_size += (size_t)n;
    c->head[c->head_size] = '\0';
    const char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL)
        return c->head_size == HEAD_LIMIT ? -1 : 0;
    const char *length = strcasestr(c->head, "\r\nContent-Length:");
    if (strncmp(c->head, "HTTP/1.1 ", 9) != 0 || length == NULL || length > end)
        return -1;
    c->status = (unsigned)strtoul(c->head + 9, NULL, 10);
    size_t behind_head = c->head_size - (size_t)(end + 4 - c->head);
    c->body_left = strtoll(length + strlen("\r\nContent-Length:"), NULL, 10) - (int64_t)behind_head;
    return c->body_left < 0 ? -1 : 0;
}

static void on_readable(struct load *l, struct connection *c) {
    char body[65536];
    bool in_head = c->body_left < 0;
    ssize_t n =
        in_head ? recv(c->fd, c->head + c->head_size, HEAD_LIMIT - c->head_size, 0) : recv(c->fd, body, sizeof body, 0);
    bool bad = n <= 0 || c->sent_ns == 0;
    if (!bad && in_head)
        bad = take_head(c, n) != 0;
    else if (!bad)
        c->body_left -= n;
    if (bad || c->body_left < -1)
        connection_failed(l, c);
    else if (c->body_left == 0)
        end_answer(l, c);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* Sends what is due; returns when the next one is. */
static int64_t send_due(struct load *l, int64_t now_ns) {
    int64_t next_ns = NEVER;
    for (unsigned i = 0; i < l->connections; i++) {
        struct connection *c = &l->all[i];
        if (c->fd < 0 || c->sent_ns > 0 || (l->count > 0 && l->sent == l->count))
            continue;
        if (c->due_ns <= now_ns)
            send_request(l, c, now_ns);
        else if (c->due_ns < next_ns)
            next_ns = c->due_ns;
    }
    return next_ns;
}

/* Handles events, and waits for them until until_ns at most. True if standard input has ended. */
static bool handle_events(struct load *l, int64_t until_ns) {
    struct epoll_event events[BATCH];
    int64_t wait_ns = until_ns - clock_monotonic_ns();
    wait_ns = wait_ns < 0 ? 0 : wait_ns;
    struct timespec wait = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
    int n = epoll_pwait2(l->epoll_fd, events, BATCH, until_ns == NEVER ? NULL : &wait, NULL);
    bool input_ended = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL)
            input_ended = true;
        else
            on_readable(l, events[i].data.ptr);
    }
    return input_ended;
}

static void measure(struct load *l) {
    int64_t now_ns = clock_monotonic_ns();
    int64_t start_ns = now_ns;
    l->end_ns = l->count > 0 ? NEVER : now_ns + (int64_t)(l->seconds * 1e9);
    for (; now_ns < l->end_ns; now_ns = clock_monotonic_ns()) {
        if (l->count > 0 && l->answered + l->failed >= l->count)
            break;
        int64_t next_ns = send_due(l, now_ns);
        handle_events(l, next_ns < l->end_ns ? next_ns : l->end_ns);
    }
    if (l->count > 0)
        l->seconds = (double)(now_ns - start_ns) / 1e9;
}

static void hold(struct load *l) {
    send_due(l, clock_monotonic_ns());
    int64_t settled_ns = clock_monotonic_ns() + SETTLE_NS;
    while (clock_monotonic_ns() < settled_ns)
        handle_events(l, settled_ns);
    printf("{\"sent\": %zu, \"answered\": %zu, \"failed\": %zu}\n", l->sent, l->answered, l->failed);
    fflush(stdout);
    watch(l, STDIN_FILENO, NULL);
    while (!handle_events(l, NEVER))
        ;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t quantile_us(const struct load *l, double q) {
    if (l->answered == 0)
        return -1;
    size_t at = (size_t)(q * (double)l->answered);
    return l->times_ns[at < l->answered ? at : l->answered - 1] / NS_PER_US;
}

static void report(struct load *l) {
    size_t answered = l->answered;
    int64_t now_ns = clock_monotonic_ns();
    /* A request that is still on its way has taken at least until now. */
    for (unsigned i = 0; i < l->connections && l->rate > 0; i++) {
        if (l->all[i].sent_ns > 0)
            note_time(l, now_ns - l->all[i].sent_ns);
    }
    qsort(l->times_ns, l->answered, sizeof *l->times_ns, compare);
    printf("{\"requests\": %zu, \"failed\": %zu, \"accepted\": %zu, \"rate\": %.1f, "
           "\"p50_us\": %lld, \"p90_us\": %lld, \"p99_us\": %lld, \"max_us\": %lld}\n",
           answered, l->failed, l->accepted, (double)answered / l->seconds, (long long)quantile_us(l, 0.5),
           (long long)quantile_us(l, 0.9), (long long)quantile_us(l, 0.99), (long long)quantile_us(l, 1));
}

static void make_request(struct load *l, const char *path, const char *body) {
    buf_printf(&l->request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", body == NULL ? "GET" : "POST", path);
    if (l->header != NULL)
        buf_printf(&l->request, "%s\r\n", l->header);
    if (body != NULL)
        buf_printf(&l->request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_printf(&l->request, "\r\n%s", body == NULL ? "" : body);
    if (l->request.failed)
        die("request");
}

static void usage(void) {
    fprintf(stderr, "usage: load [--connections N] [--rate R] [--seconds S | --count N] [--header LINE] [--hold] PORT "
                    "PATH [BODY]\n");
    exit(2);
}

static void read_arguments(struct load *l, int argc, char **argv) {
    static const struct option options[] = {{"connections", required_argument, NULL, 'c'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"header", required_argument, NULL, 'x'},
                                            {"hold", no_argument, NULL, 'h'},
                                            {0}};
    for (int o = 0; o != -1;) {
        o = getopt_long(argc, argv, "", options, NULL);
        switch (o) {
        case 'c': l->connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'r': l->rate = strtod(optarg, NULL); break;
        case 's': l->seconds = strtod(optarg, NULL); break;
        case 'n': l->count = strtoul(optarg, NULL, 10); break;
        case 'x': l->header = optarg; break;
        case 'h': l->hold = true; break;
        case -1: break;
        default: usage();
        }
    }
    if (argc - optind < 2 || argc - optind > 3 || l->connections == 0)
        usage();
    l->port = (uint16_t)strtoul(argv[optind], NULL, 10);
    make_request(l, argv[optind + 1], argc - optind == 3 ? argv[optind + 2] : NULL);
}

int main(int argc, char **argv) {
    struct load l = {.connections = 1, .seconds = 1};
    struct rlimit files;
    read_arguments(&l, argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* as many connections as the system allows */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    open_all(&l);
    if (l.hold) {
        hold(&l);
    } else {
        measure(&l);
        report(&l);
    }
    free(l.all);
    free(l.times_ns);
    buf_deinit(&l.request);
    return 0;
}
