/* commands.h: the table of all commands. A new command is a function in a command_*.c, and a row in commands.c. */
#ifndef OFFLOAD_CLI_COMMANDS_H
#define OFFLOAD_CLI_COMMANDS_H

#include <stddef.h>

#include "cli/command.h"

/* All rows, in the order of the help page. */
const struct command *commands_table(size_t *count);
/* The row of that name, or NULL. */
const struct command *commands_find(const char *name);

#endif
