/* command.h: the commands. Each takes its words (arguments that are not options; their number was checked) and
 * returns the exit code of the program. */
#ifndef OFFLOAD_CLI_COMMAND_H
#define OFFLOAD_CLI_COMMAND_H

#include <stddef.h>

#include "cli/options.h"
#include "cli/service.h"

struct command_input {
    struct service service;
    const struct options *options;
    char **words;
    size_t word_count;
};

/* command_run.c: jobs that are waited for */
int command_run(struct command_input *in);
int command_wait(struct command_input *in);
/* command_job.c: one exchange about jobs */
int command_submit(struct command_input *in);
int command_get(struct command_input *in);
int command_cancel(struct command_input *in);
int command_ls(struct command_input *in);
/* command_stream.c: what a job tells while it runs */
int command_events(struct command_input *in);
int command_map(struct command_input *in);
/* command_about.c: the service itself */
int command_types(struct command_input *in);
int command_health(struct command_input *in);

#endif
