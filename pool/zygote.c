/* zygote.c: see zygote.h. The zygote. It is kept simple, because all workers die with it. Its children are the workers,
 * the programs with their processes (templates.h), and what these leave behind: it is a subreaper.
 *
 *     front end ──exec──► zygote: load handlers ──► LOADED ──► wait ─┬─ SPAWN   fork a worker, pass its socket; execute
 *                                                                    │          it if it must load a handler by itself
 *                                                                    ├─ SIGNAL  kill(2) a child that is not reaped
 *                                                                    ├─ SIGCHLD reap, report EXITED
 *                                                                    └─ EOF     the front end is gone:
 *                                                                               SIGKILL all children, reap, exit
 */
#include "pool/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/loop.h"
#include "handlers/host/host.h"
#include "pool/cgroup.h"
#include "pool/child.h"
#include "pool/death.h"
#include "pool/sources.h"
#include "pool/templates.h"
#include "pool/wire.h"
#include "pool/worker.h"

#define SOCKET_BUFFER (4 * 1024 * 1024)

struct child {
    pid_t pid; /* 0: free */
    unsigned slot;
};

static struct {
    struct loop *loop;
    struct watch control, signals;
    struct child *children;
    size_t count, room; /* places, some of which are free; room: see base/array.h */
    uint64_t oom_kills;
    struct zygote_config config;
    struct pool_sources sources;
    int sources_fd; /* -1: all types are built in */
} zygote;

static struct child *find_child(pid_t pid) {
    for (size_t i = 0; i < zygote.count; i++)
        if (zygote.children[i].pid == pid)
            return &zygote.children[i];
    return NULL;
}

/* A free place for a child; NULL if memory ran out. */
static struct child *add_child(void) {
    struct child *c = find_child(0);
    if (c != NULL)
        return c;
    if (GROW_ARRAY(&zygote.children, zygote.count, &zygote.room) != 0)
        return NULL;
    c = &zygote.children[zygote.count++];
    c->pid = 0;
    return c;
}

/* A front end that is gone is no error here: the next read from the socket ends the zygote. */
static void report(struct zygote_report *r, const int fds[2]) {
    r->version = WIRE_VERSION;
    int rc = wire_send_control(ZYGOTE_SOCKET_FD, r, sizeof *r, fds);
    /* Too many descriptors are on their way. The front end must know of the process all the same: it has it killed. */
    if (rc != 0 && fds != NULL && errno != EPIPE && errno != ECONNRESET)
        rc = wire_send_control(ZYGOTE_SOCKET_FD, r, sizeof *r, NULL);
    if (rc != 0 && errno != EPIPE && errno != ECONNRESET)
        LOG(LOG_ERROR, "zygote_report_failed", LOG_STR("error", strerror(errno)));
}

/* ---- reaping ----------------------------------------------------------------------------------------------------- */

static void report_exit(struct child *c, int status, const struct rusage *usage, bool oom) {
    struct zygote_report r = {.kind = ZYGOTE_EXITED,
                              .slot = c->slot,
                              .pid = c->pid,
                              .status = status,
                              .oom = oom,
                              .max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024,
                              .cpu_ms = death_cpu_ms(usage)};
    c->pid = 0;
    report(&r, NULL);
}

static void reap_one(pid_t pid) {
    int status;
    struct rusage usage;
    struct child *c = find_child(pid);
    if (c == NULL)
        templates_before_reap(pid);
    if (wait4(pid, &status, 0, &usage) != pid)
        return;
    uint64_t oom_kills = cgroup_oom_kills();
    bool oom = oom_kills > zygote.oom_kills;
    zygote.oom_kills = oom_kills;
    if (c == NULL) {
        templates_reaped(pid, status, &usage, oom);
        return;
    }
    templates_remove_worker(pid);
    report_exit(c, status, &usage, oom);
}

static void reap(void) {
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        reap_one(info.si_pid);
    }
}

/* ---- spawning ---------------------------------------------------------------------------------------------------- */

/* In the child: executes offloadd anew, without what the handlers' `load` has left in memory. */
static _Noreturn void execute_worker(int socket) {
    char *argv[] = {(char[]){"offloadd"}, (char[]){WORKER_ROLE}, (char[]){ZYGOTE_TITLE_ROOM}, NULL};
    dup2(socket, WORKER_SOCKET_FD);
    fcntl(WORKER_SCOREBOARD_FD, F_SETFD, 0);
    execv("/proc/self/exe", argv);
    dprintf(STDERR_FILENO, "a worker could not be executed: %s\n", strerror(errno));
    _exit(1);
}

