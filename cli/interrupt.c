/* interrupt.c: see interrupt.h. Process: the client. The handler writes a byte to a pipe that is never emptied, so that
 * every later poll on it returns at once: no signal is lost between a look at the flag and the poll after it. */
#include "cli/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t noted_signal;
static int wake_pipe[2] = {-1, -1};

static void on_signal(int signal_number) {
    if (noted_signal != 0)
        _exit(128 + signal_number);
    noted_signal = signal_number;
    ssize_t written = write(wake_pipe[1], "", 1);
    (void)written; /* a full pipe wakes the poll as well */
}

static void watch_signal(int signal_number) {
    struct sigaction old, new = {.sa_handler = on_signal};
    if (sigaction(signal_number, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
        return;
    sigaction(signal_number, &new, NULL);
}

void interrupt_watch(void) {
    if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return; /* the signals keep their default action */
    watch_signal(SIGINT);
    watch_signal(SIGTERM);
}

int interrupt_signal(void) {
    return noted_signal;
}

int interrupt_fd(void) {
    return wake_pipe[0];
}

bool interrupt_sleep(int64_t ms) {
    struct pollfd wake = {.fd = wake_pipe[0], .events = POLLIN};
    if (noted_signal == 0)
        poll(&wake, 1, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return noted_signal == 0;
}
