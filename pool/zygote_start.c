/* zygote_start.c: see zygote_start.h. Front end. Later zygotes are made by posix_spawn(3), because the front end has
 * threads and a large memory then: only an exec gives the zygote one thread and an empty memory. At the start it has
 * neither. */
#include "pool/zygote_start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "pool/pool_types.h"
#include "pool/wire.h"
#include "pool/zygote.h"

/* Descriptors for the child are moved up to here and beyond, so that none sits on a number that another is to get. */
#define FIRST_FREE_FD 16

extern char **environ;

/* 0, or an errno. */
static int spawn_zygote(int socket, int scoreboard, pid_t *pid) {
    char *argv[] = {(char[]){"offloadd"}, (char[]){ZYGOTE_ROLE}, (char[]){ZYGOTE_TITLE_ROOM}, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    int error = posix_spawn_file_actions_adddup2(&files, socket, ZYGOTE_SOCKET_FD);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&files, scoreboard, ZYGOTE_SCOREBOARD_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (error == 0)
        error = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* In the child: what exec would have done. */
static _Noreturn void become_zygote(int socket, int scoreboard) {
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    if (dup2(socket, ZYGOTE_SOCKET_FD) < 0 || dup2(scoreboard, ZYGOTE_SCOREBOARD_FD) < 0)
        _exit(1);
    descriptors_close_from(ZYGOTE_SCOREBOARD_FD + 1);
    _exit(zygote_main());
}

/* 0, or an errno. */
static int fork_zygote(int socket, int scoreboard, pid_t *pid) {
    *pid = fork();
    if (*pid == 0)
        become_zygote(socket, scoreboard);
    return *pid < 0 ? errno : 0;
}

/* Sends the first message. 0, or an errno. */
static int configure(int socket, const struct pool_config *config) {
    const struct zygote_config message = {.version = WIRE_VERSION,
                                          .parent = getpid(),
                                          .test_types = config->test_types,
                                          .log_level = (uint32_t)log_threshold,
                                          .log_format = (uint32_t)log_style};
    int sources = config->sources == NULL ? -1 : sources_write(config->sources);
    if (config->sources != NULL && sources < 0)
        return errno;
    int rc = wire_send_control(socket, &message, sizeof message, sources < 0 ? NULL : (int[2]){sources, sources});
    int error = rc == 0 ? 0 : errno;
    if (sources >= 0)
        close(sources);
    return error;
}

int zygote_start(enum zygote_birth birth, int scoreboard_fd, const struct pool_config *config, pid_t *pid) {
    int fds[2], theirs = -1, scoreboard = -1, error = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    theirs = fcntl(fds[1], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    scoreboard = fcntl(scoreboard_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    if (theirs < 0 || scoreboard < 0)
        error = errno;
    else
        error = (birth == ZYGOTE_FORKED ? fork_zygote : spawn_zygote)(theirs, scoreboard, pid);
    if (error == 0)
        error = configure(fds[0], config);
    close(fds[1]);
    if (theirs >= 0)
        close(theirs);
    if (scoreboard >= 0)
        close(scoreboard);
    if (error == 0)
        return fds[0];
    close(fds[0]);
    errno = error;
    return -1;
}
