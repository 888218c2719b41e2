/* templates.c: see templates.h. Zygote.
 *
 *     a program:   execute          hello, can be forked
 *           NONE ─────────► LOADING ─────────────────────► TEMPLATE ──dies──► LOADING
 *            ▲                 │ hello, cannot be forked
 *            │                 ├─────────────────────────► EXECUTED          each worker has it executed
 *            │                 │ dies, breaks the protocol, is too slow
 *            └─────────────────┘   at the start: the load fails; later: who has asked is told, and who asks next tries
 *                                  again
 *
 *     an ask of a worker:   waits ──fork sent──► forking ──forked──► its worker has the process
 *                             ▲                    │
 *                             └─ the template dies ┴─ for the second time: the worker is told
 *
 * A template that dies is started anew at once if it has lived for a while or somebody waits for it; else when somebody
 * asks. So one that dies again and again costs no more than what is asked for.
 */
#include "pool/templates.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/state.h"
#include "handlers/program/programs.h"
#include "pool/child.h"
#include "pool/death.h"
#include "pool/wire.h"

#define PROGRAM_FD  3 /* OFFLOAD_FD of a program that is executed */
#define EARLY_EXITS 32
#define LINE_ROOM   1024     /* bytes of a line that is kept */
#define EXIT_NS     NS_PER_S /* a program that has closed its conversation has so long to exit */
#define LIVED_NS    NS_PER_S /* a template that dies sooner is not started anew until somebody asks */

extern char **environ;

enum program_state { PROGRAM_NONE, PROGRAM_LOADING, PROGRAM_TEMPLATE, PROGRAM_EXECUTED, PROGRAM_STATES };

/* A worker wants a process. */
struct ask {
    pid_t worker;             /* 0: it is dead */
    bool forking;             /* the template has been asked */
    bool tried;               /* a template has died of it, perhaps */
    int conversation, output; /* then: the worker's ends; else -1 */
    struct ask *prev, *next;
};

struct program_in_zygote {
    unsigned number;
    const struct program_source *source;
    enum program_state state;
    bool described; /* its types are known */
    pid_t pid;      /* of the template, or of the process that says hello; 0: none */
    struct frames frames;
    struct watch talk, output;
    struct timer timer;
    int64_t started_ns;
    char line[LINE_ROOM]; /* that it prints now, as far as it has come */
    size_t line_size;
    char last_line[LINE_ROOM];  /* that it printed */
    char error_line[LINE_ROOM]; /* the last one that looks like the message of an exception */
    char why[LINE_ROOM];        /* it could not be started */
    struct ask *asks;
};

/* A program process of a worker. */
struct program_process {
    pid_t pid, worker;
    unsigned program;
    struct program_process *prev, *next;
};

struct client {
    pid_t worker;
    struct watch supply;
    struct client *prev, *next;
};

static struct {
    struct loop *loop;
    struct program_in_zygote programs[PROGRAMS_MAX];
    size_t count;
    int64_t timeout_ns;
    struct program_process *processes;
    struct client *clients;
    /* Children that were reaped before the template has said that they are program processes. */
    struct early_exit {
        pid_t pid;
        int status;
        bool oom;
        struct rusage usage;
    } early[EARLY_EXITS];
    size_t early_next;
} z;

static void move(struct program_in_zygote *p, enum program_state to) {
    static const struct state_row states[PROGRAM_STATES] = {
        [PROGRAM_NONE] = {"none", TO(PROGRAM_LOADING)},
        [PROGRAM_LOADING] = {"loading", TO(PROGRAM_TEMPLATE) | TO(PROGRAM_EXECUTED) | TO(PROGRAM_NONE)},
        [PROGRAM_TEMPLATE] = {"template", TO(PROGRAM_NONE)},
        [PROGRAM_EXECUTED] = {"executed", 0},
    };
    state_check_move("program", states, p->state, to);
    p->state = to;
}

/* ---- executing a program ----------------------------------------------------------------------------------------- */

