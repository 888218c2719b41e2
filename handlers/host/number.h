/* number.h: numbers as text, exactly: from JSON to decimal digits, from floating point to the shortest text.
 * Private to handlers/host; no state, any thread. */
#ifndef OFFLOAD_HOST_NUMBER_H
#define OFFLOAD_HOST_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "handlers/handler.h"

#define NUMBER_MAX_EXACT ((INT64_C(1) << 53) - 1) /* the largest integer that JSON readers in doubles keep */

/* An integer in canonical decimal digits: "-12"; never "-0", "+1", "007". */
struct integer {
    size_t size;
    char digits[HANDLER_MAX_DIGITS + 2]; /* sign, digits, NUL */
};

enum number_error {
    NUMBER_OK,
    NUMBER_NOT_ONE,  /* the text is no number */
    NUMBER_FRACTION, /* it is not an integer */
    NUMBER_TOO_LONG  /* more than HANDLER_MAX_DIGITS digits */
};

/* The integer that a JSON number means, computed in decimal: 1.0, 12e2 and 100e-2 are integers. Leading
 * zeros are skipped, since a decimal string may have them. */
enum number_error number_to_integer(const char *text, size_t size, struct integer *out);
void number_from_i64(int64_t value, struct integer *out);
/* <0, 0, >0 as a is less than, equal to, or greater than b; both canonical. */
int number_compare(const char *a, size_t a_size, const char *b, size_t b_size);
bool number_is_canonical(const char *text, size_t size);
/* False if the digits are beyond the type; they must be canonical. */
bool number_to_i64(const char *digits, size_t size, int64_t *value);
bool number_to_u64(const char *digits, size_t size, uint64_t *value);

/* JSON text that reads back as the same finite value; always with a point or an exponent: "3.0". */
void number_put_double(struct buf *to, double value);
void number_put_float(struct buf *to, float value);

#endif
