/* lines.h: a sink for client.h that passes on what arrives line by line, as soon as a line is complete. */
#ifndef OFFLOAD_CLI_LINES_H
#define OFFLOAD_CLI_LINES_H

#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"

/* Zeroed but for `take` and `arg`; in place while open. */
struct lines {
    void (*take)(void *arg, const char *line, size_t size); /* without its newline; NUL-terminated */
    void *arg;
    struct buf part; /* of a line that goes on */
};

/* NULL, after a line on stderr, if memory ran out. fclose it, then lines_close. */
MUST_CHECK FILE *lines_open(struct lines *l);
/* Frees what is left: the part of a line that was cut is passed on to nobody. */
void lines_close(struct lines *l);

#endif
