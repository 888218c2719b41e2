/* jsontext.h: turns strict JSON text (RFC 8259) into jansson's values and back, without losing a digit. Private to
 * handlers/host. Only one thread of a process may call these functions. */
#ifndef OFFLOAD_HOST_JSONTEXT_H
#define OFFLOAD_HOST_JSONTEXT_H

#include <jansson.h>

#include "base/attributes.h"
#include "handlers/host/fault.h"
#include "handlers/host/scan.h"

/* ---- a whole text ---------------------------------------------------------------------------------------------------
 *
 * JSON is any value that is at most max_depth deep, has no name twice in an object, and has no byte order mark. */

/* Is the text JSON? 0, or -1 with *fault filled. It needs no tree: little memory, however large the text is. */
MUST_CHECK int jsontext_check(const void *text, size_t size, unsigned max_depth, struct fault *fault);
/* The same. If it is an object, *longest is the longest array among the values of its members. */
MUST_CHECK int jsontext_check_body(const void *text, size_t size, unsigned max_depth, struct json_list *longest,
                                   struct fault *fault);

/* Makes JSON a tree, which can need a hundred times as much memory as the text. NULL with *fault filled if it is not
 * JSON. A number that jansson would round or reject becomes a string that jsontext_number recognises, so ask
 * jsontext_is_text before you take a string for text. The caller frees with json_decref. */
MUST_CHECK json_t *jsontext_parse(const void *text, size_t size, unsigned max_depth, struct fault *fault);

/* ---- values of a text that was checked -------------------------------------------------------------------------- */

/* As jsontext_parse, but an array or an object comes without what is in it. NULL if memory ran out. */
MUST_CHECK json_t *jsontext_shallow(const struct json_span *value);
/* Appends a value as compact JSON, as jsontext_write does with its tree. If it stops early, a fault was added, or
 * to->failed is set. */
void jsontext_copy(struct buf *to, const struct json_span *value, const struct place *at, struct faults *faults);
/* Appends a string as buf_json_string writes it. */
void jsontext_copy_string(struct buf *to, const struct json_span *string);
/* Is it a string without escapes? Then its text is what is between the quotes. */
static inline bool jsontext_is_verbatim(const struct json_span *value) {
    return *value->at == '"' && memchr(value->at, '\\', (size_t)(value->end - value->at)) == NULL;
}
/* A buffer for a name, for scan_string: more than is ever shown of one. */
enum { JSONTEXT_NAME_ROOM = 160 };

/* ---- values of a tree -------------------------------------------------------------------------------------------- */

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
