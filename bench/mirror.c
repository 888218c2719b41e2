/* mirror.c: a bare libmicrohttpd server that takes a body and gives it back, with which bench/run compares offloadd. A
 * program of its own, with one thread. A body is written to a memfd as it comes, and is sent from there by the kernel
 * (sendfile), which is the least that a server can do with bytes that it keeps. The program prints its port, and serves
 * until its standard input ends. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <microhttpd.h>

struct body {
    int fd;
    uint64_t size;
    bool failed;
};

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **context) {
    struct body *b = *context;
    (void)cls, (void)url, (void)method, (void)version;
    if (b == NULL) { /* the head */
        b = calloc(1, sizeof *b);
        if (b == NULL || (b->fd = memfd_create("body", MFD_CLOEXEC)) < 0) {
            free(b);
            return MHD_NO;
        }
        *context = b;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        for (size_t done = 0; done < *upload_size && !b->failed;) {
            ssize_t n = write(b->fd, upload + done, *upload_size - done);
            b->failed = n < 0;
            done += n < 0 ? 0 : (size_t)n;
        }
        b->size += *upload_size;
        *upload_size = 0;
        return b->failed ? MHD_NO : MHD_YES;
    }
    struct MHD_Response *r = MHD_create_response_from_fd64(b->size, b->fd);
    if (r == NULL)
        return MHD_NO;
    b->fd = -1; /* it is the response's now */
    enum MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return queued;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    struct body *b = *context;
    (void)cls, (void)connection, (void)code;
    if (b != NULL && b->fd >= 0)
        close(b->fd);
    free(b);
    *context = NULL;
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

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_access, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                         MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, /* else it does not use sendfile(2) */ MHD_OPTION_END);
    if (daemon == NULL) {
        fprintf(stderr, "mirror: libmicrohttpd did not start\n");
        return 1;
    }
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (add(epoll_fd, MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd) != 0 ||
        add(epoll_fd, STDIN_FILENO) != 0) {
        perror("mirror");
        return 1;
    }
    printf("%u\n", (unsigned)MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    serve(daemon, epoll_fd);
    MHD_stop_daemon(daemon);
    close(epoll_fd);
    return 0;
}
