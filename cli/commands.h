/* commands.h: which commands there are, in one table. To add one: a function in a command_*.c, and its row in commands.c. */
#ifndef OFFLOAD_CLI_COMMANDS_H
#define OFFLOAD_CLI_COMMANDS_H

#include <stddef.h>

#include "cli/command.h"

const struct command *commands_table(size_t *count);
/* The row of that name, or NULL. */
const struct command *commands_find(const char *name);

#endif
