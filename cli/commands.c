/* commands.c: see commands.h. Process: the client. */
#include "cli/commands.h"

#include <string.h>

#include "cli/command_about.h"
#include "cli/command_check.h"
#include "cli/command_job.h"
#include "cli/command_keygen.h"
#include "cli/command_new.h"
#include "cli/command_run.h"
#include "cli/command_stream.h"

#define WORDS_MAX 100000

static const struct command commands[] = {
    {"run", "TYPE [KEY=VALUE…]", 1, WORDS_MAX,
     OPTIONS_OF_JOB | OPTION_BIT(OPTION_JOB) | OPTION_BIT(OPTION_LOG) | OPTION_BIT(OPTION_OUTPUT), command_run,
     "submit a job, wait, print its result; ctrl-C cancels it"},
    {"submit", "TYPE [KEY=VALUE…]", 1, WORDS_MAX, OPTIONS_OF_JOB, command_submit,
     "submit a job, print it, do not wait"},
    {"map", "TYPE [FILE]", 1, 2,
     (OPTIONS_OF_JOB & ~(OPTION_BIT(OPTION_PARAMS) | OPTION_BIT(OPTION_DATA))) | OPTION_BIT(OPTION_COLUMNS),
     command_map, "run TYPE for each line of parameters in FILE or stdin"},
    {"wait", "ID", 1, 1, OPTION_BIT(OPTION_JOB) | OPTION_BIT(OPTION_LOG) | OPTION_BIT(OPTION_OUTPUT), command_wait,
     "wait for a job, print its result"},
    {"events", "ID", 1, 1, 0, command_events, "print what happens to a job until it ends"},
    {"log", "ID", 1, 1, OPTION_BIT(OPTION_FOLLOW), command_log, "print what the processes of a job have printed"},
    {"get", "ID", 1, 1, OPTION_BIT(OPTION_RESULT) | OPTION_BIT(OPTION_OUTPUT), command_get, "print a job as it is now"},
    {"cancel", "ID", 1, 1, 0, command_cancel, "cancel a job, print it"},
    {"ls", "", 0, 0, OPTION_BIT(OPTION_STATUS) | OPTION_BIT(OPTION_TYPE) | OPTION_BIT(OPTION_LIMIT), command_ls,
     "print the jobs, newest first, one a line"},
    {"types", "[TYPE]", 0, 1, 0, command_types, "print the job types and the schemas of their parameters"},
    {"new-handler", "NAME", 1, 1, 0, command_new_handler,
     "write a directory NAME with a job type in C that works, its test and its Makefile", .local = true},
    {"keygen", "NAME", 1, 1,
     OPTION_BIT(OPTION_SCOPES) | OPTION_BIT(OPTION_JOBS) | OPTION_BIT(OPTION_RATE) | OPTION_BIT(OPTION_CPU) |
         OPTION_BIT(OPTION_BYTES) | OPTION_BIT(OPTION_WEIGHT),
     command_keygen, "print a new API key, and below it its line for the service's --keys file", .local = true},
    {"health", "", 0, 0, OPTION_BIT(OPTION_READY) | OPTION_BIT(OPTION_VERBOSE) | OPTION_BIT(OPTION_TIMEOUT),
     command_health, "ask whether the service answers"},
    {"check-program", "COMMAND", 1, 1,
     OPTION_BIT(OPTION_PARAMS) | OPTION_BIT(OPTION_LOAD_TIMEOUT) | OPTION_BIT(OPTION_TIMEOUT), command_check_program,
     "say what is wrong with a program of one's own job types", .local = true},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

const struct command *commands_table(size_t *count) {
    *count = COMMANDS;
    return commands;
}

const struct command *commands_find(const char *name) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}
