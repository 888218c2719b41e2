/* command_check.h: the command that checks a program against docs/programs.md. */
#ifndef OFFLOAD_CLI_COMMAND_CHECK_H
#define OFFLOAD_CLI_COMMAND_CHECK_H

#include "cli/command.h"

int command_check_program(struct command_input *in);

#endif
