/* hello.c: a bare libmicrohttpd server, with which bench/run compares offloadd. A program of its own, with one thread.
 * libmicrohttpd's epoll descriptor is in an outer epoll (its "external" mode). Every request, with or without a body,
 * gets the same answer. The program prints its port, and serves until its standard input ends. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <microhttpd.h>

#define DEFAULT_ANSWER_BYTES 512

static char *answer;
static size_t answer_bytes;

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **context) {
    static int seen;
    (void)cls, (void)url, (void)method, (void)version, (void)upload;
    if (*context == NULL || *upload_size > 0) { /* the head, or a part of the body */
        *context = &seen;
        *upload_size = 0;
        return MHD_YES;
    }
    *context = NULL;
    struct MHD_Response *r = MHD_create_response_from_buffer(answer_bytes, answer, MHD_RESPMEM_PERSISTENT);
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    enum MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return queued;
}

static int add(int epoll_fd, int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

/* Runs libmicrohttpd until standard input ends. */
static void serve(struct MHD_Daemon *daemon, int epoll_fd) {
    for (bool ended = false; !ended;) {
        struct epoll_event events[2];
        MHD_UNSIGNED_LONG_LONG ms;
        int wait_ms = -1;
        if (MHD_get_timeout(daemon, &ms) == MHD_YES)
            wait_ms = ms > 1000 ? 1000 : (int)ms;
        int n = epoll_wait(epoll_fd, events, 2, wait_ms);
        for (int i = 0; i < n; i++)
            ended |= events[i].data.fd == STDIN_FILENO;
        MHD_run(daemon);
    }
}

int main(int argc, char **argv) {
    answer_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : DEFAULT_ANSWER_BYTES;
    answer = malloc(answer_bytes + 1);
    if (answer == NULL)
        return 1;
    memset(answer, 'x', answer_bytes);
    struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_access, NULL, MHD_OPTION_END);
    if (daemon == NULL) {
        fprintf(stderr, "hello: libmicrohttpd did not start\n");
        return 1;
    }
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (add(epoll_fd, MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd) != 0 ||
        add(epoll_fd, STDIN_FILENO) != 0) {
        perror("hello");
        return 1;
    }
    printf("%u\n", (unsigned)MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    serve(daemon, epoll_fd);
    MHD_stop_daemon(daemon);
    close(epoll_fd);
    free(answer);
    return 0;
}
