/* command_new.h: the command that begins a plugin. */
#ifndef OFFLOAD_CLI_COMMAND_NEW_H
#define OFFLOAD_CLI_COMMAND_NEW_H

#include "cli/command.h"

/* new-handler NAME: writes a directory NAME with a job type that works, its test, and its Makefile. */
int command_new_handler(struct command_input *in);

#endif
