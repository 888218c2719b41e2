/* slice.h: parts of a JSON text (RFC 8259), byte for byte. The client prints what the service has sent, and sends what
 * the user has typed, without a conversion to doubles: 0.1 stays 0.1, and a number of 300 digits keeps them all. */
#ifndef OFFLOAD_CLI_SLICE_H
#define OFFLOAD_CLI_SLICE_H

#include <stdbool.h>
#include <stddef.h>

struct slice {
    const char *data; /* borrowed; NULL: there is none */
    size_t size;
};

/* True if the text is one JSON value; a NUL byte is never a part of one. Numbers that are too large for a double are JSON, too. */
bool slice_is_json(struct slice text);
/* The value of a member, or no slice. `object` must be the well-formed text of an object. */
struct slice slice_member(struct slice object, const char *name);
/* Takes the next element off a well-formed array: *rest is the array at first. False at its end. */
bool slice_next(struct slice *rest, struct slice *element);

#endif
