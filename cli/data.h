/* data.h: the files of --data, which are sent as they are: each is a part of a multipart/form-data body (RFC 7578). */
#ifndef OFFLOAD_CLI_DATA_H
#define OFFLOAD_CLI_DATA_H

#include "base/attributes.h"
#include "cli/client.h"
#include "cli/options.h"

struct data {
    struct client_part parts[OPTION_REPEAT_MAX];
    size_t count;
};

/* Opens them. What is no regular file, a pipe for example, is copied to a temporary file, because a request can have to be
 * sent again. 0, or -1 after a line on stderr. The caller calls data_close in both cases. */
MUST_CHECK int data_open(struct data *d, const struct options *options);
void data_close(struct data *d);

#endif
