/* zygote_link.c: the front end's side of the control socket to the zygote. Front end.
 *
 *     start ──► (loading) ──► LOADED: becomes the one that spawns ──► replaced by a reload ──► last worker gone: closed
 *                   │                     │
 *                   └──── EOF: the zygote died. Its workers die with it (PDEATHSIG) and come to us as orphans, since
 *                         the front end is a subreaper; a new zygote is started, with a delay if that repeats.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "pool/pool_private.h"
#include "pool/zygote.h"

#define ZYGOTE_RETRY_NS (200 * NS_PER_MS)

extern char **environ;

static void close_both(int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

/* Executes ourselves anew in the zygote's role with descriptors 3 and 4. 0, or an errno. */
static int spawn_zygote(int socket, int scoreboard, pid_t *pid) {
    char *argv[] = {(char[]){"offloadd"}, (char[]){ZYGOTE_ROLE}, (char[]){ZYGOTE_TITLE_ROOM}, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, socket, ZYGOTE_SOCKET_FD);
    posix_spawn_file_actions_adddup2(&files, scoreboard, ZYGOTE_SCOREBOARD_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static struct worker *worker_at(struct pool *p, uint32_t slot) {
    return slot < p->size ? &p->workers[slot] : NULL;
}

static void spawn_all(struct pool *p) {
    for (size_t i = 0; i < p->size; i++)
        pool_spawn_worker(&p->workers[i]);
}

static void unlink_zygote(struct zygote_link *z) {
    struct pool *p = z->pool;
    struct zygote_link **at = &p->links;
    while (*at != z)
        at = &(*at)->next;
    *at = z->next;
    if (p->current == z)
        p->current = NULL;
    loop_unwatch(p->loop, &z->watch);
    close(z->watch.fd);
    for (size_t i = 0; i < p->size; i++)
        if (p->workers[i].zygote == z)
            p->workers[i].zygote = NULL;
    free(z);
}

static void retry_start(struct pool *p) {
    if (zygote_link_start(p) == 0)
        return;
    LOG(LOG_ERROR, "zygote_start_failed", LOG_STR("error", strerror(errno)));
    loop_set_timer(p->loop, &p->zygote_timer, clock_monotonic_ns() + ZYGOTE_RETRY_NS);
}

static void on_zygote_timer(struct timer *t) {
    retry_start(container_of(t, struct pool, zygote_timer));
}

/* EOF: its workers are dying or dead; make sure, since only a dead one's work may be given to another. */
/* A zygote that is dead and reaped may have reaped a worker and not told us: one that is not our child now is gone. */
static void miss_workers(struct pool *p, pid_t zygote) {
    for (size_t i = 0; i < p->size; i++) {
        struct worker *w = &p->workers[i];
        siginfo_t info;
        if (w->state != WORKER_DYING || w->zygote != NULL || w->zygote_pid != zygote || w->pid <= 0)
            continue;
        if (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD)
            continue;
        /* How it ended is not known: as it was asked to, or by a signal if it had work. */
        pool_worker_exited(w, w->count == 0 ? 0 : SIGKILL, false, 0, 0);
    }
}

static void zygote_lost(struct zygote_link *z) {
    struct pool *p = z->pool;
    bool was_current = z == p->current, was_loaded = z->loaded, reaped = z->reaped;
    pid_t pid = z->pid;
    LOG(LOG_ERROR, "zygote_lost", LOG_INT("pid", z->pid));
    if (!reaped)
        kill(pid, SIGKILL); /* ours until reaped in pool_reap */
    for (size_t i = 0; i < p->size; i++) {
        struct worker *w = &p->workers[i];
        if (w->zygote != z || w->state == WORKER_EMPTY)
            continue;
        if (w->pid == 0)
            w->state = WORKER_EMPTY; /* asked for, never forked */
        else
            w->state = WORKER_DYING;
    }
    unlink_zygote(z);
    if (reaped)
        miss_workers(p, pid);
    if (p->stopping)
        return;
    if (!was_current) {
        spawn_all(p); /* what it was asked for and had not done when another took over */
        return;
    }
    p->zygote_deaths = was_loaded ? 0 : p->zygote_deaths + 1;
    if (p->zygote_deaths == 0)
        retry_start(p);
    else
        loop_set_timer(p->loop, &p->zygote_timer, clock_monotonic_ns() + ZYGOTE_RETRY_NS);
}

/* ---- reports ------------------------------------------------------------------------------------------ */

static void on_spawned(struct zygote_link *z, struct worker *w, const struct zygote_report *r, int fds[2]) {
    if (w == NULL || w->state != WORKER_STARTING || w->pid != 0 || w->zygote != z) {
        LOG(LOG_ERROR, "zygote_protocol_error");
        return;
    }
    z->workers++;
    w->zygote_pid = z->pid;
    if (fds[0] < 0) { /* we are out of descriptors: this one cannot be reached, so it must go */
        struct zygote_request q = {.kind = ZYGOTE_SIGNAL, .pid = r->pid, .signal = SIGKILL};
        LOG(LOG_ERROR, "worker_unreachable", LOG_INT("worker", w->slot), LOG_INT("pid", r->pid));
        w->pid = r->pid;
        w->started_ns = clock_monotonic_ns();
        w->state = WORKER_DYING;
        zygote_link_request(z, &q);
        return;
    }
    pool_adopt_worker(w, r->pid, fds[0], fds[1]);
    fds[0] = fds[1] = -1;
}

static void on_not_spawned(struct worker *w, const struct zygote_report *r) {
    if (w == NULL || w->state != WORKER_STARTING)
        return;
    LOG(LOG_ERROR, "worker_fork_failed", LOG_INT("worker", w->slot), LOG_STR("error", strerror(r->status)));
    w->state = WORKER_EMPTY;
    w->replaced = false;
    loop_set_timer(w->pool->loop, &w->spawn_timer, clock_monotonic_ns() + ZYGOTE_RETRY_NS);
}

/* After a reload: this one spawns from now on, and the workers of the one before leave when they are idle. */
static void take_over(struct zygote_link *z) {
    struct pool *p = z->pool;
    struct zygote_link *before = p->current;
    p->current = z;
    for (size_t i = 0; i < p->size; i++)
        if (p->workers[i].zygote == before)
            pool_retire_worker(&p->workers[i]);
    if (before != NULL && before->workers == 0)
        unlink_zygote(before);
}

static void on_loaded(struct zygote_link *z) {
    struct pool *p = z->pool;
    z->loaded = true;
    if (p->current != z)
        take_over(z);
    p->zygote_deaths = 0;
    p->events.loaded(p->events.owner);
    spawn_all(p);
}

static void handle_report(struct zygote_link *z, const struct zygote_report *r, int fds[2]) {
    struct pool *p = z->pool;
    struct worker *w = worker_at(p, r->slot);
    switch (r->kind) {
    case ZYGOTE_LOADED: on_loaded(z); break;
    case ZYGOTE_LOAD_FAILED:
        p->events.refused(p->events.owner, r->text);
        if (z != p->current)
            unlink_zygote(z); /* a reload that failed: the handlers of before stay */
        break;
    case ZYGOTE_SPAWNED: on_spawned(z, w, r, fds); break;
    case ZYGOTE_NOT_SPAWNED: on_not_spawned(w, r); break;
    case ZYGOTE_EXITED:
        if (w == NULL || w->pid != r->pid)
            break;
        pool_worker_exited(w, r->status, r->oom != 0, r->max_rss_bytes, r->cpu_ms);
        break;
    default: LOG(LOG_ERROR, "zygote_protocol_error", LOG_INT("kind", r->kind));
    }
}

static void on_control(struct watch *watch, uint32_t events) {
    (void)events;
    struct zygote_link *z = container_of(watch, struct zygote_link, watch);
    struct zygote_report r;
    int fds[2];
    int got = wire_receive_control(z->watch.fd, &r, sizeof r, fds);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || r.version != WIRE_VERSION) {
        zygote_lost(z);
        return;
    }
    r.text[sizeof r.text - 1] = '\0';
    handle_report(z, &r, fds);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* ---- start, request, stop ---------------------------------------------------------------------------------- */

static int open_sockets(int fds[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    /* The child's end must not sit on a number that it is to be moved to. */
    int moved = fcntl(fds[1], F_DUPFD_CLOEXEC, 16);
    if (moved < 0) {
        close_both(fds);
        return -1;
    }
    close(fds[1]);
    fds[1] = moved;
    return 0;
}

static int send_config(struct pool *p, int socket) {
    struct zygote_config c = {.version = WIRE_VERSION,
                              .parent = getpid(),
                              .test_types = p->config.test_types,
                              .log_level = (uint32_t)log_threshold,
                              .log_format = (uint32_t)log_style};
    return wire_send_control(socket, &c, sizeof c, NULL);
}

static struct zygote_link *link_new(struct pool *p, int socket, pid_t pid) {
    struct zygote_link *z = calloc(1, sizeof *z);
    if (z == NULL)
        return NULL;
    *z = (struct zygote_link){.pool = p, .pid = pid, .watch = {socket, on_control}};
    fcntl(socket, F_SETFL, O_NONBLOCK);
    if (loop_watch(p->loop, &z->watch, EPOLLIN) != 0) {
        free(z);
        return NULL;
    }
    z->next = p->links;
    p->links = z;
    if (p->current == NULL)
        p->current = z; /* else a reload: when it has loaded */
    return z;
}

int zygote_link_start(struct pool *p) {
    int fds[2];
    pid_t pid;
    p->zygote_timer.fire = on_zygote_timer;
    if (open_sockets(fds) != 0)
        return -1;
    int scoreboard = fcntl(p->scoreboard_fd, F_DUPFD_CLOEXEC, 16);
    int error = scoreboard < 0 ? errno : spawn_zygote(fds[1], scoreboard, &pid);
    close(fds[1]);
    if (scoreboard >= 0)
        close(scoreboard);
    if (error == 0 && (send_config(p, fds[0]) != 0 || link_new(p, fds[0], pid) == NULL))
        error = errno == 0 ? ENOMEM : errno;
    if (error == 0)
        return 0;
    close(fds[0]);
    errno = error;
    return -1;
}

int zygote_link_request(struct zygote_link *z, struct zygote_request *q) {
    q->version = WIRE_VERSION;
    return wire_send_control(z->watch.fd, q, sizeof *q, NULL);
}

void zygote_link_release(struct worker *w) {
    struct zygote_link *z = w->zygote;
    w->zygote = NULL;
    if (z == NULL)
        return;
    z->workers--;
    if (z != z->pool->current && z->workers == 0)
        unlink_zygote(z); /* EOF lets the process end; pool_reap collects it */
}

void zygote_link_stop_all(struct pool *p) {
    while (p->links != NULL) {
        pid_t pid = p->links->pid;
        unlink_zygote(p->links);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    loop_clear_timer(p->loop, &p->zygote_timer);
}

/* An orphan's death: a worker whose zygote died, or, as PID 1, a process that is nobody's. */
static void reap_one(struct pool *p, pid_t pid, int status, const struct rusage *u) {
    for (size_t i = 0; i < p->size; i++) {
        struct worker *w = &p->workers[i];
        if (w->pid != pid || w->state == WORKER_EMPTY)
            continue;
        pool_worker_exited(w, status, false, (uint64_t)u->ru_maxrss * 1024, zygote_cpu_ms(u));
        return;
    }
    for (struct zygote_link *z = p->links; z != NULL; z = z->next) {
        if (z->pid == pid) {
            z->reaped = true; /* the rest follows when its socket tells */
            return;
        }
    }
    miss_workers(p, pid);
}

void pool_reap(struct pool *p) {
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    for (; pid > 0; pid = wait4(-1, &status, WNOHANG, &usage))
        reap_one(p, pid, status, &usage);
}
