/* fake_zygote.h: a zygote that the test plays, at the far end of a control socket, for the tests of pool/zygote_link.c
 * and pool/pool.c. Its process is a child that does nothing. Include cmocka.h before. */
#ifndef OFFLOAD_TESTS_FAKE_ZYGOTE_H
#define OFFLOAD_TESTS_FAKE_ZYGOTE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "pool/wire.h"
#include "tests/unit/descriptors.h"

/* Handles events until the condition is true; a minute without it means that something hangs. */
#define STEP_UNTIL(loop, condition)                                                                                    \
    do {                                                                                                               \
        for (int64_t end_ns_ = clock_monotonic_ns() + 60 * NS_PER_S; !(condition);) {                                  \
            assert_true(clock_monotonic_ns() < end_ns_);                                                               \
            loop_step((loop), 10 * NS_PER_MS);                                                                         \
        }                                                                                                              \
    } while (0)

struct fake_zygote {
    int socket; /* its end; -1: closed */
    pid_t pid;
};

/* The child. ends_by_eof: it ends when the other end of its socket is closed, like a real zygote; else when killed. */
static inline _Noreturn void fake_zygote_live(int socket, bool ends_by_eof) {
    struct pollfd p = {.fd = 3};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(socket, 3);
    closefrom(4);
    while (!ends_by_eof || (p.revents & POLLHUP) == 0)
        poll(&p, ends_by_eof ? 1 : 0, -1);
    _exit(0);
}

/* Returns the end of the front end. */
static inline int fake_zygote_open(struct fake_zygote *z, bool ends_by_eof) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    z->socket = fds[1];
    z->pid = fork();
    if (z->pid == 0)
        fake_zygote_live(fds[1], ends_by_eof);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    return fds[0];
}

static inline void fake_zygote_close(struct fake_zygote *z) {
    if (z->socket >= 0)
        close(z->socket);
    z->socket = -1;
}

/* Kills its process, which is a zombie when this returns, and closes its socket. */
static inline void fake_zygote_die(struct fake_zygote *z) {
    siginfo_t info;
    kill(z->pid, SIGKILL);
    waitid(P_PID, (id_t)z->pid, &info, WEXITED | WNOWAIT);
    fake_zygote_close(z);
}

/* Gets the next request. False: there is none. */
static inline bool fake_zygote_receive(struct fake_zygote *z, struct zygote_request *q) {
    int fds[2];
    return wire_receive_control(z->socket, q, sizeof *q, fds) == 1;
}

static inline void fake_zygote_report(struct fake_zygote *z, struct zygote_report r, const int fds[2]) {
    r.version = WIRE_VERSION;
    if (wire_send_control(z->socket, &r, sizeof r, fds) != 0)
        abort();
}

#endif
