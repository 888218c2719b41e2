/* submission.h: the body of POST /v1/jobs from the words of a command line. */
#ifndef OFFLOAD_CLI_SUBMISSION_H
#define OFFLOAD_CLI_SUBMISSION_H

#include <stddef.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "cli/options.h"

/* words: TYPE, then KEY=VALUE. A VALUE that is JSON is sent as it was typed, any other is a string. @FILE stands for
 * the content of the file, @- for stdin. 0, or -1 after a line on stderr. The caller frees the body in both cases. */
MUST_CHECK int submission_write(struct buf *body, char **words, size_t count, const struct options *options);

/* The same for a map. words: TYPE, then maybe the path of a file, of which each line that is not blank is an item; without
 * it, or with "-", it is stdin. With --columns there is no file. */
MUST_CHECK int submission_write_map(struct buf *body, char **words, size_t count, const struct options *options);

#endif
