/* field.h: the parts of a header field that is a list (RFC 9110, section 5.6): members between commas, with parameters
 * behind semicolons. Quoted strings can have both in them. Any process; pure computing. */
#ifndef OFFLOAD_FIELD_H
#define OFFLOAD_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of a field, without white space at its ends. No NUL ends it. */
struct field_part {
    const char *at;
    size_t size;
};

struct field_part field_trim(const char *at, size_t size);
/* Takes the next part of *rest that ends at `separator`, which is ',' or ';'. Empty parts are left out. False: there is
 * none any more. */
bool field_next(struct field_part *rest, char separator, struct field_part *part);
/* Compares without regard to case. */
bool field_is(const struct field_part *part, const char *text);
/* Takes the name of "name=value" and leaves the value in *part, without the quotes of a quoted string. There is no
 * value if there is no "="; then *part is empty. White space around the "=" is allowed. */
struct field_part field_take_name(struct field_part *part);
/* A number of decimal digits; one that is greater than `most` counts as `most`. False: it is none, and
 * *value is left alone. */
bool field_read_number(const struct field_part *part, uint64_t most, uint64_t *value);
/* The weight in the parameters that `rest` has (RFC 9110, section 12.4.2), in thousandths: 0 to 1000; 1000 if there is
 * none. -1: it is malformed. */
int field_read_weight(struct field_part rest);

#endif
