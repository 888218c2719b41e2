/* process.h: the program process of this worker, for one program: its start, its conversation, its output, and its end.
 * Private to handlers/program, in workers.
 *
 *              ask          started         hello
 *     NONE ──────────► ASKED ──────► GREETING ────► READY ──► conversation
 *      ▲                 │ not started  │ EOF, broken │ EOF, broken, killed
 *      └─────────────────┴──────────────┴─────────────┘
 *
 * A process that is killed is forgotten at once: it can take a while to die. */
#ifndef OFFLOAD_PROGRAM_PROCESS_H
#define OFFLOAD_PROGRAM_PROCESS_H

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"
#include "handlers/program/frame.h"
#include "handlers/program/programs.h"

#define PROCESS_TAIL 1024 /* bytes of output that are kept for the report on its death */

enum process_state { PROCESS_NONE, PROCESS_ASKED, PROCESS_GREETING, PROCESS_READY };

struct process {
    enum process_state state;
    unsigned program;
    int64_t timeout_ns; /* until it must have said hello */
    int64_t started_ns;
    pid_t pid;
    int pidfd;  /* -1: none */
    int output; /* the reading end of its stdout and stderr; -1: closed */
    struct frames frames;
    uint64_t next_call; /* the number of the next call */
    uint64_t last_call; /* it ends when it has answered this one; UINT64_MAX: it stays */
    struct buf line;    /* the last line, as far as it has come */
    char tail[PROCESS_TAIL];
    size_t tail_size;
    bool printed;       /* something came; the owner resets it */
    const char *broken; /* how it broke the protocol; NULL: it has not */
    /* What the zygote said. */
    bool exited;
    struct program_news exit;
};

/* The process of a program, which is below PROGRAMS_MAX; there is none yet. Lives as long as this process. */
struct process *process_open(unsigned program, int64_t timeout_ns);

/* Makes it READY, and waits for that. c: the call that waits. 0; -1: the call is cancelled; -2: it could not be started,
 * with the reasons in *loss, whose texts are valid until the next function here is called. */
MUST_CHECK int process_start(struct process *p, struct call *c, struct call_loss *loss);

/* Waits until something happens, at most so long; sends what waits to be sent, and receives what has come. What it has
 * printed goes to the log of c (NULL: to our stderr). True: the conversation goes on; false: it is at its end. Messages
 * that came before that are still to be taken. */
MUST_CHECK bool process_wait(struct process *p, struct call *c, int timeout_ms);
/* Reads what it has printed by now. True if there was something. */
bool process_read_output(struct process *p, struct call *c);
/* The call is done: a last line without a newline is its own, and what it printed is no last word of the next one. */
void process_end_call(struct process *p, struct call *c);
void process_signal(const struct process *p, int signal);

/* Nothing is outstanding. Is it alive, and silent? Otherwise it is ended, without a report. */
bool process_is_sound(struct process *p);
/* The conversation is at its end, or broke the protocol (p->broken): ends the process if it lives, and reports how it
 * died. The texts are valid as above. */
void process_bury(struct process *p, struct call *c, struct call_loss *loss);
/* Kills it, and waits for nothing. */
void process_kill(struct process *p);
/* Nothing is outstanding. Kills it if it has answered its last call. */
void process_end_if_spent(struct process *p);

#endif
