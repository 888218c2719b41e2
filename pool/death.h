/* death.h: how a worker process died, and why we ended it. Front end; the event loop's thread.
 * death_cpu_ms is for any process. */
#ifndef OFFLOAD_DEATH_H
#define OFFLOAD_DEATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

/* Why we end a task or a worker. */
enum stop_reason { STOP_NONE, STOP_CANCEL, STOP_TIMEOUT, STOP_MEMORY, STOP_PROTOCOL };

/* How a worker died, or a process that it has for a task (call_lost): then the worker lives on. */
struct death {
    const char *cause; /* signal | exit | oom | timeout | memory | protocol; a static text */
    int signal;        /* 0: none */
    int exit_code;     /* -1: none, it died of a signal */
    uint64_t max_rss_bytes, cpu_ms;
    const char *stderr_tail; /* the last bytes that it printed; "": none. Valid during the callback */
    uint64_t steps;          /* that the task it was at had reported as done (call_progress); 0: not known */
    bool worker_lives;
};

/* The CPU time of a process that was reaped, user and system. */
static inline uint64_t death_cpu_ms(const struct rusage *u) {
    return (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 +
           (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

/* "SIGKILL", in static memory that the next call overwrites. NULL for 0 and for numbers that are no signal. */
const char *signal_name(int signal);

/* Sets cause, signal and exit_code. status: as waitpid(2) gives it. oom: the kernel's OOM killer was at work. killed:
 * the reason for which we sent SIGKILL; STOP_NONE: we did not. */
void death_set_cause(struct death *d, int status, bool oom, enum stop_reason killed);

#endif