/* Libraries that would start threads of their own. The workers are the parallelism. */
static const char *const one_thread[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                         "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};

static void set_environment(const struct program_source *source) {
    for (size_t i = 0; i < sizeof one_thread / sizeof one_thread[0]; i++)
        setenv(one_thread[i], "1", 0);
    for (const char *const *e = source->env; e != NULL && *e != NULL; e++)
        putenv((char *)(uintptr_t)*e);
    if (source->start != PROGRAM_AUTO)
        setenv("OFFLOAD_START", source->start == PROGRAM_FORK ? "fork" : "spawn", 1);
    char number[16];
    snprintf(number, sizeof number, "%d", PROGRAM_FD);
    setenv("OFFLOAD_FD", number, 1);
}

/* In the child. The sockets of the zygote close on exec. */
static _Noreturn void become_program(const struct program_source *source, int conversation, int output, pid_t parent) {
    setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    child_begin(parent, output);
    set_environment(source);
    dup2(conversation, PROGRAM_FD);
    fcntl(PROGRAM_FD, F_SETFD, 0); /* if it was there already */
    execvp(source->argv[0], (char *const *)(uintptr_t)source->argv);
    dprintf(STDERR_FILENO, "%s cannot be executed: %s\n", source->argv[0], strerror(errno));
    _exit(127);
}

/* The ends of the worker, or of the zygote, are first; those of the program second. False with errno. */
static bool make_pairs(int conversation[2], int output[2]) {
    int pipes[2];
    conversation[0] = conversation[1] = output[0] = output[1] = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, conversation) != 0)
        return false;
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        descriptors_close_pair(conversation);
        return false;
    }
    output[0] = pipes[0];
    output[1] = pipes[1];
    return true;
}

/* Executes the program. 0, and the caller has both of our ends; or -1 with errno. */
static int execute(const struct program_source *source, pid_t *pid, int *conversation, int *output) {
    int talk[2], out[2];
    pid_t self = getpid();
    if (!make_pairs(talk, out))
        return -1;
    *pid = fork();
    if (*pid == 0)
        become_program(source, talk[1], out[1], self);
    close(talk[1]);
    close(out[1]);
    *conversation = talk[0];
    *output = out[0];
    if (*pid > 0)
        return 0;
    close(talk[0]);
    close(out[0]);
    return -1;
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

static void tell(pid_t worker, struct program_news *n, const int fds[2]) {
    struct client *c;
    n->version = WIRE_VERSION;
    DL_FOREACH(z.clients, c) {
        if (c->worker == worker && wire_send_control(c->supply.fd, n, sizeof *n, fds) != 0 && errno != EPIPE &&
            errno != ECONNRESET)
            LOG(LOG_ERROR, "worker_not_told", LOG_INT("pid", worker), LOG_STR("error", strerror(errno)));
    }
}

static void tell_exit(const struct program_process *p, int status, const struct rusage *usage, bool oom) {
    struct program_news n = {.kind = PROGRAM_EXITED,
                             .program = p->program,
                             .pid = p->pid,
                             .status = status,
                             .oom = oom,
                             .max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024,
                             .cpu_ms = death_cpu_ms(usage)};
    tell(p->worker, &n, NULL);
}

static void tell_not_started(pid_t worker, const struct program_in_zygote *p, const char *why) {
    struct program_news n = {.kind = PROGRAM_NOT_STARTED, .program = p->number};
    snprintf(n.text, sizeof n.text, "%.*s", (int)sizeof n.text - 1, why);
    tell(worker, &n, NULL);
}

/* Gives the threads of the process group the nice value of the worker that it works for. */
static void make_as_nice(pid_t group, pid_t worker) {
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)worker);
    if (errno == 0) /* the worker is not dead */
        setpriority(PRIO_PGRP, (id_t)group, nice);
}

