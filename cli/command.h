/* command.h: what a command is, and what it is given. */
#ifndef OFFLOAD_CLI_COMMAND_H
#define OFFLOAD_CLI_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "cli/service.h"

struct command_input {
    struct service service;
    const struct options *options;
    char **words; /* arguments that are not options; their number was checked, and none is empty */
    size_t word_count;
};

/* One row is all that there is of a command; --help and the manual page are made from it. */
struct command {
    const char *name;
    const char *words;                    /* how help names them */
    size_t least, most;                   /* how many words it takes */
    uint32_t options;                     /* beside OPTIONS_OF_ALL */
    int (*run)(struct command_input *in); /* returns the exit code of the program */
    const char *help;
};

#endif
