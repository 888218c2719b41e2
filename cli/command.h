/* command.h: what a command is, and what its function gets. */
#ifndef OFFLOAD_CLI_COMMAND_H
#define OFFLOAD_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "cli/service.h"

struct command_input {
    struct service service;
    const struct options *options;
    char **words; /* the arguments that are not options; their number is as the row says, and none is empty */
    size_t word_count;
};

/* A command is one row; --help and the manual page are made from it. */
struct command {
    const char *name;
    const char *words;  /* as the help page shows them */
    size_t least, most; /* how many words it takes */
    uint64_t options;   /* a set of OPTION_BIT, beside OPTIONS_OF_ALL and, if not local, OPTIONS_OF_SERVICE */
    int (*run)(struct command_input *in); /* returns the exit code of the program */
    const char *help;
    bool local; /* it talks to no service: service.client is NULL */
};

#endif
