/* process.c: see process.h. It runs in workers.
 *
 * Nothing here waits without an end: each wait looks after WAIT_MS whether the call is cancelled. */
#include "handlers/program/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"

#define WAIT_MS    10
#define REPORT_MS  1000        /* so long we wait for the zygote to say how a process died */
#define MAX_LINE   (16 * 1024) /* bytes; a longer line is cut into several */
#define MAX_OUTPUT (64 * 1024) /* bytes that are read in one go */
#define LAST_READS 16          /* so often after its end: what it has left behind can print for ever */

static const struct program_port *port;

void programs_set_port(const struct program_port *p) {
    port = p;
}

static struct process processes[PROGRAMS_MAX];

struct process *process_open(unsigned program, int64_t timeout_ns) {
    struct process *p = &processes[program];
    *p =
        (struct process){.program = program, .timeout_ns = timeout_ns, .pidfd = -1, .output = -1, .frames = {.fd = -1}};
    return p;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void print(struct call *c, const char *text, size_t size) {
    if (c != NULL)
        call_log(c, text, size);
    else if (write(STDERR_FILENO, text, size) < 0)
        return; /* the front end is gone, and so are we soon */
}

static void keep_tail(struct process *p, const char *text, size_t size) {
    if (size > PROCESS_TAIL - 1) {
        text += size - (PROCESS_TAIL - 1);
        size = PROCESS_TAIL - 1;
    }
    size_t drop = p->tail_size + size > PROCESS_TAIL - 1 ? p->tail_size + size - (PROCESS_TAIL - 1) : 0;
    memmove(p->tail, p->tail + drop, p->tail_size - drop);
    p->tail_size -= drop;
    memcpy(p->tail + p->tail_size, text, size);
    p->tail_size += size;
    p->tail[p->tail_size] = '\0';
}

static void end_line(struct process *p, struct call *c) {
    if (p->line.size == 0)
        return;
    buf_putc(&p->line, '\n');
    if (!p->line.failed)
        print(c, p->line.data, p->line.size);
    buf_clear(&p->line);
}

/* Logs the whole lines, and keeps the rest. */
static void take_output(struct process *p, struct call *c, const char *text, size_t size) {
    p->printed = true;
    keep_tail(p, text, size);
    const char *last = memrchr(text, '\n', size);
    size_t whole = last == NULL ? 0 : (size_t)(last - text) + 1;
    if (whole > 0 && p->line.size > 0) {
        buf_append(&p->line, text, whole);
        print(c, p->line.data, p->line.size);
        buf_clear(&p->line);
    } else if (whole > 0) {
        print(c, text, whole);
    }
    buf_append(&p->line, text + whole, size - whole);
    if (p->line.size > MAX_LINE)
        end_line(p, c);
    p->line.failed = false;
}

bool process_read_output(struct process *p, struct call *c) {
    char text[4096];
    size_t all = 0;
    while (p->output >= 0 && all < MAX_OUTPUT) {
        ssize_t n = read(p->output, text, sizeof text);
        if (n > 0) {
            all += (size_t)n;
            take_output(p, c, text, (size_t)n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n == 0 || errno != EAGAIN) {
            close(p->output);
            p->output = -1;
        } else {
            break;
        }
        if (n > 0 && (size_t)n < sizeof text)
            break;
    }
    return all > 0;
}

void process_end_call(struct process *p, struct call *c) {
    end_line(p, c);
    p->tail_size = 0;
    p->tail[0] = '\0';
}

/* ---- news -------------------------------------------------------------------------------------------------------- */

static void on_started(struct process *p, const struct program_news *n, int fds[2]) {
    if (p->state != PROCESS_ASKED || fds[0] < 0 || fds[1] < 0) {
        descriptors_close_pair(fds);
        return;
    }
    p->state = PROCESS_GREETING;
    p->pid = n->pid;
    p->pidfd = pidfd_open(n->pid, 0);
    p->output = fds[1];
    fcntl(p->output, F_SETFL, O_NONBLOCK);
    frames_open(&p->frames, fds[0]);
    p->next_call = 1;
    p->last_call = UINT64_MAX;
    p->started_ns = clock_monotonic_ns();
    p->tail_size = 0;
    p->tail[0] = '\0';
    p->broken = NULL;
    p->exited = false;
    buf_clear(&p->line);
    port->show(p->program, p->pid);
}

static void on_not_started(struct process *p, const struct program_news *n) {
    if (p->state != PROCESS_ASKED)
        return;
    p->exit = *n;
    p->exit.text[sizeof p->exit.text - 1] = '\0';
    p->state = PROCESS_NONE;
}

/* Takes all the news that there is, about any program. */
static void take_news(void) {
    struct program_news n;
    int fds[2];
    int got;
    while ((got = port->take(&n, fds)) == 1) {
        struct process *p = n.program < PROGRAMS_MAX ? &processes[n.program] : NULL;
        if (p != NULL && n.kind == PROGRAM_STARTED) {
            on_started(p, &n, fds);
            continue;
        }
        descriptors_close_pair(fds);
        if (p != NULL && n.kind == PROGRAM_NOT_STARTED)
            on_not_started(p, &n);
        if (p != NULL && n.kind == PROGRAM_EXITED && n.pid == p->pid && p->state >= PROCESS_GREETING) {
            p->exited = true;
            p->exit = n;
        }
    }
    if (got < 0)
        _exit(0); /* the zygote is gone, and takes us along */
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

bool process_wait(struct process *p, struct call *c, int timeout_ms) {
    struct pollfd fds[] = {{.fd = p->frames.fd, .events = POLLIN},
                           {.fd = p->output, .events = POLLIN},
                           {.fd = port->fd, .events = POLLIN}};
    if (frames_wait_to_send(&p->frames))
        fds[0].events |= POLLOUT;
    /* A process that it has left behind can keep the socket open, so its end does not always show there. */
    bool exited = p->exited;
    int ready = poll(fds, 3, exited ? 0 : timeout_ms);
    if (ready <= 0)
        return !exited || (ready < 0 && errno == EINTR);
    if (exited && (fds[0].revents & POLLIN) == 0)
        return false;
    if (fds[1].revents != 0)
        process_read_output(p, c);
    if (fds[2].revents != 0)
        take_news();
    if ((fds[0].revents & POLLOUT) != 0 && frames_send(&p->frames) != 0)
        return false;
    return (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) == 0 || frames_receive(&p->frames) == 0;
}

void process_signal(const struct process *p, int signal) {
    if (p->pidfd >= 0)
        pidfd_send_signal(p->pidfd, signal, NULL, 0);
}

/* Lets go of it. The zygote reaps it. */
static void forget(struct process *p) {
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->output >= 0)
        close(p->output);
    frames_close(&p->frames);
    p->pidfd = p->output = -1;
    p->pid = 0;
    p->state = PROCESS_NONE;
    buf_deinit(&p->line);
    port->show(p->program, 0);
}

void process_kill(struct process *p) {
    if (p->state < PROCESS_GREETING)
        return;
    process_signal(p, SIGKILL);
    forget(p);
}

void process_end_if_spent(struct process *p) {
    if (p->state != PROCESS_READY || p->next_call <= p->last_call)
        return;
    process_read_output(p, NULL);
    process_kill(p);
}

bool process_is_sound(struct process *p) {
    struct pollfd fd = {.fd = p->frames.fd, .events = POLLIN};
    if (p->state != PROCESS_READY)
        return false;
    if (poll(&fd, 1, 0) == 0 && !p->exited)
        return true;
    process_read_output(p, NULL);
    process_kill(p);
    return false;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static const char *cause_of(const struct process *p, bool killed_by_us) {
    if (p->broken != NULL || killed_by_us)
        return "protocol";
    if (p->exit.oom && WIFSIGNALED(p->exit.status) && WTERMSIG(p->exit.status) == SIGKILL)
        return "oom";
    return WIFSIGNALED(p->exit.status) ? "signal" : "exit";
}

void process_bury(struct process *p, struct call *c, struct call_loss *loss) {
    int64_t until_ns = clock_monotonic_ns() + REPORT_MS * NS_PER_MS;
    bool killed = p->broken != NULL;
    if (killed)
        process_signal(p, SIGKILL);
    /* A process that closes the conversation is about to exit. If it lives on after half of the time, it is killed. */
    while (!p->exited && clock_monotonic_ns() < until_ns) {
        struct pollfd fds[] = {{.fd = port->fd, .events = POLLIN}, {.fd = p->output, .events = POLLIN}};
        poll(fds, 2, WAIT_MS);
        if (fds[0].revents != 0)
            take_news();
        process_read_output(p, c);
        if (!killed && clock_monotonic_ns() > until_ns - REPORT_MS * NS_PER_MS / 2) {
            p->broken = "it closed the conversation, and went on running";
            process_signal(p, SIGKILL);
            killed = true;
        }
    }
    for (int i = 0; i < LAST_READS && process_read_output(p, c); i++)
        continue;
    end_line(p, c);
    if (p->broken != NULL) {
        char text[160];
        snprintf(text, sizeof text, "offload: %s", p->broken);
        keep_tail(p, text, strlen(text));
    }
    *loss =
        (struct call_loss){.cause = cause_of(p, killed && p->broken != NULL), .exit_code = -1, .last_words = p->tail};
    if (p->exited) {
        loss->signal = WIFSIGNALED(p->exit.status) ? WTERMSIG(p->exit.status) : 0;
        loss->exit_code = WIFEXITED(p->exit.status) ? WEXITSTATUS(p->exit.status) : -1;
        loss->max_rss_bytes = p->exit.max_rss_bytes;
        loss->cpu_ms = p->exit.cpu_ms;
    }
    forget(p);
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

/* Takes its hello. 1, or 0 if it has not come, or -1 if something else has. */
static int take_hello(struct process *p) {
    struct bytes json;
    struct message m = {0};
    int got = frames_next(&p->frames, &json);
    if (got == 0)
        return 0;
    if (got < 0) {
        p->broken = "it sent bytes that are no frame";
    } else if (message_read(json, &m, &p->broken) == 0 && m.kind != MESSAGE_HELLO) {
        p->broken = "its first message is not hello";
    } else if (p->broken == NULL) {
        p->last_call = m.max_calls;
        p->frames.takes_binary = m.takes_binary;
        p->frames.takes_fds = m.takes_fds;
    }
    return p->broken == NULL ? 1 : -1;
}

static int wait_for_hello(struct process *p, struct call *c, struct call_loss *loss) {
    for (;;) {
        bool goes_on = process_wait(p, c, WAIT_MS);
        int got = take_hello(p);
        if (got == 1)
            break;
        if (clock_monotonic_ns() - p->started_ns > p->timeout_ns)
            p->broken = "it did not say hello within --load-timeout";
        if (got < 0 || !goes_on || p->broken != NULL) {
            process_bury(p, c, loss);
            return -2;
        }
        if (call_cancelled(c))
            return -1;
    }
    p->state = PROCESS_READY;
    return 0;
}

int process_start(struct process *p, struct call *c, struct call_loss *loss) {
    struct pollfd news = {.fd = port->fd, .events = POLLIN};
    if (p->state == PROCESS_NONE) {
        p->exit.text[0] = '\0';
        if (port->ask(p->program))
            p->state = PROCESS_ASKED;
    }
    while (p->state == PROCESS_ASKED) {
        if (call_cancelled(c))
            return -1;
        if (poll(&news, 1, WAIT_MS) > 0)
            take_news();
    }
    if (p->state == PROCESS_NONE) {
        *loss = (struct call_loss){.cause = "exit", .exit_code = -1, .last_words = p->exit.text};
        return -2;
    }
    return p->state == PROCESS_READY ? 0 : wait_for_hello(p, c, loss);
}

/* ---- the CPU ----------------------------------------------------------------------------------------------------- */

/* What clock_getcpuclockid(3) gives, which asks the kernel each time whether there is such a process. */
static clockid_t clock_of(pid_t pid) {
    return (clockid_t)(~(unsigned)pid << 3 | 2);
}

int64_t programs_cpu_ns(void) {
    int64_t sum = 0;
    for (unsigned i = 0; i < PROGRAMS_MAX; i++) {
        const struct process *p = &processes[i];
        struct timespec t;
        if (p->pid != 0 && clock_gettime(clock_of(p->pid), &t) == 0)
            sum += (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
    }
    return sum;
}
