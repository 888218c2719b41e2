/* death.c: see death.h. Front end. */
#include "pool/death.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

const char *signal_name(int signal) {
    static char name[16];
    const char *brief = signal == 0 ? NULL : sigabbrev_np(signal);
    if (brief == NULL)
        return NULL;
    snprintf(name, sizeof name, "SIG%s", brief);
    return name;
}

void death_set_cause(struct death *d, int status, bool oom, enum stop_reason killed) {
    static const char *const by_reason[] = {
        [STOP_TIMEOUT] = "timeout", [STOP_MEMORY] = "memory", [STOP_PROTOCOL] = "protocol"};
    bool signaled = WIFSIGNALED(status);
    d->signal = signaled ? WTERMSIG(status) : 0;
    d->exit_code = signaled ? -1 : WEXITSTATUS(status);
    if (by_reason[killed] != NULL)
        d->cause = by_reason[killed];
    else if (!signaled)
        d->cause = "exit";
    else
        d->cause = oom && d->signal == SIGKILL && killed == STOP_NONE ? "oom" : "signal";
}