/* The worker has this process now. Takes the descriptors. */
static void hand_over(const struct program_in_zygote *p, pid_t worker, pid_t pid, int conversation, int output) {
    struct program_process *process = calloc(1, sizeof *process);
    struct program_news n = {.kind = PROGRAM_STARTED, .program = p->number, .pid = pid};
    if (process == NULL) {
        kill(pid, SIGKILL);
        tell_not_started(worker, p, "out of memory");
    } else {
        setpgid(pid, pid); /* a process that was forked has that of the template; what it leaves behind dies with it */
        make_as_nice(pid, worker);
        *process = (struct program_process){.pid = pid, .worker = worker, .program = p->number};
        DL_APPEND(z.processes, process);
        tell(worker, &n, (int[2]){conversation, output});
    }
    close(conversation);
    close(output);
}

/* ---- asks -------------------------------------------------------------------------------------------------------- */

static void drop_ask(struct program_in_zygote *p, struct ask *a) {
    DL_DELETE(p->asks, a);
    if (a->conversation >= 0)
        close(a->conversation);
    if (a->output >= 0)
        close(a->output);
    free(a);
}

static void refuse_asks(struct program_in_zygote *p) {
    struct ask *a, *next;
    DL_FOREACH_SAFE(p->asks, a, next) {
        tell_not_started(a->worker, p, p->why);
        drop_ask(p, a);
    }
}

static void start(struct program_in_zygote *p);

/* Asks the template to fork. False: it is gone. */
static bool send_fork(struct program_in_zygote *p, struct ask *a) {
    int talk[2], out[2];
    size_t begin;
    if (!make_pairs(talk, out)) {
        tell_not_started(a->worker, p, strerror(errno));
        drop_ask(p, a);
        return true;
    }
    struct buf *to = frames_begin(&p->frames, &begin);
    buf_printf(to, "{\"kind\":\"fork\",\"parent\":%d}", (int)getpid());
    bool sent = frames_end(&p->frames, begin) && frames_send_with(&p->frames, (int[2]){talk[1], out[1]}) == 0;
    close(talk[1]);
    close(out[1]);
    a->forking = sent;
    a->conversation = talk[0];
    a->output = out[0];
    if (!sent) {
        close(talk[0]);
        close(out[0]);
        a->conversation = a->output = -1;
    }
    return sent;
}

static void execute_for(struct program_in_zygote *p, struct ask *a) {
    pid_t pid, worker = a->worker;
    int conversation, output, rc = execute(p->source, &pid, &conversation, &output);
    int error = errno;
    drop_ask(p, a);
    if (rc == 0)
        hand_over(p, worker, pid, conversation, output);
    else
        tell_not_started(worker, p, strerror(error));
}

static void serve_asks(struct program_in_zygote *p) {
    struct ask *a, *next;
    if (p->state == PROGRAM_NONE && p->asks != NULL)
        start(p);
    DL_FOREACH_SAFE(p->asks, a, next) {
        if (p->state == PROGRAM_EXECUTED)
            execute_for(p, a);
        else if (p->state == PROGRAM_TEMPLATE && !a->forking && !send_fork(p, a))
            break; /* the end of the template is noticed soon */
    }
}

/* ---- the process that says hello, and the template --------------------------------------------------------------- */

static void close_conversation(struct program_in_zygote *p) {
    if (p->frames.fd < 0)
        return;
    loop_unwatch(z.loop, &p->talk);
    frames_close(&p->frames);
}

static void close_output(struct program_in_zygote *p) {
    if (p->output.fd < 0)
        return;
    loop_unwatch(z.loop, &p->output);
    close(p->output.fd);
    p->output.fd = -1;
}

/* "ValueError: ...", "java.io.IOException: ..." */
static bool is_error_line(const char *line) {
    size_t name = strcspn(line, ": ");
    return line[name] == ':' && ((name >= 5 && memcmp(line + name - 5, "Error", 5) == 0) ||
                                 (name >= 9 && memcmp(line + name - 9, "Exception", 9) == 0));
}

/* Why it did not say hello, from what it printed: what our own packages say last ("offload: tasks.py: ..."), or the
 * message of an exception, or the last line. */
