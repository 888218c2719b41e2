/* child.c: see child.h. Zygote, its children, and the front end. */
#include "pool/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

void child_begin(pid_t parent, int output) {
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close(output);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (oom >= 0 && write(oom, "500", 3) < 0)
        errno = 0; /* it does no harm */
    if (oom >= 0)
        close(oom);
}

void child_visit_all(void (*visit)(void *arg, pid_t pid), void *arg) {
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    while (children != NULL && fscanf(children, "%d", &pid) == 1)
        visit(arg, pid);
    if (children != NULL)
        fclose(children);
}
