/* check_forks.h: the checks of `check-program` for programs with "fork": true. */
#ifndef OFFLOAD_CLI_CHECK_FORKS_H
#define OFFLOAD_CLI_CHECK_FORKS_H

#include "cli/check.h"

/* Those without which nothing else can be checked. False: one has failed. */
bool check_fork_at_all(struct check *k);
/* The others. The type is one to try them with. */
void check_forks(struct check *k, json_t *type);

#endif
