/* command_keygen.h: the command that makes an API key. */
#ifndef OFFLOAD_CLI_COMMAND_KEYGEN_H
#define OFFLOAD_CLI_COMMAND_KEYGEN_H

#include "cli/command.h"

/* keygen NAME: prints a key, and below it the line for the keys file. Returns the exit code of the program. */
int command_keygen(struct command_input *in);

#endif
