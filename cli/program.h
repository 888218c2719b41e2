/* program.h: the processes of a program that is checked: they are started as offload does it (docs/programs.md), or
 * forked by one another, and in the end none is left. */
#ifndef OFFLOAD_CLI_PROGRAM_H
#define OFFLOAD_CLI_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "cli/talk.h"

struct program {
    pid_t pid; /* 0: there is none */
    struct talk talk;
};

#define PROGRAM_NONE ((struct program){.talk = {.fd = -1}})

/* The words of a command, as a shell splits them; no command in it is executed. The caller frees it with program_free_words.
 * NULL, after a line on stderr: the command is wrong. */
char **program_words(const char *command);
void program_free_words(char **words);

/* Executes the command. nursery: NULL; else the program gets a parent of its own, which adopts what it forks, and whose
 * pid is put there. 0; or -1 with *why. */
MUST_CHECK int program_start(struct program *p, char **words, pid_t *nursery, struct buf *why);
/* Waits for the end of a process that is our child. True: it has ended, *status is as waitpid(2) gives it, and `pid` is 0.
 * False: the deadline has come, or it is not our child. */
MUST_CHECK bool program_ended(struct program *p, int64_t deadline_ns, int *status);
/* Appends "exit code 3" or "signal 11 (Segmentation fault)". */
void program_write_status(struct buf *to, int status);
/* Kills the process, if it is our child, and closes the conversation. */
void program_kill(struct program *p);

/* Makes us the parent of every process below us whose own parent has ended. */
void program_adopt(void);
/* Kills and reaps all children that are left. */
void program_kill_all(void);

#endif