/* In the child: closes and resets what belongs to the zygote, then becomes the worker. */
static _Noreturn void become_worker(const struct zygote_request *q, int socket, int supply, int stderr_fd,
                                    pid_t parent) {
    close(ZYGOTE_SOCKET_FD);
    if (zygote.sources_fd >= 0)
        close(zygote.sources_fd);
    close(zygote.signals.fd);
    templates_forget();
    loop_free(zygote.loop);
    log_mark = 0;
    signal(SIGTERM, SIG_IGN); /* until the worker has its own handler */
    child_begin(parent, stderr_fd);
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + (int)q->nice);
    if (q->start_type != START_FORKED)
        execute_worker(socket);
    worker_main(q->slot, socket, ZYGOTE_SCOREBOARD_FD, supply);
}

static void widen(int socket) {
    int size = SOCKET_BUFFER;
    if (setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

static int fork_worker(const struct zygote_request *q, int sockets[2], int supply[2], int pipes[2]) {
    struct child *c = add_child();
    if (c == NULL)
        return -1;
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0) {
        close(sockets[0]);
        close(supply[0]);
        close(pipes[0]);
        become_worker(q, sockets[1], supply[1], pipes[1], self);
    }
    *c = (struct child){pid, q->slot};
    templates_add_worker(pid, supply[0]);
    supply[0] = -1;
    struct zygote_report r = {.kind = ZYGOTE_SPAWNED, .slot = q->slot, .pid = pid};
    report(&r, (int[2]){sockets[0], pipes[0]});
    return 0;
}

/* The plugin that has the type; plugin_count if none has. */
static size_t plugin_of(uint32_t type) {
    const struct host_type *t = host_type(type);
    size_t front = strlen("plugin:"), i = 0;
    while (i < zygote.sources.plugin_count &&
           (t == NULL || strlen(t->source) < front || strcmp(t->source + front, zygote.sources.plugins[i]) != 0))
        i++;
    return i;
}

static void spawn(const struct zygote_request *q) {
    const int sources[2] = {zygote.sources_fd, zygote.sources_fd};
    struct worker_start start = {.version = WIRE_VERSION,
                                 .parent = getpid(),
                                 .slot = q->slot,
                                 .type = q->start_type,
                                 .plugin = (uint32_t)plugin_of(q->start_type),
                                 .test_types = zygote.config.test_types,
                                 .log_level = zygote.config.log_level,
                                 .log_format = zygote.config.log_format};
    int sockets[2] = {-1, -1}, supply[2] = {-1, -1}, pipes[2] = {-1, -1};
    bool ok = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0 &&
              socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, supply) == 0 && pipe2(pipes, O_CLOEXEC) == 0;
    if (ok) {
        widen(sockets[0]);
        widen(sockets[1]);
    }
    if (ok && q->start_type != START_FORKED) /* a worker that is executed reads this from its socket */
        ok = wire_send_control(sockets[0], &start, sizeof start, sources[0] >= 0 ? sources : NULL) == 0;
    if (!ok || fork_worker(q, sockets, supply, pipes) != 0) {
        struct zygote_report r = {.kind = ZYGOTE_NOT_SPAWNED, .slot = q->slot, .status = errno};
        report(&r, NULL);
    }
    descriptors_close_pair(sockets);
    descriptors_close_pair(supply);
    descriptors_close_pair(pipes);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* False: the front end is gone, or broke the protocol. */
static bool serve_request(void) {
    struct zygote_request q;
    int fds[2];
    if (wire_receive_control(ZYGOTE_SOCKET_FD, &q, sizeof q, fds) != 1)
        return false;
    descriptors_close_pair(fds);
    if (q.version != WIRE_VERSION)
        return false;
    if (q.kind == ZYGOTE_SPAWN)
        spawn(&q);
    else if (q.kind == ZYGOTE_SIGNAL && q.pid > 0 && find_child(q.pid) != NULL)
        kill(q.pid, q.signal);
    return true;
}

static _Noreturn void end(void);

static void on_control(struct watch *w, uint32_t events) {
    (void)w, (void)events;
    if (!serve_request())
        end();
}

static void on_signal(struct watch *w, uint32_t events) {
    struct signalfd_siginfo info;
    (void)events;
    if (read(w->fd, &info, sizeof info) > 0)
        reap();
}

static int64_t no_turn(void *arg) {
    (void)arg;
    return -1;
}

static void kill_child(void *arg, pid_t pid) {
    (void)arg;
    kill(pid, SIGKILL);
}

/* Kills all children, also those that programs have left behind. */
static void kill_children(void) {
    child_visit_all(kill_child, NULL);
    for (size_t i = 0; i < zygote.count; i++)
        if (zygote.children[i].pid != 0)
            kill(zygote.children[i].pid, SIGKILL);
}

/* The front end is gone. */
static _Noreturn void end(void) {
    for (pid_t pid = 0; pid >= 0;) {
        kill_children();
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            usleep(500); /* a child that dies can leave children to us */
    }
    _exit(0);
}

/* Returns a descriptor that reports SIGCHLD. SIGTERM and the signals of a terminal are for the front end; the zygote
 * ends when the front end does. */
static int set_up_signals(void) {
    sigset_t chld;
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_SETMASK, &chld, NULL);
    return signalfd(-1, &chld, SFD_CLOEXEC);
}

