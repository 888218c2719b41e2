/* output.h: the pipes to which the programs that are checked print. Each line goes to our stderr: our stdout has the
 * verdicts. They must be emptied while we wait for a program, which would stand still otherwise. One thread. */
#ifndef OFFLOAD_CLI_OUTPUT_H
#define OFFLOAD_CLI_OUTPUT_H

#include <stdint.h>

#include "base/attributes.h"

enum output_of { OUTPUT_OF_STARTED, OUTPUT_OF_FORKED, OUTPUT_COUNT };

/* Makes the pipes. 0; or -1, after a line on stderr. */
MUST_CHECK int output_open(void);
int output_writer(
    enum output_of of); /* the end that processes get which we start, or a template forks; close-on-exec */
/* Waits until something happens to the descriptor (poll(2) events), and prints what programs print meanwhile. fd: -1: just
 * wait. Returns what has happened; 0: the time is over. deadline_ns: of the monotonic clock. */
int output_poll(int fd, int events, int64_t deadline_ns);
/* Prints what was not printed yet, and closes the pipes. */
void output_close(void);

#endif
