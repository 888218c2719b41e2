/* command_stream.h: the commands that print news of a job while it runs. Each returns the exit code of the program. */
#ifndef OFFLOAD_CLI_COMMAND_STREAM_H
#define OFFLOAD_CLI_COMMAND_STREAM_H

#include "cli/command.h"

int command_events(struct command_input *in);
int command_log(struct command_input *in);
int command_map(struct command_input *in);

#endif