/* Makes stdout and stderr a pipe to the front end. The stderr that we inherit can be one that nobody reads, and a zygote
 * that waits for it would neither fork nor reap. stdin is not ours to read. */
static void set_up_streams(void) {
    struct zygote_report r = {.kind = ZYGOTE_STDERR};
    int pipes[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return;
    report(&r, pipes);
    dup2(pipes[1], STDOUT_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[0]);
    close(pipes[1]);
}

void zygote_tell_loading(const char *source) {
    struct zygote_report r = {.kind = ZYGOTE_LOADING};
    snprintf(r.text, sizeof r.text, "%s", source);
    report(&r, NULL);
}

/* Takes the memfd that has come with the configuration, if there is one, and loads what it names. */
static int load_sources(int fds[2], struct buf *error) {
    static struct arena memory; /* as long as the process */
    zygote.sources_fd = fds[0];
    if (fds[1] >= 0)
        close(fds[1]);
    if (zygote.sources_fd < 0)
        return 0;
    fcntl(zygote.sources_fd, F_SETFD, FD_CLOEXEC);
    if (sources_read(zygote.sources_fd, &zygote.sources, &memory) != 0) {
        buf_puts(error, "the list of sources could not be read");
        return -1;
    }
    const struct pool_sources *s = &zygote.sources;
    int rc = plugins_load(s->plugins, s->plugin_count, zygote_tell_loading, error);
    if (rc == 0 && s->program_count > 0)
        rc = templates_load(s->programs, s->program_count, s->load_timeout_ns, zygote_tell_loading, error);
    return rc;
}

/* For workers that are executed: the sources, with the names of the types that were loaded, too. */
static int renew_sources(void) {
    int fd = sources_write(&zygote.sources);
    if (fd < 0)
        return -1;
    close(zygote.sources_fd);
    zygote.sources_fd = fd;
    return 0;
}

/* Loads all types, and reports the result. If that failed, it only waits for its end. */
static void load(int fds[2]) {
    struct zygote_report r = {.kind = ZYGOTE_LOADED};
    struct buf error = {0}, described = {0};
    int memfd = -1;
    int rc = load_sources(fds, &error);
    if (rc == 0)
        rc = host_load(zygote.sources_fd >= 0 ? zygote_tell_loading : NULL, &error);
    if (rc == 0)
        host_log_models();
    if (rc == 0 && zygote.sources_fd >= 0) {
        host_describe_added(&described);
        memfd = sources_seal("offload-types", &described);
        rc = memfd < 0 ? -1 : renew_sources();
    }
    if (rc != 0) {
        r.kind = ZYGOTE_LOAD_FAILED;
        snprintf(r.text, sizeof r.text, "%s", error.size > 0 ? error.data : "out of memory");
    }
    report(&r, memfd >= 0 ? (int[2]){memfd, memfd} : NULL);
    if (memfd >= 0)
        close(memfd);
    buf_deinit(&error);
    buf_deinit(&described);
}

int zygote_main(void) {
    struct zygote_config *config = &zygote.config;
    int fds[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (wire_receive_control(ZYGOTE_SOCKET_FD, config, sizeof *config, fds) != 1 || config->version != WIRE_VERSION ||
        getppid() != config->parent)
        return 1;
    log_threshold = config->log_level;
    log_style = config->log_format;
    fcntl(ZYGOTE_SOCKET_FD, F_SETFD, FD_CLOEXEC);
    fcntl(ZYGOTE_SCOREBOARD_FD, F_SETFD, FD_CLOEXEC);
    zygote.loop = loop_new();
    zygote.signals = (struct watch){set_up_signals(), on_signal};
    zygote.control = (struct watch){ZYGOTE_SOCKET_FD, on_control};
    if (zygote.loop == NULL || loop_watch(zygote.loop, &zygote.signals, EPOLLIN) != 0 ||
        loop_watch(zygote.loop, &zygote.control, EPOLLIN) != 0)
        return 1;
    templates_init(zygote.loop);
    set_up_streams();
    log_mark = LOG_MARK;
    zygote.oom_kills = cgroup_oom_kills();
    host_init(config->test_types != 0);
    setproctitle("zygote");
    load(fds);
    /* From here on nothing of others runs in this process, which sees by EOF that the front end is gone. It must live on
     * then, to kill what programs have left behind. */
    prctl(PR_SET_PDEATHSIG, 0);
    loop_run(zygote.loop, no_turn, NULL);
    return 0;
}