static const char *printed_reason(const struct program_in_zygote *p) {
    static const char ours[] = "offload: ";
    const char *reason = p->last_line, *spec = strchr(p->source->source, ':') + 1;
    if (strncmp(reason, ours, strlen(ours)) != 0)
        return p->error_line[0] != '\0' ? p->error_line : reason;
    reason += strlen(ours);
    size_t size = strlen(spec);
    return strncmp(reason, spec, size) == 0 && strncmp(reason + size, ": ", 2) == 0 ? reason + size + 2 : reason;
}

/* The line is at its end. */
static void end_line(struct program_in_zygote *p) {
    if (p->line_size == 0)
        return;
    p->line[p->line_size] = '\0';
    LOG(LOG_INFO, "program_output", LOG_STR("source", p->source->source), LOG_STR("line", p->line));
    memcpy(p->last_line, p->line, p->line_size + 1);
    if (is_error_line(p->line))
        memcpy(p->error_line, p->line, p->line_size + 1);
    p->line_size = 0;
}

static void read_output(struct program_in_zygote *p) {
    char text[4096];
    ssize_t n;
    if (p->output.fd < 0)
        return;
    while ((n = read(p->output.fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] == '\n')
                end_line(p);
            else if (p->line_size < LINE_ROOM - 1)
                p->line[p->line_size++] = text[i];
        }
    }
    if (n == 0 || errno != EAGAIN)
        close_output(p);
}

static void on_output(struct watch *w, uint32_t events) {
    (void)events;
    read_output(container_of(w, struct program_in_zygote, output));
}

/* The process has to go. Its end is handled when it is reaped. */
static void end(struct program_in_zygote *p, const char *why) {
    if (p->why[0] == '\0')
        snprintf(p->why, sizeof p->why, "%s", why);
    close_conversation(p);
    if (p->pid != 0)
        kill(p->pid, SIGKILL);
}

static unsigned count_threads(pid_t pid) {
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *e; tasks != NULL && (e = readdir(tasks)) != NULL;)
        count += e->d_name[0] != '.';
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

/* Is this process to be the template? */
static bool can_fork(const struct program_in_zygote *p, const struct message *hello) {
    unsigned threads = count_threads(p->pid);
    char why[LINE_ROOM];
    if (p->source->start == PROGRAM_SPAWN)
        return false;
    if (hello->fork && (p->source->start == PROGRAM_FORK || threads == 1))
        return true;
    if (hello->fork)
        snprintf(why, sizeof why, "it has %u threads, and a fork of such a process can hang", threads);
    else if (!message_text(&hello->fork_reason, why, sizeof why))
        return false; /* it is not meant to be forked */
    LOG(LOG_WARN, "program_not_forked", LOG_STR("source", p->source->source), LOG_STR("why", why));
    return false;
}

static void on_hello(struct program_in_zygote *p, const struct message *hello) {
    struct buf error = {0};
    if (!p->described && programs_describe(p->number, p->source->source, z.timeout_ns, hello, &error) != 0) {
        end(p, error.failed || error.size == 0 ? "out of memory" : error.data);
        buf_deinit(&error);
        return;
    }
    buf_deinit(&error);
    p->described = true;
    loop_clear_timer(z.loop, &p->timer);
    if (p->source->start == PROGRAM_FORK && !hello->fork) {
        end(p, "it cannot be forked, and must be: see --python-start");
        return;
    }
    if (can_fork(p, hello)) {
        move(p, PROGRAM_TEMPLATE);
    } else {
        size_t begin;
        buf_puts(frames_begin(&p->frames, &begin), "{\"kind\":\"exit\"}");
        if (frames_end(&p->frames, begin) && frames_send(&p->frames) != 0)
            errno = 0; /* it is gone already */
        close_conversation(p);
        move(p, PROGRAM_EXECUTED);
        loop_set_timer(z.loop, &p->timer, clock_monotonic_ns() + EXIT_NS);
    }
    serve_asks(p);
}

