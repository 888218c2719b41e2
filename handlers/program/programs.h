/* programs.h: the programs that offer job types (docs/programs.md), as the pool sees them. Their types are handlers like
 * any other: a worker hands the call to the program process that belongs to it, and waits.
 *
 *     zygote     starts each program, reads its hello (programs_describe), and starts program processes for the workers
 *     worker     asks the zygote for a program process when it first needs one (struct program_port), and talks to it
 *
 * The zygote describes the programs before it forks workers, which therefore know the same ones. One thread. */
#ifndef OFFLOAD_PROGRAMS_H
#define OFFLOAD_PROGRAMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/program/frame.h"
#include "handlers/program/message.h"

#define PROGRAMS_MAX 16 /* the scoreboard has a place for the process of each */

/* ---- in the zygote ----------------------------------------------------------------------------------------------- */

/* Makes the types of a hello known to the host. `program` is its number, from 0 up; source: "python:tasks.py", which is
 * borrowed for ever, as all programs live as long as the process. timeout_ns: how long a process may take until it says
 * hello. 0, or -1 with the reason, in one line, in *error. */
MUST_CHECK int programs_describe(unsigned program, const char *source, int64_t timeout_ns, const struct message *hello,
                                 struct buf *error);

/* ---- in a worker ------------------------------------------------------------------------------------------------- */

enum program_news_kind {
    PROGRAM_STARTED = 1, /* with two descriptors: the conversation, and the reading end of its stdout and stderr */
    PROGRAM_NOT_STARTED, /* text says why */
    PROGRAM_EXITED       /* it is reaped; status, as waitpid(2) gives it, and so on */
};
/* What the zygote tells a worker about its program processes. */
struct program_news {
    uint32_t version, kind; /* WIRE_VERSION */
    uint32_t program;
    int32_t pid, status;
    uint32_t oom; /* the kernel's OOM killer was at work in our control group */
    uint64_t max_rss_bytes, cpu_ms;
    char text[256];
};

/* How a worker gets program processes. */
struct program_port {
    int fd;                        /* readable when there is news */
    bool (*ask)(unsigned program); /* asks for a process: PROGRAM_STARTED or _NOT_STARTED follows */
    int (*take)(struct program_news *news, int fds[2]); /* 1; 0: there is none now; -1: the zygote is gone */
    void (*show)(unsigned program, pid_t pid);          /* this process is ours now; 0: none is */
};
void programs_set_port(const struct program_port *port); /* borrowed for ever */

/* CPU time that the program processes of this worker have taken, in ns. It can fall, when one of them ends. */
int64_t programs_cpu_ns(void);

/* The worker has got SIGTERM while its task is cancelled. True: a program works on it, and is ended now; the worker
 * lives on. Async-signal-safe. */
bool programs_on_sigterm(void);

#endif
