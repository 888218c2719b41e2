/* jsontext.h: turns strict JSON text (RFC 8259) into jansson's values and back, without losing a digit. Private to
 * handlers/host. Only one thread of a process may call these functions. */
#ifndef OFFLOAD_HOST_JSONTEXT_H
#define OFFLOAD_HOST_JSONTEXT_H

#include <jansson.h>

#include "base/attributes.h"
#include "handlers/host/fault.h"

/* Parses any JSON value that is at most max_depth deep, has no name twice in an object, and has no BOM. Otherwise
 * returns NULL with *fault filled. A number that jansson would round or reject becomes a string that jsontext_number
 * recognises, so ask jsontext_is_text before you take a string for text. The caller frees with json_decref. */
MUST_CHECK json_t *jsontext_parse(const void *text, size_t size, unsigned max_depth, struct fault *fault);

/* True if the value is such a number. Then *text is the number as it was written, until the value is freed. */
bool jsontext_number(const json_t *value, const char **text, size_t *size);
/* Is it a string that the client wrote as a string? */
bool jsontext_is_text(const json_t *value);
/* Was it written as a number with a point or an exponent? */
bool jsontext_is_real(const json_t *value);
/* Reads the value of a real. False if it is beyond the range of a double. */
MUST_CHECK bool jsontext_real(const json_t *value, double *real);
/* "a string", "a number", ... */
const char *jsontext_kind(const json_t *value);

/* Appends a value as compact JSON. A number that neither an int64 nor a double holds is added to *faults. */
void jsontext_write(struct buf *to, json_t *value, const struct place *at, struct faults *faults);

#endif
