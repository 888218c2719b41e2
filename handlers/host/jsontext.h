/* jsontext.h: strict JSON text (RFC 8259) to jansson's values and back, without losing a digit. Private to
 * handlers/host; one thread per process. */
#ifndef OFFLOAD_HOST_JSONTEXT_H
#define OFFLOAD_HOST_JSONTEXT_H

#include <jansson.h>

#include "base/attributes.h"
#include "handlers/host/fault.h"

/* Any JSON value, or NULL with *fault filled: at most max_depth deep, no name twice in an object, no BOM.
 * Numbers that jansson would round or reject arrive as strings that jsontext_number recognises, so look
 * there before you take a string for text. json_decref frees. */
MUST_CHECK json_t *jsontext_parse(const void *text, size_t size, unsigned max_depth, struct fault *fault);

/* True if the value is such a number; then *text holds it as it was written, until the value is freed. */
bool jsontext_number(const json_t *value, const char **text, size_t *size);
/* Is it a string that the client wrote as a string? */
bool jsontext_is_text(const json_t *value);
/* Was it written as a number with a point or an exponent? */
bool jsontext_is_real(const json_t *value);
/* The value of a real; false if it is beyond the range of a double. */
MUST_CHECK bool jsontext_real(const json_t *value, double *real);
/* "a string", "a number", ... */
const char *jsontext_kind(const json_t *value);

/* Appends a value as compact JSON. Numbers that neither an int64 nor a double holds are added to faults. */
void jsontext_write(struct buf *to, json_t *value, const struct place *at, struct faults *faults);

#endif
