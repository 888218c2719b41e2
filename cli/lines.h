/* lines.h: a sink for client.h that calls a function for each line as soon as the line is complete. */
#ifndef OFFLOAD_CLI_LINES_H
#define OFFLOAD_CLI_LINES_H

#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"

/* The caller sets `take` and `arg`, zeroes the rest, and keeps it in place while the sink is open. */
struct lines {
    void (*take)(void *arg, const char *line, size_t size); /* without the newline; ends with a NUL */
    void *arg;
    struct buf part; /* of a line that is not complete yet */
};

/* Opens the sink. The caller closes it with fclose(3), and then calls lines_close. NULL, after a line on stderr, if
 * memory ran out. */
MUST_CHECK FILE *lines_open(struct lines *l);
/* Frees the rest. A line that was cut is dropped. */
void lines_close(struct lines *l);

#endif
