/* command_run.h: the commands that wait for a job. Each returns the exit code of the program. */
#ifndef OFFLOAD_CLI_COMMAND_RUN_H
#define OFFLOAD_CLI_COMMAND_RUN_H

#include "cli/command.h"

int command_run(struct command_input *in);
int command_wait(struct command_input *in);

#endif
