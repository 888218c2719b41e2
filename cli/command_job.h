/* command_job.h: the commands that ask once about jobs. Each returns the exit code of the program. */
#ifndef OFFLOAD_CLI_COMMAND_JOB_H
#define OFFLOAD_CLI_COMMAND_JOB_H

#include "cli/command.h"

int command_submit(struct command_input *in);
int command_get(struct command_input *in);
int command_cancel(struct command_input *in);
int command_ls(struct command_input *in);

#endif
