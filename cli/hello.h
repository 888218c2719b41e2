/* hello.h: whether a program's first message is as docs/programs.md wants it. */
#ifndef OFFLOAD_CLI_HELLO_H
#define OFFLOAD_CLI_HELLO_H

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"

/* All but the types. forked: the process was forked from a template. False: *why says what is wrong. */
bool hello_check(json_t *hello, bool forked, struct buf *why);
/* One of the types. */
bool hello_check_type(json_t *hello, size_t index, struct buf *why);

#endif
