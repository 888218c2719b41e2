/* program.c: see program.h. Process: the client, and between fork and exec the program.
 *
 *     client ──► program (template) ──► (ends at once) ──► new process, which the client adopts
 *     client ──► nursery ──► template ──► (ends at once) ──► new process, which the nursery adopts: the client kills the
 *                                                            nursery, and looks what becomes of the new process */
#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/say.h"

#define EXIT_NOT_EXECUTED 127
#define LOOK_EVERY_NS     (5 * NS_PER_MS)

/* ---- the command ------------------------------------------------------------------------------------------------- */

char **program_words(const char *command) {
    wordexp_t expanded;
    int failed = wordexp(command, &expanded, WRDE_NOCMD | WRDE_UNDEF);
    char **words = NULL;
    if (failed == WRDE_CMDSUB)
        say("the command would execute another one: %s", command);
    else if (failed == WRDE_BADCHAR)
        say("the command has one of | & ; < > ( ) { } or a newline outside of quotes: %s", command);
    else if (failed == WRDE_BADVAL)
        say("the command has a variable that is not set: %s", command);
    else if (failed != 0)
        say("the command cannot be split into words: %s", command);
    else if (expanded.we_wordc == 0)
        say("the command is empty");
    else
        words = calloc(expanded.we_wordc + 1, sizeof *words);
    for (size_t i = 0; words != NULL && i < expanded.we_wordc; i++)
        words[i] = strdup(expanded.we_wordv[i]);
    if (failed == 0)
        wordfree(&expanded);
    return words;
}

void program_free_words(char **words) {
    for (char **w = words; w != NULL && *w != NULL; w++)
        free(*w);
    free(words);
}

/* ---- its start --------------------------------------------------------------------------------------------------- */

/* Never returns. */
static void execute(char **words, int socket) {
    static const char *const one[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                      "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};
    char number[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fd = fcntl(socket, F_DUPFD, 3);
    if (null < 0 || fd < 0 || dup2(null, 0) < 0 || dup2(output_writer(OUTPUT_OF_STARTED), 1) < 0 ||
        dup2(output_writer(OUTPUT_OF_STARTED), 2) < 0)
        _exit(EXIT_NOT_EXECUTED);
    snprintf(number, sizeof number, "%d", fd);
    setenv("OFFLOAD_FD", number, 1);
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++)
        setenv(one[i], "1", 0);
    execvp(words[0], words);
    dprintf(2, "%s: %s\n", words[0], strerror(errno));
    _exit(EXIT_NOT_EXECUTED);
}

/* Never returns: it adopts and reaps until it is killed. */
static void be_nursery(char **words, int socket, int report) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t pid = fork();
    if (pid == 0)
        execute(words, socket);
    close(socket);
    if (write(report, &pid, sizeof pid) != sizeof pid)
        _exit(1);
    for (;;)
        if (waitpid(-1, NULL, 0) < 0)
            pause();
}

static int fork_program(struct program *p, char **words, int socket, pid_t *nursery) {
    int report[2] = {-1, -1};
    if (nursery != NULL && pipe2(report, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0 && nursery != NULL) {
        talk_close(&p->talk);
        be_nursery(words, socket, report[1]);
    }
    if (pid == 0)
        execute(words, socket);
    p->pid = pid < 0 ? 0 : pid;
    if (nursery != NULL) {
        *nursery = p->pid;
        close(report[1]);
        if (read(report[0], &p->pid, sizeof p->pid) != sizeof p->pid)
            p->pid = 0;
        close(report[0]);
    }
    return p->pid > 0 ? 0 : -1;
}

int program_start(struct program *p, char **words, pid_t *nursery, struct buf *why) {
    int ends[2];
    *p = PROGRAM_NONE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        buf_printf(why, "socketpair: %s", strerror(errno));
        return -1;
    }
    talk_open(&p->talk, ends[0]);
    int forked = fork_program(p, words, ends[1], nursery);
    if (forked != 0)
        buf_printf(why, "fork: %s", strerror(errno));
    close(ends[1]);
    return forked;
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

bool program_ended(struct program *p, int64_t deadline_ns, int *status) {
    for (;;) {
        pid_t pid = p->pid > 0 ? waitpid(p->pid, status, WNOHANG) : -1;
        if (pid == p->pid)
            p->pid = 0;
        if (pid != 0)
            return pid > 0;
        int64_t now = clock_monotonic_ns();
        if (now >= deadline_ns)
            return false;
        output_poll(-1, 0, now + LOOK_EVERY_NS < deadline_ns ? now + LOOK_EVERY_NS : deadline_ns);
    }
}

void program_write_status(struct buf *to, int status) {
    if (WIFSIGNALED(status))
        buf_printf(to, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        buf_printf(to, "exit code %d", WEXITSTATUS(status));
}

void program_kill(struct program *p) {
    int status;
    if (p->pid > 0 && waitpid(p->pid, &status, WNOHANG) == 0) { /* a program may have said the pid of a stranger */
        kill(p->pid, SIGKILL);
        waitpid(p->pid, &status, 0);
    }
    talk_close(&p->talk);
    *p = PROGRAM_NONE;
}

void program_adopt(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void program_kill_all(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        int pid, found = 0;
        FILE *children = fopen(path, "re");
        while (children != NULL && fscanf(children, "%d", &pid) == 1) {
            kill(pid, SIGKILL);
            found += waitpid(pid, NULL, 0) == pid;
        }
        if (children != NULL)
            fclose(children);
        if (found == 0)
            return;
    }
}
