/* credentials.h: who we are to the service, and whom we trust: from the command line, from a file, and from the
 * environment. A key is in no argument, where ps(1) would show it, in no message, and in no child's environment. */
#ifndef OFFLOAD_CLI_CREDENTIALS_H
#define OFFLOAD_CLI_CREDENTIALS_H

#include "base/attributes.h"
#include "cli/client.h"
#include "cli/options.h"

#define CREDENTIALS_MAX_KEY 4096 /* bytes; what stands before the service may have long tokens of its own */

struct credentials {
    struct client_access access; /* borrows from argv, from the environment and from `key` */
    char key[CREDENTIALS_MAX_KEY + 2];
};

/* Takes OFFLOAD_API_KEY out of the environment and keeps it here. Call it first of all. */
void credentials_take_variable(void);
/* 0; or -1 after a line on stderr: a file cannot be read, or what should be a key is none. The caller calls
 * credentials_deinit in both cases. */
MUST_CHECK int credentials_read(struct credentials *c, const struct options *options);
void credentials_deinit(struct credentials *c); /* overwrites the key */

#endif