static struct program_process *find_process(pid_t pid) {
    struct program_process *p;
    DL_FOREACH(z.processes, p) {
        if (p->pid == pid)
            return p;
    }
    return NULL;
}

/* Is this a child of ours that is not reaped, and nothing that we know already? */
static bool is_new_child(pid_t pid) {
    siginfo_t info;
    struct client *c;
    DL_FOREACH(z.clients, c) {
        if (c->worker == pid)
            return false;
    }
    for (size_t i = 0; i < z.count; i++)
        if (z.programs[i].pid == pid)
            return false;
    return find_process(pid) == NULL && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static struct early_exit *find_early(pid_t pid) {
    for (size_t i = 0; i < EARLY_EXITS; i++)
        if (z.early[i].pid == pid)
            return &z.early[i];
    return NULL;
}

static void on_forked(struct program_in_zygote *p, const struct message *m) {
    struct ask *a = p->asks;
    pid_t pid = (pid_t)m->pid;
    if (a == NULL || !a->forking) {
        end(p, "it says that it has forked, and nobody has asked");
        return;
    }
    struct early_exit *early = pid == 0 ? NULL : find_early(pid);
    if (pid != 0 && early == NULL && !is_new_child(pid)) {
        end(p, "it has forked a process that is not the child of the \"parent\" that fork named");
        return;
    }
    if (pid == 0) {
        char why[LINE_ROOM];
        message_text(&m->forked_error, why, sizeof why);
        tell_not_started(a->worker, p, why);
    } else if (a->worker == 0) {
        if (early == NULL)
            kill(pid, SIGKILL);
    } else {
        hand_over(p, a->worker, pid, a->conversation, a->output);
        a->conversation = a->output = -1;
    }
    drop_ask(p, a);
    if (early != NULL) {
        struct early_exit e = *early;
        early->pid = 0;
        templates_reaped(pid, e.status, &e.usage, e.oom);
    }
    serve_asks(p); /* there can be one for which the socket had no room */
}

static void take_messages(struct program_in_zygote *p) {
    struct bytes json;
    struct message m;
    const char *why;
    int got;
    while (p->frames.fd >= 0 && (got = frames_next(&p->frames, &json)) != 0) {
        if (got < 0)
            end(p, "it sent bytes that are no frame");
        else if (message_read(json, &m, &why) != 0)
            end(p, why);
        else if (p->state == PROGRAM_LOADING && m.kind == MESSAGE_HELLO)
            on_hello(p, &m);
        else if (p->state == PROGRAM_TEMPLATE && m.kind == MESSAGE_FORKED)
            on_forked(p, &m);
        else
            end(p, p->state == PROGRAM_LOADING ? "its first message is not hello"
                                               : "it sent a message that has no place here");
    }
}

static void on_talk(struct watch *w, uint32_t events) {
    struct program_in_zygote *p = container_of(w, struct program_in_zygote, talk);
    (void)events;
    bool ended = frames_receive(&p->frames) != 0;
    take_messages(p);
    if (!ended || p->frames.fd < 0)
        return;
    close_conversation(p);
    loop_set_timer(z.loop, &p->timer, clock_monotonic_ns() + EXIT_NS);
}

static void on_timer(struct timer *t) {
    struct program_in_zygote *p = container_of(t, struct program_in_zygote, timer);
    end(p, p->frames.fd < 0 ? "it closed the conversation" : "it did not say hello within --load-timeout");
}

static void start(struct program_in_zygote *p) {
    int conversation;
    p->why[0] = p->last_line[0] = p->error_line[0] = '\0';
    p->line_size = 0;
    p->started_ns = clock_monotonic_ns();
    move(p, PROGRAM_LOADING);
    if (execute(p->source, &p->pid, &conversation, &p->output.fd) != 0) {
        snprintf(p->why, sizeof p->why, "it cannot be started: %s", strerror(errno));
        p->pid = 0;
        p->output.fd = -1;
        move(p, PROGRAM_NONE);
        refuse_asks(p);
        return;
    }
    frames_open(&p->frames, conversation);
    fcntl(p->output.fd, F_SETFL, O_NONBLOCK);
    p->talk = (struct watch){p->frames.fd, on_talk};
    p->output.ready = on_output;
    p->timer.fire = on_timer;
    loop_set_timer(z.loop, &p->timer, clock_monotonic_ns() + z.timeout_ns);
    if (loop_watch(z.loop, &p->talk, EPOLLIN) != 0 || loop_watch(z.loop, &p->output, EPOLLIN) != 0)
        end(p, strerror(errno));
}

/* The template is dead. What it was to fork may be there or not. If it is, its conversation ends now, and so does it. */
static void take_asks_back(struct program_in_zygote *p, const char *why) {
    struct ask *a, *next;
    DL_FOREACH_SAFE(p->asks, a, next) {
        if (!a->forking)
            continue;
        close(a->conversation);
        close(a->output);
        a->conversation = a->output = -1;
        a->forking = false;
        if (a->tried)
            tell_not_started(a->worker, p, why);
        if (a->tried || a->worker == 0)
            drop_ask(p, a);
        else
            a->tried = true;
    }
}

/* The template, or the process that was to say hello, is reaped. */
static void on_end(struct program_in_zygote *p, int status) {
    bool was_template = p->state == PROGRAM_TEMPLATE, told = p->why[0] != '\0';
    pid_t pid = p->pid;
    p->pid = 0;
    loop_clear_timer(z.loop, &p->timer);
    close_conversation(p);
    read_output(p);
    end_line(p);
    close_output(p);
    if (p->state == PROGRAM_EXECUTED)
        return;
    if (!told && p->last_line[0] != '\0')
        memmove(p->why, printed_reason(p), strlen(printed_reason(p)) + 1);
    else if (!told && WIFEXITED(status))
        snprintf(p->why, sizeof p->why, "it exited with status %d before it said hello", WEXITSTATUS(status));
    else if (!told)
        snprintf(p->why, sizeof p->why, "it died of SIG%s before it said hello", sigabbrev_np(WTERMSIG(status)));
    move(p, PROGRAM_NONE);
    if (!was_template) {
        if (p->described) /* otherwise that is why the types are not loaded, which is said elsewhere */
            LOG(LOG_ERROR, "program_not_started", LOG_STR("source", p->source->source), LOG_STR("why", p->why));
        refuse_asks(p);
        return;
    }
    LOG(LOG_WARN, "template_lost", LOG_STR("source", p->source->source), LOG_INT("pid", pid),
        LOG_STR("signal", WIFSIGNALED(status) ? signal_name(WTERMSIG(status)) : NULL),
        LOG_INT("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1), LOG_STR("why", told ? p->why : NULL));
    take_asks_back(p, told ? p->why : "the process that was to fork it has died");
    if (p->asks != NULL || clock_monotonic_ns() - p->started_ns >= LIVED_NS)
        start(p);
}

/* ---- the zygote's calls ------------------------------------------------------------------------------------------ */

void templates_init(struct loop *loop) {
    z.loop = loop;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int templates_load(const struct program_source *list, size_t count, int64_t timeout_ns,
                   void (*loading)(const char *source), struct buf *error) {
    z.timeout_ns = timeout_ns;
    if (count > PROGRAMS_MAX) {
        buf_printf(error, "there are %zu programs, and at most %d can be served", count, PROGRAMS_MAX);
        return -1;
    }
    z.count = count;
    for (size_t i = 0; i < count; i++) {
        struct program_in_zygote *p = &z.programs[i];
        *p = (struct program_in_zygote){
            .number = (unsigned)i, .source = &list[i], .frames = {.fd = -1}, .output = {.fd = -1}};
        start(p);
    }
    for (size_t i = 0; i < count; i++) {
        struct program_in_zygote *p = &z.programs[i];
        loading(p->source->source);
        while (!p->described && p->state != PROGRAM_NONE)
            loop_step(z.loop, -1);
        if (p->described)
            continue;
        const char *name = p->source->source;
        bool named = strncmp(p->why, name, strlen(name)) == 0;
        buf_printf(error, "%s%s%s", named ? "" : name, named ? "" : ": ", p->why);
        return -1;
    }
    return 0;
}

static void on_supply(struct watch *w, uint32_t events) {
    struct client *c = container_of(w, struct client, supply);
    struct program_request q;
    int fds[2];
    (void)events;
    int got = wire_receive_control(w->fd, &q, sizeof q, fds);
    descriptors_close_pair(fds);
    if (got != 1 || q.version != WIRE_VERSION || q.program >= z.count) {
        if (got >= 0 || errno != EAGAIN)
            loop_unwatch(z.loop, w); /* it is dying, or out of control: it gets no more processes */
        return;
    }
    struct program_in_zygote *p = &z.programs[q.program];
    struct ask *a = calloc(1, sizeof *a);
    if (a == NULL) {
        tell_not_started(c->worker, p, "out of memory");
        return;
    }
    *a = (struct ask){.worker = c->worker, .conversation = -1, .output = -1};
    DL_APPEND(p->asks, a);
    serve_asks(p);
}

void templates_add_worker(pid_t worker, int supply) {
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(supply); /* the worker sees that, and exits when it needs a program */
        return;
    }
    *c = (struct client){.worker = worker, .supply = {supply, on_supply}};
    DL_APPEND(z.clients, c);
    if (loop_watch(z.loop, &c->supply, EPOLLIN) != 0)
        LOG(LOG_ERROR, "worker_not_watched", LOG_INT("pid", worker), LOG_STR("error", strerror(errno)));
}

void templates_remove_worker(pid_t worker) {
    struct client *c, *next;
    struct program_process *process;
    struct ask *a, *next_ask;
    DL_FOREACH(z.processes, process) {
        if (process->worker == worker)
            kill(process->pid, SIGKILL);
    }
    for (size_t i = 0; i < z.count; i++) {
        DL_FOREACH_SAFE(z.programs[i].asks, a, next_ask) {
            if (a->worker != worker)
                continue;
            a->worker = 0;
            if (!a->forking)
                drop_ask(&z.programs[i], a);
        }
    }
    DL_FOREACH_SAFE(z.clients, c, next) {
        if (c->worker != worker)
            continue;
        loop_unwatch(z.loop, &c->supply);
        close(c->supply.fd);
        DL_DELETE(z.clients, c);
        free(c);
    }
}

void templates_before_reap(pid_t pid) {
    if (find_process(pid) != NULL)
        kill(-pid, SIGKILL);
}

void templates_reaped(pid_t pid, int status, const struct rusage *usage, bool oom) {
    struct program_process *process = find_process(pid);
    if (process != NULL) {
        tell_exit(process, status, usage, oom);
        DL_DELETE(z.processes, process);
        free(process);
        return;
    }
    bool forking = false;
    for (size_t i = 0; i < z.count; i++) {
        if (z.programs[i].pid == pid) {
            on_end(&z.programs[i], status);
            return;
        }
        forking |= z.programs[i].asks != NULL && z.programs[i].asks->forking;
    }
    if (forking)
        z.early[z.early_next++ % EARLY_EXITS] = (struct early_exit){pid, status, oom, *usage};
}

void templates_forget(void) {
    struct client *c;
    DL_FOREACH(z.clients, c) {
        close(c->supply.fd);
    }
    for (size_t i = 0; i < z.count; i++) {
        struct program_in_zygote *p = &z.programs[i];
        struct ask *a;
        if (p->frames.fd >= 0)
            close(p->frames.fd);
        if (p->output.fd >= 0)
            close(p->output.fd);
        DL_FOREACH(p->asks, a) {
            if (a->forking) {
                close(a->conversation);
                close(a->output);
            }
        }
    }
}
