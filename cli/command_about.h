/* command_about.h: the commands about the service itself. Each returns the exit code of the program. */
#ifndef OFFLOAD_CLI_COMMAND_ABOUT_H
#define OFFLOAD_CLI_COMMAND_ABOUT_H

#include "cli/command.h"

int command_types(struct command_input *in);
int command_health(struct command_input *in);

#endif
