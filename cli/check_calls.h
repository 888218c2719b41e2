/* check_calls.h: the checks of `check-program` that are about calls and frames. Each is a row of a table: it begins with a
 * process that has answered everything, and prints one verdict. */
#ifndef OFFLOAD_CLI_CHECK_CALLS_H
#define OFFLOAD_CLI_CHECK_CALLS_H

#include "cli/check.h"

/* All that concern one type. False: it does not even answer a call, and so the others were left out. */
bool check_calls_of_type(struct check *k, json_t *type);
/* Those that concern the conversation; the type is one to try it with. */
void check_conversation(struct check *k, json_t *type);
/* What is no fault, but good to know. */
void check_advice(struct check *k);

#endif
